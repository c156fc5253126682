// Package s3 is a lake in a bucket of Amazon S3, or of a store that speaks its protocol and keeps its promise of conditional writes:
// MinIO, versitygw, R2, recent Ceph.
//
// What enters: the calls of lake.Store. What leaves: objects below a prefix of a bucket, each written by one PutObject or, beyond a part's
// size, by a multipart upload that appears when it is completed. A version is the ETag, which S3 compares in If-Match: an object that is
// replaced by the same bytes may keep it. No goroutine outlives a call but those of http.Transport.
//
// Invariants:
//  1. A conditional write carries If-None-Match or If-Match itself; nothing is looked up first, but in a store that is not trusted (LookFirst).
//  2. A refusal that an own earlier try brought about, whose answer was lost, is told from another's by a number in the object's metadata.
//  3. A connection on which nothing moves for a minute is given up.
//  4. Memory is that of the parts on their way: at most bodies of partSize each.
package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"headwater/internal/retry"
	"headwater/internal/stall"
	"headwater/lake"
)

const (
	// patience is how long a connection may give and take nothing.
	patience = time.Minute
	// tries of a request, by the SDK, for what may pass: 5xx, throttling, broken connections.
	tries = 5
	// writeKey is the metadata that tells our write from another's.
	writeKey = "headwater-write"
)

// Store is a lake.Store in a bucket.
type Store struct {
	client *s3.Client
	bucket string
	prefix string // empty or with a slash at its end
	given  given
	bodies chan []byte
	// lookFirst: conditions are checked by looking, and not by the store.
	lookFirst atomic.Bool
}

var (
	_ lake.Store  = (*Store)(nil)
	_ lake.Tagger = (*Store)(nil)
)

// Open makes a store of a URL, see CheckURL, and asks nobody: what is wrong there is the first call's error.
func Open(ctx context.Context, text string) (*Store, error) { return open(ctx, text, patience) }

// OpenAs is Open for the account of an access key, whatever the environment and the URL's profile have; without a key it is nobody's.
func OpenAs(ctx context.Context, text, key, secret string) (*Store, error) {
	as := aws.CredentialsProvider(aws.AnonymousCredentials{})
	if key != "" {
		as = credentials.NewStaticCredentialsProvider(key, secret, "")
	}
	return open(ctx, text, patience, config.WithCredentialsProvider(as))
}

func open(ctx context.Context, text string, patience time.Duration, more ...func(*config.LoadOptions) error) (*Store, error) {
	l, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("the lake's URL %w", err)
	}
	options := []func(*config.LoadOptions) error{config.WithHTTPClient(client(patience)), config.WithRetryMaxAttempts(tries)}
	if l.region != "" {
		options = append(options, config.WithRegion(l.region))
	} else if l.endpoint != "" {
		options = append(options, config.WithDefaultRegion("us-east-1")) // such stores need one and mean nothing by it
	}
	if l.profile != "" {
		options = append(options, config.WithSharedConfigProfile(l.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("configuring S3: %w", err)
	}
	s := &Store{bucket: l.bucket, prefix: l.prefix, given: l.given, bodies: make(chan []byte, bodies)}
	for range bodies {
		s.bodies <- nil // allocated when it is first needed
	}
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if l.endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(l.endpoint), true
		}
		// The bodies of objects are checked by Parquet, gzip and our own tails; a warning for every answer without a checksum says nothing.
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return s, nil
}

// client gives up connections on which nothing moves.
func client(patience time.Duration) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.DialContext = stall.Dial(patience)
		t.MaxIdleConnsPerHost = 64
	})
}

func (s *Store) key(key string) *string { return aws.String(s.prefix + key) }

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
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(key)})
	if err != nil {
		return lake.Object{}, "", err
	}
	return lake.Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), Version: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified),
	}, out.Metadata[writeKey], nil
}

// List implements lake.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		in := &s3.ListObjectsV2Input{
			Bucket: &s.bucket, Prefix: s.key(lake.Askable(prefix)),
			EncodingType: types.EncodingTypeUrl, // XML cannot hold every key
		}
		if after != "" {
			in.StartAfter = s.key(lake.Askable(after))
		}
		for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
				return
			}
			for _, entry := range page.Contents {
				key := aws.ToString(entry.Key)
				if page.EncodingType == types.EncodingTypeUrl { // not every store knows it
					if key, err = url.QueryUnescape(key); err != nil {
						yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), fmt.Errorf("the store names an object %q: %w", aws.ToString(entry.Key), err)))
						return
					}
				}
				key = strings.TrimPrefix(key, s.prefix)
				if lake.CheckKey(key) != nil || !strings.HasPrefix(key, prefix) || key <= after {
					continue // what more was asked for; or no object of ours can have it: the folder that a console made, say
				}
				o := lake.Object{Key: key, Size: aws.ToInt64(entry.Size), Version: aws.ToString(entry.ETag), Modified: aws.ToTime(entry.LastModified)}
				if !yield(o, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
		}
	}
}

// Delete implements lake.Store. S3 does not say whether there was an object, so it is asked first.
func (s *Store) Delete(ctx context.Context, key string) error {
	if _, err := s.Stat(ctx, key); err != nil {
		return err
	}
	if _, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: s.key(key)}); err != nil {
		return fail(ctx, "deleting object", key, err)
	}
	return nil
}

// Sweep gives up the uploads that killed processes have begun, a day after: their parts cost money and can be seen nowhere. It
// returns how many.
func (s *Store) Sweep(ctx context.Context) (int, error) { return s.sweep(ctx, 24*time.Hour) }

func (s *Store) sweep(ctx context.Context, age time.Duration) (int, error) {
	n := 0
	for pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return n, fail(ctx, "listing the uploads below", s.prefix, err)
		}
		for _, u := range page.Uploads {
			if time.Since(aws.ToTime(u.Initiated)) < age {
				continue
			}
			if err := s.abort(ctx, aws.ToString(u.Key), u.UploadId); err != nil {
				return n, fail(ctx, "giving up the upload of object", aws.ToString(u.Key), err)
			}
			n++
		}
	}
	return n, nil
}

// Probe writes, and deletes, a small object to find out whether the store refuses what conditional writes must refuse: one that does not would
// lose or double data when two processes meet. It returns nil if the store can be trusted.
func (s *Store) Probe(ctx context.Context) (err error) {
	key := "_headwater/probe-" + rand.Text()
	for _, put := range []func(context.Context, write, []byte) (lake.Object, error){s.single, s.probeParts} {
		try := func(body string, cond lake.Condition) error {
			w := write{key: key, id: rand.Text(), cond: cond, with: s.given}
			_, err := retry.Times(ctx, tries, disturbed, func() (lake.Object, error) { return put(ctx, w, []byte(body)) })
			if statusOf(err) == http.StatusNotImplemented {
				return fmt.Errorf("%w (it answers %w)", ErrUnconditional, err)
			}
			return err
		}
		if err := try("probe", lake.Condition{IfAbsent: true}); err != nil {
			return fail(ctx, "probing the store with object", key, err)
		}
		absent := try("other", lake.Condition{IfAbsent: true})
		version := try("other", lake.Condition{IfVersion: `"00000000000000000000000000000000"`})
		derr := s.Delete(ctx, key)
		switch {
		case derr != nil:
			return fail(ctx, "probing the store with object", key, derr)
		case absent == nil || version == nil:
			return fail(ctx, "probing the store with object", key, fmt.Errorf("%w (If-None-Match refused: %t, If-Match refused: %t)", ErrUnconditional, absent != nil, version != nil))
		case !errors.Is(absent, lake.ErrExists):
			return fail(ctx, "probing the store with object", key, absent)
		case !errors.Is(version, lake.ErrChanged):
			return fail(ctx, "probing the store with object", key, version)
		}
	}
	return nil
}

// ErrUnconditional is returned by Probe for a store that overwrites where it was told not to.
var ErrUnconditional = errors.New("the store does not keep to the conditions of writes: two writers would overwrite each other. Use a store that does (Amazon S3, MinIO, versitygw) or a folder; or write lake: {exactly_once: best_effort}, and have one process alone write to it (docs/lake.md)")

// serverTime is when the store answered.
func serverTime(meta middleware.Metadata) time.Time {
	if t, ok := awsmiddleware.GetServerTime(meta); ok {
		return t
	}
	return time.Now()
}

// Close has nothing to do: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }
