package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/schedule"
	"headwater/table"
)

// world is a lake of which only versions of days are kept: one that has come, and one that is made.
type world struct {
	loc *time.Location

	mu        sync.Mutex
	has, made map[string]int    // by source and day
	closed    map[string]bool   // by source and day
	published map[string]int    // by source, day and version
	at        map[string]string // by source and day, when it was first published
	wrong     []string
	fails     *rand.Rand // nil if nothing does
}

func newWorld(loc *time.Location) *world {
	return &world{loc: loc, has: map[string]int{}, made: map[string]int{}, closed: map[string]bool{}, published: map[string]int{}, at: map[string]string{}}
}

func (w *world) pending(_ context.Context, source string, over table.Day) (out []table.Day, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, n := range w.has {
		s, text, _ := strings.Cut(key, " ")
		if s == source && w.made[key] != n && text <= over.String() {
			out = append(out, day(text))
		}
	}
	return out, nil
}

func (w *world) isClosed(_ context.Context, source string, d table.Day) (bool, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed[source+" "+d.String()], "its objects", nil
}

func (w *world) do(ctx context.Context, r Run, log *slog.Logger, guard func(context.Context) error) (Outcome, error) {
	log.Info("it is made")
	select {
	case <-time.After(time.Minute):
	case <-ctx.Done():
		return Outcome{}, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil && w.fails.IntN(5) == 0 {
		return Outcome{}, errors.New("the store is away")
	}
	if err := guard(ctx); err != nil {
		return Outcome{}, err
	}
	key := r.Source + " " + r.Day
	if !w.closed[key] {
		w.wrong = append(w.wrong, key+" is made and not closed")
	}
	if w.made[key] == w.has[key] {
		return Outcome{Unchanged: true}, nil
	}
	w.made[key] = w.has[key]
	w.published[fmt.Sprintf("%s v%d", key, w.has[key])]++
	if w.at[key] == "" {
		w.at[key] = time.Now().In(w.loc).Format("2006-01-02 15:04")
	}
	return Outcome{Rows: int64(w.has[key])}, nil
}

// come has records of a day come.
func (w *world) come(source string, d time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.has[source+" "+d.Format(time.DateOnly)]++
}

// close has a day closed, which is told on changed.
func (w *world) close(source string, d time.Time, changed chan<- struct{}) {
	w.mu.Lock()
	w.closed[source+" "+d.Format(time.DateOnly)] = true
	w.mu.Unlock()
	select {
	case changed <- struct{}{}:
	default:
	}
}

func (w *world) options(s *Store, sources ...Source) Options {
	return Options{
		Store: s, Sources: func(context.Context) ([]Source, error) { return sources, nil }, Pending: w.pending, Do: w.do,
		Classify: func(error) Class { return Transient },
		LimitsOf: func(string) Limits { return Limits{Retries: 20, MinWait: time.Minute, MaxWait: 5 * time.Minute} },
		Location: w.loc, Logger: slog.New(slog.DiscardHandler), Parallel: 2,
	}
}

func parsed(t testing.TB, text string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(text)
	must(t, err)
	return s
}

func seed(t testing.TB) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		n = given
	}
	t.Logf("HEADWATER_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

// TestDays lives through many days, over changes of the clock, with processes that are down, stores that fail, days that close late and
// records that come after it: each version of each day is published once, none is left out, and none before its day is closed.
func TestDays(t *testing.T) {
	loc, err := time.LoadLocation("America/Santiago") // whose clock is set at midnight
	must(t, err)
	r := seed(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 3, 20, 12, 0, 0, 0, loc))) // the clock is set back on April 5th, and forward on September 6th
		store := open(t, inFile(t), "a")
		w := newWorld(loc)
		w.fails = rand.New(rand.NewPCG(r.Uint64(), 2))
		names := []string{"orders", "trades"}
		changed := make(chan struct{}, 1)
		o := w.options(store, Source{"orders", parsed(t, "10 0 * * *")}, Source{"trades", parsed(t, "0 */6 * * *")})
		o.Closed, o.Changed = w.isClosed, changed
		up := start(t, o)
		for range virtualDays {
			if up == nil && r.IntN(3) == 0 {
				up = start(t, o)
			} else if up != nil && r.IntN(12) == 0 {
				up() // and days go by
				up = nil
			}
			now := time.Now().In(loc)
			noon := time.Date(now.Year(), now.Month(), now.Day(), 12, 0, 0, 0, loc)
			for _, name := range names {
				if r.IntN(10) > 0 { // else nothing happens that day
					w.come(name, noon)
				}
				yesterday := noon.AddDate(0, 0, -1)
				w.close(name, yesterday, changed)
				if r.IntN(4) == 0 {
					w.come(name, noon.AddDate(0, 0, -2-r.IntN(20))) // late
				}
			}
			for _, name := range names { // days before the first one too
				w.close(name, noon.AddDate(0, 0, -21), changed)
				for back := 2; back < 23; back++ {
					w.close(name, noon.AddDate(0, 0, -back), changed)
				}
			}
			tomorrow := noon.AddDate(0, 0, 1)
			hour := r.IntN(2)
			if r.IntN(40) == 0 {
				hour = r.IntN(12)
			}
			time.Sleep(time.Until(time.Date(tomorrow.Year(), tomorrow.Month(), tomorrow.Day(), hour, r.IntN(60), 0, 0, loc)))
		}
		if up == nil {
			up = start(t, o)
		}
		for _, name := range names {
			for ahead := -1; ahead < 5; ahead++ {
				w.close(name, time.Now().In(loc).AddDate(0, 0, ahead), changed)
			}
		}
		time.Sleep(3 * 24 * time.Hour)
		up()
		w.check(t)
		checkOnePerDay(t, store)
	})
}

// start runs a scheduler and gives what stops it.
func start(t *testing.T, o Options) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = New(o).Run(ctx)
	}()
	return func() { cancel(); <-ended }
}

func (w *world) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.wrong {
		t.Error(text)
	}
	for key, n := range w.has {
		if w.made[key] != n {
			t.Errorf("%s is made of version %d of %d", key, w.made[key], n)
		}
	}
	for key, n := range w.published {
		if n != 1 {
			t.Errorf("%s was published %d times", key, n)
		}
	}
	if len(w.published) < virtualDays {
		t.Errorf("only %d were published", len(w.published))
	}
}

// checkOnePerDay fails if a day that has come to its end was left out or a schedule planned it twice for the same reason.
func checkOnePerDay(t *testing.T, s *Store) {
	t.Helper()
	all, err := s.List(t.Context(), Filter{Source: "orders"})
	must(t, err)
	over := map[string]int{}
	for _, r := range all {
		if r.Why == "the day is over" {
			over[r.Day]++
		}
		if !r.State.Ended() {
			t.Errorf("run %d of %s is %s: %s", r.ID, r.Day, r.State, r.Waits)
		}
	}
	listed := make([]string, 0, len(over))
	for d, n := range over {
		listed = append(listed, d)
		if n != 1 {
			t.Errorf("%s has ended %d times", d, n)
		}
	}
	slices.Sort(listed)
	for i, d := range listed[1:] {
		if since(listed[i], day(d)); len(since(listed[i], day(d))) != 1 {
			t.Errorf("after %s comes %s", listed[i], d)
		}
	}
}

// TestBeginsWhenItCloses: a run that waits for its day begins when it is told that it has closed, and not minutes later.
func TestBeginsWhenItCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(time.UTC)
		o := w.options(open(t, inFile(t), "a"), Source{"orders", parsed(t, "10 0 * * *")})
		changed := make(chan struct{}, 1)
		o.Closed, o.Changed = w.isClosed, changed
		yesterday := time.Now().UTC().AddDate(0, 0, -1)
		w.come("orders", yesterday)
		stop := start(t, o)
		time.Sleep(90*time.Minute + 10*time.Second) // 10 s after it was looked at last
		synctest.Wait()
		all, err := o.Store.List(t.Context(), Filter{})
		must(t, err)
		if len(all) != 1 || all[0].State != Waiting || all[0].Waits != "its objects" {
			t.Fatalf("%+v", all)
		}
		w.close("orders", yesterday, changed)
		closed := time.Now()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		all, err = o.Store.List(t.Context(), Filter{})
		must(t, err)
		if all[0].State != Done || all[0].Began.Sub(closed).Abs() > time.Second {
			t.Errorf("%+v, closed %s", all, closed)
		}
		stop()
	})
}

// TestHangs: a try that takes too long ends and is tried again, so often; one that is cancelled is not.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t, inFile(t), "a")
		o := newWorld(time.UTC).options(store)
		o.Sources = nil
		tries := 0
		o.Do = func(ctx context.Context, _ Run, _ *slog.Logger, _ func(context.Context) error) (Outcome, error) {
			tries++
			<-ctx.Done() // a store that does not answer
			return Outcome{}, fmt.Errorf("reading an object: %w", ctx.Err())
		}
		o.LimitsOf = func(string) Limits {
			return Limits{Retries: 2, MinWait: time.Minute, MaxWait: time.Minute, Timeout: time.Hour}
		}
		got, err := store.Ask(t.Context(), Request{"orders", day("2026-07-01"), Manual, "", "m"})
		must(t, err)
		s := New(o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = s.Run(ctx) }()
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		r, err := store.Run(t.Context(), got[0].ID)
		must(t, err)
		if tries != 3 || r.State != Failed || r.Class != Transient || !strings.Contains(r.Error, "serialize.timeout") {
			t.Errorf("%d tries, %+v", tries, r)
		}
		log, err := store.Log(t.Context(), r.ID)
		if err != nil || strings.Count(log, "a run begins") != 3 || !strings.Contains(log, "attempt 3") {
			t.Errorf("%v: %s", err, log)
		}

		got, err = store.Ask(t.Context(), Request{"orders", day("2026-07-02"), Manual, "", "m"})
		must(t, err)
		s.Poke()
		time.Sleep(time.Minute)
		_, err = s.Cancel(t.Context(), got[0].ID)
		must(t, err)
		synctest.Wait()
		if r, err = store.Run(t.Context(), got[0].ID); err != nil || r.State != Cancelled || r.Attempt != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(4 * time.Hour)
		if synctest.Wait(); tries != 4 {
			t.Errorf("%d tries", tries)
		}
		cancel()
		<-ended
	})
}

// TestPutBack: what is under way when a process ends is done by the next one, and has lost no try.
func TestPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := open(t, inFile(t), "a")
		w := newWorld(time.UTC)
		o := w.options(store)
		o.Sources = nil
		w.closed["orders 2026-07-01"] = true
		got, err := store.Ask(t.Context(), Request{"orders", day("2026-07-01"), Manual, "", "m"})
		must(t, err)
		stop := start(t, o)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		stop()
		if r, err := store.Run(t.Context(), got[0].ID); err != nil || r.State != Waiting || r.Attempt != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		stop = start(t, o)
		time.Sleep(2 * time.Minute)
		stop()
		if r, err := store.Run(t.Context(), got[0].ID); err != nil || r.State != Done || r.Attempt != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestLogIsBounded(t *testing.T) {
	l := &runLog{}
	for n := range 10_000 {
		fmt.Fprintf(l, "line %d\n", n)
	}
	text := l.String()
	if len(text) > 2*logBytes+100 || !strings.HasPrefix(text, "line 0\n") || !strings.HasSuffix(text, "line 9999\n") || !strings.Contains(text, "bytes are left out") {
		t.Errorf("%d bytes", len(text))
	}
}
