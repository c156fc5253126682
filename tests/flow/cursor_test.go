package flow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestCursor asks where the streams of a source stand: before anything has run, while a process collects, and when none does.
func TestCursor(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), orders)
	if r := p.Run(t, nil, "cursor", "orders"); r.Code != 2 || !strings.Contains(r.Stderr, "nothing has run yet") {
		t.Errorf("it ends with %d: %s", r.Code, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data")); !os.IsNotExist(err) {
		t.Errorf("a look makes a data folder: %v", err)
	}
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n{\"n\":2}\n"))
	p.Write(t, "in/b.ndjson", []byte("{\"n\":3}\n"))
	cursor := func() (c struct {
		Offsets map[string]int64
		Streams map[string]struct {
			Seq    int64
			Resume struct{ At int64 }
		}
	},
	) {
		t.Helper()
		if err := json.Unmarshal([]byte(p.Run(t, nil, "cursor", "orders", "--json").Must(t)), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "three rows", func() bool {
		s := statusOf(t, p)
		return len(s.Sources) == 1 && s.Sources[0].Records == 3
	})
	for _, running := range []bool{true, false} {
		c := cursor()
		if a := c.Streams["in/a.ndjson#0"]; len(c.Streams) != 2 || c.Offsets["orders_raw/0"] < 1 || a.Seq != 1 || a.Resume.At != 16 {
			t.Errorf("the cursor is %+v while a process runs: %v", c, running)
		}
		if text := p.Run(t, nil, "cursor", "orders").Must(t); !strings.Contains(text, "in/b.ndjson#0  1        0          {\"at\":8,") {
			t.Errorf("it says\n%s", text)
		}
		if running {
			if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			proc.Wait(t, 3*time.Minute).Must(t)
		}
	}
	if r := p.Run(t, nil, "cursor", "ordes"); r.Code != 2 || !strings.Contains(r.Stderr, "it has orders") {
		t.Errorf("it ends with %d: %s", r.Code, r.Stderr)
	}
	p.Run(t, nil, "run", "--once").Must(t) // and a look has changed nothing
	if c := cursor(); len(c.Streams) != 2 || c.Streams["in/a.ndjson#0"].Seq != 1 {
		t.Errorf("after another run the cursor is %+v", c)
	}
}

// TestCursorSet moves a source to another pipeline, where it goes on, and back to a place where it was before.
func TestCursorSet(t *testing.T) {
	t.Parallel()
	old, next := binary.New(t, binary.Build(t), orders), binary.New(t, binary.Build(t), orders)
	write := func(text string) {
		for _, p := range []binary.Pipeline{old, next} {
			if err := os.WriteFile(filepath.Join(p.Dir, "in/a.ndjson"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	old.Write(t, "in/a.ndjson", nil)
	next.Write(t, "in/a.ndjson", nil)
	write("{\"n\":1}\n{\"n\":2}\n")
	old.Run(t, nil, "run", "--once").Must(t)
	printed := old.Run(t, nil, "cursor", "orders", "--json").Must(t)
	old.Write(t, "c.json", []byte(printed))
	next.Write(t, "c.json", []byte(printed))
	next.Write(t, "bad.json", []byte("{}"))
	set := func(p binary.Pipeline) binary.Result {
		return p.Run(t, nil, "cursor", "orders", "--set", filepath.Join(p.Dir, "c.json"))
	}
	rows := func(p binary.Pipeline, want string) {
		t.Helper()
		p.Run(t, nil, "run", "--once").Must(t)
		if out := p.Run(t, nil, "query", "--format", "csv", "select count(*), min(n), max(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n"+want+"\n") {
			t.Errorf("the table has %s, want %s", out, want)
		}
	}
	if r := next.Run(t, nil, "cursor", "orders", "--set", filepath.Join(next.Dir, "bad.json")); r.Code != 2 || !strings.Contains(r.Stderr, "no version") {
		t.Errorf("what is no cursor ends with %d: %s", r.Code, r.Stderr)
	}
	if r := next.Run(t, nil, "cursor", "orders", "--set", "none.json"); r.Code != 2 || !strings.Contains(r.Stderr, "none.json") {
		t.Errorf("no file ends with %d: %s", r.Code, r.Stderr)
	}
	if out := set(next).Must(t); !strings.HasPrefix(out, "1 streams of source orders go on where") {
		t.Errorf("it says %s", out)
	}
	write("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n")
	rows(next, "1,3,3")
	rows(next, "1,3,3")
	rows(old, "3,1,3")
	set(old).Must(t) // before the third line, which comes again
	rows(old, "4,1,3")
	rows(old, "4,1,3")

	proc := old.Start(t, nil, "run")
	binary.Eventually(t, "a running source", func() bool {
		s := statusOf(t, old)
		return len(s.Sources) == 1 && s.Sources[0].State == "running"
	})
	if r := set(old); r.Code != 2 || !strings.Contains(r.Stderr, "stop it") {
		t.Errorf("beside a running process it ends with %d: %s", r.Code, r.Stderr)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
}

// TestCursorSetWhileRunning does so on a Kafka of others, where the process that collects the source goes on from there with its next record.
func TestCursorSetWhileRunning(t *testing.T) {
	t.Parallel()
	p := onKafka(t, fixture.Kafka(t))
	p.Write(t, "in/odd/a.ndjson", []byte("{\"n\":1}\n{\"n\":2}\n"))
	proc := p.Start(t, own("run"), "run")
	rows := func(want string) {
		t.Helper()
		binary.Eventually(t, want+" rows", func() bool {
			return strings.HasSuffix(p.Run(t, own("query"), "query", "--format", "csv", "select count(*), count(distinct n) from db.odd").Stdout, "\n"+want+"\n")
		})
	}
	rows("2,2")
	p.Write(t, "c.json", []byte(p.Run(t, own("look"), "cursor", "odd", "--json").Must(t)))
	line := func(text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(p.Dir, "in/odd/a.ndjson"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text + "\n"); err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	line(`{"n":3}`)
	rows("3,3")
	p.Run(t, own("look"), "cursor", "odd", "--set", filepath.Join(p.Dir, "c.json")).Must(t)
	line(`{"n":4}`) // it finds out when it writes
	rows("5,4")
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
}
