package parquet

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// firstSlots is the size of an empty hash table, a power of two.
const firstSlots = 64

// dictionary gives every different value the number of its first appearance. Its hashes have a seed of their own, against data made to
// collide; no number depends on it.
type dictionary struct {
	seed maphash.Seed
	salt uint64
	// slots have, of a value, the upper half of its hash and its number + 1; open addressing, at most half of them taken.
	slots []uint64
	n     int
	// keys are the values of 64 bits.
	keys []uint64
	// data are all other values in the encoding PLAIN, which begin at starts.
	data   []byte
	starts []int
}

func newDictionary() *dictionary {
	seed := maphash.MakeSeed()
	return &dictionary{seed: seed, salt: maphash.Bytes(seed, nil), slots: make([]uint64, firstSlots)}
}

func (d *dictionary) reset() {
	if len(d.slots) > kept/8 {
		d.slots = make([]uint64, firstSlots)
	}
	clear(d.slots)
	d.n, d.keys, d.data, d.starts = 0, d.keys[:0], emptied(d.data), d.starts[:0]
}

// size is that of the dictionary page.
func (d *dictionary) size() int { return len(d.keys)*8 + len(d.data) }

// held is about how many bytes of memory the dictionary takes: a value has up to four slots.
func (d *dictionary) held() int { return d.size() + 8*len(d.starts) + 32*d.n }

// page is the values in the encoding PLAIN, made in room if they are not kept like that.
func (d *dictionary) page(room *[]byte) []byte {
	if len(d.keys) == 0 {
		return d.data
	}
	out := (*room)[:0]
	for _, k := range d.keys {
		out = binary.LittleEndian.AppendUint64(out, k)
	}
	*room = out
	return out
}

// number is that of a value of 64 bits, and whether it is new.
func (d *dictionary) number(x uint64) (uint32, bool) {
	high, low := bits.Mul64(x^d.salt, 0x9e3779b97f4a7c15)
	h := high ^ low
	tag, mask := h&^0xffffffff, uint64(len(d.slots)-1)
	for at := h >> 32 & mask; ; at = (at + 1) & mask {
		s := d.slots[at]
		if s == 0 {
			d.keys = append(d.keys, x)
			return d.take(at, tag), true
		}
		if s&^0xffffffff == tag {
			if i := uint32(s) - 1; d.keys[i] == x {
				return i, false
			}
		}
	}
}

// text is the number of a value in the encoding PLAIN, and whether it is new.
func (d *dictionary) text(plain []byte) (uint32, bool) {
	h := maphash.Bytes(d.seed, plain)
	tag, mask := h&^0xffffffff, uint64(len(d.slots)-1)
	for at := h >> 32 & mask; ; at = (at + 1) & mask {
		s := d.slots[at]
		if s == 0 {
			d.starts = append(d.starts, len(d.data))
			d.data = append(d.data, plain...)
			return d.take(at, tag), true
		}
		if s&^0xffffffff == tag {
			if i := uint32(s) - 1; string(d.plain(i)) == string(plain) {
				return i, false
			}
		}
	}
}

// plain is the text with the number i.
func (d *dictionary) plain(i uint32) []byte {
	if int(i)+1 < len(d.starts) {
		return d.data[d.starts[i]:d.starts[i+1]]
	}
	return d.data[d.starts[i]:]
}

// take gives the next number to the slot at.
func (d *dictionary) take(at, tag uint64) uint32 {
	i := uint32(d.n)
	d.n++
	d.slots[at] = tag | uint64(d.n)
	if 2*d.n > len(d.slots) {
		d.grow()
	}
	return i
}

func (d *dictionary) grow() {
	old := d.slots
	d.slots = make([]uint64, 2*len(old))
	mask := uint64(len(d.slots) - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		at := s >> 32 & mask
		for d.slots[at] != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = s
	}
}
