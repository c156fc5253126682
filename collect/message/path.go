package message

import (
	"slices"
	"strings"

	"headwater/envelope"
)

// IsPath says whether a text is a path of names into a JSON object, as $.order.id.
func IsPath(text string) bool {
	names := strings.Split(text, ".")
	return len(names) > 1 && names[0] == "$" && !slices.ContainsFunc(names[1:], func(name string) bool { return name == "" || name == "$" })
}

// Find is envelope.Lookup by such a path.
func Find(item []byte, path string) (raw []byte, found bool, err error) {
	return envelope.Lookup(item, strings.Split(strings.TrimPrefix(path, "$."), ".")...)
}
