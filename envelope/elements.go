package envelope

import (
	"bytes"
	"encoding/json"
)

// Elements are those of a JSON array, with their own bytes, in copies; it is false for every other text.
func Elements(text []byte) (elements [][]byte, is bool) {
	if start := bytes.TrimLeft(text, " \t\r\n"); len(start) == 0 || start[0] != '[' || !json.Valid(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return nil, false
		}
		elements = append(elements, element)
	}
	return elements, true
}

// ValueEnd is the index after the JSON value that begins at text[i], in the sense of Parse. The reason is empty if it ends there, which a
// number may do before its last digit has come; UnexpectedEnd if more text may end it; and otherwise what is wrong at the index.
func ValueEnd(text []byte, i int) (end int, reason string) { return valueEnd(text, i) }

// SkipSpace is the index of the first byte from text[i] on that is no whitespace of JSON, or the text's length.
func SkipSpace(text []byte, i int) int { return skipSpace(text, i) }
