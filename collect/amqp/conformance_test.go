package amqp

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one durable queue, and a sender whose messages the broker has confirmed.
type world struct {
	broker *fixture.RabbitMQ
	queue  string
	sender *amqp.Channel
}

// queues counts them, so that each test has its own.
var queues int

func newWorld(t *testing.T, broker *fixture.RabbitMQ) *world {
	t.Helper()
	queues++
	w := &world{broker: broker, queue: fmt.Sprint("queue ", queues)}
	w.connect(t)
	if _, err := w.sender.QueueDeclare(w.queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	conn, err := amqp.Dial("amqp://" + w.broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if w.sender, err = conn.Channel(); err != nil {
		t.Fatal(err)
	}
	if err := w.sender.Confirm(false); err != nil {
		t.Fatal(err)
	}
}

// send sends messages and waits until the broker has them.
func (w *world) send(t *testing.T, messages ...amqp.Publishing) {
	t.Helper()
	var confirmed []*amqp.DeferredConfirmation
	for _, m := range messages {
		m.DeliveryMode = amqp.Persistent
		c, err := w.sender.PublishWithDeferredConfirm("", w.queue, false, false, m)
		if err != nil {
			t.Fatal(err)
		}
		confirmed = append(confirmed, c)
	}
	for _, c := range confirmed {
		if !c.Wait() {
			t.Fatal("the broker did not take a message")
		}
	}
}

// numbers are messages whose bodies and ids are the numbers below n, from first on.
func numbers(first, n int) (all []amqp.Publishing) {
	for i := first; i < n; i++ {
		all = append(all, amqp.Publishing{MessageId: fmt.Sprint("id-", i), Body: fmt.Append(nil, i)})
	}
	return all
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.URL, c.Queue, c.Dedupe.Key = "amqp://"+w.broker.Addr, w.queue, "message-id"
	c.Heartbeat = time.Second
	return c
}

func (w *world) Put(t *testing.T, _, n int) { w.send(t, numbers(n, n+1)...) }

func (w *world) Source(*testing.T) collect.Source {
	s := New(w.config(), "suite", "", nil)
	s.idle = 60 * time.Millisecond
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

// TestRabbitMQ has the tests that need the broker, which takes seconds to start.
func TestRabbitMQ(t *testing.T) {
	broker := fixture.NewRabbitMQ(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newWorld(t, broker) }})
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Message", testMessage},
		{"Sizes", testSizes},
		{"Repeats", testRepeats},
		{"Cut", testCut},
		{"Latency", testLatency},
		{"HalfOpen", testHalfOpen},
		{"Prefetch", testPrefetch},
		{"WrongPassword", testWrongPassword},
		{"NoQueue", testNoQueue},
		{"QueueDeleted", testQueueDeleted},
		{"StreamQueue", testStreamQueue},
		{"TLS", testTLS},
		{"Alarm", testAlarm},
		{"AcknowledgementTimeout", testAcknowledgementTimeout},
		{"Restart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, broker)) })
	}
}
