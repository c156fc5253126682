package parquet

import (
	"encoding/binary"
	"math/bits"
)

const (
	// groupLen is how many values a bit-packed group has, and the shortest run worth a header of its own.
	groupLen = 8
	// packedGroups is how many groups one header of a byte can tell of.
	packedGroups = 63
	// longestRun keeps a run's header within 32 bits.
	longestRun = 1 << 30
)

// hybrid encodes small numbers in Parquet's RLE/bit-packing hybrid: runs of eight or more as such, all else packed by eight. It is fed
// bit by bit, so that the levels of a column without values take a few bytes and not one each.
type hybrid struct {
	width int // of a value, in bits; at least 1
	out   []byte
	// value and run are the run under way, whose end is not known.
	value uint32
	run   int
	// filled is how many values the group under way has; header is the place in out of the packed groups' header, -1 if none is open.
	filled int
	header int
	// bits are the lowest so many held, of the values packed, that fill no byte.
	bits uint64
	held int
}

// widthOf is how many bits numbers up to most take.
func widthOf(most int) int { return max(1, bits.Len(uint(most))) }

func (h *hybrid) reset(width int) { *h = hybrid{width: width, out: h.out[:0], header: -1} }

// levels adds each of list.
func (h *hybrid) levels(list []uint8) {
	for len(list) > 0 {
		n := sameLevels(list)
		h.repeat(uint32(list[0]), n)
		list = list[n:]
	}
}

// sameLevels is how many levels at the beginning are the same.
func sameLevels(list []uint8) int {
	n, all := 1, uint64(list[0])*0x0101010101010101
	for n+8 <= len(list) {
		if x := binary.LittleEndian.Uint64(list[n:]) ^ all; x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(list) && list[n] == list[0] {
		n++
	}
	return n
}

func (h *hybrid) numbers(list []uint32) {
	for i := 0; i < len(list); {
		from := i
		for i++; i < len(list) && list[i] == list[from]; i++ {
		}
		h.repeat(list[from], i-from)
	}
}

func (h *hybrid) repeat(value uint32, n int) {
	if value != h.value || h.run == 0 {
		h.settle()
		h.value = value
	}
	h.run += n
}

// settle writes the run, whose end is known.
func (h *hybrid) settle() {
	n := h.run
	h.run = 0
	if h.filled > 0 {
		part := min(n, groupLen-h.filled)
		h.pack(h.value, part)
		n -= part
	}
	for n >= groupLen {
		part := min(n, longestRun)
		n -= part
		h.header = -1
		h.out = binary.AppendUvarint(h.out, uint64(part)<<1)
		for shift := 0; shift < h.width; shift += 8 {
			h.out = append(h.out, byte(h.value>>shift))
		}
	}
	if n > 0 {
		h.pack(h.value, n)
	}
}

// pack adds a value n times to the group under way, which has room for as many.
func (h *hybrid) pack(value uint32, n int) {
	if h.filled == 0 {
		if h.header < 0 || h.out[h.header]>>1 == packedGroups {
			h.header = len(h.out)
			h.out = append(h.out, 1)
		}
		h.out[h.header] += 1 << 1
	}
	h.filled = (h.filled + n) % groupLen // a whole group ends with a byte
	if h.width > 8 {
		for range n {
			h.packBits(uint64(value), h.width)
		}
		return
	}
	width := n * h.width
	h.packBits(uint64(value)*(everyBits[h.width]&(1<<width-1)), width)
}

// packBits adds the lowest bits of v, which fit in h.bits beside those held.
func (h *hybrid) packBits(v uint64, width int) {
	h.bits |= v << h.held
	h.held += width
	whole := h.held &^ 7
	h.out = binary.LittleEndian.AppendUint64(h.out, h.bits)[:len(h.out)+whole/8]
	h.bits >>= whole
	h.held &= 7
}

// everyBits has, by width, the first bit of each of a group's values.
var everyBits = func() (list [9]uint64) {
	for width := 1; width < len(list); width++ {
		for i := range groupLen {
			list[width] |= 1 << (i * width)
		}
	}
	return list
}()

// end is everything that was added. The last group may have zeros after it, of which the page's own count tells.
func (h *hybrid) end() []byte {
	h.settle()
	if h.filled > 0 {
		h.pack(0, groupLen-h.filled)
	}
	return h.out
}
