package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"headwater/lake"
)

// completeKey is the object that keeps a table's CompleteThrough, which no file of the table says.
func completeKey(n Name) string { return "_headwater/complete/" + n.String() + ".json" }

// complete is what the object holds.
type complete struct {
	V       int    `json:"v"`
	Through string `json:"complete_through"`
}

// CompleteThrough reads a table's from the tables store; it is the zero day if nothing is known.
func CompleteThrough(ctx context.Context, tables lake.Store, n Name) (Day, error) {
	d, _, err := readComplete(ctx, tables, n)
	return d, err
}

func readComplete(ctx context.Context, tables lake.Store, n Name) (Day, lake.Object, error) {
	body, o, err := tables.Get(ctx, completeKey(n), 0, -1)
	if errors.Is(err, lake.ErrNotExist) {
		return Day{}, lake.Object{}, nil
	}
	if err != nil {
		return Day{}, o, fmt.Errorf("reading until when %s is complete: %w", n, err)
	}
	text, err := io.ReadAll(body)
	err = errors.Join(err, body.Close())
	var c complete
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	d, derr := ParseDay(c.Through)
	if err = errors.Join(err, derr); err != nil {
		return Day{}, o, fmt.Errorf("reading %s (delete it, and it is made anew): %w", o.Key, err)
	}
	return d, o, nil
}

// Complete notes that a table is complete through a day, in the tables store and the catalog. It never takes a later day back, and does nothing
// for a table that there is not.
func Complete(ctx context.Context, tables lake.Store, c Catalog, n Name, d Day) error {
	t, err := c.Table(ctx, n)
	if errors.Is(err, ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if d, err = putComplete(ctx, tables, n, d); err != nil {
		return err
	}
	t.CompleteThrough = d
	return c.Ensure(ctx, t)
}

// putComplete gives the day that is there afterwards.
func putComplete(ctx context.Context, tables lake.Store, n Name, d Day) (Day, error) {
	text, err := json.Marshal(complete{1, d.String()})
	if err != nil {
		return d, err
	}
	for {
		was, o, err := readComplete(ctx, tables, n)
		if err != nil || o.Key != "" && was.Compare(d) >= 0 {
			return was, err
		}
		cond := lake.Condition{IfAbsent: true}
		if o.Key != "" {
			cond = lake.Condition{IfVersion: o.Version}
		}
		_, err = tables.Put(ctx, completeKey(n), bytes.NewReader(append(text, '\n')), cond)
		if errors.Is(err, lake.ErrExists) || errors.Is(err, lake.ErrChanged) {
			continue // another process was first
		}
		if err != nil {
			return d, fmt.Errorf("noting that %s is complete through %s: %w", n, d, err)
		}
		return d, nil
	}
}

// Uncomplete forgets what Complete has noted in the tables store, for a table that is dropped.
func Uncomplete(ctx context.Context, tables lake.Store, n Name) error {
	if err := tables.Delete(ctx, completeKey(n)); err != nil && !errors.Is(err, lake.ErrNotExist) {
		return err
	}
	return nil
}
