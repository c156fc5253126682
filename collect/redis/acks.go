package redis

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// acks are the entries that are on their way to Kafka, and those that are to be acknowledged.
type acks struct {
	s      *Source
	client *redis.Client

	wake chan struct{} // something is due
	more chan struct{} // something has been acknowledged

	mu  sync.Mutex
	way map[string]bool
	due []string
	err error // why nothing can be acknowledged any more
}

func newAcks(s *Source, client *redis.Client) *acks {
	return &acks{s: s, client: client, wake: make(chan struct{}, 1), more: make(chan struct{}, 1), way: map[string]bool{}}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// expect notes an entry that gets a record; the result is that item's Done.
func (a *acks) expect(id string) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.way[id] = true
	return func() { a.ack(id) }
}

// pending says that the entry is on its way, or to be acknowledged.
func (a *acks) pending(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.way[id]
}

// ack notes an entry that is in Kafka.
func (a *acks) ack(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.way[id] = true
	a.due = append(a.due, id)
	signal(a.wake)
}

// room waits until no more than most entries are on their way. Invariant 4.
func (a *acks) room(ctx context.Context, most int) error {
	for {
		a.mu.Lock()
		n, err := len(a.way), a.err
		a.mu.Unlock()
		if err != nil || n <= most {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.more:
		}
	}
}

// flush acknowledges what is due.
func (a *acks) flush(ctx context.Context) error {
	a.mu.Lock()
	due := a.due
	a.due = nil
	a.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	err := a.client.XAck(ctx, a.s.c.Stream, a.s.group, due...).Err()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range due {
		delete(a.way, id)
	}
	signal(a.more)
	return a.s.explain("acknowledging to", err)
}

func (a *acks) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *acks) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	signal(a.more)
}

// start acknowledges until stop is called or the server does not take it.
func (a *acks) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				a.fail(panicked(p))
			}
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-a.wake:
			}
			if err := a.flush(context.Background()); err != nil {
				a.fail(fmt.Errorf("the entries come again: %w", err))
				return
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}
