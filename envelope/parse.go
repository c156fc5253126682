package envelope

import (
	"bytes"
	"encoding/json"
)

// View is a record split at its top level. The slices alias the record; a key that the record lacks is nil.
type View struct {
	RawData, Metadata, Timestamp []byte
	// Other are the members beside the three of an envelope, in their order; only records of external topics have any.
	Other []Member
}

// Member is one member of a JSON object.
type Member struct {
	// Name is unescaped.
	Name string
	// Value is the raw JSON text.
	Value []byte
}

// The names of an envelope's three members.
const (
	KeyRawData   = "raw_data"
	KeyMetadata  = "metadata"
	KeyTimestamp = "ingestion_timestamp"
)

// Parse splits a record into its top-level values. Each is complete (brackets match, strings are closed, a number or word at the
// top level is a proper one), but what lies inside arrays, objects and strings is not checked: Compact does that. The error is a
// *SyntaxError; a record that is no object or has a top-level key twice is one too.
func Parse(value []byte) (View, error) {
	var v View
	seen := map[string]bool{}
	i := textStart(value)
	end, reason := i, ""
	switch {
	case i == len(value):
		reason = Empty
	case value[i] != '{':
		reason = NotAnObject
	default:
		end, reason = eachMember(value, i, func(name, from, to int) string { return v.add(seen, value, name, from, to) })
	}
	if reason == "" {
		end, reason = textEnd(value, end)
	}
	if reason != "" {
		return View{}, &SyntaxError{end, reason}
	}
	return v, nil
}

func (v *View) add(seen map[string]bool, value []byte, name, from, to int) string {
	key, ok := nameAt(value, name)
	if !ok {
		return BadEscape
	}
	raw := value[from:to:to]
	slot := v.slot(key)
	if slot == nil {
		other := string(key)
		if seen[other] {
			return DuplicateKey
		}
		seen[other] = true
		v.Other = append(v.Other, Member{other, raw})
		return ""
	}
	if *slot != nil {
		return DuplicateKey
	}
	*slot = raw
	return ""
}

func (v *View) slot(key []byte) *[]byte {
	switch string(key) {
	case KeyRawData:
		return &v.RawData
	case KeyMetadata:
		return &v.Metadata
	case KeyTimestamp:
		return &v.Timestamp
	}
	return nil
}

// nameAt is the unescaped name whose opening quote is at i, of an object that eachMember walks.
func nameAt(text []byte, i int) (name []byte, ok bool) {
	end, _ := quoteEnd(text, i+1)
	return unescape(text[i:end])
}

// unescape gives the characters of a string that is closed; ok is false if an escape is wrong.
func unescape(quoted []byte) (inner []byte, ok bool) {
	inner = quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return []byte(s), err == nil
}

// Lookup finds the raw JSON text at a path of names through nested objects; found is false where a name is missing or something on
// the way is no object. Names are compared unescaped, and of equal names the last counts, as it does for Kafka Connect. The whole
// record is skipped through, so that no error (a *SyntaxError) also means that it is one complete text, in the sense of Parse.
func Lookup(value []byte, path ...string) (raw []byte, found bool, err error) {
	from, to, err := lookup(value, path)
	if err != nil || to == 0 {
		return nil, false, err
	}
	return value[from:to:to], true, nil
}

// lookup is Lookup by indexes; to is 0 where nothing is found.
func lookup(value []byte, path []string) (from, to int, err error) {
	at := textStart(value)
	if at == len(value) {
		return 0, 0, &SyntaxError{at, Empty}
	}
	for level, name := range path {
		start, stop, end, reason := lastNamed(value, at, name)
		if reason == "" && level == 0 {
			end, reason = textEnd(value, end)
		}
		if reason != "" {
			return 0, 0, &SyntaxError{end, reason}
		}
		if stop == 0 {
			return 0, 0, nil
		}
		at, from, to = start, start, stop
	}
	return from, to, nil
}

// lastNamed finds a member of the value at i, if it is an object, and the end of that value; to is 0 if there is none.
func lastNamed(text []byte, i int, name string) (from, to, end int, reason string) {
	if text[i] != '{' {
		end, reason = valueEnd(text, i)
		return 0, 0, end, reason
	}
	end, reason = eachMember(text, i, func(at, f, t int) string {
		if key, ok := nameAt(text, at); ok && string(key) == name {
			from, to = f, t
		}
		return ""
	})
	return from, to, end, reason
}

// MetadataMalformed gives the reason that Append noted in an envelope's metadata; ok is false where it noted none.
func MetadataMalformed(metadata []byte) (reason string, ok bool) {
	raw, found, err := Lookup(metadata, "malformed")
	if err != nil || !found || raw[0] != '"' {
		return "", false
	}
	text, ok := unescape(raw)
	return string(text), ok
}
