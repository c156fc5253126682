package schema

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Guess finds the hint that all values of a place would suit. The zero value has seen nothing.
type Guess struct {
	seen int
	not  map[string]bool
}

// suggested are the hints that a Guess tries, the narrowest first.
var suggested = []struct {
	hint string
	suit func(value string, text bool) bool
}{
	{"boolean", func(v string, text bool) bool { return text && (v == "true" || v == "false") }},
	{"timestamp(iso)", func(v string, text bool) bool { return text && isTime.MatchString(v) }},
	{"timestamp(epoch_ms)", func(v string, _ bool) bool { return isEpoch(v, time.Millisecond) }},
	{"timestamp(epoch_s)", func(v string, _ bool) bool { return isEpoch(v, time.Second) }},
	{"long", func(v string, text bool) bool { return text && isLong(v) }},
	{"double", func(v string, text bool) bool { return text && isDouble.MatchString(v) }},
}

var (
	isTime   = regexp.MustCompile(`^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)$`)
	isDouble = regexp.MustCompile(`^-?(0|[1-9]\d{0,14})(\.\d{1,15})?$`)
)

// isEpoch takes the years 2000 to 2100 for times: what is outside is more likely a number.
func isEpoch(v string, unit time.Duration) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	at := time.Unix(0, 0).Add(time.Duration(n) * unit)
	return err == nil && n > 0 && n < 1<<62/int64(unit) && at.Year() >= 2000 && at.Year() < 2100
}

func isLong(v string) bool {
	n, err := strconv.ParseInt(v, 10, 64)
	return err == nil && strconv.FormatInt(n, 10) == v // not +1 or 007, which are other texts than the number's
}

// Add takes in a value, as JSON; null says nothing.
func (g *Guess) Add(value json.RawMessage) {
	v := string(value)
	if v == "null" {
		return
	}
	text := false
	if len(value) > 0 && value[0] == '"' {
		if text = json.Unmarshal(value, &v) == nil; !text {
			return
		}
	}
	g.seen++
	if g.not == nil {
		g.not = map[string]bool{}
	}
	for _, s := range suggested {
		if !g.not[s.hint] && !s.suit(v, text) {
			g.not[s.hint] = true
		}
	}
}

// Hint is the narrowest that suits all values, and how many values there were; empty if none does, or there are fewer than 10.
func (g *Guess) Hint() (hint string, values int) {
	if g.seen < 10 {
		return "", g.seen
	}
	for _, s := range suggested {
		if !g.not[s.hint] {
			return s.hint, g.seen
		}
	}
	return "", g.seen
}

// Values are the values, as JSON, at the place of document that path names, as Evidence.Find has it: several if it lies in arrays or maps.
func Values(document json.RawMessage, path string) (all []json.RawMessage) {
	if path == "" {
		return []json.RawMessage{document}
	}
	if rest, isElem := cutElem(path); isElem {
		var list []json.RawMessage
		var entries map[string]json.RawMessage
		if json.Unmarshal(document, &list) != nil && json.Unmarshal(document, &entries) == nil {
			for _, key := range slices.Sorted(maps.Keys(entries)) {
				list = append(list, entries[key])
			}
		}
		for _, v := range list {
			all = append(all, Values(v, rest)...)
		}
		if len(all) > 0 {
			return all
		}
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(document, &fields) != nil {
		return nil
	}
	for end := range fieldEnds(path) {
		if v, found := fields[path[:end]]; found {
			if all = Values(v, belowDot(path[end:])); len(all) > 0 {
				return all
			}
		}
	}
	return nil
}
