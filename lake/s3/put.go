package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"headwater/internal/retry"
	"headwater/lake"
)

const (
	// partSize is what an object is cut into; S3 takes no part below 5 MiB but the last, and at most maxParts.
	partSize = 8 << 20
	maxParts = 10_000
	// bodies is how many parts of all puts may be in memory at a time.
	bodies = 16
	// partsAtOnce is how many parts of one object are sent at a time.
	partsAtOnce = 4
)

// Put implements lake.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	return s.PutTagged(ctx, key, body, cond, nil)
}

// PutTagged implements lake.Tagger. What another write at the same time kept the store from deciding is begun anew, a whole upload too.
func (s *Store) PutTagged(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition, tags map[string]string) (lake.Object, error) {
	with, err := s.given.with(tags)
	if err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, retry.Stop(err))
	}
	start, size, err := extent(body)
	if err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, fmt.Errorf("finding out how long its body is: %w", err))
	}
	w := write{key: key, id: rand.Text(), size: size, cond: cond, with: with}
	o, err := retry.Times(ctx, tries, disturbed, func() (lake.Object, error) {
		if _, err := body.Seek(start, io.SeekStart); err != nil {
			return lake.Object{}, fmt.Errorf("going back to the start of its body: %w", err)
		}
		return s.put(ctx, w, body)
	})
	if err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, err)
	}
	return o, nil
}

// write is an object that is to be put. The id is the same at all tries of it, and in the metadata of what they make.
type write struct {
	key, id string
	size    int64
	cond    lake.Condition
	with    given
}

func (s *Store) put(ctx context.Context, w write, body io.Reader) (lake.Object, error) {
	if err := errors.Join(ctx.Err(), lake.CheckKey(w.key)); err != nil {
		return lake.Object{}, err
	}
	if s.lookFirst.Load() {
		if err := s.look(ctx, w); err != nil {
			return lake.Object{}, err
		}
	}
	first, more, err := s.part(ctx, body, int(min(w.size, partSize)))
	if err != nil {
		return lake.Object{}, err
	}
	if more == nil {
		defer s.release(first)
		return s.single(ctx, w, first)
	}
	return s.parts(ctx, w, first, more)
}

// LookFirst has Put look at what is there before it writes, and send no conditions: for a store that Probe has refused. Of two writers at the
// same time each may then overwrite the other. It is called before the first Put.
func (s *Store) LookFirst() { s.lookFirst.Store(true) }

// look is a condition that is checked here.
func (s *Store) look(ctx context.Context, w write) error {
	if w.cond == (lake.Condition{}) {
		return nil
	}
	o, _, err := s.head(ctx, w.key)
	absent := statusOf(err) == http.StatusNotFound
	if err != nil && (!absent || codeOf(err) == "NoSuchBucket") {
		return fmt.Errorf("finding out what is there: %w", err)
	}
	return w.cond.Check(!absent, o.Version)
}

// extent is the current position of a body and how many bytes it has from there on.
func extent(body io.Seeker) (start, size int64, err error) {
	if start, err = body.Seek(0, io.SeekCurrent); err != nil {
		return 0, 0, err
	}
	end, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	_, err = body.Seek(start, io.SeekStart)
	return start, end - start, err
}

// part reads the next part of a body into memory that release gives back. It returns what is left of the body, nil if nothing is.
func (s *Store) part(ctx context.Context, body io.Reader, size int) ([]byte, io.Reader, error) {
	var buf []byte
	select {
	case buf = <-s.bodies:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	n, err := io.ReadFull(body, buf)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return buf[:n], nil, nil
	case err != nil:
		s.release(buf)
		return nil, nil, fmt.Errorf("reading its body: %w", err)
	}
	// One byte more says whether this was all: an object of exactly one part needs no upload of several.
	next := make([]byte, 1)
	switch n, err := io.ReadFull(body, next); {
	case n == 1:
		return buf, io.MultiReader(bytes.NewReader(next), body), nil
	case errors.Is(err, io.EOF):
		return buf, nil, nil
	default:
		s.release(buf)
		return nil, nil, fmt.Errorf("reading its body: %w", err)
	}
}

// release gives the memory of a part back. What grew beyond the usual size is left to the garbage collector.
func (s *Store) release(buf []byte) {
	if cap(buf) > partSize {
		buf = nil
	}
	s.bodies <- buf
}

// conditions are the headers of a condition.
func (s *Store) conditions(cond lake.Condition) (ifNoneMatch, ifMatch *string) {
	if s.lookFirst.Load() {
		return nil, nil // there are stores that refuse whatever has them
	}
	if cond.IfAbsent {
		ifNoneMatch = aws.String("*")
	}
	if cond.IfVersion != "" {
		ifMatch = aws.String(cond.IfVersion)
	}
	return ifNoneMatch, ifMatch
}

// single puts what is in memory with one request.
func (s *Store) single(ctx context.Context, w write, data []byte) (lake.Object, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: s.key(w.key), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), Metadata: map[string]string{writeKey: w.id},
	}
	in.IfNoneMatch, in.IfMatch = s.conditions(w.cond)
	w.with.onPut(in)
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return s.settle(ctx, w, err)
	}
	return lake.Object{Key: w.key, Size: int64(len(data)), Version: aws.ToString(out.ETag), Modified: serverTime(out.ResultMetadata)}, nil
}

// errConflict means that a write at the same time kept the store from deciding: ask again.
var errConflict = errors.New("another write of the key is under way")

func disturbed(err error) bool { return errors.Is(err, errConflict) }

// settle finds out what a refused write means. The SDK repeats a request whose answer was lost, and then it is our own object that is in
// the way.
func (s *Store) settle(ctx context.Context, w write, err error) (lake.Object, error) {
	status := statusOf(err)
	absent := status == http.StatusNotFound && w.cond.IfVersion != "" && codeOf(err) != "NoSuchBucket"
	conflict := status == http.StatusConflict
	if status != http.StatusPreconditionFailed && !absent && !conflict {
		return lake.Object{}, err
	}
	o, writer, herr := s.head(ctx, w.key)
	switch {
	case herr == nil && writer == w.id:
		return o, nil
	case herr != nil && statusOf(herr) != http.StatusNotFound:
		return lake.Object{}, errors.Join(err, fmt.Errorf("finding out what is there: %w", herr))
	}
	if cerr := w.cond.Check(herr == nil, o.Version); cerr != nil {
		return lake.Object{}, cerr
	}
	if conflict || status == http.StatusPreconditionFailed { // what refused us is gone again
		err = fmt.Errorf("%w: %w", errConflict, err)
	}
	return lake.Object{}, err
}

// parts puts a body of several parts, of which the first is in memory. The object appears when the upload is completed.
func (s *Store) parts(ctx context.Context, w write, first []byte, more io.Reader) (_ lake.Object, err error) {
	begin := &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: s.key(w.key), Metadata: map[string]string{writeKey: w.id}}
	w.with.onUpload(begin)
	upload, err := s.client.CreateMultipartUpload(ctx, begin)
	if err != nil {
		s.release(first)
		return lake.Object{}, fmt.Errorf("beginning an upload: %w", err)
	}
	defer func() {
		if err != nil { // parts of an upload that nobody completes cost money
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = s.abort(ctx, s.prefix+w.key, upload.UploadId) // Sweep does it later
		}
	}()
	done, size, err := s.send(ctx, w.key, upload.UploadId, first, more)
	if err != nil {
		return lake.Object{}, err
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: s.key(w.key), UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	}
	in.IfNoneMatch, in.IfMatch = s.conditions(w.cond)
	out, err := s.client.CompleteMultipartUpload(ctx, in)
	switch {
	case err == nil:
		return lake.Object{Key: w.key, Size: size, Version: aws.ToString(out.ETag), Modified: serverTime(out.ResultMetadata)}, nil
	case codeOf(err) == "NoSuchUpload": // completed by a try whose answer was lost, maybe
		if o, writer, herr := s.head(ctx, w.key); herr == nil && writer == w.id {
			return o, nil
		}
		return lake.Object{}, err
	}
	o, err := s.settle(ctx, w, err)
	if err != nil {
		err = fmt.Errorf("completing the upload: %w", err)
	}
	return o, err
}

// send sends the parts, some at a time, in memory that it gives back.
func (s *Store) send(ctx context.Context, key string, upload *string, data []byte, more io.Reader) ([]types.CompletedPart, int64, error) {
	var done []types.CompletedPart
	var size int64
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(partsAtOnce)
	for number := int32(1); ; number++ {
		if number > maxParts {
			s.release(data)
			return nil, 0, errors.Join(g.Wait(), retry.Stop(fmt.Errorf("it is larger than S3 takes: %d parts make %d bytes", maxParts, size)))
		}
		size += int64(len(data))
		done = append(done, types.CompletedPart{PartNumber: aws.Int32(number)})
		at, part := len(done)-1, data
		tag := new(string)
		done[at].ETag = tag
		g.Go(func() error {
			defer s.release(part)
			out, err := s.client.UploadPart(sending, &s3.UploadPartInput{
				Bucket: &s.bucket, Key: s.key(key), UploadId: upload, PartNumber: aws.Int32(number), Body: bytes.NewReader(part), ContentLength: aws.Int64(int64(len(part))),
			})
			if err != nil {
				return fmt.Errorf("sending part %d: %w", number, err)
			}
			*tag = aws.ToString(out.ETag)
			return nil
		})
		if more == nil {
			return done, size, g.Wait()
		}
		var err error
		if data, more, err = s.part(sending, more, sizeOf(number+1)); err != nil {
			if werr := g.Wait(); werr != nil && sending.Err() != nil && ctx.Err() == nil {
				err = werr // a part that failed ended the reading
			}
			return nil, 0, err
		}
	}
}

// sizeOf is the size of a part: they grow with the object, so that 10,000 of them make 500 GB.
func sizeOf(number int32) int { return partSize << min(number/1000, 3) }

func (s *Store) abort(ctx context.Context, whole string, upload *string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &whole, UploadId: upload})
	if codeOf(err) == "NoSuchUpload" {
		return nil
	}
	return err
}

// probeParts is single by an upload of one part.
func (s *Store) probeParts(ctx context.Context, w write, data []byte) (lake.Object, error) {
	buf := <-s.bodies
	return s.parts(ctx, w, append(buf[:0], data...), nil)
}
