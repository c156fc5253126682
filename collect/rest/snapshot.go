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
	// Poll is when the poll began, or its job was submitted, in milliseconds since 1970.
	Poll int64 `json:"poll"`
	// Spot is the page of the last item, Items how many of its items are emitted, Sum the digest of all of them.
	Spot  spot   `json:"spot,omitzero"`
	Items int    `json:"items,omitempty"`
	Sum   []byte `json:"sum,omitempty"`
	// Child is where the children are of the item after those of Items.
	Child *childPlace `json:"child,omitempty"`
	// Done says that the poll has ended. If it had one page, Sum is that page's, and ETag and Modified what the server says of it.
	Done     bool   `json:"done,omitempty"`
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// childPlace is the page of a child, how many of its children are emitted, and the digest of all of them.
type childPlace struct {
	Spot  spot   `json:"spot"`
	Items int    `json:"items"`
	Sum   []byte `json:"sum"`
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
	if c.jobs != nil && c.jobs.Begun == last.Poll {
		c.jobs.For = "" // it was read to its end, or is not as it was
	}
	p := s.pages(c, s.items, window("", ""))
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
		return c.jobs.finish(ctx)
	}
	if c.jobs != nil {
		began = c.jobs.Begun
	}
	*last = snapshot{Poll: began}
	_, err = s.rest(ctx, c, out, p, pg, 0, last)
	return err
}

// goOn goes on with a poll that was interrupted, if the page is as it was.
func (s *Source) goOn(ctx context.Context, c *client, out collect.Out, last *snapshot) (ended bool, err error) {
	p := s.pages(c, s.items, window("", ""))
	p.at, p.whole = last.Spot, last.Spot.Page <= 1
	if c.jobs != nil && (c.jobs.Begun != last.Poll || c.jobs.For != c.jobs.name(p)) {
		return false, nil // two jobs have not the same files
	}
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
	return s.rest(ctx, c, out, p, pg, last.Items, last)
}

// rest emits a page from an item on, and all that follow it, and ends the poll; not ended if the children of the first item are not as they were.
func (s *Source) rest(ctx context.Context, c *client, out collect.Out, p *pager, pg *page, from int, last *snapshot) (ended bool, err error) {
	for pg != nil {
		if same, err := s.page(ctx, c, out, pg, from, last); err != nil || !same {
			return false, err
		}
		from = 0
		done := snapshot{Poll: last.Poll, Done: true}
		if pg.last && pg.Page == 1 && s.children == nil { // an item says nothing of its children
			done.Sum, done.ETag, done.Modified = pg.sum[:], pg.answer.header.Get("ETag"), pg.answer.header.Get("Last-Modified")
		}
		if pg.last {
			*last = done
			if err := mark(ctx, out, snapshotStream, last); err != nil {
				return true, err
			}
			return true, c.jobs.finish(ctx)
		}
		if pg, err = p.next(ctx); err != nil {
			return false, err
		}
	}
	return true, nil
}

// page emits a page from an item on, or the children of its items; false if those of the first one are not as they were.
func (s *Source) page(ctx context.Context, c *client, out collect.Out, pg *page, from int, last *snapshot) (same bool, err error) {
	items := pg.records[from:]
	a := s.ahead(ctx, c, pointers(items), last.Child)
	defer a.close()
	for i := range items {
		r := &items[i]
		last.Spot, last.Items, last.Sum = pg.spot, from+i, pg.sum[:]
		if s.children != nil {
			if same, err := s.offspring(ctx, a, out, r, last); err != nil || !same {
				return false, err
			}
		}
		last.Items, last.Child = from+i+1, nil
		if s.children != nil && r.Malformed == "" {
			continue
		}
		if err := s.emit(ctx, out, r, snapshotStream, last, pg, from+i); err != nil {
			return false, err
		}
	}
	return true, nil
}

func pointers(records []record) (all []*record) {
	for i := range records {
		all = append(all, &records[i])
	}
	return all
}
