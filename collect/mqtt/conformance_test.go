package mqtt

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is a topic with a session that is subscribed to it.
type world struct {
	broker  *fixture.Mosquitto
	sender  *fixture.MQTTSender
	name    string
	version string
	qos     int
}

// worlds counts them, so that each test has a topic and a session of its own.
var worlds int

func newWorld(t *testing.T, broker *fixture.Mosquitto, version string, qos int) *world {
	t.Helper()
	worlds++
	w := &world{broker: broker, sender: fixture.NewMQTTSender(t, broker.Addr), name: fmt.Sprint("open/world", worlds), version: version, qos: qos}
	w.subscribe(t)
	return w
}

// subscribe has the broker keep messages from now on.
func (w *world) subscribe(t *testing.T) {
	t.Helper()
	if err := collecttest.Once(t, w.quick(w.config()), &collecttest.Log{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.URL, c.Topics, c.ClientID = "mqtt://"+w.broker.Addr, []string{w.name}, w.name
	c.Version, c.QoS, c.Dedupe.Key, c.KeepAlive = w.version, w.qos, "$.n", 2*time.Second
	return c
}

func (w *world) quick(c Config) *Source {
	s := New(c, "suite", "", nil)
	s.idle = 60 * time.Millisecond
	return s
}

func (w *world) Put(t *testing.T, _, n int) { w.sender.Text(t, w.name, fmt.Sprintf(`{"n":%d}`, n)) }

func (w *world) Source(*testing.T) collect.Source { return w.quick(w.config()) }

func (w *world) Number(raw json.RawMessage) (int, error) {
	var item struct{ N *int }
	if err := json.Unmarshal(raw, &item); err != nil || item.N == nil {
		return 0, fmt.Errorf("%s has no number: %w", raw, err)
	}
	return *item.N, nil
}

// TestMosquitto has the tests that need the broker.
func TestMosquitto(t *testing.T) {
	broker := fixture.NewMosquitto(t)
	for _, c := range []struct {
		version string
		qos     int
	}{{"5", 1}, {"3.1.1", 1}, {"5", 2}} {
		t.Run(fmt.Sprintf("Conformance %s QoS %d", c.version, c.qos), func(t *testing.T) {
			collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newWorld(t, broker, c.version, c.qos) }})
		})
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Message", testMessage},
		{"Sizes", testSizes},
		{"Repeats", testRepeats},
		{"Topics", testTopics},
		{"Shared", testShared},
		{"BestEffort", testBestEffort},
		{"Cut", testCut},
		{"Latency", testLatency},
		{"HalfOpen", testHalfOpen},
		{"SlowKafka", testSlowKafka},
		{"Flood", testFlood},
		{"TakenOver", testTakenOver},
		{"TLS", testTLS},
		{"Restart", testRestart},
		{"SessionLost", testSessionLost},
	} {
		for _, version := range []string{"5", "3.1.1"} {
			t.Run(c.name+" "+version, func(t *testing.T) { c.test(t, newWorld(t, broker, version, 1)) })
		}
	}
}
