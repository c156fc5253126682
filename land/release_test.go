package land

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/kafka"
	"headwater/lake"
	"headwater/lake/lakefault"
)

func (r *rig) sinkAt() map[int32]int64 {
	r.t.Helper()
	all, err := kafka.CommittedOffsets(r.t.Context(), r.cl, sinkGroup)
	if err != nil {
		r.t.Fatal(err)
	}
	return all["a_raw"]
}

func (r *rig) release(l *Lander) error {
	h, err := l.PlanRelease(r.t.Context(), sinkGroup)
	if err == nil {
		err = l.Release(r.t.Context(), h)
	}
	return err
}

// TestRelease goes there and back again, and there once more.
func TestRelease(t *testing.T) {
	t.Parallel()
	r := sunk(t)
	l := r.lander(nil)
	if _, err := r.adopt(l); err != nil {
		t.Fatal(err)
	}
	r.land(nil)
	for range 2 { // the second has nothing to do
		if err := r.release(l); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[int32]int64{0: 20, 1: 15, 2: 0}, r.sinkAt()); diff != "" {
			t.Error(diff)
		}
	}
	if got := r.committed("a_raw", 0); got != -1 {
		t.Errorf("our group still has committed %d", got)
	}
	// Killed between its two steps, it is done again.
	r.setOffset("a_raw", 0, 20)
	if err := r.release(l); err != nil {
		t.Fatal(err)
	}
	if got := r.committed("a_raw", 0); got != -1 {
		t.Errorf("our group still has committed %d", got)
	}
	r.produceMany("a_raw", 0, 4)
	r.sink(0, 20, 21, 22, 23)
	r.sinkCommits(24, 15, 0)
	if _, err := r.adopt(l); err != nil {
		t.Fatal(err)
	}
	r.produceMany("a_raw", 0, 4)
	r.land(nil)
	if diff := cmp.Diff(ids(28, 15), r.landedIDs("topics/")); diff != "" {
		t.Error(diff)
	}
}

func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(r *rig)
		want   string
	}{
		"a member of the connector's group": {func(r *rig) { r.join(sinkGroup) }, "group connect-sink has members"},
		"a member of ours":                  {func(r *rig) { r.join(DefaultGroup) }, "group headwater-land has members"},
		"records of which none has landed":  {func(r *rig) { r.create("b_raw"); r.produceMany("b_raw", 0, 1) }, "topic b_raw partition 0 has records"},
		"theirs is ahead":                   {func(r *rig) { r.sinkCommits(20); r.setOffset("a_raw", 0, 19) }, "is at offset 20 already"},
		"an object beyond the commit":       {func(r *rig) { r.half() }, "reaches beyond offset 20"},
		"an object of the connector's beyond the commit": {func(r *rig) {
			r.produceMany("a_raw", 0, 1)
			r.sink(0, 20)
		}, "reaches beyond offset 20"},
		"other folders": {func(r *rig) {
			note := kafka.Commit{Offset: 20, Note: `{"log":"` + r.logOf("a_raw") + `","dir":"elsewhere"}`}
			if err := kafka.SetCommits(r.t.Context(), r.cl, DefaultGroup, map[string]map[int32]kafka.Commit{"a_raw": {0: note}}); err != nil {
				r.t.Fatal(err)
			}
		}, "other settings of folders"},
		"another log": {func(r *rig) {
			note := kafka.Commit{Offset: 20, Note: `{"log":"AAAAAAAAAAAAAAAAAAAAAA"}`}
			if err := kafka.SetCommits(r.t.Context(), r.cl, DefaultGroup, map[string]map[int32]kafka.Commit{"a_raw": {0: note}}); err != nil {
				r.t.Fatal(err)
			}
		}, "is of log AAAA"},
		"a second log": {func(r *rig) {
			note := kafka.Commit{Offset: 20, Note: `{"log":"` + r.logOf("a_raw") + `","generation":2}`}
			if err := kafka.SetCommits(r.t.Context(), r.cl, DefaultGroup, map[string]map[int32]kafka.Commit{"a_raw": {0: note}}); err != nil {
				r.t.Fatal(err)
			}
		}, "would write over the objects of the first"},
		"beyond the end": {func(r *rig) { r.setOffset("a_raw", 0, 30) }, "not in the log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			r.produceMany("a_raw", 0, 20)
			r.land(nil)
			test.before(r)
			was, is := r.sinkAt(), r.committed("a_raw", 0)
			err := r.release(r.lander(nil))
			if _, refused := errors.AsType[Refusal](err); !refused || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a refusal of %q", err, test.want)
			}
			if diff := cmp.Diff(was, r.sinkAt()); diff != "" {
				t.Error(diff)
			}
			if got := r.committed("a_raw", 0); got != is {
				t.Errorf("committed %d, was %d", got, is)
			}
		})
	}
}

// half lands an object whose commit is lost.
func (r *rig) half() {
	r.t.Helper()
	r.produceMany("a_raw", 0, 20)
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop := r.start(r.lander(func(o *Options) { o.Store, o.Config.FlushOnStop, o.Config.FlushSize = store, false, 20 }))
	eventually(r.t, "the object exists", func() bool { return store.Fired() > 0 })
	stop()
}

func (r *rig) logOf(topic string) string {
	r.t.Helper()
	ids, err := kafka.TopicIDs(r.t.Context(), r.cl, topic)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids[topic]
}

// TestSupersededName: no configuration has its objects where readers of the lake do not look.
func TestSupersededName(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	c.TopicsDir = strings.TrimSuffix(SupersededPrefix, "/")
	if faults := c.Validate(); len(faults) != 1 {
		t.Errorf("got %v", faults)
	}
	c = DefaultConfig()
	c.PathFormat = "'_superseded'/YYYY"
	if faults := c.Validate(); len(faults) != 1 {
		t.Errorf("got %v", faults)
	}
	if err := lake.CheckKey(SupersededPrefix + lake.RawKey("topics", "a_raw", "date=2026-07-05", 0, 0)); err != nil {
		t.Error(err)
	}
}
