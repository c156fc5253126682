// Package push takes items that others send by HTTP: webhooks, agents, scripts.
//
// What enters: POST requests at the source's path of the process's listener. What leaves: their bodies as items. A request is
// answered with 200 when the broker has every record of it. Formats, answers and streams: docs/sources/push.md.
//
// Invariants:
//  1. A request whose body did not come whole adds nothing.
//  2. 200 means that the broker has every item of the request.
//  3. A request with an idempotency key is a stream of its own, so that the topic itself knows how much of it is there: a request that
//     comes again goes on after that, whoever was killed when.
//  4. The names of such streams are never used twice: they have the time of the first request in them.
//  5. Memory is bounded by max_buffered for bodies and by max_keys for keys; beyond, senders are told to come again.
//
// Goroutines: Run has none but its own; requests come in the HTTP server's, and none is between Emit and its answer
// when Run returns.
package push

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"headwater/collect"
)

// Source takes the items of one configuration. It is an http.Handler, which answers 503 while no Run is under way.
type Source struct {
	c    Config
	log  *slog.Logger
	idle time.Duration // how long nothing must come before a Run with once ends

	room room
	busy atomic.Int64 // requests that are being answered
	last atomic.Int64 // when one was, in nanoseconds since 1970

	mu    sync.Mutex
	visit *visit // nil while no Run takes requests
}

// New makes a source. Serve it at its path; see Config.HTTPPath.
func New(c Config, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c = c.settled()
	return &Source{c: c, log: log, idle: 2 * time.Second, room: room{requests: c.MaxRequests, bytes: int64(c.MaxBuffered)}}
}

// visit is one Run.
type visit struct {
	s    *Source
	ctx  context.Context
	out  collect.Out
	keys *keys

	taking sync.WaitGroup // requests between Emit and their answer
	lanes  [lanes]sync.Mutex
	lane   atomic.Uint64

	over    chan struct{} // closed when nothing more will be acknowledged
	failure error         // why, set before
}

// lanes is how many streams the requests without a key share.
const lanes = 8

// seekOld is how often keys are looked for that are to be forgotten.
const seekOld = time.Minute

// Run implements collect.Source. With once it ends when no request has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	v := &visit{s: s, ctx: ctx, out: out, keys: recall(out.Streams(), s.c), over: make(chan struct{})}
	s.enter(v)
	err := v.run(once)
	s.enter(nil)
	v.settle()
	return err
}

func (s *Source) enter(v *visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visit = v
}

// join gives the Run that is under way, which will not return before its taking is done; nil if there is none.
func (s *Source) join() *visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.visit == nil || s.visit.ctx.Err() != nil {
		return nil
	}
	s.visit.taking.Add(1)
	return s.visit
}

func (v *visit) run(once bool) error {
	s := v.s
	s.last.Store(time.Now().UnixNano())
	every := seekOld
	if once {
		every = min(every, s.idle/4)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-v.ctx.Done():
			return v.ctx.Err()
		case now := <-tick.C:
			if once && s.busy.Load() == 0 && now.Sub(time.Unix(0, s.last.Load())) >= s.idle {
				return nil
			}
			if err := v.keys.forget(v.ctx, v.out, now); err != nil {
				return err
			}
		}
	}
}

// settle waits until every request has its answer, which an acknowledgement that is on its way may still make a good one. If a record
// was refused no other will be acknowledged, and out says so at once.
func (v *visit) settle() {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		v.taking.Wait()
	}()
	select {
	case <-answered:
		return
	case <-v.ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(v.ctx), drain)
	defer cancel()
	v.failure = v.out.Drain(grace)
	close(v.over)
	<-answered
}

// acknowledged waits until the broker has all records of a request, or will not have them.
func (v *visit) acknowledged(all <-chan struct{}) error {
	select {
	case <-all:
		return nil
	case <-v.over:
	}
	select {
	case <-all:
		return nil
	default:
		return cmp.Or(v.failure, errOver)
	}
}

var errOver = errors.New("the source has stopped")

// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
const drain = 10 * time.Second

var (
	_ collect.Source = (*Source)(nil)
	_ http.Handler   = (*Source)(nil)
)
