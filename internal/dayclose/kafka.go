package dayclose

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
)

// Kafka is the Log of a cluster.
type Kafka struct {
	Client *kgo.Client
	// Group is land's.
	Group string
	// Own: the broker is this process's, and its clock ours.
	Own    bool
	Logger *slog.Logger

	warn sync.Once
}

var _ Log = (*Kafka)(nil)

// Now implements Log. Of brokers that do not tell their time ours is taken, which a warning says once.
func (k *Kafka) Now(ctx context.Context) (time.Time, error) {
	if k.Own {
		return time.Now(), nil
	}
	now, err := kafka.BrokerTime(ctx, k.Client)
	if errors.Is(err, kafka.ErrNoClock) {
		k.warn.Do(func() {
			k.Logger.Warn("days are taken to end by the clock of this machine", "error", err)
		})
		return time.Now(), nil
	}
	return now, err
}

// Ends implements Log. The ids are asked for before and after: a topic that is made anew in between has neither's ends.
func (k *Kafka) Ends(ctx context.Context, topics []string) (map[string]End, error) {
	ids, err := kafka.TopicIDs(ctx, k.Client, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := kafka.HighWatermarks(ctx, k.Client, topics...)
	if err != nil {
		return nil, err
	}
	again, err := kafka.TopicIDs(ctx, k.Client, topics...)
	if err != nil {
		return nil, err
	}
	all := map[string]End{}
	for topic, offsets := range ends {
		if ids[topic] != "" && ids[topic] == again[topic] {
			all[topic] = End{Log: ids[topic], Offsets: offsets}
		}
	}
	return all, nil
}

// Landed implements Log. Of a Kafka partition of which nothing was ever committed that is where the log begins.
func (k *Kafka) Landed(ctx context.Context, topics []string) (map[string]map[int32]int64, error) {
	landed, err := kafka.StartOffsets(ctx, k.Client, topics...) // first: what is gone afterwards had landed, or is reported by land
	if err != nil {
		return nil, err
	}
	committed, err := kafka.CommittedOffsets(ctx, k.Client, k.Group)
	if err != nil {
		return nil, err
	}
	for topic, partitions := range landed {
		for p := range partitions {
			if at, found := committed[topic][p]; found {
				partitions[p] = at
			}
		}
	}
	return landed, nil
}

// ReadUntil implements Log.
func (k *Kafka) ReadUntil(ctx context.Context) (map[string]time.Time, error) {
	return kafka.ReadUntil(ctx, k.Client)
}
