// Package retry decides what may be tried again, and how long to wait before it is. It imports nothing of ours.
package retry

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"time"
)

// Class is what a caller may do about an error.
type Class int

const (
	// Transient errors may pass by themselves: try again after a wait.
	Transient Class = iota
	// Permanent errors need a person or another input: trying again gives the same error.
	Permanent
	// Ended means that the caller's own context is over: stop, it is no fault.
	Ended
)

// permanent marks an error that another try cannot cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Stop marks err as permanent for Classify. Stop(nil) is nil.
func Stop(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// Classify says what may be done about err, which must not be nil.
func Classify(err error) Class {
	if _, ok := errors.AsType[permanent](err); ok {
		return Permanent // marked where the cause was known
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Ended // the caller's time is over; a step's own time-out must be wrapped without %w by who set it
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, syscall.EROFS) {
		return Permanent // rights and names do not heal; a full disk (ENOSPC) does
	}
	return Transient // I/O by default: networks and disks come back
}

// Backoff is exponential with full jitter. The zero value waits between 0 and 100 ms first and up to 30 s later.
type Backoff struct {
	// Min and Max bound the ceiling of a wait.
	Min, Max time.Duration
	tries    int
}

// Next is the time to wait before the next try.
func (b *Backoff) Next() time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = 100 * time.Millisecond
	}
	if hi <= 0 {
		hi = 30 * time.Second
	}
	ceiling := hi
	if b.tries < 63 && lo <= hi>>b.tries { // lo<<tries itself might overflow
		ceiling = lo << b.tries
	}
	b.tries++
	return rand.N(ceiling) + 1
}

// Reset makes the next wait the shortest again; call it after a success.
func (b *Backoff) Reset() { b.tries = 0 }

// Times makes a call up to so many times, until it succeeds or fails with an error that may not pass. The error is the last call's, or the context's
// if that has ended between two.
func Times[T any](ctx context.Context, most int, mayPass func(error) bool, call func() (T, error)) (T, error) {
	var wait Backoff
	for n := 1; ; n++ {
		got, err := call()
		if err == nil || n == most || !mayPass(err) {
			return got, err
		}
		if err := Wait(ctx, wait.Next()); err != nil {
			return got, err
		}
	}
}

// Wait sleeps for d or until ctx ends, and then returns the context's error.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
