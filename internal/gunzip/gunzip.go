// Package gunzip reads gzip faster than the libraries do: it takes eight bytes of input at a time, and copies by eight.
//
// What enters: gzip members, one after the other. What leaves: their text, checked by their checksums. It starts no goroutine. RFC 1951 and 1952.
package gunzip

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

const (
	// window is how far back a match may reach, longest how long it may be.
	window  = 32 << 10
	longest = 258
	// slack is how many bytes may be written, or read, beyond what is meant.
	slack = 8
	// litBits and distBits are how many bits of a code are looked up at once.
	litBits, distBits = 11, 9
	// padding is what the decoder may take for input after its end, which is noticed later.
	padding = 64
)

// Reader reads the text of gzip members. Its errors are those of the library's packages gzip and flate, io.ErrUnexpectedEOF, and those of
// the reader below.
type Reader struct {
	r io.Reader
	// in has input from pos to end, of which the last padded bytes are none. bits has the next n bits of input, which come before pos; above
	// them are bits that will be read again.
	in       []byte
	pos, end int
	padded   int
	bits     uint64
	n        uint
	read     int64 // what has been read before in[0]

	// out has text up to w, of which rd bytes have been given away; the member begins at base, which bounds what a match may reach.
	out         []byte
	rd, w, base int

	state state
	// final: the block is the member's last.
	final      bool
	stored     int // what is left of a stored block
	lit, dist  table
	digest     uint32
	size       uint32
	err        error
	lengths    [maxLit + maxDist]uint8
	codeLength table
}

type state uint8

const (
	header state = iota
	blockHeader
	storedBlock
	codes
	trailer
)

// NewReader reads the members in r; it may read beyond them.
func NewReader(r io.Reader) *Reader {
	return &Reader{
		r: r, in: make([]byte, 64<<10+padding+slack), out: make([]byte, window+128<<10),
		lit: table{primary: litBits}, dist: table{primary: distBits}, codeLength: table{primary: 7},
	}
}

// Read is io.Reader's.
func (z *Reader) Read(p []byte) (int, error) {
	for {
		if z.rd < z.w {
			n := copy(p, z.out[z.rd:z.w])
			z.rd += n
			return n, nil
		}
		if z.err != nil || len(p) == 0 {
			return 0, z.err
		}
		z.more()
	}
}

// more writes some text, or ends with an error.
func (z *Reader) more() {
	if z.w > len(z.out)-window {
		moved := z.w - window
		copy(z.out, z.out[moved:z.w])
		z.w, z.rd, z.base = window, window, max(0, z.base-moved)
	}
	from := z.w
	z.err = z.step()
	if z.beyond() {
		z.err, z.w = io.ErrUnexpectedEOF, from // what has been made of padding is no text
	}
	z.digest = crc32.Update(z.digest, crc32.IEEETable, z.out[from:z.w])
	z.size += uint32(z.w - from)
}

func (z *Reader) step() error {
	switch z.state {
	case header:
		return z.header()
	case blockHeader:
		return z.blockHeader()
	case storedBlock:
		return z.copyStored()
	case codes:
		return z.decode()
	}
	return z.trailer()
}

// fill reads input, so that there are eight bytes, or as many as there are with padding behind them.
func (z *Reader) fill() error {
	back := int(z.n / 8) // which align may put back
	z.read += int64(z.pos - back)
	z.end = copy(z.in, z.in[z.pos-back:z.end])
	z.pos = back
	for z.end-z.pos < slack {
		if z.padded > 0 {
			return io.ErrUnexpectedEOF
		}
		n, err := z.r.Read(z.in[z.end : len(z.in)-padding-slack])
		z.end += n
		if err == io.EOF {
			clear(z.in[z.end : z.end+padding])
			z.end, z.padded = z.end+padding, padding
		} else if err != nil {
			return err
		}
	}
	return nil
}

// refill makes at least 56 bits ready.
func (z *Reader) refill() error {
	if z.end-z.pos < slack {
		if err := z.fill(); err != nil {
			return err
		}
	}
	z.bits |= binary.LittleEndian.Uint64(z.in[z.pos:]) << z.n
	z.pos += int(63-z.n) >> 3
	z.n |= 56
	return nil
}

func (z *Reader) take(n uint) uint32 {
	v := uint32(z.bits & (1<<n - 1))
	z.bits >>= n
	z.n -= n
	return v
}

// align puts the bits back of which no bit has been taken, so that in goes on at the next byte.
func (z *Reader) align() {
	z.pos -= int(z.n / 8)
	z.bits, z.n = 0, 0
}

// left is how much of the input that has been read is left.
func (z *Reader) left() int { return z.end - z.padded - z.pos + int(z.n/8) }

// beyond: more has been decoded than there was.
func (z *Reader) beyond() bool { return z.padded > 0 && z.left() < 0 }

func (z *Reader) corrupt() error {
	return flate.CorruptInputError(z.read + int64(z.pos) - int64(z.n/8))
}

// byte is the next of the input, which must be aligned.
func (z *Reader) byte() (byte, error) {
	if z.end-z.pos < slack && z.padded == 0 {
		if err := z.fill(); err != nil {
			return 0, err
		}
	}
	if z.left() <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	z.pos++
	return z.in[z.pos-1], nil
}

const (
	hasChecksum = 1 << (1 + iota)
	hasExtra
	hasName
	hasComment
)

// header reads that of a member, or the end of the input.
func (z *Reader) header() error {
	digest := uint32(0)
	next := func() (b byte, err error) {
		if b, err = z.byte(); err == nil {
			digest = crc32.Update(digest, crc32.IEEETable, []byte{b})
		}
		return b, err
	}
	first, err := next()
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	var fixed [10]byte
	fixed[0] = first
	for i := 1; i < len(fixed) && err == nil; i++ {
		fixed[i], err = next()
	}
	if err != nil {
		return err
	}
	if fixed[0] != 0x1f || fixed[1] != 0x8b || fixed[2] != 8 {
		return gzip.ErrHeader
	}
	flags := fixed[3]
	if flags&hasExtra != 0 {
		var low, high byte
		if low, err = next(); err == nil {
			high, err = next()
		}
		for n := int(low) | int(high)<<8; n > 0 && err == nil; n-- {
			_, err = next()
		}
	}
	for _, text := range []byte{hasName, hasComment} {
		for b := byte(1); flags&text != 0 && b != 0 && err == nil; {
			b, err = next()
		}
	}
	if want := uint16(digest); flags&hasChecksum != 0 && err == nil {
		var low, high byte
		if low, err = next(); err == nil {
			high, err = next()
		}
		if err == nil && want != uint16(low)|uint16(high)<<8 {
			return gzip.ErrHeader
		}
	}
	if err == nil && flags>>5 != 0 { // bits that nobody has given a meaning
		return gzip.ErrHeader
	}
	z.state, z.digest, z.size, z.base = blockHeader, 0, 0, z.w
	return err
}

func (z *Reader) trailer() error {
	z.align()
	var sums [8]byte
	for i := range sums {
		b, err := z.byte()
		if err != nil {
			return err
		}
		sums[i] = b
	}
	if binary.LittleEndian.Uint32(sums[:]) != z.digest || binary.LittleEndian.Uint32(sums[4:]) != z.size {
		return gzip.ErrChecksum
	}
	z.state = header
	return nil
}

func (z *Reader) blockHeader() error {
	if z.final {
		z.final, z.state = false, trailer
		return nil
	}
	if err := z.refill(); err != nil {
		return err
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		return z.beginStored()
	case 1:
		z.fixed()
	case 2:
		if err := z.dynamic(); err != nil {
			return err
		}
	default:
		return z.corrupt()
	}
	z.state = codes
	return nil
}

func (z *Reader) beginStored() error {
	z.align()
	var lengths [4]byte
	for i := range lengths {
		b, err := z.byte()
		if err != nil {
			return err
		}
		lengths[i] = b
	}
	n := binary.LittleEndian.Uint16(lengths[:])
	if n != ^binary.LittleEndian.Uint16(lengths[2:]) {
		return z.corrupt()
	}
	z.stored, z.state = int(n), storedBlock
	return nil
}

func (z *Reader) copyStored() error {
	if z.stored == 0 {
		z.state = blockHeader
		return nil
	}
	if z.end-z.pos < slack && z.padded == 0 {
		if err := z.fill(); err != nil {
			return err
		}
	}
	n := copy(z.out[z.w:], z.in[z.pos:z.pos+min(z.stored, z.left())])
	if n == 0 {
		return io.ErrUnexpectedEOF
	}
	z.pos, z.w, z.stored = z.pos+n, z.w+n, z.stored-n
	return nil
}

// decode writes the text of codes, until the block or the room ends.
func (z *Reader) decode() error {
	in, out := z.in, z.out
	bits, n, pos, w := z.bits, z.n, z.pos, z.w
	lit, dist := (*[1 << litBits]uint32)(z.lit.entries), (*[1 << distBits]uint32)(z.dist.entries) // so that no index is checked
	end, most := z.end-slack, len(out)-longest-slack
	for w < most {
		if n < 48 { // a length and a distance take no more
			if pos > end {
				z.bits, z.n, z.pos, z.w = bits, n, pos, w
				if err := z.fill(); err != nil {
					return err
				}
				pos, end = z.pos, z.end-slack
			}
			bits |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int(63-n) >> 3
			n |= 56
		}
		e := lit[bits%(1<<litBits)]
		if e&isLink != 0 {
			e = z.lit.entries[uint64(e>>16)+bits>>litBits%(1<<(maxBits-litBits))]
		}
		bits >>= e & 15
		n -= uint(e & 15)
		if e&isLiteral != 0 {
			out[w] = byte(e >> 16)
			w++
			continue
		}
		if e&isMatch == 0 {
			z.bits, z.n, z.pos, z.w = bits, n, pos, w
			if e&isEnd == 0 {
				return z.corrupt()
			}
			z.state = blockHeader
			return nil
		}
		extra := uint(e >> 8 & 15)
		length := int(e>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= extra
		e = dist[bits%(1<<distBits)]
		if e&isLink != 0 {
			e = z.dist.entries[uint64(e>>16)+bits>>distBits%(1<<(maxBits-distBits))]
		}
		bits >>= e & 15
		n -= uint(e & 15)
		extra = uint(e >> 8 & 15)
		back := int(e>>16) + int(bits&(1<<extra-1))
		bits >>= extra
		n -= extra
		if e&isMatch == 0 || back > w-z.base {
			z.bits, z.n, z.pos, z.w = bits, n, pos, w
			return z.corrupt()
		}
		if back >= slack {
			from, to := out[w-back:], out[w:]
			for i := 0; i < length; i += 8 { // what is written too much is written over
				binary.LittleEndian.PutUint64(to[i:], binary.LittleEndian.Uint64(from[i:]))
			}
		} else {
			for i := w; i < w+length; i++ {
				out[i] = out[i-back]
			}
		}
		w += length
	}
	z.bits, z.n, z.pos, z.w = bits, n, pos, w
	return nil
}
