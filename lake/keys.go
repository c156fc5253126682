package lake

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// TempPrefix begins the names of files that are being written. No key has a segment of such a name.
	TempPrefix = ".tmp-"
	// LockName is the name of the files that writers lock. No key has a segment of this name.
	LockName = "_lock"

	rawSuffix = ".json.gz"
)

// CheckKey says what is wrong with a key that no store accepts (fs.ErrInvalid).
func CheckKey(key string) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("key %q is not UTF-8: %w", key, fs.ErrInvalid)
	}
	if strings.ContainsRune(key, 0) {
		return fmt.Errorf("key %q holds a NUL byte: %w", key, fs.ErrInvalid)
	}
	for segment := range strings.SplitSeq(key, "/") {
		switch {
		case segment == "", segment == ".", segment == "..":
			return fmt.Errorf("key %q has the segment %q: %w", key, segment, fs.ErrInvalid)
		case segment == LockName, strings.HasPrefix(segment, TempPrefix):
			return fmt.Errorf("key %q has the reserved segment %q: %w", key, segment, fs.ErrInvalid)
		}
	}
	return nil
}

// Askable is the longest beginning of a prefix with which every store can be asked. MinIO refuses segments that are empty, . or .., and what is not UTF-8: no
// key has these, but they may begin one.
func Askable(prefix string) string {
	for at := range prefix {
		if r, size := utf8.DecodeRuneInString(prefix[at:]); r == utf8.RuneError && size == 1 {
			return Askable(prefix[:at])
		}
	}
	for start := 0; ; {
		segment, _, more := strings.Cut(prefix[start:], "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return prefix[:start]
		}
		if !more {
			return prefix
		}
		start += len(segment) + 1
	}
}

// CutRange turns the offset and n of Get into the first byte and the number of bytes within an object of size bytes.
func CutRange(size, offset, n int64) (start, length int64) {
	if offset < 0 {
		start = max(0, size+offset)
	} else {
		start = min(offset, size)
	}
	length = size - start
	if n >= 0 {
		length = min(n, length)
	}
	return start, length
}

// RawName is what the key of a raw object says. Format: docs/format/object.md.
type RawName struct {
	// Topic is the Kafka topic.
	Topic string
	// Path is what the partitioner made of the record, as date=2026-07-05; it may have several segments or none.
	Path      string
	Partition int32
	// Generation counts the logs that the topic has had under this name, from 1.
	Generation int
	// Offset is that of the object's first record. Keys sort by it only within equal numbers of digits: compare the numbers.
	Offset int64
}

// RawKey is the key of the raw object that starts at offset, as the Kafka Connect S3 sink names it.
// topicsDir and path may be empty.
func RawKey(topicsDir, topic, path string, partition int32, offset int64) string {
	return RawKeyGeneration(topicsDir, topic, path, partition, 1, offset)
}

// OffsetWidth is to how many digits RawKey pads offsets.
const OffsetWidth = 10

// RawKeyPadded is RawKeyGeneration with another width. Two writers of one topic must have the same: equal offsets must have equal keys.
func RawKeyPadded(topicsDir, topic, path string, partition int32, generation int, offset int64, width int) string {
	return rawKey(topicsDir, topic, path, rawName(topic, partition, generation, offset, width))
}

func rawName(topic string, partition int32, generation int, offset int64, width int) string {
	log := ""
	if generation > 1 {
		log = fmt.Sprintf("g%d+", generation)
	}
	return fmt.Sprintf("%s+%d+%s%0*d", topic, partition, log, width, offset)
}

// RawKeyGeneration is RawKey for a topic that was made anew: its offsets begin again, so generation (2 and up; 1 is
// RawKey) keeps its keys apart from those of the log before.
func RawKeyGeneration(topicsDir, topic, path string, partition int32, generation int, offset int64) string {
	return RawKeyPadded(topicsDir, topic, path, partition, generation, offset, OffsetWidth)
}

func rawKey(topicsDir, topic, path, name string) string {
	var b strings.Builder
	for _, part := range []string{topicsDir, topic, path} {
		if part != "" {
			b.WriteString(part)
			b.WriteByte('/')
		}
	}
	b.WriteString(name)
	b.WriteString(rawSuffix)
	return b.String()
}

// ParseRawKey reads a key that RawKey or RawKeyGeneration made, or the real connector with any zero padding. The error
// says why another file is not a raw object. Where several segments equal the topic's name, the last one is taken for it.
func ParseRawKey(key string) (RawName, error) {
	notRaw := func(why string) (RawName, error) {
		return RawName{}, fmt.Errorf("%s is not the key of a raw object, <topic>/<path>/<topic>+<partition>+<offset>%s: %s",
			key, rawSuffix, why)
	}
	segments := strings.Split(key, "/")
	name, found := strings.CutSuffix(segments[len(segments)-1], rawSuffix)
	if !found {
		return notRaw("its name does not end in " + rawSuffix)
	}
	rest, offsetText, _ := cutLast(name)
	offset, ok := number(offsetText, math.MaxInt64)
	if !ok {
		return notRaw("its name does not end in an offset")
	}
	topic, last, _ := cutLast(rest)
	generation := int64(1)
	if text, isGeneration := strings.CutPrefix(last, "g"); isGeneration {
		if generation, ok = number(text, math.MaxInt32); !ok || generation < 2 || text[0] == '0' {
			return notRaw("its generation is not g2 or later")
		}
		topic, last, _ = cutLast(topic)
	}
	partition, ok := number(last, math.MaxInt32)
	if !ok || len(last) > 1 && last[0] == '0' {
		return notRaw("its name has no Kafka partition before the offset")
	}
	for i := len(segments) - 2; i >= 0; i-- {
		if topic != "" && segments[i] == topic {
			path := strings.Join(segments[i+1:len(segments)-1], "/")
			return RawName{Topic: topic, Path: path, Partition: int32(partition), Generation: int(generation), Offset: offset}, nil
		}
	}
	return notRaw(fmt.Sprintf("it lies in no folder of the topic %q that its name begins with", topic))
}

// cutLast cuts s at its last +; topics may contain one.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '+')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// number reads digits, and nothing else, up to limit.
func number(s string, limit int64) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n <= limit
}
