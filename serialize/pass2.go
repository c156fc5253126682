package serialize

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"headwater/envelope"
	"headwater/schema"
	"headwater/serialize/parquet"
	"headwater/table"
)

const (
	// A batch ends with the record that reaches one of these, or with its object. They bound what a goroutine holds, and
	// are part of what makes equal input equal bytes.
	batchBytes  = 4 << 20
	batchLevels = 4 << 20
	batchRows   = 8192
	// queued is how many batches of an object wait for the writer.
	queued = 2
)

// write is the second pass. Workers cut objects into batches, each object by one of them; the batches are written in the
// order of the objects, while the next are being cut.
func (r *run) write(ctx context.Context, s *scanned) (lone int64, err error) {
	outputs, err := r.begin()
	if err != nil {
		return 0, err
	}
	e, err := newEncoder(outputs, r.Config.workers(), int64(r.Config.RowGroupBytes))
	if err != nil {
		return 0, err
	}
	queues := make([]chan *batch, len(r.inputs))
	for i := range queues {
		queues[i] = make(chan *batch, queued)
	}
	workers := min(r.Config.workers(), len(r.inputs))
	free := make(chan *batch, workers*(queued+2))
	var next, total atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			cut := newCutter(s, r.reading(), free)
			defer func() { total.Add(cut.lone) }()
			for {
				at := int(next.Add(1)) - 1
				if at >= len(r.inputs) {
					return nil
				}
				if err := r.cutObject(gctx, cut, at, s, queues[at]); err != nil {
					return err
				}
			}
		})
	}
	g.Go(func() error { return e.drain(gctx, queues, free) })
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for _, o := range outputs {
		if n := o.file.Rows(); n != s.rows {
			return 0, fmt.Errorf("%d rows of %s were written, but there are %d records to write; nothing is published", n, o.name, s.rows)
		}
		if err := o.file.finish(o.footer.Metadata()); err != nil {
			return 0, fmt.Errorf("writing the file of %s: %w", o.name, err)
		}
		if err := o.file.check(); err != nil {
			return 0, fmt.Errorf("reading the file of %s back: %w", o.name, err)
		}
	}
	return total.Load(), nil
}

// begin opens the files of the tables that are to be written.
func (r *run) begin() (outputs []*output, err error) {
	for _, o := range []*output{r.raw, r.flat} {
		if o.upToDate() && !r.job.Full {
			continue
		}
		if o.file, err = newTempParquet(r.Temp, o); err != nil {
			r.discard()
			return nil, fmt.Errorf("beginning the file of %s: %w", o.name, err)
		}
		outputs = append(outputs, o)
	}
	return outputs, nil
}

// drain encodes the batches in order.
func (e *encoder) drain(ctx context.Context, queues []chan *batch, free chan *batch) error {
	for _, queue := range queues {
		for {
			b, err := receive(ctx, queue)
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			if err := e.add(ctx, b); err != nil {
				return err
			}
			recycle(b, free)
		}
	}
	return e.endGroup(ctx)
}

func (b *batch) full() bool {
	return b.bytes >= batchBytes || b.levels >= batchLevels || b.rows >= batchRows
}

// recycle keeps b for another use, but not the room that a giant record took.
func recycle(b *batch, free chan<- *batch) {
	if b.bytes > 2*batchBytes || b.levels > 2*batchLevels {
		return
	}
	b.clear()
	select {
	case free <- b:
	default:
	}
}

// receive is the next batch, nil at the end of the object.
func receive(ctx context.Context, queue chan *batch) (*batch, error) {
	select {
	case b := <-queue:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// cutter is one worker's part of the second pass.
type cutter struct {
	shredder
	free chan *batch
}

func newCutter(s *scanned, how reading, free chan *batch) *cutter {
	root, leaves := newColumn(s.record)
	w := shredder{reading: how, root: root, leaves: leaves, scan: newScanner()}
	if how.Unit != "" {
		w.stamp = root.fields[root.names.find([]byte(envelope.KeyTimestamp), -1)]
		w.leaves = append(w.leaves, leafInfo{kind: schema.Timestamp})
	}
	return &cutter{free: free, shredder: w}
}

func (c *cutter) begin() {
	select {
	case c.out = <-c.free:
	default:
		c.out = &batch{leaves: make([]leaf, len(c.leaves))}
	}
}

// cutObject turns an object into batches and closes its queue.
func (r *run) cutObject(ctx context.Context, c *cutter, at int, s *scanned, queue chan<- *batch) error {
	in, bad := r.inputs[at], s.objects[at].bad
	c.begin()
	for l, err := range r.lines(ctx, in) {
		if err != nil {
			return err
		}
		if len(bad) > 0 && bad[0].number == l.number {
			bad = bad[1:]
			continue
		}
		if err := c.record(l.text); err != nil {
			return fmt.Errorf("reading %s, line %d, again: %w", in.Key, l.number, err)
		}
		if c.out.full() {
			if err := send(ctx, queue, c.finish()); err != nil {
				return err
			}
			c.begin()
		}
	}
	if err := send(ctx, queue, c.finish()); err != nil {
		return err
	}
	close(queue)
	return nil
}

func send(ctx context.Context, queue chan<- *batch, b *batch) error {
	select {
	case queue <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tempParquet is a Parquet file that has no name, so that nothing is left of it when the process dies.
type tempParquet struct {
	*parquet.File
	f      *os.File
	buffer *bufio.Writer
}

func newTempParquet(dir string, o *output) (*tempParquet, error) {
	f, err := os.CreateTemp(dir, "headwater-serialize-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	t := &tempParquet{f: f, buffer: bufio.NewWriterSize(f, 1<<20)}
	if t.File, err = parquet.NewFile(t.buffer, o.footer.Schema); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *tempParquet) finish(metadata [][2]string) error {
	if err := t.File.Close(metadata); err != nil {
		return err
	}
	return t.buffer.Flush()
}

// check reads the footer as the next run will. A table partition with a footer that is too long could never be replaced.
func (t *tempParquet) check() error {
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	if _, _, err := table.FooterOf(t.f, info.Size()); errors.Is(err, table.ErrNotParquet) {
		return dataError("%w: too many or too long keys; %s", err, adviceOnKeys)
	} else if err != nil {
		return err
	}
	return nil
}

// reader is the whole file, from its beginning.
func (t *tempParquet) reader() (io.ReadSeeker, error) {
	_, err := t.f.Seek(0, io.SeekStart)
	return t.f, err
}

func (t *tempParquet) discard() { _ = t.f.Close() }
