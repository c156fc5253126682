package serialize

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/table"
)

// swapWorld is a world whose tables are published beside the ones before.
func swapWorld(t *testing.T) *world {
	w := newWorld(t)
	w.Config.Publish = PublishSwap
	return w
}

// wantCommit checks the number of the day's last commit in both tables.
func (w *world) wantCommit(t *testing.T, raw, flat int) {
	t.Helper()
	if r, f := w.held(t, w.job.Raw).Commit.Number, w.held(t, w.job.Flat).Commit.Number; r != raw || f != flat {
		t.Errorf("the last commits are %d and %d, want %d and %d", r, f, raw, flat)
	}
}

func TestSwap(t *testing.T) {
	w := swapWorld(t)
	for i := range 3 {
		w.put(t, numbered(2*i), numbered(2*i+1))
		if r := w.shut(t); r.Rows != int64(2*i+2) || !r.Raw.Written || !r.Flat.Written {
			t.Fatalf("%+v", r)
		}
		w.wantRead(t, 2*i+2)
		w.wantCommit(t, i+1, i+1)
		if r := w.shut(t); !r.NoOp {
			t.Fatalf("nothing new: %+v", r)
		}
	}
	w.absent(t) // no plain file
	// What was published in one mode is up to date in the other, and replaced in it.
	w.Config.Publish = PublishReplace
	if r := w.shut(t); !r.NoOp {
		t.Errorf("another mode alone is nothing to do: %+v", r)
	}
	w.put(t, numbered(6))
	w.shut(t)
	w.wantRead(t, 7)
	if h := w.held(t, w.job.Flat); !strings.HasSuffix(h.Files()[0].Object.Key, "year=2026/month=7/day=5/part-00000.snappy.parquet") {
		t.Errorf("read is %s", h.Files()[0].Object.Key)
	}
	w.Config.Publish = PublishSwap
	w.put(t, numbered(7))
	w.shut(t)
	w.wantRead(t, 8)
	w.wantCommit(t, 4, 4)
	w.Config.Grace = 0
	if r := w.shut(t); !r.NoOp {
		t.Errorf("%+v", r)
	}
	for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
		if h := w.held(t, n); len(h.Retired) > 0 || h.Plain.Exists {
			t.Errorf("%s: left are %v", n, h.Retired)
		}
	}
	w.wantRead(t, 8)
}

// TestSwapOfAnOpenDay: the day grows, is closed by a commit, and is opened again by what comes late.
func TestSwapOfAnOpenDay(t *testing.T) {
	w := openWorld(t)
	w.Config.Publish = PublishSwap
	n := 0
	for round := range 3 {
		for range 3 {
			w.put(t, numbered(n))
			n++
			w.grow(t)
			w.wantRead(t, n)
		}
		w.wantAt(t, round+1, 3)
		if r := w.shut(t); r.Rows != int64(n) {
			t.Fatalf("%+v", r)
		}
		w.wantRead(t, n)
		w.wantCommit(t, round+1, round+1)
		if open, err := w.IsOpen(t.Context(), w.job); open || err != nil {
			t.Errorf("open: %t, %v", open, err)
		}
		if r := w.grow(t); !r.NoOp {
			t.Errorf("%+v", r)
		}
	}
	w.Config.Grace = 0
	w.shut(t)
	if left := len(w.held(t, w.job.Raw).Retired); left > 0 {
		t.Errorf("%d objects are left", left)
	}
	w.wantRead(t, n)
}

// telling is a catalog that says what is told to it first.
type telling struct {
	table.Catalog
	told func(what string)
}

func (c telling) Ensure(ctx context.Context, t table.Table) error {
	c.told("ensure " + t.Name.String())
	return c.Catalog.Ensure(ctx, t)
}

func (c telling) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	for _, p := range ps {
		c.told(fmt.Sprint("set ", n, " ", p.Day.Day))
	}
	return c.Catalog.SetPartitions(ctx, n, ps)
}

// TestSwapRewrites: days with a column of another type are committed anew, from their objects, or from their own files where these are gone, at the
// moment when the column gets it: their files are there before anything is published.
func TestSwapRewrites(t *testing.T) {
	w := swapWorld(t)
	w.on(1).land(t, `{"n":0}`, `{"n":1}`)
	w.on(1).shut(t)
	w.on(2).land(t, `{"n":2}`)
	w.on(2).shut(t)
	w.on(4).land(t, `{"other":true}`)
	w.on(4).shut(t)
	if err := w.raw.Delete(t.Context(), lake.RawKey("topics", testTopic, "date=2026-07-01", 0, 1000)); err != nil {
		t.Fatal(err)
	}
	w.on(3).land(t, `{"n":"x"}`)
	var told []string
	w.Catalog = telling{w.Catalog, func(what string) {
		if len(told) == 0 {
			files := 0
			for o := range w.others(t) {
				if strings.HasSuffix(o, ".parquet") && strings.Contains(o, "-r000002-") {
					files++
				}
			}
			if files != 6 {
				t.Errorf("when the metastore is told first, %d files of other days are there", files)
			}
		}
		told = append(told, what)
	}}
	w.on(3).shut(t)
	want := []string{
		"ensure market.ticks_raw", "set market.ticks_raw 3", "ensure market.ticks", "set market.ticks 3",
		"ensure market.ticks_raw", "set market.ticks_raw 1", "ensure market.ticks", "set market.ticks 1",
		"ensure market.ticks_raw", "set market.ticks_raw 2", "ensure market.ticks", "set market.ticks 2",
		"ensure market.ticks_raw", "set market.ticks_raw 4", "ensure market.ticks", "set market.ticks 4", // it has the columns of the days before, of nulls
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	for day, want := range map[int]map[string]int{1: {"0": 1, "1": 1}, 2: {"2": 1}, 3: {"x": 1}} {
		w := w.on(day)
		if day < 3 {
			w.wantCommit(t, 2, 2)
		}
		h := w.held(t, w.job.Flat)
		if got := fmt.Sprint(fieldType(h.Whole().Footer.Schema, "n")); got != "string" || w.stale(t) {
			t.Errorf("day %d: n is %s", day, got)
		}
		if diff := cmp.Diff(want, w.read(t)); diff != "" {
			t.Error(diff)
		}
		if _, err := table.Rollback(t.Context(), w.Tables, w.Catalog, w.job.Flat, w.job.Day); err == nil || day < 3 && !strings.Contains(err.Error(), "another type") {
			t.Errorf("back to another type: %v", err)
		}
	}
	w.on(4).wantCommit(t, 2, 2)
}

// TestSwapRewritesLater: a day that cannot be made with the others is left to a run of its own, and keeps nothing from being published.
func TestSwapRewritesLater(t *testing.T) {
	w := swapWorld(t)
	damaged := lake.RawKey("topics", testTopic, "date=2026-07-01", 0, 1000)
	for day := 1; day <= 2; day++ {
		w.on(day).land(t, fmt.Sprintf(`{"n":%d}`, day))
		w.on(day).shut(t)
	}
	whole := bytesOf(t, w.raw, damaged)
	w.putObject(t, damaged, whole[:len(whole)/2])
	w.on(3).land(t, `{"n":"x"}`)
	w.on(3).shut(t)
	w.on(1).wantCommit(t, 1, 1)
	w.on(2).wantCommit(t, 2, 2)
	w.on(3).wantCommit(t, 1, 1)
	if days, err := w.Marked(t.Context(), w.job); err != nil || len(days) != 1 || days[0].Day != 1 {
		t.Errorf("left are %v, %v", days, err)
	}
	w.on(1).fails(t, ErrData, damaged)
	w.putObject(t, damaged, whole)
	w.on(1).shut(t)
	w.on(1).wantCommit(t, 2, 2)
}

// TestRolledBack: a run does not undo what a person has decided, until there is something else to make.
func TestRolledBack(t *testing.T) {
	w := swapWorld(t)
	w.put(t, numbered(0))
	w.shut(t)
	w.put(t, numbered(1))
	w.shut(t)
	back := func(n table.Name) {
		t.Helper()
		if _, err := table.Rollback(t.Context(), w.Tables, w.Catalog, n, w.job.Day); err != nil {
			t.Fatal(err)
		}
		w.registered(t)
	}
	back(w.job.Flat)
	for range 2 {
		if r := w.shut(t); !r.NoOp {
			t.Fatalf("%+v", r)
		}
	}
	if stale, err := w.Stale(t.Context(), w.job); stale || err != nil {
		t.Errorf("stale: %t, %v", stale, err)
	}
	w.wantCommit(t, 2, 3)
	back(w.job.Raw)
	w.wantRead(t, 1)
	if _, err := table.Rollback(t.Context(), w.Tables, w.Catalog, w.job.Raw, w.job.Day); !errors.Is(err, table.ErrNoVersion) {
		t.Error(err)
	}
	w.job.Full = true
	if r := w.shut(t); r.NoOp || r.Rows != 2 {
		t.Errorf("asked for: %+v", r)
	}
	w.wantRead(t, 2)
	back(w.job.Raw)
	back(w.job.Flat)
	w.job.Full = false
	w.put(t, numbered(2))
	if r := w.shut(t); r.NoOp || r.Rows != 3 {
		t.Errorf("there is something new: %+v", r)
	}
	w.wantRead(t, 3)
}
