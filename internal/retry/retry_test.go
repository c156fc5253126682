package retry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestClassify(t *testing.T) {
	_, notThere := os.Open(filepath.Join(t.TempDir(), "none"))
	for name, c := range map[string]struct {
		err  error
		want Class
	}{
		"unknown":              {errors.New("x"), Transient},
		"network":              {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, Transient},
		"end in the middle":    {io.ErrUnexpectedEOF, Transient},
		"disk full":            {&fs.PathError{Op: "write", Err: syscall.ENOSPC}, Transient},
		"not there yet":        {notThere, Transient},
		"no rights":            {&fs.PathError{Op: "open", Err: syscall.EACCES}, Permanent},
		"read-only disk":       {&fs.PathError{Op: "open", Err: syscall.EROFS}, Permanent},
		"impossible name":      {fs.ErrInvalid, Permanent},
		"marked":               {Stop(errors.New("x")), Permanent},
		"marked inside":        {fmt.Errorf("outer: %w", Stop(errors.New("x"))), Permanent},
		"marked among others":  {errors.Join(errors.New("x"), Stop(errors.New("y"))), Permanent},
		"marked and cancelled": {Stop(context.Canceled), Permanent},
		"cancelled":            {fmt.Errorf("outer: %w", context.Canceled), Ended},
		"time over":            {context.DeadlineExceeded, Ended},
	} {
		if got := Classify(c.err); got != c.want {
			t.Errorf("%s: Classify(%v) = %d, want %d", name, c.err, got, c.want)
		}
	}
}

func TestStop(t *testing.T) {
	if Stop(nil) != nil {
		t.Error("Stop(nil) is an error")
	}
	cause := errors.New("cause")
	if err := Stop(cause); !errors.Is(err, cause) || err.Error() != "cause" {
		t.Errorf("Stop hides its cause: %v", err)
	}
}

func TestBackoffStaysUnderItsCeiling(t *testing.T) {
	for name, c := range map[string]struct {
		b        Backoff
		ceilings []time.Duration
	}{
		"zero value": {Backoff{}, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}},
		"own bounds": {Backoff{Min: time.Second, Max: 3 * time.Second}, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second}},
		"min > max":  {Backoff{Min: time.Minute, Max: time.Second}, []time.Duration{time.Second, time.Second}},
	} {
		highest := make([]time.Duration, len(c.ceilings))
		for range 2000 {
			c.b.Reset()
			for i, ceiling := range c.ceilings {
				wait := c.b.Next()
				if wait <= 0 || wait > ceiling {
					t.Fatalf("%s: wait %d is %s, want more than 0 and at most %s", name, i, wait, ceiling)
				}
				highest[i] = max(highest[i], wait)
			}
		}
		for i, ceiling := range c.ceilings {
			// Of 2000 draws none in the upper half has a probability of 2^-2000.
			if highest[i] < ceiling/2 {
				t.Errorf("%s: the highest wait %d is %s, of a ceiling of %s", name, i, highest[i], ceiling)
			}
		}
	}
}

func TestBackoffNeverOverflows(t *testing.T) {
	for _, b := range []Backoff{{}, {Min: time.Hour, Max: 24 * time.Hour}, {Min: 30 * time.Second, Max: math.MaxInt64}, {Min: math.MaxInt64, Max: math.MaxInt64}, {Min: 1, Max: 1}} {
		for range 200 {
			wait := b.Next()
			if limit := b.Max; limit > 0 && (wait <= 0 || wait > limit) {
				t.Fatalf("%+v waits %s", b, wait)
			}
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := Wait(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("waited %s: %v", time.Since(begun), err)
		}
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(why) })
		begun = time.Now()
		if err := Wait(ctx, time.Hour); !errors.Is(err, why) || time.Since(begun) != time.Minute {
			t.Errorf("waited %s: %v", time.Since(begun), err)
		}
	})
}

func TestTimes(t *testing.T) {
	passing, final := errors.New("may pass"), errors.New("final")
	for name, c := range map[string]struct {
		answers []error
		calls   int
		want    error
	}{
		"at once":            {[]error{nil}, 1, nil},
		"at the third":       {[]error{passing, passing, nil}, 3, nil},
		"never":              {[]error{passing, passing, passing, nil}, 3, passing},
		"not worth a second": {[]error{final, nil}, 1, final},
	} {
		calls := 0
		got, err := Times(t.Context(), 3, func(err error) bool { return errors.Is(err, passing) }, func() (int, error) {
			calls++
			return calls, c.answers[calls-1]
		})
		if calls != c.calls || got != calls || !errors.Is(err, c.want) {
			t.Errorf("%s: %d calls gave %d, %v", name, calls, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Times(ctx, 3, func(error) bool { return true }, func() (int, error) { cancel(); return 0, passing })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}
