package parquet

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
)

// longestBound is how long the least or greatest value may be to be told of: readers take the whole footer into memory.
const longestBound = 4096

// bounds are the least and the greatest value of a chunk.
type bounds struct {
	seen bool
	// least and greatest are by the kind of the column: longs, doubles or texts.
	leastLong, greatestLong     int64
	leastDouble, greatestDouble float64
	leastText, greatestText     []byte
}

func (b *bounds) reset() {
	*b = bounds{leastText: b.leastText[:0], greatestText: b.greatestText[:0]}
}

func (b *bounds) long(v int64) {
	if !b.seen {
		b.seen, b.leastLong, b.greatestLong = true, v, v
	}
	b.leastLong, b.greatestLong = min(b.leastLong, v), max(b.greatestLong, v)
}

// double leaves NaN out, as the format demands.
func (b *bounds) double(v float64) {
	switch {
	case math.IsNaN(v):
	case !b.seen:
		b.seen, b.leastDouble, b.greatestDouble = true, v, v
	case v < b.leastDouble:
		b.leastDouble = v
	case v > b.greatestDouble:
		b.greatestDouble = v
	}
}

// text takes strings in the order of their bytes, and decimals, big-endian two's complement of one width, in that of their values.
func (b *bounds) text(v []byte, decimal bool) {
	if !b.seen {
		b.seen = true
		b.leastText, b.greatestText = append(b.leastText[:0], v...), append(b.greatestText[:0], v...)
		return
	}
	if compare(v, b.leastText, decimal) < 0 {
		b.leastText = append(b.leastText[:0], v...)
	} else if compare(v, b.greatestText, decimal) > 0 {
		b.greatestText = append(b.greatestText[:0], v...)
	}
}

func compare(x, y []byte, decimal bool) int {
	if decimal && x[0] != y[0] {
		return cmp.Compare(int8(x[0]), int8(y[0]))
	}
	return bytes.Compare(x, y)
}

// doubles are the bounds in bytes. Zero has two spellings that compare as equal: a reader that looks for one must find the other.
func (b *bounds) doubles() (least, greatest []byte) {
	low, high := math.Float64bits(b.leastDouble), math.Float64bits(b.greatestDouble)
	if b.leastDouble == 0 {
		low = 1 << 63 // -0
	}
	if b.greatestDouble == 0 {
		high = 0
	}
	return eight(low), eight(high)
}

func eight(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// texts are the bounds, nil for one that is too long.
func (b *bounds) texts() (least, greatest []byte) {
	return boundText(b.leastText), boundText(b.greatestText)
}

func boundText(v []byte) []byte {
	if len(v) > longestBound {
		return nil
	}
	return append([]byte{}, v...)
}
