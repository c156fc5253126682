package land

import (
	"cmp"
	"time"
)

// rotation decides when the open objects of one Kafka partition are closed. It is a pure state machine: it knows
// counts and times, and is told what time it is. Rules: docs/format/rotation.md.
type rotation struct {
	flush    int
	bytes    int64         // of text; 0 for no limit
	interval time.Duration // of record time; <= 0 for never
	idle     time.Duration // of silence; <= 0 for never
	schedule time.Duration // since local midnight; <= 0 for never
	loc      *time.Location

	count    int   // records in open objects
	text     int64 // their bytes
	skipped  int   // records since the last rotation that went elsewhere, but whose offsets are to be committed
	base     int64 // record time, in milliseconds, of the first record since the last rotation
	seen     time.Time
	nextPlan time.Time
}

// rotation is that of a Kafka partition. Without folders of time its records have none, and rotate.interval.ms counts for
// silence alone.
func (c *Config) rotation(timed bool, loc *time.Location) rotation {
	millis := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	r := rotation{flush: c.FlushSize, bytes: int64(c.FlushBytes), schedule: millis(c.RotateScheduleIntervalMs), loc: loc}
	r.idle = millis(cmp.Or(c.IdleFlushMs, c.RotateIntervalMs))
	if timed {
		r.interval = millis(c.RotateIntervalMs)
	}
	return r
}

// start sets the schedule; it is called once, before anything else.
func (r *rotation) start(now time.Time) {
	r.seen = now
	if r.schedule > 0 {
		r.nextPlan = nextScheduled(now, r.schedule, r.loc)
	}
}

// before says whether the open objects must be closed before a record of the time millis is written.
func (r *rotation) before(millis int64, now time.Time) bool {
	if r.count == 0 {
		r.advance(now)
		return false
	}
	// Signed: a late record is never a reason. The comparison avoids millis - base, which may overflow.
	late := r.interval > 0 && millis >= r.base && uint64(millis)-uint64(r.base) >= uint64(r.interval.Milliseconds())
	return late || r.planned(now)
}

// wrote counts a record of the time millis and of size bytes, and says whether the open objects must be closed after it.
func (r *rotation) wrote(millis int64, size int, now time.Time) bool {
	if r.count == 0 {
		r.base = millis
	}
	r.count++
	r.text += int64(size)
	r.seen = now
	return r.count >= r.flush || (r.bytes > 0 && r.text >= r.bytes)
}

// skip counts a record that is in quarantine or in an object already, and says whether offsets should be committed.
func (r *rotation) skip(now time.Time) bool {
	r.skipped++
	r.seen = now
	return r.count == 0 && r.skipped >= r.flush
}

// due says whether there is something to close or commit for the clock's sake. A scheduled time that passes with
// nothing to do is moved on, so that the next record does not make an object of its own.
func (r *rotation) due(now time.Time) bool {
	if r.count == 0 && r.skipped == 0 {
		r.advance(now)
		return false
	}
	return r.planned(now) || (r.idle > 0 && now.Sub(r.seen) >= r.idle)
}

// wake is when due may become true without another record; zero for never.
func (r *rotation) wake() time.Time {
	var idle time.Time
	if r.idle > 0 {
		idle = r.seen.Add(r.idle)
	}
	switch {
	case r.count == 0 && r.skipped == 0:
		return time.Time{}
	case r.schedule <= 0 || (!idle.IsZero() && idle.Before(r.nextPlan)):
		return idle
	}
	return r.nextPlan
}

// rotated starts over after the open objects were closed.
func (r *rotation) rotated(now time.Time) {
	r.count, r.text, r.skipped = 0, 0, 0
	r.advance(now)
}

func (r *rotation) planned(now time.Time) bool { return r.schedule > 0 && !now.Before(r.nextPlan) }

func (r *rotation) advance(now time.Time) {
	if r.planned(now) {
		r.nextPlan = nextScheduled(now, r.schedule, r.loc)
	}
}

// nextScheduled is the first multiple of period since local midnight that is after now, or the next local midnight if
// that comes first.
func nextScheduled(now time.Time, period time.Duration, loc *time.Location) time.Time {
	y, m, d := now.In(loc).Date()
	began := midnight(y, m, d, loc)
	next := began.Add((now.Sub(began)/period + 1) * period)
	if limit := midnight(y, m, d+1, loc); limit.Before(next) {
		return limit
	}
	return next
}

// midnight is the first instant of a day.
func midnight(y int, m time.Month, d int, loc *time.Location) time.Time {
	t := time.Date(y, m, d, 0, 0, 0, 0, loc)
	if t.Day() != time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Day() {
		_, t = t.ZoneBounds() // the clock skips midnight, and time.Date has named an hour of the day before
	}
	return t
}
