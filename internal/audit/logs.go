package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"headwater/kafka"
)

// logs looks whether each offset of each log is accounted for.
func (l *look) logs(ctx context.Context) error {
	logs := map[logKey][]*object{}
	for _, o := range l.objects {
		k := logKey{o.name.Partition, o.name.Generation}
		logs[k] = append(logs[k], o)
	}
	for k := range l.landed {
		if _, found := logs[k]; !found {
			logs[k] = nil // a log may have nothing else
		}
	}
	for p := range l.offsets.end {
		if k := (logKey{p, 1}); len(logs) == 0 || !slices.ContainsFunc(sortedLogs(logs), func(have logKey) bool { return have.partition == p }) {
			logs[k] = nil
		}
	}
	for _, k := range sortedLogs(logs) {
		if err := l.log(ctx, k, logs[k]); err != nil {
			return err
		}
	}
	return nil
}

// extent is which offsets of a log are to be accounted for, and what is Kafka's.
type extent struct {
	from, to int64
	// current: it is the log that Kafka has now, from kept on.
	current bool
	kept    int64
}

func (l *look) log(ctx context.Context, k logKey, objects []*object) error {
	var told, untold []*object
	for _, o := range objects {
		switch {
		case o.told:
			told = append(told, o)
		case o.fault == nil && !slices.ContainsFunc(l.gone, func(g gone) bool { return g.logKey == k && g.from == o.name.Offset }):
			untold = append(untold, o)
		}
	}
	if err := l.judgeUntold(ctx, k, told, &untold); err != nil {
		return err
	}
	p := Partition{Partition: k.partition, Generation: k.generation, Objects: len(objects), Unproven: len(untold), Quarantined: int64(len(l.landed[k]))}
	l.doubledUntold(k, untold)
	e := l.extent(k, told, &p)
	records := int64(0)
	for _, o := range told {
		records += o.tail.Count
		p.Log = o.tail.Log
	}
	if len(untold) == 0 {
		p.Records = &records
	}
	l.Partitions = append(l.Partitions, p)
	if e.from >= e.to {
		return nil
	}
	c := cover(told, l.landed[k], e.from, e.to)
	for _, d := range c.double {
		if l.wants(d.a, d.b) {
			l.differ(Finding{Kind: Overlap, Day: d.b.day, Object: d.b.Key, Text: fmt.Sprintf("it has offsets that %s has too; move the copy away", d.a.Key)}.at(l.place(k), d.from, d.to-1))
		}
	}
	l.short(k, told)
	for _, v := range c.vague {
		l.vague(k, e, v)
	}
	return l.holes(ctx, k, e, c.holes, objects, untold)
}

func (l *look) place(k logKey) place { return place{l.Job.Topic, k.partition} }

// wants says whether what was found of objects is of the day that was asked for.
func (l *look) wants(objects ...*object) bool {
	return l.Day == "" || slices.ContainsFunc(objects, func(o *object) bool { return o.day == l.Day })
}

// extent finds out which offsets are to be accounted for. Without Kafka's word these end with the start of the last object: each record before it was in an
// object before it was put, and of those after it some may be on their way.
func (l *look) extent(k logKey, told []*object, p *Partition) (e extent) {
	for i, o := range told {
		if i == 0 || o.tail.First < e.from {
			e.from = o.tail.First
		}
		e.to = max(e.to, o.tail.First+1)
		if p.Next == nil || *p.Next < o.tail.Next {
			p.Next = new(o.tail.Next)
		}
	}
	if len(told) > 0 {
		p.First = new(e.from)
	}
	end, exists := l.offsets.end[k.partition]
	e.current = l.offsets.asked && exists && l.isCurrent(k, told)
	if e.current {
		e.kept = l.offsets.start[k.partition]
		p.Start, p.End = new(e.kept), new(end)
		if at, found := l.offsets.committed[k.partition]; found && at <= end {
			p.Committed = new(at)
			if len(told) == 0 {
				e.from = e.kept
			}
			e.to = max(e.to, at)
		}
	}
	switch {
	case l.Collected && l.Dense && (len(told) > 0 || p.Committed != nil) && k.generation == 1 && l.RawKept == 0:
		e.from = 0
	case l.Collected && e.current && len(told) > 0:
		e.from = min(e.from, e.kept)
	}
	if l.Day != "" {
		e.narrow(l.Day, told, l.gone, k)
	}
	return e
}

// isCurrent says whether Kafka's log is the one that the objects were made from; without objects, whether there is no later one.
func (l *look) isCurrent(k logKey, told []*object) bool {
	if len(told) > 0 {
		return told[len(told)-1].tail.Log == l.offsets.log
	}
	return !slices.ContainsFunc(l.objects, func(o *object) bool { return o.name.Partition == k.partition && o.told })
}

// narrow leaves the offsets that are between the day's objects, and up to the next object of others.
func (e *extent) narrow(day string, told []*object, lost []gone, k logKey) {
	from, to := e.to, e.from
	for _, o := range told {
		if o.day == day {
			from, to = min(from, o.tail.First), max(to, o.tail.Next)
		}
	}
	for _, g := range lost {
		if g.logKey == k {
			from, to = min(from, g.from), max(to, g.to)
		}
	}
	next := e.to
	for _, o := range told {
		if o.tail.First >= to {
			next = min(next, o.tail.First)
		}
	}
	e.from, e.to = max(e.from, from), min(e.to, max(to, next))
}

// short compares, of a topic whose offsets all have records, the number of records of each object with that of its offsets.
func (l *look) short(k logKey, told []*object) {
	if !l.Dense {
		return
	}
	for _, o := range told {
		if !exact(o.tail) || !l.wants(o) {
			continue
		}
		places := int64(0)
		for _, r := range runs(o.tail) {
			places += r.Last - r.First + 1
			for _, q := range l.landed[k] {
				if r.First <= q && q <= r.Last {
					places--
				}
			}
		}
		if places != o.tail.Count {
			l.differ(Finding{
				Kind: Missing, Day: o.day, Object: o.Key, Records: places - o.tail.Count,
				Text: fmt.Sprintf("it has %d records of %d offsets", o.tail.Count, places),
			}.at(l.place(k), o.tail.First, o.tail.Next-1))
		}
	}
}

// vague judges a range in which objects do not tell their offsets one by one.
func (l *look) vague(k logKey, e extent, v vague) {
	if v.from < e.from || v.short == 0 {
		return
	}
	f := Finding{Records: max(v.short, -v.short)}.at(l.place(k), v.from, v.to-1)
	switch {
	case v.short < 0:
		f.Kind, f.Text = Overlap, fmt.Sprintf("the objects there have %d records more than there are offsets for", -v.short)
	case l.Dense:
		f.Kind, f.Text = Missing, fmt.Sprintf("%d of these offsets are in no object and not in quarantine", v.short)
	default:
		f.Kind, f.Text = NotProven, fmt.Sprintf("%d of these offsets are in no object: they are markers of transactions, or records that are missing", v.short)
		l.notKnown(f)
		return
	}
	l.differ(f)
}

// mostLooks is how many holes of a log are looked at in Kafka; the others are unknown.
const mostLooks = 2000

// holes judges ranges of offsets that are in no object and not in quarantine.
func (l *look) holes(ctx context.Context, k logKey, e extent, holes []span, objects, untold []*object) error {
	var unknown []span
	looks := 0
	for _, h := range holes {
		if l.attributed(k, h) {
			continue
		}
		if l.beforeUntold(h, objects, untold) {
			l.notKnown(Finding{Kind: NotProven, Text: "nothing proves that these offsets are in the objects that others have written"}.at(l.place(k), h.from, h.to-1))
			continue
		}
		old := span{h.from, min(h.to, e.kept)}
		if !e.current {
			old = h
		}
		if old.from < old.to && l.Dense {
			l.missing(k, old)
		} else if old.from < old.to {
			unknown = append(unknown, old)
		}
		kept := span{max(h.from, old.to), h.to}
		if old.from >= old.to {
			kept = h
		}
		if kept.from >= kept.to {
			continue
		}
		if looks++; looks > mostLooks {
			unknown = append(unknown, kept)
			continue
		}
		if err := l.lookInto(ctx, k, kept); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		n := int64(0)
		for _, h := range unknown {
			n += h.to - h.from
		}
		l.notKnown(Finding{
			Kind: NotProven, Records: n,
			Text: fmt.Sprintf("%d of these offsets are in no object, and Kafka cannot be asked for them: they are markers of transactions, or records that are missing", n),
		}.
			at(l.place(k), unknown[0].from, unknown[len(unknown)-1].to-1))
	}
	return nil
}

// attributed says whether the hole is where an object was that is reported by itself.
func (l *look) attributed(k logKey, h span) bool {
	return slices.ContainsFunc(l.gone, func(g gone) bool { return g.logKey == k && g.from <= h.from && h.to <= g.to })
}

// beforeUntold says whether the last object that starts before the hole's end says nothing of itself.
func (l *look) beforeUntold(h span, objects, untold []*object) bool {
	if len(untold) == 0 {
		return false
	}
	var last *object
	for _, o := range objects {
		if o.name.Offset < h.to && (last == nil || o.name.Offset > last.name.Offset) {
			last = o
		}
	}
	return last != nil && slices.Contains(untold, last)
}

func (l *look) missing(k logKey, h span) {
	l.differ(Finding{Kind: Missing, Records: h.to - h.from, Text: "no object has these offsets, and they are not in quarantine"}.at(l.place(k), h.from, h.to-1))
}

// lookInto asks Kafka which offsets of a hole have records.
func (l *look) lookInto(ctx context.Context, k logKey, h span) error {
	found := span{-1, -1}
	end := func() {
		if found.from >= 0 {
			l.differ(Finding{Kind: Missing, Records: found.to - found.from, Text: "Kafka has these records, and no object has them, nor quarantine"}.at(l.place(k), found.from, found.to-1))
		}
	}
	err := kafka.Look(ctx, l.Kafka, l.Job.Topic, k.partition, h.from, h.to, func(r kafka.Looked) error {
		if found.to != r.Offset {
			end()
			found.from = r.Offset
		}
		found.to = r.Offset + 1
		return nil
	})
	if errors.Is(err, kafka.ErrTrimmed) {
		l.notKnown(Finding{Kind: NotProven, Text: "Kafka has deleted them while they were looked for; look again"}.at(l.place(k), h.from, h.to-1))
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for offsets %d to %d of topic %s partition %d: %w", h.from, h.to-1, l.Job.Topic, k.partition, err)
	}
	end()
	return nil
}

// doubledUntold finds objects that say nothing of themselves and begin with the same record.
func (l *look) doubledUntold(k logKey, untold []*object) {
	first := map[int64]*object{}
	for _, o := range untold {
		other := first[o.name.Offset]
		first[o.name.Offset] = o
		if other == nil || !l.wants(o, other) {
			continue
		}
		f := Finding{Kind: Overlap, Day: o.day, Object: o.Key, Text: fmt.Sprintf("it begins with the record that %s begins with", other.Key)}.at(l.place(k), o.name.Offset, o.name.Offset)
		if l.Job.Legacy.Dedupes() {
			f.Kind = NotProven
			f.Text += "; legacy.dedupe leaves out the lines that are equal"
			l.notKnown(f)
			continue
		}
		l.differ(f)
	}
}
