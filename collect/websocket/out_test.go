package websocket

import (
	"context"
	"encoding/json"

	"headwater/collect"
	"headwater/envelope"
)

// out is an Out that has no stream, and gives items to emit.
type out struct{ emit func(collect.Item) error }

func (out) Streams() map[string]envelope.StreamCursor { return map[string]envelope.StreamCursor{} }

func (o out) Emit(_ context.Context, it collect.Item) error {
	if o.emit == nil {
		return nil
	}
	return o.emit(it)
}

func (out) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func (out) Drain(context.Context) error { return nil }
