package serialize

import (
	"context"
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

// scanned is what the first pass found out.
type scanned struct {
	objects  []scannedObject
	evidence [classes]*schema.Evidence
	// rows and quarantined add up to the records.
	rows, quarantined int64
	reasons           map[string]int64
	// spark: columns are those of DialectSpark.
	spark bool
	// record is the type of a whole record, by the names in the data.
	record schema.Type
}

// scannedObject says which records of an object are no rows.
type scannedObject struct {
	records int64
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
	// keysPerColumn bounds the memory of the first pass. Most keys become columns; null and empty ones do not.
	keysPerColumn = 50
	adviceOnKeys  = "its objects probably have ids for keys; raise the limit or have the source send them as arrays"
)

// infer is the first pass. Objects are shared out among the workers; what each has gathered is merged at the end.
func (r *run) infer(ctx context.Context) (*scanned, error) {
	s := &scanned{objects: make([]scannedObject, len(r.inputs)), reasons: map[string]int64{}, spark: r.job.Schema.Dialect == DialectSpark}
	d := r.job.Day
	from, to := dayStart(d, 0, r.Location), dayStart(d, 1, r.Location)
	inferrers := make([]*inferrer, min(r.Config.workers(), len(r.inputs)))
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for i := range inferrers {
		w := newInferrer(r.reading(), from, to, keysPerColumn*r.job.Schema.MaxColumns)
		inferrers[i] = w
		g.Go(func() error {
			for {
				at := int(next.Add(1)) - 1
				if at >= len(r.inputs) {
					return nil
				}
				if err := r.inferObject(gctx, w, r.inputs[at], &s.objects[at]); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, w := range inferrers {
		for c, e := range w.evidence() {
			if s.evidence[c] == nil {
				s.evidence[c] = e
			} else {
				s.evidence[c].Merge(e)
			}
		}
	}
	s.settleKinds()
	s.count()
	return s, r.checkConnector(s)
}

// dayStart is the first millisecond of the day that many days after d.
func dayStart(d table.Day, days int, where *time.Location) int64 {
	midnight := func(where *time.Location) time.Time {
		return time.Date(d.Year, time.Month(d.Month), d.Day+days, 0, 0, 0, 0, where)
	}
	t := midnight(where)
	if t.Day() != midnight(time.UTC).Day() {
		_, t = t.ZoneBounds() // the clock skips midnight, and time.Date has named an hour of the day before
	}
	return t.UnixMilli()
}

func (r *run) inferObject(ctx context.Context, w *inferrer, in input, o *scannedObject) error {
	for l, err := range r.lines(ctx, in) {
		if err != nil {
			return err
		}
		o.records++
		if l.tooLong {
			o.bad = append(o.bad, badLine{l.number, reasonTooLong})
			continue
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
	}
	if in.told && o.records != in.tail.Count {
		return dataError("%s has %d records, but was written with %d; restore it from a copy or from the topic",
			in.Key, o.records, in.tail.Count)
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
	return s.evidence[classObject].Fields[envelope.KeyRawData].Seen&schema.SeenObject != 0
}

func (s *scanned) count() {
	for _, o := range s.objects {
		s.rows += o.records - int64(len(o.bad))
		s.quarantined += int64(len(o.bad))
		for _, bad := range o.bad {
			s.reasons[bad.reason]++
		}
	}
}

// recordType is the type of the records that become rows. ingestion_timestamp is in it even if there are none, because a
// file needs a column.
func (s *scanned) recordType() schema.Type {
	e := &schema.Evidence{}
	e.Merge(s.evidence[classNull])
	if s.hasObjects() {
		e.Merge(s.evidence[classObject])
	} else {
		e.Merge(s.evidence[classBare])
	}
	e.Seen = schema.SeenObject
	if at := e.Fields[envelope.KeyTimestamp]; at == nil || at.Seen == 0 {
		e.Fields[envelope.KeyTimestamp] = &schema.Evidence{Seen: schema.SeenInt}
	}
	if s.spark {
		return e.ResolveSpark()
	}
	return e.Resolve()
}

// checkConnector refuses doubled records among objects that say nothing of themselves: an object that starts before
// the object before it can have ended. inputs are in order.
func (r *run) checkConnector(s *scanned) error {
	for i, j := range neighbours(r.inputs) {
		a, b := r.inputs[i], r.inputs[j]
		if end := a.name.Offset + s.objects[i].records; !a.told && end > b.name.Offset {
			return dataError("%s has %d records, so it ends at offset %d or later, and %s starts before that; move one of them away",
				a.Key, s.objects[i].records, end, b.Key)
		}
	}
	return nil
}

// quarantine puts the bad records of the day where they can be looked at. Only the objects that have some are read again.
func (r *run) quarantine(ctx context.Context, s *scanned) error {
	q := r.Quarantine
	if err := q.Replace(ctx, "serialize", r.job.Source, r.job.Day.String(), r.entries(ctx, s)); err != nil {
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
