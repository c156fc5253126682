package flow

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data/state.db")); !os.IsNotExist(err) {
		t.Errorf("a metastore of its own: %v", err)
	}
	p.Write(t, filepath.Base(p.File), []byte(orders))
	p.Run(t, nil, "run", "--once").Must(t)
	if diff := p.Unregistered(t); diff != "" {
		t.Errorf("(-files +metastore):\n%s", diff)
	}
}
