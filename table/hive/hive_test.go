package hive_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/table/metastore"
	"headwater/table/tabletest"
	"headwater/tests/interop/fixture"
)

var (
	orders = table.Name{Database: "shop", Table: "orders"}
	long   = schema.Type{Kind: schema.Long}
	text   = schema.Type{Kind: schema.String}
)

func columns(fields ...schema.Field) schema.Type {
	return schema.Type{Kind: schema.Struct, Fields: fields}
}

// serve is an embedded metastore of the test's own; it is gone when the test is.
func serve(t *testing.T, path string) *metastore.Metastore {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: path, Addr: "127.0.0.1:0", Warehouse: "file:///srv/tables"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func connect(t *testing.T, change func(*hive.Options), addresses ...string) *hive.Catalog {
	t.Helper()
	o := hive.Options{Config: hive.DefaultConfig(), Location: "file:///srv/tables"}
	for _, a := range addresses {
		o.Config.URIs = append(o.Config.URIs, "thrift://"+a)
	}
	if change != nil {
		change(&o)
	}
	c, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestCatalog(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) table.Catalog {
		return connect(t, nil, serve(t, filepath.Join(t.TempDir(), "state.db")).Addr())
	})
}

// TestPostgreSQL: the same of a metastore whose objects are in PostgreSQL.
func TestPostgreSQL(t *testing.T) {
	server, n := fixture.NewPostgreSQL(t), 0
	tabletest.Run(t, func(t *testing.T) table.Catalog {
		n++
		m, err := metastore.Open(metastore.Config{PostgreSQL: server.Database(t, fmt.Sprintf("test_%d", n)), Addr: "127.0.0.1:0", Warehouse: "file:///srv/tables"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return connect(t, nil, m.Addr())
	})
}

// TestRacingProcesses have a connection each: none undoes what another has added.
func TestRacingProcesses(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	var wg sync.WaitGroup
	var want schema.Type
	for i := range 8 {
		s := columns(schema.Field{Name: fmt.Sprintf("c%d", i), Type: long}, schema.Field{Name: "all", Type: columns(schema.Field{Name: fmt.Sprintf("f%d", i), Type: text})})
		want = schema.Merge(want, s)
		c := connect(t, nil, m.Addr())
		wg.Go(func() {
			if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: s}); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	got, err := connect(t, nil, m.Addr()).Table(t.Context(), orders)
	if err != nil || !schema.Equal(got.Schema, want) {
		t.Errorf("%v, %v, want %v", got.Schema, err, want)
	}
}

func TestAnotherAddress(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	c := connect(t, nil, dead.Addr().String(), m.Addr())
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: columns()}); err != nil {
		t.Error(err)
	}
	c = connect(t, nil, dead.Addr().String())
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: columns()}); err == nil || !strings.Contains(err.Error(), dead.Addr().String()) {
		t.Errorf("no metastore: %v", err)
	}
}

// TestRestart: what was registered is there after the process is gone, and a client of before goes on.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	m := serve(t, path)
	c := connect(t, nil, m.Addr())
	s := columns(schema.Field{Name: "Id", Type: long})
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: s}); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Table(t.Context(), orders); err == nil {
		t.Error("a metastore that is closed answers")
	}
	again, err := metastore.Open(metastore.Config{Path: path, Addr: m.Addr(), Warehouse: "file:///srv/tables"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got, err := c.Table(t.Context(), orders)
	if err != nil || !schema.Equal(got.Schema, s) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestStalled: a metastore that takes calls and answers none costs no more than the time-out, or the caller's patience.
func TestStalled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, call := range []func(*hive.Catalog) error{
		func(c *hive.Catalog) error { return second(c.Tables(t.Context())) },
		func(c *hive.Catalog) error { return second(c.Table(t.Context(), orders)) },
		func(c *hive.Catalog) error { return second(c.Partitions(t.Context(), orders)) },
		func(c *hive.Catalog) error { return c.Ensure(t.Context(), table.Table{Name: orders}) },
		func(c *hive.Catalog) error { return c.SetPartitions(t.Context(), orders, nil) },
		func(c *hive.Catalog) error { return c.Drop(t.Context(), orders) },
	} {
		err := call(connect(t, func(o *hive.Options) { o.Config.Timeout = 50 * time.Millisecond }, l.Addr().String()))
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "no answer within 50ms") {
			t.Errorf("a stall: %v", err)
		}
	}
	c := connect(t, nil, l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Table(ctx, orders); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's end: %v", err)
	}
}

// TestRest: a metastore that hangs is not asked at once again, so that whoever has many tables to register does not wait for each of them;
// and then it is asked again.
func TestRest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			asked.Add(1)
		}
	})
	defer accepting.Wait()
	defer l.Close()
	c := connect(t, func(o *hive.Options) { o.Config.Timeout = 300 * time.Millisecond }, l.Addr().String())
	if _, err := c.Table(t.Context(), orders); err == nil {
		t.Fatal("an answer")
	}
	before := asked.Load()
	if _, err := c.Table(t.Context(), orders); asked.Load() != before || err == nil || !strings.Contains(err.Error(), "not asked again for another") || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("it was asked %d times more: %v", asked.Load()-before, err)
	}
	for asked.Load() == before && !t.Failed() {
		time.Sleep(50 * time.Millisecond)
		_, _ = c.Table(t.Context(), orders)
	}
}

func second[T any](_ T, err error) error { return err }

func TestMovedFiles(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	here := connect(t, nil, m.Addr())
	want := table.Table{Name: orders, Schema: columns(schema.Field{Name: "id", Type: long})}
	if err := here.Ensure(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	there := connect(t, func(o *hive.Options) { o.Location = "file:///srv/elsewhere" }, m.Addr())
	if err := there.Ensure(t.Context(), want); err == nil || !strings.Contains(err.Error(), "file:///srv/tables/shop/orders") {
		t.Errorf("another pipeline's table: %v", err)
	}
	same := connect(t, func(o *hive.Options) { o.Location = "file:/srv/tables" }, m.Addr())
	if err := same.Ensure(t.Context(), want); err != nil {
		t.Errorf("the same place in Hadoop's spelling: %v", err)
	}
	own := connect(t, func(o *hive.Options) { o.Location, o.Own = "file:///srv/elsewhere", true }, m.Addr())
	if err := own.Ensure(t.Context(), want); err != nil {
		t.Error(err)
	}
	if err := here.Ensure(t.Context(), want); err == nil {
		t.Error("the table did not move")
	}
}

func TestColumnsOfPartitions(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	tabletest.Columns(t, connect(t, nil, m.Addr()), func(n table.Name) map[string]string {
		ps, err := dial(t, m.Addr()).GetPartitions(t.Context(), n.Database, n.Table, -1)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, p := range ps {
			for _, col := range p.Sd.Cols {
				out[p.Values[2]] += col.Name + " " + col.Type + " "
			}
		}
		return out
	})
}

// TestThousands: more partitions than the metastore could change in one call get the columns of their table, also if the process before was killed halfway.
func TestThousands(t *testing.T) {
	m := serve(t, filepath.Join(t.TempDir(), "state.db"))
	c := connect(t, nil, m.Addr())
	s := columns(schema.Field{Name: "n", Type: long})
	if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: s}); err != nil {
		t.Fatal(err)
	}
	var ps []table.Partition
	for i := range 301 {
		d := table.Day{Year: 2026, Month: 1 + i/28, Day: 1 + i%28}
		ps = append(ps, table.Partition{Day: d, Key: table.PartKey(orders, d), Files: 1, Schema: s, Run: "r"})
	}
	if err := c.SetPartitions(t.Context(), orders, ps); err != nil {
		t.Fatal(err)
	}
	raw := dial(t, m.Addr())
	check := func() {
		t.Helper()
		if err := c.Ensure(t.Context(), table.Table{Name: orders, Schema: columns(schema.Field{Name: "n", Type: schema.Type{Kind: schema.Double}})}); err != nil {
			t.Fatal(err)
		}
		all, err := raw.GetPartitions(t.Context(), orders.Database, orders.Table, -1)
		if err != nil || len(all) != len(ps) {
			t.Fatalf("%d partitions, %v", len(all), err)
		}
		for _, p := range all {
			if p.Sd.Cols[0].Type != "double" {
				t.Fatalf("partition %v has %v", p.Values, p.Sd.Cols)
			}
		}
		now, err := raw.GetTable(t.Context(), orders.Database, orders.Table)
		if err != nil || now.Parameters["headwater.behind"] != "" {
			t.Errorf("the table is %v, %v", now.Parameters, err)
		}
	}
	check()
	now, err := raw.GetTable(t.Context(), orders.Database, orders.Table)
	if err != nil {
		t.Fatal(err)
	}
	now.Parameters["headwater.behind"] = "1"
	p, err := raw.GetPartition(t.Context(), orders.Database, orders.Table, []string{"2026", "11", "21"})
	if err != nil {
		t.Fatal(err)
	}
	p.Sd.Cols[0].Type = "bigint"
	if err := errors.Join(
		raw.AlterTableWithEnvironmentContext(t.Context(), orders.Database, orders.Table, now, nil),
		raw.AlterPartitionsWithEnvironmentContext(t.Context(), orders.Database, orders.Table, []*hms.Partition{p}, nil),
	); err != nil {
		t.Fatal(err)
	}
	check()
}
