package flow

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

const onSmallDisks = `
database: db
data_dir: data
min_free: 0
lake: {raw: raw, tables: tables}
collect: {retry: {min: 10ms, max: 50ms, tries: 2}, max_record: %[1]s, max_item: %[1]s}
land: {max.memory: 1MiB}
serialize: {row_group_bytes: 1MiB}
sources: {orders: {file: {path: "in/*.ndjson"}}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// padded is n more lines of the given length that do not compress.
func (l *lines) padded(n, length int) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(uint64(l.next), 0))
	pad := make([]byte, length*3/4)
	for range n {
		for i := range pad {
			pad[i] = byte(r.Uint32())
		}
		fmt.Fprintf(&b, "{\"n\":%d,\"pad\":%q}\n", l.next, base64.StdEncoding.EncodeToString(pad))
		l.next++
	}
	return b.Bytes()
}

// endsWithin waits for a process that should end by itself; one that does not is killed, and the test has failed but goes on.
func endsWithin(t *testing.T, proc *binary.Process, limit time.Duration) binary.Result {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if errors.Is(proc.Cmd.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) {
			return proc.Wait(t, 3*time.Minute)
		}
	}
	proc.Kill(t)
	t.Errorf("%v did not end within %v", proc.Cmd.Args[1:], limit)
	return proc.Wait(t, 3*time.Minute)
}

// TestFullDisk has each stage in turn meet the end of a disk: the run says so and ends with 4. With room again the next run brings
// every line into the tables exactly once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	bin := binary.Build(t)
	const mib = 1 << 20
	tests := []struct {
		name              string
		data, raw, tables int // bytes of the disk of each folder; 0 is no disk of its own
		maxItem           string
		count, length     int    // of lines
		large             int    // length of one more line; 0 is none
		malformed         bool   // a second file has the same lines, without their ends
		says              string // which stage it was
	}{
		{name: "nothing fits", data: 4096, count: 1, length: 100},
		{name: "the topic", data: 2 * mib, count: 10, length: 100, large: 3 * mib, says: "producing"},
		{name: "the spool", data: 3 * mib, count: 200, length: 13_000, says: "spool"},
		{name: "an object", raw: mib, count: 200, length: 13_000, says: "putting object topics/"},
		{name: "an item in quarantine", raw: mib, maxItem: "1MiB", count: 10, length: 100, large: 3 * mib, says: "_quarantine/collect"},
		{name: "what serialize quarantines", raw: 5 * mib, count: 200, length: 13_000, malformed: true, says: "_quarantine/serialize"},
		{name: "the Parquet file in the making", data: 8 * mib, count: 200, length: 20_000, says: "serializing"},
		{name: "the table file", tables: 2 * mib, count: 200, length: 20_000, says: "publishing"},
		{name: "the second table's file", tables: 5 * mib, count: 200, length: 20_000, says: "db.orders:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.maxItem == "" {
				test.maxItem = "20MB"
			}
			l := &lines{Pipeline: binary.New(t, bin, fmt.Sprintf(onSmallDisks, test.maxItem))}
			disks := map[string]int{"data": test.data, "raw": test.raw, "tables": test.tables}
			for name, size := range disks {
				if size > 0 {
					fixture.SmallDisk(t, filepath.Join(l.Dir, name), size)
				}
			}
			l.Write(t, "in/a.ndjson", l.padded(test.count, test.length))
			rows := l.next
			if test.malformed {
				l.Write(t, "in/bad.ndjson", bytes.ReplaceAll(l.padded(test.count, test.length), []byte("}\n"), []byte("\n")))
			}
			if test.large > 0 {
				l.Write(t, "in/b.ndjson", l.padded(1, test.large))
				if test.maxItem == "20MB" {
					rows++ // else it belongs into quarantine
				}
			}
			r := endsWithin(t, l.Start(t, nil, "run", "--once"), 2*time.Minute)
			if r.Code != 4 {
				t.Errorf("with a full disk the run ended with %d, signal %v\n%.2000s", r.Code, r.Signal, r.Stderr)
			}
			for _, want := range []string{"no space left on device", test.says} {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("the run does not say %q: another stage met the end of the disk, or it is not told\n%.2000s", want, r.Stderr)
				}
			}
			for name, size := range disks {
				if size > 0 {
					if err := syscall.Mount("tmpfs", filepath.Join(l.Dir, name), "tmpfs", syscall.MS_REMOUNT, "size=100m"); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 2 { // the second has nothing to do
				l.Run(t, nil, "run", "--once").Must(t)
				wantOnce(t, "the flat table", rows, everyLine(t, l.Pipeline, "orders", "n"))
				wantOnce(t, "the raw table", rows, everyLine(t, l.Pipeline, "orders_raw", "raw_data.n"))
				if test.malformed && len(quarantinedIn(t, l.Pipeline, "raw")) != test.count {
					t.Errorf("%d lines are in quarantine, want %d", len(quarantinedIn(t, l.Pipeline, "raw")), test.count)
				}
			}
			left, err := filepath.Glob(filepath.Join(l.Dir, "*/*/*/*/*/*/.tmp-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("temporary files are left: %v, %v", left, err)
			}
		})
	}
}

// TestLowDisk: while the disk of the broker is almost full nothing is collected and the process says so; with room again it goes on by
// itself.
func TestLowDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	l := &lines{Pipeline: binary.New(t, binary.Build(t), `
database: db
data_dir: data
min_free: 32MiB
collect: {retry: {min: 10ms, max: 100ms, tries: 2}}
sources:
  orders: {file: {path: "in/*.ndjson", every: 50ms}}
  hooks: {push: {}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`)}
	disk := filepath.Join(l.Dir, "data")
	fixture.SmallDisk(t, disk, 64<<20)
	if err := os.Mkdir(filepath.Join(l.Dir, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	proc := l.Start(t, nil, "run")
	l.Write(t, "in/a.ndjson", []byte(l.text(10)))
	read := func(n int64) func() bool {
		return func() bool {
			s := statusOf(t, l.Pipeline)
			return len(s.Sources) == 2 && s.Sources[0].Records == n
		}
	}
	binary.Eventually(t, "reading", read(10))
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	binary.Eventually(t, "saying that the disk is almost full", func() bool {
		code, text := get(t, l.Pipeline, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "min_free")
	})
	binary.Eventually(t, "refusing what is sent", func() bool {
		resp, err := http.Post("http://"+statusOf(t, l.Pipeline).Listen.HTTP+"/ingest/hooks", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	binary.Eventually(t, "no source running", func() bool {
		s := statusOf(t, l.Pipeline)
		return s.Sources[0].State != "running" && s.Sources[1].State != "running"
	})
	l.Write(t, "in/b.ndjson", []byte(l.text(10)))
	time.Sleep(500 * time.Millisecond) // ten listings
	if !read(10)() {
		t.Error("a file was read into a disk that is almost full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	binary.Eventually(t, "going on", read(20))
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	l.Run(t, nil, "run", "--once").Must(t)
	l.verify(t)
}
