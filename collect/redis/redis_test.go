package redis

import (
	"bytes"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"headwater/collect/collecttest"
	"headwater/collect/message"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// times are how often each raw_data is in the topic.
func times(l *collecttest.Live) map[string]int {
	all := map[string]int{}
	for _, item := range l.Items() {
		all[item]++
	}
	return all
}

// pending is how many entries of the group are not acknowledged.
func (w *world) pending(t *testing.T, group string) int64 {
	t.Helper()
	p, err := w.client.XPending(t.Context(), w.key, group).Result()
	if err != nil {
		t.Fatal(err)
	}
	return p.Count
}

func testEntry(t *testing.T, w *world) {
	id := w.add(t, "b", "1", "a", "\xff", "b", "2")
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(1)
	l.Stop()
	r := l.Log.Records()[0]
	for _, want := range []string{`"position":"` + id + `"`, `"origin":"redis://` + w.server.Addr + "/0/" + w.key + `"`, `"malformed":"invalid-utf8"`} {
		if !strings.Contains(string(r.Value), want) {
			t.Errorf("%s\nlacks %s", r.Value, want)
		}
	}
	if string(r.Position.Resume) != `{"id":"`+id+`"}` || r.Position.Stream != "entries/"+w.key {
		t.Errorf("%+v", r.Position)
	}
}

func testField(t *testing.T, w *world) {
	w.add(t, "type", "order", "data", `{"a" : 1}`, "k", "")
	w.add(t, "type", "other")
	c := w.config()
	c.Field = "data"
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(2)
	l.Stop()
	if d := cmp.Diff([]string{`{"a":1}`, `{"type":"other"}`}, l.Items()); d != "" {
		t.Error(d)
	}
	if v := string(l.Log.Records()[0].Value); !strings.Contains(v, `"headers":[["type","order"],["k",""]]`) {
		t.Error(v)
	}
}

// testSizes: empty values, and one too large for a record.
func testSizes(t *testing.T, w *world) {
	large := strings.Repeat("x", 64<<20)
	w.add(t, "", "")
	w.add(t, "n", large)
	w.add(t, "n", "3")
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(3)
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[1], `!"{\"reason\":\"too-large\"`) {
		t.Errorf("%.200s", items[1])
	}
	items[1] = ""
	if d := cmp.Diff([]string{`{"":""}`, ``, `{"n":"3"}`}, items); d != "" {
		t.Error(d)
	}
	if n := w.pending(t, "headwater-x"); n != 0 || len(l.Kept.Kept()) != 1 {
		t.Errorf("%d entries are pending", n)
	}
}

// testClaims: what a consumer has that is gone is taken from it, once, also by one that died in between.
func testClaims(t *testing.T, w *world) {
	ctx := t.Context()
	if err := w.client.XGroupCreateMkStream(ctx, w.key, "headwater-x", "0").Err(); err != nil {
		t.Fatal(err)
	}
	w.send(t, 0, 20)
	if _, err := w.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "headwater-x", Consumer: "dead", Count: 10, Streams: []string{w.key, ">"}}).Result(); err != nil {
		t.Fatal(err)
	}
	c := w.config()
	c.ClaimAfter = time.Second
	log := &collecttest.Log{PartitionCount: 2}
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(10)
	log.Lose(3) // a process that ends after it has claimed
	l.Await(20)
	l.Until(func() bool { return w.pending(t, "headwater-x") == 0 })
	l.Stop()
	if n := times(l); len(n) != 20 || slices.Max(slices.Collect(maps.Values(n))) != 1 {
		t.Errorf("got %v", n)
	}
	streams := map[string]int{}
	for _, r := range log.Records() {
		streams[r.Position.Stream]++
	}
	if d := cmp.Diff(map[string]int{"entries/" + w.key: 10, "claimed/" + w.key: 10}, streams); d != "" {
		t.Error(d)
	}
}

// testLostReplies: what was read by a process that did not emit it, as one that only looks, comes without a restart.
func testLostReplies(t *testing.T, w *world) {
	c := w.config()
	c.ClaimAfter = time.Second
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{PartitionCount: 2})
	w.send(t, 0, 1)
	l.Await(1)
	tx := w.client.TxPipeline() // as one, so that nobody else is given the entries
	for i := 1; i < 50; i++ {
		tx.XAdd(t.Context(), &redis.XAddArgs{Stream: w.key, Values: []any{"n", i}})
	}
	tx.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "headwater-x", Consumer: "headwater", Block: -1, Streams: []string{w.key, ">"}})
	if _, err := tx.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.send(t, 50, 51)
	l.Await(51)
	l.Stop()
	if n := times(l); len(n) != 51 || slices.Max(slices.Collect(maps.Values(n))) != 1 {
		t.Errorf("got %v", n)
	}
}

// testSlowKafka: what is on its way to Kafka for longer than claim_after is ours already, and is not acknowledged before.
func testSlowKafka(t *testing.T, w *world) {
	c := w.config()
	c.ClaimAfter = time.Second
	log := &collecttest.Log{}
	release := log.Hold()
	defer release()
	w.send(t, 0, 10)
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(10)
	time.Sleep(2500 * time.Millisecond)
	if n := w.pending(t, "headwater-x"); n != 10 {
		t.Errorf("%d entries are pending, want 10: Kafka has acknowledged none", n)
	}
	release()
	l.Until(func() bool { return w.pending(t, "headwater-x") == 0 })
	l.Expect(`{"n":"%d"}`, 10)
}

// testGroupGone: a group that somebody has destroyed is made again where our records end.
func testGroupGone(t *testing.T, w *world) {
	var logged bytes.Buffer
	l := collecttest.Start(t, New(w.config(), "x", "", slog.New(slog.NewTextHandler(&logged, nil))), &collecttest.Log{})
	w.send(t, 0, 5000)
	l.Await(5000)
	l.Until(func() bool { return w.pending(t, "headwater-x") == 0 })
	if err := w.client.XGroupDestroy(t.Context(), w.key, "headwater-x").Err(); err != nil {
		t.Fatal(err)
	}
	w.send(t, 5000, 5100)
	l.AwaitError("NOGROUP")
	l.Expect(`{"n":"%d"}`, 5100)
	if !strings.Contains(logged.String(), "the consumer group was gone") {
		t.Error(logged.String())
	}
}

// testDeleted: an entry that was deleted before it was read is told of, and does not stop the others.
func testDeleted(t *testing.T, w *world) {
	c := w.config()
	if err := w.client.XGroupCreateMkStream(t.Context(), w.key, "headwater-x", "0").Err(); err != nil {
		t.Fatal(err)
	}
	w.send(t, 0, 1)
	gone := w.add(t, "n", "x")
	if _, err := w.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "headwater-x", Consumer: "headwater", Streams: []string{w.key, ">"}}).Result(); err != nil {
		t.Fatal(err)
	}
	if err := w.client.XDel(t.Context(), w.key, gone).Err(); err != nil {
		t.Fatal(err)
	}
	w.send(t, 1, 5)
	var logged bytes.Buffer
	collecttest.Start(t, New(c, "x", "", slog.New(slog.NewTextHandler(&logged, nil))), &collecttest.Log{}).Expect(`{"n":"%d"}`, 5)
	if !strings.Contains(logged.String(), "was deleted from the stream before it was read") || !strings.Contains(logged.String(), gone) {
		t.Error(logged.String())
	}
	if n := w.pending(t, "headwater-x"); n != 0 {
		t.Errorf("%d entries are pending", n)
	}
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 3000
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL, c.Count = "redis://"+p.Addr, 50
	w.send(t, 0, n)
	p.CutWithin(15_000)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(n - 100)
	p.CutWithin(0)
	p.Break()
	l.Expect(`{"n":"%d"}`, n)
	if p.Dials.Load() < 10 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
	s := New(w.config(), "x", "", nil)
	s.idle = 30 * time.Millisecond
	if err := collecttest.Once(t, s, l.Log); err != nil || len(l.Log.Records()) != n || w.pending(t, "headwater-x") != 0 {
		t.Errorf("%d records, %d pending: %v", len(l.Log.Records()), w.pending(t, "headwater-x"), err)
	}
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.URL = "redis://" + p.Addr
	w.send(t, 0, 1000)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Expect(`{"n":"%d"}`, 1000)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a server that has gone without a word is noticed because it does not answer in time.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL, c.Timeout = "redis://"+p.Addr, time.Second
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	w.send(t, 0, 10)
	l.Await(10)
	p.Frozen.Store(true)
	l.AwaitError("i/o timeout")
	w.send(t, 10, 20)
	p.Break()
	p.Frozen.Store(false)
	l.Expect(`{"n":"%d"}`, 20)
}

// testFlood: no more than twice count comes while Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, count = 20_000, 200
	c := w.config()
	c.Count = count
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(2 * count)
	time.Sleep(200 * time.Millisecond)
	if got := len(log.Records()); got != 2*count {
		t.Errorf("%d records before the first acknowledgement, want %d", got, 2*count)
	}
	release()
	began := time.Now()
	l.Expect(`{"n":"%d"}`, n)
	t.Logf("%.0f entries a second", n/time.Since(began).Seconds())
}

func testWrongPassword(t *testing.T, w *world) {
	for _, c := range []Config{{URL: "redis://reader:hunter2@" + w.server.Addr}, {URL: "redis://reader@" + w.server.Addr, Password: setting.Secret("hunter2")}} {
		c.Stream, c.Count, c.Timeout = w.key, 10, time.Second
		err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{})
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "redis://"+w.server.Addr) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("got %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
	if err := w.client.Set(t.Context(), w.key, "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := collecttest.Once(t, New(w.config(), "x", "", nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("got %v", err)
	}
}

func testTLS(t *testing.T, w *world) {
	w.send(t, 0, 10)
	c := w.config()
	c.URL, c.Password, c.TLS = "rediss://reader@"+w.server.AddrTLS, "secret", message.TLS{CA: "ca.pem"}
	if err := collecttest.Once(t, New(c, "x", w.server.Dir, nil), &collecttest.Log{}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	c.TLS.Cert, c.TLS.Key = "client.pem", "client.key"
	collecttest.Start(t, New(c, "x", w.server.Dir, nil), &collecttest.Log{}).Expect(`{"n":"%d"}`, 10)
	c.TLS = message.TLS{}
	if err := collecttest.Once(t, New(c, "x", "", nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}

// testRestart kills the server in the middle of what it sends.
func testRestart(t *testing.T, w *world) {
	const n = 5000
	w.send(t, 0, n)
	c := w.config()
	c.Count = 100
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(200)
	w.server.Kill()
	release()
	l.AwaitError("redis://")
	w.server.Start()
	w.client = redis.NewClient(&redis.Options{Addr: w.server.Addr})
	defer w.client.Close()
	l.Until(func() bool { return w.client.Ping(t.Context()).Err() == nil }) // it listens before it has read what it had
	w.send(t, n, n+100)
	l.Expect(`{"n":"%d"}`, n+100)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.ClaimAfter = 0 }, ""},
		{func(c *Config) { c.URL = "" }, "url: is missing"},
		{func(c *Config) { c.URL = "http://x" }, "url: must be an address"},
		{func(c *Config) { c.URL = "redis://x/db" }, "url: must be an address"},
		{func(c *Config) { c.URL, c.Password = "redis://:hunter2@y", "hunter3" }, "password: is in url too"},
		{func(c *Config) { c.TLS.CA = "ca.pem" }, "tls: is not used without a url that begins with rediss://"},
		{func(c *Config) { c.Stream = "" }, "stream: is missing"},
		{func(c *Config) { c.Stream, c.List = "", "jobs" }, ""},
		{func(c *Config) { c.Stream, c.List, c.Pop = "", "jobs", "right" }, ""},
		{func(c *Config) { c.List = "jobs" }, "list: is another source than stream"},
		{func(c *Config) { c.Stream, c.List, c.Pop = "", "jobs", "top" }, "pop: must be left or right"},
		{func(c *Config) { c.Pop = "left" }, "pop: is of lists"},
		{func(c *Config) { c.Stream, c.List, c.Group = "", "jobs", "g" }, "group: is of streams"},
		{func(c *Config) { c.Stream, c.List, c.Field = "", "jobs", "data" }, "field: is of streams"},
		{func(c *Config) { c.Count = 0 }, "count: must be from 1"},
		{func(c *Config) { c.ClaimAfter = time.Millisecond }, "claim_after: must be at least 1s"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be at least 1s"},
	} {
		conf := DefaultConfig()
		conf.URL, conf.Stream = "redis://user@redis/3", "orders"
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}
