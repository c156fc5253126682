package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"headwater/internal/config"
	"headwater/internal/retry"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/land"
	"headwater/query"
	"headwater/serialize"
	"headwater/table"
	"headwater/table/adopted"
	"headwater/table/hive"
)

// The exit codes are a contract with schedulers: they never change their meaning.
const (
	exitFault     = 1 // a fault of ours
	exitUsage     = 2 // the command line, the configuration or the SQL
	exitData      = 3 // the data; another try gives the same
	exitTransient = 4 // may pass by itself; try again
	exitOpen      = 5 // the day is not closed yet
	exitRefused   = 6 // a publish that would shrink a day, or an outdated writer
	exitLocked    = 7 // another process has the data folder
	exitSignal    = 128
)

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// reported is an error that the command's answer has told already.
type reported struct{ error }

func (e reported) Unwrap() error { return e.error }

// interrupted is why a context ended that a signal has ended.
type interrupted struct{ signal syscall.Signal }

func (e interrupted) Error() string { return "interrupted by " + e.signal.String() }

// blame gives an error that only says that the context is over the signal that has ended it.
func blame(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if _, signalled := errors.AsType[interrupted](cause); !signalled || !errors.Is(err, context.Canceled) || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

// exitCode is the code that err ends the process with.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[web.Fault](err); ok {
		return f.Code // the other process has looked at the error already
	}
	if i, ok := errors.AsType[interrupted](err); ok {
		return exitSignal + int(i.signal)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[land.Refusal](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[adopted.Refusal](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[config.Faults](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[notClosed](err); ok {
		return exitOpen
	}
	switch {
	case errors.Is(err, query.ErrSQL), errors.Is(err, serialize.ErrEngine):
		return exitUsage
	case errors.Is(err, state.ErrLocked):
		return exitLocked
	case errors.Is(err, table.ErrShrink), errors.Is(err, table.ErrOutdated):
		return exitRefused
	case errors.Is(err, serialize.ErrData), errors.Is(err, table.ErrForeign), errors.Is(err, table.ErrNotParquet), errors.Is(err, table.ErrVersion),
		errors.Is(err, table.ErrDamaged), errors.Is(err, table.ErrNoVersion), errors.Is(err, hive.ErrForeign), errors.Is(err, adopted.ErrNotOurs), errors.Is(err, errFound):
		return exitData
	case errors.Is(err, context.Canceled), retry.Classify(err) == retry.Permanent:
		return exitFault
	}
	return exitTransient
}
