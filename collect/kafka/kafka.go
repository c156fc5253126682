// Package kafka reads topics of another Kafka.
//
// What enters: the records of topics, as the cluster has them. What leaves: each as an item of the stream topic/<name>/<Kafka partition>, in
// the order of the offsets. Rules: docs/sources/kafka.md.
//
// Invariants:
//  1. Where to go on is the offset in the last record, and no consumer group's. We assign the Kafka partitions to ourselves.
//  2. What cannot be read any more is a gap, which is recorded: offsets that were removed, a topic that was made anew, a log that was cut off.
//  3. A Kafka partition that fails does not keep the others from being read: the Run ends when they were read for a while, or all of them.
//  4. start is for a source that has read nothing. Its offsets are in a cursor before a record is read that they do not leave out; what is found
//     later is read from its beginning.
//
// Goroutines of Run: those of the client, which end with it.
package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/retry"
	cluster "headwater/kafka"
)

// Source reads the topics of one configuration.
type Source struct {
	c       Config
	cluster cluster.Config
	matches func(topic string) bool
	origin  string
	log     *slog.Logger
	every   time.Duration // between two looks for new topics and Kafka partitions
	until   time.Time     // where a range ends; zero for a source that is no range
	options []kgo.Opt     // of tests
}

// New makes the source; relative paths are relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{
		c: c, cluster: c.cluster(base), matches: c.matches(), log: log, every: 10 * time.Second,
		origin: "kafka://" + strings.Join(c.Brokers, ","),
	}
}

// Between implements collect.Ranged, by the times of records: of each Kafka partition, what is from the first record that is not before from up to the
// first that is not before to.
func (s *Source) Between(from, to string) (collect.Source, error) {
	var times [2]time.Time
	for i, text := range []string{from, to} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("the range must be of times as 2026-07-05T00:00:00Z, got %q", text)
		}
		times[i] = at
	}
	switch {
	case !times[1].After(times[0]):
		return nil, fmt.Errorf("the range must end after it begins, got %s and %s", from, to)
	case times[1].After(time.Now()):
		return nil, fmt.Errorf("the range must be over, and %s is to come", to)
	}
	r := *s
	r.c.Start, r.c.Group, r.until = from, "", times[1]
	return &r, nil
}

// ranged says that the source is a part of another one.
func (s *Source) ranged() bool { return !s.until.IsZero() }

// Run implements collect.Source. With once it ends where the topics ended when it began.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	options := []kgo.Opt{
		// The last offsets may be those of markers of transactions, and seeing them is how the end is noticed.
		kgo.KeepControlRecords(),
		kgo.RetryTimeout(s.c.Timeout),
		// A request that waits for some Kafka partitions keeps those that were added after it waiting: no longer than in Kafka's own consumer.
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if s.c.Isolation == readUncommitted {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadUncommitted()))
	}
	cl, err := cluster.NewClient(s.cluster, append(options, s.options...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	r := &reader{s: s, cl: cl, adm: kadm.NewClient(cl), out: out, once: once, known: out.Streams(), all: map[key]*partition{}, failed: map[string]error{}}
	r.first = len(r.known) == 0 || s.ranged()
	err = r.read(ctx)
	if s.c.Group != "" {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		_ = out.Drain(grace) // whose error is that of a record, which the Runner knows
		r.commit(grace)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

// reader is one Run.
type reader struct {
	s      *Source
	cl     *kgo.Client
	adm    *kadm.Client
	out    collect.Out
	once   bool
	first  bool // what is found begins where start says: no Run has read anything, or it is a range
	known  map[string]envelope.StreamCursor
	all    map[key]*partition
	failed map[string]error // by what it is about
	told   bool             // that no offset can be committed
}

// read takes records until ctx ends or, with once, all ends are reached.
func (r *reader) read(ctx context.Context) error {
	if err := r.find(ctx); err != nil {
		return err
	}
	looked, came := time.Now(), time.Now()
	for {
		if r.once && !slices.ContainsFunc(r.partitions(), (*partition).open) {
			return r.failures()
		}
		if time.Since(looked) >= r.s.every {
			// Invariant 3. The next Run sees what has become of those that failed.
			if err := r.failures(); err != nil && !r.once {
				return err
			}
			if err := r.find(ctx); err != nil {
				return err
			}
			r.commit(ctx)
			looked = time.Now()
		}
		some, err := r.poll(ctx, time.Until(looked.Add(r.s.every)))
		if err != nil {
			return err
		}
		if some {
			came = time.Now()
		}
		if r.once && time.Since(came) > r.s.c.Timeout {
			for _, p := range r.partitions() {
				if p.open() {
					r.fail(p, fmt.Errorf("no record came for %s although offset %d is not the last one, which is %d: check that its leader is up, "+
						"and that no transaction is open", r.s.c.Timeout, p.at.Next, p.end-1))
				}
			}
		}
	}
}

// poll emits what was fetched, and says whether that was something.
func (r *reader) poll(ctx context.Context, wait time.Duration) (some bool, err error) {
	if r.once {
		wait = min(wait, time.Second)
	}
	limited, cancel := context.WithTimeout(ctx, max(wait, time.Millisecond))
	defer cancel()
	fetches := r.cl.PollFetches(limited)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := r.all[key{f.Topic, f.Partition}]
		switch {
		case err != nil:
		case p == nil && !errors.Is(f.Err, context.DeadlineExceeded): // of the client as a whole
			err = r.s.explain("reading", f.Err)
		}
		if p == nil || p.failed || err != nil {
			return
		}
		some = some || len(f.Records) > 0
		err = r.take(ctx, p, f)
	})
	return some, err
}

// take emits the records of a fetch.
func (r *reader) take(ctx context.Context, p *partition, f kgo.FetchTopicPartition) error {
	if f.Err != nil {
		r.fail(p, f.Err) // also that of a log that was cut off, which the next Run finds
		return nil
	}
	if f.LogStartOffset > p.at.Next && len(f.Records) > 0 {
		if err := r.gap(ctx, p, f.LogStartOffset, removed(p.at.Next, f.LogStartOffset)); err != nil {
			return err
		}
	}
	marked := false
	for _, record := range f.Records {
		if r.s.ranged() && record.Offset >= p.end {
			p.at.Next = max(p.at.Next, p.end)
			break
		}
		if record.Offset < p.at.Next {
			r.fail(p, fmt.Errorf("offset %d came where %d was due", record.Offset, p.at.Next))
			break
		}
		p.at.Next, p.at.Epoch = record.Offset+1, record.LeaderEpoch
		if marked = record.Attrs.IsControl(); marked {
			continue
		}
		if err := r.out.Emit(ctx, r.item(p, record)); err != nil {
			return err
		}
	}
	if marked {
		return r.out.Mark(ctx, p.stream, p.at.encode(), false, nil)
	}
	return nil
}

// item is what a record becomes.
func (r *reader) item(p *partition, record *kgo.Record) collect.Item {
	var h message.Headers
	h.Add("topic", record.Topic)
	h.Add("partition", strconv.Itoa(int(record.Partition)))
	h.Add("offset", strconv.FormatInt(record.Offset, 10))
	h.Add("timestamp", record.Timestamp.UTC().Format(time.RFC3339Nano))
	if record.Key != nil {
		h.Add("key", string(record.Key))
	}
	for _, header := range record.Headers {
		h.Add(header.Key, string(header.Value))
	}
	it := collect.Item{
		Stream: p.stream, Resume: p.at.encode(), Item: message.Item(r.s.c.Format, record.Value), Headers: h.All(),
		Origin: r.s.origin + "/" + record.Topic, Position: fmt.Sprintf("%d/%d", record.Partition, record.Offset),
	}
	if record.Value == nil { // a tombstone
		it.Item = envelope.Item{Kind: envelope.JSON, Data: []byte("null")}
	}
	if r.s.c.Group != "" {
		next := p.at.Next
		it.Done = func() { p.acknowledged.Store(next) }
	}
	return it
}

// gap records that what is before offset next may be missing. Invariant 2.
func (r *reader) gap(ctx context.Context, p *partition, next int64, reason string) error {
	r.s.log.Error("records may be missing", "topic", p.topic, "partition", p.number, "reason", reason)
	p.at.Next, p.at.Epoch = next, -1
	data, err := json.Marshal(map[string]any{"gap": map[string]string{"to": time.Now().UTC().Format(time.RFC3339), "reason": reason}})
	if err != nil {
		return err
	}
	return r.out.Emit(ctx, collect.Item{
		Stream: p.stream, Resume: p.at.encode(), Origin: r.s.origin + "/" + p.topic, Position: "gap",
		Item: envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: records may be missing: " + reason},
	})
}

func removed(from, to int64) string {
	return fmt.Sprintf("offsets %d to %d were removed from the topic before they were read", from, to-1)
}

// fail leaves a Kafka partition to the next Run.
func (r *reader) fail(p *partition, err error) {
	p.failed = true
	r.failed[p.stream] = fmt.Errorf("topic %s partition %d: %w", p.topic, p.number, err)
	r.cl.RemoveConsumePartitions(map[string][]int32{p.topic: {p.number}})
}

// failures are what cannot be read, as one error.
func (r *reader) failures() error {
	var all []error
	for _, err := range r.failed {
		all = append(all, err)
	}
	slices.SortFunc(all, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return r.s.explain("reading", errors.Join(all...))
}

func (r *reader) partitions() (all []*partition) {
	for _, p := range r.all {
		all = append(all, p)
	}
	return all
}

// commit tells the group what Kafka has. Nobody goes on from there, so that a failure is told and changes nothing.
func (r *reader) commit(ctx context.Context) {
	if r.s.c.Group == "" {
		return
	}
	offsets := kadm.Offsets{}
	for _, p := range r.all {
		if next := p.acknowledged.Load(); next > p.committed {
			offsets.AddOffset(p.topic, p.number, next, -1)
			p.committed = next
		}
	}
	if len(offsets) == 0 {
		return
	}
	if err := r.adm.CommitAllOffsets(ctx, r.s.c.Group, offsets); err != nil && ctx.Err() == nil && !r.told {
		r.told = true
		r.s.log.Warn("the group does not hear how far the topics are read", "group", r.s.c.Group, "err", err)
	}
}

// explain says what the brokers did not do, and whether only a person can help.
func (s *Source) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s %s: %w", doing, s.origin, err)
	for _, refused := range []error{kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState} {
		if errors.Is(err, refused) {
			return retry.Stop(wrapped)
		}
	}
	return wrapped
}

var _ collect.Ranged = (*Source)(nil)
