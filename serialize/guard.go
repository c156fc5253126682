package serialize

import (
	"headwater/schema"
	"headwater/schema/ledger"
)

// guard keeps a place from kinds of value that the ledger, or the contract, does not let into the table.
type guard struct {
	// refused are kinds that a person has sent to quarantine.
	refused schema.Seen
	// closed: nothing may change the type, which is that of known.
	closed bool
	known  schema.Seen
	kind   schema.Kind
}

// below is the guard of a place that the ledger does not know.
func (g guard) below() guard { return guard{closed: g.closed && g.kind != schema.String} }

func (g guard) allows(seen schema.Seen) bool {
	switch {
	case g.refused&seen != 0:
		return false
	case !g.closed || seen == schema.SeenNull:
		return true
	case g.kind == schema.Undecided:
		return seen&(schema.SeenArray|schema.SeenObject) != 0 // what is in them decides
	}
	return (g.known | seen).Kind() == g.kind
}

// protect gives the places that head knows their guards; closed is the contract quarantine. Without a version there is nothing to protect.
func (w *inferrer) protect(head *ledger.Version, closed bool) {
	if head == nil || head.Number == 0 {
		return
	}
	for _, root := range w.roots {
		root.protect(head.Record, closed)
	}
}

func (n *node) protect(known *ledger.Node, closed bool) {
	n.guard = guard{refused: known.Refused, closed: closed, known: known.Seen, kind: known.Kind()}
	if n.guard.kind == schema.String || known.Pin != "" {
		n.guard.closed = false // it takes everything, or says by itself what it takes
		return
	}
	if known.Elem != nil {
		n.elem = &node{}
		n.elem.protect(known.Elem, closed)
	}
	if known.Values != nil {
		n.values = &node{}
		n.values.protect(known.Values, closed)
	}
	for name, f := range known.Fields {
		i := n.names.find([]byte(name), -1)
		if i < 0 {
			i = n.names.add(name)
			n.fields = append(n.fields, &node{})
		}
		n.fields[i].protect(f, closed)
	}
}
