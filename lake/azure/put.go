package azure

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"headwater/internal/retry"
	"headwater/lake"
)

// Put implements lake.Store. What another write at the same time has disturbed is begun anew.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if err := errors.Join(ctx.Err(), checkKey(key)); err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, err)
	}
	start, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return lake.Object{}, fail(ctx, "putting object", key, fmt.Errorf("finding out where its body begins: %w", err))
	}
	w := write{key: key, id: rand.Text(), cond: cond}
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
	cond    lake.Condition
}

func (w write) metadata() map[string]*string { return map[string]*string{writeKey: &w.id} }

// conditions are the headers of a condition.
func (w write) conditions() *blob.AccessConditions {
	var c blob.ModifiedAccessConditions
	if w.cond.IfAbsent {
		anything := azcore.ETagAny
		c.IfNoneMatch = &anything
	}
	if w.cond.IfVersion != "" {
		c.IfMatch = tagOf(w.cond.IfVersion)
	}
	return &blob.AccessConditions{ModifiedAccessConditions: &c}
}

func (s *Store) put(ctx context.Context, w write, body io.Reader) (lake.Object, error) {
	buf := make([]byte, blockSize)
	at := s.client.NewBlockBlobClient(s.prefix + w.key)
	var blocks []string
	var size int64
	for {
		n, err := io.ReadFull(body, buf)
		over := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !over {
			return lake.Object{}, fmt.Errorf("reading its body: %w", err)
		}
		size += int64(n)
		data := streaming.NopCloser(bytes.NewReader(buf[:n]))
		if over && blocks == nil {
			got, err := at.Upload(ctx, data, &blockblob.UploadOptions{Metadata: w.metadata(), AccessConditions: w.conditions()})
			if err != nil {
				return s.settle(ctx, w, err)
			}
			return lake.Object{Key: w.key, Size: size, Version: version(got.ETag), Modified: valueOf(got.LastModified)}, nil
		}
		if n > 0 {
			if len(blocks) == maxBlocks {
				return lake.Object{}, retry.Stop(fmt.Errorf("it is larger than %d blocks of %d bytes", maxBlocks, blockSize))
			}
			blocks = append(blocks, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d", w.id, len(blocks))))
			if _, err := at.StageBlock(ctx, blocks[len(blocks)-1], data, nil); err != nil {
				return lake.Object{}, fmt.Errorf("sending block %d: %w", len(blocks), err)
			}
		}
		if over {
			break
		}
	}
	got, err := at.CommitBlockList(ctx, blocks, &blockblob.CommitBlockListOptions{Metadata: w.metadata(), AccessConditions: w.conditions()})
	if err != nil {
		return s.settle(ctx, w, err)
	}
	return lake.Object{Key: w.key, Size: size, Version: version(got.ETag), Modified: valueOf(got.LastModified)}, nil
}

// errConflict means that a write at the same time kept the store from deciding: ask again.
var errConflict = errors.New("another write of the key is under way")

func disturbed(err error) bool { return errors.Is(err, errConflict) }

// settle finds out what a refused write means: it may be our own object, of a try whose answer was lost, that is in the way.
func (s *Store) settle(ctx context.Context, w write, err error) (lake.Object, error) {
	refused := statusOf(err) == http.StatusPreconditionFailed || statusOf(err) == http.StatusConflict || bloberror.HasCode(err, bloberror.BlobNotFound)
	if !refused && !bloberror.HasCode(err, bloberror.InvalidBlockList) { // whoever makes the blob takes the blocks of others away
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
	return lake.Object{}, fmt.Errorf("%w: %v", errConflict, brief(err)) // %v: it is no answer any more
}
