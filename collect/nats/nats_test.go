package nats

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/collect/collecttest"
	"headwater/collect/message"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

func (w *world) start(t *testing.T, c Config) *collecttest.Live {
	return collecttest.Start(t, New(c, "x", w.server.Dir, nil), &collecttest.Log{})
}

func testMessage(t *testing.T, w *world) {
	w.publish(t, "orders.1", []byte(`{ "a" : 1 }`), nats.Header{"K": {"1", "2"}, "Nats-Msg-Id": {"m-1"}})
	l := w.start(t, w.config())
	l.Await(1)
	l.Stop()
	v := string(l.Log.Records()[0].Value)
	for _, want := range []string{
		`{"raw_data":{"a":1}`, `"origin":"nats://` + w.server.Addr + "/" + w.name + `","position":"1"`, `"headers":[["subject","` + w.name + `.orders.1"],["timestamp","20`,
		`["K","1"],["K","2"],["Nats-Msg-Id","m-1"]]`,
	} {
		if !strings.Contains(v, want) {
			t.Errorf("%s\nlacks %s", v, want)
		}
	}
}

// testSizes: the empty message, one as large as the server takes, and what is not what it should be.
func testSizes(t *testing.T, w *world) {
	large := strings.Repeat("x", 33_000_000)
	for _, text := range []string{"", large, `{"a":`, "\x00\xff", "5"} {
		w.publish(t, "a", []byte(text), nil)
	}
	l := w.start(t, w.config())
	l.Await(5)
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[1], `!"{\"reason\":\"too-large\",\"length\":33000000`) {
		t.Errorf("%.200s", items[1])
	}
	items[1] = ""
	if d := cmp.Diff([]string{`""`, ``, `"{\"a\":"`, `"AP8="`, `5`}, items); d != "" || len(l.Kept.Kept()) != 1 {
		t.Error(d)
	}
}

// testWorkQueue: what Kafka has leaves the stream, and one subject leaves the others there.
func testWorkQueue(t *testing.T, w *world) {
	w.send(t, 0, 50)
	w.publish(t, "b", []byte("other"), nil)
	c := w.config()
	c.Subject = w.name + ".a"
	l := w.start(t, c)
	l.Expect("%d", 50)
	l.Until(func() bool { // the server takes acknowledgements in its own time
		s, err := w.js.Stream(t.Context(), w.name)
		return err == nil && s.CachedInfo().State.Msgs == 1 // that of the other subject
	})
}

func testInterest(t *testing.T, w *world) {
	if err := collecttest.Once(t, w.quick(w.config()), &collecttest.Log{}); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "retention is by interest") {
		t.Errorf("got %v", err)
	}
}

// testRemoved: what was removed before it was read is a gap.
func testRemoved(t *testing.T, w *world) {
	log := &collecttest.Log{}
	w.send(t, 0, 3)
	if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	w.send(t, 3, 6)
	s, err := w.js.Stream(t.Context(), w.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(6)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
			t.Fatal(err)
		}
	}
	w.gap(t, log, []string{"0", "1", "2"}, "messages 4 to 5 were removed", []string{"5"})
}

// testMadeAnew: a stream of the same name that counts anew is read from its beginning.
func testMadeAnew(t *testing.T, w *world) {
	log := &collecttest.Log{}
	w.send(t, 0, 3)
	if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	if err := w.js.DeleteStream(t.Context(), w.name); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: w.name, Subjects: []string{w.name + ".>"}}); err != nil {
		t.Fatal(err)
	}
	w.send(t, 3, 9)
	for range 2 {
		if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
			t.Fatal(err)
		}
	}
	w.gap(t, log, []string{"0", "1", "2"}, "made anew after message 3", []string{"3", "4", "5", "6", "7", "8"})
}

// gap fails unless the topic has the items before, a gap record that says so, and the items after.
func (w *world) gap(t *testing.T, log *collecttest.Log, before []string, says string, after []string) {
	t.Helper()
	items := log.Items()
	if len(items) <= len(before) || !strings.HasPrefix(items[len(before)], `!"{\"gap\":`) || !strings.Contains(items[len(before)], says) {
		t.Fatalf("got %q", items)
	}
	items[len(before)] = "gap"
	if d := cmp.Diff(append(append(before, "gap"), after...), items); d != "" {
		t.Error(d)
	}
}

// testTwoProcesses: two that read with one name tell each other, and lose nothing.
func testTwoProcesses(t *testing.T, w *world) {
	first := w.start(t, w.config())
	w.send(t, 0, 10)
	first.Await(10)
	second := w.start(t, w.config())
	second.Await(10)
	first.AwaitError("consumer")
	second.Stop()
	w.send(t, 10, 20)
	first.Expect("%d", 20)
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 3000
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL = "nats://" + p.Addr
	w.send(t, 0, n)
	p.CutWithin(40_000)
	l := w.start(t, c)
	l.Await(n - 100)
	p.CutWithin(0)
	p.Break()
	l.Expect("%d", n)
	if p.Dials.Load() < 8 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.URL, c.Heartbeat = "nats://"+p.Addr, 5*time.Second
	w.send(t, 0, 1000)
	l := w.start(t, c)
	l.Expect("%d", 1000)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a server that has gone without a word is noticed by its heartbeats.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL, c.Timeout = "nats://"+p.Addr, time.Second
	l := w.start(t, c)
	w.send(t, 0, 10)
	l.Await(10)
	p.Frozen.Store(true)
	l.AwaitError("no heartbeat")
	w.send(t, 10, 20)
	p.Break()
	p.Frozen.Store(false)
	l.Expect("%d", 20)
}

// testFlood: no more than prefetch comes while Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, prefetch = 10_000, 300
	c := w.config()
	c.Prefetch = prefetch
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(prefetch)
	time.Sleep(200 * time.Millisecond)
	if got := len(log.Records()); got != prefetch {
		t.Errorf("%d records before the first acknowledgement, want %d", got, prefetch)
	}
	release()
	began := time.Now()
	l.Expect("%d", n)
	t.Logf("%.0f messages a second", n/time.Since(began).Seconds())
}

func testRefused(t *testing.T, w *world) {
	for _, change := range []func(*Config){
		func(c *Config) { c.URL = "nats://reader:hunter2@" + w.server.Addr },
		func(c *Config) { c.URL, c.Password = "nats://reader@"+w.server.Addr, setting.Secret("hunter2") },
	} {
		c := w.config()
		change(&c)
		err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{})
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "connecting to nats://"+w.server.Addr) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
	c := w.config()
	c.Stream = "none"
	if err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{}); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "no such stream") {
		t.Errorf("got %v", err)
	}
}

func testTLS(t *testing.T, w *world) {
	w.send(t, 0, 10)
	c := w.config()
	c.URL, c.Password, c.TLS = "tls://reader@"+w.server.Addr, "secret", message.TLS{CA: "ca.pem"}
	if err := collecttest.Once(t, New(c, "x", w.server.Dir, nil), &collecttest.Log{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	c.TLS.Cert, c.TLS.Key = "client.pem", "client.key"
	w.start(t, c).Expect("%d", 10)
	c.TLS = message.TLS{}
	if err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// testRestart kills the server in the middle of what it sends.
func testRestart(t *testing.T, w *world) {
	const n = 3000
	w.send(t, 0, n)
	c := w.config()
	c.Prefetch = 100
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(100)
	w.server.Kill()
	release()
	l.AwaitError("nats://")
	w.server.Start()
	w.connect(t)
	w.send(t, n, n+100)
	l.Expect("%d", n+100)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Subject = "orders.*.>" }, ""},
		{func(c *Config) { c.URL = "" }, "url: is missing"},
		{func(c *Config) { c.URL = "http://x" }, "url: must be an address"},
		{func(c *Config) { c.URL = "nats://x/path" }, "without a path"},
		{func(c *Config) { c.URL, c.Password = "nats://x:hunter2@y", "hunter3" }, "password: is in url too"},
		{func(c *Config) { c.TLS.CA = "ca.pem" }, "tls: is not used without a url that begins with tls://"},
		{func(c *Config) { c.Stream = "a.b" }, "stream: must be the name"},
		{func(c *Config) { c.Subject = "a..b" }, "subject: must be a subject"},
		{func(c *Config) { c.Durable = "a b" }, "durable: must be a name"},
		{func(c *Config) { c.Prefetch = 0 }, "prefetch: must be from 1"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Heartbeat = 0 }, "heartbeat: must be from 500ms"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be positive"},
	} {
		conf := DefaultConfig()
		conf.URL, conf.Stream = "nats://user@nats", "ORDERS"
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}
