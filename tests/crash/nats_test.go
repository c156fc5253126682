package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/tests/interop/fixture"
)

// TestNATSKilled: each message of a stream is there once, whoever was killed when.
func TestNATSKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	q := natsStream(t, random)
	surviveQueue(t, q.source, kills, random, q.send)
}

func natsStream(t *testing.T, random *rand.Rand) upstream {
	t.Helper()
	server := fixture.NewNATS(t)
	conn, err := nats.Connect(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, Retention: jetstream.RetentionPolicy(2 * random.IntN(2))}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Logf("retention by %s", c.Retention)
	source := fmt.Sprintf(`{nats: {url: "nats://%s", stream: ORDERS, prefetch: 100}}`, server.Addr)
	return upstream{source, func(body string, n int) {
		if _, err := js.Publish(t.Context(), fmt.Sprint("orders.", n%7), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}}
}
