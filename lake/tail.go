package lake

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Tail is what a raw object says of itself in its last gzip member, which is empty and carries this in its FNAME field.
// It travels with every copy of the object. Format: docs/format/object.md.
type Tail struct {
	// Log is the Kafka topic id, 22 characters of base64url: it tells a topic from one made anew under the same name.
	Log string
	// First is the offset of the object's first record. Every offset of its Kafka partition from First to Next, Next excluded,
	// was seen when the object was made; this object holds those of them that belong to its path.
	First, Next int64
	// Count is the number of records.
	Count int64
	// Runs, ascending, say which offsets within [First, Next) belong to this object; offsets that no record has (of transaction
	// markers) may lie within a run. It is nil where it did not fit.
	Runs []Run
}

// Run is a range of offsets, both ends included.
type Run struct{ First, Last int64 }

const (
	// maxTailText leaves readers room that refuse a long FNAME: Go's takes 511 bytes.
	maxTailText = 400
	// maxTail is the longest member: header, text, tailEnd.
	maxTail = 10 + maxTailText + 11
)

var (
	// tailHead is the gzip header of a tail (deflate, FNAME only, no time, unknown system) and the first word of its text.
	tailHead = []byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xff" + "headwater ")
	// tailEnd closes FNAME and is followed by an empty deflate block, the CRC of nothing and the length of nothing.
	tailEnd = []byte("\x00" + "\x03\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00")
)

// Append appends the gzip member. Runs are left out when they do not fit. It panics if the fields contradict each other:
// an object whose tail cannot be read would stop its Kafka partition.
func (t Tail) Append(dst []byte) []byte {
	if err := t.check(); err != nil {
		panic("lake: writing an object's tail: " + err.Error())
	}
	dst = append(dst, tailHead...)
	dst = append(dst, t.text()...)
	return append(dst, tailEnd...)
}

// text is the FNAME field after its first word.
func (t Tail) text() string {
	fields := fmt.Sprintf("log=%s first=%d next=%d count=%d", t.Log, t.First, t.Next, t.Count)
	if len(t.Runs) == 0 {
		return fields
	}
	b := []byte(fields + " runs=")
	for i, r := range t.Runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, r.First, 10)
		if r.Last != r.First {
			b = append(b, '-')
			b = strconv.AppendInt(b, r.Last, 10)
		}
		if len("headwater ")+len(b) > maxTailText {
			return fields
		}
	}
	return string(b)
}

// Has says whether the record at offset belongs to the object, as far as the tail tells: without Runs, all of
// [First, Next) may.
func (t Tail) Has(offset int64) bool {
	if len(t.Runs) == 0 {
		return t.First <= offset && offset < t.Next
	}
	for _, r := range t.Runs {
		if r.First <= offset && offset <= r.Last {
			return true
		}
	}
	return false
}

// ReadTail reads an object's tail by one range read. It is false for an object that has none, as the real connector
// writes them, and an error for one that was damaged.
func ReadTail(ctx context.Context, s Store, o Object) (Tail, bool, error) {
	r, _, err := s.Get(ctx, o.Key, -maxTail, -1)
	if err != nil {
		return Tail{}, false, fmt.Errorf("reading the tail of %s: %w", o.Key, err)
	}
	defer r.Close()
	end, err := io.ReadAll(r)
	if err != nil {
		return Tail{}, false, fmt.Errorf("reading the tail of %s: %w", o.Key, err)
	}
	t, found, err := ParseTail(end)
	if err != nil {
		return Tail{}, false, fmt.Errorf("reading the tail of %s: %w", o.Key, err)
	}
	return t, found, nil
}

// ParseTail reads the tail from an object's last bytes (421 are always enough). The member must end where the object
// ends. It is false where there is no tail and an error where there is one that contradicts itself.
func ParseTail(end []byte) (Tail, bool, error) {
	body, found := bytes.CutSuffix(end, tailEnd)
	if !found {
		return Tail{}, false, nil
	}
	start := bytes.LastIndex(body, tailHead)
	if start < 0 {
		return Tail{}, false, nil
	}
	text := string(body[start+len(tailHead):])
	if strings.ContainsRune(text, 0) {
		return Tail{}, false, nil // FNAME ended before: these are the last bytes of another member
	}
	t, err := parseTail(text)
	if err != nil {
		return Tail{}, false, fmt.Errorf("the object's tail %q is damaged: %w", text, err)
	}
	return t, true, nil
}

func parseTail(text string) (Tail, error) {
	var t Tail
	rest := text
	fields := []struct {
		name string
		n    *int64
	}{{"log", nil}, {"first", &t.First}, {"next", &t.Next}, {"count", &t.Count}, {"runs", nil}}
	for _, f := range fields {
		if f.name == "runs" && rest == "" {
			break
		}
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		value, found := strings.CutPrefix(field, f.name+"=")
		if !found {
			return Tail{}, fmt.Errorf("%s= is not where it should be", f.name)
		}
		ok := true
		switch {
		case f.n != nil:
			*f.n, ok = number(value, math.MaxInt64)
		case f.name == "log":
			t.Log = value
		default:
			t.Runs, ok = parseRuns(value)
		}
		if !ok {
			return Tail{}, fmt.Errorf("%s is not a number", field)
		}
	}
	if err := t.check(); err != nil {
		return Tail{}, err
	}
	if t.text() != text {
		return Tail{}, fmt.Errorf("it would be written as %q", t.text())
	}
	return t, nil
}

func parseRuns(text string) (runs []Run, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, dashed := strings.Cut(part, "-")
		if !dashed {
			last = first
		}
		a, okA := number(first, math.MaxInt64)
		b, okB := number(last, math.MaxInt64)
		if !okA || !okB {
			return nil, false
		}
		runs = append(runs, Run{First: a, Last: b})
	}
	return runs, true
}

// check says which of the fields contradict each other.
func (t Tail) check() error {
	if id, err := base64.RawURLEncoding.Strict().DecodeString(t.Log); err != nil || len(id) != 16 {
		return fmt.Errorf("log=%q is not a topic id of 22 base64url characters", t.Log)
	}
	if t.First < 0 || t.Next <= t.First || t.Count < 1 || t.Count > t.Next-t.First {
		return fmt.Errorf("%d records cannot lie in offsets %d to %d", t.Count, t.First, t.Next)
	}
	if len(t.Runs) == 0 {
		return nil
	}
	free, places := t.First, int64(0)
	for _, r := range t.Runs {
		if r.First < free || r.Last < r.First || r.Last >= t.Next {
			return fmt.Errorf("the run %d-%d is not within offsets %d to %d", r.First, r.Last, free, t.Next)
		}
		free = r.Last + 1
		places += r.Last - r.First + 1
	}
	if t.Count > places {
		return fmt.Errorf("%d records do not fit in runs of %d offsets", t.Count, places)
	}
	return nil
}
