package serialize

import (
	"bytes"
	"unicode/utf8"

	"headwater/envelope"
)

// What Spark's reader takes in beyond RFC 8259: strings and keys in single quotes, \' in any string, and numbers that are not finite.

// beyond reads a value that begins with c; tokenEnd means that it is none of these.
func (s *scanner) beyond(c byte) token {
	switch c {
	case '\'':
		if !s.singleQuoted() {
			return tokenFault
		}
		return tokenString
	case 'N', 'I', '+':
		return s.notFinite()
	}
	return tokenEnd
}

var notFinite = [][]byte{[]byte("NaN"), []byte("Infinity"), []byte("-Infinity"), []byte("+Infinity"), []byte("-INF"), []byte("+INF")}

func (s *scanner) notFinite() token {
	for _, word := range notFinite {
		if bytes.HasPrefix(s.data[s.pos:], word) {
			s.start, s.end = s.pos, s.pos+len(word)
			s.pos, s.whole, s.exponent = s.end, false, true // its text tells what it is
			return tokenNumber
		}
	}
	return s.fault(envelope.BadNumber)
}

// singleQuoted reads a string from its opening quote. There are few: it takes its time.
func (s *scanner) singleQuoted() bool {
	d, i := s.data, s.pos+1
	s.start, s.escaped = i, false
	high := false
	for i < len(d) {
		switch c := d[i]; {
		case c == '\'':
			s.end, s.pos = i, i+1
			return s.checkText(high)
		case c < ' ':
			s.reason = envelope.ControlCharacter
			return false
		case c == '\\':
			s.escaped = true
			n := s.escape(d[i:])
			if n == 0 {
				s.reason = envelope.BadEscape
				return false
			}
			i += n
			continue
		case c >= utf8.RuneSelf:
			high = true
		}
		i++
	}
	s.reason = envelope.UnexpectedEnd
	return false
}
