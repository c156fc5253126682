// Package collecttest is the suite that every source passes, and the twins in memory that it needs: a topic with faults
// and a quarantine.
//
// What enters: a Harness that can put numbered items into a source's outside world. What leaves: failures of the test.
// The suite asks for nothing that only some protocols have; a source has tests of its own beside it.
package collecttest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/collect"
	"headwater/envelope"
)

// Harness is how the suite gets at the outside world of a source.
type Harness struct {
	// World makes an outside world without items; what it starts or makes goes with t.Cleanup.
	World func(t *testing.T) World
	// Parts is in how many parts (files, queues, pages) an item can be put; at least 1.
	Parts int
	// Consumes says that items leave the outside world when they are done, as those of a queue do; otherwise it keeps them.
	Consumes bool
	// Forgets says that what comes while nobody reads, and what was read when Kafka failed, is gone, as on a live feed: after a fault items may be
	// missing, but none may come twice or out of order. Malformed records whose reason begins with gap: are no items.
	Forgets bool
	// Late says that what was missed may come after what followed it.
	Late bool
	// Patience is when the suite gives up on something that should have happened; 0 means three minutes. Nothing that passes depends on it.
	Patience time.Duration
}

// World is one outside world. Its methods may be called while sources run on it.
type World interface {
	// Put adds an item that carries the number n. The numbers of a part ascend.
	Put(t *testing.T, part, n int)
	// Source is a new Source that reads this world. It need not wait long for what is unfinished.
	Source(t *testing.T) collect.Source
	// Number is what Put put in, found in an envelope's raw_data.
	Number(raw json.RawMessage) (int, error)
}

// Breaker is the power of a World that one of its parts can fail while the others can be read.
type Breaker interface {
	// Break makes the part unreadable, Mend takes that back.
	Break(t *testing.T, part int)
	Mend(t *testing.T, part int)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	h.Parts = max(1, h.Parts)
	h.Patience = cmp.Or(h.Patience, 3*time.Minute)
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite)
	}{
		{"Once", testOnce},
		{"Empty", testEmpty},
		{"AnotherRunFindsNothing", testAnotherRun},
		{"RestartAtEveryPrefix", testRestarts},
		{"FailureAtEveryPrefix", testFailures},
		{"RepliesLost", testRepliesLost},
		{"SlowAcknowledgements", testSlow},
		{"Live", testLive},
		{"StopWhileBlocked", testStopWhileBlocked},
		{"OnePartFails", testBroken},
		{"NothingKept", testNothingKept},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{h: h, world: h.World(t), log: &Log{PartitionCount: 2}, put: map[int]bool{}, part: map[int]int{}}
			c.test(t, s)
			for _, fault := range append(s.log.Faults(), s.faults()...) {
				t.Error(fault)
			}
		})
	}
}

// suite is the state of one test.
type suite struct {
	h     Harness
	world World
	log   *Log
	next  int
	put   map[int]bool
	part  map[int]int // of a number
	lossy bool        // items may be missing by now

	mu    sync.Mutex
	wrong []string
}

func (s *suite) faultf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *suite) faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrong)
}

// fill puts n more items into the parts in turn.
func (s *suite) fill(t *testing.T, n int) {
	t.Helper()
	for range n {
		part := s.next % s.h.Parts
		s.world.Put(t, part, s.next)
		s.put[s.next], s.part[s.next] = true, part
		s.next++
	}
}

// runner makes a Runner over a new Source, watched.
func (s *suite) runner(t *testing.T, tries int) *collect.Runner {
	return s.runnerOf(s.world.Source(t), tries)
}

func (s *suite) runnerOf(src collect.Source, tries int) *collect.Runner {
	c := collect.DefaultConfig()
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 5 * time.Millisecond, Tries: tries}
	return collect.New(collect.Options{
		Name: "suite", Source: watch{src, s}, Open: s.log.Open, Quarantine: &Quarantine{}, Config: c,
	})
}

// once runs until the source has read everything.
func (s *suite) once(t *testing.T, tries int) error {
	t.Helper()
	return s.within(t, func(ctx context.Context) error { return s.runner(t, tries).Run(ctx, true) })
}

// within fails the test if run takes too long.
func (s *suite) within(t *testing.T, run func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), s.h.Patience, errors.New("the suite lost its patience"))
	defer cancel()
	err := run(ctx)
	if ctx.Err() != nil {
		t.Fatalf("did not return within %s: %v", s.h.Patience, err)
	}
	return err
}

// check compares the topic with what was put in, in parts that are not left out.
func (s *suite) check(t *testing.T, without ...int) {
	t.Helper()
	if err := s.compare(without...); err != nil {
		t.Error(err)
	}
}

func (s *suite) compare(without ...int) error {
	var problems []error
	times, last := map[int]int{}, map[string]int{}
	for _, r := range s.log.Records() {
		n, err := s.numberOf(r)
		if s.h.Forgets && errors.Is(err, errGap) {
			continue
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("record %d of stream %s: %w", r.Position.Seq, r.Position.Stream, err))
			continue
		}
		if before, known := last[r.Position.Stream]; known && n <= before && !s.h.Late {
			problems = append(problems, fmt.Errorf("stream %s has item %d after %d", r.Position.Stream, n, before))
		}
		last[r.Position.Stream] = n
		times[n]++
	}
	for n := range s.next {
		want := 1
		if slices.Contains(without, s.part[n]) {
			want = 0
		}
		if times[n] != want && !(s.lossy && times[n] == 0) {
			problems = append(problems, fmt.Errorf("item %d of part %d is in the topic %d times, want %d", n, s.part[n], times[n], want))
		}
	}
	return errors.Join(problems...)
}

var errGap = errors.New("a gap was recorded")

// fault says that a fault was asked for, after which a live feed lacks items.
func (s *suite) fault() { s.lossy = s.lossy || s.h.Forgets }

func (s *suite) numberOf(r Stored) (int, error) {
	v, err := envelope.Parse(r.Value)
	if err != nil {
		return 0, err
	}
	if reason, is := envelope.MetadataMalformed(v.Metadata); is {
		if strings.HasPrefix(reason, "gap:") {
			return 0, errGap
		}
		return 0, fmt.Errorf("malformed: %s", reason)
	}
	n, err := s.world.Number(v.RawData)
	if err == nil && !s.put[n] {
		err = fmt.Errorf("item %d was never put in", n)
	}
	return n, err
}

// eventually waits until the topic holds everything.
func (s *suite) eventually(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(s.h.Patience); s.compare() != nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	s.check(t)
}

// watch looks at what a source does to its Out.
type watch struct {
	collect.Source
	s *suite
}

func (w watch) Run(ctx context.Context, out collect.Out, once bool) error {
	o := &watchedOut{Out: out, s: w.s}
	err := w.Source.Run(ctx, o, once)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
	return err
}

type watchedOut struct {
	collect.Out
	s    *suite
	mu   sync.Mutex
	over bool
}

func (o *watchedOut) Emit(ctx context.Context, it collect.Item) error {
	o.mu.Lock()
	if o.over {
		o.s.faultf("an item of stream %s was emitted after Run had returned", it.Stream)
	}
	o.mu.Unlock()
	if len(it.Resume) == 0 {
		o.s.faultf("an item of stream %s says nothing of where to resume", it.Stream)
	}
	if done := it.Done; done != nil {
		calls := 0
		it.Done = func() {
			if calls++; calls > 1 {
				o.s.faultf("the Done of an item of stream %s was called %d times", it.Stream, calls)
			}
			done()
		}
	}
	return o.Out.Emit(ctx, it)
}

// size is how many items most tests put in.
const size = 12

func testOnce(t *testing.T, s *suite) {
	s.fill(t, size)
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

func testEmpty(t *testing.T, s *suite) {
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

func testAnotherRun(t *testing.T, s *suite) {
	for range 3 {
		s.fill(t, size)
		for range 2 {
			if err := s.once(t, 1); err != nil {
				t.Fatal(err)
			}
			s.check(t)
		}
	}
}

// Each process gets as far as it gets: the nth append fails, and another process goes on.
func testRestarts(t *testing.T, s *suite) {
	if s.h.Forgets {
		t.Skip("what a process has not recorded is gone, and the next one has nothing to fail with")
	}
	s.fill(t, size)
	for n := 1; n <= size; n++ {
		s.log.Fail(2) // one more record than the process before, then the end
		if err := s.once(t, 1); n < size && !errors.Is(err, ErrInjected) {
			t.Fatalf("process %d: %v, want the injected fault", n, err)
		}
	}
	s.log.Fail(0)
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

// One process goes through the same: its Source is run again and again.
func testFailures(t *testing.T, s *suite) {
	for n := 1; n <= size; n++ {
		s.fill(t, 2)
		s.log.Fail(1 + n%2)
		s.fault()
		if err := s.once(t, 5); err != nil {
			t.Fatal(err)
		}
		s.check(t)
	}
}

func testRepliesLost(t *testing.T, s *suite) {
	for n := 1; n <= size; n++ {
		s.fill(t, 3)
		s.log.Lose(1 + n%3)
		s.fault()
		if err := s.once(t, 5); err != nil {
			t.Fatal(err)
		}
		s.check(t)
	}
}

func testSlow(t *testing.T, s *suite) {
	s.log.Buffer = 3
	release := s.log.Hold()
	defer release()
	s.fill(t, size)
	result := make(chan error, 1)
	go func() { result <- s.once(t, 1) }()
	for end := time.Now().Add(s.h.Patience); len(s.log.Records()) < 3 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	release()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

// background runs a Runner until stop is called, which waits for it and for its goroutines.
func (s *suite) background(t *testing.T) (stop func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	r := s.runner(t, 1)
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, false) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-result:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(s.h.Patience):
			t.Fatalf("Run did not return within %s of its context's end", s.h.Patience)
		}
		if why := r.Status().LastError; why != "" && !strings.Contains(why, ErrInjected.Error()) {
			t.Errorf("the source failed: %s", why)
		}
		for end := time.Now().Add(s.h.Patience); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<20)
				t.Fatalf("%d goroutines before Run, %d after it:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
			}
		}
	}
}

func testLive(t *testing.T, s *suite) {
	s.fill(t, size)
	for range 3 {
		stop := s.background(t)
		s.eventually(t)
		s.fill(t, size)
		s.eventually(t)
		s.log.Lose(2)
		s.fault()
		s.fill(t, size)
		s.eventually(t)
		stop()
		s.log.Lose(0)
		s.fill(t, size)
	}
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

func testStopWhileBlocked(t *testing.T, s *suite) {
	s.log.Buffer = 1
	s.fault() // what was sent and not read when the source stops
	s.fill(t, size)
	release := s.log.Hold()
	stop := s.background(t)
	for end := time.Now().Add(s.h.Patience); len(s.log.Records()) < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was emitted")
		}
	}
	time.AfterFunc(20*time.Millisecond, release) // the stop waits for what is on its way
	stop()
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

func testBroken(t *testing.T, s *suite) {
	b, can := s.world.(Breaker)
	if !can || s.h.Parts < 2 {
		t.Skip("no part of this world can fail alone")
	}
	s.fill(t, size)
	b.Break(t, 0)
	if err := s.once(t, 1); err == nil {
		t.Error("nothing tells that a part could not be read")
	}
	s.check(t, 0)
	b.Mend(t, 0)
	if err := s.once(t, 1); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}

// The same Source value, run on a topic that knows nothing: what it kept from its first run must not matter.
func testNothingKept(t *testing.T, s *suite) {
	s.fill(t, size)
	src := s.world.Source(t)
	run := func(ctx context.Context) error { return s.runnerOf(src, 1).Run(ctx, true) }
	if err := s.within(t, run); err != nil {
		t.Fatal(err)
	}
	s.check(t)
	if s.h.Consumes {
		return
	}
	s.log = &Log{PartitionCount: 2}
	if err := s.within(t, run); err != nil {
		t.Fatal(err)
	}
	s.check(t)
}
