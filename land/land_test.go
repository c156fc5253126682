package land

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/kafka"
	"headwater/lake"
	"headwater/lake/lakefault"
)

// hourly is the connector's HourlyPartitioner.
func hourly(o *Options) {
	o.Config.PathFormat, o.Config.PartitionDurationMs = "'day'=dd/'hour'=HH", 3_600_000
	o.Config.RotateIntervalMs, o.Config.RotateScheduleIntervalMs = -1, -1
}

// clocks are records named 0, 1, 2, ... of those times.
func clocks(times string) (values []string) {
	for i, clock := range strings.Fields(times) {
		if !strings.Contains(clock, "T") {
			clock = "2026-07-05T" + clock
		}
		values = append(values, at(fmt.Sprint(i), clock))
	}
	return values
}

// TestObjects has the connector's own examples: records in, objects out.
func TestObjects(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*Options)
		values []string
		want   string // key=ids; the last rotation is RunTo's
	}{
		{
			"by count", func(o *Options) { hourly(o); o.Config.FlushSize = 3 }, clocks(strings.Repeat("10:00:00 ", 10)),
			"day=05/hour=10/a_raw+0+0000000000=0 1 2; day=05/hour=10/a_raw+0+0000000003=3 4 5; day=05/hour=10/a_raw+0+0000000006=6 7 8; day=05/hour=10/a_raw+0+0000000009=9",
		},
		{
			"count spans the folders", func(o *Options) { hourly(o); o.Config.FlushSize = 9 },
			clocks(strings.Repeat("16:00:00 17:00:00 18:00:00 ", 6)),
			"day=05/hour=16/a_raw+0+0000000000=0 3 6; day=05/hour=16/a_raw+0+0000000009=9 12 15; day=05/hour=17/a_raw+0+0000000001=1 4 7; day=05/hour=17/a_raw+0+0000000010=10 13 16; " +
				"day=05/hour=18/a_raw+0+0000000002=2 5 8; day=05/hour=18/a_raw+0+0000000011=11 14 17",
		},
		{
			"late records stay in open objects", func(o *Options) { hourly(o); o.Config.RotateIntervalMs = 600_000 },
			clocks("10:00:00 09:58:00 10:09:00 09:55:00 10:10:00"),
			"day=05/hour=09/a_raw+0+0000000001=1 3; day=05/hour=10/a_raw+0+0000000000=0 2; day=05/hour=10/a_raw+0+0000000004=4",
		},
		{
			"a day later", func(o *Options) { hourly(o); o.Config.RotateIntervalMs = 86_400_000 },
			clocks("2026-07-05T10:00:00 2026-07-05T09:00:00 2026-07-06T10:00:00 2026-07-06T10:00:01"),
			"day=05/hour=09/a_raw+0+0000000001=1; day=05/hour=10/a_raw+0+0000000000=0; day=06/hour=10/a_raw+0+0000000002=2 3",
		},
		{
			"null values first and last", func(o *Options) { hourly(o); o.Config.FlushSize = 3 },
			append(append([]string{""}, clocks(strings.Repeat("10:00:00 ", 5))...), ""),
			"day=05/hour=10/a_raw+0+0000000001=0 1 2; day=05/hour=10/a_raw+0+0000000004=3 4",
		},
		{"nothing", hourly, nil, ""},
		{
			"no folder for all", func(o *Options) { o.Config.TopicsDir = "topics/nested.json.gz" }, clocks("10:00:00"),
			"date=2026-07-05/a_raw+0+0000000000=0",
		},
		{
			"timezone", func(o *Options) { o.Config.Timezone = "America/Santiago" }, clocks("02:59:59"),
			"date=2026-07-04/a_raw+0+0000000000=0",
		},
		{
			"pipeline's timezone", func(o *Options) { o.Location = time.FixedZone("", 86400/2) }, clocks("12:00:00"),
			"date=2026-07-06/a_raw+0+0000000000=0",
		},
		{
			"nested field", func(o *Options) { o.Config.TimestampField = "a.b" },
			[]string{`{"a":{"b":"2026-07-05T10:00:00"},"raw_data":"0"}`},
			"date=2026-07-05/a_raw+0+0000000000=0",
		},
		{
			"Kafka's time", func(o *Options) { o.Config.TimestampExtractor = "io.confluent.connect.storage.partitioner.Record" },
			[]string{`{"raw_data":"0"}`},
			"date=2025-07-05/a_raw+0+0000000000=0",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			r.produce("a_raw", 0, tt.values...)
			r.land(tt.set)
			got := map[string]string{}
			for key, ids := range r.files() {
				got[strings.TrimPrefix(key, "nested.json.gz/")] = ids
			}
			want := map[string]string{}
			for part := range strings.SplitSeq(tt.want, "; ") {
				if i := strings.LastIndexByte(part, '='); i > 0 {
					want["a_raw/"+part[:i]] = part[i+1:]
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got, want := r.committed("a_raw", 0), r.made["a_raw"][0]; got != want {
				t.Errorf("committed %d, want %d", got, want)
			}
		})
	}
}

// TestOwnBytes: a line is the record's own bytes without whitespace.
func TestOwnBytes(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, "{ \"z\": 1.10,\n \"a\" :12345678901234567890123, \"z\":\"\\u00e9 \\/\", \"ingestion_timestamp\" : 1751700000000 }")
	r.land(nil)
	want := []string{`{"z":1.10,"a":12345678901234567890123,"z":"\u00e9 \/","ingestion_timestamp":1751700000000}`}
	if diff := cmp.Diff(want, r.objects("")["topics/a_raw/date=2025-07-05/a_raw+0+0000000000.json.gz"].lines); diff != "" {
		t.Error(diff)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "prod.Trades-raw")
	bad := map[string]string{
		"": "null value", "{": "no JSON: unexpected-end", "\xff": "no JSON: invalid-utf8", "{}{}": "no JSON: text-after-value",
		`{"a":1}`: "no time: field ingestion_timestamp is missing", `7`: "no time: field ingestion_timestamp is missing",
		`{"ingestion_timestamp":null}`:                                      "no time: field ingestion_timestamp is neither milliseconds nor a time",
		`{"ingestion_timestamp":[1]}`:                                       "no time: field ingestion_timestamp is neither milliseconds nor a time",
		`{"ingestion_timestamp":1e300}`:                                     "no time: field ingestion_timestamp is not a number of milliseconds",
		`{"ingestion_timestamp":"today"}`:                                   "no time: field ingestion_timestamp is not a time as 2026-07-05T12:00:00Z",
		`{"ingestion_timestamp":9e17}`:                                      "no time: it is outside the years 1 to 9999",
		`{"ingestion_timestamp":1,"a":"` + strings.Repeat("x", 1000) + `"}`: "too large",
		`{"ingestion_timestamp":1,"a":` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + "}": "no JSON: too-deep",
	}
	var values, want []string
	for value, reason := range bad {
		if reason == "no JSON: too-deep" {
			continue
		}
		values, want = append(values, value), append(want, reason)
	}
	r.produce("prod.Trades-raw", 0, values...)
	l := r.land(func(o *Options) {
		o.Config.TopicsRegex = ".*[._-]raw"
		o.Config.MaxRecordBytes = 900
	})
	for offset, reason := range want {
		key := fmt.Sprintf("_quarantine/land/prod_trades/date=2025-07-05/prod.Trades-raw+0+%010d.json.gz", offset)
		for e, err := range (lake.Quarantine{Store: r.store}).Read(context.Background(), key) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Reason != reason || string(e.Data) != values[offset] || e.Record.Offset != int64(offset) {
				t.Errorf("%q is in quarantine as %+v, want reason %q", values[offset], e, reason)
			}
		}
	}
	if len(r.objects("topics/")) != 0 || r.committed("prod.Trades-raw", 0) != int64(len(values)) {
		t.Errorf("objects %v, committed %d of %d", r.files(), r.committed("prod.Trades-raw", 0), len(values))
	}
	if got := l.Status().Partitions[0].Quarantined; got != int64(len(values)) {
		t.Errorf("%d quarantined, want %d", got, len(values))
	}
}

// TestDepth: the limit is the item's, so that the deepest item may be wrapped.
func TestDepth(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	nested := func(n int) string {
		return `{"ingestion_timestamp":1751700000000,"raw_data":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	r.produce("a_raw", 0, nested(1000), nested(1001))
	l := r.land(nil)
	if s := l.Status().Partitions[0]; s.Records != 1 || s.Quarantined != 1 {
		t.Errorf("%+v", s)
	}
}

// TestTwice: what has landed is not landed again, by the same group, by another that starts at the beginning, and after
// the group's offsets were set back.
func TestTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw", "b_raw")
	for p := range int32(2) {
		r.produceMany("a_raw", p, 100)
		r.produceMany("b_raw", p, 100)
	}
	r.land(func(o *Options) { o.Config.FlushSize = 30 })
	first := keys(r.files())
	r.land(nil)
	r.land(func(o *Options) { o.Group = "another" })
	for offset := range int64(100) {
		r.setOffset("a_raw", 0, offset)
		if offset%9 == 0 {
			r.land(nil)
		}
	}
	if got := keys(r.files()); got != first {
		t.Errorf("objects were made again:\n%s\n%s", first, got)
	}
	r.exactlyOnce()
	// What comes then is landed.
	r.setOffset("a_raw", 0, 3)
	r.produceMany("a_raw", 0, 50)
	r.land(nil)
	r.exactlyOnce()
}

// TestEnds: RunTo lands up to its ends and nothing after them, and needs no topic to have anything.
func TestEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw", "b_raw", "other")
	r.produceMany("a_raw", 0, 10)
	r.made["other"] = nil
	ends := map[string]map[int32]int64{"a_raw": {0: 4, 1: 0}, "b_raw": {0: 0, 1: 0}}
	l := r.lander(nil)
	if err := l.RunTo(t.Context(), ends); err != nil {
		t.Fatal(err)
	}
	if got := r.committed("a_raw", 0); got != 4 {
		t.Errorf("committed %d, want 4", got)
	}
	if err := l.RunTo(t.Context(), map[string]map[int32]int64{"other": {0: 1}}); err == nil {
		t.Error("a topic that is not landed was accepted")
	}
	if err := l.RunTo(t.Context(), nil); err != nil {
		t.Error(err)
	}
	r.land(func(o *Options) { o.Topics = []string{"other"} })
	r.exactlyOnce()
}

// TestRun: new topics are found, the clock closes objects on Kafka partitions where nothing more comes, and the end of
// Run closes the rest.
func TestRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	l := r.lander(func(o *Options) { o.Config.RotateIntervalMs, o.Config.RotateScheduleIntervalMs = 300, -1 })
	stop := r.start(l)
	r.produceMany("a_raw", 0, 10)
	eventually(t, "silence closes the objects", func() bool { return r.committed("a_raw", 0) == 10 })
	r.create("new_raw")
	r.produceMany("new_raw", 0, 10)
	eventually(t, "the new topic is landed", func() bool { return r.committed("new_raw", 0) == 10 })
	stop()

	l = r.lander(func(o *Options) { o.Config.RotateIntervalMs, o.Config.RotateScheduleIntervalMs = -1, 200 })
	stop = r.start(l)
	r.produceMany("a_raw", 0, 10)
	eventually(t, "the schedule closes the objects", func() bool { return r.committed("a_raw", 0) == 20 })
	stop()

	l = r.lander(nil)
	stop = r.start(l)
	r.produceMany("a_raw", 0, 10)
	eventually(t, "the records are read", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Position == 30 })
	if s := l.statusOf(topicPartition{"a_raw", 0}); s.OpenObjects != 2 || s.Lag() != 10 || !s.Assigned {
		t.Errorf("with open objects: %+v", s)
	}
	stop()
	if got := r.committed("a_raw", 0); got != 30 {
		t.Errorf("committed %d at the end, want 30", got)
	}
	if l.Committed()["a_raw"][0] != 30 {
		t.Errorf("Committed is %v", l.Committed())
	}
	r.exactlyOnce()
}

// TestFaults: every call to the store fails once, before or after it took effect, and the objects are the same.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, op := range []lakefault.Op{lakefault.Put, lakefault.List, lakefault.Get} {
		for _, when := range []lakefault.When{lakefault.Before, lakefault.After} {
			t.Run(fmt.Sprint(op, when), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 1, "a_raw")
				r.produceMany("a_raw", 0, 40)
				r.produce("a_raw", 0, "")
				fired := 0
				for n := 1; n < 20; n++ {
					store := lakefault.New(r.store, lakefault.Rule{Op: op, Nth: n, When: when})
					r.setOffset("a_raw", 0, 0)
					if n < 10 && op != lakefault.Get { // Get is only called where there are objects
						r.clear()
					}
					r.land(func(o *Options) {
						o.Store, o.Quarantine.Store, o.Config.FlushSize = store, store, 15
					})
					fired += store.Fired()
					r.made["a_raw"][0]-- // the null value
					r.exactlyOnce()
					r.made["a_raw"][0]++
				}
				if fired < 2 {
					t.Errorf("the faults were met %d times", fired)
				}
			})
		}
	}
}

// TestDropped: a Lander vanishes at every call of the store, before or after it took effect; the next one goes on.
func TestDropped(t *testing.T) {
	t.Parallel()
	for _, when := range []lakefault.When{lakefault.Before, lakefault.After} {
		t.Run(fmt.Sprint(when), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			for n := 1; n < 14; n++ {
				r.produceMany("a_raw", 0, 40)
				store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: n%7 + 1, When: when, Delay: lakefault.Hang})
				l := r.lander(func(o *Options) {
					o.Store, o.Config.FlushSize, o.Config.FlushOnStop = store, 9+n, false
				})
				stop := r.start(l)
				eventually(t, "a call hangs", func() bool { return store.Fired() > 0 })
				stop()
			}
			r.land(nil)
			r.exactlyOnce()
		})
	}
}

// TestDropAfterTheFirstObject: of a rotation with two objects one exists. The next Lander has another rotation, and
// leaves out what exists.
func TestDropAfterTheFirstObject(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, clocks("2026-07-05T23:00:00 2026-07-06T00:00:00 2026-07-05T23:00:00 2026-07-06T00:00:00")...)
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop := r.start(r.lander(func(o *Options) {
		o.Store, o.Config.FlushSize, o.Config.FlushOnStop, o.Config.RotateIntervalMs = store, 4, false, -1
	}))
	eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
	stop()
	r.produce("a_raw", 0, at("4", "2026-07-05T23:30:00"))
	r.land(func(o *Options) { o.Config.FlushSize = 1 })
	want := map[string]string{
		"a_raw/date=2026-07-05/a_raw+0+0000000000": "0 2",
		"a_raw/date=2026-07-06/a_raw+0+0000000001": "1",
		"a_raw/date=2026-07-06/a_raw+0+0000000003": "3",
		"a_raw/date=2026-07-05/a_raw+0+0000000004": "4",
	}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		t.Error(diff)
	}
}

// TestSlowStore: a store that hangs for one topic does not keep the others from landing, nor cost the membership.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw", "b_raw")
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, KeyContains: "a_raw", When: lakefault.Before, Delay: lakefault.Hang})
	l := r.lander(func(o *Options) { o.Store, o.Config.FlushSize, o.Config.FlushOnStop = store, 5, false })
	stop := r.start(l)
	r.produceMany("a_raw", 0, 20)
	eventually(t, "a put hangs", func() bool { return store.Fired() > 0 })
	for n := int64(1); n <= 5; n++ {
		r.produceMany("b_raw", 0, 20)
		eventually(t, "the other topic is landed", func() bool { return r.committed("b_raw", 0) == n*20 })
	}
	stop()
	r.land(nil)
	r.exactlyOnce()
}

func (r *rig) create(topic string) {
	r.t.Helper()
	if _, err := r.admin().CreateTopic(context.Background(), 1, 1, nil, topic); err != nil {
		r.t.Fatal(err)
	}
	r.cl.ForceMetadataRefresh()
}

// start runs a Lander in the background; the result stops it and waits.
func (r *rig) start(l *Lander) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
	r.t.Cleanup(stop)
	return stop
}

func (r *rig) clear() {
	for o, err := range r.store.List(context.Background(), "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if err := r.store.Delete(context.Background(), o.Key); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestCoveredRange: an open object ends where an existing one begins (Invariant 3), and no offset below an existing one's
// end is committed (Invariant 5).
func TestCoveredRange(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, clocks(strings.Repeat("10:00:00 ", 7))...)
	ids, err := kafka.TopicIDs(t.Context(), r.cl, "a_raw")
	if err != nil {
		t.Fatal(err)
	}
	r.put("topics/a_raw/date=2026-07-05/a_raw+0+0000000002.json.gz", lake.Tail{Log: ids["a_raw"], First: 2, Next: 5, Count: 3}.Append(nil))
	r.setOffset("a_raw", 0, 0)
	if err := r.lander(nil).RunTo(t.Context(), map[string]map[int32]int64{"a_raw": {0: 3}}); err != nil {
		t.Fatal(err)
	}
	if got := r.committed("a_raw", 0); got != 0 {
		t.Errorf("committed %d within an object that ends at 5", got)
	}
	r.delete("topics/a_raw/date=2026-07-05/a_raw+0+0000000000")
	r.land(nil)
	want := map[string]string{
		"a_raw/date=2026-07-05/a_raw+0+0000000000": "0 1",
		"a_raw/date=2026-07-05/a_raw+0+0000000002": "",
		"a_raw/date=2026-07-05/a_raw+0+0000000005": "5 6",
	}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		t.Error(diff)
	}
	if got := r.committed("a_raw", 0); got != 7 {
		t.Errorf("committed %d, want 7", got)
	}
}

// TestLargeRecords: records of tens of MiB among small ones.
func TestLargeRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	if _, err := r.admin().CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": new("80000000")}, "a_raw"); err != nil {
		t.Fatal(err)
	}
	array := "[" + strings.Repeat(`"`+strings.Repeat("z", 1<<20)+`",`, 30) + "0]"
	r.produce("a_raw", 0, at("0", "2026-07-05T10:00:00"), `{"raw_data":`+array+`,"ingestion_timestamp":1783245600000}`, at("2", "2026-07-05T10:00:00"))
	l := r.land(func(o *Options) { o.Config.MaxMemory = 1 << 20 })
	objects := r.objects("topics/")
	if s := l.Status().Partitions[0]; len(objects) != 1 || s.Records != 3 || s.Bytes < 30<<20 {
		t.Errorf("%d objects, %+v", len(objects), s)
	}
}
