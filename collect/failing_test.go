package collect_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/collect"
)

// TestFailingSince: a source fails since its first failure after it has brought something, until it brings something again, or has run for long.
func TestFailingSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		var away atomic.Bool
		var items atomic.Int64
		r := collect.New(collect.Options{
			Name: "numbers", Open: f.log.Open, Quarantine: f.quarantine, Config: f.config,
			Source: source(func(ctx context.Context, out collect.Out, _ bool) error {
				for ctx.Err() == nil {
					if away.Load() {
						time.Sleep(20 * time.Second) // it takes long not to answer
						return errors.New("it does not answer")
					}
					if items.Add(-1) >= 0 {
						if err := out.Emit(ctx, number("a", 0)); err != nil {
							return err
						}
					}
					time.Sleep(time.Second)
				}
				return ctx.Err()
			}),
		})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- r.Run(ctx, false) }()
		failing := func(want bool, when string) time.Time {
			t.Helper()
			since := r.Status().FailingSince
			if since.IsZero() == want {
				t.Errorf("%s: it fails since %v", when, since)
			}
			return since
		}
		time.Sleep(time.Minute)
		failing(false, "before the first failure")
		away.Store(true)
		time.Sleep(time.Minute)
		first := failing(true, "while it is away")
		time.Sleep(time.Hour)
		if again := failing(true, "an hour later"); !again.Equal(first) {
			t.Errorf("it fails since %v and later since %v", first, again)
		}
		away.Store(false)
		time.Sleep(time.Minute)
		failing(true, "a minute after the last failure, with nothing brought")
		items.Store(1)
		time.Sleep(5 * time.Second)
		failing(false, "with an item")
		away.Store(true)
		time.Sleep(time.Minute)
		if second := failing(true, "away again"); !second.After(first) {
			t.Errorf("it fails since %v", second)
		}
		away.Store(false)
		time.Sleep(10 * time.Minute)
		failing(false, "after ten quiet minutes")
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}
