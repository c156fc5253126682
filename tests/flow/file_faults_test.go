package flow

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"headwater/tests/binary"
)

const living = `
database: db
collect: {snapshot_every: 100ms}
sources:
  orders: {file: {path: "in/**/*.ndjson*", every: 20ms, settle: 50ms}}
  other: {file: {path: "other/*.ndjson", every: 20ms, settle: 50ms}}
land: {rotate.schedule.interval.ms: 200}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// reader is a living pipeline whose files change under its hands.
type reader struct {
	lines
	proc *binary.Process
	// again is how many of the first lines are there a second time, others how many lines the other source has.
	again, others int
}

// read waits until n records of orders have been read.
func (r *reader) read(t *testing.T, n int) {
	t.Helper()
	binary.Eventually(t, fmt.Sprintf("reading %d records", n), func() bool {
		s := statusOf(t, r.Pipeline)
		return s.Running && len(s.Sources) == 2 && s.Sources[0].Records >= int64(n)
	})
}

func (r *reader) path(name string) string { return filepath.Join(r.Dir, name) }

// must fails the test for an error of what a test does to files.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add appends to a file, as a logger does.
func (r *reader) add(t *testing.T, name string, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(r.path(name)), 0o750))
	f, err := os.OpenFile(r.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

// squeeze is the text as one gzip member.
func squeeze(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	must(t, errors.Join(err, z.Close()))
	return b.Bytes()
}

// TestFilesUnderTheReader changes files while a living pipeline reads them. Every line that was whole, in a file that was there long enough to
// be read, is in the tables exactly once; other files and the other source go on; the pipeline drains.
func TestFilesUnderTheReader(t *testing.T) {
	t.Parallel()
	bin := binary.Build(t)
	tests := []struct {
		name string
		do   func(t *testing.T, r *reader)
	}{
		{"a file that disappears", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Remove(r.path("in/a.ndjson")))
		}},
		{"a file that disappears and comes back", func(t *testing.T, r *reader) {
			text := r.text(10)
			r.Write(t, "in/a.ndjson", []byte(text))
			r.read(t, 10)
			must(t, os.Remove(r.path("in/a.ndjson")))
			r.Write(t, "in/b.ndjson", []byte(r.text(1))) // so that the reader has looked
			r.read(t, 11)
			r.Write(t, "in/a.ndjson", []byte(text+r.text(5)))
		}},
		{"a file that shrinks", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Truncate(r.path("in/a.ndjson"), 0))
			r.add(t, "in/a.ndjson", r.text(3)) // shorter than it was, and other lines
			r.read(t, 13)
			r.add(t, "in/a.ndjson", r.text(30))
		}},
		{"a file that is replaced", func(t *testing.T, r *reader) {
			for i := range 4 {
				r.Write(t, "in/a.ndjson", []byte(r.text(10+i))) // by rename
				r.read(t, r.next)
			}
		}},
		{"a file that is renamed", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Rename(r.path("in/a.ndjson"), r.path("in/a.ndjson.1"))) // matches: another file, read again
			r.again = 10
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
		}},
		{"a file that is rotated out of the glob", func(t *testing.T, r *reader) {
			for i := range 4 {
				r.Write(t, "in/a.ndjson", []byte(r.text(10)))
				r.read(t, r.next)
				must(t, os.Rename(r.path("in/a.ndjson"), r.path(fmt.Sprintf("in/a.%d", i))))
			}
		}},
		{"a file that grows by half lines", func(t *testing.T, r *reader) {
			for range 40 {
				line := r.text(1)
				r.add(t, "in/a.ndjson", line[:4])
				r.add(t, "in/b.ndjson", r.text(1))
				r.add(t, "in/a.ndjson", line[4:])
			}
		}},
		{"a gzip that is cut and completed", func(t *testing.T, r *reader) {
			whole := squeeze(t, r.text(2000))
			r.add(t, "in/a.ndjson.gz", string(whole[:len(whole)/2]))
			r.read(t, 1)
			time.Sleep(200 * time.Millisecond) // it settles, and is told of as damaged
			r.add(t, "in/a.ndjson.gz", string(whole[len(whole)/2:]))
			r.read(t, 2000)
			r.add(t, "in/a.ndjson.gz", string(squeeze(t, r.text(100)))) // another member
		}},
		{"links that lead nowhere or in a circle", func(t *testing.T, r *reader) {
			must(t, os.MkdirAll(r.path("in/deep"), 0o750))
			must(t, os.Symlink("nowhere", r.path("in/dangling.ndjson")))
			must(t, os.Symlink("self.ndjson", r.path("in/self.ndjson")))
			must(t, os.Symlink("..", r.path("in/deep/up")))
			must(t, os.Symlink("../deep", r.path("in/deep/circle.ndjson")))
			r.Write(t, "in/deep/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Remove(r.path("in/self.ndjson")))
		}},
		{"a file that becomes a folder, and a folder a file", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.Write(t, "in/b.ndjson/c.ndjson", []byte(r.text(10)))
			r.read(t, 20)
			must(t, os.Remove(r.path("in/a.ndjson")))
			r.Write(t, "in/a.ndjson/d.ndjson", []byte(r.text(10)))
			must(t, os.RemoveAll(r.path("in/b.ndjson")))
			r.Write(t, "in/b.ndjson", []byte(r.text(10)))
		}},
		{"a pipe and a socket", func(t *testing.T, r *reader) {
			must(t, os.MkdirAll(r.path("in"), 0o750))
			must(t, syscall.Mkfifo(r.path("in/a.ndjson"), 0o600))
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			must(t, err)
			defer syscall.Close(fd)
			must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: r.path("in/b.ndjson")}))
			must(t, os.Symlink("/dev/zero", r.path("in/d.ndjson")))
			r.Write(t, "in/e.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Remove(r.path("in/a.ndjson")))
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
		}},
		{"a file that becomes a pipe", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			for range 20 { // to meet the moment between looking at the name and opening it
				must(t, os.Remove(r.path("in/a.ndjson")))
				must(t, syscall.Mkfifo(r.path("in/a.ndjson"), 0o600))
				time.Sleep(10 * time.Millisecond)
				must(t, os.Remove(r.path("in/a.ndjson")))
				r.Write(t, "in/a.ndjson", []byte(r.text(1)))
				r.read(t, r.next)
			}
		}},
		{"a name that is now a file and now a pipe", func(t *testing.T, r *reader) {
			must(t, os.MkdirAll(r.path("in"), 0o750))
			must(t, syscall.Mkfifo(r.path("pipe"), 0o600))
			for range 4000 { // the reader sees a file that has grown, and opens a pipe
				r.add(t, "file", r.text(1))
				for _, now := range []string{"pipe", "file"} {
					must(t, os.Link(r.path(now), r.path("next")))
					must(t, os.Rename(r.path("next"), r.path("in/a.ndjson")))
				}
			}
		}},
		{"the folder goes and comes", func(t *testing.T, r *reader) {
			r.Write(t, "in/a.ndjson", []byte(r.text(10)))
			r.read(t, 10)
			must(t, os.Rename(r.path("in"), r.path("gone")))
			r.Write(t, "other/while.ndjson", []byte("{\"n\":-1}\n"))
			binary.Eventually(t, "the other source going on", func() bool {
				s := statusOf(t, r.Pipeline)
				return len(s.Sources) == 2 && s.Sources[1].Records == 1
			})
			r.others++
			must(t, os.Rename(r.path("gone"), r.path("in")))
			r.add(t, "in/a.ndjson", r.text(10))
		}},
		{"three thousand small files", func(t *testing.T, r *reader) {
			must(t, os.MkdirAll(r.path("in"), 0o750))
			for i := range 3000 {
				must(t, os.WriteFile(r.path(fmt.Sprintf("in/%04d.ndjson", i)), []byte(r.text(1)), 0o600))
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &reader{lines: lines{Pipeline: binary.New(t, bin, living)}}
			r.proc = r.Start(t, nil, "run")
			test.do(t, r)
			r.Write(t, "in/last.ndjson", []byte(r.text(1)))
			r.Write(t, "other/last.ndjson", []byte("{\"n\":-1}\n"))
			r.others++
			r.read(t, r.next+r.again)
			must(t, r.proc.Cmd.Process.Signal(syscall.SIGTERM))
			ended := r.proc.Wait(t, 3*time.Minute)
			ended.Must(t)
			if n := strings.Count(ended.Stderr, "\n"); n > 60 {
				t.Errorf("%d lines were logged, as if something went round and round:\n%.3000s", n, ended.Stderr)
			}
			r.Run(t, nil, "run", "--once").Must(t)
			got := everyLine(t, r.Pipeline, "orders", "n")
			for n := range r.again {
				got[n]--
			}
			wantOnce(t, "the flat table", r.next, got)
			if others := everyLine(t, r.Pipeline, "other", "n"); others[-1] != r.others {
				t.Errorf("the other source has %v, want %d lines", others, r.others)
			}
			if t.Failed() {
				t.Logf("%.3000s", ended.Stderr)
			}
		})
	}
}

// damages are what a kill, a full disk or a power cut make of the end of a file.
var damages = map[string]func(data []byte) []byte{
	"a byte short":      func(data []byte) []byte { return data[:max(len(data)-1, 0)] },
	"cut in the middle": func(data []byte) []byte { return data[:len(data)/2] },
	"empty":             func([]byte) []byte { return nil },
	"another last byte": func(data []byte) []byte { return flip(data, len(data)-1) },
	"a byte flipped":    func(data []byte) []byte { return flip(data, len(data)-20) },
	"zeros at the end":  func(data []byte) []byte { return append(data, make([]byte, 100)...) },
	"half written":      func(data []byte) []byte { return append(data, data[:len(data)/3]...) },
}

func flip(data []byte, at int) []byte {
	if at = max(at, 0); at < len(data) {
		data[at] ^= 0x20
	}
	return data
}

// TestTornFiles kills a pipeline that has landed lines and has others only in its topic, and damages one file of its data folder. The next run
// repairs that and has every line exactly once, or says what is wrong; it never panics, and what has landed stays.
func TestTornFiles(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	bin := binary.Build(t)
	const yaml = `
database: db
collect: {snapshot_every: 100ms}
sources:
  orders: {file: {path: "in/*.ndjson", every: 20ms, settle: 50ms}}
land: {rotate.schedule.interval.ms: -1}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`
	l := &lines{Pipeline: binary.New(t, bin, yaml)}
	for i := range 2 {
		l.Write(t, fmt.Sprintf("in/%d.ndjson", i), []byte(l.text(20)))
		l.Run(t, nil, "run", "--once").Must(t)
	}
	landed := l.next
	proc := l.Start(t, nil, "run")
	for i := range 2 { // the cursor is written between them
		l.Write(t, fmt.Sprintf("in/%d.ndjson", i+2), []byte(l.text(20)))
		binary.Eventually(t, "reading", func() bool {
			s := statusOf(t, l.Pipeline)
			return len(s.Sources) == 1 && s.Sources[0].Records >= int64(20*(i+1))
		})
		time.Sleep(time.Duration(1-i) * 300 * time.Millisecond)
	}
	proc.Kill(t)
	for _, name := range []string{ // what killed processes leave behind
		"raw/topics/orders_raw/date=2026-01-02/.tmp-killed", "raw/_quarantine/collect/orders/date=2026-01-02/.tmp-killed",
		"tables/db/orders/year=2026/month=1/day=2/.tmp-killed", "tmp/land/1.gz", "tmp/serialize/x", "run.json.tmp",
	} {
		l.Write(t, "headwater-data/"+name, []byte("half"))
	}

	var files []string
	must(t, filepath.WalkDir(l.Dir+"/headwater-data", func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, l.Dir+"/")
		if err == nil && d.Type().IsRegular() && !strings.Contains(name, "/raw/topics/") && !strings.Contains(name, "/tables/db/") {
			files = append(files, name)
		}
		return err
	}))
	type damage struct{ file, kind string }
	var all []damage
	for _, f := range files {
		for _, kind := range slices.Sorted(maps.Keys(damages)) {
			all = append(all, damage{f, kind})
		}
	}
	if n := times(t, "HEADWATER_DAMAGES", 12); n < len(all) {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:n]
	}
	for _, d := range all {
		t.Run(d.file+" "+d.kind, func(t *testing.T) {
			t.Parallel()
			torn(t, l, landed, d.file, d.kind)
		})
	}
}

func torn(t *testing.T, from *lines, landed int, file, kind string) {
	p := binary.New(t, from.Bin, "")
	must(t, os.Remove(p.File))
	must(t, os.CopyFS(p.Dir, os.DirFS(from.Dir)))
	data, err := os.ReadFile(filepath.Join(p.Dir, file))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.Dir, file), damages[kind](data), 0o600))
	r := endsWithin(t, p.Start(t, nil, "run", "--once"), 2*time.Minute)
	if strings.Contains(r.Stderr, "goroutine ") {
		t.Fatalf("it panicked:\n%.5000s", r.Stderr)
	}
	// What a kill leaves of a batch that nobody was told the broker has, and files that only help, keep no run from being whole.
	unacknowledged := filepath.Ext(file) == ".dat" && kind == "zeros at the end"
	if helps := []string{".idx", ".log", ".tmp", ".gz", ""}; r.Code != 0 && (unacknowledged || slices.Contains(helps, filepath.Ext(file)) || filepath.Base(file) == "run.json") {
		t.Errorf("the run ended with %d, which this damage is no reason for", r.Code)
	}
	if r.Code == 0 {
		must(t, filepath.WalkDir(filepath.Join(p.Dir, "headwater-data"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(d.Name(), ".tmp-") {
				t.Errorf("%s is still there", path)
			}
			return err
		}))
		wantOnce(t, "the flat table", from.next, everyLine(t, p, "orders", "n"))
		wantOnce(t, "the raw table", from.next, everyLine(t, p, "orders_raw", "raw_data.n"))
	} else {
		got := everyLine(t, p, "orders", "n")
		for n := landed; n < from.next; n++ {
			if got[n] == 1 {
				delete(got, n) // it has come as far as into the tables
			}
		}
		wantOnce(t, "what had landed", landed, got)
		if !strings.Contains(r.Stderr, filepath.Base(file)) && !strings.Contains(r.Stderr, "orders_raw") {
			t.Errorf("the run ended with %d and does not say what is wrong", r.Code)
		}
		t.Logf("%s: code %d: %.300s", file, r.Code, lastLine(r.Stderr))
	}
	if t.Failed() {
		t.Logf("code %d, signal %v\n%.3000s", r.Code, r.Signal, r.Stderr)
	}
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// TestTornTable damages the file of a table. The run refuses to replace what it cannot read, and says which file that is; when a person
// has removed it, the next run makes it again.
func TestTornTable(t *testing.T) {
	t.Parallel()
	bin := binary.Build(t)
	for _, kind := range slices.Sorted(maps.Keys(damages)) {
		if kind == "a byte flipped" || kind == "half written" {
			continue // these do not reach the footer, or leave one at the end that is whole
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := &lines{Pipeline: binary.New(t, bin, orders)}
			l.Write(t, "in/a.ndjson", []byte(l.text(20)))
			l.Run(t, nil, "run", "--once").Must(t)
			l.Write(t, "in/b.ndjson", []byte(l.text(20)))
			files, err := filepath.Glob(filepath.Join(l.Dir, "headwater-data/tables/db/orders/*/*/*/*.parquet"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			data, err := os.ReadFile(files[0])
			must(t, err)
			must(t, os.WriteFile(files[0], damages[kind](data), 0o600))
			for range 2 {
				r := endsWithin(t, l.Start(t, nil, "run", "--once"), 2*time.Minute)
				if r.Code == 0 || r.Signal != 0 || !strings.Contains(r.Stderr, "db.orders") || strings.Contains(r.Stderr, "goroutine ") {
					t.Errorf("with a damaged file the run ended with %d, signal %v\n%.2000s", r.Code, r.Signal, r.Stderr)
				}
			}
			must(t, os.Remove(files[0]))
			l.Run(t, nil, "run", "--once").Must(t)
			l.verify(t)
		})
	}
}
