package rest

import (
	"context"
	"net/http"
	"time"

	"headwater/collect"
	"headwater/internal/retry"
)

// snapshotStream is the only one of a source without incremental.
const snapshotStream = "snapshot"

// snapshot is where that stream stands.
type snapshot struct {
	// Poll is when the poll began, in milliseconds since 1970.
	Poll int64 `json:"poll"`
	// Spot is the page of the last item, Items how many of its items are emitted, Sum the digest of all of them.
	Spot  spot   `json:"spot,omitzero"`
	Items int    `json:"items,omitempty"`
	Sum   []byte `json:"sum,omitempty"`
	// Done says that the poll has ended. If it had one page, Sum is that page's, and ETag and Modified what the server says of it.
	Done     bool   `json:"done,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// snapshots gives what polls the whole resource, and when it is due.
func (s *Source) snapshots(c *client, out collect.Out) (poll func(context.Context) error, due time.Time) {
	var last snapshot
	if known, err := recall(out.Streams(), snapshotStream, &last); err != nil || !known {
		last = snapshot{} // a cursor of another kind of poll is no reason not to read everything
	} else if last.Done {
		due = time.UnixMilli(last.Poll).Add(s.c.Every)
	}
	return func(ctx context.Context) error {
		if last.Poll != 0 && !last.Done {
			if ended, err := s.goOn(ctx, c, out, &last); err != nil || ended {
				return err
			}
			s.log.Warn("the resource has changed since the poll was interrupted, everything is read anew")
		}
		return s.anew(ctx, c, out, &last)
	}, due
}

// anew is a poll from the first page on.
func (s *Source) anew(ctx context.Context, c *client, out collect.Out, last *snapshot) error {
	p := s.pages(c, "", "")
	p.condition = http.Header{}
	if last.Done && last.ETag != "" {
		p.condition.Set("If-None-Match", last.ETag)
	}
	if last.Done && last.Modified != "" {
		p.condition.Set("If-Modified-Since", last.Modified)
	}
	began := time.Now().UnixMilli()
	pg, err := p.next(ctx)
	if err != nil {
		return err
	}
	same := last.Done && string(last.Sum) == string(pg.sum[:])
	if pg.answer.unchanged || pg.last && same {
		return nil
	}
	*last = snapshot{Poll: began}
	return s.rest(ctx, out, p, pg, 0, last)
}

// goOn goes on with a poll that was interrupted, if the page is as it was.
func (s *Source) goOn(ctx context.Context, c *client, out collect.Out, last *snapshot) (ended bool, err error) {
	p := s.pages(c, "", "")
	p.at, p.whole = last.Spot, last.Spot.Page <= 1
	pg, err := p.next(ctx)
	if err != nil {
		// A cursor may have run out. That there is no page at all is found out by the poll that begins anew.
		if retry.Classify(err) == retry.Permanent && last.Spot.Page > 1 {
			return false, nil
		}
		return false, err
	}
	if string(pg.sum[:]) != string(last.Sum) { // Invariant 3
		return false, nil
	}
	return true, s.rest(ctx, out, p, pg, last.Items, last)
}

// rest emits a page from an item on, and all that follow it, and ends the poll.
func (s *Source) rest(ctx context.Context, out collect.Out, p *pager, pg *page, from int, last *snapshot) error {
	for pg != nil {
		for i := from; i < len(pg.records); i++ {
			last.Spot, last.Items, last.Sum = pg.spot, i+1, pg.sum[:]
			if err := s.emit(ctx, out, &pg.records[i], snapshotStream, last, pg, i); err != nil {
				return err
			}
		}
		from = 0
		done := snapshot{Poll: last.Poll, Done: true}
		if pg.last && pg.Page == 1 {
			done.Sum, done.ETag, done.Modified = pg.sum[:], pg.answer.header.Get("ETag"), pg.answer.header.Get("Last-Modified")
		}
		if pg.last {
			*last = done
			return mark(ctx, out, snapshotStream, last)
		}
		var err error
		if pg, err = p.next(ctx); err != nil {
			return err
		}
	}
	return nil
}
