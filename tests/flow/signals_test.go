package flow

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// silent is the address of a server that accepts and never says anything.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestSignalWhileKafkaIsSilent interrupts a start that waits for a broker: it ends at once and with the signal's code. Until
// then status names the process, which does not answer yet, and another one is told who has the data folder.
func TestSignalWhileKafkaIsSilent(t *testing.T) {
	bin := binary.Build(t)
	for _, args := range [][]string{{"--once"}, nil} {
		p := binary.New(t, bin, orders+"kafka: {brokers: [\""+silent(t)+"\"]}\n")
		proc := p.Start(t, nil, "run", args...)
		binary.Eventually(t, "taking the data folder", func() bool {
			_, err := os.Stat(filepath.Join(p.Dir, "headwater-data", "tmp", "serialize"))
			return err == nil
		})
		if out := p.Run(t, nil, "status").Must(t); !strings.Contains(out, "does not answer") {
			t.Errorf("status said %q", out)
		}
		if r := p.Run(t, nil, "run"); r.Code != 7 || !strings.Contains(r.Stderr, "(process ") {
			t.Errorf("a second run ended with %d: %s", r.Code, r.Stderr)
		}
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := proc.Wait(t, 3*time.Minute); r.Code != 143 || !strings.Contains(r.Stderr, "interrupted") {
			t.Errorf("run %v ended with %d: %s", args, r.Code, r.Stderr)
		}
	}
}

// TestSharedLake has two pipelines with one lake and one topic name: the second's topic does not land, and says so, and its other
// topic has its tables nonetheless.
func TestSharedLake(t *testing.T) {
	bin := binary.Build(t)
	p := binary.New(t, bin, orders)
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	lake := filepath.Join(p.Dir, "headwater-data")
	q := binary.New(t, bin, strings.Replace(orders, "sources:\n", "sources:\n  zeta: {file: {path: \"in/*.ndjson\"}}\n", 1)+
		"lake: {raw: "+lake+"/raw, tables: "+lake+"/tables}\n")
	q.Write(t, "in/a.ndjson", []byte("{\"n\":2}\n"))
	if r := q.Run(t, nil, "run", "--once"); r.Code == 0 || !strings.Contains(r.Stderr, "orders_raw") {
		t.Errorf("the second pipeline ended with %d: %s", r.Code, r.Stderr)
	}
	for table, want := range map[string]string{"orders": "n\n1\n", "zeta": "n\n2\n"} {
		if out := q.Run(t, nil, "query", "--format", "csv", "select n from db."+table).Must(t); out != want {
			t.Errorf("%s holds %q, want %q", table, out, want)
		}
	}
}

// TestReadersOnlyRead asks a pipeline that has never run, and one whose raw layer is out of reach, as it is for most who query.
func TestReadersOnlyRead(t *testing.T) {
	p := binary.New(t, binary.Build(t), orders)
	if out := p.Run(t, nil, "status").Must(t); !strings.Contains(out, "not running") {
		t.Errorf("status said %q", out)
	}
	if r := p.Run(t, nil, "query", "select 1"); r.Code != 2 || !strings.Contains(r.Stderr, "no tables") {
		t.Errorf("query ended with %d: %s", r.Code, r.Stderr)
	}
	if made, err := os.ReadDir(p.Dir); err != nil || len(made) != 1 {
		t.Errorf("the folder has %v, want only the pipeline file: %v", made, err)
	}
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	raw := filepath.Join(p.Dir, "headwater-data", "raw")
	if err := os.RemoveAll(raw); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(raw, nil, 0o600); err != nil { // a file: not even root can open it as a folder
		t.Fatal(err)
	}
	if out := p.Run(t, nil, "query", "--format", "csv", "select n from orders").Must(t); out != "n\n1\n" {
		t.Errorf("query said %q", out)
	}
	if s := statusOf(t, p); len(s.Tables) != 2 {
		t.Errorf("status is %+v", s)
	}
}
