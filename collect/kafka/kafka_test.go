package kafka

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	cluster "headwater/kafka"
	"headwater/tests/interop/fixture"
)

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func (w *world) start(t *testing.T, c Config) *collecttest.Live {
	return collecttest.Start(t, quick(c), &collecttest.Log{})
}

func testRecord(t *testing.T, w *world) {
	w.produce(t, &kgo.Record{
		Partition: 1, Key: []byte("k\xff"), Value: []byte(`{ "a" : 1 }`), Timestamp: time.UnixMilli(1783252800123),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}},
	})
	l := w.start(t, w.config())
	l.Await(1)
	l.Stop()
	r := l.Log.Records()[0]
	for _, want := range []string{
		`{"raw_data":{"a":1}`, `"origin":"kafka://` + w.broker.Addr + "/" + w.topic + `","position":"1/0"`,
		`"headers":[["topic","` + w.topic + `"],["partition","1"],["offset","0"],["timestamp","2026-07-05T12:00:00.123Z"],["key","a/8=","base64"],["h","1"],["h",""]]`,
	} {
		if !strings.Contains(string(r.Value), want) {
			t.Errorf("%s\nlacks %s", r.Value, want)
		}
	}
	if want := `{"next":1,"epoch":0,"topic":"` + w.id(t) + `"}`; string(r.Position.Resume) != want || r.Position.Stream != "topic/"+w.topic+"/1" {
		t.Errorf("%+v", r.Position)
	}
}

// id is the topic's.
func (w *world) id(t *testing.T) string {
	t.Helper()
	topics, err := w.adm.ListTopics(t.Context(), w.topic)
	if err != nil {
		t.Fatal(err)
	}
	id := topics[w.topic].ID
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// testSizes: no value, an empty one, one larger than a record, and what is not what it should be.
func testSizes(t *testing.T, w *world) {
	large := []byte(strings.Repeat("x", 80_000_000))
	for _, value := range [][]byte{nil, {}, large, []byte(`{"a":`), []byte("\x00\xff"), []byte("5")} {
		w.produce(t, &kgo.Record{Value: value})
	}
	c := w.config()
	c.MaxRecordBytes, c.Timeout = 90<<20, 15*time.Second
	l := w.start(t, c)
	l.Await(6)
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[2], `!"{\"reason\":\"too-large\",\"length\":80000000`) {
		t.Errorf("%.200s", items[2])
	}
	items[2] = ""
	if d := cmp.Diff([]string{`null`, `""`, ``, `"{\"a\":"`, `"AP8="`, `5`}, items); d != "" || len(l.Kept.Kept()) != 1 {
		t.Error(d)
	}
}

// testTransactions: what was aborted is not there, and markers at the end are passed.
func testTransactions(t *testing.T, w *world) {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(w.topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produce := func(end kgo.TransactionEndTry, values ...string) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: w.topic, Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	produce(kgo.TryCommit, "0", "1")
	produce(kgo.TryAbort, "aborted")
	log := &collecttest.Log{}
	for range 2 {
		if err := collecttest.Once(t, quick(w.config()), log); err != nil {
			t.Fatal(err)
		}
	}
	w.send(t, 2, 3)
	// What is deleted now was aborted or is a marker, and no gap.
	if _, err := w.adm.DeleteRecords(t.Context(), offsetsOf(w.topic, 5)); err != nil {
		t.Fatal(err)
	}
	if err := collecttest.Once(t, quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(numbers(3), log.Items()); d != "" {
		t.Error(d)
	}
	c := w.config()
	c.Isolation = readUncommitted
	produce(kgo.TryAbort, "7")
	log = &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"2", "7"}, log.Items()); d != "" {
		t.Error(d)
	}
}

func offsetsOf(topic string, at int64) kadm.Offsets {
	all := kadm.Offsets{}
	all.AddOffset(topic, 0, at, -1)
	return all
}

// testRemoved: what was removed before it was read is a gap.
func testRemoved(t *testing.T, w *world) {
	log := &collecttest.Log{}
	w.send(t, 0, 3)
	if err := collecttest.Once(t, quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	w.send(t, 3, 6)
	if _, err := w.adm.DeleteRecords(t.Context(), offsetsOf(w.topic, 5)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := collecttest.Once(t, quick(w.config()), log); err != nil {
			t.Fatal(err)
		}
	}
	gap(t, log, numbers(3), "offsets 3 to 4 were removed", []string{"5"})
}

// testRemovedWhileReading: the broker tells that the offset is out of range.
func testRemovedWhileReading(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	w.send(t, 0, 3)
	c := w.config()
	c.Timeout = time.Minute
	log := &collecttest.Log{}
	l := collecttest.Start(t, through(p, c), log)
	l.Await(3)
	p.Frozen.Store(true)
	w.send(t, 3, 20)
	if _, err := w.adm.DeleteRecords(t.Context(), offsetsOf(w.topic, 10)); err != nil {
		t.Fatal(err)
	}
	p.Break()
	p.Frozen.Store(false)
	l.Await(14)
	l.Stop()
	gap(t, log, numbers(3), "offsets 3 to 9 were removed", numbers(20)[10:])
}

// testMadeAnew: a topic of the same name is read from its beginning.
func testMadeAnew(t *testing.T, w *world) {
	log := &collecttest.Log{}
	w.send(t, 0, 3)
	l := collecttest.Start(t, quick(w.config()), log)
	l.Await(3)
	if _, err := w.adm.DeleteTopics(t.Context(), w.topic); err != nil {
		t.Fatal(err)
	}
	l.AwaitError(w.topic)
	w.create(t, w.topic)
	w.client.PurgeTopicsFromClient(w.topic)
	w.send(t, 3, 9)
	l.Await(10)
	l.Stop()
	if err := collecttest.Once(t, quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	gap(t, log, numbers(3), "made anew after offset 2", []string{"3", "4", "5", "6", "7", "8"})
}

// stub emits one item with a position that the topic cannot have given.
type stub struct {
	stream, resume string
}

func (s stub) Run(ctx context.Context, out collect.Out, _ bool) error {
	return out.Emit(ctx, collect.Item{Stream: s.stream, Resume: []byte(s.resume), Item: envelope.Item{Kind: envelope.JSON, Data: []byte("0")}})
}

// testCutOff: a leader that lacks what was read, as after the election of one that was behind.
func testCutOff(t *testing.T, w *world) {
	w.send(t, 0, 4)
	for resume, want := range map[string]struct {
		says string
		then []string
	}{
		`{"next":9,"epoch":0,"topic":"%s"}`:    {"cut off at offset 4 after it was read to 8", nil},
		`{"next":9,"epoch":-1,"topic":"%s"}`:   {"ends at offset 4, and it was read to 8", nil},
		`{"next":2,"epoch":0,"topic":"wrong"}`: {"made anew after offset 1", numbers(4)},
	} {
		log := &collecttest.Log{}
		if strings.Contains(resume, "%s") {
			resume = fmt.Sprintf(resume, w.id(t))
		}
		if err := collecttest.Once(t, stub{"topic/" + w.topic + "/0", resume}, log); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := collecttest.Once(t, quick(w.config()), log); err != nil {
				t.Fatal(err)
			}
		}
		gap(t, log, []string{"0"}, want.says, want.then)
	}
	log := &collecttest.Log{}
	if err := collecttest.Once(t, stub{"topic/" + w.topic + "/0", `"none"`}, log); err != nil {
		t.Fatal(err)
	}
	if err := collecttest.Once(t, quick(w.config()), log); err == nil || retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
}

// gap fails unless the topic has the items before, a gap record that says so, and the items after.
func gap(t *testing.T, log *collecttest.Log, before []string, says string, after []string) {
	t.Helper()
	items := log.Items()
	if len(items) <= len(before) || !strings.HasPrefix(items[len(before)], `!"{\"gap\":`) || !strings.Contains(items[len(before)], says) {
		t.Fatalf("got %q, want %s", items, says)
	}
	items[len(before)] = "gap"
	if d := cmp.Diff(append(append(slices.Clone(before), "gap"), after...), items); d != "" {
		t.Error(d)
	}
}

// testStart: latest is where the topic ended when the source was first run, whatever was read then; a time is what came from then on.
func testStart(t *testing.T, w *world) {
	w.produce(t, &kgo.Record{Value: []byte("old"), Timestamp: time.UnixMilli(1e12)}, &kgo.Record{Value: []byte("0")})
	c := w.config()
	c.Start = time.UnixMilli(1.5e12).UTC().Format(time.RFC3339)
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil || !slices.Equal(log.Items(), numbers(1)) {
		t.Errorf("%q: %v", log.Items(), err)
	}
	c.Start = latest
	log = &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil || len(log.Records()) > 0 {
		t.Errorf("%q: %v", log.Items(), err)
	}
	w.send(t, 0, 1)
	w.Put(t, 1, 1)
	if err := collecttest.Once(t, quick(c), log); err != nil {
		t.Error(err)
	}
	if got := slices.Sorted(slices.Values(log.Items())); !slices.Equal(got, numbers(2)) {
		t.Errorf("after the first run: %q", got)
	}
	log = &collecttest.Log{}
	conf := collect.DefaultConfig()
	conf.SnapshotEvery = 200 * time.Millisecond
	r := collect.New(collect.Options{Name: "x", Source: quick(c), Open: log.Open, Quarantine: &collecttest.Quarantine{}, Config: conf})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, false) }()
	for r.Status().Streams == 0 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	w.send(t, 0, 1)
	for len(log.Records()) == 0 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-result; err != nil || !slices.Equal(log.Items(), numbers(1)) {
		t.Errorf("while it runs: %q, %v", log.Items(), err)
	}
}

// testRange: of each Kafka partition what lies between two times, once, however often it is asked for; new ones have theirs, too.
func testRange(t *testing.T, w *world) {
	at := func(minute int) time.Time { return time.Date(2026, 7, 5, 10, minute, 0, 0, time.UTC) }
	for n := range 60 {
		w.produce(t, &kgo.Record{Partition: int32(n % 2), Value: fmt.Append(nil, n), Timestamp: at(n)})
	}
	between := func(from, to int) collect.Source {
		part, err := quick(w.config()).Between(at(from).Format(time.RFC3339), at(to).Format(time.RFC3339))
		if err != nil {
			t.Fatal(err)
		}
		return part
	}
	log := &collecttest.Log{}
	once := func(src collect.Source, want []string) {
		t.Helper()
		if err := collecttest.Once(t, src, log); err != nil {
			t.Fatal(err)
		}
		got := slices.Sorted(slices.Values(log.Items()))
		if d := cmp.Diff(slices.Sorted(slices.Values(want)), got); d != "" {
			t.Errorf("items (-want +got):\n%s", d)
		}
	}
	all := numbers(60)
	once(between(10, 41), all[10:41])
	once(between(10, 41), all[10:41])
	log = &collecttest.Log{}
	once(between(50, 120), all[50:])
	log = &collecttest.Log{}
	once(between(60, 120), nil)
	for _, bad := range [][2]string{{"yesterday", "2026-07-05T00:00:00Z"}, {"2026-07-05T00:00:00Z", "2026-07-05T00:00:00Z"}, {"2026-07-05T00:00:00Z", "2999-07-05T00:00:00Z"}} {
		if _, err := quick(w.config()).Between(bad[0], bad[1]); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// testFound: Kafka partitions and topics that are made while it runs are read from their beginning, whatever start says.
func testFound(t *testing.T, w *world) {
	c := w.config()
	c.Topics, c.TopicsRegex = nil, strings.ReplaceAll(w.topic, ".", `\.`)+"(-more)?"
	l := w.start(t, c)
	w.send(t, 0, 1)
	l.Await(1)
	if _, err := w.adm.CreatePartitions(t.Context(), 1, w.topic); err != nil {
		t.Fatal(err)
	}
	w.client.PurgeTopicsFromClient(w.topic) // it would hear of it in its own time
	w.create(t, w.topic+"-more")
	w.create(t, "not-"+w.topic)
	l.Until(func() bool {
		return w.client.ProduceSync(t.Context(), &kgo.Record{Topic: w.topic, Partition: 2, Value: []byte("1")}).FirstErr() == nil
	})
	w.produce(t, &kgo.Record{Topic: "not-" + w.topic, Value: []byte("other")}, &kgo.Record{Topic: w.topic + "-more", Value: []byte("2")})
	l.Await(3)
	l.Stop()
	if got := slices.Sorted(slices.Values(l.Items())); !slices.Equal(got, numbers(3)) {
		t.Errorf("%q", got)
	}
}

// testNoTopic: a topic that is not there is told of, and hides no other; it is read when it is made.
func testNoTopic(t *testing.T, w *world) {
	c := w.config()
	c.Topics = append(c.Topics, w.topic+"-none")
	w.send(t, 0, 3)
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err == nil || !strings.Contains(err.Error(), "there is no topic "+w.topic+"-none") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(numbers(3), log.Items()); d != "" {
		t.Error(d)
	}
	l := collecttest.Start(t, quick(c), log)
	w.send(t, 3, 6)
	l.Await(6)
	l.AwaitError("there is no topic")
	w.create(t, w.topic+"-none")
	w.produce(t, &kgo.Record{Topic: w.topic + "-none", Value: []byte("6")})
	l.Expect("%d", 7)
}

// testGroup: monitors of lag see how far it is read, and nothing else depends on it.
func testGroup(t *testing.T, w *world) {
	c := w.config()
	c.Group = w.topic + "-group"
	w.send(t, 0, 5)
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil {
		t.Fatal(err)
	}
	at := func() int64 {
		all, err := w.adm.FetchOffsets(t.Context(), c.Group)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := all.Lookup(w.topic, 0)
		return o.At
	}
	if got := at(); got != 5 {
		t.Errorf("the group is at %d, want 5", got)
	}
	if err := w.adm.CommitAllOffsets(t.Context(), c.Group, offsetsOf(w.topic, 1)); err != nil {
		t.Fatal(err)
	}
	l := collecttest.Start(t, quick(c), log)
	w.send(t, 5, 9)
	l.Until(func() bool { return at() == 9 })
	l.Expect("%d", 9)
}

// through has a source reach the broker, which does not know, by a proxy.
func through(p *fixture.Proxy, c Config) *Source {
	s := quick(c)
	s.options = []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, p.Addr)
	})}
	return s
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 5000
	p := fixture.NewProxy(t, w.broker.Addr)
	for i := 0; i < n; i += 100 { // a batch of 100 KB: an answer has at least one
		var batch []*kgo.Record
		for j := range 100 {
			batch = append(batch, &kgo.Record{Value: fmt.Appendf(nil, "%1000d", i+j)})
		}
		w.produce(t, batch...)
	}
	p.CutWithin(1_500_000) // an answer has up to 1 MiB
	l := collecttest.Start(t, through(p, w.config()), &collecttest.Log{})
	l.Await(n / 2)
	p.CutWithin(0)
	p.Break()
	l.Expect("%d", n)
	if p.Dials.Load() < 8 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	w.send(t, 0, 1000)
	c := w.config()
	c.Timeout = 15 * time.Second
	l := collecttest.Start(t, through(p, c), &collecttest.Log{})
	l.Expect("%d", 1000)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a broker that has gone without a word is noticed because it does not answer.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.broker.Addr)
	c := w.config()
	c.Timeout = time.Second
	l := collecttest.Start(t, through(p, c), &collecttest.Log{})
	w.send(t, 0, 10)
	l.Await(10)
	p.Frozen.Store(true)
	l.AwaitError("kafka://" + w.broker.Addr)
	w.send(t, 10, 20)
	p.Break()
	p.Frozen.Store(false)
	l.Expect("%d", 20)
}

// testFlood: reading waits while our Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, most = 50_000, 300
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: most}
	release := log.Hold()
	l := collecttest.Start(t, quick(w.config()), log)
	l.Await(most)
	time.Sleep(200 * time.Millisecond)
	if got := len(log.Records()); got != most {
		t.Errorf("%d records before the first acknowledgement, want %d", got, most)
	}
	release()
	began := time.Now()
	l.Expect("%d", n)
	t.Logf("%.0f records a second", n/time.Since(began).Seconds())
}

func testSASL(t *testing.T, w *world) {
	w.send(t, 0, 10)
	c := w.config()
	c.Brokers, c.TLS = []string{w.broker.AddrSASL}, &cluster.TLS{CA: "ca.pem"}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		c.SASL = &cluster.SASL{Mechanism: mechanism, Username: "reader", Password: "secret"}
		log := &collecttest.Log{}
		if err := collecttest.Once(t, New(c, w.broker.Dir, nil), log); err != nil || !slices.Equal(log.Items(), numbers(10)) {
			t.Errorf("%s: %q, %v", mechanism, log.Items(), err)
		}
		c.SASL = &cluster.SASL{Mechanism: mechanism, Username: "reader", Password: setting.Secret("hunter2")}
		err := collecttest.Once(t, New(c, w.broker.Dir, nil), log)
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "kafka://"+w.broker.AddrSASL) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", mechanism, err)
		}
	}
	c.TLS = &cluster.TLS{}
	if err := collecttest.Once(t, New(c, "", nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a broker that nobody vouches for: %v", err)
	}
	c.TLS = &cluster.TLS{CA: "none.pem"}
	if err := collecttest.Once(t, New(c, w.broker.Dir, nil), &collecttest.Log{}); err == nil || !strings.Contains(err.Error(), "tls.ca") {
		t.Errorf("got %v", err)
	}
}

// testRestart kills the broker in the middle of what it sends.
func testRestart(t *testing.T, w *world) {
	const n = 3000
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: 100}
	release := log.Hold()
	l := collecttest.Start(t, quick(w.config()), log)
	l.Await(100)
	w.broker.Kill()
	release()
	l.AwaitError("kafka://")
	w.broker.Start()
	w.send(t, n, n+100)
	l.Expect("%d", n+100)
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Topics, c.TopicsRegex = nil, "orders.*" }, ""},
		{func(c *Config) { c.Start = "2026-07-05T00:00:00+02:00" }, ""},
		{func(c *Config) { c.Brokers = nil }, "brokers: is missing"},
		{func(c *Config) { c.Brokers = []string{"kafka"} }, "brokers.0: must be host:port"},
		{func(c *Config) { c.SASL = &cluster.SASL{Mechanism: "GSSAPI", Username: "u", Password: "hunter2"} }, "sasl.mechanism: must be PLAIN"},
		{func(c *Config) { c.TLS = &cluster.TLS{Cert: "c"} }, "tls: cert and key"},
		{func(c *Config) { c.Topics = nil }, "topics: must be the names"},
		{func(c *Config) { c.TopicsRegex = "a" }, "topics: must be the names"},
		{func(c *Config) { c.Topics = []string{"a.*"} }, "topics: must be names of topics"},
		{func(c *Config) { c.Topics, c.TopicsRegex = nil, "(" }, "topics_regex: must be a regular expression"},
		{func(c *Config) { c.Start = "yesterday" }, "start: must be earliest"},
		{func(c *Config) { c.Isolation = "none" }, "isolation: must be read_committed"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.MaxRecordBytes = 1 }, "max_record_bytes: must be from 1KiB"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be at least 1s"},
	} {
		conf := DefaultConfig()
		conf.Brokers, conf.Topics = []string{"kafka:9092"}, []string{"orders"}
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}
