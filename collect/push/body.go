package push

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"unicode/utf8"

	"headwater/envelope"
	"headwater/internal/setting"
)

// refusal is an answer that adds nothing.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// room bounds the requests that are under way and the memory of their bodies.
type room struct {
	mu       sync.Mutex
	requests int
	bytes    int64
}

// claim is what one request has of the room. It belongs to its request.
type claim struct {
	room  *room
	bytes int64
}

var errNoRoom = &refusal{http.StatusTooManyRequests, "too many requests are under way"}

// enter lets a request in, if there is room for it; it leaves by give.
func (r *room) enter() (*claim, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requests == 0 {
		return nil, errNoRoom
	}
	r.requests--
	return &claim{room: r}, nil
}

func (c *claim) more(bytes int64) error {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if c.room.bytes < bytes {
		return errNoRoom
	}
	c.room.bytes -= bytes
	c.bytes += bytes
	return nil
}

func (c *claim) give() {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	c.room.requests++
	c.room.bytes += c.bytes
}

// firstRead is what a body of unknown length gets at first.
const firstRead = 16 << 10

// readAll reads up to limit bytes, and claims their memory before it takes it. size is what is known of the length, or -1.
func (c *claim) readAll(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, errTooLarge(limit)
	}
	if size < 0 {
		size = firstRead
	}
	size = min(size, limit) + 1 // room for the byte that is too many, or for the end
	if err := c.more(size); err != nil {
		return nil, err
	}
	for data := make([]byte, 0, size); ; {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return nil, errTooLarge(limit)
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, err
		case len(data) < cap(data):
			continue
		}
		grown := min(2*int64(cap(data)), limit+1)
		if err := c.more(grown - int64(cap(data))); err != nil {
			return nil, err
		}
		data = append(make([]byte, 0, grown), data...)
	}
}

func errTooLarge(limit int64) error {
	return &refusal{http.StatusRequestEntityTooLarge, "the body is larger than max_body, which is " + setting.Bytes(limit).String()}
}

// readBody reads a body whole: as it was sent, for its signature, and decompressed.
func (s *Source) readBody(r *http.Request, c *claim) (sent, body []byte, err error) {
	limit := int64(s.c.MaxBody)
	encoding := r.Header.Get("Content-Encoding")
	if encoding != "" && encoding != "identity" && encoding != "gzip" {
		return nil, nil, &refusal{http.StatusUnsupportedMediaType, "the content encoding is neither gzip nor identity"}
	}
	sent, err = c.readAll(r.Body, r.ContentLength, limit)
	if err != nil {
		return nil, nil, cut(err, "the body did not come whole")
	}
	if encoding != "gzip" {
		return sent, sent, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(sent))
	if err != nil {
		return nil, nil, cut(err, "the body is not gzip")
	}
	if body, err = c.readAll(z, -1, limit); err != nil {
		return nil, nil, cut(err, "the body is damaged gzip")
	}
	return sent, body, nil
}

// cut makes an error of reading an answer.
func cut(err error, what string) error {
	if _, is := errors.AsType[*refusal](err); is {
		return err
	}
	return &refusal{http.StatusBadRequest, what + ": " + err.Error()}
}

// formatOf is the format of a body that is not told it.
func formatOf(contentType string, body []byte) string {
	media, _, _ := mime.ParseMediaType(contentType) // what cannot be read says nothing
	switch media {
	case "application/json":
		return formatJSON
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		return formatNDJSON
	case "text/plain":
		return formatLines
	case "application/octet-stream":
		return formatBytes
	}
	if json.Valid(body) {
		return formatJSON
	}
	if first, _, more := bytes.Cut(bytes.TrimLeft(body, " \t\r\n"), []byte("\n")); more && json.Valid(first) {
		return formatNDJSON
	}
	return formatBytes
}

// itemsOf cuts a body into items. What is malformed is an item too: whoever sent it has been told 200 for less.
func (s *Source) itemsOf(contentType string, body []byte) []envelope.Item {
	format := s.c.Format
	if format == formatAuto {
		format = formatOf(contentType, body)
	}
	switch format {
	case formatJSON:
		if s.c.Array == arrayItems {
			if elements, is := envelope.Elements(body); is {
				items := make([]envelope.Item, len(elements))
				for i, e := range elements {
					items[i] = envelope.Item{Kind: envelope.JSON, Data: e}
				}
				return items
			}
		}
		return []envelope.Item{{Kind: envelope.JSON, Data: body}}
	case formatNDJSON:
		return linesOf(envelope.JSON, body)
	case formatLines:
		return linesOf(envelope.Text, body)
	}
	if utf8.Valid(body) && bytes.IndexByte(body, 0) < 0 {
		return []envelope.Item{{Kind: envelope.Text, Data: body}}
	}
	return []envelope.Item{{Kind: envelope.Bytes, Data: body}}
}

// linesOf leaves blank lines of JSON out, and the line feed at the end of the last one.
func linesOf(kind envelope.Kind, body []byte) (items []envelope.Item) {
	for line := range bytes.Lines(body) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if kind == envelope.JSON && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		items = append(items, envelope.Item{Kind: kind, Data: line})
	}
	return items
}
