package pubsub

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one topic with a subscription that has an order, and who publishes.
type world struct {
	server    *fixture.PubSub
	client    *pubsub.SubscriptionAdminClient
	publisher *pubsub.TopicAdminClient
	topic     string
	sub       *pubsubpb.Subscription
}

// topics counts them, so that each test has its own.
var topics int

func newWorld(t *testing.T, server *fixture.PubSub, change func(*pubsubpb.Subscription)) *world {
	t.Helper()
	topics++
	name := fmt.Sprint("orders-", topics)
	w := &world{
		server: server, topic: "projects/headwater/topics/" + name,
		sub: &pubsubpb.Subscription{Name: "projects/headwater/subscriptions/" + name, EnableMessageOrdering: true},
	}
	w.sub.Topic = w.topic
	if change != nil {
		change(w.sub)
	}
	w.make(t)
	return w
}

// make makes topic and subscription, which a server that was killed has forgotten.
func (w *world) make(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	var err error
	if w.client, err = New(w.config(), "", nil).client(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Close() })
	w.publisher, err = pubsub.NewTopicAdminClient(ctx, option.WithEndpoint(w.server.Addr), option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.publisher.Close() })
	if _, err := w.publisher.CreateTopic(ctx, &pubsubpb.Topic{Name: w.topic}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.CreateSubscription(ctx, w.sub); err != nil {
		t.Fatal(err)
	}
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.Project, c.Subscription, c.Endpoint = "headwater", w.topic[len("projects/headwater/topics/"):], "http://"+w.server.Addr
	c.Receivers, c.Lease, c.Timeout = 2, 10*time.Second, 5*time.Second
	return c
}

// alone is a source that asks for all at once, and leaves no request behind. The emulator does not give messages of a key back to where they
// were, those come first that nobody has had; and it gives messages to requests that were cancelled.
func (w *world) alone() *Source {
	c := w.config()
	c.Receivers = 1
	s := New(c, "", nil)
	s.wait = time.Second // the server does not wait
	return s
}

// publish publishes messages and waits until the server has them.
func (w *world) publish(t *testing.T, messages ...*pubsubpb.PubsubMessage) (ids []string) {
	t.Helper()
	got, err := w.publisher.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: w.topic, Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	return got.MessageIds
}

// send publishes the numbers from first on and below n, with so many ordering keys.
func (w *world) send(t *testing.T, first, n, keys int) {
	t.Helper()
	for first < n {
		var some []*pubsubpb.PubsubMessage
		for ; first < n && len(some) < batch; first++ {
			some = append(some, &pubsubpb.PubsubMessage{Data: []byte(strconv.Itoa(first)), OrderingKey: strconv.Itoa(first % keys)})
		}
		w.publish(t, some...)
	}
}

// visible are the messages that are given to others at once, which then have them.
func (w *world) visible(t *testing.T) []*pubsubpb.ReceivedMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // the server answers a second before it is over
	defer cancel()
	got, err := w.client.Pull(ctx, &pubsubpb.PullRequest{Subscription: w.sub.Name, MaxMessages: batch})
	if err != nil {
		t.Fatal(err)
	}
	return got.ReceivedMessages
}

// quick ends soon with once, and not while one of several receivers is being answered.
func (w *world) quick(c Config) *Source {
	s := New(c, "", nil)
	s.idle = 300 * time.Millisecond
	if c.Receivers > 1 {
		s.idle = 2*brief + time.Second
	}
	return s
}

func (w *world) Put(t *testing.T, _, n int) { w.send(t, n, n+1, 1) }

func (w *world) Source(*testing.T) collect.Source {
	s := w.alone()
	s.idle = 300 * time.Millisecond
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

// TestEmulator has the tests that need Google's emulator.
func TestEmulator(t *testing.T) {
	server := fixture.NewPubSub(t)
	t.Run("Conformance", func(t *testing.T) {
		// Late: what a Run that has failed gives back comes behind what nobody had yet, where Google's servers keep the order of a key.
		collecttest.Run(t, collecttest.Harness{Consumes: true, Late: true, World: func(t *testing.T) collecttest.World { return newWorld(t, server, nil) }})
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
		{"Killed", testKilled, loose},
		{"SlowKafka", testSlowKafka, loose},
		{"Flood", testFlood, loose},
		{"GivenBack", testGivenBack, nil},
		{"Look", testLook, nil},
		{"Cut", testCut, loose},
		{"Latency", testLatency, nil},
		{"HalfOpen", testHalfOpen, loose},
		{"NoSubscription", testNoSubscription, nil},
		{"EmulatorHost", testEmulatorHost, nil},
		{"Restart", testRestart, nil},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, server, c.change)) })
	}
}
