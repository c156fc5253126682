package envelope

import (
	"errors"
	"strings"
	"time"
)

// Shape is what is declared of the records of a topic that somebody else fills. Nothing of it is ever guessed from the records. The zero
// Shape declares nothing: records are as Append makes them.
type Shape struct {
	// Unit is how the records spell their time; empty if it is Kafka's.
	Unit Unit
	// Bare records are documents without an envelope. Wrap gives them one when they land.
	Bare bool
	// Field is where a bare record has its time, names joined by dots; empty for the Kafka record's own.
	Field string
	// InString: raw_data is a string that holds a JSON text.
	InString bool
}

// TimePath leads to a record's time; nil if it is Kafka's.
func (s Shape) TimePath() []string {
	switch {
	case !s.Bare:
		return []string{KeyTimestamp}
	case s.Field == "":
		return nil
	}
	return strings.Split(s.Field, ".")
}

// Landed is the Shape of the same records in raw objects, where bare ones have an envelope and, in it, milliseconds.
func (s Shape) Landed() Shape {
	if s.Bare {
		return Shape{InString: s.InString}
	}
	return s
}

// Wrap appends the envelope of a document, a text that Compact has made, which it holds byte for byte.
func Wrap(dst, document []byte, m *Metadata, at time.Time) []byte {
	dst = append(append(dst, `{"raw_data":`...), document...)
	return appendMetadata(dst, m, at, false, "")
}

// JSONInString begins the reasons of Unpack.
const JSONInString = "json-string"

// Unpack appends a record to dst with the JSON text that raw_data holds as a string in that string's place. Where raw_data is no
// string the record stays as it is, and so does a text that is no record: its reader says why. A reason, JSONInString and what is
// wrong with the text, means that the string holds no JSON text.
func Unpack(dst, record []byte, lim Limits) (out []byte, reason string) {
	from, to := 0, 0
	if start := textStart(record); start < len(record) && record[start] == '{' {
		_, wrong := eachMember(record, start, func(name, f, t int) string {
			if key, ok := nameAt(record, name); to == 0 && ok && string(key) == KeyRawData && record[f] == '"' {
				from, to = f, t
			}
			return ""
		})
		if wrong != "" {
			to = 0
		}
	}
	if to == 0 {
		return append(dst, record...), ""
	}
	text, ok := unescape(record[from:to])
	if !ok {
		return append(dst, record...), ""
	}
	before := len(dst)
	dst = append(dst, record[:from]...)
	// The text is checked by itself: it could else end its own place and begin another member.
	dst, err := Compact(dst, text, lim)
	if err != nil {
		reason = JSONInString
		if syntax, is := errors.AsType[*SyntaxError](err); is {
			reason += ": " + syntax.Reason
		}
		return dst[:before], reason
	}
	return append(dst, record[to:]...), ""
}
