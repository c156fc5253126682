package flow

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// onKafka is a pipeline of two sources on a broker that processes share; each process has a data folder of its own.
func onKafka(t *testing.T, broker *fixture.Broker) binary.Pipeline {
	t.Helper()
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
data_dir: ${OWN}
kafka: {brokers: [%q]}
lake: {raw: raw, tables: tables}
collect: {snapshot_every: 200ms}
sources:
  odd: {file: {path: "in/odd/*.ndjson", every: 20ms, settle: 50ms}}
  even: {file: {path: "in/even/*.ndjson", every: 20ms, settle: 50ms}}
land: {flush.size: 100, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0"}
`, broker.Addr))
	return p
}

func own(name string) []string { return []string{"OWN=" + name} }

// numbers writes files of numbered lines and says how many there are.
type numbers struct {
	p     binary.Pipeline
	next  int
	files int
}

func (n *numbers) arrive(t *testing.T, lines int) {
	var b strings.Builder
	for range lines {
		fmt.Fprintf(&b, "{\"n\":%d}\n", n.next)
		n.next++
	}
	n.files++
	n.p.Write(t, fmt.Sprintf("in/%s/%04d.ndjson", []string{"even", "odd"}[n.files%2], n.files), []byte(b.String()))
}

// verify looks for each number once in both kinds of tables.
func (n *numbers) verify(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"select count(*), count(distinct n), min(n), max(n) from (select n from db.odd union all select n from db.even)",
		"select count(*), count(distinct raw_data.n), min(raw_data.n), max(raw_data.n) from (select raw_data from db.odd_raw union all select raw_data from db.even_raw)",
	} {
		out := n.p.Run(t, own("query"), "query", "--format", "csv", sql).Must(t)
		if want := fmt.Sprintf("%d,%d,0,%d\n", n.next, n.next, n.next-1); !strings.HasSuffix(out, "\n"+want) {
			t.Errorf("%s\nanswers %s, want %s", sql, out, want)
		}
	}
}

// TestApacheKafka takes what is there through the stages of one process, on a broker of others.
func TestApacheKafka(t *testing.T) {
	p := onKafka(t, fixture.Kafka(t))
	n := &numbers{p: p}
	for range 3 {
		for range 4 {
			n.arrive(t, 250)
		}
		p.Run(t, own("one"), "run", "--once").Must(t)
		n.verify(t)
	}
	p.Run(t, own("another"), "run", "--once").Must(t) // with nothing but what is in Kafka and in the lake
	n.verify(t)
	err := filepath.WalkDir(filepath.Join(p.Dir, "one"), func(path string, d fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "kafka") {
			t.Errorf("%s is there, with a broker of others", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReplicas runs each stage in processes of its own, two of each, and kills one after the other at random moments.
func TestReplicas(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	broker := fixture.Kafka(t)
	p := onKafka(t, broker)
	n := &numbers{p: p}
	n.arrive(t, 100)
	n.arrive(t, 100)
	names := []string{"collect-0", "collect-1", "land-0", "land-1", "serve-0"}
	running := map[string]*binary.Process{}
	start := func(name string) {
		stage, _, _ := strings.Cut(name, "-")
		running[name] = p.Start(t, own(name), stage)
	}
	for _, name := range names {
		start(name)
	}
	kills := 12
	for i := range kills {
		for range 1 + random.IntN(6) {
			n.arrive(t, random.IntN(80))
			time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		}
		if i == kills/2 {
			broker.Kill()
			time.Sleep(300 * time.Millisecond)
			broker.Start()
		}
		name := names[random.IntN(len(names))]
		running[name].Kill(t)
		start(name)
	}
	n.arrive(t, 50)
	// Nothing is stopped: the tables come to hold everything by themselves.
	binary.Eventually(t, "all numbers in the tables", func() bool {
		r := p.Run(t, own("query"), "query", "--format", "csv", "select count(*) from (select n from db.odd union all select n from db.even)")
		return r.Code == 0 && strings.HasSuffix(r.Stdout, fmt.Sprintf("\n%d\n", n.next))
	})
	for name, proc := range running {
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, proc := range running {
		if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
			t.Errorf("%s ended with %d: %s", name, r.Code, r.Stderr)
		}
	}
	n.verify(t)
	t.Logf("%d lines in %d files survived", n.next, n.files)
}

func TestReplicasNeedBrokers(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	for _, stage := range []string{"collect", "land", "serve"} {
		if r := p.Run(t, nil, stage); r.Code != 2 || !strings.Contains(r.Stderr, "kafka.brokers is missing") {
			t.Errorf("%s ended with %d: %s", stage, r.Code, r.Stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data")); !os.IsNotExist(err) {
		t.Errorf("a data folder: %v", err)
	}
}
