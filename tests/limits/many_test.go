package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// TestManyFiles reads many small files at once, and again, when nothing is new.
func TestManyFiles(t *testing.T) {
	n := size(t, "HEADWATER_FILES", "10000")
	p := binary.New(t, binary.Build(t), oneSource)
	for i := range n {
		name := filepath.Join(p.Dir, "in", fmt.Sprintf("%06d.ndjson", i))
		if i == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(name, fmt.Appendf(nil, "{\"n\":%d}\n{\"n\":%d}\n", 2*i, 2*i+1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{"first run", "second run"} {
		u := run(t, p, "run", "--once")
		t.Logf("%d files, %-10s: %v; Kafka %d MiB", n, what, u, disk(t, p, "headwater-data/kafka")/mib)
		within(t, "peak memory in MiB", u.rss/mib, 600)
		within(t, "open files", u.fds, 200)
		dense(t, p, "db.big", 2*n)
		exactlyOnce(t, p, "big_raw", 2*n)
	}
}

// TestManySources runs 500 sources in one process.
func TestManySources(t *testing.T) {
	const n = 500
	var yaml strings.Builder
	yaml.WriteString("database: db\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\"}\nsources:\n")
	for i := range n {
		fmt.Fprintf(&yaml, "  s%d: {file: {path: \"in/%d.ndjson\", settle: 10ms}}\n", i, i)
	}
	p := binary.New(t, binary.Build(t), yaml.String())
	for i := range n {
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), []byte("{\"n\":0}\n"))
	}
	began := time.Now()
	m := watch(t, p, "run")
	ready(t, p, m)
	answering := time.Since(began)
	eventually(t, p, "reading every source", func(s status) bool {
		read := 0
		for _, source := range s.Sources {
			read += source.Records
		}
		return read == n
	})
	reading := time.Since(began)
	u := m.stop(t)
	t.Logf("%d sources, run: answers after %.1f s, has read all after %.1f s; %v", n, answering.Seconds(), reading.Seconds(), u)
	within(t, "peak memory in MiB", u.rss/mib, 600)
	within(t, "open files", u.fds, 12*n) // both ends of a source's connections are in the process, and its topic's log

	u = run(t, p, "run", "--once")
	t.Logf("%d sources, run --once: %v", n, u)
	within(t, "peak memory in MiB", u.rss/mib, 600)
	if got := strings.Join(answer(t, p, "select count(*), sum(n) from (select n from db.s0 union all select n from db.s"+fmt.Sprint(n-1)+")"), " "); got != "2 0" {
		t.Errorf("the first and the last source have %s", got)
	}

	m = watch(t, p, "run")
	ready(t, p, m)
	if err := m.proc.Cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	goroutines := len(regexp.MustCompile(`(?m)^goroutine \d+ `).FindAllString(m.proc.Wait(t, 3*time.Minute).Stderr, -1))
	t.Logf("%d sources: %d goroutines", n, goroutines)
	if goroutines < n {
		t.Errorf("found only %d goroutines, which cannot be all", goroutines)
	}
	within(t, "goroutines", goroutines, 40*n)
}

// TestWideRecords makes tables of 3,000 columns.
func TestWideRecords(t *testing.T) {
	const columns, count = 3000, 200
	p := binary.New(t, binary.Build(t), oneSource)
	f := create(t, filepath.Join(p.Dir, "in/a.ndjson"), false)
	rng := chance(t)
	for i := range count {
		line := fmt.Appendf(nil, `{"n":%d`, i)
		for c := range columns - 1 {
			line = fmt.Appendf(line, `,"column_%d":%d`, c, rng.IntN(1e6))
		}
		f.write(t, append(line, "}\n"...))
	}
	f.close(t)
	u := run(t, p, "run", "--once")
	t.Logf("%d columns, %d rows: %v", columns, count, u)
	within(t, "peak memory in MiB", u.rss/mib, 1024)
	dense(t, p, "db.big", count)
	if got := answer(t, p, "select count(column_0), count(column_2998) from db.big"); got[0] != fmt.Sprint(count) || got[1] != got[0] {
		t.Errorf("the first and the last column have %v values, want %d each", got, count)
	}
}
