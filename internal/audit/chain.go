package audit

import (
	"cmp"
	"slices"

	"headwater/lake"
)

// object is a raw object with what it says of itself.
type object struct {
	lake.Object
	name lake.RawName
	day  string
	tail lake.Tail
	told bool
	// fault says why its tail cannot be read.
	fault error
}

// place is a Kafka partition.
type place struct {
	topic     string
	partition int32
}

// span is a range of offsets, the end excluded.
type span struct{ from, to int64 }

// exact says whether the tail tells each offset of the object.
func exact(t lake.Tail) bool { return len(t.Runs) > 0 || t.Count == t.Next-t.First }

// runs are the ranges of offsets of a tail that tells them.
func runs(t lake.Tail) []lake.Run {
	if len(t.Runs) > 0 {
		return t.Runs
	}
	return []lake.Run{{First: t.First, Last: t.Next - 1}}
}

// doubled are offsets that two objects say they have.
type doubled struct {
	span
	a, b *object
}

// coverage is which offsets of one log are accounted for.
type coverage struct {
	// holes are ranges that no object and no quarantined record has.
	holes []span
	// vague are ranges of objects that do not tell their offsets one by one; short is how many offsets of it they leave over.
	vague []vague
	// double are those of two objects, each pair once.
	double []doubled
}

// vague is a range in which objects lie that do not tell which offsets they have. short offsets of it are in no object; it is negative
// if the objects have more records than there are offsets.
type vague struct {
	span
	short int64
}

// cover finds out which offsets of [from, to) are accounted for by objects of one log that have tails, and by records in quarantine.
func cover(objects []*object, quarantined []int64, from, to int64) coverage {
	var c coverage
	slices.SortFunc(objects, func(a, b *object) int {
		return cmp.Or(cmp.Compare(a.tail.First, b.tail.First), cmp.Compare(a.Key, b.Key))
	})
	type piece struct {
		span
		o *object
	}
	var pieces []piece
	var unclear []*object
	for i, o := range objects {
		if i > 0 && objects[i-1].tail.First == o.tail.First { // it is the same first record
			c.double = append(c.double, doubled{span{o.tail.First, min(o.tail.Next, objects[i-1].tail.Next)}, objects[i-1], o})
			if !exact(o.tail) {
				continue
			}
		}
		if !exact(o.tail) {
			unclear = append(unclear, o)
			continue
		}
		for _, r := range runs(o.tail) {
			pieces = append(pieces, piece{span{r.First, r.Last + 1}, o})
		}
	}
	for _, offset := range quarantined {
		pieces = append(pieces, piece{span{offset, offset + 1}, nil})
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.from, b.from) })
	at, last := from, piece{}
	for _, p := range pieces {
		if p.o != nil && last.o != nil && p.o != last.o && p.from < last.to {
			c.doubles(doubled{span{p.from, min(p.to, last.to)}, last.o, p.o})
		}
		if p.from > at {
			c.holes = append(c.holes, span{at, min(p.from, to)})
		}
		at = max(at, p.to)
		if p.o != nil && (last.o == nil || p.to > last.to) {
			last = p
		}
	}
	if at < to {
		c.holes = append(c.holes, span{at, to})
	}
	c.holes = slices.DeleteFunc(c.holes, func(s span) bool { return s.from >= s.to || s.from >= to })
	c.unclear(unclear, to)
	return c
}

// doubles notes offsets of two objects, once for each pair.
func (c *coverage) doubles(d doubled) {
	if !slices.ContainsFunc(c.double, func(x doubled) bool { return x.a == d.a && x.b == d.b || x.a == d.b && x.b == d.a }) {
		c.double = append(c.double, d)
	}
}

// unclear takes the holes in which objects may lie that do not tell their offsets, and compares how many there are, unless they reach beyond to.
// objects are in order.
func (c *coverage) unclear(objects []*object, to int64) {
	for i := 0; i < len(objects); {
		v, records := vague{span: span{objects[i].tail.First, objects[i].tail.Next}}, int64(0)
		for ; i < len(objects) && objects[i].tail.First < v.to; i++ {
			v.to = max(v.to, objects[i].tail.Next)
			records += objects[i].tail.Count
		}
		var left []span
		for _, h := range c.holes {
			inner := span{max(h.from, v.from), min(h.to, v.to)}
			if inner.from >= inner.to {
				left = append(left, h)
				continue
			}
			v.short += inner.to - inner.from
			for _, outer := range []span{{h.from, inner.from}, {inner.to, h.to}} {
				if outer.from < outer.to {
					left = append(left, outer)
				}
			}
		}
		c.holes = left
		if v.short -= records; v.to <= to {
			c.vague = append(c.vague, v)
		}
	}
}
