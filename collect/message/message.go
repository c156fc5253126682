// Package message has what sources of messages share: what becomes of a body and its headers, keys that tell a message that comes
// again, and TLS.
//
// What enters: bodies and headers as a protocol has them. What leaves: parts of a collect.Item. It knows no protocol and has no goroutines.
//
// Invariants:
//  1. A body is kept whole, whatever it is; headers are bounded, and what is left out of them is counted.
//  2. What Keys has is a function of the stream's cursor and of the keys that were added since: a process that is killed at any moment
//     knows again what its records say.
package message

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"headwater/envelope"
	"headwater/internal/setting"
)

// Formats of bodies.
const (
	// Auto takes JSON as JSON, other text as a string and the rest as base64.
	Auto        = "auto"
	formatJSON  = "json"
	formatText  = "text"
	formatBytes = "bytes"
)

// ValidateFormat adds a fault if the format is none.
func ValidateFormat(f *setting.Faults, format string) {
	if all := []string{Auto, formatJSON, formatText, formatBytes}; !slices.Contains(all, format) {
		f.Add([]string{"format"}, "must be one of %s, got %q", strings.Join(all, ", "), format)
	}
}

// Item is what a body becomes.
func Item(format string, body []byte) envelope.Item {
	it := envelope.Item{Kind: envelope.Bytes, Data: body}
	switch {
	case format == formatJSON || format == Auto && json.Valid(body):
		it.Kind = envelope.JSON
	case format == formatText || format == Auto && utf8.Valid(body) && bytes.IndexByte(body, 0) < 0:
		it.Kind = envelope.Text
	}
	return it
}

// Headers are those of one message. The zero value is empty.
type Headers struct {
	all  [][2]string
	size int
	left int
}

// maxHeaders bounds the names and values of a message's headers together: a record must hold them beside its item.
const maxHeaders = 8 << 10

// AddProperty appends a header that is the protocol's own; without a value there is none.
func (h *Headers) AddProperty(name, value string) {
	if value != "" {
		h.Add(name, value)
	}
}

// Add appends a header.
func (h *Headers) Add(name, value string) {
	if h.size+len(name)+len(value) > maxHeaders {
		h.left++
		return
	}
	h.size += len(name) + len(value)
	h.all = append(h.all, [2]string{name, value})
}

// All are the headers in their order. Where some were too long there is a last one, headers-left-out, that says how many. Invariant 1.
func (h *Headers) All() [][2]string {
	if h.left == 0 {
		return h.all
	}
	return append(slices.Clip(h.all), [2]string{"headers-left-out", strconv.Itoa(h.left)})
}

func (h *Headers) find(name string) string {
	for _, pair := range h.all {
		if pair[0] == name {
			return pair[1]
		}
	}
	return ""
}
