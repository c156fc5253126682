package schema

import (
	"slices"
	"strconv"
	"strings"
)

// Renamed is a column whose name is not what its place in the data would give it.
type Renamed struct {
	// Path is the place in the data, with dots.
	Path string
	// Column is the place in the table, with dots.
	Column string
}

const (
	// NoName stands for a name that is empty in the data.
	NoName = "_empty"
	// Value is the one column of a flat table whose documents are not objects.
	Value = "value"
	// IngestedAt is the last column of every flat table.
	IngestedAt = "_ingested_at"
)

// partitionColumns are the names that no column of a file may have.
func partitionColumns() []string { return []string{"year", "month", "day"} }

// Unique gives the fields of a table's schema, at every level, names that Hive can hold and that stay apart where case
// does not count, as in Hive. Of several the first in order keeps its name and the others get _2, _3. At the top level the names
// of partitionColumns are taken, and own are kept for the fields of exactly these names, whether there are any or not. The
// order and number of fields stay, so that the result can be walked side by side with t.
func Unique(t Type, own []string) (Type, []Renamed) {
	var renamed []Renamed
	n := naming{usable, &renamed}
	return n.unique(t, "", "", append(partitionColumns(), own...), own), renamed
}

// naming is how the names of a table are made.
type naming struct {
	// usable is a name as a column may have it.
	usable  func(name string) string
	renamed *[]Renamed
}

func (n naming) unique(t Type, path, column string, reserved, own []string) Type {
	switch t.Kind {
	case List:
		elem := n.unique(*t.Elem, path, column, nil, nil)
		return Type{Kind: List, Elem: &elem}
	case Struct:
		wanted := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			wanted[i] = f.Name
		}
		names := n.apart(wanted, reserved, own)
		out := Type{Kind: Struct, Fields: make([]Field, len(t.Fields))}
		for i, f := range t.Fields {
			at, to := join(path, f.Name), join(column, names[i])
			if names[i] != f.Name {
				*n.renamed = append(*n.renamed, Renamed{at, to})
			}
			out.Fields[i] = Field{names[i], n.unique(f.Type, at, to, nil, nil)}
		}
		return out
	}
	return t
}

// Flatten is the flat table of documents of type t: the leaves of structs as columns, named by their path joined with
// separator, in the order in which walking t meets them, and IngestedAt last. Lists stay as they are, what is in them
// too. A t that is no Struct becomes the column Value; an Undecided one none.
func Flatten(t Type, separator string) (Type, []Renamed) {
	var renamed []Renamed
	flat := naming{usable, &renamed}.flatten(t, separator, append(partitionColumns(), IngestedAt))
	flat.Fields = append(flat.Fields, Field{IngestedAt, Type{Kind: Timestamp}})
	return flat, renamed
}

func (n naming) flatten(t Type, separator string, reserved []string) Type {
	leaves := flatLeaves(t, "", "", separator, nil)
	wanted := make([]string, len(leaves))
	for i, l := range leaves {
		wanted[i] = l.name
	}
	names := n.apart(wanted, reserved, nil)
	flat := Type{Kind: Struct, Fields: make([]Field, 0, len(leaves)+1)}
	for i, l := range leaves {
		if names[i] != l.name {
			*n.renamed = append(*n.renamed, Renamed{l.path, names[i]})
		}
		flat.Fields = append(flat.Fields, Field{names[i], n.unique(l.typ, l.path, names[i], nil, nil)})
	}
	return flat
}

// flatLeaf is a column on its way into the flat table.
type flatLeaf struct {
	path, name string
	typ        Type
}

func flatLeaves(t Type, path, name, separator string, out []flatLeaf) []flatLeaf {
	switch {
	case t.Kind == Undecided:
		return out
	case t.Kind != Struct && name == "":
		return append(out, flatLeaf{path, Value, t})
	case t.Kind != Struct:
		return append(out, flatLeaf{path, name, t})
	}
	for _, f := range t.Fields {
		column := f.Name
		if column == "" {
			column = NoName
		}
		if name != "" {
			column = name + separator + column
		}
		out = flatLeaves(f.Type, join(path, f.Name), column, separator, out)
	}
	return out
}

// apart keeps names apart where case does not count, and away from reserved, except those that are one of own. A name that
// nobody before it wants is never changed for the sake of a suffix, so that the names of most columns are those of the data
// whatever else there is.
func (n naming) apart(wanted, reserved, own []string) []string {
	taken := make(map[string]bool, len(wanted)+len(reserved))
	for _, r := range reserved {
		taken[r] = true
	}
	names := make([]string, len(wanted))
	var losers []int
	for i, name := range wanted {
		names[i] = n.usable(name)
		switch fold := strings.ToLower(names[i]); {
		case slices.Contains(own, name):
		case taken[fold]:
			losers = append(losers, i)
		default:
			taken[fold] = true
		}
	}
	tried := map[string]int{} // the suffix that the last loser of the same name got
	for _, i := range losers {
		base, fold := names[i], strings.ToLower(names[i])
		k := max(1, tried[fold])
		for taken[strings.ToLower(names[i])] {
			k++
			names[i] = base + "_" + strconv.Itoa(k)
		}
		tried[fold] = k
		taken[strings.ToLower(names[i])] = true
	}
	return names
}

// usable is name without what Hive has no escape for: its types are spelled with , : ; < >, a dot in a column's name cannot
// be queried, and control characters stop the metastore. Each becomes _.
func usable(name string) string {
	if name == "" {
		return NoName
	}
	return without(".,:;<>`", name)
}

// without is name with _ in the place of odd and of control characters.
func without(odd, name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(odd, r) {
			return '_'
		}
		return r
	}, name)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// compareNames is byte order.
func compareNames(a, b Field) int { return strings.Compare(a.Name, b.Name) }
