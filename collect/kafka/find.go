package kafka

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/retry"
)

// key is a Kafka partition.
type key struct {
	topic  string
	number int32
}

// position is a stream's Resume.
type position struct {
	// Next is the offset that is due, Epoch the leader's of the record before it, which tells of a log that was cut off; -1 is unknown.
	Next  int64 `json:"next"`
	Epoch int32 `json:"epoch"`
	// Topic is the topic's id, which another one of the same name does not have; brokers before 2.8 give none.
	Topic string `json:"topic"`
}

func (p position) encode() json.RawMessage {
	return fmt.Appendf(nil, `{"next":%d,"epoch":%d,"topic":%q}`, p.Next, p.Epoch, p.Topic)
}

// partition is a Kafka partition that is read.
type partition struct {
	key
	stream string
	at     position
	end    int64 // where a Run with once ends
	failed bool

	acknowledged atomic.Int64 // the offset after the last record that is in our Kafka
	committed    int64        // what the group was told
}

// open says that a Run with once has to go on.
func (p *partition) open() bool { return !p.failed && p.at.Next < p.end }

// limit bounds how long the brokers may take; the client gives up by itself before that, and says more.
func (r *reader) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 2*r.s.c.Timeout, fmt.Errorf("the brokers did not answer within %s", 2*r.s.c.Timeout))
}

// find adds the Kafka partitions that are new.
func (r *reader) find(ctx context.Context) error {
	topics, err := r.describe(ctx)
	if err != nil {
		return r.s.explain("looking for topics of", err)
	}
	var added []*partition
	for topic, found := range topics {
		for _, number := range found.partitions {
			k := key{topic, number}
			switch p := r.all[k]; {
			case p == nil:
				added = append(added, &partition{key: k, stream: fmt.Sprintf("topic/%s/%d", topic, number), at: position{Next: -1, Epoch: -1, Topic: found.id}})
			case p.at.Topic != found.id && !p.failed:
				r.fail(p, errors.New("the topic was deleted and made anew"))
			}
		}
	}
	for _, p := range r.all {
		if found, exists := topics[p.topic]; (!exists || !slices.Contains(found.partitions, p.number)) && !p.failed {
			r.fail(p, errors.New("the topic is gone, or cannot be read any more"))
		}
	}
	if len(added) == 0 {
		return nil
	}
	slices.SortFunc(added, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
	})
	return r.add(ctx, added)
}

// found is a topic as the brokers know it.
type found struct {
	id         string
	partitions []int32
}

// describe asks for the topics that are to be read. It does not go through kadm, whose answers may be some seconds old.
func (r *reader) describe(ctx context.Context) (map[string]found, error) {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range r.s.c.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return nil, cause(ctx, err)
	}
	all := map[string]found{}
	for _, t := range resp.Topics {
		if t.Topic == nil || t.IsInternal || !r.s.matches(*t.Topic) {
			continue
		}
		what := "topic/" + *t.Topic
		delete(r.failed, what)
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			r.failed[what] = fmt.Errorf("there is no topic %s: it is read once it is made", *t.Topic)
		case err != nil:
			r.failed[what] = fmt.Errorf("topic %s: %w", *t.Topic, err)
		default:
			f := found{}
			if t.TopicID != ([16]byte{}) {
				f.id = base64.RawURLEncoding.EncodeToString(t.TopicID[:])
			}
			for _, p := range t.Partitions {
				f.partitions = append(f.partitions, p.Partition)
			}
			all[*t.Topic] = f
		}
	}
	return all, nil
}

// add finds out where Kafka partitions are to be read from, and reads them.
func (r *reader) add(ctx context.Context, added []*partition) error {
	o, err := r.offsets(ctx, added)
	if err != nil {
		return r.s.explain("asking for offsets of", err)
	}
	starts := map[string]map[int32]kgo.Offset{}
	var marks []*partition
	for _, p := range added {
		start, err := listed(o.starts, p.key)
		end, err2 := listed(o.ends, p.key)
		stable, err3 := listed(o.stable, p.key)
		last, err4 := listed(o.last, p.key)
		if err := errors.Join(err, err2, err3, err4); err != nil {
			r.failed[p.stream] = fmt.Errorf("topic %s partition %d: %w", p.topic, p.number, err)
			continue // it is new again when we look the next time
		}
		delete(r.failed, p.stream)
		if p.end = end; r.s.c.Isolation == readCommitted {
			p.end = stable
		}
		p.end = min(p.end, last)
		known, is := r.known[p.stream]
		switch {
		case is:
			if err := r.goOn(ctx, p, known.Resume, o, start, end); err != nil {
				return err
			}
		case !r.first || r.s.c.Start == earliest:
			p.at.Next = start
		default:
			if p.at.Next, err = listed(o.first, p.key); err != nil {
				r.failed[p.stream] = fmt.Errorf("topic %s partition %d: %w", p.topic, p.number, err)
				continue
			}
			marks = append(marks, p)
		}
		r.all[p.key] = p
		if starts[p.topic] == nil {
			starts[p.topic] = map[int32]kgo.Offset{}
		}
		starts[p.topic][p.number] = kgo.NewOffset().At(p.at.Next)
	}
	if err := r.mark(ctx, marks); err != nil {
		return err
	}
	r.cl.AddConsumePartitions(starts)
	return nil
}

// goOn finds out whether what follows the last record is there. Invariant 2.
func (r *reader) goOn(ctx context.Context, p *partition, resume json.RawMessage, o offsets, start, end int64) error {
	var was position
	if err := json.Unmarshal(resume, &was); err != nil {
		return retry.Stop(fmt.Errorf("the position of stream %s is not one of this source: %w", p.stream, err))
	}
	id := p.at.Topic
	p.at = was
	p.at.Topic = id
	switch cut, err := o.cut(p.key); {
	case was.Topic != id && was.Topic != "":
		return r.gap(ctx, p, start, fmt.Sprintf("the topic was made anew after offset %d, and is read from its beginning", was.Next-1))
	case was.Next < start:
		return r.gap(ctx, p, start, removed(was.Next, start))
	case err == nil && cut >= 0 && cut < was.Next:
		return r.gap(ctx, p, max(cut, start), fmt.Sprintf("the log was cut off at offset %d after it was read to %d, and what follows is others", cut, was.Next-1))
	case was.Next > end:
		// With neither id nor epoch a topic that was made anew looks so, too.
		next := end
		if id == "" {
			next = start
		}
		return r.gap(ctx, p, next, fmt.Sprintf("the log ends at offset %d, and it was read to %d", end, was.Next-1))
	}
	return nil
}

// mark keeps where the source begins, and waits until that would survive a kill. Invariant 4.
func (r *reader) mark(ctx context.Context, all []*partition) error {
	durable := make(chan struct{}, len(all))
	for _, p := range all {
		if err := r.out.Mark(ctx, p.stream, p.at.encode(), false, func() { durable <- struct{}{} }); err != nil {
			return err
		}
	}
	if r.once {
		return nil
	}
	for range all {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-durable:
		}
	}
	return nil
}

// offsets are what the brokers say of Kafka partitions.
type offsets struct {
	starts, ends, stable kadm.ListedOffsets
	first                kadm.ListedOffsets // where start says; of a source that has read nothing, and of a range
	last                 kadm.ListedOffsets // where a range ends, and where the log of another source does
	epochs               kadm.OffsetsForLeaderEpochs
}

func (r *reader) offsets(ctx context.Context, added []*partition) (o offsets, err error) {
	ctx, cancel := r.limit(ctx)
	defer cancel()
	var topics []string
	var epochs kadm.OffsetForLeaderEpochRequest
	for _, p := range added {
		if !slices.Contains(topics, p.topic) {
			topics = append(topics, p.topic)
		}
		var was position
		if known, is := r.known[p.stream]; is && json.Unmarshal(known.Resume, &was) == nil && was.Epoch >= 0 {
			epochs.Add(p.topic, p.number, was.Epoch)
		}
	}
	if o.starts, err = r.adm.ListStartOffsets(ctx, topics...); some(o.starts, err) != nil {
		return o, cause(ctx, err)
	}
	if o.ends, err = r.adm.ListEndOffsets(ctx, topics...); some(o.ends, err) != nil {
		return o, cause(ctx, err)
	}
	if o.stable, err = r.adm.ListCommittedOffsets(ctx, topics...); some(o.stable, err) != nil {
		return o, cause(ctx, err)
	}
	if len(epochs) > 0 {
		// What is not answered, as by old brokers, is not known.
		o.epochs, _ = r.adm.OffsetForLeaderEpoch(ctx, epochs)
	}
	if o.last = o.ends; r.s.ranged() {
		if o.last, err = r.adm.ListOffsetsAfterMilli(ctx, r.s.until.UnixMilli(), topics...); some(o.last, err) != nil {
			return o, cause(ctx, err)
		}
	}
	if o.first = o.ends; r.first {
		if at, err := time.Parse(time.RFC3339, r.s.c.Start); err == nil {
			if o.first, err = r.adm.ListOffsetsAfterMilli(ctx, at.UnixMilli(), topics...); some(o.first, err) != nil {
				return o, cause(ctx, err)
			}
		}
	}
	return o, nil
}

// some gives the error of a request of which no part was answered.
func some(answer kadm.ListedOffsets, err error) error {
	if len(answer) > 0 {
		return nil
	}
	return err
}

// listed is the offset of a Kafka partition.
func listed(all kadm.ListedOffsets, k key) (int64, error) {
	o, is := all[k.topic][k.number]
	switch {
	case is && o.Err == nil:
		return o.Offset, nil
	case is:
		return 0, o.Err
	}
	return 0, kerr.LeaderNotAvailable
}

// cut is where the log of the last record's leader ends.
func (o offsets) cut(k key) (int64, error) {
	e, is := o.epochs[k.topic][k.number]
	if !is || e.Err != nil {
		return -1, e.Err
	}
	return e.EndOffset, nil
}

// cause prefers what a context of ours says to its bare end.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}
