package tabletest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
)

// Columns checks what a catalog in a Hive Metastore registers for partitions: they have the columns that the table has now, because readers compare structs by
// the places of their fields; but for one whose file has other types. The catalog is empty; registered gives the columns of each partition of a table, by the day of the month, each as
// "name type ", in their order.
func Columns(t *testing.T, c table.Catalog, registered func(table.Name) map[string]string) {
	t.Helper()
	to := func(fields ...string) schema.Field {
		var s schema.Type
		for _, f := range fields {
			s.Fields = append(s.Fields, schema.Field{Name: f, Type: text})
		}
		return schema.Field{Name: "to", Type: columns(s.Fields...)}
	}
	for day, s := range []schema.Type{
		columns(schema.Field{Name: "n", Type: long}, to("city")),
		columns(schema.Field{Name: "n", Type: long}, to("area", "city")),
		columns(schema.Field{Name: "n", Type: double}),
		columns(schema.Field{Name: "n", Type: long}),
	} {
		ensure(t, c, orders, s)
		set(t, c, orders, partition(orders, table.Day{Year: 2026, Month: 7, Day: day + 1}, s, "r"))
	}
	now := "n double to struct<area:string,city:string> "
	if diff := cmp.Diff(map[string]string{"1": now, "2": now, "3": now, "4": "n bigint "}, registered(orders)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
