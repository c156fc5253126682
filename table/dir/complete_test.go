package dir

import (
	"sync"
	"testing"

	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
)

// TestComplete: what a table is complete through is kept beside the files, by several writers, for catalogs that are opened later; and goes with the table.
func TestComplete(t *testing.T) {
	store := mem.New()
	c := open(t, store)
	n := table.Name{Database: "shop", Table: "orders"}
	day := func(d int) table.Day { return table.Day{Year: 2026, Month: 7, Day: d} }
	if err := table.Complete(t.Context(), store, c, n, day(1)); err != nil {
		t.Errorf("of a table that there is not: %v", err)
	}
	if got, err := table.CompleteThrough(t.Context(), store, n); err != nil || got != (table.Day{}) {
		t.Errorf("a table that there is not is complete through %v, %v", got, err)
	}
	if err := c.Ensure(t.Context(), table.Table{Name: n, Schema: schema.Type{Kind: schema.Struct}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for d := range 20 {
		wg.Go(func() {
			if err := table.Complete(t.Context(), store, c, n, day(d+1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := table.Complete(t.Context(), store, c, n, day(3)); err != nil {
		t.Error(err)
	}
	got, err := table.CompleteThrough(t.Context(), store, n)
	if err != nil || got != day(20) {
		t.Errorf("complete through %v, %v", got, err)
	}
	if is, err := c.Table(t.Context(), n); err != nil || is.CompleteThrough != day(20) {
		t.Errorf("the catalog says %v, %v", is.CompleteThrough, err)
	}
	if err := table.Uncomplete(t.Context(), store, n); err != nil {
		t.Error(err)
	}
	if got, err := table.CompleteThrough(t.Context(), store, n); err != nil || got != (table.Day{}) {
		t.Errorf("after it was dropped: %v, %v", got, err)
	}
}

// TestCompleteSurvives: a catalog that is opened anew has it from the object.
func TestCompleteSurvives(t *testing.T) {
	store := mem.New()
	n, d := table.Name{Database: "shop", Table: "orders"}, table.Day{Year: 2026, Month: 7, Day: 5}
	c := open(t, store)
	publishSome(t, store, c)
	if err := table.Complete(t.Context(), store, c, n, d); err != nil {
		t.Fatal(err)
	}
	c = open(t, store)
	if is, err := c.Table(t.Context(), n); err != nil || is.CompleteThrough != d {
		t.Errorf("%v, %v", is.CompleteThrough, err)
	}
}
