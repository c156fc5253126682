package serialize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"headwater/lake"
)

// connect adds an object as the connector writes it, which says nothing of itself.
func (w *world) connect(t *testing.T, offset int64, lines ...string) string {
	t.Helper()
	key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, offset)
	w.putObject(t, key, zip(t, strings.Join(lines, "\n")+"\n"))
	return key
}

// duplicates are where the lines are that went to quarantine as such; all others are a failure.
func (w *world) duplicates(t *testing.T) (at []string) {
	t.Helper()
	for e, err := range w.Quarantine.Read(t.Context(), lake.QuarantineKey("serialize", "ticks", testDay.String(), testDay.String())) {
		if errors.Is(err, lake.ErrNotExist) {
			return nil
		}
		if err != nil || e.Reason != "duplicate" {
			t.Fatalf("%+v, %v", e, err)
		}
		at = append(at, fmt.Sprintf("%s %s", e.Origin[len(e.Origin)-len("0000000000.json.gz"):][:10], e.Position))
	}
	return at
}

// TestExactLine: of lines that are equal the first one is a row, by object and line, and the others are counted.
func TestExactLine(t *testing.T) {
	w := newWorld(t)
	w.job.Legacy.Dedupe = ExactLine
	w.connect(t, 0, numbered(0), numbered(1), numbered(1), numbered(2))
	w.connect(t, 2, numbered(1), numbered(2), numbered(3), numbered(3)+" ") // after a crash it began again; white space is a difference
	w.connect(t, 9, numbered(3), numbered(4), numbered(0))
	r := w.run(t)
	if got, want := strings.Join(w.duplicates(t), ", "), "0000000000 line 3, 0000000002 line 1, 0000000002 line 2, 0000000009 line 1, 0000000009 line 3"; got != want {
		t.Errorf("duplicates are %s, want %s", got, want)
	}
	if r.Rows != 6 || r.Quarantined != 5 || r.Reasons["duplicate"] != 5 {
		t.Errorf("got %+v", r)
	}
	var ns []string
	for _, row := range w.rows(t, w.job.Flat) {
		ns = append(ns, fmt.Sprint(row.(map[string]any)["n"]))
	}
	if got := strings.Join(ns, " "); got != "0 1 2 3 3 4" {
		t.Errorf("the rows are %s", got)
	}
	if again := w.run(t); !again.NoOp {
		t.Errorf("another run did %+v", again)
	}
	w.job.Legacy.Dedupe = DedupeNone
	if _, err := w.Run(t.Context(), w.job); !errors.Is(err, ErrData) {
		t.Errorf("without it, objects that overlap gave %v", err)
	}
}

// TestExactLineAnyWorkers: what is a duplicate does not depend on who reads first.
func TestExactLineAnyWorkers(t *testing.T) {
	var first string
	for workers := range 4 {
		w := newWorld(t)
		w.Config.Workers, w.job.Legacy.Dedupe = workers+1, ExactLine
		for i := range 12 {
			var lines []string
			for n := range 40 {
				lines = append(lines, numbered(n*i%17))
			}
			w.connect(t, int64(40*i), lines...)
		}
		w.runOnce(t)
		got := string(w.file(t, w.job.Flat)) + strings.Join(w.duplicates(t), ",")
		if first == "" {
			first = got
		}
		if got != first {
			t.Errorf("%d workers made another file", workers+1)
		}
	}
}

// TestExactLineLeavesProof: objects that say what they have keep all of their lines, and an open day is made as a whole.
func TestExactLineLeavesProof(t *testing.T) {
	w := newWorld(t)
	w.job.Legacy.Dedupe, w.job.Open = ExactLine, true
	w.put(t, numbered(0), numbered(0))
	w.connect(t, 50, numbered(0), numbered(1), numbered(1))
	if r := w.runOnce(t); r.Rows != 4 || r.Quarantined != 1 {
		t.Errorf("got %+v", r)
	}
	if got := strings.Join(w.duplicates(t), ", "); got != "0000000050 line 3" {
		t.Errorf("duplicates are %s", got)
	}
	if open, err := w.IsOpen(t.Context(), w.job); open || err != nil {
		t.Errorf("the day is open: %v, %v", open, err)
	}
}

// TestExactLineTooMany: more lines than there is memory for are refused, and nothing is published.
func TestExactLineTooMany(t *testing.T) {
	w := newWorld(t)
	w.Config.MaxMemory, w.job.Legacy.Dedupe = 64*lineBytes, ExactLine
	var lines []string
	for n := range 65 {
		lines = append(lines, numbered(n))
	}
	w.connect(t, 0, lines...)
	if _, err := w.Run(t.Context(), w.job); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "max_memory") {
		t.Errorf("got %v", err)
	}
	w.job.Engine = EngineSpark
	if _, err := w.Run(context.Background(), w.job); !errors.Is(err, ErrEngine) {
		t.Errorf("on Spark: %v", err)
	}
}
