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
const Hints = "string, long, double, decimal(p,s), boolean, timestamp(iso), timestamp(epoch_s), timestamp(epoch_ms)"

// ParseHint is the type that a hint gives, with the hint as its Hint.
func ParseHint(text string) (Type, error) {
	hint := strings.ReplaceAll(text, " ", "")
	if d, ok := parseDecimal(hint); ok {
		d.Hint = hint
		return d, nil
	}
	kind, found := hints[hint]
	if !found {
		return Type{}, fmt.Errorf("%q is no type that a place can be given: write one of %s", text, Hints)
	}
	return Type{Kind: kind, Hint: hint}, nil
}
