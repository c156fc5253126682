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
