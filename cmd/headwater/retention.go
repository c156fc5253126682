package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"headwater/internal/web"
	"headwater/kafka"
	"headwater/land"
)

// retentionEvery is how often a process looks when Kafka may delete what has not landed: it reads a record of each Kafka partition that lags.
const retentionEvery = 2 * time.Minute

// retention follows when Kafka may delete records that have not landed.
type retention struct {
	mu     sync.Mutex
	topics []web.Retention
}

func (r *retention) run(ctx context.Context, p *pipeline) error {
	look := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, retentionEvery)
		defer cancel()
		err := r.look(ctx, p)
		if err != nil && ctx.Err() == nil {
			p.log.Debug("when Kafka deletes what has not landed is not known of all topics", "err", err)
		}
		return nil
	}
	_ = look(ctx)
	return p.every(ctx, retentionEvery, "looking at retention", look)
}

// look finds the topics whose Kafka deletes records, and when those that have not landed are old enough. An error leaves out what is not known.
func (r *retention) look(ctx context.Context, p *pipeline) error {
	topics, err := p.landed(ctx)
	if err != nil {
		return err
	}
	kept, unknown := kafka.Retention(ctx, p.broker.client, topics...)
	topics = slices.Sorted(maps.Keys(kept))
	ends, err := kafka.EndOffsets(ctx, p.broker.client, topics...)
	if err != nil {
		return err
	}
	first, err := kafka.StartOffsets(ctx, p.broker.client, topics...)
	if err != nil {
		return err
	}
	committed, err := kafka.CommittedOffsets(ctx, p.broker.client, land.DefaultGroup)
	if err != nil {
		return err
	}
	from := kafka.Offsets{}
	for topic, partitions := range ends {
		from[topic] = map[int32]int64{}
		for n, end := range partitions {
			if next := max(committed[topic][n], first[topic][n]); next < end {
				from[topic][n] = next
			}
		}
	}
	times, err := kafka.FirstTimes(ctx, p.broker.client, from)
	var all []web.Retention
	for _, topic := range topics {
		if at, lags := times[topic]; lags {
			all = append(all, web.Retention{Topic: topic, Kept: kept[topic].Seconds(), DeletedFrom: at.Add(kept[topic])})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics = all
	return errors.Join(unknown, err)
}

func (r *retention) list() []web.Retention {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.topics)
}
