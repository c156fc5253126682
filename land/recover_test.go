package land

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/retry"
	"headwater/kafka"
	"headwater/lake"
	"headwater/lake/file"
	"headwater/lake/lakefault"
)

// TestZombie: two writers that know nothing of each other land the same topics into the same store.
func TestZombie(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2, "a_raw", "b_raw")
			for p := range int32(2) {
				r.produceMany("a_raw", p, 300)
				r.produceMany("b_raw", p, 300)
			}
			var both sync.WaitGroup
			for i, group := range []string{DefaultGroup, "zombie"} {
				l := r.lander(func(o *Options) {
					o.Group, o.Config.FlushSize = group, 40+13*i
					o.Store = lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, KeyContains: "+0+", Delay: 3 * time.Millisecond})
				})
				both.Go(func() {
					if err := l.RunTo(t.Context(), r.made); err != nil {
						t.Error(err)
					}
				})
			}
			both.Wait()
			r.exactlyOnce()
		})
	}
}

// TestRebalance: members of the group come and go while records arrive.
func TestRebalance(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6, "a_raw")
	few := func(n int) func(*Options) {
		return func(o *Options) { o.Config.FlushSize = n }
	}
	stops := []func(){r.start(r.lander(few(10)))}
	for round := range 6 {
		for p := range int32(6) {
			r.produceMany("a_raw", p, 25)
		}
		if round%2 == 0 {
			l := r.lander(few(7 + round))
			stops = append(stops, r.start(l))
			eventually(t, "the new member has a share", func() bool { return len(l.Status().Partitions) > 0 })
		} else {
			stops[0]()
			stops = stops[1:]
		}
	}
	for _, stop := range stops {
		stop()
	}
	r.land(nil)
	r.exactlyOnce()
}

// TestAnyHistory: whatever the settings, faults, drops and second writers, every record is landed once.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			r := newRig(t, 2, "a_raw", "b_raw")
			options := func(o *Options) {
				o.Config.FlushSize = 1 + random.IntN(60)
				o.Config.RotateIntervalMs = []int64{-1, 30, 1000}[random.IntN(3)]
				o.Config.RotateScheduleIntervalMs = []int64{-1, 40, 1000}[random.IntN(3)]
				o.Config.FlushOnStop = random.IntN(2) == 0
				o.Store = lakefault.Random(r.store, random.Uint64(), 0.1)
				o.Group = []string{DefaultGroup, DefaultGroup, "second"}[random.IntN(3)]
			}
			for range 6 {
				for _, topic := range []string{"a_raw", "b_raw"} {
					r.produceMany(topic, int32(random.IntN(2)), random.IntN(200))
				}
				stop, other := r.start(r.lander(options)), r.start(r.lander(options))
				time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
				stop()
				other()
			}
			r.land(nil)
			r.exactlyOnce()
		})
	}
}

// TestCommitFails: the broker refuses commits, or their replies are lost.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 30)
	r.refuseCommits(3)
	r.land(func(o *Options) { o.Config.FlushSize = 20 })
	if left := r.refusals(); left > 0 {
		t.Errorf("%d refusals were not met", left)
	}
	if got := r.committed("a_raw", 0); got != 30 {
		t.Errorf("committed %d, want 30", got)
	}
	r.exactlyOnce()
}

// TestMoved: the configuration changes between a rotation's first object and its commit, so that records would go to
// other folders. What has landed in the old ones is found.
func TestMoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	old := func(o *Options) { o.Config.FlushSize, o.Config.RotateIntervalMs = 20, -1 }
	r.produceMany("a_raw", 0, 20)
	r.land(old)
	r.produceMany("a_raw", 0, 20)
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop := r.start(r.lander(func(o *Options) { old(o); o.Store, o.Config.FlushOnStop = store, false }))
	eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
	stop()
	r.produceMany("a_raw", 0, 5)

	// The new configuration is dropped too, after its first object, and the old one comes back.
	moved := func(o *Options) { hourly(o); o.Config.FlushSize, o.Config.TopicsDir = 3, "topics/new" }
	store = lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop = r.start(r.lander(func(o *Options) { moved(o); o.Store, o.Config.FlushOnStop = store, false }))
	eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
	stop()
	r.land(old)
	r.exactlyOnce()
}

// TestStops: what cannot be told from the data stops the Kafka partition and says what to do; others go on.
func TestStops(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, r *rig, want string) {
		t.Helper()
		r.create("other_raw")
		r.produceMany("other_raw", 0, 3)
		before := keys(r.files())
		l := r.lander(nil)
		err := l.RunTo(t.Context(), r.made)
		if err == nil || !strings.Contains(err.Error(), want) || retry.Classify(err) != retry.Permanent {
			t.Errorf("got %v, want something about %q that is permanent", err, want)
		}
		if s := l.statusOf(topicPartition{"a_raw", 0}); !s.Stopped || !strings.Contains(s.LastError, want) {
			t.Errorf("%+v", s)
		}
		if got := r.committed("other_raw", 0); got != 3 {
			t.Errorf("of the other topic %d are committed, want 3", got)
		}
		r.delete("topics/other_raw/")
		if got := keys(r.files()); got != before {
			t.Errorf("objects changed:\n%s\n%s", before, got)
		}
	}
	t.Run("another log, nothing committed", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		r.land(nil)
		r.recreate("a_raw")
		r.setOffset("a_raw", 0, -1)
		r.produceMany("a_raw", 0, 9)
		run(t, r, "made anew")
	})
	t.Run("another log, shorter", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		r.land(nil)
		r.setOffset("a_raw", 0, 50)
		run(t, r, "beyond the end")
	})
	t.Run("an object that ends beyond the log", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		ids, err := kafka.TopicIDs(t.Context(), r.cl, "a_raw")
		if err != nil {
			t.Fatal(err)
		}
		r.put("topics/a_raw/date=2026-07-05/a_raw+0+0000000000.json.gz", lake.Tail{Log: ids["a_raw"], First: 0, Next: 9, Count: 9}.Append(nil))
		run(t, r, "beyond the end")
	})
	t.Run("an object of another log in the folder", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		r.setOffset("a_raw", 0, 2)
		r.put("topics/a_raw/date=2026-07-05/a_raw+0+0000000000.json.gz", lake.Tail{Log: strings.Repeat("A", 22), First: 0, Next: 2, Count: 1}.Append(nil))
		run(t, r, "made anew")
	})
	t.Run("an object of Kafka Connect, nothing committed", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		r.put("topics/a_raw/date=2026-07-05/a_raw+0+0000000000.json.gz", foreign)
		l := r.lander(nil)
		if err := l.RunTo(t.Context(), r.made); err == nil || !strings.Contains(err.Error(), "Kafka Connect") {
			t.Errorf("got %v", err)
		}
		// A commit says where Kafka Connect has stopped.
		r.setOffset("a_raw", 0, 3)
		r.land(nil)
		if got := r.committed("a_raw", 0); got != 5 {
			t.Errorf("committed %d, want 5", got)
		}
	})
	t.Run("an object of Kafka Connect that is not compressed", func(t *testing.T) {
		r := newRig(t, 1, "a_raw")
		r.produceMany("a_raw", 0, 5)
		r.put("topics/a_raw/partition=0/a_raw+0+0000000003.json", []byte("{}\n"))
		r.setOffset("a_raw", 0, 3)
		l := r.lander(byClass(byPartition, 10))
		if err := l.RunTo(t.Context(), r.made); err == nil || !strings.Contains(err.Error(), "Kafka Connect") {
			t.Errorf("got %v", err)
		}
	})
}

func (r *rig) recreate(topic string) {
	r.t.Helper()
	if _, err := r.admin().DeleteTopic(context.Background(), topic); err != nil {
		r.t.Fatal(err)
	}
	r.create(topic)
	r.made[topic][0] = 0
	r.connect() // the old client still has the old topic's id
}

// foreign is an object without a tail: an empty gzip member.
var foreign = []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// TestTransactions: markers have offsets and are no records; aborted records are none either.
func TestTransactions(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	cl, err := kafka.NewClient(r.config, kgo.TransactionalID("t"), kgo.DefaultProduceTopic("a_raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(at(fmt.Sprint(i*3+n), "2026-07-05T10:00:00"))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	r.made["a_raw"][0] = 16
	r.land(nil)
	if diff := cmp.Diff(map[string]string{"a_raw/date=2026-07-05/a_raw+0+0000000000": "0 1 2 6 7 8"}, r.files()); diff != "" {
		t.Error(diff)
	}
	if got := r.committed("a_raw", 0); got != 16 {
		t.Errorf("committed %d, want 16", got)
	}
}

// TestKilled ends a process at every crash point and lets another go on.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	points := []string{"land.after-spool", "land.before-put", "land.after-put", "land.before-commit", "land.after-commit"}
	died := [][2]string{{"land.before-intent", "by-clock"}, {"land.after-intent", "by-clock"}}
	for _, point := range points {
		died = append(died, [2]string{point, "by-day"}, [2]string{point, "by-field"}, [2]string{point, "by-clock"})
	}
	for _, d := range died {
		point, layout := d[0], d[1]
		t.Run(point+" "+layout, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			dir, spool := t.TempDir(), t.TempDir()
			for pass := 1; pass <= 3; pass++ {
				r.produceMany("a_raw", 0, 30)
				cmd := exec.Command(os.Args[0], "-test.run=^TestMain$")
				cmd.Env = append(os.Environ(), fmt.Sprintf("HEADWATER_CRASH=%s:%d", point, pass),
					"LAND_TEST="+strings.Join([]string{r.config.Brokers[0], dir, spool, fmt.Sprint(r.made["a_raw"][0]), layout}, " "))
				out, err := cmd.CombinedOutput()
				if err == nil || !strings.Contains(err.Error(), "killed") {
					t.Fatalf("pass %d: the process was not killed: %v\n%s", pass, err, out)
				}
			}
			store, err := file.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			r.produceMany("a_raw", 0, 30)
			r.land(func(o *Options) { laidOut(o, layout); o.Store, o.clientOptions = store, asChild })
			for o, err := range store.List(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(store.Path(o.Key))
				if err != nil {
					t.Fatal(err)
				}
				r.put(o.Key, data)
			}
			r.exactlyOnce()
		})
	}
}

// TestMain is also the process that TestKilled starts.
func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv("LAND_TEST")); len(args) == 5 {
		fmt.Fprintln(os.Stderr, landOnce(args[0], args[1], args[2], args[3], args[4]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// asChild lets a process take the place of the killed one at once, without waiting until the group has missed it.
var asChild = []kgo.Opt{kgo.InstanceID("child")}

// laidOut has the folders of a layout: two, by day; many, whose records take turns; or another one every few moments.
func laidOut(o *Options, layout string) {
	switch layout {
	case "by-field":
		o.Config.PartitionerClass, o.Config.PartitionFieldName = byField, []string{"ingestion_timestamp", "raw_data"}
	case "by-clock":
		byWallclock(o)
	}
}

func landOnce(broker, dir, spool, end, layout string) error {
	var to int64
	if _, err := fmt.Sscan(end, &to); err != nil {
		return err
	}
	store, err := file.Open(dir)
	if err != nil {
		return err
	}
	o := Options{Config: DefaultConfig(), Kafka: kafka.DefaultConfig(), Store: store, Spool: spool}
	laidOut(&o, layout)
	o.Config.FlushSize, o.Kafka.Brokers = 11, []string{broker}
	o.clientOptions = asChild
	l, err := New(o)
	if err != nil {
		return err
	}
	return l.RunTo(context.Background(), map[string]map[int32]int64{"a_raw": {0: to}})
}

func (r *rig) put(key string, data []byte) {
	r.t.Helper()
	if _, err := r.store.Put(context.Background(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) delete(prefix string) {
	r.t.Helper()
	for o, err := range r.store.List(context.Background(), prefix, "") {
		if err == nil {
			err = r.store.Delete(context.Background(), o.Key)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestStoppedIsNotCommitted: the commit of a topic that was made anew is of the old log. Who trims the topic to it would
// delete records of the new log that are not landed.
func TestStoppedIsNotCommitted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 9)
	old := kadm.Offsets{}
	old.Add(kadm.Offset{Topic: "a_raw", At: 5, LeaderEpoch: -1, Metadata: `{"log":"AAAAAAAAAAAAAAAAAAAAAA"}`})
	if err := r.admin().CommitAllOffsets(t.Context(), DefaultGroup, old); err != nil {
		t.Fatal(err)
	}
	l := r.lander(nil)
	if err := l.RunTo(t.Context(), r.made); err == nil || !strings.Contains(err.Error(), "made anew") {
		t.Errorf("got %v", err)
	}
	if got := l.Committed(); len(got) > 0 {
		t.Errorf("%v is said to be landed of a log of which nothing is", got)
	}
}

// TestMovedBeforeTheFirstCommit: the same of the very first rotation.
func TestMovedBeforeTheFirstCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 20)
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop := r.start(r.lander(func(o *Options) { o.Config.FlushSize, o.Store, o.Config.FlushOnStop = 20, store, false }))
	eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
	stop()
	r.land(func(o *Options) { hourly(o); o.Config.FlushSize, o.Config.TopicsDir = 3, "topics/new" })
	r.exactlyOnce()
}

// TestMovedTwice: a rotation of one configuration is cut short, then one of another, which then goes on.
func TestMovedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	old := func(o *Options) { o.Config.FlushSize, o.Config.RotateIntervalMs = 20, -1 }
	moved := func(o *Options) { hourly(o); o.Config.FlushSize, o.Config.TopicsDir = 20, "topics/new" }
	again := func(o *Options) { moved(o); o.Config.FlushSize, o.Config.TopicsDir = 3, "topics/newer" }
	r.produceMany("a_raw", 0, 20)
	r.land(old)
	r.produceMany("a_raw", 0, 40)
	for _, settings := range []func(*Options){old, moved, again} {
		store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
		stop := r.start(r.lander(func(o *Options) { settings(o); o.Store, o.Config.FlushOnStop = store, false }))
		eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
		stop()
	}
	r.land(again)
	r.exactlyOnce()
}

// TestSmallerLimit: a record that has landed is not put into quarantine too when it is read again under a smaller limit.
func TestSmallerLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 5)
	r.land(nil)
	r.setOffset("a_raw", 0, 0)
	l := r.land(func(o *Options) { o.Config.MaxRecordBytes = 10 })
	if s := l.Status().Partitions[0]; s.Quarantined != 0 || s.Skipped != 5 {
		t.Errorf("%+v", s)
	}
	r.exactlyOnce()
}

// TestOneCannotBegin: Kafka cannot say where one Kafka partition begins. The others are landed, and it is when Kafka can.
func TestOneCannotBegin(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw", "b_raw")
	for p := range int32(2) {
		r.produceMany("a_raw", p, 10)
		r.produceMany("b_raw", p, 10)
	}
	var healed atomic.Bool
	r.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		list := req.(*kmsg.ListOffsetsRequest)
		asked := slices.ContainsFunc(list.Topics, func(t kmsg.ListOffsetsRequestTopic) bool { return t.Topic == "a_raw" })
		if !asked || healed.Load() {
			return nil, nil, false
		}
		resp := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range list.Topics {
			answer := kmsg.NewListOffsetsResponseTopic()
			answer.Topic = t.Topic
			for _, p := range t.Partitions {
				partition := kmsg.NewListOffsetsResponseTopicPartition()
				partition.Partition = p.Partition
				switch {
				case t.Topic == "a_raw" && p.Partition == 1:
					partition.ErrorCode = kerr.UnknownServerError.Code
				case p.Timestamp == -2:
					partition.Offset = 0
				default:
					partition.Offset = 10
				}
				answer.Partitions = append(answer.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	l := r.lander(func(o *Options) { o.Config.FlushSize = 10 })
	stop := r.start(l)
	for _, tp := range []topicPartition{{"a_raw", 0}, {"b_raw", 0}, {"b_raw", 1}} {
		eventually(t, "the others are landed", func() bool { return r.committed(tp.topic, tp.partition) == 10 })
	}
	eventually(t, "the status says why", func() bool {
		return strings.Contains(l.statusOf(topicPartition{"a_raw", 1}).LastError, "UNKNOWN_SERVER_ERROR")
	})
	healed.Store(true)
	eventually(t, "it is landed too", func() bool { return r.committed("a_raw", 1) == 10 })
	stop()
	r.exactlyOnce()
}

// TestVanished: of a topic that was deleted after its end was taken, RunTo says that its records were not landed.
func TestVanished(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw", "b_raw")
	r.produceMany("b_raw", 0, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	err := r.lander(nil).RunTo(ctx, map[string]map[int32]int64{"b_raw": {0: 5}, "gone_raw": {0: 7}})
	if err == nil || !strings.Contains(err.Error(), "topic gone_raw partition 0: it is no longer in Kafka") {
		t.Errorf("got %v", err)
	}
	delete(r.made, "gone_raw")
	r.exactlyOnce()
}

// TestLetGoWhileAsking: a Kafka partition whose writer waits until Kafka answers does not hold up the end.
func TestLetGoWhileAsking(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	var asked atomic.Int64
	var broken atomic.Bool
	r.cluster.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if !broken.Load() {
			return nil, nil, false
		}
		asked.Add(1)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
			answer := kmsg.NewListOffsetsResponseTopic()
			answer.Topic = t.Topic
			partition := kmsg.NewListOffsetsResponseTopicPartition()
			partition.ErrorCode = kerr.TopicAuthorizationFailed.Code
			answer.Partitions = append(answer.Partitions, partition)
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	l := r.lander(func(o *Options) { o.Config.FlushSize = 5 })
	stop := r.start(l)
	eventually(t, "it has begun", func() bool { return len(l.Status().Partitions) > 0 })
	broken.Store(true)
	// A conflict: the object exists with another range, so that the writer begins again and asks Kafka where.
	ids, err := kafka.TopicIDs(t.Context(), r.cl, "a_raw")
	if err != nil {
		t.Fatal(err)
	}
	r.produce("a_raw", 0, clocks("10:00:00 10:00:00 10:00:00 10:00:00")...)
	eventually(t, "the records are read", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Position == 4 })
	r.put("topics/a_raw/date=2026-07-05/a_raw+0+0000000000.json.gz", lake.Tail{Log: ids["a_raw"], First: 0, Next: 2, Count: 2}.Append(nil))
	r.produce("a_raw", 0, clocks("10:00:00")...)
	eventually(t, "Kafka is asked", func() bool { return asked.Load() > 1 })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the end took %s", took)
	}
}

// TestAssignedWhileAsking gives a member its Kafka partition while it asks Kafka whether another member has landed it: what it
// has not landed itself yet is not done.
func TestAssignedWhileAsking(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 3)
	tp := topicPartition{"a_raw", 0}
	s := &session{Lander: r.lander(nil), cl: r.cl, parts: map[topicPartition]*partition{}, ends: kafka.Offsets{"a_raw": {0: 3}}}
	asked := false
	r.cluster.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked = true
		s.mu.Lock()
		defer s.mu.Unlock()
		s.parts[tp] = &partition{session: s, topicPartition: tp}
		return nil, nil, false
	})
	done, err := s.reached(t.Context())
	if !asked || done || err != nil {
		t.Errorf("asked %v, done %v, error %v; want a question and nothing done", asked, done, err)
	}
}
