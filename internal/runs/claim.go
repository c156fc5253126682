package runs

import (
	"context"
	"fmt"
	"time"

	"headwater/internal/database"
)

// Ready are runs that may begin, in the order in which they should: of each source the first few, and none of a source of which one runs. Next is when
// more is due, zero if nothing is.
func (s *Store) Ready(ctx context.Context) (ready []Run, next time.Time, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		// What people ask for goes first, and what the schedule asks for before what may take days.
		ready, err = s.query(tx, `id IN (SELECT id FROM (
			SELECT id, row_number() OVER (PARTITION BY source ORDER BY CASE kind WHEN 'manual' THEN 0 WHEN 'scheduled' THEN 1 ELSE 2 END, day, id) AS place
			FROM headwater_runs WHERE pipeline = ? AND state = 'waiting' AND due <= ?
			AND source NOT IN (SELECT source FROM headwater_runs WHERE pipeline = ? AND state = 'running')
			AND NOT (kind = 'scheduled' AND source IN (SELECT source FROM headwater_schedules WHERE pipeline = ? AND paused = 1))) AS places
			WHERE place <= 50)
			ORDER BY CASE kind WHEN 'manual' THEN 0 WHEN 'scheduled' THEN 1 ELSE 2 END, day, source, id`,
			s.pipeline, now.UnixMilli(), s.pipeline, s.pipeline)
		if err != nil {
			return err
		}
		return tx.Each(`SELECT coalesce(min(due), 0) FROM headwater_runs WHERE pipeline = ? AND state = 'waiting' AND due > ?`, []any{s.pipeline, now.UnixMilli()},
			func(scan func(...any) error) error {
				var due int64
				err := scan(&due)
				if due > 0 {
					next = time.UnixMilli(due)
				}
				return err
			})
	})
	return ready, next, err
}

// Claim takes a waiting run for this process (invariants 2 and 3). It reports false if another has it, or another of its source runs.
func (s *Store) Claim(ctx context.Context, id int64) (r Run, claimed bool, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE headwater_runs SET state = 'running', attempt = attempt + 1, epoch = epoch + 1, holder = ?, lease = ?, began = ?, ended = 0, waits = ''
			WHERE pipeline = ? AND id = ? AND state = 'waiting' AND NOT EXISTS (
				SELECT 1 FROM headwater_runs AS other WHERE other.pipeline = headwater_runs.pipeline AND other.source = headwater_runs.source AND other.state = 'running')`,
			s.holder, now.Add(s.lease).UnixMilli(), now.UnixMilli(), s.pipeline, id)
		if err != nil || n == 0 {
			return err
		}
		claimed = true
		r, err = s.one(tx, id)
		return err
	})
	return r, claimed && err == nil, err
}

// Guard makes sure that this process still has the run, and has it for the time of another lease: ErrLost, ErrCancelled. It is called right before
// what the run makes takes effect.
func (s *Store) Guard(ctx context.Context, r Run) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		n, err := tx.Exec(`UPDATE headwater_runs SET lease = ? WHERE pipeline = ? AND id = ? AND epoch = ? AND state = 'running' AND cancel = 0`,
			now.Add(s.lease).UnixMilli(), s.pipeline, r.ID, r.Epoch)
		if err != nil || n == 1 {
			return err
		}
		return s.whose(tx, r)
	})
}

// whose says why a run is not what it was claimed as.
func (s *Store) whose(tx *database.Tx, r Run) error {
	is, err := s.one(tx, r.ID)
	switch {
	case err != nil:
		return err
	case is.State == Cancelled || is.Epoch == r.Epoch && is.Cancelling: // invariant 5
		return fmt.Errorf("run %d: %w", r.ID, ErrCancelled)
	}
	return fmt.Errorf("run %d: %w: it is %s, of epoch %d, and was claimed as epoch %d", r.ID, ErrLost, is.State, is.Epoch, r.Epoch)
}

// Note keeps what a run that this process has says, so far.
func (s *Store) Note(ctx context.Context, r Run, log string) error {
	return s.change(ctx, r, `log = ?`, log)
}

// Waits keeps what a waiting run waits for.
func (s *Store) Waits(ctx context.Context, id int64, what string) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		_, err := tx.Exec(`UPDATE headwater_runs SET waits = ? WHERE pipeline = ? AND id = ? AND state = 'waiting'`, what, s.pipeline, id)
		return err
	})
}

// change changes a run that this process has: ErrLost, ErrCancelled if it has not. Only a cancelled run that runs is still its holder's.
func (s *Store) change(ctx context.Context, r Run, set string, args ...any) error {
	return s.db.Write(ctx, func(tx *database.Tx) error { return s.set(tx, r, set, args...) })
}

func (s *Store) set(tx *database.Tx, r Run, set string, args ...any) error {
	n, err := tx.Exec(`UPDATE headwater_runs SET `+set+` WHERE pipeline = ? AND id = ? AND epoch = ? AND state = 'running'`, append(args, s.pipeline, r.ID, r.Epoch)...)
	if err != nil || n == 1 {
		return err
	}
	return s.whose(tx, r)
}

// Finish says what became of a run that this process has, with its State, Rows, Quarantined, Unchanged, Class, Error and, if it waits, Due.
func (s *Store) Finish(ctx context.Context, r Run, log string) error {
	return s.db.Write(ctx, func(tx *database.Tx) (err error) {
		if r.Ended, err = tx.Now(); err != nil {
			return err
		}
		if err := s.set(tx, r, `state = ?, attempt = ?, ended = ?, due = ?, "rows" = ?, quarantined = ?, unchanged = ?, class = ?, error = ?, log = ?`,
			r.State, r.Attempt, r.Ended.UnixMilli(), millis(r.Due), r.Rows, r.Quarantined, number(r.Unchanged), r.Class, r.Error, log); err != nil {
			return err
		}
		return s.tell(tx, r)
	})
}

// tell tells of a run that has ended.
func (s *Store) tell(tx *database.Tx, r Run) error {
	if s.Ended == nil || r.State != Done && r.State != Failed {
		return nil
	}
	if err := s.Ended(tx, r); err != nil {
		return fmt.Errorf("telling what became of run %d: %w", r.ID, err)
	}
	return nil
}

// Abandoned has runs done again that were running in processes that have ended: whose lease is over, or, with mine, that are of this holder or, where
// nobody else may use the database, of anybody (invariants 4 and 5). One that was begun more than most times has failed: it may be what ends them.
func (s *Store) Abandoned(ctx context.Context, mine bool, most int) (n int64, err error) {
	whose := `lease < ?`
	if mine && s.db.Shared {
		whose = `(lease < ? OR holder = ?)`
	} else if mine {
		whose = `(? >= 0 OR holder = ?)`
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		of := []any{now.UnixMilli()}
		if mine {
			of = append(of, s.holder)
		}
		failed, err := s.query(tx, `state = 'running' AND cancel = 0 AND attempt > ? AND `+whose, append([]any{most}, of...)...)
		if err != nil {
			return err
		}
		n, err = tx.Exec(`UPDATE headwater_runs SET
			state = CASE WHEN cancel = 1 THEN 'cancelled' WHEN attempt > ? THEN 'failed' ELSE 'waiting' END,
			class = CASE WHEN attempt > ? THEN 'ours' ELSE 'transient' END,
			error = CASE WHEN attempt > ? THEN 'the process that made it has ended each time that it was tried' ELSE 'the process that made it has ended' END,
			ended = ?, due = ? WHERE pipeline = ? AND state = 'running' AND `+whose, append([]any{most, most, most, now.UnixMilli(), now.UnixMilli(), s.pipeline}, of...)...)
		if err != nil {
			return err
		}
		for _, r := range failed {
			if r, err = s.one(tx, r.ID); err == nil {
				err = s.tell(tx, r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// Cancel has a waiting run be over, and a running one stop: ErrEnded, ErrNoRun. Who has a running one is told by Guard.
func (s *Store) Cancel(ctx context.Context, id int64) (r Run, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		if r, err = s.one(tx, id); err != nil {
			return err
		}
		if r.State.Ended() {
			return fmt.Errorf("run %d: %w: it is %s", id, ErrEnded, r.State)
		}
		now, err := tx.Now()
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE headwater_runs SET cancel = 1, state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END,
			ended = CASE state WHEN 'waiting' THEN ? ELSE ended END WHERE pipeline = ? AND id = ?`, now.UnixMilli(), s.pipeline, id); err != nil {
			return err
		}
		r, err = s.one(tx, id)
		return err
	})
	return r, err
}

// CancelBatch cancels all runs of a batch that are not over, and returns how many.
func (s *Store) CancelBatch(ctx context.Context, batch string) (n int64, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		n, err = tx.Exec(`UPDATE headwater_runs SET cancel = 1, state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END,
			ended = CASE state WHEN 'waiting' THEN ? ELSE ended END WHERE pipeline = ? AND batch = ? AND state IN ('waiting', 'running')`, now.UnixMilli(), s.pipeline, batch)
		return err
	})
	return n, err
}
