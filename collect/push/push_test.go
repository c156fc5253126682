package push

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/setting"
)

// bench is a topic, and a source that is served.
type bench struct {
	t      *testing.T
	log    *collecttest.Log
	c      Config
	drain  time.Duration
	source *Source
	server *httptest.Server
	stop   func()
}

func newBench(t *testing.T, change func(*Config)) *bench {
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig(), drain: 30 * time.Second}
	if change != nil {
		change(&b.c)
	}
	if faults := b.c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	b.start()
	return b
}

// start begins a process: a Runner and a server.
func (b *bench) start() {
	b.t.Helper()
	b.source = New(b.c, nil)
	b.server = httptest.NewServer(b.source)
	c := collect.DefaultConfig()
	c.Drain = b.drain
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 5 * time.Millisecond, Tries: 1}
	r := collect.New(collect.Options{
		Name: "hooks", Source: b.source, Open: b.log.Open, Quarantine: &collecttest.Quarantine{}, Config: c, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, false) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			b.t.Error(err)
		}
		b.server.Close()
	})
	b.t.Cleanup(b.stop)
	for !b.listens() {
		time.Sleep(time.Millisecond)
	}
}

func (b *bench) listens() bool {
	v := b.source.join()
	if v != nil {
		v.taking.Done()
	}
	return v != nil
}

// post sends a body with headers, given as name and value in turn.
func (b *bench) post(body string, headers ...string) (int, answer) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.server.URL+"/ingest/hooks", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r, headers...)
}

func (b *bench) do(r *http.Request, headers ...string) (int, answer) {
	b.t.Helper()
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got answer
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		b.t.Fatal(err)
	}
	retry := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable
	if retry != (resp.Header.Get("Retry-After") != "") {
		b.t.Errorf("%d has Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	return resp.StatusCode, got
}

// items are the raw_data of the records, "!" before what is malformed.
func (b *bench) items() []string {
	b.t.Helper()
	items := []string{}
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		text := string(v.RawData)
		if _, is := envelope.MetadataMalformed(v.Metadata); is {
			text = "!" + text
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

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text)) // to memory
	_ = z.Close()
	return b.String()
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		name, format, array, contentType, body string
		want                                   []string
	}{
		{name: "a document", contentType: "application/json; charset=utf-8", body: "{ \"a\" : 1.10 }", want: []string{`{"a":1.10}`}},
		{name: "an array", contentType: "application/json", body: ` [ {"a":1}, 2 ,"x,]" , [3] ] `, want: []string{`{"a":1}`, `2`, `"x,]"`, `[3]`}},
		{name: "an empty array", contentType: "application/json", body: `[]`},
		{name: "an array as a document", array: arrayDocument, body: `[1,2]`, want: []string{`[1,2]`}},
		{name: "a malformed document", contentType: "application/json", body: `{"a":`, want: []string{`!"{\"a\":"`}},
		{name: "a malformed array", contentType: "application/json", body: `[1,2`, want: []string{`!"[1,2"`}},
		{name: "two documents", contentType: "application/json", body: `{} {}`, want: []string{`!"{} {}"`}},
		{name: "lines of JSON", contentType: "application/x-ndjson", body: "{\"a\":1}\r\n\n{]\n3", want: []string{`{"a":1}`, `!"{]"`, `3`}},
		{name: "blank lines of JSON", contentType: "application/x-ndjson", body: "\n \n"},
		{name: "text", contentType: "text/plain", body: "one\n\ntwo", want: []string{`"one"`, `""`, `"two"`}},
		{name: "what curl says of everything", contentType: "application/x-www-form-urlencoded", body: `{"a":1}`, want: []string{`{"a":1}`}},
		{name: "lines, told nothing", body: "{\"a\":1}\n{\"a\":2}\n", want: []string{`{"a":1}`, `{"a":2}`}},
		{name: "a form", contentType: "application/x-www-form-urlencoded", body: "a=1&b=2", want: []string{`"a=1&b=2"`}},
		{name: "bytes", contentType: "application/octet-stream", body: "\x00\xff", want: []string{`"AP8="`}},
		{name: "bytes that are text", format: formatBytes, body: `{"a":1}`, want: []string{`"{\"a\":1}"`}},
		{name: "JSON whatever is said", format: formatJSON, contentType: "text/plain", body: `1`, want: []string{`1`}},
		{name: "a byte that is not UTF-8", contentType: "application/json", body: "[\"\xff\"]", want: []string{`!"Iv8i"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(conf *Config) {
				if c.format != "" {
					conf.Format = c.format
				}
				if c.array != "" {
					conf.Array = c.array
				}
			})
			code, got := b.post(c.body, "Content-Type", c.contentType)
			if code != http.StatusOK || got.Records != len(c.want) {
				t.Errorf("%d %+v", code, got)
			}
			b.expect(c.want...)
		})
	}
}

// TestRefused: what is refused adds nothing, and says how to do better.
func TestRefused(t *testing.T) {
	sign := func(body string) string {
		mac := hmac.New(sha256.New, []byte("s3cret"))
		_, _ = mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	signed := func(c *Config) {
		c.HMAC = &HMAC{Header: "X-Hub-Signature-256", Secret: setting.Secret("s3cret"), Prefix: "sha256="}
	}
	token := func(c *Config) { c.Token = setting.Secret("t0ken") }
	small := func(c *Config) { c.MaxBody = 100 }
	for _, c := range []struct {
		name    string
		change  func(*Config)
		body    string
		headers []string
		code    int
		says    string
	}{
		{"empty", nil, "", nil, 400, "empty"},
		{"too large", small, strings.Repeat("x", 101), nil, 413, "which is 100"},
		{"just small enough", small, strings.Repeat("x", 100), nil, 200, ""},
		{"a gzip bomb", small, zipped(strings.Repeat("0", 1e6)), []string{"Content-Encoding", "gzip"}, 413, "max_body"},
		{"gzip", nil, zipped(`{"a":1}`), []string{"Content-Encoding", "gzip"}, 200, ""},
		{"no gzip", nil, "{}", []string{"Content-Encoding", "gzip"}, 400, "not gzip"},
		{"half a gzip", nil, zipped(strings.Repeat("0123", 1000))[:30], []string{"Content-Encoding", "gzip"}, 400, "damaged gzip"},
		{"another encoding", nil, "{}", []string{"Content-Encoding", "br"}, 415, "gzip"},
		{"no token", token, "{}", nil, 401, "token"},
		{"another token", token, "{}", []string{"Authorization", "Bearer t0ke"}, 401, "token"},
		{"the token", token, "{}", []string{"Authorization", "Bearer t0ken"}, 200, ""},
		{"no signature", signed, "{}", nil, 401, "X-Hub-Signature-256"},
		{"the signature of another body", signed, "{}", []string{"X-Hub-Signature-256", sign("[]")}, 401, "X-Hub-Signature-256"},
		{"half a signature", signed, "{}", []string{"X-Hub-Signature-256", sign("{}")[:20]}, 401, "X-Hub-Signature-256"},
		{"the signature", signed, "{}", []string{"X-Hub-Signature-256", sign("{}")}, 200, ""},
		{"the signature of what was sent", signed, zipped("{}"), []string{"X-Hub-Signature-256", sign(zipped("{}")), "Content-Encoding", "gzip"}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.change)
			code, got := b.post(c.body, c.headers...)
			if code != c.code || !strings.Contains(got.Error, c.says) {
				t.Errorf("%d %+v, want %d %q", code, got, c.code, c.says)
			}
			if n := len(b.log.Records()); (n == 1) != (c.code == 200) {
				t.Errorf("%d records", n)
			}
			if s := &b.source.room; s.requests != b.c.MaxRequests || s.bytes != int64(b.c.MaxBuffered) {
				t.Errorf("of the room %d requests and %d bytes are left", s.requests, s.bytes)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		r, err := http.NewRequestWithContext(t.Context(), method, b.server.URL, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := b.do(r); code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, code)
		}
	}
	b.expect()
}

// TestEnvelope: where an item came from, and the headers that were asked for and no other.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Headers = []string{"x-github-event"} })
	b.post(`[1,2]`, "X-GitHub-Event", "push", "X-Other", "no", "Authorization", "Bearer s3cret", "Idempotency-Key", "k")
	for i, r := range b.log.Records() {
		var v struct {
			Metadata struct {
				Origin, Position string
				Headers          [][2]string
			}
		}
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		m := v.Metadata
		if m.Origin != "/ingest/hooks" || m.Position != fmt.Sprintf("k/%d", i) || len(m.Headers) != 1 || m.Headers[0] != [2]string{"x-github-event", "push"} {
			t.Errorf("record %d: %+v", i, m)
		}
	}
}

// TestRepeated: a request that comes again under its key adds nothing, in this process and the next, and gets the same answer; another
// body under the key is refused.
func TestRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	for round := range 3 {
		for range 2 {
			if code, got := b.post(`[1,2]`, "Idempotency-Key", "a"); code != 200 || got.Records != 2 {
				t.Errorf("round %d: %d %+v", round, code, got)
			}
		}
		if code, got := b.post(`[1,3]`, "Idempotency-Key", "a"); code != http.StatusUnprocessableEntity || !strings.Contains(got.Error, "another request") {
			t.Errorf("round %d: another body: %d %+v", round, code, got)
		}
		b.stop()
		b.start()
	}
	b.post(`[1,2]`, "Idempotency-Key", "b")
	b.post(`[1,2]`)
	b.expect("1", "2", "1", "2", "1", "2")
}

// TestGoesOnAfterAFailure: the broker takes a part of a request and then fails. The sender is told so, and the next try, here or in
// another process, adds the rest.
func TestGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	for _, lose := range []bool{false, true} {
		for n := 1; n <= 5; n++ {
			b := newBench(t, nil)
			if lose {
				b.log.Lose(n)
			} else {
				b.log.Fail(n)
			}
			failed := 0
			for {
				code, got := b.post(`[1,2,3,4,5]`, "Idempotency-Key", "a")
				if code == 200 {
					if got.Records != 5 {
						t.Errorf("%+v", got)
					}
					break
				}
				if code != http.StatusServiceUnavailable || failed > 1000 {
					t.Fatalf("%d %+v", code, got)
				}
				failed++
				if failed == 1 && n%2 == 0 {
					b.stop()
					b.start()
				}
			}
			if failed == 0 {
				t.Errorf("with fault %d, lost %v, nothing failed", n, lose)
			}
			b.expect("1", "2", "3", "4", "5")
		}
	}
}

// TestTogether: the same request at the same moment, many times, is one.
func TestTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	release := b.log.Hold()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if code, got := b.post(`[1,2]`, "Idempotency-Key", "a"); code != 200 || got.Records != 2 {
				t.Errorf("%d %+v", code, got)
			}
		})
	}
	for len(b.log.Records()) < 2 {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	b.expect("1", "2")
}

// TestKeysAreForgotten: the oldest of too many, and those that are too old; the cursor does not keep them. A key that comes again after
// that is a new request.
func TestKeysAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.MaxKeys = 3 })
	for i := range 5 {
		b.post(fmt.Sprint(i), "Idempotency-Key", fmt.Sprint(i))
	}
	v := b.source.visit
	forget := func(now time.Time) {
		t.Helper()
		if err := v.keys.forget(t.Context(), v.out, now); err != nil {
			t.Fatal(err)
		}
	}
	forget(time.Now())
	if n := len(v.keys.known); n != 3 {
		t.Errorf("%d keys are known, want 3", n)
	}
	b.post("4", "Idempotency-Key", "4")
	b.post("0", "Idempotency-Key", "0")
	b.stop()
	if _, c := b.log.Snapshots(); len(c.Streams) != 4 {
		t.Errorf("the cursor has %v, want the three keys and the new one", c.Streams)
	}
	b.start()
	b.post("0", "Idempotency-Key", "0")
	v = b.source.visit
	forget(time.Now().Add(25 * time.Hour))
	b.stop()
	if _, c := b.log.Snapshots(); len(c.Streams) != 0 {
		t.Errorf("the cursor has %v", c.Streams)
	}
	b.expect("0", "1", "2", "3", "4", "0")
}

// TestBusy: more than the room has is told to come again, and room comes back.
func TestBusy(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.MaxRequests, c.MaxBody, c.MaxBuffered = 2, 1000, 1500 })
	release := b.log.Hold()
	defer release()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if code, _ := b.post("1"); code != 200 {
				t.Error(code)
			}
		})
	}
	for len(b.log.Records()) < 2 {
		time.Sleep(time.Millisecond)
	}
	if code, _ := b.post("1"); code != http.StatusTooManyRequests {
		t.Errorf("a third request: %d", code)
	}
	release()
	wg.Wait()
	release = b.log.Hold()
	wg.Go(func() {
		if code, _ := b.post(strings.Repeat("1", 900)); code != 200 {
			t.Error(code)
		}
	})
	for len(b.log.Records()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if code, _ := b.post(strings.Repeat("1", 900)); code != http.StatusTooManyRequests {
		t.Errorf("a body that memory has no room for: %d", code)
	}
	release()
	wg.Wait()
	if code, _ := b.post(strings.Repeat("1", 900)); code != 200 {
		t.Errorf("with room again: %d", code)
	}
}

// TestStop: a request whose records are on their way when the source is told to stop gets its 200; one that comes later is told to come
// again.
func TestStop(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	release := b.log.Hold()
	answered := make(chan int, 1)
	go func() {
		code, _ := b.post("[1,2]")
		answered <- code
	}()
	for len(b.log.Records()) < 2 {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan struct{})
	go func() {
		b.stop()
		close(stopped)
	}()
	for b.listens() {
		time.Sleep(time.Millisecond)
	}
	if code, _ := b.post("3"); code != http.StatusServiceUnavailable {
		t.Errorf("after the stop: %d", code)
	}
	release()
	if code := <-answered; code != 200 {
		t.Errorf("the request under way got %d", code)
	}
	<-stopped
	b.expect("1", "2")
}

// TestSenders that say one thing and do another add nothing.
func TestSenders(t *testing.T) {
	t.Parallel()
	// Go's own client waits for a body that does not end, even when the connection has.
	half := func(b *bench) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", b.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		if _, err := fmt.Fprintf(conn, "POST /ingest/hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"a\":1}"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	slow := newBench(t, func(c *Config) { c.ReadTimeout = 50 * time.Millisecond })
	conn := half(slow)
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || !bytes.Contains(got, []byte("whole")) {
		t.Errorf("a body that does not end: %s, %v", got, err)
	}
	slow.expect()

	b := newBench(t, nil)
	conn = half(b)
	for b.source.busy.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = conn.Close()
	for b.source.busy.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if code, _ := b.post("3"); code != 200 {
		t.Error(code)
	}
	b.expect("3")
}

// TestManySenders: every request that got 200 is in the topic once, and no other twice, while the broker fails again and again.
func TestManySenders(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	const senders, each = 8, 40
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("%d/%d", s, i)
				for {
					if code, _ := b.post(fmt.Sprintf("[%q,%q]", key+"a", key+"b"), "Idempotency-Key", key); code == 200 {
						break
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	for n := 1; ; n++ {
		select {
		case <-done:
			seen := map[string]int{}
			for _, item := range b.items() {
				seen[item]++
			}
			for item, n := range seen {
				if n != 1 {
					t.Errorf("%s is there %d times", item, n)
				}
			}
			if len(seen) != senders*each*2 {
				t.Errorf("%d items, want %d", len(seen), senders*each*2)
			}
			return
		case <-time.After(3 * time.Millisecond):
			if n%2 == 0 {
				b.log.Fail(5)
			} else {
				b.log.Lose(5)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	c := Config{
		Path: "/api/v1/x", Format: "xml", Array: "rows", Headers: []string{"a b", "cookie"}, IdempotencyHeader: "a:b", KeyWindow: -1, MaxKeys: -1,
		MaxBody: 2 << 30, MaxRequests: -1, ReadTimeout: -1, HMAC: &HMAC{Algorithm: "md5", Encoding: "hex64"},
	}
	var got []string
	for _, f := range c.Validate() {
		got = append(got, strings.Join(f.Path, "."))
	}
	want := []string{
		"format", "array", "path", "headers.0", "headers.1", "idempotency_header", "hmac.algorithm", "hmac.encoding", "hmac.header", "hmac.secret",
		"key_window", "max_keys", "max_body", "max_requests", "max_buffered", "read_timeout",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, path := range []string{"orders", "/", "/a/", "/a//b", "/a b", "/a?b", "/metrics", "/healthz/x"} {
		c := DefaultConfig()
		c.Path = path
		if len(c.Validate()) == 0 {
			t.Errorf("path %q is accepted", path)
		}
	}
	c = DefaultConfig()
	if got := c.HTTPPath("orders"); got != "/ingest/orders" || len(c.Validate()) > 0 {
		t.Errorf("the default path is %s", got)
	}
}
