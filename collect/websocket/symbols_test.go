package websocket

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// exchange answers a subscription with the names of what was subscribed to, and what it is told to say.
type exchange struct {
	*httptest.Server
	do func(w http.ResponseWriter, r *http.Request) bool // may answer in its place

	mu     sync.Mutex
	opened []time.Time
	live   map[string]*websocket.Conn // by first message, or by path
}

func newExchange(t *testing.T) *exchange {
	x := &exchange{live: map[string]*websocket.Conn{}}
	x.Server = httptest.NewServer(http.HandlerFunc(x.serve))
	t.Cleanup(func() {
		x.CloseClientConnections()
		x.Close()
	})
	return x
}

func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	x.opened = append(x.opened, time.Now())
	x.mu.Unlock()
	if x.do != nil && x.do(w, r) {
		return
	}
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	name := r.URL.EscapedPath()
	if name == "/" {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return
		}
		name = string(text)
	}
	x.mu.Lock()
	x.live[name] = conn
	x.mu.Unlock()
	say(conn, fmt.Sprintf("%q", name))
	listen(conn)
}

// cut ends a connection without a word.
func (x *exchange) cut(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	_ = x.live[name].Close()
	delete(x.live, name)
}

func (x *exchange) bench(t *testing.T, symbols ...string) *bench {
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig()}
	b.c.URL, b.c.Symbols, b.c.ConnectEvery = "ws"+strings.TrimPrefix(x.URL, "http"), symbols, 0
	return b
}

// byConnection are the items, with what the gaps say, by the connection that their metadata name.
func (b *bench) byConnection() map[string][]string {
	b.t.Helper()
	all := map[string][]string{}
	records := b.log.Records()
	items := b.itemsOf(records)
	for i, r := range records {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		var m struct{ Headers [][2]string }
		if err := json.Unmarshal(v.Metadata, &m); err != nil || len(m.Headers) != 1 || m.Headers[0][0] != "connection" {
			b.t.Fatalf("the metadata are %s: %v", v.Metadata, err)
		}
		name := m.Headers[0][1]
		all[name] = append(all[name], items[i])
	}
	return all
}

func (b *bench) expectBy(want map[string][]string) {
	b.t.Helper()
	if d := cmp.Diff(want, b.byConnection()); d != "" {
		b.t.Errorf("items by connection (-want +got):\n%s", d)
	}
}

// TestSymbols: what is said on which connection.
func TestSymbols(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	c.URL, c.Symbols, c.PerConnection = "wss://x/ws", []string{"A", `B"`, "C/D"}, 2
	c.Send = []setting.Secret{"login", `{"of":{symbols}}`, `{"one":"{symbol}"}`}
	got := c.subscriptions()
	want := []subscription{
		{`A..B"`, "wss://x/ws", []string{"login", `{"of":["A","B\""]}`, `{"one":"A"}`, `{"one":"B\""}`}},
		{"C/D", "wss://x/ws", []string{"login", `{"of":["C/D"]}`, `{"one":"C/D"}`}},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(subscription{})); d != "" {
		t.Error(d)
	}
	c.URL, c.PerConnection, c.Send = "wss://x/ws/{symbol}?s={symbol}", 1, nil
	if got := c.subscriptions()[2].url; got != "wss://x/ws/C%2FD?s=C%2FD" || len(c.Validate()) > 0 {
		t.Errorf("the address is %s, %v", got, c.Validate())
	}
	for key, change := range map[string]func(c *Config){
		"symbols":        func(c *Config) { c.Symbols = nil },
		"symbols ":       func(c *Config) { c.Symbols = []string{"A", "A"} },
		"symbols  ":      func(c *Config) { c.URL = "wss://x" },
		"url":            func(c *Config) { c.URL = "wss://x/{symbols}" },
		"per_connection": func(c *Config) { c.PerConnection = 2 },
		"per_connection ": func(c *Config) {
			for i := range mostConnections {
				c.Symbols = append(c.Symbols, fmt.Sprint(i))
			}
		},
		"per_connection  ": func(c *Config) { c.PerConnection = -1 },
		"connect_every":    func(c *Config) { c.ConnectEvery = -1 },
	} {
		c := c
		c.Symbols = slices.Clone(c.Symbols)
		change(&c)
		if f := c.Validate(); !slices.ContainsFunc(f, func(f setting.Fault) bool { return f.Path[0] == strings.TrimSpace(key) }) {
			t.Errorf("%s is no fault: %v", key, f)
		}
	}
}

// TestConnections: each has its own subscription, its own gaps, and ends alone.
func TestConnections(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	b := x.bench(t, "A", "B", "C")
	b.c.PerConnection, b.c.Send = 2, []setting.Secret{`{symbols}`}
	stop := b.live()
	b.eventually(2)
	x.cut(`["A","B"]`)
	b.eventually(4)
	stop()
	first, second := `"[\"A\",\"B\"]"`, `"[\"C\"]"`
	cut := "gap: websocket: close 1006 (abnormal closure): unexpected EOF"
	b.expectBy(map[string][]string{"A..B": {first, cut, first}, "C": {second}})
	if err := b.once(); err != nil { // another process
		t.Fatal(err)
	}
	off := "gap: the source was not running"
	b.expectBy(map[string][]string{"A..B": {first, cut, first, off, first}, "C": {second, off, second}})
	if _, c := b.log.Snapshots(); len(c.Streams) != 2 {
		t.Errorf("the cursor has %v", c.Streams)
	}

	// Another division: what is new may have been another's, and begins with a gap since that; what has only come to it has none.
	b.c.Symbols = []string{"A", "B", "C", "D", "E"}
	for range 2 {
		if err := b.once(); err != nil {
			t.Fatal(err)
		}
	}
	got := b.byConnection()
	if d := cmp.Diff([]string{off, `"[\"C\",\"D\"]"`, off, `"[\"C\",\"D\"]"`}, got["C..D"]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{off, `"[\"E\"]"`, off, `"[\"E\"]"`}, got["E"]); d != "" {
		t.Error(d)
	}
	if _, c := b.log.Snapshots(); len(c.Streams) != 3 {
		t.Errorf("the cursor has %v", c.Streams)
	}
	b.c.Symbols = append(b.c.Symbols, "F", "G", "H")
	b.c.Symbols = append(b.c.Symbols[:5], b.c.Symbols[6:]...)
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(b.byConnection())); !slices.Equal(got, []string{"A..B", "C", "C..D", "E", "E..G", "H"}) {
		t.Errorf("connections %q", got)
	}
}

// TestHeirs: the streams of connections that are no more stay until all that begin since them have begun.
func TestHeirs(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	var broken atomic.Bool
	x.do = func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() && r.URL.RawQuery == "B" {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return true
		}
		return false
	}
	b := x.bench(t, "A", "B")
	b.c.Send = []setting.Secret{"{symbols}"}
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.c.PerConnection = 1
	b.c.URL += "/?{symbol}"
	broken.Store(true)
	if err := b.once(); err == nil {
		t.Error("nothing failed")
	}
	broken.Store(false)
	for range 2 {
		if err := b.once(); err != nil {
			t.Fatal(err)
		}
	}
	off, one, two := "gap: the source was not running", `"[\"A\"]"`, `"[\"B\"]"`
	b.expectBy(map[string][]string{"A..B": {`"[\"A\",\"B\"]"`}, "A": {off, one, off, one, off, one}, "B": {off, two, off, two}})
	if _, c := b.log.Snapshots(); len(c.Streams) != 2 {
		t.Errorf("the cursor has %v", c.Streams)
	}
}

// TestNewSymbol: one that only comes to those that are there begins without a gap.
func TestNewSymbol(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	b := x.bench(t, "A", "B")
	b.c.URL += "/{symbol}"
	b.c.PerConnection = 1
	for range 2 {
		if err := b.once(); err != nil {
			t.Fatal(err)
		}
		b.c.Symbols = []string{"A", "B", "C"}
	}
	off := "gap: the source was not running"
	b.expectBy(map[string][]string{"A": {`"/A"`, off, `"/A"`}, "B": {`"/B"`, off, `"/B"`}, "C": {`"/C"`}})
}

// TestOneConnectionFails: it is told and tried again, the others go on, and when it can be made it is.
func TestOneConnectionFails(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	var mu sync.Mutex
	broken := true
	release := make(chan struct{})
	x.do = func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case broken && r.URL.Path == "/bad":
			http.Error(w, "no such symbol", http.StatusNotFound)
			return true
		case r.URL.Path == "/slow":
			mu.Unlock()
			<-release
			mu.Lock()
			return true
		}
		return false
	}
	b := x.bench(t, "bad", "good", "slow")
	b.c.URL += "/{symbol}"
	b.c.PerConnection, b.c.HandshakeTimeout = 1, 20*time.Second
	began := time.Now()
	stop := b.live()
	b.eventually(1)
	for range 3 { // it is made anew while the others are none
		x.cut("/good")
		b.eventually(len(b.log.Records()) + 2)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the good connection waited %v for the slow one", took)
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	b.eventually(8)
	began = time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop waited %v for a handshake", took)
	}
	close(release)
	if got := b.byConnection()["bad"]; !slices.Equal(got, []string{`"/bad"`}) {
		t.Errorf("%q", got)
	}

	// With once all that can be read is, and the failure is the result.
	mu.Lock()
	broken = true
	mu.Unlock()
	b.c.Symbols = []string{"bad", "good"}
	before := len(b.log.Records())
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "connection bad: ") || !strings.Contains(err.Error(), "no such symbol") {
		t.Errorf("the result is %v", err)
	}
	if got := len(b.log.Records()) - before; got != 2 {
		t.Errorf("%d records came of the good connection, want 2", got)
	}
}

// TestNoConnection: when none can be made that is the source's failure, which status shows.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.do = func(w http.ResponseWriter, r *http.Request) bool {
		code := http.StatusNotFound
		if r.URL.Path == "/B" {
			code = http.StatusServiceUnavailable
		}
		http.Error(w, "no", code)
		return true
	}
	b := x.bench(t, "A", "B", "C")
	b.c.URL += "/{symbol}"
	b.c.PerConnection = 1
	s := New(b.c, "", nil)
	err := s.Run(t.Context(), out{}, false)
	if err == nil || !strings.Contains(err.Error(), "none of 3 connections can be made, among them: connection B: ") || retry.Classify(err) != retry.Transient {
		t.Errorf("the result is %v", err)
	}
}

// TestEachIsTried: who only looks learns of every connection that cannot be made before anything is read.
func TestEachIsTried(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	x.do = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/A" {
			return false
		}
		http.Error(w, "no", http.StatusNotFound)
		return true
	}
	b := x.bench(t, "A", "B", "C")
	b.c.URL += "/{symbol}"
	b.c.PerConnection = 1
	b.c.Only(true)
	err := b.once()
	if err == nil || strings.Contains(err.Error(), "connection A") || !strings.Contains(err.Error(), "connection B") || !strings.Contains(err.Error(), "connection C") {
		t.Errorf("the result is %v", err)
	}
	if n := len(b.log.Records()); n > 0 {
		t.Errorf("%d records came", n)
	}
}

// TestConnectEvery: attempts to connect come one after another.
func TestConnectEvery(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	b := x.bench(t, "A", "B", "C", "D")
	b.c.URL += "/{symbol}"
	b.c.PerConnection, b.c.ConnectEvery = 1, 50*time.Millisecond
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	if took := x.opened[3].Sub(x.opened[0]); len(x.opened) != 4 || took < 140*time.Millisecond {
		t.Errorf("%d connections were made within %v", len(x.opened), took)
	}
}

// TestPanic: what goes wrong in a goroutine of ours is the source's error.
func TestPanic(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	b := x.bench(t, "A", "B")
	b.c.URL += "/{symbol}"
	b.c.PerConnection = 1
	var log bytes.Buffer
	s := New(b.c, "", slog.New(slog.NewTextHandler(&log, nil)))
	if err := s.Run(t.Context(), out{emit: func(collect.Item) error { panic("oh") }}, false); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("the result is %v", err)
	}
}
