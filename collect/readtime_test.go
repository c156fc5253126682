package collect_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/collect"
)

// polling is a source that polls, deaf one that may not hear.
type polling struct{ source }

func (polling) Polls() {}

type deaf struct {
	source
	hears *atomic.Bool
}

func (d deaf) Hears() bool { return d.hears.Load() }

// midnight is the first end of a day after a time. The clock of a synctest bubble begins at one.
func midnight(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) }

// until runs a source for some hours, and gives the ReadUntil of its last snapshot, and how many there were.
func until(t *testing.T, f *fixture, s collect.Source, hours time.Duration) (time.Time, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hours*time.Hour)
	defer cancel()
	r := f.runnerOf(s)
	done := make(chan struct{})
	var at time.Time
	var n int
	go func() {
		time.Sleep(hours*time.Hour - time.Second)
		count, c := f.log.Snapshots()
		at, n = time.UnixMilli(c.ReadUntil).UTC(), count
		close(done)
	}()
	if err := r.Run(ctx, false); err != nil {
		t.Error(err)
	}
	<-done
	return at, n
}

// pause is a source's, which is told to stop meanwhile.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (f *fixture) runnerOf(s collect.Source) *collect.Runner {
	return collect.New(collect.Options{
		Name: "numbers", Source: s, Open: f.log.Open, Quarantine: f.quarantine, Config: f.config, DayEnd: midnight,
	})
}

// TestIdleDays: a source that reads nothing says at the end of each day that it was there, and not more often.
func TestIdleDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().UTC()
		f := fresh()
		f.config.SnapshotEvery = 45 * time.Second // not at the moment at which it has read for long enough
		at, n := until(t, f, count(0), 3*24+1)
		if want := began.Add(72 * time.Hour); at.Before(want) || at.After(want.Add(2*time.Second)) || n != 5 {
			t.Errorf("%d snapshots, the last says it has read until %s, want one of the start, 4 of days and %s", n, at, want)
		}
	})
}

// TestBusyDay: a source that always has records on their way says it too; and not before those of the day are acknowledged.
func TestBusyDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		f.config.SnapshotEvery = 1000 * time.Hour
		end := time.Now().Add(24 * time.Hour)
		release := func() {}
		at, _ := until(t, f, source(func(ctx context.Context, out collect.Out, _ bool) error {
			for i := 0; ctx.Err() == nil; i++ {
				if err := out.Emit(ctx, number("a", i)); err != nil {
					return err
				}
				if i == 23*60+59 { // what comes in the last minute is not acknowledged for an hour
					release = f.log.Hold()
					time.AfterFunc(time.Hour, func() {
						if _, c := f.log.Snapshots(); !time.UnixMilli(c.ReadUntil).Before(end) {
							t.Error("records of the day are not acknowledged, and the source says that it has read past it")
						}
						release()
					})
				}
				pause(ctx, time.Minute)
			}
			return ctx.Err()
		}), 26)
		if at.Before(end) {
			t.Errorf("it has read until %s", at)
		}
	})
}

// TestSourcesThatCannotTell: one that polls has read until its last good look, and one that hears nothing until it did.
func TestSourcesThatCannotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if at, _ := until(t, fresh(), polling{count(0)}, 30); at.After(began) {
			t.Errorf("it has never looked, and has read until %s", at)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		at, _ := until(t, fresh(), polling{source(func(ctx context.Context, out collect.Out, _ bool) error {
			for i := range 1000 {
				if look := time.Now(); i != 4 { // the fifth, at 24:00, fails
					pause(ctx, time.Minute)
					collect.Polled(out, look)
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(6*time.Hour - time.Minute):
				}
			}
			return nil
		})}, 29)
		if !at.Before(began.Add(24*time.Hour)) || at.IsZero() {
			t.Errorf("the look after midnight failed, and it has read until %s", at)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var hears atomic.Bool
		hears.Store(true)
		time.AfterFunc(23*time.Hour, func() { hears.Store(false) })
		if at, _ := until(t, fresh(), deaf{count(0), &hears}, 30); !at.Before(began.Add(24 * time.Hour)) {
			t.Errorf("it has heard nothing since 23:00, and has read until %s", at)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if at, _ := until(t, fresh(), source(func(ctx context.Context, _ collect.Out, _ bool) error {
			pause(ctx, 50*time.Second) // it takes so long to find out
			return errors.New("no connection")
		}), 30); at.After(began) {
			t.Errorf("it has always failed, and has read until %s", at)
		}
	})
}

// TestOnceHasRead: a run that has read all that there was has read until it began, also one that polls.
func TestOnceHasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(5 * time.Hour)
		began := time.Now()
		f := fresh()
		err := f.runnerOf(polling{source(func(ctx context.Context, out collect.Out, _ bool) error {
			time.Sleep(time.Hour)
			return out.Emit(ctx, number("a", 0))
		})}).Run(t.Context(), true)
		if _, c := f.log.Snapshots(); err != nil || c.ReadUntil != began.UnixMilli() {
			t.Errorf("it has read until %d, want %d: %v", c.ReadUntil, began.UnixMilli(), err)
		}
	})
}
