// Package land brings the records of topics into raw objects, each exactly once.
//
// What enters: the topics that topics.regex or Declared names. What leaves: gzip objects of JSON lines, named by topic, folder
// of the record's time, Kafka partition and first offset, as the Kafka Connect S3 sink names them, with a tail that says which
// offsets they cover; what is no JSON or has no time goes to quarantine, and to the topic of dead letters if there is one. Documents that come bare get an envelope. Rules and commit protocol: docs/format/rotation.md.
//
// Invariants:
//  1. An offset is committed only when every record below it is in an object, or in quarantine and, if there is a topic of dead letters that takes it, there
//     too.
//  2. Objects are created, never replaced. Where one exists already, its tail says which records it has, and these are skipped;
//     if it is not what was about to be written, everything that is not committed is forgotten and read again.
//  3. An open object never spans a range of offsets that an object of its path covers: it is closed there.
//  4. What cannot be told from the data (another log under the same name, an object without a tail where one matters, a committed
//     offset that the log does not have, records that are gone before they were landed) stops that Kafka partition, and no other,
//     until a person has decided. The decision is in the commit: Accept.
//  5. While an object is known that ends at an offset, no smaller one is committed.
//  6. With Wallclock no object is put before Kafka has its folder, noted with the commit; until a commit is beyond what was noted, the
//     records have that folder.
//  7. Only the member of the group that asked where to begin commits: thrown out and joined again it is another one.
//
// Neighbours: kafka makes the client, lake keeps the objects and the quarantine; serialize reads the objects.
//
// Goroutines: Run and RunTo poll in the caller's. One per assigned Kafka partition writes its objects and ends when the Kafka
// partition is revoked, lost or stopped, or Run ends. The Kafka client has its own, heartbeats among them, so that a slow store
// does not cost the group membership.
package land

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/kafka"
	"headwater/lake"
)

// DefaultGroup is the consumer group whose offsets are committed.
const DefaultGroup = "headwater-land"

// Options are what a Lander works with.
type Options struct {
	Config Config
	Kafka  kafka.Config
	// Group is the consumer group; empty for DefaultGroup. Its members share the Kafka partitions.
	Group string
	// Declared holds until Lander.Declare.
	Declared
	// Source names the source of a topic in quarantine; nil for kafka.SourceOf.
	Source func(topic string) string
	// Store is the raw layer.
	Store      lake.Store
	Quarantine lake.Quarantine
	// Spool is an existing folder of this Lander alone. Run deletes what is in it.
	Spool string
	// Location is the pipeline's timezone, for what Config leaves open; nil for UTC.
	Location *time.Location
	Logger   *slog.Logger
	// clientOptions come last; tests set them.
	clientOptions []kgo.Opt
}

// Declared is what is said of single topics.
type Declared struct {
	// Topics are landed too, whatever topics.regex says.
	Topics []string
	// Shapes are of topics that somebody else fills, by topic; timestamp.* is for the others.
	Shapes map[string]envelope.Shape
}

// Lander lands topics. Its methods may be called from several goroutines, Run and RunTo one at a time.
type Lander struct {
	opts     Options
	conf     Config
	zone     *time.Location
	topics   *regexp.Regexp
	settings []settings // of the overrides, and then of the others
	running  sync.Mutex
	// declared is what the session that runs was begun with; it changes between sessions alone.
	declared Declared

	mu       sync.Mutex // guards what follows
	next     Declared   // for the next session
	again    func()     // ends the session that runs, for another; nil while none may be ended so
	progress map[topicPartition]*PartitionStatus
	lastErr  string
}

type topicPartition struct {
	topic     string
	partition int32
}

// New checks the options. It opens nothing.
func New(o Options) (*Lander, error) {
	if faults := o.Config.Validate(); len(faults) > 0 {
		return nil, retry.Stop(fmt.Errorf("configuring land: %v", faults[0]))
	}
	if o.Group == "" {
		o.Group = DefaultGroup
	}
	if o.Source == nil {
		o.Source = kafka.SourceOf
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if _, can := o.Store.(lake.Tagger); o.Config.ObjectTagging && !can {
		return nil, retry.Stop(errors.New("land.s3.object.tagging is true, and objects of lake.raw can have no tags: leave it out, or write an s3:// URL"))
	}
	l := &Lander{opts: o, conf: o.Config, zone: o.Location, next: o.Declared, progress: map[topicPartition]*PartitionStatus{}}
	if l.zone == nil {
		l.zone = time.UTC
	}
	var err error
	if l.conf.Timezone != "" {
		if l.zone, err = loadZone(l.conf.Timezone); err != nil {
			return nil, fmt.Errorf("loading land.timezone: %w", err)
		}
	}
	for i, conf := range append(l.conf.Overridden(), l.conf) {
		s, err := newSettings(conf, l.zone)
		if err != nil {
			return nil, fmt.Errorf("reading land.path.format: %w", err)
		}
		if i < len(l.conf.Overrides) {
			if s.topics, err = compileTopics(l.conf.Overrides[i].TopicsRegex); err != nil {
				return nil, fmt.Errorf("reading land.overrides.%d.topics.regex: %w", i, err)
			}
		}
		l.settings = append(l.settings, s)
	}
	for _, topic := range o.Topics {
		if err := l.notItself(topic); err != nil {
			return nil, err
		}
	}
	if l.topics, err = compileTopics(l.conf.topicsExpr()); err != nil {
		return nil, fmt.Errorf("reading land.topics.regex: %w", err)
	}
	return l, nil
}

// Lands says whether a topic is one of those that this Lander reads.
func (l *Lander) Lands(topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topics.MatchString(topic) || slices.Contains(l.next.Topics, topic)
}

// Declare replaces Options.Declared. If that makes a difference, a Run that is under way closes its open objects and begins again, as a new
// process would; a RunTo ends as it began.
func (l *Lander) Declare(d Declared) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := slices.Equal(l.beyondRegex(l.next), l.beyondRegex(d)) && maps.Equal(l.next.Shapes, d.Shapes)
	l.next = d
	if !same && l.again != nil {
		l.again()
	}
}

// beyondRegex are the declared topics that topics.regex does not match.
func (l *Lander) beyondRegex(d Declared) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(d.Topics)), l.topics.MatchString)
}

// drainTime bounds how long open objects may take to be closed and committed when this process has to let go of them.
// It must stay under Kafka's rebalance timeout, here a minute.
const drainTime = 30 * time.Second

// Run lands until ctx ends. It then closes and commits the open objects, unless flush.on.stop is false; what cannot be
// closed in half a minute is read again at the next start. Faults of a Kafka partition do not end Run: they are logged,
// shown in Status and tried again, or stop that Kafka partition (Invariant 4).
func (l *Lander) Run(ctx context.Context) error {
	if !l.running.TryLock() {
		return errRunning
	}
	defer l.running.Unlock()
	for {
		session, end := context.WithCancel(ctx)
		l.renew(end)
		err := l.run(session, nil, l.conf.FlushOnStop)
		over := session.Err() == nil || ctx.Err() != nil
		l.renew(nil)
		end()
		if err != nil || over {
			return err
		}
		l.opts.Logger.Info("landing begins again with what is now said of topics")
	}
}

var errRunning = errors.New("landing: this Lander is running already")

// renew has the next session know what was declared, and Declare how to end it.
func (l *Lander) renew(again func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.declared, l.again = l.next, again
}

// RunTo lands every Kafka partition of ends up to its end offset and nothing after it, closes all open objects whatever
// the rotation says, commits, and returns. Other members of the group may do part of it. An error means that something
// was left: ctx ended, a Kafka partition had to be stopped (then the error is permanent), or its store or spool went on failing.
func (l *Lander) RunTo(ctx context.Context, ends map[string]map[int32]int64) error {
	for topic := range ends {
		if !l.Lands(topic) {
			return retry.Stop(fmt.Errorf("landing topic %s: topics or topics.regex, %s, does not match it and no source names it", topic, l.conf.topicsExpr()))
		}
	}
	if ends == nil {
		ends = map[string]map[int32]int64{}
	}
	if !l.running.TryLock() {
		return errRunning
	}
	defer l.running.Unlock()
	l.renew(nil)
	return l.run(ctx, ends, true)
}

func (l *Lander) run(ctx context.Context, ends map[string]map[int32]int64, flush bool) error {
	spool, err := newSpool(l.opts.Spool, l.conf.CompressionLevel, int64(l.conf.MaxMemory))
	if err != nil {
		return err
	}
	s := &session{Lander: l, spool: spool, parts: map[topicPartition]*partition{}, ends: ends, room: make(chan struct{}, 1), sending: make(chan struct{}, 1), ready: make(chan struct{})}
	// The writers outlive ctx: they close their objects after it has ended.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	client, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	if s.cl, err = kafka.NewClient(l.opts.Kafka, append(s.clientOptions(work), kgo.WithContext(client))...); err != nil {
		return err
	}
	close(s.ready)
	err = s.poll(ctx, work)
	if flush {
		s.drain(s.all())
	}
	stop()
	// Leaving waits for a rebalance that is under way, and that for members that have died, for up to a minute.
	impatient := time.AfterFunc(leaveTime, cut)
	defer impatient.Stop()
	s.cl.CloseAllowingRebalance() // before the wait: until then a rebalance may still start writers
	s.writers.Wait()
	return err
}

// leaveTime bounds how long this member says goodbye; without, the others miss it when its session ends.
const leaveTime = 5 * time.Second

func (l *Lander) group() []kgo.Opt {
	expressions := []string{wholeName(l.conf.topicsExpr())}
	for _, t := range l.declared.Topics {
		expressions = append(expressions, wholeName(regexp.QuoteMeta(t)))
	}
	return append(l.opts.Kafka.Group(l.opts.Group), []kgo.Opt{
		kgo.ConsumeRegex(),
		kgo.ConsumeTopics(expressions...),
		kgo.DisableAutoCommit(),
		// A batch that was polled is handed to the writers before a rebalance can take its Kafka partition away.
		kgo.BlockRebalanceOnPoll(),
		// The last offset of a topic with transactions is a marker; without it the end would never be reached.
		kgo.KeepControlRecords(),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.MetadataMaxAge(3 * time.Second),
		// Of compressed batches: they may take twenty times as much memory.
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.WithPools(&pool{}),
		kgo.RebalanceTimeout(2 * drainTime),
		kafka.Logged(l.opts.Logger),
	}...)
}
