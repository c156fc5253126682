package runs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"headwater/internal/crash"
	"headwater/internal/retry"
	"headwater/internal/schedule"
	"headwater/table"
)

// Source is one whose days are made by schedule.
type Source struct {
	Name string
	// Schedule without times plans nothing.
	Schedule schedule.Schedule
}

// Limits are how often a run is tried, and for how long.
type Limits struct {
	// Retries is how many tries follow the first one, as long as they fail with what may pass.
	Retries int
	// MinWait and MaxWait bound the ceiling of the wait before a try, which doubles.
	MinWait, MaxWait time.Duration
	// Timeout bounds a try; 0 is no bound.
	Timeout time.Duration
}

// Options are what a Scheduler works with.
type Options struct {
	Store *Store
	// Sources are those that this process schedules now; nil if it schedules none and only does what is asked for.
	Sources func(context.Context) ([]Source, error)
	// Pending are days up to over that have something to do: objects that their tables were not made from, say.
	Pending func(ctx context.Context, source string, over table.Day) ([]table.Day, error)
	// Settled, if not nil, is told that all days of the source that were planned are made.
	Settled func(source string)
	// Closed says whether all that belongs to a day has come, and, if not, what is missing. Nil is always.
	Closed func(ctx context.Context, source string, day table.Day) (closed bool, reason string, err error)
	// Changed, if not nil, has an element after a day may have closed.
	Changed <-chan struct{}
	// Do makes the day. What it makes may take effect only after guard has returned nil, right before.
	Do func(ctx context.Context, r Run, log *slog.Logger, guard func(context.Context) error) (Outcome, error)
	// Classify says what kind of error Do has returned. Of Class Refused are those that another try cannot cure.
	Classify func(error) Class
	// LimitsOf are those of a source.
	LimitsOf func(source string) Limits
	// Wanted, if not nil, has other runs left alone.
	Wanted func(Run) bool
	// Parallel is how many runs are done at a time; those of one source are never.
	Parallel int
	Location *time.Location
	Logger   *slog.Logger
}

// Scheduler plans runs and does them. Make it with New, and Run it once.
type Scheduler struct {
	Options
	poke chan struct{} // has an element if there may be something to do

	mu   sync.Mutex
	busy map[int64]*held // those that this process does

	totals totals
	next   atomic.Pointer[time.Time]
}

// held is a run that this process does.
type held struct {
	log    *runLog
	cancel context.CancelCauseFunc
}

// totals count since the scheduler began.
type totals struct{ attempts, failures, micros atomic.Int64 }

// Totals are how many attempts have ended, how many of them failed, and how long all took.
type Totals struct {
	Attempts, Failures int64
	Took               time.Duration
}

// New makes a Scheduler; it does nothing yet.
func New(o Options) *Scheduler {
	o.Parallel = max(1, o.Parallel)
	return &Scheduler{Options: o, poke: make(chan struct{}, 1), busy: map[int64]*held{}}
}

// Next is when a schedule is due next, zero if that is not known.
func (s *Scheduler) Next() time.Time {
	if t := s.next.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Totals are those of now.
func (s *Scheduler) Totals() Totals {
	return Totals{s.totals.attempts.Load(), s.totals.failures.Load(), time.Duration(s.totals.micros.Load()) * time.Microsecond}
}

// Poke says that there may be something to do: a run was asked for, cancelled, or a day has closed.
func (s *Scheduler) Poke() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Cancel cancels a run, at once if this process has it: ErrEnded, ErrNoRun.
func (s *Scheduler) Cancel(ctx context.Context, id int64) (Run, error) {
	r, err := s.Store.Cancel(ctx, id)
	if err == nil {
		s.stop(id)
	}
	return r, err
}

// stop has a run end that was cancelled, if this process has it.
func (s *Scheduler) stop(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.busy[id]; h != nil {
		h.cancel(ErrCancelled)
	}
}

// CancelBatch cancels the runs of a batch, those at once that this process has.
func (s *Scheduler) CancelBatch(ctx context.Context, batch string) (int64, error) {
	n, err := s.Store.CancelBatch(ctx, batch)
	if err != nil || n == 0 {
		return n, err
	}
	running, err := s.Store.List(ctx, Filter{Batch: batch, State: Running})
	for _, r := range running {
		s.stop(r.ID)
	}
	return n, err
}

// Log is what a run has said until now.
func (s *Scheduler) Log(ctx context.Context, id int64) (string, error) {
	s.mu.Lock()
	h := s.busy[id]
	s.mu.Unlock()
	if h != nil {
		return h.log.String(), nil
	}
	return s.Store.Log(ctx, id)
}

// Run plans and does runs until ctx ends; those that are under way then are put back.
func (s *Scheduler) Run(ctx context.Context) error {
	wait := retry.Backoff{Min: time.Second, Max: time.Minute}
	for {
		if _, err := s.Store.Abandoned(ctx, true, s.most()); err == nil {
			break
		} else if ctx.Err() == nil {
			s.Logger.Error("reading the runs that a process has left", "error", err)
		}
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return err
		}
	}
	var g sync.WaitGroup
	if s.Sources != nil {
		g.Go(func() { s.plan(ctx) })
	}
	s.dispatch(ctx)
	g.Wait()
	return context.Cause(ctx)
}

// most is how often a run may be begun whose process ends each time.
func (s *Scheduler) most() int { return max(3, s.LimitsOf("").Retries) }

// pollAt is how often it is looked for what others have asked for, and whether days have closed of which nobody says so. What this process knows of is
// not waited for.
const (
	pollShared = 5 * time.Second
	pollClosed = 5 * time.Minute
)

// dispatch hands out runs until ctx ends, and then waits for those that are under way.
func (s *Scheduler) dispatch(ctx context.Context) {
	var g sync.WaitGroup
	defer g.Wait()
	room := make(chan struct{}, s.Parallel)
	for ctx.Err() == nil {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return
		}
		r, until, err := s.pick(ctx)
		if err != nil && ctx.Err() == nil {
			s.Logger.Error("looking for runs to do", "error", err, "next_try", pollShared)
			until = time.Now().Add(pollShared)
		}
		if r != nil {
			crash.Point("runs.after-claim")
			g.Go(func() {
				defer s.Poke()
				defer func() { <-room }()
				s.do(ctx, *r)
			})
			continue
		}
		<-room
		s.await(ctx, until)
	}
}

// await waits until something may have changed, or for a time; zero is never.
func (s *Scheduler) await(ctx context.Context, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		timer = time.After(time.Until(until))
	}
	select {
	case <-timer:
	case <-s.poke:
	case <-s.Changed:
	case <-ctx.Done():
	}
}

// pick claims the next run; without one, it says when to look again, zero if only a Poke brings something to do.
func (s *Scheduler) pick(ctx context.Context) (r *Run, until time.Time, err error) {
	if s.Store.db.Shared {
		until = time.Now().Add(pollShared)
		if n, err := s.Store.Abandoned(ctx, false, s.most()); err != nil {
			return nil, until, err
		} else if n > 0 {
			s.Logger.Warn("runs are done again whose process has not been heard of for the time of its lease", "runs", n)
		}
	}
	ready, next, err := s.Store.Ready(ctx)
	if err != nil {
		return nil, until, err
	}
	for _, one := range ready {
		if s.Wanted != nil && !s.Wanted(one) {
			continue
		}
		if !s.closed(ctx, one) {
			next = sooner(next, time.Now().Add(pollClosed))
			continue
		}
		got, claimed, err := s.Store.Claim(ctx, one.ID)
		if err != nil {
			return nil, until, err
		}
		if claimed {
			return &got, until, nil
		}
		next = sooner(next, time.Now().Add(time.Second)) // somebody was faster, and may be so with all of the source
	}
	return nil, sooner(next, until), nil
}

// sooner is the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// closed says whether a run need not wait for its day, and notes what it waits for.
func (s *Scheduler) closed(ctx context.Context, r Run) bool {
	if r.Kind != Scheduled || s.Closed == nil {
		return true
	}
	day, err := table.ParseDay(r.Day)
	closed, reason := false, ""
	if err == nil {
		closed, reason, err = s.Closed(ctx, r.Source, day)
	}
	if err != nil {
		closed, reason = false, "it cannot be told whether the day is closed: "+err.Error()
	}
	if !closed && reason != r.Waits && ctx.Err() == nil {
		if err := s.Store.Waits(ctx, r.ID, reason); err != nil {
			s.Logger.Warn("what a run waits for could not be noted", "run", r.ID, "error", err)
		}
	}
	return closed
}

// do does a run that was claimed, and writes down what became of it.
func (s *Scheduler) do(ctx context.Context, r Run) {
	log := &runLog{}
	if before, err := s.Store.Log(ctx, r.ID); err == nil && before != "" {
		fmt.Fprintf(log, "%s--- attempt %d\n", before, r.Attempt)
	}
	mine, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.busy[r.ID] = &held{log, cancel}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.busy, r.ID)
	}()
	to := logger(s.Logger.With("run", r.ID), log)
	began := time.Now()
	got, err := s.attempt(mine, cancel, r, log, to)
	s.totals.micros.Add(time.Since(began).Microseconds())
	crash.Point("runs.before-finish")
	s.finish(ctx, ended(mine, s, r, got, err), log, to)
	crash.Point("runs.after-finish")
}

// errTimeout is why a try ended that took too long.
var errTimeout = errors.New("it took longer than serialize.timeout")

// attempt is one try, with the lease kept.
func (s *Scheduler) attempt(ctx context.Context, cancel context.CancelCauseFunc, r Run, log *runLog, to *slog.Logger) (got Outcome, err error) {
	to.Info("a run begins", "source", r.Source, "day", r.Day, "kind", r.Kind, "why", r.Why, "attempt", r.Attempt)
	if limit := s.LimitsOf(r.Source).Timeout; limit > 0 {
		timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w, %s", errTimeout, limit)) })
		defer timer.Stop()
	}
	beating, stop := context.WithCancel(ctx)
	var g sync.WaitGroup
	g.Go(func() { s.beat(beating, cancel, r, log) })
	got, err = s.Do(ctx, r, to, func(ctx context.Context) error { return s.Store.Guard(ctx, r) })
	stop()
	g.Wait()
	return got, err
}

// beat keeps the lease of a run, and ends it when it is lost or was cancelled.
func (s *Scheduler) beat(ctx context.Context, cancel context.CancelCauseFunc, r Run, log *runLog) {
	for retry.Wait(ctx, s.Store.lease/3) == nil {
		err := s.Store.Guard(ctx, r)
		if errors.Is(err, ErrLost) || errors.Is(err, ErrCancelled) {
			cancel(err)
			return
		}
		if err == nil {
			err = s.Store.Note(ctx, r, log.String())
		}
		if err != nil && ctx.Err() == nil {
			s.Logger.Warn("the lease of a run could not be kept; without it nothing is published", "run", r.ID, "error", err)
		}
	}
}

// ended is what is to be written down of a try. Ctx is the run's own.
func ended(ctx context.Context, s *Scheduler, r Run, got Outcome, err error) Run {
	cause := context.Cause(ctx)
	r.Class, r.Error = "", ""
	switch {
	case err == nil:
		r.State, r.Rows, r.Quarantined, r.Unchanged = Done, got.Rows, got.Quarantined, got.Unchanged
		return r
	case errors.Is(err, ErrCancelled) || errors.Is(cause, ErrCancelled):
		r.State, r.Error = Cancelled, ErrCancelled.Error()
		return r
	case errors.Is(err, ErrLost) || errors.Is(cause, ErrLost):
		r.State, r.Error = "", err.Error()
		return r
	case errors.Is(cause, errTimeout):
		r.Class, r.Error = Transient, fmt.Sprintf("%v: %v", cause, err)
	case ctx.Err() != nil: // this process ends
		r.State, r.Attempt, r.Error = Waiting, r.Attempt-1, "the process that made it has ended"
		return r
	default:
		r.Class, r.Error = s.Classify(err), err.Error()
	}
	limits := s.LimitsOf(r.Source)
	if r.Class != Transient || r.Attempt > limits.Retries {
		r.State = Failed
		return r
	}
	r.State, r.Due = Waiting, time.Now().Add(backoff(limits, r.Attempt))
	return r
}

// backoff is the wait after so many tries.
func backoff(l Limits, tries int) (wait time.Duration) {
	b := retry.Backoff{Min: l.MinWait, Max: l.MaxWait}
	for range min(tries, 63) {
		wait = b.Next()
	}
	return wait
}

// patience is how long a process that ends tries to write down what became of a run; without it the run is another's when its lease is over.
const patience = 5 * time.Second

// finish writes down what became of a try, as often as it takes.
func (s *Scheduler) finish(ctx context.Context, r Run, log *runLog, to *slog.Logger) {
	s.totals.attempts.Add(1)
	switch r.State {
	case Done:
		to.Info("a run is done", "source", r.Source, "day", r.Day, "rows", r.Rows, "quarantined", r.Quarantined, "unchanged", r.Unchanged)
	case Failed:
		s.totals.failures.Add(1)
		to.Error("a run failed", "source", r.Source, "day", r.Day, "class", r.Class, "error", r.Error)
	case Waiting:
		to.Warn("a run is tried again", "source", r.Source, "day", r.Day, "attempt", r.Attempt, "at", r.Due.Round(time.Second), "error", r.Error)
	case "":
		to.Warn("a run is another process's now, and nothing of it is published", "source", r.Source, "day", r.Day, "error", r.Error)
		return
	default:
		to.Warn("a run was cancelled", "source", r.Source, "day", r.Day)
	}
	wait := retry.Backoff{}
	for {
		err := s.write(ctx, r, log.String())
		switch {
		case err == nil:
			s.settled(ctx, r)
			return
		case errors.Is(err, ErrLost) || errors.Is(err, ErrCancelled) || errors.Is(err, ErrNoRun):
			to.Warn("what became of a run is not written down", "error", err)
			return
		case ctx.Err() != nil:
			return
		}
		to.Error("writing down what became of a run", "error", err)
		if retry.Wait(ctx, wait.Next()) != nil {
			continue // once more, for patience
		}
	}
}

func (s *Scheduler) write(ctx context.Context, r Run, log string) error {
	if ctx.Err() != nil {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer stop()
	}
	return s.Store.Finish(ctx, r, log)
}

// settled tells of a source of which nothing waits, runs or has failed.
func (s *Scheduler) settled(ctx context.Context, r Run) {
	if s.Settled == nil || r.State != Done {
		return
	}
	left, err := s.Store.Unmade(ctx, r.Source)
	if err == nil && left == 0 {
		s.Settled(r.Source)
	}
}
