package gcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"headwater/lake"
)

// Get implements lake.Store.
func (s *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if err := lake.CheckKey(key); err != nil {
		return nil, lake.Object{}, fail(ctx, "getting object", key, err)
	}
	r, o, err := s.get(ctx, key, offset, n)
	if err != nil {
		return nil, lake.Object{}, fail(ctx, "getting object", key, err)
	}
	return r, o, nil
}

func (s *Store) get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if n != 0 {
		res, err := s.download(ctx, key, 0, lake.HTTPRange(offset, n))
		if err == nil {
			o, err := described(key, res)
			if err != nil {
				return nil, o, errors.Join(err, res.Body.Close())
			}
			start, length := lake.CutRange(o.Size, offset, n)
			return s.reader(ctx, o, res.Body, start, length), o, nil
		}
		if statusOf(err) != http.StatusRequestedRangeNotSatisfiable {
			return nil, lake.Object{}, err
		}
	}
	// No byte is in the range, which HTTP has no way to ask for.
	o, _, err := s.head(ctx, key)
	return io.NopCloser(bytes.NewReader(nil)), o, err
}

// download begins to read a range of a generation of an object; 0 is the one that is there.
func (s *Store) download(ctx context.Context, key string, generation int64, byteRange string) (*http.Response, error) {
	return try(ctx, func() (*http.Response, error) {
		call := s.service.Objects.Get(s.bucket, s.prefix+key).Context(ctx)
		if generation != 0 {
			call.Generation(generation)
		}
		if byteRange != "" {
			call.Header().Set("Range", byteRange)
		}
		return call.Download()
	})
}

// described is the object that an answer is part of.
func described(key string, res *http.Response) (lake.Object, error) {
	o := lake.Object{Key: key, Size: res.ContentLength, Version: res.Header.Get("X-Goog-Generation")}
	var err error
	if _, size, found := strings.Cut(res.Header.Get("Content-Range"), "/"); found {
		o.Size, err = strconv.ParseInt(size, 10, 64)
	}
	modified, merr := http.ParseTime(res.Header.Get("Last-Modified"))
	o.Modified = modified
	if err = errors.Join(err, merr); err != nil || o.Version == "" || o.Size < 0 {
		return o, fmt.Errorf("the store does not say what it sends (generation %q, size %d): %w", o.Version, o.Size, err)
	}
	return o, nil
}

// reader reads one object. A connection that breaks is made anew, for the same generation of the object only.
func (s *Store) reader(ctx context.Context, o lake.Object, body io.ReadCloser, start, length int64) io.ReadCloser {
	return &lake.Resumed{
		Body: body, At: start, End: start + length, Tries: tries,
		Again: func(at, n int64) (io.ReadCloser, error) { return s.reopen(ctx, o, at, n) },
		Fail:  func(err error) error { return fail(ctx, "reading object", o.Key, err) },
	}
}

func (s *Store) reopen(ctx context.Context, o lake.Object, at, n int64) (io.ReadCloser, error) {
	generation, err := strconv.ParseInt(o.Version, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the store has the generation %q: %w", o.Version, err)
	}
	res, err := s.download(ctx, o.Key, generation, lake.HTTPRange(at, n))
	switch {
	case statusOf(err) == http.StatusNotFound:
		return nil, fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged)
	case err != nil:
		return nil, err
	}
	return res.Body, nil
}
