package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"headwater/internal/gunzip"
	"headwater/lake"
	"headwater/table"
)

// heldDay is what the two tables have of a day.
type heldDay struct {
	raw, flat table.Held
	// broken: a table cannot be read, which is a difference already.
	broken bool
}

// tables looks at both tables, by day.
func (l *look) tables(ctx context.Context) (map[string]*heldDay, error) {
	all := map[string]*heldDay{}
	if l.Serializer == nil {
		return all, nil
	}
	for _, n := range []table.Name{l.Job.Raw, l.Job.Flat} {
		days, err := table.Days(ctx, l.Tables, n)
		if err != nil {
			return nil, err
		}
		if l.Day != "" {
			days = slices.DeleteFunc(days, func(d table.Day) bool { return d.String() != l.Day })
		}
		err = table.LookDays(ctx, l.Tables, n, days, func(d table.Day, h table.Held, err error) error {
			day := all[d.String()]
			if day == nil {
				day = &heldDay{}
				all[d.String()] = day
			}
			if n == l.Job.Raw {
				day.raw = h
			} else {
				day.flat = h
			}
			if err == nil {
				return nil
			}
			if errors.Is(err, table.ErrForeign) || errors.Is(err, lake.ErrNotExist) || errors.Is(err, table.ErrNotParquet) || errors.Is(err, table.ErrVersion) || errors.Is(err, table.ErrDamaged) {
				day.broken = true
				l.differ(Finding{Kind: Unreadable, Day: d.String(), Table: n.String(), Text: err.Error()})
				return nil
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", n, err)
		}
	}
	return all, nil
}

// days judges what there is of each day: its objects, and what the tables were made from.
func (l *look) days(ctx context.Context, held map[string]*heldDay) error {
	of := map[string][]*object{}
	for _, o := range l.objects {
		if o.day != "" && (l.Day == "" || o.day == l.Day) {
			of[o.day] = append(of[o.day], o)
		}
		if l.wants(o) {
			l.damagedTail(o)
		}
	}
	names := slices.Concat(slices.Collect(maps.Keys(of)), slices.Collect(maps.Keys(held)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		day := l.day(name)
		day.Objects = len(of[name])
		records := int64(0)
		for _, o := range of[name] {
			if o.told {
				records += o.tail.Count
			} else {
				day.Unproven++
			}
		}
		if day.Unproven == 0 {
			day.Records = &records
		}
		if h := held[name]; h != nil {
			if err := l.made(ctx, day.Day, h, of[name]); err != nil {
				return err
			}
		} else {
			day.Waiting = day.Objects
		}
	}
	slices.SortFunc(l.Days, func(a, b Day) int { return cmp.Compare(a.Day, b.Day) })
	return nil
}

// damagedTail reports an object whose tail contradicts itself, or that has no bytes.
func (l *look) damagedTail(o *object) {
	k := logKey{o.name.Partition, o.name.Generation}
	switch {
	case o.fault != nil:
		l.gone = append(l.gone, gone{k, span{o.name.Offset, o.name.Offset}})
		l.differ(Finding{Kind: Truncated, Day: o.day, Object: o.Key, Text: o.fault.Error()}.at(l.place(k), o.name.Offset, o.name.Offset))
	case o.Size == 0:
		l.gone = append(l.gone, gone{k, span{o.name.Offset, o.name.Offset}})
		l.differ(Finding{Kind: Truncated, Day: o.day, Object: o.Key, Text: "it has no bytes"}.at(l.place(k), o.name.Offset, o.name.Offset))
	}
}

// made judges a day that there are tables of.
func (l *look) made(ctx context.Context, name string, h *heldDay, objects []*object) error {
	raw, flat := h.raw.Files(), h.flat.Files()
	day := l.day(name)
	if len(raw) == 0 && len(flat) == 0 {
		day.Waiting = day.Objects
		return nil
	}
	day.State = h.raw.State()
	rows, quarantined := h.raw.Rows()
	flatRows, _ := h.flat.Rows()
	day.RawRows, day.FlatRows, day.Quarantined = &rows, &flatRows, &quarantined
	inputs := inputsOf(raw)
	l.judgeInputs(name, inputs)
	for _, o := range objects {
		if _, known := inputs[o.Key]; !known {
			day.Waiting++
		}
	}
	if h.broken {
		return nil
	}
	if err := l.countFiles(ctx, name, l.Job.Raw, raw); err != nil {
		return err
	}
	if err := l.countFiles(ctx, name, l.Job.Flat, flat); err != nil {
		return err
	}
	l.sum(name, inputs, rows, quarantined)
	if !maps.Equal(inputs, inputsOf(flat)) {
		l.notKnown(Finding{Kind: NotProven, Day: name, Table: l.Job.Flat.String(), Text: "it is not made from the same objects as the raw table yet; the next serialize makes it"})
		return nil
	}
	if rows != flatRows {
		l.differ(Finding{Kind: Rows, Day: name, Table: l.Job.Flat.String(), Records: abs(rows - flatRows), Text: fmt.Sprintf("it has %d rows, and %s has %d of the same objects", flatRows, l.Job.Raw, rows)})
	}
	return l.countQuarantine(ctx, name, inputs, quarantined)
}

func abs(n int64) int64 { return max(n, -n) }

func inputsOf(files []table.Seen) map[string]table.Input {
	all := map[string]table.Input{}
	for _, f := range files {
		for _, in := range f.Footer.Inputs {
			all[in.Key] = in
		}
	}
	return all
}

// judgeInputs compares the objects with what the tables say that they were made from.
func (l *look) judgeInputs(day string, inputs map[string]table.Input) {
	expired := 0
	for _, key := range slices.Sorted(maps.Keys(inputs)) {
		in, o := inputs[key], l.byKey[key]
		l.inputs[key] = true
		name, err := lake.ParseRawKey(key)
		if err != nil {
			continue // the tables are of somebody else's keys
		}
		k := logKey{name.Partition, name.Generation}
		f := Finding{Day: day, Object: key, Records: in.Count}
		last := max(in.First, in.Next-1)
		switch {
		case o == nil && l.expires(day):
			expired++
			l.gone = append(l.gone, gone{k, span{in.First, in.Next}})
			continue
		case o == nil:
			f.Kind, f.Text = Missing, "the tables were made from this object, and it is there no more"
		case o.Size != in.Size && in.Log != "" && !o.told:
			f.Kind, f.Text = Truncated, fmt.Sprintf("it has %d bytes, and had %d when the tables were made from it", o.Size, in.Size)
		case o.Size != in.Size, in.Log != "" && o.told && (o.tail.Log != in.Log || o.tail.First != in.First || o.tail.Next != in.Next || o.tail.Count != in.Count):
			f.Kind, f.Text = Changed, fmt.Sprintf("it has %d bytes, had %d when the tables were made from it, and is another object", o.Size, in.Size)
			l.differ(f.at(l.place(k), in.First, last))
			continue
		default:
			continue
		}
		if in.Next > in.First {
			l.gone = append(l.gone, gone{k, span{in.First, in.Next}})
		}
		l.differ(f.at(l.place(k), in.First, last))
	}
	if expired > 0 {
		l.notKnown(Finding{Kind: NotProven, Day: day, Text: fmt.Sprintf("%d of the objects that the tables were made from are there no more, and older than lake.raw_kept", expired)})
	}
}

// expires says whether objects of the day may have been deleted because of their age.
func (l *look) expires(day string) bool {
	at, err := time.Parse(time.DateOnly, day)
	return err == nil && l.RawKept > 0 && time.Since(at) >= l.RawKept
}

// countFiles compares the rows that each file says it was written with and those that it has.
func (l *look) countFiles(ctx context.Context, day string, n table.Name, files []table.Seen) error {
	for _, f := range files {
		rows, _, err := table.ReadRows(ctx, l.Tables, f.Object.Key)
		if errors.Is(err, lake.ErrNotExist) {
			l.differ(Finding{Kind: Unreadable, Day: day, Table: n.String(), Object: f.Object.Key, Text: "the file is there no more"})
			continue
		}
		if err != nil {
			return err
		}
		if rows != f.Footer.Rows {
			l.differ(Finding{
				Kind: Rows, Day: day, Table: n.String(), Object: f.Object.Key, Records: abs(rows - f.Footer.Rows),
				Text: fmt.Sprintf("the file has %d rows, and was made with %d; headwater serialize --full makes it anew", rows, f.Footer.Rows),
			})
		}
	}
	return nil
}

// sum checks that rows and quarantined records are as many as the objects had.
func (l *look) sum(day string, inputs map[string]table.Input, rows, quarantined int64) {
	records := int64(0)
	for _, in := range inputs {
		if in.Log == "" {
			return // it did not say
		}
		records += in.Count
	}
	if records != rows+quarantined {
		l.differ(Finding{
			Kind: Rows, Day: day, Table: l.Job.Raw.String(), Records: abs(records - rows - quarantined),
			Text: fmt.Sprintf("%d rows and %d quarantined records were made of %d records", rows, quarantined, records),
		})
	}
}

// countQuarantine compares the day's file in quarantine with what the tables say. A run that was killed, or refused, may have written it and not the tables:
// then the day is stale.
func (l *look) countQuarantine(ctx context.Context, day string, inputs map[string]table.Input, quarantined int64) error {
	q := lake.Quarantine{Store: l.Raw}
	key, n := lake.QuarantineKey("serialize", l.Job.Source, day, day), int64(0)
	for e, err := range q.Read(ctx, key) {
		switch {
		case errors.Is(err, lake.ErrNotExist):
		case err != nil && ctx.Err() == nil:
			l.differ(Finding{Kind: Unreadable, Day: day, Object: key, Text: err.Error()})
			return nil
		case err != nil:
			return err
		default:
			if _, known := inputs[e.Origin]; known {
				n++
			}
		}
	}
	if n == quarantined {
		return nil
	}
	f := Finding{Kind: Rows, Day: day, Object: key, Records: abs(n - quarantined), Text: fmt.Sprintf("%d records are in quarantine, and the tables were made without %d", n, quarantined)}
	job := l.Job
	var err error
	if job.Day, err = table.ParseDay(day); err != nil {
		return err
	}
	stale, err := l.Serializer.Stale(ctx, job)
	if err == nil && !stale && l.day(day).State != table.Undone {
		l.differ(f)
		return nil
	}
	f.Kind, f.Text = NotProven, f.Text+"; the day is to be made anew, which a run has begun, or was rolled back"
	l.notKnown(f)
	return ctx.Err()
}

// fewUntold is how many objects that say nothing of themselves are read where none that does is before them.
const fewUntold = 16

// judgeUntold takes those out of untold that have lost their ends: no table was made from them, and unpacking them fails. After objects of ours, those without a
// tail are suspect; whole histories of others are not read.
func (l *look) judgeUntold(ctx context.Context, k logKey, told []*object, untold *[]*object) error {
	many := len(*untold) > fewUntold
	var left []*object
	for _, o := range *untold {
		after := slices.ContainsFunc(told, func(t *object) bool { return t.name.Offset < o.name.Offset })
		if l.inputs[o.Key] || !l.wants(o) || many && !after {
			left = append(left, o)
			continue
		}
		whole, err := l.isWhole(ctx, o)
		if err != nil {
			return err
		}
		if whole {
			left = append(left, o)
			continue
		}
		to := o.name.Offset + 1
		for _, t := range told {
			if t.name.Offset > o.name.Offset && (to == o.name.Offset+1 || t.name.Offset < to) {
				to = t.name.Offset
			}
		}
		if c := l.offsets.committed[k.partition]; to == o.name.Offset+1 && c > to {
			to = c
		}
		l.gone = append(l.gone, gone{k, span{o.name.Offset, to}})
		l.differ(Finding{Kind: Truncated, Day: o.day, Object: o.Key, Text: "it is damaged or cut short"}.at(l.place(k), o.name.Offset, to-1))
	}
	*untold = left
	return nil
}

// isWhole says whether an object can be unpacked to its end.
func (l *look) isWhole(ctx context.Context, o *object) (bool, error) {
	mark := o.Key + " " + o.Version
	l.mu.Lock()
	whole, known := l.whole[mark]
	l.mu.Unlock()
	if known {
		return whole, nil
	}
	body, _, err := l.Raw.Get(ctx, o.Key, 0, -1)
	if errors.Is(err, lake.ErrNotExist) {
		return true, nil // it was moved away since it was listed
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", o.Key, err)
	}
	defer body.Close()
	b := &store{r: body}
	_, err = io.Copy(io.Discard, gunzip.NewReader(b))
	if b.err != nil {
		return false, fmt.Errorf("reading %s: %w", o.Key, b.err)
	}
	l.mu.Lock()
	l.whole[mark] = err == nil
	l.mu.Unlock()
	return err == nil, nil
}

// store tells a store that fails from an object that is damaged: it keeps the store's error.
type store struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *store) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
