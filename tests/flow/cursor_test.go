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
		Topic   string
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
		if a := c.Streams["in/a.ndjson#0"]; len(c.Streams) != 2 || c.Topic != "orders_raw" || a.Seq != 1 || a.Resume.At != 16 {
			t.Errorf("the cursor is %+v while a process runs: %v", c, running)
		}
		if text := p.Run(t, nil, "cursor", "orders").Must(t); !strings.Contains(text, "in/b.ndjson#0  1        0          {\"at\":8,") {
			t.Errorf("it says\n%s", text)
		}
		if running {
			if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			proc.Wait(t, time.Minute).Must(t)
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
