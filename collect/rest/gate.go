package rest

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"headwater/internal/retry"
)

// gate lets requests through one after the other, as fast as the limit allows, and not while one of them was told to wait. One that was
// keeps its turn until it is answered, so that it fails only where it would without others beside it.
type gate struct {
	turn  chan struct{} // full while somebody has it
	limit *rate.Limiter
	// lasting is the context of log-ins, if not nil: one is not given up with the request that it is for, because its answer may have the only refresh token that is good.
	lasting context.Context
	locked  error // of a log-in that was refused, which nobody tries again here; of who has the turn

	mu    sync.Mutex
	until time.Time
}

func newGate(limit *rate.Limiter) *gate { return &gate{turn: make(chan struct{}, 1), limit: limit} }

// enter takes the turn.
func (g *gate) enter(ctx context.Context) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives it to the next one.
func (g *gate) leave() { <-g.turn }

// hold keeps all from being sent.
func (g *gate) hold(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(d); until.After(g.until) {
		g.until = until
	}
}

func (g *gate) held() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.until)
}

// wait returns when a request may be sent. It is for who has the turn.
func (g *gate) wait(ctx context.Context) error {
	for {
		if err := retry.Wait(ctx, g.held()); err != nil {
			return err
		}
		if err := g.limit.Wait(ctx); err != nil {
			return err
		}
		if g.held() <= 0 { // another one may have been told meanwhile
			return nil
		}
	}
}
