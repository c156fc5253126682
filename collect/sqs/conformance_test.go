package sqs

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

func TestMain(m *testing.M) {
	fixture.SetAWS()
	os.Exit(m.Run())
}

// world is one queue, which has an order so that the suite can look for it, and who sends to it.
type world struct {
	server *fixture.ElasticMQ
	client *sqs.Client
	url    string
}

// queues counts them, so that each test has its own.
var queues int

func newWorld(t *testing.T, server *fixture.ElasticMQ, fifo bool) *world {
	t.Helper()
	queues++
	name := fmt.Sprint("queue-", queues)
	attributes := map[string]string{}
	if fifo {
		name += ".fifo"
		attributes["FifoQueue"] = "true"
	}
	w := &world{server: server, url: server.URL + "/" + name}
	var err error
	var leave func()
	if w.client, leave, err = New(w.config(), nil).client(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	if _, err := w.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name), Attributes: attributes}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.QueueURL, c.Visibility, c.Timeout = w.url, 2*time.Second, 5*time.Second
	return c
}

// send sends the numbers from first on and below n, in a FIFO queue of three groups.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	for first < n {
		in := &sqs.SendMessageBatchInput{QueueUrl: aws.String(w.url)}
		for ; first < n && len(in.Entries) < batch; first++ {
			e := types.SendMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(first)), MessageBody: aws.String(strconv.Itoa(first))}
			if c := w.config(); c.fifo() {
				e.MessageGroupId, e.MessageDeduplicationId = aws.String(strconv.Itoa(first%3)), e.Id
			}
			in.Entries = append(in.Entries, e)
		}
		got, err := w.client.SendMessageBatch(t.Context(), in)
		if err != nil || len(got.Failed) > 0 {
			t.Fatal(got, err)
		}
	}
}

// left is how many messages the queue has, received or not.
func (w *world) left(t *testing.T) int {
	t.Helper()
	visible, hidden := w.size(t)
	return visible + hidden
}

func (w *world) size(t *testing.T) (visible, hidden int) {
	t.Helper()
	got, err := w.client.GetQueueAttributes(context.WithoutCancel(t.Context()), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(w.url), AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	if err != nil {
		t.Fatal(err)
	}
	visible, _ = strconv.Atoi(got.Attributes["ApproximateNumberOfMessages"])
	hidden, _ = strconv.Atoi(got.Attributes["ApproximateNumberOfMessagesNotVisible"])
	return visible, hidden
}

// live is a source whose receivers go when they are told to: the server goes on to give messages to those that have hung up.
func (w *world) live(c Config) *Source {
	s := New(c, nil)
	s.wait = time.Second
	return s
}

func (w *world) quick(c Config) *Source {
	s := w.live(c)
	s.idle = 60 * time.Millisecond
	return s
}

// one is a world whose messages are of one group, as the suite has one order.
type one struct{ *world }

func (w one) Put(t *testing.T, _, n int) {
	t.Helper()
	_, err := w.client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: aws.String(w.url), MessageBody: aws.String(strconv.Itoa(n)), MessageGroupId: aws.String("all"), MessageDeduplicationId: aws.String(strconv.Itoa(n)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w one) Source(*testing.T) collect.Source { return w.quick(w.config()) }

func (w one) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

// TestElasticMQ has the tests that need the server.
func TestElasticMQ(t *testing.T) {
	server := fixture.NewElasticMQ(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return one{newWorld(t, server, true)} }})
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
		fifo bool
	}{
		{"Message", testMessage, true},
		{"Sizes", testSizes, false},
		{"Groups", testGroups, true},
		{"Standard", testStandard, false},
		{"Repeats", testRepeats, false},
		{"Killed", testKilled, false},
		{"SlowKafka", testSlowKafka, true},
		{"Flood", testFlood, false},
		{"GivenBack", testGivenBack, true},
		{"Look", testLook, false},
		{"Cut", testCut, false},
		{"Latency", testLatency, false},
		{"HalfOpen", testHalfOpen, false},
		{"QueueDeleted", testQueueDeleted, false},
		{"Restart", testRestart, false},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, server, c.fifo)) })
	}
}
