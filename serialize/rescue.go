package serialize

import (
	"encoding/binary"
	"encoding/json"
	"strconv"

	"headwater/envelope"
	"headwater/schema"
)

// rescue gathers what the columns do not take of a record, as JSON: the values' own texts by their places as JSON Pointers.
type rescue struct {
	leaf int
	text []byte
}

// end puts what was gathered of the record into its column.
func (r *rescue) end(out *batch) {
	if r == nil {
		return
	}
	l := &out.leaves[r.leaf]
	out.levels++
	if len(r.text) == 0 {
		l.level(0, 0, false)
		return
	}
	r.text = append(r.text, '}')
	l.level(1, 0, false)
	l.Data = binary.LittleEndian.AppendUint32(l.Data, uint32(len(r.text)))
	l.Data = append(l.Data, r.text...)
	r.text = r.text[:0]
}

func (r *rescue) add(pointer string, value []byte) {
	if len(r.text) == 0 {
		r.text = append(r.text, '{')
	} else {
		r.text = append(r.text, ',')
	}
	key, err := json.Marshal(pointer)
	if err != nil {
		panic(err) // a text always has JSON
	}
	r.text = append(append(r.text, key...), ':')
	r.text = compact(r.text, value)
}

// pointer is the place of the value, just begun, in the innermost of frames.
func (w *shredder) pointer(frames []columnFrame) (at string) {
	for _, f := range frames {
		if f.col.kind == schema.Struct {
			at = schema.Place(at, f.col.names.list[f.before])
		} else {
			at += "/" + strconv.Itoa(f.elems-1)
		}
	}
	return at
}

// rescueValue keeps the value that has begun with t.
func (w *shredder) rescueValue(t token, at string) bool {
	s := &w.scan
	switch t {
	case tokenObject, tokenArray:
		start := s.start
		if !s.skip() {
			return false
		}
		w.rescue.add(at, s.data[start:s.pos])
	case tokenString:
		w.rescue.add(at, s.data[s.start-1:s.end+1])
	default:
		w.rescue.add(at, s.bytes())
	}
	return true
}

// rescueField keeps the value of a key that has no column, if it says anything: null, and what holds nothing else, is in no column anywhere.
func (w *shredder) rescueField() bool {
	s := &w.scan
	key := s.bytes()
	if s.escaped {
		key = w.key
	}
	at := schema.Place(w.pointer(w.frames[:len(w.frames)-1]), string(key))
	t := s.next()
	switch t {
	case tokenFault:
		return false
	case tokenNull:
		return true
	case tokenObject, tokenArray:
		start, says := s.start, false
		for outside := len(s.open) - 1; len(s.open) > outside; {
			switch s.next() {
			case tokenFault:
				return false
			case tokenTrue, tokenFalse, tokenNumber, tokenString:
				says = true
			}
		}
		if says {
			w.rescue.add(at, s.data[start:s.pos])
		}
		return true
	}
	return w.rescueValue(t, at)
}

// fits says whether the value that begins with t can be in the column c as it is.
func (w *shredder) fits(t token, c *column) bool {
	if t == tokenNull || c == w.stamp {
		return true
	}
	if c.hint != "" {
		_, ok := w.converted(t, c)
		return ok
	}
	switch c.kind {
	case schema.Struct:
		return t == tokenObject
	case schema.List:
		return t == tokenArray
	case schema.String:
		return true
	case schema.Boolean:
		return t == tokenTrue || t == tokenFalse
	}
	return t == tokenNumber && (schema.SeenOfNumber(w.scan.bytes())|numbersOf[c.kind]).Kind() == c.kind
}

// numbersOf are kinds of number that a column of numbers has seen for sure.
var numbersOf = map[schema.Kind]schema.Seen{
	schema.Long: schema.SeenInt, schema.Double: schema.SeenFraction, schema.Decimal: schema.SeenBigInt,
}

// value64 is what converted makes of a value for a column that is no string.
type value64 struct {
	long   int64
	double float64
	truth  bool
}

// converted makes the value that begins with t one of c's kind as its hint says; false if it is none.
func (w *shredder) converted(t token, c *column) (v value64, ok bool) {
	switch {
	case c.hint == "string":
		return v, true
	case t == tokenObject || t == tokenArray:
		return v, false
	}
	s := &w.scan
	text := s.bytes()
	switch c.hint {
	case "long":
		if ok = t == tokenNumber || t == tokenString && isNumber(text); ok {
			v.long, ok = parseWhole(text)
		}
	case "double":
		if ok = t == tokenNumber || t == tokenString && isNumber(text); ok {
			f, err := strconv.ParseFloat(string(text), 64)
			v.double, ok = f, err == nil
		}
	case "boolean":
		word := string(text)
		v.truth, ok = word == "true", word == "true" || word == "false"
	default:
		raw := text
		if t == tokenString {
			raw = s.data[s.start-1 : s.end+1]
		}
		at, err := units[c.hint].Micros(raw, w.loc)
		v.long, ok = at, err == nil
	}
	return v, ok
}

// units are those of the hints of times.
var units = map[string]envelope.Unit{
	"timestamp(iso)": envelope.ISO, "timestamp(epoch_s)": envelope.Seconds, "timestamp(epoch_ms)": envelope.Millis,
}

// convert puts the value that begins with t into its column as its hint says.
func (w *shredder) convert(t token, c *column, l *leaf) bool {
	if c.kind == schema.String {
		return w.text(t, l)
	}
	v, ok := w.converted(t, c)
	switch c.kind {
	case schema.Long, schema.Timestamp:
		l.Longs = append(l.Longs, v.long)
	case schema.Double:
		l.Doubles = append(l.Doubles, v.double)
	case schema.Boolean:
		l.Bools = append(l.Bools, v.truth)
	}
	return ok
}

// isNumber says whether the text, the inside of a string, is a JSON number and nothing else.
func isNumber(text []byte) bool {
	s := newScanner()
	s.reset(text)
	return s.next() == tokenNumber && s.next() == tokenEnd
}

// parseWhole reads an integer of 64 bits.
func parseWhole(text []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil
}
