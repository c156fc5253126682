package kafka

import (
	"log/slog"
	"strings"
	"testing"
)

// TestBackfill: two cursors fill one topic at the same time, and each knows its own records alone, although their streams have the same names.
func TestBackfill(t *testing.T) {
	cfg := broker(t)
	ctx := t.Context()
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 2)
	log := slog.New(slog.DiscardHandler)
	const name = "src 2026-01-01/2026-02-01"
	for round := range int64(3) {
		live, at1 := open(t, cfg)
		back, at2, err := OpenBackfill(ctx, cfg, name, "src_raw", log)
		if err != nil {
			t.Fatal(err)
		}
		a, b := newWriter(t, live, at1), newWriter(t, back, at2)
		for i := range 50 {
			a.append(ctx, "same", 0, i)
			b.append(ctx, "same", 0, i)
			b.append(ctx, "same", 0, i)
		}
		a.mustSucceed()
		b.mustSucceed()
		if round == 1 {
			if err := back.Snapshot(ctx, at2); err != nil { // an older one, as that of a process that is killed later
				t.Fatal(err)
			}
		}
		for _, l := range []*SourceLog{live, back} {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		live, at1 = open(t, cfg)
		back, at2, err = OpenBackfill(ctx, cfg, name, "src_raw", log)
		if err != nil {
			t.Fatal(err)
		}
		if got := at1.Streams["same"].Seq; got != (round+1)*50-1 || len(at1.Streams) != 1 {
			t.Errorf("the source's cursor is %v", at1.Streams)
		}
		if got := at2.Streams["same"].Seq; got != (round+1)*100-1 || len(at2.Streams) != 1 {
			t.Errorf("the backfill's cursor is %v", at2.Streams)
		}
		for _, l := range []*SourceLog{live, back} {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBackfillDeleted: what has left the topic behind a backfill's cursor stops it, from its first record on.
func TestBackfillDeleted(t *testing.T) {
	cfg := broker(t)
	ctx := t.Context()
	cl := newClient(t, cfg)
	ensure(t, cl, "src_raw", 1)
	log := slog.New(slog.DiscardHandler)
	l, at, err := OpenBackfill(ctx, cfg, "src 1/2", "src_raw", log)
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, l, at)
	w.append(ctx, "s", 0, 1)
	w.append(ctx, "s", 0, 2)
	w.mustSucceed()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Trim(ctx, cl, "src_raw", map[int32]int64{0: 1}); err != nil {
		t.Fatal(err)
	}
	if _, _, err = OpenBackfill(ctx, cfg, "src 1/2", "src_raw", log); err == nil || !strings.Contains(err.Error(), "Backfill another range") {
		t.Errorf("it opens: %v", err)
	}
	l, at, err = OpenBackfill(ctx, cfg, "src 1/3", "src_raw", log)
	if err != nil || len(at.Streams) != 0 {
		t.Fatalf("another one begins with %v: %v", at.Streams, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
