package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/storage/v1"

	"headwater/lake"
)

// Put implements lake.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	o, err := s.put(ctx, key, body, cond)
	if err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, err)
	}
	return o, nil
}

func (s *Store) put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if err := errors.Join(ctx.Err(), lake.CheckKey(key)); err != nil {
		return lake.Object{}, err
	}
	generation, err := strconv.ParseInt(cond.IfVersion, 10, 64)
	if cond.IfVersion != "" && (err != nil || generation < 1) {
		return lake.Object{}, lake.ErrChanged // no object of this store ever had it
	}
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return lake.Object{}, fmt.Errorf("finding out where its body begins: %w", err)
	}
	id := rand.Text()
	return try(ctx, func() (lake.Object, error) {
		if _, err := body.Seek(start, io.SeekStart); err != nil {
			return lake.Object{}, fmt.Errorf("going back to the start of its body: %w", err)
		}
		whole := &reading{Reader: body}
		call := s.service.Objects.Insert(s.bucket, &storage.Object{Name: s.prefix + key, StorageClass: s.class, Metadata: map[string]string{writeKey: id}}).
			Media(whole, googleapi.ChunkSize(chunkSize), googleapi.ContentType("application/octet-stream")).Context(ctx)
		if s.kmsKey != "" {
			call.KmsKeyName(s.kmsKey)
		}
		if cond.IfAbsent || cond.IfVersion != "" {
			call.IfGenerationMatch(generation) // 0 is no object
		}
		entry, err := call.Do()
		switch {
		case whole.err != nil:
			return lake.Object{}, fmt.Errorf("reading its body: %w", whole.err)
		case err == nil:
			return s.object(entry)
		}
		return s.settle(ctx, key, id, cond, err)
	})
}

// settle finds out what a refused write means: it may be our own object, of a try whose answer was lost, that is in the way.
func (s *Store) settle(ctx context.Context, key, id string, cond lake.Condition, err error) (lake.Object, error) {
	if statusOf(err) != http.StatusPreconditionFailed {
		return lake.Object{}, ofBucket(err)
	}
	o, writer, herr := s.head(ctx, key)
	switch {
	case herr == nil && writer == id:
		return o, nil
	case herr != nil && (statusOf(herr) != http.StatusNotFound || noBucket(herr)):
		return lake.Object{}, errors.Join(err, fmt.Errorf("finding out what is there: %w", herr))
	}
	if cerr := cond.Check(herr == nil, o.Version); cerr != nil {
		return lake.Object{}, cerr
	}
	return lake.Object{}, fmt.Errorf("what refused it is gone again: %v", err) // %v: it may be tried again
}

// reading remembers the error of a body, which must not be taken for one of the store.
type reading struct {
	io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
