// Package limits measures what the program needs: a big file, many open paths, many files, monstrous items, gzip bombs, many
// sources, wide records, many days. It drives the real binary, prints peak memory, open files, disk and time
// (docs/limits.md has the numbers), and fails where memory, files or disk leave their budget or a record is lost or doubled.
// How long something takes is printed and not judged.
//
// The defaults take seconds each, and draw one of the bombs and of the big files. For all, and more: HEADWATER_BIG=5GB (the big file), HEADWATER_FILES=100000,
// HEADWATER_BOMB=10GB.
package limits

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"headwater/internal/setting"
	"headwater/tests/binary"
)

const mib = 1 << 20

// usage is what a process needed.
type usage struct {
	wall time.Duration
	cpu  time.Duration // which, unlike wall, other programs hardly change
	// rss is the peak of resident memory; fds and threads are the most that were seen.
	rss, fds, threads int
}

func (u usage) String() string {
	return fmt.Sprintf("%6.1f s, %6.1f CPU s, peak memory %4d MiB, %3d files, %3d threads", u.wall.Seconds(), u.cpu.Seconds(), u.rss/mib, u.fds, u.threads)
}

// meter watches a process until it ends.
type meter struct {
	proc *binary.Process
	done chan usage
}

// tooMuch is when a process is killed for the sake of the machine that the test runs on, whatever its budget is.
const tooMuch = 3 << 30

// watch starts a subcommand under a meter.
func watch(t *testing.T, p binary.Pipeline, command string, args ...string) *meter {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("memory and files of a process are read from /proc")
	}
	m := &meter{proc: p.Start(t, nil, command, args...), done: make(chan usage, 1)}
	began := time.Now()
	go func() {
		var u usage
		for m.look(&u) {
			if u.rss > tooMuch {
				_ = m.proc.Cmd.Process.Kill()
			}
			time.Sleep(20 * time.Millisecond)
		}
		u.wall = time.Since(began)
		m.done <- u
	}()
	return m
}

// look takes the figures of the process, and reports whether it still has any. VmHWM is the kernel's own peak; what wait4 tells of a child
// would include the memory of this test from before the exec.
func (m *meter) look(u *usage) bool {
	dir := fmt.Sprintf("/proc/%d/", m.proc.Cmd.Process.Pid)
	text, err := os.ReadFile(dir + "status")
	if err != nil || !strings.Contains(string(text), "VmHWM:") {
		return false // it has ended, and nobody may have asked how yet
	}
	if files, err := os.ReadDir(dir + "fd"); err == nil {
		u.fds = max(u.fds, len(files))
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		switch key {
		case "VmHWM":
			u.rss = max(u.rss, n<<10)
		case "Threads":
			u.threads = max(u.threads, n)
		}
	}
	return true
}

// now is the peak so far.
func (m *meter) now(t *testing.T) usage {
	t.Helper()
	var u usage
	if !m.look(&u) {
		t.Fatal("the process has ended")
	}
	return u
}

// wait waits until the process ends well.
func (m *meter) wait(t *testing.T) (usage, binary.Result) {
	t.Helper()
	r := m.proc.Wait(t, time.Hour)
	u := <-m.done
	u.cpu = m.proc.Cmd.ProcessState.UserTime() + m.proc.Cmd.ProcessState.SystemTime()
	if u.rss > tooMuch {
		t.Fatalf("it was killed at %d MiB", u.rss/mib)
	}
	r.Must(t)
	return u, r
}

// stop has the process drain and end.
func (m *meter) stop(t *testing.T) usage {
	t.Helper()
	if err := m.proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	u, _ := m.wait(t)
	return u
}

// run runs a subcommand to its end.
func run(t *testing.T, p binary.Pipeline, command string, args ...string) usage {
	t.Helper()
	u, _ := watch(t, p, command, args...).wait(t)
	return u
}

// within fails the test when a figure is over its budget.
func within(t *testing.T, what string, got, budget int) {
	t.Helper()
	if got > budget {
		t.Errorf("%s: %d, the budget is %d", what, got, budget)
	}
}

// size is an environment variable's size, or what holds without it.
func size(t *testing.T, name, otherwise string) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		text = otherwise
	}
	var b setting.Bytes
	if err := b.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return int(b)
}

// source of chance that can be had again.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv("HEADWATER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// drawOne is one of several, where one after the other takes long: the seed says which.
func drawOne[T any](t *testing.T, all []T) []T {
	t.Helper()
	i := chance(t).IntN(len(all))
	return all[i : i+1]
}

// answer is the one row that a query answers.
func answer(t *testing.T, p binary.Pipeline, sql string) []string {
	t.Helper()
	proc := p.Start(t, nil, "query", "--format", "csv", sql)
	rows, err := csv.NewReader(strings.NewReader(proc.Wait(t, 10*time.Minute).Must(t))).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%s: %q, %v", sql, rows, err)
	}
	return rows[1]
}

// dense fails the test unless a table has the numbers from 0 to n-1 in column n, each once.
func dense(t *testing.T, p binary.Pipeline, table string, n int) {
	t.Helper()
	got := strings.Join(answer(t, p, "select count(*), count(distinct n), min(n), max(n) from "+table), " ")
	if want := fmt.Sprint(n, n, 0, n-1); got != want {
		t.Errorf("%s: count, distinct, least and greatest number are %s, want %s", table, got, want)
	}
}

// disk is how many bytes lie in a folder of the pipeline.
func disk(t *testing.T, p binary.Pipeline, folder string) int {
	t.Helper()
	total := 0
	err := filepath.WalkDir(filepath.Join(p.Dir, folder), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += int(info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

// status is the part of status --json that these tests look at.
type status struct {
	Running bool
	Listen  struct{ Kafka string }
	Sources []struct {
		Name    string
		Records int
	}
	Topics []struct {
		Topic       string
		Records     int
		Lag         int
		OpenObjects int `json:"open_objects"`
	}
}

func statusOf(t *testing.T, p binary.Pipeline) status {
	t.Helper()
	var s status
	if err := json.Unmarshal([]byte(p.Run(t, nil, "status", "--json").Must(t)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits for a status; one that never comes fails the test.
func eventually(t *testing.T, p binary.Pipeline, what string, done func(status) bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if done(statusOf(t, p)) {
			return
		}
	}
	t.Fatalf("five minutes have passed without %s", what)
}

// lines writes about n bytes of numbered JSON lines, and gives their count. They compress about as well as logs do.
func lines(t *testing.T, name string, n int, compress bool) int {
	t.Helper()
	rng := chance(t)
	f := create(t, name, compress)
	count := 0
	var line []byte
	for written := 0; written < n; count++ {
		line = fmt.Appendf(line[:0], `{"n":%d,"at":"2026-07-05T%02d:%02d:%02dZ","user":{"id":%d,"country":"c%d"},"path":"/shop/%x/item-%d","status":%d,"took":%.3f}`+"\n",
			count, count/3600%24, count/60%60, count%60, rng.IntN(1e6), rng.IntN(200), rng.Uint32(), rng.IntN(1e4), 200+rng.IntN(5)*50, rng.Float64()*10)
		f.write(t, line)
		written += len(line)
	}
	f.close(t)
	return count
}

// sink is a file that a test makes, compressed or not.
type sink struct {
	f *os.File
	b *bufio.Writer
	z *gzip.Writer // nil if it is not compressed
}

func create(t *testing.T, name string, compress bool) *sink {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{f: f, b: bufio.NewWriter(f)}
	if compress {
		s.z = gzip.NewWriter(s.b)
	}
	return s
}

func (s *sink) write(t *testing.T, b []byte) {
	t.Helper()
	var err error
	if s.z != nil {
		_, err = s.z.Write(b)
	} else {
		_, err = s.b.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *sink) close(t *testing.T) {
	t.Helper()
	if s.z != nil {
		if err := s.z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.b.Flush(), s.f.Close()); err != nil {
		t.Fatal(err)
	}
}
