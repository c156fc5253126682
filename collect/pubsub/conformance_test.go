package pubsub

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one topic with a subscription that has an order, and who publishes.
type world struct {
	server *fixture.PubSub
	client *pubsub.Client
	topic  *pubsub.Publisher
	name   string
}

// topics counts them, so that each test has its own.
var topics int

func newWorld(t *testing.T, server *fixture.PubSub, change func(*pubsubpb.Subscription)) *world {
	t.Helper()
	topics++
	w := &world{server: server, name: fmt.Sprint("orders-", topics)}
	w.make(t, change)
	return w
}

func (w *world) make(t *testing.T, change func(*pubsubpb.Subscription)) {
	t.Helper()
	var err error
	if w.client, err = New(w.config(), "", nil).client(context.Background(), func(error) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Close() })
	topic := &pubsubpb.Topic{Name: "projects/headwater/topics/" + w.name}
	if _, err := w.client.TopicAdminClient.CreateTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	sub := &pubsubpb.Subscription{Name: "projects/headwater/subscriptions/" + w.name, Topic: topic.Name, EnableMessageOrdering: true}
	if change != nil {
		change(sub)
	}
	if _, err := w.client.SubscriptionAdminClient.CreateSubscription(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	w.topic = w.client.Publisher(w.name)
	w.topic.EnableMessageOrdering = true
	w.topic.PublishSettings.DelayThreshold = time.Millisecond
	t.Cleanup(w.topic.Stop)
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.Project, c.Subscription, c.Endpoint, c.Timeout = "headwater", w.name, "http://"+w.server.Addr, 2*time.Second
	return c
}

// publish publishes messages and waits until the server has them.
func (w *world) publish(t *testing.T, messages ...*pubsub.Message) (ids []string) {
	t.Helper()
	var results []*pubsub.PublishResult
	for _, m := range messages {
		results = append(results, w.topic.Publish(t.Context(), m))
	}
	for _, r := range results {
		id, err := r.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// send publishes the numbers from first on and below n, with one ordering key.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	var all []*pubsub.Message
	for ; first < n; first++ {
		all = append(all, &pubsub.Message{Data: []byte(strconv.Itoa(first)), OrderingKey: "all"})
	}
	w.publish(t, all...)
}

func (w *world) quick(c Config) *Source {
	s := New(c, "", nil)
	s.idle = 700 * time.Millisecond
	return s
}

func (w *world) Put(t *testing.T, _, n int) { w.send(t, n, n+1) }

func (w *world) Source(*testing.T) collect.Source { return w.quick(w.config()) }

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

// TestEmulator has the tests that need Google's emulator.
func TestEmulator(t *testing.T) {
	server := fixture.NewPubSub(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newWorld(t, server, nil) }})
	})
	exactly := func(s *pubsubpb.Subscription) { s.EnableExactlyOnceDelivery = true }
	loose := func(s *pubsubpb.Subscription) { s.EnableMessageOrdering = false }
	for _, c := range []struct {
		name   string
		test   func(*testing.T, *world)
		change func(*pubsubpb.Subscription)
	}{
		{"Message", testMessage, nil},
		{"Sizes", testSizes, nil},
		{"Keys", testKeys, nil},
		{"Loose", testMany, loose},
		{"ExactlyOnce", testMany, exactly},
		{"Repeats", testRepeats, nil},
		{"SlowKafka", testSlowKafka, nil},
		{"Flood", testFlood, loose},
		{"Cut", testCut, nil},
		{"Latency", testLatency, nil},
		{"NoSubscription", testNoSubscription, nil},
		{"Restart", testRestart, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, server, c.change)) })
	}
}
