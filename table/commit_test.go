package table_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
)

func held(t *testing.T, s lake.Store) *table.Held {
	t.Helper()
	h, err := table.LookDay(t.Context(), s, orders, day)
	if err != nil {
		t.Fatal(err)
	}
	return &h
}

// swapping is a Publication over what h has.
func swapping(t *testing.T, s lake.Store, c table.Catalog, f table.Footer, h *table.Held) table.Publication {
	t.Helper()
	f.Closes = h.Closing()
	p := publication(t, s, c, f, h.Whole())
	p.Swap, p.Held = true, *h
	return p
}

func swap(t *testing.T, s lake.Store, c table.Catalog, f table.Footer) {
	t.Helper()
	if _, err := table.Publish(t.Context(), swapping(t, s, c, f, held(t, s))); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, s lake.Store, c table.Catalog, f table.Footer) {
	t.Helper()
	h := held(t, s)
	f.Closes = h.Closing()
	p := publication(t, s, c, f, h.Plain)
	p.Held = *h
	if _, err := table.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// wantRead checks that readers, the catalog that was told and the one that is made of the files agree on the run and its rows.
func wantRead(t *testing.T, s lake.Store, c table.Catalog, f table.Footer) {
	t.Helper()
	h := held(t, s)
	if got := h.Whole().Footer; got.Run != f.Run || got.Rows != f.Rows {
		t.Errorf("read are %d rows of run %s, want %d of %s", got.Rows, got.Run, f.Rows, f.Run)
	}
	fresh := catalog(t, s)
	if ignored := fresh.Ignored(); len(ignored) > 0 {
		t.Error(ignored)
	}
	for name, c := range map[string]table.Catalog{"told": c, "made": fresh} {
		ps, err := c.Partitions(t.Context(), orders)
		if err != nil || len(ps) != 1 || ps[0].Run != f.Run || ps[0].Rows != f.Rows || ps[0].Key != h.Files()[0].Object.Key {
			t.Errorf("the catalog that was %s has %+v, %v; want run %s at %s", name, ps, err, f.Run, h.Files()[0].Object.Key)
		}
	}
	all, err := table.Footers(t.Context(), s, orders)
	if err != nil || len(all) != 1 || all[0].Run != f.Run {
		t.Errorf("footers %+v, %v", all, err)
	}
	for _, file := range h.Files() {
		if got, _, _, err := table.ReadFooter(t.Context(), s, file.Object.Key); err != nil || got.Run != f.Run {
			t.Errorf("%s is of run %s, %v", file.Object.Key, got.Run, err)
		}
	}
}

func keys(t *testing.T, s lake.Store) (all []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), "shop/", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Key)
	}
	return all
}

// TestSwap: what was read stays where it is, and the day moves; into this mode, and out of it.
func TestSwap(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	for i, step := range []func(*testing.T, lake.Store, table.Catalog, table.Footer){swap, swap, replace, swap, replace, replace, swap, swap} {
		before := keys(t, s)
		f := footer(fmt.Sprint("input ", i), int64(i+1))
		step(t, s, c, f)
		wantRead(t, s, c, f)
		for _, key := range before {
			if !slices.Contains(keys(t, s), key) {
				t.Errorf("step %d has deleted %s", i, key)
			}
		}
		h := held(t, s)
		if i == 1 && len(h.Retired) != 2 { // the first commit and its file
			t.Errorf("retired are %v", h.Retired)
		}
		if err := table.Sweep(t.Context(), s, *h, time.Hour); err != nil || len(keys(t, s)) < len(before) {
			t.Errorf("swept before the grace was over: %v", err)
		}
	}
	if err := table.Sweep(t.Context(), s, *held(t, s), 0); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, s); len(left) != 2 || !strings.HasSuffix(left[1], "_runs/2026-07-05-v000005.json") {
		t.Errorf("left are %v, want a file and its commit", left)
	}
	wantRead(t, s, c, footer("input 7", 8))
}

// TestSwapOfAnOpenDay: the commit closes what its writer saw, and no more.
func TestSwapOfAnOpenDay(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	opened(t, s, 1, 0, 1)
	h := held(t, s)
	f := footer("whole", 3)
	if _, err := table.Publish(t.Context(), swapping(t, s, c, f, h)); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, c, f)
	opened(t, s, 1, 2)
	wantRows(t, s, 6)
	swap(t, s, c, footer("again", 6))
	wantRead(t, s, c, footer("again", 6))
	if n := held(t, s); n.NextFolder() != 2 {
		t.Errorf("the next folder is %d", n.NextFolder())
	}
	opened(t, s, 2, 0)
	wantRows(t, s, 1)
}

func TestSwapRefuses(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	swap(t, s, c, footer("a", 3))
	if _, err := table.Publish(t.Context(), swapping(t, s, c, footer("b", 2), held(t, s))); !errors.Is(err, table.ErrShrink) {
		t.Errorf("fewer rows: %v", err)
	}
	old := held(t, s)
	winner := footer("winner", 3)
	swap(t, s, c, winner)
	if _, err := table.Publish(t.Context(), swapping(t, s, c, footer("loser", 9), old)); !errors.Is(err, table.ErrOutdated) {
		t.Errorf("an older view: %v", err)
	}
	wantRead(t, s, c, winner)
	if _, err := table.Publish(t.Context(), swapping(t, s, c, winner, old)); err != nil {
		t.Errorf("the same run again: %v", err)
	}
	wantRead(t, s, c, winner)
}

func TestSwapWithFaults(t *testing.T) {
	boom := errors.New("connection reset")
	for name, test := range map[string]struct {
		rule lakefault.Rule
		read bool // whether readers read the new day afterwards
		want error
	}{
		"the file's put fails":           {lakefault.Rule{Op: lakefault.Put, KeyContains: "part-", When: lakefault.Before, Err: boom}, false, boom},
		"the file's reply is lost":       {lakefault.Rule{Op: lakefault.Put, KeyContains: "part-", When: lakefault.After, Err: boom}, true, nil},
		"the commit's put fails":         {lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0", When: lakefault.Before, Err: boom}, false, boom},
		"the commit's reply is lost":     {lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0", When: lakefault.After, Err: boom}, true, nil},
		"it is said that it was there":   {lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0", When: lakefault.After, Err: lake.ErrExists}, true, nil},
		"the look afterwards has failed": {lakefault.Rule{Op: lakefault.List, When: lakefault.Before, Err: boom}, true, boom},
	} {
		plain := mem.New()
		c := catalog(t, plain)
		old := footer("old", 1)
		swap(t, plain, c, old)
		h := held(t, plain)
		s := lakefault.New(plain, test.rule)
		f := footer("new", 3)
		if _, err := table.Publish(t.Context(), swapping(t, s, c, f, h)); !errors.Is(err, test.want) || s.Fired() == 0 {
			t.Errorf("%s: %v after %d faults, want %v", name, err, s.Fired(), test.want)
		}
		if now := held(t, plain); (now.Whole().Footer.Run == f.Run) != test.read {
			t.Errorf("%s: read is run %s", name, now.Whole().Footer.Run)
		}
		s.Set()
		if _, err := table.Publish(t.Context(), swapping(t, s, c, f, h)); err != nil {
			t.Errorf("%s: again: %v", name, err)
		}
		wantRead(t, plain, c, f)
	}
}

// TestSwappingWriters: each number is one writer's, and the last is what is read and registered.
func TestSwappingWriters(t *testing.T) {
	const writers, each = 8, 5
	s := mem.New()
	c := catalog(t, s)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				h := held(t, s)
				f := footer(fmt.Sprint(w, " ", n), h.Whole().Footer.Rows+1) // one more than what it saw: none is lost
				_, err := table.Publish(t.Context(), swapping(t, s, c, f, h))
				if err == nil {
					n++
				} else if !errors.Is(err, table.ErrOutdated) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	h := held(t, s)
	if h.Commit.Number != writers*each || h.Whole().Footer.Rows != writers*each {
		t.Errorf("commit %d with %d rows, want %d of each", h.Commit.Number, h.Whole().Footer.Rows, writers*each)
	}
	wantRead(t, s, c, h.Whole().Footer)
}

// TestUncommitted: the files of a writer that is not done are none of the day's, and stay until it must be dead.
func TestUncommitted(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	a := footer("a", 1)
	swap(t, s, c, a)
	f := lakefault.New(s, lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0"})
	if _, err := table.Publish(t.Context(), swapping(t, f, c, footer("b", 2), held(t, s))); err == nil {
		t.Fatal("it was committed")
	}
	wantRead(t, s, c, a)
	if err := table.Sweep(t.Context(), s, *held(t, s), time.Hour); err != nil || len(keys(t, s)) != 3 {
		t.Errorf("%v, left are %v", err, keys(t, s))
	}
	// What is read may be old, and the writer still be at it.
	if err := table.Sweep(t.Context(), s, *held(t, aged{s, "-v0"}), time.Hour); err != nil || len(keys(t, s)) != 3 {
		t.Errorf("%v, left are %v", err, keys(t, s))
	}
	if err := table.Sweep(t.Context(), s, *held(t, aged{s, "/"}), time.Hour); err != nil || len(keys(t, s)) != 2 {
		t.Errorf("%v, left are %v", err, keys(t, s))
	}
	wantRead(t, s, c, a)
}

// aged is a store whose objects were written a day ago if their keys contain a text.
type aged struct {
	lake.Store
	old string
}

func (a aged) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		for o, err := range a.Store.List(ctx, prefix, after) {
			if strings.Contains(o.Key, a.old) {
				o.Modified = o.Modified.Add(-24 * time.Hour)
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

func rollback(t *testing.T, s lake.Store, c table.Catalog, want table.Footer) {
	t.Helper()
	h := held(t, s)
	if _, err := table.Rollback(t.Context(), s, c, orders, day); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, c, want)
	if now := held(t, s); now.Undone() != h.Commit.Footer.Run {
		t.Errorf("undone is %q, want %q", now.Undone(), h.Commit.Footer.Run)
	}
}

func TestRollback(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	a, b, d, e := footer("a", 4), footer("b", 4), footer("d", 5), footer("e", 6)
	replace(t, s, c, a)
	swap(t, s, c, b)
	swap(t, s, c, d)
	rollback(t, s, c, b)
	rollback(t, s, c, a)
	if _, err := table.Rollback(t.Context(), s, c, orders, day); !errors.Is(err, table.ErrNoVersion) {
		t.Errorf("there was nothing before: %v", err)
	}
	swap(t, s, c, e)
	if h := held(t, s); h.Undone() != "" {
		t.Errorf("undone is still %s", h.Undone())
	}
	rollback(t, s, c, a)
	swap(t, s, c, b)
	swap(t, s, c, d)
	if err := table.Sweep(t.Context(), s, *held(t, s), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Rollback(t.Context(), s, c, orders, day); !errors.Is(err, table.ErrNoVersion) || !strings.Contains(err.Error(), "serialize.grace") {
		t.Errorf("the version before is gone: %v", err)
	}
	wantRead(t, s, c, d)
}

func TestRollbackRefuses(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	roll := func() error { _, err := table.Rollback(t.Context(), s, c, orders, day); return err }
	if err := roll(); !errors.Is(err, table.ErrNoVersion) {
		t.Errorf("nothing at all: %v", err)
	}
	replace(t, s, c, footer("a", 3))
	if err := roll(); !errors.Is(err, table.ErrNoVersion) || !strings.Contains(err.Error(), "publish: swap") {
		t.Errorf("a replaced file: %v", err)
	}
	swap(t, s, c, footer("b", 3))
	swap(t, s, c, footer("c", 3))
	// What is read now may not be what the file of that key was.
	first := held(t, s).Retired[0].Key
	if _, err := s.Put(t.Context(), first, bytes.NewReader([]byte("x")), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := roll(); !errors.Is(err, table.ErrNoVersion) {
		t.Errorf("a file is another's: %v (of %s)", err, first)
	}
	swap(t, s, c, footer("d", 3))
	wider := table.Table{Name: orders, Schema: footer("d", 3).Schema}
	wider.Schema.Fields = slices.Clone(wider.Schema.Fields)
	wider.Schema.Fields[0].Type = schema.Type{Kind: schema.String}
	if err := c.Ensure(t.Context(), wider); err != nil {
		t.Fatal(err)
	}
	if err := roll(); err == nil || !strings.Contains(err.Error(), "another type") {
		t.Errorf("a column of another type: %v", err)
	}
}

func TestDamagedCommit(t *testing.T) {
	s := mem.New()
	swap(t, s, catalog(t, s), footer("a", 3))
	key := table.Place{Name: orders, Day: day, Commit: 2}.Key()
	for text, want := range map[string]error{"{}": table.ErrDamaged, "{": table.ErrDamaged, `{"v":2,"files":[{"key":"a"}]}`: table.ErrVersion} {
		if _, err := s.Put(t.Context(), key, strings.NewReader(text), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := table.LookDay(t.Context(), s, orders, day); !errors.Is(err, want) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", text, err)
		}
		c, err := dir.Open(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Ignored(); len(got) != 1 || got[0].Key != key || !errors.Is(got[0].Reason, want) {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// TestSlowReader: who was told of a file can read it until the grace is over, in this mode.
func TestSlowReader(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	told := footer("told", 1)
	swap(t, s, c, told)
	key := held(t, s).Files()[0].Object.Key
	for i := range 5 {
		swap(t, s, c, footer(fmt.Sprint(i), 1))
		if err := table.Sweep(t.Context(), s, *held(t, s), time.Minute); err != nil {
			t.Fatal(err)
		}
		if f, _, _, err := table.ReadFooter(t.Context(), s, key); err != nil || f.Run != told.Run {
			t.Fatalf("after %d publishes: run %s, %v", i+1, f.Run, err)
		}
	}
}

// TestBeside: what others put into the day's folder is read with the day's file, so neither of the two is published beside it.
func TestBeside(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	replace(t, s, c, footer("a", 3))
	folder := strings.TrimSuffix(table.PartKey(orders, day), "part-00000.snappy.parquet")
	put := func(name string) {
		if _, err := s.Put(t.Context(), folder+name, strings.NewReader("x"), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, hidden := range []string{"_SUCCESS", ".part-00000.crc", "_temporary/0/part"} {
		put(hidden)
	}
	replace(t, s, c, footer("b", 3))
	put("day=50/part-1.parquet")
	wantBeside := func(want string) {
		t.Helper()
		err := table.Beside(t.Context(), s, orders, day)
		if want == "" && err != nil || want != "" && (!errors.Is(err, table.ErrForeign) || !strings.HasPrefix(err.Error(), folder+want)) {
			t.Errorf("beside is %v, want %s", err, want)
		}
	}
	wantBeside("day=50/part-1.parquet")
	if err := s.Delete(t.Context(), folder+"day=50/part-1.parquet"); err != nil {
		t.Fatal(err)
	}
	wantBeside("")
	put("part-00000-0f8a.c000.snappy.parquet")
	put("part-00001-0f8a.c000.snappy.parquet")
	wantBeside("part-00000-0f8a.c000.snappy.parquet")
	h := held(t, s)
	p := publication(t, s, c, footer("c", 3), h.Plain)
	p.Held = *h
	if _, err := table.Publish(t.Context(), p); !errors.Is(err, table.ErrForeign) || !strings.Contains(err.Error(), "part-00000-0f8a") {
		t.Errorf("beside others' files: %v", err)
	}
	if r, all := found(t, s, c, flat); !slices.Contains(all, "foreign 5") {
		t.Errorf("%+v", r.Findings)
	}
	if err := s.Delete(t.Context(), table.PartKey(orders, day)); err != nil {
		t.Fatal(err)
	}
	if r, all := found(t, s, c, flat); !slices.Equal(all, []string{"foreign 5"}) || r.Mendable() {
		t.Errorf("the others' files alone: %+v", r.Findings)
	}
	swap(t, s, c, footer("c", 3)) // it is elsewhere
	if got, want := held(t, s).Whole().Footer.Run, footer("c", 3); got != want.Run {
		t.Errorf("read is %s", got)
	}
}

// TestLost: a commit whose file is gone, or another, says so wherever one looks.
func TestLost(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	replace(t, s, c, footer("plain", 3))
	swap(t, s, c, footer("a", 3))
	if h := held(t, s); len(h.Lost) > 0 {
		t.Fatal(h.Lost)
	}
	key := held(t, s).Files()[0].Object.Key
	for _, name := range []string{"replaced", "deleted"} {
		err := s.Delete(t.Context(), key)
		if name == "replaced" {
			_, err = s.Put(t.Context(), key, strings.NewReader("x"), lake.Condition{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if h := held(t, s); !slices.Equal(h.Lost, []string{key}) {
			t.Errorf("%s: lost are %v", name, h.Lost)
		}
		if got := catalog(t, s).Ignored(); len(got) != 1 || !errors.Is(got[0].Reason, table.ErrDamaged) || !strings.Contains(got[0].Reason.Error(), key) {
			t.Errorf("%s: %+v", name, got)
		}
		if _, all := found(t, s, c, flat); !slices.Contains(all, "unreadable 5") {
			t.Errorf("%s: found %v", name, all)
		}
	}
	swap(t, s, c, footer("b", 3))
	wantRead(t, s, c, footer("b", 3))
}

// TestSuccess: who waits for _SUCCESS finds it in the folder of what is read, newer with each publish, and there when a kill has come before it.
func TestSuccess(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	mark := func() (lake.Object, error) {
		h := held(t, s)
		key := h.Files()[0].Object.Key
		return s.Stat(t.Context(), key[:strings.LastIndexByte(key, '/')]+"/_SUCCESS")
	}
	publish := func(f table.Footer, swaps bool) {
		t.Helper()
		h := held(t, s)
		p := swapping(t, s, c, f, h)
		if p.Swap, p.Success = swaps, true; !swaps {
			p.Seen = h.Plain
		}
		if h.Whole().Footer.Run == f.Run {
			p.File, p.Seen = nil, h.Whole()
		}
		if _, err := table.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if o, err := mark(); err != nil || o.Size != 0 {
			t.Errorf("%+v, %v", o, err)
		}
	}
	for _, swaps := range []bool{false, true} {
		publish(footer(fmt.Sprint("a", swaps), 3), swaps)
		first, _ := mark()
		publish(footer(fmt.Sprint("b", swaps), 3), swaps)
		second, _ := mark()
		if first == second {
			t.Error("the mark is as old as the one before")
		}
		publish(footer(fmt.Sprint("b", swaps), 3), swaps)
		if again, _ := mark(); again != second {
			t.Error("a publish of nothing has marked")
		}
		if err := s.Delete(t.Context(), second.Key); err != nil {
			t.Fatal(err)
		}
		publish(footer(fmt.Sprint("b", swaps), 3), swaps)
		if err := table.Beside(t.Context(), s, orders, day); err != nil {
			t.Error(err)
		}
		if err := table.Sweep(t.Context(), s, *held(t, s), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := mark(); err != nil {
			t.Errorf("after the sweep: %v", err)
		}
		if fresh := catalog(t, s); len(fresh.Ignored()) > 0 {
			t.Error(fresh.Ignored())
		}
	}
}

// TestStage: nobody reads what is staged until it is published, and what is refused is not staged.
func TestStage(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	a, b := footer("a", 3), footer("b", 4)
	swap(t, s, c, a)
	p := swapping(t, s, c, b, held(t, s))
	files, err := p.Stage(t.Context())
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	wantRead(t, s, c, a)
	p.File, p.Files = nil, files
	if _, err := table.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, c, b)
	fewer := swapping(t, s, c, footer("c", 1), held(t, s))
	before := len(keys(t, s))
	if _, err := fewer.Stage(t.Context()); !errors.Is(err, table.ErrShrink) || len(keys(t, s)) != before {
		t.Errorf("fewer rows: %v", err)
	}
}
