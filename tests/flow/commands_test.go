package flow

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

const orders = `
database: db
sources:
  orders: {file: {path: "in/*.ndjson", every: 50ms, settle: 50ms}}
land: {rotate.schedule.interval.ms: 300}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

func day() string { return time.Now().UTC().Format(time.DateOnly) }

// status is what a person's script would read of status --json.
type status struct {
	Running bool
	Listen  struct{ HTTP, Kafka, Hive string }
	Sources []struct {
		Name, State string
		Records     int64
	}
	Topics []struct {
		Topic   string
		Records int64
		Lag     int64
	}
	Tables []struct {
		Name string
		Rows int64
	}
}

func statusOf(t *testing.T, p binary.Pipeline) status {
	t.Helper()
	var s status
	out := p.Run(t, nil, "status", "--json").Must(t)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return s
}

// TestLivingPipeline starts run, and has the other commands ask it: it lands by rotation, serializes on request, and drains.
func TestLivingPipeline(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	proc := p.Start(t, nil, "run")
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n{\"n\":2}\n"))
	binary.Eventually(t, "landing two records", func() bool {
		s := statusOf(t, p)
		return s.Running && len(s.Topics) == 1 && s.Topics[0].Records == 2 && s.Topics[0].Lag == 0
	})
	if s := statusOf(t, p); len(s.Sources) != 1 || s.Sources[0].Records != 2 || s.Listen.HTTP == "" || s.Listen.Kafka == "" {
		t.Errorf("status is %+v", s)
	}
	if r := p.Run(t, nil, "run", "--once"); r.Code != 7 || !strings.Contains(r.Stderr, "in use") {
		t.Errorf("a second run ended with %d: %s", r.Code, r.Stderr)
	}
	if out := p.Run(t, nil, "serialize", "--source", "orders", "--date", day()).Must(t); !strings.Contains(out, "2 rows") {
		t.Errorf("serialize said %q", out)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n3\n") {
		t.Errorf("query said %q", out)
	}
	if out := p.Run(t, nil, "serialize", "--source", "orders", "--date", day()).Must(t); !strings.Contains(out, "unchanged") {
		t.Errorf("serializing again said %q", out)
	}
	p.Write(t, "in/b.ndjson", []byte("{\"n\":4}\n"))
	binary.Eventually(t, "reading the second file", func() bool { return statusOf(t, p).Sources[0].Records == 3 })
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	if s := statusOf(t, p); s.Running || len(s.Tables) != 2 || s.Tables[0].Rows != 2 {
		t.Errorf("after the drain status is %+v", s)
	}
	// What the drain has closed is there without the process.
	if out := p.Run(t, nil, "serialize", "--source", "orders", "--date", day()).Must(t); !strings.Contains(out, "3 rows") {
		t.Errorf("after the drain serialize said %q", out)
	}
}

// TestSecondSignalKills sends two signals in a row: the process is killed by the second, or has drained before it came, and is well
// when it is started again.
func TestSecondSignalKills(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "answering", func() bool { return statusOf(t, p).Running })
	for range 2 {
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			break // it has drained before the second
		}
		time.Sleep(time.Millisecond)
	}
	r := proc.Wait(t, 3*time.Minute)
	if r.Signal != syscall.SIGTERM && r.Code != 0 {
		t.Errorf("it ended with code %d, signal %v", r.Code, r.Signal)
	}
	p.Run(t, nil, "run", "--once").Must(t)
}

// TestExitCodes holds the codes that schedulers rely on.
func TestExitCodes(t *testing.T) {
	bin := binary.Build(t)
	whole := binary.New(t, bin, orders)
	whole.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	whole.Run(t, nil, "run", "--once").Must(t)
	faulty := binary.New(t, bin, "database: db\nsauces: {}\nsources: {x: {file: {path: 7, evry: 1s}}}\n")
	tests := []struct {
		name string
		p    binary.Pipeline
		args []string
		code int
		says string
	}{
		{"no such command", whole, []string{"serialise"}, 2, "no command"},
		{"no such flag", whole, []string{"run", "--twice"}, 2, "twice"},
		{"one argument too many", whole, []string{"run", "extra"}, 2, "too many"},
		{"sql is missing", whole, []string{"query"}, 2, "SQL is missing"},
		{"bad sql", whole, []string{"query", "selec 1"}, 2, "selec"},
		{"no such table", whole, []string{"query", "select * from db.nothing"}, 2, "nothing"},
		{"writing sql", whole, []string{"query", "create table db.x as select 1"}, 2, ""},
		{"bad format", whole, []string{"query", "--format", "xml", "select 1"}, 2, "--format"},
		{"faults", faulty, []string{"check"}, 2, "pipeline.yaml:2: sauces"},
		{"faults of a run", faulty, []string{"run", "--once"}, 2, "evry"},
		{"no such source", whole, []string{"serialize", "--source", "x", "--date", day()}, 2, "no source"},
		{"no date", whole, []string{"serialize", "--source", "orders"}, 2, "--date"},
		{"bad date", whole, []string{"serialize", "--source", "orders", "--date", "tomorrow"}, 2, "tomorrow"},
		{"a day without objects", whole, []string{"serialize", "--source", "orders", "--date", "2001-02-03"}, 0, ""},
		{"help", whole, []string{"run", "--help"}, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := test.p.Run(t, nil, test.args[0], test.args[1:]...)
			if said := r.Stdout + r.Stderr; r.Code != test.code || !strings.Contains(said, test.says) {
				t.Errorf("exit code %d, want %d and %q in\n%s", r.Code, test.code, test.says, said)
			}
		})
	}
}

// TestDamagedObject cuts an object short: the day is refused as bad data, what the tables hold stays, and other days are made.
func TestDamagedObject(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	p.Write(t, "in/b.ndjson", []byte("{\"n\":2}\n"))
	objects, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/raw/topics/orders_raw/*/*.json.gz"))
	if err != nil || len(objects) != 1 {
		t.Fatal(objects, err)
	}
	whole, err := os.ReadFile(objects[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(objects[0], whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := p.Run(t, nil, "run", "--once"); r.Code != 3 || !strings.Contains(r.Stderr, filepath.Base(objects[0])) {
		t.Errorf("exit code %d, want 3 and the object's name in\n%s", r.Code, r.Stderr)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from db.orders").Must(t); out != "n\n1\n" {
		t.Errorf("the table now holds %q", out)
	}
	if err := os.WriteFile(objects[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	p.Run(t, nil, "run", "--once").Must(t)
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from db.orders order by n").Must(t); out != "n\n1\n2\n" {
		t.Errorf("with the object mended the table holds %q", out)
	}
}

// TestQueryOfADamagedDay cuts the file of a day short: a query of that table says so and gives no answer that lacks the day, one of
// the other table is answered.
func TestQueryOfADamagedDay(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	files, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/tables/db/orders_raw/*/*/*/*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		t.Fatal(err)
	}
	if r := p.Run(t, nil, "query", "select count(*) from db.orders_raw"); r.Code != 3 || r.Stdout != "" || !strings.Contains(r.Stderr, "would lack a day of orders_raw") {
		t.Errorf("exit code %d, answer %q\n%s", r.Code, r.Stdout, r.Stderr)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from db.orders").Must(t); out != "n\n1\n" {
		t.Errorf("the other table answers %q", out)
	}
}

// TestPorts has a port that the file names and another process has be an error, and a default one move.
func TestPorts(t *testing.T) {
	bin := binary.Build(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, door := range []string{"http", "kafka"} {
		other := map[string]string{"http": "kafka", "kafka": "http"}[door]
		p := binary.New(t, bin, fmt.Sprintf("database: db\nsources: {}\nlisten: {%s: %q, %s: \"127.0.0.1:0\"}\n", door, l.Addr(), other))
		r := p.Run(t, nil, "run", "--once")
		if r.Code == 0 || !strings.Contains(r.Stderr, "listen."+door) {
			t.Errorf("%s on a taken port ended with %d: %s", door, r.Code, r.Stderr)
		}
	}
	// Two pipelines with nothing written both want the default ports.
	var procs []*binary.Process
	var listens []string
	for range 2 {
		p := binary.New(t, bin, "database: db\nsources: {}\n")
		procs = append(procs, p.Start(t, nil, "run"))
		binary.Eventually(t, "answering", func() bool { return statusOf(t, p).Running })
		s := statusOf(t, p)
		listens = append(listens, s.Listen.HTTP, s.Listen.Kafka)
	}
	slices.Sort(listens)
	if len(slices.Compact(listens)) != 4 {
		t.Errorf("the doors of two pipelines are %v", listens)
	}
	for _, proc := range procs {
		proc.Kill(t)
	}
}

// TestFailingSource has a source whose folder cannot be read beside one that can: the run ends with 4, and the other has its tables.
func TestFailingSource(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("running as root, to whom every folder is readable: the folder is a dangling link instead")
	}
	p := binary.New(t, binary.Build(t), strings.Replace(orders, "sources:\n", "sources:\n  bad: {file: {path: \"bad/x.ndjson\"}}\n", 1))
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	if err := os.Mkdir(filepath.Join(p.Dir, "bad"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x.ndjson", filepath.Join(p.Dir, "bad", "x.ndjson")); err != nil { // a link to itself
		t.Fatal(err)
	}
	r := p.Run(t, nil, "run", "--once")
	if r.Code != 4 || !strings.Contains(r.Stderr, "bad") {
		t.Errorf("exit code %d, want 4: %s", r.Code, r.Stderr)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from db.orders").Must(t); out != "n\n1\n" {
		t.Errorf("the table holds %q", out)
	}
}

// TestEmpty takes nothing through every stage: no source, an empty folder, an empty file.
func TestEmpty(t *testing.T) {
	bin := binary.Build(t)
	for i, yaml := range []string{"database: db\nsources: {}\n", orders, orders} {
		p := binary.New(t, bin, yaml+"data_dir: elsewhere\n")
		p.Write(t, []string{"in/other.txt", "in/other.txt", "in/empty.ndjson"}[i], nil)
		for range 2 {
			p.Run(t, nil, "run", "--once").Must(t)
		}
		if s := statusOf(t, p); len(s.Tables) != 0 {
			t.Errorf("nothing has become %+v", s.Tables)
		}
	}
}
