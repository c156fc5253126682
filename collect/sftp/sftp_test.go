package sftp

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
	"headwater/collect/file"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// configOf reads a glob from a server by its key.
func configOf(s *fixture.SFTP, glob string) Config {
	c := DefaultConfig()
	c.URL = "sftp://" + s.User + "@" + s.Addr + glob
	c.PrivateKey, c.KnownHosts = setting.Secret(s.Key), s.KnownHosts
	return c
}

// bench is a server, a topic and a configuration.
type bench struct {
	*fixture.SFTP
	log   *collecttest.Log
	c     Config
	tries int
	notes notes
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

func newBench(t *testing.T, glob string) *bench {
	s := fixture.NewSFTP(t)
	b := &bench{SFTP: s, log: &collecttest.Log{Buffer: 10_000}, c: configOf(s, s.Dir+glob), tries: 1}
	if f := b.c.Validate(); len(f) > 0 {
		t.Fatal(f)
	}
	b.c.Every, b.c.Settle, b.c.Timeout = 20*time.Millisecond, 50*time.Millisecond, 5*time.Second
	return b
}

// through puts a proxy before the server.
func (b *bench) through(t *testing.T) *fixture.Proxy {
	d := fixture.NewProxy(t, b.Addr)
	b.reach(d.Addr)
	return d
}

// reach has the server be elsewhere, with the key that it has.
func (b *bench) reach(addr string) {
	b.c.URL = strings.Replace(b.c.URL, b.Addr, addr, 1)
	_, port, _ := net.SplitHostPort(addr)
	_, key, _ := strings.Cut(b.KnownHosts, " ")
	b.c.KnownHosts = fmt.Sprintf("[127.0.0.1]:%s %s", port, key)
}

func (b *bench) write(t *testing.T, name, data string) {
	t.Helper()
	path := filepath.Join(b.Dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	temp := filepath.Join(b.Dir, ".written")
	must(t, os.WriteFile(temp, []byte(data), 0o644))
	must(t, os.Rename(temp, path))
}

func (b *bench) source() *file.Source {
	return New(b.c, b.Dir, slog.New(slog.NewTextHandler(&b.notes, nil)))
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
		s := strings.TrimPrefix(r.Position.Stream, b.Dir[1:]+"/") + ": " + string(v.RawData)
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

// whole fails unless the topic has the lines of numbered(0, n), each once.
func (b *bench) whole(t *testing.T, n int) {
	t.Helper()
	var all strings.Builder
	for _, it := range b.items(t) {
		_, raw, _ := strings.Cut(it, ": ")
		all.WriteString(raw + "\n")
	}
	got, want := strings.Split(all.String(), "\n"), strings.Split(numbered(0, n), "\n")
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

// The ways in, and those that are none.
func TestLogin(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.txt")
	b.write(t, "a.txt", "1\n")
	key, err := os.ReadFile(b.Key)
	must(t, err)
	known := filepath.Join(b.Dir, ".known")
	must(t, os.WriteFile(known, []byte("# ours\n"+b.KnownHosts), 0o600))
	other := fixture.NewSFTP(t)
	_, otherKey, _ := strings.Cut(other.KnownHosts, " ")
	host, _, _ := strings.Cut(b.KnownHosts, " ")
	locked := b.Lock("open sesame")
	good := b.c
	for name, c := range map[string]struct {
		change func(*Config)
		fault  string // empty if it gets in
	}{
		"a key in a file":    {func(*Config) {}, ""},
		"a key itself":       {func(c *Config) { c.PrivateKey = setting.Secret(key) }, ""},
		"a locked key":       {func(c *Config) { c.PrivateKey, c.Passphrase = setting.Secret(locked), "open sesame" }, ""},
		"no passphrase":      {func(c *Config) { c.PrivateKey = setting.Secret(locked) }, "sftp.passphrase"},
		"another passphrase": {func(c *Config) { c.PrivateKey, c.Passphrase = setting.Secret(locked), "tell-tale" }, "sftp.passphrase"},
		"no key":             {func(c *Config) { c.PrivateKey = setting.Secret(known) }, "reading sftp.private_key"},
		"another key":        {func(c *Config) { c.PrivateKey = setting.Secret(other.Key) }, "does not let user " + b.User + " in"},
		"known_hosts a file": {func(c *Config) { c.KnownHosts = ".known" }, ""},
		"no known_hosts":     {func(c *Config) { c.KnownHosts = "" }, "sftp.known_hosts is missing"},
		"an unknown server":  {func(c *Config) { c.KnownHosts = other.KnownHosts }, "sftp.known_hosts does not have the server"},
		"another server":     {func(c *Config) { c.KnownHosts = host + " " + otherKey }, "has another key than line 1"},
		"no such file":       {func(c *Config) { c.KnownHosts = "nowhere" }, "reading sftp.known_hosts: "},
		"trust":              {func(c *Config) { c.KnownHosts, c.InsecureIgnoreHostKey = "", true }, ""},
	} {
		b.c = good
		c.change(&b.c)
		b.log = &collecttest.Log{}
		err := b.run(t.Context(), true)
		if c.fault == "" && (err != nil || len(b.log.Records()) != 1) {
			t.Errorf("%s: %v, %d items", name, err, len(b.log.Records()))
		}
		if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault) || len(b.log.Records()) > 0) {
			t.Errorf("%s: %v, want %q", name, err, c.fault)
		}
		if err != nil && retry.Classify(err) != retry.Permanent && name != "no such file" {
			t.Errorf("%s: %v is tried again", name, err)
		}
		if text := fmt.Sprint(err, b.notes.String()); strings.Contains(text, "tell-tale") || strings.Contains(text, "PRIVATE") {
			t.Errorf("%s: tells a secret: %s", name, text)
		}
	}
	if !strings.Contains(b.notes.String(), "the key of the server is not looked at") {
		t.Error("nobody is told that any server is trusted")
	}
}

// What the error says to write is what has to be written.
func TestKnownHostsLine(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.txt")
	b.write(t, "a.txt", "1\n")
	b.c.KnownHosts = ""
	err := b.run(t.Context(), true)
	_, line, found := strings.Cut(fmt.Sprint(err), "add this line: ")
	if !found || !strings.Contains(err.Error(), "SHA256:") {
		t.Fatal(err)
	}
	b.c.KnownHosts = line
	b.once(t)
	b.expect(t, `a.txt#0: "1"`)
}

func TestPassword(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.txt")
	user, password := fixture.Account(t)
	b.write(t, "a.txt", "1\n")
	b.c.URL = strings.Replace(b.c.URL, b.User+"@", user+"@", 1)
	b.c.PrivateKey, b.c.Password = "", setting.Secret(password)
	b.once(t)
	b.expect(t, `a.txt#0: "1"`)
	b.c.Password = "tell-tale"
	proxy := b.through(t)
	src := b.source()
	err := src.Run(t.Context(), &nowhere{}, true)
	if err == nil || retry.Classify(err) != retry.Permanent || strings.Contains(fmt.Sprint(err, b.notes.String()), "tell-tale") {
		t.Errorf("with a wrong password: %v", err)
	}
	// A server that has refused is left alone for minutes.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := src.Run(ctx, &nowhere{}, false); !errors.Is(err, context.DeadlineExceeded) || proxy.Dials.Load() != 1 {
		t.Errorf("it is asked again at once: %v, %d connections", err, proxy.Dials.Load())
	}
}

// nowhere is an Out that takes everything.
type nowhere struct{ items atomic.Int64 }

func (*nowhere) Streams() map[string]envelope.StreamCursor { return nil }

func (n *nowhere) Emit(context.Context, collect.Item) error { n.items.Add(1); return nil }

func (*nowhere) Drain(context.Context) error { return nil }

func (*nowhere) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func TestFlights(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*")
	data, err := os.ReadFile(fixture.FlightsCSV(t))
	must(t, err)
	b.write(t, "flights.csv", string(data))
	b.write(t, "flights.csv.gz", gzipped(t, string(data)))
	b.write(t, "flights.zip", zipped(t, "flights.csv", string(data)))
	proxy := b.through(t)
	proxy.Delay.Store(int64(time.Millisecond))
	began := time.Now()
	out := &nowhere{}
	must(t, b.source().Run(t.Context(), out, true))
	t.Logf("%d rows in %v, %d MB", out.items.Load(), time.Since(began), proxy.Down.Load()>>20)
	if got := out.items.Load(); got != 3*fixture.Flights {
		t.Errorf("%d rows, want %d", got, 3*fixture.Flights)
	}
}

// The connection is cut after a random number of bytes, again and again.
func TestCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*")
	const lines = 50_000
	b.write(t, "a.ndjson", numbered(0, lines))
	b.write(t, "b.ndjson.gz", gzipped(t, numbered(lines, lines)))
	b.write(t, "c.zip", zipped(t, "c.ndjson", numbered(2*lines, lines)))
	proxy := b.through(t)
	proxy.Delay.Store(int64(100 * time.Microsecond))
	random := rand.New(rand.NewPCG(1, 2))
	cuts := 0
	for range 12 {
		proxy.Cut(int64(1<<20 + random.IntN(2<<20)))
		if b.run(t.Context(), true) != nil {
			cuts++
		}
	}
	proxy.Cut(-1)
	b.once(t)
	b.whole(t, 3*lines)
	if cuts < 5 {
		t.Errorf("only %d runs were cut", cuts)
	}
}

// The server is killed while files are read, and comes back.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.ndjson")
	const lines = 20_000
	for i := range 8 {
		b.write(t, fmt.Sprintf("%d.ndjson", i), numbered(i*lines, lines))
	}
	stop := b.live(t)
	for i := range 4 {
		b.eventually(t, (2*i+1)*lines/2)
		b.Kill()
		time.Sleep(50 * time.Millisecond)
		b.Start()
	}
	b.eventually(t, 8*lines)
	stop()
	b.whole(t, 8*lines)
	if !strings.Contains(b.notes.String(), "source failed, trying again") {
		t.Error("no kill was noticed")
	}
}

// A server that says nothing any more is given up, and a Run that waits for it can be stopped.
func TestSilence(t *testing.T) {
	b := newBench(t, "/*.ndjson")
	b.write(t, "a.ndjson", numbered(0, 100))
	proxy := b.through(t)
	b.c.Timeout = time.Second
	before := runtime.NumGoroutine()
	stopped, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		when  string
		ctx   context.Context
		do    func()
		limit time.Duration
	}{
		{"later", t.Context(), func() {}, 3 * time.Second},
		{"at first", t.Context(), func() { proxy.Frozen.Store(true) }, 3 * time.Second},
		{"stopped", stopped, func() { proxy.Frozen.Store(true); time.AfterFunc(300*time.Millisecond, cancel) }, 800 * time.Millisecond},
	} {
		proxy.Frozen.Store(false)
		c.do()
		out := &nowhere{}
		began := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { proxy.Frozen.Store(true) })
		err := b.source().Run(c.ctx, out, false)
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

// A server that is there and has nothing new is not given up.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.log")
	b.write(t, "a.log", "1\n")
	b.c.Timeout, b.c.Every = time.Second, 1500*time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if err := b.source().Run(ctx, &nowhere{}, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/**")
	names := []string{"a b.txt", "caf\xe9.txt", "d/new\nline.txt", "e%20?x=y#z.txt", "'\"\\.txt", "[x]{y}*.txt", "d/ü.txt"}
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
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		must(t, err)
		if strings.HasSuffix(r.Position.Stream, "z.txt#0") && !strings.Contains(string(v.Metadata), `"sftp://`+b.Addr+b.Dir+`/e%2520%3Fx=y%23z.txt"`) {
			t.Errorf("metadata %s", v.Metadata)
		}
	}
}

// Files that change while the source runs.
func TestChanges(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*")
	b.write(t, "grows.log", "1\n2")
	b.write(t, "replaced.log", "1\n2\n")
	b.write(t, "link.log", "1\n")
	must(t, os.Symlink("grows.log", filepath.Join(b.Dir, "also.log")))
	must(t, os.Symlink("nowhere", filepath.Join(b.Dir, "nowhere.log")))
	must(t, os.Mkdir(filepath.Join(b.Dir, "folder.log"), 0o755))
	same := time.Now().Add(-time.Hour)
	for _, name := range []string{"twin1.log", "twin2.log"} {
		b.write(t, name, name+"\n")
		must(t, os.Chtimes(filepath.Join(b.Dir, name), same, same))
	}
	stop := b.live(t)
	b.eventually(t, 9)
	appendTo(t, filepath.Join(b.Dir, "grows.log"), "\n3\n")
	b.write(t, "replaced.log", "a\nb\n")
	b.eventually(t, 13)
	stop()
	b.once(t)
	b.expect(t,
		`also.log#0: "1"`, `also.log#0: "2"`, `also.log#0: "3"`, `grows.log#0: "1"`, `grows.log#0: "2"`, `grows.log#0: "3"`, `link.log#0: "1"`,
		`replaced.log#0: "1"`, `replaced.log#0: "2"`, `replaced.log#1: "a"`, `replaced.log#1: "b"`, `twin1.log#0: "twin1.log"`, `twin2.log#0: "twin2.log"`)
}

// A file that is replaced by one of the same size in the same second looks the same in a listing.
func TestReplacedUnseen(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.log", "a.log.gz"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "/*")
			text := func(s string) string {
				if strings.HasSuffix(name, ".gz") {
					return gzipped(t, s)
				}
				return s
			}
			path := filepath.Join(b.Dir, name)
			at := time.Now().Truncate(time.Second)
			b.write(t, name, text("1\n"))
			must(t, os.Chtimes(path, at, at))
			stop := b.live(t)
			if name == "a.log" {
				b.eventually(t, 1)
			} else {
				time.Sleep(200 * time.Millisecond) // it waits
			}
			temp := filepath.Join(b.Dir, ".temp")
			must(t, os.WriteFile(temp, []byte(text("2\n")), 0o644))
			must(t, os.Chtimes(temp, at, at))
			must(t, os.Rename(temp, path))
			if name == "a.log" {
				b.eventually(t, 2)
				stop()
				b.expect(t, `a.log#0: "1"`, `a.log#1: "2"`)
				return
			}
			b.eventually(t, 1)
			stop()
			b.expect(t, `a.log.gz#0: "2"`)
		})
	}
}

// A file that goes while it is read is read to its end; one that is not there any more is not missed.
func TestVanishes(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.ndjson")
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

// An unfinished end is not lost when its file goes before it settles.
func TestVanishesUnsettled(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.log")
	b.c.Settle = time.Hour
	b.write(t, "a.log", "1\n2")
	stop := b.live(t)
	b.eventually(t, 1)
	time.Sleep(100 * time.Millisecond)
	must(t, os.Remove(filepath.Join(b.Dir, "a.log")))
	b.eventually(t, 2)
	stop()
	b.expect(t, `a.log#0: "1"`, `a.log#0: "2"`)
}

// A poll asks for folders, not for each file.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*.log")
	const files = 10_000
	long := time.Now().Add(-time.Hour)
	for i := range files {
		path := filepath.Join(b.Dir, fmt.Sprintf("%05d.log", i))
		must(t, os.WriteFile(path, fmt.Appendf(nil, "%d\n", i), 0o644))
		must(t, os.Chtimes(path, long, long))
	}
	proxy := b.through(t)
	b.c.Every = 500 * time.Millisecond
	stop := b.live(t)
	b.eventually(t, files)
	time.Sleep(100 * time.Millisecond) // for the last file to be closed
	before, began := proxy.Up.Load(), time.Now()
	time.Sleep(1500 * time.Millisecond)
	up, polls := proxy.Up.Load()-before, 1+time.Since(began)/b.c.Every
	stop()
	t.Logf("%d bytes to the server in %d polls", up, polls)
	if up == 0 || up > int64(polls)*files*8 {
		t.Errorf("%d bytes to the server in at most %d polls of %d files", up, polls, files)
	}
	if n := len(b.items(t)); n != files {
		t.Errorf("%d items", n)
	}
}

func TestOddItems(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*")
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

// A folder that is not there, and one that must not be read.
func TestFolders(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/none/*.log")
	if err := b.run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "listing "+b.Dir+"/none: ") {
		t.Error(err)
	}
	user, password := fixture.Account(t)
	b.c = configOf(b.SFTP, b.Dir+"/**/*.log")
	b.c.URL = strings.Replace(b.c.URL, b.User+"@", user+"@", 1)
	b.c.PrivateKey, b.c.Password = "", setting.Secret(password)
	b.write(t, "a/1.log", "1\n")
	b.write(t, "b/2.log", "2\n")
	b.write(t, "c/3.log", "3\n")
	must(t, os.Chmod(filepath.Join(b.Dir, "b"), 0o700))
	must(t, os.Chmod(filepath.Join(b.Dir, "c/3.log"), 0o600))
	err := b.run(t.Context(), true)
	if err == nil || !strings.Contains(err.Error(), "2 files or folders") || !strings.Contains(err.Error(), "opening "+b.Dir+"/c/3.log: permission denied") {
		t.Error(err)
	}
	b.expect(t, `a/1.log#0: "1"`)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.URL = "" }, "url: is missing"},
		{func(c *Config) { c.URL = "ftp://u@h/a" }, "url: must be as sftp://"},
		{func(c *Config) { c.URL = "sftp://u@h" }, "url: says no path"},
		{func(c *Config) { c.URL = "sftp://h/a" }, "url: says no user"},
		{func(c *Config) { c.URL = "sftp://u:tell-tale@h/a" }, "url: has a password"},
		{func(c *Config) { c.URL = "sftp://a b@h/a" }, "url: has a user or a host"},
		{func(c *Config) { c.URL = "sftp://u@h/[" }, "url: is not a glob"},
		{func(c *Config) { c.Password = "" }, "password: is missing"},
		{func(c *Config) { c.Passphrase = "x" }, "passphrase: is of no use"},
		{func(c *Config) { c.KnownHosts, c.InsecureIgnoreHostKey = "x", true }, "insecure_ignore_host_key: must be false"},
		{func(c *Config) { c.Timeout = time.Millisecond }, "timeout: must be 1s"},
		{func(c *Config) { c.Every = 0 }, "every: must be positive"},
		{func(*Config) {}, ""},
	} {
		config := DefaultConfig()
		config.URL, config.Password = "sftp://u%40x@h:2222/a/*.csv?", "p"
		c.change(&config)
		var got []string
		for _, f := range config.Validate() {
			got = append(got, f.String())
		}
		text := strings.Join(got, "\n")
		if len(got) > 1 || !strings.HasPrefix(text, c.want) || c.want == "" && text != "" || strings.Contains(text, "tell-tale") {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	a, err := file.ParseAddress("sftp://u%40x@[::1]/a/*.csv?", "sftp", "22")
	if want := (file.Address{Host: "[::1]:22", User: "u@x", Path: "/a/*.csv?", Origin: "sftp://[::1]"}); err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
}

// What becomes of files that are read.
func TestAfter(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]string{
		"delete": "", "move": "old/d/b.log.gz old/a.log", "rename": "in/a.log.read in/d/b.log.gz.read",
	} {
		b := newBench(t, "/in/**/*.{log,gz}")
		b.c.After, b.c.DoneMarker = after, ".ok"
		if after == "move" {
			b.c.MoveTo = b.Dir + "/old"
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

// Nor is a compressed file known by its size and time while that is fresh.
func TestReplacedBetweenRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t, "/*")
	at := time.Now().Truncate(time.Second)
	for _, text := range []string{"1\n", "2\n"} {
		b.write(t, "a.log.gz", gzipped(t, text))
		must(t, os.Chtimes(filepath.Join(b.Dir, "a.log.gz"), at, at))
		b.once(t)
	}
	b.expect(t, `a.log.gz#0: "1"`, `a.log.gz#1: "2"`)
}
