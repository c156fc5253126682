// Package nats reads a stream of NATS JetStream.
//
// What enters: the messages of one stream, or of one subject of it. What leaves: each as an item of the stream stream/<name>/<subject>, in
// the order of their numbers. Rules: docs/sources/nats.md.
//
// Invariants:
//  1. A message is acknowledged when Kafka has its record, never before.
//  2. Where to go on is the number in the last record, and not what the server has heard of acknowledgements: our consumer is made anew
//     behind it by every Run. What comes at or below it is acknowledged and adds nothing.
//  3. Deliveries are counted: one that did not come ends the Run.
//  4. Memory is bounded by prefetch: the server sends no more until it has acknowledgements.
//
// Goroutines of Run: one that acknowledges, which ends before Run returns, and those of the client, which end with the connection.
package nats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// Source reads the stream of one configuration.
type Source struct {
	c       Config
	at      message.Address
	base    string
	name    string
	durable string
	origin  string
	stream  string
	log     *slog.Logger
	idle    time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source of that name; relative paths are relative to the folder base.
func New(c Config, name, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at := c.address()
	return &Source{
		c: c, at: at, base: base, name: "headwater-" + name, durable: cmp.Or(c.Durable, "headwater-"+name), log: log, idle: 2 * time.Second,
		origin: "nats://" + at.HostPort + "/" + c.Stream, stream: "stream/" + c.Stream + "/" + cmp.Or(c.Subject, ">"),
	}
}

// resume is what a record says beside its number.
type resume struct {
	// Seq is the message's number in its stream, Created when that was made, in milliseconds since 1970: one that is made anew counts anew.
	Seq     uint64 `json:"seq"`
	Created int64  `json:"created"`
}

func (r resume) encode() json.RawMessage {
	return fmt.Appendf(nil, `{"seq":%d,"created":%d}`, r.Seq, r.Created)
}

// Run implements collect.Source. With once it ends when no message has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := &reader{s: s, out: out, once: once, due: make(chan jetstream.Msg, s.c.Prefetch)}
	if at, known := out.Streams()[s.stream]; known {
		if err := json.Unmarshal(at.Resume, &r.last); err != nil {
			return retry.Stop(fmt.Errorf("the position of stream %s is not one of this source: %w", s.stream, err))
		}
	}
	messages, err := r.consume(ctx, conn)
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	stop := r.acknowledge()
	err = r.read(ctx, messages)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	drained := out.Drain(grace)
	stop()
	_ = conn.FlushTimeout(s.c.Timeout) // what was not acknowledged comes again and adds nothing
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, drained)
}

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

// dialer gives up with a context, as the client's own does not.
type dialer struct {
	dial func(network, address string) (net.Conn, error)
}

func (d dialer) Dial(network, address string) (net.Conn, error) { return d.dial(network, address) }

func (s *Source) connect(ctx context.Context) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(s.name), nats.NoReconnect(), nats.Timeout(s.c.Timeout), nats.FlusherTimeout(s.c.Timeout),
		nats.PingInterval(s.c.Heartbeat), nats.MaxPingsOutstanding(2),
		nats.SetCustomDialer(dialer{func(network, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: s.c.Timeout}).DialContext(ctx, network, address)
		}}),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the reader finds what is missing
	}
	switch {
	case s.c.Creds != "":
		options = append(options, nats.UserCredentials(setting.At(s.base, s.c.Creds)))
	case s.at.User != "":
		options = append(options, nats.UserInfo(s.at.User, s.at.Password))
	case s.at.Password != "":
		options = append(options, nats.Token(s.at.Password))
	}
	scheme := "nats://"
	if s.at.TLS {
		scheme = "tls://"
		t, err := s.c.TLS.Config(s.base, s.at.Host)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(t))
	}
	conn, err := nats.Connect(scheme+s.at.HostPort, options...)
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	err = fmt.Errorf("connecting to %s: %w", s.origin, err)
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired) {
		return nil, retry.Stop(err)
	}
	return nil, err
}

// reader is one Run.
type reader struct {
	s    *Source
	out  collect.Out
	once bool
	last resume             // of the last record
	came uint64             // deliveries
	left uint64             // messages that the server has beyond the last delivery
	due  chan jetstream.Msg // to be acknowledged; has room for all that the server sends without
}

// consume makes our consumer. Invariant 2.
func (r *reader) consume(ctx context.Context, conn *nats.Conn) (jetstream.MessagesContext, error) {
	s := r.s
	ctx, cancel := context.WithTimeoutCause(ctx, s.c.Timeout, fmt.Errorf("the server did not answer within %s", s.c.Timeout))
	defer cancel()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, s.c.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, retry.Stop(fmt.Errorf("reading %s: there is no such stream: make it first", s.origin))
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", s.origin, err)
	}
	info := stream.CachedInfo()
	if info.Config.Retention == jetstream.InterestPolicy {
		return nil, retry.Stop(fmt.Errorf("reading %s: its retention is by interest, and messages would go while our consumer is made anew: "+
			"let another stream of limits have it as its source, and read that", s.origin))
	}
	if err := r.compare(ctx, info); err != nil {
		return nil, err
	}
	if err := stream.DeleteConsumer(ctx, s.durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("making the consumer %s of %s anew: %w", s.durable, s.origin, err)
	}
	c := jetstream.ConsumerConfig{
		Durable: s.durable, FilterSubject: s.c.Subject, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: s.c.Prefetch,
		// Who waits longer than that for Kafka is given it again, which adds nothing.
		AckWait: time.Hour,
	}
	if info.Config.Retention == jetstream.LimitsPolicy && r.last.Seq > 0 {
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.last.Seq+1
	}
	consumer, err := stream.CreateConsumer(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("making the consumer %s of %s: %w", s.durable, s.origin, err)
	}
	r.left = consumer.CachedInfo().NumPending
	return consumer.Messages(jetstream.PullMaxMessages(s.c.Prefetch), jetstream.PullExpiry(max(30*time.Second, 2*s.c.Heartbeat)),
		jetstream.PullHeartbeat(s.c.Heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
}

// compare tells of a stream that is another than before, or that has lost what was not read.
func (r *reader) compare(ctx context.Context, info *jetstream.StreamInfo) error {
	created := info.Created.UnixMilli()
	first := info.State.FirstSeq
	switch {
	case r.last.Seq == 0:
		r.last.Created = created
	case r.last.Created != created || r.last.Seq > info.State.LastSeq:
		was := r.last
		r.last = resume{Created: created}
		return r.gap(ctx, fmt.Sprintf("the stream was made anew after message %d, and is read from its beginning", was.Seq))
	case info.Config.Retention == jetstream.LimitsPolicy && first > r.last.Seq+1:
		was := r.last.Seq
		r.last.Seq = first - 1
		return r.gap(ctx, fmt.Sprintf("messages %d to %d were removed from the stream before they were read", was+1, first-1))
	}
	return nil
}

// gap records what may be missing.
func (r *reader) gap(ctx context.Context, reason string) error {
	r.s.log.Error("messages may be missing", "stream", r.s.origin, "reason", reason)
	data, err := json.Marshal(map[string]any{"gap": map[string]string{"to": time.Now().UTC().Format(time.RFC3339), "reason": reason}})
	if err != nil {
		return err
	}
	return r.out.Emit(ctx, collect.Item{
		Stream: r.s.stream, Resume: r.last.encode(), Origin: r.s.origin, Position: "gap",
		Item: envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: messages may be missing: " + reason},
	})
}

// read takes messages until ctx ends or, with once, none come.
func (r *reader) read(ctx context.Context, messages jetstream.MessagesContext) error {
	for {
		next := []jetstream.NextOpt{jetstream.NextContext(ctx)}
		if r.once {
			next = []jetstream.NextOpt{jetstream.NextMaxWait(r.s.idle)}
		}
		m, err := messages.Next(next...)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case r.once && errors.Is(err, nats.ErrTimeout):
			if r.left == 0 {
				return nil
			}
			continue // the server is slow; one that is gone is found by its heartbeats
		case errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound):
			return fmt.Errorf("reading %s: the consumer %s was deleted, as it is when another process reads with its name", r.s.origin, r.s.durable)
		case err != nil:
			return fmt.Errorf("reading %s: %w", r.s.origin, err)
		}
		if err := r.take(ctx, m); err != nil {
			return err
		}
	}
}

// take emits a message, unless it is in Kafka. Invariants 2 and 3.
func (r *reader) take(ctx context.Context, m jetstream.Msg) error {
	at, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("reading %s: %w", r.s.origin, err)
	}
	if r.came++; at.Sequence.Consumer != r.came {
		return fmt.Errorf("reading %s: delivery %d came where %d was due: some were lost on their way", r.s.origin, at.Sequence.Consumer, r.came)
	}
	r.left = at.NumPending
	if at.Sequence.Stream <= r.last.Seq {
		if at.NumDelivered == 1 { // of a Run before; what this one was given twice is acknowledged when Kafka has it
			r.due <- m
		}
		return nil
	}
	r.last.Seq = at.Sequence.Stream
	return r.out.Emit(ctx, collect.Item{
		Stream: r.s.stream, Resume: r.last.encode(), Item: message.Item(r.s.c.Format, m.Data()), Origin: r.s.origin,
		Position: strconv.FormatUint(at.Sequence.Stream, 10), Headers: headersOf(m, at), Done: func() { r.due <- m },
	})
}

// headersOf are what the server says of a message, and after it the headers that the sender made.
func headersOf(m jetstream.Msg, at *jetstream.MsgMetadata) [][2]string {
	var h message.Headers
	h.Add("subject", m.Subject())
	h.Add("timestamp", at.Timestamp.UTC().Format(time.RFC3339Nano))
	for _, name := range slices.Sorted(maps.Keys(m.Headers())) {
		for _, value := range m.Headers()[name] {
			h.Add(name, value)
		}
	}
	return h.All()
}

// acknowledge tells the server what Kafka has, until stop is called, which tells the rest.
func (r *reader) acknowledge() (stop func()) {
	var wg sync.WaitGroup
	over := make(chan struct{})
	ack := func(m jetstream.Msg) {
		defer func() {
			if p := recover(); p != nil {
				r.s.log.Error("acknowledging panicked, please report this", "panic", p, "stack", string(debug.Stack()))
			}
		}()
		_ = m.Ack() // fails when the connection has, which the reader finds, too
	}
	wg.Go(func() {
		for {
			select {
			case m := <-r.due:
				ack(m)
			case <-over:
				for len(r.due) > 0 {
					ack(<-r.due)
				}
				return
			}
		}
	})
	return func() { close(over); wg.Wait() }
}

var _ collect.Source = (*Source)(nil)
