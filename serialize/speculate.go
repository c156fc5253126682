package serialize

import (
	"context"
	"fmt"
)

// sampling says from what on a day's schema is guessed, and of which records.
type sampling struct {
	// from is how many bytes, compressed, a day must have: a smaller one is read twice in the time that a guess takes.
	from int64
	// objects is how many are looked into, spread over the day. The first records of each are read, so many or of so many bytes.
	objects int
	records int64
	bytes   int
	// end: so are the last ones of the last object. What appears in the course of a day mostly stays, so that the end knows most.
	end bool
}

func defaultSampling() sampling {
	return sampling{from: 4 << 20, objects: 8, records: 2000, bytes: 4 << 20, end: true}
}

// sampleObject is readObject for a part of the records.
func (p *pass) sampleObject(ctx context.Context, w *inferrer, at int) error {
	in, o := p.inputs[at], &p.objects[at]
	size := 0
	for l, err := range p.lines(ctx, in) {
		if err != nil {
			return err
		}
		o.records++
		if err := p.readRecord(w, l, o); err != nil {
			return err
		}
		if size += len(l.text); o.records >= p.sample.records || size >= p.sample.bytes {
			break
		}
	}
	if !p.sample.end || at < len(p.inputs)-1 || !in.told || o.records == in.tail.Count {
		return nil
	}
	for l, err := range p.lastLines(ctx, in) {
		if err != nil {
			return err
		}
		if err := p.readRecord(w, l, o); err != nil {
			return err
		}
	}
	return nil
}

// rereads is how often a day is read again because others change the types of its columns meanwhile. Each time one of them has got ahead, and
// somebody may make very many days at once.
const rereads = 100

// tables makes the files of the tables. One pass does if the schema can be guessed: every record is held against the guess while it
// is cut. After one that does not fit, the pass gathers nothing but evidence, and another cuts by it. What is written depends on
// the records and the ledger alone, and not on what was guessed.
func (r *run) tables(ctx context.Context) (*scanned, error) {
	l, err := r.guess(ctx)
	if err != nil {
		return nil, err
	}
	if l == nil {
		s, err := r.infer(ctx)
		if err == nil {
			err = r.settle(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		l = &s.layout
	}
	for range rereads {
		s, err := r.write(ctx, *l)
		if err != nil || !s.misfit {
			return s, err
		}
		r.Logger.Debug("the schema that was guessed does not fit all records; reading the day once more", "source", r.job.Source, "day", r.job.Day)
		l = &s.layout
	}
	return nil, fmt.Errorf("its columns have changed their types %d times while it was read; nothing is published; run it again", rereads)
}

// guess is what the records are probably to be cut into: what the ledger says or, on the first day, what a sample promises. It is nil if there is
// nothing to go by.
func (r *run) guess(ctx context.Context) (*layout, error) {
	if r.head != nil && r.head.Number > 0 {
		l := layoutOf(r.head)
		return &l, nil
	}
	var size int64
	for _, in := range r.inputs {
		size += in.Size
	}
	if size < r.sampling.from || r.job.Schema.Dialect == DialectSpark { // whose rules a record is not held against
		return nil, nil
	}
	part := *r
	part.inputs = spread(r.inputs, r.sampling.objects)
	sample := &pass{run: &part, sample: &r.sampling}
	if err := sample.read(ctx); err != nil {
		return nil, err
	}
	l := r.alone(&sample.scanned)
	if columnsOf(l.record) > r.job.Schema.MaxColumns {
		return nil, nil // a record to come may make one column of many
	}
	return &l, nil
}

// spread are at most n of the inputs, with the first and the last.
func spread(inputs []input, n int) []input {
	if len(inputs) <= n {
		return inputs
	}
	var out []input
	for i := range n {
		out = append(out, inputs[i*(len(inputs)-1)/max(1, n-1)])
	}
	return out
}
