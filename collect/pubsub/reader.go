package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/internal/retry"
)

// reader is one Run.
type reader struct {
	s      *Source
	client *pubsub.SubscriptionAdminClient
	name   string // of the subscription, with its project
	out    collect.Out
	once   bool
	keys   *message.Keys // nil without dedupe

	room    *semaphore.Weighted // for messages that are received and not acknowledged
	answers chan answer
	due     chan string   // ids of messages that are to be acknowledged; has room for all that are received
	over    chan struct{} // closed when no more become due

	mu     sync.Mutex
	way    map[string]lease // of each message that is received and not acknowledged, by its id
	came   int              // how many messages have
	failed error            // of the first goroutine that did

	repeats int64
	keyless bool // a message without a key was told of
}

// lease is that of one message.
type lease struct {
	ack string // what acknowledges it
	nth int    // that came
}

// answer is what a receiver got.
type answer struct {
	asked    time.Time
	messages []*pubsubpb.ReceivedMessage
}

func newReader(s *Source, client *pubsub.SubscriptionAdminClient, out collect.Out, once bool) *reader {
	r := &reader{
		s: s, client: client, name: "projects/" + s.c.Project + "/subscriptions/" + s.c.Subscription, out: out, once: once,
		room: semaphore.NewWeighted(int64(s.c.Prefetch)), answers: make(chan answer),
		due: make(chan string, s.c.Prefetch), over: make(chan struct{}), way: map[string]lease{},
	}
	if s.c.Dedupe.Key != "" {
		r.keys = message.NewKeys(out.Streams()[s.stream], s.c.Dedupe.Window)
		if s.c.Dedupe.Key == messageID {
			r.keys.Pin(longestKept) // it is that of no other message
		} else {
			r.keys.Pin(longestLease)
		}
	}
	return r
}

var errDone = errors.New("everything was read")

// read takes messages until ctx ends, something fails or, with once, none come.
func (r *reader) read(ctx context.Context) error {
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	asking, leaveAsking := context.WithCancel(context.WithoutCancel(ctx))
	defer leaveAsking()
	keeping, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	var receivers, keepers sync.WaitGroup
	run := func(group *sync.WaitGroup, ctx context.Context, loop func(context.Context) error) {
		group.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					stop(r.fail(panicked(p)))
				}
			}()
			if err := loop(ctx); err != nil {
				stop(r.fail(err))
			}
		})
	}
	for range r.s.c.Receivers {
		run(&receivers, receiving, func(ctx context.Context) error { return r.receive(ctx, asking) })
		run(&keepers, keeping, r.settle)
	}
	run(&keepers, keeping, r.keep)

	stop(cmp.Or(r.take(receiving), errDone))
	abandon := time.AfterFunc(lastAnswers, leaveAsking)
	receivers.Wait()
	abandon.Stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	defer context.AfterFunc(grace, leave)() // a server that is gone must not hold the end up
	drained := r.out.Drain(grace)
	close(r.over)
	keepers.Wait()
	r.giveBack(grace)
	if r.repeats > 0 {
		r.s.log.Info("messages came again and added nothing", "messages", r.repeats)
	}
	err := context.Cause(receiving)
	if errors.Is(err, errDone) {
		err = r.fail(nil)
	}
	return errors.Join(err, drained)
}

// fail notes the first error, and gives it.
func (r *reader) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = cmp.Or(r.failed, err)
	return r.failed
}

// receive asks for messages while there is room, until ctx ends. What is being asked then gets its answer, if that comes before asking ends:
// the server goes on to lease messages to somebody who has gone.
func (r *reader) receive(ctx, asking context.Context) error {
	most := max(1, min(batch, r.s.c.Prefetch/r.s.c.Receivers/2)) // half is for what is on its way to Kafka
	for {
		if r.room.Acquire(ctx, int64(most)) != nil {
			return nil
		}
		a := answer{asked: time.Now()}
		messages, err := r.pull(asking, most)
		if asking.Err() != nil {
			return nil
		}
		if err != nil {
			return r.s.explain("reading", err)
		}
		for _, m := range messages {
			if r.expect(m) {
				a.messages = append(a.messages, m)
			}
		}
		r.room.Release(int64(most - len(a.messages)))
		select {
		case r.answers <- a:
		case <-ctx.Done():
			return nil
		}
		// Not every server waits.
		if len(messages) == 0 && retry.Wait(ctx, 100*time.Millisecond) != nil {
			return nil
		}
	}
}

// pull asks for messages. Google's servers answer nothing when there are none, and so does a server that has gone: there are none if one answers
// something else.
func (r *reader) pull(ctx context.Context, most int) ([]*pubsubpb.ReceivedMessage, error) {
	wait := r.s.wait
	if r.once {
		wait = min(wait, brief)
	}
	var got *pubsubpb.PullResponse
	err := r.call(ctx, wait, func(ctx context.Context) (err error) {
		got, err = r.client.Pull(ctx, &pubsubpb.PullRequest{Subscription: r.name, MaxMessages: int32(most)})
		return err
	})
	if _, silent := errors.AsType[silence](err); silent {
		err = r.call(ctx, r.s.c.Timeout, func(ctx context.Context) error {
			_, err := r.client.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: r.name})
			return err
		})
		if status.Code(err) == codes.PermissionDenied {
			err = nil // it answers; who reads need not have the right to look
		}
	}
	return got.GetReceivedMessages(), err
}

// silence is the error of a server that did not answer within that time.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("the server did not answer within %s", time.Duration(s))
}

// call makes a request, again if the server could not take it for a moment, and bounds how long its answer may take.
func (r *reader) call(ctx context.Context, limit time.Duration, request func(context.Context) error) error {
	for try := 1; ; try++ {
		within, cancel := context.WithTimeout(ctx, limit)
		err := request(within)
		late := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return nil
		}
		if late || status.Code(err) == codes.DeadlineExceeded { // the server's clock may be the first
			return silence(limit)
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.Aborted, codes.Internal, codes.Unknown, codes.ResourceExhausted:
			if try < tries && len(refused(err)) == 0 && retry.Wait(ctx, time.Duration(try)*200*time.Millisecond) == nil {
				continue
			}
		}
		return err
	}
}

// expect notes a message that was received. One that is on its way has come again, and is acknowledged by its new lease. Invariant 2.
func (r *reader) expect(m *pubsubpb.ReceivedMessage) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := m.GetMessage().GetMessageId()
	l, known := r.way[id]
	if !known {
		r.came++
		l.nth = r.came
	}
	l.ack = m.GetAckId()
	r.way[id] = l
	return !known
}

// take emits what the receivers got.
func (r *reader) take(ctx context.Context) error {
	told := time.Now()
	for {
		var a answer
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case a = <-r.answers:
		}
		for _, m := range a.messages {
			if err := r.emit(ctx, m); err != nil {
				return err
			}
		}
		if len(a.messages) > 0 || r.busy() { // the next of an ordering key wait for what is on its way
			told = time.Now()
		} else if r.once && a.asked.After(told) && time.Since(told) >= r.s.idle {
			return nil
		}
	}
}

// busy says that something is received and not acknowledged.
func (r *reader) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.way) > 0
}

// emit emits a message, unless it is known.
func (r *reader) emit(ctx context.Context, m *pubsubpb.ReceivedMessage) error {
	id, body, h := m.GetMessage().GetMessageId(), m.GetMessage().GetData(), headersOf(m)
	it := collect.Item{
		Stream: r.s.stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // there is nothing to resume; it is for people
		Item: message.Item(r.s.c.Format, body), Origin: r.s.origin, Position: id, Headers: h.All(),
		Done: func() { r.due <- id },
	}
	if r.keys != nil {
		key := r.s.c.Dedupe.Of(h, body)
		if key == "" {
			r.tellKeyless(id)
		} else if hash, isNew := r.keys.Add(key); isNew {
			it.Key, it.Keys = hash, r.s.c.Dedupe.Window
		} else {
			// What it repeats is in Kafka, or is another message with that key, which comes again if it gets no record.
			r.repeats++
			r.due <- id
			return nil
		}
	}
	return r.out.Emit(ctx, it)
}

func (r *reader) tellKeyless(position string) {
	if !r.keyless {
		r.s.log.Warn("a message has no dedupe.key: it and others like it are there again when they come again", "position", position)
	}
	r.keyless = true
}
