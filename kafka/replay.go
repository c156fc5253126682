package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/retry"
)

// patience is how long a reader waits for the next record of a log that has more before it reports that none comes.
const patience = time.Minute

// read calls f with every record of the topic in [from, to) of each Kafka partition, in order within one. It holds a few MiB of
// them at a time. cl only lends its options.
func read(ctx context.Context, cl *kgo.Client, topic string, from, to map[int32]int64, f func(*kgo.Record) error) error {
	at, starts := map[int32]int64{}, map[int32]kgo.Offset{}
	for p, end := range to {
		if from[p] < end {
			at[p] = from[p]
			starts[p] = kgo.NewOffset().At(from[p])
		}
	}
	if len(at) == 0 {
		return nil
	}
	reader, err := kgo.NewClient(append(cl.Opts(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}),
		// The last offsets may be those of markers of transactions, and seeing them is how the end is noticed.
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("making a reader of topic %s: %w", topic, err)
	}
	defer reader.Close()
	for len(at) > 0 {
		records, err := poll(ctx, reader)
		if err != nil {
			return fmt.Errorf("reading topic %s at offsets %s: %w", topic, offsetsText(at), err)
		}
		for r := range records.RecordsAll() {
			if _, open := at[r.Partition]; !open || r.Offset >= to[r.Partition] {
				delete(at, r.Partition)
				continue
			}
			if !r.Attrs.IsControl() {
				if err := f(r); err != nil {
					return err
				}
			}
			if at[r.Partition] = r.Offset + 1; r.Offset+1 == to[r.Partition] {
				delete(at, r.Partition)
				reader.PauseFetchPartitions(map[string][]int32{topic: {r.Partition}})
			}
		}
	}
	return nil
}

func poll(ctx context.Context, reader *kgo.Client) (kgo.Fetches, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	records := reader.PollFetches(limited)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := records.Err(); errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no record came for %s although there are more: check that the brokers are up", patience)
	} else if err != nil {
		return nil, err
	}
	return records, nil
}

func offsetsText(at map[int32]int64) string {
	var all []string
	for p, o := range at {
		all = append(all, fmt.Sprintf("%d:%d", p, o))
	}
	return strings.Join(all, " ")
}

// snapshotHeader numbers the snapshots of a source and names the log whose offsets a snapshot has: "<number> <topic id>".
const snapshotHeader = "headwater-snapshot"

// snapshot is one record of CursorTopic.
type snapshot struct {
	number int64
	log    string
	record *kgo.Record
}

// newer tells whether s replaces old. The number decides and not the order, because TrimCursors writes old snapshots again
// while their source may write new ones.
func (s snapshot) newer(old snapshot) bool { return old.record == nil || s.number >= old.number }

func header(r *kgo.Record, key string) (value []byte, found bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return nil, false
}

// lastSnapshots reads those of one source, or of all if source is empty.
func lastSnapshots(ctx context.Context, cl *kgo.Client, from, to map[int32]int64, source string) (map[string]snapshot, error) {
	last := map[string]snapshot{}
	err := read(ctx, cl, CursorTopic, from, to, func(r *kgo.Record) error {
		if source != "" && string(r.Key) != source {
			return nil
		}
		s := snapshot{record: r}
		if value, found := header(r, snapshotHeader); found {
			number, log, _ := strings.Cut(string(value), " ")
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return retry.Stop(fmt.Errorf("topic %s offset %d: header %s is %q, not a number and a topic id", CursorTopic, r.Offset, snapshotHeader, value))
			}
			s.number, s.log = n, log
		}
		if s.newer(last[string(r.Key)]) {
			last[string(r.Key)] = s
		}
		return nil
	})
	return last, err
}

// replay brings a cursor from its snapshot to the end of the topic.
type replay struct {
	topic  string
	cursor *envelope.Cursor
	// cut are the Kafka partitions whose log lost records between the snapshot and its start; a stream's first record there may
	// have any later number.
	cut  map[int32]bool
	seen map[string]bool
}

func (r *replay) add(rec *kgo.Record) error {
	value, found := header(rec, envelope.PositionHeader)
	if !found {
		return nil // somebody else's, who has no cursor
	}
	p, err := envelope.ParsePosition(value)
	if err != nil {
		return r.fault(rec, "%w", err)
	}
	s, known := r.cursor.Streams[p.Stream]
	if !known {
		s = envelope.StreamCursor{Seq: -1, Partition: rec.Partition}
	}
	if s.Partition != rec.Partition {
		return r.fault(rec, "stream %q continues here, but its records are in partition %d", p.Stream, s.Partition)
	}
	skipped := r.cut[rec.Partition] && !r.seen[p.Stream] && p.Seq > s.Seq
	if p.Seq != s.Seq+1 && !skipped {
		return r.fault(rec, "stream %q has number %d after %d: records are missing or doubled", p.Stream, p.Seq, s.Seq)
	}
	r.seen[p.Stream] = true
	r.cursor.Streams[p.Stream] = envelope.StreamCursor{Seq: p.Seq, Resume: p.Resume, Partition: rec.Partition}
	return nil
}

func (r *replay) fault(rec *kgo.Record, format string, args ...any) error {
	where := fmt.Sprintf("topic %s partition %d offset %d: ", r.topic, rec.Partition, rec.Offset)
	return retry.Stop(fmt.Errorf(where+format, args...))
}

// start finds where to read on in each Kafka partition. sure says that the snapshot is known to be of this very log, which then
// cannot end before it unless acknowledged records are lost.
func (r *replay) start(begins, ends map[int32]int64, sameLog, sure bool, log *slog.Logger) (map[int32]int64, error) {
	from := map[int32]int64{}
	for p, end := range ends {
		offset, begin := r.cursor.Offsets[p], begins[p]
		switch {
		case sure && offset > end:
			return nil, retry.Stop(fmt.Errorf("topic %s partition %d ends at offset %d, and records up to %d were acknowledged: the broker has lost some. "+
				"Restore its log, or give the source another topic, which reads everything again", r.topic, p, end, offset))
		case !sameLog || offset > end:
			log.Warn("the topic was made anew: its streams go on and it is read from its start",
				"topic", r.topic, "partition", p, "snapshot", offset, "end", end)
			offset = begin
			r.cut[p] = true
		case offset < begin:
			log.Warn("records that no snapshot knows were deleted from the topic: streams go on behind them",
				"topic", r.topic, "partition", p, "snapshot", offset, "start", begin)
			offset = begin
			r.cut[p] = true
		}
		from[p] = offset
	}
	return from, nil
}
