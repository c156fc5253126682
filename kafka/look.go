package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
)

// ErrTrimmed is returned by Look for records that Kafka has deleted.
var ErrTrimmed = errors.New("the records are no longer in Kafka")

// Looked is a record as those see it who look at a topic and land nothing. It is valid until the next one.
type Looked struct {
	Offset int64
	Value  []byte
	// Position is the text of the record's position header; nil if it has none.
	Position []byte
}

// Look calls f with the records of a Kafka partition in [from, to), in order, without markers of transactions and what these have aborted. It joins no
// group and commits nothing. If from is below the start of the log the error is ErrTrimmed; to must not be beyond its last stable offset.
func Look(ctx context.Context, cl *kgo.Client, topic string, partition int32, from, to int64, f func(Looked) error) error {
	err := read(ctx, cl, topic, map[int32]int64{partition: from}, map[int32]int64{partition: to}, func(r *kgo.Record) error {
		l := Looked{Offset: r.Offset, Value: r.Value}
		for _, h := range r.Headers {
			if h.Key == envelope.PositionHeader {
				l.Position = h.Value
			}
		}
		return f(l)
	})
	if errors.Is(err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("%w: %w", ErrTrimmed, err)
	}
	return err
}
