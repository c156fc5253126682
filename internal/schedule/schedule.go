// Package schedule knows when something is due, by the five fields of cron in a time zone. It starts no goroutines and imports nothing
// of ours.
package schedule

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is a set of times. The zero value has none.
type Schedule struct{ cron cron.Schedule }

// Parse reads minute, hour, day of month, month and day of week, as 10 0 * * *, or a word as @daily. Time zones are not part of it.
func Parse(text string) (Schedule, error) {
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") || strings.HasPrefix(text, "@every") {
		return Schedule{}, fmt.Errorf("%q: write the five fields of cron; the time zone is the pipeline's", text)
	}
	c, err := cron.ParseStandard(text)
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is no schedule: write minute, hour, day, month and weekday, as 10 0 * * *: %w", text, err)
	}
	return Schedule{c}, nil
}

// Next is the first time after now, in now's time zone; it is zero if there is none. Every day has its times once: one that the clock
// skips in spring comes when the clock is set, and one that it passes twice in autumn comes one of the two times.
func (s Schedule) Next(now time.Time) time.Time {
	if s.cron == nil {
		return time.Time{}
	}
	// The library is asked in a zone whose clock is never set: in others it leaves out days, or has times of them twice.
	for wall := shift(now, time.UTC); ; {
		if wall = s.cron.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if t := clockShows(wall, now.Location()); t.After(now) {
			return t
		}
	}
}

// clockShows is when a clock in loc shows wall, or is set to pass it over.
func clockShows(wall time.Time, loc *time.Location) time.Time {
	t := shift(wall, loc)
	from, to := t.ZoneBounds()
	switch shown := shift(t, time.UTC); {
	case shown.Before(wall):
		return to
	case shown.After(wall):
		return from
	}
	return t
}

// shift is when a clock in loc shows what t's does.
func shift(t time.Time, loc *time.Location) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), loc)
}

// Run does a job at once, for what was due while nobody ran, and then at every time of the schedule in loc, until ctx ends, whose error it
// returns. The job is told the time and when it is due next. When it fails it is done again after the wait that again gives, if that is before
// the next time.
func (s Schedule) Run(ctx context.Context, loc *time.Location, again func(error) time.Duration, job func(ctx context.Context, now, next time.Time) error) error {
	for ctx.Err() == nil {
		now := time.Now().In(loc)
		next := s.Next(now)
		due := next
		if err := job(ctx, now, next); err != nil && ctx.Err() == nil {
			if retry := time.Now().Add(again(err)); due.IsZero() || retry.Before(due) {
				due = retry
			}
		}
		if due.IsZero() { // a 30th of February
			<-ctx.Done()
			break
		}
		if err := Until(ctx, due); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// look is how often the clock is looked at: it may be set, and a machine may sleep.
const look = 30 * time.Second

// Until waits until the clock shows t, or until ctx ends, and then returns its error.
func Until(ctx context.Context, t time.Time) error {
	t = t.Round(0) // compared by the clock that may be set
	for {
		left := time.Until(t)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(min(left, look))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}
