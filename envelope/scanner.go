package envelope

import "unicode/utf8"

// Scanner is Compact, and Lookup of one path, for texts of which many look alike, as the records of a topic do. It remembers the
// layouts of some texts, which is all of them but their strings and numbers, and of a text with such a layout it checks only
// these. What it says of a text is what Compact and Lookup say, whatever came before. It is not for concurrent use.
type Scanner struct {
	limits  Limits
	path    []string
	layouts []layout // the one that was met last comes first
	misses  int      // texts without a known layout since the last with one
	buf     []byte
}

// layout is what stays when the strings, numbers and words that are values are taken out of a text.
type layout struct {
	pieces [][]byte // around the values: one more than these
	// compact are the pieces without whitespace, nil where there is none.
	compact [][]byte
	// field is which of the values is at the Scanner's path; -1 for none.
	field int
}

const (
	maxLayouts = 4
	// A layout is remembered of texts up to maxLayout bytes with at most maxValues values.
	maxLayout = 64 << 10
	maxValues = 1024
	// After manyMisses, layouts are tried and remembered for one text in missStep only.
	manyMisses, missStep = 32, 16
	// keptBuf is how large a buffer may be to be used again.
	keptBuf = 1 << 20
)

// NewScanner makes a scanner for texts within lim that looks up path, if it has names.
func NewScanner(lim Limits, path ...string) *Scanner {
	return &Scanner{limits: lim.orDefault(), path: path}
}

// Scan gives the text without whitespace outside strings, and in it the raw text of the value at the path, nil where Lookup finds none. Both are
// parts of src or of memory that the next Scan uses again. The error is Compact's.
func (s *Scanner) Scan(src []byte) (line, field []byte, err error) {
	if s.misses >= manyMisses && s.misses%missStep != 0 {
		s.misses++
		return s.scanNew(src, false)
	}
	for i := range s.layouts {
		if line, field, ok := s.match(&s.layouts[i], src); ok {
			s.misses = 0
			if i > 0 {
				met := s.layouts[i]
				copy(s.layouts[1:i+1], s.layouts[:i])
				s.layouts[0] = met
			}
			return line, field, nil
		}
	}
	s.misses++
	return s.scanNew(src, true)
}

// scanNew scans a text whose layout is not known.
func (s *Scanner) scanNew(src []byte, learn bool) (line, field []byte, err error) {
	if cap(s.buf) > keptBuf {
		s.buf = nil
	}
	line, err = Compact(s.buf[:0], src, s.limits)
	if err != nil {
		return nil, nil, err
	}
	s.buf = line
	from, to := 0, 0
	if len(s.path) > 0 {
		if from, to, err = lookup(line, s.path); err != nil {
			return nil, nil, err
		}
		if to > 0 {
			field = line[from:to:to]
		}
	}
	if learn {
		s.learn(src, line, from, to)
	}
	return line, field, nil
}

// match scans a text if it has the layout. It stops at the first difference; which one, and whether it is a fault, is for Compact to say.
func (s *Scanner) match(l *layout, src []byte) (line, field []byte, ok bool) {
	out := s.buf[:0]
	i := 0
	for n, piece := range l.pieces {
		if len(src)-i < len(piece) || string(src[i:i+len(piece)]) != string(piece) {
			return nil, nil, false
		}
		i += len(piece)
		if l.compact != nil {
			out = append(out, l.compact[n]...)
		}
		if n == len(l.pieces)-1 {
			break
		}
		if i == len(src) {
			return nil, nil, false
		}
		from, reason := i, ""
		if src[i] == '"' {
			i, reason = stringEnd(src, i+1, s.limits.String)
			if reason == "" && !utf8.Valid(src[from:i]) {
				return nil, nil, false
			}
		} else {
			i, reason = scalarEnd(src, i)
		}
		if reason != "" {
			return nil, nil, false
		}
		if n == l.field {
			field = src[from:i:i]
		}
		if l.compact != nil {
			out = append(out, src[from:i]...)
		}
	}
	if i < len(src) {
		return nil, nil, false
	}
	if l.compact == nil {
		return src, field, true
	}
	s.buf = out
	return out, field, true
}

// learn remembers the layout of a text that has been checked, in the place of the one that was not met for the longest time. line[from:to] is
// what the path leads to; to is 0 for nothing.
func (s *Scanner) learn(src, line []byte, from, to int) {
	if len(src) > maxLayout || textStart(src) >= 3 && src[0] == 0xef {
		return
	}
	compact, starts := split(line)
	l := layout{pieces: compact, field: -1}
	for n, start := range starts {
		if to > 0 && start == from {
			l.field = n
		}
	}
	if to > 0 && l.field < 0 || len(starts) > maxValues {
		return // it leads to an object or array, which is no value here
	}
	if len(line) != len(src) {
		l.pieces, _ = split(src)
		l.compact = compact
	}
	if len(s.layouts) == maxLayouts {
		s.layouts = s.layouts[:maxLayouts-1]
	}
	s.layouts = append(s.layouts, l)
}

// split copies what lies around the values of a text that has been checked, and says where these begin.
func split(text []byte) (pieces [][]byte, starts []int) {
	text = append([]byte(nil), text...)
	from := 0
	for i := 0; i < len(text); {
		end := i + 1
		switch c := text[i]; {
		case c == '"':
			end, _ = quoteEnd(text, i+1)
			if next := skipSpace(text, end); next < len(text) && text[next] == ':' {
				i = end
				continue // a name
			}
		case isLetter(c), isDigit(c), c == '-':
			end, _ = scalarEnd(text, i)
		default:
			i = end
			continue
		}
		pieces, starts = append(pieces, text[from:i:i]), append(starts, i)
		from, i = end, end
	}
	return append(pieces, text[from:]), starts
}
