// Package adopted is about tables that another job made and that Headwater has taken over, where they are and as they are spelled, until it gives them back.
//
// What enters: tables of a metastore with their files. What leaves: a Record of each such table in the tables store, a commit for each day, and a store in which the
// table's objects have the keys that every table's have. Nothing of the data is touched by taking over; giving back moves files into the folders of their days.
//
// Invariants:
//  1. A table whose Record is not in the state Adopted is neither read nor written through the Store.
//  2. The Record is the first thing that is written and, of a release, the last: whatever was interrupted is gone through again by the same command.
//
// There are no goroutines but those that read footers, which have ended when a call returns. Format: docs/format/adopted.md.
package adopted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/table"
)

// The states of a Record.
const (
	// Adopting: it was begun to take the table over, and not ended.
	Adopting = "adopting"
	// Adopted: the table is Headwater's.
	Adopted = "adopted"
	// Releasing: it was begun to give the table back, and not ended.
	Releasing = "releasing"
	// Released: the table is that of the other job again.
	Released = "released"
)

// ErrNotOurs refuses to touch a table that is the other job's, or halfway between it and Headwater.
var ErrNotOurs = errors.New("the table is not headwater's to write")

// version is that of a Record's JSON.
const version = 1

const folder = "_headwater/adopted/"

// Record says what Headwater has taken over, and from where.
type Record struct {
	V int `json:"v"`
	// Table is database.table.
	Table string `json:"table"`
	State string `json:"state"`
	// At is when it came into its state.
	At time.Time `json:"at"`
	table.Layout
	// Parameters are those that the metastore had of the table before.
	Parameters map[string]string `json:"parameters"`

	object lake.Object
}

// Name of the table.
func (r *Record) Name() table.Name {
	database, name, _ := strings.Cut(r.Table, ".")
	return table.Name{Database: database, Table: name}
}

// refuse says why nobody may touch the table.
func (r *Record) refuse() error {
	advice := "headwater tables adopt takes it over again"
	switch r.State {
	case Adopting:
		advice = "run headwater tables adopt again to end it, or headwater tables release to give it up"
	case Releasing:
		advice = "run headwater tables release again to end it"
	}
	return retry.Stop(fmt.Errorf("%s is in state %q since %s: %w: %s", r.Table, r.State, r.At.Format(time.RFC3339), ErrNotOurs, advice))
}

func recordKey(n table.Name) string { return folder + n.String() + ".json" }

// read reads the Record of the table, found is false if there is none.
func read(ctx context.Context, s lake.Store, key string) (r Record, found bool, err error) {
	body, o, err := s.Get(ctx, key, 0, -1)
	if errors.Is(err, lake.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading %s: %w", key, err)
	}
	text, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return r, false, fmt.Errorf("reading %s: %w", key, err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, false, fmt.Errorf("%s: %w (%w): restore it from a copy: it says where a table lies", key, table.ErrDamaged, err)
	}
	if r.V != version || recordKey(r.Name()) != key || r.Prefix == "" {
		return r, false, fmt.Errorf("%s has version %d of table %q, this binary knows %d: use the newer one: %w", key, r.V, r.Table, version, table.ErrVersion)
	}
	r.object = o
	return r, true, nil
}

// readAll reads those of all tables.
func readAll(ctx context.Context, s lake.Store) (map[table.Name]Record, error) {
	all := map[table.Name]Record{}
	for o, err := range s.List(ctx, folder, "") {
		if err != nil {
			return nil, fmt.Errorf("listing the adopted tables: %w", err)
		}
		if path.Ext(o.Key) != ".json" {
			continue
		}
		r, found, err := read(ctx, s, o.Key)
		if err != nil {
			return nil, err
		}
		if found {
			all[r.Name()] = r
		}
	}
	return all, nil
}

// write puts the Record in the place of the one that r was read as, if that is still there. A lost answer is settled by reading it back.
func (r *Record) write(ctx context.Context, s lake.Store, state string) error {
	next := *r
	next.V, next.State, next.At = version, state, time.Now().UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(&next, "", " ")
	if err != nil {
		return err
	}
	key := recordKey(r.Name())
	cond := lake.Condition{IfAbsent: true}
	if r.object.Version != "" {
		cond = lake.Condition{IfVersion: r.object.Version}
	}
	next.object, err = s.Put(ctx, key, bytes.NewReader(text), cond)
	if err != nil {
		now, found, again := read(ctx, s, key)
		if again != nil || !found || now.State != next.State || !now.At.Equal(next.At) || now.Layout != next.Layout {
			return fmt.Errorf("writing %s: %w", key, errors.Join(err, again))
		}
		next = now
	}
	*r = next
	return nil
}
