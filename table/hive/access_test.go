package hive_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/internal/retry"
	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
)

// asked is a metastore that has one table and notes what it is asked. All calls but those here are a panic.
type asked struct {
	hms.ThriftHiveMetastore
	mu    sync.Mutex
	calls []string
	no    string // the reason why it makes no table
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
	return &hms.MetaException{Message: a.no}
}

func (a *asked) CreateDatabase(context.Context, *hms.Database) error {
	return &hms.AlreadyExistsException{}
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

// TestTooLong has the refusals of metastores of Hive before 2.3, by their databases, explained; no other error is.
func TestTooLong(t *testing.T) {
	var wide schema.Type
	for i := range 300 {
		wide = schema.Merge(wide, columns(schema.Field{Name: fmt.Sprintf("field_%03d", i), Type: long}))
	}
	s := columns(schema.Field{Name: "id", Type: long}, schema.Field{Name: "raw_data", Type: wide})
	want := fmt.Sprintf("column raw_data has a type of %d characters", len(wide.Hive()))
	for no, explained := range map[string]bool{
		`Attempt to store value "struct<" in column "TYPE_NAME" that has maximum length of 4000. Please correct your data!`: true,
		"A truncation error was encountered trying to shrink VARCHAR 'struct<' to length 4000.":                             true,
		"Data too long for column 'TYPE_NAME' at row 1":                                                                     true,
		"ERROR: value too long for type character varying(4000)":                                                            true,
		"ORA-12899: value too large for column":                                                                             true,
		"permission denied":                                                                                                 false,
	} {
		c := connect(t, nil, (&asked{no: no}).listen(t))
		err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: s})
		if err == nil || strings.Contains(err.Error(), want) != explained || !strings.Contains(err.Error(), no) || (retry.Classify(err) == retry.Permanent) != explained {
			t.Errorf("%s: %v", no, err)
		}
	}
}
