package land

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
	"headwater/lake"
	"headwater/lake/lakefault"
)

const sinkGroup = "connect-sink"

// sink lands as the connector does: without tails. Records are those of produceMany.
func (r *rig) sink(partition int32, offsets ...int64) {
	r.t.Helper()
	var text bytes.Buffer
	zip := gzip.NewWriter(&text)
	for _, o := range offsets {
		fmt.Fprintln(zip, at(lake.LandID("a_raw", partition, o), clockOf(o)))
	}
	if err := zip.Close(); err != nil {
		r.t.Fatal(err)
	}
	r.put(lake.RawKey("topics", "a_raw", "date="+clockOf(offsets[0])[:10], partition, offsets[0]), text.Bytes())
}

// sinkCommits has the connector's group commit, by Kafka partition.
func (r *rig) sinkCommits(offsets ...int64) {
	r.t.Helper()
	commits := map[int32]kafka.Commit{}
	for p, o := range offsets {
		commits[int32(p)] = kafka.Commit{Offset: o}
	}
	if err := kafka.SetCommits(r.t.Context(), r.cl, sinkGroup, map[string]map[int32]kafka.Commit{"a_raw": commits}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) adopt(l *Lander) (Handover, error) {
	h, err := l.PlanAdoption(r.t.Context(), sinkGroup)
	if err == nil {
		err = l.Adopt(r.t.Context(), h)
	}
	return h, err
}

// landedIDs are the records that objects hold, whoever made these, in order.
func (r *rig) landedIDs(prefix string) (all []string) {
	r.t.Helper()
	for o, err := range r.store.List(r.t.Context(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		for _, line := range r.lines(o.Key) {
			all = append(all, strings.Split(line, `"`)[3])
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) lines(key string) []string {
	r.t.Helper()
	body, _, err := r.store.Get(r.t.Context(), key, 0, -1)
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	var packed bytes.Buffer
	if _, err := packed.ReadFrom(body); err != nil {
		r.t.Fatal(err)
	}
	return lines(r.t, packed.Bytes())
}

// ids are those of the first records of each Kafka partition.
func ids(counts ...int64) (all []string) {
	for p, n := range counts {
		for o := range n {
			all = append(all, lake.LandID("a_raw", int32(p), o))
		}
	}
	slices.Sort(all)
	return all
}

// sunk is a topic of two Kafka partitions that a connector has landed up to 9 and 7, with three objects more that it had not committed. A third
// has never had a record.
func sunk(t *testing.T) *rig {
	r := newRig(t, 3, "a_raw")
	r.produceMany("a_raw", 0, 20)
	r.produceMany("a_raw", 1, 15)
	r.sink(0, 0, 1, 2, 3, 4, 7, 8)
	r.sink(0, 5, 6)
	r.sink(1, 0, 1, 2, 3, 4)
	r.sink(1, 5, 6)
	r.sink(0, 9, 10, 11)
	r.sink(0, 12, 13)
	r.sink(1, 7, 8, 9)
	r.sinkCommits(9, 7)
	return r
}

// TestAdopt: what the connector had put and not committed is moved away, and every record is in one object afterwards.
func TestAdopt(t *testing.T) {
	t.Parallel()
	r := sunk(t)
	l := r.lander(nil)
	h, err := l.PlanAdoption(t.Context(), sinkGroup)
	if err != nil {
		t.Fatal(err)
	}
	var plan []string
	for _, p := range h.Partitions {
		plan = append(plan, fmt.Sprint(p.Topic, " ", p.Partition, " ", p.Offset, " ", p.End, " ", len(p.Supersede)))
	}
	if diff := cmp.Diff([]string{"a_raw 0 9 20 2", "a_raw 1 7 15 1", "a_raw 2 0 0 0"}, plan); diff != "" {
		t.Error(diff)
	}
	if len(h.Warnings) > 0 {
		t.Errorf("warned of %q", h.Warnings)
	}
	if got := r.committed("a_raw", 0); got != -1 || len(r.landedIDs(SupersededPrefix)) > 0 {
		t.Errorf("a plan has committed %d, or moved objects", got)
	}
	for range 2 { // the second has nothing to do
		if _, err := r.adopt(l); err != nil {
			t.Fatal(err)
		}
	}
	if a, b, c := r.committed("a_raw", 0), r.committed("a_raw", 1), r.committed("a_raw", 2); a != 9 || b != 7 || c != 0 {
		t.Errorf("committed %d, %d and %d", a, b, c)
	}
	commits, err := kafka.Commits(t.Context(), r.cl, DefaultGroup)
	if err != nil {
		t.Fatal(err)
	}
	if note := readNote(commits["a_raw"][0].Note); note.Log == "" || note.Dir != "topics" || note.Layout == "" {
		t.Errorf("noted %+v", note)
	}
	r.produceMany("a_raw", 2, 3)
	r.land(nil)
	if diff := cmp.Diff(ids(20, 15, 3), r.landedIDs("topics/")); diff != "" {
		t.Error(diff)
	}
	want := []string{
		lake.LandID("a_raw", 0, 10), lake.LandID("a_raw", 0, 11), lake.LandID("a_raw", 0, 12), lake.LandID("a_raw", 0, 13),
		lake.LandID("a_raw", 0, 9), lake.LandID("a_raw", 1, 7), lake.LandID("a_raw", 1, 8), lake.LandID("a_raw", 1, 9),
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, r.landedIDs(SupersededPrefix+"topics/a_raw/")); diff != "" {
		t.Error(diff)
	}
}

// TestAdoptKilled fails at every call to the store in turn; the next try completes.
func TestAdoptKilled(t *testing.T) {
	t.Parallel()
	for _, rule := range []lakefault.Rule{
		{Op: lakefault.Put, Nth: 2, When: lakefault.Before},
		{Op: lakefault.Put, Nth: 2, When: lakefault.After},
		{Op: lakefault.Delete, Nth: 1, When: lakefault.Before},
		{Op: lakefault.Delete, Nth: 2, When: lakefault.After},
		{Op: lakefault.Delete, Nth: 3, When: lakefault.Before},
	} {
		t.Run(fmt.Sprint(rule.Op, rule.Nth, rule.When), func(t *testing.T) {
			t.Parallel()
			r := sunk(t)
			rule.Err = errors.New("killed")
			store := lakefault.New(r.store, rule)
			if _, err := r.adopt(r.lander(func(o *Options) { o.Store = store })); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("got %v", err)
			}
			if got := r.committed("a_raw", 0); got != -1 {
				t.Errorf("committed %d although not everything was moved", got)
			}
			if _, err := r.adopt(r.lander(nil)); err != nil {
				t.Fatal(err)
			}
			r.land(nil)
			if diff := cmp.Diff(ids(20, 15), r.landedIDs("topics/")); diff != "" {
				t.Error(diff)
			}
			if got := len(r.landedIDs(SupersededPrefix)); got != 8 {
				t.Errorf("%d records are superseded, want 8", got)
			}
		})
	}
}

// TestAdoptRefused: nothing is changed where something has to be decided by a person.
func TestAdoptRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(r *rig)
		want   string
	}{
		"a member of the connector's group": {func(r *rig) { r.join(sinkGroup) }, "group connect-sink has members"},
		"a member of ours":                  {func(r *rig) { r.join(DefaultGroup) }, "group headwater-land has members"},
		"no commit": {func(r *rig) {
			if err := kafka.DeleteCommits(r.t.Context(), r.cl, sinkGroup, map[string][]int32{"a_raw": {0, 1}}); err != nil {
				r.t.Fatal(err)
			}
		}, "no offset of topic a_raw partition 0, a_raw partition 1"},
		"no commit for one topic": {func(r *rig) { r.create("b_raw"); r.produceMany("b_raw", 0, 1) }, "no offset of topic b_raw partition 0"},
		"beyond the end":          {func(r *rig) { r.sinkCommits(21, 7) }, "the offset 21 of group connect-sink is not in the log, which has 0 to 20"},
		"below the start": {func(r *rig) {
			if err := kafka.Trim(r.t.Context(), r.cl, "a_raw", map[int32]int64{0: 12}); err != nil {
				r.t.Fatal(err)
			}
		}, "the offset 9 of group connect-sink is not in the log, which has 12 to 20"},
		"landed already": {func(r *rig) { r.setOffset("a_raw", 1, 6) }, "landed it already, up to offset 6"},
		"another object is where one is moved": {func(r *rig) {
			r.put(SupersededPrefix+lake.RawKey("topics", "a_raw", "date=2026-07-05", 0, 9), foreign)
		}, "there is another object of that name"},
		"an object of another log": {func(r *rig) {
			r.put(lake.RawKey("topics", "a_raw", "date=2026-07-05", 0, 16), lake.Tail{Log: strings.Repeat("A", 22), First: 16, Next: 17, Count: 1}.Append(nil))
		}, "was made from log AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sunk(t)
			test.before(r)
			before, was := r.landedKeys(), r.committed("a_raw", 1)
			_, err := r.adopt(r.lander(nil))
			if _, refused := errors.AsType[Refusal](err); !refused || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a refusal of %q", err, test.want)
			}
			if diff := cmp.Diff(before, r.landedKeys()); diff != "" {
				t.Error(diff)
			}
			if got := r.committed("a_raw", 1); got != was {
				t.Errorf("committed %d, was %d", got, was)
			}
		})
	}
}

// TestAdoptMoved: a connector that commits between the plan and its execution is found out.
func TestAdoptMoved(t *testing.T) {
	t.Parallel()
	r := sunk(t)
	l := r.lander(nil)
	h, err := l.PlanAdoption(t.Context(), sinkGroup)
	if err != nil {
		t.Fatal(err)
	}
	r.sinkCommits(12, 7)
	before := r.landedKeys()
	if err := l.Adopt(t.Context(), h); err == nil || !strings.Contains(err.Error(), "has moved on") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, r.landedKeys()); diff != "" {
		t.Error(diff)
	}
}

// TestAdoptWarns: of an object whose lines go beyond the commit, of topics that do not land, and of those that are ours already.
func TestAdoptWarns(t *testing.T) {
	t.Parallel()
	r := sunk(t)
	r.sinkCommits(4, 7)
	r.create("other")
	r.create("b_raw")
	r.produceMany("b_raw", 0, 3)
	r.setOffset("b_raw", 0, 2)
	if err := kafka.SetCommits(t.Context(), r.cl, sinkGroup, map[string]map[int32]kafka.Commit{"other": {0: {}}}); err != nil {
		t.Fatal(err)
	}
	h, err := r.lander(nil).PlanAdoption(t.Context(), sinkGroup)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(h.Warnings, "\n")
	for _, want := range []string{"+0+0000000000.json.gz has 7 records", "topic other, of which", "topic b_raw partition 0 goes on"} {
		if !strings.Contains(all, want) {
			t.Errorf("it warns of\n%s\nand not of %q", all, want)
		}
	}
	if len(h.Warnings) != 3 {
		t.Errorf("it warns of\n%s", all)
	}
}

// TestAdoptDamaged: objects of the connector that cannot be read do not keep anybody from taking over.
func TestAdoptDamaged(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"empty": "", "no gzip": "{}\n", "short": string(foreign[:12]), "wrong": string(foreign[:10]) + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sunk(t)
			r.put(lake.RawKey("topics", "a_raw", "date=2026-07-07", 0, 8), []byte(text))
			h, err := r.adopt(r.lander(nil))
			if err != nil || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "+0000000008.json.gz cannot be read to its end") {
				t.Errorf("%v, it warns of %q", err, h.Warnings)
			}
		})
	}
}

// landedKeys are those of all objects.
func (r *rig) landedKeys() (all []string) {
	r.t.Helper()
	for o, err := range r.store.List(context.Background(), "topics/", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, o.Key)
	}
	return all
}

// join is a member of a group until the test ends.
func (r *rig) join(group string) {
	r.t.Helper()
	cl, err := kafka.NewClient(r.config, kgo.ConsumerGroup(group), kgo.ConsumeTopics("a_raw"), kgo.DisableAutoCommit())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	eventually(r.t, "the member has joined", func() bool {
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Millisecond)
		defer cancel()
		cl.PollFetches(ctx)
		members, err := kafka.Members(r.t.Context(), r.cl, group)
		return err == nil && len(members) > 0
	})
}
