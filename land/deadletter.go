package land

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
	"headwater/kafka"
)

// deadLetterTopic is the key of Config.DeadLetterTopic.
const deadLetterTopic = "errors.deadletterqueue.topic.name"

// sendTime bounds one try to send a dead letter, so that why it fails is told, and a stop does not wait for a broker.
const sendTime = 10 * time.Second

// deadLetter sends a record that is in quarantine to the topic of dead letters too, if there is one. It comes back when Kafka has it, so
// that nothing behind it is committed before. Who reads the record again after a crash, or is given its Kafka partition, sends it again.
func (p *partition) deadLetter(ctx context.Context, r *kgo.Record, reason string) error {
	if p.conf.DeadLetterTopic == "" || r.Offset < p.sentTo {
		return nil
	}
	var refused error
	err := p.insist(ctx, "sending a dead letter to topic "+p.conf.DeadLetterTopic, func() error {
		err := p.send(ctx, p.letter(r, reason))
		if refusesRecord(err) {
			refused, err = err, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if p.sentTo = r.Offset + 1; refused == nil {
		return nil
	}
	p.report(func(st *PartitionStatus) { st.NoDeadLetter++ })
	p.opts.Logger.Warn("a record is in quarantine alone: the topic of dead letters does not take it", "topic", p.topic, "partition", p.partition, "offset", r.Offset,
		"dead letters", p.conf.DeadLetterTopic, "err", refused, "so far", p.statusOf(p.topicPartition).NoDeadLetter)
	return nil
}

// refusesRecord says that the topic takes other records and not this one, which another try does not change: it is too large, or the topic's settings
// want a key (cleanup.policy: compact) or another timestamp.
func refusesRecord(err error) bool {
	return slices.ContainsFunc([]error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidTimestamp, kerr.InvalidRecord}, func(e error) bool { return errors.Is(err, e) })
}

// letter is the record itself, with Connect's headers if these are asked for.
func (p *partition) letter(r *kgo.Record, reason string) *kgo.Record {
	letter := &kgo.Record{Topic: p.conf.DeadLetterTopic, Key: r.Key, Value: r.Value, Headers: slices.Clone(r.Headers)}
	if r.Timestamp.UnixMilli() != noTimestamp {
		letter.Timestamp = r.Timestamp
	}
	if !p.conf.DeadLetterHeaders {
		return letter
	}
	// Connect names the classes of Java that have failed: consumers that tell dead letters apart by them find those that the connector would have named.
	stage, class := "TASK_PUT", "org.apache.kafka.connect.sink.SinkTask"
	if strings.HasPrefix(reason, noJSON) {
		stage, class = "VALUE_CONVERTER", jsonConverter
	}
	for _, h := range [][2]string{
		{"topic", r.Topic},
		{"partition", strconv.Itoa(int(r.Partition))},
		{"offset", strconv.FormatInt(r.Offset, 10)},
		{"connector.name", p.opts.Group},
		{"task.id", "0"},
		{"stage", stage},
		{"class.name", class},
		{"exception.class.name", "org.apache.kafka.connect.errors.DataException"},
		{"exception.message", reason},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: "__connect.errors." + h[0], Value: []byte(h[1])})
	}
	return letter
}

// send makes the topic if it does not exist. One record is on its way at a time: together, those of several Kafka partitions could be
// larger than the topic takes.
func (s *session) send(ctx context.Context, letter *kgo.Record) error {
	select {
	case s.sending <- struct{}{}:
		defer func() { <-s.sending }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if !s.sent {
		err := kafka.EnsureTopics(ctx, s.cl, []kafka.TopicSpec{{Name: letter.Topic, Partitions: 1, Replication: int16(s.conf.DeadLetterReplication)}})
		if errors.Is(err, kerr.InvalidReplicationFactor) {
			return fmt.Errorf("there are fewer brokers than errors.deadletterqueue.topic.replication.factor, %d: write a smaller one, or make the topic: %w", s.conf.DeadLetterReplication, err)
		}
		if _, exists := errors.AsType[*kafka.PartitionsError](err); err != nil && !exists {
			return err
		}
	}
	err := s.cl.ProduceSync(ctx, letter).FirstErr()
	if s.sent = err == nil; !s.sent {
		s.cl.PurgeTopicsFromProducing(letter.Topic) // of a topic that was deleted and made anew the client keeps the old id otherwise
	}
	return err
}

// notItself keeps the topic of dead letters from being landed: each of its records would become another one.
func (l *Lander) notItself(topic string) error {
	if topic != l.conf.DeadLetterTopic {
		return nil
	}
	return retry.Stop(fmt.Errorf("landing topic %s: a source names it, and it is land.%s, whose records would come into it again: "+
		"give dead letters another topic, or leave the source out", topic, deadLetterTopic))
}
