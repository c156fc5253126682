package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mochi-mqtt/server/v2/packets"

	"headwater/collect/collecttest"
	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// send sends the numbers from first on and below n.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	for i := first; i < n; i++ {
		w.Put(t, 0, i)
	}
}

// nothingLeft fails if the broker still has messages of the session.
func (w *world) nothingLeft(t *testing.T) {
	t.Helper()
	c := w.config()
	c.Dedupe.Key = ""
	log := &collecttest.Log{}
	if err := collecttest.Once(t, w.quick(c), log); err != nil || len(log.Records()) > 0 {
		t.Errorf("%d messages were not acknowledged: %v", len(log.Records()), err)
	}
}

func testMessage(t *testing.T, w *world) {
	w.sender.Send(t, packets.Packet{TopicName: w.name, Payload: []byte(`{ "a" : 1 }`), Properties: packets.Properties{
		ContentType: "application/json", ResponseTopic: "r", CorrelationData: []byte("c"), User: []packets.UserProperty{{Key: "k", Val: "1"}, {Key: "k", Val: ""}},
	}})
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(1)
	l.Stop()
	v, err := envelope.Parse(l.Log.Records()[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	headers := `"headers":[["topic","` + w.name + `"]`
	if w.version == "5" {
		headers += `,["content-type","application/json"],["response-topic","r"],["correlation-data","c"],["k","1"],["k",""]`
	}
	for _, want := range []string{headers + "]", `"origin":"mqtt://` + w.broker.Addr + "/" + w.name + `"`, `"position":"1"`} {
		if !strings.Contains(string(v.Metadata), want) {
			t.Errorf("%s\nlacks %s", v.Metadata, want)
		}
	}
	if string(v.RawData) != `{"a":1}` {
		t.Errorf("%s", v.RawData)
	}
}

// testSizes: the empty message, one too large for a record, and what is not what it should be.
func testSizes(t *testing.T, w *world) {
	large := strings.Repeat("x", 32<<20)
	for _, text := range []string{"", large, `{"a":`, "\x00\xff", "5"} {
		w.sender.Text(t, w.name, text)
	}
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(5)
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[1], `!"{\"reason\":\"too-large\",\"length\":33554432`) {
		t.Errorf("%.200s", items[1])
	}
	items[1] = ""
	if d := cmp.Diff([]string{`""`, ``, `"{\"a\":"`, `"AP8="`, `5`}, items); d != "" {
		t.Error(d)
	}
	if got := l.Kept.Kept()["live/session/"+w.name+"/1"]; string(got) != large {
		t.Errorf("%d bytes are in quarantine", len(got))
	}
	w.nothingLeft(t)
}

// testRepeats: what a sender has sent twice is there once with dedupe, also after a restart.
func testRepeats(t *testing.T, w *world) {
	log := &collecttest.Log{}
	for range 3 {
		w.send(t, 0, 5)
		w.send(t, 0, 5)
		if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(log.Records()); n != 5 {
		t.Errorf("%d records, want 5", n)
	}
	w.nothingLeft(t)
}

// testTopics: a session follows its configuration, and a retained message comes once.
func testTopics(t *testing.T, w *world) {
	w.sender.Send(t, packets.Packet{FixedHeader: packets.FixedHeader{Retain: true}, TopicName: w.name + "/a/b", Payload: []byte(`{"n":-1}`)})
	log := &collecttest.Log{}
	c := w.config()
	run := func(topics ...string) int {
		t.Helper()
		c.Topics = topics
		if err := collecttest.Once(t, w.quick(c), log); err != nil {
			t.Fatal(err)
		}
		return len(log.Records())
	}
	c.Dedupe.Key = ""
	if n := run(w.name, w.name+"/+/b"); n != 1 {
		t.Errorf("%d records, want the retained one", n)
	}
	w.send(t, 0, 1)
	if n := run(w.name, w.name+"/+/b"); n != 2 {
		t.Errorf("%d records, want 2: the retained message must not come again", n)
	}
	if n := run(w.name + "/#"); n != 3 && n != 2 { // a new filter, with which a broker may send again what it retains
		t.Errorf("%d records", n)
	}
	before := run(w.name + "/c")
	w.send(t, 1, 2)
	w.sender.Text(t, w.name+"/c", "7")
	if n := run(w.name + "/c"); n != before+1 {
		t.Errorf("%d records came, want 1: a topic that is left must be left", n-before)
	}
}

// testShared: two clients of a group have each message once between them.
func testShared(t *testing.T, w *world) {
	var lives []*collecttest.Live
	for i := range 2 {
		c := w.config()
		c.ClientID, c.Group = fmt.Sprint(w.name, "-", i), "g"
		if err := collecttest.Once(t, w.quick(c), &collecttest.Log{}); err != nil {
			t.Fatal(err)
		}
		lives = append(lives, collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{}))
	}
	w.send(t, 0, 200)
	count := func() int { return len(lives[0].Log.Records()) + len(lives[1].Log.Records()) }
	lives[0].Until(func() bool { return count() >= 200 })
	if n := count(); n != 200 || len(lives[0].Log.Records()) == 0 || len(lives[1].Log.Records()) == 0 {
		t.Errorf("%d messages, %d at the first", n, len(lives[0].Log.Records()))
	}
}

func testBestEffort(t *testing.T, w *world) {
	c := w.config()
	c.QoS, c.ClientID = 0, w.name+"-0"
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Until(func() bool { // until it is subscribed
		w.sender.Text(t, w.name, `{"n":0}`)
		return len(l.Log.Records()) > 0
	})
	w.send(t, 1, 20)
	l.Expect(`{"n":%d}`, 20)
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 600
	p := fixture.NewProxy(t, w.broker.Addr)
	c := w.config()
	c.URL, c.Prefetch = "mqtt://"+p.Addr, 20
	w.send(t, 0, n)
	p.CutWithin(4000)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(n - 50)
	p.CutWithin(0)
	p.Break()
	l.Expect(`{"n":%d}`, n)
	if p.Dials.Load() < 8 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
	if err := collecttest.Once(t, w.quick(w.config()), l.Log); err != nil || len(l.Log.Records()) != n { // what was cut off with its acknowledgement
		t.Errorf("%d records: %v", len(l.Log.Records()), err)
	}
	w.nothingLeft(t)
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.URL = "mqtt://" + p.Addr
	w.send(t, 0, 40)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Expect(`{"n":%d}`, 40)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a broker that has gone without a word is noticed because it answers no ping.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	c := w.config()
	c.URL, c.Timeout, c.KeepAlive = "mqtt://"+p.Addr, time.Second, time.Second
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	w.send(t, 0, 10)
	l.Await(10)
	p.Frozen.Store(true)
	l.AwaitError("no answer to a ping")
	l.AwaitError("connecting to", "nothing came for 1s")
	w.send(t, 10, 20)
	p.Break()
	p.Frozen.Store(false)
	l.Expect(`{"n":%d}`, 20)
}

// testSlowKafka: while Kafka takes nothing for longer than either side may be silent, the connection does not end.
func testSlowKafka(t *testing.T, w *world) {
	c := w.config()
	c.KeepAlive = time.Second
	log := &collecttest.Log{Buffer: 5}
	release := log.Hold()
	defer release()
	w.send(t, 0, 50)
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(5)
	time.Sleep(2 * time.Second)
	if n := len(log.Records()); n != 5 {
		t.Errorf("%d records, want the 5 that Kafka has room for", n)
	}
	release()
	l.Await(50)
	time.Sleep(2 * time.Second) // nor while nobody has anything to say
	l.Expect(`{"n":%d}`, 50)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testFlood: no more than prefetch comes while Kafka acknowledges nothing. In 3.1.1 the broker's own number holds, which is 20.
func testFlood(t *testing.T, w *world) {
	const n = 5000
	prefetch := map[string]int{"5": 100, "3.1.1": 20}[w.version]
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
	l.Expect(`{"n":%d}`, n)
	t.Logf("%.0f messages a second", n/time.Since(began).Seconds())
}

func testTakenOver(t *testing.T, w *world) {
	first := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	w.send(t, 0, 1)
	first.Await(1)
	second := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	first.AwaitError("client_id")
	first.Stop()
	second.Stop()
}

func testTLS(t *testing.T, w *world) {
	w.send(t, 0, 10)
	c := w.config()
	c.URL, c.TLS, c.Password = "mqtts://user@"+w.broker.AddrTLS, message.TLS{CA: "ca.pem"}, "secret"
	if err := collecttest.Once(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	c.TLS.Cert, c.TLS.Key = "client.pem", "client.key"
	collecttest.Start(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{}).Expect(`{"n":%d}`, 10)

	c.Password = setting.Secret("hunter2")
	err := collecttest.Once(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{})
	if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "connecting to mqtt://"+w.broker.AddrTLS) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("with a wrong password: %v", err)
	}
	c.TLS.CA = ""
	if err := collecttest.Once(t, New(c, "x", w.broker.Dir, nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// testRestart stops the broker, which writes its sessions down, in the middle of what it delivers.
func testRestart(t *testing.T, w *world) {
	const n = 2000
	w.send(t, 0, n)
	log := &collecttest.Log{}
	release := log.Hold()
	l := collecttest.Start(t, New(w.config(), "x", "", nil), log)
	l.Await(20)
	w.broker.Stop()
	release()
	l.AwaitError("mqtt://")
	w.broker.Start()
	w.sender = fixture.NewMQTTSender(t, w.broker.Addr)
	w.send(t, n, n+100)
	l.Expect(`{"n":%d}`, n+100)
}

// testSessionLost kills the broker, whose sessions are gone: that is a gap.
func testSessionLost(t *testing.T, w *world) {
	var logged bytes.Buffer
	l := collecttest.Start(t, New(w.config(), "x", "", slog.New(slog.NewTextHandler(&logged, nil))), &collecttest.Log{})
	w.send(t, 0, 10)
	l.Await(10)
	w.broker.Kill()
	w.broker.Start()
	w.sender = fixture.NewMQTTSender(t, w.broker.Addr)
	l.Await(11)
	l.Until(func() bool {
		w.sender.Text(t, w.name, `{"n":10}`)
		return len(l.Log.Records()) > 11
	})
	l.Stop()
	items := l.Items()
	if len(items) != 12 || !strings.HasPrefix(items[10], `!"{\"gap\":{\"from\":\"20`) || items[11] != `{"n":10}` {
		t.Errorf("got %q", items)
	}
	if !strings.Contains(logged.String(), "the broker has lost the session") {
		t.Error(logged.String())
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Topics = []string{"#", "a/+/b/#", "+"} }, ""},
		{func(c *Config) { c.URL = "" }, "url: is missing"},
		{func(c *Config) { c.URL = "amqp://x" }, "url: must be an address"},
		{func(c *Config) { c.URL = "mqtt://x/path" }, "without a path"},
		{func(c *Config) { c.URL, c.Password = "mqtt://x:hunter2@y", "hunter3" }, "password: is in url too"},
		{func(c *Config) { c.URL, c.Password = "mqtt://y", "hunter3" }, "password: needs a user"},
		{func(c *Config) { c.TLS.CA = "ca.pem" }, "tls: is not used without a url that begins with mqtts://"},
		{func(c *Config) { c.Topics = nil }, "topics: is missing"},
		{func(c *Config) { c.Topics = []string{"a", "a/#/b"} }, "topics.1: must be a topic"},
		{func(c *Config) { c.Topics = []string{"a+"} }, "topics.0: must be a topic"},
		{func(c *Config) { c.Topics = []string{""} }, "topics.0: must be a topic"},
		{func(c *Config) { c.Topics = []string{"$share/g/a"} }, "write group:"},
		{func(c *Config) { c.Group = "a/b" }, "group: must not have"},
		{func(c *Config) { c.QoS = 3 }, "qos: must be 0, 1 or 2"},
		{func(c *Config) { c.Version = "4" }, "version: must be 5 or 3.1.1"},
		{func(c *Config) { c.SessionExpiry = 0 }, "session_expiry: must be at least"},
		{func(c *Config) { c.Prefetch = 70_000 }, "prefetch: must be from 1"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Dedupe = message.Dedupe{Key: "$.id", Window: 1} }, "dedupe.window: must be from 500"},
		{func(c *Config) { c.KeepAlive = 0 }, "keep_alive: must be from 1s"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be positive"},
	} {
		conf := DefaultConfig()
		conf.URL, conf.Topics = "mqtt://user@broker", []string{"a/b"}
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}

// TestStopWhileConnecting: a broker that says nothing does not keep Run.
func TestStopWhileConnecting(t *testing.T) {
	p := fixture.NewProxy(t, "127.0.0.1:1")
	p.Frozen.Store(true)
	c := DefaultConfig()
	c.URL, c.Topics = "mqtt://"+p.Addr, []string{"a"}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := New(c, "x", "", nil).Run(ctx, nil, false); err == nil {
			t.Error("no error")
		}
	})
	cancel()
	wg.Wait()
}
