package gunzip

import "math/bits"

const (
	maxLit  = 286
	maxDist = 30
	maxBits = 15
)

// A table's entry has the length of the code in its lowest four bits, what it is in the next, then, from bit 8, how many bits
// follow that are added to the value, which begins at bit 16.
const (
	isLiteral uint32 = 1 << (4 + iota)
	isMatch
	isEnd
	// isLink: the code is longer than the primary bits; the value is where the table for the rest begins.
	isLink
)

// table decodes a Huffman code by its next bits.
type table struct {
	primary uint
	entries []uint32
}

// build makes the table of a code, given by the lengths of its symbols' codes. It is false if there is no such code. As in
// other readers, a code may be incomplete only if it has one symbol, of one bit, or none; what is no code has the entry 0.
func (t *table) build(lengths []uint8, entry func(symbol int) uint32) bool {
	var count, next [maxBits + 1]int
	for _, n := range lengths {
		count[n]++
	}
	count[0] = 0
	code := 0
	for n := 1; n <= maxBits; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
	}
	if whole := code == 1<<maxBits; !whole && code > 0 && (code != 1<<(maxBits-1) || count[1] != 1) {
		return false
	}
	size := 1 << t.primary
	if cap(t.entries) < size {
		t.entries = make([]uint32, size)
	}
	t.entries = t.entries[:size]
	clear(t.entries)
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		at := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
		next[n]++
		t.set(at, uint(n), entry(symbol)|uint32(n))
	}
	return true
}

// set puts e to every place that begins with the n bits of code.
func (t *table) set(code int, n uint, e uint32) {
	if n <= t.primary {
		for i := code; i < 1<<t.primary; i += 1 << n {
			t.entries[i] = e
		}
		return
	}
	link := &t.entries[code&(1<<t.primary-1)]
	if *link == 0 {
		*link = uint32(len(t.entries))<<16 | isLink
		t.entries = append(t.entries, make([]uint32, 1<<(maxBits-t.primary))...)
		link = &t.entries[code&(1<<t.primary-1)]
	}
	rest := t.entries[*link>>16:]
	for i := code >> t.primary; i < 1<<(maxBits-t.primary); i += 1 << (n - t.primary) {
		rest[i] = e
	}
}

// literal is the entry of a symbol of text.
func literal(symbol int) uint32 {
	switch n := symbol - 257; {
	case n < -1:
		return uint32(symbol)<<16 | isLiteral
	case n < 0:
		return isEnd
	case n < 8:
		return uint32(3+n)<<16 | isMatch
	case n < 28:
		extra := n/4 - 1
		return uint32(3+(4+n%4)<<extra)<<16 | uint32(extra)<<8 | isMatch
	case n == 28:
		return longest<<16 | isMatch
	}
	return 0
}

// distance is the entry of a symbol of how far back a match is.
func distance(n int) uint32 {
	switch {
	case n < 4:
		return uint32(1+n)<<16 | isMatch
	case n < maxDist:
		extra := n/2 - 1
		return uint32(1+(2+n%2)<<extra)<<16 | uint32(extra)<<8 | isMatch
	}
	return 0
}

func (z *Reader) fixed() {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	z.lit.build(lengths[:], literal)
	for i := range 32 {
		lengths[i] = 5
	}
	z.dist.build(lengths[:32], distance)
}

// order is that of the lengths of the code by which the lengths of the two codes are written.
var order = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of a block.
func (z *Reader) dynamic() error {
	lits, dists, n := int(z.take(5))+257, int(z.take(5))+1, int(z.take(4))+4
	if lits > maxLit || dists > maxDist {
		return z.corrupt()
	}
	var own [len(order)]uint8
	for _, at := range order[:n] {
		if err := z.refill(); err != nil {
			return err
		}
		own[at] = uint8(z.take(3))
	}
	if !z.codeLength.build(own[:], func(symbol int) uint32 { return uint32(symbol)<<16 | isLiteral }) {
		return z.corrupt()
	}
	lengths := z.lengths[:lits+dists]
	for i := 0; i < len(lengths); {
		if err := z.refill(); err != nil {
			return err
		}
		e := z.codeLength.entries[z.bits&(1<<z.codeLength.primary-1)]
		if e == 0 {
			return z.corrupt()
		}
		z.take(uint(e & 15))
		symbol, again, value := e>>16, 1, uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return z.corrupt()
			}
			again, value = 3+int(z.take(2)), lengths[i-1]
		case 17:
			again = 3 + int(z.take(3))
		case 18:
			again = 11 + int(z.take(7))
		default:
			value = uint8(symbol)
		}
		if i+again > len(lengths) {
			return z.corrupt()
		}
		for ; again > 0; again-- {
			lengths[i] = value
			i++
		}
	}
	if !z.lit.build(lengths[:lits], literal) || !z.dist.build(lengths[lits:], distance) {
		return z.corrupt()
	}
	return nil
}
