package land

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/lake"
	"headwater/lake/lakefault"
)

// byWallclock has a new folder every few milliseconds, so that a record that is read again has another one by the clock.
func byWallclock(o *Options) {
	o.Config.PathFormat, o.Config.PartitionDurationMs, o.Config.TimestampExtractor = "'at'=HHmmssSSS", 20, "Wallclock"
}

// noteAt is what is noted with the commit of a Kafka partition.
func (r *rig) noteAt(topic string, partition int32) (offset int64, note commitNote) {
	r.t.Helper()
	all, err := r.admin().FetchOffsets(context.Background(), DefaultGroup)
	if err != nil {
		r.t.Fatal(err)
	}
	c, found := all.Lookup(topic, partition)
	if !found {
		return -1, note
	}
	if err := json.Unmarshal([]byte(c.Metadata), &note); err != nil {
		r.t.Fatalf("%q: %v", c.Metadata, err)
	}
	return c.At, note
}

// TestWallclockAnyHistory: whatever the settings, faults, drops and rebalances, every record is landed once.
func TestWallclockAnyHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 2))
			r := newRig(t, 2, "a_raw", "b_raw")
			options := func(o *Options) {
				byWallclock(o)
				o.Config.FlushSize = 1 + random.IntN(60)
				o.Config.RotateIntervalMs = []int64{-1, 30, 1000}[random.IntN(3)]
				o.Config.FlushOnStop = random.IntN(2) == 0
				o.Store = lakefault.Random(r.store, random.Uint64(), 0.1)
			}
			for range 5 {
				for _, topic := range []string{"a_raw", "b_raw"} {
					r.produceMany(topic, int32(random.IntN(2)), random.IntN(150))
				}
				stop, other := r.start(r.lander(options)), r.start(r.lander(options))
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
				stop()
				other()
				if random.IntN(4) == 0 { // as a person would who has lost the group: what has landed is found in any folder
					r.setOffset("a_raw", 0, []int64{-1, 0}[random.IntN(2)])
				}
			}
			r.land(byWallclock)
			r.exactlyOnce()
		})
	}
}

// TestWallclockMoved changes to Wallclock and away from it between a rotation's first object and its commit.
func TestWallclockMoved(t *testing.T) {
	t.Parallel()
	for name, other := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			sized := func(layout func(*Options), n int) func(*Options) {
				return func(o *Options) { layout(o); o.Config.FlushSize, o.Config.RotateIntervalMs = n, -1 }
			}
			r.produceMany("a_raw", 0, 65)
			for _, settings := range []func(*Options){sized(other, 20), sized(byWallclock, 7), sized(other, 9), sized(byWallclock, 20)} {
				store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
				stop := r.start(r.lander(func(o *Options) { settings(o); o.Store, o.Config.FlushOnStop = store, false }))
				eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
				stop()
			}
			r.land(sized(byWallclock, 11))
			r.exactlyOnce()
		})
	}
}

// TestWallclockHoles: what is in quarantine lies between the records of an object, which says of all of them what it covers, and
// a lost commit stops nothing.
func TestWallclockHoles(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	for n := range 200 {
		r.produce("a_raw", 0, at(fmt.Sprint(2*n), "2026-07-05T10:00:00"), "no JSON")
	}
	settings := func(o *Options) { byWallclock(o); o.Config.PartitionDurationMs = 3_600_000 }
	r.land(settings)
	r.setOffset("a_raw", 0, -1)
	if s := r.land(settings).Status().Partitions[0]; s.Records != 0 || s.Skipped != 200 || s.Committed != 400 {
		t.Errorf("%+v", s)
	}
}

// slowStore puts what it is given after release is closed, whatever has become of its caller meanwhile, as a paused machine does.
type slowStore struct {
	lake.Store
	reached chan struct{}
	release chan struct{}
	passed  atomic.Bool
}

func newSlowStore(store lake.Store) *slowStore {
	return &slowStore{Store: store, reached: make(chan struct{}), release: make(chan struct{})}
}

func (s *slowStore) Put(ctx context.Context, key string, body io.ReadSeeker, c lake.Condition) (lake.Object, error) {
	if s.passed.Swap(true) {
		return s.Store.Put(ctx, key, body, c)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return lake.Object{}, err
	}
	close(s.reached)
	<-s.release
	return s.Store.Put(context.WithoutCancel(ctx), key, bytes.NewReader(data), c)
}

// kick has the group's coordinator forget a member, as it does when it has not heard of it for long.
func (r *rig) kick(instance string) {
	r.t.Helper()
	if _, err := r.admin().LeaveGroup(context.Background(), kadm.LeaveGroup(DefaultGroup).InstanceIDs(instance)); err != nil {
		r.t.Fatal(err)
	}
}

// TestWallclockZombie: a writer that was thrown out of the group puts its object late, while another lands the same records.
func TestWallclockZombie(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"the zombie puts first", "the other puts first", "the other goes on and dies"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			r.produceMany("a_raw", 0, 50)
			slow := newSlowStore(r.store)
			stop := r.start(r.lander(func(o *Options) {
				byWallclock(o)
				o.Config.FlushSize, o.Store = 50, slow
				o.clientOptions = append(o.clientOptions, kgo.InstanceID("zombie"))
			}))
			<-slow.reached
			if _, note := r.noteAt("a_raw", 0); note.Intent == nil || note.Intent.Next != 50 {
				t.Fatalf("the note is %+v", note)
			}
			time.Sleep(50 * time.Millisecond) // the clock's folder is another now
			r.kick("zombie")
			other := func(o *Options) { byWallclock(o); o.Config.FlushSize = 20 }
			switch first {
			case "the zombie puts first":
				close(slow.release)
			case "the other puts first":
				r.land(other)
				close(slow.release)
			default:
				// It puts and commits what is less than the zombie's, so that the zombie's intent has to outlive its own.
				store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 2, When: lakefault.Before, Delay: lakefault.Hang})
				end := r.start(r.lander(func(o *Options) { other(o); o.Store, o.Config.FlushOnStop = store, false }))
				eventually(t, "it puts its second object", func() bool { return store.Fired() > 0 })
				end()
				if offset, note := r.noteAt("a_raw", 0); offset != 20 || note.Intent == nil || note.Intent.Next != 50 {
					t.Errorf("committed %d, %+v", offset, note.Intent)
				}
				close(slow.release)
			}
			stop()
			r.land(other)
			r.exactlyOnce()
			folders := map[string]bool{}
			for key := range r.files() {
				folders[strings.Split(key, "/")[1]] = true
			}
			if len(folders) != 1 {
				t.Errorf("the records of one intent are in the folders %v", folders)
			}
		})
	}
}

// TestWallclockFenced: a writer that was thrown out before its intent is noted puts nothing.
func TestWallclockFenced(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.land(byWallclock) // notes the configuration
	r.produceMany("a_raw", 0, 30)
	var refused commitNote
	held, release := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	r.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		text := req.(*kmsg.OffsetCommitRequest).Topics[0].Partitions[0].Metadata
		if text == nil || !strings.Contains(*text, "intent") || once.Swap(true) {
			return nil, nil, false
		}
		if err := json.Unmarshal([]byte(*text), &refused); err != nil {
			t.Error(err)
		}
		r.cluster.SleepControl(func() { close(held); <-release })
		return nil, nil, false
	})
	stop := r.start(r.lander(func(o *Options) {
		byWallclock(o)
		o.Config.FlushSize, o.Config.FlushOnStop = 30, false
		o.clientOptions = append(o.clientOptions, kgo.InstanceID("zombie"))
	}))
	<-held
	r.kick("zombie")
	time.Sleep(100 * time.Millisecond) // what it reads after it has joined again has another folder
	close(release)
	time.Sleep(100 * time.Millisecond)
	stop()
	r.land(byWallclock)
	r.exactlyOnce()
	// It may have joined again and read the records anew, at another time.
	if there := r.objects("topics/a_raw/" + refused.Intent.Path); len(there) > 0 {
		t.Errorf("objects of an intent that was refused: %v", slices.Collect(maps.Keys(there)))
	}
}

// TestWallclockLeaving: a member that ends has still rotations before it when another one joins. The other is not given a Kafka partition of it before
// the first has put and committed the last of them.
func TestWallclockLeaving(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw")
	for p := range int32(2) {
		r.produceMany("a_raw", p, 20)
	}
	slow := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Delay: 600 * time.Millisecond}) // a heartbeat, by which a member learns of others, is every 3 s
	settings := func(o *Options) { byWallclock(o); o.Config.FlushSize = 2 }
	leave := r.start(r.lander(func(o *Options) { settings(o); o.Store = slow }))
	eventually(t, "the first object exists", func() bool { return len(r.files()) > 0 })
	var left sync.WaitGroup
	left.Go(leave)
	time.Sleep(50 * time.Millisecond) // the first is told to end, and has not
	stop := r.start(r.lander(settings))
	left.Wait()
	eventually(t, "all are committed", func() bool { return r.committed("a_raw", 0) == 20 && r.committed("a_raw", 1) == 20 })
	stop()
	r.exactlyOnce()
}
