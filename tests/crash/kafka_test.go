package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/interop/fixture"
)

// TestKafkaKilled: each record of another Kafka is there once, whoever was killed when.
func TestKafkaKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := kafkaTopic(t, fixture.Kafka(t))
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func kafkaTopic(t *testing.T, broker *fixture.Broker) upstream {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 2, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(`{kafka: {brokers: ["%s"], topics: [orders], group: monitor}}`, broker.Addr)
	return upstream{source, func(body string, n int) {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Partition: int32(n % 2), Value: []byte(body)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}}
}
