package land

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/envelope"
	"headwater/internal/crash"
	"headwater/internal/retry"
	"headwater/lake"
)

// errConflict: another writer has made other objects of the same records. Everything that is not committed is forgotten
// and read again, and what the other has written is then found.
var errConflict = errors.New("another writer has landed the same records")

// errThrownOut: others may have landed and committed since. The client does not always say so when it joins again: of the Kafka
// partitions that it is given again it says nothing.
var errThrownOut = errors.New("this member was thrown out of the group and has joined again")

// errGaveUp: RunTo has an end, and what might pass by itself has not passed in onceTries tries.
var errGaveUp = errors.New("giving up for now")

// onceTries are some ten seconds with the waits between them.
const onceTries = 8

// errLetGo: the Kafka partition was to be let go of while nothing of it was open.
var errLetGo = errors.New("the Kafka partition is let go of")

// partition writes the objects of one Kafka partition. All of it belongs to the goroutine of run, but for what the first
// group of fields is for.
type partition struct {
	*session
	topicPartition
	conf   Config             // the topic's
	cancel context.CancelFunc // ends run without another write
	letGo  chan struct{}      // closed: close and commit what is open, then end
	done   chan struct{}      // closed when run has ended
	// letGoOnce: the end of Run and a rebalance may both let go.
	letGoOnce sync.Once
	queue     queue
	blocked   atomic.Bool // the store does not answer: do not fetch more
	finished  atomic.Bool // the end offset of RunTo is reached and committed
	gaveUp    atomic.Bool // RunTo has tried often enough

	from      start
	end       int64 // RunTo's end offset; only records below it are landed
	cut       int64 // every record below it is in an object, open or put, or in quarantine
	committed int64
	hold      int64 // Invariant 5: the greatest end of an object that was found
	seq       int64 // numbers the records that were looked at
	rotation  rotation
	extractor extractor
	folders   folders
	scanner   *envelope.Scanner
	bare      bool     // the records are documents without an envelope
	byClock   bool     // Wallclock: what follows is for it
	folder    string   // of every record that is not committed; empty for none yet
	intent    intent   // in force in Kafka, or about to be
	dirs      []string // noted with the commit at which landing began
	line      []byte   // the record that is landed, without a line feed; a part of it, the scanner's or wrapped
	wrapped   []byte
	wait      retry.Backoff // between one run and the next, after errors
	fails     int           // runs that have ended with an error since the last commit
	sentTo    int64         // of the records below it the dead letters are sent

	objects []*openObject // in order of opening; some may be closed, but are not put yet
	open    map[string]*openObject

	coverages map[string]*coverage
	newest    map[string]foundObject // fresh start only
	elsewhere coverage               // in folders of an earlier configuration
}

func newPartition(s *session, tp topicPartition, from start) *partition {
	p := &partition{
		session: s, topicPartition: tp, conf: s.of(tp.topic).conf,
		letGo: make(chan struct{}), done: make(chan struct{}), queue: queue{ready: make(chan struct{}, 1)},
		from: from, end: -1, cut: from.offset, committed: from.committed,
		extractor: s.extractorOf(tp.topic),
		folders:   s.foldersOf(tp),
		open:      map[string]*openObject{}, coverages: map[string]*coverage{},
	}
	p.byClock, p.intent, p.folder = s.byClock(tp.topic), from.intent, from.intent.Path
	p.rotation = p.conf.rotation(p.folders.timed(), s.zone)
	limits := envelope.DefaultLimits
	if p.bare = s.declared.Shapes[tp.topic].Bare; !p.bare {
		limits.Depth++ // the limit is the item's, and the envelope is around it
	}
	p.scanner = envelope.NewScanner(limits, p.extractor.field...)
	p.report(func(st *PartitionStatus) {
		st.Assigned, st.Stopped, st.Position, st.Committed, st.End = true, false, from.offset, from.committed, from.end
		if from.lostTo > 0 {
			st.LostFrom, st.LostTo = from.lostFrom, from.lostTo
		}
	})
	return p
}

func (tp topicPartition) set() map[string][]int32 {
	return map[string][]int32{tp.topic: {tp.partition}}
}

func (p *partition) report(change func(*PartitionStatus)) { p.update(p.topicPartition, change) }

func (p *partition) stopped() bool { return p.statusOf(p.topicPartition).Stopped }

// run lands what is queued until letGo is closed or the end offset is reached, and then closes and commits what is open.
// An error forgets everything that is not committed.
func (p *partition) run(ctx context.Context) error {
	defer p.forget()
	if err := cmp.Or(p.notItself(p.topic), p.from.err); err != nil {
		return err
	}
	if lost := p.from.lost(); lost != "" {
		p.opts.Logger.Error("records were deleted from Kafka before they were landed; landing goes on behind them (on.lost.records)", "topic", p.topic, "partition", p.partition, "lost", lost)
		p.report(func(st *PartitionStatus) { st.LastError = lost })
	}
	if err := p.survey(ctx); err != nil {
		return err
	}
	p.rotation.start(time.Now())
	for {
		select {
		case <-p.letGo:
			return p.rotate(ctx)
		default:
		}
		if p.end >= 0 && p.cut >= p.end {
			return p.finish(ctx)
		}
		some, err := p.landQueued(ctx)
		if err != nil {
			return err
		}
		if !some {
			if err := p.sleep(ctx); err != nil {
				return err
			}
		}
	}
}

// landQueued lands what waits in the queue and rotates if the clock says so.
func (p *partition) landQueued(ctx context.Context) (some bool, err error) {
	records, freed, resume, err := p.queue.take()
	p.extractor.read = time.Now() // one time for all that was fetched, as the connector has it
	p.count(-freed)
	if resume {
		p.cl.ResumeFetchPartitions(p.set())
	}
	gone := errors.Is(err, kerr.OffsetOutOfRange)
	if err != nil && !gone {
		return false, err
	}
	for _, r := range records {
		if p.end >= 0 && r.Offset >= p.end {
			p.cut = max(p.cut, p.end) // what lies between was deleted or never a record
			break
		}
		if err := p.land(ctx, r); err != nil {
			return false, err
		}
		r.Recycle()
	}
	if gone {
		// Before it begins again: what is open may be gone from Kafka too.
		return false, errors.Join(err, p.rotate(ctx))
	}
	p.line = nil
	if cap(p.wrapped) > 2*memberText {
		p.wrapped = nil // one large record
	}
	if p.rotation.due(time.Now()) {
		err = p.rotate(ctx)
	}
	p.report(func(st *PartitionStatus) { st.Position, st.OpenObjects = p.cut, len(p.objects) })
	return len(records) > 0, err
}

// sleep waits for records, for the rotation's next look at the clock, or for the end.
func (p *partition) sleep(ctx context.Context) error {
	var clock <-chan time.Time
	if wake := p.rotation.wake(); !wake.IsZero() {
		t := time.NewTimer(time.Until(wake))
		defer t.Stop()
		clock = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.letGo:
	case <-p.queue.ready:
	case <-clock:
	}
	return nil
}

// land brings one record into an open object, or into quarantine, or finds that it is landed already.
func (p *partition) land(ctx context.Context, r *kgo.Record) error {
	if r.Offset < p.cut {
		return nil // a fetch may begin before the offset that was asked for
	}
	if r.Attrs.IsControl() {
		return p.passed(ctx, r)
	}
	if r.Value == nil && p.conf.BehaviorOnNullValues == "fail" {
		return p.failNull(ctx, r)
	}
	p.seq++
	path, millis, reason := p.read(r)
	if path == "" {
		return p.quarantine(ctx, r, reason)
	}
	var err error
	if p.byClock {
		if path, err = p.oneFolder(ctx, r.Offset, path); err != nil {
			return err
		}
	}
	c, err := p.covered(ctx, path)
	if err != nil {
		return err
	}
	if c.has(r.Offset) || p.elsewhere.has(r.Offset) {
		delete(p.open, path) // Invariant 3
		p.report(func(st *PartitionStatus) { st.Skipped++ })
		return p.passed(ctx, r)
	}
	if reason != "" {
		return p.quarantine(ctx, r, reason)
	}
	now := time.Now()
	oneMore := p.open[path] == nil && p.conf.MaxOpenFiles > 0 && len(p.objects) >= p.conf.MaxOpenFiles
	if p.rotation.before(millis, now) || oneMore {
		if err := p.rotate(ctx); err != nil {
			return err
		}
	}
	if err := p.write(path, r.Offset); err != nil {
		return err
	}
	p.cut = r.Offset + 1
	if p.rotation.wrote(millis, len(p.line)+1, now) {
		return p.rotate(ctx)
	}
	return nil
}

// passed counts a record that goes into no object of this run.
func (p *partition) passed(ctx context.Context, r *kgo.Record) error {
	p.cut = r.Offset + 1
	if p.rotation.skip(time.Now()) {
		return p.rotate(ctx)
	}
	return nil
}

// failNull stops the Kafka partition at a record, and closes what is open before it.
func (p *partition) failNull(ctx context.Context, r *kgo.Record) error {
	if err := p.rotate(ctx); err != nil {
		return err
	}
	return retry.Stop(fmt.Errorf("landing topic %s partition %d: the record at offset %d has a null value, and behavior.on.null.values is fail. "+
		"Write ignore, which has such records in quarantine, or see to it that none are produced and set the offset of group %s to %d", p.topic, p.partition, r.Offset, p.opts.Group, r.Offset+1))
}

// noJSON begins the reasons of records that are none.
const noJSON = "no JSON"

// read makes p.line from a record's value and finds its folder and time. A reason sends the record to quarantine, unless it
// landed while max.record.bytes was larger, which its folder can tell. The time is 0 where neither folder nor envelope needs one.
func (p *partition) read(r *kgo.Record) (path string, millis int64, reason string) {
	if r.Value == nil {
		return "", 0, "null value"
	}
	size := int64(len(r.Value))
	if p.bare {
		size = sizeOf(r) // all of it comes into the object
	}
	if size > int64(p.conf.MaxRecordBytes) {
		reason = "too large"
	}
	line, field, err := p.scanner.Scan(r.Value)
	if err != nil {
		if syntax, ok := errors.AsType[*envelope.SyntaxError](err); ok {
			return "", 0, cmp.Or(reason, noJSON+": "+syntax.Reason)
		}
		return "", 0, cmp.Or(reason, noJSON)
	}
	if p.folders.timed() || p.bare {
		if millis, err = p.extractor.millis(field, r.Timestamp); err != nil {
			return "", 0, cmp.Or(reason, "no time: "+err.Error())
		}
	}
	path, unplaced := p.folders.of(line, millis)
	if path == "" {
		return "", 0, cmp.Or(reason, unplaced)
	}
	if p.line = line; p.bare {
		p.line = p.wrap(r, line, millis)
	}
	return path, millis, reason
}

// wrap gives a document an envelope: what Kafka knows of it beside its bytes is nowhere else in the object.
func (p *partition) wrap(r *kgo.Record, document []byte, millis int64) []byte {
	m := envelope.Metadata{
		Source: p.opts.Source(r.Topic), Origin: r.Topic, Position: fmt.Sprintf("partition %d, offset %d", r.Partition, r.Offset), Key: r.Key, Headers: headersOf(r),
	}
	p.wrapped = envelope.Wrap(p.wrapped[:0], document, &m, time.UnixMilli(millis))
	return p.wrapped
}

func headersOf(r *kgo.Record) (all [][2]string) {
	for _, h := range r.Headers {
		all = append(all, [2]string{h.Key, string(h.Value)})
	}
	return all
}

func (p *partition) quarantine(ctx context.Context, r *kgo.Record, reason string) error {
	id := lake.LandIDGeneration(r.Topic, r.Partition, p.from.generation, r.Offset)
	day := r.Timestamp
	if ms := day.UnixMilli(); ms < firstMilli || ms > lastMilli {
		day = time.Unix(0, 0)
	}
	entry := lake.Entry{Reason: reason, Data: r.Value, Key: r.Key, Headers: headersOf(r), Record: &lake.RecordPosition{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}}
	err := p.insist(ctx, "quarantining "+id, func() error {
		return p.opts.Quarantine.Create(ctx, "land", p.opts.Source(r.Topic), day.In(p.zone).Format(time.DateOnly), id, lake.Entries(entry))
	})
	if err != nil {
		return err
	}
	if err := p.deadLetter(ctx, r, reason); err != nil {
		return err
	}
	p.report(func(st *PartitionStatus) { st.Quarantined++ })
	return p.passed(ctx, r)
}

// write adds p.line to the open object of its path.
func (p *partition) write(path string, offset int64) error {
	o := p.open[path]
	if o == nil {
		o = &openObject{path: path}
		p.open[path] = o
		p.objects = append(p.objects, o)
	}
	seq := p.seq
	if p.byClock {
		p.folder = path
		seq = o.seq + 1 // no record of another folder lies between, and one run has room in every tail
	}
	o.covers(offset, seq)
	o.bytes += int64(len(p.line) + 1)
	return p.spool.add(o, p.line)
}

// rotate closes every open object, puts them into the store in order of opening, and commits. An object that is put and
// not committed is found by whoever reads these records next.
func (p *partition) rotate(ctx context.Context) error {
	if err := p.announce(ctx); err != nil {
		return err
	}
	for i, o := range p.objects {
		if err := p.put(ctx, o); err != nil {
			return err
		}
		p.spool.drop(o)
		p.objects[i] = nil
		p.report(func(st *PartitionStatus) { st.Objects++; st.Records += o.count; st.Bytes += o.bytes })
	}
	p.objects = p.objects[:0]
	clear(p.open)
	p.rotation.rotated(time.Now())
	if p.cut < p.hold || p.cut == p.committed {
		return nil // Invariant 5
	}
	crash.Point("land.before-commit")
	if err := p.commitOffset(ctx, p.cut, nil); err != nil {
		return err
	}
	crash.Point("land.after-commit")
	p.wait.Reset()
	p.fails = 0
	return nil
}

func (p *partition) finish(ctx context.Context) error {
	if err := p.rotate(ctx); err != nil {
		return err
	}
	p.report(func(st *PartitionStatus) { st.Position = p.cut })
	p.finished.Store(true)
	p.wake()
	return nil
}

// put makes an object, once. Invariant 2.
func (p *partition) put(ctx context.Context, o *openObject) error {
	crash.Point("land.before-put")
	body, err := p.spool.seal(o, p.from.log)
	if err != nil {
		return err
	}
	defer body.Close()
	key := lake.RawKeyPadded(p.conf.TopicsDir, p.topic, o.path, p.partition, p.from.generation, o.first, p.conf.OffsetPadWidth)
	err = p.insist(ctx, "putting "+key, func() error {
		if _, err := body.Seek(0, 0); err != nil {
			return fmt.Errorf("reading the spool: %w", err)
		}
		err := p.putOnce(ctx, key, body, o)
		if errors.Is(err, lake.ErrExists) {
			return p.compare(ctx, key, o)
		}
		return err
	})
	if err != nil {
		return err
	}
	crash.Point("land.after-put")
	return nil
}

func (p *partition) putOnce(ctx context.Context, key string, body io.ReadSeeker, o *openObject) error {
	cond := lake.Condition{IfAbsent: true}
	if !p.conf.ObjectTagging {
		_, err := p.opts.Store.Put(ctx, key, body, cond)
		return err
	}
	_, err := p.opts.Store.(lake.Tagger).PutTagged(ctx, key, body, cond, map[string]string{
		"startOffset": strconv.FormatInt(o.first, 10), "endOffset": strconv.FormatInt(o.last, 10), "recordCount": strconv.FormatInt(o.count, 10),
	})
	return err
}

// compare looks at an object that exists where one was to be made. If it covers the same offsets it has the same
// records: it is our own, the reply to whose put was lost, or as good.
func (p *partition) compare(ctx context.Context, key string, o *openObject) error {
	t, found, err := lake.ReadTail(ctx, p.opts.Store, lake.Object{Key: key})
	if err != nil {
		return err
	}
	mine, _, err := lake.ParseTail(o.tail(p.from.log).Append(nil)) // as it is written: runs that do not fit are gone
	if err != nil {
		return err
	}
	same := found && t.Log == mine.Log && t.First == mine.First && t.Next == mine.Next && t.Count == mine.Count && slices.Equal(t.Runs, mine.Runs)
	if same {
		return nil
	}
	return fmt.Errorf("putting %s: %w", key, errConflict)
}

// commitOffset commits with the note of this configuration, until Kafka has it. dirs are for the note.
func (p *partition) commitOffset(ctx context.Context, offset int64, dirs []string) error {
	noted := p.noteOf(p.topic, p.from.log)
	noted.Dirs = dirs
	if p.from.generation > 1 {
		noted.Generation = p.from.generation
	}
	if offset < p.intent.Next {
		noted.Intent = &p.intent
	}
	note, err := json.Marshal(noted)
	if err != nil {
		return err
	}
	text := string(note)
	commitCtx := kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != p.from.member {
			return errThrownOut // Invariant 7
		}
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				req.Topics[i].Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	err = p.insist(ctx, "committing", func() error { return p.commitOnce(commitCtx, offset) })
	if err != nil {
		return err
	}
	p.committed = offset
	if offset >= p.intent.Next {
		p.intent, p.folder = intent{}, ""
	}
	p.report(func(st *PartitionStatus) { st.Committed, st.Position, st.OpenObjects = offset, p.cut, len(p.objects) })
	return nil
}

func (p *partition) commitOnce(ctx context.Context, offset int64) (failure error) {
	offsets := map[string]map[int32]kgo.EpochOffset{p.topic: {p.partition: {Epoch: -1, Offset: offset}}}
	p.cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failure = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, answer := range t.Partitions {
				failure = errors.Join(failure, kerr.ErrorForCode(answer.ErrorCode))
			}
		}
	})
	if failure != nil {
		return fmt.Errorf("committing offset %d of topic %s partition %d: %w", offset, p.topic, p.partition, failure)
	}
	return nil
}

// insist tries again for as long as an error may pass. Meanwhile nothing more of this Kafka partition is fetched, and
// the others go on.
func (p *partition) insist(ctx context.Context, what string, try func() error) error {
	var wait retry.Backoff
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			p.blocked.Store(false)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// A time-out that is not ours is the store's own and may pass.
		if errors.Is(err, errConflict) || errors.Is(err, errThrownOut) || retry.Classify(err) == retry.Permanent {
			return err
		}
		p.blocked.Store(true)
		p.note(p, fmt.Errorf("%s: %w", what, err))
		if p.ends != nil && n == onceTries {
			return fmt.Errorf("%s: %w: %w", what, errGaveUp, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.nothingToSave():
			return errLetGo
		case <-time.After(wait.Next()):
		}
	}
}

// untilLetGo is ctx until the Kafka partition is to be let go of.
func (p *partition) untilLetGo(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.letGo:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// nothingToSave ends a wait early when the Kafka partition is to be let go of and nothing is open.
func (p *partition) nothingToSave() <-chan struct{} {
	if len(p.objects) > 0 {
		return nil
	}
	return p.letGo
}

// forget drops what is open.
func (p *partition) forget() {
	for _, o := range p.objects {
		if o != nil {
			p.spool.drop(o)
		}
	}
	p.objects = nil
	clear(p.open)
}
