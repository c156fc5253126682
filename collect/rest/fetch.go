package rest

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/itchyny/gojq"

	"headwater/envelope"
)

// Fetcher asks a resource for some of its items whenever it is told to. It is for one goroutine at a time.
type Fetcher struct {
	s *Source
	c *client
}

// Fetched is an item of an answer.
type Fetched struct {
	envelope.Item
	// Number is what incremental.path gives of it, as JSON; null if it has none.
	Number json.RawMessage
	// Origin is the address without its query, Position the page and the item's index on it.
	Origin, Position string
}

// NewFetcher makes one of a valid configuration, of which it does what one pass over the pages does. Credentials that are kept in a source's cursor are not
// for it. A relative path of CA is relative to the folder base.
func NewFetcher(c Config, base string, log *slog.Logger) (*Fetcher, error) {
	s, err := New(c, base, log)
	if err != nil {
		return nil, err
	}
	client, err := s.client(nil)
	if err != nil {
		return nil, err
	}
	return &Fetcher{s, client}, nil
}

// Fetch reads the pages of a request in whose texts placeholders are filled in; they and their values alternate. take gets the items of a page, which hold for
// that call; false ends it.
func (f *Fetcher) Fetch(ctx context.Context, values []string, take func([]Fetched) (more bool, err error)) error {
	f.c.gate = newGate(f.c.gate.limit) // a log-in that was refused to an earlier call may do now
	p := f.s.pages(f.c, f.s.items, filling(values...))
	for {
		pg, err := p.next(ctx)
		if pg == nil || err != nil {
			return err
		}
		items := make([]Fetched, len(pg.records))
		for i := range pg.records {
			r := &pg.records[i]
			items[i] = Fetched{Item: r.Item, Number: json.RawMessage("null"), Origin: place(pg.answer.url), Position: position(pg, i)}
			if v, err := f.s.value.one(ctx, r.value); err == nil && r.value != nil {
				if items[i].Number, err = gojq.Marshal(v); err != nil {
					return err
				}
			}
		}
		if more, err := take(items); err != nil || !more {
			return err
		}
	}
}

// Close ends the connections that are kept for the next request.
func (f *Fetcher) Close() { f.c.http.CloseIdleConnections() }
