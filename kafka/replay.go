package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
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

// snapshotHeader says of a record of CursorTopic which of a source's snapshots it is a part of, and the log whose offsets that
// has: "<number> <topic id> <part>/<parts>", the last only where there are several.
const snapshotHeader = "headwater-snapshot"

// snapshot is a source's cursor in CursorTopic, in as many records as it has parts.
type snapshot struct {
	number  int64
	log     string
	parts   []*kgo.Record // by part; nil where it did not come yet
	missing int
}

// cursor is what the parts say together.
func (s *snapshot) cursor(topic string) (c envelope.Cursor, err error) {
	for i, r := range s.parts {
		part, err := envelope.ParseCursor(r.Value, topic)
		if err != nil {
			return c, retry.Stop(fmt.Errorf("topic %s offset %d: %w", CursorTopic, r.Offset, err))
		}
		if i == 0 {
			c = part
			continue
		}
		c.Merge(part)
	}
	return c, nil
}

// begins is the least offset of the parts that are there.
func (s *snapshot) begins() int64 {
	first := int64(math.MaxInt64)
	for _, r := range s.parts {
		if r != nil {
			first = min(first, r.Offset)
		}
	}
	return first
}

// again are copies of the parts.
func (s *snapshot) again() (copies []*kgo.Record) {
	for _, r := range s.parts {
		copies = append(copies, &kgo.Record{Topic: CursorTopic, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp})
	}
	return copies
}

// header is what snapshotHeader holds of one of the parts.
func (s *snapshot) header(part int) []byte {
	text := fmt.Appendf(nil, "%d %s", s.number, s.log)
	if len(s.parts) > 1 {
		text = fmt.Appendf(text, " %d/%d", part, len(s.parts))
	}
	return text
}

// maxParts bounds what a header makes a reader allocate.
const maxParts = 1 << 20

// parseSnapshot reads a header; without one a record is a snapshot before all others.
func parseSnapshot(r *kgo.Record) (s snapshot, part int, err error) {
	value, found := header(r, snapshotHeader)
	if !found {
		return snapshot{parts: make([]*kgo.Record, 1), missing: 1}, 0, nil
	}
	fields, parts := strings.Fields(string(value)), 1
	bad := len(fields) == 0
	if !bad {
		s.number, err = strconv.ParseInt(fields[0], 10, 64)
		bad = err != nil
	}
	if len(fields) > 1 {
		s.log = fields[1]
	}
	if len(fields) > 2 {
		_, err = fmt.Sscanf(fields[2], "%d/%d", &part, &parts)
		bad = bad || err != nil || part < 0 || part >= parts || parts > maxParts
	}
	if bad {
		return s, 0, retry.Stop(fmt.Errorf("topic %s offset %d: header %s is %q, not a number, a topic id and a part", CursorTopic, r.Offset, snapshotHeader, value))
	}
	s.parts, s.missing = make([]*kgo.Record, parts), parts
	return s, part, nil
}

// snapshots are those of one source that may count.
type snapshots struct {
	last   *snapshot           // the greatest number of which every part is there; nil before the first
	begun  map[int64]*snapshot // by number
	number int64               // the greatest that was seen, whole or not: it is not used again
}

// count is how many records there are.
func (all *snapshots) count() (n int64) {
	if all.last != nil {
		n = int64(len(all.last.parts))
	}
	for _, s := range all.begun {
		n += int64(len(s.parts) - s.missing)
	}
	return n
}

// add takes a part. The number decides which snapshot counts and not the order, because TrimCursors writes old ones again while
// their source may write new ones.
func (all *snapshots) add(r *kgo.Record) error {
	s, part, err := parseSnapshot(r)
	if err != nil {
		return err
	}
	all.number = max(all.number, s.number)
	if all.last != nil && s.number < all.last.number {
		return nil
	}
	begun := all.begun[s.number]
	if begun == nil || len(begun.parts) != len(s.parts) || begun.log != s.log {
		begun = &s
		all.begun[s.number] = begun
	}
	if begun.parts[part] == nil {
		begun.missing--
	}
	begun.parts[part] = r
	if begun.missing == 0 {
		all.last = begun
		maps.DeleteFunc(all.begun, func(n int64, _ *snapshot) bool { return n <= begun.number })
	}
	return nil
}

func header(r *kgo.Record, key string) (value []byte, found bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return nil, false
}

// readSnapshots reads those of one source, or of all if source is empty.
func readSnapshots(ctx context.Context, cl *kgo.Client, from, to map[int32]int64, source string) (map[string]*snapshots, error) {
	found := map[string]*snapshots{}
	err := read(ctx, cl, CursorTopic, from, to, func(r *kgo.Record) error {
		name := string(r.Key)
		if source != "" && name != source {
			return nil
		}
		if found[name] == nil {
			found[name] = &snapshots{begun: map[int64]*snapshot{}}
		}
		return found[name].add(r)
	})
	return found, err
}

// replay brings a cursor from its snapshot to the end of the topic.
type replay struct {
	topic string
	of    string // what positions call the cursor
	// kept says that records leave the topic by Trim alone, which asks for a snapshot of them first.
	kept   bool
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
	if p.Cursor != r.of {
		return nil
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
	s.Done = false
	s.Pass(p)
	r.cursor.Streams[p.Stream] = s
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
		case offset < begin && r.of != "":
			return nil, retry.Stop(fmt.Errorf("topic %s partition %d begins at offset %d, and the backfill's last cursor ends at %d: what it wrote after that has left the topic, "+
				"so that nobody knows where it stood. Backfill another range, from the last item on that the table has", r.topic, p, begin, offset))
		case offset < begin && r.kept:
			return nil, retry.Stop(fmt.Errorf("topic %s partition %d begins at offset %d, and the last cursor of source %s in topic %s ends at %d: a later one is lost, "+
				"or another source filled the topic. Restore topic %s, give the source its old name, or give it another topic, which reads everything again",
				r.topic, p, begin, r.cursor.Source, CursorTopic, offset, CursorTopic))
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
