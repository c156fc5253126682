package mqtt

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// acks are the acknowledgements that a connection owes, in the order in which its messages came.
type acks struct {
	c       *connection
	emitted int64        // messages that have a record of their own; only the reader's
	done    atomic.Int64 // how many of them are in Kafka
	settled chan struct{}

	mu   sync.Mutex
	owed []owed
	err  error // why nothing can be written any more
}

// owed is due when so many messages are in Kafka.
type owed struct {
	answer packets.Packet
	after  int64
}

func newAcks(c *connection) *acks { return &acks{c: c, settled: make(chan struct{}, 1)} }

// expect notes a message that gets a record; the result is that item's Done.
func (a *acks) expect(p *packets.Packet) func() {
	a.emitted++
	a.again(p)
	return func() {
		a.done.Add(1)
		a.wake()
	}
}

// again notes a message whose record is that of an earlier one.
func (a *acks) again(p *packets.Packet) {
	answer := packet(packets.Puback)
	switch p.FixedHeader.Qos {
	case 0:
		return
	case 2:
		answer = packet(packets.Pubrec)
	}
	answer.PacketID = p.PacketID
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owed = append(a.owed, owed{answer, a.emitted})
	a.wake()
}

func (a *acks) wake() {
	select {
	case a.settled <- struct{}{}:
	default:
	}
}

// flush sends what is due. Invariant 1: done moves in the order of the stream, which is that of the messages.
func (a *acks) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	done := a.done.Load()
	var due []packets.Packet
	for len(a.owed) > 0 && a.owed[0].after <= done {
		due = append(due, a.owed[0].answer)
		a.owed = a.owed[1:]
	}
	if len(due) == 0 || a.err != nil {
		return a.err
	}
	return a.failed(a.c.write(due...))
}

// failed keeps the first reason and has the reader end. mu is held.
func (a *acks) failed(err error) error {
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("acknowledging: %w", err)
		_ = a.c.Close()
	}
	return a.err
}

func (a *acks) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// start acknowledges, and pings every so often, until stop is called.
func (a *acks) start(every time.Duration) (stop func()) {
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				a.mu.Lock()
				defer a.mu.Unlock()
				_ = a.failed(fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack()))
			}
		}()
		a.run(over, every)
	})
	return func() { close(over); wg.Wait() }
}

func (a *acks) run(over <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-over:
			return
		case <-a.settled:
			err = a.flush()
		case <-tick.C:
			if err = a.c.write(packet(packets.Pingreq)); err != nil {
				a.mu.Lock()
				err = a.failed(err)
				a.mu.Unlock()
			}
		}
		if err != nil {
			return
		}
	}
}
