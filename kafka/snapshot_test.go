package kafka

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/retry"
)

// large is a cursor of n streams that stand at round.
func large(n int, round int64) envelope.Cursor {
	c := envelope.Cursor{Source: "src", Streams: map[string]envelope.StreamCursor{}, Offsets: map[int32]int64{0: 0}}
	for i := range n {
		c.Streams[fmt.Sprintf("in/%06d.ndjson#0", i)] = at(round, 0)
	}
	return c
}

// TestLargeSnapshot: a cursor that is larger than a record is written, read back, and outlives a trim.
func TestLargeSnapshot(t *testing.T) {
	t.Parallel()
	cfg := broker(t)
	cfg.MaxRecordBytes = 1 << 20
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	l, _ := open(t, cfg)
	for round := range int64(3) {
		want := large(30_000, round)
		if err := l.Snapshot(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := TrimCursors(t.Context(), cl); err != nil {
			t.Fatal(err)
		}
		var got envelope.Cursor
		l, got = open(t, cfg)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("round %d: %.2000s", round, d)
		}
	}
	starts, err := StartOffsets(t.Context(), cl, CursorTopic)
	if err != nil || starts[CursorTopic][0] < 8 {
		t.Errorf("the cursors start at %v (%v): nothing was trimmed", starts, err)
	}
}

// TestHalfSnapshot: a snapshot of which a killed process has written some parts does not count, neither alone nor together with the
// parts of the next one, and one that is on its way outlives a trim.
func TestHalfSnapshot(t *testing.T) {
	t.Parallel()
	cfg := broker(t)
	cfg.MaxRecordBytes = 1 << 10
	cl := newClient(t, cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ensure(t, cl, "src_raw", 1)
	l, _ := open(t, cfg)
	old := large(40, 0)
	if err := l.Snapshot(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	parts := large(40, 1).Encode("src_raw", 512)
	if len(parts) < 4 {
		t.Fatalf("only %d parts", len(parts))
	}
	s := snapshot{number: 2, log: l.id, parts: make([]*kgo.Record, len(parts))}
	write := func(i int) {
		t.Helper()
		r := &kgo.Record{Topic: CursorTopic, Key: []byte("src"), Value: parts[i], Headers: []kgo.RecordHeader{{Key: snapshotHeader, Value: s.header(i)}}}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range len(parts) - 1 {
		write(i)
	}
	for range 3 { // the others of the topic push the old one out of what is near
		for i := range 30 {
			r := &kgo.Record{Topic: CursorTopic, Key: fmt.Appendf(nil, "other%d", i), Value: large(1, 0).Encode("o", 1<<20)[0]}
			if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := TrimCursors(t.Context(), cl); err != nil {
			t.Fatal(err)
		}
	}
	l, got := open(t, cfg)
	if d := cmp.Diff(old, got); d != "" {
		t.Fatalf("with one part missing: %.2000s", d)
	}
	if l.number != 2 {
		t.Errorf("the next snapshot would have number %d, which a half one has", l.number+1)
	}
	_ = l.Close()
	write(len(parts) - 1)
	l, got = open(t, cfg)
	if d := cmp.Diff(large(40, 1), got); d != "" {
		t.Fatalf("with the last part: %.2000s", d)
	}
	_ = l.Close()
}

func TestSnapshotHeader(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"7 x": true, "7": true, "7 x 0/2": true, "7 x 1/2": true,
		"": false, "x": false, "7 x 2/2": false, "7 x -1/2": false, "7 x 1": false, "7 x 0/99999999": false,
	} {
		r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: snapshotHeader, Value: []byte(value)}}}
		if _, _, err := parseSnapshot(r); (err == nil) != want || err != nil && retry.Classify(err) != retry.Permanent {
			t.Errorf("%q: %v", value, err)
		}
	}
}

// TestLostCursor: where records leave by Trim alone, a topic that begins beyond the last cursor says that a later cursor is lost, and
// reading its streams from there would bring records again.
func TestLostCursor(t *testing.T) {
	t.Parallel()
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
	cfg.Kept = true
	_, _, err := OpenSource(t.Context(), cfg, "src", "src_raw", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "partition 0 begins at offset 5") || retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
}

// TestSnapshotsAgain: the greatest number counts in whatever order parts come.
func TestSnapshotsAgain(t *testing.T) {
	t.Parallel()
	all := snapshots{begun: map[int64]*snapshot{}}
	offset := int64(0)
	for _, header := range []string{"1 x 0/2", "2 x 0/2", "1 x 1/2", "2 x 1/2", "3 x 0/3", "1 x 0/2", "1 x 1/2", "3 x 0/2", "2 x 0/2", "2 x 1/2"} {
		r := &kgo.Record{Offset: offset, Headers: []kgo.RecordHeader{{Key: snapshotHeader, Value: []byte(header)}}}
		offset++
		if err := all.add(r); err != nil {
			t.Fatal(err)
		}
	}
	var offsets []int64
	for _, r := range all.last.parts {
		offsets = append(offsets, r.Offset)
	}
	if all.last.number != 2 || !slices.Equal(offsets, []int64{8, 9}) || all.number != 3 || all.count() != 3 {
		t.Errorf("number %d at %v counts, of %d; %d records", all.last.number, offsets, all.number, all.count())
	}
}
