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
	// Rescued is the column of what no other column takes: a JSON object of the values' own texts, by their place in the record as a JSON Pointer.
	Rescued = "_rescued"
	// IngestedAt is the last column of every flat table.
	IngestedAt = "_ingested_at"
)

// partitionColumns are the names that no column of a file may have.
func partitionColumns() []string { return []string{"year", "month", "day"} }

// reservedColumns are those that no column of the data may have.
func reservedColumns() []string { return append(partitionColumns(), Rescued) }

// Unique gives the fields of a table's schema, at every level, names that Hive can hold and that stay apart where case
// does not count, as in Hive. Of several the first in order keeps its name and the others get _2, _3. At the top level the names
// of reservedColumns are taken, and own are kept for the fields of exactly these names, whether there are any or not. The
// order and number of fields stay, so that the result can be walked side by side with t.
//
// Names that are given stay whatever comes beside them; all are those of t's columns, to be given to what t grows into.
func Unique(t Type, own []string, given Names) (unique Type, renamed []Renamed, all Names) {
	n := namer{usable: usable, given: given, all: Names{}}
	unique = n.unique(t, spot{}, append(reservedColumns(), own...), own)
	return unique, n.renamed, n.all
}

// Names has the names of columns by their Place.
type Names map[string]string

// Place is how Names spells a field below another place: as a JSON Pointer, in which lists have no segment.
func Place(above, field string) string {
	return above + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(field)
}

// namer gives names: its own where none are given.
type namer struct {
	// usable is a name as a column may have it.
	usable     func(name string) string
	given, all Names
	renamed    []Renamed
}

// spot is a place in the data: for people, for Names, and in the table.
type spot struct{ path, place, column string }

func (s spot) below(field string) spot {
	return spot{path: join(s.path, field), place: Place(s.place, field)}
}

func (n *namer) unique(t Type, at spot, reserved, own []string) Type {
	switch t.Kind {
	case List, Map:
		elem := n.unique(*t.Elem, at, nil, nil)
		return Type{Kind: t.Kind, Elem: &elem}
	case Struct:
		wanted := make([]string, len(t.Fields))
		spots := make([]spot, len(t.Fields))
		for i, f := range t.Fields {
			wanted[i], spots[i] = f.Name, at.below(f.Name)
		}
		out := Type{Kind: Struct, Fields: make([]Field, len(t.Fields))}
		for i, name := range n.apart(wanted, spots, reserved, own) {
			f, s := t.Fields[i], spots[i]
			if s.column = join(at.column, name); name != f.Name {
				n.renamed = append(n.renamed, Renamed{s.path, s.column})
			}
			out.Fields[i] = Field{name, n.unique(f.Type, s, nil, nil)}
		}
		return out
	}
	return t
}

// Flatten is the flat table of documents of type t: the leaves of structs as columns, named by their path joined with
// separator, in the order in which walking t meets them, and IngestedAt last. Lists stay as they are, what is in them
// too. A t that is no Struct becomes the column Value; an Undecided one none.
// Names are given as in Unique.
func Flatten(t Type, separator string, given Names) (flat Type, renamed []Renamed, all Names) {
	n := namer{usable: usable, given: given, all: Names{}}
	flat = n.flatten(t, separator, append(reservedColumns(), IngestedAt))
	flat.Fields = append(flat.Fields, Field{IngestedAt, Type{Kind: Timestamp}})
	return flat, n.renamed, n.all
}

func (n *namer) flatten(t Type, separator string, reserved []string) Type {
	leaves := flatLeaves(t, spot{}, "", separator, nil)
	wanted := make([]string, len(leaves))
	spots := make([]spot, len(leaves))
	for i, l := range leaves {
		wanted[i], spots[i] = l.name, l.at
	}
	flat := Type{Kind: Struct, Fields: make([]Field, 0, len(leaves)+1)}
	for i, name := range n.apart(wanted, spots, reserved, nil) {
		l := leaves[i]
		if l.at.column = name; name != l.name {
			n.renamed = append(n.renamed, Renamed{l.at.path, name})
		}
		flat.Fields = append(flat.Fields, Field{name, n.unique(l.typ, l.at, nil, nil)})
	}
	return flat
}

// flatLeaf is a column on its way into the flat table.
type flatLeaf struct {
	at   spot
	name string
	typ  Type
}

func flatLeaves(t Type, at spot, name, separator string, out []flatLeaf) []flatLeaf {
	switch {
	case t.Kind == Undecided:
		return out
	case t.Kind != Struct && name == "":
		return append(out, flatLeaf{at, Value, t})
	case t.Kind != Struct:
		return append(out, flatLeaf{at, name, t})
	}
	for _, f := range t.Fields {
		column := f.Name
		if column == "" {
			column = NoName
		}
		if name != "" {
			column = name + separator + column
		}
		out = flatLeaves(f.Type, at.below(f.Name), column, separator, out)
	}
	return out
}

// apart keeps names apart where case does not count, and away from reserved, except those that are one of own. A name that
// nobody before it wants is never changed for the sake of a suffix, so that the names of most columns are those of the data
// whatever else there is.
func (n *namer) apart(wanted []string, at []spot, reserved, own []string) []string {
	taken := make(map[string]bool, len(wanted)+len(reserved))
	for _, r := range reserved {
		taken[r] = true
	}
	names := make([]string, len(wanted))
	for i := range wanted {
		if names[i] = n.given[at[i].place]; names[i] != "" {
			taken[strings.ToLower(names[i])] = true
		}
	}
	var losers []int
	for i, name := range wanted {
		if names[i] != "" {
			continue
		}
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
		number := max(1, tried[fold])
		for taken[strings.ToLower(names[i])] {
			number++
			names[i] = base + "_" + strconv.Itoa(number)
		}
		tried[fold] = number
		taken[strings.ToLower(names[i])] = true
	}
	for i, name := range names {
		n.all[at[i].place] = name
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
