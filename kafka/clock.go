package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ClockTopic is where a broker is asked for the time: it writes its own into each record of it.
const ClockTopic = "headwater_clock"

// clockTopic has one Kafka partition, so that there is one clock.
var clockTopic = TopicSpec{Name: ClockTopic, Partitions: 1, Configs: map[string]string{
	"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "3600000",
}}

// ErrNoClock says that the brokers do not write their time into ClockTopic.
var ErrNoClock = errors.New("topic " + ClockTopic + " does not have the broker's time: set its message.timestamp.type to LogAppendTime")

// BrokerTime is what the clock of the leader of ClockTopic shows: it writes a record there, and reads back when the broker says that it did.
func BrokerTime(ctx context.Context, cl *kgo.Client) (time.Time, error) {
	if err := EnsureTopics(ctx, cl, []TopicSpec{clockTopic}); err != nil {
		if _, other := errors.AsType[*PartitionsError](err); !other {
			return time.Time{}, fmt.Errorf("asking Kafka for the time: %w", err)
		}
	}
	asked := &kgo.Record{Topic: ClockTopic, Partition: 0}
	if err := produceAll(ctx, cl, []*kgo.Record{asked}); err != nil {
		return time.Time{}, fmt.Errorf("asking Kafka for the time by a record in topic %s: %w", ClockTopic, err)
	}
	var got time.Time
	err := read(ctx, cl, ClockTopic, map[int32]int64{0: asked.Offset}, map[int32]int64{0: asked.Offset + 1}, func(r *kgo.Record) error {
		if r.Attrs.TimestampType() != 1 {
			return ErrNoClock
		}
		got = r.Timestamp
		return nil
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("asking Kafka for the time: %w", err)
	}
	return got, nil
}

// HighWatermarks gives, for every Kafka partition of the topics that exist, the offset after its last record, committed or not.
func HighWatermarks(ctx context.Context, cl *kgo.Client, topics ...string) (Offsets, error) {
	return listOffsets(ctx, cl, "end", kadm.NewClient(cl).ListEndOffsets, topics)
}

// ReadUntil gives, by source, the time that its collector has read until, as its last snapshot in CursorTopic says: whatever it reads
// later has a later time, and all before is in the topic. Sources that have said nothing of the kind are not in it.
func ReadUntil(ctx context.Context, cl *kgo.Client) (map[string]time.Time, error) {
	begins, err := StartOffsets(ctx, cl, CursorTopic)
	if err != nil {
		return nil, err
	}
	ends, err := EndOffsets(ctx, cl, CursorTopic)
	if err != nil {
		return nil, err
	}
	found, err := readSnapshots(ctx, cl, begins[CursorTopic], ends[CursorTopic], "")
	if err != nil {
		return nil, fmt.Errorf("reading how far the sources were read: %w", err)
	}
	all := map[string]time.Time{}
	for source, s := range found {
		if s.last == nil {
			continue
		}
		var says struct {
			ReadUntil int64 `json:"read_until"`
		}
		if err := json.Unmarshal(s.last.parts[0].Value, &says); err != nil {
			return nil, fmt.Errorf("topic %s offset %d: %w", CursorTopic, s.last.parts[0].Offset, err)
		}
		if says.ReadUntil > 0 {
			all[source] = time.UnixMilli(says.ReadUntil)
		}
	}
	return all, nil
}
