package land

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
	"headwater/lake"
)

// Refusal says why a command was refused: everything that has to be put right before, at once. Nothing was committed.
type Refusal struct{ Reasons []string }

func (r Refusal) Error() string { return strings.Join(r.Reasons, "\n") }

// Handover is what Adopt or Release does: from one consumer group to another, by topic and Kafka partition.
type Handover struct {
	From, To   string
	Partitions []HandoverPartition
	// Warnings are what a person should look at although nothing is refused.
	Warnings []string
}

// HandoverPartition is where the landing of a Kafka partition goes on.
type HandoverPartition struct {
	Topic     string
	Partition int32
	// Offset is committed, End is the end of the log.
	Offset, End int64
	// Supersede are the objects that are moved away, by Adopt alone.
	Supersede []lake.Object

	log string
}

// groups is what Kafka says of the topics that land and of one or two groups.
type groups struct {
	topics                 []string // in order
	ids                    map[string]string
	first, ends            kafka.Offsets
	fromCommits, toCommits map[string]map[int32]kafka.Commit
	refusals               []string
}

func (g *groups) refuse(format string, args ...any) {
	g.refusals = append(g.refusals, fmt.Sprintf(format, args...))
}

func (g *groups) err() error {
	if len(g.refusals) == 0 {
		return nil
	}
	return Refusal{g.refusals}
}

// with runs do with a client of its own while this Lander does nothing else.
func (l *Lander) with(do func(cl *kgo.Client) error) error {
	if !l.running.TryLock() {
		return errRunning
	}
	defer l.running.Unlock()
	l.renew(nil)
	cl, err := kafka.NewClient(l.opts.Kafka)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

// askGroups is askTopics with another group, which must have no members either.
func (l *Lander) askGroups(ctx context.Context, cl *kgo.Client, from, to string) (*groups, error) {
	if from == to {
		return nil, Refusal{[]string{"both groups are " + from}}
	}
	g, err := l.askTopics(ctx, cl, from)
	if err != nil {
		return nil, err
	}
	if len(g.topics) == 0 {
		g.refuse("Kafka has no topic that land: names, by topics or topics.regex (%s)", l.conf.topicsExpr())
	}
	g.toCommits, err = g.ask(ctx, cl, to)
	return g, err
}

// askTopics asks Kafka about the topics that land and a group, and refuses one that has members.
func (l *Lander) askTopics(ctx context.Context, cl *kgo.Client, from string) (g *groups, err error) {
	g = &groups{}
	all, err := kafka.Topics(ctx, cl)
	if err != nil {
		return nil, err
	}
	g.topics = slices.DeleteFunc(all, func(topic string) bool { return !l.Lands(topic) })
	// The commits before the ends: an end that is asked for later is not smaller.
	if g.fromCommits, err = g.ask(ctx, cl, from); err != nil {
		return nil, err
	}
	if g.ids, err = kafka.TopicIDs(ctx, cl, g.topics...); err != nil {
		return nil, err
	}
	if g.first, err = kafka.StartOffsets(ctx, cl, g.topics...); err != nil {
		return nil, err
	}
	g.ends, err = kafka.EndOffsets(ctx, cl, g.topics...)
	return g, err
}

// ask is what a group has committed.
func (g *groups) ask(ctx context.Context, cl *kgo.Client, group string) (map[string]map[int32]kafka.Commit, error) {
	members, err := kafka.Members(ctx, cl, group)
	if err != nil {
		return nil, err
	}
	if len(members) > 0 {
		g.refuse("group %s has members: %s. Stop them first; a connector that is paused stays a member until it is stopped or deleted", group, strings.Join(members, ", "))
	}
	return kafka.Commits(ctx, cl, group)
}

// each calls do for the Kafka partitions of the topics that land, in order.
func (g *groups) each(do func(topic string, p int32)) {
	for _, topic := range g.topics {
		for _, p := range slices.Sorted(maps.Keys(g.ends[topic])) {
			do(topic, p)
		}
	}
}

// within refuses an offset that the log does not have, and says what a person does about it.
func (g *groups) within(group, topic string, p int32, offset int64, remedy string) {
	if first, end := g.first[topic][p], g.ends[topic][p]; offset < first || offset > end {
		g.refuse("topic %s partition %d: the offset %d of group %s is not in the log, which has %d to %d: what lies between is lost, or still in a transaction. %s", topic, p, offset, group, first, end, remedy)
	}
}

// resetOffset is how a person sets an offset of a connector's group.
func resetOffset(group string) string {
	return fmt.Sprintf("kafka-consumer-groups --group %s --topic TOPIC:PARTITION --reset-offsets --to-offset OFFSET --execute", group)
}

func readNote(text string) (n commitNote) {
	if json.Unmarshal([]byte(text), &n) != nil {
		n = commitNote{} // set by hand, with Kafka's tools
	}
	return n
}

// inventory is what a topic has in the raw store, by Kafka partition and folder, in order of their offsets.
type inventory map[int32]map[string][]foundObject

// take lists a topic once, all of its Kafka partitions.
func (l *Lander) take(ctx context.Context, topic string) (inventory, error) {
	all := inventory{}
	prefix := topicPrefix(l.conf.TopicsDir, topic)
	for o, err := range l.opts.Store.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		path, found, is := parseFound(o, prefix, topic)
		if !is {
			continue
		}
		if all[found.partition] == nil {
			all[found.partition] = map[string][]foundObject{}
		}
		all[found.partition][path] = append(all[found.partition][path], found)
	}
	for _, paths := range all {
		for _, objects := range paths {
			slices.SortFunc(objects, byOffset)
		}
	}
	return all, nil
}

// around splits the objects of a folder: the last of those that begin below an offset, which may reach beyond it, and all that begin there or later.
func around(objects []foundObject, offset int64) (last *foundObject, beyond []foundObject) {
	n, _ := slices.BinarySearchFunc(objects, offset, func(o foundObject, offset int64) int { return cmp.Compare(o.offset, offset) })
	if n > 0 {
		last = &objects[n-1]
	}
	return last, objects[n:]
}
