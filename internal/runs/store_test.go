package runs

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/internal/database"
	"headwater/table"
	"headwater/tests/interop/fixture"
)

// place is an empty database.
type place func(testing.TB) database.Config

func inFile(t testing.TB) database.Config {
	return database.Config{Path: filepath.Join(t.TempDir(), "state #1?.db"), Volatile: true}
}

// suite is what holds in both databases.
var suite = map[string]func(*testing.T, place){
	"plan": testPlan, "claim": testClaim, "finish": testFinish, "ask": testAsk, "cancel": testCancel, "abandoned": testAbandoned, "pause": testPause,
	"ended": testEnded, "order": testOrder, "pipelines": testPipelines, "newer": testNewer,
}

func TestSQLite(t *testing.T) {
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, inFile) })
	}
}

func TestPostgreSQL(t *testing.T) {
	server := fixture.NewPostgreSQL(t)
	n := 0
	in := func(t testing.TB) database.Config {
		n++
		return database.Config{PostgreSQL: server.Database(t, fmt.Sprintf("test_%d", n))}
	}
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, in) })
	}
	t.Run("lost", func(t *testing.T) { testLost(t, in) })
	t.Run("slots", func(t *testing.T) { testSlots(t, in) })
}

func open(t testing.TB, cfg database.Config, holder string) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, "market", holder, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func day(text string) table.Day {
	d, err := table.ParseDay(text)
	if err != nil {
		panic(err)
	}
	return d
}

// told is all runs, the oldest first, in one text.
func told(t testing.TB, s *Store, tell func(Run) string) string {
	t.Helper()
	all, err := s.List(t.Context(), Filter{})
	must(t, err)
	text := ""
	for _, r := range all {
		text = tell(r) + " " + text
	}
	return strings.TrimSpace(text)
}

func days(r Run) string { return r.Source[:1] + r.Day[8:] }

// plan plans orders as of the end of a day of July.
func plan(t testing.TB, s *Store, slot int, over string, pending ...string) int {
	t.Helper()
	asked, err := s.Now(t.Context())
	must(t, err)
	p := Plan{Source: "orders", Asked: asked, Over: day("2026-07-" + over)}
	if slot > 0 {
		p.Slot = time.UnixMilli(int64(slot))
	}
	for _, d := range pending {
		p.Pending = append(p.Pending, day("2026-07-"+d))
	}
	time.Sleep(2 * time.Millisecond) // the clock that ends of runs are compared by has milliseconds
	n, err := s.Plan(t.Context(), p)
	must(t, err)
	return n
}

// finish does the run that is first in line.
func finish(t testing.TB, s *Store, as State) Run {
	t.Helper()
	r := claim(t, s)
	r.State, r.Rows = as, 7
	must(t, s.Finish(t.Context(), r, "it has said\n"))
	return r
}

func claim(t testing.TB, s *Store) Run {
	t.Helper()
	ready, _, err := s.Ready(t.Context())
	must(t, err)
	if len(ready) == 0 {
		t.Fatal("nothing is ready")
	}
	r, claimed, err := s.Claim(t.Context(), ready[0].ID)
	must(t, err)
	if !claimed {
		t.Fatal("it is not there to be claimed")
	}
	return r
}

func testPlan(t *testing.T, in place) {
	s := open(t, in(t), "a")
	if n := plan(t, s, 1, "03", "01"); n != 2 || told(t, s, days) != "o01 o03" {
		t.Errorf("%d: %s", n, told(t, s, days))
	}
	if n := plan(t, s, 1, "03", "02"); n != 0 {
		t.Errorf("a slot that was planned has %d runs again", n)
	}
	if n := plan(t, s, 0, "03", "01", "03"); n != 0 {
		t.Errorf("days that wait have %d runs more", n)
	}
	finish(t, s, Done)
	finish(t, s, Done)
	if n := plan(t, s, 2, "06"); n != 3 || told(t, s, days) != "o01 o03 o04 o05 o06" {
		t.Errorf("%d: %s", n, told(t, s, days))
	}
	finish(t, s, Failed)
	finish(t, s, Cancelled)
	finish(t, s, Done)
	if n := plan(t, s, 3, "06", "01"); n != 2 || told(t, s, days) != "o01 o03 o04 o05 o06 o01 o04" {
		t.Errorf("%d: %s", n, told(t, s, days))
	}

	// A day that was made since it was looked at is not made again.
	finish(t, s, Done)
	asked, err := s.Now(t.Context())
	must(t, err)
	time.Sleep(2 * time.Millisecond)
	finish(t, s, Done)
	n, err := s.Plan(t.Context(), Plan{Source: "orders", Slot: time.UnixMilli(9), Asked: asked, Over: day("2026-07-06"), Pending: []table.Day{day("2026-07-04")}})
	if err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
}

func testClaim(t *testing.T, in place) {
	cfg := in(t)
	s := open(t, cfg, "a")
	plan(t, s, 1, "03", "01", "02")
	var wg sync.WaitGroup
	claimed := make([]bool, 8)
	ready, _, err := s.Ready(t.Context())
	must(t, err)
	for i := range claimed {
		wg.Go(func() {
			var err error
			if _, claimed[i], err = s.Claim(t.Context(), ready[i%3].ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, c := range claimed {
		if c {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d have claimed a run of one source", n)
	}
	if ready, _, err := s.Ready(t.Context()); err != nil || len(ready) != 0 {
		t.Errorf("%v, %v", ready, err)
	}
}

func testFinish(t *testing.T, in place) {
	s, ctx := open(t, in(t), "a"), t.Context()
	plan(t, s, 1, "03")
	r := claim(t, s)
	must(t, s.Guard(ctx, r))
	must(t, s.Note(ctx, r, "half"))
	if log, err := s.Log(ctx, r.ID); err != nil || log != "half" {
		t.Errorf("%q, %v", log, err)
	}
	r.State, r.Due, r.Class, r.Error = Waiting, time.Now().Add(time.Hour), Transient, "the store is away"
	must(t, s.Finish(ctx, r, "whole"))
	ready, next, err := s.Ready(ctx)
	if err != nil || len(ready) != 0 || time.Until(next) < 30*time.Minute {
		t.Errorf("%v, %v, %v", ready, next, err)
	}
	if err := s.Finish(ctx, r, "twice"); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	got, err := s.Run(ctx, r.ID)
	if err != nil || got.State != Waiting || got.Class != Transient || got.Attempt != 1 || got.Began.IsZero() || got.Ended.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Run(ctx, 99); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}
	if counts, oldest, err := s.Counts(ctx); err != nil || counts[Waiting] != 1 || oldest.IsZero() {
		t.Errorf("%v, %v, %v", counts, oldest, err)
	}
}

func testAsk(t *testing.T, in place) {
	s, ctx := open(t, in(t), "a"), t.Context()
	plan(t, s, 1, "03", "02")
	r := claim(t, s)
	got, err := s.Ask(ctx, Request{"orders", day("2026-07-02"), Backfill, "why", "b"}, Request{"orders", day("2026-07-03"), Backfill, "why", "b"},
		Request{"orders", day("2026-07-01"), Backfill, "why", "b"})
	must(t, err)
	if len(got) != 3 || got[0].ID != r.ID || got[0].Kind != Scheduled || got[1].Kind != Backfill || got[1].Batch != "b" || got[2].Day != "2026-07-01" {
		t.Errorf("%+v", got)
	}
}

func testCancel(t *testing.T, in place) {
	s, ctx := open(t, in(t), "a"), t.Context()
	plan(t, s, 1, "03", "01", "02")
	r := claim(t, s)
	if got, err := s.Cancel(ctx, r.ID); err != nil || got.State != Running || !got.Cancelling {
		t.Errorf("%+v, %v", got, err)
	}
	if err := s.Guard(ctx, r); !errors.Is(err, ErrCancelled) {
		t.Errorf("got %v", err)
	}
	r.State = Cancelled
	must(t, s.Finish(ctx, r, ""))
	if _, err := s.Cancel(ctx, r.ID); !errors.Is(err, ErrEnded) {
		t.Errorf("got %v", err)
	}
	ready, _, err := s.Ready(ctx)
	must(t, err)
	if got, err := s.Cancel(ctx, ready[0].ID); err != nil || got.State != Cancelled {
		t.Errorf("%+v, %v", got, err)
	}
	if text := told(t, s, func(r Run) string { return string(r.State) }); text != "cancelled cancelled waiting" {
		t.Error(text)
	}
}

// testAbandoned: what a dead process had is done again, unless it was cancelled or has been tried too often.
// testEnded: what keeps what became of runs is told of each end that is written down, and of no other, and an end that it cannot take is none.
func testEnded(t *testing.T, in place) {
	s := open(t, in(t), "a")
	var ends []string
	broken := errors.New("broken")
	var fault error
	s.Ended = func(_ *database.Tx, r Run) error {
		ends = append(ends, fmt.Sprintf("%s %s %s, ended %t", r.Day, r.State, r.Class, !r.Ended.IsZero()))
		return fault
	}
	plan(t, s, 1, "04", "01", "02", "03")
	finish(t, s, Done)
	finish(t, s, Cancelled)
	finish(t, s, Waiting) // the 3rd, which is tried again
	fault = broken
	r := claim(t, s)
	r.State = Failed
	if err := s.Finish(t.Context(), r, ""); !errors.Is(err, broken) {
		t.Error(err)
	}
	if got, err := s.Run(t.Context(), r.ID); err != nil || got.State != Running {
		t.Errorf("%+v, %v", got, err)
	}
	fault, ends = nil, ends[:1]
	must(t, s.Finish(t.Context(), r, ""))
	r = claim(t, s)
	if _, err := s.Abandoned(t.Context(), true, 9); err != nil {
		t.Error(err)
	}
	claim(t, s)
	if _, err := s.Abandoned(t.Context(), true, 0); err != nil {
		t.Error(err)
	}
	want := []string{"2026-07-01 done , ended true", "2026-07-03 failed , ended true", "2026-07-04 failed ours, ended true"}
	if !slices.Equal(ends, want) {
		t.Errorf("told of %q, want %q", ends, want)
	}
}

func testAbandoned(t *testing.T, in place) {
	cfg := in(t)
	s, ctx := open(t, cfg, "a"), t.Context()
	plan(t, s, 1, "03", "01", "02")
	before := claim(t, s)
	if n, err := s.Abandoned(ctx, false, 3); err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
	again := func() Run {
		t.Helper()
		if n, err := s.Abandoned(ctx, true, 3); err != nil || n != 1 {
			t.Fatalf("%d, %v", n, err)
		}
		got, err := s.Run(ctx, before.ID)
		must(t, err)
		return got
	}
	if got := again(); got.State != Waiting || got.Class != Transient {
		t.Errorf("%+v", got)
	}
	if err := s.Guard(ctx, before); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	after := claim(t, s)
	if after.ID != before.ID || after.Epoch != 2 || after.Attempt != 2 {
		t.Errorf("%+v", after)
	}
	if err := s.Finish(ctx, before, ""); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		again()
		claim(t, s)
	}
	if got := again(); got.State != Failed || got.Class != Ours {
		t.Errorf("%+v", got)
	}

	before = claim(t, s)
	_, err := s.Cancel(ctx, before.ID)
	must(t, err)
	if got := again(); got.State != Cancelled { // invariant 5
		t.Errorf("%+v", got)
	}
	if err := s.Guard(ctx, before); !errors.Is(err, ErrCancelled) {
		t.Errorf("got %v", err)
	}
}

// testLost: of two processes the other one takes what the first has not been heard of for the time of its lease.
func testLost(t *testing.T, in place) {
	cfg, ctx := in(t), t.Context()
	a, b := open(t, cfg, "a"), open(t, cfg, "b")
	a.lease = time.Millisecond
	plan(t, a, 1, "03")
	r := claim(t, a)
	for n := int64(0); n == 0; {
		var err error
		n, err = b.Abandoned(ctx, false, 3)
		must(t, err)
	}
	if err := a.Guard(ctx, r); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	taken := claim(t, b)
	if err := a.Guard(ctx, r); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	if n, err := a.Abandoned(ctx, true, 3); err != nil || n != 0 {
		t.Errorf("%d of another's, %v", n, err)
	}
	must(t, b.Guard(ctx, taken))
}

// testSlots: of processes that plan the same slots one plans each.
func testSlots(t *testing.T, in place) {
	cfg := in(t)
	var wg sync.WaitGroup
	const slots = 20
	added := make([]int, 3)
	for i := range added {
		s := open(t, cfg, fmt.Sprint(i))
		wg.Go(func() {
			for n := range slots {
				got, err := s.Plan(t.Context(), Plan{Source: "orders", Slot: time.UnixMilli(int64(n + 1)), Over: table.Day{Year: 2026, Month: 7, Day: n + 1}})
				if err != nil {
					t.Error(err)
				}
				added[i] += got
			}
		})
	}
	wg.Wait()
	if sum := added[0] + added[1] + added[2]; sum != slots {
		t.Errorf("%v are not %d runs", added, slots)
	}
}

func testPause(t *testing.T, in place) {
	s, ctx := open(t, in(t), "a"), t.Context()
	plan(t, s, 1, "03")
	must(t, s.Pause(ctx, "orders", true))
	if ready, _, err := s.Ready(ctx); err != nil || len(ready) != 0 {
		t.Errorf("%v, %v", ready, err)
	}
	if n := plan(t, s, 2, "05"); n != 0 {
		t.Errorf("%d were planned", n)
	}
	if paused, err := s.Paused(ctx); err != nil || fmt.Sprint(paused) != "[orders]" {
		t.Errorf("%v, %v", paused, err)
	}
	must(t, s.Pause(ctx, "orders", false))
	if n := plan(t, s, 3, "05"); n != 2 {
		t.Errorf("%d were planned of the days that were missed", n)
	}
}

// testOrder: what people ask for goes first, then what the schedule does, by day.
func testOrder(t *testing.T, in place) {
	s, ctx := open(t, in(t), "a"), t.Context()
	_, err := s.Ask(ctx, Request{"orders", day("2026-07-01"), Backfill, "", "b"}, Request{"trades", day("2026-07-01"), Backfill, "", "b"})
	must(t, err)
	plan(t, s, 1, "09", "08")
	_, err = s.Ask(ctx, Request{"orders", day("2026-07-20"), Manual, "", "m"})
	must(t, err)
	ready, _, err := s.Ready(ctx)
	must(t, err)
	var text strings.Builder
	for _, r := range ready {
		text.WriteString(days(r) + " ")
	}
	if text.String() != "o20 o08 o09 o01 t01 " {
		t.Error(text.String())
	}
}

// testPipelines: another pipeline's runs are not seen.
func testPipelines(t *testing.T, in place) {
	cfg := in(t)
	s := open(t, cfg, "a")
	plan(t, s, 1, "03")
	other, err := Open(t.Context(), cfg, "other", "a", time.Hour)
	must(t, err)
	defer other.Close()
	if all, err := other.List(t.Context(), Filter{}); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if ready, _, err := other.Ready(t.Context()); err != nil || len(ready) != 0 {
		t.Errorf("%v, %v", ready, err)
	}
}

// testNewer: a database of a newer version is refused, and one of this version is opened again.
func testNewer(t *testing.T, in place) {
	cfg := in(t)
	plan(t, open(t, cfg, "a"), 1, "03")
	if text := told(t, open(t, cfg, "b"), days); text != "o03" {
		t.Error(text)
	}
	_, err := database.Open(t.Context(), cfg, "runs", versions[:0])
	if err == nil || !strings.Contains(err.Error(), "use a newer one") {
		t.Errorf("got %v", err)
	}
}
