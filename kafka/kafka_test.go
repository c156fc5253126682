package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/setting"
	"headwater/kafka/embedded"
)

func TestSourceOf(t *testing.T) {
	for topic, want := range map[string]string{
		"orders_raw": "orders", "prod.trades-raw": "prod_trades", "Sensor.RAW.raw": "sensor_raw", "xraw": "x",
		"a__raw": "a_", "raw": "raw", "_raw": "_raw", "raw_data": "raw_data", "plain": "plain",
	} {
		if got := SourceOf(topic); got != want {
			t.Errorf("SourceOf(%q) = %q, want %q", topic, got, want)
		}
	}
	if got := SourceOf(TopicOf("orders")); got != "orders" {
		t.Errorf("the topic of orders belongs to %q", got)
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	if f := good.Validate(); len(f) > 0 {
		t.Errorf("the defaults have faults: %v", f)
	}
	bad := Config{
		Brokers: []string{"a:1", "b"}, Linger: -1, Compression: "zip", BatchBytes: 1, MaxRecordBytes: 1 << 40,
		SASL: &SASL{Mechanism: "GUESS"}, TLS: &TLS{Cert: "x"},
	}
	var got []string
	for _, f := range bad.Validate() {
		got = append(got, strings.Join(f.Path, "."))
	}
	want := []string{
		"brokers.1", "linger", "compression", "max_record_bytes", "batch_bytes", "max_buffered_records", "max_buffered_bytes",
		"sasl.mechanism", "sasl.username", "tls",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// config is that of a broker which the test opens on a folder of its own.
func broker(t *testing.T) Config {
	t.Helper()
	if addr := os.Getenv(realBroker); addr != "" {
		return emptied(t, addr)
	}
	b, err := embedded.Open(embedded.Config{Dir: t.TempDir(), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return configFor(b.Addr())
}

// fake is a broker whose answers a test can change.
func fake(t *testing.T, opts ...kfake.Opt) (*kfake.Cluster, Config) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "100000000"})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, configFor(c.ListenAddrs()[0])
}

func configFor(addr string) Config {
	cfg := DefaultConfig()
	cfg.Brokers = []string{addr}
	return cfg
}

func newClient(t *testing.T, cfg Config, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := NewClient(cfg, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func ensure(t *testing.T, cl *kgo.Client, topic string, partitions int32) {
	t.Helper()
	if err := EnsureTopics(t.Context(), cl, []TopicSpec{{Name: topic, Partitions: partitions}}); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, cfg Config) (*SourceLog, envelope.Cursor) {
	t.Helper()
	l, cursor, err := OpenSource(t.Context(), cfg, "src", "src_raw", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, cursor
}

// writer appends numbered records and keeps what became of them.
type writer struct {
	t    *testing.T
	log  *SourceLog
	seqs map[string]int64

	mu       sync.Mutex
	acked    map[string]int64
	failures []error
	wait     sync.WaitGroup
}

func newWriter(t *testing.T, l *SourceLog, c envelope.Cursor) *writer {
	w := &writer{t: t, log: l, seqs: map[string]int64{}, acked: map[string]int64{}}
	for s, at := range c.Streams {
		w.seqs[s], w.acked[s] = at.Seq+1, at.Seq
	}
	return w
}

func (w *writer) append(ctx context.Context, stream string, partition int32, size int) {
	seq := w.seqs[stream]
	w.seqs[stream]++
	value := `{"raw_data":` + fmt.Sprint(seq) + `,"pad":"` + strings.Repeat("x", size) + `"}`
	w.wait.Add(1)
	position := envelope.Position{Stream: stream, Seq: seq, Resume: json.RawMessage(fmt.Sprintf(`{"line":%d}`, seq+1))}
	if stream == "keyed" {
		position.Key, position.Keys = fmt.Sprint(seq), 150
	}
	w.log.Append(ctx, envelope.Record{Partition: partition, Value: []byte(value), Time: time.UnixMilli(1_700_000_000_000), Position: position}, func(offset int64, err error) {
		defer w.wait.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.failures = append(w.failures, err)
			return
		}
		if last, known := w.acked[stream]; known && last+1 != seq || !known && seq != 0 {
			w.t.Errorf("stream %s: number %d was acknowledged after %d", stream, seq, last)
		}
		w.acked[stream] = seq
	})
}

func (w *writer) settled() { w.t.Helper(); w.wait.Wait() }

func (w *writer) mustSucceed() {
	w.t.Helper()
	w.settled()
	if len(w.failures) > 0 {
		w.t.Fatalf("%d records failed, the first with: %v", len(w.failures), w.failures[0])
	}
}

func at(seq int64, partition int32) envelope.StreamCursor {
	return envelope.StreamCursor{Seq: seq, Partition: partition, Resume: json.RawMessage(fmt.Sprintf(`{"line":%d}`, seq+1))}
}

func TestTopics(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ctx := t.Context()
	specs := []TopicSpec{{Name: "a_raw", Partitions: 3, Replication: 3, Configs: map[string]string{"retention.ms": "1000"}}, {Name: "b_raw"}}
	for range 2 {
		if err := EnsureTopics(ctx, cl, specs); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := TopicIDs(ctx, cl, "a_raw", "b_raw", "missing")
	if err != nil || len(ids) != 2 || len(ids["a_raw"]) != 22 || ids["a_raw"] == ids["b_raw"] {
		t.Errorf("TopicIDs = %v, %v", ids, err)
	}
	ends, err := EndOffsets(ctx, cl, "a_raw", "b_raw", "missing")
	if d := cmp.Diff(Offsets{"a_raw": {0: 0, 1: 0, 2: 0}, "b_raw": {0: 0}}, ends); err != nil || d != "" {
		t.Errorf("EndOffsets: %v, %s", err, d)
	}
	err = EnsureTopics(ctx, cl, []TopicSpec{{Name: "a_raw", Partitions: 6}, {Name: "c_raw", Partitions: 2}})
	var differs *PartitionsError
	if !errors.As(err, &differs) || *differs != (PartitionsError{"a_raw", 3, 6}) {
		t.Errorf("a differing number of Kafka partitions gives %v", err)
	}
	if ends, _ := EndOffsets(ctx, cl, "c_raw"); len(ends["c_raw"]) != 2 {
		t.Error("c_raw was not created because a_raw differs")
	}
	if _, err := kadm.NewClient(cl).DeleteTopics(ctx, "a_raw"); err != nil {
		t.Fatal(err)
	}
	ensure(t, cl, "a_raw", 1)
	again, err := TopicIDs(ctx, cl, "a_raw")
	if err != nil || again["a_raw"] == ids["a_raw"] {
		t.Errorf("the topic made anew has id %s, before %s (%v)", again["a_raw"], ids["a_raw"], err)
	}
}

func TestCommittedOffsets(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "a_raw", 2)
	var os kadm.Offsets
	os.AddOffset("a_raw", 1, 7, -1)
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), "g", os); err != nil {
		t.Fatal(err)
	}
	got, err := CommittedOffsets(t.Context(), cl, "g")
	if d := cmp.Diff(Offsets{"a_raw": {1: 7}}, got); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if none, err := CommittedOffsets(t.Context(), cl, "nobody"); err != nil || len(none) > 0 {
		t.Errorf("a group that does not exist has %v, %v", none, err)
	}
}

// TestPassword is that a client says who it is, and that the password is looked at.
func TestPassword(t *testing.T) {
	_, cfg := fake(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "hw", "secret"))
	cfg.SASL = &SASL{Mechanism: "SCRAM-SHA-512", Username: "hw", Password: "secret"}
	ensure(t, newClient(t, cfg), "a_raw", 1)
	cfg.SASL = &SASL{Mechanism: "SCRAM-SHA-512", Username: "hw", Password: setting.Secret("wrong")}
	err := EnsureTopics(t.Context(), newClient(t, cfg, kgo.RetryTimeout(time.Millisecond)), []TopicSpec{{Name: "b_raw"}})
	if err == nil {
		t.Error("a wrong password is accepted")
	}
}
