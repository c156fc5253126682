package kafka

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one topic of two Kafka partitions, and who produces to it.
type world struct {
	broker *fixture.Broker
	client *kgo.Client
	adm    *kadm.Client
	topic  string
}

// worlds counts them, so that each test has its own.
var worlds int

func newWorld(t *testing.T, broker *fixture.Broker) *world {
	t.Helper()
	worlds++
	w := &world{broker: broker, topic: fmt.Sprint("topic.", worlds)}
	var err error
	w.client, err = kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(90e6),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.adm = kadm.NewClient(w.client)
	w.create(t, w.topic)
	return w
}

func (w *world) create(t *testing.T, topic string) {
	t.Helper()
	large := "95000000"
	if _, err := w.adm.CreateTopic(t.Context(), 2, 1, map[string]*string{"max.message.bytes": &large}, topic); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.Brokers, c.Topics, c.Timeout = []string{w.broker.Addr}, []string{w.topic}, 10*time.Second
	return c
}

// produce produces records to the topic, which says that it has them.
func (w *world) produce(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		if r.Topic == "" {
			r.Topic = w.topic
		}
	}
	if err := w.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// send produces the numbers from first on and below n to the first Kafka partition.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	var all []*kgo.Record
	for i := first; i < n; i++ {
		all = append(all, &kgo.Record{Value: fmt.Append(nil, i)})
	}
	w.produce(t, all...)
}

// quick looks for what is new at once.
func quick(c Config) *Source {
	s := New(c, "", nil)
	s.every = 100 * time.Millisecond
	return s
}

func (w *world) Put(t *testing.T, part, n int) {
	w.produce(t, &kgo.Record{Partition: int32(part), Value: fmt.Append(nil, n)})
}

func (w *world) Source(*testing.T) collect.Source { return quick(w.config()) }

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

// TestApacheKafka has the tests that need the server.
func TestApacheKafka(t *testing.T) {
	broker := fixture.Kafka(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Parts: 2, World: func(t *testing.T) collecttest.World { return newWorld(t, broker) }})
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Record", testRecord},
		{"Sizes", testSizes},
		{"Transactions", testTransactions},
		{"Removed", testRemoved},
		{"RemovedWhileReading", testRemovedWhileReading},
		{"MadeAnew", testMadeAnew},
		{"CutOff", testCutOff},
		{"Start", testStart},
		{"Range", testRange},
		{"Found", testFound},
		{"NoTopic", testNoTopic},
		{"Group", testGroup},
		{"Cut", testCut},
		{"Latency", testLatency},
		{"HalfOpen", testHalfOpen},
		{"Flood", testFlood},
		{"SASL", testSASL},
		{"Restart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, broker)) })
	}
}
