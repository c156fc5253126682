package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Retention gives how long topics keep records at least (retention.ms). Those that keep them for ever, or until newer ones of their keys come, are not in
// it. It needs the right to describe the topics' configuration; with an error it gives what is known all the same.
func Retention(ctx context.Context, cl *kgo.Client, topics ...string) (map[string]time.Duration, error) {
	described, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topics...)
	all := map[string]time.Duration{}
	for _, topic := range described {
		err = errors.Join(err, topic.Err)
		millis, deletes := int64(-1), true
		for _, c := range topic.Configs {
			switch c.Key {
			case "retention.ms":
				if millis, topic.Err = strconv.ParseInt(c.MaybeValue(), 10, 64); topic.Err != nil {
					err, millis = errors.Join(err, topic.Err), -1
				}
			case "cleanup.policy":
				deletes = strings.Contains(c.MaybeValue(), "delete")
			}
		}
		if deletes && millis >= 0 && millis < math.MaxInt64/int64(time.Millisecond) {
			all[topic.Name] = time.Duration(millis) * time.Millisecond
		}
	}
	if err != nil {
		return all, fmt.Errorf("asking Kafka for retention.ms: %w", err)
	}
	return all, nil
}

// FirstTimes reads the first record of each Kafka partition from an offset on, where there must be one, and gives of each topic the earliest of their
// times. With an error it gives what is known all the same.
func FirstTimes(ctx context.Context, cl *kgo.Client, from Offsets) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	starts, left := map[string]map[int32]kgo.Offset{}, 0
	for topic, partitions := range from {
		starts[topic] = map[int32]kgo.Offset{}
		for p, offset := range partitions {
			starts[topic][p] = kgo.NewOffset().At(offset)
			left++
		}
	}
	if left == 0 {
		return all, nil
	}
	reader, err := kgo.NewClient(append(cl.Opts(),
		kgo.ConsumePartitions(starts),
		kgo.KeepControlRecords(), // there may be nothing else
		kgo.FetchMaxPartitionBytes(64<<10),
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a reader of first records: %w", err)
	}
	defer reader.Close()
	for left > 0 {
		fetches, err := poll(ctx, reader)
		if err != nil {
			return all, fmt.Errorf("reading the first records of %d Kafka partitions: %w", left, err)
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if _, open := starts[f.Topic][f.Partition]; !open || len(f.Records) == 0 {
				return
			}
			delete(starts[f.Topic], f.Partition)
			left--
			reader.PauseFetchPartitions(map[string][]int32{f.Topic: {f.Partition}})
			if at, known := all[f.Topic]; !known || f.Records[0].Timestamp.Before(at) {
				all[f.Topic] = f.Records[0].Timestamp
			}
		})
	}
	return all, nil
}
