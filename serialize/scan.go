package serialize

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"headwater/envelope"
	"headwater/schema"
)

// token is what the scanner met.
type token uint8

const (
	// tokenFault: the text is not JSON; scanner.reason says why.
	tokenFault token = iota
	tokenEnd
	tokenNull
	tokenTrue
	tokenFalse
	tokenNumber
	tokenString
	tokenKey
	tokenObject
	tokenArray
	// tokenClose ends the innermost object or array.
	tokenClose
)

// What the scanner expects next.
const (
	wantValue uint8 = iota
	wantFirstKey
	wantFirstElem
	wantComma
)

// scanner cuts one JSON text into tokens and checks it against RFC 8259 on the way. It keeps a stack of its own and allocates nothing per text.
type scanner struct {
	limits envelope.Limits
	// lenient takes in what Spark does beyond RFC 8259: scanlenient.go.
	lenient bool

	data []byte
	pos  int
	want uint8
	open []bool // for each open bracket whether it is an object

	// start and end are the token's bytes, without the quotes of strings and keys; of objects and arrays only start is set.
	start, end int
	// escaped: the string or key has a backslash in it.
	escaped bool
	// whole: the number has neither fraction nor exponent; exponent: it has the latter.
	whole, exponent bool
	// magnitude is what the number's digits are without sign, point and exponent, if they are at most 19; scale is how many come after the point.
	magnitude uint64
	scale     int
	// reason is one of envelope's after a fault.
	reason string
}

func newScanner() scanner {
	limits := envelope.DefaultLimits
	limits.Depth++ // they judge the item, not its envelope
	return scanner{limits: limits}
}

// reset begins a text. A byte order mark before it is passed over.
func (s *scanner) reset(text []byte) {
	s.data, s.pos, s.want, s.open, s.reason = text, 0, wantValue, s.open[:0], ""
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		s.pos = 3
	}
}

// bytes are those of the last scalar token.
func (s *scanner) bytes() []byte { return s.data[s.start:s.end] }

func (s *scanner) fault(reason string) token {
	if s.pos >= len(s.data) {
		reason = envelope.UnexpectedEnd
	}
	s.reason = reason
	return tokenFault
}

// peek passes over whitespace and returns the next byte, 0 at the end (which no JSON text may have there either).
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
		s.pos++
	}
	return 0
}

// next reads a token. After tokenFault and tokenEnd it must not be called again.
func (s *scanner) next() token {
	c := s.peek()
	switch s.want {
	case wantComma:
		if len(s.open) == 0 {
			if s.pos < len(s.data) {
				return s.fault(envelope.TextAfterValue)
			}
			return tokenEnd
		}
		object := s.open[len(s.open)-1]
		if c == ',' {
			s.pos++
			c = s.peek()
			if object {
				return s.key(c)
			}
			break
		}
		if object && c == '}' || !object && c == ']' {
			return s.close()
		}
		return s.fault(envelope.UnexpectedCharacter)
	case wantFirstKey:
		if c == '}' {
			return s.close()
		}
		return s.key(c)
	case wantFirstElem:
		if c == ']' {
			return s.close()
		}
	}
	return s.value(c)
}

func (s *scanner) close() token {
	s.pos++
	s.open = s.open[:len(s.open)-1]
	s.want = wantComma
	return tokenClose
}

func (s *scanner) key(c byte) token {
	switch {
	case c == '"':
		if !s.text() {
			return tokenFault
		}
	case c == '\'' && s.lenient:
		if !s.singleQuoted() {
			return tokenFault
		}
	default:
		return s.fault(envelope.UnexpectedCharacter)
	}
	if s.peek() != ':' {
		return s.fault(envelope.UnexpectedCharacter)
	}
	s.pos++
	s.want = wantValue
	return tokenKey
}

// passKey is true if text, a comma and a key and a colon, comes next, and then does what next does at a key; at the beginning of an object the comma is
// left out. It may be called only where the innermost bracket is an object, and text must be as next would take it in.
func (s *scanner) passKey(text string) bool {
	switch s.want {
	case wantComma:
	case wantFirstKey:
		text = text[1:]
	default:
		return false
	}
	if end := s.pos + len(text); end > len(s.data) || string(s.data[s.pos:end]) != text {
		return false
	}
	s.pos += len(text)
	s.want = wantValue
	return true
}

func (s *scanner) value(c byte) token {
	s.want = wantComma
	switch c {
	case '"':
		if !s.text() {
			return tokenFault
		}
		return tokenString
	case '{':
		return s.bracket(true)
	case '[':
		return s.bracket(false)
	case 'n':
		return s.word("null", tokenNull)
	case 't':
		return s.word("true", tokenTrue)
	case 'f':
		return s.word("false", tokenFalse)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number()
	}
	if s.lenient {
		if t := s.beyond(c); t != tokenEnd {
			return t
		}
	}
	if c >= 'A' && c <= 'z' && c != '\\' && c != ']' {
		return s.fault(envelope.BadLiteral)
	}
	return s.fault(envelope.UnexpectedCharacter)
}

func (s *scanner) bracket(object bool) token {
	if len(s.open) >= s.limits.Depth {
		return s.fault(envelope.TooDeep)
	}
	s.start = s.pos
	s.pos++
	s.open = append(s.open, object)
	if object {
		s.want = wantFirstKey
		return tokenObject
	}
	s.want = wantFirstElem
	return tokenArray
}

func (s *scanner) word(w string, t token) token {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(w)) {
		return s.fault(envelope.BadLiteral)
	}
	s.start, s.end = s.pos, s.pos+len(w)
	s.pos = s.end
	return t
}

func (s *scanner) number() token {
	d, i := s.data, s.pos
	s.start, s.whole, s.exponent, s.scale = i, true, false, 0
	if d[i] == '-' {
		i++
		if s.lenient && i < len(d) && d[i] == 'I' {
			return s.notFinite()
		}
	}
	first := i
	i, n := digits(d, i, 0)
	ok := i > first && (d[first] != '0' || i == first+1)
	if ok && i < len(d) && d[i] == '.' {
		s.whole = false
		i++
		first = i
		i, n = digits(d, i, n)
		s.scale = i - first
		ok = i > first
	}
	if ok && i < len(d) && (d[i] == 'e' || d[i] == 'E') {
		s.whole, s.exponent = false, true
		i++
		if i < len(d) && (d[i] == '+' || d[i] == '-') {
			i++
		}
		first = i
		i, _ = digits(d, i, 0)
		ok = i > first
	}
	s.pos, s.end, s.magnitude = i, i, n
	if !ok {
		return s.fault(envelope.BadNumber)
	}
	return tokenNumber
}

// seenNumber is what schema.SeenOfNumber says of the number just read, without looking at its digits again where their number tells.
func (s *scanner) seenNumber() schema.Seen {
	switch n := s.end - s.start; {
	case s.whole && n <= 15:
		return schema.SeenInt
	case !s.whole && !s.exponent && n < 300:
		return schema.SeenFraction
	}
	return schema.SeenOfNumber(s.bytes())
}

// digits is where the digits that begin at i end, and n with them appended, which wraps around.
func digits(d []byte, i int, n uint64) (end int, value uint64) {
	for i+8 <= len(d) {
		x := binary.LittleEndian.Uint64(d[i:]) ^ ones*'0'
		// A sum may carry over, but only after a byte that is rightly marked as no digit.
		k := bits.TrailingZeros64((x+ones*(0x80-10)|x)&tops) / 8
		if k < 8 {
			if k > 0 {
				n = n*tens[k] + eightDigits(x<<(64-8*k))
			}
			return i + k, n
		}
		n = n*tens[8] + eightDigits(x)
		i += 8
	}
	for i < len(d) && d[i]-'0' <= 9 {
		n = n*10 + uint64(d[i]-'0')
		i++
	}
	return i, n
}

var tens = [9]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// eightDigits is the number whose digits, not as characters, are the bytes of x from the lowest on: pairs of them are made numbers at once, then pairs of these.
func eightDigits(x uint64) uint64 {
	const low = 0x000000ff_000000ff
	x = x*10 + x>>8
	return ((x&low)*(100+1_000_000<<32) + (x>>16&low)*(1+10_000<<32)) >> 32
}

// long is the number just read as an integer; beyond 18 digits it leaves the care for overflow to the library.
func (s *scanner) long() (int64, bool) {
	if !s.whole || s.end-s.start > 18 {
		n, err := strconv.ParseInt(string(s.bytes()), 10, 64)
		return n, err == nil
	}
	n := int64(s.magnitude)
	if s.data[s.start] == '-' {
		n = -n
	}
	return n, true
}

// powers of ten that a double holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// double is the number just read. Fifteen digits with a point among them are one division of two numbers that doubles hold exactly, which
// rounds as it should, and sixteen without one are a conversion; everything else is left to the library.
func (s *scanner) double() (float64, bool) {
	length, negative := s.end-s.start, s.data[s.start] == '-'
	if negative {
		length--
	}
	if s.exponent || length > 16 {
		f, err := strconv.ParseFloat(string(s.bytes()), 64)
		return f, err == nil
	}
	f := float64(int64(s.magnitude)) / powers[s.scale]
	if negative {
		f = -f
	}
	return f, true
}

// plain has the bytes that end no run inside a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf
	}
	return t
}()

// ones has a one in each of eight bytes, tops the uppermost bit of each.
const ones, tops = 0x0101010101010101, 0x8080808080808080

// plainBytes is how many of the eight bytes in x come before the first that is not plain: of each byte, the uppermost bit of the sum
// below is set if it is not. A borrow may set more, but only after a byte that is rightly marked.
func plainBytes(x uint64) int {
	quote, backslash := x^ones*'"', x^ones*'\\'
	odd := ((x - ones*' ') | (quote - ones) | (backslash - ones) | x) & tops
	return bits.TrailingZeros64(odd) / 8
}

// text reads a string from its opening quote.
func (s *scanner) text() bool {
	d, i := s.data, s.pos+1
	s.start, s.escaped = i, false
	high := false
	for {
		for i+8 <= len(d) {
			n := plainBytes(binary.LittleEndian.Uint64(d[i:]))
			if i += n; n < 8 {
				break
			}
		}
		for i < len(d) && plain[d[i]] {
			i++
		}
		if i >= len(d) {
			s.reason = envelope.UnexpectedEnd
			return false
		}
		switch c := d[i]; {
		case c == '"':
			s.end, s.pos = i, i+1
			return s.checkText(high)
		case c >= utf8.RuneSelf:
			high = true
			for i++; i < len(d) && d[i] >= utf8.RuneSelf; i++ {
			}
		case c == '\\':
			s.escaped = true
			n := s.escape(d[i:])
			if n == 0 {
				s.reason = envelope.BadEscape
				return false
			}
			i += n
		default:
			s.reason = envelope.ControlCharacter
			return false
		}
	}
}

func (s *scanner) checkText(high bool) bool {
	switch {
	case s.end-s.start > s.limits.String:
		s.reason = envelope.StringTooLong
	case high && !utf8.Valid(s.data[s.start:s.end]):
		s.reason = envelope.InvalidUTF8
	default:
		return true
	}
	return false
}

// escape is the length of the escape that d begins with, 0 if it is none.
func (s *scanner) escape(d []byte) int {
	if len(d) < 2 {
		return 0
	}
	switch d[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case '\'':
		if s.lenient {
			return 2
		}
	case 'u':
		if _, ok := hex4(d[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(d []byte) (r rune, ok bool) {
	if len(d) < 4 {
		return 0, false
	}
	for _, c := range d[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip reads on to the end of the object or array that has just begun.
func (s *scanner) skip() bool {
	for outside := len(s.open) - 1; len(s.open) > outside; {
		if s.next() == tokenFault {
			return false
		}
	}
	return true
}

// unescape appends the characters that src, the inside of a checked JSON string, stands for. Half a surrogate pair
// stands for nothing that UTF-8 can hold and becomes half; lone counts those.
func unescape(dst, src []byte, half rune) (out []byte, lone int) {
	for {
		i := bytes.IndexByte(src, '\\')
		if i < 0 {
			return append(dst, src...), lone
		}
		dst = append(dst, src[:i]...)
		src = src[i:]
		if src[1] != 'u' {
			dst = append(dst, short(src[1]))
			src = src[2:]
			continue
		}
		r, _ := hex4(src[2:])
		src = src[6:]
		if r >= 0xd800 && r < 0xe000 {
			var whole bool
			if r, whole = pair(r, src); whole {
				src = src[6:]
			} else {
				r = half
				lone++
			}
		}
		dst = utf8.AppendRune(dst, r)
	}
}

// pair joins the surrogate r with the escape that follows it.
func pair(r rune, src []byte) (rune, bool) {
	if r < 0xdc00 && len(src) >= 6 && src[0] == '\\' && src[1] == 'u' {
		if low, ok := hex4(src[2:]); ok && low >= 0xdc00 && low < 0xe000 {
			return (r-0xd800)<<10 | (low - 0xdc00) + 0x10000, true
		}
	}
	return utf8.RuneError, false
}

func short(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// compact appends src, a checked JSON text, without the whitespace outside its strings; every other byte stays.
func compact(dst, src []byte) []byte {
	inside := false
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case c == '\\': // only inside strings
			dst = append(dst, c)
			i++
			c = src[i]
		case c == '"':
			inside = !inside
		case !inside && c <= ' ':
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
