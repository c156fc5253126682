package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"os"
	"slices"

	"headwater/envelope"
	"headwater/internal/gunzip"
	"headwater/kafka"
	"headwater/lake"
	"headwater/serialize"
	"headwater/table"
)

// sum is the sum of 128-bit hashes, modulo 2^128: it does not depend on their order, and counts those that are equal.
type sum [2]uint64

func (s *sum) add(h hash) {
	var carry uint64
	s[1], carry = bits.Add64(s[1], h[1], 0)
	s[0], _ = bits.Add64(s[0], h[0], carry)
}

func (s *sum) String() string { return fmt.Sprintf("%016x%016x", s[0], s[1]) }

// hash is the first half of a SHA-256.
type hash [2]uint64

func hashOf(text []byte) hash {
	full := sha256.Sum256(text)
	return hash{binary.BigEndian.Uint64(full[:]), binary.BigEndian.Uint64(full[8:])}
}

// recompute reads objects and rows again.
func (l *look) recompute(ctx context.Context, held map[string]*heldDay) error {
	sums := map[string]*sum{}
	for _, o := range l.objects {
		if !l.wants(o) || o.fault != nil {
			continue
		}
		s := sums[o.day]
		if s == nil {
			s = &sum{}
			sums[o.day] = s
		}
		if err := l.readObject(ctx, o, s); err != nil {
			return err
		}
	}
	for i := range l.Days {
		d := &l.Days[i]
		d.Sums = &Sums{}
		if s := sums[d.Day]; s != nil {
			d.Sums.Objects = s.String()
		}
	}
	for _, day := range slices.Sorted(maps.Keys(held)) {
		if h := held[day]; !h.broken {
			if err := l.rows(ctx, day, h); err != nil {
				return err
			}
		}
	}
	return l.numbers(ctx)
}

// readObject counts and sums the records of an object, and compares them with Kafka's.
func (l *look) readObject(ctx context.Context, o *object, s *sum) error {
	k := logKey{o.name.Partition, o.name.Generation}
	lines, err := l.hashes(ctx, o, s)
	switch {
	case errors.Is(err, errDamaged):
		if !slices.ContainsFunc(l.Differences, func(f Finding) bool { return f.Object == o.Key && f.Kind == Truncated }) {
			l.differ(Finding{Kind: Truncated, Day: o.day, Object: o.Key, Text: err.Error()}.at(l.place(k), o.name.Offset, max(o.name.Offset, o.tail.Next-1)))
		}
		return nil
	case err != nil:
		return err
	case !o.told:
		return nil
	case int64(len(lines)) != o.tail.Count:
		l.differ(Finding{Kind: Truncated, Day: o.day, Object: o.Key, Records: abs(o.tail.Count - int64(len(lines))), Text: fmt.Sprintf("it has %d records, and was made with %d", len(lines), o.tail.Count)}.
			at(l.place(k), o.tail.First, o.tail.Next-1))
		return nil
	}
	return l.compare(ctx, k, o, lines)
}

var errDamaged = errors.New("it is damaged or cut short")

// hashes are those of the object's records, in order, which are added to s. Blank lines are none.
func (l *look) hashes(ctx context.Context, o *object, s *sum) (all []hash, err error) {
	body, _, err := l.Raw.Get(ctx, o.Key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", o.Key, err)
	}
	defer body.Close()
	from := &store{r: body}
	packed := bufio.NewReaderSize(from, 256<<10)
	var text io.Reader = packed
	if head, _ := packed.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		text = gunzip.NewReader(packed)
	}
	lines, long := bufio.NewReaderSize(text, 256<<10), []byte(nil)
	for {
		line, err := lines.ReadSlice('\n')
		long = append(long, line...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if trimmed := bytes.TrimSuffix(bytes.TrimSuffix(long, []byte("\n")), []byte("\r")); len(bytes.TrimSpace(trimmed)) > 0 && (err == nil || err == io.EOF) {
			h := hashOf(trimmed)
			all = append(all, h)
			s.add(h)
		}
		long = long[:0]
		switch {
		case from.err != nil:
			return nil, fmt.Errorf("reading %s: %w", o.Key, from.err)
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// compare compares an object's records with Kafka's, if Kafka still has them and the object tells which they are.
func (l *look) compare(ctx context.Context, k logKey, o *object, lines []hash) error {
	start, kept := l.offsets.start[k.partition]
	if !kept || o.tail.Log != l.offsets.log || o.tail.First < start || o.tail.Next > l.offsets.end[k.partition] || !exact(o.tail) || l.Job.Shape.Bare {
		return nil // documents without an envelope are others in objects
	}
	limits := envelope.DefaultLimits
	limits.Depth++ // the limit is the item's, and the envelope is around it
	scanner := envelope.NewScanner(limits)
	at, differs := 0, int64(0)
	first, last := int64(-1), int64(-1)
	err := kafka.Look(ctx, l.Kafka, l.Job.Topic, k.partition, o.tail.First, o.tail.Next, func(r kafka.Looked) error {
		if !o.tail.Has(r.Offset) || slices.Contains(l.landed[k], r.Offset) {
			return nil
		}
		line, _, err := scanner.Scan(r.Value)
		if err != nil || at >= len(lines) || hashOf(line) != lines[at] {
			if differs++; first < 0 {
				first = r.Offset
			}
			last = r.Offset
		}
		at++
		return nil
	})
	if errors.Is(err, kafka.ErrTrimmed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("comparing %s with Kafka: %w", o.Key, err)
	}
	if at != len(lines) && differs == 0 {
		first, last = o.tail.First, o.tail.Next-1
	}
	if first >= 0 {
		l.differ(Finding{
			Kind: Differs, Day: o.day, Object: o.Key, Records: differs,
			Text: fmt.Sprintf("%d of its %d records are others in Kafka, which has %d", differs, len(lines), at),
		}.at(l.place(k), first, last))
	}
	return nil
}

// rows makes the day's rows again and compares them with those that readers read.
func (l *look) rows(ctx context.Context, day string, h *heldDay) error {
	raw, flat := h.raw.Files(), h.flat.Files()
	if len(raw) == 0 || len(flat) == 0 || !maps.Equal(inputsOf(raw), inputsOf(flat)) {
		return nil
	}
	var made []table.Footer
	for _, f := range slices.Concat(raw, flat) {
		made = append(made, f.Footer)
	}
	job := l.Job
	var err error
	if job.Day, err = table.ParseDay(day); err != nil {
		return err
	}
	err = l.Serializer.Remake(ctx, job, made, func(again serialize.Remade) error {
		if _, quarantined := h.raw.Rows(); quarantined != again.Quarantined {
			l.differ(Finding{
				Kind: Rows, Day: day, Table: l.Job.Raw.String(), Records: abs(quarantined - again.Quarantined),
				Text: fmt.Sprintf("of its objects' records %d belong into quarantine, and it was made without %d", again.Quarantined, quarantined),
			})
			return nil
		}
		sums := l.day(day).Sums
		if sums == nil {
			sums = &Sums{}
		}
		var err error
		if sums.Raw, err = l.compareRows(ctx, day, l.Job.Raw, raw, again, again.Raw, again.RawSize); err == nil {
			sums.Flat, err = l.compareRows(ctx, day, l.Job.Flat, flat, again, again.Flat, again.FlatSize)
		}
		return err
	})
	if err != nil && ctx.Err() == nil && (errors.Is(err, serialize.ErrNotAsMade) || errors.Is(err, serialize.ErrData)) {
		if !slices.ContainsFunc(l.Differences, func(f Finding) bool { return f.Day == day }) {
			l.notKnown(Finding{Kind: NotProven, Day: day, Table: l.Job.Raw.String(), Text: err.Error()})
		}
		return nil
	}
	return err
}

// mostNamed is of how many rows the different ones are named; of more they are counted.
const mostNamed = 5_000_000

// compareRows compares the rows of files with those that were made again.
func (l *look) compareRows(ctx context.Context, day string, n table.Name, files []table.Seen, again serialize.Remade, made io.ReaderAt, size int64) (string, error) {
	var is, should sum
	have := map[hash]int64{}
	count := int64(0)
	for _, f := range files {
		err := l.withFile(ctx, f.Object.Key, func(r io.ReaderAt, size int64) error {
			return eachRow(r, size, func(h hash) error {
				is.add(h)
				if count++; count <= mostNamed {
					have[h]++
				}
				return ctx.Err()
			})
		})
		if errors.Is(err, errParquet) {
			l.differ(Finding{Kind: Unreadable, Day: day, Table: n.String(), Object: f.Object.Key, Text: err.Error()})
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
	var lost []int64
	row := int64(0)
	err := eachRow(made, size, func(h hash) error {
		should.add(h)
		if have[h] == 0 {
			lost = append(lost, row)
		} else {
			have[h]--
		}
		row++
		return ctx.Err()
	})
	if err != nil {
		return "", fmt.Errorf("reading the rows of %s that were made again: %w", day, err)
	}
	if is == should {
		return is.String(), nil
	}
	f := Finding{Kind: Changed, Day: day, Table: n.String(), Object: files[0].Object.Key, Records: int64(len(lost))}
	switch {
	case count > mostNamed:
		f.Records, f.Text = 0, fmt.Sprintf("its %d rows are others than the %d that its objects make", count, row)
	case count < row:
		f.Kind, f.Text = Rows, fmt.Sprintf("it has %d rows, and its objects make %d: %d of these are not there", count, row, len(lost))
	case count > row:
		f.Kind, f.Text = Rows, fmt.Sprintf("it has %d rows, and its objects make %d", count, row)
	default:
		f.Text = fmt.Sprintf("%d of its %d rows are others than its objects make", len(lost), count)
	}
	if count <= mostNamed {
		l.name(&f, lost, again)
	}
	f.Text += "; headwater serialize --full makes it anew"
	l.differ(f)
	return is.String(), nil
}

// name says of which records the rows are made that are not there.
func (l *look) name(f *Finding, lost []int64, again serialize.Remade) {
	for _, row := range lost {
		key, partition, offset, known := again.Origin(row)
		if !known {
			f.Text += fmt.Sprintf("; one of them is of %s", key)
			return
		}
		if f.Partition != nil && *f.Partition != partition {
			f.Text += fmt.Sprintf("; there are more, the next of partition %d, offset %d", partition, offset)
			return
		}
		from := offset
		if f.From != nil {
			from = min(*f.From, offset)
		}
		to := offset
		if f.To != nil {
			to = max(*f.To, offset)
		}
		*f = f.at(place{l.Job.Topic, partition}, from, to)
	}
}

// withFile gives a file of the tables store that can be read anywhere.
func (l *look) withFile(ctx context.Context, key string, do func(r io.ReaderAt, size int64) error) error {
	body, _, err := l.Tables.Get(ctx, key, 0, -1)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	defer body.Close()
	f, err := os.CreateTemp(l.Temp, "headwater-audit-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	size, err := io.Copy(f, body)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return do(f, size)
}

// numbers looks whether the numbers of the streams' records, as far as Kafka has them, are dense.
func (l *look) numbers(ctx context.Context) error {
	if !l.Collected || !l.offsets.asked {
		return nil
	}
	for _, p := range slices.Sorted(maps.Keys(l.offsets.end)) {
		type stream struct{ cursor, name string }
		next := map[stream]int64{}
		err := kafka.Look(ctx, l.Kafka, l.Job.Topic, p, l.offsets.start[p], l.offsets.end[p], func(r kafka.Looked) error {
			at, err := envelope.ParsePosition(r.Position)
			if r.Position == nil || err != nil {
				return nil // it is not ours
			}
			s := stream{at.Cursor, at.Stream}
			if want, known := next[s]; known && at.Seq != want {
				l.differ(Finding{Kind: Numbers, Records: abs(at.Seq - want), Text: fmt.Sprintf("the record of stream %q has number %d, and the one before it in the stream %d", at.Stream, at.Seq, want-1)}.
					at(l.place(logKey{partition: p}), r.Offset, r.Offset))
			}
			next[s] = at.Seq + 1
			return nil
		})
		if errors.Is(err, kafka.ErrTrimmed) {
			continue // those that are left are looked at next time
		}
		if err != nil {
			return fmt.Errorf("reading the numbers of topic %s partition %d: %w", l.Job.Topic, p, err)
		}
	}
	return nil
}

// ReadOnly is a store that refuses to be written.
func ReadOnly(s lake.Store) lake.Store { return readOnly{s} }

type readOnly struct{ lake.Store }

var errReadOnly = errors.New("an audit writes nothing")

// Put implements lake.Store.
func (readOnly) Put(context.Context, string, io.ReadSeeker, lake.Condition) (lake.Object, error) {
	return lake.Object{}, errReadOnly
}

// Delete implements lake.Store.
func (readOnly) Delete(context.Context, string) error { return errReadOnly }
