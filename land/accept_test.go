package land

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/retry"
	"headwater/kafka"
	"headwater/lake"
)

// trim deletes records as retention does.
func (r *rig) trim(topic string, upTo int64) {
	r.t.Helper()
	if err := kafka.Trim(r.t.Context(), r.cl, topic, map[int32]int64{0: upTo}); err != nil {
		r.t.Fatal(err)
	}
}

// stops lands and expects the first Kafka partition of a_raw to stop, and other_raw to go on.
func (r *rig) stops(want string) PartitionStatus {
	r.t.Helper()
	l := r.lander(nil)
	err := l.RunTo(r.t.Context(), r.made)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "headwater land accept") || retry.Classify(err) != retry.Permanent {
		r.t.Errorf("got %v, want something about %q that is permanent", err, want)
	}
	s := l.statusOf(topicPartition{"a_raw", 0})
	if !s.Stopped {
		r.t.Errorf("it goes on: %+v", s)
	}
	return s
}

// accept accepts what has stopped, and gives why.
func (r *rig) accept(topic string, partition int32) string {
	r.t.Helper()
	l := r.lander(nil)
	all, err := l.PlanAcceptance(r.t.Context(), topic, partition)
	if err == nil {
		err = l.Accept(r.t.Context(), all)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var why []string
	for _, a := range all {
		why = append(why, fmt.Sprintf("partition %d goes on at %d of log %d: %s", a.Partition, a.Offset, a.Generation, a.Why))
	}
	return strings.Join(why, "\n")
}

func (r *rig) nothingToAccept() {
	r.t.Helper()
	_, err := r.lander(nil).PlanAcceptance(r.t.Context(), "a_raw", -1)
	if _, refused := errors.AsType[Refusal](err); !refused || !strings.Contains(err.Error(), "nothing to accept") {
		r.t.Errorf("got %v", err)
	}
}

// TestRecordsLost: Kafka has deleted records before they were landed. The Kafka partition stops until that is accepted, or at once goes on behind them.
func TestRecordsLost(t *testing.T) {
	t.Parallel()
	for _, continues := range []bool{false, true} {
		t.Run(fmt.Sprint("continues ", continues), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw", "other_raw")
			r.produceMany("a_raw", 0, 5)
			r.land(nil)
			r.produceMany("a_raw", 0, 10)
			r.produceMany("other_raw", 0, 3)
			r.trim("a_raw", 9)
			if continues {
				l := r.land(func(o *Options) { o.Config.OnLostRecords = "continue" })
				if s := l.statusOf(topicPartition{"a_raw", 0}); s.Committed != 15 || s.Stopped || !strings.Contains(s.LastError, "records 5 to 8") || s.LostFrom != 5 || s.LostTo != 9 {
					t.Errorf("%+v", s)
				}
				return
			}
			for range 2 {
				if s := r.stops("records 5 to 8 are no longer in Kafka"); s.Committed != 5 || s.LostFrom != 5 || s.LostTo != 9 {
					t.Errorf("%+v", s)
				}
			}
			if got := r.committed("other_raw", 0); got != 3 {
				t.Errorf("of the other topic %d are committed, want 3", got)
			}
			if why := r.accept("a_raw", 0); !strings.Contains(why, "goes on at 9 of log 1: records 5 to 8") {
				t.Error(why)
			}
			l := r.land(nil)
			if s := l.statusOf(topicPartition{"a_raw", 0}); s.Committed != 15 || s.LastError != "" || s.LostTo != 0 {
				t.Errorf("%+v", s)
			}
			r.nothingToAccept()
			want := append(ids(15)[:5], ids(15)[9:]...)
			for p := range int64(3) {
				want = append(want, lake.LandID("other_raw", 0, p))
			}
			if diff := cmp.Diff(want, r.landedIDs("topics/")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRecordsLostMeanwhile: retention overtakes a process that lands. What it has read lands, and it does not go on behind the gap in silence.
func TestRecordsLostMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 5)
	l := r.lander(func(o *Options) {
		o.Config.RotateIntervalMs, o.Config.IdleFlushMs = -1, -1
		o.clientOptions = append(o.clientOptions, kgo.FetchMaxWait(100*time.Millisecond))
	})
	stop := r.start(l)
	defer stop()
	eventually(t, "five records are read", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Position == 5 })
	// The broker does not show new records before those are deleted.
	release := r.holdFetches()
	r.produceMany("a_raw", 0, 10)
	r.trim("a_raw", 9)
	release()
	eventually(t, "it has stopped", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Stopped })
	if s := l.statusOf(topicPartition{"a_raw", 0}); s.Committed != 5 || s.LostFrom != 5 || s.LostTo != 9 {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(ids(5), r.landedIDs("topics/")); diff != "" {
		t.Error(diff)
	}
}

// TestMadeAnew deletes a topic and makes it anew, twice, on the same day. Old objects stay, and new ones lie beside them.
func TestMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	few := func(o *Options) { o.Config.FlushSize = 4 }
	r.produceMany("a_raw", 0, 10)
	r.land(few)
	old := r.files()
	r.recreate("a_raw")
	r.produceMany("a_raw", 0, 6)
	r.stops("made anew")
	if diff := cmp.Diff(old, r.files()); diff != "" {
		t.Error(diff)
	}
	if why := r.accept("a_raw", -1); !strings.Contains(why, "goes on at 0 of log 2: its objects are of log ") {
		t.Error(why)
	}
	r.nothingToAccept()
	r.land(few)
	r.produceMany("a_raw", 0, 3)
	r.land(few) // the note of the commit keeps what was accepted
	second := map[string]string{
		"a_raw/date=2026-07-05/a_raw+0+g2+0000000000": "a_raw+0+0000000000 a_raw+0+0000000001 a_raw+0+0000000002 a_raw+0+0000000003",
		"a_raw/date=2026-07-05/a_raw+0+g2+0000000004": "a_raw+0+0000000004",
		"a_raw/date=2026-07-06/a_raw+0+g2+0000000005": "a_raw+0+0000000005",
		"a_raw/date=2026-07-06/a_raw+0+g2+0000000006": "a_raw+0+0000000006",
		"a_raw/date=2026-07-05/a_raw+0+g2+0000000007": "a_raw+0+0000000007 a_raw+0+0000000008",
	}
	maps.Copy(second, old)
	if diff := cmp.Diff(second, r.files()); diff != "" {
		t.Error(diff)
	}

	// Without its commit it finds out from the objects which log it lands, and what of it has landed.
	r.forget("a_raw")
	r.land(few)
	r.setOffset("a_raw", 0, 2) // nor is there a note in one that is set by hand
	r.land(few)
	if diff := cmp.Diff(second, r.files()); diff != "" {
		t.Error(diff)
	}

	// A third log. Kafka deletes the offsets with a topic, but not those that are committed meanwhile.
	commits, err := kafka.Commits(t.Context(), r.cl, DefaultGroup)
	if err != nil {
		t.Fatal(err)
	}
	r.recreate("a_raw")
	r.produceMany("a_raw", 0, 2)
	if err := kafka.SetCommits(t.Context(), r.cl, DefaultGroup, commits); err != nil {
		t.Fatal(err)
	}
	r.stops("made anew")
	if why := r.accept("a_raw", 0); !strings.Contains(why, "goes on at 0 of log 3: it was landed up to offset 9 of log ") {
		t.Error(why)
	}
	r.land(few)
	second["a_raw/date=2026-07-05/a_raw+0+g3+0000000000"] = "a_raw+0+0000000000 a_raw+0+0000000001"
	if diff := cmp.Diff(second, r.files()); diff != "" {
		t.Error(diff)
	}

	// The commit of the second comes back, as from a copy of the group: what the third has landed is found.
	if err := kafka.SetCommits(t.Context(), r.cl, DefaultGroup, commits); err != nil {
		t.Fatal(err)
	}
	r.stops("made anew")
	if why := r.accept("a_raw", 0); !strings.Contains(why, "goes on at 0 of log 3") {
		t.Error(why)
	}
	r.land(few)
	if diff := cmp.Diff(second, r.files()); diff != "" {
		t.Error(diff)
	}
}

// TestMadeAnewTogether: the members of a group agree on what was accepted, whoever lands first and whoever starts again.
func TestMadeAnewTogether(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4, "a_raw")
	for p := range int32(4) {
		r.produceMany("a_raw", p, 20)
	}
	r.land(nil)
	if _, err := r.admin().DeleteTopic(t.Context(), "a_raw"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.admin().CreateTopic(t.Context(), 4, 1, nil, "a_raw"); err != nil {
		t.Fatal(err)
	}
	r.connect()
	r.delete("topics/a_raw/date=2026-07-06/") // of some folders nothing says that there was another log
	for p := range int32(4) {
		r.made["a_raw"][p] = 0
		r.produceMany("a_raw", p, 30)
	}
	if why := r.accept("a_raw", -1); strings.Count(why, "of log 2") != 4 {
		t.Error(why)
	}
	few := func(o *Options) { o.Config.FlushSize = 7 }
	stops := []func(){r.start(r.lander(few))}
	l := r.lander(few)
	stops = append(stops, r.start(l))
	eventually(t, "the new member has a share", func() bool { return len(l.Status().Partitions) > 0 })
	for _, stop := range stops {
		stop()
	}
	r.land(few)
	for _, key := range r.landedKeys() {
		if name, err := lake.ParseRawKey(key); err == nil && name.Generation == 1 {
			r.delete(key)
		}
	}
	r.exactlyOnce()
}

// TestQuarantineMadeAnew: what a second log has in quarantine is not taken for what the first has there.
func TestQuarantineMadeAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, "old")
	r.land(nil)
	r.recreate("a_raw")
	r.produce("a_raw", 0, "new")
	r.setOffset("a_raw", 0, 0)
	r.put(lake.RawKey("topics", "a_raw", "date=2026-07-05", 0, 1), lake.Tail{Log: strings.Repeat("A", 22), First: 1, Next: 2, Count: 1}.Append(nil))
	r.accept("a_raw", 0)
	r.land(nil)
	var kept []string
	for o, err := range r.store.List(t.Context(), "_quarantine/", "") {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, o.Key[strings.LastIndexByte(o.Key, '/')+1:])
	}
	if diff := cmp.Diff([]string{"a_raw+0+0000000000.json.gz", "a_raw+0+g2+0000000000.json.gz"}, kept); diff != "" {
		t.Error(diff)
	}
}

// TestCutLog: a log that ends before the commit goes on at its end, as another one.
func TestCutLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 5)
	r.land(nil)
	r.commitNoted("a_raw", 50)
	r.stops("beyond the end")
	if why := r.accept("a_raw", 0); !strings.Contains(why, "goes on at 5 of log 2: it was landed up to offset 50, and the log now ends at 5") {
		t.Error(why)
	}
	r.produceMany("a_raw", 0, 2)
	r.land(nil)
	if diff := cmp.Diff(ids(7), r.landedIDs("topics/")); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(r.landedKeys(), "topics/a_raw/date=2026-07-06/a_raw+0+g2+0000000005.json.gz") {
		t.Error(r.landedKeys())
	}
}

func TestAcceptRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produceMany("a_raw", 0, 5)
	l := r.lander(nil)
	for want, of := range map[string]topicPartition{"does not land": {"none_raw", 0}, "has no partition 7": {"a_raw", 7}, "nothing to accept": {"a_raw", 0}} {
		_, err := l.PlanAcceptance(t.Context(), of.topic, of.partition)
		if _, refused := errors.AsType[Refusal](err); !refused || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v", of, err)
		}
	}
	r.join(DefaultGroup)
	if _, err := l.PlanAcceptance(t.Context(), "a_raw", 0); err == nil || !strings.Contains(err.Error(), "has members") {
		t.Errorf("got %v", err)
	}
}

// forget deletes our group's offsets of a topic.
func (r *rig) forget(topic string) {
	r.t.Helper()
	if err := kafka.DeleteCommits(r.t.Context(), r.cl, DefaultGroup, map[string][]int32{topic: {0}}); err != nil {
		r.t.Fatal(err)
	}
}

// commitNoted commits with the note of this log.
func (r *rig) commitNoted(topic string, offset int64) {
	r.t.Helper()
	note := kafka.Commit{Offset: offset, Note: `{"log":"` + r.logOf(topic) + `","dir":"topics"}`}
	if err := kafka.SetCommits(r.t.Context(), r.cl, DefaultGroup, map[string]map[int32]kafka.Commit{topic: {0: note}}); err != nil {
		r.t.Fatal(err)
	}
}

// holdFetches returns when the broker shows nothing new to anybody, until release is called.
func (r *rig) holdFetches() (release func()) {
	r.t.Helper()
	var held, released atomic.Bool
	r.cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if released.Load() {
			return nil, nil, false
		}
		r.cluster.KeepControl()
		held.Store(true)
		time.Sleep(5 * time.Millisecond)
		return req.ResponseKind(), nil, true
	})
	eventually(r.t, "a fetch is held", held.Load)
	return func() { released.Store(true) }
}
