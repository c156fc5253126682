package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"headwater/internal/access"
	"headwater/internal/web"
	"headwater/query"
	"headwater/table"
)

// Query implements web.API. Tables that who asks may not read are not there.
func (p *pipeline) Query(ctx context.Context, id access.Identity, r web.QueryRequest, out io.Writer) error {
	limit := p.cfg.Query.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, usagef("the answer has taken longer than %s, which is the longest that it may (query.timeout): ask for less", limit))
	defer cancel()
	select {
	case p.queries <- struct{}{}:
		defer func() { <-p.queries }()
	case <-ctx.Done():
		return fmt.Errorf("waiting for other queries: %w", context.Cause(ctx))
	}
	if r.Format == "" {
		r.Format = "json"
	}
	var hidden []table.Name
	reads := func(n table.Name) bool {
		may := id.Reads(n.Database, n.Table)
		if !may {
			hidden = append(hidden, n)
		}
		return may
	}
	err := answer(ctx, p.cfg, question{sql: r.SQL, format: r.Format, rows: p.cfg.Query.Rows, reads: reads}, out, slog.New(slog.DiscardHandler))
	if !errors.Is(err, query.ErrSQL) {
		return err
	}
	for _, n := range hidden {
		if query.Mentions(r.SQL, n) {
			return fmt.Errorf("%w: %s may not read %s: %w", web.ErrForbidden, id.Name, n, err)
		}
	}
	return err
}
