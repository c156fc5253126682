package amqp

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// left is how many messages the queue still has.
func (w *world) left(t *testing.T) int {
	t.Helper()
	q, err := w.sender.QueueDeclarePassive(w.queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Messages
}

func testMessage(t *testing.T, w *world) {
	at := time.Date(2026, 7, 5, 10, 0, 0, 0, time.UTC)
	w.send(t, amqp.Publishing{
		ContentType: "application/json", MessageId: "m-1", CorrelationId: "c", Type: "order", AppId: "shop", Priority: 3, Timestamp: at, Body: []byte(`{ "a" : 1 }`),
		Headers: amqp.Table{"text": "x", "number": int32(7), "deep": amqp.Table{"b": []any{true, "y"}}, "empty": "", "at": at, "nothing": nil, "raw": []byte("\xff")},
	})
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(1)
	l.Stop()
	v, err := envelope.Parse(l.Log.Records()[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	headers := `"headers":[["routing-key","` + w.queue + `"],["message-id","m-1"],["content-type","application/json"],["correlation-id","c"],["type","order"],["app-id","shop"],` +
		`["priority","3"],["timestamp","2026-07-05T10:00:00Z"],["at","2026-07-05T10:00:00Z"],["deep","{\"b\":[true,\"y\"]}"],["empty",""],["nothing",""],["number","7"],["raw","/w==","base64"],["text","x"]]`
	for _, want := range []string{headers, `"origin":"amqp://` + w.broker.Addr + `/%2F/` + w.queue + `"`, `"position":"m-1"`} {
		if !strings.Contains(string(v.Metadata), want) {
			t.Errorf("%s\nlacks %s", v.Metadata, want)
		}
	}
	if string(v.RawData) != `{"a":1}` {
		t.Errorf("%s", v.RawData)
	}
}

// testSizes: the empty message, one as large as the broker takes, and what is not what it should be.
func testSizes(t *testing.T, w *world) {
	large := bytes.Repeat([]byte("x"), 32<<20)
	w.send(t, amqp.Publishing{MessageId: "1"}, amqp.Publishing{MessageId: "2", Body: large}, amqp.Publishing{MessageId: "3", Body: []byte(`{"a":`)},
		amqp.Publishing{MessageId: "4", Body: []byte{0, 255}}, amqp.Publishing{MessageId: "5", Body: []byte("5"), Headers: amqp.Table{"long": strings.Repeat("h", 60_000)}})
	c := w.config()
	c.Format = "json"
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(5)
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[1], `!"{\"reason\":\"too-large\",\"length\":33554432`) {
		t.Errorf("%.200s", items[1])
	}
	items[1] = ""
	if d := cmp.Diff([]string{`!""`, ``, `!"{\"a\":"`, `!"AP8="`, `5`}, items); d != "" {
		t.Error(d)
	}
	if got := l.Kept.Kept()["live/"+"queue/"+w.queue+"/1"]; !bytes.Equal(got, large) {
		t.Errorf("%d bytes are in quarantine", len(got))
	}
	if n := w.left(t); n != 0 {
		t.Errorf("%d messages are left in the queue", n)
	}
}

// testRepeats: what a sender has sent twice is there once with dedupe, also after a restart, and each time without.
func testRepeats(t *testing.T, w *world) {
	c := w.config()
	log := &collecttest.Log{}
	for range 3 {
		w.send(t, append(numbers(0, 5), numbers(0, 5)...)...)
		s := New(c, "x", "", nil)
		s.idle = 50 * time.Millisecond
		if err := collecttest.Once(t, s, log); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(log.Records()); n != 5 {
		t.Errorf("%d records, want 5", n)
	}
	c.Dedupe.Key = ""
	w.send(t, append(numbers(0, 5), numbers(0, 5)...)...)
	s := New(c, "x", "", nil)
	s.idle = 50 * time.Millisecond
	if err := collecttest.Once(t, s, log); err != nil || len(log.Records()) != 15 {
		t.Errorf("%d records, want 15: %v", len(log.Records()), err)
	}
	if n := w.left(t); n != 0 {
		t.Errorf("%d messages are left in the queue", n)
	}
}

// testCut cuts connections anywhere, in the middle of the handshake and of messages. What was on its way comes again, and after later messages if the broker
// learns that its connection is gone when the next one consumes already.
func testCut(t *testing.T, w *world) {
	const n = 3000
	p := fixture.NewProxy(t, w.broker.Addr)
	c := w.config()
	c.URL, c.Prefetch = "amqp://"+p.Addr, 100
	w.send(t, numbers(0, n)...)
	p.CutWithin(30_000)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(n - 100)
	p.CutWithin(0)
	p.Break()
	l.Await(n)
	l.Stop()
	l.Log.ExpectEach(t, n)
	if p.Dials.Load() < 10 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
	s := New(w.config(), "x", "", nil)
	s.idle = 50 * time.Millisecond
	if err := collecttest.Once(t, s, l.Log); err != nil || len(l.Log.Records()) != n { // what was cut off with its acknowledgement
		t.Errorf("%d records: %v", len(l.Log.Records()), err)
	}
	if left := w.left(t); left != 0 {
		t.Errorf("%d messages are left in the queue", left)
	}
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.URL, c.Heartbeat = "amqp://"+p.Addr, 10*time.Second
	w.send(t, numbers(0, 1000)...)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Expect("%d", 1000)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a broker that has gone without a word is noticed by its heartbeats.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	c := w.config()
	c.URL, c.Timeout = "amqp://"+p.Addr, time.Second
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	w.send(t, numbers(0, 10)...)
	l.Await(10)
	p.Frozen.Store(true)
	l.AwaitError("reading amqp://", "i/o timeout")
	l.AwaitError("did not answer within 1s")
	w.send(t, numbers(10, 20)...)
	p.Break()
	p.Frozen.Store(false)
	l.Expect("%d", 20)
}

// testPrefetch: while Kafka acknowledges nothing, no more than prefetch comes.
func testPrefetch(t *testing.T, w *world) {
	const n, prefetch = 10_000, 300
	c := w.config()
	c.Prefetch = prefetch
	w.send(t, numbers(0, n)...)
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

func testWrongPassword(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	for _, change := range []func(*Config){
		func(c *Config) { c.URL = "amqp://guest:hunter2@" + p.Addr },
		func(c *Config) { c.URL, c.Password = "amqp://guest@"+p.Addr, setting.Secret("hunter2") },
	} {
		c := w.config()
		change(&c)
		err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{})
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "connecting to amqp://"+p.Addr) || !strings.Contains(err.Error(), "403") {
			t.Errorf("got %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
}

func testNoQueue(t *testing.T, w *world) {
	c := w.config()
	c.Queue += " of mine"
	err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{})
	if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "declare: classic or quorum") {
		t.Errorf("got %v", err)
	}
	for _, kind := range []string{declareClassic, declareQuorum} {
		c.Queue, c.Declare = w.queue+kind, kind
		w := &world{broker: w.broker, queue: c.Queue, sender: w.sender}
		l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
		l.Until(func() bool { return l.Status().State == collect.Running })
		time.Sleep(200 * time.Millisecond) // until it has made the queue
		w.send(t, numbers(0, 10)...)
		l.Expect("%d", 10)
	}
	c.Queue, c.Declare = w.queue, declareQuorum
	err = collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{})
	if err == nil || !strings.Contains(err.Error(), "write declare: none") {
		t.Errorf("got %v", err)
	}
}

func testQueueDeleted(t *testing.T, w *world) {
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	w.send(t, numbers(0, 10)...)
	l.Await(10)
	if _, err := w.sender.QueueDelete(w.queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	l.AwaitError("404", "declare: classic or quorum")
	if _, err := w.sender.QueueDeclare(w.queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.send(t, numbers(10, 20)...)
	l.Expect("%d", 20)
}

func testStreamQueue(t *testing.T, w *world) {
	w.queue += " stream"
	if _, err := w.sender.QueueDeclare(w.queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeStream}); err != nil {
		t.Fatal(err)
	}
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	for l.Status().LastError == "" {
		w.send(t, numbers(0, 1)...)
	}
	l.AwaitError("is a stream")
	l.Stop()
	if n := len(l.Log.Records()); n != 0 {
		t.Errorf("%d records", n)
	}
}

func testTLS(t *testing.T, w *world) {
	w.send(t, numbers(0, 10)...)
	c := w.config()
	c.URL, c.TLS = "amqps://guest:guest@"+w.broker.AddrTLS, message.TLS{CA: "ca.pem"}
	if err := collecttest.Once(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	c.TLS.Cert, c.TLS.Key = "client.pem", "client.key"
	collecttest.Start(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{}).Expect("%d", 10)
	c.TLS = message.TLS{}
	if err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// testAlarm: a broker that has too little memory goes on to deliver, and we to acknowledge.
func testAlarm(t *testing.T, w *world) {
	w.send(t, numbers(0, 100)...)
	w.broker.Control("set_vm_memory_high_watermark", "0.000001")
	defer w.broker.Control("set_vm_memory_high_watermark", "0.4")
	collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{}).Expect("%d", 100)
}

// testAcknowledgementTimeout: the broker closes the channel of a consumer that acknowledges nothing for too long.
func testAcknowledgementTimeout(t *testing.T, w *world) {
	w.broker.Control("eval", "application:set_env(rabbit, consumer_timeout, 500), application:set_env(rabbit, channel_tick_interval, 200).")
	defer w.broker.Control("eval", "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).")
	w.send(t, numbers(0, 50)...)
	log := &collecttest.Log{}
	release := log.Hold()
	defer release()
	l := collecttest.Start(t, New(w.config(), "x", "", nil), log)
	l.Await(50)
	time.Sleep(2 * time.Second)
	release()
	l.AwaitError("timeout", "consumer_timeout")
	l.Expect("%d", 50)
}

// testRestart kills the broker in the middle of what it delivers, and then sends more.
func testRestart(t *testing.T, w *world) {
	const n = 4000
	c := w.config()
	c.Prefetch = 100
	w.send(t, numbers(0, n)...)
	w.broker.Control("eval", "mnesia:sync_log().") // a killed broker forgets a queue it was told of within the last seconds
	log := &collecttest.Log{Buffer: 10}
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(n / 4)
	w.broker.Kill()
	if got := len(log.Records()); got >= n {
		t.Errorf("all %d messages had come before the broker died", got)
	}
	l.AwaitError("amqp://")
	w.broker.Start()
	var err error
	for range 100 { // it listens before it answers
		if _, err = amqp.Dial("amqp://" + w.broker.Addr); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.connect(t)
	w.send(t, numbers(n, n+100)...)
	l.Expect("%d", n+100)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.URL = "" }, "url: is missing"},
		{func(c *Config) { c.URL = "http://x" }, "url: must be an address"},
		{func(c *Config) { c.URL = "amqp://x:hunter2@%zz" }, "url: must be an address"},
		{func(c *Config) { c.URL = "amqp://x/?heartbeat=1" }, "without a query"},
		{func(c *Config) { c.URL, c.Password = "amqp://x:hunter2@y", "hunter3" }, "password: is in url too"},
		{func(c *Config) { c.TLS.CA = "ca.pem" }, "tls: is not used without a url that begins with amqps://"},
		{func(c *Config) { c.URL, c.TLS.Cert = "amqps://x", "c.pem" }, "tls: must have both"},
		{func(c *Config) { c.Queue = "" }, "queue: must be the name"},
		{func(c *Config) { c.Declare = "yes" }, `declare: must be one of none, classic, quorum, got "yes"`},
		{func(c *Config) { c.Prefetch = 0 }, "prefetch: must be from 1"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Dedupe = message.Dedupe{Key: "message-id", Window: 100} }, "dedupe.window: must be from 500 (prefetch) to 100000, got 100"},
		{func(c *Config) { c.Dedupe = message.Dedupe{Key: "$.a..b", Window: 1000} }, "dedupe.key: must be the name of a header or a path"},
		{func(c *Config) { c.Heartbeat = time.Millisecond }, "heartbeat: must be from 1s"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be positive"},
	} {
		conf := DefaultConfig()
		conf.URL, conf.Queue = "amqp://guest@rabbit/shop", "orders"
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]address{
		"amqp://rabbit":                    {message.Address{Host: "rabbit", HostPort: "rabbit:5672", User: "guest", Password: "guest"}, "/"},
		"amqps://u:p%40@rabbit/shop":       {message.Address{Host: "rabbit", HostPort: "rabbit:5671", User: "u", Password: "p@", TLS: true}, "shop"},
		"amqp://u@[::1]:1234/" + "%2Fdeep": {message.Address{Host: "::1", HostPort: "[::1]:1234", User: "u"}, "/deep"},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		want.URL = u
		c := Config{URL: text}
		if got := c.address(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	var logged bytes.Buffer
	s := New(Config{URL: "amqp://u:hunter2@127.0.0.1:1/v", Queue: "q", Timeout: time.Second}, "x", "", slog.New(slog.NewTextHandler(&logged, nil)))
	err := s.Run(t.Context(), nil, true)
	if err == nil || strings.Contains(err.Error()+logged.String(), "hunter2") || !strings.Contains(err.Error(), "connecting to amqp://127.0.0.1:1/v/q") {
		t.Error(err)
	}
}

// TestStopWhileConnecting: a broker that says nothing does not keep Run.
func TestStopWhileConnecting(t *testing.T) {
	p := fixture.NewProxy(t, "127.0.0.1:1")
	p.Frozen.Store(true)
	c := DefaultConfig()
	c.URL, c.Queue = "amqp://"+p.Addr, "q"
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := New(c, "x", "", nil).Run(ctx, nil, false); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	cancel()
	wg.Wait()
}
