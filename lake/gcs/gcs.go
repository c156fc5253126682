// Package gcs is a lake in a bucket of Google Cloud Storage.
//
// What enters: the calls of lake.Store. What leaves: objects below a prefix of a bucket, each written by one request or, beyond a chunk's size, by a
// resumable upload that appears when its last chunk has come. A version is the object's generation. No goroutine outlives a call but those
// of http.Transport.
//
// Invariants:
//  1. A conditional write carries ifGenerationMatch itself; nothing is looked up first.
//  2. A refusal that an own earlier try brought about, whose answer was lost, is told from another's by a number in the object's metadata.
//  3. A connection on which nothing moves for a minute is given up.
//  4. Memory is one chunk for each Put.
package gcs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/storage/v1"
	transport "google.golang.org/api/transport/http"

	"headwater/internal/retry"
	"headwater/internal/stall"
	"headwater/lake"
)

const (
	// patience is how long a connection may give and take nothing.
	patience = time.Minute
	// tries of a call, for what may pass.
	tries = 5
	// writeKey is the metadata that tells our write from another's.
	writeKey = "headwater-write"
	// chunkSize is what an upload is cut into.
	chunkSize = 8 << 20
	// emulator is the environment variable with which Google's own clients find a server that wants no credentials.
	emulator = "STORAGE_EMULATOR_HOST"
)

// Store is a lake.Store in a bucket.
type Store struct {
	service *storage.Service
	location
}

var _ lake.Store = (*Store)(nil)

// location is what a URL says.
type location struct {
	bucket string
	prefix string // empty or with a slash at its end
	kmsKey string
	class  string
}

// parseURL reads gs://bucket/prefix?kms_key=projects/p/locations/l/keyRings/r/cryptoKeys/k&storage_class=NEARLINE, all but the bucket optional.
func parseURL(text string) (location, error) {
	var l location
	var err error
	l.bucket, l.prefix, err = lake.ParseURL(text, "gs://bucket/prefix", "kms_key and storage_class", lake.CheckKey, map[string]*string{"kms_key": &l.kmsKey, "storage_class": &l.class})
	if err != nil {
		return l, err
	}
	if classes := []string{"", "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"}; !slices.Contains(classes, l.class) {
		return l, fmt.Errorf("takes a storage_class of %s, got %q", strings.Join(classes[1:], ", "), l.class)
	}
	if l.kmsKey != "" && !strings.HasPrefix(l.kmsKey, "projects/") {
		return l, fmt.Errorf("takes a kms_key as projects/p/locations/l/keyRings/r/cryptoKeys/k, got %q", l.kmsKey)
	}
	return l, nil
}

// CheckURL says what is wrong with the URL of a store, without asking it.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

// Open makes a store of a URL, see CheckURL. Credentials are the application's default ones; what is wrong with the bucket is the first call's error.
func Open(ctx context.Context, text string) (*Store, error) { return open(ctx, text, patience) }

func open(ctx context.Context, text string, patience time.Duration) (*Store, error) {
	l, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("the lake's URL %w", err)
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DialContext, base.MaxIdleConnsPerHost = stall.Dial(patience), 64
	options := []option.ClientOption{option.WithScopes(storage.DevstorageReadWriteScope)}
	host := os.Getenv(emulator)
	if host != "" {
		options = []option.ClientOption{option.WithoutAuthentication()}
	}
	carrier, err := transport.NewTransport(ctx, base, options...)
	if err != nil {
		return nil, fmt.Errorf("configuring Google Cloud Storage (GOOGLE_APPLICATION_CREDENTIALS names a file with credentials): %w", err)
	}
	service, err := storage.NewService(ctx, option.WithHTTPClient(&http.Client{Transport: carrier}))
	if err != nil {
		return nil, fmt.Errorf("configuring Google Cloud Storage: %w", err)
	}
	if host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		service.BasePath = strings.TrimSuffix(host, "/") + "/storage/v1/"
	}
	return &Store{service: service, location: l}, nil
}

// try makes a call until it succeeds, or fails for good.
func try[T any](ctx context.Context, call func() (T, error)) (T, error) {
	return retry.Times(ctx, tries, mayPass, call)
}

// mayPass says that the same call may succeed later.
func mayPass(err error) bool {
	switch status := statusOf(err); {
	case status == 0: // no answer
		return retry.Classify(err) == retry.Transient
	case status == http.StatusForbidden:
		return throttled(err)
	default:
		return status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
	}
}

// throttled says that a refusal is for being too fast, which Google may say with the status of missing rights.
func throttled(err error) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	return ok && slices.ContainsFunc(e.Errors, func(i googleapi.ErrorItem) bool {
		return strings.HasSuffix(strings.ToLower(i.Reason), "ratelimitexceeded")
	})
}

// statusOf is the HTTP status of an answer that was an error, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}

// fail says what was tried, and makes of the store's answers what the contract has for them.
func fail(ctx context.Context, verb, key string, err error) error {
	if c := ctx.Err(); c != nil {
		return fmt.Errorf("%s %s: %w", verb, key, c)
	}
	switch status := statusOf(err); {
	case errors.Is(err, errNoBucket):
	case noBucket(err):
		err = ofBucket(err)
	case status == http.StatusNotFound:
		err = lake.ErrNotExist
	case (status == http.StatusForbidden && !throttled(err)) || status == http.StatusUnauthorized:
		err = retry.Stop(fmt.Errorf("the store refuses it, check the credentials and the rights that they have: %w", err))
	case status == http.StatusBadRequest:
		err = retry.Stop(err)
	}
	return fmt.Errorf("%s %s: %w", verb, key, err)
}

// noBucket tells the two answers apart that have the same status and reason.
func noBucket(err error) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	return ok && e.Code == http.StatusNotFound && strings.Contains(strings.ToLower(e.Message+e.Body), "bucket does not exist")
}

var errNoBucket = retry.Stop(errors.New("the bucket does not exist, create it"))

// ofBucket is an error of a call that no missing object can have been the cause of.
func ofBucket(err error) error {
	if statusOf(err) == http.StatusNotFound {
		return fmt.Errorf("%w: %w", errNoBucket, err)
	}
	return err
}

// Stat implements lake.Store.
func (s *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	if err := lake.CheckKey(key); err != nil {
		return lake.Object{}, fail(ctx, "looking up object", key, err)
	}
	o, _, err := s.head(ctx, key)
	if err != nil {
		return lake.Object{}, fail(ctx, "looking up object", key, err)
	}
	return o, nil
}

// head is the object and the number of the write that made it.
func (s *Store) head(ctx context.Context, key string) (lake.Object, string, error) {
	entry, err := try(ctx, func() (*storage.Object, error) {
		return s.service.Objects.Get(s.bucket, s.prefix+key).Context(ctx).Do()
	})
	if err != nil {
		return lake.Object{}, "", err
	}
	o, err := s.object(entry)
	return o, entry.Metadata[writeKey], err
}

// object is an entry as the lake has it.
func (s *Store) object(entry *storage.Object) (lake.Object, error) {
	made, err := time.Parse(time.RFC3339, entry.TimeCreated)
	if err != nil {
		return lake.Object{}, fmt.Errorf("the store says that %s was made at %q: %w", entry.Name, entry.TimeCreated, err)
	}
	return lake.Object{
		Key: strings.TrimPrefix(entry.Name, s.prefix), Size: int64(entry.Size), Version: strconv.FormatInt(entry.Generation, 10), Modified: made,
	}, nil
}

// List implements lake.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		for token := ""; ; {
			page, err := try(ctx, func() (*storage.Objects, error) {
				call := s.service.Objects.List(s.bucket).Prefix(s.prefix + prefix).PageToken(token).Context(ctx)
				if after != "" {
					call.StartOffset(s.prefix + after)
				}
				return call.Do()
			})
			if err != nil {
				yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), ofBucket(err)))
				return
			}
			for _, entry := range page.Items {
				o, err := s.object(entry)
				if err != nil {
					yield(o, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
					return
				}
				if lake.CheckKey(o.Key) != nil || o.Key <= after { // the folder that a console made, say; and the store begins with after itself
					continue
				}
				if !yield(o, nil) {
					return
				}
			}
			if token = page.NextPageToken; token == "" {
				break
			}
		}
		if err := ctx.Err(); err != nil {
			yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
		}
	}
}

// Delete implements lake.Store. What a lost answer has deleted already is deleted.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := lake.CheckKey(key); err != nil {
		return fail(ctx, "deleting object", key, err)
	}
	n := 0
	_, err := try(ctx, func() (struct{}, error) {
		n++
		err := s.service.Objects.Delete(s.bucket, s.prefix+key).Context(ctx).Do()
		if n > 1 && statusOf(err) == http.StatusNotFound && !noBucket(err) {
			err = nil
		}
		return struct{}{}, err
	})
	if err != nil {
		return fail(ctx, "deleting object", key, err)
	}
	return nil
}

// Sweep has nothing to do: uploads that nobody ends are seen nowhere, cost nothing and are forgotten after a week.
func (s *Store) Sweep(context.Context) (int, error) { return 0, nil }

// Probe writes, and deletes, a small object to find out whether the store can be written to and refuses what conditional writes must refuse.
func (s *Store) Probe(ctx context.Context) error {
	key := "_headwater/probe-" + rand.Text()
	try := func(cond lake.Condition) error {
		_, err := s.Put(ctx, key, strings.NewReader("probe"), cond)
		return err
	}
	if err := try(lake.Condition{IfAbsent: true}); err != nil {
		return fmt.Errorf("probing the store: %w", err)
	}
	absent, version := try(lake.Condition{IfAbsent: true}), try(lake.Condition{IfVersion: "1"})
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("probing the store: %w", err)
	}
	if !errors.Is(absent, lake.ErrExists) || !errors.Is(version, lake.ErrChanged) {
		return retry.Stop(fmt.Errorf("the store does not keep to the conditions of writes, and two writers would overwrite each other: putting what exists gave %v, and another version %v", absent, version))
	}
	return nil
}

// Close has nothing to do: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }
