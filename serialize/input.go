package serialize

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"headwater/internal/gunzip"
	"headwater/internal/retry"
	"headwater/lake"
	"headwater/table"
)

// tailReaders bounds how many tails are read at a time.
const tailReaders = 16

// input is one raw object of the day, as the listing had it.
type input struct {
	lake.Object
	name lake.RawName
	// tail is what the object says of itself; the real connector's say nothing, and told is false.
	tail lake.Tail
	told bool
}

// dataError is an error that only other data can cure.
func dataError(format string, args ...any) error {
	return retry.Stop(fmt.Errorf("%w: "+format, append([]any{ErrData}, args...)...))
}

func (z *Serializer) topicPrefix(topic string) string {
	if z.TopicsDir == "" {
		return topic + "/date="
	}
	return z.TopicsDir + "/" + topic + "/date="
}

// list pins the day's objects, in order of Kafka partition and offset, and reads what each says of itself.
func (r *run) list(ctx context.Context, day table.Day) ([]input, error) {
	inputs, err := r.objects(ctx, r.job.Topic, day)
	if err == nil {
		err = r.readTails(ctx, inputs)
	}
	if err != nil {
		return nil, err
	}
	return inputs, r.checkOverlap(inputs)
}

// objects lists the day's objects, in order, without what they say of themselves.
func (z *Serializer) objects(ctx context.Context, topic string, day table.Day) ([]input, error) {
	prefix := z.topicPrefix(topic) + day.String() + "/"
	var inputs []input
	for o, err := range z.Raw.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		if base := path.Base(o.Key); base[0] == '_' || base[0] == '.' {
			continue // markers and files in the making, as every reader of such folders has it
		}
		name, err := lake.ParseRawKey(o.Key)
		if err != nil {
			return nil, dataError("%w; move it out of the day's folder", err)
		}
		if o.Size == 0 {
			return nil, dataError("%s has no bytes; restore it from a copy or from the topic", o.Key)
		}
		inputs = append(inputs, input{Object: o, name: name})
	}
	slices.SortFunc(inputs, compareInputs)
	return inputs, nil
}

func (z *Serializer) readTails(ctx context.Context, inputs []input) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tailReaders)
	for i := range inputs {
		g.Go(func() (err error) {
			inputs[i].tail, inputs[i].told, err = lake.ReadTail(ctx, z.Raw, inputs[i].Object)
			return err
		})
	}
	return g.Wait()
}

func compareInputs(a, b input) int {
	return cmp.Or(
		cmp.Compare(a.name.Partition, b.name.Partition),
		cmp.Compare(a.name.Generation, b.name.Generation),
		cmp.Compare(a.name.Offset, b.name.Offset),
		strings.Compare(a.Key, b.Key),
	)
}

// checkOverlap refuses objects that hold the same records: their rows would be doubled. inputs are in order. Where the
// earlier object says nothing of itself, checkConnector looks once its records have been counted. Legacy.Dedupe sees to those that
// say nothing both.
func (r *run) checkOverlap(inputs []input) error {
	for i, j := range neighbours(inputs) {
		a, b := inputs[i], inputs[j]
		if r.job.Legacy.Dedupes() && !a.told && !b.told {
			continue
		}
		if a.name.Offset == b.name.Offset || a.told && b.name.Offset < a.tail.Next {
			return dataError("%s and %s cover the same offsets of Kafka partition %d; move one of them away",
				a.Key, b.Key, a.name.Partition)
		}
	}
	return nil
}

// neighbours are the pairs of inputs of which the second is the next of the same log and folder. Only these must not
// overlap: late records make the offsets of folders for hours interleave.
func neighbours(inputs []input) iter.Seq2[int, int] {
	type place struct {
		partition  int32
		generation int
		path       string
	}
	return func(yield func(int, int) bool) {
		last := map[place]int{}
		for i, in := range inputs {
			at := place{in.name.Partition, in.name.Generation, in.name.Path}
			if j, found := last[at]; found && in.sameLog(inputs[j]) && !yield(j, i) {
				return
			}
			last[at] = i
		}
	}
}

// sameLog is false if the two say that their offsets are of different logs.
func (in *input) sameLog(o input) bool { return !in.told || !o.told || in.tail.Log == o.tail.Log }

// footerInputs is what the tables' footers say of the inputs.
func footerInputs(inputs []input) []table.Input {
	out := make([]table.Input, len(inputs))
	for i, in := range inputs {
		out[i] = table.Input{Key: in.Key, Size: in.Size}
		if in.told {
			out[i].Log, out[i].First, out[i].Next, out[i].Count = in.tail.Log, in.tail.First, in.tail.Next, in.tail.Count
		} else {
			out[i].First = in.name.Offset
		}
	}
	return out
}

// offset is that of the object's record number n, from 0, if the tail tells it exactly.
func (in *input) offset(n int64) (int64, bool) {
	var places int64
	at := int64(-1)
	for _, r := range in.tail.Runs {
		length := r.Last - r.First + 1
		if at < 0 && n < places+length {
			at = r.First + n - places
		}
		places += length
	}
	if len(in.tail.Runs) == 0 && in.told {
		places, at = in.tail.Next-in.tail.First, in.tail.First+n
	}
	return at, in.told && places == in.tail.Count && at >= 0
}

// line is one record of an object.
type line struct {
	// number counts the object's lines from 1, record its records from 0: blank lines are none.
	number, record int64
	// text is valid until the next line is read. Of a line that is too long it is empty.
	text    []byte
	tooLong bool
}

// lines reads the records of an object. It ends at the first error, which names the object.
func (z *Serializer) lines(ctx context.Context, in input) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		body, err := z.open(ctx, in, 0)
		if err != nil {
			yield(line{}, err)
			return
		}
		defer body.Close()
		source := &broken{r: body}
		if err := z.each(ctx, source, func(l line) bool { return yield(l, nil) }); err != nil {
			yield(line{}, source.explain(in.Key, err))
		}
	}
}

// lastBytes of an object is where its last members are looked for.
const lastBytes = 1 << 20

// lastMember is where the last of the members begins that land writes, about a MiB of text each, but for the tail; -1 is nowhere.
func lastMember(data []byte) int {
	for {
		// A deflated member without a name, made on an unknown system.
		i := bytes.LastIndex(data, []byte("\x1f\x8b\x08\x00"))
		if i < 0 || i+10 <= len(data) && data[i+9] == 0xff {
			return i
		}
		data = data[:i]
	}
}

// lastLines reads the records of the last two members of an object that land has written, or none if they are not found among its last bytes. The records'
// numbers are not those of the object. It is for guesses.
func (z *Serializer) lastLines(ctx context.Context, in input) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		body, err := z.open(ctx, in, -lastBytes)
		if err != nil {
			yield(line{}, err)
			return
		}
		defer body.Close()
		data, err := io.ReadAll(body)
		if err != nil {
			yield(line{}, fmt.Errorf("reading the end of %s: %w", in.Key, err))
			return
		}
		from := lastMember(data)
		if before := lastMember(data[:max(0, from)]); before >= 0 {
			from = before
		}
		if from < 0 {
			return
		}
		// What only looks like a member ends in an error, and so does a damaged one, of which those who read all of the object tell.
		if z.each(ctx, bytes.NewReader(data[from:]), func(l line) bool { return yield(l, nil) }) != nil && ctx.Err() != nil {
			yield(line{}, ctx.Err())
		}
	}
}

// open is the object from an offset on, which counts from its end if it is negative.
func (z *Serializer) open(ctx context.Context, in input, offset int64) (io.ReadCloser, error) {
	body, o, err := z.Raw.Get(ctx, in.Key, offset, -1)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", in.Key, err)
	}
	if o.Version != in.Version {
		body.Close()
		return nil, fmt.Errorf("reading %s: it was replaced since the day was listed: %w; run again", in.Key, lake.ErrChanged)
	}
	return body, nil
}

// each calls do for the records of a text until it says no.
func (z *Serializer) each(ctx context.Context, source io.Reader, do func(line) bool) error {
	text, err := unpack(source)
	r := lineReader{r: bufio.NewReaderSize(text, 256<<10), longest: int(z.Config.RecordBytes)}
	for l := (line{}); err == nil; {
		l.text, l.tooLong, err = r.next()
		l.number++
		if err == nil && l.number%1024 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			break
		}
		if len(bytes.TrimSpace(l.text)) == 0 && !l.tooLong {
			continue
		}
		if !do(l) {
			return nil
		}
		l.record++
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// unpack recognises gzip by its first bytes; the real connector can be told to write plain text.
func unpack(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	if head, _ := b.Peek(2); len(head) < 2 || head[0] != 0x1f || head[1] != 0x8b {
		return b, nil
	}
	return gunzip.NewReader(b), nil
}

// broken tells an object that is damaged from a store that fails: it keeps the store's error.
type broken struct {
	r   io.Reader
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *broken) explain(key string, err error) error {
	if b.err != nil {
		return fmt.Errorf("reading %s: %w", key, b.err)
	}
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	if corrupt || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) {
		return dataError("%s is damaged or cut short (%w); restore it from a copy or from the topic", key, err)
	}
	return fmt.Errorf("reading %s: %w", key, err)
}

// lineReader reads lines of any length in bounded memory.
type lineReader struct {
	r       *bufio.Reader
	longest int
	buf     []byte
}

// next is a line without its end, io.EOF after the last. The last line need not end in a line feed.
func (l *lineReader) next() (text []byte, tooLong bool, err error) {
	text, err = l.r.ReadSlice('\n')
	if err == nil && len(text) <= l.longest {
		return trimEnd(text), false, nil
	}
	l.buf = append(l.buf[:0], text...)
	for err == bufio.ErrBufferFull {
		text, err = l.r.ReadSlice('\n')
		if tooLong = tooLong || len(l.buf)+len(text) > l.longest; !tooLong {
			l.buf = append(l.buf, text...)
		}
	}
	tooLong = tooLong || len(l.buf) > l.longest
	if err == io.EOF && len(l.buf) > 0 {
		err = nil
	}
	if tooLong {
		l.buf = l.buf[:0]
	}
	return trimEnd(l.buf), tooLong, err
}

func trimEnd(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}
