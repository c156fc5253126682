package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// May is what a client was let do with a topic; an error is that it cannot be said.
type May struct {
	Read, Write       bool
	ReadErr, WriteErr error
}

// ErrNotLetIn is returned by Try for a client whom the broker does not let in: its name or password is wrong, or it has none and needs one.
var ErrNotLetIn = errors.New("the broker does not let it in")

// Try says what a client may do with topics, of which the broker must have each, and changes nothing: what it writes goes to a Kafka partition that there is not,
// which a broker says after it has asked for the right.
func Try(ctx context.Context, cfg Config, topics []string) (map[string]May, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12) // newer ones name topics by numbers, which who may not describe a topic does not know
	versions.SetMaxKeyVersion(int16(kmsg.Produce), 12)
	cl, err := NewClient(cfg, kgo.MaxVersions(versions), kgo.RequestRetries(0), kgo.DisableIdempotentWrite())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil && !denied(err) {
		return nil, notLetIn(err)
	}
	all := map[string]May{}
	for _, topic := range topics {
		var m May
		m.Read, m.ReadErr = mayRead(ctx, cl, topic)
		m.Write, m.WriteErr = mayWrite(ctx, cl, topic)
		all[topic] = m
	}
	return all, nil
}

func notLetIn(err error) error {
	_, first := errors.AsType[*kgo.ErrFirstReadEOF](err)
	for _, of := range []error{kerr.SaslAuthenticationFailed, kerr.IllegalSaslState, kerr.UnsupportedSaslMechanism, io.EOF, syscall.ECONNRESET, syscall.EPIPE} {
		first = first || errors.Is(err, of)
	}
	if first {
		return fmt.Errorf("%w: %w", ErrNotLetIn, err)
	}
	return fmt.Errorf("asking Kafka: %w", err)
}

func denied(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}

func mayRead(ctx context.Context, cl *kgo.Client, topic string) (bool, error) {
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 1
	of := kmsg.NewFetchRequestTopic()
	of.Topic, of.Partitions = topic, []kmsg.FetchRequestTopicPartition{part}
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.Topics = 1, []kmsg.FetchRequestTopic{of}
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
		return let(resp.Topics[0].Partitions[0].ErrorCode, kerr.OffsetOutOfRange, kerr.NotLeaderForPartition)
	}
	return tried(err)
}

func mayWrite(ctx context.Context, cl *kgo.Client, topic string) (bool, error) {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = math.MaxInt32, []byte{}
	of := kmsg.NewProduceRequestTopic()
	of.Topic, of.Partitions = topic, []kmsg.ProduceRequestTopicPartition{part}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis, req.Topics = -1, 10_000, []kmsg.ProduceRequestTopic{of}
	resp, err := req.RequestWith(ctx, cl)
	if err == nil && len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
		return let(resp.Topics[0].Partitions[0].ErrorCode, kerr.UnknownTopicOrPartition)
	}
	return tried(err)
}

// let reads an answer: these errors come after the right was asked for.
func let(code int16, after ...error) (bool, error) {
	err := kerr.ErrorForCode(code)
	for _, of := range after {
		if errors.Is(err, of) {
			return true, nil
		}
	}
	if err == nil {
		return true, nil
	}
	return tried(err)
}

func tried(err error) (bool, error) {
	switch {
	case err == nil:
		return false, errors.New("asking Kafka: the answer is about another topic")
	case denied(err):
		return false, nil
	}
	return false, fmt.Errorf("asking Kafka: %w", err)
}
