package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"headwater/envelope"
	"headwater/internal/retry"
)

// Options are what a Runner is made of; all but Logger and Admit are needed.
type Options struct {
	// Name is that of the source.
	Name       string
	Source     Source
	Open       OpenLog
	Quarantine Quarantine
	Config     Config
	// Admit, if not nil, is asked every second whether items may be taken; while it gives an error the source does not run.
	Admit func() error
	// DayEnd, if not nil, gives the first end of a day after a time. As soon as the source was read past one, the cursor is written, with the time until
	// which it was read.
	DayEnd func(time.Time) time.Time
	// Metadata has what every envelope says alike: ThreadID, HostName and ProcessStartTime. The rest is filled in by the Runner.
	Metadata envelope.Metadata
	// Logger names the source in its attributes.
	Logger *slog.Logger
}

// Runner runs one source: it numbers and wraps its items, hands them to the topic, keeps its cursor and begins again
// after a failure.
//
// Goroutines of Run: one for Source.Run and one for the snapshots. Both end before Run returns; only a Source that
// does not return within Config.Drain of being told to is left behind.
type Runner struct {
	o      Options
	counts counters

	mu          sync.Mutex
	session     *session // nil between sessions
	state       State
	lastError   string
	lastErrorAt time.Time
	snapshotted map[int32]int64

	entered       time.Time // when state began
	failingSince  time.Time
	broughtBefore int64 // brought, at the last failure

	brought atomic.Int64 // how many records were acknowledged and how many marks made
}

// counters are what Status sums up over all sessions.
type counters struct {
	records, bytes, malformed, quarantined, lastItem atomic.Int64
}

// New makes a Runner; it opens nothing.
func New(o Options) *Runner {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Metadata.Source = o.Name
	return &Runner{o: o, state: Idle}
}

// Run collects until ctx ends; it then stops the source, waits for what is on its way to Kafka and writes the cursor, all within
// Config.Drain, and returns nil. A source that fails is run again after a wait, without end.
//
// With once it returns nil when the source has read everything that was there, Kafka has it and the cursor is written;
// the source's error when Config.Retry.Tries runs have failed or another run cannot help; and ctx's error when that ended it.
func (r *Runner) Run(ctx context.Context, once bool) error {
	defer r.enter(Stopped)
	wait := retry.Backoff{Min: r.o.Config.Retry.Min, Max: r.o.Config.Retry.Max}
	for try := 1; ; try++ {
		before := r.counts.records.Load()
		err := r.runSession(ctx, once)
		if ctx.Err() != nil {
			return r.ended(ctx, once, err)
		}
		if err == nil && once {
			return nil
		}
		if err == nil {
			err = errors.New("the source returned although nothing had ended it")
		}
		r.fault(err)
		if once && (try >= r.o.Config.Retry.Tries || retry.Classify(err) == retry.Permanent) {
			return fmt.Errorf("collecting source %s: %w", r.o.Name, err)
		}
		if r.counts.records.Load() > before {
			wait.Reset()
		}
		pause := wait.Next()
		r.enter(Waiting)
		r.o.Logger.Warn("source failed, trying again", "err", err, "wait", pause.Round(time.Millisecond))
		if err := retry.Wait(ctx, pause); err != nil {
			return r.ended(ctx, once, nil)
		}
	}
}

// ended is Run's result once ctx is over. A failed drain costs nothing but reading again, so it is told, not returned.
func (r *Runner) ended(ctx context.Context, once bool, err error) error {
	if unlessEnded(ctx, err) != nil {
		r.fault(err)
		r.o.Logger.Warn("source stopped before all of its records were acknowledged, they are read again at the next start", "err", err)
	}
	if once {
		return context.Cause(ctx)
	}
	return nil
}

// unlessEnded is err, or nil where it only says that ctx is over.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// runSession takes the topic, runs the source once over it and leaves the topic again (invariant 3: whatever failed,
// the next session begins by reading the cursor back).
func (r *Runner) runSession(ctx context.Context, once bool) (err error) {
	if err := r.admit(); err != nil {
		return err
	}
	r.enter(Opening)
	log, cursor, err := r.o.Open(ctx)
	if err != nil {
		return fmt.Errorf("opening the topic of source %s: %w", r.o.Name, err)
	}
	defer func() {
		if e := log.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("closing the topic of source %s: %w", r.o.Name, e))
		}
	}()

	grace, release := afterwards(ctx, r.o.Config.Drain)
	defer release()
	run, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	accept, refuse := afterwards(ctx, r.o.Config.Drain/2)
	defer refuse()
	end := func(cause error) { stop(cause); refuse() }
	s, err := newSession(accept, r, log, cursor, end)
	if err != nil {
		return err
	}
	r.attach(s)
	defer r.attach(nil)

	snapshots, endSnapshots := context.WithCancel(grace)
	var wg sync.WaitGroup
	wg.Go(func() { s.snapshots(snapshots) })
	reading, stopReading := context.WithCancel(run)
	defer stopReading()
	if r.o.DayEnd != nil {
		wg.Go(func() { s.watchTime(reading) })
	}
	if r.o.Admit != nil {
		wg.Go(func() { r.watchAdmission(run, stop) })
	}
	defer wg.Wait()
	defer stop(nil)
	defer endSnapshots()

	r.enter(Running)
	began := time.Now()
	err = r.read(run, grace, s, once)
	stopReading()
	r.enter(Draining)
	if failure := s.Drain(grace); failure != nil {
		return failure // it is why the source's run was ended, so the source's own error adds nothing
	}
	if cause, refused := errors.AsType[notAdmitted](context.Cause(run)); refused {
		err = cause // the source was told to stop, and says only that
	}
	s.finishTime(began, once && err == nil)
	return errors.Join(unlessEnded(ctx, s.snapshot(grace)), unlessEnded(ctx, err))
}

// notAdmitted is why items may not be taken at the moment.
type notAdmitted struct{ error }

func (r *Runner) admit() error {
	if r.o.Admit == nil {
		return nil
	}
	if err := r.o.Admit(); err != nil {
		return notAdmitted{err}
	}
	return nil
}

// watchAdmission stops the source's run when its items may not be taken any more. What is on its way is still acknowledged.
func (r *Runner) watchAdmission(run context.Context, stop context.CancelCauseFunc) {
	for retry.Wait(run, time.Second) == nil {
		if err := r.admit(); err != nil {
			stop(err)
			return
		}
	}
}

// read runs the source and waits until it has returned or has outlived grace.
func (r *Runner) read(run, grace context.Context, s *session, once bool) error {
	result := make(chan error, 1)
	go func() { result <- guard(func() error { return r.o.Source.Run(run, s, once) }) }()
	select {
	case err := <-result:
		if err != nil {
			return fmt.Errorf("reading source %s: %w", r.o.Name, err)
		}
		return nil
	case <-grace.Done():
		err := fmt.Errorf("source %s did not stop within %s of being told to", r.o.Name, r.o.Config.Drain)
		s.fail(err)
		return err
	}
}

// guard makes a panic of run its error, so that one source cannot take the process down.
func guard(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("source panicked, please report this: %v\n%s", p, debug.Stack())
		}
	}()
	return run()
}

// afterwards is a context that outlives ctx by d.
func afterwards(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	grace, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(d, func() { cancel(fmt.Errorf("the broker did not take it within %s of the stop", d)) })
		context.AfterFunc(grace, func() { t.Stop() })
	})
	return grace, func() { stop(); cancel(nil) }
}

// SnapshotNow writes the cursor if it changed since it was last written and returns when the broker has it; call it before trimming
// the topic. Between sessions, while the source waits to be run again, it returns an error.
func (r *Runner) SnapshotNow(ctx context.Context) error {
	r.mu.Lock()
	s := r.session
	r.mu.Unlock()
	if s == nil {
		return fmt.Errorf("writing the cursor of source %s: the source is not running", r.o.Name)
	}
	return s.snapshot(ctx)
}

// Snapshotted is, for each Kafka partition, the offset below which every record is accounted for in the last cursor
// this Runner wrote; it is empty before the first. Records below it may be trimmed once they have landed.
func (r *Runner) Snapshotted() map[int32]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.snapshotted)
}

func (r *Runner) attach(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session = s
}

func (r *Runner) enter(s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.entered = s, time.Now()
}

func (r *Runner) fault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recovered()
	r.lastError, r.lastErrorAt = err.Error(), time.Now()
	r.broughtBefore = r.brought.Load()
	if r.failingSince.IsZero() {
		r.failingSince = r.lastErrorAt
	}
}
