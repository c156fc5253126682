package runs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/internal/database"
	"headwater/table"
)

// versions are the tables. Times are milliseconds since 1970, 0 for none; lease is when a running run is anybody's.
var versions = []string{`
CREATE TABLE headwater_runs (
	id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, source TEXT NOT NULL, day TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
	why TEXT NOT NULL, batch TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 0,
	planned INTEGER NOT NULL, due INTEGER NOT NULL, began INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
	"rows" INTEGER NOT NULL DEFAULT 0, quarantined INTEGER NOT NULL DEFAULT 0, unchanged INTEGER NOT NULL DEFAULT 0,
	class TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '', waits TEXT NOT NULL DEFAULT '', log TEXT NOT NULL DEFAULT '',
	holder TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 0, lease INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX headwater_runs_active ON headwater_runs (pipeline, source, day) WHERE state IN ('waiting', 'running');
CREATE INDEX headwater_runs_days ON headwater_runs (pipeline, source, day, id);
CREATE INDEX headwater_runs_states ON headwater_runs (pipeline, state);
CREATE TABLE headwater_schedules (
	pipeline TEXT NOT NULL, source TEXT NOT NULL, slot INTEGER NOT NULL, through TEXT NOT NULL, paused INTEGER NOT NULL,
	PRIMARY KEY (pipeline, source));
`}

// kept is for how long runs that have ended are kept.
const kept = 400 * 24 * time.Hour

// Store has the runs of a pipeline.
type Store struct {
	// Ended, if not nil, is told of each run that is Done or Failed, in the transaction that says so and that fails with it. Set it before the store is used.
	Ended func(tx *database.Tx, r Run) error

	db       *database.DB
	pipeline string
	holder   string
	lease    time.Duration
}

// Open opens the runs of a pipeline, which is told from others in the same database by its name. Holder is a name that no other process has which is
// alive. A running run whose holder has said nothing for the time of the lease may be taken by another.
func Open(ctx context.Context, cfg database.Config, pipeline, holder string, lease time.Duration) (*Store, error) {
	db, err := database.Open(ctx, cfg, "runs", versions)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, pipeline: pipeline, holder: holder, lease: lease}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Plan is what is to be planned of a source.
type Plan struct {
	Source string
	// Slot is the time of the schedule that has come; zero plans whatever was planned before.
	Slot time.Time
	// Asked is what Store.Now was before it was looked for Pending days, which have something to do.
	Asked   time.Time
	Pending []table.Day
	// Over is the last day that has come to its end.
	Over table.Day
}

// Now is the time by the clock that all users of the store share.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) (err error) {
		now, err = tx.Now()
		return err
	})
	return now, err
}

// Plan adds a run for each day that needs one: those that have come to their end since it last planned, those of Pending, and those whose last run
// has failed. Another process may have planned the slot, or a day: then nothing is added. It returns how many were added.
func (s *Store) Plan(ctx context.Context, p Plan) (added int, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		added = 0
		slot, through, paused, err := s.schedule(tx, p.Source)
		if err != nil || paused || !p.Slot.IsZero() && slot >= p.Slot.UnixMilli() {
			return err
		}
		now, err := tx.Now()
		if err != nil {
			return err
		}
		wanted, err := s.wanted(tx, p, through)
		if err != nil {
			return err
		}
		for _, w := range wanted {
			n, err := s.add(tx, now, p.Source, w.day, Scheduled, w.why, "")
			if err != nil {
				return err
			}
			added += int(n)
		}
		if _, err := tx.Exec(`DELETE FROM headwater_runs WHERE pipeline = ? AND ended > 0 AND ended < ?`, s.pipeline, now.Add(-kept).UnixMilli()); err != nil {
			return err
		}
		return s.keep(tx, p.Source, max(slot, millis(p.Slot)), max(through, p.Over.String()), false)
	})
	return added, err
}

// millis is how times are kept.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// schedule is how far a source was planned.
func (s *Store) schedule(tx *database.Tx, source string) (slot int64, through string, paused bool, err error) {
	var p int
	err = tx.Each(`SELECT slot, through, paused FROM headwater_schedules WHERE pipeline = ? AND source = ?`, []any{s.pipeline, source},
		func(scan func(...any) error) error { return scan(&slot, &through, &p) })
	return slot, through, p == 1, err
}

func (s *Store) keep(tx *database.Tx, source string, slot int64, through string, paused bool) error {
	_, err := tx.Exec(`INSERT INTO headwater_schedules (pipeline, source, slot, through, paused) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (pipeline, source) DO UPDATE SET slot = excluded.slot, through = excluded.through, paused = excluded.paused`,
		s.pipeline, source, slot, through, number(paused))
	return err
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reason is why a day is planned.
type reason struct{ day, why string }

// last is the last run of a day.
type last struct {
	state          State
	planned, ended int64
}

// wanted are the days to be planned, in order.
func (s *Store) wanted(tx *database.Tx, p Plan, through string) (all []reason, err error) {
	latest, err := s.latest(tx, p.Source)
	if err != nil {
		return nil, err
	}
	over := p.Over.String()
	seen := map[string]bool{}
	want := func(day, why string) {
		l := latest[day]
		if seen[day] || day > over || l.state == Waiting || l.state == Running {
			return
		}
		seen[day] = true
		all = append(all, reason{day, why})
	}
	for _, day := range since(through, p.Over) { // invariant 1
		want(day, "the day is over")
	}
	for _, d := range p.Pending {
		if l := latest[d.String()]; l.state == "" || l.planned < p.Asked.UnixMilli() && l.ended < p.Asked.UnixMilli() {
			want(d.String(), "its objects or its columns have changed")
		}
	}
	for day, l := range latest {
		if l.state == Failed && l.ended < p.Asked.UnixMilli() {
			want(day, "its last run failed")
		}
	}
	slices.SortFunc(all, func(a, b reason) int { return strings.Compare(a.day, b.day) })
	return all, nil
}

// latest are the last runs of all days of a source, by one query.
func (s *Store) latest(tx *database.Tx, source string) (map[string]last, error) {
	all := map[string]last{}
	err := tx.Each(`SELECT day, state, planned, ended FROM headwater_runs WHERE id IN (
		SELECT max(id) FROM headwater_runs WHERE pipeline = ? AND source = ? GROUP BY day)`, []any{s.pipeline, source},
		func(scan func(...any) error) error {
			var day string
			var l last
			if err := scan(&day, &l.state, &l.planned, &l.ended); err != nil {
				return err
			}
			all[day] = l
			return nil
		})
	return all, err
}

// mostMissed is how many days of a source are planned that came to their end while nothing planned; older ones are planned only if there are objects.
const mostMissed = 1000

// since are the days after through up to over; over alone if through is empty.
func since(through string, over table.Day) (days []string) {
	at := time.Date(over.Year, time.Month(over.Month), over.Day, 0, 0, 0, 0, time.UTC)
	for range mostMissed {
		day := at.Format(time.DateOnly)
		if day <= through {
			break
		}
		days = append(days, day)
		if through == "" {
			break
		}
		at = at.AddDate(0, 0, -1)
	}
	return days
}

// add adds a run unless one waits or runs already (invariant 2).
func (s *Store) add(tx *database.Tx, now time.Time, source, day string, kind Kind, why, batch string) (int64, error) {
	return tx.Exec(`INSERT INTO headwater_runs (pipeline, source, day, kind, state, why, batch, planned, due)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		s.pipeline, source, day, kind, Waiting, why, batch, now.UnixMilli(), now.UnixMilli())
}

// Request asks for a run.
type Request struct {
	Source string
	Day    table.Day
	Kind   Kind
	Why    string
	Batch  string
}

// Ask adds runs. Where one of the day waits already, that one is taken and asked for now; one that runs is left as it is.
// The runs are in the order of what was asked.
func (s *Store) Ask(ctx context.Context, asked ...Request) (got []Run, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		got = nil
		for _, r := range asked {
			if _, err := s.add(tx, now, r.Source, r.Day.String(), r.Kind, r.Why, r.Batch); err != nil {
				return err
			}
			if _, err := tx.Exec(`UPDATE headwater_runs SET kind = ?, why = ?, batch = ?, due = ?, waits = '' WHERE pipeline = ? AND source = ? AND day = ? AND state = ?`,
				r.Kind, r.Why, r.Batch, now.UnixMilli(), s.pipeline, r.Source, r.Day.String(), Waiting); err != nil {
				return err
			}
			one, err := s.query(tx, `source = ? AND day = ? AND state IN ('waiting', 'running') ORDER BY id`, r.Source, r.Day.String())
			if err != nil {
				return err
			}
			got = append(got, one...)
		}
		return nil
	})
	return got, err
}

// Retry has a run that is over, and that does not wait anyway, done again as a run of its own, now.
func (s *Store) Retry(ctx context.Context, id int64) (Run, error) {
	was, err := s.Run(ctx, id)
	if err != nil {
		return Run{}, err
	}
	day, err := table.ParseDay(was.Day)
	if err != nil {
		return Run{}, err
	}
	got, err := s.Ask(ctx, Request{Source: was.Source, Day: day, Kind: Manual, Why: fmt.Sprintf("run %d again", id)})
	if err != nil || len(got) == 0 {
		return Run{}, err
	}
	return got[0], nil
}

const columns = `id, source, day, kind, state, why, batch, attempt, planned, due, began, ended, "rows", quarantined, unchanged, class, error, waits, cancel, holder, epoch`

// query reads runs of the pipeline.
func (s *Store) query(tx *database.Tx, where string, args ...any) (all []Run, err error) {
	err = tx.Each(`SELECT `+columns+` FROM headwater_runs WHERE pipeline = ? AND `+where, append([]any{s.pipeline}, args...),
		func(scan func(...any) error) error {
			var r Run
			var planned, due, began, ended int64
			var unchanged, cancel int
			if err := scan(&r.ID, &r.Source, &r.Day, &r.Kind, &r.State, &r.Why, &r.Batch, &r.Attempt, &planned, &due, &began, &ended,
				&r.Rows, &r.Quarantined, &unchanged, &r.Class, &r.Error, &r.Waits, &cancel, &r.Holder, &r.Epoch); err != nil {
				return err
			}
			for at, ms := range map[*time.Time]int64{&r.Planned: planned, &r.Due: due, &r.Began: began, &r.Ended: ended} {
				if ms > 0 {
					*at = time.UnixMilli(ms).UTC()
				}
			}
			r.Unchanged, r.Cancelling = unchanged == 1, cancel == 1 && !r.State.Ended()
			all = append(all, r)
			return nil
		})
	return all, err
}

// Filter says which runs are listed; what is empty is any.
type Filter struct {
	Source string
	Day    string
	State  State
	Batch  string
	// Limit is how many, the newest; 0 is all.
	Limit int
}

// List lists runs, the newest first.
func (s *Store) List(ctx context.Context, f Filter) (all []Run, err error) {
	where, args := []string{"1 = 1"}, []any{}
	for column, value := range map[string]string{"source": f.Source, "day": f.Day, "state": string(f.State), "batch": f.Batch} {
		if value != "" {
			where, args = append(where, column+" = ?"), append(args, value)
		}
	}
	query := strings.Join(where, " AND ") + " ORDER BY id DESC"
	if f.Limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", f.Limit)
	}
	err = s.db.Read(ctx, func(tx *database.Tx) (err error) {
		all, err = s.query(tx, query, args...)
		return err
	})
	return all, err
}

// Run is the run of that number, or ErrNoRun.
func (s *Store) Run(ctx context.Context, id int64) (r Run, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) (err error) {
		r, err = s.one(tx, id)
		return err
	})
	return r, err
}

func (s *Store) one(tx *database.Tx, id int64) (Run, error) {
	all, err := s.query(tx, `id = ?`, id)
	if err != nil {
		return Run{}, err
	}
	if len(all) == 0 {
		return Run{}, fmt.Errorf("run %d: %w", id, ErrNoRun)
	}
	return all[0], nil
}

// Log is what a run has said, in all of its attempts.
func (s *Store) Log(ctx context.Context, id int64) (text string, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		if _, err := s.one(tx, id); err != nil {
			return err
		}
		return tx.Each(`SELECT log FROM headwater_runs WHERE pipeline = ? AND id = ?`, []any{s.pipeline, id},
			func(scan func(...any) error) error { return scan(&text) })
	})
	return text, err
}

// Pause has a source's schedule plan nothing more, and what it has planned wait; or, with false, go on, and make up for what was missed.
func (s *Store) Pause(ctx context.Context, source string, paused bool) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		slot, through, _, err := s.schedule(tx, source)
		if err != nil {
			return err
		}
		return s.keep(tx, source, slot, through, paused)
	})
}

// Paused are the sources that are.
func (s *Store) Paused(ctx context.Context) (sources []string, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		return tx.Each(`SELECT source FROM headwater_schedules WHERE pipeline = ? AND paused = 1 ORDER BY source`, []any{s.pipeline}, func(scan func(...any) error) error {
			var source string
			err := scan(&source)
			sources = append(sources, source)
			return err
		})
	})
	return sources, err
}

// Counts are how many runs there are of each state, and since when the one that is due for longest waits; zero if none does.
func (s *Store) Counts(ctx context.Context) (counts map[State]int64, oldest time.Time, err error) {
	counts = map[State]int64{}
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		return tx.Each(`SELECT state, count(*), min(planned) FROM headwater_runs WHERE pipeline = ? GROUP BY state`, []any{s.pipeline}, func(scan func(...any) error) error {
			var state State
			var n, first int64
			if err := scan(&state, &n, &first); err != nil {
				return err
			}
			if counts[state] = n; state == Waiting {
				oldest = time.UnixMilli(first).UTC()
			}
			return nil
		})
	})
	return counts, oldest, err
}

// Unmade is how many days of a source wait, run, or have failed the last time.
func (s *Store) Unmade(ctx context.Context, source string) (n int, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		latest, err := s.latest(tx, source)
		for _, l := range latest {
			if l.state != Done && l.state != Cancelled {
				n++
			}
		}
		return err
	})
	return n, err
}
