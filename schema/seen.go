package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// seenNames are in the order of the bits.
var seenNames = []string{
	"null", "bool", "int", "wide_int", "big_int", "huge_int", "fraction", "huge_fraction", "string", "array", "object", "empty_string",
}

// Kind is that of a column for these kinds of value, whatever is in arrays and objects.
func (s Seen) Kind() Kind {
	switch {
	case kinds(s) > 1 || s&(SeenArray|SeenObject) == 0:
		return (&Evidence{Seen: s}).Resolve().Kind
	case s&SeenArray != 0:
		return List
	}
	return Struct
}

// SeenOf is the kind of a JSON value.
func SeenOf(value []byte) Seen {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return 0
	}
	switch value[0] {
	case 'n':
		return SeenNull
	case 't', 'f':
		return SeenBool
	case '"':
		if len(value) == 2 {
			return SeenEmptyString
		}
		return SeenString
	case '[':
		return SeenArray
	case '{':
		return SeenObject
	}
	return SeenOfNumber(value)
}

// names are in the order of the bits.
func (s Seen) names() []string {
	var out []string
	for i, name := range seenNames {
		if s&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// String is the names of the kinds, with commas between them.
func (s Seen) String() string { return strings.Join(s.names(), ", ") }

// MarshalJSON writes the names of the kinds as one text.
func (s Seen) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON reads what MarshalJSON writes. A name that is unknown is an error: what it stands for must not be forgotten.
func (s *Seen) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	*s = 0
	for name := range strings.SplitSeq(text, ", ") {
		i := slices.Index(seenNames, name)
		if i < 0 {
			return fmt.Errorf("%q is no kind of value", name)
		}
		*s |= 1 << i
	}
	return nil
}
