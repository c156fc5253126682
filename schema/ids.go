package schema

import (
	"iter"
	"maps"
	"regexp"
)

// idKeys is how many different keys the objects at a place must have had, all of them ids, to become a Map.
const idKeys = 50

// isID is what no field of a record is called: numbers, UUIDs, long hexadecimal or base 32 numbers, dates.
var isID = regexp.MustCompile(`^(\d+|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|[0-9a-f]{16,}|[0-9A-F]{16,}|[0-9A-HJKMNP-TV-Z]{26}|\d{4}-\d\d(-\d\d)?)$`)

// IDs says whether the n keys are so many ids that the objects that have them are a Map: each would be a column otherwise. Numbered names (q1, q2, …) are
// names.
func IDs(n int, keys iter.Seq[string]) bool {
	if n < idKeys {
		return false
	}
	for key := range keys {
		if !isID.MatchString(key) {
			return false
		}
	}
	return true
}

// Entries is the evidence of the values of all fields together, as a Map has them.
func (e *Evidence) Entries() *Evidence {
	all := e.Values.clone()
	if all == nil {
		all = &Evidence{}
	}
	for _, f := range e.Fields {
		all.Merge(f.clone()) // a copy, because what is merged in becomes a part of all
	}
	return all
}

// isMap says whether the objects here are a Map.
func (e *Evidence) isMap() bool { return e.Values != nil || IDs(len(e.Fields), maps.Keys(e.Fields)) }

func (e *Evidence) clone() *Evidence {
	if e == nil {
		return nil
	}
	out := *e
	out.First = append([]First(nil), e.First...)
	out.Elem, out.Values, out.Fields = e.Elem.clone(), e.Values.clone(), nil
	if len(e.Fields) > 0 {
		out.Fields = make(map[string]*Evidence, len(e.Fields))
		for name, f := range e.Fields {
			out.Fields[name] = f.clone()
		}
	}
	return &out
}
