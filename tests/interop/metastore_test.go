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
	tabletest.Run(t, func(t *testing.T) table.Catalog {
		empty(t, addr)
		o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + t.TempDir()}
		o.Config.URIs = []string{"thrift://" + addr}
		c, err := hive.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	})
}

// empty drops all databases but default.
func empty(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
	c := hms.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(p, p))
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
