// Package lease is a Run of a source whose queue leases its messages: one asks for them, has them for a time, and settles them or has them come again.
//
// What enters: a Queue, which speaks the protocol. What leaves: its messages as items of one stream, in the order in which they were received.
//
// Invariants:
//  1. A message is settled when Kafka has its record, or has had it, never before.
//  2. With dedupe a message that comes again within the window adds nothing: its key is in the record itself, so that a kill between the
//     record and the settling is known to the next process. One that comes again while it is on its way is the same message.
//  3. The lease of what was received is renewed until it is settled; what is not when a Run ends is given back, in the order in which it came.
//  4. Memory is bounded by Options.Prefetch.
//
// Goroutines of Run: receivers, which end with its context or its first error; as many that settle, and one that renews leases, which end
// when Kafka has what it takes. All have ended when Run returns.
package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"headwater/collect"
	"headwater/collect/message"
	"headwater/internal/retry"
)

// Held is a message that was received and not settled.
type Held struct {
	// ID names the message, Receipt what is settled or kept: each delivery may have another one.
	ID, Receipt string
}

// Message is one as it was received.
type Message struct {
	Held
	Body []byte
	// Headers have that of MessageID.
	Headers *message.Headers
}

// MessageID is the header that has a message's ID.
const MessageID = "message-id"

// Refusal is why a message was not settled. Again says that it may be at another try.
type Refusal struct {
	Reason string
	Again  bool
}

// Queue is what messages are received from. Its methods may be called from several goroutines, and their errors end the Run: they name the queue and
// say whether only a person can help.
type Queue interface {
	// Receive waits for messages, no more than so many, and gives none after a while without. A message that it has given and that ctx has ended for is lost
	// until its lease is over.
	Receive(ctx context.Context, most int) ([]Message, error)
	// Settle has messages never come again, and says of which the server refuses it, by their IDs.
	Settle(ctx context.Context, held []Held) (map[string]Refusal, error)
	// Keep has messages come again no earlier than after that time; 0 gives them back at once. That the server refuses some, which are settled or have come
	// again meanwhile, is no error.
	Keep(ctx context.Context, held []Held, lease time.Duration) error
	// Empty says, when none have come for so long, that none will.
	Empty(ctx context.Context, quiet time.Duration) (bool, error)
}

// Options are those of one Run.
type Options struct {
	// Once has Run end when Queue is Empty, which it is asked when nothing is on its way and no message has come for Idle.
	Once bool
	Idle time.Duration
	// Look says that nothing is settled, so that what is on its way stays so.
	Look bool
	// Stream, Origin and Format are those of the items.
	Stream, Origin, Format string
	Dedupe                 message.Dedupe
	// Kept is how long the server keeps a message, and Again how long what a killed process had takes to come again.
	Kept, Again time.Duration
	// Receivers ask at the same time, and as many settle. Prefetch messages may be received and not settled.
	Receivers, Prefetch int
	// Most is how many messages are asked for at a time, Batch how many are settled and kept.
	Most, Batch int
	// Lease is how long messages are ours, and Every how often that is renewed.
	Lease, Every time.Duration
	Log          *slog.Logger
}

const (
	// lastAnswers is how long a Run that ends waits for what it has asked for: longer than one with Once has the server wait.
	lastAnswers = 3 * time.Second
	// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
	drain = 10 * time.Second
	// tries is how often a message is settled that the server could not settle for a moment.
	tries = 3
)

// Run reads the queue into out until ctx ends, something fails or, with Once, none come.
func Run(ctx context.Context, q Queue, out collect.Out, o Options) error {
	r := &reader{
		Options: o, q: q, out: out, room: semaphore.NewWeighted(int64(o.Prefetch)), answers: make(chan answer),
		due: make(chan string, o.Prefetch), over: make(chan struct{}), way: map[string]delivery{},
	}
	if o.Dedupe.Key != "" {
		long := o.Again
		if o.Dedupe.Key == MessageID {
			long = o.Kept // it is that of no other message
		}
		r.keys = message.Pinned(out.Streams()[o.Stream], o.Dedupe.Window, long, o.Again)
	}
	err := r.read(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// reader is one Run.
type reader struct {
	Options
	q    Queue
	out  collect.Out
	keys *message.Keys // nil without dedupe

	room    *semaphore.Weighted // for messages that are received and not settled
	answers chan answer
	due     chan string   // ids of messages that are to be settled; has room for all that are received
	over    chan struct{} // closed when no more become due

	mu     sync.Mutex
	way    map[string]delivery // of each message that is received and not settled, by its id
	came   int                 // how many messages have
	failed error               // of the first goroutine that did

	repeats int64
	keyless bool // a message without a key was told of
}

// delivery is the last one of a message.
type delivery struct {
	Held
	nth int // that came
}

// answer is what a receiver got.
type answer struct {
	asked    time.Time
	messages []Message
}

var errDone = errors.New("everything was read")

func (r *reader) read(ctx context.Context) error {
	receiving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	asking, leaveAsking := context.WithCancel(context.WithoutCancel(ctx))
	defer leaveAsking()
	keeping, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	var receivers, keepers sync.WaitGroup
	run := func(group *sync.WaitGroup, ctx context.Context, loop func(context.Context) error) {
		group.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					stop(r.fail(fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack())))
				}
			}()
			if err := loop(ctx); err != nil {
				stop(r.fail(err))
			}
		})
	}
	for range r.Receivers {
		run(&receivers, receiving, func(ctx context.Context) error { return r.receive(ctx, asking) })
		run(&keepers, keeping, r.settle)
	}
	run(&keepers, keeping, r.renew)

	stop(cmp.Or(r.take(receiving), errDone))
	abandon := time.AfterFunc(lastAnswers, leaveAsking)
	receivers.Wait()
	abandon.Stop()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	defer context.AfterFunc(grace, leave)() // a server that is gone must not hold the end up
	drained := r.out.Drain(grace)
	close(r.over)
	keepers.Wait()
	r.giveBack(grace)
	if r.repeats > 0 {
		r.Log.Info("messages came again and added nothing", "messages", r.repeats)
	}
	err := context.Cause(receiving)
	if errors.Is(err, errDone) {
		err = r.fail(nil)
	}
	return errors.Join(err, drained)
}

// fail notes the first error, and gives it.
func (r *reader) fail(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = cmp.Or(r.failed, err)
	return r.failed
}

// receive asks for messages while there is room, until ctx ends. What is being asked then gets its answer, if that comes before asking ends:
// servers go on to lease messages to somebody who has gone.
func (r *reader) receive(ctx, asking context.Context) error {
	for {
		if r.room.Acquire(ctx, int64(r.Most)) != nil {
			return nil
		}
		a := answer{asked: time.Now()}
		messages, err := r.q.Receive(asking, r.Most)
		if asking.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range messages {
			if r.expect(m.Held) {
				a.messages = append(a.messages, m)
			}
		}
		r.room.Release(int64(r.Most - len(a.messages)))
		select {
		case r.answers <- a:
		case <-ctx.Done():
			return nil
		}
	}
}

// expect notes a message that was received. One that is on its way has come again, and is settled by its new receipt. Invariant 2.
func (r *reader) expect(m Held) (isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, known := r.way[m.ID]
	if !known {
		r.came++
		d.nth = r.came
	}
	d.Held = m
	r.way[m.ID] = d
	return !known
}

// take emits what the receivers got.
func (r *reader) take(ctx context.Context) error {
	told := time.Now()
	for {
		var a answer
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case a = <-r.answers:
		}
		for _, m := range a.messages {
			if err := r.emit(ctx, m); err != nil {
				return err
			}
		}
		if len(a.messages) > 0 || r.busy() { // what has an order may wait for what is on its way
			told = time.Now()
		} else if r.Once && a.asked.After(told) && time.Since(told) >= r.Idle {
			if empty, err := r.q.Empty(ctx, time.Since(told)); empty || err != nil {
				return err
			}
		}
	}
}

// busy says that something is on its way that will be settled.
func (r *reader) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.way) > 0 && !r.Look
}

// emit emits a message, unless it is known.
func (r *reader) emit(ctx context.Context, m Message) error {
	it := collect.Item{
		Stream: r.Stream, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // there is nothing to resume; it is for people
		Item: message.Item(r.Format, m.Body), Origin: r.Origin, Position: m.ID, Headers: m.Headers.All(),
		Done: func() { r.due <- m.ID },
	}
	if r.keys != nil {
		key := r.Dedupe.Of(m.Headers, m.Body)
		if key == "" {
			r.tellKeyless(m.ID)
		} else if hash, isNew := r.keys.Add(key); isNew {
			it.Key, it.Keys = hash, r.keys.Most()
		} else {
			// What it repeats is in Kafka, or is another message with that key, which comes again if it gets no record.
			r.repeats++
			r.due <- m.ID
			return nil
		}
	}
	return r.out.Emit(ctx, it)
}

func (r *reader) tellKeyless(position string) {
	if !r.keyless {
		r.Log.Warn("a message has no dedupe.key: it and others like it are there again when they come again", "position", position)
	}
	r.keyless = true
}

// settle settles what is due, until nothing more becomes so.
func (r *reader) settle(ctx context.Context) error {
	for {
		var ids []string
		select {
		case id := <-r.due:
			ids = append(ids, id)
		case <-r.over:
			select {
			case id := <-r.due:
				ids = append(ids, id)
			default:
				return nil
			}
		}
		for more := true; more && len(ids) < r.Batch; {
			select {
			case id := <-r.due:
				ids = append(ids, id)
			default:
				more = false
			}
		}
		if err := r.settleSome(ctx, ids); err != nil {
			return err
		}
	}
}

// settleSome settles messages; those again that the server could not, or that have come again meanwhile. Who is left comes again, and adds nothing.
func (r *reader) settleSome(ctx context.Context, ids []string) error {
	for try := 1; len(ids) > 0; try++ {
		held := r.held(ids)
		refused, err := r.q.Settle(ctx, held)
		if err != nil {
			return err
		}
		var again []string
		for _, h := range held {
			why, is := refused[h.ID]
			if !r.leave(h, why.Again && try < tries, try == tries) {
				again = append(again, h.ID)
			} else if is {
				r.Log.Warn("a message that is in Kafka was not acknowledged: it comes again, and adds nothing with dedupe", "message", h.ID, "reason", why.Reason)
			}
		}
		r.room.Release(int64(len(ids) - len(again)))
		if ids = again; len(ids) > 0 && retry.Wait(ctx, time.Duration(try)*200*time.Millisecond) != nil {
			return nil // the end of the Run, which gives them back
		}
	}
	return nil
}

// held are messages as they were delivered last.
func (r *reader) held(ids []string) (all []Held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		all = append(all, r.way[id].Held)
	}
	return all
}

// leave takes a message off the way, unless it is to be settled again, or has come again meanwhile and this was not the last try.
func (r *reader) leave(h Held, again, last bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if again || !last && r.way[h.ID].Receipt != h.Receipt {
		return false
	}
	delete(r.way, h.ID)
	return true
}

// renew renews leases. Invariant 3.
func (r *reader) renew(ctx context.Context) error {
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		select {
		case <-r.over:
			return nil
		case <-tick.C:
		}
		if err := r.keep(ctx, r.Lease); err != nil {
			return err
		}
	}
}

// keep has all that is on its way come again no earlier than after that time, in the order in which it came.
func (r *reader) keep(ctx context.Context, lease time.Duration) error {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.way))
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b delivery) int { return cmp.Compare(a.nth, b.nth) })
	for some := range slices.Chunk(all, r.Batch) {
		held := make([]Held, len(some))
		for i, d := range some {
			held[i] = d.Held
		}
		if err := r.q.Keep(ctx, held, lease); err != nil {
			return err
		}
	}
	return nil
}

// giveBack lets others have at once what was not settled.
func (r *reader) giveBack(ctx context.Context) {
	if err := r.keep(ctx, 0); err != nil {
		r.Log.Info("messages that were not taken come again later", "within", r.Lease, "reason", err)
	}
}
