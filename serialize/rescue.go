package serialize

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"headwater/envelope"
	"headwater/schema"
)

// rescue gathers what the columns do not take of a record, as JSON: the values' own texts by their places as JSON Pointers.
type rescue struct {
	leaf int
	text []byte
	// place is that of the object or array under way; says: there is something in it that is not null; always: it is kept even if not.
	place        string
	says, always bool
}

func (r *rescue) begin() {
	if r != nil {
		r.text = r.text[:0]
	}
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

// nested ends the object or array under way, whose text is value.
func (r *rescue) nested(value []byte) {
	if r.says || r.always {
		r.add(r.place, value)
	}
}

// keep keeps the value that has begun with t, which no column takes. Where there is no column at all, null and what holds nothing else say nothing, and
// are kept nowhere.
func (w *shredder) keep(t token, always bool) {
	s := w.scan
	switch t {
	case tokenObject, tokenArray:
		w.within, w.start = 1, s.start
		w.rescue.place, w.rescue.says, w.rescue.always = w.pointer(), false, always
	case tokenNull:
	case tokenString:
		w.rescue.add(w.pointer(), s.data[s.start-1:s.end+1])
	default:
		w.rescue.add(w.pointer(), s.bytes())
	}
}

// fits says whether the value that begins with t can be in the column c as it is.
func (w *shredder) fits(t token, c *column) bool {
	if t == tokenNull || c == w.stamp {
		return true
	}
	switch c.kind {
	case schema.Struct, schema.Map:
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
	// digits are those of a decimal without its point.
	digits []byte
}

// converted makes the value that begins with t one of c's kind as its hint says; false if it is none.
func (w *shredder) converted(t token, c *column) (v value64, ok bool) {
	if t == tokenObject || t == tokenArray {
		return v, false
	}
	s := w.scan
	text := s.bytes()
	if c.kind == schema.Decimal {
		if ok = t == tokenNumber || t == tokenString && isNumber(text); ok {
			v.digits, ok = unscaled(text, c.digits, c.scale)
		}
		return v, ok
	}
	switch c.hint {
	case "long":
		if ok = t == tokenNumber || t == tokenString && isNumber(text); ok {
			n, err := strconv.ParseInt(string(text), 10, 64)
			v.long, ok = n, err == nil
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

// hinted puts the value that begins with t into its column, of another kind than text, as its hint says, or keeps it beside; false if there is nothing
// to keep it in.
func (w *shredder) hinted(t token, c *column, rep uint8) bool {
	v, ok := w.converted(t, c)
	if !ok {
		if w.rescue != nil {
			w.null(c, rep)
			w.keep(t, true)
		}
		return w.rescue != nil
	}
	l := &w.out.leaves[c.from]
	l.level(c.def, rep, c.rep > 0)
	w.out.levels++
	switch c.kind {
	case schema.Double:
		l.Doubles = append(l.Doubles, v.double)
	case schema.Boolean:
		l.Bools = append(l.Bools, v.truth)
	case schema.Decimal:
		l.Data = appendDecimal(l.Data, v.digits)
	default:
		l.Longs = append(l.Longs, v.long)
	}
	return true
}

// unscaled are the digits of a JSON number as a decimal of so many digits, scale of them behind the point; false if it is no such decimal exactly.
func unscaled(number []byte, digits, scale int) ([]byte, bool) {
	mantissa, power, _ := strings.Cut(strings.ToLower(string(number)), "e")
	exponent := 0
	if power != "" {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || exponent > 100 || exponent < -100 {
			return nil, false
		}
	}
	whole, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(whole, ".")
	text := whole + fraction
	if missing := scale - (len(fraction) - exponent); missing >= 0 {
		text += strings.Repeat("0", missing)
	} else { // what is too much must be zeros
		end := max(0, len(text)+missing)
		if strings.Trim(text[end:], "0") != "" {
			return nil, false
		}
		text = text[:end]
	}
	text = cmp.Or(strings.TrimLeft(text, "0"), "0")
	if len(text) > digits {
		return nil, false
	}
	if negative {
		text = "-" + text
	}
	return []byte(text), true
}

// isNumber says whether the text, the inside of a string, is a JSON number and nothing else.
func isNumber(text []byte) bool {
	s := newScanner()
	s.reset(text)
	return s.next() == tokenNumber && s.next() == tokenEnd
}
