package land

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
	"headwater/kafka"
)

const (
	// partitionQueue is how much of one Kafka partition may wait for its writer before no more of it is fetched.
	partitionQueue = 2 << 20
	// allQueues is how much of all of them may wait before nothing is fetched.
	allQueues = 32 << 20
	// fetchBytes and fetchPartitionBytes are how much one fetch brings, of all and of one Kafka partition, if a batch is no larger.
	fetchBytes, fetchPartitionBytes = 4 << 20, 128 << 10
)

// session is one Run: a member of the consumer group and the Kafka partitions it has been given.
type session struct {
	*Lander
	cl      *kgo.Client
	ready   chan struct{} // closed when cl is set
	spool   *spool
	ends    map[string]map[int32]int64 // RunTo's; nil for Run
	writers sync.WaitGroup
	room    chan struct{} // there may be room in the queues again
	sending chan struct{} // holds one element while a dead letter is sent
	sent    bool          // the last one was; the sender's

	mu       sync.Mutex // guards what follows
	parts    map[topicPartition]*partition
	queued   int64
	restarts []restart
	wakePoll context.CancelFunc
}

// restart is a Kafka partition whose writer has ended and is to begin again.
type restart struct {
	old   *partition
	start start
}

func (s *session) clientOptions(work context.Context) []kgo.Opt {
	opts := append(s.group(),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, fetched map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return s.assigned(ctx, work, fetched)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { s.drain(s.take(gone)) }),
		// For dead letters, which are sent at least once: an idempotent producer would not give one up that may be on its way, and a stop would
		// wait for the broker.
		kgo.DisableIdempotentWrite(),
		kgo.ProducerLinger(0),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { s.abandon(s.take(gone)) }),
	)
	return append(opts, s.opts.clientOptions...)
}

// assigned starts the writers of Kafka partitions that this member was given, and says where to read them from.
func (s *session) assigned(ctx, work context.Context, fetched map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	wanted := map[string][]int32{}
	for topic, partitions := range fetched {
		for p := range partitions {
			wanted[topic] = append(wanted[topic], p)
		}
	}
	<-s.ready // the client asks from the moment it is made, which may be before it is returned
	// A rebalance may have ended an earlier call for the same Kafka partitions before they were read.
	s.abandon(s.take(wanted))
	starts, err := s.startsRetrying(ctx, nil, wanted)
	if err != nil {
		return nil, err
	}
	for topic, partitions := range wanted {
		for _, p := range partitions {
			tp := topicPartition{topic, p}
			s.cl.ResumeFetchPartitions(tp.set())
			s.begin(work, tp, starts[tp], nil)
			fetched[topic][p] = kgo.NewOffset().At(starts[tp].offset)
		}
	}
	return fetched, nil
}

// startsRetrying asks until Kafka answers or ctx ends; p may be nil.
func (s *session) startsRetrying(ctx context.Context, p *partition, wanted map[string][]int32) (map[topicPartition]start, error) {
	wait := retry.Backoff{Max: 5 * time.Second}
	for {
		starts, err := s.starts(ctx, s.cl, wanted)
		if err == nil || ctx.Err() != nil {
			return starts, err
		}
		s.note(p, err)
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return nil, err
		}
	}
}

// begin starts a writer; after, if not nil, is the one of the same Kafka partition that has ended with an error.
func (s *session) begin(work context.Context, tp topicPartition, from start, after *partition) {
	ctx, cancel := context.WithCancel(work)
	p := newPartition(s, tp, from)
	p.cancel = cancel
	if after != nil {
		p.wait, p.fails = after.wait, after.fails
		if after.from.log == from.log { // a disk that is full all night would have them sent with each try
			p.sentTo = after.sentTo
		}
	}
	if s.ends != nil {
		p.end = s.ends[tp.topic][tp.partition]
	}
	s.mu.Lock()
	s.parts[tp] = p
	s.mu.Unlock()
	s.writers.Go(func() {
		defer close(p.done)
		defer cancel()
		s.ended(ctx, p, p.run(ctx))
	})
}

// ended decides what becomes of a Kafka partition whose writer has returned.
func (s *session) ended(ctx context.Context, p *partition, err error) {
	s.cl.PauseFetchPartitions(p.set())
	s.count(-p.queue.close())
	if err == nil || ctx.Err() != nil || errors.Is(err, errLetGo) {
		p.report(func(st *PartitionStatus) { st.OpenObjects, st.Assigned = 0, false })
		return
	}
	if retry.Classify(err) == retry.Permanent {
		p.report(func(st *PartitionStatus) { st.OpenObjects, st.Stopped, st.LastError = 0, true, err.Error() })
		s.opts.Logger.Error("landing of a Kafka partition has stopped; the others go on", "topic", p.topic, "partition", p.partition, "err", err)
		s.wake()
		return
	}
	s.note(p, err)
	p.report(func(st *PartitionStatus) { st.OpenObjects = 0 })
	p.fails++
	if s.ends != nil && (p.fails == onceTries || errors.Is(err, errGaveUp)) {
		p.gaveUp.Store(true)
		s.wake()
		return
	}
	ctx, cancel := p.untilLetGo(ctx)
	defer cancel()
	if retry.Wait(ctx, p.wait.Next()) != nil {
		return
	}
	starts, err := s.startsRetrying(ctx, p, p.set())
	if err != nil {
		return // ctx has ended
	}
	s.mu.Lock()
	s.restarts = append(s.restarts, restart{p, starts[p.topicPartition]})
	s.mu.Unlock()
	s.wake()
}

// poll hands what is fetched to the writers until ctx ends or every end offset is reached.
func (s *session) poll(ctx, work context.Context) error {
	var checked time.Time
	for ctx.Err() == nil {
		pollCtx, cancel := s.pollContext(ctx)
		fetches := s.cl.PollFetches(pollCtx)
		cancel()
		if err := s.dispatch(fetches); err != nil {
			return err
		}
		if len(fetches) > 0 { // only then is a rebalance held off, which may not come between
			s.restart(work)
		}
		s.cl.AllowRebalance()
		if s.ends != nil && time.Since(checked) > checkEvery {
			done, err := s.reached(ctx)
			if done || err != nil {
				return err
			}
			checked = time.Now()
		}
		s.awaitRoom(ctx)
	}
	if s.ends != nil {
		return fmt.Errorf("landing up to the end offsets: %w", context.Cause(ctx))
	}
	return nil
}

const checkEvery = 50 * time.Millisecond

// pollContext ends with ctx, when a writer wants attention, and in RunTo every now and then.
func (s *session) pollContext(ctx context.Context) (context.Context, context.CancelFunc) {
	often := 2 * checkEvery
	if s.ends == nil {
		often = time.Hour // nothing depends on it
	}
	ctx, cancel := context.WithTimeout(ctx, often)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakePoll = cancel
	if len(s.restarts) > 0 {
		cancel()
	}
	return ctx, cancel
}

func (s *session) wake() {
	s.mu.Lock()
	if s.wakePoll != nil {
		s.wakePoll()
	}
	s.mu.Unlock()
	s.signalRoom()
}

// dispatch hands out what was fetched. Its error is final: this member is none any more.
func (s *session) dispatch(fetches kgo.Fetches) error {
	for _, f := range fetches.Errors() {
		if errors.Is(f.Err, context.Canceled) || errors.Is(f.Err, context.DeadlineExceeded) || errors.Is(f.Err, kgo.ErrClientClosed) {
			continue
		}
		if errors.Is(f.Err, kerr.FencedInstanceID) {
			return retry.Stop(fmt.Errorf("landing as member %s of group %s: another process has come with the same kafka.instance_id, and has taken this one's place. Give each process a name of its own", s.opts.Kafka.InstanceID, s.opts.Group))
		}
		p := s.part(topicPartition{f.Topic, f.Partition})
		if p == nil {
			s.note(nil, fmt.Errorf("reading from Kafka: %w", f.Err))
			continue
		}
		p.queue.fail(fmt.Errorf("reading topic %s partition %d from Kafka: %w", f.Topic, f.Partition, f.Err))
	}
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := s.part(topicPartition{f.Topic, f.Partition})
		if p == nil || len(f.Records) == 0 {
			return // it was taken away since
		}
		p.report(func(st *PartitionStatus) { st.End = max(st.End, f.LastStableOffset, f.HighWatermark) })
		bytes, full := p.queue.push(f.Records)
		s.count(bytes)
		if full || p.blocked.Load() {
			s.cl.PauseFetchPartitions(p.set())
			p.queue.pause()
		}
	})
	return nil
}

// restart begins the Kafka partitions again whose writers asked for it. No rebalance can happen meanwhile.
func (s *session) restart(work context.Context) {
	s.mu.Lock()
	all := s.restarts
	s.restarts = nil
	s.mu.Unlock()
	for _, r := range all {
		if s.part(r.old.topicPartition) != r.old {
			continue // taken away since
		}
		s.begin(work, r.old.topicPartition, r.start, r.old)
		s.cl.SetOffsets(map[string]map[int32]kgo.EpochOffset{
			r.old.topic: {r.old.partition: {Epoch: -1, Offset: r.start.offset}},
		})
		s.cl.ResumeFetchPartitions(r.old.set())
	}
}

// awaitRoom waits while too much is fetched and not yet written.
func (s *session) awaitRoom(ctx context.Context) {
	for {
		s.mu.Lock()
		full := s.queued > allQueues && len(s.restarts) == 0
		s.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.room:
		}
	}
}

func (s *session) count(bytes int64) {
	s.mu.Lock()
	s.queued += bytes
	s.mu.Unlock()
	if bytes < 0 {
		s.signalRoom()
	}
}

func (s *session) signalRoom() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

func (s *session) part(tp topicPartition) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[tp]
}

// take removes Kafka partitions from the session.
func (s *session) take(gone map[string][]int32) (taken []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range gone {
		for _, n := range partitions {
			tp := topicPartition{topic, n}
			if p := s.parts[tp]; p != nil {
				taken = append(taken, p)
				delete(s.parts, tp)
			}
		}
	}
	return taken
}

// all are the Kafka partitions of the session. They stay in it: a rebalance that takes one away waits for its writer, whoever lets go of it.
func (s *session) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.parts))
}

// drain lets writers close and commit what they have, and abandons those that take too long.
func (s *session) drain(parts []*partition) {
	for _, p := range parts {
		p.letGoOnce.Do(func() { close(p.letGo) })
	}
	deadline := time.NewTimer(drainTime)
	defer deadline.Stop()
	for _, p := range parts {
		select {
		case <-p.done:
			continue
		case <-deadline.C:
			s.opts.Logger.Warn("open objects could not be closed in time; their records will be read again from Kafka", "after", drainTime)
		}
		break
	}
	s.abandon(parts)
}

// abandon ends writers without another write and waits for them.
func (s *session) abandon(parts []*partition) {
	for _, p := range parts {
		p.cancel()
	}
	for _, p := range parts {
		<-p.done
	}
}

// reached says whether RunTo is done. A Kafka partition that another member has is done when its commit says so.
func (s *session) reached(ctx context.Context) (bool, error) {
	var stopped []error
	permanent := true
	others := map[string][]int32{}
	for topic, partitions := range s.ends {
		for n, end := range partitions {
			p := s.part(topicPartition{topic, n})
			switch {
			case end <= 0:
			case p == nil:
				others[topic] = append(others[topic], n)
			case p.finished.Load():
			case p.stopped(), p.gaveUp.Load():
				permanent = permanent && !p.gaveUp.Load()
				stopped = append(stopped, fmt.Errorf("topic %s partition %d: %s", topic, n, s.statusOf(p.topicPartition).LastError))
			default:
				return false, nil
			}
		}
	}
	if len(others) > 0 {
		done, gone, err := s.reachedByOthers(ctx, others)
		if err != nil && ctx.Err() == nil && err.Error() != s.Status().LastError {
			s.note(nil, err)
		}
		if err != nil || !done {
			return false, nil // asked again soon
		}
		stopped = append(stopped, gone...)
	}
	if len(stopped) == 0 {
		return true, nil
	}
	err := fmt.Errorf("landing up to the end offsets: %w", errors.Join(stopped...))
	if permanent {
		err = retry.Stop(err)
	}
	return true, err
}

// reachedByOthers says whether Kafka partitions that this member did not have a moment ago are committed, or gone.
func (s *session) reachedByOthers(ctx context.Context, others map[string][]int32) (done bool, gone []error, err error) {
	committed, err := kafka.CommittedOffsets(ctx, s.cl, s.opts.Group)
	if err != nil {
		return false, nil, err
	}
	first, err := kafka.StartOffsets(ctx, s.cl, slices.Collect(maps.Keys(others))...)
	if err != nil {
		return false, nil, err
	}
	for topic, partitions := range others {
		for _, n := range partitions {
			end := s.ends[topic][n]
			start, exists := first[topic][n]
			switch {
			case committed[topic][n] >= end:
			case s.part(topicPartition{topic, n}) != nil:
				return false, nil, nil // it was given to this member meanwhile, which has all of it before it
			case !exists:
				gone = append(gone, fmt.Errorf("topic %s partition %d: it is no longer in Kafka, and of its records before offset %d only those before %d were committed as landed", topic, n, end, committed[topic][n]))
			case start < end:
				return false, nil, nil
			}
		}
	}
	return true, gone, nil
}
