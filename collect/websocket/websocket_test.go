package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// script is what a server does with its nth connection, from 0. When it returns the connection is closed without a word.
type script func(t *testing.T, n int, conn *websocket.Conn)

// bench is a topic and a server with a script.
type bench struct {
	t      *testing.T
	log    *collecttest.Log
	c      Config
	server *httptest.Server
	source *Source
	ended  chan struct{}
}

func newBench(t *testing.T, do script) *bench {
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig(), ended: make(chan struct{})}
	var connections atomic.Int64
	var handlers sync.WaitGroup
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handlers.Add(1)
		defer handlers.Done()
		up := websocket.Upgrader{}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		do(t, int(connections.Add(1))-1, conn)
	}))
	t.Cleanup(func() {
		close(b.ended)
		handlers.Wait()
		b.server.Close()
	})
	b.c.URL = "ws" + strings.TrimPrefix(b.server.URL, "http") + "/feed?key=s3cret"
	return b
}

// runner is a process.
func (b *bench) runner() *collect.Runner {
	b.t.Helper()
	if faults := b.c.Validate(); len(faults) > 0 {
		b.t.Fatal(faults)
	}
	b.source = New(b.c, "", nil)
	b.source.idle = 100 * time.Millisecond
	c := collect.DefaultConfig()
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 5 * time.Millisecond, Tries: 1}
	return collect.New(collect.Options{
		Name: "feed", Source: b.source, Open: b.log.Open, Quarantine: &collecttest.Quarantine{}, Config: c, Logger: slog.New(slog.DiscardHandler),
	})
}

func (b *bench) once() error { return b.runner().Run(b.t.Context(), true) }

// live runs until stop.
func (b *bench) live() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r := b.runner()
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, false) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

// items are the raw_data of the records, with the reason of what is malformed; of gaps only the reason that they give.
func (b *bench) items() []string {
	b.t.Helper()
	return b.itemsOf(b.log.Records())
}

func (b *bench) itemsOf(records []collecttest.Stored) []string {
	b.t.Helper()
	items := []string{}
	for _, r := range records {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		text := string(v.RawData)
		if reason, is := envelope.MetadataMalformed(v.Metadata); is {
			text = "!" + reason
			if gap, _, found := strings.Cut(reason, ": messages may be missing from "); found {
				var inner struct {
					Gap struct{ From, To, Reason string }
				}
				var quoted string
				if json.Unmarshal(v.RawData, &quoted) != nil || json.Unmarshal([]byte(quoted), &inner) != nil || inner.Gap.From > inner.Gap.To {
					b.t.Errorf("the gap is %s", v.RawData)
				}
				text = gap + ": " + inner.Gap.Reason
			}
		}
		if bytes.Contains(r.Value, []byte("s3cret")) {
			b.t.Errorf("the URL's query is in a record: %s", r.Value)
		}
		items = append(items, text)
	}
	for _, fault := range b.log.Faults() {
		b.t.Error(fault)
	}
	return items
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if d := cmp.Diff(append([]string{}, want...), b.items()); d != "" {
		b.t.Errorf("items (-want +got):\n%s", d)
	}
}

func (b *bench) eventually(n int) {
	b.t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if len(b.log.Records()) >= n {
			return
		}
	}
	b.t.Fatalf("%d records came, want %d", len(b.log.Records()), n)
}

// say sends texts; a client that is gone is no fault of the server's.
func say(conn *websocket.Conn, texts ...string) {
	for _, text := range texts {
		_ = conn.WriteMessage(websocket.TextMessage, []byte(text))
	}
}

// listen answers pings and waits for the client to go.
func listen(conn *websocket.Conn) {
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
		say(conn, `{ "a" : 1.10 }`, `[1, {"b":[2]}]`, `[]`, `hello`, `{"a":`, `7`, "\xff", ``)
		_ = conn.WriteMessage(websocket.BinaryMessage, []byte("\x00\x01"))
		_ = conn.WriteMessage(websocket.BinaryMessage, []byte(`{"c":3}`))
		w, _ := conn.NextWriter(websocket.TextMessage) // in several frames
		for range 3 {
			_, _ = w.Write(bytes.Repeat([]byte(" "), 5000))
		}
		_, _ = w.Write([]byte("8"))
		_ = w.Close()
		listen(conn)
	})
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.expect(`{"a":1.10}`, `1`, `{"b":[2]}`, `"hello"`, `"{\"a\":"`, `7`, `"/w=="`, `""`, `"AAE="`, `{"c":3}`, `8`)
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for format, want := range map[string][]string{
		formatJSON:  {`[1]`, `!bad-literal`},
		formatLines: {`"[1]"`, `"x"`},
		formatBytes: {`"WzFd"`, `"eA=="`},
	} {
		b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
			say(conn, `[1]`, `x`)
			listen(conn)
		})
		b.c.Format, b.c.Array = format, arrayDocument
		if err := b.once(); err != nil {
			t.Fatal(err)
		}
		b.expect(want...)
	}
}

// TestSubscription: what is to be said is said on every connection, in its order, with the headers.
func TestSubscription(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(t *testing.T, n int, conn *websocket.Conn) {
		for _, want := range []string{`{"login":"me"}`, `{"subscribe":"trades"}`} {
			if _, got, err := conn.ReadMessage(); err != nil || string(got) != want {
				t.Errorf("connection %d: the client says %q, %v", n, got, err)
			}
		}
		say(conn, fmt.Sprint(n))
		if n > 0 {
			listen(conn)
		}
	})
	b.c.Send = []setting.Secret{`{"login":"me"}`, `{"subscribe":"trades"}`}
	stop := b.live()
	b.eventually(3)
	stop()
	b.expect("0", "gap: websocket: close 1006 (abnormal closure): unexpected EOF", "1")
}

// TestGaps: each connection but the first of all begins with one, whatever ended the one before, here or in another process.
func TestGaps(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(_ *testing.T, n int, conn *websocket.Conn) {
		say(conn, fmt.Sprint(n))
		switch n {
		case 0:
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseServiceRestart, "new version"), time.Now().Add(time.Second))
			listen(conn)
		case 1: // in the middle of a frame of 1000 bytes
			_, _ = conn.NetConn().Write(append([]byte{0x81, 126, 0x03, 0xe8}, "half"...))
		default:
			listen(conn)
		}
	})
	stop := b.live()
	b.eventually(5)
	stop()
	if err := b.once(); err != nil { // another process
		t.Fatal(err)
	}
	b.log.Lose(2)
	if err := b.once(); err == nil {
		t.Error("nothing failed")
	}
	b.log.Lose(0)
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.expect(
		"0",
		`gap: the server closed the connection with code 1012 "new version"`, "1",
		"gap: message 2 was cut: websocket: close 1006 (abnormal closure): unexpected EOF", "2",
		"gap: the source was not running", "3",
		"gap: the source was not running", "4",
		"gap: the source was not running", "5",
	)
	if _, c := b.log.Snapshots(); len(c.Streams) != 1 {
		t.Errorf("the cursor has %v", c.Streams)
	}
}

// TestSilentConnection: a first connection that brings nothing has been one: what is missing since is a gap.
func TestSilentConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(_ *testing.T, n int, conn *websocket.Conn) {
		if n > 0 {
			say(conn, "1")
		}
		listen(conn)
	})
	for range 2 {
		if err := b.once(); err != nil {
			t.Fatal(err)
		}
	}
	b.expect("gap: the source was not running", "1")
}

// TestDead: a server that is gone without a word, and one that is there and says nothing.
func TestDead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		idle    time.Duration
		answers bool
		says    string
	}{
		"no answer":  {0, false, "gap: nothing came for 150ms, no answer to a ping either"},
		"no message": {120 * time.Millisecond, true, "gap: no message came for idle_timeout, 120ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b *bench
			b = newBench(t, func(_ *testing.T, n int, conn *websocket.Conn) {
				say(conn, fmt.Sprint(n))
				if c.answers || n > 0 {
					go listen(conn) // which answers pings
				}
				<-b.ended
			})
			b.c.PingEvery, b.c.IdleTimeout = 50*time.Millisecond, c.idle
			stop := b.live()
			b.eventually(3)
			stop()
			if got := b.items(); got[1] != c.says {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestAlive: a server that answers pings and has nothing to say is left alone, and so is one that has to wait for Kafka.
func TestAlive(t *testing.T) {
	t.Parallel()
	for _, slow := range []bool{false, true} {
		b := newBench(t, func(_ *testing.T, n int, conn *websocket.Conn) {
			say(conn, fmt.Sprint(n), "a", "b", "c", "d")
			listen(conn)
		})
		b.log.Buffer = 2
		b.c.PingEvery = 20 * time.Millisecond
		release := func() {}
		if slow {
			b.c.IdleTimeout = 60 * time.Millisecond
			release = b.log.Hold()
		}
		stop := b.live()
		time.Sleep(300 * time.Millisecond) // several times what would be too long
		if slow {
			b.c.IdleTimeout = 0
			release()
		}
		b.eventually(5)
		stop()
		if got := b.items(); got[0] != "0" || len(got) < 5 || got[4] != `"d"` {
			t.Errorf("slow %v: %q", slow, got)
		}
	}
}

// TestFlood: a server that sends as fast as it can while Kafka is slow. What comes is in order and whole.
func TestFlood(t *testing.T) {
	t.Parallel()
	const count, length = 100, 256 << 10
	pad := strings.Repeat("x", length)
	b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
		for i := range count {
			say(conn, fmt.Sprintf(`{"n":%d,"pad":%q}`, i, pad))
		}
		listen(conn)
	})
	b.log = &collecttest.Log{Buffer: 2}
	stop := b.live()
	b.eventually(count)
	stop()
	for i, r := range b.log.Records() {
		if !bytes.HasPrefix(r.Value, fmt.Appendf(nil, `{"raw_data":{"n":%d,"pad"`, i)) {
			t.Fatalf("record %d is %.40s", i, r.Value)
		}
	}
	if n := len(b.log.Records()); n != count {
		t.Errorf("%d records, want %d", n, count)
	}
}

// TestLongMessages: what is too long comes in parts, whose bytes are all there; the feed goes on.
func TestLongMessages(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 25)
	b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
		say(conn, text[:100], text, text[:101], "7")
		_ = conn.WriteMessage(websocket.BinaryMessage, []byte(text[:150]))
		listen(conn)
	})
	b.c.MaxMessage, b.c.Format = 100, formatLines
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		_, malformed := envelope.MetadataMalformed(v.Metadata)
		got = append(got, fmt.Sprintf("%d %v", len(v.RawData)-2, malformed))
	}
	want := []string{"100 false", "100 true", "100 true", "50 true", "100 true", "1 true", "1 false", "100 true", "50 true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestTenMegabytes: large messages are one item each.
func TestTenMegabytes(t *testing.T) {
	t.Parallel()
	large := `{"pad":"` + strings.Repeat("x", 10<<20) + `"}`
	b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
		say(conn, large, `1`, large)
		listen(conn)
	})
	stop := b.live()
	b.eventually(3)
	stop()
	got := b.items()
	if len(got) != 3 || got[0] != large || got[1] != "1" || got[2] != large {
		t.Errorf("%d items", len(got))
	}
}

// TestRefused: what keeps a connection from being made is told, and whether another try can help.
func TestRefused(t *testing.T) {
	t.Parallel()
	for code, permanent := range map[int]bool{401: true, 403: true, 404: true, 429: false, 500: false, 503: false, 200: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte("not you"))
		}))
		b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig()}
		b.c.URL = "ws" + strings.TrimPrefix(server.URL, "http") + "/?key=s3cret"
		err := b.once()
		server.Close()
		if err == nil || !strings.Contains(err.Error(), "not you") || !strings.Contains(err.Error(), fmt.Sprint(code)) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%d: %v", code, err)
		}
		if got := retry.Classify(err) == retry.Permanent; got != permanent {
			t.Errorf("%d: permanent %v", code, got)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts nothing, and the handshake is never answered
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig()}
	b.c.URL, b.c.HandshakeTimeout = "ws://"+l.Addr().String(), 50*time.Millisecond
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "connecting to ws://127.0.0.1") {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{Subprotocols: []string{"v2"}}
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		say(conn, fmt.Sprintf("%q", conn.Subprotocol()))
		listen(conn)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig()}
	b.c.URL = "wss" + strings.TrimPrefix(server.URL, "https")
	b.c.Headers = map[string]setting.Secret{"Authorization": "Bearer t0ken"}
	b.c.Subprotocols = []string{"v2", "v1"}
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	b.c.CA = ca
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.expect(`"v2"`)
	b.c.CA = filepath.Join(t.TempDir(), "none.pem")
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "websocket.ca") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestStopsAtOnce: the server hears that it is left, whatever it does at the moment.
func TestStopsAtOnce(t *testing.T) {
	t.Parallel()
	heard := make(chan error, 1)
	b := newBench(t, func(_ *testing.T, _ int, conn *websocket.Conn) {
		say(conn, "1")
		_, _, err := conn.ReadMessage()
		heard <- err
	})
	stop := b.live()
	b.eventually(1)
	stop()
	if err := <-heard; !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		t.Errorf("the server got %v", err)
	}
}

// TestSequence: what a feed leaves out while its connection holds is told where it is missing, and nothing else is.
func TestSequence(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(_ *testing.T, n int, conn *websocket.Conn) {
		if n == 0 {
			say(conn, `{"d":{"n":7},"of":"a"}`, `{"d":{"n":"8"},"of":"a"}`, `{"d":{"n":1},"of":"b"}`, `{"hello":1}`, "text", `[{"d":{"n":9},"of":"a"},{"d":{"n":12},"of":"a"}]`,
				`{"d":{"n":2},"of":"b"}`, `{"d":{"n":2},"of":"b"}`, `{"d":{"n":9007199254740993},"of":3}`, `{"d":{"n":9007199254740994},"of":3}`, `{"d":{"n":1.5},"of":3}`)
			return
		}
		say(conn, `{"d":{"n":99},"of":"a"}`) // another connection, whose gap is told already
		listen(conn)
	})
	b.c.Sequence = Sequence{Path: "$.d.n", Per: "$.of"}
	stop := b.live()
	b.eventually(16)
	stop()
	b.expect(
		`{"d":{"n":7},"of":"a"}`, `{"d":{"n":"8"},"of":"a"}`, `{"d":{"n":1},"of":"b"}`, `{"hello":1}`, `"text"`, `{"d":{"n":9},"of":"a"}`,
		"!gap: the numbers 10 to 11 did not come", `{"d":{"n":12},"of":"a"}`, `{"d":{"n":2},"of":"b"}`,
		"!gap: the number 2 came after 2", `{"d":{"n":2},"of":"b"}`, `{"d":{"n":9007199254740993},"of":3}`, `{"d":{"n":9007199254740994},"of":3}`, `{"d":{"n":1.5},"of":3}`,
		"gap: websocket: close 1006 (abnormal closure): unexpected EOF", `{"d":{"n":99},"of":"a"}`,
	)
	for _, r := range b.log.Records() {
		if bytes.Contains(r.Value, []byte("10 to 11")) && !bytes.Contains(r.Value, []byte(`{\"gap\":{\"after\":9,\"before\":12,\"of\":\"a\"}}`)) {
			t.Errorf("the gap record is %s", r.Value)
		}
	}
}

// TestManySequences: no more are followed than there is memory for, and what is followed stays so.
func TestManySequences(t *testing.T) {
	t.Parallel()
	n := numbers{Sequence: Sequence{Path: "$.n", Per: "$.of"}}
	next := func(number, of int) (known bool, why string) {
		q, got := n.find(fmt.Appendf(nil, `{"n":%d,"of":%d}`, number, of), "")
		if q == nil {
			return false, ""
		}
		_, _, why = q.fault(got)
		q.begun, q.last = true, got
		return true, why
	}
	for of := range mostSequences + 10 {
		if _, why := next(1, of); why != "" {
			t.Fatal(why)
		}
	}
	first, why := next(5, 1)
	late, _ := next(5, mostSequences+1)
	if !first || why == "" || late || !n.isFull() || len(n.all) != mostSequences {
		t.Errorf("%v %s, %v, %d are followed", first, why, late, len(n.all))
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	c := Config{URL: "http://x", Format: "xml", Array: "x", Headers: map[string]setting.Secret{"a b": "x"}, IdleTimeout: -1, MaxMessage: -1, Sequence: Sequence{Per: "symbol"}}
	got := map[string]bool{}
	for _, f := range c.Validate() {
		got[strings.Join(f.Path, ".")] = true
	}
	for _, want := range []string{"url", "format", "array", "headers.a b", "ping_every", "handshake_timeout", "idle_timeout", "max_message", "sequence.per", "sequence.path"} {
		if !got[want] {
			t.Errorf("%s is no fault", want)
		}
	}
	for _, text := range []string{"", "feed.example", "wss://", "wss://x/#y"} {
		c := DefaultConfig()
		c.URL = text
		if len(c.Validate()) != 1 {
			t.Errorf("url %q is accepted", text)
		}
	}
}
