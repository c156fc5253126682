package metastore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/tests/interop/fixture"
)

// place makes a database of the test's own.
type place func(testing.TB) Config

func inFile(t testing.TB) Config {
	path := filepath.Join(t.TempDir(), "state #1?.db")
	t.Cleanup(func() {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
	return Config{Path: path}
}

// suite is what holds in both databases.
var suite = map[string]func(*testing.T, place){
	"databases": testDatabases, "tables": testTables, "partitions": testPartitions, "locks": testLocks, "statistics": testStatistics,
	"served": testServed, "racing": testRacing, "restart": testRestart,
}

func TestSQLite(t *testing.T) {
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, inFile) })
	}
}

func TestPostgreSQL(t *testing.T) {
	server := fixture.NewPostgreSQL(t)
	n := 0
	in := func(t testing.TB) Config {
		n++
		return Config{PostgreSQL: server.Database(t, fmt.Sprintf("test_%d", n))}
	}
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, in) })
	}
	t.Run("processes", func(t *testing.T) { testProcesses(t, in) })
	t.Run("killed", func(t *testing.T) { testKilled(t, in, server) })
}

func serve(t *testing.T, log io.Writer) *Metastore {
	t.Helper()
	return open(t, inFile(t), log)
}

func open(t testing.TB, cfg Config, log io.Writer) *Metastore {
	t.Helper()
	cfg.Addr, cfg.Warehouse = "127.0.0.1:0", "file:///srv/tables"
	m, err := Open(cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// client is any metastore client.
func client(t testing.TB, m *Metastore) *hms.ThriftHiveMetastoreClient {
	t.Helper()
	conn, err := net.Dial("tcp", m.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
	return hms.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(p, p))
}

func days(name string) *hms.Table {
	t := hms.NewTable()
	t.DbName, t.TableName, t.TableType = "Default", name, "EXTERNAL_TABLE"
	t.PartitionKeys = []*hms.FieldSchema{{Name: "year", Type: "int"}, {Name: "region", Type: "string"}}
	t.Sd = &hms.StorageDescriptor{Cols: []*hms.FieldSchema{{Name: "id", Type: "bigint"}}, SerdeInfo: hms.NewSerDeInfo(), Parameters: map[string]string{"a": "b"}}
	return t
}

func part(values ...string) *hms.Partition {
	return &hms.Partition{DbName: "default", TableName: "days", Values: values}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want[T error](t *testing.T, what string, err error) {
	t.Helper()
	if _, is := errors.AsType[T](err); !is {
		t.Errorf("%s: %v (%T)", what, err, err)
	}
}

func testDatabases(t *testing.T, in place) {
	c, ctx := client(t, open(t, in(t), io.Discard)), t.Context()
	must(t, c.CreateDatabase(ctx, &hms.Database{Name: "Shop", Parameters: map[string]string{"k": "v"}}))
	want[*hms.AlreadyExistsException](t, "again", c.CreateDatabase(ctx, &hms.Database{Name: "shop"}))
	want[*hms.InvalidObjectException](t, "a name", c.CreateDatabase(ctx, &hms.Database{Name: "a b"}))
	d, err := c.GetDatabase(ctx, "@hive#SHOP")
	must(t, err)
	if d.Name != "shop" || d.LocationUri != "file:///srv/tables/shop.db" || d.Parameters["k"] != "v" {
		t.Errorf("%+v", d)
	}
	for pattern, expected := range map[string][]string{"*": {"default", "shop"}, "S*": {"shop"}, "x|sho*": {"shop"}, "s.op": {}, "": {"default", "shop"}} {
		got, err := c.GetDatabases(ctx, pattern)
		if err != nil || !slices.Equal(got, expected) {
			t.Errorf("%q: %v, %v", pattern, got, err)
		}
	}
	d.Description = "of the shop"
	must(t, c.AlterDatabase(ctx, "shop", d))
	want[*hms.MetaException](t, "a rename", c.AlterDatabase(ctx, "default", d))
	table := days("days")
	table.DbName = "shop"
	must(t, c.CreateTable(ctx, table))
	want[*hms.InvalidOperationException](t, "not empty", c.DropDatabase(ctx, "shop", false, false))
	must(t, c.DropDatabase(ctx, "shop", false, true))
	want[*hms.MetaException](t, "default", c.DropDatabase(ctx, "default", false, true))
	_, err = c.GetDatabase(ctx, "shop")
	want[*hms.NoSuchObjectException](t, "dropped", err)
	_, err = c.GetTable(ctx, "shop", "days")
	want[*hms.NoSuchObjectException](t, "its table", err)
}

func testTables(t *testing.T, in place) {
	var log bytes.Buffer
	m := open(t, in(t), &log)
	c, ctx := client(t, m), t.Context()
	must(t, c.CreateTable(ctx, days("Days")))
	want[*hms.AlreadyExistsException](t, "again", c.CreateTable(ctx, days("days")))
	want[*hms.InvalidObjectException](t, "a name", c.CreateTable(ctx, days("a.b")))
	elsewhere := days("x")
	elsewhere.DbName = "nowhere"
	want[*hms.NoSuchObjectException](t, "no database", c.CreateTable(ctx, elsewhere))

	got, err := c.GetTable(ctx, "DEFAULT", "DAYS")
	must(t, err)
	if got.Sd.Location != "file:///srv/tables/days" || got.CreateTime == 0 || got.Parameters["transient_lastDdlTime"] == "" || got.Sd.Parameters["a"] != "b" {
		t.Errorf("%+v", got)
	}
	view := days("view")
	view.PartitionKeys, view.TableType, view.ViewOriginalText = nil, "VIRTUAL_VIEW", "select 1"
	must(t, c.CreateTable(ctx, view))
	if v, err := c.GetTable(ctx, "default", "view"); err != nil || v.Sd.Location != "" || v.ViewOriginalText != "select 1" {
		t.Errorf("%+v, %v", v, err)
	}
	if names, err := c.GetTablesByType(ctx, "default", "*", "VIRTUAL_VIEW"); err != nil || !slices.Equal(names, []string{"view"}) {
		t.Errorf("%v, %v", names, err)
	}
	if ts, err := c.GetTableObjectsByName(ctx, "default", []string{"view", "none", "DAYS"}); err != nil || len(ts) != 2 {
		t.Errorf("%v, %v", ts, err)
	}
	if ts, err := c.GetTableObjectsByName(ctx, "nowhere", []string{"x"}); err != nil || len(ts) != 0 {
		t.Errorf("%v, %v", ts, err)
	}
	if ms, err := c.GetTableMeta(ctx, "*", "v*|d*", nil); err != nil || len(ms) != 2 {
		t.Errorf("%v, %v", ms, err)
	}
	if fs, err := c.GetSchema(ctx, "default", "days"); err != nil || len(fs) != 3 {
		t.Errorf("%v, %v", fs, err)
	}
	_, err = c.GetFields(ctx, "default", "none")
	want[*hms.UnknownTableException](t, "no table", err)

	// A change, a change that lost a race, a rename with partitions.
	got.Parameters["version"] = "1"
	must(t, c.AlterTable(ctx, "default", "days", got))
	env := &hms.EnvironmentContext{Properties: map[string]string{"expected_parameter_key": "version", "expected_parameter_value": "0"}}
	err = c.AlterTableWithEnvironmentContext(ctx, "default", "days", got, env)
	want[*hms.MetaException](t, "a lost race", err)
	if !strings.Contains(err.Error(), "The table has been modified") {
		t.Error(err)
	}
	keys := *got
	keys.PartitionKeys = keys.PartitionKeys[:1]
	want[*hms.InvalidOperationException](t, "other keys", c.AlterTable(ctx, "default", "days", &keys))
	want[*hms.InvalidOperationException](t, "no table", c.AlterTable(ctx, "default", "none", got))
	_, err = c.AddPartition(ctx, part("2026", "eu"))
	must(t, err)
	got.TableName = "view"
	want[*hms.InvalidOperationException](t, "a taken name", c.AlterTable(ctx, "default", "days", got))
	got.TableName = "dates"
	must(t, c.AlterTable(ctx, "default", "days", got))
	if p, err := c.GetPartition(ctx, "default", "dates", []string{"2026", "eu"}); err != nil || p.TableName != "dates" {
		t.Errorf("%+v, %v", p, err)
	}
	got.Sd.Cols = append(got.Sd.Cols, &hms.FieldSchema{Name: "more", Type: "string"})
	must(t, c.AlterTableWithCascade(ctx, "default", "dates", got, true))
	if p, err := c.GetPartition(ctx, "default", "dates", []string{"2026", "eu"}); err != nil || len(p.Sd.Cols) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	must(t, c.DropTable(ctx, "default", "dates", true))
	want[*hms.NoSuchObjectException](t, "again", c.DropTable(ctx, "default", "dates", true))
	if log.Len() > 0 {
		t.Error(log.String())
	}
	managed := days("managed")
	managed.TableType = ""
	must(t, c.CreateTable(ctx, managed))
	must(t, c.DropTable(ctx, "default", "managed", true))
	if !strings.Contains(log.String(), "file:///srv/tables/managed") {
		t.Errorf("nobody is told of the files: %s", log.String())
	}
}

func testPartitions(t *testing.T, in place) {
	c, ctx := client(t, open(t, in(t), io.Discard)), t.Context()
	must(t, c.CreateTable(ctx, days("days")))
	values := func(ps []*hms.Partition, err error) []string {
		t.Helper()
		must(t, err)
		out := []string{}
		for _, p := range ps {
			out = append(out, strings.Join(p.Values, "/"))
		}
		return out
	}
	is := func(what string, got []string, expected ...string) {
		t.Helper()
		if diff := cmp.Diff(append([]string{}, expected...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	add := func(ifNotExists bool, ps ...*hms.Partition) error {
		_, err := c.AddPartitionsReq(ctx, &hms.AddPartitionsRequest{DbName: "default", TblName: "days", Parts: ps, IfNotExists: ifNotExists})
		return err
	}
	must(t, add(false, part("2026", "eu"), part("2025", "it's 100%/a=b")))
	want[*hms.AlreadyExistsException](t, "one is there", add(false, part("2027", "eu"), part("2026", "eu")))
	is("nothing was added", values(c.GetPartitions(ctx, "default", "days", -1)), "2025/it's 100%/a=b", "2026/eu")
	must(t, add(true, part("2026", "eu"), part("2026", "us")))
	want[*hms.InvalidObjectException](t, "too few values", add(false, part("2026")))
	_, err := c.AddPartition(ctx, &hms.Partition{DbName: "default", TableName: "none", Values: []string{"1", "2"}})
	want[*hms.InvalidObjectException](t, "no table", err)
	p, err := c.GetPartitionByName(ctx, "default", "days", "year=2025/region=it%27s 100%25%2Fa%3Db")
	must(t, err)
	if p.Sd.Location != "file:///srv/tables/days/year=2025/region=it%27s 100%25%2Fa%3Db" || p.Sd.Cols[0].Name != "id" {
		t.Errorf("%+v", p)
	}
	is("at most one", values(c.GetPartitions(ctx, "default", "days", 1)), "2025/it's 100%/a=b")
	is("by first value", values(c.GetPartitionsPs(ctx, "default", "days", []string{"2026"}, -1)), "2026/eu", "2026/us")
	is("by second value", values(c.GetPartitionsPs(ctx, "default", "days", []string{"", "us"}, -1)), "2026/us")
	is("by filter", values(c.GetPartitionsByFilter(ctx, "default", "days", `year = 2026 and region != "eu"`, -1)), "2026/us")
	is("by names", values(c.GetPartitionsByNames(ctx, "default", "days", []string{"year=2026/region=us", "year=1/region=x"})), "2026/us")
	_, err = c.GetPartitionsByFilter(ctx, "default", "days", `id = 7`, -1)
	want[*hms.MetaException](t, "no partition column", err)
	_, err = c.GetPartitionsByNames(ctx, "default", "days", []string{"2026"})
	want[*hms.MetaException](t, "no name", err)
	_, err = c.GetPartitionsPs(ctx, "default", "days", []string{"1", "2", "3"}, -1)
	want[*hms.MetaException](t, "too many values", err)
	names, err := c.GetPartitionNamesPs(ctx, "default", "days", []string{"2026"}, -1)
	must(t, err)
	is("names", names, "year=2026/region=eu", "year=2026/region=us")
	all, err := c.GetPartitionsByExpr(ctx, &hms.PartitionsByExprRequest{DbName: "default", TblName: "days", Expr: []byte{1}, MaxParts: -1})
	if must(t, err); len(all.Partitions) != 3 || !all.HasUnknownPartitions {
		t.Errorf("%+v", all)
	}

	p.Parameters["rows"] = "7"
	must(t, c.AlterPartitions(ctx, "default", "days", []*hms.Partition{p}))
	want[*hms.InvalidOperationException](t, "one is not there", c.AlterPartitions(ctx, "default", "days", []*hms.Partition{part("2026", "eu"), part("1", "x")}))
	if p, err = c.GetPartition(ctx, "default", "days", p.Values); err != nil || p.Parameters["rows"] != "7" {
		t.Errorf("%+v, %v", p, err)
	}
	want[*hms.InvalidOperationException](t, "a taken name", c.RenamePartition(ctx, "default", "days", []string{"2026", "eu"}, part("2026", "us")))
	must(t, c.RenamePartition(ctx, "default", "days", []string{"2026", "eu"}, part("2026", "EU")))
	_, err = c.DropPartition(ctx, "default", "days", []string{"2026", "eu"}, false)
	want[*hms.NoSuchObjectException](t, "it was renamed", err)
	_, err = c.DropPartitionByName(ctx, "default", "days", "year=2026/region=EU", false)
	must(t, err)
	ifExists, spec := true, hms.NewRequestPartsSpec()
	spec.Names = []string{"year=2026/region=EU", "year=2026/region=us"}
	_, err = c.DropPartitionsReq(ctx, &hms.DropPartitionsRequest{DbName: "default", TblName: "days", Parts: spec, IfExists: ifExists})
	must(t, err)
	is("the rest", values(c.GetPartitions(ctx, "default", "days", -1)), "2025/it's 100%/a=b")
	_, err = c.GetPartition(ctx, "default", "days", []string{"2026"})
	want[*hms.NoSuchObjectException](t, "too few values", err)
	plain := days("plain")
	plain.PartitionKeys = nil
	must(t, c.CreateTable(ctx, plain))
	_, err = c.AppendPartition(ctx, "default", "plain", []string{"1"})
	want[*hms.InvalidObjectException](t, "no partition columns", err)
}

// Every call of a metastore is answered: those that are not served, and those that lack all their arguments, too; the connection is as it was.
func testServed(t *testing.T, in place) {
	m := open(t, in(t), io.Discard)
	all := hms.NewThriftHiveMetastoreProcessor(&service{}).ProcessorMap()
	for name := range served {
		if all[name] == nil {
			t.Errorf("%s is no call of a metastore", name)
		}
	}
	conn, err := net.Dial("tcp", m.Addr())
	must(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	p := thrift.NewTBinaryProtocolConf(thrift.NewTSocketFromConnConf(conn, nil), nil)
	for name := range all {
		_, err = conn.Write(message(name))
		must(t, err)
		answer, kind, _, err := p.ReadMessageBegin(t.Context())
		if err != nil || answer != name {
			t.Fatalf("%s: answered as %q, %v", name, answer, err)
		}
		if kind == thrift.REPLY && served[name] {
			must(t, p.Skip(t.Context(), thrift.STRUCT))
			continue
		}
		x := thrift.NewTApplicationException(0, "")
		must(t, x.Read(t.Context(), p))
		if want := map[bool]int32{true: thrift.INTERNAL_ERROR, false: thrift.UNKNOWN_METHOD}[served[name]]; kind != thrift.EXCEPTION || x.TypeId() != want || !strings.Contains(x.Error(), name) {
			t.Errorf("%s: %v, %v", name, kind, x)
		}
	}
	// With arguments that are empty, there is something behind each.
	service := reflect.ValueOf(&service{objects: m.objects, log: m.log})
	for name := range served {
		f := service.MethodByName(goName(name))
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for i := 1; i < f.Type().NumIn(); i++ {
			arg := reflect.Zero(f.Type().In(i))
			if arg.Kind() == reflect.Pointer {
				arg = reflect.New(arg.Type().Elem())
			}
			args = append(args, arg)
		}
		f.Call(args) // panics if there is not
	}
	_, err = client(t, m).OpenTxns(t.Context(), &hms.OpenTxnRequest{})
	if err == nil || !strings.Contains(err.Error(), "transactional (ACID) tables are not served") {
		t.Error(err)
	}
}

// goName is the generated code's name of a call.
func goName(name string) string {
	if name == "get_current_notificationEventId" {
		return "GetCurrentNotificationEventId"
	}
	var out strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		out.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return out.String()
}

// message is a call without arguments.
func message(name string) []byte {
	b := binary.BigEndian.AppendUint32(nil, thrift.VERSION_1|uint32(thrift.CALL))
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	return append(b, 0, 0, 0, 1, byte(thrift.STOP))
}

// TestAnyClient: what is no call costs the connection it came on.
func TestAnyClient(t *testing.T) {
	m := serve(t, io.Discard)
	whole := message("get_all_databases")
	r := rand.New(rand.NewPCG(1, 2))
	inputs := [][]byte{
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), nil, whole[:5],
		binary.BigEndian.AppendUint32(nil, 1<<31-1), append(bytes.Clone(whole[:4]), 0x7f, 0xff, 0xff, 0xff),
	}
	for range 200 {
		b := bytes.Clone(message("create_table"))
		b[len(b)-1] = byte(thrift.STRUCT)
		for range r.IntN(60) {
			b = append(b, byte(r.IntN(16)), byte(r.IntN(4)))
		}
		inputs = append(inputs, b)
	}
	for i, in := range inputs {
		conn, err := net.Dial("tcp", m.Addr())
		must(t, err)
		_, _ = conn.Write(in)
		if i%2 == 0 {
			_ = conn.(*net.TCPConn).CloseWrite()
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, syscall.ETIMEDOUT) {
				t.Errorf("input %d: %v", i, err)
			}
		}
		_ = conn.Close()
	}
	if names, err := client(t, m).GetAllDatabases(t.Context()); err != nil || !slices.Equal(names, []string{"default"}) {
		t.Errorf("%v, %v", names, err)
	}
}

func TestTakenAddress(t *testing.T) {
	m := serve(t, io.Discard)
	_, err := Open(Config{Path: filepath.Join(t.TempDir(), "state.db"), Addr: m.Addr()}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "state.db")
	_, err := Open(Config{Path: path, Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "can be deleted") {
		t.Error(err)
	}
}

// TestClose: clients that stay connected, idle or in the middle of a call, do not keep it from closing.
func TestClose(t *testing.T) {
	m := serve(t, io.Discard)
	if _, err := client(t, m).GetAllDatabases(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", m.Addr())
	must(t, err)
	defer conn.Close()
	_, err = conn.Write(message("get_all_databases")[:9])
	must(t, err)
	// Close of the clean-up would hang.
}

// TestSlowClients: lists that nobody takes are few, and keep nobody from anything else; a list is given up with its client.
func TestSlowClients(t *testing.T) {
	m, ctx := serve(t, io.Discard), t.Context()
	c := client(t, m)
	tbl := days("days")
	tbl.Parameters = map[string]string{}
	must(t, c.CreateTable(ctx, tbl))
	for i := range 4 { // an answer that is larger than what the kernel holds of it
		p := part(fmt.Sprint(i), "eu")
		p.Parameters = map[string]string{"x": strings.Repeat("x", 4<<20)}
		_, err := c.AddPartition(ctx, p)
		must(t, err)
	}
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", m.Addr())
		must(t, err)
		p := thrift.NewTBinaryProtocolConf(thrift.NewTSocketFromConnConf(conn, nil), nil)
		must(t, p.WriteMessageBegin(ctx, "get_partitions", thrift.CALL, 1))
		args := hms.NewThriftHiveMetastoreGetPartitionsArgs()
		args.DbName, args.TblName, args.MaxParts = "default", "days", -1
		must(t, args.Write(ctx, p))
		must(t, p.Flush(ctx))
		return conn
	}
	var conns []net.Conn
	for range maxLists + 2 {
		conns = append(conns, ask())
	}
	// The first bytes of as many answers come; those of the others when their clients are gone.
	first := make(chan int, len(conns))
	for i, conn := range conns {
		go func() {
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				first <- i
			}
		}()
	}
	served := map[int]bool{}
	for range maxLists {
		served[<-first] = true
	}
	if names, err := c.GetPartitionNames(ctx, "default", "days", -1); err != nil || len(names) != 4 {
		t.Errorf("%v, %v", names, err)
	}
	for i, conn := range conns {
		if served[i] {
			_ = conn.Close()
		}
	}
	for range len(conns) - maxLists {
		<-first
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// TestHold: a call waits for a place, which it has until it is answered, however many lists it reads.
func TestHold(t *testing.T) {
	s := &service{lists: make(chan struct{}, 1)}
	first, second := &call{}, &call{}
	ctx := context.WithValue(t.Context(), callKey{}, first)
	must(t, errors.Join(s.hold(ctx), s.hold(ctx)))
	other, cancel := context.WithCancel(context.WithValue(t.Context(), callKey{}, second))
	waited := make(chan error)
	go func() { waited <- s.hold(other) }()
	cancel()
	want[*hms.MetaException](t, "no place", <-waited)
	first.free()
	second.free()
	must(t, s.hold(context.WithValue(t.Context(), callKey{}, second)))
}

// TestOlderStatistics: requests of clients before Hive 4 name no engine.
func TestOlderStatistics(t *testing.T) {
	m := serve(t, io.Discard)
	must(t, client(t, m).CreateTable(t.Context(), days("days")))
	conn, err := net.Dial("tcp", m.Addr())
	must(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	field := func(b []byte, id byte, text string) []byte {
		b = append(b, byte(thrift.STRING), 0, id, 0, 0, 0, byte(len(text)))
		return append(b, text...)
	}
	for _, name := range []string{"get_table_statistics_req", "get_partitions_statistics_req", "get_aggr_stats_for"} {
		b := message(name)
		b = append(b[:len(b)-1], byte(thrift.STRUCT), 0, 1)
		b = field(field(b, 1, "default"), 2, "days")
		for id := byte(3); id <= map[bool]byte{true: 3, false: 4}[name == "get_table_statistics_req"]; id++ {
			b = append(b, byte(thrift.LIST), 0, id, byte(thrift.STRING), 0, 0, 0, 0)
		}
		_, err := conn.Write(append(b, byte(thrift.STOP), byte(thrift.STOP)))
		must(t, err)
		p := thrift.NewTBinaryProtocolConf(thrift.NewTSocketFromConnConf(conn, nil), nil)
		if answer, kind, _, err := p.ReadMessageBegin(t.Context()); err != nil || answer != name || kind != thrift.REPLY {
			t.Fatalf("%s: %s %v, %v", name, answer, kind, err)
		}
		must(t, p.Skip(t.Context(), thrift.STRUCT))
	}
}
