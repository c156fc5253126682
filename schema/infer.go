package schema

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// Seen is a set of the kinds of JSON value that were met at one place of the documents.
type Seen uint16

const (
	SeenNull Seen = 1 << iota
	SeenBool
	// SeenInt is an integer of at most 64 bits that a double holds exactly.
	SeenInt
	// SeenWideInt is an int64 that no double holds exactly.
	SeenWideInt
	// SeenBigInt is an integer beyond int64 of at most 38 digits.
	SeenBigInt
	// SeenHugeInt is an integer of more than 38 digits.
	SeenHugeInt
	// SeenFraction is a number with a fraction or an exponent.
	SeenFraction
	// SeenHugeFraction is one that is not finite as a double.
	SeenHugeFraction
	// SeenString is a string that is not empty.
	SeenString
	SeenArray
	SeenObject
	SeenEmptyString
)

const (
	seenWhole  = SeenInt | SeenWideInt | SeenBigInt | SeenHugeInt
	seenNumber = seenWhole | SeenFraction | SeenHugeFraction
	seenText   = SeenString | SeenEmptyString
)

// Evidence is everything inference keeps of the values at one place. It is a set that only grows, so that what is
// resolved from it does not depend on the order in which documents were read or on how they were shared out.
type Evidence struct {
	Seen Seen
	// BigDigits is how many digits the longest of the integers has that are SeenBigInt.
	BigDigits uint8
	// Elem is the evidence of the elements of all arrays here, nil without one.
	Elem *Evidence
	// Fields are the evidence of the fields of all objects here.
	Fields map[string]*Evidence
	// Values is the evidence of the values of all fields together, where objects are to be a Map whatever their keys.
	Values *Evidence
	// Pin is the type that a person has given the place, whatever is seen there; nil without one.
	Pin *Type
	// First is where each kind was seen first.
	First []First
}

// First says where a kind of value was met first. At is a number that grows in the order of the records.
type First struct {
	Kind Seen
	At   int64
}

// first notes that kind was met at, unless an earlier place is known.
func (e *Evidence) first(f First) {
	for i := range e.First {
		if e.First[i].Kind == f.Kind {
			e.First[i].At = min(e.First[i].At, f.At)
			return
		}
	}
	e.First = append(e.First, f)
}

// Merge adds o to e: union, and the greater BigDigits, at every place. It is commutative, associative and idempotent. e may share parts of o afterwards.
func (e *Evidence) Merge(o *Evidence) {
	if o == nil || e == o {
		return
	}
	e.Seen |= o.Seen
	for _, f := range o.First {
		e.first(f)
	}
	e.BigDigits = max(e.BigDigits, o.BigDigits)
	if e.Elem == nil {
		e.Elem = o.Elem
	} else {
		e.Elem.Merge(o.Elem)
	}
	if e.Values == nil {
		e.Values = o.Values
	} else {
		e.Values.Merge(o.Values)
	}
	if e.Fields == nil && len(o.Fields) > 0 {
		e.Fields = make(map[string]*Evidence, len(o.Fields))
	}
	for name, f := range o.Fields {
		if mine, found := e.Fields[name]; found {
			mine.Merge(f)
		} else {
			e.Fields[name] = f
		}
	}
}

// DeepestColumn is how many lists and structs a column may lie in. What is nested deeper becomes JSON text, because
// readers recurse over a table's type and one hostile record must not make the table unreadable.
const DeepestColumn = 50

// Resolve is the narrowest Type that holds every value seen, exactly but for fractions, which become doubles. The
// fields of a Struct are in byte order of their names. Undecided means that there is nothing a column could hold.
func (e *Evidence) Resolve() Type { return e.resolve(0) }

func (e *Evidence) resolve(depth int) Type {
	if e == nil {
		return Type{}
	}
	if e.Pin != nil {
		return *e.Pin
	}
	switch kinds(e.Seen) {
	case 0:
		return Type{}
	case 1:
	default:
		return Type{Kind: String}
	}
	switch {
	case e.Seen&SeenBool != 0:
		return Type{Kind: Boolean}
	case e.Seen&seenNumber != 0:
		return Type{Kind: numberKind(e.Seen)}
	case e.Seen&seenText != 0:
		return Type{Kind: String}
	case depth >= DeepestColumn:
		return Type{Kind: String}
	case e.Seen&SeenArray != 0:
		elem := e.Elem.resolve(depth + 1)
		if elem.Kind == Undecided {
			return Type{}
		}
		return Type{Kind: List, Elem: &elem}
	}
	return e.resolveStruct(depth)
}

func (e *Evidence) resolveStruct(depth int) Type {
	if e.isMap() {
		elem := e.Entries().resolve(depth + 1)
		if elem.Kind == Undecided {
			return Type{}
		}
		return Type{Kind: Map, Elem: &elem}
	}
	var fields []Field
	for name, f := range e.Fields {
		if t := f.resolve(depth + 1); t.Kind != Undecided {
			fields = append(fields, Field{name, t})
		}
	}
	if len(fields) == 0 {
		return Type{}
	}
	slices.SortFunc(fields, compareNames)
	return Type{Kind: Struct, Fields: fields}
}

// kinds counts the kinds of value that no common type but String holds.
func kinds(s Seen) int {
	n := 0
	for _, kind := range []Seen{SeenBool, seenNumber, seenText, SeenArray, SeenObject} {
		if s&kind != 0 {
			n++
		}
	}
	return n
}

// numberKind never rounds an integer: where no numeric type holds all that was seen, the digits stay as text.
func numberKind(s Seen) Kind {
	switch {
	case s&(SeenHugeInt|SeenHugeFraction) != 0:
		return String
	case s&SeenFraction != 0 && s&(SeenWideInt|SeenBigInt) != 0:
		return String
	case s&SeenFraction != 0:
		return Double
	case s&SeenBigInt != 0:
		return Decimal
	}
	return Long
}

// BigDigits is what a JSON integer that is SeenBigInt adds to an Evidence's.
func BigDigits(text []byte) uint8 { return uint8(len(bytes.TrimPrefix(text, []byte("-")))) }

// SeenOfNumber classifies a JSON number, which must be spelled as RFC 8259 has it.
func SeenOfNumber(text []byte) Seen {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	for _, c := range digits {
		if c-'0' > 9 { // a point or an exponent
			return seenOfFraction(text)
		}
	}
	switch {
	case len(digits) <= 15: // below 2^53
		return SeenInt
	case len(digits) > 38:
		return SeenHugeInt
	case len(digits) > 19:
		return SeenBigInt
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return SeenBigInt
	}
	abs := uint64(n)
	if n < 0 {
		abs = -abs
	}
	if bits.Len64(abs)-bits.TrailingZeros64(abs) > 53 {
		return SeenWideInt
	}
	return SeenInt
}

func seenOfFraction(text []byte) Seen {
	if len(text) < 300 && bytes.IndexByte(text, 'e') < 0 && bytes.IndexByte(text, 'E') < 0 {
		return SeenFraction
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return SeenHugeFraction
	}
	return SeenFraction
}
