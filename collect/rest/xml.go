package rest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"golang.org/x/net/html/charset"

	"headwater/envelope"
)

// XML is how documents become JSON.
type XML struct {
	// Arrays are elements that are arrays even where they come once, each by its name or the end of its path, as lines/line; * is all.
	Arrays []string `yaml:"arrays"`
}

// deepest bounds the elements that one is in.
const deepest = 400

// element is one that has begun.
type element struct {
	name   string
	json   []byte // the members that its attributes are
	text   []byte
	names  []string // of its children in the order of their first
	values map[string]*values
}

// values are the children of one name, as JSON.
type values struct {
	json []byte
	n    int
}

// converter makes JSON of a document.
type converter struct {
	arrays   []string
	open     []*element // the first is the document
	repeated map[string]bool
}

// convert makes one JSON text of an XML document: docs/sources/rest.md has the rules. repeated are the paths of elements that are arrays only
// because they come more than once.
func (x XML) convert(body []byte, contentType string) (text []byte, repeated []string, err error) {
	c := converter{arrays: x.Arrays, open: []*element{{}}, repeated: map[string]bool{}}
	body, known, err := toUTF8(body, contentType)
	if err != nil {
		return nil, nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = func(label string, rest io.Reader) (io.Reader, error) {
		if known {
			return rest, nil
		}
		// What is declared and found by it are in ASCII, so neither may be one that is not.
		encoded, err := io.ReadAll(rest)
		if err != nil {
			return nil, err
		}
		plain, err := decoded(encoded, label)
		return bytes.NewReader(plain), err
	}
	for {
		// With their prefixes names are as the server writes them, and so are the paths of jq.
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if err := c.take(token); err != nil {
			line, _ := d.InputPos()
			return nil, nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	document := c.open[0]
	switch {
	case len(c.open) > 1:
		return nil, nil, fmt.Errorf("it ends within <%s>: %w", c.open[len(c.open)-1].name, io.ErrUnexpectedEOF)
	case len(document.names) == 0:
		return nil, nil, errors.New("it has no element")
	}
	for path := range c.repeated {
		repeated = append(repeated, path)
	}
	slices.Sort(repeated)
	return c.object(document), repeated, nil
}

func (c *converter) take(token xml.Token) error {
	in := c.open[len(c.open)-1]
	switch t := token.(type) {
	case xml.StartElement:
		switch {
		case len(c.open) > deepest:
			return fmt.Errorf("there are elements within more than %d others", deepest)
		case len(c.open) == 1 && len(in.names) > 0:
			return errors.New("there is a second element after the document's")
		}
		e := &element{name: nameOf(t.Name)}
		seen := make(map[xml.Name]bool, len(t.Attr))
		for _, a := range t.Attr {
			if seen[a.Name] {
				return fmt.Errorf("<%s> has %s twice", e.name, nameOf(a.Name))
			}
			seen[a.Name] = true
			e.json = envelope.AppendString(member(e.json, "@"+nameOf(a.Name)), a.Value)
		}
		c.open = append(c.open, e)
	case xml.EndElement:
		if len(c.open) == 1 || in.name != nameOf(t.Name) {
			return fmt.Errorf("</%s> ends what has not begun", nameOf(t.Name))
		}
		value := c.value(in)
		c.open = c.open[:len(c.open)-1]
		c.open[len(c.open)-1].add(in.name, value)
	case xml.CharData:
		if len(c.open) == 1 && len(bytes.TrimSpace(t)) > 0 {
			return errors.New("there is text outside of the document's element")
		}
		in.text = append(in.text, t...)
	}
	return nil
}

func nameOf(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

// member begins one of an object.
func member(json []byte, name string) []byte {
	if len(json) > 0 {
		json = append(json, ',')
	}
	return append(envelope.AppendString(json, name), ':')
}

func (e *element) add(name string, value []byte) {
	v := e.values[name]
	if v == nil {
		if e.values == nil {
			e.values = map[string]*values{}
		}
		v = &values{}
		e.values[name] = v
		e.names = append(e.names, name)
	} else {
		v.json = append(v.json, ',')
	}
	v.json = append(v.json, value...)
	v.n++
}

// value is the JSON of an element that has ended.
func (c *converter) value(e *element) []byte {
	if len(e.json) == 0 && len(e.names) == 0 {
		return envelope.AppendString(nil, string(e.text))
	}
	return c.object(e)
}

func (c *converter) object(e *element) []byte {
	json := e.json
	// Between elements blanks only set them out.
	if len(e.names) == 0 && len(e.text) > 0 || len(bytes.TrimSpace(e.text)) > 0 {
		json = envelope.AppendString(member(json, "#text"), string(e.text))
	}
	for _, name := range e.names {
		v := e.values[name]
		json = member(json, name)
		array := c.array(name)
		if v.n > 1 && !array {
			c.repeated[strings.Join(append(c.path(), name), "/")] = true
			array = true
		}
		if array {
			json = append(json, '[')
		}
		json = append(json, v.json...)
		if array {
			json = append(json, ']')
		}
	}
	return append(append([]byte{'{'}, json...), '}')
}

// path has the names of the elements that are open.
func (c *converter) path() (names []string) {
	for _, e := range c.open[1:] {
		names = append(names, e.name)
	}
	return names
}

// array says whether children of a name of the innermost element are an array always.
func (c *converter) array(name string) bool {
	if len(c.open) == 1 {
		return false // a document has one element
	}
	return slices.ContainsFunc(c.arrays, func(a string) bool {
		if a == "*" || a == name {
			return true
		}
		if !strings.HasSuffix(a, "/"+name) {
			return false
		}
		path := strings.Join(append(c.path(), name), "/")
		return path == a || strings.HasSuffix(path, "/"+a)
	})
}

// toUTF8 decodes what says from outside of the document how it is encoded: a byte order mark, and else the Content-Type.
func toUTF8(body []byte, contentType string) (plain []byte, known bool, err error) {
	_, params, _ := mime.ParseMediaType(contentType)
	label := params["charset"]
	switch {
	case bytes.HasPrefix(body, []byte("\xef\xbb\xbf")):
		return body[3:], true, nil
	case bytes.HasPrefix(body, []byte("\xff\xfe")):
		label, body = "utf-16le", body[2:]
	case bytes.HasPrefix(body, []byte("\xfe\xff")):
		label, body = "utf-16be", body[2:]
	case label == "":
		return body, false, nil
	}
	plain, err = decoded(body, label)
	return plain, true, err
}

// decoded makes UTF-8 of an encoding. What is none is refused, because decoders put a mark in its place.
func decoded(body []byte, label string) ([]byte, error) {
	e, name := charset.Lookup(label)
	if e == nil || name == "replacement" {
		return nil, fmt.Errorf("the encoding %q is not known: ask the API for UTF-8", label)
	}
	if name == "utf-8" {
		return body, nil // the parser refuses what is none
	}
	plain, err := e.NewDecoder().Bytes(body)
	if err == nil && bytes.ContainsRune(plain, '\ufffd') {
		err = errors.New("there are bytes that mean nothing in it")
	}
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", name, err)
	}
	return plain, nil
}
