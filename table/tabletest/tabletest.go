// Package tabletest is the suite that every table.Catalog passes, and the smallest Parquet files that tests of tables need.
package tabletest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
)

var (
	long   = schema.Type{Kind: schema.Long}
	double = schema.Type{Kind: schema.Double}
	text   = schema.Type{Kind: schema.String}

	orders = table.Name{Database: "shop", Table: "orders"}
)

func columns(fields ...schema.Field) schema.Type {
	return schema.Type{Kind: schema.Struct, Fields: fields}
}

func partition(n table.Name, d table.Day, s schema.Type, run string) table.Partition {
	return table.Partition{Day: d, Key: table.PartKey(n, d), Files: 1, Schema: s, Rows: 7, Bytes: 1234, Run: run}
}

// Run checks every duty of a Catalog. open returns a new and empty one.
func Run(t *testing.T, open func(t *testing.T) table.Catalog) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, table.Catalog)
	}{
		{"missing tables are ErrNotExist", missing},
		{"an ensured table is there, empty", ensured},
		{"ensuring adds and widens and never takes away", widened},
		{"types survive", types},
		{"a table is complete through a day, and never through an earlier one", complete},
		{"tables are listed by name", listed},
		{"partitions are listed by day", byDay},
		{"a partition of the same day is replaced", replaced},
		{"a partition of several files is one location", several},
		{"many partitions at once", many},
		{"no partitions at once", none},
		{"days are dropped and come back", droppedDays},
		{"a drop forgets the partitions", dropped},
		{"what is returned belongs to the caller", owned},
		{"writers at the same time lose nothing", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func ensure(t *testing.T, c table.Catalog, n table.Name, s schema.Type) {
	t.Helper()
	if err := c.Ensure(t.Context(), table.Table{Name: n, Schema: s}); err != nil {
		t.Fatalf("Ensure(%s): %v", n, err)
	}
}

func set(t *testing.T, c table.Catalog, n table.Name, ps ...table.Partition) {
	t.Helper()
	if err := c.SetPartitions(t.Context(), n, ps); err != nil {
		t.Fatalf("SetPartitions(%s, %d of them): %v", n, len(ps), err)
	}
}

func wantSchema(t *testing.T, c table.Catalog, n table.Name, want schema.Type) {
	t.Helper()
	got, err := c.Table(t.Context(), n)
	if err != nil {
		t.Fatalf("Table(%s): %v", n, err)
	}
	if diff := cmp.Diff(table.Table{Name: n, Schema: want}, got); diff != "" {
		t.Errorf("Table(%s) (-want +got):\n%s", n, diff)
	}
}

func wantPartitions(t *testing.T, c table.Catalog, n table.Name, want ...table.Partition) {
	t.Helper()
	got, err := c.Partitions(t.Context(), n)
	if err != nil {
		t.Fatalf("Partitions(%s): %v", n, err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Partitions(%s) (-want +got):\n%s", n, diff)
	}
}

func missing(t *testing.T, c table.Catalog) {
	for name, err := range map[string]error{
		"Table":          second(c.Table(t.Context(), orders)),
		"Partitions":     second(c.Partitions(t.Context(), orders)),
		"SetPartitions":  c.SetPartitions(t.Context(), orders, []table.Partition{partition(orders, table.Day{Year: 2026, Month: 7, Day: 5}, columns(), "r")}),
		"DropPartitions": c.DropPartitions(t.Context(), orders, []table.Day{{Year: 2026, Month: 7, Day: 5}}),
		"Drop":           c.Drop(t.Context(), orders),
	} {
		if !errors.Is(err, table.ErrNotExist) {
			t.Errorf("%s of a table that is not there: %v, want ErrNotExist", name, err)
		}
	}
	if ts, err := c.Tables(t.Context()); err != nil || len(ts) != 0 {
		t.Errorf("Tables() of an empty catalog = %v, %v", ts, err)
	}
}

func second[T any](_ T, err error) error { return err }

func ensured(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, orders, s)
	ensure(t, c, orders, s)
	wantSchema(t, c, orders, s)
	wantPartitions(t, c, orders)
}

func widened(t *testing.T, c table.Catalog) {
	steps := []schema.Type{
		columns(schema.Field{Name: "id", Type: long}),
		columns(schema.Field{Name: "id", Type: double}, schema.Field{Name: "note", Type: text}),
		columns(schema.Field{Name: "id", Type: long}),
		columns(schema.Field{Name: "address", Type: columns(schema.Field{Name: "Street", Type: text})}),
		columns(schema.Field{Name: "address", Type: columns(schema.Field{Name: "City", Type: text})}),
		columns(schema.Field{Name: "note", Type: long}),
	}
	d := table.Day{Year: 2026, Month: 7, Day: 5}
	var want schema.Type
	for i, s := range steps {
		ensure(t, c, orders, s)
		want = schema.Merge(want, s)
		wantSchema(t, c, orders, want)
		if i == 0 {
			set(t, c, orders, partition(orders, d, s, "r"))
		}
	}
	wantPartitions(t, c, orders, partition(orders, d, steps[0], "r"))
}

func complete(t *testing.T, c table.Catalog) {
	id := columns(schema.Field{Name: "id", Type: long})
	wide := columns(schema.Field{Name: "id", Type: double}, schema.Field{Name: "note", Type: text})
	day := func(d int) table.Day { return table.Day{Year: 2026, Month: 7, Day: d} }
	var is schema.Type
	for _, step := range []struct {
		schema        schema.Type
		through, want table.Day
	}{
		{id, table.Day{}, table.Day{}},
		{id, day(5), day(5)},
		{id, day(5), day(5)},
		{id, table.Day{}, day(5)},
		{id, day(4), day(5)},
		{wide, table.Day{}, day(5)},
		{id, day(31), day(31)},
		{wide, day(6), day(31)},
	} {
		if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: step.schema, CompleteThrough: step.through}); err != nil {
			t.Fatal(err)
		}
		is = schema.Merge(is, step.schema)
		set(t, c, orders, partition(orders, day(5), id, "r"))
		got, err := c.Table(t.Context(), orders)
		want := table.Table{Name: orders, Schema: is, CompleteThrough: step.want}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after Ensure(%v): %v (-want +got):\n%s", step.through, err, diff)
		}
	}
	all, err := c.Tables(t.Context())
	if err != nil || len(all) != 1 || all[0].CompleteThrough != day(31) {
		t.Errorf("Tables() = %v, %v", all, err)
	}
	other := table.Name{Database: "shop", Table: "born"}
	if err := c.Ensure(t.Context(), table.Table{Name: other, Schema: id, CompleteThrough: day(7)}); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Table(t.Context(), other); err != nil || got.CompleteThrough != day(7) {
		t.Errorf("a table that is made complete through a day: %v, %v", got.CompleteThrough, err)
	}
}

func types(t *testing.T, c table.Catalog) {
	nested := columns(
		schema.Field{Name: "Lines", Type: schema.Type{Kind: schema.List, Elem: new(columns(
			schema.Field{Name: "SKU", Type: text},
			schema.Field{Name: "qty", Type: long},
		))}},
		schema.Field{Name: "big", Type: schema.Type{Kind: schema.Decimal}},
		schema.Field{Name: "price", Type: double},
		schema.Field{Name: "paid", Type: schema.Type{Kind: schema.Boolean}},
		schema.Field{Name: "tags", Type: schema.Type{Kind: schema.List, Elem: &schema.Type{Kind: schema.String}}},
		schema.Field{Name: "Zeit punkt", Type: schema.Type{Kind: schema.Timestamp}},
	)
	// Metastores keep long texts apart from short ones.
	for i := range 300 {
		nested.Fields = append(nested.Fields, schema.Field{Name: fmt.Sprintf("%s_%d", strings.Repeat("wide", 10), i), Type: text})
	}
	ensure(t, c, orders, nested)
	wantSchema(t, c, orders, nested)
	p := partition(orders, table.Day{Year: 2026, Month: 7, Day: 5}, nested, "r")
	p.Rows, p.Bytes = 1<<40, 1<<50
	set(t, c, orders, p)
	wantPartitions(t, c, orders, p)
}

func listed(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	want := []table.Table{
		{Name: table.Name{Database: "a", Table: "z"}, Schema: s},
		{Name: table.Name{Database: "b", Table: "a"}, Schema: s},
		{Name: table.Name{Database: "b", Table: "a_raw"}, Schema: s},
	}
	for _, i := range []int{1, 2, 0} {
		ensure(t, c, want[i].Name, s)
	}
	got, err := c.Tables(t.Context())
	if err != nil {
		t.Fatalf("Tables: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Tables (-want +got):\n%s", diff)
	}
}

func byDay(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, orders, s)
	var want []table.Partition
	for _, d := range []table.Day{{Year: 999, Month: 1, Day: 1}, {Year: 2026, Month: 2, Day: 9}, {Year: 2026, Month: 2, Day: 10}, {Year: 2026, Month: 10, Day: 1}} {
		want = append(want, partition(orders, d, s, d.String()))
	}
	set(t, c, orders, want[3], want[1])
	set(t, c, orders, want[2])
	set(t, c, orders, want[0])
	wantPartitions(t, c, orders, want...)
}

func replaced(t *testing.T, c table.Catalog) {
	d := table.Day{Year: 2026, Month: 7, Day: 5}
	first := partition(orders, d, columns(schema.Field{Name: "id", Type: long}), "first")
	ensure(t, c, orders, first.Schema)
	set(t, c, orders, first)
	set(t, c, orders, first)
	wantPartitions(t, c, orders, first)

	next := partition(orders, d, columns(schema.Field{Name: "id", Type: double}, schema.Field{Name: "x", Type: text}), "next")
	next.Rows, next.Bytes = 0, 99
	ensure(t, c, orders, next.Schema)
	set(t, c, orders, next)
	wantPartitions(t, c, orders, next)
}

// several: the files of an open day are in another folder than that of the whole day, and the partition moves between them.
func several(t *testing.T, c table.Catalog) {
	d := table.Day{Year: 2026, Month: 7, Day: 5}
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, orders, s)
	for _, at := range []struct{ folder, files int }{{1, 1}, {1, 2}, {1, 3}, {2, 1}, {2, 2}, {0, 1}, {3, 5}} {
		p := partition(orders, d, s, fmt.Sprint("run of ", at.files))
		p.Key, p.Files = table.Place{Name: orders, Day: d, Folder: at.folder}.Key(), at.files
		set(t, c, orders, p)
		wantPartitions(t, c, orders, p)
	}
}

func many(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, orders, s)
	var want []table.Partition
	for year := 2025; year < 2027; year++ {
		for month := 1; month <= 12; month++ {
			for day := 1; day <= 28; day++ {
				want = append(want, partition(orders, table.Day{Year: year, Month: month, Day: day}, s, "r"))
			}
		}
	}
	set(t, c, orders, want...)
	wantPartitions(t, c, orders, want...)
}

func none(t *testing.T, c table.Catalog) {
	ensure(t, c, orders, columns(schema.Field{Name: "id", Type: long}))
	set(t, c, orders)
	wantPartitions(t, c, orders)
}

func droppedDays(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: double})
	ensure(t, c, orders, s)
	var all []table.Partition
	for day := 1; day <= 4; day++ {
		all = append(all, partition(orders, table.Day{Year: 2026, Month: 7, Day: day}, s, "r"))
	}
	set(t, c, orders, all...)
	drop := func(days ...table.Day) {
		t.Helper()
		if err := c.DropPartitions(t.Context(), orders, days); err != nil {
			t.Fatalf("DropPartitions(%v): %v", days, err)
		}
	}
	drop()
	wantPartitions(t, c, orders, all...)
	for range 2 { // the second time they are not there
		drop(all[3].Day, all[1].Day, table.Day{Year: 1999, Month: 1, Day: 1})
		wantPartitions(t, c, orders, all[0], all[2])
	}
	set(t, c, orders, all[1])
	wantPartitions(t, c, orders, all[:3]...)
	drop(all[0].Day, all[1].Day, all[2].Day)
	wantPartitions(t, c, orders)
	wantSchema(t, c, orders, s)
}

func dropped(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: double})
	other := table.Name{Database: "shop", Table: "orders_raw"}
	for _, n := range []table.Name{orders, other} {
		ensure(t, c, n, s)
		set(t, c, n, partition(n, table.Day{Year: 2026, Month: 7, Day: 5}, s, "r"))
	}
	if err := c.Drop(t.Context(), orders); err != nil {
		t.Fatalf("Drop: %v", err)
	}
	if _, err := c.Table(t.Context(), orders); !errors.Is(err, table.ErrNotExist) {
		t.Errorf("Table after Drop: %v, want ErrNotExist", err)
	}
	wantPartitions(t, c, other, partition(other, table.Day{Year: 2026, Month: 7, Day: 5}, s, "r"))

	narrow := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, orders, narrow)
	wantSchema(t, c, orders, narrow)
	wantPartitions(t, c, orders)
}

func owned(t *testing.T, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	p := partition(orders, table.Day{Year: 2026, Month: 7, Day: 5}, s, "r")
	ensure(t, c, orders, s)
	set(t, c, orders, p)
	ts, err := c.Tables(t.Context())
	if err != nil || len(ts) != 1 {
		t.Fatalf("Tables = %v, %v", ts, err)
	}
	ps, err := c.Partitions(t.Context(), orders)
	if err != nil || len(ps) != 1 {
		t.Fatalf("Partitions = %v, %v", ps, err)
	}
	ts[0], ps[0] = table.Table{}, table.Partition{}
	wantSchema(t, c, orders, s)
	wantPartitions(t, c, orders, p)
}

func concurrent(t *testing.T, c table.Catalog) {
	const writers = 8
	var wg sync.WaitGroup
	var want []table.Partition
	merged := schema.Type{}
	for i := range writers {
		s := columns(schema.Field{Name: fmt.Sprintf("c%d", i), Type: long})
		p := partition(orders, table.Day{Year: 2026, Month: 7, Day: i + 1}, s, "r")
		merged = schema.Merge(merged, s)
		want = append(want, p)
		wg.Go(func() {
			if err := errors.Join(
				c.Ensure(t.Context(), table.Table{Name: orders, Schema: s}),
				c.SetPartitions(t.Context(), orders, []table.Partition{p}),
			); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	wantSchema(t, c, orders, merged)
	wantPartitions(t, c, orders, want...)
}
