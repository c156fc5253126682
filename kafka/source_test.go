package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// TestCursor is that a source goes on where its topic ends, with records after the last snapshot, marks that no record says, and
// records of others between its own.
func TestCursor(t *testing.T) {
	cfg := broker(t)
	ctx := t.Context()
	foreign := newClient(t, cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ensure(t, foreign, "src_raw", 3)
	l, cursor := open(t, cfg)
	want := envelope.Cursor{Source: "src", Streams: map[string]envelope.StreamCursor{}, Offsets: map[int32]int64{0: 0, 1: 0, 2: 0}}
	if d := cmp.Diff(want, cursor); d != "" {
		t.Fatal(d)
	}
	if l.Partitions() != 3 {
		t.Errorf("Partitions() = %d", l.Partitions())
	}
	for round := range int64(4) {
		w := newWriter(t, l, cursor)
		for i := range 100 {
			w.append(ctx, "a", 0, i)
			w.append(ctx, "b \xff", 1, i)
			w.append(ctx, "c", 1, 0)
			w.append(ctx, "keyed", 2, 0)
			if i%10 == 0 {
				if err := foreign.ProduceSync(ctx, &kgo.Record{Topic: "src_raw", Partition: int32(i / 10 % 3), Value: []byte("theirs")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		w.mustSucceed()
		seq := (round+1)*100 - 1
		want.Streams["a"], want.Streams["b \xff"], want.Streams["c"] = at(seq, 0), at(seq, 1), at(seq, 1)
		keyed := at(seq, 2)
		for n := max(0, seq-149); n <= seq; n++ {
			keyed.Keys = append(keyed.Keys, fmt.Sprint(n))
		}
		want.Streams["keyed"] = keyed
		if err := l.visible(ctx); err != nil {
			t.Fatal(err)
		}
		ends, err := EndOffsets(ctx, foreign, "src_raw")
		if err != nil {
			t.Fatal(err)
		}
		want.Offsets = ends["src_raw"]
		if round == 1 { // the records of the other rounds come after the last snapshot
			want.Streams["ended"] = envelope.StreamCursor{Seq: -1, Partition: 2, Resume: []byte(`"etag"`), Done: true}
			if err := l.Snapshot(ctx, want); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if ends, err = EndOffsets(ctx, foreign, "src_raw"); err != nil {
			t.Fatal(err)
		}
		want.Offsets = ends["src_raw"] // a transaction's marker may have come
		l, cursor = open(t, cfg)
		if d := cmp.Diff(want, cursor); d != "" {
			t.Fatalf("round %d: %s\n%s", round, d, cursorLog(t, cfg))
		}
	}
}

// cursorLog is what readers that wait for nothing see in CursorTopic, and where it ends for those that wait for transactions.
func cursorLog(t *testing.T, cfg Config) string {
	cl := newClient(t, cfg, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{CursorTopic: {0: kgo.NewOffset().At(0)}}),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords())
	ends, err := EndOffsets(t.Context(), cl, CursorTopic)
	var text strings.Builder
	fmt.Fprintln(&text, "the last stable offset is", ends[CursorTopic][0], err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for r := range cl.PollFetches(ctx).RecordsAll() {
			fmt.Fprintf(&text, "%d: control %v, producer %d/%d, at %v, %s %v %.100s\n", r.Offset, r.Attrs.IsControl(), r.ProducerID, r.ProducerEpoch, r.Timestamp, r.Key, r.Headers, r.Value)
		}
	}
	return text.String()
}

func TestNoTopic(t *testing.T) {
	_, _, err := OpenSource(t.Context(), broker(t), "src", "src_raw", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "topic src_raw does not exist") {
		t.Errorf("got %v", err)
	}
}

// TestNotDense is that a log which cannot be the source's own is not gone on with.
func TestNotDense(t *testing.T) {
	for name, c := range map[string]struct {
		partition int32
		header    string
		want      string
	}{
		"gap":       {0, `{"v":1,"stream":"a","seq":3}`, `topic src_raw partition 0 offset END: stream "a" has number 3 after 1`},
		"duplicate": {0, `{"v":1,"stream":"a","seq":1}`, `topic src_raw partition 0 offset END: stream "a" has number 1 after 1`},
		"new":       {1, `{"v":1,"stream":"z","seq":1}`, `topic src_raw partition 1 offset 0: stream "z" has number 1 after -1`},
		"moved":     {1, `{"v":1,"stream":"a","seq":2}`, `topic src_raw partition 1 offset 0: stream "a" continues here, but its records are in partition 0`},
		"garbage":   {1, `{"v":7}`, `topic src_raw partition 1 offset 0: reading header headwater-position`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := broker(t)
			cl := newClient(t, cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			ensure(t, cl, "src_raw", 2)
			l, cursor := open(t, cfg)
			w := newWriter(t, l, cursor)
			w.append(t.Context(), "a", 0, 0)
			w.append(t.Context(), "a", 0, 0)
			w.mustSucceed()
			_ = l.Close()
			odd := &kgo.Record{Topic: "src_raw", Partition: c.partition, Headers: []kgo.RecordHeader{{Key: envelope.PositionHeader, Value: []byte(c.header)}}}
			if err := cl.ProduceSync(t.Context(), odd).FirstErr(); err != nil {
				t.Fatal(err)
			}
			end := `2`
			if cfg.Shared {
				end = `\d+` // after the markers of one or two transactions
			}
			want := regexp.MustCompile(strings.Replace(regexp.QuoteMeta(c.want), "END", end, 1))
			_, _, err := OpenSource(t.Context(), cfg, "src", "src_raw", slog.New(slog.DiscardHandler))
			if err == nil || !want.MatchString(err.Error()) {
				t.Fatalf("got %v", err)
			}
			if retry.Classify(err) != retry.Permanent {
				t.Error("it would be tried again")
			}
		})
	}
}

// TestDeletedBehindSnapshot is that a source goes on when its topic lost records that no snapshot knows.
func TestDeletedBehindSnapshot(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, cursor := open(t, cfg)
	w := newWriter(t, l, cursor)
	for range 10 {
		w.append(t.Context(), "a", 0, 0)
	}
	w.mustSucceed()
	_ = l.Close()
	if err := Trim(t.Context(), cl, "src_raw", map[int32]int64{0: 5}); err != nil {
		t.Fatal(err)
	}
	_, cursor = open(t, cfg)
	if d := cmp.Diff(map[string]envelope.StreamCursor{"a": at(9, 0)}, cursor.Streams); d != "" {
		t.Error(d)
	}
}

// TestTopicMadeAnew is that streams go on in a topic that was deleted and created again, whether or not it has grown past the snapshot.
func TestTopicMadeAnew(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, cursor := open(t, cfg)
	w := newWriter(t, l, cursor)
	for range 5 {
		w.append(t.Context(), "a", 0, 0)
	}
	w.mustSucceed()
	if err := l.Snapshot(t.Context(), envelope.Cursor{Streams: map[string]envelope.StreamCursor{"a": at(4, 0)}, Offsets: map[int32]int64{0: 5}}); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := kadm.NewClient(cl).DeleteTopics(t.Context(), "src_raw"); err != nil {
		t.Fatal(err)
	}
	for found := map[string]topicInfo{"src_raw": {}}; len(found) > 0; { // a broker deletes after it has answered
		var err error
		if found, err = describe(t.Context(), cl, []string{"src_raw"}); err != nil {
			t.Fatal(err)
		}
	}
	ensure(t, cl, "src_raw", 1)
	for _, last := range []int64{4, 14, 24} {
		l, cursor = open(t, cfg)
		want := envelope.Cursor{Source: "src", Streams: map[string]envelope.StreamCursor{"a": at(last, 0)}, Offsets: map[int32]int64{0: last - 4}}
		if cfg.Shared { // and the markers of transactions
			ends, err := EndOffsets(t.Context(), cl, "src_raw")
			if err != nil {
				t.Fatal(err)
			}
			want.Offsets = ends["src_raw"]
		}
		if d := cmp.Diff(want, cursor); d != "" {
			t.Fatal(d)
		}
		w := newWriter(t, l, cursor)
		for range 10 {
			w.append(t.Context(), "a", 0, 0)
		}
		w.mustSucceed()
		_ = l.Close()
	}
}

// TestMarkersAtTheEnd is that reading ends where the log's last offsets are those of transaction markers.
func TestMarkersAtTheEnd(t *testing.T) {
	_, cfg := fake(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, cursor := open(t, cfg)
	w := newWriter(t, l, cursor)
	w.append(t.Context(), "a", 0, 0)
	w.mustSucceed()
	_ = l.Close()
	tx := newClient(t, cfg, kgo.TransactionalID("t"))
	for _, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: "src_raw", Value: []byte("theirs")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := tx.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	_, cursor = open(t, cfg)
	want := envelope.Cursor{Source: "src", Streams: map[string]envelope.StreamCursor{"a": at(0, 0)}, Offsets: map[int32]int64{0: 5}}
	if d := cmp.Diff(want, cursor); d != "" {
		t.Error(d)
	}
}

// TestFailedProduce is Invariant 1: whatever request fails, what is in the topic is a prefix of each stream, and the acknowledged is in it.
func TestFailedProduce(t *testing.T) {
	cluster, cfg := fake(t)
	ensure(t, newClient(t, cfg), "src_raw", 3)
	cfg.BatchBytes = 2000
	l, cursor := open(t, cfg)
	for round := range 30 {
		w := newWriter(t, l, cursor)
		kind := []*kerr.Error{kerr.MessageTooLarge, kerr.RequestTimedOut, kerr.OutOfOrderSequenceNumber, kerr.TopicAuthorizationFailed, kerr.NotLeaderForPartition}[round%5]
		fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "src_raw", Partitions: []int32{int32(round % 3)}, Err: kind, When: once(rand.IntN(8))})
		for i := range 300 {
			w.append(t.Context(), "a", 0, 50)
			w.append(t.Context(), "b", 1, rand.IntN(500))
			if i%3 == 0 {
				w.append(t.Context(), "c", 2, 3000)
			}
			if i%50 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		w.settled()
		fault.Remove()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		passes := kind == kerr.RequestTimedOut || kind == kerr.NotLeaderForPartition || fault.Hits() == 0
		if passes != (len(w.failures) == 0) {
			t.Fatalf("round %d, %s: %d records failed: %v", round, kind.Message, len(w.failures), w.failures)
		}
		cfg.BatchBytes = []setting.Bytes{2000, 1e6}[round%2] // of the next round: small ones, and all that there is at once
		l, cursor = open(t, cfg)                             // checks the numbers
		for s, seq := range w.acked {
			if have := cursor.Streams[s].Seq; have < seq || len(w.failures) == 0 && have != w.seqs[s]-1 {
				t.Fatalf("round %d, %s: stream %s is at %d, acknowledged %d, sent %d", round, kind.Message, s, have, seq, w.seqs[s]-1)
			}
		}
	}
}

// TestRefusedInParts is that a batch is refused whole: the client may still be at work on the one before when it is given the next, and takes of that
// what it has.
func TestRefusedInParts(t *testing.T) {
	cluster, cfg := fake(t)
	ensure(t, newClient(t, cfg), "src_raw", 1)
	cfg.Linger = 0
	l, cursor := open(t, cfg)
	for round := range 40 {
		w := newWriter(t, l, cursor)
		fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "src_raw", Err: kerr.MessageTooLarge, When: once(rand.IntN(6))})
		for range 4000 {
			w.append(t.Context(), "a", 0, 0)
		}
		w.settled()
		fault.Remove()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, cursor = open(t, cfg) // checks the numbers
		if have := cursor.Streams["a"].Seq; have < w.acked["a"] {
			t.Fatalf("round %d: the stream is at %d, acknowledged %d", round, have, w.acked["a"])
		}
	}
}

// once lets n requests through, takes one, and lets the rest through.
func once(n int) func(kmsg.Request) bool {
	return func(kmsg.Request) bool { n--; return n == -1 }
}

// hold makes the broker keep produce requests until the returned function is called; arrived gets one signal for each.
func hold(cluster *kfake.Cluster) (arrived chan struct{}, release func()) {
	arrived, gate := make(chan struct{}, 100), make(chan struct{})
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		arrived <- struct{}{}
		cluster.SleepControl(func() { <-gate })
		return nil, nil, false
	})
	return arrived, func() { close(gate) }
}

// TestCloseWaits is that nothing is appended after Close has returned although a request was on its way.
func TestCloseWaits(t *testing.T) {
	cluster, cfg := fake(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, cursor := open(t, cfg)
	arrived, release := hold(cluster)
	w := newWriter(t, l, cursor)
	w.append(t.Context(), "a", 0, 0)
	<-arrived
	w.append(t.Context(), "a", 0, 0) // waits behind the first
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait for the request on its way")
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	w.settled()
	ends, err := EndOffsets(t.Context(), cl, "src_raw")
	if err != nil || ends["src_raw"][0] != 1 || w.acked["a"] != 0 || len(w.failures) != 1 || !errors.Is(w.failures[0], ErrClosed) {
		t.Errorf("the topic ends at %v (%v), acknowledged %v, failed %v", ends, err, w.acked, w.failures)
	}
	w.append(t.Context(), "a", 0, 0)
	w.settled()
	if !errors.Is(w.failures[1], ErrClosed) {
		t.Errorf("after Close Append gives %v", w.failures[1])
	}
	if err := l.Snapshot(t.Context(), cursor); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close Snapshot gives %v", err)
	}
}

// TestCloseWithoutBroker is that Close does not wait for a broker that is gone.
func TestCloseWithoutBroker(t *testing.T) {
	cluster, cfg := fake(t)
	ensure(t, newClient(t, cfg), "src_raw", 1)
	l, cursor := open(t, cfg)
	arrived, _ := hold(cluster)
	w := newWriter(t, l, cursor)
	w.append(t.Context(), "a", 0, 0)
	<-arrived
	cluster.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	w.settled()
	if len(w.failures) != 1 {
		t.Errorf("failures: %v", w.failures)
	}
}

// TestFullBuffers is that Append blocks while nothing is acknowledged, that its context frees it, and that nothing goes past the record
// that was given up.
func TestFullBuffers(t *testing.T) {
	cluster, cfg := fake(t)
	cfg.MaxBufferedRecords = 4
	ensure(t, newClient(t, cfg), "src_raw", 2)
	l, cursor := open(t, cfg)
	arrived, release := hold(cluster)
	w := newWriter(t, l, cursor)
	for range 4 {
		w.append(t.Context(), "a", 0, 0)
	}
	<-arrived
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("patience is over"))
	defer cancel()
	w.append(ctx, "a", 0, 0)
	if ctx.Err() == nil {
		t.Error("Append did not block")
	}
	late := make(chan struct{})
	go func() { w.append(t.Context(), "b", 1, 0); close(late) }()
	release()
	<-late
	w.settled()
	if len(w.failures) == 0 || !strings.Contains(w.failures[0].Error(), "patience is over") || w.acked["a"] != 3 {
		t.Errorf("acknowledged %v, failed %v", w.acked, w.failures)
	}
}

func TestWrongRecords(t *testing.T) {
	cfg := broker(t)
	cfg.MaxRecordBytes, cfg.BatchBytes = 2000, 1500
	ensure(t, newClient(t, cfg), "src_raw", 1)
	for want, f := range map[string]func(w *writer){
		"has no Kafka partition 7": func(w *writer) { w.append(t.Context(), "a", 7, 0) },
		"kafka.max_record_bytes":   func(w *writer) { w.append(t.Context(), "a", 0, 2000) },
	} {
		l, cursor := open(t, cfg)
		w := newWriter(t, l, cursor)
		f(w)
		w.append(t.Context(), "a", 0, 0)
		w.settled()
		if len(w.failures) != 2 || !strings.Contains(w.failures[0].Error(), want) || retry.Classify(w.failures[0]) != retry.Permanent {
			t.Errorf("%s: %v", want, w.failures)
		}
		_ = l.Close()
	}
}

// TestLargestRecord is that a record of 64 MiB that does not compress goes through the embedded broker and back.
func TestLargestRecord(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, _ := open(t, cfg)
	value := make([]byte, cfg.MaxRecordBytes)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(value)
	done := make(chan error, 1)
	l.Append(t.Context(), envelope.Record{Value: value, Time: time.Now(), Position: envelope.Position{Stream: "a"}}, func(_ int64, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := 0
	err := read(t.Context(), cl, "src_raw", nil, map[int32]int64{0: 1}, func(r *kgo.Record) error {
		got = len(r.Value)
		if string(r.Value) != string(value) {
			t.Error("the record is not what was sent")
		}
		return nil
	})
	if err != nil || got != len(value) {
		t.Errorf("%d bytes came back: %v", got, err)
	}
}

// TestTrim is that the last record stays, whatever is asked, and that trimming again does nothing.
func TestTrim(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 2)
	l, cursor := open(t, cfg)
	w := newWriter(t, l, cursor)
	for range 10 {
		w.append(t.Context(), "a", 0, 0)
	}
	w.mustSucceed()
	for _, c := range []struct{ upTo, start int64 }{{4, 4}, {2, 4}, {4, 4}, {100, 9}, {100, 9}} {
		if err := Trim(t.Context(), cl, "src_raw", map[int32]int64{0: c.upTo, 1: c.upTo, 5: 1}); err != nil {
			t.Fatal(err)
		}
		starts, err := StartOffsets(t.Context(), cl, "src_raw")
		if d := cmp.Diff(map[int32]int64{0: c.start, 1: 0}, starts["src_raw"]); err != nil || d != "" {
			t.Errorf("after trimming to %d: %v %s", c.upTo, err, d)
		}
	}
}

// TestTrimCursors is that every source keeps its last snapshot, one that has written none for long too, and that a copy of an
// old snapshot does not replace a newer one.
func TestTrimCursors(t *testing.T) {
	cfg := broker(t)
	ctx := t.Context()
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	ensure(t, cl, "idle_raw", 1)
	idle, _, err := OpenSource(ctx, cfg, "idle", "idle_raw", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := envelope.Cursor{Streams: map[string]envelope.StreamCursor{"i": at(-1, 0)}, Offsets: map[int32]int64{0: 0}}
	if err := idle.Snapshot(ctx, c); err != nil {
		t.Fatal(err)
	}
	_ = idle.Close()
	l, _ := open(t, cfg)
	busy := envelope.Cursor{Streams: map[string]envelope.StreamCursor{}, Offsets: map[int32]int64{0: 0}}
	for i := range int64(40) {
		busy.Streams["s"] = envelope.StreamCursor{Seq: -1, Resume: at(i, 0).Resume}
		if err := l.Snapshot(ctx, busy); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.Close()
	for range 3 {
		if err := TrimCursors(ctx, cl); err != nil {
			t.Fatal(err)
		}
	}
	starts, err := StartOffsets(ctx, cl, CursorTopic)
	want := int64(40)
	if cfg.Shared {
		want = 80 // each with the marker of its transaction
	}
	if err != nil || starts[CursorTopic][0] != want {
		t.Errorf("the cursors start at %v, want %d (%v)", starts, want, err)
	}
	old := &kgo.Record{Topic: CursorTopic, Key: []byte("src"), Value: c.Encode("src_raw", 1<<20)[0], Headers: []kgo.RecordHeader{{Key: snapshotHeader, Value: []byte("39 x")}}}
	if err := cl.ProduceSync(ctx, old).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, got := open(t, cfg)
	if d := cmp.Diff(busy.Streams, got.Streams); d != "" {
		t.Error(d)
	}
	idle, got, err = OpenSource(ctx, cfg, "idle", "idle_raw", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if d := cmp.Diff(c.Streams, got.Streams); d != "" {
		t.Error(d)
	}
}

// TestNothingFollowsAFailure is that a batch goes whole or not at all, even when its first request is refused while its last
// records are still being handed to the client.
func TestNothingFollowsAFailure(t *testing.T) {
	cluster, cfg := fake(t)
	cfg.BatchBytes = 8 << 20
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, cursor := open(t, cfg)
	arrived, release := hold(cluster)
	w := newWriter(t, l, cursor)
	w.append(t.Context(), "a", 0, 0)
	<-arrived
	for range 9000 {
		w.append(t.Context(), "a", 0, 0)
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "src_raw", Err: kerr.MessageTooLarge, When: func(r kmsg.Request) bool {
		return len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) > 400 // not the first, which has one record
	}})
	release()
	w.settled()
	ends, err := EndOffsets(t.Context(), cl, "src_raw")
	if err != nil || ends["src_raw"][0] != 1 || len(w.failures) != 9000 {
		t.Errorf("the topic ends at %v (%v), %d records failed", ends, err, len(w.failures))
	}
}

// TestLogThatLostRecords: a cursor beyond the end of the same log means that acknowledged records are gone, which is told and not
// passed over.
func TestLogThatLostRecords(t *testing.T) {
	t.Parallel()
	cfg := broker(t)
	ensure(t, newClient(t, cfg), "src_raw", 1)
	l, _ := open(t, cfg)
	if err := l.Snapshot(t.Context(), envelope.Cursor{Offsets: map[int32]int64{0: 5}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := OpenSource(t.Context(), cfg, "src", "src_raw", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "ends at offset 0, and records up to 5 were acknowledged") || retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
}
