package serialize

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"headwater/lake"
)

// close notes that the day, and all before it, ended at an offset.
func (w *world) close(t *testing.T, day string, offset int64) {
	t.Helper()
	d := lake.DayEnd{
		Source: "ticks", Topic: testTopic, Log: testLog, Day: day, Offsets: map[int32]int64{0: offset},
		Ended: time.Unix(1, 0), Noted: time.Unix(2, 0), Closed: time.Unix(3, 0),
	}
	if _, err := lake.PutDayEnd(t.Context(), w.raw, d, lake.Condition{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
}

// lateOnes are the records of the day in quarantine because they were late.
func (w *world) lateOnes(t *testing.T) (offsets []int64) {
	t.Helper()
	for e, err := range w.Quarantine.Read(t.Context(), lake.QuarantineKey("serialize", "ticks", testDay.String(), testDay.String())) {
		if errors.Is(err, lake.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.Reason != reasonLate || e.Record == nil || !strings.Contains(string(e.Data), "raw_data") {
			t.Errorf("%+v", e)
			continue
		}
		offsets = append(offsets, e.Record.Offset)
	}
	return offsets
}

// TestLate: records that come for a closed day are counted, and are rows or in quarantine; which ones is told by their offsets alone.
func TestLate(t *testing.T) {
	for _, c := range []struct {
		name, late       string
		day              string // that is closed
		offset           int64
		rows, bad, count int64
	}{
		{"reopen", LateReopen, "2026-07-05", 3, 6, 0, 3},
		{"quarantine", LateQuarantine, "2026-07-05", 3, 3, 3, 3},
		{"quarantine by a later day", LateQuarantine, "2026-07-09", 3, 3, 3, 3},
		{"quarantine, an object of both", LateQuarantine, "2026-07-05", 4, 4, 2, 2},
		{"quarantine, nothing is late", LateQuarantine, "2026-07-05", 6, 6, 0, 0},
		{"quarantine, all is late", LateQuarantine, "2026-07-05", 0, 0, 6, 6},
		{"quarantine, an earlier day is closed", LateQuarantine, "2026-07-04", 0, 6, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.Config.Late = c.late
			w.put(t, envelopeOf(`{"a":1}`), envelopeOf(`{"a":2}`), envelopeOf(`{"a":3}`))
			w.put(t, envelopeOf(`{"a":4}`), envelopeOf(`{"a":5}`), envelopeOf(`{"a":6}`))
			if r := w.runOnce(t); r.Rows != 6 || r.Late != 0 {
				t.Fatal("before the day was closed", r)
			}
			w.close(t, c.day, c.offset)
			stale, err := w.Stale(t.Context(), w.job)
			if err != nil || stale != (c.bad > 0) {
				t.Errorf("the day is stale: %v, %v", stale, err)
			}
			w.job.Full = true
			r := w.runOnce(t)
			if r.Rows != c.rows || r.Quarantined != c.bad || r.Late != c.count || int64(len(w.lateOnes(t))) != c.bad || int64(len(w.rows(t, w.job.Flat))) != c.rows {
				t.Errorf("%d rows, %d in quarantine (%v), %d late", r.Rows, r.Quarantined, w.lateOnes(t), r.Late)
			}
			w.job.Full = false
			if r := w.runOnce(t); !r.NoOp {
				t.Error("made again of the same", r)
			}
		})
	}
}

// TestLateComes: a late record makes its day stale, and its row is there or not, by the setting; a change of the setting makes it stale too.
func TestLateComes(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1}`), envelopeOf(`{"a":2}`))
	w.runOnce(t)
	w.close(t, "2026-07-05", 2)
	w.Config.Late = LateQuarantine
	if r := w.runOnce(t); !r.NoOp {
		t.Error("nothing came, and the closed day was made again", r)
	}
	w.put(t, envelopeOf(`{"a":3}`))
	w.job.Open = true // by serialize.every
	if r := w.runOnce(t); r.Rows != 2 || r.Late != 1 {
		t.Error(r)
	}
	w.job.Open = false
	w.Config.Late = LateReopen
	if r := w.runOnce(t); r.Rows != 3 || r.Late != 1 || len(w.lateOnes(t)) != 0 {
		t.Error(r)
	}
}

// TestMayBeLate: what an object tells decides; what it does not tell is taken to be in time.
func TestMayBeLate(t *testing.T) {
	d := &lake.DayEnd{Log: "log", Offsets: map[int32]int64{0: 10}}
	object := func(first, next, count int64, runs ...lake.Run) input {
		return input{name: lake.RawName{Offset: first}, told: true, tail: lake.Tail{Log: "log", First: first, Next: next, Count: count, Runs: runs}}
	}
	other := object(20, 22, 2)
	other.tail.Log = "another"
	elsewhere := object(20, 22, 2)
	elsewhere.name.Partition = 7 // came after the day
	for name, c := range map[string]struct {
		in   input
		may  bool
		late map[int64]bool
	}{
		"before":             {object(5, 10, 5), false, nil},
		"across":             {object(8, 12, 4), true, map[int64]bool{0: false, 1: false, 2: true, 3: true}},
		"gaps":               {object(5, 30, 3, lake.Run{First: 5, Last: 6}, lake.Run{First: 20, Last: 20}), true, map[int64]bool{0: false, 1: false, 2: true}},
		"seen, not its own":  {object(5, 30, 2, lake.Run{First: 5, Last: 6}), false, nil},
		"gaps, not told":     {object(5, 30, 8), true, map[int64]bool{0: false, 4: false, 5: true, 7: true}},
		"says nothing":       {input{name: lake.RawName{Offset: 8}}, true, map[int64]bool{0: false, 1: false, 2: true}},
		"another log":        {other, false, nil},
		"a partition of its": {elsewhere, true, map[int64]bool{0: true, 1: true}},
	} {
		if may := c.in.mayBeLate(d); may != c.may {
			t.Errorf("%s: may be late: %v", name, may)
		}
		got := maps.Clone(c.late)
		for n := range c.late {
			got[n] = c.in.isLate(d, n)
		}
		if !maps.Equal(got, c.late) {
			t.Errorf("%s: %v, want %v", name, got, c.late)
		}
	}
}
