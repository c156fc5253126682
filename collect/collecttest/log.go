package collecttest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"headwater/collect"
	"headwater/envelope"
)

// Stored is a record as a Log keeps it.
type Stored struct {
	envelope.Record
	Offset int64
}

// Log is a source's topic in memory, with faults. Its Open is a collect.OpenLog; the records outlive the Logs it gives out, as those
// of a broker outlive its clients. It acknowledges from a goroutine of its own, which ends with Close, and it finds fault with
// what a Runner must not do; see Faults.
//
// The fields are set before the first Open; the faults that Fail and Lose ask for may be set at any time.
type Log struct {
	// Kafka partitions of the topic; 0 means 1.
	PartitionCount int32
	// Buffer is how many records may be unacknowledged before Append blocks; 0 means 100.
	Buffer int

	mu        sync.Mutex
	records   [][]Stored // by Kafka partition
	next      map[string]int64
	place     map[string]int32
	snapshot  envelope.Cursor
	snapshots int
	appends   int // over all clients
	failAt    int
	loseAt    int
	held      chan struct{} // closed when acknowledgements may go out; nil when they always may
	faults    []string
	holder    *client
}

// ErrInjected is the error of the faults that a test asked for.
var ErrInjected = errors.New("injected fault")

// Fail makes the nth append from now on, counted from 1, fail without effect, and every later one of its client; 0 takes it back.
func (l *Log) Fail(n int) { l.arm(&l.failAt, n) }

// Lose makes the nth append from now on take effect and seem to fail, as when the broker's reply is lost.
func (l *Log) Lose(n int) { l.arm(&l.loseAt, n) }

func (l *Log) arm(at *int, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*at = 0
	if n > 0 {
		*at = l.appends + n
	}
}

// Hold keeps acknowledgements back, though records take effect, until the function it returns is called.
func (l *Log) Hold() (release func()) {
	held := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.held = nil
		close(held)
	})
}

// Records are those in the topic, by Kafka partition and offset.
func (l *Log) Records() []Stored {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Concat(l.records...)
}

// Snapshots is how many cursors were written, and the last of them.
func (l *Log) Snapshots() (int, envelope.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshots, copyCursor(l.snapshot)
}

// Faults are the rules of collect.Log and of its invariants that were broken; a test fails when there are any.
func (l *Log) Faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.faults)
}

// Open is a collect.OpenLog. Only one Log may be open at a time.
func (l *Log) Open(ctx context.Context) (collect.Log, envelope.Cursor, error) {
	if ctx.Err() != nil {
		return nil, envelope.Cursor{}, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records == nil {
		l.records = make([][]Stored, max(1, l.PartitionCount))
		l.next, l.place = map[string]int64{}, map[string]int32{}
	}
	if l.holder != nil {
		l.faultf("the topic was opened while another client held it")
	}
	c := &client{
		l:     l,
		slots: make(chan struct{}, l.buffer()), queue: make(chan pending, l.buffer()+1000), closed: make(chan struct{}),
	}
	c.wg.Go(c.acknowledge)
	l.holder = c
	return c, l.readBack(), nil
}

func (l *Log) buffer() int { return cmp.Or(l.Buffer, 100) }

// readBack is the cursor as the records and the last snapshot tell it.
func (l *Log) readBack() envelope.Cursor {
	c := copyCursor(l.snapshot)
	if c.Streams == nil {
		c.Streams = map[string]envelope.StreamCursor{}
	}
	if c.Offsets == nil {
		c.Offsets = map[int32]int64{}
	}
	for p, records := range l.records {
		for _, r := range records[c.Offsets[int32(p)]:] {
			s := c.Streams[r.Position.Stream]
			s.Partition, s.Done, s.Keys = int32(p), false, slices.Clip(s.Keys) // the snapshot has them too
			s.Pass(r.Position)
			c.Streams[r.Position.Stream] = s
		}
		c.Offsets[int32(p)] = int64(len(records))
	}
	return c
}

func copyCursor(c envelope.Cursor) envelope.Cursor {
	c.Streams, c.Offsets = maps.Clone(c.Streams), maps.Clone(c.Offsets)
	return c
}

func (l *Log) faultf(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// client is one opened Log.
type client struct {
	l      *Log
	slots  chan struct{} // one for each record that is not acknowledged
	queue  chan pending
	closed chan struct{}
	wg     sync.WaitGroup

	appending sync.Mutex // keeps the queue in the order of the offsets
	broken    error
}

type pending struct {
	offset int64
	err    error
	value  []byte
	copied []byte
	done   func(int64, error)
	slot   bool
}

func (c *client) Partitions() int32 { return max(1, c.l.PartitionCount) }

// Append implements collect.Log.
func (c *client) Append(ctx context.Context, r envelope.Record, done func(int64, error)) {
	p := pending{value: r.Value, copied: slices.Clone(r.Value), done: done}
	select {
	case c.slots <- struct{}{}:
		p.slot = true
	case <-ctx.Done():
		p.err = context.Cause(ctx)
	case <-c.closed:
	}
	c.appending.Lock()
	defer c.appending.Unlock()
	if c.isClosed() {
		go done(0, errClosed) // everything before it has been settled
		return
	}
	if p.err != nil {
		c.broken = p.err
	}
	p.offset, p.err = c.store(r, p.copied)
	c.queue <- p // has room for every slot, and for more refused appends than a test has goroutines
}

var errClosed = errors.New("the log was closed")

func (c *client) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// store gives the record its offset, or the fault that was asked for.
func (c *client) store(r envelope.Record, value []byte) (int64, error) {
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends++
	if l.appends == l.failAt {
		c.broken = ErrInjected
	}
	if c.broken != nil {
		return 0, c.broken
	}
	l.judge(r)
	r.Value, r.Position.Resume = value, slices.Clone(r.Position.Resume)
	offset := int64(len(l.records[r.Partition]))
	l.records[r.Partition] = append(l.records[r.Partition], Stored{Record: r, Offset: offset})
	if l.appends == l.loseAt {
		c.broken = ErrInjected
	}
	return offset, c.broken
}

// judge holds a record against the invariants of package collect.
func (l *Log) judge(r envelope.Record) {
	stream := r.Position.Stream
	if want := l.next[stream]; r.Position.Seq != want {
		l.faultf("stream %s: record %d came where %d was due", stream, r.Position.Seq, want)
	}
	l.next[stream] = r.Position.Seq + 1
	if p, known := l.place[stream]; known && p != r.Partition {
		l.faultf("stream %s: moved from Kafka partition %d to %d", stream, p, r.Partition)
	}
	l.place[stream] = r.Partition
}

// acknowledge calls every done in order.
func (c *client) acknowledge() {
	for {
		select {
		case p := <-c.queue:
			c.settle(p)
		case <-c.closed:
			for len(c.queue) > 0 {
				p := <-c.queue
				c.settle(p.dropped())
			}
			return
		}
	}
}

func (c *client) settle(p pending) {
	c.l.mu.Lock()
	held := c.l.held
	c.l.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-c.closed:
			p = p.dropped()
		}
	}
	if !slices.Equal(p.value, p.copied) {
		c.l.mu.Lock()
		c.l.faultf("the value of a record was changed before it was acknowledged")
		c.l.mu.Unlock()
	}
	p.done(p.offset, p.err)
	if p.slot {
		<-c.slots
	}
}

// dropped is p as Close settles it: its record may be in the topic, and nobody is told.
func (p pending) dropped() pending {
	p.err = errors.Join(p.err, errClosed)
	return p
}

// Snapshot implements collect.Log.
func (c *client) Snapshot(ctx context.Context, cur envelope.Cursor) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	for p, n := range cur.Offsets {
		if n > int64(len(c.l.records[p])) {
			c.l.faultf("a snapshot names offset %d of Kafka partition %d, which ends at %d", n, p, len(c.l.records[p]))
		}
	}
	for stream := range c.l.snapshot.Streams {
		if _, known := cur.Streams[stream]; !known { // forgotten: it may begin anew
			delete(c.l.next, stream)
			delete(c.l.place, stream)
		}
	}
	c.l.snapshot = copyCursor(cur)
	c.l.snapshots++
	return nil
}

// Close implements collect.Log.
func (c *client) Close() error {
	c.appending.Lock()
	close(c.closed)
	c.appending.Unlock()
	c.wg.Wait()
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.holder = nil
	return nil
}

// Quarantine is a collect.Quarantine in memory. The zero value is empty.
type Quarantine struct {
	mu   sync.Mutex
	kept map[string][]byte
	Err  error // what Keep returns, if not nil; set before use
}

// Keep implements collect.Quarantine.
func (q *Quarantine) Keep(_ context.Context, source string, at envelope.Position, _ string, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.Err != nil {
		return q.Err
	}
	if q.kept == nil {
		q.kept = map[string][]byte{}
	}
	for n := range len(q.kept) + 1 {
		name := fmt.Sprintf("%s/%s/%d%s", source, at.Stream, at.Seq, strings.Repeat("'", n))
		if before, taken := q.kept[name]; !taken || bytes.Equal(before, data) {
			q.kept[name] = slices.Clone(data)
			break
		}
	}
	return nil
}

// Kept are the items by "source/stream/seq", with a prime for a second item of the same number.
func (q *Quarantine) Kept() map[string][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.kept)
}
