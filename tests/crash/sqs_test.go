package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"headwater/tests/interop/fixture"
)

// TestSQSKilled: each message of a queue is there once, whoever was killed when.
func TestSQSKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := sqsQueue(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func sqsQueue(t *testing.T) upstream {
	t.Helper()
	fixture.SetAWS()
	server := fixture.NewElasticMQ(t)
	server.Create(t, "orders")
	source := fmt.Sprintf(`{sqs: {queue_url: "%s/orders", prefetch: 100, visibility: 2s, dedupe: {key: $.n, window: 50000}}}`, server.URL)
	return upstream{source, func(body string, _ int) {
		time.Sleep(2 * time.Millisecond) // the server brings some hundred messages a second when it keeps them on disk
		server.Send(t, "orders", body)   // twice, if it did not say whether it has it
	}}
}
