package collect_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/collect"
)

// TestAdmission: while items may not be taken a source that runs is stopped, one that is started does not begin, and the status says why;
// then it goes on by itself.
func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fresh()
		var full atomic.Bool
		var running atomic.Bool
		emitting := source(func(ctx context.Context, out collect.Out, once bool) error {
			running.Store(true)
			defer running.Store(false)
			if err := count(3, "a")(ctx, out, true); err != nil || once {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
		r := collect.New(collect.Options{
			Name: "numbers", Source: emitting, Open: f.log.Open, Quarantine: f.quarantine, Config: f.config,
			Admit: func() error {
				if full.Load() {
					return errors.New("the disk is full")
				}
				return nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- r.Run(ctx, false) }()
		for range 2 {
			time.Sleep(time.Minute)
			if !running.Load() || r.Status().State != collect.Running {
				t.Errorf("with room the source is %s", r.Status().State)
			}
			full.Store(true)
			time.Sleep(time.Minute)
			if s := r.Status(); running.Load() || s.State == collect.Running || !strings.Contains(s.LastError, "the disk is full") {
				t.Errorf("without room it is %s: %s", s.State, s.LastError)
			}
			full.Store(false)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		f.check(t, 3, "a")
		full.Store(true)
		if err := r.Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("once: %v", err)
		}
	})
}
