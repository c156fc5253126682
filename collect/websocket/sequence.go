package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"headwater/collect/message"
	"headwater/envelope"
	"headwater/internal/setting"
)

// Sequence is where a feed numbers its items, each by one more than the one before.
type Sequence struct {
	// Path leads to the number, as $.seq; empty if the feed has none.
	Path string `yaml:"path"`
	// Per, if not empty, leads to what has numbers of its own, as $.symbol.
	Per string `yaml:"per"`
}

func (s *Sequence) validate(f *setting.Faults) {
	for key, path := range map[string]string{"path": s.Path, "per": s.Per} {
		if path != "" && !message.IsPath(path) {
			f.Add([]string{"sequence", key}, "must be a path of names as $.data.seq, got %q", path)
		}
	}
	if s.Per != "" && s.Path == "" {
		f.Add([]string{"sequence", "path"}, "is missing: write where the number is, as $.seq")
	}
}

// mostSequences bounds how many are followed.
const mostSequences = 100_000

// numbers are the last ones of a connection: the next connection begins with a gap record anyway.
type numbers struct {
	Sequence
	last map[string]int64
	full bool
}

// next takes the number of an item. Where items are missing before it, or the numbers begin again, it says so as a gap record.
func (n *numbers) next(item []byte) (gap *envelope.Item, err error) {
	if n.Path == "" {
		return nil, nil
	}
	raw, found, err := message.Find(item, n.Path)
	number, bad := strconv.ParseInt(string(bytes.Trim(raw, `"`)), 10, 64)
	if err != nil || !found || bad != nil {
		return nil, nil // a heartbeat, an answer to a subscription
	}
	of := ""
	if n.Per != "" {
		raw, _, _ := message.Find(item, n.Per)
		of = string(raw)
	}
	last, known := n.last[of]
	if !known && len(n.last) == mostSequences {
		n.full = true
		return nil, nil
	}
	if n.last == nil {
		n.last = map[string]int64{}
	}
	n.last[of] = number
	if !known || number == last+1 {
		return nil, nil
	}
	why := fmt.Sprintf("the numbers %d to %d did not come", last+1, number-1)
	if number <= last {
		why = fmt.Sprintf("the number %d came after %d", number, last)
	}
	g := map[string]any{"after": last, "before": number}
	if of != "" {
		g["of"] = json.RawMessage(of)
	}
	data, err := json.Marshal(map[string]any{"gap": g})
	if err != nil {
		return nil, err
	}
	return &envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: " + why}, nil
}

// emitNumbered emits an item that is JSON, after a gap record if its number says that one is due.
func (c *connection) emitNumbered(ctx context.Context, it envelope.Item, position string) error {
	gap, err := c.numbers.next(it.Data)
	if err != nil {
		return err
	}
	if c.numbers.full {
		c.s.toldFull.Do(func() {
			c.s.log.Warn("sequence.per has too many values: the numbers of those that came later are not looked at", "followed", mostSequences)
		})
	}
	if gap != nil {
		c.f.log.Warn("the feed has left out items", "gap", gap.Malformed)
		if err := c.emit(ctx, *gap, position+"/gap"); err != nil {
			return err
		}
	}
	return c.emit(ctx, it, position)
}
