package pubsub

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/go-cmp/cmp"

	"headwater/collect/collecttest"
	"headwater/internal/retry"
	"headwater/tests/interop/fixture"
)

// want fails unless the topic has every number below n once, in any order.
func want(t *testing.T, log *collecttest.Log, n int) {
	t.Helper()
	times := map[string]int{}
	for _, item := range log.Items() {
		times[item]++
	}
	for i := range n {
		if times[strconv.Itoa(i)] != 1 {
			t.Errorf("message %d is there %d times", i, times[strconv.Itoa(i)])
		}
	}
	if len(times) != n {
		t.Errorf("%d different messages, want %d", len(times), n)
	}
}

func testMessage(t *testing.T, w *world) {
	id := w.publish(t, &pubsub.Message{Data: []byte(`{"a" : 1}`), Attributes: map[string]string{"b": "2", "a": ""}, OrderingKey: "k"})[0]
	w.publish(t, &pubsub.Message{Attributes: map[string]string{"only": "attributes"}})
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(2)
	l.Stop()
	items := l.Items()
	slices.Sort(items)
	if d := cmp.Diff([]string{`""`, `{"a":1}`}, items); d != "" {
		t.Error(d)
	}
	for _, r := range l.Log.Records() {
		if !strings.Contains(string(r.Value), `{"a":1}`) {
			continue
		}
		for _, want := range []string{`"origin":"pubsub://headwater/` + w.name + `"`, `"position":"` + id + `"`, `["message-id","` + id + `"]`, `["publish-time","20`, `["ordering-key","k"],["a",""],["b","2"]]`} {
			if !strings.Contains(string(r.Value), want) {
				t.Errorf("%s\nlacks %s", r.Value, want)
			}
		}
		if r.Position.Stream != "subscription/headwater/"+w.name || r.Position.Key == "" {
			t.Errorf("%+v", r.Position)
		}
	}
}

// testSizes has nearly the largest message that Pub/Sub takes.
func testSizes(t *testing.T, w *world) {
	large := strings.Repeat("x", 9<<20)
	w.publish(t, &pubsub.Message{Data: []byte(large)}, &pubsub.Message{Data: []byte{255}})
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(2)
	l.Stop()
	items := l.Items()
	slices.Sort(items)
	if items[0] != `"/w=="` || items[1] != `"`+large+`"` {
		t.Errorf("%.100q", items)
	}
}

// testKeys: the messages of each ordering key are in their order, when a Run fails, too.
func testKeys(t *testing.T, w *world) {
	const n = 600
	for i := range n {
		w.topic.Publish(t.Context(), &pubsub.Message{Data: []byte(strconv.Itoa(i)), OrderingKey: strconv.Itoa(i % 3)})
	}
	w.topic.Flush()
	log := &collecttest.Log{}
	log.Lose(n / 3)
	l := collecttest.Start(t, New(w.config(), "", nil), log)
	l.Await(n)
	l.Stop()
	want(t, log, n)
	last := map[int]int{}
	for _, item := range l.Items() {
		i, _ := strconv.Atoi(item)
		if before, known := last[i%3]; known && i < before {
			t.Errorf("%d came after %d", i, before)
		}
		last[i%3] = i
	}
}

// testMany reads many, of which nothing is left.
func testMany(t *testing.T, w *world) {
	const n = 5000
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	began := time.Now()
	if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f messages a second", n/(time.Since(began).Seconds()-0.7))
	want(t, log, n)
	again := &collecttest.Log{}
	if err := collecttest.Once(t, w.quick(w.config()), again); err != nil || len(again.Records()) > 0 {
		t.Errorf("%d messages came again: %v", len(again.Records()), err)
	}
}

// testRepeats: what a sender sends twice is known by a key of its own.
func testRepeats(t *testing.T, w *world) {
	c := w.config()
	c.Dedupe.Key = "$.id"
	log := &collecttest.Log{}
	for range 2 {
		for i := range 20 {
			w.publish(t, &pubsub.Message{Data: fmt.Appendf(nil, `{"id":%d}`, i%10)})
		}
		if err := collecttest.Once(t, w.quick(c), log); err != nil || len(log.Records()) != 10 {
			t.Errorf("%d records, want 10: %v", len(log.Records()), err)
		}
	}
}

// testSlowKafka: what is on its way for longer than a lease stays ours, and is not acknowledged before Kafka has it.
func testSlowKafka(t *testing.T, w *world) {
	log := &collecttest.Log{}
	release := log.Hold()
	defer release()
	w.send(t, 0, 10)
	l := collecttest.Start(t, New(w.config(), "", nil), log)
	l.Await(10)
	time.Sleep(lease + 2*time.Second)
	release()
	w.send(t, 10, 20)
	l.Await(20)
	l.Expect("%d", 20)
}

// testFlood: no more than prefetch comes while Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, prefetch = 2000, 100
	c := w.config()
	c.Prefetch = prefetch
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "", nil), log)
	l.Await(prefetch)
	time.Sleep(500 * time.Millisecond)
	if got := len(log.Records()); got != prefetch {
		t.Errorf("%d records before the first acknowledgement, want %d", got, prefetch)
	}
	release()
	l.Await(n)
	l.Stop()
	want(t, log, n)
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 1000
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.Endpoint, c.Prefetch = "http://"+p.Addr, 50
	w.send(t, 0, n)
	p.CutWithin(10_000)
	l := collecttest.Start(t, New(c, "", nil), &collecttest.Log{})
	l.Until(func() bool { return p.Dials.Load() > 10 })
	p.CutWithin(0)
	p.Break()
	l.Await(n)
	l.Stop()
	want(t, l.Log, n)
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.Endpoint = "http://" + p.Addr
	w.send(t, 0, 500)
	l := collecttest.Start(t, New(c, "", nil), &collecttest.Log{})
	l.Expect("%d", 500)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

func testNoSubscription(t *testing.T, w *world) {
	w.send(t, 0, 10)
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(10)
	if err := w.client.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: "projects/headwater/subscriptions/" + w.name}); err != nil {
		t.Fatal(err)
	}
	l.AwaitError("make the subscription first", "pubsub://headwater/"+w.name)
	l.Stop()
	if err := collecttest.Once(t, New(w.config(), "", nil), &collecttest.Log{}); err == nil || retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
}

// testRestart kills the server, which then has nothing any more.
func testRestart(t *testing.T, w *world) {
	w.send(t, 0, 20)
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(20)
	w.server.Kill()
	l.AwaitError("pubsub://headwater/" + w.name)
	w.server.Start()
	w.make(t, nil)
	w.send(t, 20, 40)
	l.Expect("%d", 40)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Endpoint = "http://127.0.0.1:8085" }, ""},
		{func(c *Config) { c.Endpoint = "https://europe-west1-pubsub.googleapis.com" }, ""},
		{func(c *Config) { c.Project = "" }, "project: must be the id"},
		{func(c *Config) { c.Subscription = "projects/x/subscriptions/y" }, "subscription: must be the id"},
		{func(c *Config) { c.Endpoint = "127.0.0.1:8085" }, "endpoint: must be an address"},
		{func(c *Config) { c.Endpoint = "https://user:hunter2@x" }, "endpoint: must be an address"},
		{func(c *Config) { c.Endpoint, c.Credentials = "http://127.0.0.1:8085", "key.json" }, "credentials: are not sent"},
		{func(c *Config) { c.Prefetch = 0 }, "prefetch: must be from 1"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Dedupe.Window = 999 }, "dedupe.window: must be from 1000 (prefetch)"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be at least 1s"},
	} {
		conf := DefaultConfig()
		conf.Project, conf.Subscription = "shop-123456", "orders"
		c.change(&conf)
		var texts []string
		for _, f := range conf.Validate() {
			texts = append(texts, f.String())
		}
		got := strings.Join(texts, "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) || strings.Contains(got, "hunter") {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
