package sqs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/semaphore"

	"headwater/collect"
	"headwater/collect/message"
)

// reader is one Run.
type reader struct {
	s      *Source
	client *sqs.Client
	out    collect.Out
	once   bool
	keys   *message.Keys // nil without dedupe

	room    *semaphore.Weighted // for messages that are received and not deleted
	answers chan answer
	due     chan string   // ids of messages that are to be deleted; has room for all that are received
	over    chan struct{} // closed when no more become due

	mu     sync.Mutex
	way    map[string]string // the receipt of each message that is received and not deleted, by its id
	failed error             // of the first goroutine that did

	repeats int64
	keyless bool // a message without a key was told of
}

// answer is what a receiver got.
type answer struct {
	asked    time.Time
	messages []types.Message
}

func newReader(s *Source, client *sqs.Client, out collect.Out, once bool) *reader {
	r := &reader{
		s: s, client: client, out: out, once: once, room: semaphore.NewWeighted(int64(s.c.Prefetch)), answers: make(chan answer),
		due: make(chan string, s.c.Prefetch), over: make(chan struct{}), way: map[string]string{},
	}
	if s.c.Dedupe.Key != "" {
		r.keys = message.NewKeys(out.Streams()[s.stream], s.c.Dedupe.Window)
		if s.c.Dedupe.Key == messageID {
			r.keys.Pin(longestKept) // it is that of no other message
		} else {
			r.keys.Pin(2 * s.c.Visibility)
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
		run(&keepers, keeping, r.remove)
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
// messages that were sent to somebody who has gone would stay hidden.
func (r *reader) receive(ctx, asking context.Context) error {
	wait := r.s.wait
	if r.once {
		wait = min(wait, r.s.idle)
	}
	in := &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(r.s.c.QueueURL), MaxNumberOfMessages: batch, WaitTimeSeconds: int32(wait / time.Second), VisibilityTimeout: int32(r.s.c.Visibility / time.Second),
		MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	for {
		if r.room.Acquire(ctx, batch) != nil {
			return nil
		}
		if r.s.c.fifo() { // the SDK, when it asks again because an answer was lost, is given the same messages
			in.ReceiveRequestAttemptId = aws.String(rand.Text())
		}
		a := answer{asked: time.Now()}
		var got *sqs.ReceiveMessageOutput
		err := r.call(asking, wait, func(ctx context.Context) (err error) {
			got, err = r.client.ReceiveMessage(ctx, in)
			return err
		})
		if asking.Err() != nil {
			return nil
		}
		if err != nil {
			return r.s.explain("reading", err)
		}
		for _, m := range got.Messages {
			if r.expect(&m) {
				a.messages = append(a.messages, m)
			}
		}
		r.room.Release(int64(batch - len(a.messages)))
		select {
		case r.answers <- a:
		case <-ctx.Done():
			return nil
		}
	}
}

// call bounds how long an answer may take.
func (r *reader) call(ctx context.Context, wait time.Duration, request func(context.Context) error) error {
	limit := wait + r.s.c.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the server did not answer within %s", limit))
	defer cancel()
	if err := request(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// expect notes a message that was received. One that is on its way has come again, and is deleted by its new receipt. Invariant 2.
func (r *reader) expect(m *types.Message) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.way[aws.ToString(m.MessageId)]
	r.way[aws.ToString(m.MessageId)] = aws.ToString(m.ReceiptHandle)
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
		for i := range a.messages {
			if err := r.emit(ctx, &a.messages[i]); err != nil {
				return err
			}
		}
		if len(a.messages) > 0 {
			told = time.Now()
		} else if r.once && a.asked.After(told) && time.Since(told) >= r.s.idle {
			if empty, err := r.empty(ctx, time.Since(told)); empty || err != nil {
				return err
			}
		}
	}
}

// emit emits a message, unless it is known.
func (r *reader) emit(ctx context.Context, m *types.Message) error {
	id, body, h := aws.ToString(m.MessageId), []byte(aws.ToString(m.Body)), headersOf(m)
	it := collect.Item{
		Stream: r.s.stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // there is nothing to resume; it is for people
		Item: message.Item(r.s.c.Format, body), Origin: r.s.c.QueueURL, Position: id, Headers: h.All(),
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

// empty says that nothing more comes: the queue has no messages, ours neither. What others have received would have come by now, if they are no more.
func (r *reader) empty(ctx context.Context, quiet time.Duration) (bool, error) {
	if r.s.c.look || quiet >= r.s.c.Visibility+r.s.idle {
		return true, nil
	}
	var got *sqs.GetQueueAttributesOutput
	err := r.call(ctx, 0, func(ctx context.Context) (err error) {
		got, err = r.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: aws.String(r.s.c.QueueURL), AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		}})
		return err
	})
	if err != nil {
		return false, r.s.explain("asking for the size of", err)
	}
	for _, n := range got.Attributes {
		if n != "0" {
			return false, nil
		}
	}
	return true, nil
}
