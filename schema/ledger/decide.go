package ledger

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"headwater/envelope"
	"headwater/schema"
)

// Touched lists the days whose files do not have the types of the record t.
type Touched func(t schema.Type) ([]string, error)

// Approve takes the kinds of value that wait, or are refused, at the place path, or all that wait if path is empty, into the columns' types, and
// marks the days that have them otherwise. It returns the places concerned; ErrNoField if there is nothing that waits.
func (v *Version) Approve(path string, touched Touched) (places []string, err error) {
	for at, n := range v.All() {
		taken := n.Waiting
		if path != "" {
			taken |= n.Refused
		}
		if taken == 0 || path != "" && at != path {
			continue
		}
		n.Seen |= taken
		n.Waiting &^= taken
		n.Refused &^= taken
		places = append(places, at)
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("%w that waits for approval: %s", ErrNoField, cmp.Or(path, "there is none"))
	}
	slices.Sort(places)
	return places, v.touch(touched)
}

// Pin gives the place path, as Find has it, the type that hint spells; an empty hint takes a pin away, so that the column is again what its values
// make it. The days that have it otherwise are marked.
func (v *Version) Pin(path, hint string, touched Touched) error {
	n := v.Find(path)
	if n == nil {
		return fmt.Errorf("%w: %s", ErrNoField, path)
	}
	if hint != "" {
		if _, err := schema.ParseHint(hint); err != nil {
			return err
		}
	}
	n.Pin = hint
	if hint != "" {
		n.Refused = 0 // the pin says what it takes
	}
	v.Rescued = v.Rescued || v.Record.mayRescue()
	return v.touch(touched)
}

// Revert gives every column the type that it had in the version to. What has been seen since and does not fit is rescued from now on, or, with
// quarantine, its records go to quarantine.
func (v *Version) Revert(to *Version, quarantine bool, touched Touched) error {
	v.Record.revert(to.Record, quarantine)
	v.Rescued = v.Rescued || v.Record.mayRescue()
	return v.touch(touched)
}

func (n *Node) revert(to *Node, quarantine bool) {
	if to == nil {
		to = &Node{}
	}
	later := (n.Seen | n.Waiting) &^ (to.Seen | to.Waiting)
	if to.Kind() == schema.Undecided {
		later &^= schema.SeenNull | schema.SeenArray | schema.SeenObject // there is no column for them to change
	} else {
		later &^= schema.SeenNull
	}
	n.Seen &^= later
	n.Pin = to.Pin
	if quarantine {
		n.Refused |= later
		n.Waiting &^= later
	} else {
		n.Waiting |= later
	}
	if n.Elem != nil {
		n.Elem.revert(to.Elem, quarantine)
	}
	if n.Values != nil {
		n.Values.revert(to.Values, quarantine)
	}
	for name, f := range n.Fields {
		f.revert(to.Fields[name], quarantine)
	}
}

func (v *Version) touch(touched Touched) error {
	days, err := touched(v.Evidence().Resolve())
	v.mark(days)
	return err
}

// All yields every place of the records, spelled as Find has it.
func (v *Version) All() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		for name, n := range v.Record.Fields {
			if name == envelope.KeyRawData {
				name = ""
			}
			if !n.each(name, yield) {
				return
			}
		}
	}
}

func (n *Node) each(path string, yield func(string, *Node) bool) bool {
	if path != "" && !yield(path, n) {
		return false
	}
	for _, elem := range []*Node{n.Elem, n.Values} {
		if elem != nil && !elem.each(path+"[]", yield) {
			return false
		}
	}
	for name, f := range n.Fields {
		if !f.each(strings.TrimPrefix(path+"."+name, "."), yield) {
			return false
		}
	}
	return true
}
