package serialize

import (
	"context"
	"errors"
)

// sampling says from what on a day's schema is guessed, and of which records.
type sampling struct {
	// from is how many bytes, compressed, a day must have: a smaller one is read twice in the time that a guess takes.
	from int64
	// objects is how many are looked into, spread over the day. The first records of each are read, so many or of so many bytes, and of the
	// last object as many at its end: what appears in the course of a day mostly stays, so that the end knows most.
	objects int
	records int64
	bytes   int
}

func defaultSampling() sampling {
	return sampling{from: 4 << 20, objects: 8, records: 2000, bytes: 4 << 20}
}

// sampleObject is readObject for a part of the records.
func (p *pass) sampleObject(ctx context.Context, w *inferrer, at int) error {
	in, o := p.inputs[at], &p.objects[at]
	size, resume := 0, int64(-1)
	for l, err := range p.lines(ctx, in) {
		if err != nil {
			return err
		}
		if l.record < resume {
			continue
		}
		o.records++
		if err := p.readRecord(w, l, o); err != nil {
			return err
		}
		if size += len(l.text); resume >= 0 || o.records < p.sample.records && size < p.sample.bytes {
			continue
		}
		if at < len(p.inputs)-1 || !in.told {
			return nil
		}
		resume = in.tail.Count - o.records
	}
	return nil
}

// tables makes the files of the tables. One pass does if the schema can be guessed: every record is held against the guess while it
// is cut. After one that does not fit, the pass gathers nothing but evidence, and a second cuts by it. What is written depends on
// the records alone, and not on what was guessed.
func (r *run) tables(ctx context.Context) (*scanned, error) {
	s, err := r.speculate(ctx)
	if err != nil || s != nil && !s.misfit {
		return s, err
	}
	if s != nil {
		r.Logger.Debug("the schema guessed of a sample does not fit all records; reading the day once more", "source", r.job.Source, "day", r.job.Day)
	} else if s, err = r.infer(ctx); err != nil {
		return nil, err
	}
	if s, err = r.write(ctx, s.layout); err != nil {
		return nil, err
	}
	if s.misfit {
		return nil, errors.New("a record does not fit the schema inferred from it; nothing is published; report this as a fault of headwater")
	}
	return s, nil
}

// speculate writes what a sample promises. The result is nil if there is nothing to go by.
func (r *run) speculate(ctx context.Context) (*scanned, error) {
	var size int64
	for _, in := range r.inputs {
		size += in.Size
	}
	if size < r.sampling.from {
		return nil, nil
	}
	part := *r
	part.inputs = spread(r.inputs, r.sampling.objects)
	sample := &pass{run: &part, sample: &r.sampling}
	if err := sample.read(ctx); err != nil {
		return nil, err
	}
	if columnsOf(sample.layout.record) > r.job.Schema.MaxColumns {
		return nil, nil // a record to come may make one column of many
	}
	return r.write(ctx, sample.layout)
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
