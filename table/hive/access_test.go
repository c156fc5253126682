package hive_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
)

// asked is a metastore that has one table and notes what it is asked. All calls but those here are a panic.
type asked struct {
	hms.ThriftHiveMetastore
	mu    sync.Mutex
	calls []string
}

func (a *asked) note(call string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, call)
}

func (a *asked) SetUgi(_ context.Context, name string, _ []string) ([]string, error) {
	a.note("set_ugi " + name)
	return nil, nil
}

func (a *asked) GetTableReq(context.Context, *hms.GetTableRequest) (*hms.GetTableResult_, error) {
	a.note("get_table_req")
	return nil, &hms.NoSuchObjectException{}
}

func (a *asked) CreateTable(_ context.Context, t *hms.Table) error {
	a.note("create_table of " + t.Owner)
	return &hms.MetaException{Message: "none here"}
}

func (a *asked) CreateDatabase(context.Context, *hms.Database) error {
	return &hms.MetaException{Message: "none here"}
}

// listen serves until the test ends.
func (a *asked) listen(t *testing.T) (addr string) {
	t.Helper()
	socket := thrift.NewTServerSocketFromAddrTimeout(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, 0)
	if err := socket.Listen(); err != nil {
		t.Fatal(err)
	}
	s := thrift.NewTSimpleServer2(hms.NewThriftHiveMetastoreProcessor(a), socket)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.AcceptLoop() })
	t.Cleanup(func() {
		_ = s.Stop()
		serving.Wait()
	})
	return socket.Addr().String()
}

// TestUsername: it is said before all else, on every connection, and it is whom the tables belong to.
func TestUsername(t *testing.T) {
	a := &asked{}
	c := connect(t, func(o *hive.Options) { o.Config.Username = "carol" }, a.listen(t))
	for range 2 {
		_, _ = c.Table(t.Context(), orders)
		_, _ = c.Table(t.Context(), orders)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"set_ugi carol", "get_table_req", "get_table_req"}
	if diff := cmp.Diff(slices.Concat(want, want), a.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: columns(schema.Field{Name: "id", Type: long})}); err == nil || !slices.Contains(a.calls, "create_table of carol") {
		t.Errorf("%v, %v", a.calls, err)
	}
}

func TestValidate(t *testing.T) {
	uris := []string{"thrift://metastore:9083"}
	proof := &hive.SASL{Mechanism: "PLAIN", Username: "carol", Password: "s3cret"}
	for name, c := range map[string]struct {
		change func(*hive.Config)
		want   []string
	}{
		"nothing":                    {func(c *hive.Config) { c.URIs = nil }, nil},
		"all":                        {func(c *hive.Config) { c.SASL, c.TLS = proof, &hive.TLS{CA: "ca", Cert: "c", Key: "k"} }, nil},
		"another mechanism":          {func(c *hive.Config) { c.SASL = &hive.SASL{Mechanism: "GSSAPI", Username: "a", Password: "b"} }, []string{"sasl.mechanism"}},
		"no password":                {func(c *hive.Config) { c.SASL = &hive.SASL{Mechanism: "PLAIN", Username: "a"} }, []string{"sasl"}},
		"half a pair":                {func(c *hive.Config) { c.TLS = &hive.TLS{Cert: "c"} }, []string{"tls"}},
		"two names":                  {func(c *hive.Config) { c.SASL, c.Username = proof, "a" }, []string{"username"}},
		"TLS of the embedded one":    {func(c *hive.Config) { c.URIs, c.TLS = nil, &hive.TLS{} }, []string{"uris"}},
		"an address that is no uri":  {func(c *hive.Config) { c.URIs = []string{"metastore:9083"} }, []string{"uris.0"}},
		"no time, and no s3 of ours": {func(c *hive.Config) { c.Timeout, c.S3Scheme = 0, "s3n" }, []string{"s3_scheme", "timeout"}},
	} {
		conf := hive.DefaultConfig()
		conf.URIs = uris
		c.change(&conf)
		var got []string
		for _, fault := range conf.Validate() {
			got = append(got, strings.Join(fault.Path, "."))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
