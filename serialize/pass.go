package serialize

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/envelope"
	"headwater/lake"
	"headwater/schema"
	"headwater/table"
)

// scanned is what a pass found out.
type scanned struct {
	objects  []scannedObject
	evidence [classes]*schema.Evidence
	// rows and quarantined add up to the records.
	rows, quarantined int64
	reasons           map[string]int64
	// layout is what the records are to be cut into, now that all are known.
	layout layout
	// objects are the rule: there were some on other days.
	known bool
	// misfit: there are records that do not fit the layout that they should have been cut into.
	misfit bool
	// late is what Result.Late is.
	late int64
	// lone is what Result.LoneSurrogates is.
	lone int64
}

// layout is what records are cut into.
type layout struct {
	// record is the type of a whole record, by the names in the data.
	record schema.Type
	// rows is the class of raw_data that becomes rows besides null: objects, or bare values where there are none.
	rows class
	// rescue: after the columns of the record comes that of what no other takes.
	rescue bool
}

// scannedObject says which records of an object are no rows.
type scannedObject struct {
	records int64
	// late came when the day had been closed.
	late int64
	// bad are in order of the lines.
	bad []badLine
	// bare are the lines whose raw_data is neither an object nor null, which makes them bad if there are objects.
	bare []lineRun
}

// lineRun is lines that follow each other: a day of bare values has as many as it has objects, not as it has records.
type lineRun struct{ first, last int64 }

type badLine struct {
	number int64
	reason string
}

const (
	// keysPerColumn bounds the memory of the evidence. Most keys become columns; null and empty ones do not.
	keysPerColumn = 50
	adviceOnKeys  = "its objects probably have ids for keys; raise the limit or have the source send them as arrays"
)

// pass is one reading of the day's records.
type pass struct {
	*run
	scanned
	// sample says which of the records are read; nil is all.
	sample *sampling
	// cut is what becomes of the records besides; nil is nothing.
	cut *cut
}

// infer reads the records for their evidence alone.
func (r *run) infer(ctx context.Context) (*scanned, error) {
	p := &pass{run: r}
	return &p.scanned, p.read(ctx)
}

// read reads all records. Objects are shared out among the workers; what each has gathered is merged at the end.
func (p *pass) read(ctx context.Context) error {
	p.objects, p.reasons = make([]scannedObject, len(p.inputs)), map[string]int64{}
	if p.sample == nil && p.doubled == nil {
		if err := p.findDoubled(ctx); err != nil {
			return err
		}
	}
	p.known = p.head != nil && p.head.HasObjects()
	d := p.job.Day
	from, to := dayStart(d, 0, p.Location), dayStart(d, 1, p.Location)
	inferrers := make([]*inferrer, min(p.Config.workers(), len(p.inputs)))
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	if p.cut != nil {
		g.Go(func() error { return p.cut.drain(gctx) })
	}
	for i := range inferrers {
		w := newInferrer(p.reading(), from, to, keysPerColumn*p.job.Schema.MaxColumns)
		w.protect(p.head, p.job.Schema.Columns == ColumnsQuarantine)
		if p.cut != nil {
			w.cutInto(p.cut.layout)
			w.cut.out = p.cut.batch(len(w.cut.leaves))
		}
		inferrers[i] = w
		g.Go(func() error {
			for {
				at := int(next.Add(1)) - 1
				if at >= len(p.inputs) {
					return nil
				}
				read := p.readObject
				if p.sample != nil {
					read = p.sampleObject
				}
				if err := read(gctx, w, at); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, w := range inferrers {
		p.misfit = p.misfit || w.misfit
		if w.cut != nil {
			p.lone += w.cut.lone
		}
		for c, e := range w.evidence() {
			if p.evidence[c] == nil {
				p.evidence[c] = e
			} else {
				p.evidence[c].Merge(e)
			}
		}
	}
	p.settleKinds()
	p.count()
	return p.checkConnector(&p.scanned)
}

// dayStart is the first millisecond of the day that many days after d.
func dayStart(d table.Day, days int, where *time.Location) int64 {
	return d.Add(days).Begins(where).UnixMilli()
}

func (p *pass) readObject(ctx context.Context, w *inferrer, at int) error {
	in, o := p.inputs[at], &p.objects[at]
	mayBeLate := in.mayBeLate(p.closed)
	for l, err := range p.lines(ctx, in) {
		if err != nil {
			return err
		}
		w.at = int64(at)*recordsPerObject + o.records
		o.records++
		late := mayBeLate && in.isLate(p.closed, l.record)
		if late {
			o.late++
		}
		if late && p.leaveOut {
			o.bad = append(o.bad, badLine{l.number, reasonLate})
		} else if p.isDoubled(at, l.number) {
			o.bad = append(o.bad, badLine{l.number, reasonDuplicate})
		} else if err := p.readRecord(w, l, o); err != nil {
			return err
		}
		if w.cut != nil {
			if err := p.cut.handOn(ctx, w, at, false); err != nil {
				return err
			}
		}
	}
	if err := in.checkCount(o.records); err != nil {
		return err
	}
	if w.cut != nil {
		return p.cut.handOn(ctx, w, at, true)
	}
	return nil
}

// checkCount compares what was read of an object with what it says of itself.
func (in *input) checkCount(records int64) error {
	if in.told && records != in.tail.Count {
		return dataError("%s has %d records, but was written with %d; restore it from a copy or from the topic", in.Key, records, in.tail.Count)
	}
	return nil
}

func (p *pass) readRecord(w *inferrer, l line, o *scannedObject) error {
	if l.tooLong {
		o.bad = append(o.bad, badLine{l.number, reasonTooLong})
		return nil
	}
	of, reason := w.record(l.text)
	switch {
	case reason == tooManyKeys:
		return dataError("the day has more than %d different keys (long ones count as several), %d times max_columns: %s",
			w.maxKeys, keysPerColumn, adviceOnKeys)
	case reason != "":
		o.bad = append(o.bad, badLine{l.number, reason})
	case of == classBare:
		o.addBare(l.number)
	}
	return nil
}

func (o *scannedObject) addBare(number int64) {
	if n := len(o.bare); n > 0 && o.bare[n-1].last == number-1 {
		o.bare[n-1].last = number
		return
	}
	o.bare = append(o.bare, lineRun{number, number})
}

// settleKinds decides, now that the whole day is known, what becomes of bare values: rows where there is no object,
// quarantine where there is one.
func (s *scanned) settleKinds() {
	if !s.hasObjects() {
		return
	}
	for i := range s.objects {
		o := &s.objects[i]
		for _, b := range o.bare {
			for number := b.first; number <= b.last; number++ {
				o.bad = append(o.bad, badLine{number, reasonKind})
			}
		}
		slices.SortFunc(o.bad, func(a, b badLine) int { return int(a.number - b.number) })
	}
}

func (s *scanned) hasObjects() bool {
	return s.known || s.evidence[classObject].Fields[envelope.KeyRawData].Seen&schema.SeenObject != 0
}

func (s *scanned) count() {
	for _, o := range s.objects {
		s.rows += o.records - int64(len(o.bad))
		s.quarantined += int64(len(o.bad))
		s.late += o.late
		for _, bad := range o.bad {
			s.reasons[bad.reason]++
		}
	}
}

// rowsOf is the class of raw_data that becomes rows.
func (s *scanned) rowsOf() class {
	if s.hasObjects() {
		return classObject
	}
	return classBare
}

// evidenceOfRows is that of the records that become rows. ingestion_timestamp is in it even if there are none, because a file needs a column.
func (s *scanned) evidenceOfRows() *schema.Evidence {
	e := &schema.Evidence{}
	e.Merge(s.evidence[classNull])
	e.Merge(s.evidence[s.rowsOf()])
	e.Seen = schema.SeenObject
	if at := e.Fields[envelope.KeyTimestamp]; at == nil || at.Seen == 0 {
		e.Fields[envelope.KeyTimestamp] = &schema.Evidence{Seen: schema.SeenInt}
	}
	return e
}

// checkConnector refuses doubled records among objects that say nothing of themselves: an object that starts before
// the object before it can have ended. inputs are in order.
func (r *run) checkConnector(s *scanned) error {
	for i, j := range neighbours(r.inputs) {
		a, b := r.inputs[i], r.inputs[j]
		if end := a.name.Offset + s.objects[i].records; !a.told && end > b.name.Offset && !(r.job.Legacy.Dedupes() && !b.told) {
			return dataError("%s has %d records, so it ends at offset %d or later, and %s starts before that; move one of them away",
				a.Key, s.objects[i].records, end, b.Key)
		}
	}
	return nil
}

// quarantine puts the bad records of the day where they can be looked at. Only the objects that have some are read again. The error is errAgain
// where another run has put some there since this one looked for objects: it may have found more.
func (r *run) quarantine(ctx context.Context, s *scanned) error {
	err := r.Quarantine.Replace(ctx, "serialize", r.job.Source, r.job.Day.String(), r.quarantineVersion, r.entries(ctx, s))
	if errors.Is(err, lake.ErrChanged) {
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	if err != nil {
		return fmt.Errorf("quarantining %d records: %w", s.quarantined, err)
	}
	return nil
}

func (r *run) entries(ctx context.Context, s *scanned) iter.Seq2[lake.Entry, error] {
	return func(yield func(lake.Entry, error) bool) {
		for i, in := range r.inputs {
			bad := s.objects[i].bad
			if len(bad) == 0 {
				continue
			}
			for l, err := range r.lines(ctx, in) {
				if err != nil {
					yield(lake.Entry{}, err)
					return
				}
				if l.number != bad[0].number {
					continue
				}
				if !yield(entry(in, l, bad[0].reason), nil) {
					return
				}
				if bad = bad[1:]; len(bad) == 0 {
					break
				}
			}
		}
	}
}

// entry is a bad record. One that is too long is named and not copied: its bytes stay in the object.
func entry(in input, l line, reason string) lake.Entry {
	e := lake.Entry{
		Reason: reason, Origin: in.Key, Position: fmt.Sprintf("line %d", l.number), Data: l.text,
	}
	if offset, ok := in.offset(l.record); ok {
		e.Record = &lake.RecordPosition{Topic: in.name.Topic, Partition: in.name.Partition, Offset: offset}
	}
	return e
}
