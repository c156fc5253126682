package runs

import (
	"context"
	"maps"
	"time"

	"headwater/internal/crash"
	"headwater/internal/retry"
	"headwater/internal/schedule"
	"headwater/table"
)

// clock is how often the clock, which may be set, and the sources are looked at.
const clock = 30 * time.Second

// planned is how far a source was planned by this process.
type planned struct {
	from  time.Time // the slots until then are done
	of    schedule.Schedule
	slot  time.Time // the next one of it, zero if there is none
	wait  retry.Backoff
	after time.Time // a failure is tried again then
}

// plan plans each source at the times of its schedule until ctx ends, and at once for what was due while nothing ran.
func (s *Scheduler) plan(ctx context.Context) {
	at := map[string]*planned{}
	for ctx.Err() == nil {
		now := time.Now().In(s.Location)
		next := now.Add(clock)
		sources, err := s.Sources(ctx)
		if err != nil && ctx.Err() == nil {
			s.Logger.Error("looking what there is to plan", "error", err, "next_try", clock)
		}
		var due time.Time
		listed := map[string]bool{}
		for _, source := range sources {
			listed[source.Name] = true
			if at[source.Name] == nil {
				at[source.Name] = &planned{wait: retry.Backoff{Min: time.Minute, Max: 15 * time.Minute}}
			}
			coming := s.planSource(ctx, now, source, at[source.Name])
			due = sooner(due, at[source.Name].slot)
			next = sooner(next, coming)
		}
		if err == nil {
			maps.DeleteFunc(at, func(name string, _ *planned) bool { return !listed[name] })
		}
		s.next.Store(&due)
		_ = retry.Wait(ctx, time.Until(next))
	}
}

// planSource plans a source if its time has come, and says when it comes again.
func (s *Scheduler) planSource(ctx context.Context, now time.Time, source Source, p *planned) time.Time {
	if p.of != source.Schedule {
		p.of, p.slot = source.Schedule, source.Schedule.Next(later(p.from, now))
	}
	slot := p.slot
	if p.from.IsZero() && !slot.IsZero() {
		slot = time.Time{} // whatever was missed
	} else if slot.IsZero() || slot.After(now) {
		return slot
	}
	if p.after.After(now) {
		return p.after
	}
	if err := s.planSlot(ctx, now, source.Name, slot); err != nil {
		if ctx.Err() == nil {
			p.after = now.Add(p.wait.Next())
			s.Logger.Error("planning what is to be made", "source", source.Name, "error", err, "next_try", p.after.Round(time.Second))
		}
		return p.after
	}
	p.from, p.after, p.slot = now, time.Time{}, p.of.Next(now)
	p.wait.Reset()
	return p.slot
}

// later is from, or now if that is zero.
func later(from, now time.Time) time.Time {
	if from.IsZero() {
		return now
	}
	return from
}

func (s *Scheduler) planSlot(ctx context.Context, now time.Time, source string, slot time.Time) error {
	asked, err := s.Store.Now(ctx)
	if err != nil {
		return err
	}
	over := table.DayOf(now).Add(-1)
	pending, err := s.Pending(ctx, source, over)
	if err != nil {
		return err
	}
	added, err := s.Store.Plan(ctx, Plan{Source: source, Slot: slot, Asked: asked, Pending: pending, Over: over})
	if err != nil {
		return err
	}
	crash.Point("runs.after-plan")
	if added > 0 {
		s.Logger.Info("planned", "source", source, "runs", added)
		s.Poke()
		return nil
	}
	if left, err := s.Store.Unmade(ctx, source); err == nil && left == 0 && s.Settled != nil {
		s.Settled(source)
	}
	return nil
}
