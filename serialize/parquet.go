package serialize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"headwater/serialize/parquet"
)

// source says where a column of a file gets its values: from a leaf of the batch, whose definition levels are less
// by above in this file.
type source struct {
	leaf  int
	above uint8
	// micros makes a timestamp of a Long in milliseconds.
	micros bool
}

// encoded is a column of the files, or of one of them: what they have in common is encoded once.
type encoded struct {
	*parquet.Column
	source source
	places []parquet.Place
	name   string
}

// encoder encodes batches for all files that are to be written. The bytes do not depend on how many workers do it.
type encoder struct {
	outputs []*output
	columns []*encoded
	// chunks has the columns' chunks by file, in the order of the file's columns.
	chunks [][]*parquet.Chunk
	// A row group ends with the batch with which it has perGroup bytes of JSON text, or takes maxHeld of memory.
	perGroup int64
	maxHeld  int
	full     bool
	inGroup  int64
	rows     int64
	scratch  []parquet.Scratch
}

func newEncoder(outputs []*output, workers int, groupBytes int64, maxHeld int) (*encoder, error) {
	e := &encoder{outputs: outputs, perGroup: groupBytes, maxHeld: maxHeld, scratch: make([]parquet.Scratch, workers)}
	type key struct {
		leaf   int
		micros bool
	}
	known := map[key]*encoded{}
	for _, o := range outputs {
		leaves := o.file.Leaves()
		if len(leaves) != len(o.sources) {
			return nil, fmt.Errorf("the Parquet schema of %s has %d leaves for %d columns", o.name, len(leaves), len(o.sources))
		}
		for i, s := range o.sources {
			k := key{s.leaf, s.micros}
			c := known[k]
			if c == nil {
				c = &encoded{source: s, name: strings.Join(leaves[i].Path, ".")}
				known[k] = c
				e.columns = append(e.columns, c)
			}
			c.places = append(c.places, parquet.Place{Leaf: leaves[i], Above: s.above})
		}
	}
	for _, c := range e.columns {
		c.Column = parquet.NewColumn(c.places...)
	}
	next := map[*encoded]int{}
	for _, o := range outputs {
		var chunks []*parquet.Chunk
		for _, s := range o.sources {
			c := known[key{s.leaf, s.micros}]
			chunks = append(chunks, c.Chunks()[next[c]])
			next[c]++
		}
		e.chunks = append(e.chunks, chunks)
	}
	return e, nil
}

// each calls do for every column, by several goroutines, which have ended when it returns.
func (e *encoder) each(ctx context.Context, do func(c *encoded, s *parquet.Scratch) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for i := range e.scratch {
		g.Go(func() error {
			for {
				at := int(next.Add(1)) - 1
				if at >= len(e.columns) {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				c := e.columns[at]
				if err := do(c, &e.scratch[i]); errors.Is(err, parquet.ErrPage) {
					return dataError("column %s: %w; let record_bytes be less, so that such records go to quarantine", c.name, err)
				} else if err != nil {
					return fmt.Errorf("writing column %s: %w", c.name, err)
				}
			}
		})
	}
	return g.Wait()
}

// add encodes a batch.
func (e *encoder) add(ctx context.Context, b *batch) error {
	if b.rows == 0 {
		return nil
	}
	if e.full {
		if err := e.endGroup(ctx); err != nil {
			return err
		}
	}
	err := e.each(ctx, func(c *encoded, s *parquet.Scratch) error {
		values := b.leaves[c.source.leaf].Values
		if n := rowCount(&values); n != b.rows {
			return fmt.Errorf("%d rows of %d; report this as a fault of headwater", n, b.rows)
		}
		if c.source.micros {
			values.Longs = micros(values.Longs)
		}
		return c.Add(&values, s)
	})
	e.inGroup += int64(b.bytes)
	e.rows += int64(b.rows)
	held := 0
	for _, c := range e.columns {
		held += c.Held()
	}
	e.full = e.inGroup >= e.perGroup || held >= e.maxHeld
	return err
}

// endGroup writes the row group, if it has rows.
func (e *encoder) endGroup(ctx context.Context) error {
	if e.rows == 0 {
		return nil
	}
	if err := e.each(ctx, func(c *encoded, s *parquet.Scratch) error { return c.End(s) }); err != nil {
		return err
	}
	for i, o := range e.outputs {
		if err := o.file.RowGroup(e.rows, e.chunks[i]); err != nil {
			return fmt.Errorf("writing a row group of %s: %w", o.name, err)
		}
	}
	for _, c := range e.columns {
		c.Reset()
	}
	e.inGroup, e.rows, e.full = 0, 0, false
	return nil
}

// rowCount is how many rows the levels are of.
func rowCount(v *parquet.Values) int {
	if len(v.Rep) > 0 {
		return bytes.Count(v.Rep, []byte{0})
	}
	return v.Def.Len()
}

func micros(millis []int64) []int64 {
	out := make([]int64, len(millis))
	for i, ms := range millis {
		out[i] = ms * 1000
	}
	return out
}
