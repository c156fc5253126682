package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/retry"
)

// ErrClosed is what happens to records that a SourceLog had not sent when it was closed.
var ErrClosed = errors.New("the source's log was closed")

// ErrFenced is what happens to records of a process from which another one has taken the source.
var ErrFenced = errors.New("another process has taken the source")

// transactionTimeout is how long what a process has begun keeps readers waiting after it is gone, unless the source is opened again before.
const transactionTimeout = 30 * time.Second

// markerTime is about what a broker needs to write a transaction's markers after it has answered. A transaction that begins before they are
// written is held for a multiple of 20 ms (the broker's add.partitions.to.txn.retry.backoff.ms): waiting less is faster.
const markerTime = 4 * time.Millisecond

// closeGrace is how long Close waits for the answer to requests that are on their way.
const closeGrace = 15 * time.Second

// reading lets few sources read their cursors back at a time: a thousand that start together make each other's connections
// time out.
var reading = make(chan struct{}, 8)

// SourceLog is a source's topic, to be written by one process at a time. Its methods may be called from several
// goroutines.
type SourceLog struct {
	cl         *kgo.Client
	cfg        Config
	source     string // the cursor's key
	backfill   bool   // the cursor is that of a backfill
	topic      string
	id         string
	partitions int32
	inflight   inflight
	// handing is closed while the client is given a batch: it may be at work still, and would send the first part of it alone. Were that refused
	// before the client has the rest, it would take the rest for something new, and send it.
	handing gate

	mu      sync.Mutex
	queue   []*pending
	records int
	bytes   int64
	room    chan struct{} // closed when records or bytes go down; nil while nobody waits for that
	number  int64         // of the last snapshot
	failure error         // why nothing more is sent
	acked   Offsets       // the last acknowledged offset, by topic and Kafka partition, where batches are transactions

	// known are run's, the topics of which the client has had an answer. What it is given before waits in it until it has learnt of the topic, and then
	// becomes a batch record by record behind the gate's back: the first record of a topic goes alone.
	known map[string]bool

	rest    time.Time // run's: before it, the broker is still busy with the last transaction
	wake    chan struct{}
	closing chan struct{} // closed by Close
	stopped chan struct{} // closed by run
	once    sync.Once
	closed  error
}

// pending is a record between Append and its done.
type pending struct {
	record kgo.Record
	// headers are the record's.
	headers [1]kgo.RecordHeader
	size    int64
	err     error // why it is not even tried
	done    func(offset int64, err error)
}

func newPending(r kgo.Record, header kgo.RecordHeader, size int, done func(offset int64, err error)) *pending {
	e := &pending{record: r, headers: [1]kgo.RecordHeader{header}, size: int64(size), done: done}
	e.record.Headers = e.headers[:]
	return e
}

// OpenSource takes the topic for a source and reads the source's cursor back: the last snapshot in CursorTopic, which is created if
// it does not exist, and the records of the topic after the snapshot's offsets. The topic must exist. Records without a position are
// not ours and are passed over. What cannot be a topic that only this source fills is a permanent error that names the place.
// The caller closes the SourceLog; there must not be another one of the same source.
func OpenSource(ctx context.Context, cfg Config, source, topic string, log *slog.Logger) (*SourceLog, envelope.Cursor, error) {
	return openLog(ctx, cfg, source, false, topic, log)
}

// OpenBackfill is OpenSource for what fills the topic beside its source, without touching that source's cursor: it has a cursor of its own, with its
// own streams, which is found again by name. Name must be no source's.
func OpenBackfill(ctx context.Context, cfg Config, name, topic string, log *slog.Logger) (*SourceLog, envelope.Cursor, error) {
	return openLog(ctx, cfg, name, true, topic, log)
}

func openLog(ctx context.Context, cfg Config, source string, backfill bool, topic string, log *slog.Logger) (*SourceLog, envelope.Cursor, error) {
	l := &SourceLog{
		cfg: cfg, source: source, backfill: backfill, topic: topic,
		known: map[string]bool{}, wake: make(chan struct{}, 1), closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	dial, err := cfg.dialer()
	if err != nil {
		return nil, envelope.Cursor{}, err
	}
	options := []kgo.Opt{
		Logged(log), kgo.Dialer(l.handing.dial(abrupt(dial))), kgo.WithHooks(&l.inflight),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		// Flush alone sends, so that the client can never send a record that it was given after another one failed.
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(cfg.MaxBufferedRecords + 1000),
		// A producer that finds its records lost would number the rest anew and send them.
		kgo.StopProducerOnDataLossDetected(),
	}
	if cfg.Shared {
		options = append(options, kgo.TransactionalID("headwater."+cfg.TransactionalIDPrefix+source), kgo.TransactionTimeout(transactionTimeout),
			kgo.ConcurrentTransactionsBackoff(2*time.Millisecond))
	}
	l.cl, err = NewClient(cfg, options...)
	if err != nil {
		return nil, envelope.Cursor{}, err
	}
	cursor, err := l.open(ctx, log)
	if err != nil {
		l.cl.Close()
		return nil, envelope.Cursor{}, fmt.Errorf("opening the log of source %s: %w", source, err)
	}
	go l.run()
	if backfill && l.number == 0 {
		// It says where its records begin, so that they cannot leave the topic unnoticed.
		if err := l.Snapshot(ctx, cursor); err != nil {
			return nil, envelope.Cursor{}, errors.Join(err, l.Close())
		}
	}
	return l, cursor, nil
}

// ReadCursor reads the cursor of a source as OpenSource does, and takes the topic from nobody: a source that runs may be beyond it already.
func ReadCursor(ctx context.Context, cfg Config, source, topic string, log *slog.Logger) (envelope.Cursor, error) {
	cfg.Shared = false // nobody is to be shut out
	cl, err := NewClient(cfg, Logged(log))
	if err != nil {
		return envelope.Cursor{}, err
	}
	defer cl.Close()
	l := &SourceLog{cl: cl, cfg: cfg, source: source, topic: topic}
	c, err := l.open(ctx, log)
	if err != nil {
		return c, fmt.Errorf("reading the cursor of source %s: %w", source, err)
	}
	return c, nil
}

func (l *SourceLog) open(ctx context.Context, log *slog.Logger) (envelope.Cursor, error) {
	none := envelope.Cursor{}
	cursors := TopicSpec{Name: CursorTopic, Partitions: 1, Configs: map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "max.message.bytes": fmt.Sprint(int64(l.cfg.MaxRecordBytes) + 1<<20),
	}}
	if err := EnsureTopics(ctx, l.cl, []TopicSpec{cursors}); err != nil {
		return none, err
	}
	found, err := describe(ctx, l.cl, []string{l.topic})
	if err != nil {
		return none, err
	}
	detail, exists := found[l.topic]
	if !exists {
		return none, fmt.Errorf("topic %s does not exist: create it, or let Headwater do it", l.topic)
	}
	l.partitions, l.id = detail.partitions, encodeID(detail.id)
	if l.cfg.Shared {
		// This shuts out whoever had the source, and returns when what that process had begun is committed or undone. Only then is the log
		// read: nothing can follow what is read.
		if _, _, err := l.cl.ProducerID(ctx); err != nil {
			return none, fmt.Errorf("taking the source from other processes: %w", err)
		}
	}
	begins, err := StartOffsets(ctx, l.cl, l.topic, CursorTopic)
	if err != nil {
		return none, err
	}
	ends, err := EndOffsets(ctx, l.cl, l.topic, CursorTopic)
	if err != nil {
		return none, err
	}
	return l.cursor(ctx, begins, ends, log)
}

func (l *SourceLog) cursor(ctx context.Context, begins, ends Offsets, log *slog.Logger) (envelope.Cursor, error) {
	cursor := envelope.Cursor{Source: l.source, Streams: map[string]envelope.StreamCursor{}, Offsets: map[int32]int64{}}
	select {
	case reading <- struct{}{}:
		defer func() { <-reading }()
	case <-ctx.Done():
		return cursor, context.Cause(ctx)
	}
	found, err := readSnapshots(ctx, l.cl, begins[CursorTopic], ends[CursorTopic], l.source)
	if err != nil {
		return cursor, err
	}
	sameLog, sure := true, false
	if all := found[l.source]; all != nil {
		l.number = all.number
		if s := all.last; s != nil {
			if cursor, err = s.cursor(l.topic); err != nil {
				return cursor, err
			}
			sameLog, sure = s.log == "" || s.log == l.id || len(cursor.Offsets) == 0, s.log == l.id
		}
	}
	if l.backfill && found[l.source] == nil {
		cursor.Offsets = maps.Clone(ends[l.topic])
		return cursor, nil
	}
	r := replay{topic: l.topic, of: l.cursorName(), kept: l.cfg.Kept, cursor: &cursor, cut: map[int32]bool{}, seen: map[string]bool{}}
	from, err := r.start(begins[l.topic], ends[l.topic], sameLog, sure, log)
	if err != nil {
		return cursor, err
	}
	if err := read(ctx, l.cl, l.topic, from, ends[l.topic], r.add); err != nil {
		return cursor, err
	}
	cursor.Offsets = maps.Clone(ends[l.topic])
	return cursor, nil
}

// cursorName is what positions call the cursor.
func (l *SourceLog) cursorName() string {
	if l.backfill {
		return l.source
	}
	return ""
}

// Partitions is the number of Kafka partitions of the topic when it was opened.
func (l *SourceLog) Partitions() int32 { return l.partitions }

// Append hands over a record and blocks while the buffers are full. done is called once, from another goroutine, in the
// order of the records of a Kafka partition; it must not block for long, nor call Append. After a failure, which a ctx that ends while
// Append blocks is too, every later record fails, whatever its Kafka partition.
func (l *SourceLog) Append(ctx context.Context, r envelope.Record, done func(offset int64, err error)) {
	r.Position.Cursor = l.cursorName()
	position := r.Position.Append(make([]byte, 0, r.Position.Size()))
	e := newPending(kgo.Record{Topic: l.topic, Partition: r.Partition, Value: r.Value, Timestamp: r.Time},
		kgo.RecordHeader{Key: envelope.PositionHeader, Value: position}, len(position)+len(r.Value)+100, done)
	switch {
	case r.Partition < 0 || r.Partition >= l.partitions:
		e.err = retry.Stop(fmt.Errorf("producing to topic %s: it has no Kafka partition %d", l.topic, r.Partition))
	case int64(len(r.Value)) > int64(l.cfg.MaxRecordBytes):
		e.err = retry.Stop(fmt.Errorf("producing to topic %s: stream %q number %d has %d bytes, more than kafka.max_record_bytes allows", l.topic, r.Position.Stream, r.Position.Seq, len(r.Value)))
	}
	l.put(ctx, e, true)
}

// snapshotPart is how long, before compression, a part of a snapshot gets.
const snapshotPart = 4 << 20

// Snapshot writes the cursor and returns when the broker has all of it. Its failure is not one of the log.
func (l *SourceLog) Snapshot(ctx context.Context, c envelope.Cursor) error {
	c.Source = l.source
	parts := c.Encode(l.topic, min(snapshotPart, int(l.cfg.MaxRecordBytes)/2))
	s := snapshot{log: l.id, parts: make([]*kgo.Record, len(parts))}
	l.mu.Lock()
	l.number++
	s.number = l.number
	l.mu.Unlock()
	results := make(chan error, len(parts))
	for i, value := range parts {
		l.put(ctx, newPending(kgo.Record{Topic: CursorTopic, Key: []byte(l.source), Value: value},
			kgo.RecordHeader{Key: snapshotHeader, Value: s.header(i)}, len(value), func(_ int64, err error) { results <- err }), false)
	}
	for range parts {
		select {
		case err := <-results:
			if err != nil {
				return fmt.Errorf("writing the cursor of source %s (%d streams in %d parts) to topic %s: %w", l.source, len(c.Streams), len(parts), CursorTopic, err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// put queues e, after waiting for room if it may.
func (l *SourceLog) put(ctx context.Context, e *pending, wait bool) {
	l.mu.Lock()
	for wait && e.err == nil && l.failure == nil && l.full(e) {
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			e.err = context.Cause(ctx)
		}
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	select {
	case <-l.stopped: // nobody empties the queue any more
		go e.done(-1, ErrClosed)
		return
	default:
	}
	l.queue = append(l.queue, e)
	l.records++
	l.bytes += e.size
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *SourceLog) full(e *pending) bool {
	return l.records > 0 && (l.records >= l.cfg.MaxBufferedRecords || l.bytes+e.size > int64(l.cfg.MaxBufferedBytes))
}

// finish takes e off the buffers and tells its owner.
func (l *SourceLog) finish(e *pending, offset int64, err error) {
	l.mu.Lock()
	if err != nil && e.record.Topic == l.topic && l.failure == nil {
		l.failure = err
	}
	l.records--
	l.bytes -= e.size
	if l.room != nil {
		close(l.room)
		l.room = nil
	}
	l.mu.Unlock()
	e.done(offset, err)
}

// run sends what is queued, one batch of each Kafka partition at a time, until Close.
func (l *SourceLog) run() {
	for {
		select {
		case <-l.wake:
			l.linger()
		case <-l.closing:
			l.drop()
			return
		}
		for {
			time.Sleep(time.Until(l.rest))
			batch, why := l.take()
			if len(batch) == 0 {
				break
			}
			l.send(batch, why)
			clear(batch) // the queue's array would keep the records alive
		}
	}
}

func (l *SourceLog) linger() {
	if l.cfg.Linger <= 0 {
		return
	}
	timer := time.NewTimer(l.cfg.Linger)
	defer timer.Stop()
	for {
		l.mu.Lock()
		enough := l.bytes >= int64(l.cfg.BatchBytes) || l.records >= l.cfg.MaxBufferedRecords
		l.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-timer.C:
			return
		case <-l.wake:
		case <-l.closing:
			return
		}
	}
}

// take cuts the longest part off the queue that is one batch of each Kafka partition. If why is not nil it must fail for that reason.
func (l *SourceLog) take() (batch []*pending, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	why = l.failure
	select {
	case <-l.closing:
		why = ErrClosed
	default:
	}
	sizes := map[int32]int64{}
	n := 0
	for ; n < len(l.queue); n++ {
		e := l.queue[n]
		if why == nil && e.err != nil {
			if n > 0 {
				break
			}
			why = e.err
		}
		if why == nil && n > 0 && !(l.known[e.record.Topic] && l.known[l.queue[0].record.Topic]) {
			break
		}
		p := e.record.Partition
		if e.record.Topic == CursorTopic {
			p = -1
		}
		if why == nil && sizes[p] > 0 && sizes[p]+e.size > int64(l.cfg.BatchBytes) {
			break
		}
		sizes[p] += e.size
	}
	batch = l.queue[:n:n]
	l.queue = l.queue[n:]
	return batch, why
}

// send returns when every record of the batch has its answer. Invariant 1: nothing follows a record that failed, because what follows
// is still in the queue.
func (l *SourceLog) send(batch []*pending, why error) {
	if why != nil {
		for _, e := range batch {
			l.finish(e, -1, why)
		}
		return
	}
	defer func() { l.known[batch[0].record.Topic] = true }()
	if l.cfg.Shared {
		l.transact(batch)
		return
	}
	var answers sync.WaitGroup
	answers.Add(len(batch))
	l.handing.closed.Lock()
	for _, e := range batch {
		// A context that ends would let the client give up a record of which nobody knows whether the broker has it.
		l.cl.Produce(context.Background(), &e.record, func(r *kgo.Record, err error) {
			defer answers.Done()
			if err != nil {
				l.finish(e, -1, l.explain(r, err))
				return
			}
			l.finish(e, r.Offset, nil)
		})
	}
	l.handing.closed.Unlock()
	_ = l.cl.Flush(context.Background()) // the answers have the errors
	answers.Wait()
}

// transact is send in a transaction: all of the batch is there for readers, or nothing of it.
func (l *SourceLog) transact(batch []*pending) {
	ctx := context.Background() // as in send
	offsets, errs := make([]int64, len(batch)), make([]error, len(batch))
	err := l.cl.BeginTransaction()
	if err == nil {
		var answers sync.WaitGroup
		answers.Add(len(batch))
		l.handing.closed.Lock()
		for i, e := range batch {
			l.cl.Produce(ctx, &e.record, func(r *kgo.Record, err error) {
				defer answers.Done()
				if offsets[i] = r.Offset; err != nil {
					errs[i] = l.explain(r, err)
				}
			})
		}
		l.handing.closed.Unlock()
		_ = l.cl.Flush(ctx) // the answers have the errors
		answers.Wait()
		// The first is the cause of the others.
		if err = firstError(errs); err == nil {
			// An error leaves open whether it is committed; the next one who opens the source finds out.
			err = l.cl.EndTransaction(ctx, kgo.TryCommit)
		} else {
			_ = l.cl.EndTransaction(ctx, kgo.TryAbort) // or the next one who opens the source, or the time-out
		}
	}
	l.rest = time.Now().Add(markerTime)
	switch {
	case errors.Is(err, kgo.ErrClientClosed):
		err = ErrClosed
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidProducerIDMapping):
		err = fmt.Errorf("%w: %w", ErrFenced, err)
	}
	for i, e := range batch {
		if err != nil {
			offsets[i] = -1
		} else {
			l.note(e.record.Topic, e.record.Partition, offsets[i])
		}
		l.finish(e, offsets[i], err)
	}
}

func (l *SourceLog) note(topic string, partition int32, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked[topic] == nil {
		if l.acked == nil {
			l.acked = Offsets{}
		}
		l.acked[topic] = map[int32]int64{}
	}
	l.acked[topic][partition] = offset
}

// visible waits until readers see what was acknowledged: a transaction is committed for good when its answer comes, and for readers
// when the marker after it is written, which is a moment later.
func (l *SourceLog) visible(ctx context.Context) error {
	var wait retry.Backoff
	for topic, acked := range l.acked { // run has ended: nobody writes it
		for {
			ends, err := EndOffsets(ctx, l.cl, topic)
			if err != nil {
				return err
			}
			behind := false
			for p, offset := range acked {
				behind = behind || ends[topic][p] <= offset
			}
			if !behind {
				break
			}
			if err := retry.Wait(ctx, min(wait.Next(), 50*time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *SourceLog) explain(r *kgo.Record, err error) error {
	if errors.Is(err, kgo.ErrClientClosed) {
		return ErrClosed
	}
	return fmt.Errorf("producing %d bytes to topic %s partition %d: %w", len(r.Value), r.Topic, r.Partition, err)
}

// drop fails what is queued and lets no more in.
func (l *SourceLog) drop() {
	for {
		l.mu.Lock()
		rest := l.queue
		l.queue = nil
		if len(rest) == 0 {
			close(l.stopped)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, e := range rest {
			l.finish(e, -1, ErrClosed)
		}
	}
}

// Close fails what is queued and waits for the answer to what is on its way, so that no request of this log takes effect after it
// returns. A broker that holds a connection open and answers nothing is given up on after a while; the error says so. Closing again
// gives the same result.
func (l *SourceLog) Close() error {
	l.once.Do(func() {
		close(l.closing)
		inTime := l.inflight.await(l.stopped, closeGrace)
		select {
		case <-l.stopped:
			ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
			_ = l.visible(ctx) // readers that look now miss the last moments; nothing is lost
			cancel()
		default:
		}
		l.cl.Close()
		<-l.stopped
		if !inTime {
			l.closed = fmt.Errorf("closing the log of source %s: Kafka did not answer for %s: a last batch may still appear in topic %s", l.source, closeGrace, l.topic)
		}
	})
	return l.closed
}
