package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/builtin"
	"headwater/internal/metrics"
	"headwater/internal/progress"
	"headwater/lake"
	"headwater/table"
)

// observer stands between the stages and what they work with, and measures it. What is under way is known, so that what never returns is noticed.
type observer struct {
	*metrics.Recorder
	moved atomic.Int64 // bytes and answers of stores and of the metastore

	mu      sync.Mutex
	number  int64
	pending map[*call]bool
}

// call is something that a stage waits for.
type call struct {
	stage, what string
	moved       atomic.Int64
}

func newObserver() *observer {
	return &observer{Recorder: metrics.NewRecorder(), pending: map[*call]bool{}}
}

// begin notes that a call is under way until ended is called.
func (o *observer) begin(stage, what string) (c *call, ended func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.number++
	c = &call{stage: stage, what: fmt.Sprintf("%s (call %d)", what, o.number)}
	o.pending[c] = true
	return c, func() {
		o.moved.Add(1)
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.pending, c)
	}
}

// signs are those of the calls that are under way.
func (o *observer) signs() (all []progress.Sign) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.pending {
		all = append(all, progress.Sign{Stage: c.stage, What: c.what, Mark: fmt.Sprint(c.moved.Load())})
	}
	return all
}

// failed says whether an error is a failure of who was asked, and not an answer or the end of the asker's patience.
func failed(ctx context.Context, err error) bool {
	answer := errors.Is(err, lake.ErrNotExist) || errors.Is(err, lake.ErrExists) || errors.Is(err, lake.ErrChanged)
	return err != nil && !answer && ctx.Err() == nil
}

// store is s, observed, with the powers that s has.
func (o *observer) store(layer string, s builtin.Store) builtin.Store {
	if s == nil {
		return nil
	}
	seen := &observedStore{s, o, layer}
	switch s := s.(type) {
	case lake.Local:
		return observedLocal{seen, s}
	case lake.Tagger:
		return observedTagger{seen, s}
	}
	return seen
}

// observedStore is a lake.Store.
type observedStore struct {
	builtin.Store
	o     *observer
	layer string
}

type observedLocal struct {
	*observedStore
	lake.Local
}

type observedTagger struct {
	*observedStore
	tagger lake.Tagger
}

// do measures an operation. What it waits for is named by operation and key.
func (s *observedStore) do(ctx context.Context, operation, key string, do func(c *call) error) error {
	c, ended := s.o.begin("lake", operation+" of "+key+" in lake."+s.layer)
	defer ended()
	began := time.Now()
	err := do(c)
	s.o.Stored(s.layer, operation, time.Since(began), failed(ctx, err))
	return err
}

// Put implements lake.Store.
func (s *observedStore) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	return s.put(ctx, key, body, func(body io.ReadSeeker) (lake.Object, error) { return s.Store.Put(ctx, key, body, cond) })
}

// PutTagged implements lake.Tagger.
func (s observedTagger) PutTagged(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition, tags map[string]string) (lake.Object, error) {
	return s.put(ctx, key, body, func(body io.ReadSeeker) (lake.Object, error) { return s.tagger.PutTagged(ctx, key, body, cond, tags) })
}

func (s *observedStore) put(ctx context.Context, key string, body io.ReadSeeker, put func(io.ReadSeeker) (lake.Object, error)) (made lake.Object, err error) {
	err = s.do(ctx, "put", key, func(c *call) error {
		made, err = put(movingBody{body, s.o, c})
		return err
	})
	if err == nil {
		s.o.Put(s.layer, made.Size)
	}
	return made, err
}

// movingBody notes that an upload moves.
type movingBody struct {
	io.ReadSeeker
	o *observer
	c *call
}

// Read implements io.Reader.
func (m movingBody) Read(p []byte) (int, error) {
	n, err := m.ReadSeeker.Read(p)
	m.o.moved.Add(int64(n))
	m.c.moved.Add(int64(n))
	return n, err
}

// Get implements lake.Store.
func (s *observedStore) Get(ctx context.Context, key string, offset, n int64) (r io.ReadCloser, found lake.Object, err error) {
	err = s.do(ctx, "get", key, func(*call) error {
		r, found, err = s.Store.Get(ctx, key, offset, n)
		return err
	})
	if err == nil {
		r = movingReader{r, s.o}
	}
	return r, found, err
}

// movingReader notes that what is read moves.
type movingReader struct {
	io.ReadCloser
	o *observer
}

// Read implements io.Reader.
func (m movingReader) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.o.moved.Add(int64(n))
	return n, err
}

// Stat implements lake.Store.
func (s *observedStore) Stat(ctx context.Context, key string) (found lake.Object, err error) {
	err = s.do(ctx, "stat", key, func(*call) error {
		found, err = s.Store.Stat(ctx, key)
		return err
	})
	return found, err
}

// List implements lake.Store. What is done with an entry before the next one is asked for is not measured.
func (s *observedStore) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		began, spent := time.Now(), time.Duration(0)
		var fault error
		defer func() {
			s.o.moved.Add(1)
			s.o.Stored(s.layer, "list", time.Since(began)-spent, failed(ctx, fault))
		}()
		for entry, err := range s.Store.List(ctx, prefix, after) {
			fault = err
			yielded := time.Now()
			more := yield(entry, err)
			if spent += time.Since(yielded); !more {
				return
			}
		}
	}
}

// Delete implements lake.Store.
func (s *observedStore) Delete(ctx context.Context, key string) error {
	return s.do(ctx, "delete", key, func(*call) error { return s.Store.Delete(ctx, key) })
}

// metastore is c, observed.
func (o *observer) metastore(c table.Catalog) table.Catalog { return observedMetastore{c, o} }

// observedMetastore is a table.Catalog.
type observedMetastore struct {
	table.Catalog
	o *observer
}

func (m observedMetastore) do(ctx context.Context, operation string, n table.Name, do func() error) error {
	_, ended := m.o.begin("metastore", operation+" of "+n.String()+" in the metastore")
	defer ended()
	began := time.Now()
	err := do()
	m.o.Told(operation, time.Since(began), failed(ctx, err))
	return err
}

// Ensure implements table.Catalog.
func (m observedMetastore) Ensure(ctx context.Context, t table.Table) error {
	return m.do(ctx, "ensure", t.Name, func() error { return m.Catalog.Ensure(ctx, t) })
}

// SetPartitions implements table.Catalog.
func (m observedMetastore) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	return m.do(ctx, "set_partitions", n, func() error { return m.Catalog.SetPartitions(ctx, n, ps) })
}

// DropPartitions implements table.Catalog.
func (m observedMetastore) DropPartitions(ctx context.Context, n table.Name, days []table.Day) error {
	return m.do(ctx, "drop_partitions", n, func() error { return m.Catalog.DropPartitions(ctx, n, days) })
}

// Drop implements table.Catalog.
func (m observedMetastore) Drop(ctx context.Context, n table.Name) error {
	return m.do(ctx, "drop", n, func() error { return m.Catalog.Drop(ctx, n) })
}

// topic is l, which is of a source, observed.
func (o *observer) topic(source string, l collect.Log) collect.Log {
	return observedLog{l, o.Produced(source)}
}

// observedLog is a collect.Log.
type observedLog struct {
	collect.Log
	produced func(took time.Duration, bytes int)
}

// Append implements collect.Log.
func (l observedLog) Append(ctx context.Context, r envelope.Record, done func(offset int64, err error)) {
	began, bytes := time.Now(), len(r.Value)
	l.Log.Append(ctx, r, func(offset int64, err error) {
		if err == nil {
			l.produced(time.Since(began), bytes)
		}
		done(offset, err)
	})
}

// kept counts what goes to quarantine.
func (o *observer) kept(stage, source string, reasons map[string]int64) {
	for reason, n := range reasons {
		o.Quarantined(stage, source, reason, n)
	}
}
