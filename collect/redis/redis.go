// Package redis reads a stream of Redis as a consumer of a group, or a list.
//
// What enters: the entries of one stream, or the items of one list. What leaves: each entry as an item, of the stream entries/<key> in the
// order of their ids; what was taken from consumers that are gone is in the stream claimed/<key>. The items of a list, of the stream
// list/<key>, in the order in which they were taken. Rules: docs/sources/redis.md.
//
// Invariants:
//  1. An entry is acknowledged, and an item of a list removed, when Kafka has its record, never before.
//  2. Each is in Kafka once. An entry's id is its record's key. An entry that comes again, after a kill at any moment, is acknowledged if its key
//     is among the last, which it is: no more entries are on their way than the keys of a stream that are known. The items of a list are counted.
//  3. A group that is gone is made again where the records in Kafka end.
//  4. Memory is bounded by count: twice as many are on their way to Kafka.
//
// Goroutines of Run: one that acknowledges entries; it ends before Run returns.
package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/internal/retry"
)

// Source reads the stream, or the list, of one configuration.
type Source struct {
	c                Config
	at               message.Address
	base             string
	group, consumer  string
	origin           string
	entries, claimed string // our streams of a stream
	listed           string // our stream of a list
	log              *slog.Logger
	idle             time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source of that name; relative paths of its TLS are relative to the folder base.
func New(c Config, name, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	at := c.address()
	return &Source{
		c: c, at: at, base: base, group: cmp.Or(c.Group, "headwater-"+name), consumer: cmp.Or(c.Consumer, "headwater"), log: log, idle: 2 * time.Second,
		origin:  "redis://" + at.HostPort + "/" + strconv.Itoa(database(at.URL)) + "/" + c.Stream + c.List,
		entries: "entries/" + c.Stream, claimed: "claimed/" + c.Stream, listed: "list/" + c.List,
	}
}

// client makes one; it dials when it is used.
func (s *Source) client() (*redis.Client, error) {
	o := &redis.Options{
		Addr: s.at.HostPort, Username: s.at.User, Password: s.at.Password, DB: database(s.at.URL), Protocol: 2, DisableIdentity: true,
		// Who tries again is our Runner: an answer that was lost has given us entries.
		MaxRetries: -1, DialerRetries: 1, PoolSize: 1, DialTimeout: s.c.Timeout, ReadTimeout: s.c.Timeout, WriteTimeout: s.c.Timeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s.at.TLS {
		t, err := s.c.TLS.Config(s.base, s.at.Host)
		if err != nil {
			return nil, err
		}
		o.TLSConfig = t
	}
	return redis.NewClient(o), nil
}

// Run implements collect.Source. With once it ends when nothing has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) (err error) {
	if s.c.List != "" {
		return s.runList(ctx, out, once)
	}
	reading, err := s.client()
	if err != nil {
		return err
	}
	defer reading.Close()
	acking, err := s.client()
	if err != nil {
		return err
	}
	defer acking.Close()
	// A call that waits for entries does not hear of a context; it ends with its connection.
	defer context.AfterFunc(ctx, func() { _ = reading.Close() })()
	streams := out.Streams()
	r := &reader{s: s, client: reading, out: out, once: once, acks: newAcks(s, acking)}
	r.entries = lane{stream: s.entries, keys: message.NewKeys(streams[s.entries], s.window())}
	r.claims = lane{stream: s.claimed, keys: message.NewKeys(streams[s.claimed], s.window())}
	var at resume
	if json.Unmarshal(streams[s.entries].Resume, &at) == nil {
		r.last, _ = parseID(at.ID) // a zero id comes before all
	}
	stop := r.acks.start()
	err = r.read(ctx)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	drained := out.Drain(grace)
	stop()
	if failure := errors.Join(r.acks.failure(), r.acks.flush(grace)); failure != nil {
		err = failure
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, drained)
}

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

// window is how many keys of a stream are known: all that may be on their way, and as many again.
func (s *Source) window() int { return 4 * s.c.Count }

// resume is what a record says beside its number.
type resume struct {
	// ID is that of its entry.
	ID string `json:"id"`
}

// lane is one of our two streams.
type lane struct {
	stream string
	keys   *message.Keys
}

// reader is one Run.
type reader struct {
	s               *Source
	client          *redis.Client
	out             collect.Out
	once            bool
	acks            *acks
	entries, claims lane
	last            id // of the last entry in the stream of entries
	told            time.Time
}

// read takes entries until ctx ends or, with once, none come.
func (r *reader) read(ctx context.Context) error {
	if err := r.join(ctx); err != nil {
		return err
	}
	if err := r.own(ctx); err != nil {
		return err
	}
	r.told = time.Now()
	claimed := time.Time{}
	for {
		if after := r.s.c.ClaimAfter; after > 0 && time.Since(claimed) >= after/2 {
			if err := r.claim(ctx); err != nil {
				return err
			}
			claimed = time.Now()
		}
		if err := r.acks.room(ctx, r.s.c.Count); err != nil {
			return err
		}
		wait := min(time.Second, r.s.c.Timeout/2)
		if r.once {
			wait = min(wait, max(time.Millisecond, r.s.idle-time.Since(r.told)))
		}
		batch, err := r.ask(ctx, ">", wait)
		if err != nil {
			return err
		}
		for _, e := range batch {
			if err := r.take(ctx, e); err != nil {
				return err
			}
		}
		if len(batch) > 0 {
			r.told = time.Now()
		}
		if r.once && time.Since(r.told) >= r.s.idle {
			return nil
		}
	}
}

// join makes the group, where our records end. Invariant 3.
func (r *reader) join(ctx context.Context) error {
	err := r.client.XGroupCreateMkStream(ctx, r.s.c.Stream, r.s.group, r.last.String()).Err()
	if err == nil && r.last != (id{}) {
		r.s.log.Warn("the consumer group was gone, and goes on after the last entry that is in Kafka", "group", r.s.group, "id", r.last.String())
	}
	if err == nil || strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return r.s.explain("joining the group at", err)
}

// own takes what this consumer had when it ended.
func (r *reader) own(ctx context.Context) error {
	for from := "0"; ; {
		if err := r.acks.room(ctx, r.s.c.Count); err != nil {
			return err
		}
		batch, err := r.ask(ctx, from, 0)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, e := range batch {
			if err := r.take(ctx, e); err != nil {
				return err
			}
		}
		from = batch[len(batch)-1].id.String()
	}
}

// ask reads new entries (">"), for which it waits, or our own from an id on.
func (r *reader) ask(ctx context.Context, from string, wait time.Duration) ([]entry, error) {
	args := []any{"xreadgroup", "group", r.s.group, r.s.consumer, "count", r.s.c.Count}
	if wait > 0 {
		args = append(args, "block", max(1, wait.Milliseconds()))
	}
	reply, err := r.client.Do(ctx, append(args, "streams", r.s.c.Stream, from)...).Slice()
	if errors.Is(err, redis.Nil) || err == nil && len(reply) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, r.s.explain("reading", err)
	}
	pair, _ := reply[0].([]any)
	if len(pair) != 2 {
		return nil, fmt.Errorf("reading %s: the server answered %v", r.s.origin, reply)
	}
	return entriesOf(pair[1])
}

// claim takes what other consumers, or an earlier self, have had for too long.
func (r *reader) claim(ctx context.Context) error {
	for from := "0-0"; ; {
		if err := r.acks.room(ctx, r.s.c.Count); err != nil {
			return err
		}
		reply, err := r.client.Do(ctx, "xautoclaim", r.s.c.Stream, r.s.group, r.s.consumer, r.s.c.ClaimAfter.Milliseconds(), from, "count", r.s.c.Count).Slice()
		if err != nil || len(reply) < 2 {
			return r.s.explain("claiming from", err)
		}
		batch, err := entriesOf(reply[1])
		if err != nil {
			return err
		}
		for _, e := range batch {
			if err := r.take(ctx, e); err != nil {
				return err
			}
		}
		if len(reply) > 2 {
			if gone, _ := reply[2].([]any); len(gone) > 0 {
				r.s.log.Error("entries were deleted from the stream before they were read", "ids", gone)
			}
		}
		if from, _ = reply[0].(string); from == "0-0" || from == "" {
			return nil
		}
	}
}

// take emits an entry unless it is known. Invariant 2.
func (r *reader) take(ctx context.Context, e entry) error {
	text := e.id.String()
	if r.acks.pending(text) {
		return nil // it is acknowledged when its record is
	}
	if e.deleted {
		r.s.log.Error("an entry was deleted from the stream before it was read", "id", text)
		r.acks.ack(text)
		return nil
	}
	to := &r.entries
	if !r.last.before(e.id) {
		to = &r.claims
	}
	if r.entries.keys.Has(text) || r.claims.keys.Has(text) {
		r.acks.ack(text)
		return nil
	}
	hash, _ := to.keys.Add(text)
	if to == &r.entries {
		r.last = e.id
	}
	it := r.s.itemOf(e)
	it.Stream, it.Key, it.Keys = to.stream, hash, r.s.window()
	it.Done = r.acks.expect(text)
	return r.out.Emit(ctx, it)
}

// explain says what the server did not do, and whether only a person can help.
func (s *Source) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	err = fmt.Errorf("%s %s: %w", doing, s.origin, err)
	if strings.Contains(text, "unknown command") {
		return retry.Stop(fmt.Errorf("%w: Redis 6.2 or later is needed", err))
	}
	// An error of a script may begin with ERR, and say the rest behind.
	for _, kind := range []string{"WRONGPASS ", "NOAUTH ", "NOPERM ", "WRONGTYPE ", "can't run this command"} {
		if strings.Contains(text, kind) {
			return retry.Stop(err)
		}
	}
	return err
}

// panicked makes a panic of a goroutine of ours its error.
func panicked(p any) error {
	return fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack())
}

var _ collect.Source = (*Source)(nil)
