package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/crash"
	"headwater/internal/retry"
)

// TopicSpec is a topic as the configuration wants it.
type TopicSpec struct {
	Name string
	// Partitions and Replication are the broker's defaults where they are 0.
	Partitions  int32
	Replication int16
	// Configs are the topic's own settings, as retention.ms.
	Configs map[string]string
}

// PartitionsError says that a topic that exists has another number of Kafka partitions than is asked for. It stays as
// it is, because streams keep their Kafka partition; the caller may go on.
type PartitionsError struct {
	Topic      string
	Have, Want int32
}

func (e *PartitionsError) Error() string {
	return fmt.Sprintf("topic %s has %d Kafka partitions, not %d: set topic.partitions to %d, or add Kafka partitions with Kafka's tools",
		e.Topic, e.Have, e.Want, e.Have)
}

// EnsureTopics creates the topics that do not exist and returns when their Kafka partitions have leaders. It leaves those that exist as they are; the error then
// holds a *PartitionsError for each whose number of Kafka partitions differs.
func EnsureTopics(ctx context.Context, cl *kgo.Client, topics []TopicSpec) error {
	found, err := describe(ctx, cl, names(topics))
	if err != nil {
		return err
	}
	var faults []error
	for _, t := range topics {
		if have, exists := found[t.Name]; exists {
			if t.Partitions > 0 && have.partitions != t.Partitions {
				faults = append(faults, &PartitionsError{t.Name, have.partitions, t.Partitions})
			}
			continue
		}
		if err := create(ctx, kadm.NewClient(cl), t); err != nil {
			return err
		}
	}
	if len(found) < len(topics) {
		if err := awaitLeaders(ctx, cl, names(topics)); err != nil {
			return err
		}
	}
	return errors.Join(faults...)
}

func names(topics []TopicSpec) (all []string) {
	for _, t := range topics {
		all = append(all, t.Name)
	}
	return all
}

// topicInfo is a topic as the brokers know it now.
type topicInfo struct {
	id         [16]byte
	partitions int32
	ready      bool // every Kafka partition has a leader
}

// describe asks about topics; those that do not exist are not in the result. It does not go through kadm, whose answers may be
// some seconds old.
func describe(ctx context.Context, cl *kgo.Client, topics []string) (map[string]topicInfo, error) {
	found := map[string]topicInfo{}
	if len(topics) == 0 {
		return found, nil // no list would be all topics
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for topics: %w", err)
	}
	for _, t := range resp.Topics {
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition) || t.Topic == nil:
		case err != nil && !errors.Is(err, kerr.LeaderNotAvailable):
			return nil, fmt.Errorf("asking Kafka for topic %s: %w", *t.Topic, err)
		default:
			leaderless := slices.ContainsFunc(t.Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Leader < 0 })
			found[*t.Topic] = topicInfo{t.TopicID, int32(len(t.Partitions)), err == nil && !leaderless}
		}
	}
	return found, nil
}

func create(ctx context.Context, adm *kadm.Client, t TopicSpec) error {
	configs := map[string]*string{}
	for k, v := range t.Configs {
		configs[k] = &v
	}
	_, err := adm.CreateTopic(ctx, cmp.Or(t.Partitions, -1), cmp.Or(t.Replication, -1), configs, t.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) { // another process may do the same
		return fmt.Errorf("creating topic %s: %w", t.Name, err)
	}
	return nil
}

// awaitLeaders waits until every Kafka partition can be used, since a broker answers before the others have heard of a topic.
func awaitLeaders(ctx context.Context, cl *kgo.Client, topics []string) error {
	wait := retry.Backoff{Max: time.Second}
	for try := 1; ; try++ {
		found, err := describe(ctx, cl, topics)
		missing := slices.DeleteFunc(slices.Clone(topics), func(name string) bool { return found[name].ready })
		if err == nil && len(missing) == 0 {
			return nil
		}
		if try == 30 {
			return fmt.Errorf("waiting for the leaders of new topics, %q have none: %w", missing, cmp.Or(err, error(kerr.LeaderNotAvailable)))
		}
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return err
		}
	}
}

// TopicIDs gives the id of each topic that exists, as 22 characters; a topic that was deleted and made anew has another.
func TopicIDs(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]string, error) {
	found, err := describe(ctx, cl, topics)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for name, t := range found {
		ids[name] = encodeID(t.id)
	}
	return ids, nil
}

// Offsets are by topic and Kafka partition.
type Offsets = map[string]map[int32]int64

// EndOffsets gives, for every Kafka partition of the topics that exist, the last stable offset: no record below it will still
// appear or vanish.
func EndOffsets(ctx context.Context, cl *kgo.Client, topics ...string) (Offsets, error) {
	return listOffsets(ctx, cl, "end", kadm.NewClient(cl).ListCommittedOffsets, topics)
}

// StartOffsets gives, for every Kafka partition of the topics that exist, the offset below which records were deleted.
func StartOffsets(ctx context.Context, cl *kgo.Client, topics ...string) (Offsets, error) {
	return listOffsets(ctx, cl, "start", kadm.NewClient(cl).ListStartOffsets, topics)
}

func listOffsets(ctx context.Context, cl *kgo.Client, which string, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (Offsets, error) {
	all := Offsets{}
	if len(topics) == 0 {
		return all, nil
	}
	listed, err := listAll(ctx, cl, list, topics)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for %s offsets: %w", which, err)
	}
	for topic, partitions := range listed {
		for p, o := range partitions {
			if p < 0 && errors.Is(o.Err, kerr.UnknownTopicOrPartition) {
				continue
			}
			if o.Err != nil {
				return nil, fmt.Errorf("asking Kafka for the %s offset of topic %s partition %d: %w", which, topic, p, o.Err)
			}
			if all[topic] == nil {
				all[topic] = map[int32]int64{}
			}
			all[topic][p] = o.Offset
		}
	}
	return all, nil
}

// listAll asks until every topic that exists is listed: kadm looks topics up in metadata that may be older than a topic, and what it
// leaves out would never be read.
func listAll(ctx context.Context, cl *kgo.Client, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (kadm.ListedOffsets, error) {
	wait := retry.Backoff{Max: time.Second}
	for try := 1; ; try++ {
		listed, err := list(ctx, topics...)
		if err != nil {
			return nil, err
		}
		missing := slices.DeleteFunc(slices.Clone(topics), func(t string) bool {
			_, unknown := listed[t][-1]
			return len(listed[t]) > 0 && !unknown
		})
		found, err := describe(ctx, cl, missing)
		if err != nil || len(found) == 0 {
			return listed, err
		}
		if try == 30 {
			return nil, fmt.Errorf("topics %v exist and are not listed", slices.Sorted(maps.Keys(found)))
		}
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return nil, err
		}
	}
}

// CommittedOffsets gives the offsets that a consumer group has committed; a Kafka partition without a commit is not in it.
func CommittedOffsets(ctx context.Context, cl *kgo.Client, group string) (Offsets, error) {
	commits, err := Commits(ctx, cl, group)
	if err != nil {
		return nil, err
	}
	all := Offsets{}
	for topic, partitions := range commits {
		all[topic] = map[int32]int64{}
		for p, c := range partitions {
			all[topic][p] = c.Offset
		}
	}
	return all, nil
}

// Trim deletes the records of the topic below upTo. It keeps the last record of every Kafka partition, whatever upTo
// says, because a broker that loses its memory of an emptied log would use its offsets again. Trimming twice, or less than
// is trimmed already, does nothing.
func Trim(ctx context.Context, cl *kgo.Client, topic string, upTo map[int32]int64) error {
	starts, err := StartOffsets(ctx, cl, topic)
	if err != nil {
		return err
	}
	ends, err := EndOffsets(ctx, cl, topic)
	if err != nil {
		return err
	}
	cut := kadm.Offsets{}
	for p, offset := range upTo {
		end, exists := ends[topic][p]
		if offset = min(offset, end-1); exists && offset > starts[topic][p] {
			cut.AddOffset(topic, p, offset, -1)
		}
	}
	if len(cut) == 0 {
		return nil
	}
	crash.Point("kafka.before-trim")
	responses, err := kadm.NewClient(cl).DeleteRecords(ctx, cut)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return fmt.Errorf("deleting the landed records of topic %s: %w", topic, err)
	}
	crash.Point("kafka.after-trim")
	return nil
}

// TrimCursors deletes the snapshots in CursorTopic that newer ones replace. Snapshots of sources that have written none for long are
// written again first, so that they do not hold the others.
func TrimCursors(ctx context.Context, cl *kgo.Client) error {
	begins, err := StartOffsets(ctx, cl, CursorTopic)
	if err != nil {
		return err
	}
	ends, err := EndOffsets(ctx, cl, CursorTopic)
	if err != nil {
		return err
	}
	found, err := readSnapshots(ctx, cl, begins[CursorTopic], ends[CursorTopic], "")
	if err != nil || len(found) == 0 {
		return err
	}
	count := int64(0)
	for _, s := range found {
		count += s.count()
	}
	end := ends[CursorTopic][0]
	first := end
	var again []*kgo.Record
	for _, s := range found {
		for _, begun := range s.begun { // it may be on its way at this moment
			first = min(first, begun.begins())
		}
		switch {
		case s.last == nil:
		case s.last.begins() >= end-2*count-10:
			first = min(first, s.last.begins())
		default:
			again = append(again, s.last.again()...)
		}
	}
	if err := produceAll(ctx, cl, again); err != nil {
		return fmt.Errorf("writing old cursors again to topic %s: %w", CursorTopic, err)
	}
	return Trim(ctx, cl, CursorTopic, map[int32]int64{0: first})
}

// produceAll uses a client of its own, since cl may be configured for other topics.
func produceAll(ctx context.Context, cl *kgo.Client, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	writer, err := kgo.NewClient(append(cl.Opts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer writer.Close()
	return writer.ProduceSync(ctx, records...).FirstErr()
}
