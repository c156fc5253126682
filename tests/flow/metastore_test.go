package flow

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/table/hivefault"
	"headwater/table/metastore"
	"headwater/tests/binary"
)

// TestMetastore: what the files say is registered, also after the metastore's file is lost or the whole folder was moved.
func TestMetastore(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	once := func(what string) {
		t.Helper()
		p.Run(t, nil, "run", "--once").Must(t)
		if diff := p.Unregistered(t); diff != "" {
			t.Errorf("%s (-files +metastore):\n%s", what, diff)
		}
	}
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1,\"a\":{\"b\":1}}\n"))
	once("a new table")
	p.Write(t, "in/b.ndjson", []byte("{\"n\":2.5,\"a\":{\"c\":\"x\"},\"New\":[1]}\n"))
	once("a wider table")
	once("nothing new")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(p.Dir, "headwater-data/state.db"+suffix)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	once("a lost file")
	p = moved(t, p)
	once("a moved folder")
}

// moved is the pipeline after somebody has renamed its folder.
func moved(t *testing.T, p binary.Pipeline) binary.Pipeline {
	t.Helper()
	target := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(p.Dir, target); err != nil {
		t.Fatal(err)
	}
	p.File, p.Dir = strings.Replace(p.File, p.Dir, target, 1), target
	return p
}

// TestMetastoreElsewhere: a metastore that does not answer keeps nothing from being collected, landed and written; the run says what
// is missing, as a fault that may pass, and the next one that finds a metastore registers it.
func TestMetastoreElsewhere(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := dead.Addr().String()
	_ = dead.Close()
	p := binary.New(t, binary.Build(t), orders+"hive: {uris: [\"thrift://"+addr+"\"], timeout: 1s}\n")
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	r := p.Run(t, nil, "run", "--once")
	if r.Code != 4 || !strings.Contains(r.Stderr, addr) || !strings.Contains(r.Stderr, "run again to register it") {
		t.Errorf("ended with %d: %s", r.Code, r.Stderr)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n1\n") {
		t.Errorf("query said %q", out)
	}
	if strings.Contains(r.Stderr, "serving the Hive Metastore") {
		t.Errorf("a metastore of its own: %s", r.Stderr)
	}
	p.Write(t, filepath.Base(p.File), []byte(orders))
	p.Run(t, nil, "run", "--once").Must(t)
	if diff := p.Unregistered(t); diff != "" {
		t.Errorf("(-files +metastore):\n%s", diff)
	}
}

// TestIllMetastore has somebody else's metastore hang, or go, before a process starts: everything is collected, landed and readable, the
// status says what is amiss, and the metastore that is well again learns of what it missed without a restart.
func TestIllMetastore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fault         hivefault.Fault
		timeout, says string
	}{
		{hivefault.Late, "1s", "no answer within 1s"},
		{hivefault.Late, "1h", ""},
		{hivefault.Away, "1m", "connection refused"},
	} {
		t.Run(c.fault.String()+" "+c.timeout, func(t *testing.T) {
			t.Parallel()
			illMetastore(t, c.fault, c.timeout, c.says)
		})
	}
}

func illMetastore(t *testing.T, f hivefault.Fault, timeout, says string) {
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "hive.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	var ill atomic.Bool
	proxy, err := hivefault.New(hivefault.Options{Target: m.Addr(), Late: time.Hour, Away: time.Hour, Fault: func(string) hivefault.Fault {
		if !ill.Load() {
			return hivefault.None
		}
		return f
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
sources:
  a: {file: {path: "in/a*.ndjson", every: 20ms, settle: 50ms}}
  b: {file: {path: "in/b*.ndjson", every: 20ms, settle: 50ms}}
land: {rotate.schedule.interval.ms: 300}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
hive: {uris: ["thrift://%s"], timeout: %s}
`, proxy.Addr(), timeout))
	p.Write(t, "in/a1.ndjson", []byte("{\"n\":1}\n"))
	p.Write(t, "in/b1.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	ill.Store(true)
	proc := p.Start(t, nil, "run")
	p.Write(t, "in/a2.ndjson", []byte("{\"n\":2,\"new\":true}\n"))
	p.Write(t, "in/b2.ndjson", []byte("{\"n\":2,\"new\":true}\n"))
	landed := func(topic string) bool {
		objects, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/raw/topics", topic, "*/*.json.gz"))
		return err == nil && len(objects) == 2
	}
	binary.Eventually(t, "landing", func() bool { return landed("a_raw") && landed("b_raw") })
	if says == "" { // it waits for the metastore, for as long as it was told to or until it is told to end
		if err := proc.Cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		proc.Wait(t, 3*time.Minute)
		return
	}
	binary.Eventually(t, "rows of all sources", func() bool {
		return ask(t, p, "select count(new) from (select new from db.a union all select new from db.b union all select raw_data.new from db.a_raw union all select raw_data.new from db.b_raw)") == "4"
	})
	var why string
	binary.EventuallyOr(t, "a status that says so", func() bool {
		why = p.Run(t, nil, "status").Must(t)
		return strings.Contains(why, "metastore "+proxy.Addr()) && strings.Contains(why, says) && strings.Contains(why, "run again to register it")
	}, func() string { return why })
	ill.Store(false)
	proxy.Heal()
	binary.EventuallyOr(t, "all of it registered", func() bool {
		why = p.UnregisteredAt(t, m.Addr())
		return why == ""
	}, func() string { return why })
	if err := proc.Cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r := proc.Wait(t, 3*time.Minute)
	if !strings.Contains(r.Stderr, "metastore "+proxy.Addr()) || r.Code != 130 && r.Code != 0 {
		t.Errorf("it ended with %d and said\n%s", r.Code, r.Stderr)
	}
}
