package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"headwater/envelope"
	"headwater/internal/crash"
	"headwater/internal/retry"
)

// session is one stretch of work on one open Log: the Out that a Source emits to.
type session struct {
	r   *Runner
	log Log
	// append is log.Append with a context of the session's own: that of an Emit may end while it blocks, and an append given up
	// would fail every record behind it, those that a drain waits for among them.
	append func(r envelope.Record, done func(offset int64, err error))
	stop   context.CancelCauseFunc // ends the source's run, and the context of append
	soon   chan struct{}           // asks for a snapshot before its time

	buffers sync.Pool // of *[]byte, the values of acknowledged records

	snapshotting chan struct{} // full while a snapshot is written

	mu       sync.Mutex
	settled  sync.Cond // inFlight is 0 or err is set
	known    map[string]envelope.StreamCursor
	streams  map[string]*stream
	offsets  map[int32]int64
	load     []int // per Kafka partition, how many streams it has
	inFlight int
	changed  bool
	durable  []func() // of the marks that are in the cursor and in no snapshot
	err      error    // why no record is accepted any more
	time     readTime
}

// stream is what a session knows of one stream.
type stream struct {
	name  string
	acked envelope.StreamCursor
	next  int64 // the next record's seq
	marks []mark
}

// mark waits in its stream until the records before it are acknowledged.
type mark struct {
	next    int64 // the stream's next when the mark was made
	resume  json.RawMessage
	done    bool
	durable func()
}

// sent is a record on its way.
type sent struct {
	stream      *stream
	position    envelope.Position
	partition   int32
	value       *[]byte
	done        func()
	malformed   bool
	quarantined bool
	time        time.Time
	turn        int // that of readTime
}

func newSession(accept context.Context, r *Runner, log Log, c envelope.Cursor, stop context.CancelCauseFunc) (*session, error) {
	s := &session{
		r: r, log: log, stop: stop,
		append:       func(r envelope.Record, done func(int64, error)) { log.Append(accept, r, done) },
		soon:         make(chan struct{}, 1),
		snapshotting: make(chan struct{}, 1),
		known:        c.Streams,
		streams:      make(map[string]*stream, len(c.Streams)),
		offsets:      maps.Clone(c.Offsets),
		load:         make([]int, log.Partitions()),
		// What was read back may be further than the last snapshot, and trimming asks for one.
		changed: len(c.Offsets) > 0,
		time:    readTime{until: time.UnixMilli(c.ReadUntil), written: time.UnixMilli(c.ReadUntil)},
	}
	s.settled.L = &s.mu
	if s.offsets == nil {
		s.offsets = map[int32]int64{}
	}
	for name, at := range c.Streams {
		if int(at.Partition) >= len(s.load) {
			return nil, fmt.Errorf("stream %s of source %s lies on Kafka partition %d and the topic has %d: "+
				"give the topic back its partitions", name, r.o.Name, at.Partition, len(s.load))
		}
		at.Keys = slices.Clip(at.Keys) // the source was given them too
		s.streams[name] = &stream{name: name, acked: at, next: at.Seq + 1}
		if !at.Done {
			s.load[at.Partition]++
		}
	}
	return s, nil
}

// Streams implements Out.
func (s *session) Streams() map[string]envelope.StreamCursor {
	if s.known == nil {
		return map[string]envelope.StreamCursor{}
	}
	return maps.Clone(s.known)
}

// Emit implements Out. An Emit that blocks when the Runner is told to stop gets half of Config.Drain for its record.
func (s *session) Emit(ctx context.Context, it Item) error {
	if err := s.check(it.Stream, it.Resume); err != nil {
		return err
	}
	p, err := s.take(ctx, &it)
	if err != nil {
		return err
	}
	s.r.counts.lastItem.Store(p.time.UnixMilli())
	if err := guard(func() error { return s.encode(ctx, p, &it, p.time) }); err != nil {
		s.fail(err) // the sequence number is taken: a session cannot go on without its record
		s.leave(p)
		return err
	}
	crash.Point("collect.before-produce")
	rec := envelope.Record{Partition: p.partition, Position: p.position, Value: *p.value, Time: p.time}
	s.append(rec, func(offset int64, err error) { s.settle(p, offset, err) })
	return nil
}

// check keeps a position that could not be read back out of the topic.
func (s *session) check(stream string, resume json.RawMessage) error {
	if len(resume) == 0 || json.Valid(resume) {
		return nil
	}
	err := retry.Stop(fmt.Errorf("stream %s: the source gave %q as its position, which is not JSON; please report this", stream, resume))
	s.fail(err)
	return err
}

// take numbers the item.
func (s *session) take(ctx context.Context, it *Item) (*sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx); err != nil {
		return nil, err
	}
	st := s.stream(it.Stream)
	p := &sent{
		stream:    st,
		position:  envelope.Position{Stream: it.Stream, Seq: st.next, Resume: it.Resume, Key: it.Key, Keys: it.Keys},
		partition: st.acked.Partition,
		done:      it.Done,
		time:      time.Now(),
		turn:      s.time.turn,
	}
	st.next++
	s.inFlight++
	s.time.onTheWay[p.turn]++
	return p, nil
}

// refuse is why nothing more is accepted, or nil. mu is held.
func (s *session) refuse(ctx context.Context) error {
	if s.err != nil {
		return fmt.Errorf("emitting to the topic of source %s: %w", s.r.o.Name, s.err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// stream finds a stream; a new one goes to the Kafka partition that has the fewest. mu is held.
func (s *session) stream(name string) *stream {
	if st := s.streams[name]; st != nil {
		return st
	}
	p := slices.Index(s.load, slices.Min(s.load))
	s.load[p]++
	st := &stream{name: name, acked: envelope.StreamCursor{Seq: -1, Partition: int32(p)}}
	s.streams[name] = st
	return st
}

// encode wraps the item into p.value; an item too large for that is quarantined and its record says so.
func (s *session) encode(ctx context.Context, p *sent, it *Item, now time.Time) error {
	c := &s.r.o.Config
	md := s.r.o.Metadata
	md.Origin, md.Position, md.Headers = it.Origin, it.Position, it.Headers
	lim := envelope.Limits{Depth: c.MaxDepth, String: int(c.MaxString)}
	p.value, _ = s.buffers.Get().(*[]byte)
	if p.value == nil {
		p.value = new([]byte)
	}
	reason := tooLarge(c, it, lim)
	if reason == "" {
		var malformed string
		*p.value, malformed = envelope.Append((*p.value)[:0], it.Item, &md, now, lim)
		p.malformed = malformed != ""
		limit := c.MaxItem
		if p.malformed || it.Kind == envelope.Text || it.Kind == envelope.Bytes {
			limit = c.MaxRecord
		}
		if len(*p.value) > int(limit) {
			reason = fmt.Sprintf("too-large: the record would have %d bytes, the limit is %s", len(*p.value), limit)
		}
	}
	if reason == "" {
		return nil
	}
	p.malformed, p.quarantined = true, true
	own := ownBytes(&it.Item)
	err := s.r.o.Quarantine.Keep(ctx, s.r.o.Name, p.position, reason, own)
	if err != nil {
		return fmt.Errorf("quarantining an item of %d bytes from %s at %s: %w", len(own), it.Origin, it.Position, err)
	}
	crash.Point("collect.after-quarantine")
	*p.value, _ = envelope.Append((*p.value)[:0], standIn(own, reason), &md, now, lim)
	return nil
}

// tooLarge says of an item that cannot fit, without the cost of encoding it, why.
func tooLarge(c *Config, it *Item, lim envelope.Limits) string {
	limit := c.MaxItem
	if it.Kind == envelope.JSON && it.Malformed == "" && len(it.Data) > int(c.MaxRecord) {
		if _, err := envelope.Compact(nil, it.Data, lim); err != nil {
			limit = c.MaxRecord // it becomes a string, perhaps of six times its length
		}
	}
	if it.Malformed != "" || it.Kind == envelope.Text || it.Kind == envelope.Bytes {
		limit = c.MaxRecord // it becomes a string
	}
	if len(it.Data) > int(limit) {
		return fmt.Sprintf("too-large: the item has %d bytes, the limit is %s", len(it.Data), limit)
	}
	for i, v := range it.Values {
		if len(v) > int(c.MaxRecord) {
			return fmt.Sprintf("too-large: the field %s has %d bytes, the limit is %s", it.Names[i], len(v), c.MaxRecord)
		}
	}
	return ""
}

// standIn is the item that a quarantined item's record holds.
func standIn(own []byte, reason string) envelope.Item {
	sum := sha256.Sum256(own)
	data := append([]byte(nil), `{"reason":"too-large","length":`...)
	data = strconv.AppendInt(data, int64(len(own)), 10)
	data = append(data, `,"sha256":"`...)
	data = hex.AppendEncode(data, sum[:])
	return envelope.Item{Kind: envelope.JSON, Data: append(data, `"}`...), Malformed: reason}
}

// ownBytes are an item's bytes as its source read them; a row whose source does not give them becomes a JSON array of
// its names and one of its values, in base64 so that nothing is coerced.
func ownBytes(it *envelope.Item) []byte {
	if it.Kind != envelope.Fields || len(it.Data) > 0 {
		return it.Data
	}
	raw := func(in []string) [][]byte {
		out := make([][]byte, len(in))
		for i, v := range in {
			out[i] = []byte(v)
		}
		return out
	}
	b, err := json.Marshal(map[string][][]byte{"names_base64": raw(it.Names), "values_base64": raw(it.Values)})
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// settle takes the acknowledgement of a record, in the order of its Kafka partition.
func (s *session) settle(p *sent, offset int64, err error) {
	defer s.leave(p) // after Done, so that a drained session has called them all
	if err != nil {
		s.fail(fmt.Errorf("producing record %d of stream %s: %w", p.position.Seq, p.position.Stream, err))
		return // its buffer is left to the garbage collector, a request may still hold it
	}
	crash.Point("collect.after-produce")
	size := len(*p.value)
	if cap(*p.value) <= 1<<20 {
		s.buffers.Put(p.value)
	}
	s.acknowledge(p, offset)
	c := &s.r.counts
	c.records.Add(1)
	s.r.brought.Add(1)
	c.bytes.Add(int64(size))
	if p.malformed {
		c.malformed.Add(1)
	}
	if p.quarantined {
		c.quarantined.Add(1)
	}
	if p.done != nil {
		p.done() // Invariant 1: the broker has the record.
	}
}

// acknowledge moves the cursor past a record, and past the marks that were made after it.
func (s *session) acknowledge(p *sent, offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := p.stream
	st.acked.Pass(p.position)
	s.offsets[p.partition] = offset + 1
	s.changed = true
	for len(st.marks) > 0 && st.marks[0].next <= p.position.Seq+1 {
		m := st.marks[0]
		st.marks = st.marks[1:]
		s.apply(st, m)
	}
}

// leave counts a record as no longer on its way.
func (s *session) leave(p *sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight--
	s.time.onTheWay[p.turn]--
	if s.inFlight == 0 {
		s.settled.Broadcast()
	}
}

// Mark implements Out. A stream that is done and has no resume is forgotten: the cursor no longer names it.
func (s *session) Mark(ctx context.Context, name string, resume json.RawMessage, done bool, durable func()) error {
	if err := s.check(name, resume); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refuse(ctx); err != nil {
		return err
	}
	s.r.brought.Add(1)
	st := s.stream(name)
	m := mark{next: st.next, resume: resume, done: done, durable: durable}
	if st.acked.Seq+1 == st.next {
		s.apply(st, m)
	} else {
		st.marks = append(st.marks, m)
	}
	return nil
}

// apply puts a mark into the cursor. mu is held.
func (s *session) apply(st *stream, m mark) {
	if m.done && !st.acked.Done {
		s.load[st.acked.Partition]--
	}
	st.acked.Resume, st.acked.Done = m.resume, m.done
	if m.done && len(m.resume) == 0 && st.next == m.next && len(st.marks) == 0 {
		delete(s.streams, st.name) // forgotten: nothing of it is on its way
	}
	s.changed = true
	if m.durable == nil {
		return
	}
	s.durable = append(s.durable, m.durable)
	select {
	case s.soon <- struct{}{}:
	default:
	}
}

// fail ends the session: nothing more is accepted and the source's run is over. Only the first reason counts.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.stop(err)
	s.settled.Broadcast()
}

// Drain implements Out.
func (s *session) Drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.settled.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight > 0 && s.err == nil && ctx.Err() == nil {
		s.settled.Wait()
	}
	if s.err == nil && s.inFlight > 0 {
		return fmt.Errorf("%d records were not acknowledged within %s", s.inFlight, s.r.o.Config.Drain)
	}
	return s.err
}

// snapshots writes the cursor on time, and soon when a mark asks for it, until ctx ends.
func (s *session) snapshots(ctx context.Context) {
	tick := time.NewTicker(s.r.o.Config.SnapshotEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.soon:
		}
		if err := s.snapshot(ctx); err != nil && ctx.Err() == nil {
			s.fail(err)
			return
		}
	}
}

// snapshot writes the cursor if it changed, and tells those who wait for it.
func (s *session) snapshot(ctx context.Context) error {
	select {
	case s.snapshotting <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting to write the cursor of source %s: %w", s.r.o.Name, context.Cause(ctx))
	}
	defer func() { <-s.snapshotting }()
	c, durable, changed := s.cursor()
	if !changed {
		return nil
	}
	crash.Point("collect.before-snapshot")
	if err := s.log.Snapshot(ctx, c); err != nil {
		s.restore(durable)
		return fmt.Errorf("writing the cursor of source %s: %w", s.r.o.Name, err)
	}
	crash.Point("collect.after-snapshot")
	s.r.mu.Lock()
	s.r.snapshotted = c.Offsets
	s.r.mu.Unlock()
	for _, f := range durable {
		f()
	}
	return nil
}

// cursor copies what is acknowledged, and takes over those who wait for it to be durable.
func (s *session) cursor() (c envelope.Cursor, durable []func(), changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.changed {
		return c, nil, false
	}
	c = envelope.Cursor{
		Source:  s.r.o.Name,
		Streams: make(map[string]envelope.StreamCursor, len(s.streams)),
		Offsets: maps.Clone(s.offsets),
	}
	if s.r.o.DayEnd != nil {
		c.ReadUntil = max(0, s.time.until.UnixMilli())
	}
	for name, st := range s.streams {
		nothing := len(st.acked.Resume) == 0 && (st.acked.Done || st.acked.Seq < 0)
		if !nothing {
			c.Streams[name] = st.acked
		}
	}
	durable, s.durable, s.changed = s.durable, nil, false
	return c, durable, true
}

// restore undoes cursor for a snapshot that failed.
func (s *session) restore(durable []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable, s.changed = append(durable, s.durable...), true
}

func (s *session) size() (streams, inFlight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams), s.inFlight
}

var _ Out = (*session)(nil)
