package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"headwater/collect"
	"headwater/envelope"
)

// teller is a source that would tell another side of what arrived.
type teller struct{ runs int }

func (s *teller) Run(ctx context.Context, out collect.Out, _ bool) error {
	if s.runs++; s.runs == 1 {
		return nil // nothing has come yet
	}
	for {
		it := collect.Item{Stream: "s", Item: envelope.Item{Kind: envelope.Text, Data: []byte(strings.Repeat("é", 1000))}, Done: func() { panic("it told") }}
		if err := out.Emit(ctx, it); err != nil {
			return err
		}
		if err := out.Mark(ctx, "s", nil, false, func() { panic("it told") }); err != nil {
			return err
		}
	}
}

// taking is an Out that says that all is done as soon as it has come.
type taking struct {
	collect.Out
	items int
}

func (o *taking) Emit(_ context.Context, it collect.Item) error {
	o.items++
	if it.Done != nil {
		it.Done()
	}
	return nil
}

func (o *taking) Mark(_ context.Context, _ string, _ json.RawMessage, _ bool, durable func()) error {
	if durable != nil {
		durable()
	}
	return nil
}

// TestGlance: a source gives as many items as are wanted, waits for the first one, and is not told that they arrived.
func TestGlance(t *testing.T) {
	g := &glance{most: 3, wait: time.Minute}
	var out taking
	if err := g.over(&teller{}).Run(t.Context(), &out, true); err != nil || out.items != 3 || len(g.items) != 3 {
		t.Errorf("%d items went on and %d were seen, %v", out.items, len(g.items), err)
	}
	if text := g.items[0].text; len(text) > shownBytes+30 || !strings.HasSuffix(text, "é… (2002 bytes)") {
		t.Errorf("it is shown as %q", text)
	}
	none := &glance{most: 1}
	if err := none.over(&teller{}).Run(t.Context(), &out, true); err != nil || none.count() != 0 {
		t.Errorf("a wait that is over gives %d items, %v", none.count(), err)
	}
	broken := errors.New("broken")
	if err := g.over(failing{broken}).Run(t.Context(), &out, true); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := (&glance{most: 1, wait: time.Minute}).over(&teller{}).Run(ended, &out, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (s failing) Run(context.Context, collect.Out, bool) error { return s.err }
