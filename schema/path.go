package schema

import (
	"cmp"
	"iter"
	"strings"
)

// Paths name places of documents for people: fields by name with dots between them, and [] for the elements of arrays and the values of maps, as items[].price. A field may
// have dots or brackets in its name: the shortest that is there counts.

// Find is what a tree has at the place that path names: elem and field lead from a place to the next, field to the zero value if there is none.
func Find[T comparable](at T, path string, elem func(T) T, field func(T, string) T) T {
	var none T
	if at == none || path == "" {
		return at
	}
	if rest, isElem := cutElem(path); isElem && elem(at) != none {
		return Find(elem(at), rest, elem, field)
	}
	for end := range fieldEnds(path) {
		if found := Find(field(at, path[:end]), belowDot(path[end:]), elem, field); found != none {
			return found
		}
	}
	return none
}

// Find is the evidence of the place that path names; nil if nothing was seen there.
func (e *Evidence) Find(path string) *Evidence {
	return Find(e, path, func(e *Evidence) *Evidence { return cmp.Or(e.Elem, e.Values) }, func(e *Evidence, name string) *Evidence { return e.Fields[name] })
}

func cutElem(path string) (rest string, isElem bool) {
	rest, isElem = strings.CutPrefix(path, "[]")
	return belowDot(rest), isElem
}

func belowDot(path string) string { return strings.TrimPrefix(path, ".") }

// fieldEnds yields where the name of the first field may end.
func fieldEnds(path string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for end := 1; end <= len(path); end++ {
			if (end == len(path) || path[end] == '.' || path[end] == '[') && !yield(end) {
				return
			}
		}
	}
}
