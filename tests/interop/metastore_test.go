package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/table/tabletest"
	"headwater/tests/interop/fixture"
)

// TestHiveMetastore runs the suite of catalogs on one of Hive's own metastores, another one with another HEADWATER_SEED, or with HEADWATER_METASTORES=all on all of them.
func TestHiveMetastore(t *testing.T) {
	versions := fixture.Metastores
	if os.Getenv("HEADWATER_METASTORES") != "all" {
		seed, _ := strconv.Atoi(os.Getenv("HEADWATER_SEED"))
		i := seed % len(versions)
		versions = versions[i : i+1]
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			testHiveMetastore(t, fixture.Metastore(t, fixture.Hive{Version: version}))
		})
	}
}

func testHiveMetastore(t *testing.T, addr string) {
	open := func(t *testing.T) table.Catalog {
		empty(t, addr)
		o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + t.TempDir()}
		o.Config.URIs = []string{"thrift://" + addr}
		c, err := hive.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	tabletest.Run(t, open)
	t.Run("columns of partitions", func(t *testing.T) {
		tabletest.Columns(t, open(t), func(n table.Name) map[string]string {
			out := map[string]string{}
			ps, err := client(t, addr).GetPartitions(t.Context(), n.Database, n.Table, -1)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range ps {
				for _, col := range p.Sd.Cols {
					out[p.Values[2]] += col.Name + " " + col.Type + " "
				}
			}
			return out
		})
	})
	t.Run("an external table stays as it was registered", func(t *testing.T) { external(t, addr, open(t)) })
	t.Run("comments of others stay", func(t *testing.T) { comments(t, addr, open(t)) })
	t.Run("statistics are ours", func(t *testing.T) { statistics(t, addr, open(t)) })
	t.Run("a table of others is left alone", func(t *testing.T) { foreign(t, addr, open(t)) })
}

var (
	orders = table.Name{Database: "shop", Table: "orders"}
	long   = schema.Type{Kind: schema.Long}
)

func columns(fields ...schema.Field) schema.Type {
	return schema.Type{Kind: schema.Struct, Fields: fields}
}

func ensure(t *testing.T, c table.Catalog, s schema.Type) {
	t.Helper()
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: s}); err != nil {
		t.Fatal(err)
	}
}

// external: Hive 4 makes other tables of what clients ask for, if it takes them for managed ones.
func external(t *testing.T, addr string, c table.Catalog) {
	ensure(t, c, columns(schema.Field{Name: "id", Type: long}))
	got := registered(t, addr)
	if got.TableType != "EXTERNAL_TABLE" || got.Parameters["EXTERNAL"] != "TRUE" || !strings.HasSuffix(got.Sd.Location, "/shop/orders") || strings.Contains(got.Sd.Location, "warehouse") {
		t.Errorf("it is %s with %v at %s", got.TableType, got.Parameters, got.Sd.Location)
	}
	for _, key := range []string{"external.table.purge", "transactional", "transactional_properties", "TRANSLATED_TO_EXTERNAL"} {
		if value, found := got.Parameters[key]; found {
			t.Errorf("the metastore has added %s=%s", key, value)
		}
	}
}

// comments: as Hive's CHANGE COLUMN gives them, to its columns, and Spark's ALTER COLUMN, to the schema of its own as well. The types that follow are one that
// metastores let a column have and one that they do not, which takes two steps.
func comments(t *testing.T, addr string, c table.Catalog) {
	to := func(fields ...schema.Field) schema.Field { return schema.Field{Name: "To", Type: columns(fields...)} }
	city := schema.Field{Name: "City", Type: schema.Type{Kind: schema.String}}
	ensure(t, c, columns(schema.Field{Name: "Id", Type: long}, to(city)))
	now := registered(t, addr)
	now.Parameters["comment"] = "what was bought"
	for _, col := range now.Sd.Cols {
		col.Comment = "hive: " + col.Name
	}
	const part = "spark.sql.sources.schema.part.0"
	for _, name := range []string{"Id", "City", "To"} {
		before, after, _ := strings.Cut(now.Parameters[part], `{"name":"`+name+`"`)
		now.Parameters[part] = before + `{"name":"` + name + `"` + strings.Replace(after, `"metadata":{}`, `"metadata":{"comment":"spark: <`+name+`>"}`, 1)
	}
	if err := client(t, addr).AlterTableWithEnvironmentContext(t.Context(), orders.Database, orders.Table, now, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []schema.Type{
		columns(schema.Field{Name: "more", Type: long}),
		columns(schema.Field{Name: "Id", Type: schema.Type{Kind: schema.Double}}),
		columns(to(schema.Field{Name: "Area", Type: long})),
	} {
		ensure(t, c, s)
	}
	now = registered(t, addr)
	got := map[string]string{"table": now.Parameters["comment"]}
	for _, col := range now.Sd.Cols {
		got[col.Name] = col.GetComment()
	}
	var whole sparkSchema
	if err := json.Unmarshal([]byte(now.Parameters[part]), &whole); err != nil {
		t.Fatal(err)
	}
	whole.comments(got)
	want := map[string]string{
		"table": "what was bought", "id": "hive: id", "to": "hive: to", "more": "",
		"spark Id": "spark: <Id>", "spark To": "spark: <To>", "spark City": "spark: <City>",
		"spark Area": "", "spark more": "", "spark year": "", "spark month": "", "spark day": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\nof %s", diff, now.Parameters[part])
	}
}

// foreign: a table of our name and of our form, but for the mark, and elsewhere, is neither changed nor dropped, and it is said where it is.
func foreign(t *testing.T, addr string, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, s)
	theirs := registered(t, addr)
	delete(theirs.Parameters, "headwater")
	theirs.Sd.Location = "file://" + t.TempDir() + "/theirs"
	if err := client(t, addr).AlterTableWithEnvironmentContext(t.Context(), orders.Database, orders.Table, theirs, nil); err != nil {
		t.Fatal(err)
	}
	before := registered(t, addr)
	day := table.Day{Year: 2026, Month: 7, Day: 5}
	for name, err := range map[string]error{
		"Ensure":        c.Ensure(t.Context(), table.Table{Name: orders, Schema: columns(schema.Field{Name: "more", Type: long})}),
		"SetPartitions": c.SetPartitions(t.Context(), orders, []table.Partition{{Day: day, Key: table.PartKey(orders, day), Files: 1, Schema: s, Run: "r"}}),
		"Drop":          c.Drop(t.Context(), orders),
	} {
		if !errors.Is(err, hive.ErrForeign) || !strings.Contains(err.Error(), "/theirs)") || !strings.Contains(err.Error(), "shop.orders") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, registered(t, addr)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// statistics: a metastore that counts for itself what is in the folder finds one file of one byte there.
func statistics(t *testing.T, addr string, c table.Catalog) {
	s := columns(schema.Field{Name: "id", Type: long})
	ensure(t, c, s)
	day := table.Day{Year: 2026, Month: 7, Day: 5}
	file := filepath.Join(strings.TrimPrefix(strings.TrimPrefix(registered(t, addr).Sd.Location, "file:"), "//"), day.Path(), "a")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	check := func(step string, rows int64) {
		t.Helper()
		p, err := client(t, addr).GetPartition(t.Context(), orders.Database, orders.Table, []string{"2026", "7", "5"})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{p.Parameters["numRows"], p.Parameters["totalSize"], p.Parameters["numFiles"]}
		if want := []string{fmt.Sprint(rows), "1234", "1"}; !slices.Equal(got, want) {
			t.Errorf("%s: numRows, totalSize, numFiles are %v, want %v", step, got, want)
		}
	}
	for rows := range int64(2) {
		p := table.Partition{Day: day, Key: table.PartKey(orders, day), Files: 1, Schema: s, Rows: rows + 7, Bytes: 1234, Run: "r"}
		if err := c.SetPartitions(t.Context(), orders, []table.Partition{p}); err != nil {
			t.Fatal(err)
		}
		check("set", rows+7)
	}
	ensure(t, c, columns(schema.Field{Name: "id", Type: schema.Type{Kind: schema.Double}}))
	check("after a change of the table", 8)
}

// sparkSchema is what Spark reads in the parameters of a table, but for what the types are.
type sparkSchema struct {
	Fields []struct {
		Name     string
		Type     json.RawMessage
		Metadata struct{ Comment string }
	}
}

func (s sparkSchema) comments(into map[string]string) {
	for _, f := range s.Fields {
		into["spark "+f.Name] = f.Metadata.Comment
		var deeper sparkSchema
		if json.Unmarshal(f.Type, &deeper) == nil {
			deeper.comments(into)
		}
	}
}

// registered is shop.orders as the metastore has it.
func registered(t *testing.T, addr string) *hms.Table {
	t.Helper()
	r, err := client(t, addr).GetTableReq(t.Context(), &hms.GetTableRequest{DbName: orders.Database, TblName: orders.Table})
	if err != nil {
		t.Fatal(err)
	}
	return r.Table
}

// client speaks with the metastore until the test ends.
func client(t *testing.T, addr string) *hms.ThriftHiveMetastoreClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
	return hms.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(p, p))
}

// empty drops all databases but default.
func empty(t *testing.T, addr string) {
	t.Helper()
	c := client(t, addr)
	names, err := c.GetAllDatabases(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if n == "default" {
			continue
		}
		if err := c.DropDatabase(context.Background(), n, false, true); err != nil {
			t.Fatal(err)
		}
	}
}
