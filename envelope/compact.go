package envelope

import "unicode/utf8"

// What may stand next in a JSON text; 0 where it has ended.
const (
	wantValue = 1 << iota
	wantName
	wantColon
	wantComma
	wantClose
	space
)

// tokens has, for each byte that a token can begin with, where it may stand.
var tokens = func() (t [256]byte) {
	for c := range 256 {
		if b := byte(c); isDigit(b) || isLetter(b) || b == '-' || b == '+' || b == '.' {
			t[c] = wantValue
		}
	}
	t['"'] = wantValue | wantName
	t['{'], t['['] = wantValue, wantValue
	t['}'], t[']'] = wantClose, wantClose
	t[':'], t[','] = wantColon, wantComma
	t[' '], t['\t'], t['\n'], t['\r'] = space, space, space, space
	return t
}()

// Compact checks that src is exactly one JSON text as RFC 8259 has it, within lim, and appends it to dst without the whitespace
// outside strings and without a leading byte order mark; every other byte stays. An escaped lone surrogate is accepted, since the
// text is kept as it came. The error is a *SyntaxError, and dst then comes back as it was.
func Compact(dst, src []byte, lim Limits) ([]byte, error) {
	// A pass of its own, because over ASCII it costs next to nothing and then no other scanner needs to know of UTF-8.
	if !utf8.Valid(src) {
		return dst, &SyntaxError{firstInvalid(src), InvalidUTF8}
	}
	lim = lim.orDefault()
	var room [64]byte
	open := room[:0] // the brackets that are open. Invariant 3: they lie here and not on the stack
	want := byte(wantValue)
	i := textStart(src)
	out, copied := dst, i // src[:copied] is in out or left out
	for i < len(src) {
		c := src[i]
		if tokens[c]&want == 0 {
			if tokens[c] != space {
				return dst, &SyntaxError{i, misplaced(want)}
			}
			// Invariant 1: this is all that is left out. Between two such places the bytes go over in one copy.
			out = append(out, src[copied:i]...)
			i = skipSpace(src, i+1)
			copied = i
			continue
		}
		end, reason := i+1, ""
		switch c {
		case '"':
			end, reason = stringEnd(src, i+1, lim.String)
			if want&wantName != 0 {
				want = wantColon
			} else {
				want = afterValue(open)
			}
		case '{', '[':
			if len(open) == lim.Depth {
				return dst, &SyntaxError{i, TooDeep}
			}
			open = append(open, c)
			want = inside(c) | wantClose
		case '}', ']':
			if open[len(open)-1] != opener(c) {
				return dst, &SyntaxError{i, UnexpectedCharacter}
			}
			open = open[:len(open)-1]
			want = afterValue(open)
		case ',':
			want = inside(open[len(open)-1])
		case ':':
			want = wantValue
		default:
			end, reason = scalarEnd(src, i)
			want = afterValue(open)
		}
		if reason != "" {
			return dst, &SyntaxError{end, reason}
		}
		i = end
	}
	if want != 0 {
		return dst, &SyntaxError{i, missing(want, open)}
	}
	return append(out, src[copied:]...), nil
}

// inside is what a bracket holds.
func inside(bracket byte) byte {
	if bracket == '{' {
		return wantName
	}
	return wantValue
}

func afterValue(open []byte) byte {
	if len(open) == 0 {
		return 0
	}
	return wantComma | wantClose
}

func misplaced(want byte) string {
	if want == 0 {
		return TextAfterValue
	}
	return UnexpectedCharacter
}

func missing(want byte, open []byte) string {
	if want == wantValue && len(open) == 0 {
		return Empty
	}
	return UnexpectedEnd
}

// orDefault fills the limits that are not set.
func (l Limits) orDefault() Limits {
	if l.Depth <= 0 {
		l.Depth = DefaultLimits.Depth
	}
	if l.String <= 0 {
		l.String = DefaultLimits.String
	}
	return l
}
