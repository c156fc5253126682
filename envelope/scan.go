package envelope

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The scanners below return the index after what they scanned and "", or the index of the fault and its reason.

// textStart is the index of the first byte of the value: after a byte order mark and whitespace.
func textStart(text []byte) int {
	i := 0
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		i = 3
	}
	return skipSpace(text, i)
}

// textEnd wants nothing but whitespace from i on.
func textEnd(text []byte, i int) (int, string) {
	if i = skipSpace(text, i); i < len(text) {
		return i, TextAfterValue
	}
	return i, ""
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// firstInvalid is the index of the first byte that is not UTF-8.
func firstInvalid(text []byte) int {
	i := 0
	for i < len(text) {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return i
}

// plainEnd is the index, from i on, of the first byte that a JSON string cannot hold as it is: a quote, a backslash, a control
// character; or the length of text. It takes eight bytes at a time, because most of most texts lies inside strings.
func plainEnd(text []byte, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(text); i += 8 {
		x := binary.LittleEndian.Uint64(text[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A borrow can mark a byte falsely, but only after one that is marked rightly, and the first is what counts.
		special := ((x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & high
		if special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(text) && text[i] >= 0x20 && text[i] != '"' && text[i] != '\\' {
		i++
	}
	return i
}

// stringEnd scans a string strictly; i is after its opening quote.
func stringEnd(text []byte, i, longest int) (int, string) {
	start := i
	for {
		i = plainEnd(text, i)
		switch {
		case i == len(text):
			return i, UnexpectedEnd
		case text[i] == '"' && i-start > longest:
			return start - 1, StringTooLong
		case text[i] == '"':
			return i + 1, ""
		case text[i] != '\\':
			return i, ControlCharacter
		}
		n, reason := escapeLength(text[i:])
		if reason != "" {
			return i, reason
		}
		i += n
	}
}

// escapeLength is the length of the escape that text begins with.
func escapeLength(text []byte) (int, string) {
	if len(text) < 2 {
		return 0, UnexpectedEnd
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ""
	case 'u':
		for i := 2; i < 6; i++ {
			if i == len(text) {
				return 0, UnexpectedEnd
			}
			if !isHex(text[i]) {
				return 0, BadEscape
			}
		}
		return 6, ""
	}
	return 0, BadEscape
}

func isDigit(c byte) bool  { return c-'0' <= 9 }
func isLetter(c byte) bool { return c|0x20-'a' <= 'z'-'a' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20-'a' <= 'f'-'a' }

// scalarEnd scans a number or a word strictly.
func scalarEnd(text []byte, i int) (int, string) {
	switch c := text[i]; {
	case isLetter(c):
		return wordEnd(text, i)
	case isDigit(c), c == '-', c == '+', c == '.':
		return numberEnd(text, i)
	}
	return i, UnexpectedCharacter
}

func wordEnd(text []byte, i int) (int, string) {
	end := i
	for end < len(text) && isLetter(text[end]) {
		end++
	}
	word := text[i:end]
	for _, literal := range []string{"true", "false", "null"} {
		if string(word) == literal {
			return end, ""
		}
		if end == len(text) && bytes.HasPrefix([]byte(literal), word) {
			return end, UnexpectedEnd
		}
	}
	return i, BadLiteral
}

func numberEnd(text []byte, i int) (int, string) {
	start := i
	if text[i] == '-' {
		i++
	}
	first := i
	i, digits := digitsEnd(text, i)
	if !digits || text[first] == '0' && i-first > 1 {
		return badNumber(text, start, i)
	}
	if i < len(text) && text[i] == '.' {
		if i, digits = digitsEnd(text, i+1); !digits {
			return badNumber(text, start, i)
		}
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if i, digits = digitsEnd(text, i); !digits {
			return badNumber(text, start, i)
		}
	}
	// 1x2 is one wrong number, not a number and text after it.
	if i < len(text) && (isLetter(text[i]) || text[i] == '.' || text[i] == '+' || text[i] == '-') {
		return start, BadNumber
	}
	return i, ""
}

func digitsEnd(text []byte, i int) (end int, some bool) {
	start := i
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i, i > start
}

// badNumber tells a number that is cut off from one that is wrong.
func badNumber(text []byte, start, i int) (int, string) {
	if i == len(text) && !isDigit(text[i-1]) && text[start] != '+' && text[start] != '.' {
		return i, UnexpectedEnd
	}
	return start, BadNumber
}

// quoteEnd finds the end of a string without checking what is in it; i is after its opening quote.
func quoteEnd(text []byte, i int) (int, string) {
	start := i
	for {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return len(text), UnexpectedEnd
		}
		i += n
		slashes := i
		for slashes > start && text[slashes-1] == '\\' {
			slashes--
		}
		if i++; (i-1-slashes)%2 == 0 {
			return i, ""
		}
	}
}

// bracketOrQuote are the bytes that skipping a value has to stop at.
var bracketOrQuote = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true}

// valueEnd skips the value at i: it matches brackets and quotes and checks nothing else inside arrays, objects and strings.
func valueEnd(text []byte, i int) (int, string) {
	switch {
	case i == len(text):
		return i, UnexpectedEnd
	case text[i] == '"':
		return quoteEnd(text, i+1)
	case text[i] != '{' && text[i] != '[':
		return scalarEnd(text, i)
	}
	var room [64]byte
	open := room[:0]
	for i < len(text) {
		c := text[i]
		i++
		if !bracketOrQuote[c] {
			continue
		}
		switch c {
		case '"':
			var reason string
			if i, reason = quoteEnd(text, i); reason != "" {
				return i, reason
			}
		case '{', '[':
			open = append(open, c)
		default:
			if open[len(open)-1] != opener(c) {
				return i - 1, UnexpectedCharacter
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i, ""
			}
		}
	}
	return i, UnexpectedEnd
}

// opener is the bracket that c closes; ASCII has each pair two apart.
func opener(c byte) byte { return c - 2 }

// eachMember calls f for each member of the object that begins at text[i], with the indexes of its name's first quote and its
// value. It stops at the first reason that f returns, which is then a fault at the name.
func eachMember(text []byte, i int, f func(name, from, to int) string) (int, string) {
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == '}' {
		return i + 1, ""
	}
	for {
		name := i
		from, to, reason := member(text, i)
		if reason != "" {
			return to, reason
		}
		if reason = f(name, from, to); reason != "" {
			return name, reason
		}
		i = skipSpace(text, to)
		switch {
		case i == len(text):
			return i, UnexpectedEnd
		case text[i] == '}':
			return i + 1, ""
		case text[i] != ',':
			return i, UnexpectedCharacter
		}
		i = skipSpace(text, i+1)
	}
}

// member scans "name": value and returns where the value is; at a fault, to is its index.
func member(text []byte, i int) (from, to int, reason string) {
	if i == len(text) {
		return 0, i, UnexpectedEnd
	}
	if text[i] != '"' {
		return 0, i, UnexpectedCharacter
	}
	if i, reason = quoteEnd(text, i+1); reason != "" {
		return 0, i, reason
	}
	i = skipSpace(text, i)
	if i == len(text) {
		return 0, i, UnexpectedEnd
	}
	if text[i] != ':' {
		return 0, i, UnexpectedCharacter
	}
	from = skipSpace(text, i+1)
	to, reason = valueEnd(text, from)
	return from, to, reason
}
