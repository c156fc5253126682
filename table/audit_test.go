package table_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/tabletest"
)

// found is the report of orders, as "kind day" of each finding.
func found(t *testing.T, s lake.Store, c table.Catalog, columns schema.Type) (*table.Report, []string) {
	t.Helper()
	r, err := table.Audit(t.Context(), s, c, orders, columns)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range r.Findings {
		all = append(all, fmt.Sprint(f.Kind, " ", f.Day.Day))
		if f.Text == "" || f.Day.Year != 2026 {
			t.Errorf("%+v", f)
		}
	}
	return r, all
}

// madeOn puts a plain file of a day.
func madeOn(t *testing.T, s lake.Store, day int, rows int64) table.Partition {
	t.Helper()
	d := table.Day{Year: 2026, Month: 7, Day: day}
	f := footer(d.String(), rows)
	f.Day = d.String()
	f.Run = f.Digest()
	o, err := s.Put(t.Context(), table.PartKey(orders, d), bytes.NewReader(tabletest.Made(t, f)), lake.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return table.PartitionOf(d, table.Seen{Object: o, Footer: f, Exists: true})
}

func TestAudit(t *testing.T) {
	s := mem.New()
	c := catalog(t, mem.New())
	if r, all := found(t, s, c, flat); len(all) > 0 || r.Days != 0 || r.Mendable() {
		t.Errorf("a table that is not there: %v", all)
	}
	right, outdated, gone := madeOn(t, s, 1, 3), madeOn(t, s, 2, 4), madeOn(t, s, 3, 5)
	madeOn(t, s, 4, 6)
	if err := s.Delete(t.Context(), gone.Key); err != nil {
		t.Fatal(err)
	}
	swap(t, s, catalog(t, s), footer("a", 7)) // the 5th
	swap(t, s, catalog(t, s), footer("b", 7))
	if _, err := s.Put(t.Context(), table.PartKey(orders, table.Day{Year: 2026, Month: 7, Day: 6}), strings.NewReader("no Parquet"), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	outdated.Rows = 9
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: flat}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetPartitions(t.Context(), orders, []table.Partition{right, outdated, gone}); err != nil {
		t.Fatal(err)
	}
	r, all := found(t, s, c, flat)
	want := []string{"outdated 2", "gone 3", "unregistered 4", "retired 5", "unregistered 5", "unreadable 6"}
	if !slices.Equal(all, want) || r.Days != 4 || r.Rows != 20 || !r.Mendable() {
		t.Errorf("found %v in %d days with %d rows, want %v", all, r.Days, r.Rows, want)
	}
	for range 2 {
		if err := r.Repair(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if r, all = found(t, s, c, flat); !slices.Equal(all, []string{"retired 5", "unreadable 6"}) || r.Mendable() {
		t.Errorf("after the repair: %v", all)
	}
	fresh, err := dir.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	is, _ := c.Partitions(t.Context(), orders)
	made, _ := fresh.Partitions(t.Context(), orders)
	if len(is) != 4 || len(made) != 4 || fmt.Sprint(is) != fmt.Sprint(made) {
		t.Errorf("registered are %v, there are %v", is, made)
	}
}

func TestAuditOfTypes(t *testing.T) {
	s := mem.New()
	madeOn(t, s, 1, 3)
	c := catalog(t, s)
	wider := flat
	wider.Fields = slices.Clone(flat.Fields)
	wider.Fields[0].Type = schema.Type{Kind: schema.String}
	r, all := found(t, s, c, wider)
	if !slices.Equal(all, []string{"types 1"}) || r.Mendable() || !strings.Contains(r.Findings[0].Text, "Id of type bigint, the table string") {
		t.Errorf("%+v", r.Findings)
	}
	if _, all := found(t, s, c, schema.Type{}); len(all) > 0 {
		t.Errorf("no types are known: %v", all)
	}
}

// TestAuditOfACommit: its files must be there, and be those that were committed.
func TestAuditOfACommit(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	swap(t, s, c, footer("a", 7))
	if _, all := found(t, s, c, flat); len(all) > 0 {
		t.Errorf("found %v", all)
	}
	key := held(t, s).Files()[0].Object.Key
	if _, err := s.Put(t.Context(), key, strings.NewReader("cut"), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	if r, all := found(t, s, c, flat); !slices.Equal(all, []string{"unreadable 5"}) || !strings.Contains(r.Findings[0].Text, key) {
		t.Errorf("of another size: %v", r.Findings)
	}
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if r, all := found(t, s, c, flat); !slices.Equal(all, []string{"unreadable 5"}) || !strings.Contains(r.Findings[0].Text, key) {
		t.Errorf("missing: %v", r.Findings)
	}
}
