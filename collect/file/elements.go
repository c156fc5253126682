package file

import (
	"bytes"

	"headwater/envelope"
)

// elements cuts the elements of JSON arrays, one array after the other. It stops only behind an opening bracket, a comma or a closing bracket
// of an array itself, so that the byte before a position says how to go on from there.
type elements struct{ state elementsState }

type elementsState int

const (
	outside elementsState = iota // before an array, or after one
	first                        // behind its opening bracket
	next                         // behind a comma
)

func (*elements) whole() bool { return false }
func (*elements) lined() bool { return false }

// resume finds the state behind text.
func (c *elements) resume(text []byte) {
	text = bytes.TrimRight(text, " \t\r\n")
	c.state = outside
	if len(text) > 0 {
		switch text[len(text)-1] {
		case '[':
			c.state = first
		case ',':
			c.state = next
		}
	}
}

func (c *elements) cut(text []byte, end ending) (int, envelope.Item, bool) {
	none := envelope.Item{}
	i := envelope.SkipSpace(text, 0)
	switch {
	case i == len(text) && c.state == outside && end == final:
		return i, none, false
	case i == len(text):
		return c.open(text, end)
	case c.state == outside && text[i] == '[':
		c.state = first
		return i + 1, none, false
	case c.state == outside:
		return c.bad(text, end, "text that is in no array")
	case c.state == first && text[i] == ']':
		c.state = outside
		return i + 1, none, false
	}
	to, reason := envelope.ValueEnd(text, i)
	if reason == envelope.UnexpectedEnd {
		return c.open(text, end)
	}
	if reason != "" {
		return c.bad(text, end, "an element is malformed: "+reason)
	}
	after := envelope.SkipSpace(text, to)
	if after == len(text) {
		return c.open(text, end)
	}
	switch text[after] {
	case ',':
		c.state = next
	case ']':
		c.state = outside
	default:
		return c.bad(text, end, "no comma after an element")
	}
	return after + 1, envelope.Item{Kind: envelope.JSON, Data: text[i:to]}, true
}

// open is for a text that ends inside an array.
func (c *elements) open(text []byte, end ending) (int, envelope.Item, bool) {
	return c.bad(text, end, "the array never closes")
}

// bad takes all that follows for one malformed item: where an array is broken nobody knows where its elements end.
func (c *elements) bad(text []byte, end ending, reason string) (int, envelope.Item, bool) {
	if end != final || len(text) == 0 {
		return 0, envelope.Item{}, false
	}
	c.state = outside
	return len(text), envelope.Item{Kind: envelope.Text, Data: text, Malformed: reason}, true
}
