package kafka

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// testRetention: topics that delete, as none of the embedded broker's do, and the times of the first records from an offset on.
func testRetention(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	specs := []TopicSpec{
		{Name: "hour", Partitions: 2, Configs: map[string]string{"retention.ms": "3600000"}},
		{Name: "ever", Partitions: 1, Configs: map[string]string{"retention.ms": "-1"}},
		{Name: "huge", Partitions: 1, Configs: map[string]string{"retention.ms": "9223372036854775807"}},
		{Name: "compact", Partitions: 1, Configs: map[string]string{"retention.ms": "3600000", "cleanup.policy": "compact"}},
	}
	if err := EnsureTopics(t.Context(), cl, specs); err != nil {
		t.Fatal(err)
	}
	got, err := Retention(t.Context(), cl, "hour", "ever", "huge", "compact")
	if diff := cmp.Diff(map[string]time.Duration{"hour": time.Hour}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got, err := Retention(t.Context(), cl, "hour", "none"); err == nil || got["hour"] != time.Hour {
		t.Errorf("%v, %v, want an error and what is known", got, err)
	}

	at := func(second int64) time.Time { return time.Unix(1783252800+second, 0) }
	for _, r := range []struct {
		partition int32
		second    int64
	}{{0, 10}, {0, 20}, {0, 30}, {1, 25}, {1, 5}} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "hour", Partition: r.partition, Value: []byte("{}"), Timestamp: at(r.second)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		from map[int32]int64
		want time.Time
	}{{map[int32]int64{0: 1, 1: 0}, at(20)}, {map[int32]int64{0: 2, 1: 0}, at(25)}, {map[int32]int64{0: 1, 1: 1}, at(5)}} {
		times, err := FirstTimes(t.Context(), cl, Offsets{"hour": test.from, "ever": {}})
		if err != nil || !times["hour"].Equal(test.want) || len(times) != 1 {
			t.Errorf("from %v the first is of %v, %v, want %v", test.from, times, err, test.want)
		}
	}
	if times, err := FirstTimes(t.Context(), cl, Offsets{}); err != nil || len(times) > 0 {
		t.Error(times, err)
	}
}

// TestCommits commits with and without notes, and forgets.
func TestCommits(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "a_raw", 2)
	want := map[string]map[int32]Commit{"a_raw": {0: {Offset: 7, Note: "n"}, 1: {}}}
	if err := SetCommits(t.Context(), cl, "a group", want); err != nil {
		t.Fatal(err)
	}
	got, err := Commits(t.Context(), cl, "a group")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if err := DeleteCommits(t.Context(), cl, "a group", map[string][]int32{"a_raw": {1}}); err != nil {
		t.Fatal(err)
	}
	delete(want["a_raw"], 1)
	if got, err = Commits(t.Context(), cl, "a group"); err != nil || !maps.Equal(want["a_raw"], got["a_raw"]) {
		t.Error(got, err)
	}
	if got, err := Commits(t.Context(), cl, "no group"); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}

// testMembers names those of groups of both protocols, of which the embedded broker has one, and refuses to commit for them.
func testMembers(t *testing.T) {
	cfg := broker(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "a_raw", 1)
	if got, err := Members(t.Context(), cl, "no group"); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
	for _, group := range []string{"classic", "newer"} {
		opts := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics("a_raw"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.ClientID("me")}
		if group == "newer" {
			opts = append(opts, kgo.ServerSideBalancer())
		}
		member := newClient(t, cfg, opts...)
		go member.PollFetches(t.Context())
		var got []string
		for range 600 {
			var err error
			if got, err = Members(t.Context(), cl, group); err != nil {
				t.Fatal(err)
			}
			if len(got) > 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if len(got) != 1 || got[0][:6] != "me at " {
			t.Errorf("group %s has the members %q", group, got)
		}
		if err := SetCommits(t.Context(), cl, group, map[string]map[int32]Commit{"a_raw": {0: {}}}); err == nil {
			t.Errorf("an offset of group %s was committed beside its member", group)
		}
		member.Close()
	}
}

// TestNoCoordinatorYet is what a new cluster says until it has made the topic of its groups' offsets.
func TestNoCoordinatorYet(t *testing.T) {
	cluster, cfg := fake(t)
	cl := newClient(t, cfg)
	ensure(t, cl, "a_raw", 1)
	of := map[string]map[int32]Commit{"a_raw": {0: {Offset: 7, Note: "n"}}}
	for what, ask := range map[string]func() error{
		"members": func() error { _, err := Members(t.Context(), cl, "members"); return err },
		"commits": func() error { _, err := Commits(t.Context(), cl, "commits"); return err },
		"set":     func() error { return SetCommits(t.Context(), cl, "set", of) },
		"delete":  func() error { return DeleteCommits(t.Context(), cl, "set", map[string][]int32{"a_raw": {0}}) },
	} {
		refused := 0
		cluster.ControlKey(int16(kmsg.FindCoordinator), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if refused++; refused > 2 {
				return nil, nil, false
			}
			cluster.KeepControl()
			answer := r.ResponseKind().(*kmsg.FindCoordinatorResponse)
			answer.ErrorCode = kerr.CoordinatorNotAvailable.Code
			for _, key := range r.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
				answer.Coordinators = append(answer.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: key, ErrorCode: kerr.CoordinatorNotAvailable.Code})
			}
			return answer, nil, true
		})
		err := ask()
		if what == "delete" && errors.Is(err, kerr.GroupIDNotFound) {
			err = nil // nobody has committed for it yet
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
