package schema

import "slices"

// Equal reports whether a and b are the same type, the order of fields included.
func Equal(a, b Type) bool {
	if a.Kind != b.Kind || a.Precision != b.Precision || a.Scale != b.Scale || (a.Elem == nil) != (b.Elem == nil) {
		return false
	}
	if a.Elem != nil && !Equal(*a.Elem, *b.Elem) {
		return false
	}
	return slices.EqualFunc(a.Fields, b.Fields, func(x, y Field) bool {
		return x.Name == y.Name && Equal(x.Type, y.Type)
	})
}

// Equal makes types comparable for go-cmp.
func (t Type) Equal(u Type) bool { return Equal(t, u) }

// Merge is the narrowest type that holds the values of both: the join of the type lattice. It is commutative,
// associative and idempotent, so that a table's type does not depend on the order in which its partitions are met.
//
// Equal types stay as they are. Otherwise Undecided gives way to the other, Long widens to Decimal or Double, a Decimal to one of more digits, Structs merge by
// name (case decides), Lists and Maps by element; everything else is String. The fields of Structs that are
// not equal are ordered by name, except that IngestedAt comes last.
func Merge(a, b Type) Type {
	switch {
	case Equal(a, b):
		return a
	case a.Kind == Undecided:
		return b
	case b.Kind == Undecided:
		return a
	case a.Kind == Struct && b.Kind == Struct:
		return Type{Kind: Struct, Fields: mergeFields(a.Fields, b.Fields)}
	case a.Kind == b.Kind && (a.Kind == List || a.Kind == Map):
		elem := Merge(elemOf(a), elemOf(b))
		return Type{Kind: a.Kind, Elem: &elem}
	case a.Kind == Decimal && b.Kind == Decimal:
		return mergeDecimals(a, b)
	case a.Kind == Decimal && b.Kind == Long:
		return mergeDecimals(a, decimal(longDigits))
	case b.Kind == Decimal && a.Kind == Long:
		return mergeDecimals(b, decimal(longDigits))
	case widens(a.Kind, b.Kind):
		return b
	case widens(b.Kind, a.Kind):
		return a
	}
	return Type{Kind: String}
}

// longDigits is the precision of the Decimal that Spark takes for every Long.
const longDigits = 20

// mergeDecimals has room for the digits of both before and behind the point, or is a String if these are too many. Inference's, which have none
// behind it, always fit.
func mergeDecimals(a, b Type) Type {
	scale := max(a.Scale, b.Scale)
	digits := max(a.Digits()-int(a.Scale), b.Digits()-int(b.Scale)) + int(scale)
	if digits > maxPrecision {
		return Type{Kind: String}
	}
	out := decimal(digits)
	out.Scale = scale
	return out
}

// widens reports whether values of from are read as to. Of integers beyond 2^53 a double is only the nearest: their files
// keep them, and a day that has both kinds is no Double.
func widens(from, to Kind) bool { return from == Long && to == Double }

// Conforms reports whether what a file has as t is read as a table's u without a change of type: every column that both have is of one type. Either may
// have columns that the other has not.
func Conforms(t, u Type) bool {
	switch {
	case t.Kind != u.Kind:
		return false
	case t.Kind == List || t.Kind == Map:
		return Conforms(elemOf(t), elemOf(u))
	case t.Kind != Struct:
		return Equal(t, u)
	}
	of := make(map[string]Type, len(u.Fields))
	for _, f := range u.Fields {
		of[f.Name] = f.Type
	}
	for _, f := range t.Fields {
		if other, found := of[f.Name]; found && !Conforms(f.Type, other) {
			return false
		}
	}
	return true
}

func elemOf(t Type) Type {
	if t.Elem == nil {
		return Type{}
	}
	return *t.Elem
}

func mergeFields(a, b []Field) []Field {
	out := slices.Clone(a)
	at := make(map[string]int, len(a)+len(b))
	for i, f := range a {
		at[f.Name] = i
	}
	for _, f := range b {
		if i, found := at[f.Name]; found {
			out[i].Type = Merge(out[i].Type, f.Type)
			continue
		}
		at[f.Name] = len(out)
		out = append(out, f)
	}
	slices.SortStableFunc(out, compareFields)
	return out
}

// last is how far at the end a column belongs, whatever its name: what was rescued, and after it the time of ingestion.
func last(name string) int { return slices.Index([]string{Rescued, IngestedAt}, name) }

// compareFields orders by name; what Headwater adds of its own stays at the end.
func compareFields(a, b Field) int {
	switch {
	case a.Name == b.Name:
		return 0
	case last(a.Name) != last(b.Name):
		return last(a.Name) - last(b.Name)
	}
	return compareNames(a, b)
}
