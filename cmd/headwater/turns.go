package main

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// turns say who changes tables: several jobs at a time, of different sources, because each may use the whole machine, or somebody else alone.
type turns struct {
	most int64
	all  *semaphore.Weighted

	mu sync.Mutex
	of map[string]chan struct{} // has an element while the source has its turn
}

func newTurns(most int) *turns {
	return &turns{most: int64(max(1, most)), all: semaphore.NewWeighted(int64(max(1, most))), of: map[string]chan struct{}{}}
}

// alone waits until nobody has a turn, and gives what ends this one.
func (t *turns) alone(ctx context.Context) (end func(), err error) {
	if err := t.all.Acquire(ctx, t.most); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { t.all.Release(t.most) }, nil
}

// with waits until a job of the source may begin, and gives what ends its turn.
func (t *turns) with(ctx context.Context, source string) (end func(), err error) {
	t.mu.Lock()
	if t.of[source] == nil {
		t.of[source] = make(chan struct{}, 1)
	}
	mine := t.of[source]
	t.mu.Unlock()
	select {
	case mine <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := t.all.Acquire(ctx, 1); err != nil {
		<-mine
		return nil, context.Cause(ctx)
	}
	return func() { t.all.Release(1); <-mine }, nil
}
