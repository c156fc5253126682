// Package ledger is what is known of a source's columns across its days: which kinds of value each place of the records has had, what people
// have decided about it, and so the one type that each column of the tables has for life. Format: docs/format/ledger.md.
//
// What enters: the evidence of a day, the decisions of people. What leaves: versions, each an object that is created once and never replaced.
// The ledger has names of fields and places of records, and no value of the data.
//
// Invariants:
//  1. Versions are numbered 1, 2, 3, …, and each was made of the one before it: whoever loses the race for a number makes his change anew,
//     on top of what the other has made.
//  2. A run only adds: fields, and kinds of value. What it adds changes no column's type unless the days concerned may be rewritten.
//  3. Names of columns stay.
package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"headwater/internal/crash"
	"headwater/lake"
	"headwater/schema"
)

// format is that of a version's JSON.
const format = 1

var (
	// ErrFormat is returned for a version that this binary does not know, or that is no version.
	ErrFormat = errors.New("not a version of a schema ledger that this binary reads")
	// ErrRewrite refuses what would have more days rewritten than may be without being asked.
	ErrRewrite = errors.New("too many days would be rewritten")
	// ErrNoField is returned for a field that the ledger does not know.
	ErrNoField = errors.New("the schema ledger knows no such field")
	// ErrNoVersion is returned for a version that does not exist.
	ErrNoVersion = errors.New("the schema ledger has no such version")
)

// Version is a state of the ledger of one source.
type Version struct {
	V int `json:"v"`
	// Number is 0 for the ledger of a source without one: nothing is known.
	Number int `json:"version"`
	// At is when it was made, By is what made it.
	At time.Time `json:"at"`
	By string    `json:"by"`
	// Record is the whole record, an object.
	Record *Node `json:"record"`
	// Places are where something was met first.
	Places []Place `json:"places,omitempty"`
	// RawNames and FlatNames are the names of all columns, by their places in the record and in raw_data.
	RawNames  schema.Names `json:"raw_names,omitempty"`
	FlatNames schema.Names `json:"flat_names,omitempty"`
	// Rescued: the tables have the column schema.Rescued.
	Rescued bool `json:"rescued,omitempty"`
	// Rewrite are the days that had columns of other types when this version, or one before it, was made.
	Rewrite []string `json:"rewrite,omitempty"`
}

// Log is the ledger of one source, by its flat table's name, in the store of the tables. Its methods may be called by several processes at once.
type Log struct {
	Store lake.Store
	// Table is database.table.
	Table string
}

func (l Log) prefix() string { return "_headwater/schema/" + l.Table + "/" }

func (l Log) key(number int) string { return fmt.Sprintf("%sv%06d.json", l.prefix(), number) }

// Head is the last version, one with Number 0 if there is none.
func (l Log) Head(ctx context.Context) (*Version, error) {
	number := 0
	for o, err := range l.Store.List(ctx, l.prefix(), "") {
		if err != nil {
			return nil, fmt.Errorf("listing the schema ledger of %s: %w", l.Table, err)
		}
		n, ok := numberOf(path.Base(o.Key))
		if ok {
			number = max(number, n)
		}
	}
	if number == 0 {
		return &Version{V: format, Record: &Node{}}, nil
	}
	return l.Read(ctx, number)
}

func numberOf(base string) (n int, ok bool) {
	_, err := fmt.Sscanf(base, "v%d.json", &n)
	return n, err == nil && base == fmt.Sprintf("v%06d.json", n)
}

// Forget deletes all versions, the last one first: what is left when it fails is a ledger.
func (l Log) Forget(ctx context.Context) error {
	var keys []string
	for o, err := range l.Store.List(ctx, l.prefix(), "") {
		if err != nil {
			return fmt.Errorf("listing the schema ledger of %s: %w", l.Table, err)
		}
		keys = append(keys, o.Key)
	}
	for _, key := range slices.Backward(keys) {
		if err := l.Store.Delete(ctx, key); err != nil && !errors.Is(err, lake.ErrNotExist) {
			return fmt.Errorf("forgetting the schema of %s: %w", l.Table, err)
		}
	}
	return nil
}

// Read reads a version (ErrNoVersion, ErrFormat).
func (l Log) Read(ctx context.Context, number int) (*Version, error) {
	key := l.key(number)
	r, _, err := l.Store.Get(ctx, key, 0, -1)
	if errors.Is(err, lake.ErrNotExist) {
		return nil, fmt.Errorf("%w: v%d of %s", ErrNoVersion, number, l.Table)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	v := &Version{}
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w (%w): restore it from a copy, or move it and those after it away", key, ErrFormat, err)
	}
	if v.V != format || v.Number != number || v.Record == nil {
		return nil, fmt.Errorf("%s: %w: it says v %d, version %d; this binary knows v %d", key, ErrFormat, v.V, v.Number, format)
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", key, ErrFormat, err)
	}
	return v, nil
}

// Append writes v as the version after v.Number, which it sets. lake.ErrExists: another has made that version; make the change again on its Head.
func (l Log) Append(ctx context.Context, v *Version, by string) error {
	next := *v
	next.V, next.Number, next.At, next.By = format, v.Number+1, time.Now().UTC().Truncate(time.Millisecond), by
	text, err := json.MarshalIndent(&next, "", " ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	key := l.key(next.Number)
	crash.Point("serialize.before-version")
	if _, err := l.Store.Put(ctx, key, bytes.NewReader(text), lake.Condition{IfAbsent: true}); err != nil {
		if errors.Is(err, lake.ErrExists) || !l.written(ctx, key, text) {
			return fmt.Errorf("writing %s: %w", key, err)
		}
	}
	crash.Point("serialize.after-version")
	*v = next
	return nil
}

// written says whether an object is there that has just this text: then it was the answer that got lost.
func (l Log) written(ctx context.Context, key string, text []byte) bool {
	r, _, err := l.Store.Get(ctx, key, 0, -1)
	if err != nil {
		return false
	}
	defer r.Close()
	there, err := io.ReadAll(r)
	return err == nil && bytes.Equal(there, text)
}

// Change makes a change of the head until it is written, and returns the version that has it: change gets a version that it may alter, and says
// whether it did. It may be called several times. by is what makes the change.
func (l Log) Change(ctx context.Context, by string, change func(v *Version) (bool, error)) (*Version, error) {
	for {
		v, err := l.Head(ctx)
		if err != nil {
			return nil, err
		}
		if changed, err := change(v); err != nil || !changed {
			return v, err
		}
		if err := l.Append(ctx, v, by); !errors.Is(err, lake.ErrExists) {
			return v, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
