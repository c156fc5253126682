package dir

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/tabletest"
)

func TestCatalog(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) table.Catalog { return open(t, mem.New()) })
}

func open(t *testing.T, s lake.Store) *Catalog {
	t.Helper()
	c, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func footer(n table.Name, d table.Day, s schema.Type, rows int64) table.Footer {
	f := table.Footer{V: 1, Table: n.String(), Day: d.String(), Schema: s, Rows: rows, Engine: "native", Inputs: []table.Input{}}
	f.Run = f.Digest()
	return f
}

// everything is what a catalog says of all its tables.
func everything(t *testing.T, c table.Catalog) (ts []table.Table, ps [][]table.Partition) {
	t.Helper()
	ts, err := c.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ts {
		p, err := c.Partitions(t.Context(), e.Name)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ts, ps
}

func publishSome(t *testing.T, s lake.Store, c table.Catalog) {
	t.Helper()
	kinds := []schema.Kind{schema.Long, schema.Double, schema.Boolean, schema.Long}
	for _, name := range []string{"orders", "orders_raw", "_odd"} {
		for i, k := range kinds {
			n, d := table.Name{Database: "shop", Table: name}, table.Day{Year: 2026, Month: 9 + i, Day: 1}
			f := footer(n, d, schema.Type{Kind: schema.Struct, Fields: []schema.Field{
				{Name: "v", Type: schema.Type{Kind: k}}, {Name: d.String(), Type: schema.Type{Kind: schema.String}},
			}}, int64(i))
			_, err := table.Publish(t.Context(), table.Publication{
				Tables: s, Catalog: c, Name: n, Day: d, File: bytes.NewReader(tabletest.Made(t, f)), Footer: f,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRebuiltIsWhatWasPublished(t *testing.T) {
	s := mem.New()
	c := open(t, s)
	publishSome(t, s, c)
	wantTables, wantPartitions := everything(t, c)
	gotTables, gotPartitions := everything(t, open(t, s))
	if len(wantTables) != 3 || len(wantPartitions[0]) != 4 {
		t.Fatalf("%d tables, %d partitions", len(wantTables), len(wantPartitions[0]))
	}
	if diff := cmp.Diff(wantTables, gotTables); diff != "" {
		t.Errorf("tables (-published +rebuilt):\n%s", diff)
	}
	if diff := cmp.Diff(wantPartitions, gotPartitions); diff != "" {
		t.Errorf("partitions (-published +rebuilt):\n%s", diff)
	}
}

func TestOtherObjectsAreNamed(t *testing.T) {
	s := mem.New()
	n, d := table.Name{Database: "shop", Table: "orders"}, table.Day{Year: 2026, Month: 7, Day: 5}
	good := tabletest.Made(t, footer(n, d, schema.Type{}, 1))
	ignored := map[string][]byte{
		"shop/orders/year=2026/month=07/day=05/part-00000.snappy.parquet": good,
		"shop/orders/year=2026/month=7/day=7/part-00000.snappy.parquet":   good,
		"shop/orders/year=2026/month=7/day=8/part-00000.snappy.parquet":   []byte("damaged"),
		"shop/orders/year=2026/month=7/day=9/part-00000.snappy.parquet":   tabletest.File(t, 1),
		"shop/orders/year=2026/month=7/day=9/part-00001.snappy.parquet":   good,
		"shop/readme.txt": []byte("hello"),
	}
	silent := []string{"_headwater/schema/orders/v000001.json", "shop/orders/_SUCCESS", "shop/orders/_runs/1/year=2026/month=7/day=5/part-00000.snappy.parquet"}
	for key, data := range ignored {
		mustPut(t, s, key, data)
	}
	for _, key := range silent {
		mustPut(t, s, key, good)
	}
	mustPut(t, s, table.PartKey(n, d), good)
	c := open(t, s)
	ps, err := c.Partitions(t.Context(), n)
	if err != nil || len(ps) != 1 || ps[0].Day != d {
		t.Errorf("partitions %v, %v", ps, err)
	}
	for _, i := range c.Ignored() {
		if ignored[i.Key] == nil || i.Reason == nil {
			t.Errorf("ignored %s: %v", i.Key, i.Reason)
		}
		delete(ignored, i.Key)
	}
	for key := range ignored {
		t.Errorf("%s is not named", key)
	}
}

func mustPut(t *testing.T, s lake.Store, key string, data []byte) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func TestFaultsOfTheStoreAreErrors(t *testing.T) {
	s := mem.New()
	publishSome(t, s, open(t, s))
	for _, r := range []lakefault.Rule{{Op: lakefault.List}, {Op: lakefault.List, When: lakefault.After}, {Op: lakefault.Get, Nth: 5}, {Op: lakefault.Get, Nth: 12, When: lakefault.After}} {
		f := lakefault.New(s, r)
		if _, err := Open(t.Context(), f); !errors.Is(err, lakefault.ErrInjected) {
			t.Errorf("%+v: %v after %d faults", r, err, f.Fired())
		}
	}
	// A file that is deleted between listing and reading is not there.
	f := lakefault.New(s, lakefault.Rule{Op: lakefault.Get, Nth: 1, Err: lake.ErrNotExist})
	_, ps := everything(t, open(t, f))
	if n := len(ps[0]) + len(ps[1]) + len(ps[2]); n != 11 {
		t.Errorf("%d partitions, want 11", n)
	}
}
