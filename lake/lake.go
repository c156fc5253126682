// Package lake is the object store: the contract every store keeps, the layers, the keys of objects and the tail that
// says what an object covers.
//
// What enters: whole objects, written once. What leaves: objects by key, ranges of them, listings in key order.
// It imports nothing of ours. Implementations are the folders beside it; laketest is the suite each of them passes and
// lakefault the same contract with faults.
package lake

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

var (
	// ErrNotExist is returned by Get, Stat and Delete for a key that has no object.
	ErrNotExist = errors.New("object does not exist")
	// ErrExists is returned by Put with IfAbsent when the key already has an object.
	ErrExists = errors.New("object exists already")
	// ErrChanged is returned by Put with IfVersion when the key has another version, or no object.
	ErrChanged = errors.New("object was changed by another writer")
)

// Object is an entry of a listing.
type Object struct {
	// Key is UTF-8 in slash-separated segments, none of them empty, "." or "..".
	Key string
	// Size is in bytes.
	Size int64
	// Version changes whenever the object is replaced; it is opaque and only compared for equality.
	Version string
	// Modified is when the store says the object was written.
	Modified time.Time
}

// Condition is what must hold of a key for a Put to take effect. The zero value always holds.
type Condition struct {
	// IfAbsent: the key must have no object (ErrExists).
	IfAbsent bool
	// IfVersion: the key's object must have this version (ErrChanged).
	IfVersion string
}

// Check says what a Put must return where the key has an object of this version, or none: ErrExists, ErrChanged, or nil if the condition holds.
func (c Condition) Check(exists bool, version string) error {
	switch {
	case c.IfAbsent && exists:
		return ErrExists
	case c.IfVersion != "" && (!exists || version != c.IfVersion):
		return ErrChanged
	}
	return nil
}

// Store keeps objects. Its methods may be called from several goroutines and several processes at once.
//
// Errors wrap the sentinels of this package where they apply and name the key; other errors are the driver's own and
// are classified by internal/retry. A method whose context ends returns the context's error and may or may not have
// taken effect.
type Store interface {
	// Put writes body, read from its current position to its end, as the object key. The object appears whole or not at all,
	// and once Put has returned nil it survives a power cut. Of several racing Puts with IfAbsent, or with the same IfVersion,
	// exactly one returns nil. An error other than ErrExists and ErrChanged leaves open whether the object was written: the
	// caller finds out with Stat or Get. Put does not close body.
	Put(ctx context.Context, key string, body io.ReadSeeker, cond Condition) (Object, error)
	// Get reads n bytes from offset; n < 0 means to the end; offset < 0 counts from the end (-512 is the last 512 bytes, or
	// all of a smaller object). A range that leaves the object is cut to it. The caller closes the reader. A reader goes on
	// giving the bytes of the object it was opened on after the object is replaced or deleted, or fails; it never mixes two.
	Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, Object, error)
	// Stat describes one object.
	Stat(ctx context.Context, key string) (Object, error)
	// List yields the objects whose key starts with prefix (any string, not only whole segments) and is greater than after,
	// in ascending byte order of their keys. Objects written while it runs may or may not appear. It ends at the first error.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// Delete removes an object.
	Delete(ctx context.Context, key string) error
}

// Local is the optional power of a Store whose objects are files of this machine.
type Local interface {
	// Path is the file of key. It may be read and hard-linked, never written.
	Path(key string) string
}

// Tagger is the optional power of a Store whose objects can have tags.
type Tagger interface {
	// PutTagged is Put of an object that has the tags from its first moment, beside those that the store gives to all. Tags that the store
	// cannot hold are a permanent error.
	PutTagged(ctx context.Context, key string, body io.ReadSeeker, cond Condition, tags map[string]string) (Object, error)
}
