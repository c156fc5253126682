package interop

import (
	"context"
	"net"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/table"
	"headwater/table/hive"
	"headwater/table/tabletest"
	"headwater/tests/interop/fixture"
)

// TestHiveMetastore runs the suite of catalogs on Hive's own metastore.
func TestHiveMetastore(t *testing.T) {
	addr := fixture.Metastore(t, nil)
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
