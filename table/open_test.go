package table_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/tabletest"
)

func TestPlaceIsItsKey(t *testing.T) {
	for key, want := range map[string]table.Place{
		"shop/orders/year=2026/month=7/day=5/part-00000.snappy.parquet":          {Name: orders, Day: day},
		"shop/orders/_runs/2026-07-05-open/part-00000.snappy.parquet":            {Name: orders, Day: day, Folder: 1},
		"shop/orders/_runs/2026-07-05-open-12/part-00345.snappy.parquet":         {Name: orders, Day: day, Folder: 12, Part: 345},
		"shop/orders/_runs/2026-07-05-open/part-123456.snappy.parquet":           {Name: orders, Day: day, Folder: 1, Part: 123456},
		"shop/orders/_runs/2026-07-05-open-1/part-00000.snappy.parquet":          {},
		"shop/orders/_runs/2026-07-05-open-02/part-00000.snappy.parquet":         {},
		"shop/orders/_runs/2026-7-5-open/part-00000.snappy.parquet":              {},
		"shop/orders/_runs/2026-07-05-open/part-0.snappy.parquet":                {},
		"shop/orders/_runs/2026-07-05-open/sub/part-00000.snappy.parquet":        {},
		"shop/orders/year=2026/month=7/day=5/part-00001.snappy.parquet":          {},
		"shop/orders/year=2026/month=07/day=5/part-00000.snappy.parquet":         {},
		"shop/orders/_runs/2026-07-05-open-99999999999999999999/part-00000.snap": {},
	} {
		got, ok := table.ParseKey(key)
		if known := want != (table.Place{}); ok != known || known && (got != want || want.Key() != key) {
			t.Errorf("%s: %+v, %t, want %+v, whose key is %s", key, got, ok, want, want.Key())
		}
	}
}

// opened puts files of the open day, each made from an input and with rows of its own.
func opened(t *testing.T, s lake.Store, folder int, parts ...int) {
	t.Helper()
	for _, part := range parts {
		key := table.Place{Name: orders, Day: day, Folder: folder, Part: part}.Key()
		if _, err := s.Put(t.Context(), key, bytes.NewReader(tabletest.Made(t, footer(key, int64(part+1)))), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
}

func closed(t *testing.T, s lake.Store, c table.Closes) {
	t.Helper()
	f := footer("plain", 100)
	f.Closes = c
	put(t, s, tabletest.Made(t, f))
}

// TestWhatIsReadOfADay: readers and the catalog of footers agree.
func TestWhatIsReadOfADay(t *testing.T) {
	tests := map[string]struct {
		made   func(t *testing.T, s lake.Store)
		folder int // 0 is the plain file
		rows   int64
		files  int
		next   int
	}{
		"nothing":        {func(*testing.T, lake.Store) {}, 0, 0, 0, 1},
		"a plain file":   {func(t *testing.T, s lake.Store) { closed(t, s, table.Closes{}) }, 0, 100, 1, 1},
		"open files":     {func(t *testing.T, s lake.Store) { opened(t, s, 1, 0, 1, 2) }, 1, 6, 3, 2},
		"a later folder": {func(t *testing.T, s lake.Store) { opened(t, s, 2, 0, 1, 2); opened(t, s, 10, 0) }, 10, 1, 1, 11},
		"a gap":          {func(t *testing.T, s lake.Store) { opened(t, s, 1, 0, 1, 3) }, 1, 3, 2, 2},
		"no first file":  {func(t *testing.T, s lake.Store) { opened(t, s, 1, 0, 1); opened(t, s, 2, 1) }, 1, 3, 2, 2},
		"closed": {func(t *testing.T, s lake.Store) {
			opened(t, s, 1, 0, 1)
			closed(t, s, table.Closes{Folder: 1, Files: 2})
		}, 0, 100, 1, 2},
		"closed and deleted":        {func(t *testing.T, s lake.Store) { closed(t, s, table.Closes{Folder: 4, Files: 2}) }, 0, 100, 1, 5},
		"closed and partly deleted": {func(t *testing.T, s lake.Store) { opened(t, s, 4, 0); closed(t, s, table.Closes{Folder: 4, Files: 2}) }, 0, 100, 1, 5},
		"added to while it was closed": {func(t *testing.T, s lake.Store) {
			opened(t, s, 1, 0, 1, 2)
			closed(t, s, table.Closes{Folder: 1, Files: 2})
		}, 1, 6, 3, 2},
		"opened again": {func(t *testing.T, s lake.Store) {
			opened(t, s, 1, 0, 1)
			closed(t, s, table.Closes{Folder: 1, Files: 2})
			opened(t, s, 2, 0)
		}, 2, 1, 1, 3},
		"made whole before it was open": {func(t *testing.T, s lake.Store) { closed(t, s, table.Closes{}); opened(t, s, 1, 0) }, 1, 1, 1, 2},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			c.made(t, s)
			h, err := table.LookDay(t.Context(), s, orders, day)
			if err != nil {
				t.Fatal(err)
			}
			if rows, _ := h.Rows(); rows != c.rows || len(h.Files()) != c.files || h.NextFolder() != c.next {
				t.Errorf("%d rows in %d files, the next folder is %d; want %d, %d, %d", rows, len(h.Files()), h.NextFolder(), c.rows, c.files, c.next)
			}
			all, err := table.Footers(t.Context(), s, orders)
			if err != nil || len(all) != c.files {
				t.Errorf("%d footers, %v", len(all), err)
			}
			read := catalog(t, s)
			if ignored := read.Ignored(); len(ignored) > 0 {
				t.Error(ignored)
			}
			ps, err := read.Partitions(t.Context(), orders)
			if c.files == 0 {
				if !errors.Is(err, table.ErrNotExist) {
					t.Error(ps, err)
				}
				return
			}
			if err != nil || len(ps) != 1 || ps[0].Rows != c.rows || ps[0].Files != c.files || ps[0].Key != (table.Place{Name: orders, Day: day, Folder: c.folder}).Key() {
				t.Errorf("%+v, %v", ps, err)
			}
			files, err := read.Files(t.Context(), orders)
			if err != nil || len(files) != c.files {
				t.Fatalf("%+v, %v", files, err)
			}
			for i, f := range files {
				if f.Key != h.Files()[i].Object.Key || f.Bytes != h.Files()[i].Object.Size || f.Run != h.Files()[i].Footer.Run {
					t.Errorf("file %d is %+v", i, f)
				}
			}
		})
	}
}

// TestLookAgain reads only footers that it does not know.
func TestLookAgain(t *testing.T) {
	s := mem.New()
	opened(t, s, 1, 0, 1)
	closed(t, s, table.Closes{})
	h, err := table.LookDay(t.Context(), s, orders, day)
	if err != nil {
		t.Fatal(err)
	}
	opened(t, s, 1, 2)
	// Only the new file can be read.
	known := append(h.Files(), h.Plain)
	f := lakefault.New(s, lakefault.Rule{Op: lakefault.Get, KeyContains: "part-00000"}, lakefault.Rule{Op: lakefault.Get, KeyContains: "part-00001"})
	again, err := table.LookDay(t.Context(), f, orders, day, known...)
	if err != nil || len(again.Open) != 3 {
		t.Fatalf("%d files, %v", len(again.Open), err)
	}
	if diff := cmp.Diff(h.Open, again.Open[:2]); diff != "" {
		t.Error(diff)
	}
}

func TestSweep(t *testing.T) {
	s := mem.New()
	opened(t, s, 1, 0, 1)
	opened(t, s, 2, 0, 1, 2)
	closed(t, s, table.Closes{Folder: 2, Files: 3})
	left := func() (keys []string) {
		for o, err := range s.List(t.Context(), "shop/orders/_runs/", "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, o.Key)
		}
		return keys
	}
	sweep := func(s lake.Store, grace time.Duration) error {
		h, err := table.LookDay(t.Context(), s, orders, day)
		if err != nil {
			t.Fatal(err)
		}
		return table.Sweep(t.Context(), s, h, grace)
	}
	all := left()
	if err := sweep(s, time.Hour); err != nil || len(left()) != 5 {
		t.Fatalf("before the grace was over: %v, %v are left", err, left())
	}
	for nth := 1; len(left()) > 0; nth++ {
		err := sweep(lakefault.New(s, lakefault.Rule{Op: lakefault.Delete, Nth: 2}), 0)
		now := left()
		if err == nil && len(now) > 0 || !slices.Equal(now, all[:len(now)]) {
			t.Fatalf("%v: left are %v of %v, which is not the beginning", err, now, all)
		}
		wantRows(t, s, 100)
	}
	// What is read is not swept, whatever its age.
	opened(t, s, 3, 0)
	if err := sweep(s, 0); err != nil || len(left()) != 1 {
		t.Errorf("%v, %v are left", err, left())
	}
	wantRows(t, s, 1)
}

func wantRows(t *testing.T, s lake.Store, want int64) {
	t.Helper()
	h, err := table.LookDay(t.Context(), s, orders, day)
	if rows, _ := h.Rows(); rows != want || err != nil {
		t.Errorf("%d rows are read, want %d; %v", rows, want, err)
	}
}

// TestDamagedOpenFile: neither a look nor a publish passes over it, and the catalog of footers names the day.
func TestDamagedOpenFile(t *testing.T) {
	s := mem.New()
	opened(t, s, 1, 0, 1)
	key := table.Place{Name: orders, Day: day, Folder: 1, Part: 1}.Key()
	if _, err := s.Put(t.Context(), key, bytes.NewReader([]byte("no Parquet")), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	if _, err := table.LookDay(t.Context(), s, orders, day); !errors.Is(err, table.ErrNotParquet) {
		t.Errorf("got %v", err)
	}
	c, err := dir.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Ignored(); len(got) != 1 || got[0].Key != "shop/orders/_runs/2026-07-05-open" || !errors.Is(got[0].Reason, table.ErrNotParquet) {
		t.Errorf("%+v", got)
	}
}

// TestPublishRegistersWhatIsRead: a file that another writer has added to the open day while it was closed is registered with the others.
func TestPublishRegistersWhatIsRead(t *testing.T) {
	s := mem.New()
	opened(t, s, 1, 0, 1)
	h, err := table.LookDay(t.Context(), s, orders, day)
	if err != nil {
		t.Fatal(err)
	}
	c := &lateCatalog{Catalog: catalog(t, mem.New()), before: func() { opened(t, s, 1, 2) }}
	f := footer("plain", 3)
	f.Closes = h.Closing()
	p := publication(t, s, c, f, h.Plain)
	p.Held = h
	if _, err := table.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	ps, err := c.Partitions(t.Context(), orders)
	if err != nil || len(ps) != 1 || ps[0].Files != 3 || ps[0].Rows != 6 {
		t.Errorf("%+v, %v", ps, err)
	}
	p.Footer.Rows = 2
	if _, err := table.Publish(t.Context(), p); !errors.Is(err, table.ErrShrink) {
		t.Errorf("fewer rows than the open files: %v", err)
	}
}
