package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"headwater/internal/retry"
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
		out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(key), Range: rangeOf(offset, n)})
		if err == nil {
			o := lake.Object{Key: key, Size: total(out), Version: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified)}
			start, length := lake.CutRange(o.Size, offset, n)
			return &reader{ctx: ctx, store: s, object: o, body: out.Body, at: start, end: start + length}, o, nil
		}
		if statusOf(err) != http.StatusRequestedRangeNotSatisfiable {
			return nil, lake.Object{}, err
		}
	}
	// No byte is in the range, which S3 has no way to ask for or answers with an error.
	o, _, err := s.head(ctx, key)
	return io.NopCloser(bytes.NewReader(nil)), o, err
}

// rangeOf is the header of a range, nil for the whole object. From the end it reaches to the end: CutRange says where to stop.
func rangeOf(offset, n int64) *string {
	switch {
	case offset < 0:
		return aws.String("bytes=" + strconv.FormatInt(offset, 10))
	case offset == 0 && n < 0:
		return nil
	case n < 0 || offset+n < offset: // beyond int64 is to the end too
		return aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	return aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+n-1))
}

// total is the size of the whole object that an answer is part of.
func total(out *s3.GetObjectOutput) int64 {
	if _, size, found := strings.Cut(aws.ToString(out.ContentRange), "/"); found {
		if n, err := strconv.ParseInt(size, 10, 64); err == nil {
			return n
		}
	}
	return aws.ToInt64(out.ContentLength)
}

// reader reads one object from at to end. A connection that breaks is made anew, for the same version of the object only.
type reader struct {
	ctx     context.Context
	store   *Store
	object  lake.Object
	body    io.ReadCloser // nil between two connections
	at, end int64
	broken  int // tries since the last byte came
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	for {
		if r.body == nil {
			if err := r.reopen(); err != nil {
				return 0, fail(r.ctx, "reading object", r.object.Key, err)
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.at)])
		if n > 0 {
			r.at += int64(n)
			r.broken = 0
			return n, nil // an error comes again, or is none because all is there
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		_ = r.body.Close()
		r.body = nil
		if r.broken++; r.broken >= tries || r.ctx.Err() != nil {
			return 0, fail(r.ctx, "reading object", r.object.Key, err)
		}
	}
}

func (r *reader) reopen() error {
	out, err := r.store.client.GetObject(r.ctx, &s3.GetObjectInput{
		Bucket: &r.store.bucket, Key: r.store.key(r.object.Key), Range: rangeOf(r.at, r.end-r.at), IfMatch: aws.String(r.object.Version),
	})
	switch status := statusOf(err); {
	case status == http.StatusPreconditionFailed || status == http.StatusNotFound:
		return fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged)
	case err != nil:
		return err
	case aws.ToString(out.ETag) != r.object.Version: // a store that does not know If-Match
		return errors.Join(fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged), out.Body.Close())
	}
	r.body = out.Body
	return nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}

// statusOf is the HTTP status of an answer that was an error, 0 if there was no answer.
func statusOf(err error) int {
	if r, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

func codeOf(err error) string {
	if a, ok := errors.AsType[smithy.APIError](err); ok {
		return a.ErrorCode()
	}
	return ""
}

// fail says what was tried, and makes of the store's answers what the contract has for them.
func fail(ctx context.Context, verb, key string, err error) error {
	if c := ctx.Err(); c != nil {
		return fmt.Errorf("%s %s: %w", verb, key, c)
	}
	status, code := statusOf(err), codeOf(err)
	switch {
	case code == "NoSuchBucket":
		err = retry.Stop(fmt.Errorf("the bucket does not exist, create it: %w", err))
	case status == http.StatusNotFound && (code == "NoSuchKey" || code == "NotFound"):
		err = lake.ErrNotExist
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		err = retry.Stop(fmt.Errorf("the store refuses it, check the credentials and the rights that they have: %w", err))
	case status == http.StatusBadRequest && code != "RequestTimeout":
		err = retry.Stop(err)
	}
	return fmt.Errorf("%s %s: %w", verb, key, err)
}
