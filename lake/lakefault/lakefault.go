// Package lakefault is a lake.Store that fails, delays or hangs where a test says, before a call took effect or after it
// did and only the reply is lost. Without rules it is the store it wraps. It starts no goroutines.
package lakefault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
)

// ErrInjected is the error of a rule that names none.
var ErrInjected = errors.New("injected fault")

// Op is a method of lake.Store.
type Op string

// The methods that a Rule can name.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// When is the side of the call on which a Rule acts.
type When int

const (
	// Before the call took effect: the wrapped store is not called.
	Before When = iota
	// After it took effect: the caller does not learn that it did. Get then gives a reader that breaks after half of its bytes,
	// List breaks after its last object.
	After
)

// Hang is a Delay that lasts until the context ends, whose error is then returned.
const Hang time.Duration = -1

// Rule is one fault.
type Rule struct {
	// Op is the method; empty means any.
	Op Op
	// KeyContains is part of the key (of the prefix for List); empty means any.
	KeyContains string
	// Nth is which call of those that match, from 1; 0 means every one.
	Nth  int
	When When
	// Delay is waited before the call fails, or goes on; see Hang.
	Delay time.Duration
	// Err is what the call returns: nil means ErrInjected, or that the call is only late if Delay is set.
	Err error
}

// Store is a lake.Store; New and Random make one. It is no lake.Local, whatever it wraps.
type Store struct {
	store lake.Store

	mu    sync.Mutex
	rules []*counted
	fired int
	rand  *rand.Rand
	p     float64
}

// counted is a rule and how many calls have matched it.
type counted struct {
	Rule
	calls int
}

// New wraps s. If several rules apply to a call, the first one counts.
func New(s lake.Store, rules ...Rule) *Store {
	f := &Store{store: s}
	f.Set(rules...)
	return f
}

// Random wraps s so that each call fails with probability p, half of them Before and half After. Equal seeds and equal
// calls, one after the other, give equal faults.
func Random(s lake.Store, seed uint64, p float64) *Store {
	return &Store{store: s, rand: rand.New(rand.NewPCG(seed, 0)), p: p}
}

// Set puts rules in the place of those there were and ends random faults; no rules end all faults.
func (f *Store) Set(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rand, f.rules = nil, nil
	for _, r := range rules {
		f.rules = append(f.rules, &counted{Rule: r})
	}
}

// Fired is how many calls a fault has met; a test whose fault was never met has shown nothing.
func (f *Store) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// pick is the fault that meets this call; every rule counts the call.
func (f *Store) pick(op Op, key string) (fault Rule, met bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rand != nil && f.rand.Float64() < f.p {
		f.fired++
		return Rule{When: When(f.rand.IntN(2))}, true
	}
	for _, r := range f.rules {
		if r.Op != "" && r.Op != op || !strings.Contains(key, r.KeyContains) {
			continue
		}
		r.calls++
		if !met && (r.Nth == 0 || r.Nth == r.calls) {
			fault, met = r.Rule, true
		}
	}
	if met {
		f.fired++
	}
	return fault, met
}

// strike waits and fails as the rule says; nil means that the call was only late.
func (r Rule) strike(ctx context.Context, op Op, key string) error {
	switch {
	case r.Delay == Hang:
		<-ctx.Done()
	case r.Delay > 0:
		_ = retry.Wait(ctx, r.Delay) // ctx tells below
	}
	err := r.Err
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && r.Delay != 0:
		return nil
	case err == nil:
		err = ErrInjected
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}

// before and after strike on their side of the call.
func (f *Store) call(ctx context.Context, op Op, key string) (before, after func() error) {
	none := func() error { return nil }
	fault, met := f.pick(op, key)
	strike := func() error { return fault.strike(ctx, op, key) }
	switch {
	case !met:
		return none, none
	case fault.When == Before:
		return strike, none
	default:
		return none, strike
	}
}

// Put implements lake.Store.
func (f *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	before, after := f.call(ctx, Put, key)
	if err := before(); err != nil {
		return lake.Object{}, err
	}
	o, err := f.store.Put(ctx, key, body, cond)
	if err != nil {
		return lake.Object{}, err
	}
	if err := after(); err != nil {
		return lake.Object{}, err
	}
	return o, nil
}

// Get implements lake.Store.
func (f *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	before, after := f.call(ctx, Get, key)
	if err := before(); err != nil {
		return nil, lake.Object{}, err
	}
	r, o, err := f.store.Get(ctx, key, offset, n)
	if err != nil {
		return nil, lake.Object{}, err
	}
	if err := after(); err != nil {
		_, length := lake.CutRange(o.Size, offset, n)
		return &torn{r, length / 2, err}, o, nil
	}
	return r, o, nil
}

// torn is a reader that breaks with err when left bytes are read.
type torn struct {
	io.ReadCloser
	left int64
	err  error
}

func (t *torn) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, t.err
	}
	n, err := t.ReadCloser.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	return n, err
}

// Stat implements lake.Store.
func (f *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	before, after := f.call(ctx, Stat, key)
	if err := before(); err != nil {
		return lake.Object{}, err
	}
	o, err := f.store.Stat(ctx, key)
	if err != nil {
		return lake.Object{}, err
	}
	if err := after(); err != nil {
		return lake.Object{}, err
	}
	return o, nil
}

// List implements lake.Store.
func (f *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		first, last := f.call(ctx, List, prefix)
		if err := first(); err != nil {
			yield(lake.Object{}, err)
			return
		}
		for o, err := range f.store.List(ctx, prefix, after) {
			if !yield(o, err) || err != nil {
				return
			}
		}
		if err := last(); err != nil {
			yield(lake.Object{}, err)
		}
	}
}

// Delete implements lake.Store.
func (f *Store) Delete(ctx context.Context, key string) error {
	before, after := f.call(ctx, Delete, key)
	if err := before(); err != nil {
		return err
	}
	if err := f.store.Delete(ctx, key); err != nil {
		return err
	}
	return after()
}
