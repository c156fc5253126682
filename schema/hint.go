package schema

import (
	"fmt"
	"strings"
)

// hints are the types that a person may give to a place of the data, whatever its values look like.
var hints = map[string]Kind{
	"string": String, "long": Long, "double": Double, "boolean": Boolean,
	"timestamp(iso)": Timestamp, "timestamp(epoch_s)": Timestamp, "timestamp(epoch_ms)": Timestamp,
}

// Hints lists how hints are spelled.
const Hints = "string, long, double, boolean, timestamp(iso), timestamp(epoch_s), timestamp(epoch_ms)"

// ParseHint is the type that a hint gives, with the hint as its Hint.
func ParseHint(text string) (Type, error) {
	kind, found := hints[strings.ReplaceAll(text, " ", "")]
	if !found {
		return Type{}, fmt.Errorf("%q is no type that a place can be given: write one of %s", text, Hints)
	}
	return Type{Kind: kind, Hint: strings.ReplaceAll(text, " ", "")}, nil
}
