package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// queued is a pipeline whose only source is called queue, with few things at a time so that a kill meets all of them.
const queued = `
database: db
collect: {snapshot_every: 100ms, max_record: 16KiB, max_item: 16KiB}
sources:
  queue: %s
land: {flush.size: 200, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 300ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// surviveQueue kills a process that reads a queue again and again while send sends numbered messages, a few of them too large for a record.
func surviveQueue(t *testing.T, source string, kills int, random *rand.Rand, send func(body string, n int)) {
	t.Helper()
	w := newWorld(t, binary.Build(t), fmt.Sprintf(queued, source))
	for range kills {
		proc := w.Start(t, nil, "run")
		for life := time.Duration(500+random.IntN(2000)) * time.Millisecond; life > 0; life -= 50 * time.Millisecond {
			for range random.IntN(100) {
				text := ""
				if random.IntN(500) == 0 {
					w.large[w.next] = true
					text = strings.Repeat("x", 20_000)
				}
				send(fmt.Sprintf(`{"n":%d,"pad":%q}`, w.next, text), w.next)
				w.next++
			}
			time.Sleep(50 * time.Millisecond)
		}
		proc.Kill(t)
	}
	for range 5 { // what a killed process had comes again when a busy server gets to it
		w.Run(t, nil, "run", "--once").Must(t)
		if len(w.objects(t).numbers) == w.next-len(w.large) {
			break
		}
	}
	for _, problem := range w.problemsOf(t, "queue") {
		t.Error(problem)
	}
	t.Logf("%d messages survived %d kills", w.next, kills)
}

// TestAMQPKilled: with dedupe each message of a queue is there once, whoever was killed when.
func TestAMQPKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := amqpQueue(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

// upstream is a source as a pipeline file has it, and how it gets a message of a number.
type upstream struct {
	source string
	send   func(body string, n int)
}

func amqpQueue(t *testing.T) upstream {
	t.Helper()
	broker := fixture.NewRabbitMQ(t)
	conn, err := amqp.Dial("amqp://" + broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(`{amqp: {url: "amqp://guest@%s", password: guest, queue: orders, prefetch: 100, dedupe: {key: message-id, window: 1000}}}`, broker.Addr)
	return upstream{source, func(body string, n int) {
		if err := ch.Publish("", "orders", false, false, amqp.Publishing{MessageId: fmt.Sprint(n), DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}}
}
