package ftp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zip"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// configOf reads a glob in a server's folder.
func configOf(s *fixture.FTP, glob string) Config {
	c := DefaultConfig()
	c.URL = "ftp://" + s.User + "@" + s.Addr + s.Path + glob
	c.Password, c.CA, c.TLS = setting.Secret(s.Password), s.CA, tlsNone
	if s.CA != "" {
		c.TLS = tlsExplicit
	}
	return c
}

// bench is a server, a topic and a configuration.
type bench struct {
	*fixture.FTP
	log   *collecttest.Log
	c     Config
	tries int
	notes notes
	wrap  func(net.Conn) net.Conn
}

// notes is a log that may be read while it is written.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

func newBench(t *testing.T, s *fixture.FTP, glob string) *bench {
	b := &bench{FTP: s, log: &collecttest.Log{Buffer: 10_000}, c: configOf(s, glob), tries: 1}
	if f := b.c.Validate(); len(f) > 0 {
		t.Fatal(f)
	}
	b.c.Every, b.c.Settle, b.c.Timeout = 20*time.Millisecond, 50*time.Millisecond, 5*time.Second
	return b
}

func (b *bench) write(t *testing.T, name, data string) {
	t.Helper()
	path := filepath.Join(b.Dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	temp := filepath.Join(b.Dir, ".written")
	must(t, os.WriteFile(temp, []byte(data), 0o644))
	must(t, os.Rename(temp, path))
}

// old has a file be of long ago, so that nobody doubts it.
func (b *bench) old(t *testing.T, name string) {
	long := time.Now().Add(-30 * 24 * time.Hour)
	must(t, os.Chtimes(filepath.Join(b.Dir, name), long, long))
}

func (b *bench) source() collect.Source {
	s := newSource(b.c, b.Dir, slog.New(slog.NewTextHandler(&b.notes, nil)))
	s.wrap = b.wrap
	return s.files()
}

func (b *bench) run(ctx context.Context, once bool) error {
	c := collect.DefaultConfig()
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 20 * time.Millisecond, Tries: b.tries}
	return collect.New(collect.Options{
		Name: "files", Source: b.source(), Open: b.log.Open, Quarantine: &collecttest.Quarantine{}, Config: c,
		Logger: slog.New(slog.NewTextHandler(&b.notes, nil)),
	}).Run(ctx, once)
}

func (b *bench) once(t *testing.T) {
	t.Helper()
	must(t, b.run(t.Context(), true))
}

// live runs in the background until stop.
func (b *bench) live(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- b.run(ctx, false) }()
	return func() {
		t.Helper()
		cancel()
		must(t, <-result)
	}
}

// items are "stream: raw_data", with " !" where that is malformed, sorted.
func (b *bench) items(t *testing.T) []string {
	t.Helper()
	items := []string{}
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		must(t, err)
		s := strings.TrimPrefix("/"+r.Position.Stream, b.Path+"/") + ": " + string(v.RawData)
		if _, is := envelope.MetadataMalformed(v.Metadata); is {
			s += " !"
		}
		items = append(items, s)
	}
	for _, fault := range b.log.Faults() {
		t.Error(fault)
	}
	slices.Sort(items)
	return items
}

func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, b.items(t)); d != "" {
		t.Errorf("items (-want +got):\n%s\n%s", d, b.notes.String())
	}
}

// eventually waits until the topic has so many records.
func (b *bench) eventually(t *testing.T, records int) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if len(b.log.Records()) >= records {
			return
		}
	}
	t.Fatalf("%d records, want %d\n%s", len(b.log.Records()), records, b.notes.String())
}

func numbered(from, n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "{\"n\":%d,\"pad\":\"%x\"}\n", from+i, sha256.Sum256(fmt.Append(nil, from+i)))
	}
	return s.String()
}

// ballast makes lines long, so that files do not fit into the buffers between here and the server.
var ballast = strings.Repeat("x", 1000)

// whole fails unless the topic has the lines of numbered(0, n), each once.
func (b *bench) whole(t *testing.T, n int) {
	t.Helper()
	got, want := []string{""}, strings.Split(numbered(0, n), "\n")
	for _, it := range b.items(t) {
		_, raw, _ := strings.Cut(it, ": ")
		got = append(got, strings.ReplaceAll(raw, ballast, ""))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d items, want %d, each once\n%s", len(got)-1, n, b.notes.String())
	}
}

func gzipped(t *testing.T, text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, text)
	must(t, err)
	must(t, z.Close())
	return b.String()
}

func zipped(t *testing.T, name, text string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, z.Close())
	return b.String()
}

// nowhere is an Out that takes everything.
type nowhere struct{ items atomic.Int64 }

func (*nowhere) Streams() map[string]envelope.StreamCursor { return nil }

func (n *nowhere) Emit(context.Context, collect.Item) error { n.items.Add(1); return nil }

func (*nowhere) Drain(context.Context) error { return nil }

func (*nowhere) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

// The ways in, and those that are none.
func TestLogin(t *testing.T) {
	t.Parallel()
	plain, explicit, implicit := fixture.NewVsftpd(t, tlsNone), fixture.NewVsftpd(t, tlsExplicit), fixture.NewVsftpd(t, tlsImplicit)
	for _, c := range []struct {
		name   string
		server *fixture.FTP
		change func(*Config)
		fault  string // empty if it gets in
	}{
		{"plain", plain, func(*Config) {}, ""},
		{"explicit TLS", explicit, func(*Config) {}, ""},
		{"implicit TLS", implicit, func(c *Config) { c.TLS = tlsImplicit }, ""},
		{"a wrong password", explicit, func(c *Config) { c.Password = "tell-tale" }, "does not let user " + explicit.User + " in"},
		{"an unknown authority", explicit, func(c *Config) { c.CA = "" }, "ftp.ca may name its authority"},
		{"another authority", explicit, func(c *Config) { c.CA = implicit.CA }, "ftp.ca may name its authority"},
		{"no authority", explicit, func(c *Config) { c.CA = "nowhere" }, "reading ftp.ca: "},
		{"no TLS where there must be", explicit, func(c *Config) { c.TLS = tlsNone }, "it may want tls: explicit"},
		{"TLS where there is none", plain, func(c *Config) { c.TLS = tlsExplicit }, "tls: none sends password and files"},
	} {
		b := newBench(t, c.server, "/*.txt")
		b.write(t, "a.txt", "1\n")
		c.change(&b.c)
		err := b.run(t.Context(), true)
		if c.fault == "" && (err != nil || len(b.log.Records()) != 1) {
			t.Errorf("%s: %v, %d items", c.name, err, len(b.log.Records()))
		}
		if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault) || len(b.log.Records()) > 0) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
		if err != nil && retry.Classify(err) != retry.Permanent && c.name != "no authority" {
			t.Errorf("%s: %v is tried again", c.name, err)
		}
		if strings.Contains(fmt.Sprint(err, b.notes.String()), "tell-tale") {
			t.Errorf("%s: tells the password: %v", c.name, err)
		}
	}
}

func TestFlights(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(fixture.FlightsCSV(t))
	must(t, err)
	for name, server := range map[string]*fixture.FTP{"explicit": fixture.NewVsftpd(t, tlsExplicit), "plain": fixture.NewFTP(t, "", 0)} {
		b := newBench(t, server, "/*")
		files := 1
		b.write(t, "flights.csv.gz", gzipped(t, string(data)))
		if name == "plain" { // what encrypts is slow
			files = 3
			b.write(t, "flights.csv", string(data))
			b.write(t, "flights.zip", zipped(t, "flights.csv", string(data)))
		}
		began := time.Now()
		out := &nowhere{}
		must(t, b.source().Run(t.Context(), out, true))
		t.Logf("%s: %d rows in %v", name, out.items.Load(), time.Since(began))
		if got := out.items.Load(); got != int64(files*fixture.Flights) {
			t.Errorf("%s: %d rows, want %d", name, got, files*fixture.Flights)
		}
	}
}

// cutting is a connection that ends after some bytes: as a server's that closes it, or as one that breaks.
type cutting struct {
	net.Conn
	left *atomic.Int64
	end  error
}

func (c cutting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.left.Add(int64(-n)) < 0 && err == nil {
		_ = c.Conn.Close()
		return n / 2, c.end
	}
	return n, err
}

// Connections for data end after a random number of bytes, again and again. A connection that ends has not the word that a file ends.
func TestCut(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*fixture.FTP{"plain": fixture.NewVsftpd(t, tlsNone), "explicit": fixture.NewVsftpd(t, tlsExplicit), "seconds": fixture.NewFTP(t, "", 0), "no rest": fixture.NewFTP(t, "REST", 0)} {
		b := newBench(t, server, "/*")
		const lines = 30_000
		b.write(t, "a.ndjson", numbered(0, lines))
		b.write(t, "b.ndjson.gz", gzipped(t, numbered(lines, lines)))
		b.write(t, "c.zip", zipped(t, "c.ndjson", numbered(2*lines, lines)))
		random := rand.New(rand.NewPCG(1, 2))
		var left atomic.Int64
		cuts := 0
		for i := range 6 {
			left.Store(int64(1<<20 + random.IntN(2<<20)))
			end := []error{io.EOF, net.ErrClosed}[i%2]
			b.wrap = func(c net.Conn) net.Conn { return cutting{c, &left, end} }
			if b.run(t.Context(), true) != nil {
				cuts++
			}
		}
		b.wrap = nil
		b.once(t)
		b.whole(t, 3*lines)
		if cuts < 3 {
			t.Errorf("%s: only %d runs were cut", name, cuts)
		}
	}
}

// The server is killed while files are read, and comes back.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewVsftpd(t, tlsExplicit), "/*.ndjson")
	const lines = 10_000
	for i := range 8 {
		b.write(t, fmt.Sprintf("%d.ndjson", i), strings.ReplaceAll(numbered(i*lines, lines), "\"}", ballast+"\"}"))
	}
	stop := b.live(t)
	for i := range 3 {
		b.eventually(t, (2*i+1)*lines/2)
		b.Kill()
		time.Sleep(50 * time.Millisecond)
		b.Start()
	}
	b.eventually(t, 8*lines)
	stop()
	b.whole(t, 8*lines)
	if text := b.notes.String(); !strings.Contains(text, "trying again") && !strings.Contains(text, "cannot read") {
		t.Error("no kill was noticed")
	}
}

// A server that says nothing any more is given up, and a Run that waits for it can be stopped.
func TestSilence(t *testing.T) {
	server := fixture.NewFTP(t, "", 0)
	b := newBench(t, server, "/*.ndjson")
	b.write(t, "a.ndjson", numbered(0, 100))
	proxy := fixture.NewProxy(t, b.Addr)
	b.c.URL = strings.Replace(b.c.URL, b.Addr, proxy.Addr, 1)
	b.c.Timeout = time.Second
	before := runtime.NumGoroutine()
	stopped, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		when  string
		ctx   context.Context
		do    func()
		limit time.Duration
	}{
		{"later", t.Context(), func() {}, 6 * time.Second},
		{"at first", t.Context(), func() { proxy.Frozen.Store(true) }, 6 * time.Second},
		{"stopped", stopped, func() { proxy.Frozen.Store(true); time.AfterFunc(300*time.Millisecond, cancel) }, 900 * time.Millisecond},
	} {
		proxy.Frozen.Store(false)
		c.do()
		began := time.Now()
		shut := time.AfterFunc(500*time.Millisecond, func() { proxy.Frozen.Store(true) })
		err := b.source().Run(c.ctx, &nowhere{}, false)
		shut.Stop()
		if err == nil || time.Since(began) > c.limit {
			t.Errorf("%s: it ended after %v with %v", c.when, time.Since(began), err)
		}
		if c.when == "stopped" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", c.when, err)
		}
		proxy.Break()
	}
	cancel()
	for range 200 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

// A server that ends one connection, or takes few, keeps no file from being read.
func TestFewConnections(t *testing.T) {
	t.Parallel()
	for _, few := range []int{1, 2} {
		b := newBench(t, fixture.NewFTP(t, "", few), "/*.ndjson")
		b.c.Connections = few
		for i := range 10 {
			b.write(t, fmt.Sprintf("%d.ndjson", i), numbered(i*2000, 2000))
		}
		b.once(t)
		b.whole(t, 20_000)
	}
	b := newBench(t, fixture.NewFTP(t, "", 2), "/*.ndjson")
	for i := range 10 {
		b.write(t, fmt.Sprintf("%d.ndjson", i), numbered(i*2000, 2000))
	}
	b.once(t)
	b.whole(t, 20_000)
	if !strings.Contains(b.notes.String(), "the server takes no more connections, ftp.connections may say so") {
		t.Errorf("nobody is told what to do: %s", b.notes.String())
	}
}

// What a server does not know, it is not asked for in vain.
func TestPoorServers(t *testing.T) {
	t.Parallel()
	for _, without := range []string{"REST", "SIZE", "MLSD,MLST", "REST,SIZE,MDTM,EPSV,MLSD,MLST,FEAT"} {
		b := newBench(t, fixture.NewFTP(t, without, 0), "/**")
		const lines = 20_000
		b.write(t, "d/a.ndjson", numbered(0, lines/2))
		b.write(t, "c.zip", zipped(t, "c.ndjson", numbered(lines, lines)))
		b.once(t)
		b.write(t, "d/a.ndjson", numbered(0, lines))
		b.once(t)
		b.once(t)
		if b.whole(t, 2*lines); t.Failed() {
			t.Fatal(without)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, server := range []*fixture.FTP{fixture.NewFTP(t, "", 0), fixture.NewVsftpd(t, tlsNone)} {
		b := newBench(t, server, "/**")
		names := []string{"a b.txt", "d/ü.txt", "e%20?x=y#z.txt", "'\"\\.txt", "[x]{y}*.txt", "d [1]/-la.txt", "d/a -> b.txt"}
		if server.CA == "" && server.Path != "" {
			names = append(names, "caf\xe9.txt")
		}
		for i, name := range names {
			b.write(t, name, fmt.Sprintf("%d\n", i))
		}
		b.once(t)
		b.once(t)
		var want []string
		for i, name := range names {
			want = append(want, fmt.Sprintf("%s#0: \"%d\"", name, i))
		}
		slices.Sort(want)
		b.expect(t, want...)
	}
}

// Files that change while the source runs.
func TestChanges(t *testing.T) {
	t.Parallel()
	for _, server := range []*fixture.FTP{fixture.NewFTP(t, "", 0), fixture.NewVsftpd(t, tlsExplicit)} {
		b := newBench(t, server, "/*")
		b.write(t, "grows.log", "1\n2")
		b.write(t, "replaced.log", "1\n2\n")
		must(t, os.Symlink("grows.log", filepath.Join(b.Dir, "also.log")))
		must(t, os.Symlink("nowhere", filepath.Join(b.Dir, "nowhere.log")))
		must(t, os.Mkdir(filepath.Join(b.Dir, "folder.log"), 0o755))
		same := time.Now().Add(-48 * time.Hour)
		for _, name := range []string{"twin1.log", "twin2.log"} {
			b.write(t, name, name+"\n")
			must(t, os.Chtimes(filepath.Join(b.Dir, name), same, same))
		}
		stop := b.live(t)
		b.eventually(t, 8)
		appendTo(t, filepath.Join(b.Dir, "grows.log"), "\n3\n")
		b.write(t, "replaced.log", "longer\nb\n")
		b.eventually(t, 12)
		stop()
		b.once(t)
		b.expect(t,
			`also.log#0: "1"`, `also.log#0: "2"`, `also.log#0: "3"`, `grows.log#0: "1"`, `grows.log#0: "2"`, `grows.log#0: "3"`,
			`replaced.log#0: "1"`, `replaced.log#0: "2"`, `replaced.log#1: "b"`, `replaced.log#1: "longer"`, `twin1.log#0: "twin1.log"`, `twin2.log#0: "twin2.log"`)
	}
}

// A file that is replaced by one of the same size in the same second looks the same in a listing.
func TestReplacedUnseen(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewFTP(t, "", 0), "/*")
	at := time.Now().Truncate(time.Second)
	path := filepath.Join(b.Dir, "a.log")
	b.write(t, "a.log", "1\n")
	must(t, os.Chtimes(path, at, at))
	stop := b.live(t)
	b.eventually(t, 1)
	temp := filepath.Join(b.Dir, ".temp")
	must(t, os.WriteFile(temp, []byte("2\n"), 0o644))
	must(t, os.Chtimes(temp, at, at))
	must(t, os.Rename(temp, path))
	b.eventually(t, 2)
	stop()
	b.expect(t, `a.log#0: "1"`, `a.log#1: "2"`)
}

// A file that goes while it is read loses nothing that was there; nobody misses one that has gone.
func TestVanishes(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewVsftpd(t, tlsNone), "/*.ndjson")
	const lines = 50_000
	b.write(t, "a.ndjson", numbered(0, lines))
	release := b.log.Hold()
	stop := b.live(t)
	b.eventually(t, 1000)
	must(t, os.Remove(filepath.Join(b.Dir, "a.ndjson")))
	release()
	b.eventually(t, lines)
	stop()
	b.whole(t, lines)
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewVsftpd(t, tlsNone), "/*.log")
	const files = 10_000
	for i := range files {
		name := fmt.Sprintf("%05d.log", i)
		must(t, os.WriteFile(filepath.Join(b.Dir, name), fmt.Appendf(nil, "%d\n", i), 0o644))
		b.old(t, name)
	}
	began := time.Now()
	b.once(t)
	t.Logf("%d files in %v", files, time.Since(began))
	if n := len(b.items(t)); n != files {
		t.Errorf("%d items", n)
	}
}

// A folder that is not there, a folder and a file that must not be read.
func TestFolders(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewVsftpd(t, tlsNone), "/none/*.log")
	if err := b.run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "listing "+b.Dir+"/none: ") {
		t.Error(err)
	}
	b.c = configOf(b.FTP, "/**/*.log")
	b.write(t, "a/1.log", "1\n")
	b.write(t, "b/2.log", "2\n")
	b.write(t, "c/3.log", "3\n")
	must(t, os.Chmod(filepath.Join(b.Dir, "b"), 0o700))
	must(t, os.Chmod(filepath.Join(b.Dir, "c/3.log"), 0o600))
	err := b.run(t.Context(), true)
	if err == nil || !strings.Contains(err.Error(), "2 files or folders") || !strings.Contains(err.Error(), "reading "+b.Dir+"/c/3.log: 550") {
		t.Error(err)
	}
	b.expect(t, `a/1.log#0: "1"`)
}

func TestOddItems(t *testing.T) {
	t.Parallel()
	b := newBench(t, fixture.NewVsftpd(t, tlsNone), "/*")
	b.c.MaxItem = 1 << 20
	b.write(t, "big.ndjson", "\""+strings.Repeat("x", 1<<20-100)+"\"\n\""+strings.Repeat("y", 2<<20)+"\"\n1\n")
	b.write(t, "empty.ndjson", "")
	b.write(t, "poison.ndjson", "{]\n\x00\xff\n2\n")
	b.write(t, "torn.ndjson.gz", gzipped(t, numbered(0, 10))[:40])
	b.once(t)
	b.once(t)
	whole, bad := 0, 0
	for _, it := range b.items(t) {
		if strings.HasSuffix(it, "!") {
			bad++
		} else {
			whole++
		}
	}
	if whole != 3 || bad < 3+2+1 {
		t.Errorf("%d whole items and %d malformed ones", whole, bad)
	}
}

// Lines of a listing that the library leaves out are counted.
func TestLines(t *testing.T) {
	l := lines{on: true}
	for _, text := range []string{"EPSV\r\n229 Entering\r\n150 He", "re\r\ntotal 3\r\n-rw-r--r-- 1 a b 3 Jan 01 00:00 x\r\nprw-r--r-- 1 a b 3 Jan 01 00:00 x\r\n", "\r\nodd", " line\r\n226 Done\r\n"} {
		_, _ = l.Write([]byte(text))
	}
	if l.listed != 2 || l.example != "odd line" {
		t.Errorf("%+v", l)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.URL = "sftp://u@h/a" }, "url: must be as ftp://"},
		{func(c *Config) { c.Password = "" }, "password: is missing"},
		{func(c *Config) { c.Password, c.URL = "", "ftp://anonymous@h/a" }, ""},
		{func(c *Config) { c.TLS = "yes" }, "tls: must be one of none, explicit, implicit"},
		{func(c *Config) { c.TLS, c.CA = tlsNone, "x" }, "ca: is of no use"},
		{func(c *Config) { c.Connections = 0 }, "connections: must be 1"},
		{func(c *Config) { c.Timeout = time.Millisecond }, "timeout: must be 1s"},
		{func(c *Config) { c.Every = 0 }, "every: must be positive"},
		{func(*Config) {}, ""},
	} {
		config := DefaultConfig()
		config.URL, config.Password = "ftp://u@h/a/*.csv", "p"
		c.change(&config)
		var got []string
		for _, f := range config.Validate() {
			got = append(got, f.String())
		}
		if text := strings.Join(got, "\n"); len(got) > 1 || !strings.HasPrefix(text, c.want) || c.want == "" && text != "" {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What becomes of files that are read.
func TestAfter(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]string{
		"delete": "", "move": "old/d/b.log.gz old/a.log", "rename": "in/a.log.read in/d/b.log.gz.read",
	} {
		b := newBench(t, fixture.NewFTP(t, "", 0), "/in/**/*.{log,gz}")
		b.c.After, b.c.DoneMarker = after, ".ok"
		if after == "move" {
			b.c.MoveTo = b.Path + "/old"
			b.write(t, "old/a.log", "another\n")
			want += " old/a.log.19700102T000000Z"
		}
		for name, text := range map[string]string{"in/a.log": "1\n2", "in/d/b.log.gz": gzipped(t, "3\n")} {
			b.write(t, name, text)
			b.write(t, name+".ok", "")
			long := time.Unix(24*60*60, 0)
			must(t, os.Chtimes(filepath.Join(b.Dir, name), long, long))
		}
		b.once(t)
		b.expect(t, `in/a.log#0: "1"`, `in/a.log#0: "2"`, `in/d/b.log.gz#0: "3"`)
		var left []string
		must(t, filepath.WalkDir(b.Dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				left = append(left, strings.TrimPrefix(path, b.Dir+"/"))
			}
			return err
		}))
		names := strings.Fields(want)
		slices.Sort(names)
		if !slices.Equal(left, names) {
			t.Errorf("after %s the files are %q, want %q", after, left, names)
		}
	}
}
