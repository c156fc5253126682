package land

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pool has the client unpack batches into memory that is used again when the last record of a batch has been landed, by
// kgo.Record.Recycle. What is never recycled is left to the garbage collector, which empties the pool as well.
type pool struct {
	bytes, records [sizeClasses]sync.Pool
}

var (
	_ kgo.PoolDecompressBytes = (*pool)(nil)
	_ kgo.PoolRecords         = (*pool)(nil)
)

// sizeClasses are powers of two; what is larger is not kept.
const sizeClasses = 23

// class is the least class whose slices hold n.
func class(n int) int { return bits.Len(uint(max(n, 1) - 1)) }

// GetDecompressBytes implements kgo.PoolDecompressBytes. A slice that is too small is only slower.
func (p *pool) GetDecompressBytes(compressed []byte, codec kgo.CompressionCodecType) []byte {
	n := 4 * len(compressed)
	if codec == kgo.CodecGzip && len(compressed) > 18 {
		// The last four bytes are the length; no text that deflate makes is more than 1032 times as long. The client's buffer grows
		// when it has less room than its least read.
		n = int(min(binary.LittleEndian.Uint32(compressed[len(compressed)-4:]), uint32(1032*min(len(compressed), 1<<20)))) + 512
	}
	c := class(min(n, 1<<(sizeClasses-1)))
	if b, _ := p.bytes[c].Get().(*[]byte); b != nil {
		return *b
	}
	return make([]byte, 0, 1<<c)
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pool) PutDecompressBytes(b []byte) {
	if c := class(cap(b)+1) - 1; c < sizeClasses {
		p.bytes[c].Put(&b)
	}
}

// GetRecords implements kgo.PoolRecords.
func (p *pool) GetRecords(n int) []kgo.Record {
	c := class(n)
	if c >= sizeClasses {
		return make([]kgo.Record, 0, n)
	}
	if r, _ := p.records[c].Get().(*[]kgo.Record); r != nil {
		return *r
	}
	return make([]kgo.Record, 0, 1<<c)
}

// PutRecords implements kgo.PoolRecords.
func (p *pool) PutRecords(r []kgo.Record) {
	if c := class(cap(r)+1) - 1; c < sizeClasses {
		p.records[c].Put(&r)
	}
}
