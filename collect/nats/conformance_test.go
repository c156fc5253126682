package nats

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one stream, and who publishes into it.
type world struct {
	server *fixture.NATS
	js     jetstream.JetStream
	name   string
}

// worlds counts them, so that each test has its own.
var worlds int

func newWorld(t *testing.T, server *fixture.NATS, change func(*jetstream.StreamConfig)) *world {
	t.Helper()
	worlds++
	w := &world{server: server, name: fmt.Sprint("stream", worlds)}
	w.connect(t)
	c := jetstream.StreamConfig{Name: w.name, Subjects: []string{w.name + ".>"}}
	if change != nil {
		change(&c)
	}
	if _, err := w.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) connect(t *testing.T) {
	t.Helper()
	conn, err := nats.Connect(w.server.Addr, nats.Timeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if w.js, err = jetstream.New(conn); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.URL, c.Stream, c.Heartbeat, c.Timeout = "nats://"+w.server.Addr, w.name, 500*time.Millisecond, 5*time.Second
	return c
}

// publish publishes one message.
func (w *world) publish(t *testing.T, subject string, data []byte, headers nats.Header) {
	t.Helper()
	if _, err := w.js.PublishMsg(t.Context(), &nats.Msg{Subject: w.name + "." + subject, Data: data, Header: headers}); err != nil {
		t.Fatal(err)
	}
}

// send publishes the numbers from first on and below n.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	for i := first; i < n; i++ {
		if _, err := w.js.PublishAsync(w.name+".a", fmt.Append(nil, i), jetstream.WithStallWait(3*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(3 * time.Minute):
		t.Fatal("the server does not confirm")
	}
}

func (w *world) quick(c Config) *Source {
	s := New(c, "suite", "", nil)
	s.idle = 60 * time.Millisecond
	return s
}

func (w *world) Put(t *testing.T, _, n int) { w.publish(t, "a", fmt.Append(nil, n), nil) }

func (w *world) Source(*testing.T) collect.Source { return w.quick(w.config()) }

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

func workQueue(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }

// TestNATS has the tests that need the server.
func TestNATS(t *testing.T) {
	server := fixture.NewNATS(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{World: func(t *testing.T) collecttest.World { return newWorld(t, server, nil) }})
	})
	t.Run("Conformance of work queues", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newWorld(t, server, workQueue) }})
	})
	for _, c := range []struct {
		name   string
		test   func(*testing.T, *world)
		change func(*jetstream.StreamConfig)
	}{
		{"Message", testMessage, nil},
		{"Sizes", testSizes, nil},
		{"WorkQueue", testWorkQueue, workQueue},
		{"Interest", testInterest, func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }},
		{"Removed", testRemoved, nil},
		{"MadeAnew", testMadeAnew, nil},
		{"TwoProcesses", testTwoProcesses, nil},
		{"Cut", testCut, nil},
		{"Latency", testLatency, nil},
		{"HalfOpen", testHalfOpen, nil},
		{"Flood", testFlood, nil},
		{"Refused", testRefused, nil},
		{"TLS", testTLS, nil},
		{"Restart", testRestart, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, server, c.change)) })
	}
}
