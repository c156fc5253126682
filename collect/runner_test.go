package collect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/retry"
)

// source is a Source made of its Run.
type source func(ctx context.Context, out collect.Out, once bool) error

func (f source) Run(ctx context.Context, out collect.Out, once bool) error { return f(ctx, out, once) }

func number(stream string, n int) collect.Item {
	return collect.Item{
		Stream: stream,
		Resume: json.RawMessage(fmt.Sprint(n + 1)),
		Item:   envelope.Item{Kind: envelope.JSON, Data: fmt.Append(nil, n)},
	}
}

// count is a Source whose streams have the numbers below n each.
func count(n int, streams ...string) source {
	return func(ctx context.Context, out collect.Out, once bool) error {
		for _, stream := range streams {
			start := 0
			if at, known := out.Streams()[stream]; known {
				if err := json.Unmarshal(at.Resume, &start); err != nil {
					return err
				}
			}
			for i := start; i < n; i++ {
				if err := out.Emit(ctx, number(stream, i)); err != nil {
					return err
				}
			}
		}
		if !once {
			<-ctx.Done()
		}
		return nil
	}
}

type fixture struct {
	log        *collecttest.Log
	quarantine *collecttest.Quarantine
	config     collect.Config
}

func fresh() *fixture {
	f := &fixture{log: &collecttest.Log{}, quarantine: &collecttest.Quarantine{}, config: collect.DefaultConfig()}
	f.config.Retry = collect.Retry{Min: time.Millisecond, Max: 2 * time.Millisecond, Tries: 3}
	return f
}

func (f *fixture) runner(s collect.Source) *collect.Runner {
	return collect.New(collect.Options{
		Name: "numbers", Source: s, Open: f.log.Open, Quarantine: f.quarantine, Config: f.config,
		Metadata: envelope.Metadata{ThreadID: 7, HostName: "host", ProcessStartTime: "2026-01-02T03:04:05Z"},
	})
}

// check compares the items of each stream with the numbers below n.
func (f *fixture) check(t *testing.T, n int, streams ...string) {
	t.Helper()
	want, got := map[string][]string{}, map[string][]string{}
	for _, s := range streams {
		for i := range n {
			want[s] = append(want[s], fmt.Sprint(i))
		}
	}
	for _, r := range f.log.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		got[r.Position.Stream] = append(got[r.Position.Stream], string(v.RawData))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
	for _, fault := range f.log.Faults() {
		t.Error(fault)
	}
}

func TestOnceCollectsAndSnapshots(t *testing.T) {
	f := fresh()
	f.log.PartitionCount = 2
	r := f.runner(count(5, "a", "b", "c"))
	if err := r.Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.check(t, 5, "a", "b", "c")
	_, got := f.log.Snapshots()
	want := envelope.Cursor{Source: "numbers", Offsets: map[int32]int64{0: 10, 1: 5}, Streams: map[string]envelope.StreamCursor{
		"a": {Seq: 4, Resume: json.RawMessage("5"), Partition: 0},
		"b": {Seq: 4, Resume: json.RawMessage("5"), Partition: 1},
		"c": {Seq: 4, Resume: json.RawMessage("5"), Partition: 0},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("cursor (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want.Offsets, r.Snapshotted()); d != "" {
		t.Errorf("Snapshotted (-want +got):\n%s", d)
	}
	st := r.Status()
	if st.State != collect.Stopped || st.Records != 15 || st.Bytes == 0 || st.LastError != "" || st.LastItem.IsZero() {
		t.Errorf("status: %+v", st)
	}
	v := string(f.log.Records()[0].Value)
	if !strings.Contains(v, `"metadata":{"thread_id":7,"host_name":"host","process_start_time":"2026-01-02T03:04:05Z","source":"numbers"}`) {
		t.Errorf("record %s", v)
	}
}

// Every failure of an append, with or without effect, ends in every item exactly once.
func TestFailuresAreReadBack(t *testing.T) {
	for _, lose := range []bool{false, true} {
		for n := 1; n <= 12; n++ {
			f := fresh()
			if lose {
				f.log.Lose(n)
			} else {
				f.log.Fail(n)
			}
			r := f.runner(count(6, "a", "b"))
			if err := r.Run(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			f.check(t, 6, "a", "b")
			if !strings.Contains(r.Status().LastError, "injected") {
				t.Errorf("lose %v, append %d: last error is %q", lose, n, r.Status().LastError)
			}
		}
	}
}

func TestOnceReturnsTheSourcesError(t *testing.T) {
	cause := errors.New("no route")
	for _, c := range []struct {
		err  error
		runs int
	}{{cause, 3}, {retry.Stop(cause), 1}} {
		runs := 0
		f := fresh()
		err := f.runner(source(func(ctx context.Context, out collect.Out, once bool) error {
			runs++
			return errors.Join(count(3, "a")(ctx, out, once), c.err)
		})).Run(t.Context(), true)
		if !errors.Is(err, cause) || runs != c.runs {
			t.Errorf("%d runs, want %d; error %v", runs, c.runs, err)
		}
		f.check(t, 3, "a") // what it could read is kept
	}
}

func TestPanicIsAnErrorOfTheSource(t *testing.T) {
	f := fresh()
	runs := 0
	err := f.runner(source(func(ctx context.Context, out collect.Out, once bool) error {
		if runs++; runs == 1 {
			panic("boom")
		}
		return count(3, "a")(ctx, out, once)
	})).Run(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	f.check(t, 3, "a")
}

// TestPanicInEmit: an item that no envelope can be made of takes its number along; the session ends and the next one goes on.
func TestPanicInEmit(t *testing.T) {
	f := fresh()
	runs := 0
	err := f.runner(source(func(ctx context.Context, out collect.Out, once bool) error {
		if runs++; runs == 1 {
			bad := collect.Item{Stream: "a", Resume: []byte("0"), Item: envelope.Item{Kind: envelope.Fields, Names: []string{"x"}}}
			if err := out.Emit(ctx, bad); err == nil || !strings.Contains(err.Error(), "panicked") {
				t.Errorf("Emit = %v", err)
			}
			return nil
		}
		return count(3, "a")(ctx, out, once)
	})).Run(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	f.check(t, 3, "a")
}

func TestDoneComesInOrderAfterTheAcknowledgement(t *testing.T) {
	f := fresh()
	release := f.log.Hold()
	var mu sync.Mutex
	var done []int
	finished := make(chan error)
	go func() {
		finished <- f.runner(source(func(ctx context.Context, out collect.Out, once bool) error {
			for i := range 10 {
				it := number("a", i)
				it.Done = func() { mu.Lock(); defer mu.Unlock(); done = append(done, i) }
				if err := out.Emit(ctx, it); err != nil {
					return err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(done) > 0 {
				t.Errorf("done before the acknowledgement: %v", done)
			}
			release()
			return nil
		})).Run(t.Context(), true)
	}()
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("done: %v", done)
	}
}

func TestDrainFlushesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		f.log.Buffer = 3 // the source is blocked in Emit when the stop comes
		release := f.log.Hold()
		ctx, cancel := context.WithCancel(t.Context())
		r := f.runner(count(10, "a"))
		result := make(chan error, 1)
		go func() { result <- r.Run(ctx, false) }()
		synctest.Wait()
		if n := r.Status().InFlight; n != 4 {
			t.Errorf("%d in flight, want the 3 of the buffer and the one that blocks", n)
		}
		cancel()
		synctest.Wait()
		if st := r.Status(); st.State == collect.Stopped || st.InFlight != 4 {
			t.Errorf("status while draining: %+v", st)
		}
		time.Sleep(f.config.Drain / 3)
		release()
		if err := <-result; err != nil {
			t.Error(err)
		}
		f.check(t, 4, "a")
		if _, c := f.log.Snapshots(); c.Streams["a"].Seq != 3 {
			t.Errorf("the cursor was not written at the end: %+v", c)
		}
	})
}

func TestDrainEndsInTime(t *testing.T) {
	for name, s := range map[string]collect.Source{
		"broker":         count(2, "a"),
		"broker, blocks": count(200, "a"),
		"source":         source(func(context.Context, collect.Out, bool) error { time.Sleep(time.Hour); return nil }),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := fresh()
				defer f.log.Hold()()
				ctx, cancel := context.WithCancel(t.Context())
				r := f.runner(s)
				result := make(chan error, 1)
				go func() { result <- r.Run(ctx, false) }()
				synctest.Wait()
				cancel()
				told := time.Now()
				if err := <-result; err != nil {
					t.Error(err)
				}
				if d := time.Since(told); d != f.config.Drain {
					t.Errorf("stopped after %s, want %s", d, f.config.Drain)
				}
				if r.Status().LastError == "" {
					t.Error("nothing tells that the drain did not finish")
				}
				time.Sleep(time.Hour) // until the source that does not listen is over too
			})
		})
	}
}

func TestSnapshotsComeOnTimeAndOnlyWhenSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		more := make(chan int)
		r := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error {
			for i := range more {
				if err := out.Emit(ctx, number("a", i)); err != nil {
					return err
				}
			}
			return nil
		}))
		go func() { _ = r.Run(ctx, false) }()
		more <- 0
		synctest.Wait()
		expect := func(n int) {
			t.Helper()
			synctest.Wait()
			if got, _ := f.log.Snapshots(); got != n {
				t.Errorf("%d snapshots, want %d", got, n)
			}
		}
		expect(0)
		time.Sleep(f.config.SnapshotEvery)
		expect(1)
		time.Sleep(5 * f.config.SnapshotEvery)
		expect(1)
		more <- 1
		synctest.Wait()
		if err := r.SnapshotNow(ctx); err != nil {
			t.Error(err)
		}
		expect(2)
		if r.Snapshotted()[0] != 2 {
			t.Errorf("snapshotted %v", r.Snapshotted())
		}
		cancel()
		close(more)
	})
}

// After a restart trimming can go on although nothing new is read.
func TestSnapshotNowAfterARestart(t *testing.T) {
	f := fresh()
	if err := f.runner(count(3, "a")).Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := f.runner(count(3, "a"))
		if err := r.SnapshotNow(ctx); err == nil {
			t.Error("SnapshotNow says nothing of a Runner that does not run")
		}
		result := make(chan error, 1)
		go func() { result <- r.Run(ctx, false) }()
		synctest.Wait()
		if err := r.SnapshotNow(ctx); err != nil || r.Snapshotted()[0] != 3 {
			t.Errorf("%v, snapshotted %v", err, r.Snapshotted())
		}
		cancel()
		<-result
	})
}

// A source that waits for its outside world is stopped when a record fails, and run again.
func TestFailureEndsASourceThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		f.log.Fail(3)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- f.runner(count(3, "a")).Run(ctx, false) }()
		time.Sleep(time.Minute)
		f.check(t, 3, "a")
		cancel()
		<-result
	})
}

// A source that gets on between its failures is not made to wait longer and longer.
func TestProgressResetsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		f := fresh()
		f.config.Retry = collect.Retry{Min: time.Second, Max: time.Hour, Tries: n + 1}
		began := time.Now()
		err := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error {
			next := int(out.Streams()["a"].Seq) + 1
			if len(out.Streams()) == 0 {
				next = 0
			}
			if next == n {
				return nil
			}
			return errors.Join(out.Emit(ctx, number("a", next)), errors.New("cut off"))
		})).Run(t.Context(), true)
		if err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > n*time.Second {
			t.Errorf("waited %s in all", d)
		}
		f.check(t, n, "a")
	})
}

func TestMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		release := f.log.Hold()
		ctx, cancel := context.WithCancel(t.Context())
		var durable atomic.Int64
		r := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error {
			if s := out.Streams(); len(s) > 0 {
				<-ctx.Done()
				return nil
			}
			for _, err := range []error{
				out.Mark(ctx, "empty", json.RawMessage(`"end"`), true, func() { durable.Add(1) }),
				out.Emit(ctx, number("a", 0)),
				out.Mark(ctx, "a", json.RawMessage(`"a0"`), false, func() { durable.Add(10) }),
				out.Emit(ctx, number("a", 1)),
				out.Mark(ctx, "a", json.RawMessage(`"a1"`), false, nil),
				out.Mark(ctx, "gone", nil, true, nil),
			} {
				if err != nil {
					return err
				}
			}
			<-ctx.Done()
			return nil
		}))
		result := make(chan error, 1)
		go func() { result <- r.Run(ctx, false) }()
		synctest.Wait()
		if n := durable.Load(); n != 1 {
			t.Errorf("durable marks: %d, want that of the stream without records", n)
		}
		_, c := f.log.Snapshots()
		want := map[string]envelope.StreamCursor{"empty": {Seq: -1, Resume: json.RawMessage(`"end"`), Done: true}}
		if d := cmp.Diff(want, c.Streams); d != "" {
			t.Errorf("first cursor (-want +got):\n%s", d)
		}
		release()
		synctest.Wait()
		if n := durable.Load(); n != 11 {
			t.Errorf("durable marks: %d, want both", n)
		}
		cancel()
		<-result
		_, c = f.log.Snapshots()
		want["a"] = envelope.StreamCursor{Seq: 1, Resume: json.RawMessage(`"a1"`)}
		if d := cmp.Diff(want, c.Streams); d != "" {
			t.Errorf("last cursor (-want +got):\n%s", d)
		}
	})
}

func TestTooLargeGoesToQuarantine(t *testing.T) {
	f := fresh()
	f.config.MaxItem, f.config.MaxRecord = 2000, 1000
	big := func(kind envelope.Kind, data string) collect.Item {
		it := number("a", 0)
		it.Item = envelope.Item{Kind: kind, Data: []byte(data)}
		return it
	}
	long := strings.Repeat("x", 1200)
	items := []collect.Item{
		big(envelope.JSON, `"`+long+`"`),                // fits
		big(envelope.Text, long),                        // too large as a string
		big(envelope.JSON, `{"`+long),                   // malformed, so a string
		big(envelope.JSON, `"`+long+long+`"`),           // too large at all
		big(envelope.Text, strings.Repeat("\x01", 300)), // only its escapes are too long
		{Stream: "a", Resume: json.RawMessage("1"), Item: envelope.Item{Kind: envelope.Fields, Names: []string{"n"}, Values: []string{long}}},
	}
	r := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error {
		for _, it := range items {
			if err := out.Emit(ctx, it); err != nil {
				return err
			}
		}
		return nil
	}))
	if err := r.Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	kept := f.quarantine.Kept()
	if len(kept) != 5 {
		t.Errorf("%d items kept, want 5", len(kept))
	}
	for i := 1; i < 5; i++ {
		if !bytes.Equal(kept[fmt.Sprintf("numbers/a/%d", i)], items[i].Data) {
			t.Errorf("item %d is not whole in the quarantine", i)
		}
	}
	for i, rec := range f.log.Records() {
		text := string(rec.Value)
		if got := strings.Contains(text, "sha256") && strings.Contains(text, `"malformed":"too-large`); got != (i > 0) {
			t.Errorf("record %d: %.200s", i, text)
		}
		// What cannot fit is not encoded first: a string may be six times as long as its item.
		if unencoded := strings.Contains(text, "the item has"); unencoded != (i >= 1 && i <= 3) {
			t.Errorf("record %d: %.400s", i, text)
		}
	}
	if st := r.Status(); st.Quarantined != 5 || st.Malformed != 5 || st.Records != 6 {
		t.Errorf("status: %+v", st)
	}
}

func TestQuarantineThatFailsStopsTheStream(t *testing.T) {
	f := fresh()
	f.config.MaxItem, f.config.MaxRecord = 10, 10
	f.quarantine.Err = errors.New("disk full")
	err := f.runner(count(3, "a")).Run(t.Context(), true)
	if !errors.Is(err, f.quarantine.Err) || len(f.log.Records()) > 0 {
		t.Errorf("error %v, %d records", err, len(f.log.Records()))
	}
}

func TestPartitionThatIsGone(t *testing.T) {
	f := fresh()
	f.log.PartitionCount = 2
	if err := f.runner(count(2, "a", "b")).Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	cut := fresh()
	cut.log = &collecttest.Log{}
	r := collect.New(collect.Options{
		Name: "numbers", Source: count(2, "a"), Config: f.config, Quarantine: f.quarantine,
		Open: func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
			log, _, err := cut.log.Open(ctx)
			_, c := f.log.Snapshots()
			return log, c, err
		},
	})
	if err := r.Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "stream b of source numbers lies on Kafka partition 1") {
		t.Errorf("error %v", err)
	}
}

func TestPositionThatIsNotJSON(t *testing.T) {
	f := fresh()
	it := number("a", 0)
	it.Resume = json.RawMessage("{")
	err := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error { return out.Emit(ctx, it) })).Run(t.Context(), true)
	if err == nil || len(f.log.Records()) > 0 {
		t.Errorf("error %v, %d records", err, len(f.log.Records()))
	}
}

func TestOpenThatFails(t *testing.T) {
	tries := 0
	f := fresh()
	r := collect.New(collect.Options{
		Name: "numbers", Source: count(2, "a"), Config: f.config,
		Open: func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
			if tries++; tries < 3 {
				return nil, envelope.Cursor{}, errors.New("broker away")
			}
			return f.log.Open(ctx)
		},
	})
	if err := r.Run(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	f.check(t, 2, "a")
}

// Streams emitted at once, with everything else that may be called meanwhile; worth most under the race detector.
func TestConcurrentStreams(t *testing.T) {
	const n = 300
	f := fresh()
	f.log.PartitionCount = 3
	f.log.Lose(700)
	names := []string{"a", "b", "c", "d", "e"}
	r := f.runner(source(func(ctx context.Context, out collect.Out, once bool) error {
		errs := make([]error, len(names))
		var wg sync.WaitGroup
		for i, name := range names {
			wg.Go(func() { errs[i] = count(n, name)(ctx, out, once) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = r.SnapshotNow(t.Context()), r.Snapshotted()
				if st := r.Status(); st.InFlight < 0 || st.InFlight > 200 {
					t.Errorf("status %+v", st)
				}
			}
		}
	})
	if err := r.Run(t.Context(), true); err != nil {
		t.Error(err)
	}
	close(stop)
	wg.Wait()
	f.check(t, n, names...)
}

func BenchmarkEmit(b *testing.B) {
	f := fresh()
	f.log.Buffer = 10000
	row := envelope.Item{Kind: envelope.Fields}
	for i := range 19 {
		row.Names, row.Values = append(row.Names, fmt.Sprintf("column_%d", i)), append(row.Values, "value")
	}
	b.ReportAllocs()
	err := f.runner(source(func(ctx context.Context, out collect.Out, _ bool) error {
		for i := 0; b.Loop(); i++ {
			it := number("a", i)
			it.Item = row
			if err := out.Emit(ctx, it); err != nil {
				return err
			}
		}
		return nil
	})).Run(b.Context(), true)
	if err != nil {
		b.Fatal(err)
	}
}

func TestConfigValidate(t *testing.T) {
	good := collect.DefaultConfig()
	if f := good.Validate(); len(f) > 0 {
		t.Errorf("defaults: %v", f)
	}
	var zero collect.Config
	if f := zero.Validate(); len(f) != 7 {
		t.Errorf("%d faults of an empty config: %v", len(f), f)
	}
	bad := good
	bad.MaxItem, bad.Retry.Max = 1<<20, time.Millisecond
	if f := bad.Validate(); len(f) != 2 {
		t.Errorf("%d faults: %v", len(f), f)
	}
}
