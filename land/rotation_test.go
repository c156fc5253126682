package land

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRotation runs the connector's own examples. A step is a record's time, or +duration for the clock going on without a
// record; the result has the records of each rotation, and what is left open after the bar.
func TestRotation(t *testing.T) {
	nine := "10:00:00 10:00:20 10:00:40 10:01:00 10:01:20 10:01:40 10:02:00 10:02:20 10:02:40"
	tests := []struct {
		name               string
		flush              int
		interval, schedule time.Duration
		steps, want        string
	}{
		{"flush", 3, 0, 0, strings.Repeat("10:00:00 ", 10), "012 345 678 | 9"},
		{"too few to flush", 10, 0, 0, strings.Repeat("10:00:00 ", 9), "| 012345678"},
		{"interval of record time", 1000, time.Minute, 0, nine + " 12:09:00 12:09:20 12:09:40 12:10:00", "012 345 678 9ab | c"},
		{"late records", 1000, 10 * time.Minute, 0, "10:00:00 09:58:00 10:09:00 09:55:00 10:10:00", "0123 | 4"},
		{"a day between", 1000, 24 * time.Hour, 0, "00:00:00 00:30:00 00:15:00 23:59:59", "| 0123"},
		{"schedule", 1000, 0, 10 * time.Minute, "10:00:00 10:00:00 10:00:00 +11m 10:00:00 10:00:00 10:00:00 +11m", "012 345 |"},
		{"schedule with nothing open", 3, 0, 10 * time.Minute, "+11m +50m 10:00:00 10:00:00 10:00:00", "012 |"},
		{"silence", 1000, time.Minute, 0, "10:00:00 10:00:01 +59s 10:00:02 +1m 10:00:03", "012 | 3"},
		{"no clock without a setting", 1000, 0, 0, "10:00:00 +9000h 10:00:01", "| 01"},
		{"both at once", 2, time.Minute, time.Hour, "10:00:00 10:02:00 10:02:00", "0 12 |"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := play(t, &rotation{flush: tt.flush, interval: tt.interval, idle: tt.interval, schedule: tt.schedule, loc: time.UTC}, tt.steps); got != tt.want {
					t.Errorf("got  %s\nwant %s", got, tt.want)
				}
			})
		})
	}
}

// play drives a rotation as a partition does: it sleeps until wake, or until the next step.
func play(t *testing.T, r *rotation, steps string) string {
	var done []string
	open := ""
	rotate := func() {
		if open != "" {
			done = append(done, open)
		}
		open = ""
		r.rotated(time.Now())
	}
	r.start(time.Now())
	n := 0
	for step := range strings.FieldsSeq(steps) {
		if pause, isPause := strings.CutPrefix(step, "+"); isPause {
			d, err := time.ParseDuration(pause)
			if err != nil {
				t.Fatal(err)
			}
			until := time.Now().Add(d)
			for wake := r.wake(); !wake.IsZero() && !wake.After(until); wake = r.wake() {
				time.Sleep(time.Until(wake))
				if !r.due(time.Now()) {
					t.Fatal("woken up for nothing")
				}
				rotate()
			}
			time.Sleep(time.Until(until))
			if r.due(time.Now()) {
				t.Fatal("due later than the time it said to be woken up")
			}
			continue
		}
		clock, err := time.Parse(time.TimeOnly, step)
		if err != nil {
			t.Fatal(err)
		}
		millis := clock.UnixMilli()
		if r.before(millis, time.Now()) {
			rotate()
		}
		open += fmt.Sprintf("%x", n)
		n++
		if r.wrote(millis, 100, time.Now()) {
			rotate()
		}
	}
	return strings.TrimSpace(strings.Join(done, " ") + " | " + open)
}

func TestRotationSkips(t *testing.T) {
	r := rotation{flush: 3, interval: time.Minute, idle: time.Minute, loc: time.UTC}
	now := time.Date(2026, 7, 5, 10, 0, 0, 0, time.UTC)
	r.start(now)
	if r.due(now.Add(time.Hour)) {
		t.Error("due with nothing to commit")
	}
	for n := 1; n <= 3; n++ {
		if got := r.skip(now); got != (n == 3) {
			t.Errorf("skipped record %d: due is %v, and three should be committed, two not yet", n, got)
		}
	}
	r.rotated(now)
	r.skip(now)
	if r.due(now.Add(59*time.Second)) || !r.due(now.Add(time.Minute)) {
		t.Error("a skipped record should be committed after a minute of silence")
	}
	r.wrote(0, 100, now)
	for range 2 {
		if r.skip(now) {
			t.Error("skipped records closed an open object")
		}
	}
	// The extremes of record time do not overflow.
	r.rotated(now)
	r.wrote(-1<<63, 100, now)
	if !r.before(1<<63-1, now) {
		t.Error("the whole range of time is no interval")
	}
	r.rotated(now)
	r.wrote(1<<63-1, 100, now)
	if r.before(-1<<63, now) {
		t.Error("a late record closed an open object")
	}
}

func TestNextScheduled(t *testing.T) {
	for _, tt := range []struct {
		zone, at, period, want string
	}{
		{"UTC", "2026-07-05T16:59:59Z", "7h", "2026-07-05T21:00:00Z"},
		{"UTC", "2026-07-05T14:00:00Z", "7h", "2026-07-05T21:00:00Z"},
		{"UTC", "2026-07-05T23:59:59Z", "7h", "2026-07-06T00:00:00Z"},
		{"UTC", "2026-07-05T21:00:00Z", "7h", "2026-07-06T00:00:00Z"},
		{"UTC", "2026-07-05T10:00:00Z", "5m", "2026-07-05T10:05:00Z"},
		{"UTC", "2026-07-05T10:00:00Z", "48h", "2026-07-06T00:00:00Z"},
		{"+05:30", "2026-07-05T10:00:00Z", "1h", "2026-07-05T10:30:00Z"},
		// The clock is set back at 03:00: 25 hours, 7 of them end at 20:00.
		{"Europe/Berlin", "2026-10-25T10:00:00Z", "7h", "2026-10-25T12:00:00Z"},
		{"Europe/Berlin", "2026-10-25T22:30:00Z", "7h", "2026-10-25T23:00:00Z"},
		// It is set forward at 02:00: 23 hours.
		{"Europe/Berlin", "2026-03-29T21:00:00Z", "1h", "2026-03-29T22:00:00Z"},
		{"Europe/Berlin", "2026-03-29T20:59:59Z", "7h", "2026-03-29T22:00:00Z"},
	} {
		wantNext(t, tt.zone, tt.at, tt.period, tt.want)
	}
}

func wantNext(t *testing.T, zone, at, period, want string) {
	t.Helper()
	loc, err := loadZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	every, err := time.ParseDuration(period)
	if err != nil {
		t.Fatal(err)
	}
	if got := nextScheduled(now, every, loc).UTC().Format(time.RFC3339); got != want {
		t.Errorf("%s in %s, every %s: %s, want %s", at, zone, period, got, want)
	}
}

// TestScheduleOverDays walks through whole years: the schedule always goes on, never by more than its period, and meets
// every local midnight that exists.
func TestScheduleOverDays(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Santiago", "America/Sao_Paulo", "Asia/Beirut", "Asia/Kathmandu", "Australia/Lord_Howe"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, period := range []time.Duration{17 * time.Minute, 5 * time.Hour, 24 * time.Hour, 100 * time.Hour} {
			now := time.Date(2017, 1, 1, 0, 0, 0, 0, loc)
			for now.Year() < 2019 {
				next := nextScheduled(now, period, loc)
				if !next.After(now) || next.Sub(now) > min(period, 25*time.Hour) {
					t.Fatalf("%s, every %s: after %s comes %s", zone, period, now, next)
				}
				y, m, d := now.In(loc).Date()
				if ny, nm, nd := next.In(loc).Date(); (ny != y || nm != m || nd != d) && next.Add(-1).In(loc).Day() != d {
					t.Fatalf("%s, every %s: %s to %s misses midnight", zone, period, now, next)
				}
				now = next
			}
		}
	}
}
