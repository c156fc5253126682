// Package pubsub reads a subscription of Google Cloud Pub/Sub.
//
// What enters: the messages of one subscription. What leaves: each as an item of the stream subscription/<project>/<name>, in the order in
// which they came, which for messages of an ordering key is the order in which they were published, if the subscription has message ordering.
// Rules: docs/sources/pubsub.md.
//
// Invariants:
//  1. A message is acknowledged when Kafka has its record, or has had it, never before.
//  2. With dedupe a message that comes again within the window adds nothing: its key is in the record itself, so that a kill between the
//     record and the acknowledgement is known to the next process. One that comes again while it is on its way is the same message.
//  3. What was not acknowledged when a Run ends is given back.
//  4. Memory is bounded by prefetch: the server sends no more, and what it sends nevertheless is not taken from the client.
//
// Goroutines of Run: one that receives, with those of the client, and one that hears what became of acknowledgements; they end before Run returns.
package pubsub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"golang.org/x/sync/semaphore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

const (
	// lease is how long a message that nobody asks for any more stays with us: how long what a killed process had takes to come again. It is the
	// shortest that there is; the client renews it.
	lease = 10 * time.Second
	// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
	drain = 10 * time.Second
)

// Source reads the subscription of one configuration.
type Source struct {
	c      Config
	base   string
	origin string
	stream string
	log    *slog.Logger
	idle   time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source; the path of its credentials is relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{
		c: c, base: base, log: log, idle: lease + 2*time.Second,
		origin: "pubsub://" + c.Project + "/" + c.Subscription, stream: "subscription/" + c.Project + "/" + c.Subscription,
	}
}

// Run implements collect.Source. With once it ends when no message has come for 12 seconds, in which what a killed process had comes again.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	client, err := s.client(ctx, stop)
	if err != nil {
		return err
	}
	r := &reader{
		s: s, out: out, once: once, room: semaphore.NewWeighted(int64(s.c.Prefetch)), messages: make(chan *pubsub.Message),
		results: make(chan *pubsub.AckResult, s.c.Prefetch), over: make(chan struct{}), way: map[string][]*pubsub.Message{},
	}
	if s.c.Dedupe.Key != "" {
		r.keys = message.NewKeys(out.Streams()[s.stream], s.c.Dedupe.Window)
	}
	err = r.read(ctx, receiving, stop, client)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// client makes one. It tries again by itself and tells nobody, so stop is called when its streams have failed for too long.
func (s *Source) client(ctx context.Context, stop context.CancelCauseFunc) (*pubsub.Client, error) {
	w := &watch{s: s, stop: stop}
	options := []option.ClientOption{option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(w.intercept))}
	if s.c.Endpoint != "" {
		options = append(options, option.WithEndpoint(s.c.address()))
	}
	switch {
	case s.c.emulator():
		options = append(options, option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	case s.c.Credentials != "":
		options = append(options, option.WithAuthCredentialsFile(option.ServiceAccount, setting.At(s.base, s.c.Credentials)))
	}
	client, err := pubsub.NewClient(ctx, s.c.Project, options...)
	if err != nil {
		return nil, retry.Stop(fmt.Errorf("connecting to %s: %w: check the credentials", s.origin, err))
	}
	return client, nil
}

// watch sees the streams of a client.
type watch struct {
	s    *Source
	stop context.CancelCauseFunc

	mu          sync.Mutex
	failures    int
	first, last time.Time
}

// enough is how many failures in a row are not those of a server that ends a stream as it does now and then.
const enough = 5

func (w *watch) intercept(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := next(ctx, d, c, method, o...)
	if err != nil {
		w.saw(err)
		return nil, err
	}
	return watched{stream, w}, nil
}

type watched struct {
	grpc.ClientStream
	w *watch
}

// RecvMsg implements grpc.ClientStream.
func (s watched) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.w.saw(err)
	return err
}

// saw notes what became of a stream: nil is a message.
func (w *watch) saw(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if err == nil || status.Code(err) == codes.Canceled || now.Sub(w.last) > w.s.c.Timeout {
		w.failures = 0
	}
	if err == nil {
		return
	}
	if w.last = now; w.failures == 0 {
		w.first = now
	}
	if w.failures++; w.failures >= enough && now.Sub(w.first) > w.s.c.Timeout/4 {
		w.stop(w.s.explain(err))
	}
}

// explain says what the server did not do, and whether only a person can help.
func (s *Source) explain(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("reading %s: %w", s.origin, err)
	switch status.Code(err) {
	case codes.NotFound:
		return retry.Stop(fmt.Errorf("%w: make the subscription first, or correct its name", err))
	case codes.PermissionDenied, codes.Unauthenticated:
		return retry.Stop(fmt.Errorf("%w: check the credentials, and that they have the role Pub/Sub Subscriber", err))
	case codes.InvalidArgument, codes.FailedPrecondition:
		return retry.Stop(err)
	}
	return err
}

// reader is one Run.
type reader struct {
	s    *Source
	out  collect.Out
	once bool
	keys *message.Keys // nil without dedupe

	room     *semaphore.Weighted // for messages that are on their way
	messages chan *pubsub.Message
	results  chan *pubsub.AckResult // of acknowledgements
	over     chan struct{}          // closed when no more of them matter

	mu    sync.Mutex
	way   map[string][]*pubsub.Message // by id; one that has come again is there twice
	order []string                     // the ids of those on the way, and of some that were, in the order in which they came
	late  []*pubsub.Message            // those that came when the Run was over
	gone  bool                         // everything was given back

	repeats int64
	keyless bool // a message without a key was told of
}

var errDone = errors.New("everything was read")

// read takes messages until ctx ends, something fails or, with once, none come.
func (r *reader) read(ctx, receiving context.Context, stop context.CancelCauseFunc, client *pubsub.Client) error {
	received := r.receive(receiving, stop, client)
	heard := r.hear()
	stop(cmp.Or(r.take(receiving), errDone))
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	drained := r.out.Drain(grace)
	r.giveBack()
	select {
	case <-received:
	case <-grace.Done(): // a server that is gone must not hold the end up
	}
	_ = client.Close() // what was not acknowledged comes again, and adds nothing with dedupe
	<-received
	close(r.over)
	if failed := <-heard; failed > 0 {
		r.s.log.Warn("messages that are in Kafka were not acknowledged: they come again, and add nothing with dedupe", "messages", failed)
	}
	if r.repeats > 0 {
		r.s.log.Info("messages came again and added nothing", "messages", r.repeats)
	}
	err := context.Cause(receiving)
	if errors.Is(err, errDone) {
		err = nil
	}
	return errors.Join(err, drained)
}

// receive hands messages over until ctx ends, in the order of their ordering keys.
func (r *reader) receive(ctx context.Context, stop context.CancelCauseFunc, client *pubsub.Client) (over chan struct{}) {
	subscriber := client.Subscriber(r.s.c.Subscription)
	subscriber.ReceiveSettings.MaxOutstandingMessages = r.s.c.Prefetch
	subscriber.ReceiveSettings.MaxDurationPerAckExtension = lease
	subscriber.ReceiveSettings.MaxExtension = 24 * time.Hour // Kafka may be slow
	subscriber.ReceiveSettings.NumGoroutines = 1             // a stream carries 10 MB/s, and has an order
	over = make(chan struct{})
	go func() {
		defer close(over)
		defer func() {
			if p := recover(); p != nil {
				stop(panicked(p))
			}
		}()
		err := subscriber.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
			if r.room.Acquire(ctx, 1) == nil {
				select {
				case r.messages <- m:
					return
				case <-ctx.Done():
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.gone {
				m.Nack()
				return
			}
			r.late = append(r.late, m)
		})
		stop(cmp.Or(r.s.explain(err), errDone))
	}()
	return over
}

// hear waits for what became of acknowledgements, which an exactly-once subscription tells, and counts those that had no effect.
func (r *reader) hear() chan int {
	heard := make(chan int, 1)
	go func() {
		failed := 0
		defer func() { heard <- failed }()
		count := func(result *pubsub.AckResult) {
			if _, err := result.Get(context.Background()); err != nil {
				failed++
			}
		}
		for {
			select {
			case result := <-r.results:
				count(result)
			case <-r.over:
				for len(r.results) > 0 {
					count(<-r.results)
				}
				return
			}
		}
	}()
	return heard
}

// take emits what comes.
func (r *reader) take(ctx context.Context) error {
	quiet := time.NewTimer(r.s.idle)
	defer quiet.Stop()
	if !r.once {
		quiet.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m := <-r.messages:
			if err := r.emit(ctx, m); err != nil {
				return err
			}
			if r.once {
				quiet.Reset(r.s.idle)
			}
		case <-quiet.C:
			return nil
		}
	}
}

// emit emits a message, unless it is known. Invariant 2.
func (r *reader) emit(ctx context.Context, m *pubsub.Message) error {
	id := m.ID
	r.mu.Lock()
	r.way[id] = append(r.way[id], m)
	again := len(r.way[id]) > 1
	if r.order = append(r.order, id); len(r.order) > 2*r.s.c.Prefetch {
		r.order = slices.DeleteFunc(r.order, func(id string) bool { return r.way[id] == nil })
	}
	r.mu.Unlock()
	if again {
		r.repeats++
		return nil // it is acknowledged when its record is
	}
	h := headersOf(m)
	it := collect.Item{
		Stream: r.s.stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // there is nothing to resume; it is for people
		Item: message.Item(r.s.c.Format, m.Data), Origin: r.s.origin, Position: id, Headers: h.All(), Done: func() { r.acknowledge(id) },
	}
	if r.keys != nil {
		key := r.s.c.Dedupe.Of(h, m.Data)
		if key == "" {
			r.tellKeyless(id)
		} else if hash, isNew := r.keys.Add(key); isNew {
			it.Key, it.Keys = hash, r.s.c.Dedupe.Window
		} else {
			// What it repeats is in Kafka, or is another message with that key, which comes again if it gets no record.
			r.repeats++
			r.acknowledge(id)
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

// acknowledge tells the server of a message that is in Kafka, as often as it has come.
func (r *reader) acknowledge(id string) {
	for _, m := range r.leave(id) {
		select {
		case r.results <- m.AckWithResult():
		default: // the server is slow to tell, and Kafka's acknowledgements must not wait for that; nothing but the log is poorer
		}
	}
}

// leave takes a message off the way.
func (r *reader) leave(id string) []*pubsub.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.way[id]
	delete(r.way, id)
	r.room.Release(int64(len(all)))
	return all
}

// giveBack has the server send at once, to whoever asks, what was not acknowledged, in the order in which it came.
func (r *reader) giveBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.order {
		for _, m := range r.way[id] {
			m.Nack() // again, of what has come twice, which has no effect
		}
	}
	for _, m := range r.late {
		m.Nack()
	}
	r.gone = true
}

// panicked makes a panic of a goroutine of ours its error.
func panicked(p any) error {
	return fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack())
}

var _ collect.Source = (*Source)(nil)
