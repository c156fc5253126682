package file

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"headwater/envelope"
)

// ending says what follows a text that is being cut.
type ending int

const (
	more  ending = iota // perhaps more text
	full                // more text than can be held
	final               // nothing
)

// cutter cuts items off the front of a text.
type cutter interface {
	// cut finds the first item and how many bytes it takes; 0 means that the text does not hold all of it. Without emit
	// the bytes are to be passed over. The item refers to text and to buffers that the next cut uses again.
	cut(text []byte, end ending) (n int, it envelope.Item, emit bool)
	// whole is true if an item is all of a file, lined if an item that cannot be held ends where a line does; otherwise it ends with the file.
	whole() bool
	lined() bool
}

// line finds the first line; n is its length with its end, line is without.
func line(text []byte, end ending) (n int, line []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		n, line = i+1, text[:i]
	} else if end == final {
		n, line = len(text), text
	}
	return n, bytes.TrimSuffix(line, []byte("\r"))
}

// lines cuts lines of text, or of JSON, where blank ones mean nothing.
type lines struct{ kind envelope.Kind }

func (lines) whole() bool { return false }
func (lines) lined() bool { return true }

func (c lines) cut(text []byte, end ending) (int, envelope.Item, bool) {
	n, l := line(text, end)
	blank := c.kind == envelope.JSON && len(bytes.TrimSpace(l)) == 0
	return n, envelope.Item{Kind: c.kind, Data: l}, n > 0 && !blank
}

// whole takes a file for one item.
type whole struct{ kind envelope.Kind }

func (whole) whole() bool { return true }
func (whole) lined() bool { return false }

func (c whole) cut(text []byte, end ending) (int, envelope.Item, bool) {
	if end != final {
		return 0, envelope.Item{}, false
	}
	return len(text), envelope.Item{Kind: c.kind, Data: text}, len(text) > 0
}

// rows cuts rows of CSV: RFC 4180, with any one-byte delimiter, line ends of either kind, and quotes inside unquoted
// fields taken as they are.
type rows struct {
	delimiter byte
	header    bool
	names     []string
	badHeader string

	fields []string
	ends   []int  // where the fields end in joined
	joined []byte // the fields of a row that has quotes
}

func (*rows) whole() bool { return false }
func (*rows) lined() bool { return true }

func (c *rows) cut(text []byte, end ending) (int, envelope.Item, bool) {
	n, bad := c.row(text, end)
	if n == 0 {
		return 0, envelope.Item{}, false
	}
	raw := trimEnd(text[:n])
	if len(raw) == 0 {
		return n, envelope.Item{}, false
	}
	switch {
	case bad != "":
	case c.names == nil && c.badHeader == "" && c.header:
		c.names = envelope.UniqueNames(c.fields)
		return n, envelope.Item{}, false
	case c.names == nil && c.badHeader == "":
		c.names = positional(len(c.fields))
	case c.badHeader != "":
		bad = "the header of this file is malformed: " + c.badHeader
	case len(c.fields) != len(c.names):
		bad = fmt.Sprintf("row of %d fields where there should be %d", len(c.fields), len(c.names))
	}
	if bad != "" {
		if c.header && !c.named() {
			c.badHeader = bad
		}
		return n, envelope.Item{Kind: envelope.Text, Data: raw, Malformed: bad}, true
	}
	return n, envelope.Item{Kind: envelope.Fields, Names: c.names, Values: c.fields, Data: raw}, true
}

// named says that the header, or the first row, has been seen.
func (c *rows) named() bool { return c.names != nil || c.badHeader != "" }

// refuseHeader is for a header that is longer than can be held.
func (c *rows) refuseHeader() {
	if c.header && !c.named() {
		c.badHeader = "it is longer than max_item"
	}
}

func trimEnd(raw []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
}

// row reads the first row into fields. A row that is bad ends with the line where that shows.
func (c *rows) row(text []byte, end ending) (n int, bad string) {
	n, l := line(text, end)
	if bytes.IndexByte(l, '"') >= 0 || n == 0 && bytes.IndexByte(text, '"') >= 0 {
		return c.quoted(text, end)
	}
	c.fields = c.fields[:0]
	for s := string(l); ; {
		i := strings.IndexByte(s, c.delimiter)
		if i < 0 {
			c.fields = append(c.fields, s)
			return n, ""
		}
		c.fields = append(c.fields, s[:i])
		s = s[i+1:]
	}
}

// quoted reads a row that may have quoted fields.
func (c *rows) quoted(text []byte, end ending) (n int, bad string) {
	c.joined, c.ends = c.joined[:0], c.ends[:0]
	for i := 0; ; i++ { // past the delimiter
		quoted := i < len(text) && text[i] == '"'
		if quoted {
			i = c.closing(text, i+1)
		} else {
			i = c.plain(text, i)
		}
		if i >= len(text) && end != final || i > len(text) {
			return c.open(text, end, quoted)
		}
		c.ends = append(c.ends, len(c.joined))
		rest := text[i:]
		switch {
		case len(rest) > 0 && rest[0] == c.delimiter:
			continue
		case len(rest) == 0:
		case rest[0] == '\n':
			i++
		case rest[0] == '\r' && len(rest) == 1 && end != final:
			return c.open(text, end, quoted)
		case rest[0] == '\r' && (len(rest) == 1 || rest[1] == '\n'):
			i = min(i+2, len(text))
		default:
			n, _ := line(rest, end)
			if n == 0 {
				return c.open(text, end, false)
			}
			return i + n, "text after a closing quote in field " + strconv.Itoa(len(c.ends))
		}
		c.split()
		return i, ""
	}
}

// closing joins what is inside quotes from i on and returns the index after the closing one, or past the text.
func (c *rows) closing(text []byte, i int) int {
	for {
		j := bytes.IndexByte(text[i:], '"')
		if j < 0 {
			return len(text) + 1
		}
		c.joined = append(c.joined, text[i:i+j]...)
		i += j + 1
		if i == len(text) || text[i] != '"' {
			return i
		}
		c.joined = append(c.joined, '"')
		i++
	}
}

// plain joins a field without quotes from i on and returns the index of what ends it.
func (c *rows) plain(text []byte, i int) int {
	start := i
	for i < len(text) && text[i] != c.delimiter && text[i] != '\n' {
		i++
	}
	if i > start && text[i-1] == '\r' && (i == len(text) || text[i] == '\n') {
		i--
	}
	c.joined = append(c.joined, text[start:i]...)
	return i
}

// open judges a row whose end is not in the text. If it stays open for a quote, its first line is bad and reading goes on with
// the next one, so that one stray quote does not swallow the rest of a file.
func (c *rows) open(text []byte, end ending, quoted bool) (n int, bad string) {
	if end == more || end == full && !quoted {
		return 0, ""
	}
	n, _ = line(text, end)
	return n, "quote opened in field " + strconv.Itoa(len(c.ends)+1) + " never closes"
}

// split makes fields of joined.
func (c *rows) split() {
	c.fields = c.fields[:0]
	s, from := string(c.joined), 0
	for _, to := range c.ends {
		c.fields = append(c.fields, s[from:to])
		from = to
	}
}

func positional(n int) []string { return envelope.UniqueNames(make([]string, n)) }
