// Package amqp reads a queue of a broker that speaks AMQP 0.9.1, as RabbitMQ does.
//
// What enters: the messages of one queue. What leaves: each as an item of the stream queue/<name>, in the order in which they were
// delivered. Rules: docs/sources/amqp.md.
//
// Invariants:
//  1. A message is acknowledged when Kafka has its record, and every message before it. What was not acknowledged is delivered again.
//  2. With dedupe a message that comes again within the window adds nothing: its key is in the record itself, so that a kill between the
//     record and the acknowledgement is known to the next process.
//  3. Memory is bounded by prefetch: the broker sends no more until it has acknowledgements.
//  4. A connection that ends, whatever ends it, ends the Run: the next one begins with what is in Kafka, and nothing else.
//
// Goroutines of Run: those of the client, which end with the connection.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/internal/retry"
)

// Source reads the queue of one configuration.
type Source struct {
	c      Config
	at     address
	base   string
	tag    string
	origin string
	stream string
	log    *slog.Logger
	idle   time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source of that name; relative paths of its TLS are relative to the folder base.
func New(c Config, name, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at := c.address()
	return &Source{
		c: c, at: at, base: base, tag: "headwater-" + name, stream: "queue/" + c.Queue, log: log, idle: 2 * time.Second,
		origin: "amqp://" + at.HostPort + "/" + url.PathEscape(at.vhost) + "/" + c.Queue,
	}
}

// Run implements collect.Source. With once it ends when no message has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	r := &reader{s: s, c: c, out: out, once: once, settled: make(chan struct{}, 1)}
	if s.c.Dedupe.Key != "" {
		r.keys = message.NewKeys(out.Streams()[s.stream], s.c.Dedupe.Window)
	}
	err = r.read(ctx)
	return errors.Join(err, r.finish(ctx))
}

// reader is one Run with its connection. Delivery tags count from 1 on it.
type reader struct {
	s    *Source
	c    *connection
	out  collect.Out
	once bool
	keys *message.Keys // nil without dedupe

	taken   uint64        // the last tag that came
	emitted uint64        // the last tag whose message has a record of its own
	done    atomic.Uint64 // the last tag whose record is in Kafka
	told    uint64        // the last tag that was acknowledged
	settled chan struct{} // says that done has moved

	repeats int64
	keyless bool // a message without a key was told of
}

// read takes what is delivered until ctx ends, the connection does or, with once, nothing comes.
func (r *reader) read(ctx context.Context) error {
	quiet := time.NewTimer(r.s.idle)
	defer quiet.Stop()
	if !r.once {
		quiet.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, open := <-r.c.deliveries:
			if !open {
				return r.s.ended(r.c)
			}
			if err := r.take(ctx, &d); err != nil {
				return err
			}
			if r.once {
				quiet.Reset(r.s.idle)
			}
		case <-r.settled:
		case b, open := <-r.c.blocked:
			if !open {
				r.c.blocked = nil
			} else if b.Active {
				r.s.log.Warn("the broker has raised an alarm and takes no messages from anybody until it is over", "reason", b.Reason)
			}
		case <-quiet.C:
			return nil
		}
		if err := r.acknowledge(); err != nil {
			return err
		}
	}
}

// take emits a message, unless it is known.
func (r *reader) take(ctx context.Context, d *amqp.Delivery) error {
	if _, is := d.Headers["x-stream-offset"]; is {
		return retry.Stop(fmt.Errorf("reading %s: the queue is a stream, whose acknowledgements are forgotten: bind a quorum queue to the same exchange, and read that", r.s.origin))
	}
	r.taken = d.DeliveryTag
	h := headersOf(d)
	it := collect.Item{
		Stream: r.s.stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // there is nothing to resume; it is for people
		Item: message.Item(r.s.c.Format, d.Body), Origin: r.s.origin, Position: d.MessageId, Headers: h.All(),
	}
	if it.Position == "" {
		it.Position = fmt.Sprint("delivery ", d.DeliveryTag)
	}
	if r.keys != nil {
		key := r.s.c.Dedupe.Of(h, d.Body)
		if key == "" {
			r.tellKeyless(it.Position)
		} else if hash, isNew := r.keys.Add(key); isNew {
			it.Key, it.Keys = hash, r.s.c.Dedupe.Window
		} else {
			r.repeats++ // it is acknowledged after those before it: the record that it repeats may be on its way
			return nil
		}
	}
	tag := d.DeliveryTag
	it.Done = func() {
		r.done.Store(tag)
		select {
		case r.settled <- struct{}{}:
		default:
		}
	}
	r.emitted = tag
	return r.out.Emit(ctx, it)
}

func (r *reader) tellKeyless(position string) {
	if !r.keyless {
		r.s.log.Warn("a message has no dedupe.key: it and others like it are there again when they come again", "position", position)
	}
	r.keyless = true
}

// acknowledge tells the broker what Kafka has. Invariant 1: done moves in the order of the stream, which is that of the tags.
func (r *reader) acknowledge() error {
	through := r.done.Load()
	if through == r.emitted {
		through = r.taken // what follows has come again
	}
	if through <= r.told { // less, when what came again was told and then something new came
		return nil
	}
	if err := r.c.channel.Ack(through, true); err != nil {
		return fmt.Errorf("acknowledging to %s: %w", r.s.origin, err)
	}
	r.told = through
	return nil
}

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

// finish acknowledges what Kafka still takes, and leaves the broker.
func (r *reader) finish(ctx context.Context) error {
	defer r.c.leave(r.s.c.Timeout)
	if r.repeats > 0 {
		r.s.log.Info("messages came again and added nothing", "messages", r.repeats)
	}
	if r.c.channel.IsClosed() {
		return nil // all that was not acknowledged comes again
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return errors.Join(r.out.Drain(grace), r.acknowledge())
}

var _ collect.Source = (*Source)(nil)
