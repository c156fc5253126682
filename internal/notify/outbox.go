package notify

import (
	"context"
	"encoding/json"
	"time"

	"headwater/internal/database"
	"headwater/internal/retry"
)

const (
	// sending is for how long a message is its sender's alone; a try takes no longer than timeout.
	sending = time.Minute
	// firstWait and longestWait bound the ceilings of the waits between tries, mostWait what a webhook may ask for by Retry-After.
	firstWait, longestWait, mostWait = time.Second, 5 * time.Minute, 24 * time.Hour
)

// letter is a message on its way to a webhook.
type letter struct {
	id      int64
	message Message
	tries   int // that have failed
	failing bool
	fault   error // why it cannot be read
}

// claim takes the first message of a webhook for this process (invariant 3). It is nil if there is none, if it is another's, or not due yet.
func (s *Store) claim(ctx context.Context, i int) (l *letter, err error) {
	webhook, waits := s.webhooks[i].name(), false
	err = s.db.Read(ctx, func(tx *database.Tx) error { // which costs less, and mostly there is nothing
		return tx.Each(`SELECT 1 FROM headwater_outbox WHERE pipeline = ? AND webhook = ? LIMIT 1`, []any{s.pipeline, webhook}, func(func(...any) error) error {
			waits = true
			return nil
		})
	})
	if err != nil || !waits {
		return nil, err
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		l = nil
		now, err := tx.Now()
		if err != nil {
			return err
		}
		if err := s.lose(tx, i, "they are too old", `made < ?`, now.Add(-longestWaiting).UnixMilli()); err != nil {
			return err
		}
		// What is later than any wait or lease is of a clock that was set back.
		n, err := tx.Exec(`INSERT INTO headwater_webhooks (pipeline, webhook, holder, lease) VALUES (?, ?, ?, ?) ON CONFLICT (pipeline, webhook) DO UPDATE
			SET holder = excluded.holder, lease = excluded.lease
			WHERE (headwater_webhooks.holder = excluded.holder OR headwater_webhooks.lease < ? OR headwater_webhooks.lease > excluded.lease)
			AND (headwater_webhooks.due <= ? OR headwater_webhooks.due > ?)`,
			s.pipeline, webhook, s.holder, now.Add(sending).UnixMilli(), now.UnixMilli(), now.UnixMilli(), now.Add(mostWait).UnixMilli())
		if err != nil || n == 0 {
			return err
		}
		return tx.Each(`SELECT o.id, o.message, w.tries, w.failing FROM headwater_outbox AS o JOIN headwater_webhooks AS w ON w.pipeline = o.pipeline AND w.webhook = o.webhook
			WHERE o.pipeline = ? AND o.webhook = ? ORDER BY o.id LIMIT 1`, []any{s.pipeline, webhook}, func(scan func(...any) error) error {
			var text string
			var failing int64
			l = &letter{}
			err := scan(&l.id, &text, &l.tries, &failing)
			l.failing = failing > 0
			l.fault = json.Unmarshal([]byte(text), &l.message)
			return err
		})
	})
	return l, err
}

// settled takes a message out of the outbox that its webhook has taken.
func (s *Store) settled(ctx context.Context, webhook string, id int64) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		if _, err := tx.Exec(`DELETE FROM headwater_outbox WHERE pipeline = ? AND id = ?`, s.pipeline, id); err != nil {
			return err
		}
		_, err := tx.Exec(`UPDATE headwater_webhooks SET tries = 0, due = 0, failing = 0, error = '' WHERE pipeline = ? AND webhook = ?`, s.pipeline, webhook)
		return err
	})
}

// refused takes a message out of the outbox that its webhook does not want, or that cannot be made.
func (s *Store) refused(ctx context.Context, i int, id int64, why string) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err == nil {
			err = s.lose(tx, i, why, `id = ?`, id)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE headwater_webhooks SET tries = 0, due = 0, failing = CASE failing WHEN 0 THEN ? ELSE failing END, error = ? WHERE pipeline = ? AND webhook = ?`,
			now.UnixMilli(), why, s.pipeline, s.webhooks[i].name())
		return err
	})
}

// failed has a message be tried again, after a wait that doubles, or as long as the webhook has asked for.
func (s *Store) failed(ctx context.Context, webhook string, tries int, asked time.Duration, why string) (wait time.Duration, err error) {
	b := retry.Backoff{Min: firstWait, Max: longestWait}
	for range min(tries+1, 63) {
		wait = b.Next()
	}
	wait = min(max(wait, asked), mostWait)
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE headwater_webhooks SET tries = ?, due = ?, failing = CASE failing WHEN 0 THEN ? ELSE failing END, error = ? WHERE pipeline = ? AND webhook = ? AND holder = ?`,
			tries+1, now.Add(wait).UnixMilli(), now.UnixMilli(), why, s.pipeline, webhook, s.holder)
		return err
	})
	return wait, err
}

// State is how a webhook is doing. Nothing in it tells its URL.
type State struct {
	// Webhook is its place in the list of the pipeline file, beginning with 1.
	Webhook int
	// Waiting messages have not been taken yet, the first of them since Oldest.
	Waiting int64
	Oldest  time.Time
	// Lost is how many were given up: refused, too old, or too many.
	Lost int64
	// FailingSince is when it first failed after its last success, and Error why it failed last; zero and empty if it does not.
	FailingSince time.Time
	Error        string
}

// States are those of all webhooks.
func (s *Store) States(ctx context.Context) (all []State, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		all = nil
		for i, w := range s.webhooks {
			state := State{Webhook: i + 1}
			var oldest, failing int64
			args := []any{s.pipeline, w.name()}
			err := tx.Each(`SELECT count(*), coalesce(min(made), 0) FROM headwater_outbox WHERE pipeline = ? AND webhook = ?`, args,
				func(scan func(...any) error) error { return scan(&state.Waiting, &oldest) })
			if err == nil {
				err = tx.Each(`SELECT lost, failing, error FROM headwater_webhooks WHERE pipeline = ? AND webhook = ?`, args,
					func(scan func(...any) error) error { return scan(&state.Lost, &failing, &state.Error) })
			}
			if err != nil {
				return err
			}
			state.Oldest, state.FailingSince = timeOf(oldest), timeOf(failing)
			all = append(all, state)
		}
		return nil
	})
	return all, err
}
