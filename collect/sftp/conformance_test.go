package sftp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is a folder that a server has, whose files are the parts; one item is one line.
type world struct {
	server *fixture.SFTP
	dir    string // of this world alone
}

func (w *world) path(part int) string { return filepath.Join(w.dir, fmt.Sprintf("%d.log", part)) }

func (w *world) Put(t *testing.T, part, n int) { appendTo(t, w.path(part), fmt.Sprintln(n)) }

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer f.Close()
	_, err = f.WriteString(text)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) Source(*testing.T) collect.Source {
	c := configOf(w.server, w.dir+"/*.*")
	c.Every, c.Settle = 2*time.Millisecond, 10*time.Millisecond
	return New(c, "", nil)
}

func (w *world) Number(raw json.RawMessage) (int, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return 0, err
	}
	return strconv.Atoi(s)
}

// Break hides the file behind one that not even root can read.
func (w *world) Break(t *testing.T, part int) {
	must(t, os.Rename(w.path(part), w.aside(part)))
	must(t, os.Symlink("/proc/self/mem", w.path(part)))
}

// aside is a name that the glob leaves out.
func (w *world) aside(part int) string { return filepath.Join(w.dir, fmt.Sprintf(".%d", part)) }

func (w *world) Mend(t *testing.T, part int) { must(t, os.Rename(w.aside(part), w.path(part))) }

func TestConformance(t *testing.T) {
	server := fixture.NewSFTP(t)
	collecttest.Run(t, collecttest.Harness{Parts: 3, World: func(t *testing.T) collecttest.World {
		dir := filepath.Join(server.Dir, strings.ReplaceAll(t.Name(), "/", "-"))
		must(t, os.Mkdir(dir, 0o755))
		return &world{server, dir}
	}})
}
