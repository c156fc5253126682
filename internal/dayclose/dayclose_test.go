package dayclose

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/table"
)

// logs is a Log in memory, whose clock goes as the machine's does but for skew.
type logs struct {
	mu     sync.Mutex
	skew   time.Duration
	ends   map[string]End
	landed map[string]map[int32]int64
	until  map[string]time.Time
	err    error
	asked  int // for the time
}

func (l *logs) Now(context.Context) (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return time.Now().Add(l.skew), l.err
}

func (l *logs) Ends(context.Context, []string) (map[string]End, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]End{}
	for topic, e := range l.ends {
		all[topic] = End{e.Log, maps.Clone(e.Offsets)}
	}
	return all, l.err
}

func (l *logs) Landed(context.Context, []string) (map[string]map[int32]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[string]map[int32]int64{}
	for topic, at := range l.landed {
		all[topic] = maps.Clone(at)
	}
	return all, l.err
}

func (l *logs) ReadUntil(context.Context) (map[string]time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.until), l.err
}

// change changes what there is, as another process does.
func (l *logs) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

var (
	own      = Source{Name: "orders", Topic: "orders_raw"}
	external = Source{Name: "legacy", Topic: "legacy.raw", External: true, After: 2 * time.Hour}
	// day is the one that synctest's clock begins after.
	day = table.Day{Year: 1999, Month: 12, Day: 31}
)

// rig is a Closer with its surroundings. The clock of a synctest bubble begins at midnight UTC, 2000-01-01.
type rig struct {
	*Closer
	t     *testing.T
	log   *logs
	store lake.Store
}

func newRig(t *testing.T, where *time.Location, sources ...Source) *rig {
	r := &rig{t: t, store: mem.New(), log: &logs{
		ends:   map[string]End{},
		landed: map[string]map[int32]int64{}, until: map[string]time.Time{},
	}}
	for _, s := range sources {
		r.log.ends[s.Topic] = End{"log-1", map[int32]int64{0: 10, 1: 0}} // the second Kafka partition is idle
		r.log.landed[s.Topic] = map[int32]int64{0: 10}
	}
	r.Closer = r.open(where, sources...)
	return r
}

// open is another process over the same lake and logs.
func (r *rig) open(where *time.Location, sources ...Source) *Closer {
	return New(Options{
		Sources: func(context.Context) ([]Source, error) { return sources, nil }, Log: r.log, Raw: r.store,
		Location: where, Logger: slog.New(slog.DiscardHandler),
	})
}

// want looks, and compares the verdict on a day: why is a part of the reason, empty for closed.
func want(t *testing.T, c *Closer, s Source, d table.Day, why string) {
	t.Helper()
	if err := c.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := c.Closed(t.Context(), s.Name, d)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Reason(); v.Closed != (why == "") || !strings.Contains(got, why) {
		t.Errorf("%s of %s: closed %v, waits for %q, want %q", d, s.Name, v.Closed, got, why)
	}
}

// TestCollector: a day closes when its collector has read past it, is acknowledged, and all of that has landed; and not before.
func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		want(t, r.Closer, own, day, "its collector has not said yet")
		r.log.until["orders"] = time.Now().Add(-time.Millisecond)
		want(t, r.Closer, own, day, "its collector has read until 1999-12-31T23:59:59Z")

		time.Sleep(time.Hour) // it is down, and then reads on
		r.log.change(func() {
			r.log.until["orders"] = time.Now()
			r.log.ends["orders_raw"].Offsets[0] = 12 // a record of the day that was on its way
		})
		want(t, r.Closer, own, day, "topic orders_raw partition 0 has landed to offset 10 of 12")
		r.log.ends["orders_raw"].Offsets[0] = 99 // of the next day: they are not waited for
		r.log.landed["orders_raw"][0] = 11
		want(t, r.Closer, own, day, "offset 11 of 12")
		r.log.landed["orders_raw"][0] = 12
		want(t, r.Closer, own, day, "")
		select {
		case <-r.Changed():
		default:
			t.Error("nobody is told that a day has closed")
		}
		want(t, r.Closer, own, day.Add(1), "it ends at 2000-01-02T00:00:00Z, and the broker's clock shows 2000-01-01T01:00:00Z")
		want(t, r.Closer, own, table.Day{Year: 9999, Month: 12, Day: 31}, "it ends at 10000-01-01")
	})
}

// TestPartitions: every Kafka partition counts, the idle one too, as soon as it has something.
func TestPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		r.log.until["orders"] = time.Now()
		r.log.ends["orders_raw"] = End{"log-1", map[int32]int64{0: 10, 1: 0, 2: 1, 3: 5}}
		r.log.landed["orders_raw"] = map[int32]int64{0: 10, 3: 4}
		want(t, r.Closer, own, day, "partition 2 has landed to offset 0 of 1; topic orders_raw partition 3 has landed to offset 4 of 5")
		r.log.landed["orders_raw"][2], r.log.landed["orders_raw"][3] = 1, 7
		want(t, r.Closer, own, day, "")
	})
}

// TestExternal: a topic of others has nobody who says that it was read; some time must pass, by the broker's clock.
func TestExternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, external)
		time.Sleep(2*time.Hour - time.Second)
		want(t, r.Closer, external, day, "it ends at 2000-01-01T02:00:00Z, and the broker's clock shows 2000-01-01T01:59:59Z")
		time.Sleep(time.Second)
		want(t, r.Closer, external, day, "")
		r2 := newRig(t, time.UTC, external)
		delete(r2.log.ends, external.Topic)
		want(t, r2.Closer, external, day, "topic legacy.raw does not exist")
	})
}

// TestClocks: the broker's clock decides, whatever ours shows, and is asked before anything is noted.
func TestClocks(t *testing.T) {
	for name, skew := range map[string]time.Duration{"behind": -30 * time.Minute, "ahead": 30 * time.Minute, "equal": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, time.UTC, own)
				time.Sleep(23 * time.Hour)
				r.log.skew, r.log.until["orders"] = skew, time.Now().Add(48*time.Hour)
				first := day.Add(1) // ends an hour later by our clock
				want(t, r.Closer, own, first, "it ends at 2000-01-02")
				time.Sleep(time.Hour - skew - time.Second)
				want(t, r.Closer, own, first, "it ends at 2000-01-02")
				time.Sleep(time.Second)
				want(t, r.Closer, own, first, "")
				d, _, err := lake.ReadDayEnd(t.Context(), r.store, own.Name, first.String())
				if err != nil || d.Noted.Before(d.Ended) {
					t.Errorf("its end was noted at %s, and it ended at %s: %v", d.Noted, d.Ended, err)
				}
			})
		})
	}
}

// TestClockThatIsSet: our clock runs ahead since the broker's was asked; nothing is noted before the broker's own says so.
func TestClockThatIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		r.log.until["orders"] = time.Now().Add(48 * time.Hour)
		time.Sleep(23*time.Hour + 55*time.Minute)
		want(t, r.Closer, own, day, "")
		r.log.skew = -10 * time.Minute
		time.Sleep(6 * time.Minute) // by what we know of it, the broker's day is over
		want(t, r.Closer, own, day.Add(1), "the broker's clock shows 2000-01-01T23:51:00Z")
		time.Sleep(9 * time.Minute)
		want(t, r.Closer, own, day.Add(1), "")
	})
}

// TestSummerTime: days of 23 and 25 hours, and one without a midnight, end when the next one begins.
func TestSummerTime(t *testing.T) {
	for _, c := range []struct {
		zone string
		day  table.Day
		end  string
	}{
		{"Europe/Berlin", table.Day{Year: 2000, Month: 3, Day: 26}, "2000-03-26T22:00:00Z"},     // 23 hours
		{"Europe/Berlin", table.Day{Year: 2000, Month: 10, Day: 29}, "2000-10-29T23:00:00Z"},    // 25 hours
		{"America/Santiago", table.Day{Year: 2000, Month: 10, Day: 14}, "2000-10-15T04:00:00Z"}, // the next day begins at 1
		{"Asia/Kolkata", table.Day{Year: 2000, Month: 7, Day: 5}, "2000-07-05T18:30:00Z"},
	} {
		t.Run(c.zone+" "+c.day.String(), func(t *testing.T) {
			where, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			end, err := time.Parse(time.RFC3339, c.end)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, where, own)
				r.log.until["orders"] = end.Add(time.Hour)
				time.Sleep(time.Until(end) - time.Second)
				want(t, r.Closer, own, c.day.Add(-1), "")
				want(t, r.Closer, own, c.day, "it ends at "+c.end)
				time.Sleep(time.Second)
				want(t, r.Closer, own, c.day, "")
			})
		})
	}
}

// TestDownTime: days that passed while nothing ran are closed with the last of them, and what was noted is taken up by others.
func TestDownTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		r.log.until["orders"] = time.Now()
		r.log.landed["orders_raw"][0] = 9
		want(t, r.Closer, own, day, "offset 9 of 10")
		r.log.ends["orders_raw"].Offsets[0] = 50
		again := r.open(time.UTC, own) // a restart: the end does not move
		want(t, again, own, day, "offset 9 of 10")

		time.Sleep(72 * time.Hour)
		r.log.until["orders"], r.log.landed["orders_raw"][0] = time.Now(), 20
		again = r.open(time.UTC, own)
		want(t, again, own, day, "")
		want(t, again, own, day.Add(1), "offset 20 of 50") // it ended with the third day, at the latest
		r.log.landed["orders_raw"][0] = 50
		want(t, again, own, day.Add(1), "")
		want(t, again, own, day.Add(3), "")
		r.log.landed["orders_raw"][0] = 0 // a group that is made anew opens nothing
		for _, c := range []*Closer{again, r.open(time.UTC, own)} {
			want(t, c, own, day.Add(3), "")
			want(t, c, own, day.Add(4), "it ends at")
		}
	})
}

// TestMadeAnew: what has landed of another log, or of none, is not the day's; the next day closes it.
func TestMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		r.log.until["orders"] = time.Now()
		r.log.landed["orders_raw"][0] = 9
		want(t, r.Closer, own, day, "offset 9 of 10")
		ends := r.log.ends["orders_raw"]
		delete(r.log.ends, "orders_raw")
		r.log.landed["orders_raw"][0] = 0
		want(t, r.Closer, own, day, "topic orders_raw does not exist")
		r.log.ends["orders_raw"] = End{"log-2", ends.Offsets}
		r.log.landed["orders_raw"][0] = 10
		want(t, r.Closer, own, day, "topic orders_raw was deleted and made anew since the day ended")
		time.Sleep(24 * time.Hour)
		r.log.until["orders"] = time.Now()
		want(t, r.Closer, own, day, "")
		want(t, r.Closer, own, day.Add(1), "")
	})
}

// TestTwoProcesses: both note and close the same days, and say the same of them.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own, external)
		all := []*Closer{r.Closer, r.open(time.UTC, own, external), r.open(time.UTC, own, external)}
		var wg sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for _, c := range all {
			wg.Go(func() { _ = c.Run(ctx, func(context.Context) {}) })
		}
		for i := range int64(3) {
			time.Sleep(12 * time.Hour)
			r.log.change(func() {
				r.log.until["orders"] = time.Now()
				for _, s := range []Source{own, external} {
					r.log.ends[s.Topic].Offsets[0] += 3
					r.log.landed[s.Topic][0] = 10 + 3*i
				}
			})
			time.Sleep(12 * time.Hour)
		}
		stop()
		wg.Wait()
		for _, c := range all {
			for _, s := range []Source{own, external} {
				if got, want := c.Through(s.Name), all[0].Through(s.Name); got != want || got.Compare(day) < 0 {
					t.Errorf("%s is closed through %s, and in the first process through %s", s.Name, got, want)
				}
			}
		}
		if r.log.asked > 3*(3*24*6+100) {
			t.Errorf("the clock was asked %d times", r.log.asked)
		}
	})
}

// TestFaults: what fails closes nothing, and passes.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, time.UTC, own)
		r.log.until["orders"] = time.Now()
		r.log.err = errors.New("no broker")
		if err := r.Look(t.Context()); err == nil {
			t.Error("a broker that does not answer is no error")
		}
		if _, err := r.Closed(t.Context(), "orders", day); err == nil {
			t.Error("nothing is known, and that is no error")
		}
		r.log.err = nil
		want(t, r.Closer, own, day, "")
		if _, err := r.Closed(t.Context(), "nobody", day); err == nil {
			t.Error("a source that there is not has a day")
		}
	})
}
