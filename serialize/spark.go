package serialize

import (
	"bytes"
	"math"
	"unicode/utf8"

	"headwater/schema"
)

// What dialect spark does with values otherwise: docs/spark-dialect.md.

// half is what half a surrogate pair becomes. Java writes a question mark for what UTF-8 cannot hold.
func (w *shredder) half() rune {
	if w.spark {
		return '?'
	}
	return utf8.RuneError
}

// hasEmptyString is true of every record that has one.
func hasEmptyString(record []byte) bool {
	return bytes.Contains(record, []byte(`""`)) || bytes.Contains(record, []byte(`''`))
}

// lost reports whether Spark makes null of the value that begins with t: an empty string where the column c has none, or an array with
// such an element. What lies in an object is lost for itself, so an array with objects is not, however little is left of them.
func (w *shredder) lost(t token, c *column) bool {
	switch {
	case t == tokenString:
		return c.kind != schema.String && w.scan.start == w.scan.end
	case t != tokenArray || c.kind != schema.List || w.frames[len(w.frames)-1].col.kind == schema.List:
		return false // the array around it has been looked at
	}
	ahead := *w.scan // whose brackets are closed again where w.scan has them open
	return ahead.emptyElement(c.elem)
}

// emptyElement reads the array that has just begun up to an empty string, in it or in arrays in it, where elem has none; false is for the end.
func (s *scanner) emptyElement(elem *column) bool {
	for {
		switch t := s.next(); t {
		case tokenClose, tokenFault:
			return false
		case tokenString:
			if elem.kind != schema.String && s.start == s.end {
				return true
			}
		case tokenArray:
			// The elements of a String column are text; the depth of others is that of the type.
			if elem.kind == schema.List {
				if s.emptyElement(elem.elem) {
					return true
				}
			} else if !s.skip() {
				return false
			}
		case tokenObject:
			if !s.skip() {
				return false
			}
		}
	}
}

// javaNaN is the one that Java makes; strconv's has another bit set.
var javaNaN = math.Float64frombits(0x7ff8 << 48)

// sparkNumber is number, but that a double need not be finite, and that an integer becomes one only in the end: it has no -0.
func sparkNumber(kind schema.Kind, s *scanner, l *leaf) bool {
	if kind != schema.Double {
		return number(kind, s, l)
	}
	f, _ := s.double()
	switch {
	case math.IsNaN(f):
		f = javaNaN
	case string(s.bytes()) == "-0":
		f = 0
	}
	l.Doubles = append(l.Doubles, f)
	return true
}
