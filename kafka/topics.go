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
	adm := kadm.NewClient(cl)
	found, err := describe(ctx, adm, names(topics))
	if err != nil {
		return err
	}
	var faults []error
	for _, t := range topics {
		if have, exists := found[t.Name]; exists {
			if n := int32(len(have.Partitions)); t.Partitions > 0 && n != t.Partitions {
				faults = append(faults, &PartitionsError{t.Name, n, t.Partitions})
			}
			continue
		}
		if err := create(ctx, adm, t); err != nil {
			return err
		}
	}
	if len(found) < len(topics) {
		if err := awaitLeaders(ctx, adm, names(topics)); err != nil {
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

// describe gives the details of those topics that exist. An empty list asks for nothing, where Kafka would give all.
func describe(ctx context.Context, adm *kadm.Client, topics []string) (map[string]kadm.TopicDetail, error) {
	found := map[string]kadm.TopicDetail{}
	if len(topics) == 0 {
		return found, nil
	}
	all, err := adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for topics: %w", err)
	}
	for _, t := range all {
		if errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
			continue
		}
		if t.Err != nil {
			return nil, fmt.Errorf("asking Kafka for topic %s: %w", t.Topic, t.Err)
		}
		found[t.Topic] = t
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
func awaitLeaders(ctx context.Context, adm *kadm.Client, topics []string) error {
	wait := retry.Backoff{Max: time.Second}
	for try := 0; ; try++ {
		found, err := describe(ctx, adm, topics)
		if err == nil && len(found) == len(topics) && !slices.ContainsFunc(slices.Collect(maps.Values(found)), leaderless) {
			return nil
		}
		if try == 30 {
			return fmt.Errorf("waiting for the leaders of new topics, of %d only %d are there: %w", len(topics), len(found), cmp.Or(err, error(kerr.LeaderNotAvailable)))
		}
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return err
		}
	}
}

func leaderless(t kadm.TopicDetail) bool {
	for _, p := range t.Partitions {
		if p.Err != nil || p.Leader < 0 {
			return true
		}
	}
	return len(t.Partitions) == 0
}

// TopicIDs gives the id of each topic that exists, as 22 characters; a topic that was deleted and made anew has another.
func TopicIDs(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]string, error) {
	found, err := describe(ctx, kadm.NewClient(cl), topics)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for name, t := range found {
		ids[name] = encodeID(t.ID)
	}
	return ids, nil
}

// Offsets are by topic and Kafka partition.
type Offsets = map[string]map[int32]int64

// EndOffsets gives, for every Kafka partition of the topics that exist, the last stable offset: no record below it will still
// appear or vanish.
func EndOffsets(ctx context.Context, cl *kgo.Client, topics ...string) (Offsets, error) {
	return listOffsets(ctx, "end", kadm.NewClient(cl).ListCommittedOffsets, topics)
}

// StartOffsets gives, for every Kafka partition of the topics that exist, the offset below which records were deleted.
func StartOffsets(ctx context.Context, cl *kgo.Client, topics ...string) (Offsets, error) {
	return listOffsets(ctx, "start", kadm.NewClient(cl).ListStartOffsets, topics)
}

func listOffsets(ctx context.Context, which string, list func(context.Context, ...string) (kadm.ListedOffsets, error), topics []string) (Offsets, error) {
	all := Offsets{}
	if len(topics) == 0 {
		return all, nil
	}
	listed, err := list(ctx, topics...)
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

// CommittedOffsets gives the offsets that a consumer group has committed; a Kafka partition without a commit is not in it.
func CommittedOffsets(ctx context.Context, cl *kgo.Client, group string) (Offsets, error) {
	responses, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for the offsets of group %s: %w", group, err)
	}
	all := Offsets{}
	responses.Each(func(r kadm.OffsetResponse) {
		if r.At < 0 {
			return
		}
		if all[r.Topic] == nil {
			all[r.Topic] = map[int32]int64{}
		}
		all[r.Topic][r.Partition] = r.At
	})
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
	last, err := lastSnapshots(ctx, cl, begins[CursorTopic], ends[CursorTopic], "")
	if err != nil || len(last) == 0 {
		return err
	}
	near := ends[CursorTopic][0] - int64(2*len(last)) - 10
	first := ends[CursorTopic][0]
	var again []*kgo.Record
	for _, s := range last {
		if s.record.Offset < near {
			again = append(again, &kgo.Record{Topic: CursorTopic, Key: s.record.Key, Value: s.record.Value, Headers: s.record.Headers, Timestamp: s.record.Timestamp})
		} else {
			first = min(first, s.record.Offset)
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
