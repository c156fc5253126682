package days

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/dir"
)

var (
	day  = table.Day{Year: 2026, Month: 7, Day: 5}
	noon = time.Date(2026, 7, 6, 12, 0, 0, 5000, time.UTC)
)

func open(t *testing.T, s lake.Store) Table {
	t.Helper()
	c, err := dir.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return Table{Tables: s, Catalog: c, Name: table.Name{Database: "shop", Table: "headwater_days"}}
}

func (t Table) rows(tt *testing.T) []Row {
	tt.Helper()
	h, err := table.LookDay(tt.Context(), t.Tables, t.Name, day)
	if err != nil {
		tt.Fatal(err)
	}
	rows, err := t.read(tt.Context(), h.Plain)
	if err != nil {
		tt.Fatal(err)
	}
	return rows
}

func row(name string, rows int64) Row {
	return Row{Table: name, State: table.Whole, Rows: rows, Quarantined: 2, PublishedAt: noon, SchemaVersion: 3, Engine: "native", Run: "r"}
}

func TestNote(t *testing.T) {
	days := open(t, mem.New())
	note := func(rows ...Row) {
		t.Helper()
		if err := days.Note(t.Context(), day, rows...); err != nil {
			t.Fatal(err)
		}
	}
	want := func(rows ...Row) {
		t.Helper()
		if diff := cmp.Diff(rows, days.rows(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		ps, err := days.Catalog.Partitions(t.Context(), days.Name)
		if err != nil || len(ps) != 1 || ps[0].Rows != int64(len(rows)) {
			t.Errorf("registered: %v, %v", ps, err)
		}
	}
	a, b := row("shop.a", 1), row("shop.b", 2)
	note(b, a)
	want(a, b)
	before, _ := days.Tables.Stat(t.Context(), table.PartKey(days.Name, day))
	later := a
	later.PublishedAt = noon.Add(time.Hour)
	note(later)
	if after, _ := days.Tables.Stat(t.Context(), table.PartKey(days.Name, day)); after != before {
		t.Error("a row that says nothing new was written")
	}
	later.Rows = 5
	note(later)
	want(later, b)
	failed := Row{Table: "shop.b", State: Failed, Reason: "bad data"}
	note(failed)
	b.State, b.Reason = Failed, "bad data"
	want(later, b)
	c := Row{Table: "shop.c", State: Failed, Reason: "no metastore"}
	note(c)
	c.PublishedAt = time.UnixMicro(0).UTC()
	want(later, b, c)
	b = row("shop.b", 2)
	note(b)
	want(later, b, c)
}

// TestNoters: what several processes note at once is all there.
func TestNoters(t *testing.T) {
	s := mem.New()
	var wg sync.WaitGroup
	for i := range 8 {
		days := open(t, s)
		wg.Go(func() {
			for n := range 5 {
				if err := days.Note(t.Context(), day, row(fmt.Sprintf("shop.t%d", i), int64(n+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows := open(t, s).rows(t)
	if len(rows) != 8 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if r.Rows != 5 {
			t.Errorf("%+v", r)
		}
	}
}

func TestDamaged(t *testing.T) {
	s := mem.New()
	days := open(t, s)
	if _, err := s.Put(t.Context(), table.PartKey(days.Name, day), strings.NewReader("no Parquet"), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := days.Note(t.Context(), day, row("shop.a", 1)); !errors.Is(err, table.ErrNotParquet) {
		t.Errorf("got %v", err)
	}
	days = open(t, lakefault.New(mem.New(), lakefault.Rule{Op: lakefault.Put, Err: errors.New("boom")}))
	if err := days.Note(t.Context(), day, row("shop.a", 1)); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("got %v", err)
	}
}
