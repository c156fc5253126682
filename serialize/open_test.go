package serialize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/table"
	"headwater/table/dir"
)

// openWorld is a world whose day is open.
func openWorld(t *testing.T) *world {
	w := newWorld(t)
	w.job.Open = true
	return w
}

// grow is one run of the open day.
func (w *world) grow(t *testing.T) Result {
	t.Helper()
	r, err := w.Run(t.Context(), w.job)
	if err != nil {
		t.Fatal(err)
	}
	w.registered(t)
	return r
}

// shut makes the one file of the day.
func (w *world) shut(t *testing.T) Result {
	t.Helper()
	job := w.job
	job.Open = false
	r, err := w.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	w.registered(t)
	return r
}

func (w *world) held(t *testing.T, n table.Name) table.Held {
	t.Helper()
	h, err := table.LookDay(t.Context(), w.Tables, n, w.job.Day)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// registered checks that the catalog says what a new one finds.
func (w *world) registered(t *testing.T) {
	t.Helper()
	fresh, err := dir.Open(t.Context(), w.Tables)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
		want, err := fresh.Partitions(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Catalog.Partitions(t.Context(), n)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s is registered otherwise than it is (-is +registered): %v\n%s", n, err, diff)
		}
	}
}

// read is what readers of both tables read of the day: how often each value of the field n is in all files.
func (w *world) read(t *testing.T) map[string]int {
	t.Helper()
	var both [2]map[string]int
	for i, n := range []table.Name{w.job.Raw, w.job.Flat} {
		both[i] = map[string]int{}
		h := w.held(t, n)
		for _, f := range h.Files() {
			for _, row := range readRows(t, bytesOf(t, w.Tables, f.Object.Key), f.Footer.Schema) {
				fields := row.(map[string]any)
				if i == 0 {
					fields, _ = fields["raw_data"].(map[string]any)
				}
				both[i][fmt.Sprint(fields["n"])]++
			}
		}
	}
	if diff := cmp.Diff(both[0], both[1]); diff != "" {
		t.Errorf("the tables differ (-raw +flat):\n%s", diff)
	}
	return both[0]
}

func (w *world) wantRead(t *testing.T, n int) {
	t.Helper()
	got := w.read(t)
	want := map[string]int{}
	for i := range n {
		want[fmt.Sprint(i)] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

// at says where readers of a table find the day: the number of the folder, 0 for the one file, and of files.
func (w *world) wantAt(t *testing.T, folder, files int) {
	t.Helper()
	for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
		h := w.held(t, n)
		p, _ := table.ParseKey(h.Files()[0].Object.Key)
		if p.Folder != folder || len(h.Files()) != files {
			t.Errorf("%s is %d files of folder %d, want %d of %d", n, len(h.Files()), p.Folder, files, folder)
		}
	}
}

func numbered(i int) string { return envelopeOf(fmt.Sprintf(`{"n":%d}`, i)) }

func TestOpenDay(t *testing.T) {
	w := openWorld(t)
	if _, err := w.Run(t.Context(), w.job); !errors.Is(err, ErrNoInput) {
		t.Fatal(err)
	}
	for i := range 5 {
		w.put(t, numbered(2*i), numbered(2*i+1))
		if r := w.grow(t); r.Rows != int64(2*i+2) || r.Objects != 1 || r.NoOp || !r.Raw.Written || !r.Flat.Written {
			t.Fatalf("%+v", r)
		}
		w.wantAt(t, 1, i+1)
		w.wantRead(t, 2*i+2)
		if r := w.grow(t); !r.NoOp || r.Rows != int64(2*i+2) || r.Objects != i+1 {
			t.Fatalf("nothing new: %+v", r)
		}
	}
	if key := w.held(t, w.job.Flat).Open[3].Object.Key; key != "market/ticks/_runs/2026-07-05-open/part-00003.snappy.parquet" {
		t.Error(key)
	}
	isOpen := func(want bool) {
		t.Helper()
		if got, err := w.IsOpen(t.Context(), w.job); got != want || err != nil {
			t.Errorf("open: %t, %v", got, err)
		}
	}
	isOpen(true)
	if r := w.shut(t); r.Rows != 10 || r.Objects != 5 || r.NoOp {
		t.Fatalf("%+v", r)
	}
	isOpen(false)
	w.wantAt(t, 0, 1)
	w.wantRead(t, 10)
	if r := w.shut(t); !r.NoOp {
		t.Fatalf("%+v", r)
	}
	// The day is made as if it had never been open, but for what it closes.
	control := newWorld(t)
	for i := range 5 {
		control.put(t, numbered(2*i), numbered(2*i+1))
	}
	control.shut(t)
	want, got := control.footer(t, w.job.Flat), w.footer(t, w.job.Flat)
	want.Closes, want.SchemaVersion = table.Closes{Folder: 1, Files: 5}, got.SchemaVersion
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-never open +was open):\n%s", diff)
	}
	// What comes late opens it again, in another folder; the open files stay for their readers until the grace is over.
	w.put(t, numbered(10))
	w.grow(t)
	w.wantAt(t, 2, 1)
	w.wantRead(t, 11)
	if n := len(w.held(t, w.job.Raw).Retired); n != 5 {
		t.Errorf("%d files are retired, want 5", n)
	}
	w.shut(t)
	w.Config.Grace = 0
	w.shut(t)
	if n := len(w.held(t, w.job.Raw).Retired) + len(w.held(t, w.job.Flat).Retired); n != 0 {
		t.Errorf("%d files are left", n)
	}
	w.wantRead(t, 11)
	w.put(t, numbered(11))
	w.grow(t)
	w.wantAt(t, 3, 1) // no number is used twice
}

// TestOpenDayCost: what a run reads of raw objects is what is new.
func TestOpenDayCost(t *testing.T) {
	w := openWorld(t)
	counted := &counting{Store: w.Raw}
	w.Raw = counted
	for i := range 30 {
		w.put(t, numbered(i))
		w.grow(t)
		if n := counted.gets.Swap(0); i > 0 && n > 2 { // its tail and its records
			t.Errorf("run %d has read %d times of raw objects", i, n)
		}
		w.grow(t)
		if n := counted.gets.Swap(0); n > 0 {
			t.Errorf("a run with nothing new has read %d times of raw objects", n)
		}
	}
	w.wantRead(t, 30)
}

type counting struct {
	lake.Store
	gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, key, offset, n)
}

// TestOpenDayWidens: a column that gets another type moves the day into another folder, one that is new does not.
func TestOpenDayWidens(t *testing.T) {
	w := openWorld(t)
	w.put(t, envelopeOf(`{"n":0,"v":1}`))
	w.grow(t)
	w.put(t, envelopeOf(`{"n":1,"v":1,"more":"x"}`))
	w.grow(t)
	w.wantAt(t, 1, 2)
	w.put(t, envelopeOf(`{"n":2,"v":"text"}`))
	if r := w.grow(t); r.Objects != 3 || r.Rows != 3 {
		t.Fatalf("%+v", r)
	}
	w.wantAt(t, 2, 1)
	w.wantRead(t, 3)
	w.put(t, envelopeOf(`{"n":3,"v":2}`))
	w.grow(t)
	w.wantAt(t, 2, 2)
	w.wantRead(t, 4)
	w.shut(t)
	w.wantRead(t, 4)
}

// TestOpenDayCompacts: many small files become one.
func TestOpenDayCompacts(t *testing.T) {
	w := openWorld(t)
	w.mostOpen = 4
	for i := range 10 {
		w.put(t, numbered(i))
		w.grow(t)
		w.wantRead(t, i+1)
		w.wantAt(t, 1+i/4, 1+i%4)
	}
}

// TestOpenDayOfOtherSettings: files of other settings are made anew, all together.
func TestOpenDayOfOtherSettings(t *testing.T) {
	w := openWorld(t)
	w.put(t, numbered(0))
	w.grow(t)
	w.Config.Flat.Separator = "__"
	w.grow(t)
	w.wantAt(t, 2, 1)
	w.wantRead(t, 1)
}

// TestOpenDayWithoutLedger is made whole at each run: its types are known when it is over.
func TestOpenDayWithoutLedger(t *testing.T) {
	w := openWorld(t)
	w.job.Schema.Ledger = LedgerOff
	for i := range 2 {
		w.put(t, numbered(i))
		w.grow(t)
		w.wantAt(t, 0, 1)
		w.wantRead(t, i+1)
	}
}

// TestOpenDayAfterAWholeOne: run --once makes the file of a day that is not over.
func TestOpenDayAfterAWholeOne(t *testing.T) {
	w := openWorld(t)
	w.put(t, numbered(0))
	w.shut(t)
	if r := w.grow(t); !r.NoOp {
		t.Fatalf("%+v", r)
	}
	w.wantAt(t, 0, 1)
	w.put(t, numbered(1))
	w.grow(t)
	w.wantAt(t, 1, 1)
	w.wantRead(t, 2)
	w.shut(t)
	w.wantAt(t, 0, 1)
	w.wantRead(t, 2)
}

// TestOpenDayShrinks: neither a whole day nor another folder has fewer rows than the files that are read, unless it is allowed.
func TestOpenDayShrinks(t *testing.T) {
	w := openWorld(t)
	var keys []string
	for i := range 3 {
		keys = append(keys, w.put(t, numbered(i)))
		w.grow(t)
	}
	if err := w.raw.Delete(t.Context(), keys[2]); err != nil {
		t.Fatal(err)
	}
	if r := w.grow(t); !r.NoOp || r.Rows != 3 {
		t.Errorf("what was read is gone: %+v", r)
	}
	job := w.job
	job.Open = false
	if _, err := w.Run(t.Context(), job); !errors.Is(err, table.ErrShrink) {
		t.Errorf("got %v, want ErrShrink", err)
	}
	w.wantRead(t, 3)
	w.Config.Flat.Separator = "__"
	if _, err := w.Run(t.Context(), w.job); !errors.Is(err, table.ErrShrink) {
		t.Errorf("got %v, want ErrShrink", err)
	}
	w.wantRead(t, 3)
	job.AllowShrink = true
	if _, err := w.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	w.wantRead(t, 2)
}

// TestOpenDayQuarantine: the day's file has what is bad in all objects, each once.
func TestOpenDayQuarantine(t *testing.T) {
	w := openWorld(t)
	kept := func(want ...string) {
		t.Helper()
		var got []string
		for e, err := range w.Quarantine.Read(t.Context(), lake.QuarantineKey("serialize", "ticks", "2026-07-05", "2026-07-05")) {
			if errors.Is(err, lake.ErrNotExist) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Data))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("quarantine (-want +got):\n%s", diff)
		}
	}
	w.put(t, numbered(0))
	w.grow(t)
	kept()
	w.put(t, numbered(1), `{"bad":1}`)
	w.grow(t)
	kept(`{"bad":1}`)
	w.put(t, numbered(2))
	w.grow(t)
	w.put(t, `{"bad":2}`)
	if r := w.grow(t); r.Rows != 3 || r.Quarantined != 2 {
		t.Errorf("%+v", r)
	}
	kept(`{"bad":1}`, `{"bad":2}`)
	w.wantAt(t, 1, 4)
	if r := w.shut(t); r.Rows != 3 || r.Quarantined != 2 {
		t.Errorf("%+v", r)
	}
	kept(`{"bad":1}`, `{"bad":2}`)
}

// TestOpenDayBareValues: the first object sends what was a row without being one to quarantine.
func TestOpenDayBareValues(t *testing.T) {
	w := openWorld(t)
	w.put(t, envelopeOf(`1`), envelopeOf(`2`))
	w.grow(t)
	w.put(t, numbered(0))
	if r := w.grow(t); r.Rows != 1 || r.Quarantined != 2 {
		t.Errorf("%+v", r)
	}
	w.wantAt(t, 2, 1)
	w.wantRead(t, 1)
}

// TestOpenDayOverlaps: records that are there already are refused, wherever they are.
func TestOpenDayOverlaps(t *testing.T) {
	w := openWorld(t)
	w.put(t, numbered(0), numbered(1))
	w.grow(t)
	w.next = 1
	w.put(t, numbered(1), numbered(2))
	if _, err := w.Run(t.Context(), w.job); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "cover the same offsets") {
		t.Errorf("got %v", err)
	}
}

// TestOpenDayWriters: two writers at the same time make each object's rows once.
func TestOpenDayWriters(t *testing.T) {
	w := openWorld(t)
	others := []*Serializer{w.Serializer, New(w.Options), New(w.Options)}
	n := 0
	for range 15 {
		var g sync.WaitGroup
		for _, z := range others {
			w.put(t, numbered(n), fmt.Sprintf(`{"bad":%d}`, n))
			n++
			g.Go(func() {
				if _, err := z.Run(t.Context(), w.job); err != nil && !errors.Is(err, table.ErrOutdated) {
					t.Error(err)
				}
			})
		}
		g.Wait()
		w.grow(t)
		w.wantRead(t, n)
	}
	kept := map[string]int{}
	for e, err := range w.Quarantine.Read(t.Context(), lake.QuarantineKey("serialize", "ticks", "2026-07-05", "2026-07-05")) {
		if err != nil {
			t.Fatal(err)
		}
		kept[string(e.Data)]++
	}
	if len(kept) != n || slices.Max(slices.Collect(maps.Values(kept))) != 1 {
		t.Errorf("in quarantine: %v", kept)
	}
}

// TestOpenDayFaults breaks every call of the tables' store in turn, before and after it has taken effect, while a day grows, widens, is made one
// file and closes. Readers never have fewer rows than before, and the next run heals.
func TestOpenDayFaults(t *testing.T) {
	t.Parallel()
	lines := []string{numbered(0), numbered(1), envelopeOf(`{"n":2,"v":1}`), envelopeOf(`{"n":3,"v":"text"}`)}
	for _, when := range []lakefault.When{lakefault.Before, lakefault.After} {
		for nth, fired := 1, true; fired; nth++ {
			w := openWorld(t)
			w.mostOpen = 2
			faulty := lakefault.New(w.tables, lakefault.Rule{Nth: nth, When: when})
			w.Tables = faulty
			n := 0
			try := func(job Job) {
				_, err := w.Run(t.Context(), job)
				w.Tables = w.tables
				if now := w.flatRows(t); now < n {
					t.Errorf("call %d: readers have %d rows and had %d: %v", nth, now, n, err)
				}
				if now := w.locatedRows(t); now < n {
					t.Errorf("call %d: readers by the catalog have %d rows and had %d: %v", nth, now, n, err)
				}
				if err != nil {
					if _, err = w.Run(t.Context(), job); err != nil {
						t.Errorf("call %d: the next run: %v", nth, err)
					}
				}
				w.registered(t)
				w.Tables = faulty
				if n = w.flatRows(t); w.locatedRows(t) != n {
					t.Errorf("call %d: readers by the catalog have %d rows, others %d", nth, w.locatedRows(t), n)
				}
			}
			for i, line := range lines {
				w.put(t, line)
				try(w.job)
				if n != i+1 {
					t.Errorf("call %d: readers have %d rows, want %d", nth, n, i+1)
				}
			}
			closing := w.job
			closing.Open = false
			try(closing)
			w.Tables = w.tables
			w.wantRead(t, len(lines))
			w.wantAt(t, 0, 1)
			fired = faulty.Fired() > 0
		}
	}
}

// flatRows is how many rows readers of the flat table have, each counted from the files.
func (w *world) flatRows(t *testing.T) int {
	t.Helper()
	h, err := table.LookDay(t.Context(), w.tables, w.job.Flat, w.job.Day)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range h.Files() {
		n += len(readRows(t, bytesOf(t, w.tables, f.Object.Key), f.Footer.Schema))
	}
	return n
}

// locatedRows is how many rows those have who read all files in the folder that the catalog says.
func (w *world) locatedRows(t *testing.T) int {
	t.Helper()
	ps, err := w.Catalog.Partitions(t.Context(), w.job.Flat)
	if errors.Is(err, table.ErrNotExist) || len(ps) == 0 {
		return 0
	}
	n := 0
	for o, err := range w.tables.List(t.Context(), path.Dir(ps[0].Key)+"/", "") {
		if err != nil {
			t.Fatal(err)
		}
		f, _, _, err := table.ReadFooter(t.Context(), w.tables, o.Key)
		if err != nil {
			t.Fatal(err)
		}
		n += int(f.Rows)
	}
	return n
}

// hooked calls before, once, when a key that contains text is about to be put.
type hooked struct {
	lake.Store
	text   string
	before func()
}

func (h *hooked) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if before := h.before; before != nil && strings.Contains(key, h.text) {
		h.before = nil
		before()
	}
	return h.Store.Put(ctx, key, body, cond)
}

// TestOpenDayLoser: a writer whose file another has created meanwhile, of other objects, looks again.
func TestOpenDayLoser(t *testing.T) {
	for _, at := range []string{"ticks_raw/_runs/2026-07-05-open/part-00001", "ticks/_runs/2026-07-05-open/part-00001", "_raw/_runs/2026-07-05-open/part-00000"} {
		w := openWorld(t)
		other := New(w.Options)
		w.Tables = &hooked{Store: w.tables, text: at, before: func() {
			w.put(t, numbered(2), `{"bad":2}`)
			if _, err := other.Run(t.Context(), w.job); err != nil {
				t.Error(err)
			}
		}}
		w.put(t, numbered(0))
		w.grow(t)
		w.put(t, numbered(1), `{"bad":1}`)
		w.grow(t)
		w.wantRead(t, 3)
	}
}
