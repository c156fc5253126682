package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"headwater/internal/crash"
	"headwater/table/hive"
	"headwater/table/hivefault"
	"headwater/table/metastore"
	"headwater/tests/binary"
)

// changes are the calls that change a metastore.
var changes = []string{
	"create_database", "create_table", "alter_table_with_environment_context", "add_partitions_req", "alter_partitions_with_environment_context",
}

// serveHive is a metastore of the test's own.
func serveHive(t *testing.T) *metastore.Metastore {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "hive.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// onHive is a world whose metastore is elsewhere, behind a proxy with these faults. Its lines get more and other columns as time goes by.
func onHive(t *testing.T, bin, yaml, timeout string, o hivefault.Options) (*world, *hivefault.Proxy) {
	t.Helper()
	m := serveHive(t)
	o.Target = m.Addr()
	proxy, err := hivefault.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	w := newWorld(t, bin, yaml+fmt.Sprintf("hive: {uris: [\"thrift://%s\"], timeout: %s}\n", proxy.Addr(), timeout))
	w.late = func(n int) string {
		// The numbers have two digits because f1_g0 comes after f10_g0: schema.Merge orders the columns of types that differ and leaves those that are
		// equal, so that their order would depend on which days the metastore has met.
		return fmt.Sprintf(`,"f%02d":{"Deep":[%d],"g%d":%s},"kind":%s`, n/300, n, n%7, []string{"1", "1.5", "true"}[n%3], []string{"1", "2.5", `"x"`}[min(n/200, 2)])
	}
	w.unregistered = func(t *testing.T) string { return w.UnregisteredAt(t, m.Addr()) + w.unequal(t, m.Addr()) }
	return w, proxy
}

// unequal says in what the metastore differs from a new one in which the tables that there are files of were registered without faults.
func (w *world) unequal(t *testing.T, addr string) string {
	t.Helper()
	tables := filepath.Join(w.Dir, "headwater-data/tables")
	files, fresh := binary.Files(t, tables), serveHive(t)
	o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + tables}
	o.Config.URIs = []string{"thrift://" + fresh.Addr()}
	c, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := files.Tables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tbl := range all {
		ps, err := files.Partitions(t.Context(), tbl.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ensure(t.Context(), tbl); err != nil {
			t.Fatal(err)
		}
		if err := c.SetPartitions(t.Context(), tbl.Name, ps); err != nil {
			t.Fatal(err)
		}
	}
	return cmp.Diff(objectsOf(t, fresh.Addr()), objectsOf(t, addr))
}

// objectsOf is all that a metastore has but what tells in how many steps it came there: versions, times, and the places of Hive's columns.
func objectsOf(t *testing.T, addr string) (all []any) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.Dial("tcp", addr)
	must(err)
	defer conn.Close()
	p := thrift.NewTBinaryProtocolConf(thrift.NewTBufferedTransport(thrift.NewTSocketFromConnConf(conn, nil), 4096), nil)
	m := hms.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(p, p))
	databases, err := m.GetAllDatabases(t.Context())
	must(err)
	for _, d := range databases {
		names, err := m.GetAllTables(t.Context(), d)
		must(err)
		for _, name := range names {
			tbl, err := m.GetTable(t.Context(), d, name)
			must(err)
			tbl.CreateTime = 0
			delete(tbl.Parameters, "transient_lastDdlTime")
			delete(tbl.Parameters, "headwater.version")
			slices.SortFunc(tbl.Sd.Cols, func(a, b *hms.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
			ps, err := m.GetPartitions(t.Context(), d, name, -1)
			must(err)
			for _, p := range ps {
				p.CreateTime = 0
				p.Sd.Cols = ofFile(t, p)
			}
			all = append(all, tbl, ps)
		}
	}
	return all
}

// ofFile are a partition's columns that its file has, in order of their names: of the others, it has those that the table had when it was registered.
func ofFile(t *testing.T, p *hms.Partition) (cols []*hms.FieldSchema) {
	t.Helper()
	var text strings.Builder
	for i := 0; ; i++ {
		part, found := p.Parameters["headwater.schema.part."+strconv.Itoa(i)]
		if !found {
			break
		}
		text.WriteString(part)
	}
	var file struct{ Fields []struct{ Name string } }
	if err := json.Unmarshal([]byte(text.String()), &file); err != nil || len(file.Fields) == 0 {
		t.Fatalf("partition %v has the schema %q: %v", p.Values, text.String(), err)
	}
	for _, f := range file.Fields {
		if i := slices.IndexFunc(p.Sd.Cols, func(c *hms.FieldSchema) bool { return c.Name == strings.ToLower(f.Name) }); i >= 0 {
			cols = append(cols, p.Sd.Cols[i])
		}
	}
	slices.SortFunc(cols, func(a, b *hms.FieldSchema) int { return strings.Compare(a.Name, b.Name) })
	return cols
}

// landed adds an object of three lines of an earlier day to a source's topic, as an earlier process would have landed it.
func (w *world) landed(t *testing.T, source string, day time.Time) {
	t.Helper()
	var lines, object bytes.Buffer
	first := w.next
	for range 3 {
		w.line(&lines, "")
	}
	z := gzip.NewWriter(&object)
	for line := range bytes.Lines(lines.Bytes()) {
		fmt.Fprintf(z, "{\"raw_data\":%s,\"metadata\":{\"thread_id\":0,\"host_name\":\"\",\"process_start_time\":\"\"},\"ingestion_timestamp\":%d}\n", bytes.TrimSpace(line), day.UnixMilli())
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// No topic has this many Kafka partitions.
	w.Write(t, fmt.Sprintf("headwater-data/raw/topics/%s_raw/date=%s/%s_raw+99+%010d.json.gz", source, day.Format(time.DateOnly), source, first), object.Bytes())
}

// TestEveryPointOnHive kills run --once at the points at which the metastore may be told something, and at each call that changes it, before
// the call and after it.
func TestEveryPointOnHive(t *testing.T) {
	t.Parallel()
	bin := binary.Build(t)
	for i, point := range crash.Points {
		if !strings.HasPrefix(point, "table.") && !strings.HasPrefix(point, "serialize.") || !turn(i) {
			continue // nothing is different elsewhere
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			w, _ := onHive(t, bin, pipelineFor(point), "1m", hivefault.Options{})
			w.dieAt(t, point)
		})
	}
	for i, call := range changes {
		for n, f := range []hivefault.Fault{hivefault.Lost, hivefault.Unanswered} {
			if !turn(i + n) {
				continue
			}
			t.Run(call+" "+f.String(), func(t *testing.T) {
				t.Parallel()
				dieAtCall(t, bin, call, f)
			})
		}
	}
}

func dieAtCall(t *testing.T, bin, call string, f hivefault.Fault) {
	var running atomic.Pointer[binary.Process]
	w, proxy := onHive(t, bin, pipeline, "1m", hivefault.Options{
		Fault: func(c string) hivefault.Fault {
			if c == call && running.Load() != nil {
				return f
			}
			return hivefault.None
		},
		Cut: func(string, hivefault.Fault) {
			if proc := running.Swap(nil); proc != nil {
				_ = proc.Cmd.Process.Kill()
			}
		},
	})
	died := 0
	for i := range 3 {
		for range 2 {
			w.arrive(t, 90)
		}
		w.landed(t, "odd", time.Date(2026, 7, 1+i/2, 12, 0, 0, 0, time.UTC)) // the first day twice
		proc := w.Start(t, nil, "run", "--once")
		running.Store(proc)
		if r := proc.Wait(t, 3*time.Minute); r.Signal == syscall.SIGKILL {
			died++
		} else {
			r.Must(t)
		}
		running.Store(nil)
	}
	if died == 0 {
		t.Errorf("no run called %s", call)
	}
	proxy.Heal()
	w.arrive(t, 10)
	w.Run(t, nil, "run", "--once").Must(t)
	w.verify(t)
}

// spoiler spoils one call in twenty, and of those that change something the first, and every third until each has met each fault, because there are few.
func spoiler(random *rand.Rand) func(string) hivefault.Fault {
	all := []hivefault.Fault{hivefault.Lost, hivefault.Unanswered, hivefault.Late, hivefault.Away}
	met, begun := map[hivefault.Met]bool{}, map[string]bool{}
	return func(call string) hivefault.Fault {
		f := all[random.IntN(len(all))]
		m := hivefault.Met{Call: call, Fault: f}
		if often := slices.Contains(changes, call) && !met[m] && (!begun[call] || random.IntN(3) == 0); !often && random.IntN(20) > 0 {
			return hivefault.None
		}
		met[m], begun[call] = true, true
		return f
	}
}

// TestRandomKillsOnHive kills a running pipeline at random moments while its metastore loses calls and answers, hangs and goes away. All the
// while rows are readable, and the pipeline goes on.
func TestRandomKillsOnHive(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 8, 5)
	random, days := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 2))
	publish := []string{"replace", "swap"}[seed%2]
	w, proxy := onHive(t, binary.Build(t), pipeline+"serialize: {every: 200ms, publish: "+publish+", grace: 1s}\n", "300ms", hivefault.Options{
		Fault: spoiler(rand.New(rand.NewPCG(seed, 1))), Late: 500 * time.Millisecond, Away: 700 * time.Millisecond,
	})
	rows, logged, told := 0, 0, 0
	w.meanwhile = func(proc *binary.Process) {
		if proc.Ended() {
			t.Errorf("it has ended by itself: %s", proc.Wait(t, 3*time.Minute).Stderr)
		}
		if tables, _ := filepath.Glob(filepath.Join(w.Dir, "headwater-data/tables/db/odd/*/*/*/*.parquet")); len(tables) > 0 {
			n := len(w.sql(t, "select n from db.odd union all select raw_data.n from db.odd_raw"))
			if n < rows {
				t.Errorf("%d rows could be read, and before %d", n, rows)
			}
			rows = n
		}
		told += strings.Count(statusText(t, w), "metastore "+proxy.Addr())
		proc.Kill(t)
		logged += strings.Count(proc.Wait(t, 3*time.Minute).Stderr, "metastore "+proxy.Addr())
		for _, source := range []string{"odd", "even"} {
			w.landed(t, source, time.Date(2026, 7, 1+days.IntN(3), 12, 0, 0, 0, time.UTC))
		}
	}
	w.settle = func() {
		proxy.Heal()
		yaml := strings.Replace(pipeline+"serialize: {every: 200ms}\nhive: {uris: [\"thrift://ADDR\"]}\n", "ADDR", proxy.Addr(), 1)
		w.Write(t, "pipeline.yaml", []byte(yaml))
	}
	w.survive(t, random, kills)
	byFault, byCall := map[hivefault.Fault]int{}, map[string]int{}
	for m, n := range proxy.Met() {
		byFault[m.Fault] += n
		byCall[m.Call] += n
	}
	t.Logf("faults met: %v, by %v; %d in the logs, %d in a status", byFault, byCall, logged, told)
	for _, f := range []hivefault.Fault{hivefault.Lost, hivefault.Unanswered, hivefault.Late, hivefault.Away} {
		if byFault[f] == 0 {
			t.Errorf("no call was %s", f)
		}
	}
	for _, call := range changes[1:] { // the database is made once
		if byCall[call] == 0 {
			t.Errorf("no %s was spoiled", call)
		}
	}
	if logged == 0 || told == 0 {
		t.Error("nobody was told of the faults")
	}
}

// statusText is what status says of the last error of each source's tables.
func statusText(t *testing.T, w *world) string {
	t.Helper()
	var s struct {
		Serialize []struct {
			LastError string `json:"last_error"`
		}
	}
	if err := json.Unmarshal([]byte(w.Run(t, nil, "status", "--json").Must(t)), &s); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, j := range s.Serialize {
		text.WriteString(j.LastError + "\n")
	}
	return text.String()
}
