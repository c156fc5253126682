package schema

import (
	"slices"
	"unicode/utf16"
)

// ResolveSpark is the Type that Spark 4 infers from the same documents, up to DeepestColumn. Null and the empty string count for nothing: what is only
// these becomes String. A Struct without fields is dropped, the lists around it too, and so is a field without a name;
// Undecided means that this has left nothing. Fields are in the order of UTF-16, Java's. Rules: docs/spark-dialect.md.
func (e *Evidence) ResolveSpark() Type { return e.resolveSpark(0) }

func (e *Evidence) resolveSpark(depth int) Type {
	if e == nil {
		return Type{Kind: String}
	}
	seen := e.Seen &^ (SeenNull | SeenEmptyString)
	switch {
	case kinds(seen) != 1 || seen&SeenString != 0:
		return Type{Kind: String}
	case seen&SeenBool != 0:
		return Type{Kind: Boolean}
	case seen&seenNumber != 0:
		return e.sparkNumber()
	case depth >= DeepestColumn:
		return Type{Kind: String}
	case seen&SeenArray != 0:
		elem := e.Elem.resolveSpark(depth + 1)
		if elem.Kind == Undecided {
			return Type{}
		}
		return Type{Kind: List, Elem: &elem}
	}
	var fields []Field
	for name, f := range e.Fields {
		if name == "" || f.Seen == 0 {
			continue
		}
		if t := f.resolveSpark(depth + 1); t.Kind != Undecided {
			fields = append(fields, Field{name, t})
		}
	}
	if len(fields) == 0 {
		return Type{}
	}
	slices.SortFunc(fields, func(a, b Field) int { return compareUTF16(a.Name, b.Name) })
	return Type{Kind: Struct, Fields: fields}
}

// sparkNumber may round: a double is the type of all numbers that no other holds together.
func (e *Evidence) sparkNumber() Type {
	switch {
	case e.Seen&(SeenHugeInt|SeenFraction|SeenHugeFraction) != 0:
		return Type{Kind: Double}
	case e.Seen&SeenBigInt == 0:
		return Type{Kind: Long}
	case e.Seen&(SeenInt|SeenWideInt) != 0:
		return decimal(max(longDigits, int(e.BigDigits)))
	}
	return decimal(int(e.BigDigits))
}

// compareUTF16 differs from the order of bytes in characters of two UTF-16 units, which come before U+E000.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// UniqueSpark is Unique with the names that Spark gives, as far as the metastore can hold them.
func UniqueSpark(t Type, own []string) (Type, []Renamed) {
	n := namer{usable: usableInSpark, all: Names{}}
	unique := n.unique(t, spot{}, append(partitionColumns(), own...), own)
	return unique, n.renamed
}

// FlattenSpark is Flatten with the names that Spark gives and without IngestedAt, which a table has only if it would have no column.
func FlattenSpark(t Type, separator string) (Type, []Renamed) {
	n := namer{usable: usableInSpark, all: Names{}}
	flat := n.flatten(t, separator, partitionColumns())
	if len(flat.Fields) == 0 {
		flat.Fields = []Field{{IngestedAt, Type{Kind: Timestamp}}}
	}
	return flat, n.renamed
}

// usableInSpark is name without what Spark refuses in a table of the metastore, or could not read back from there.
func usableInSpark(name string) string { return without(",:;<>`", name) }
