// Package rest polls an HTTP API for items.
//
// What enters: the pages of one resource, or the files of jobs. What leaves: their items. With incremental, what is new since the last poll, each item once; without, at
// every poll all there is, unless nothing has changed. With children, what is read for each item leaves in its place.
// Rules: docs/sources/rest.md.
//
// Invariants:
//  1. A page is read whole before anything of it is emitted, so that one that is cut, too long or no page adds nothing.
//  2. With incremental an item is a stream of its own, named by what it says: an item is known exactly if Kafka has it. A window's beginning moves on
//     only after all of its items are acknowledged, and items are forgotten only when they are before it. An item with children is marked after all of these,
//     which are forgotten then.
//  3. Without, a poll goes on after a failure only on the same page with the same items; otherwise it begins anew.
//  4. A pass over pages that goes round, or ends before it should, is an error.
//  5. Credentials go to the host of url and to those of allow_hosts, and into no text.
//  6. A job that was submitted in vain has the next one wait, also in the next process. A window begins no later than the job was submitted that read the one before.
//  7. What is read ahead is emitted in its turn or dropped: with any concurrency the records are the same.
//
// Goroutines of Run: those of net/http for its connections, and one for each request for children that is read ahead (ahead), all of which end with it. They share
// the gate, the token and the queries, and nothing else; answers are parsed, and items emitted, by Run's own.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/retry"
)

// Source polls the resource of one configuration.
type Source struct {
	c         Config
	base      string
	log       *slog.Logger
	transport http.RoundTripper // instead of the network; of tests

	ranged bool // the windows end at until
	until  int64

	items      *resource
	children   *resource // nil if there are none
	value, key query     // of incremental

	parents []parent // what requests for children have of an item
	include []parent // what children get of it
	own     query    // the key of children

	queries jobQueries
	job     jobResume // the last of this process

	repeated map[string]bool // elements of XML that were warned of
}

// New makes a source; a relative path of CA is relative to the folder base.
func New(c Config, base string, log *slog.Logger) (*Source, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Source{c: c, base: base, log: log, repeated: map[string]bool{}}
	var err error
	if s.items, err = s.c.Resource.compile(); err != nil {
		return nil, err
	}
	if err := compileAll([]compiled{{&s.value, c.Incremental.Path}, {&s.key, c.Incremental.Key}}); err != nil {
		return nil, err
	}
	if s.queries, err = c.Job.compile(); err != nil {
		return nil, err
	}
	if c.Job.used() {
		s.c.Paginate.Reread = false // what a job has found does not move between its pages
	}
	if c.Children.URL != "" {
		return s, s.compileChildren()
	}
	return s, nil
}

// compiled is a query and its text.
type compiled struct {
	into *query
	text string
}

func compileAll(all []compiled) (err error) {
	for _, q := range all {
		if *q.into, err = compile(q.text); err != nil {
			return fmt.Errorf("reading the jq %s: %w", q.text, err)
		}
	}
	return nil
}

// Run implements collect.Source.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	c, err := s.client(out)
	if err != nil {
		return err
	}
	defer c.http.CloseIdleConnections()
	if c.jobs, err = s.jobs(c, out); err != nil {
		return err
	}
	poll, due := s.snapshots(c, out)
	if s.c.Incremental.Path != "" {
		if poll, due, err = s.windows(c, out); err != nil {
			return err
		}
	}
	for {
		if !once {
			if err := retry.Wait(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		began := time.Now()
		due = began.Add(s.c.Every)
		if err := poll(ctx); err != nil || once || s.ranged {
			return err
		}
		collect.Polled(out, began)
	}
}

// Between implements collect.Ranged, by the items' time of change or number.
func (s *Source) Between(from, to string) (collect.Source, error) {
	inc := &s.c.Incremental
	switch {
	case inc.Path == "":
		return nil, errors.New("it has no range without incremental.path, which says where an item has its time of change")
	case s.c.Auth.OAuth2Refresh != nil:
		// A server that rotates refresh tokens would shut out the one of the two that comes second.
		return nil, errors.New("it has no range with auth.oauth2_refresh: the refresh token is in the source's own cursor")
	}
	begin, err := inc.parse(from)
	if err != nil {
		return nil, fmt.Errorf("the range must begin in the format %s, got %q", inc.Format, from)
	}
	end, err := inc.parse(to)
	if err != nil {
		return nil, fmt.Errorf("the range must end in the format %s, got %q", inc.Format, to)
	}
	switch {
	case end <= begin:
		return nil, fmt.Errorf("the range must end after it begins, got %s and %s", from, to)
	case inc.Format != spellInteger && end > time.Now().UnixMicro():
		return nil, fmt.Errorf("the range must be over, and %s is to come", to)
	}
	r := *s
	r.c.Incremental.Initial, r.ranged, r.until = from, true, end
	return &r, nil
}

// emit hands over an item.
func (s *Source) emit(ctx context.Context, out collect.Out, r *record, stream string, resume any, pg *page, index int) error {
	text, err := json.Marshal(resume)
	if err != nil {
		return err
	}
	return out.Emit(ctx, collect.Item{
		Stream: stream, Resume: text, Item: r.Item, Origin: place(pg.answer.url), Position: position(pg, index),
	})
}

func position(pg *page, index int) string { return fmt.Sprintf("%d/%d", pg.Page, index) }

// mark says where a stream goes on; one without a resume is forgotten.
func mark(ctx context.Context, out collect.Out, stream string, resume any) error {
	if resume == nil {
		return out.Mark(ctx, stream, nil, true, nil)
	}
	text, err := json.Marshal(resume)
	if err != nil {
		return err
	}
	return out.Mark(ctx, stream, text, false, nil)
}

// markKept says where a stream goes on, and returns when that would survive a kill, or after most.
func markKept(ctx context.Context, out collect.Out, stream string, resume any, most time.Duration) error {
	text, err := json.Marshal(resume)
	if err != nil {
		return err
	}
	kept := make(chan struct{})
	if err := out.Mark(ctx, stream, text, false, func() { close(kept) }); err != nil {
		return err
	}
	select {
	case <-kept:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(most): // an Out that keeps nothing, or a slow Kafka, which a failing snapshot will tell of
		return nil
	}
}

// recall reads a stream's resume; false if there is none.
func recall(streams map[string]envelope.StreamCursor, stream string, into any) (bool, error) {
	at, known := streams[stream]
	if !known || len(at.Resume) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(at.Resume, into); err != nil {
		return false, retry.Stop(fmt.Errorf("reading where stream %s stands, %s: %w", stream, at.Resume, err))
	}
	return true, nil
}

// Polls implements collect.Polling.
func (s *Source) Polls() {}

var (
	_ collect.Ranged  = (*Source)(nil)
	_ collect.Polling = (*Source)(nil)
)
