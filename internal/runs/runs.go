// Package runs makes tables of days when they are due: it plans runs, does them, tries them again, and keeps what became of each in a database.
//
// What enters: when sources are due, which of their days have something to do, and when a day is closed. What leaves: calls of Options.Do, one for each
// run at a time, and the record of all of them. What a run does to tables is not known here. Docs: docs/runs.md.
//
// Invariants:
//  1. A slot of a schedule is planned once, by whichever process comes first, and every day that has come to its end since the slot before is planned with it.
//  2. Of a source and day at most one run waits or runs; of a source at most one run runs.
//  3. A run is done by one process at a time: who claims it gets a new epoch, and whoever had it before is refused by Store.Guard from then on.
//  4. What was running in a process that has ended is done again.
//  5. A run that was cancelled is never tried again, whoever has it.
//
// Goroutines: Scheduler.Run starts one that plans, one that hands out runs, and two for each run that is done; all have ended when it returns.
package runs

import (
	"errors"
	"time"
)

// Kind is why a run was asked for.
type Kind string

// State is how far a run is.
type State string

// Class says what kind of error ended an attempt; each has an exit code of the command line.
type Class string

// The values of Kind, State and Class.
const (
	// Scheduled runs wait until their day is closed.
	Scheduled Kind = "scheduled"
	Backfill  Kind = "backfill"
	Manual    Kind = "manual"

	Waiting   State = "waiting"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"

	// DataError is the data's: another try gives the same.
	DataError Class = "data"
	// Transient may pass by itself; only these are tried again.
	Transient Class = "transient"
	// Refused is a publish that was refused, because the day would shrink.
	Refused Class = "refused"
	// Ours is everything else: a fault of ours, or of the configuration.
	Ours Class = "ours"
)

// States are all of them, in the order of a run's life.
var States = []State{Waiting, Running, Done, Failed, Cancelled}

// Ended says that nothing more becomes of a run of that state.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

var (
	// ErrLost is returned to who had a run that another process has taken, or that is over.
	ErrLost = errors.New("the run is another process's now")
	// ErrCancelled is returned to who has a run that was cancelled.
	ErrCancelled = errors.New("the run was cancelled")
	// ErrNoRun is returned for a number that no run has.
	ErrNoRun = errors.New("there is no such run")
	// ErrEnded refuses to cancel a run that is over.
	ErrEnded = errors.New("the run is over")
)

// Run is a day of a source that is to be made, is being made or was made. Times are zero if they have not come.
type Run struct {
	ID     int64  `json:"id"`
	Source string `json:"source"`
	// Day is YYYY-MM-DD.
	Day   string `json:"day"`
	Kind  Kind   `json:"kind"`
	State State  `json:"state"`
	// Why is the reason in words.
	Why string `json:"why,omitempty"`
	// Batch is what all runs of one backfill have in common.
	Batch string `json:"batch,omitempty"`
	// Attempt counts those that have begun.
	Attempt int `json:"attempt"`
	// Planned is when it was asked for, Due when it may begin (again).
	Planned time.Time `json:"planned,omitzero"`
	Due     time.Time `json:"due,omitzero"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Rows and Quarantined are those of the day, in each of its tables. Unchanged: they were so before.
	Rows        int64 `json:"rows"`
	Quarantined int64 `json:"quarantined"`
	Unchanged   bool  `json:"unchanged,omitempty"`
	// Class and Error are of the last attempt that failed.
	Class Class  `json:"class,omitempty"`
	Error string `json:"error,omitempty"`
	// Waits says what a waiting run waits for.
	Waits string `json:"waits,omitempty"`
	// Cancelling: it was cancelled, and who has it does not know yet.
	Cancelling bool `json:"cancelling,omitempty"`
	// Holder has the run, or had it last, and Epoch is how often it was claimed.
	Holder string `json:"holder,omitempty"`
	Epoch  int64  `json:"epoch"`
}

// Outcome is what a run has made.
type Outcome struct {
	Rows, Quarantined int64
	// Unchanged: nothing was to do.
	Unchanged bool
}
