package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	diff "github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"headwater/collect/collecttest"
	"headwater/collect/lease"
	"headwater/internal/retry"
	"headwater/tests/interop/fixture"
)

// finish waits until n records are there, stops, and fails unless that is all and the subscription has nothing more.
func finish(t *testing.T, w *world, l *collecttest.Live, n int) {
	t.Helper()
	l.Await(n)
	l.Stop()
	l.Log.ExpectEach(t, n)
	if left := w.visible(t); len(left) > 0 {
		t.Errorf("%d messages are left", len(left))
	}
}

// order fails unless the numbers of each of so many ordering keys are in their order.
func order(t *testing.T, items []string, keys int) {
	t.Helper()
	last := map[int]int{}
	for _, item := range items {
		i, _ := strconv.Atoi(item)
		if before, known := last[i%keys]; known && i < before {
			t.Errorf("%d came after %d", i, before)
		}
		last[i%keys] = i
	}
}

func testMessage(t *testing.T, w *world) {
	id := w.publish(t, &pubsubpb.PubsubMessage{Data: []byte(`{"a" : 1}`), Attributes: map[string]string{"b": "2", "a": ""}, OrderingKey: "k"})[0]
	w.publish(t, &pubsubpb.PubsubMessage{Attributes: map[string]string{"only": "attributes"}})
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(2)
	l.Stop()
	items := l.Items()
	slices.Sort(items)
	if d := diff.Diff([]string{`""`, `{"a":1}`}, items); d != "" {
		t.Error(d)
	}
	for _, r := range l.Log.Records() {
		wants := []string{`["only","attributes"]`}
		if strings.Contains(string(r.Value), `{"a":1}`) {
			wants = []string{`"origin":"pubsub://headwater/` + w.config().Subscription + `"`, `"position":"` + id + `"`, `["message-id","` + id + `"]`, `["publish-time","20`, `["ordering-key","k"],["a",""],["b","2"]]`}
		}
		for _, want := range wants {
			if !strings.Contains(string(r.Value), want) {
				t.Errorf("%s\nlacks %s", r.Value, want)
			}
		}
		if r.Position.Stream != "subscription/headwater/"+w.config().Subscription || r.Position.Key == "" {
			t.Errorf("%+v", r.Position)
		}
	}
}

// testSizes has the largest message that Pub/Sub takes, and such as no format fits.
func testSizes(t *testing.T, w *world) {
	large := strings.Repeat("x", 10_000_000-100) // 10 MB with the request
	for _, body := range []string{large, "\xff", "{not json", " "} {
		w.publish(t, &pubsubpb.PubsubMessage{Data: []byte(body)})
	}
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(4)
	l.Stop()
	items := l.Items()
	slices.Sort(items)
	if d := diff.Diff([]string{`" "`, `"/w=="`, `"` + large + `"`, `"{not json"`}, items); d != "" {
		t.Errorf("%.1000s", d)
	}
}

// testKeys: the messages of each ordering key are in their order, whatever is read at the same time. testGivenBack has those of a Run that fails.
func testKeys(t *testing.T, w *world) {
	const n = 300
	w.send(t, 0, n, 3)
	l := collecttest.Start(t, w.alone(), &collecttest.Log{})
	l.Await(n)
	w.send(t, n, 2*n, 3)
	finish(t, w, l, 2*n)
	order(t, l.Items(), 3)
}

// testMany reads many, of which nothing is left.
func testMany(t *testing.T, w *world) {
	const n = 5000
	w.send(t, 0, n, 1)
	began := time.Now()
	l := collecttest.Start(t, w.quick(w.config()), &collecttest.Log{Buffer: n}) // the emulator may have nothing to say for seconds, for which once would take it for empty
	l.Await(n)
	t.Logf("%.0f messages a second", n/time.Since(began).Seconds())
	finish(t, w, l, n)
}

// testRepeats: what a sender sends twice is known by a key of its own.
func testRepeats(t *testing.T, w *world) {
	c := w.config()
	c.Dedupe.Key = "$.id"
	log := &collecttest.Log{}
	for range 2 {
		for i := range 20 {
			w.publish(t, &pubsubpb.PubsubMessage{Data: fmt.Appendf(nil, `{"id":%d}`, i%10)})
		}
		if err := collecttest.Once(t, w.quick(c), log); err != nil || len(log.Records()) != 10 {
			t.Errorf("%d records, want 10: %v", len(log.Records()), err)
		}
	}
}

// testKilled: what a process has received that was killed comes again, and once waits for it.
func testKilled(t *testing.T, w *world) {
	w.send(t, 0, 10, 1)
	if got := w.visible(t); len(got) != 10 {
		t.Fatalf("got %d messages", len(got))
	}
	log := &collecttest.Log{}
	if err := collecttest.Once(t, New(w.config(), "", nil), log); err != nil {
		t.Fatal(err)
	}
	log.ExpectEach(t, 10)
}

// testSlowKafka: what is on its way for longer than a lease stays ours.
func testSlowKafka(t *testing.T, w *world) {
	log := &collecttest.Log{}
	release := log.Hold()
	defer release()
	w.send(t, 0, 10, 1)
	c := w.config()
	c.Prefetch = 10 // so that we do not ask for what others are given
	l := collecttest.Start(t, New(c, "", nil), log)
	l.Await(10)
	for began := time.Now(); time.Since(began) < 13*time.Second; {
		if got := w.visible(t); len(got) > 0 {
			t.Fatalf("another was given %d messages", len(got))
		}
	}
	release()
	finish(t, w, l, 10)
}

// testFlood: no more than prefetch comes while Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, prefetch = 2000, 100
	c := w.config()
	c.Prefetch = prefetch
	w.send(t, 0, n, 1)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "", nil), log)
	l.Await(prefetch)
	time.Sleep(500 * time.Millisecond)
	if got := len(log.Records()); got != prefetch {
		t.Errorf("%d records before the first acknowledgement, want %d", got, prefetch)
	}
	release()
	finish(t, w, l, n)
}

// testGivenBack: what was not taken when a Run ends is there for others at once, in its order.
func testGivenBack(t *testing.T, w *world) {
	c := w.config()
	c.Receivers, c.Lease = 1, 10*time.Minute
	w.send(t, 0, 30, 1)
	log := &collecttest.Log{}
	log.Fail(4)
	if err := collecttest.Once(t, w.quick(c), log); err == nil {
		t.Fatal("no fault")
	}
	log.Fail(0)
	began := time.Now()
	if err := collecttest.Once(t, w.quick(c), log); err != nil {
		t.Fatal(err)
	}
	log.ExpectEach(t, 30)
	order(t, log.Items(), 1)
	if took := time.Since(began); took > c.Lease/2 {
		t.Errorf("it took %s", took)
	}
}

// testLook: what who only looks has seen is there for others at once, however many receivers have asked.
func testLook(t *testing.T, w *world) {
	c := w.config()
	c.Receivers = 8
	c.Only(true)
	w.send(t, 0, 3, 1)
	for range 5 {
		log := &collecttest.Log{}
		log.Fail(1)
		if err := collecttest.Once(t, New(c, "", nil), log); err == nil {
			t.Fatal("no fault")
		}
		got := w.visible(t)
		if len(got) != 3 {
			t.Fatalf("%d messages are there, want 3", len(got))
		}
		in := &pubsubpb.ModifyAckDeadlineRequest{Subscription: w.sub.Name}
		for _, m := range got {
			in.AckIds = append(in.AckIds, m.AckId)
		}
		if err := w.client.ModifyAckDeadline(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

// testCut cuts connections anywhere. What an answer had that was cut comes again when its lease is over.
func testCut(t *testing.T, w *world) {
	const n = 1000
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.Endpoint, c.Prefetch = "http://"+p.Addr, 50
	w.send(t, 0, n, 1)
	p.CutWithin(10_000)
	l := collecttest.Start(t, New(c, "", nil), &collecttest.Log{})
	l.Until(func() bool { return p.Dials.Load() > 10 })
	p.CutWithin(0)
	p.Break()
	finish(t, w, l, n)
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.Endpoint = "http://" + p.Addr
	w.send(t, 0, 500, 3)
	l := collecttest.Start(t, New(c, "", nil), &collecttest.Log{})
	finish(t, w, l, 500)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a server that has gone without a word is noticed because it does not answer in time, and nothing that Kafka has is there twice.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.Endpoint, c.Timeout = "http://"+p.Addr, time.Second
	log := &collecttest.Log{}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "", nil), log)
	w.send(t, 0, 10, 1)
	l.Await(10)
	p.Frozen.Store(true)
	release() // what is acknowledged now gets no answer
	l.AwaitError("did not answer within 1s")
	w.send(t, 10, 20, 1)
	p.Break()
	p.Frozen.Store(false)
	finish(t, w, l, 20)
}

func testNoSubscription(t *testing.T, w *world) {
	w.send(t, 0, 10, 1)
	l := collecttest.Start(t, New(w.config(), "", nil), &collecttest.Log{})
	l.Await(10)
	if err := w.client.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: w.sub.Name}); err != nil {
		t.Fatal(err)
	}
	l.AwaitError("make the subscription first", "pubsub://headwater/"+w.config().Subscription)
	if err := collecttest.Once(t, New(w.config(), "", nil), &collecttest.Log{}); err == nil || retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
	if _, err := w.client.CreateSubscription(t.Context(), w.sub); err != nil {
		t.Fatal(err)
	}
	w.send(t, 10, 20, 1)
	finish(t, w, l, 20)
}

// testEmulatorHost: without an endpoint there is that of the variable that Google's tools know.
func testEmulatorHost(t *testing.T, w *world) {
	t.Setenv("PUBSUB_EMULATOR_HOST", w.server.Addr)
	w.send(t, 0, 10, 1)
	c := w.config()
	c.Endpoint = ""
	log := &collecttest.Log{}
	if err := collecttest.Once(t, w.quick(c), log); err != nil {
		t.Fatal(err)
	}
	log.ExpectEach(t, 10)
}

// testRestart kills the server, which then has nothing any more, while messages are on their way.
func testRestart(t *testing.T, w *world) {
	w.send(t, 0, 20, 1)
	log := &collecttest.Log{}
	release := log.Hold()
	l := collecttest.Start(t, New(w.config(), "", nil), log)
	l.Await(20)
	w.server.Kill()
	release()
	l.AwaitError("pubsub://headwater/" + w.config().Subscription)
	w.server.Start()
	w.make(t)
	w.send(t, 20, 40, 1)
	finish(t, w, l, 40)
}

// fake is a server that does what a test says.
type fake struct {
	pubsubpb.UnimplementedSubscriberServer
	mu      sync.Mutex
	pulls   int
	acks    []string
	extends []*pubsubpb.ModifyAckDeadlineRequest
	// pull answers the nth request, from 1 on; without a message the server waits a little.
	pull func(n int) (ack string, err error)
	// id is that of the message; without one it is m.
	id string
	// silent has Pull never answer.
	silent bool
	// acknowledge answers that nth acknowledgement.
	acknowledge  func(n int) error
	look, modify error
}

// newFake starts one that ends with the test.
func newFake(t *testing.T) (*fake, Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		pull: func(n int) (string, error) {
			if n == 1 {
				return "ack", nil
			}
			return "", nil
		},
		acknowledge: func(int) error { return nil },
	}
	s := grpc.NewServer()
	pubsubpb.RegisterSubscriberServer(s, f)
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		s.Stop()
		wg.Wait()
	})
	c := DefaultConfig()
	c.Project, c.Subscription, c.Endpoint, c.Receivers, c.Timeout = "shop", "orders", "http://"+l.Addr().String(), 1, time.Second
	return f, c
}

func (f *fake) Pull(ctx context.Context, _ *pubsubpb.PullRequest) (*pubsubpb.PullResponse, error) {
	if f.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pulls++
	ack, err := f.pull(f.pulls)
	if ack == "" {
		return &pubsubpb.PullResponse{}, err
	}
	m := &pubsubpb.ReceivedMessage{AckId: ack, DeliveryAttempt: 7, Message: &pubsubpb.PubsubMessage{MessageId: cmp.Or(f.id, "m"), Data: []byte("0")}}
	return &pubsubpb.PullResponse{ReceivedMessages: []*pubsubpb.ReceivedMessage{m}}, err
}

func (f *fake) Acknowledge(_ context.Context, in *pubsubpb.AcknowledgeRequest) (*emptypb.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acks = append(f.acks, in.AckIds...)
	n := len(f.acks)
	f.mu.Unlock()
	err := f.acknowledge(n)
	f.mu.Lock()
	return &emptypb.Empty{}, err
}

func (f *fake) ModifyAckDeadline(_ context.Context, in *pubsubpb.ModifyAckDeadlineRequest) (*emptypb.Empty, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.extends = append(f.extends, in)
	return &emptypb.Empty{}, f.modify
}

func (f *fake) GetSubscription(ctx context.Context, _ *pubsubpb.GetSubscriptionRequest) (*pubsubpb.Subscription, error) {
	if f.look == context.Canceled {
		<-ctx.Done()
		return nil, ctx.Err() // as a server says whose clock is the first
	}
	return &pubsubpb.Subscription{}, f.look
}

func quick(c Config) *Source { return (&world{}).quick(c) }

// refusal is what an exactly-once subscription says of one message.
func refusal(ack, reason string) error {
	s, err := status.New(codes.FailedPrecondition, "some acknowledgement ids are invalid").WithDetails(&errdetails.ErrorInfo{Metadata: map[string]string{ack: reason}})
	return errors.Join(err, s.Err())
}

// TestRefusedAcknowledgements: what an exactly-once subscription could not acknowledge it is asked to again, but not what it never will.
func TestRefusedAcknowledgements(t *testing.T) {
	for _, c := range []struct {
		reason   string
		failures int
		want     int
		warns    bool
	}{
		{"TRANSIENT_FAILURE_UNORDERED_ACK_ID", 2, 3, false},
		{"TRANSIENT_FAILURE_UNORDERED_ACK_ID", 5, 3, true},
		{"PERMANENT_FAILURE_INVALID_ACK_ID", 5, 1, true},
	} {
		f, conf := newFake(t)
		f.acknowledge = func(n int) error {
			if n <= c.failures {
				return refusal("ack", c.reason)
			}
			return nil
		}
		var text strings.Builder
		s := quick(conf)
		s.log = slog.New(slog.NewTextHandler(&text, nil))
		log := &collecttest.Log{}
		if err := collecttest.Once(t, s, log); err != nil {
			t.Error(err)
		}
		if warned := strings.Contains(text.String(), "was not acknowledged") && strings.Contains(text.String(), c.reason); len(f.acks) != c.want || len(log.Records()) != 1 || warned != c.warns {
			t.Errorf("%+v: %d acknowledgements, %d records, said %s", c, len(f.acks), len(log.Records()), text.String())
		}
		if value := string(log.Records()[0].Value); !strings.Contains(value, `["delivery-attempt","7"]`) {
			t.Error(value)
		}
	}
}

// TestComesAgain: a message that comes again while it is on its way has one record, and is acknowledged by its last lease, with or without dedupe.
func TestComesAgain(t *testing.T) {
	for _, key := range []string{lease.MessageID, ""} {
		f, c := newFake(t)
		f.pull = func(n int) (string, error) {
			if n <= 3 {
				return fmt.Sprint("ack-", n), nil
			}
			return "", nil
		}
		c.Dedupe.Key = key
		log := &collecttest.Log{}
		release := log.Hold()
		l := collecttest.Start(t, quick(c), log)
		l.Until(func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.pulls > 4
		})
		f.mu.Lock()
		if len(f.acks) > 0 {
			t.Errorf("%v were acknowledged before Kafka had them", f.acks)
		}
		f.mu.Unlock()
		release()
		l.Until(func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.acks) > 0
		})
		l.Expect("%d", 1)
		if d := diff.Diff([]string{"ack-3"}, f.acks); d != "" {
			t.Error(d)
		}
	}
}

// TestComesAgainMeanwhile: a message that comes again while it is acknowledged is so by its new lease, too.
func TestComesAgainMeanwhile(t *testing.T) {
	f, c := newFake(t)
	began, came := make(chan bool, 10), make(chan bool, 1)
	f.acknowledge = func(n int) error {
		if n == 1 {
			began <- true
			<-came
		}
		return nil
	}
	again := 0 // the request that was given it again
	f.pull = func(n int) (string, error) {
		switch {
		case n == 1:
			return "ack-1", nil
		case again == 0 && len(began) > 0:
			again = n
			return "ack-2", nil
		case again > 0 && n == again+1:
			came <- true
		}
		return "", nil
	}
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil || len(log.Records()) != 1 {
		t.Errorf("%d records, %v", len(log.Records()), err)
	}
	if d := diff.Diff([]string{"ack-1", "ack-2"}, f.acks); d != "" {
		t.Error(d)
	}
}

// TestKilledAmongMany: what comes again after a kill is known, however many others came before it.
func TestKilledAmongMany(t *testing.T) {
	f, c := newFake(t)
	c.Prefetch, c.Dedupe.Window = 1, 1
	f.acknowledge = func(int) error { return status.Error(codes.Aborted, "no") }
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err == nil || len(log.Records()) != 1 {
		t.Fatalf("%d records, %v", len(log.Records()), err)
	}
	f.pulls, f.acks, f.acknowledge = 0, nil, func(int) error { return nil }
	f.pull = func(n int) (string, error) {
		if f.id = ""; n < 5 {
			f.id = fmt.Sprint("other-", n)
		}
		if n <= 5 {
			return fmt.Sprint("ack-", n), nil
		}
		return "", nil
	}
	if err := collecttest.Once(t, quick(c), log); err != nil {
		t.Fatal(err)
	}
	if len(log.Records()) != 5 || len(f.acks) != 5 {
		t.Errorf("%d records, want 5; acknowledged %v", len(log.Records()), f.acks)
	}
}

// TestSilence: a server that is there and has nothing to say is not one that has gone.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		look error
		want string
	}{
		{nil, ""},
		{status.Error(codes.PermissionDenied, "no"), ""},
		{status.Error(codes.NotFound, "no"), "make the subscription first"},
		{context.Canceled, "the server did not answer within 1s"},
	} {
		f, conf := newFake(t)
		f.silent, f.look = true, c.look
		s := quick(conf)
		s.wait = 400 * time.Millisecond
		err := collecttest.Once(t, s, &collecttest.Log{})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.look, err)
		}
	}
}

// TestRefused: what only a person can mend ends a Run for good, and what may pass does not.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		code  codes.Code
		want  string
		class retry.Class
	}{
		{codes.PermissionDenied, "the role Pub/Sub Subscriber", retry.Permanent},
		{codes.Unauthenticated, "the credentials", retry.Permanent},
		{codes.NotFound, "make the subscription first, or correct project and subscription", retry.Permanent},
		{codes.FailedPrecondition, "must be a subscription that is pulled", retry.Permanent},
		{codes.InvalidArgument, "InvalidArgument", retry.Permanent},
		{codes.Unavailable, "Unavailable", retry.Transient},
		{codes.ResourceExhausted, "ResourceExhausted", retry.Transient},
	} {
		no := status.Error(c.code, "no")
		for _, failing := range []string{"reading", "acknowledging messages of"} {
			f, conf := newFake(t)
			if failing == "reading" {
				f.pull = func(int) (string, error) { return "", no }
			} else {
				f.acknowledge = func(int) error { return no }
			}
			err := collecttest.Once(t, quick(conf), &collecttest.Log{})
			if err == nil || !strings.Contains(err.Error(), failing+" pubsub://shop/orders") || !strings.Contains(err.Error(), c.want) || retry.Classify(err) != c.class {
				t.Errorf("%s of %s: %v", c.code, failing, err)
			}
		}
	}
}

// TestBriefFailures: a server that cannot for a moment is asked again, and nobody hears of it.
func TestBriefFailures(t *testing.T) {
	f, c := newFake(t)
	f.pull = func(n int) (string, error) {
		switch {
		case n < tries:
			return "", status.Error(codes.Unavailable, "no")
		case n == tries:
			return "ack", nil
		}
		return "", nil
	}
	f.acknowledge = func(n int) error {
		if n < tries {
			return status.Error(codes.Unavailable, "no")
		}
		return nil
	}
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(c), log); err != nil || len(log.Records()) != 1 || len(f.acks) != tries {
		t.Error(err, len(log.Records()), f.acks)
	}
}

// TestCredentials: a file that is missing or that is none ends a Run for good, and says which.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.json"), []byte(`{"type": "hunter2"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"none.json", "bad.json"} {
		c := DefaultConfig()
		c.Project, c.Subscription, c.Credentials = "shop", "orders", name
		err := collecttest.Once(t, New(c, dir, nil), &collecttest.Log{})
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "check the credentials") {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(err)
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(dir, name))
		c.Credentials = ""
		err = collecttest.Once(t, New(c, dir, nil), &collecttest.Log{})
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "check the credentials") {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(err)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Endpoint = "http://127.0.0.1:8085" }, ""},
		{func(c *Config) { c.Endpoint = "https://europe-west1-pubsub.googleapis.com" }, ""},
		{func(c *Config) { c.Project = "" }, "project: must be the id"},
		{func(c *Config) { c.Subscription = "projects/x/subscriptions/y" }, "subscription: must be the id"},
		{func(c *Config) { c.Endpoint = "127.0.0.1:8085" }, "endpoint: must be an address"},
		{func(c *Config) { c.Endpoint = "https://user:hunter2@x" }, "endpoint: must be an address"},
		{func(c *Config) { c.Endpoint, c.Credentials = "http://127.0.0.1:8085", "key.json" }, "credentials: are not sent"},
		{func(c *Config) { c.Receivers = 0 }, "receivers: must be from 1"},
		{func(c *Config) { c.Prefetch = 3 }, "prefetch: must be from 4 (receivers)"},
		{func(c *Config) { c.Lease = 9 * time.Second }, "lease: must be from 10s to 10m, in whole seconds"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Dedupe.Window = 999 }, "dedupe.window: must be from 1000 (prefetch)"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be at least 1s"},
	} {
		conf := DefaultConfig()
		conf.Project, conf.Subscription = "shop-123456", "orders"
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}
