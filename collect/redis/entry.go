package redis

import (
	"fmt"
	"strconv"
	"strings"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/envelope"
)

// id is an entry's.
type id struct{ ms, n uint64 }

func (i id) String() string { return strconv.FormatUint(i.ms, 10) + "-" + strconv.FormatUint(i.n, 10) }

func (i id) before(other id) bool { return i.ms < other.ms || i.ms == other.ms && i.n < other.n }

func parseID(text string) (id, error) {
	ms, n, _ := strings.Cut(text, "-")
	a, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return id{}, err
	}
	b, err := strconv.ParseUint(n, 10, 64)
	return id{a, b}, err
}

// entry is one of the stream; names may come twice.
type entry struct {
	id            id
	names, values []string
	deleted       bool
}

// entriesOf reads a list of entries as the server sends it.
func entriesOf(reply any) (all []entry, err error) {
	list, _ := reply.([]any)
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			return nil, fmt.Errorf("the server sent %v for an entry", item)
		}
		text, _ := pair[0].(string)
		var e entry
		if e.id, err = parseID(text); err != nil {
			return nil, fmt.Errorf("the server sent an entry with the id %q", text)
		}
		fields, is := pair[1].([]any)
		e.deleted = !is
		for i, field := range fields {
			text, _ := field.(string)
			if i%2 == 0 {
				e.names = append(e.names, text)
			} else {
				e.values = append(e.values, text)
			}
		}
		if len(e.names) != len(e.values) {
			return nil, fmt.Errorf("the server sent the entry %s with a field that has no value", text)
		}
		all = append(all, e)
	}
	return all, nil
}

// itemOf is what an entry becomes.
func (s *Source) itemOf(e entry) collect.Item {
	it := collect.Item{
		Resume: fmt.Appendf(nil, `{"id":%q}`, e.id), Origin: s.origin, Position: e.id.String(),
		Item: envelope.Item{Kind: envelope.Fields, Names: e.names, Values: e.values},
	}
	if s.c.Field == "" {
		return it
	}
	var h message.Headers
	found := false
	for i, name := range e.names {
		if name == s.c.Field && !found {
			found = true
			it.Item = message.Item(s.c.Format, []byte(e.values[i]))
			continue
		}
		h.Add(name, e.values[i])
	}
	if found {
		it.Headers = h.All()
	}
	return it
}
