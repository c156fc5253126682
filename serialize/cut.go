package serialize

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"sync/atomic"

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
	// workerBytes is about what a worker takes for the records that it is at, as the batch's columns and as text.
	workerBytes = 4 * batchBytes
)

// cut is what a pass makes of records beside their evidence: columns, in the files of the tables. Workers cut objects into batches, each object
// by one of them; the batches are written in the order of the objects, while the next are being cut.
type cut struct {
	layout
	encoder *encoder
	queues  []chan *batch
	free    chan *batch
	waiting *waiting
	// usual is how much room the first full batch needed.
	usual atomic.Pointer[rooms]
	// stopped is closed when a record does not fit the layout. What is left is read for its evidence alone.
	stopped chan struct{}
	once    sync.Once
}

// write cuts the records into l, in a pass that puts together the files of the tables. They are complete unless it found misfits.
func (r *run) write(ctx context.Context, l layout) (*scanned, error) {
	outputs, err := r.begin(l)
	if err != nil {
		return nil, err
	}
	e, err := newEncoder(outputs, r.Config.workers(), int64(r.Config.RowGroupBytes), r.Config.share())
	if err != nil {
		return nil, err
	}
	c := &cut{
		layout: l, encoder: e, queues: make([]chan *batch, len(r.inputs)), free: make(chan *batch, r.Config.workers()*(queued+2)),
		waiting: newWaiting(r.Config.share()), stopped: make(chan struct{}),
	}
	for i := range c.queues {
		c.queues[i] = make(chan *batch, queued)
	}
	p := &pass{run: r, cut: c}
	if err := p.read(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx, &p.scanned); err != nil {
		return nil, err
	}
	if p.misfit = p.misfit || !reflect.DeepEqual(p.layout, l); p.misfit { // with the hints, which schema.Equal does not look at
		r.discard()
		return &p.scanned, nil
	}
	for _, o := range []*output{r.raw, r.flat} {
		o.footer.Rows, o.footer.Quarantined = p.rows, p.quarantined
		if r.head != nil {
			o.footer.SchemaVersion = r.head.Number
		}
	}
	for _, o := range outputs {
		if n := o.file.Rows(); n != p.rows {
			return nil, fmt.Errorf("%d rows of %s were written, but there are %d records to write; nothing is published", n, o.name, p.rows)
		}
		if err := o.file.finish(o.footer.Metadata()); err != nil {
			return nil, fmt.Errorf("writing the file of %s: %w", o.name, err)
		}
		if err := o.file.check(); err != nil {
			return nil, fmt.Errorf("reading the file of %s back: %w", o.name, err)
		}
	}
	return &p.scanned, nil
}

// begin opens the files of the tables that are to be written.
func (r *run) begin(l layout) (outputs []*output, err error) {
	if err := r.plan(l); err != nil {
		return nil, err
	}
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
func (c *cut) drain(ctx context.Context) error {
	for at, queue := range c.queues {
		c.waiting.turn(at)
		for {
			b, err := c.receive(ctx, queue)
			if err != nil || c.isStopped() {
				return err
			}
			if b == nil {
				break
			}
			if err := c.encoder.add(ctx, b); err != nil {
				return err
			}
			c.waiting.leave(b.waits)
			c.recycle(b)
		}
	}
	return c.encoder.endGroup(ctx)
}

func (b *batch) full() bool {
	return b.bytes >= batchBytes || b.levels >= batchLevels || b.rows >= batchRows
}

// giant: one record is larger than batches are.
func (b *batch) giant() bool { return b.bytes > 2*batchBytes || b.levels > 2*batchLevels }

// recycle keeps b for another use, but not the room that a giant record took.
func (c *cut) recycle(b *batch) {
	if b.giant() {
		return
	}
	b.clear()
	select {
	case c.free <- b:
	default:
	}
}

// receive is the next batch, nil at the end of the object.
func (c *cut) receive(ctx context.Context, queue chan *batch) (*batch, error) {
	select {
	case b := <-queue:
		return b, nil
	case <-c.stopped:
		return nil, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *cut) isStopped() bool {
	select {
	case <-c.stopped:
		return true
	default:
		return false
	}
}

// batch is an empty one for so many leaves.
func (c *cut) batch(leaves int) *batch {
	select {
	case b := <-c.free:
		return b
	default:
		if usual := c.usual.Load(); usual != nil {
			return newBatch(*usual)
		}
		return newBatch(make(rooms, leaves))
	}
}

// handOn gives the worker's batch to the writer if it is full, or, if the object is done, whatever it has. After a record that does not fit,
// whoever met it, the worker cuts no more.
func (c *cut) handOn(ctx context.Context, w *inferrer, at int, done bool) error {
	if w.misfit {
		c.once.Do(func() {
			close(c.stopped)
			c.waiting.end()
		})
		w.cutNoMore()
		return nil
	}
	if !done && !w.cut.out.full() {
		return nil
	}
	b := w.cut.finish()
	if b.full() && !b.giant() && c.usual.Load() == nil {
		usual := b.rooms()
		c.usual.Store(&usual)
	}
	b.waits = b.memory()
	c.waiting.enter(ctx, at, b.waits)
	select {
	case c.queues[at] <- b:
		w.cut.out = c.batch(len(w.cut.leaves))
		if done {
			close(c.queues[at])
		}
	case <-c.stopped:
		w.cutNoMore()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// waiting bounds what the batches that wait for the writer take in memory, however many objects are cut before the one that the writer is at.
type waiting struct {
	mu      sync.Mutex
	changed sync.Cond
	most    int
	// bytes are those of the batches that wait, at is the object that the writer is at: batches of it are let in at any time, or the writer would wait for ever.
	bytes, at int
	ended     bool
}

func newWaiting(most int) *waiting {
	w := &waiting{most: most}
	w.changed.L = &w.mu
	return w
}

// enter returns when there is room for so many bytes of an object, or none is needed any more: the context or the cutting has ended.
func (w *waiting) enter(ctx context.Context, object, bytes int) {
	defer context.AfterFunc(ctx, w.end)()
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.ended && w.at != object && w.bytes+bytes > w.most {
		w.changed.Wait()
	}
	w.bytes += bytes
}

// leave gives back what enter took.
func (w *waiting) leave(bytes int) { w.change(func() { w.bytes -= bytes }) }

// turn says which object the writer is at.
func (w *waiting) turn(object int) { w.change(func() { w.at = object }) }

// end lets everyone in.
func (w *waiting) end() { w.change(func() { w.ended = true }) }

func (w *waiting) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	w.changed.Broadcast()
}

// tempParquet is a Parquet file that has no name, so that nothing is left of it when the process dies.
type tempParquet struct {
	*parquet.File
	f      *os.File
	buffer *bufio.Writer
}

// nameless is a new file in the folder, of which nothing is left when it is closed or the process dies.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "headwater-serialize-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func newTempParquet(dir string, o *output) (*tempParquet, error) {
	f, err := nameless(dir)
	if err != nil {
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
