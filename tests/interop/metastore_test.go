package interop

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/table/tabletest"
	"headwater/tests/interop/fixture"
)

// TestHiveMetastore runs the suite of catalogs on Hive's own metastores.
func TestHiveMetastore(t *testing.T) {
	for _, version := range fixture.Metastores {
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
