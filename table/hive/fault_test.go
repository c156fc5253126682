package hive_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/table/hivefault"
)

// oneByOne lets goroutines share a client.
type oneByOne struct {
	mu sync.Mutex
	thrift.TClient
}

func (c *oneByOne) Call(ctx context.Context, method string, args, result thrift.TStruct) (thrift.ResponseMeta, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.TClient.Call(ctx, method, args, result)
}

// dial is a client that speaks to the metastore without this package's code.
func dial(t *testing.T, addr string) *hms.ThriftHiveMetastoreClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
	return hms.NewThriftHiveMetastoreClient(&oneByOne{TClient: thrift.NewTStandardClient(p, p)})
}

// strict is a metastore that lets no struct grow, as Hive's own does: it compares the columns that are at the same place.
type strict struct{ *hms.ThriftHiveMetastoreClient }

func (s strict) AlterTableWithEnvironmentContext(ctx context.Context, database, name string, t *hms.Table, env *hms.EnvironmentContext) error {
	now, err := s.GetTable(ctx, database, name)
	if err != nil {
		return err
	}
	for i := range min(len(now.Sd.Cols), len(t.Sd.Cols)) {
		if was, is := now.Sd.Cols[i].Type, t.Sd.Cols[i].Type; was != is && strings.Contains(was+is, "<") {
			return &hms.InvalidOperationException{Message: fmt.Sprintf("column %d would change from %s to %s", i, was, is)}
		}
	}
	return s.ThriftHiveMetastoreClient.AlterTableWithEnvironmentContext(ctx, database, name, t, env)
}

// serveStrict puts a strict metastore before the one at the address.
func serveStrict(t *testing.T, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	process := hms.NewThriftHiveMetastoreProcessor(strict{dial(t, addr)})
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
				for {
					if ok, _ := process.Process(context.Background(), p, p); !ok {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// story is every kind of call, in the order in which a table meets them; the last is a drop, if that is wanted.
func story(t *testing.T, c *hive.Catalog, drop bool) error {
	day := func(d int, s schema.Type, run string) table.Partition {
		on := table.Day{Year: 2026, Month: 7, Day: d}
		return table.Partition{Day: on, Key: table.PartKey(orders, on), Files: 1, Schema: s, Rows: int64(d), Bytes: 100, Run: run}
	}
	narrow := columns(schema.Field{Name: "Id", Type: long}, schema.Field{Name: "To", Type: columns(schema.Field{Name: "Zip", Type: text})}, schema.Field{Name: "x", Type: long})
	wide := columns(schema.Field{Name: "To", Type: columns(schema.Field{Name: "City", Type: text})}, schema.Field{Name: "late", Type: text})
	gone := table.Name{Database: "shop", Table: "gone"}
	steps := []func() error{
		func() error { return c.Ensure(t.Context(), table.Table{Name: orders, Schema: narrow}) },
		func() error {
			return c.SetPartitions(t.Context(), orders, []table.Partition{day(1, narrow, "a"), day(2, narrow, "a")})
		},
		func() error { return c.Ensure(t.Context(), table.Table{Name: orders, Schema: wide}) },
		func() error {
			return c.SetPartitions(t.Context(), orders, []table.Partition{day(2, wide, "b"), day(3, wide, "b")})
		},
	}
	if drop {
		steps = append(steps, func() error { return c.Ensure(t.Context(), table.Table{Name: gone, Schema: narrow}) }, func() error { return c.Drop(t.Context(), gone) })
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// objects are the tables and partitions that the metastore has, without what tells how many steps it took to get there.
func objects(t *testing.T, addr string) (all []any) {
	t.Helper()
	m := dial(t, addr)
	names, err := m.GetAllTables(t.Context(), orders.Database)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		tbl, err := m.GetTable(t.Context(), orders.Database, name)
		if err != nil {
			t.Fatal(err)
		}
		tbl.CreateTime = 0
		delete(tbl.Parameters, "transient_lastDdlTime")
		delete(tbl.Parameters, "headwater.version")
		byName := func(a, b *hms.FieldSchema) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(tbl.Sd.Cols, byName)
		ps, err := m.GetPartitions(t.Context(), orders.Database, name, -1)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			p.CreateTime = 0
			slices.SortFunc(p.Sd.Cols, byName)
		}
		all = append(all, tbl, ps)
	}
	return all
}

// TestEveryCallSpoiled has each call of a story lost, its answer lost, or come late, one at a time, and each that changes something hang: the
// caller notices nothing, and the metastore has what it has without faults. A table that is made late may come after it was dropped, which
// nobody can help.
func TestEveryCallSpoiled(t *testing.T) {
	for _, kind := range []string{"ours", "strict"} {
		for _, f := range []hivefault.Fault{hivefault.Lost, hivefault.Unanswered, hivefault.Overtaken, hivefault.Late} {
			t.Run(kind+" "+f.String(), func(t *testing.T) {
				t.Parallel()
				want := spoiled(t, kind, hivefault.None, 0, nil)
				for nth := 1; spoiled(t, kind, f, nth, want) != nil; nth++ {
				}
			})
		}
	}
}

// spoiled tells the story with the nth call spoiled, and compares the objects with those that are wanted. There are none if the story has
// fewer calls.
func spoiled(t *testing.T, kind string, f hivefault.Fault, nth int, want []any) []any {
	t.Helper()
	own := serve(t, filepath.Join(t.TempDir(), "state.db")).Addr()
	target := own
	if kind == "strict" {
		target = serveStrict(t, own)
	}
	calls, which := 0, ""
	proxy, err := hivefault.New(hivefault.Options{Target: target, Late: time.Hour, Fault: func(call string) hivefault.Fault {
		if f == hivefault.Late && strings.HasPrefix(call, "get_") {
			return hivefault.None
		}
		if calls++; calls != nth {
			return hivefault.None
		}
		which = call
		return f
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	c := connect(t, func(o *hive.Options) {
		if f == hivefault.Late {
			o.Config.Timeout = 2 * time.Second
		}
	}, proxy.Addr())
	if err := story(t, c, f == hivefault.Lost || f == hivefault.Unanswered); err != nil {
		t.Errorf("call %d, %s, %s: %v", nth, which, f, err)
	}
	proxy.Heal()
	got := objects(t, own)
	if diff := cmp.Diff(want, got); want != nil && diff != "" {
		t.Errorf("call %d, %s, %s (-want +got):\n%s", nth, which, f, diff)
	}
	if want != nil && which == "" {
		return nil
	}
	return got
}

// TestAway: a metastore that nobody serves for a while is an error that names it, and is asked again at the next call.
func TestAway(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	proxy, err := hivefault.New(hivefault.Options{Target: m.Addr(), Away: time.Hour, Fault: func(string) hivefault.Fault { return hivefault.Away }})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, nil, proxy.Addr())
	for range 2 {
		if _, err := c.Table(t.Context(), orders); err == nil || !strings.Contains(err.Error(), proxy.Addr()) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("nobody is there: %v", err)
		}
	}
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	if _, err := connect(t, nil, m.Addr()).Table(t.Context(), orders); !errors.Is(err, table.ErrNotExist) {
		t.Error(err)
	}
}

// TestCancelled: the end of the context ends a call at whatever moment it comes.
func TestCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 500 {
		c := connect(t, func(o *hive.Options) { o.Config.Timeout = time.Hour }, l.Addr().String())
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(rand.N(400*time.Microsecond), cancel)
		if _, err := c.Table(ctx, orders); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}
