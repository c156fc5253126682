package file

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
)

// world is a folder whose files are the parts; one item is one line.
type world struct {
	dir    string
	name   string // of part %d
	header string
	format string // of item %d
	number func(raw json.RawMessage) (int, error)
}

func (w *world) path(part int) string { return filepath.Join(w.dir, fmt.Sprintf(w.name, part)) }

func (w *world) Put(t *testing.T, part, n int) {
	line := fmt.Sprintf(w.format, n)
	info, err := os.Stat(w.path(part))
	if err != nil || info.Size() == 0 {
		line = w.header + line
	}
	appendTo(t, w.path(part), line)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (w *world) Source(t *testing.T) collect.Source {
	c := DefaultConfig()
	c.Path, c.Every, c.Settle = "*.*", 2*time.Millisecond, 10*time.Millisecond
	return New(c, w.dir, nil)
}

func (w *world) Number(raw json.RawMessage) (int, error) { return w.number(raw) }

// Break hides the file behind a link to itself, which not even root can read.
func (w *world) Break(t *testing.T, part int) {
	must(t, os.Rename(w.path(part), w.aside(part)))
	must(t, os.Symlink(w.path(part), w.path(part)))
}

// aside is a name that the glob leaves out.
func (w *world) aside(part int) string { return filepath.Join(w.dir, fmt.Sprintf(".%d", part)) }

func (w *world) Mend(t *testing.T, part int) {
	must(t, os.Rename(w.aside(part), w.path(part)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	for name, w := range map[string]world{
		"lines": {name: "%d.log", format: "%d\n", number: func(raw json.RawMessage) (int, error) {
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				return 0, err
			}
			return strconv.Atoi(s)
		}},
		"ndjson": {name: "%d.ndjson", format: "%d\n", number: func(raw json.RawMessage) (n int, err error) {
			err = json.Unmarshal(raw, &n)
			return n, err
		}},
		"csv": {name: "%d.csv", header: "a,n\n", format: "\"x\ny\",%d\n", number: func(raw json.RawMessage) (int, error) {
			var row struct{ A, N string }
			if err := json.Unmarshal(raw, &row); err != nil {
				return 0, err
			}
			return strconv.Atoi(row.N)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			collecttest.Run(t, collecttest.Harness{Parts: 3, World: func(t *testing.T) collecttest.World {
				w := w
				w.dir = t.TempDir()
				return &w
			}})
		})
	}
}
