package schema

import (
	"cmp"
	"strings"
)

// Clash is the first place, as a.b or a[].b, that is nested in one of the types and not in the other, or in another way, so that only text would hold both; empty if there is none.
func Clash(a, b Type) string { return clash(a, b, "") }

func clash(a, b Type, at string) string {
	nested := func(t Type) bool { return t.Kind == Struct || t.Kind == List || t.Kind == Map }
	switch {
	case a.Kind == Undecided || b.Kind == Undecided || !nested(a) && !nested(b):
		return ""
	case a.Kind != b.Kind:
		return cmp.Or(at, "the record")
	case a.Kind != Struct:
		return clash(*a.Elem, *b.Elem, at+"[]")
	}
	of := map[string]Type{}
	for _, f := range a.Fields {
		of[f.Name] = f.Type
	}
	for _, f := range b.Fields {
		if found := clash(of[f.Name], f.Type, strings.TrimPrefix(at+"."+f.Name, ".")); found != "" {
			return found
		}
	}
	return ""
}
