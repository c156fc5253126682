package kafka

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
)

const (
	// SourcesTopic holds no records: its Kafka partitions are what the processes that collect share among themselves.
	SourcesTopic = "headwater_sources"
	// shares is the number of its Kafka partitions, each with a part of the sources.
	shares = 64
	// letGo is how long a source may take to stop when another process gets it; then it is shut out all the same.
	letGo = 40 * time.Second
)

// Share runs the sources that are this process's until ctx ends. Processes that share the same names are members of one consumer group
// on SourcesTopic, and each has the sources of the Kafka partitions that it is assigned: one process at a time has a source, all are
// had by somebody, and who dies is replaced when its session ends (15 s). The group is made of the names, so that processes
// with other sources do not count.
//
// run must return soon after its context ends, and is called again when the source comes back. An error of its own that comes before
// ends Share with it.
func Share(ctx context.Context, cfg Config, names []string, log *slog.Logger, run func(ctx context.Context, name string) error) error {
	names = slices.Sorted(slices.Values(names))
	admin, err := NewClient(cfg, Logged(log))
	if err != nil {
		return err
	}
	err = EnsureTopics(ctx, admin, []TopicSpec{{Name: SourcesTopic, Partitions: shares}})
	admin.Close()
	if _, other := errors.AsType[*PartitionsError](err); err != nil && !other {
		return fmt.Errorf("sharing the sources: %w", err)
	}
	s := &sharing{names: names, log: log, run: run, running: map[int32]*share{}, failed: make(chan error, 1)}
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	// The sources outlive ctx by the time that they need to stop.
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer s.stop()
	cl, err := NewClient(cfg, append(cfg.Group("headwater-collect-"+hex.EncodeToString(sum[:6])),
		Logged(log),
		kgo.ConsumeTopics(SourcesTopic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.DisableAutoCommit(),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.RebalanceTimeout(letGo+20*time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, got map[string][]int32) { s.start(got[SourcesTopic]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { s.end(lost[SourcesTopic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { s.end(lost[SourcesTopic]) }),
	)...)
	if err != nil {
		return err
	}
	go func() { // the topic is empty; polling shows the group that this member is alive
		for ctx.Err() == nil {
			for _, f := range cl.PollFetches(ctx).Errors() {
				if errors.Is(f.Err, kerr.FencedInstanceID) {
					s.fail(retry.Stop(fmt.Errorf("sharing the sources as member %s: another process has come with the same kafka.instance_id, and has taken this one's place. Give each process a name of its own", cfg.InstanceID)))
				}
			}
		}
	}()
	select {
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-s.failed:
	}
	s.endAll()
	cl.Close() // after: until then the sources are ours
	return err
}

// sharing is what one process has.
type sharing struct {
	names  []string
	log    *slog.Logger
	run    func(context.Context, string) error
	ctx    context.Context
	stop   context.CancelFunc
	failed chan error

	mu      sync.Mutex
	running map[int32]*share
	over    bool
}

// share is a Kafka partition's sources while they run.
type share struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// shareOf is the Kafka partition that a source belongs to.
func shareOf(name string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int32(h.Sum32() % shares)
}

func (s *sharing) start(partitions []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range partitions {
		if s.over || s.running[p] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(s.ctx)
		part := &share{cancel: cancel}
		s.running[p] = part
		for _, name := range s.names {
			if shareOf(name) != p {
				continue
			}
			s.log.Info("collecting a source", "source", name)
			part.done.Go(func() {
				if err := s.run(ctx, name); err != nil && ctx.Err() == nil {
					s.fail(err)
				}
			})
		}
	}
}

// fail ends Share with an error; one is enough.
func (s *sharing) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// end stops the sources of the Kafka partitions, which others will have, and waits for them for a while.
func (s *sharing) end(partitions []int32) {
	s.mu.Lock()
	var parts []*share
	for _, p := range partitions {
		if part := s.running[p]; part != nil {
			part.cancel()
			parts = append(parts, part)
			delete(s.running, p)
		}
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		for _, part := range parts {
			part.done.Wait()
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(letGo):
		s.log.Warn("a source does not stop; the process that gets it shuts it out")
	}
}

func (s *sharing) endAll() {
	s.mu.Lock()
	s.over = true
	var all []int32
	for p := range s.running {
		all = append(all, p)
	}
	s.mu.Unlock()
	s.end(all)
}
