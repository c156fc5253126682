package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"headwater/envelope"
	"headwater/schema"
)

// Node is what is known of one place of the records.
type Node struct {
	// Seen are the kinds of value that the column's type is made of.
	Seen schema.Seen `json:"seen,omitempty"`
	// Waiting are kinds that were met and would change the type: until somebody approves, their values are rescued.
	Waiting schema.Seen `json:"waiting,omitempty"`
	// Refused are kinds whose records go to quarantine.
	Refused schema.Seen `json:"refused,omitempty"`
	// Pin is the type that a person has given, as a hint spells it; empty without one.
	Pin string `json:"pin,omitempty"`
	// First is where each kind was met first, by its name: an index of the version's Places.
	First map[string]int `json:"first,omitempty"`
	// Elem is what is known of the elements of lists, Fields of the fields of objects.
	Elem *Node `json:"elem,omitempty"`
	// Values are the values of all fields together, where the keys of objects are ids: then there are no Fields.
	Values *Node            `json:"values,omitempty"`
	Fields map[string]*Node `json:"fields,omitempty"`
}

// Place is where a value lies.
type Place struct {
	Day string `json:"day"`
	// Object is the raw object's key, Record the record's number in it, from 1.
	Object string `json:"object"`
	Record int64  `json:"record"`
	// Offset is the record's in its Kafka partition, -1 if the object does not tell.
	Offset int64 `json:"offset"`
	// Since is the version that has it first.
	Since int `json:"since"`
}

// evidence is the node as inference has it.
func (n *Node) evidence() *schema.Evidence {
	if n == nil {
		return nil
	}
	e := &schema.Evidence{Seen: n.Seen, Elem: n.Elem.evidence(), Values: n.Values.evidence()}
	if n.Pin != "" {
		pin, err := schema.ParseHint(n.Pin)
		if err != nil {
			panic(err) // check has looked at those that were read, Pin and the configuration at the others
		}
		e.Pin = &pin
	}
	if len(n.Fields) > 0 {
		e.Fields = make(map[string]*schema.Evidence, len(n.Fields))
		for name, f := range n.Fields {
			e.Fields[name] = f.evidence()
		}
	}
	return e
}

// check refuses what this binary would not understand, which it must not pass over.
func (v *Version) check() error {
	for path, n := range v.All() {
		if n.Pin == "" {
			continue
		}
		if _, err := schema.ParseHint(n.Pin); err != nil {
			return fmt.Errorf("the pin of %s: %w", path, err)
		}
	}
	return nil
}

// Kind is that of the place's column, Undecided without one.
func (n *Node) Kind() schema.Kind { return n.Type().Kind }

// Type is that of the place's column, Undecided without one.
func (n *Node) Type() schema.Type { return n.evidence().Resolve() }

// Evidence is that of all days together, as far as the types are made of it, with the pins: that of whole records.
func (v *Version) Evidence() *schema.Evidence {
	e := v.Record.evidence()
	e.Seen = schema.SeenObject
	if e.Fields == nil {
		e.Fields = map[string]*schema.Evidence{}
	}
	if at := e.Fields[envelope.KeyTimestamp]; at == nil || at.Seen == 0 {
		e.Fields[envelope.KeyTimestamp] = &schema.Evidence{Seen: schema.SeenInt}
	}
	return e
}

// HasObjects says that raw_data has been an object: then bare values are no rows.
func (v *Version) HasObjects() bool {
	data := v.Record.Fields[envelope.KeyRawData]
	return data != nil && data.Seen&schema.SeenObject != 0
}

// Rules are how a run may change the ledger.
type Rules struct {
	// Frozen: no column is added and no type changes.
	Frozen bool
	// MaxRewrite is how many days a run may have rewritten because of one column.
	MaxRewrite int
	// Hints are types by the place of the field, as a.b or a[].b, below raw_data.
	Hints map[string]string
	// Rescued asks for the column even while nothing is in it.
	Rescued bool
}

// Day is what a run brings.
type Day struct {
	Evidence *schema.Evidence
	// Place is what First.At stands for.
	Place   func(at int64) Place
	Touched Touched
}

// Add merges a day into the version and reports whether that has changed anything.
func (v *Version) Add(day Day, rules Rules) (changed bool, err error) {
	m := merger{rules: rules, v: v, place: day.Place, places: map[Place]int{}}
	if data := v.Record.Fields[envelope.KeyRawData]; data != nil && day.Evidence.Fields[envelope.KeyRawData].Seen&schema.SeenObject != 0 {
		data.Seen &= schema.SeenObject | schema.SeenNull // bare values of days before there were objects are not in the struct's way
	}
	m.node(v.Record, day.Evidence)
	for _, w := range m.wider {
		if err := m.decide(v, w, day.Touched); err != nil {
			return false, err
		}
	}
	if err := m.hints(v, day.Touched); err != nil {
		return false, err
	}
	if !v.Rescued && (rules.Rescued || v.Record.mayRescue()) {
		v.Rescued, m.changed = true, true
	}
	return m.changed, nil
}

// merger is one Add.
type merger struct {
	rules   Rules
	v       *Version
	place   func(at int64) Place
	places  map[Place]int // of this run's, their indexes
	changed bool
	wider   []widening
}

// widening is a change of a column's type that is to be decided.
type widening struct {
	at    *Node
	kinds schema.Seen
	// before is what the column is.
	before schema.Kind
}

// node merges what was seen at a place.
func (m *merger) node(n *Node, e *schema.Evidence) {
	// Decided once: what is a struct stays one, whatever its keys.
	becomesMap := n != m.v.Record && n.Values == nil && schema.IDs(len(e.Fields), maps.Keys(e.Fields)) && n.Kind() == schema.Undecided
	if fresh := e.Seen &^ (n.Seen | n.Waiting | n.Refused); fresh != 0 {
		m.changed = true
		for _, f := range e.First {
			if f.Kind&fresh != 0 {
				m.first(n, f)
			}
		}
		m.take(n, fresh)
	}
	if n.Pin != "" || n.Seen.Kind() == schema.String {
		return // whatever is below is text, or rescued
	}
	if n.Seen&schema.SeenArray != 0 && e.Elem != nil {
		if n.Elem == nil {
			n.Elem = &Node{}
		}
		m.node(n.Elem, e.Elem)
	}
	if n.Seen&schema.SeenObject == 0 {
		return
	}
	if becomesMap {
		n.Values, n.Fields = &Node{}, nil
	}
	if n.Values != nil {
		m.node(n.Values, e.Entries())
		return
	}
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) { // in order, so that equal days make equal versions
		f := e.Fields[name]
		if f.Seen == 0 {
			continue
		}
		if n.Fields == nil {
			n.Fields = map[string]*Node{}
		}
		if n.Fields[name] == nil {
			n.Fields[name] = &Node{}
		}
		m.node(n.Fields[name], f)
	}
}

func (m *merger) first(n *Node, f schema.First) {
	if n.First == nil {
		n.First = map[string]int{}
	}
	p := m.place(f.At)
	p.Since = m.v.Number + 1
	i, known := m.places[p]
	if !known {
		i = len(m.v.Places)
		m.places[p] = i
		m.v.Places = append(m.v.Places, p)
	}
	n.First[f.Kind.String()] = i
}

// take decides what becomes of kinds that are new at n.
func (m *merger) take(n *Node, fresh schema.Seen) {
	before := n.Kind()
	switch {
	case n.Pin != "", n.kindWith(fresh) == before:
		n.Seen |= fresh
	case before == schema.Undecided:
		n.Seen |= fresh
		if m.rules.Frozen && n.Kind() != schema.Undecided {
			n.Seen &^= fresh &^ schema.SeenNull
			n.Waiting |= fresh &^ schema.SeenNull
		}
	default:
		m.wider = append(m.wider, widening{n, fresh, before})
	}
}

// kindWith is the column's kind with more kinds of value, as far as these alone decide it.
func (n *Node) kindWith(fresh schema.Seen) schema.Kind {
	kind := (n.Seen | fresh).Kind()
	if kind == schema.Struct && n.Values != nil {
		return schema.Map
	}
	return kind
}

// decide takes a widening, or lets it wait.
func (m *merger) decide(v *Version, w widening, touched Touched) error {
	w.at.Seen |= w.kinds
	days, err := touched(v.Evidence().Resolve())
	if err != nil {
		return err
	}
	// Text in the place of a struct would take its columns away, or all that is in it.
	if m.rules.Frozen || len(days) > m.rules.MaxRewrite || w.before == schema.Struct || w.before == schema.Map {
		w.at.Seen &^= w.kinds
		w.at.Waiting |= w.kinds
		return nil
	}
	v.mark(days)
	return nil
}

// mark adds to the days that are to be rewritten.
func (v *Version) mark(days []string) {
	all := slices.Concat(v.Rewrite, days)
	slices.Sort(all)
	v.Rewrite = slices.Compact(all)
}

// hints pins what the configuration gives types to.
func (m *merger) hints(v *Version, touched Touched) error {
	for _, path := range slices.Sorted(maps.Keys(m.rules.Hints)) {
		hint := m.rules.Hints[path]
		n := v.Find(path)
		if n == nil || n.Pin == hint {
			continue
		}
		n.Pin = hint
		days, err := touched(v.Evidence().Resolve())
		if err != nil {
			return err
		}
		if len(days) > m.rules.MaxRewrite {
			return fmt.Errorf("%w: the hint %s: %s would have %d days rewritten, more than max_rewrite, %d: say that it shall be with headwater schema pin",
				ErrRewrite, path, hint, len(days), m.rules.MaxRewrite)
		}
		v.mark(days)
		m.changed = true
	}
	return nil
}

// Find is the place of raw_data that path names, as items[].price; nil if nothing was ever seen there. What is not found in raw_data is looked for
// in the whole record, as metadata.position.
func (v *Version) Find(path string) *Node {
	if n := v.Record.Fields[envelope.KeyRawData].find(path); n != nil {
		return n
	}
	return v.Record.find(path)
}

func (n *Node) find(path string) *Node {
	return schema.Find(n, path, func(n *Node) *Node { return cmp.Or(n.Elem, n.Values) }, func(n *Node, name string) *Node { return n.Fields[name] })
}

// mayRescue says that there may be values that no column takes.
func (n *Node) mayRescue() bool {
	if n == nil {
		return false
	}
	if n.Waiting != 0 || n.Pin != "" && n.Pin != "string" {
		return true
	}
	for _, f := range n.Fields {
		if f.mayRescue() {
			return true
		}
	}
	return n.Elem.mayRescue() || n.Values.mayRescue()
}
