package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

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

const (
	// mostSequences bounds how many are followed.
	mostSequences = 100_000
	// longestOf bounds what names one of them, which is the name of a stream.
	longestOf = 200
	// mostOpen bounds the ranges of one sequence that are open, which are in every record's resume.
	mostOpen = 50
)

// numbers are the sequences of a connection. With catch_up they are those of the whole source, because what was missed between two connections is caught up.
type numbers struct {
	Sequence

	mu   sync.Mutex
	all  map[string]*sequence
	full bool
}

// sequence is what is numbered, and how far it has come.
type sequence struct {
	of string // its name: what sequence.per gives, as JSON, or the connection's

	mu    sync.Mutex
	begun bool
	last  int64
	at    int64  // when that came, in milliseconds since 1970
	open  []span // of numbers that did not come and are to be caught up, the least first; none without catch_up
	fresh bool   // the newest of them was not yet asked for
}

// span is a range of numbers that did not come.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Since and Until are when the items around it came, and Tried is when it was found or last became shorter, or the process began; in milliseconds since 1970.
	Since int64 `json:"since"`
	Until int64 `json:"until"`
	Tried int64 `json:"tried"`
}

// find gives an item's number and whose it is; nil if it has none, as a heartbeat, or there are too many sequences.
func (n *numbers) find(item []byte, connection string) (*sequence, int64) {
	if n.Path == "" {
		return nil, 0
	}
	raw, found, err := message.Find(item, n.Path)
	number, bad := strconv.ParseInt(string(bytes.Trim(raw, `"`)), 10, 64)
	if err != nil || !found || bad != nil {
		return nil, 0
	}
	of := connection
	if n.Per != "" {
		raw, _, _ := message.Find(item, n.Per)
		of = string(raw)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.all[of]
	if q != nil {
		return q, number
	}
	if len(n.all) == mostSequences || len(of) > longestOf {
		n.full = true
		return nil, 0
	}
	if n.all == nil {
		n.all = map[string]*sequence{}
	}
	q = &sequence{of: of}
	n.all[of] = q
	return q, number
}

// fault says what is wrong with a number, if anything is: the numbers between after and before did not come, or it came after one that is not less.
func (q *sequence) fault(number int64) (after, before int64, why string) {
	switch {
	case !q.begun || number == q.last+1:
		return 0, 0, ""
	case number <= q.last:
		return q.last, number, fmt.Sprintf("the number %d came after %d", number, q.last)
	}
	return q.last, number, missing(q.last+1, number-1) + " did not come"
}

func missing(from, to int64) string { return fmt.Sprintf("the numbers %d to %d", from, to) }

// gapRecord says that items are missing.
func (n *numbers) gapRecord(q *sequence, after, before int64, why string) (envelope.Item, error) {
	g := map[string]any{"after": after, "before": before}
	if n.Per != "" {
		g["of"] = json.RawMessage(q.of)
	}
	data, err := json.Marshal(map[string]any{"gap": g})
	return envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: " + why}, err
}

// emitNumbered emits an item that is JSON, after a gap record if its number says that one is due.
func (c *connection) emitNumbered(ctx context.Context, it envelope.Item, position string) error {
	name := ""
	if c.r.catcher != nil {
		name = c.f.name
	}
	q, number := c.numbers.find(it.Data, name)
	if c.numbers.isFull() {
		c.s.toldFull.Do(func() {
			c.s.log.Warn("sequence.per has too many values, or too long ones: the numbers of those that came later are not looked at", "followed", mostSequences, "longest", longestOf)
		})
	}
	switch {
	case q == nil:
		return c.emit(ctx, it, position)
	case c.r.catcher != nil:
		return c.r.catcher.live(ctx, c, q, number, it, position)
	}
	after, before, why := q.fault(number)
	q.begun, q.last = true, number
	if why != "" {
		gap, err := c.numbers.gapRecord(q, after, before, why)
		if err != nil {
			return err
		}
		c.f.log.Warn("the feed has left out items", "gap", gap.Malformed)
		if err := c.emit(ctx, gap, position+"/gap"); err != nil {
			return err
		}
	}
	return c.emit(ctx, it, position)
}

// tell says whether, with catch_up, the numbers tell what was missed between two connections.
func (n *numbers) tell(connection string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Per == "" {
		return n.all[connection] != nil
	}
	return len(n.all) > 0 && !n.full
}

func (n *numbers) isFull() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.full
}
