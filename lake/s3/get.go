package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

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
		out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: s.key(key), Range: optional(lake.HTTPRange(offset, n))})
		if err == nil {
			o := lake.Object{Key: key, Size: lake.WholeSize(aws.ToString(out.ContentRange), aws.ToInt64(out.ContentLength)), Version: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified)}
			start, length := lake.CutRange(o.Size, offset, n)
			return s.reader(ctx, o, out.Body, start, length), o, nil
		}
		if statusOf(err) != http.StatusRequestedRangeNotSatisfiable {
			return nil, lake.Object{}, err
		}
	}
	// No byte is in the range, which S3 has no way to ask for or answers with an error.
	o, _, err := s.head(ctx, key)
	return io.NopCloser(bytes.NewReader(nil)), o, err
}

// reader reads one object. A connection that breaks is made anew, for the same version of the object only.
func (s *Store) reader(ctx context.Context, o lake.Object, body io.ReadCloser, start, length int64) io.ReadCloser {
	return &lake.Resumed{
		Body: body, At: start, End: start + length, Tries: tries,
		Again: func(at, n int64) (io.ReadCloser, error) { return s.reopen(ctx, o, at, n) },
		Fail:  func(err error) error { return fail(ctx, "reading object", o.Key, err) },
	}
}

func (s *Store) reopen(ctx context.Context, o lake.Object, at, n int64) (io.ReadCloser, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: s.key(o.Key), Range: optional(lake.HTTPRange(at, n)), IfMatch: aws.String(o.Version),
	})
	switch status := statusOf(err); {
	case status == http.StatusPreconditionFailed || status == http.StatusNotFound:
		return nil, fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged)
	case err != nil:
		return nil, err
	case aws.ToString(out.ETag) != o.Version: // a store that does not know If-Match
		return nil, errors.Join(fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged), out.Body.Close())
	}
	return out.Body, nil
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
