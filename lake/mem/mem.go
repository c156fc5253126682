// Package mem keeps a lake in memory, for tests. It keeps the whole contract of lake.Store within one process and has no
// goroutines.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/lake"
)

// Store is a lake.Store. New makes one.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	puts    int64
}

// object is never changed: a replaced key gets another one, so readers keep theirs.
type object struct {
	lake.Object
	data []byte
}

// New is an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

// Put implements lake.Store; versions count the puts.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if err := check(ctx, "putting", key); err != nil {
		return lake.Object{}, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return lake.Object{}, fmt.Errorf("putting object %s: reading its body: %w", key, err)
	}
	if err := check(ctx, "putting", key); err != nil {
		return lake.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.objects[key]
	if err := cond.Check(exists, old.Version); err != nil {
		return lake.Object{}, fmt.Errorf("putting object %s: %w", key, err)
	}
	s.puts++
	o := object{
		Object: lake.Object{Key: key, Size: int64(len(data)), Version: strconv.FormatInt(s.puts, 10), Modified: time.Now()},
		data:   data,
	}
	s.objects[key] = o
	return o.Object, nil
}

// Get implements lake.Store.
func (s *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	o, err := s.find(ctx, "getting", key)
	if err != nil {
		return nil, lake.Object{}, err
	}
	start, length := lake.CutRange(o.Size, offset, n)
	return io.NopCloser(bytes.NewReader(o.data[start : start+length])), o.Object, nil
}

// Stat implements lake.Store.
func (s *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	o, err := s.find(ctx, "looking up", key)
	return o.Object, err
}

// List implements lake.Store; it yields what was there when the iteration began.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		s.mu.Lock()
		objects := maps.Clone(s.objects)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if err := ctx.Err(); err != nil {
				yield(lake.Object{}, fmt.Errorf("listing %s: %w", prefix, err))
				return
			}
			if key > after && strings.HasPrefix(key, prefix) && !yield(objects[key].Object, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(lake.Object{}, fmt.Errorf("listing %s: %w", prefix, err))
		}
	}
}

// Delete implements lake.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "deleting", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[key]; !ok {
		return fmt.Errorf("deleting object %s: %w", key, lake.ErrNotExist)
	}
	delete(s.objects, key)
	return nil
}

func (s *Store) find(ctx context.Context, verb, key string) (object, error) {
	if err := check(ctx, verb, key); err != nil {
		return object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s object %s: %w", verb, key, lake.ErrNotExist)
	}
	return o, nil
}

func check(ctx context.Context, verb, key string) error {
	err := ctx.Err()
	if err == nil {
		err = lake.CheckKey(key)
	}
	if err != nil {
		return fmt.Errorf("%s object %s: %w", verb, key, err)
	}
	return nil
}
