package land

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"headwater/kafka"
	"headwater/lake"
)

// tailReaders bounds how many tails Release reads at a time.
const tailReaders = 16

// PlanRelease finds out what it takes for a Kafka Connect S3 sink, whose consumer group is to, to go on where this Lander's group has stopped. It
// changes nothing. A Refusal says what is in the way.
func (l *Lander) PlanRelease(ctx context.Context, to string) (h Handover, err error) {
	err = l.with(func(cl *kgo.Client) error {
		h, err = l.releasable(ctx, cl, to)
		if err != nil {
			return err
		}
		return l.checkCommitted(ctx, h)
	})
	return h, err
}

// Release does what PlanRelease has found: it commits for the other group, and has this Lander's forget its offsets, so that a start by mistake does not
// land what the connector lands. After a kill half way it is planned and done again.
func (l *Lander) Release(ctx context.Context, h Handover) error {
	return l.with(func(cl *kgo.Client) error {
		commits, ours := map[string]map[int32]kafka.Commit{}, map[string][]int32{}
		for _, p := range h.Partitions {
			if commits[p.Topic] == nil {
				commits[p.Topic] = map[int32]kafka.Commit{}
			}
			commits[p.Topic][p.Partition] = kafka.Commit{Offset: p.Offset}
			ours[p.Topic] = append(ours[p.Topic], p.Partition)
		}
		if err := kafka.SetCommits(ctx, cl, h.To, commits); err != nil {
			return err
		}
		return kafka.DeleteCommits(ctx, cl, h.From, ours)
	})
}

// releasable are the positions of this Lander's group.
func (l *Lander) releasable(ctx context.Context, cl *kgo.Client, to string) (h Handover, err error) {
	h = Handover{From: l.opts.Group, To: to}
	g, err := l.askGroups(ctx, cl, h.From, to)
	if err != nil {
		return h, err
	}
	g.each(func(topic string, p int32) {
		ours, begun := g.fromCommits[topic][p]
		theirs, stands := g.toCommits[topic][p]
		note, now := readNote(ours.Note), l.noteOf(topic, g.ids[topic])
		switch {
		case !begun && (stands || g.ends[topic][p] == 0):
			return // it is theirs already, or has never had a record
		case !begun:
			g.refuse("topic %s partition %d has records, and group %s has landed none of it: start once with `headwater run --once`, or leave it out of land.topics", topic, p, h.From)
			return
		case note.Log != "" && note.Log != now.Log:
			g.refuse("topic %s partition %d: the offset %d of group %s is of log %s, but the topic is now log %s, which was made anew", topic, p, ours.Offset, h.From, note.Log, now.Log)
			return
		case note.Generation > 1:
			g.refuse("topic %s partition %d is the log number %d of that name in this folder: the connector, which does not count them, would write over the objects of the first", topic, p, note.Generation)
			return
		case len(note.Dirs) > 0 || note.Log != "" && (note.Dir != now.Dir || note.Layout != now.Layout):
			g.refuse("topic %s partition %d was landed with other settings of folders: start once with `headwater run --once`, so that what lies in the old folders is committed", topic, p)
			return
		case stands && theirs.Offset > ours.Offset:
			g.refuse("topic %s partition %d: group %s is at offset %d already, and group %s at %d only: what lies between would land twice", topic, p, to, theirs.Offset, h.From, ours.Offset)
			return
		}
		g.within(h.From, topic, p, ours.Offset, fmt.Sprintf("See `headwater land accept FILE %s %d`", topic, p))
		h.Partitions = append(h.Partitions, HandoverPartition{Topic: topic, Partition: p, Offset: ours.Offset, End: g.ends[topic][p], log: g.ids[topic]})
	})
	return h, g.err()
}

// checkCommitted refuses objects with records that are not committed: the connector, which reads no tails, would land these again.
func (l *Lander) checkCommitted(ctx context.Context, h Handover) error {
	var reasons []string
	found, listed := inventory{}, ""
	for _, p := range h.Partitions {
		if p.Topic != listed {
			var err error
			if found, err = l.take(ctx, p.Topic); err != nil {
				return err
			}
			listed = p.Topic
		}
		var look []foundObject
		for _, path := range slices.Sorted(maps.Keys(found[p.Partition])) {
			last, beyond := around(found[p.Partition][path], p.Offset)
			look = append(look, beyond...)
			if last != nil {
				look = append(look, *last)
			}
		}
		ends, err := l.ends(ctx, look)
		if err != nil {
			return err
		}
		for i, end := range ends {
			if end > p.Offset {
				reasons = append(reasons, fmt.Sprintf("object %s reaches beyond offset %d, which is committed of topic %s partition %d: start once with `headwater run --once`, so that it is committed whole",
					look[i].Key, p.Offset, p.Topic, p.Partition))
			}
		}
	}
	if len(reasons) > 0 {
		return Refusal{reasons}
	}
	return nil
}

// ends are where objects end; of one that does not say it, its first offset + 1.
func (l *Lander) ends(ctx context.Context, objects []foundObject) ([]int64, error) {
	all := make([]int64, len(objects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tailReaders)
	for i, o := range objects {
		g.Go(func() error {
			t, ours, err := lake.ReadTail(ctx, l.opts.Store, o.Object)
			if all[i] = o.offset + 1; ours {
				all[i] = t.Next
			}
			return err
		})
	}
	return all, g.Wait()
}
