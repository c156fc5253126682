package land

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
	"headwater/lake"
)

// Acceptance is what a person accepts of a Kafka partition that has stopped, and where it goes on.
type Acceptance struct {
	Topic     string
	Partition int32
	// Why it has stopped, and what of it is not landed.
	Why string
	// Offset is committed. Generation counts the logs that the topic has had under this name; from 2 on it is in the objects' keys.
	Offset     int64
	Generation int

	note string
}

// PlanAcceptance finds out why Kafka partitions of a topic have stopped and where they could go on: of one, or with -1 of all. It changes nothing.
// A Refusal says what is in the way, or that there is nothing to accept.
func (l *Lander) PlanAcceptance(ctx context.Context, topic string, partition int32) (all []Acceptance, err error) {
	err = l.with(func(cl *kgo.Client) error {
		g, err := l.askTopics(ctx, cl, l.opts.Group)
		if err != nil {
			return err
		}
		if !slices.Contains(g.topics, topic) {
			g.refuse("topic %q does not land, or does not exist; there are %s", topic, strings.Join(g.topics, ", "))
			return g.err()
		}
		if _, exists := g.ends[topic][partition]; !exists && partition >= 0 {
			g.refuse("topic %s has no partition %d", topic, partition)
		}
		if err := g.err(); err != nil {
			return err
		}
		found, err := l.take(ctx, topic)
		if err != nil {
			return err
		}
		for p := range g.ends[topic] {
			if partition >= 0 && p != partition {
				continue
			}
			a, err := l.acceptance(ctx, g, topicPartition{topic, p}, found[p])
			if err != nil {
				return err
			}
			if a.Why != "" {
				all = append(all, a)
			}
		}
		if len(all) == 0 {
			g.refuse("topic %s lands, or has stopped for another reason: there is nothing to accept", topic)
		}
		return g.err()
	})
	slices.SortFunc(all, func(a, b Acceptance) int { return cmp.Compare(a.Partition, b.Partition) })
	return all, err
}

// Accept commits what PlanAcceptance has found, so that every process that lands knows it.
func (l *Lander) Accept(ctx context.Context, all []Acceptance) error {
	return l.with(func(cl *kgo.Client) error {
		commits := map[string]map[int32]kafka.Commit{}
		for _, a := range all {
			if commits[a.Topic] == nil {
				commits[a.Topic] = map[int32]kafka.Commit{}
			}
			commits[a.Topic][a.Partition] = kafka.Commit{Offset: a.Offset, Note: a.note}
		}
		return kafka.SetCommits(ctx, cl, l.opts.Group, commits)
	})
}

// acceptance is without Why where a Kafka partition needs none.
func (l *Lander) acceptance(ctx context.Context, g *groups, tp topicPartition, found map[string][]foundObject) (a Acceptance, err error) {
	a = Acceptance{Topic: tp.topic, Partition: tp.partition}
	commit, stands := g.fromCommits[tp.topic][tp.partition]
	id, first, end := g.ids[tp.topic], g.first[tp.topic][tp.partition], g.ends[tp.topic][tp.partition]
	note := readNote(commit.Note)
	newest, log, err := l.newest(ctx, found)
	if err != nil {
		return a, err
	}
	last := max(newest, note.Generation, 1)
	// The log's first offset is behind what retention has deleted of it.
	gap := ""
	if first > 0 {
		gap = fmt.Sprintf("; records 0 to %d of the new one are no longer in Kafka", first-1)
	}
	switch {
	case stands && note.Log != "" && note.Log != id:
		a.Why = fmt.Sprintf("it was landed up to offset %d of log %s, and the topic is now log %s: what the old one had beyond that is not landed%s", commit.Offset, note.Log, id, gap)
		a.Offset, a.Generation = first, last+1
		if log == id { // it has landed before, and its commit is lost
			a.Generation = newest
		}
	case stands && commit.Offset > end:
		a.Why = fmt.Sprintf("it was landed up to offset %d, and the log now ends at %d: what is written from there on is landed, what was written below since the log has lost records is not", commit.Offset, end)
		a.Offset, a.Generation = end, last+1
	case log != "" && log != id && newest >= note.Generation: // those of an earlier generation are accepted already
		a.Why = fmt.Sprintf("its objects are of log %s, and the topic is now log %s: what the old one had beyond them is not landed%s", log, id, gap)
		a.Offset, a.Generation = max(first, commit.Offset), last+1
	case stands && commit.Offset < first:
		a.Why = fmt.Sprintf("records %d to %d are no longer in Kafka and were not landed", commit.Offset, first-1)
		a.Offset, a.Generation, a.note = first, max(1, note.Generation), commit.Note
		return a, nil
	default:
		return a, nil
	}
	now := l.noteOf(tp.topic, id)
	if a.Generation > 1 {
		now.Generation = a.Generation
	}
	text, err := json.Marshal(now)
	a.note = string(text)
	return a, err
}

// newest is the last generation of a Kafka partition's objects, 0 without objects, and the log that the last of these was made from.
func (l *Lander) newest(ctx context.Context, found map[string][]foundObject) (generation int, log string, err error) {
	var last *foundObject
	for _, objects := range found {
		for _, o := range objects {
			if last == nil || cmp.Or(cmp.Compare(o.generation, last.generation), cmp.Compare(o.offset, last.offset)) > 0 {
				last = &o
			}
		}
	}
	if last == nil {
		return 0, "", nil
	}
	t, _, err := lake.ReadTail(ctx, l.opts.Store, last.Object)
	return last.generation, t.Log, err
}
