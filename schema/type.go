// Package schema is the types of tables: how they are found in documents, merged, flattened and spelled for the readers of
// the tables.
//
// What enters: JSON documents and other tables' types. What leaves: a Type that holds every value seen. Pure: it does no I/O, starts
// no goroutine and imports nothing of ours. Merge is a join: no result depends on the order in which documents, files or days are met.
package schema

// Kind is what a column holds.
type Kind uint8

const (
	// Undecided has been seen only as null, as an empty array or as an empty object. It has no column yet.
	Undecided Kind = iota
	Boolean
	// Long is int64.
	Long
	// Decimal is decimal(p,0): integers beyond int64.
	Decimal
	Double
	// String is UTF-8: JSON strings as they are, every other JSON value as its own text.
	String
	// Timestamp is an instant in microseconds, UTC.
	Timestamp
	// List has one element type.
	List
	// Struct has named fields.
	Struct
	// Map has texts for keys, as they are in the data, and values of one type: what objects become whose keys are ids.
	Map
)

// Type is a column's type, or, as a Struct, a table's schema. A Type that leaves this package has no Undecided in it.
type Type struct {
	Kind Kind
	// Elem is a List's element, or a Map's value.
	Elem *Type
	// Fields are a Struct's, in the order of the columns.
	Fields []Field
	// Hint is how values are made of what is in the data, if a person has said so (ParseHint). It is no part of the type.
	Hint string
	// Precision is how many digits a Decimal has; 0 stands for the most, 38, which is never written otherwise.
	Precision uint8
	// Scale is how many of a Decimal's digits are behind the point. Inference finds none: they come of hints.
	Scale uint8
}

// maxPrecision is the most digits that a Decimal can have.
const maxPrecision = 38

// Digits is a Decimal's precision as a number of digits.
func (t Type) Digits() int {
	if t.Precision == 0 {
		return maxPrecision
	}
	return int(t.Precision)
}

// decimal is the Decimal of at least that many digits, none behind the point.
func decimal(digits int) Type {
	if digits >= maxPrecision {
		return Type{Kind: Decimal}
	}
	return Type{Kind: Decimal, Precision: uint8(digits)}
}

// Field is a named part of a Struct; every field is nullable.
type Field struct {
	// Name is as in the data, in its own case.
	Name string
	Type Type
}
