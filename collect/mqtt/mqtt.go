// Package mqtt reads topics of a broker that speaks MQTT 5 or 3.1.1.
//
// What enters: the messages of one session. What leaves: each as an item of the stream session/<client id>, in the order in which they
// came. Rules: docs/sources/mqtt.md.
//
// Invariants:
//  1. A message of QoS 1 or 2 is acknowledged when Kafka has its record, in the order in which they came. What was not acknowledged
//     comes again in the same session.
//  2. With dedupe a message that comes again within the window adds nothing: its key is in the record itself.
//  3. While Kafka is slow nothing is read, and that time is not counted as silence of the broker: memory is what is on its way to Kafka.
//  4. A session that should have been there and was not is told by a gap record: what the broker had kept in it is gone.
//  5. A connection that ends, whatever ends it, ends the Run: the next one begins with what is in Kafka, and nothing else.
//
// Goroutines of Run: one that acknowledges and pings; it ends before Run returns.
package mqtt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/retry"
)

// Source reads the topics of one configuration.
type Source struct {
	c      Config
	at     message.Address
	base   string
	client string
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
	s := &Source{c: c, at: c.address(), base: base, client: cmp.Or(c.ClientID, "headwater-"+name), log: log, idle: 2 * time.Second}
	s.origin, s.stream = "mqtt://"+s.at.HostPort, "session/"+s.client
	return s
}

// subscribed is the stream without records whose resume has the filters of the session as this source made it.
const subscribed = "subscribed"

// Run implements collect.Source. With once it ends when no message has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) (err error) {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, c.stop)()
	defer func() {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	present, err := s.greet(c)
	if err != nil {
		return err
	}
	streams := out.Streams()
	r := &reader{s: s, c: c, out: out, once: once, acks: newAcks(c)}
	if s.c.Dedupe.Key != "" {
		r.keys = message.NewKeys(streams[s.stream], s.c.Dedupe.Window)
	}
	if err := r.begin(ctx, present, streams); err != nil {
		return err
	}
	stop := r.acks.start(c.patience / 3)
	defer stop()
	r.told = time.Now()
	for err == nil {
		err = r.packet(ctx)
	}
	return r.finish(ctx, err)
}

// reader is one Run with its connection.
type reader struct {
	s    *Source
	c    *connection
	out  collect.Out
	once bool
	acks *acks
	keys *message.Keys // nil without dedupe

	told    time.Time // when a message came last
	count   int64     // of messages
	repeats int64
	keyless bool // a message without a key was told of
}

// begin tells of a session that is gone and subscribes, unless the broker knows all of it. A session keeps its subscriptions, and some
// brokers send what they retain again for each.
func (r *reader) begin(ctx context.Context, present bool, streams map[string]envelope.StreamCursor) error {
	var had []string
	at, known := streams[subscribed]
	if known && json.Unmarshal(at.Resume, &had) != nil {
		had = nil
	}
	if known && !present {
		if err := r.gap(ctx, streams[r.s.stream]); err != nil {
			return err
		}
	}
	want := r.s.c.filters()
	if present && slices.Equal(had, want) {
		return nil
	}
	subscribe, leave := packet(packets.Subscribe), packet(packets.Unsubscribe)
	subscribe.PacketID, leave.PacketID = 1, 2
	for _, filter := range want {
		subscribe.Filters = append(subscribe.Filters, packets.Subscription{Filter: filter, Qos: byte(r.s.c.QoS), RetainAsPublished: true, RetainHandling: 1})
	}
	for _, filter := range had {
		if present && !slices.Contains(want, filter) {
			leave.Filters = append(leave.Filters, packets.Subscription{Filter: filter})
		}
	}
	all := []packets.Packet{subscribe}
	if len(leave.Filters) > 0 {
		all = append(all, leave)
	}
	if err := r.c.write(all...); err != nil {
		return fmt.Errorf("subscribing at %s: %w", r.s.origin, err)
	}
	return nil
}

// gap records that the broker has lost what it kept. Invariant 4.
func (r *reader) gap(ctx context.Context, at envelope.StreamCursor) error {
	const clock = "2006-01-02T15:04:05.000Z07:00"
	gap := map[string]string{"from": "", "to": time.Now().UTC().Format(clock), "reason": "the broker has no session of " + r.s.client}
	var last struct{ At int64 }
	if json.Unmarshal(at.Resume, &last) == nil {
		gap["from"] = time.UnixMilli(last.At).UTC().Format(clock)
	}
	r.s.log.Error("the broker has lost the session: what it had kept for it, and what was sent until now, is missing", "client_id", r.s.client, "from", gap["from"])
	data, err := json.Marshal(map[string]any{"gap": gap})
	if err != nil {
		return err
	}
	it := r.item("0")
	it.Item = envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: messages may be missing from " + gap["from"] + " to " + gap["to"] + ": " + gap["reason"]}
	it.Origin = r.s.origin
	return r.out.Emit(ctx, it)
}

func (r *reader) item(position string) collect.Item {
	// There is nothing to resume; it is for gaps and people.
	return collect.Item{Stream: r.s.stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), Position: position}
}

// packet reads one and does what it asks for.
func (r *reader) packet(ctx context.Context) error {
	if r.once {
		r.c.quiet = r.told.Add(r.s.idle)
	}
	p, err := r.c.read()
	if err == io.EOF {
		return errors.New("the broker closed the connection without a word, as it does when another client connects with the same client_id")
	}
	if err != nil {
		return err
	}
	switch p.FixedHeader.Type {
	case packets.Publish:
		defer func() { r.told = time.Now() }()
		return r.take(ctx, &p)
	case packets.Pubrel: // of a message that Kafka has: its Pubrec, which this answers, came after that
		done := packet(packets.Pubcomp)
		done.PacketID = p.PacketID
		return r.c.write(done)
	case packets.Suback:
		return r.subscribed(ctx, &p)
	case packets.Disconnect:
		return r.dismissed(&p)
	}
	return nil
}

func (r *reader) dismissed(p *packets.Packet) error {
	if p.ReasonCode == packets.ErrSessionTakenOver.Code {
		return fmt.Errorf("the broker ended the connection: another client has connected as %s: give each its own client_id", r.s.client)
	}
	return fmt.Errorf("the broker ended the connection with code %#x %s", p.ReasonCode, p.Properties.ReasonString)
}

// subscribed takes the broker's answer.
func (r *reader) subscribed(ctx context.Context, p *packets.Packet) error {
	filters := r.s.c.filters()
	for i, code := range p.ReasonCodes {
		switch {
		case i >= len(filters):
		case code >= 0x80:
			return retry.Stop(fmt.Errorf("subscribing to %s: the broker refuses with code %#x: the user may not read it, or the filter is not allowed", filters[i], code))
		case int(code) < r.s.c.QoS:
			r.s.log.Warn("the broker sends with less than the wanted qos", "topic", filters[i], "qos", code)
		}
	}
	resume, err := json.Marshal(filters)
	if err != nil {
		return err
	}
	return r.out.Mark(ctx, subscribed, resume, false, nil)
}

// take emits a message, unless it is known.
func (r *reader) take(ctx context.Context, p *packets.Packet) error {
	r.count++
	h := headersOf(p)
	it := r.item(strconv.FormatInt(r.count, 10))
	it.Item, it.Origin, it.Headers = message.Item(r.s.c.Format, p.Payload), r.s.origin+"/"+p.TopicName, h.All()
	if r.keys != nil {
		key := r.s.c.Dedupe.Of(h, p.Payload)
		if key == "" && !r.keyless {
			r.keyless = true
			r.s.log.Warn("a message has no dedupe.key: it and others like it are there again when they come again", "topic", p.TopicName)
		}
		if key != "" {
			hash, isNew := r.keys.Add(key)
			if !isNew {
				r.repeats++
				r.acks.again(p) // after those before it: the record that it repeats may be on its way
				return nil
			}
			it.Key, it.Keys = hash, r.s.c.Dedupe.Window
		}
	}
	it.Done = r.acks.expect(p)
	return r.out.Emit(ctx, it)
}

// headersOf are a message's properties by the names that MQTT has for them, and after them those that the sender made.
func headersOf(p *packets.Packet) *message.Headers {
	h := &message.Headers{}
	h.Add("topic", p.TopicName)
	if p.FixedHeader.Dup {
		h.Add("redelivered", "true")
	}
	if p.FixedHeader.Retain {
		h.Add("retained", "true")
	}
	h.AddProperty("content-type", p.Properties.ContentType)
	h.AddProperty("response-topic", p.Properties.ResponseTopic)
	h.AddProperty("correlation-data", string(p.Properties.CorrelationData))
	for _, own := range p.Properties.User {
		h.Add(own.Key, own.Val)
	}
	return h
}

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

// finish acknowledges what Kafka still takes, and leaves the broker. The session stays.
func (r *reader) finish(ctx context.Context, why error) error {
	if r.repeats > 0 {
		r.s.log.Info("messages came again and added nothing", "messages", r.repeats)
	}
	if failure := r.acks.failure(); failure != nil {
		return fmt.Errorf("reading %s: %w", r.s.origin, failure)
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	drained := r.out.Drain(grace)
	if err := r.acks.flush(); err == nil {
		r.c.leave()
	}
	switch {
	case errors.Is(why, errQuiet):
		return drained
	case ctx.Err() != nil || errors.Is(why, errStopped):
		return ctx.Err()
	}
	return errors.Join(fmt.Errorf("reading %s: %w", r.s.origin, why), drained)
}

var _ collect.Source = (*Source)(nil)
