package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"headwater/internal/database"
)

// versions are the tables. Times are milliseconds since 1970, 0 for none.
var versions = []string{`
CREATE TABLE headwater_problems (
	pipeline TEXT NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL,
	since INTEGER NOT NULL, reason TEXT NOT NULL, stage TEXT NOT NULL, stage_since INTEGER NOT NULL,
	PRIMARY KEY (pipeline, source, kind, what));
CREATE TABLE headwater_outbox (
	id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, webhook TEXT NOT NULL, made INTEGER NOT NULL, message TEXT NOT NULL);
CREATE INDEX headwater_outbox_order ON headwater_outbox (pipeline, webhook, id);
CREATE TABLE headwater_webhooks (
	pipeline TEXT NOT NULL, webhook TEXT NOT NULL, holder TEXT NOT NULL DEFAULT '', lease INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
	due INTEGER NOT NULL DEFAULT 0, failing INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', lost INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (pipeline, webhook));
CREATE TABLE headwater_judges (pipeline TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, lease INTEGER NOT NULL);
CREATE TABLE headwater_judged (pipeline TEXT NOT NULL, source TEXT NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (pipeline, source));
`}

const (
	// mostWaiting is how many messages a webhook may have waiting, and longestWaiting for how long; then the oldest are given up.
	mostWaiting    = 1000
	longestWaiting = 30 * 24 * time.Hour
	// judging is for how long who judges is alone to do so after it has said that it does.
	judging = 5 * time.Minute
)

// Store has the problems and the outbox of a pipeline.
type Store struct {
	db               *database.DB
	pipeline, holder string
	webhooks         Webhooks
	log              *slog.Logger
}

// Open opens those of a pipeline, which is told from others in the same database by its name. Holder is a name that no other process has which is alive.
func Open(ctx context.Context, cfg database.Config, pipeline, holder string, webhooks Webhooks, log *slog.Logger) (*Store, error) {
	db, err := database.Open(ctx, cfg, "notify", versions)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, pipeline: pipeline, holder: holder, webhooks: webhooks, log: log}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Wrong notes, in a transaction of the same database, that something is wrong. It reports whether that is new; then webhooks are told (invariant 1).
func (s *Store) Wrong(tx *database.Tx, p Problem) (news bool, err error) {
	p.Reason = shortened(p.Reason, mostReason)
	if p.Since.IsZero() {
		if p.Since, err = tx.Now(); err != nil {
			return false, err
		}
	}
	n, err := tx.Exec(`INSERT INTO headwater_problems (pipeline, source, kind, what, since, reason, stage, stage_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		s.pipeline, p.Source, p.Kind, p.What, millis(p.Since), p.Reason, p.Stage, millis(p.StageSince))
	if err != nil || n == 0 {
		return false, err
	}
	return true, s.tell(tx, p.message(false))
}

// Over notes likewise that a problem, of which Source, Kind and What are looked at, is none any more.
func (s *Store) Over(tx *database.Tx, p Problem) (news bool, err error) {
	err = tx.Each(`SELECT since FROM headwater_problems WHERE pipeline = ? AND source = ? AND kind = ? AND what = ?`,
		[]any{s.pipeline, p.Source, p.Kind, p.What}, func(scan func(...any) error) error {
			var since int64
			err := scan(&since)
			p.Since = timeOf(since)
			return err
		})
	if err != nil || p.Since.IsZero() {
		return false, err
	}
	n, err := tx.Exec(`DELETE FROM headwater_problems WHERE pipeline = ? AND source = ? AND kind = ? AND what = ?`, s.pipeline, p.Source, p.Kind, p.What)
	if err != nil || n == 0 {
		return false, err
	}
	return true, s.tell(tx, p.message(true))
}

// tell writes a message into the outbox, for each webhook that wants to know (invariant 2).
func (s *Store) tell(tx *database.Tx, m Message) error {
	now, err := tx.Now()
	if err != nil {
		return err
	}
	m.ID, m.Pipeline, m.At = rand.Text(), s.pipeline, now.UTC().Truncate(time.Millisecond)
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	for i, w := range s.webhooks {
		if !w.wants(m.Event) {
			continue
		}
		if _, err := tx.Exec(`INSERT INTO headwater_outbox (pipeline, webhook, made, message) VALUES (?, ?, ?, ?)`, s.pipeline, w.name(), now.UnixMilli(), string(text)); err != nil {
			return err
		}
		if err := s.lose(tx, i, "too many wait", `id <= (SELECT id FROM headwater_outbox WHERE pipeline = ? AND webhook = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`,
			s.pipeline, w.name(), mostWaiting); err != nil {
			return err
		}
	}
	return nil
}

// lose gives up messages of a webhook that were not sent.
func (s *Store) lose(tx *database.Tx, webhook int, why, which string, args ...any) error {
	name := s.webhooks[webhook].name()
	n, err := tx.Exec(`DELETE FROM headwater_outbox WHERE pipeline = ? AND webhook = ? AND `+which, append([]any{s.pipeline, name}, args...)...)
	if err != nil || n == 0 {
		return err
	}
	s.log.Error("notifications are given up", "webhook", webhook+1, "messages", n, "error", why)
	_, err = tx.Exec(`INSERT INTO headwater_webhooks (pipeline, webhook, lost) VALUES (?, ?, ?) ON CONFLICT (pipeline, webhook) DO UPDATE SET lost = headwater_webhooks.lost + excluded.lost`,
		s.pipeline, name, n)
	return err
}

// Problems are those of a kind, by source and what.
func (s *Store) Problems(ctx context.Context, kind Kind) (all []Problem, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) (err error) {
		all, err = s.problems(tx, kind)
		return err
	})
	return all, err
}

func (s *Store) problems(tx *database.Tx, kind Kind) (all []Problem, err error) {
	err = tx.Each(`SELECT source, what, since, reason, stage, stage_since FROM headwater_problems WHERE pipeline = ? AND kind = ? ORDER BY source, what`,
		[]any{s.pipeline, kind}, func(scan func(...any) error) error {
			p := Problem{Kind: kind}
			var since, stage int64
			err := scan(&p.Source, &p.What, &since, &p.Reason, &p.Stage, &stage)
			p.Since, p.StageSince = timeOf(since), timeOf(stage)
			all = append(all, p)
			return err
		})
	return all, err
}

// Turn makes this process the one that judges objectives, for a few minutes, and says when each of the sources was first judged. It is false if another
// process is: who judges alone does not contradict others that know less.
func (s *Store) Turn(ctx context.Context, sources []string) (now time.Time, first map[string]time.Time, mine bool, err error) {
	first = map[string]time.Time{}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		if now, mine, err = s.judge(tx); err != nil || !mine {
			return err
		}
		for _, source := range sources {
			if _, err := tx.Exec(`INSERT INTO headwater_judged (pipeline, source, first) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, s.pipeline, source, now.UnixMilli()); err != nil {
				return err
			}
		}
		return tx.Each(`SELECT source, first FROM headwater_judged WHERE pipeline = ?`, []any{s.pipeline}, func(scan func(...any) error) error {
			var source string
			var at int64
			err := scan(&source, &at)
			first[source] = timeOf(at)
			return err
		})
	})
	return now, first, mine && err == nil, err
}

// judge is true if this process judges.
func (s *Store) judge(tx *database.Tx) (now time.Time, mine bool, err error) {
	if now, err = tx.Now(); err != nil || !s.db.Shared {
		return now, true, err
	}
	// A lease that is longer than any is of a clock that was set back.
	n, err := tx.Exec(`INSERT INTO headwater_judges (pipeline, holder, lease) VALUES (?, ?, ?) ON CONFLICT (pipeline) DO UPDATE SET holder = excluded.holder, lease = excluded.lease
		WHERE headwater_judges.holder = excluded.holder OR headwater_judges.lease < ? OR headwater_judges.lease > excluded.lease`,
		s.pipeline, s.holder, now.Add(judging).UnixMilli(), now.UnixMilli())
	return now, n == 1, err
}

// Judged takes what was judged: Breaches that there are, and problems that are Over. Those of objectives that are not configured any more are over,
// too. It returns what is new, nothing if another process judges by now.
func (s *Store) Judged(ctx context.Context, breaches, over []Problem, configured func(source, objective string) bool) (began, ended []Problem, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		began, ended = nil, nil
		now, mine, err := s.judge(tx)
		if err != nil || !mine {
			return err
		}
		known, err := s.problems(tx, Breach)
		if err != nil {
			return err
		}
		for _, p := range known {
			if !configured(p.Source, p.What) {
				over = append(over, p)
			}
		}
		for _, p := range breaches {
			if p.Kind = Breach; p.Since.IsZero() {
				p.Since = now
			}
			news, err := s.Wrong(tx, p)
			if err == nil && !news {
				err = s.explain(tx, p, known)
			}
			if err != nil {
				return err
			}
			if news {
				began = append(began, p)
			}
		}
		for _, p := range over {
			p.Kind = Breach
			news, err := s.Over(tx, p)
			if err != nil {
				return err
			}
			if news {
				ended = append(ended, p)
			}
		}
		return nil
	})
	return began, ended, err
}

// explain has a problem that is known say why it is one now.
func (s *Store) explain(tx *database.Tx, p Problem, known []Problem) error {
	p.Reason = shortened(p.Reason, mostReason)
	for _, k := range known {
		if k.Source != p.Source || k.What != p.What || k.Reason == p.Reason {
			continue
		}
		if _, err := tx.Exec(`UPDATE headwater_problems SET reason = ?, stage = ?, stage_since = ? WHERE pipeline = ? AND source = ? AND kind = ? AND what = ?`,
			p.Reason, p.Stage, millis(p.StageSince), s.pipeline, p.Source, p.Kind, p.What); err != nil {
			return fmt.Errorf("noting why %s of %s is breached: %w", p.What, p.Source, err)
		}
	}
	return nil
}
