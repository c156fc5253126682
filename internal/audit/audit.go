// Package audit finds out whether what was collected is all there: in Kafka, in raw objects, in the rows of both tables, or in quarantine.
//
// What enters: the raw and the tables store, and Kafka if it can be asked. What leaves: a Report, which names each difference with topic, Kafka partition
// and offsets. It keeps no books: what is compared is what objects, files and records say of themselves, so that an audit needs nothing that could itself be wrong,
// and can be done again by anybody. Format: docs/format/audit.md.
//
// Invariants:
//  1. It only reads, and asks what exists: it makes no topic, no object, no folder and no commit.
//  2. What says nothing of itself is unknown, and never counted as nothing.
//  3. A difference is reported when two looks have found it: what land and serialize do meanwhile is none.
//  4. What is committed is asked before objects are listed, so that what lands meanwhile is not missed.
//
// Neighbours: table.Audit compares files with the catalog, and is for readers of tables; this one is for records. Goroutines: those that read tails, which have
// ended when Audit returns.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"headwater/kafka"
	"headwater/lake"
	"headwater/serialize"
)

// Options are what an Auditor looks at.
type Options struct {
	// Raw has the objects, Tables the Parquet files.
	Raw, Tables lake.Store
	// TopicsDir is the first segment of the objects' keys; it may be empty.
	TopicsDir string
	// Serializer knows what the tables should be; its stores must be ReadOnly. Nil if the pipeline makes no tables.
	Serializer *serialize.Serializer
	// Kafka may be nil; then NoKafka says why.
	Kafka   *kgo.Client
	NoKafka string
	// Group is the one by whose offsets landing goes on.
	Group string
	// RawKept is how long objects are kept, if they are deleted in time; 0 is for ever.
	RawKept time.Duration
	// Temp is the folder for rows that are made again; empty is the system's.
	Temp   string
	Logger *slog.Logger
}

// Target is a source to look at.
type Target struct {
	Job serialize.Job
	// Collected: all records of the topic are this pipeline's own, from offset 0 on, and all of them land.
	Collected bool
	// Dense: each offset of the topic has a record. Kafka's transactions and compaction leave some without.
	Dense bool
}

// Request is what is to be looked at.
type Request struct {
	Targets []Target
	// Day, as 2026-07-05, leaves out what is of other days; empty is all.
	Day string
	// Recompute reads objects and rows again, and what Kafka still has of them.
	Recompute bool
}

// Auditor looks. What it keeps between two looks only spares it work.
type Auditor struct {
	Options
	mu    sync.Mutex
	tails map[string]object // by key and version
	whole map[string]bool   // likewise, whether an object without a tail is whole
}

// New makes an Auditor; it touches nothing yet.
func New(o Options) *Auditor {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Auditor{Options: o, tails: map[string]object{}, whole: map[string]bool{}}
}

// Audit looks, twice where it finds something. What cannot be looked at is in Report.Failed, and the rest is looked at all the same. The error is the context's.
func (a *Auditor) Audit(ctx context.Context, r Request) (*Report, error) {
	report := &Report{V: 1, Time: time.Now().UTC(), Recomputed: r.Recompute, Kafka: KafkaAsked, Sources: []Source{}, Failed: []string{}}
	if a.Kafka == nil {
		report.Kafka = a.NoKafka
	}
	for _, t := range r.Targets {
		s, err := a.source(ctx, r, t)
		if err == nil && len(s.Differences) > 0 {
			var again *Source
			if again, err = a.source(ctx, r, t); err == nil {
				s.both(again) // invariant 3
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			report.Failed = append(report.Failed, fmt.Sprintf("source %s: %v", t.Job.Source, err))
		}
		report.Sources = append(report.Sources, *s)
		report.Differences += int64(len(s.Differences))
		report.Unknown += int64(len(s.Unknown))
	}
	return report, nil
}

// look is one look at a source.
type look struct {
	*Auditor
	Request
	Target
	*Source
	offsets offsets
	objects []*object
	byKey   map[string]*object
	// inputs are the objects that tables were made from, by key, and gone those of them that are no more.
	inputs map[string]bool
	gone   []gone
	// landed are the offsets in land's quarantine.
	landed map[logKey][]int64
}

// gone is an object that is not there, or not whole, any more.
type gone struct {
	logKey
	span
}

// logKey tells the logs of a topic's Kafka partitions apart.
type logKey struct {
	partition  int32
	generation int
}

func (a *Auditor) source(ctx context.Context, r Request, t Target) (*Source, error) {
	s := &Source{Source: t.Job.Source, Topic: t.Job.Topic, Partitions: []Partition{}, Days: []Day{}, Differences: []Finding{}, Unknown: []Finding{}}
	l := &look{Auditor: a, Request: r, Target: t, Source: s, byKey: map[string]*object{}, inputs: map[string]bool{}}
	var asked error
	if l.offsets, asked = a.ask(ctx, t.Job.Topic); asked != nil { // invariant 4
		l.offsets = offsets{}
	}
	held, err := l.tables(ctx) // before the objects: what tables were made from was there before them
	if err != nil {
		return s, errors.Join(asked, err)
	}
	if err := l.list(ctx); err != nil {
		return s, errors.Join(asked, err)
	}
	if err := l.listQuarantine(ctx); err != nil {
		return s, errors.Join(asked, err)
	}
	if err := l.days(ctx, held); err != nil {
		return s, errors.Join(asked, err)
	}
	if err := l.logs(ctx); err != nil {
		return s, errors.Join(asked, err)
	}
	if r.Recompute {
		asked = errors.Join(asked, l.recompute(ctx, held))
	}
	return s, asked
}

// topicPrefix begins the keys of a topic's objects.
func (a *Auditor) topicPrefix(topic string) string {
	if a.TopicsDir == "" {
		return topic + "/"
	}
	return a.TopicsDir + "/" + topic + "/"
}

// tailReaders bounds how many tails are read at a time.
const tailReaders = 16

// list lists the topic's objects, with their tails.
func (l *look) list(ctx context.Context) error {
	prefix := l.topicPrefix(l.Job.Topic)
	for o, err := range l.Raw.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		if base := path.Base(o.Key); base[0] == '_' || base[0] == '.' {
			continue
		}
		parsed := o.Key
		if strings.HasSuffix(parsed, ".json") {
			parsed += ".gz" // as Kafka Connect names objects that are not compressed
		}
		name, err := lake.ParseRawKey(parsed)
		day := dayOf(o.Key[len(prefix):])
		if err != nil || name.Topic != l.Job.Topic {
			if l.Day == "" || l.Day == day {
				l.notKnown(Finding{Kind: Stray, Day: day, Object: o.Key, Text: "it is not named as a raw object of the topic"})
			}
			continue
		}
		l.objects = append(l.objects, &object{Object: o, name: name, day: day})
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(tailReaders)
	for _, o := range l.objects {
		l.byKey[o.Key] = o
		g.Go(func() error { return l.readTail(gctx, o) })
	}
	return g.Wait()
}

// dayOf is the day of a key below its topic's prefix, empty if its folder is none.
func dayOf(rest string) string {
	first, _, _ := strings.Cut(rest, "/")
	day, found := strings.CutPrefix(first, "date=")
	if _, err := time.Parse(time.DateOnly, day); !found || err != nil {
		return ""
	}
	return day
}

// readTail reads what an object says of itself, or takes it from an earlier look at the same version.
func (a *Auditor) readTail(ctx context.Context, o *object) error {
	a.mu.Lock()
	was, known := a.tails[o.Key+" "+o.Version]
	a.mu.Unlock()
	if !known {
		r, _, err := a.Raw.Get(ctx, o.Key, -421, -1)
		if errors.Is(err, lake.ErrNotExist) {
			return nil // it was moved away since it was listed
		}
		if err != nil {
			return fmt.Errorf("reading the tail of %s: %w", o.Key, err)
		}
		end, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("reading the tail of %s: %w", o.Key, err)
		}
		was.tail, was.told, was.fault = lake.ParseTail(end)
		a.mu.Lock()
		a.tails[o.Key+" "+o.Version] = was
		a.mu.Unlock()
	}
	o.tail, o.told, o.fault = was.tail, was.told, was.fault
	return nil
}

// listQuarantine finds the records that land could not land, by their keys alone.
func (l *look) listQuarantine(ctx context.Context) error {
	l.landed = map[logKey][]int64{}
	prefix := lake.QuarantinePrefix("land", "") // of all sources: a source may have had another name
	for o, err := range l.Raw.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		base := path.Base(o.Key)
		if !strings.HasPrefix(base, l.Job.Topic+"+") {
			continue
		}
		name, err := lake.ParseRawKey(l.Job.Topic + "/" + base)
		if err != nil || name.Topic != l.Job.Topic {
			continue
		}
		k := logKey{name.Partition, name.Generation}
		l.landed[k] = append(l.landed[k], name.Offset)
		if _, rest, found := strings.Cut(o.Key[len(prefix):], "/"); found {
			l.day(dayOf(rest)).LandQuarantined++
		}
	}
	return nil
}

// day is the entry of a day, made if there is none; of one that was not asked for it is thrown away.
func (l *look) day(day string) *Day {
	if l.Day != "" && l.Day != day || day == "" {
		return &Day{}
	}
	for i := range l.Days {
		if l.Days[i].Day == day {
			return &l.Days[i]
		}
	}
	l.Days = append(l.Days, Day{Day: day})
	return &l.Days[len(l.Days)-1]
}

// offsets are what Kafka says of a topic; asked is false if it was not asked, or has no such topic.
type offsets struct {
	asked                 bool
	log                   string
	start, end, committed map[int32]int64
}

// ask asks Kafka.
func (a *Auditor) ask(ctx context.Context, topic string) (o offsets, err error) {
	if a.Kafka == nil {
		return o, nil
	}
	committed, err := kafka.CommittedOffsets(ctx, a.Kafka, a.Group)
	if err != nil {
		return o, fmt.Errorf("asking Kafka what has landed: %w", err)
	}
	ids, err := kafka.TopicIDs(ctx, a.Kafka, topic)
	if err != nil || ids[topic] == "" {
		return o, err
	}
	end, err := kafka.EndOffsets(ctx, a.Kafka, topic)
	if err != nil {
		return o, err
	}
	start, err := kafka.StartOffsets(ctx, a.Kafka, topic)
	if err != nil {
		return o, err
	}
	return offsets{true, ids[topic], start[topic], end[topic], committed[topic]}, nil
}

// Topics lists the topics that there are raw objects of.
func Topics(ctx context.Context, raw lake.Store, topicsDir string) (topics []string, err error) {
	prefix := ""
	if topicsDir != "" {
		prefix = topicsDir + "/"
	}
	for after := prefix; ; {
		key := ""
		for o, err := range raw.List(ctx, prefix, after) {
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", prefix, err)
			}
			key = o.Key
			break
		}
		if key == "" {
			return topics, nil
		}
		topic, _, nested := strings.Cut(key[len(prefix):], "/")
		if nested && topic[0] != '_' {
			topics = append(topics, topic)
		}
		after = prefix + topic + "0" // the byte after the slash
	}
}

// sorted are the keys of a map, in order.
func sortedLogs[V any](m map[logKey]V) []logKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b logKey) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.generation, b.generation))
	})
}
