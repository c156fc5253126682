package azure

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"headwater/lake"
)

// Get implements lake.Store.
func (s *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if err := checkKey(key); err != nil {
		return nil, lake.Object{}, fail(ctx, "getting object", key, err)
	}
	r, o, err := s.get(ctx, key, offset, n)
	if err != nil {
		return nil, lake.Object{}, fail(ctx, "getting object", key, err)
	}
	return r, o, nil
}

func (s *Store) get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if offset < 0 {
		return s.fromEnd(ctx, key, offset, n)
	}
	if n != 0 {
		res, err := s.download(ctx, key, "", offset, n)
		if err == nil {
			o := lake.Object{Key: key, Size: lake.WholeSize(valueOf(res.ContentRange), valueOf(res.ContentLength)), Version: version(res.ETag), Modified: valueOf(res.LastModified)}
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

// fromEnd asks for the size first: Azure has no ranges from the end.
func (s *Store) fromEnd(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	for try := 1; ; try++ {
		o, _, err := s.head(ctx, key)
		if err != nil {
			return nil, o, err
		}
		start, length := lake.CutRange(o.Size, offset, n)
		if length == 0 {
			return io.NopCloser(bytes.NewReader(nil)), o, nil
		}
		res, err := s.download(ctx, key, o.Version, start, length)
		if err == nil {
			return s.reader(ctx, o, res.Body, start, length), o, nil
		}
		if statusOf(err) != http.StatusPreconditionFailed || try == tries { // it was replaced meanwhile
			return nil, o, err
		}
	}
}

// download begins to read a range of a blob, of one version if that is not empty.
func (s *Store) download(ctx context.Context, key, only string, offset, n int64) (blob.DownloadStreamResponse, error) {
	options := &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset}} // a count of 0 is to the end
	if n > 0 && offset+n > offset {
		options.Range.Count = n
	}
	if only != "" {
		options.AccessConditions = &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: tagOf(only)}}
	}
	return s.client.NewBlobClient(s.prefix+key).DownloadStream(ctx, options)
}

// reader reads one blob. A connection that breaks is made anew, for the same version of the blob only.
func (s *Store) reader(ctx context.Context, o lake.Object, body io.ReadCloser, start, length int64) io.ReadCloser {
	return &lake.Resumed{
		Body: body, At: start, End: start + length, Tries: tries,
		Again: func(at, n int64) (io.ReadCloser, error) {
			res, err := s.download(ctx, o.Key, o.Version, at, n)
			if status := statusOf(err); status == http.StatusPreconditionFailed || status == http.StatusNotFound {
				return nil, fmt.Errorf("the connection broke, and meanwhile: %w", lake.ErrChanged)
			}
			return res.Body, err
		},
		Fail: func(err error) error { return fail(ctx, "reading object", o.Key, err) },
	}
}
