package crash

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestMQTTKilled: with dedupe each message of a session is there once, whoever was killed when.
func TestMQTTKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := mqttSession(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func mqttSession(t *testing.T) upstream {
	t.Helper()
	broker := fixture.NewMosquitto(t)
	source := fmt.Sprintf(`{mqtt: {url: "mqtt://%s", topics: [orders/#], client_id: killed, prefetch: 100, dedupe: {key: $.n, window: 1000}}}`, broker.Addr)
	first := binary.New(t, binary.Build(t), fmt.Sprintf(queued, source))
	first.Run(t, nil, "run", "--once").Must(t) // makes the session
	sender := fixture.NewMQTTSender(t, broker.Addr)
	return upstream{source, func(body string, n int) {
		sender.Text(t, fmt.Sprint("orders/", n%7), body)
	}}
}
