package serialize

import (
	"context"
	"fmt"
)

// together makes the files of the other days whose columns have got other types, and publishes none: who goes by the table's types cannot read a day
// between the moment when they change and the one when it is published, so that the days are to follow each other at once. It is for days that
// swap. What cannot be made is left to a run of its own, which says why.
func (r *run) together(ctx context.Context) (others []*run) {
	if r.head == nil || r.Config.Publish != PublishSwap {
		return nil
	}
	for _, day := range r.marked() {
		if day == r.job.Day {
			continue
		}
		o := &run{Serializer: r.Serializer, job: r.job}
		o.job.Day, o.job.Full, o.job.AllowShrink = day, false, false
		staged, err := o.stage(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // and the day itself is not published either
		case err != nil:
			r.Logger.Warn("a day that has to be made anew, because a column has got another type, is left to a run of its own", "source", r.job.Source, "day", day, "error", err)
		case staged:
			others = append(others, o)
		}
	}
	return others
}

// stage makes the day's files and puts them into the store, where nobody reads them yet. It reports false if there is nothing to do.
func (r *run) stage(ctx context.Context) (bool, error) {
	if err := r.look(ctx); err != nil {
		return false, err
	}
	if len(r.raw.held.Open) > 0 || r.conforming() || !r.mustCast() && len(r.inputs) == 0 {
		return false, nil
	}
	defer r.discard()
	if r.mustCast() {
		if err := r.castFiles(ctx); err != nil {
			return false, err
		}
	} else {
		s, err := r.make(ctx)
		if err != nil {
			return false, err
		}
		r.unfit = s.reasons[reasonSchema] + s.reasons[reasonKind]
	}
	for _, o := range []*output{r.raw, r.flat} {
		if o.file == nil {
			continue
		}
		p, err := r.publication(o)
		if err == nil {
			o.made, err = p.Stage(ctx)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return true, nil
}

// conforming says that both tables have the day with the types that they should have.
func (r *run) conforming() bool {
	return r.raw.seen.Exists && r.flat.seen.Exists && r.raw.conforms(r.raw.seen) && r.flat.conforms(r.flat.seen)
}

// release publishes what was staged.
func (r *run) release(ctx context.Context) {
	_, err := r.publishMade(ctx)
	switch {
	case err == nil:
		r.isSettled()
		r.Logger.Info("made anew, because a column has got another type", "source", r.job.Source, "day", r.job.Day)
	case ctx.Err() == nil:
		r.Logger.Warn("a day that has to be made anew, because a column has got another type, is left to a run of its own", "source", r.job.Source, "day", r.job.Day, "error", err)
	}
}
