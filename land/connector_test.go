package land

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
)

// byClass sets a partitioner, and nothing that rotates but for flush.size.
func byClass(class string, flush int, fields ...string) func(*Options) {
	return func(o *Options) {
		o.Config.PartitionerClass, o.Config.PartitionFieldName, o.Config.FlushSize = class, fields, flush
		o.Config.RotateIntervalMs = -1
	}
}

// numbered are n records named 0, 1, 2, ... of one time, with what more says of each.
func numbered(n int, more func(i int) string) (values []string) {
	for i := range n {
		values = append(values, fmt.Sprintf(`{"raw_data":"%d",%s"ingestion_timestamp":1783245600000}`, i, more(i)))
	}
	return values
}

func nothingMore(int) string { return "" }

// everyTwenty are the times of the connector's own tests of intervals: nine, twenty seconds apart, from each of those given.
func everyTwenty(from ...string) string {
	var all []string
	for _, clock := range from {
		t, err := time.Parse(time.TimeOnly, clock)
		if err != nil {
			panic(err)
		}
		for i := range 9 {
			all = append(all, t.Add(time.Duration(i)*20*time.Second).Format(time.TimeOnly))
		}
	}
	return strings.Join(all, " ")
}

// TestConnector has more of folders and names than TestConformance. Objects at the end are those that RunTo closes.
func TestConnector(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*Options)
		values []string
		want   string // key=ids
	}{
		{
			"no padding", func(o *Options) { byClass(byPartition, 6)(o); o.Config.OffsetPadWidth = 0 }, numbered(13, nothingMore),
			"partition=0/a_raw+0+0=0 1 2 3 4 5; partition=0/a_raw+0+6=6 7 8 9 10 11; partition=0/a_raw+0+12=12",
		},
		{
			"DefaultPartitioner needs no time", byClass(byPartition, 9),
			[]string{`{"raw_data":"0"}`, `{"raw_data":"1","ingestion_timestamp":"soon"}`},
			"partition=0/a_raw+0+0000000000=0 1",
		},
		{
			"the same of two fields", func(o *Options) { byClass(byField, 10, "int", "boolean")(o); o.Config.MaxOpenFiles = 2 },
			numbered(4, func(i int) string { return fmt.Sprintf(`"int":16,"boolean":%v,`, i%3 < 2) }),
			"int=16/boolean=true/a_raw+0+0000000000=0 1 3; int=16/boolean=false/a_raw+0+0000000002=2",
		},
		{
			"nested field", byClass(byField, 10, "user.address.city"),
			numbered(4, func(i int) string {
				return []string{`"user":{"address":{"city":"NYC"}},`, `"user":{"address":{}},`, `"user":7,`, `"user":{"address":{"city":null}},`}[i]
			}),
			"user.address.city=NYC/a_raw+0+0000000000=0; user.address.city=null/a_raw+0+0000000001=1 2 3",
		},
		{
			"by bytes", func(o *Options) { byClass(byPartition, 1000)(o); o.Config.FlushBytes = 140 }, numbered(5, nothingMore),
			"partition=0/a_raw+0+0000000000=0 1 2; partition=0/a_raw+0+0000000003=3 4",
		},
		{
			"a folder with the topic's name", func(o *Options) { byClass(byTime, 2)(o); o.Config.PathFormat = "YYYY/'a_raw'/MM" }, numbered(3, nothingMore),
			"2026/a_raw/07/a_raw+0+0000000000=0 1; 2026/a_raw/07/a_raw+0+0000000002=2",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "a_raw")
			r.produce("a_raw", 0, tt.values...)
			r.land(tt.set)
			want := map[string]string{}
			for part := range strings.SplitSeq(tt.want, "; ") {
				i := strings.LastIndexByte(part, '=')
				want["a_raw/"+part[:i]] = part[i+1:]
			}
			if diff := cmp.Diff(want, r.files()); diff != "" {
				t.Error(diff)
			}
			if got, want := r.committed("a_raw", 0), r.made["a_raw"][0]; got != want {
				t.Errorf("committed %d, want %d", got, want)
			}
			// What has landed is found, whatever the folders are made of.
			r.setOffset("a_raw", 0, 0)
			if s := r.land(tt.set).Status().Partitions[0]; s.Records != 0 {
				t.Errorf("%d records have landed again", s.Records)
			}
		})
	}
}

// TestFieldFolders: values of every kind have a folder that stores and readers take, or go to quarantine.
func TestFieldFolders(t *testing.T) {
	f := folders{fields: []folderField{{"a", []string{"a"}}}, room: 300}
	for value, want := range map[string]string{
		`{"a":"NYC"}`:                       "a=NYC",
		`{"a":"S\u00e3o Paulo+1"}`:          "a=S\u00e3o Paulo+1",
		`{"a":"x/y"}`:                       "a=x%2Fy",
		`{"a":"../.."}`:                     "a=..%2F..",
		`{"a":"50%=1:2?\"\\*'#[]{}^"}`:      "a=50%25%3D1%3A2%3F%22%5C%2A%27%23%5B%5D%7B}%5E",
		`{"a":"tab\tnul\u0000\u007f"}`:      "a=tab%09nul%00%7F",
		`{"a":""}`:                          "a=__HIVE_DEFAULT_PARTITION__",
		`{"a":null}`:                        "a=null",
		`{}`:                                "a=null",
		`{"a":true}`:                        "a=true",
		`{"a":-7}`:                          "a=-7",
		`{"a":1.10}`:                        "a=1.10",
		`{"a":12345678901234567890123}`:     "a=12345678901234567890123",
		`{"a":1,"a":2}`:                     "a=2",
		`{"a":"` + strings.Repeat("x", 253): "a=" + strings.Repeat("x", 253),
		`{"a":"` + strings.Repeat("x", 254): "no folder: field a is too long for a name",
		`{"a":"` + strings.Repeat("/", 100): "no folder: field a is too long for a name",
		`{"a":{}}`:                          "no folder: field a is an object or an array",
		`{"a":[1]}`:                         "no folder: field a is an object or an array",
		`[{"a":1}]`:                         "no folder: it is no object that could have the field a",
		`7`:                                 "no folder: it is no object that could have the field a",
	} {
		if strings.Count(value, `"`) == 3 {
			value += `"}`
		}
		path, reason := f.of([]byte(value), 0)
		if path+reason != want {
			t.Errorf("%s has %q, %q, want %q", value, path, reason, want)
		}
		if path != "" && lake.CheckKey(path) != nil {
			t.Errorf("%s: %v", value, lake.CheckKey(path))
		}
	}
	f.fields = append(f.fields, f.fields[0])
	if path, reason := f.of([]byte(`{"a":"`+strings.Repeat("x", 200)+`"}`), 0); path != "" || !strings.Contains(reason, "too long for a key") {
		t.Errorf("the key is as long as %q: %s", path, reason)
	}
}

// TestLongestKey: no store refuses a key, or the Kafka partition would wait for ever.
func TestLongestKey(t *testing.T) {
	t.Parallel()
	topic := strings.Repeat("t", 245) + "_raw"
	r := newRig(t, 1, topic)
	for n := 150; n < 260; n++ {
		r.produce(topic, 0, fmt.Sprintf(`{"a":%q,"b":%q}`, strings.Repeat("x", n), strings.Repeat("y", n)))
	}
	r.land(byClass(byField, 100, "a", "b"))
	longest := 0
	for o, err := range r.store.List(context.Background(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(o.Key, "_quarantine/") {
			longest = max(longest, len(o.Key))
		}
	}
	if longest > maxKey || longest < maxKey-10 {
		t.Errorf("the longest key has %d bytes", longest)
	}
	if got := r.committed(topic, 0); got != r.made[topic][0] {
		t.Errorf("committed %d, want %d", got, r.made[topic][0])
	}
}

// layouts are settings that give the records of produceMany two folders or one.
var layouts = map[string]func(*Options){
	"by day":       func(*Options) {},
	"hourly":       byClass(byHour, 1),
	"by partition": byClass(byPartition, 1),
	"by field":     byClass(byField, 1, "ingestion_timestamp"),
	"padded":       func(o *Options) { o.Config.OffsetPadWidth = 3 },
	"week":         func(o *Options) { o.Config.PathFormat = "xxxx-'W'ww" },
}

// TestMovedPartitioner cuts a rotation of one layout short, goes on with another, cuts that short too, and comes back.
func TestMovedPartitioner(t *testing.T) {
	t.Parallel()
	for first, a := range layouts {
		for second, b := range layouts {
			t.Run(first+", "+second, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 1, "a_raw")
				sized := func(layout func(*Options), n int) func(*Options) {
					return func(o *Options) { layout(o); o.Config.FlushSize, o.Config.RotateIntervalMs = n, -1 }
				}
				r.produceMany("a_raw", 0, 20)
				r.land(sized(a, 20))
				r.produceMany("a_raw", 0, 45)
				for _, settings := range []func(*Options){sized(a, 20), sized(b, 7)} {
					store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
					stop := r.start(r.lander(func(o *Options) { settings(o); o.Store, o.Config.FlushOnStop = store, false }))
					eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
					stop()
				}
				r.land(sized(a, 11))
				r.exactlyOnce()
			})
		}
	}
}

// TestManyFolders: two writers, restarts and faults, with a folder for every record.
func TestManyFolders(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	settings := func(seed uint64) func(*Options) {
		return func(o *Options) {
			byClass(byField, 5+int(seed)*7, "raw_data")(o)
			o.Store = lakefault.Random(r.store, seed, 0.05)
			o.Config.FlushOnStop = seed%2 == 0
			o.Group = []string{DefaultGroup, "second"}[seed%2]
		}
	}
	for seed := range uint64(4) {
		r.produceMany("a_raw", 0, 60)
		stop, other := r.start(r.lander(settings(seed))), r.start(r.lander(settings(seed+1)))
		time.Sleep(200 * time.Millisecond)
		stop()
		other()
	}
	r.land(byClass(byField, 30, "raw_data"))
	r.exactlyOnce()
}

// TestFailOnNull: what is before a null value lands, and it stops its Kafka partition until a person has decided.
func TestFailOnNull(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw")
	fail := func(o *Options) { byClass(byPartition, 10)(o); o.Config.BehaviorOnNullValues = "fail" }
	r.produce("a_raw", 0, append(append(numbered(3, nothingMore), ""), numbered(2, nothingMore)...)...)
	r.produce("a_raw", 1, numbered(2, nothingMore)...)
	for range 2 {
		err := r.lander(fail).RunTo(t.Context(), r.made)
		if err == nil || !strings.Contains(err.Error(), "offset 3 has a null value") || retry.Classify(err) != retry.Permanent {
			t.Errorf("got %v", err)
		}
		if a, b := r.committed("a_raw", 0), r.committed("a_raw", 1); a != 3 || b != 2 {
			t.Errorf("committed %d and %d, want 3 and 2", a, b)
		}
	}
	l := r.land(byClass(byPartition, 10))
	if s := l.Status().Partitions[0]; s.Quarantined != 1 || s.Committed != 6 {
		t.Errorf("%+v", s)
	}
}

// TestTopicsList: with topics, topics.regex counts for nothing.
func TestTopicsList(t *testing.T) {
	c := DefaultConfig()
	c.Topics = []string{"a.b", "c"}
	l, err := New(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"a.b": true, "c": true, "aXb": false, "x_raw": false, "cc": false} {
		if got := l.Lands(topic); got != want {
			t.Errorf("Lands(%s) = %v", topic, got)
		}
	}
}

// TestSilence: without folders of time an interval is one of silence, and idle.flush.ms can be said by itself.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		idle, interval int64
		timed          bool
		wantIdle, want time.Duration
	}{
		{0, 1000, true, time.Second, time.Second},
		{0, 1000, false, time.Second, 0},
		{5, 1000, true, 5 * time.Millisecond, time.Second},
		{-1, 1000, true, -time.Millisecond, time.Second},
		{0, -1, true, -time.Millisecond, -time.Millisecond},
	} {
		c := DefaultConfig()
		c.IdleFlushMs, c.RotateIntervalMs = tt.idle, tt.interval
		if r := c.rotation(tt.timed, time.UTC); r.idle != tt.wantIdle || r.interval != tt.want {
			t.Errorf("%+v: idle %s, interval %s", tt, r.idle, r.interval)
		}
	}
}

// TestPage: docs/land.md names every key of the connector that is none of Config's.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../docs/land.md")
	if err != nil {
		t.Fatal(err)
	}
	for key, rule := range sinkKeys {
		if strings.HasSuffix(key, ".") {
			key += "*"
		}
		if strings.HasPrefix(key, "consumer.override.") || key == "value.converter.schemas.enable" {
			continue // told together
		}
		if !bytes.Contains(page, []byte("`"+key+"`")) {
			t.Errorf("docs/land.md lacks %s", key)
		}
		if rule.why == "" {
			t.Errorf("%s is %s, and it is not said why", key, rule.verdict)
		}
	}
}

func TestSinkKey(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		want       Verdict
		known      bool
	}{
		{"s3.part.size", "1", Better, true},
		{"storage.class", "io.confluent.connect.s3.storage.S3Storage", Same, true},
		{"storage.class", "Other", Refused, true},
		{"transforms", "", Same, true},
		{"transforms", "a", Refused, true},
		{"transforms.a.type", "X", Ignored, true},
		{"value.converter.schema.registry.url", "x", Ignored, true},
		{"value.converter.schemas.enable", "true", Refused, true},
		{"consumer.override.max.poll.records", "1", Ignored, true},
		{"consumer.override.isolation.level", "read_uncommitted", Refused, true},
		{"s3.ssea.name", "AES256", Same, true},
		{"s3.sse.kms.key.id", "x", Same, true},
		{"s3.ssea.name", "aws:kms", Same, true},
		{"s3.sse.customer.key", "a", Refused, true},
		{"s3.object.tagging.key.value.pairs", "a:b", Same, true},
		{"s3.object.behavior.on.tagging.error", "fail", Better, true},
		{"errors.tolerance", "all", Same, true},
		{"errors.tolerance", "none", Better, true},
		{"errors.deadletterqueue.unheard.of", "1", Refused, false},
		{"s3.unheard.of", "1", Refused, false},
		{"", "", Refused, false},
		{".", "", Refused, false},
		{"flush.bytes", "1", Refused, false},
	} {
		verdict, why, known := SinkKey(tt.key, tt.value)
		if verdict != tt.want || known != tt.known || why == "" && verdict != Same {
			t.Errorf("%s=%s is %s, %q, %v", tt.key, tt.value, verdict, why, known)
		}
	}
	c := DefaultConfig()
	if why := c.Unknown("s3.bucket.name"); !strings.Contains(why, "lake.raw") {
		t.Errorf("got %q", why)
	}
	if why := c.Unknown("flush.sise"); why != "" {
		t.Errorf("got %q", why)
	}
}

// tagging is a store whose objects have tags.
type tagging struct {
	*mem.Store
	tags     map[string]map[string]string
	failures *int // of puts that are still to come
}

func (s tagging) PutTagged(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition, tags map[string]string) (lake.Object, error) {
	if *s.failures > 0 {
		*s.failures--
		return lake.Object{}, errors.New("500 Internal Error")
	}
	s.tags[key] = tags
	return s.Put(ctx, key, body, cond)
}

// TestTagging has the example of the connector's own test.
func TestTagging(t *testing.T) {
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, numbered(8, nothingMore)...)
	s := tagging{r.store, map[string]map[string]string{}, new(int)}
	r.land(func(o *Options) { byClass(byPartition, 3)(o); o.Store, o.Config.ObjectTagging = s, true })
	want := map[string]map[string]string{}
	for key, tags := range map[string][3]string{"0": {"0", "2", "3"}, "3": {"3", "5", "3"}, "6": {"6", "7", "2"}} {
		want["topics/a_raw/partition=0/a_raw+0+000000000"+key+".json.gz"] = map[string]string{"startOffset": tags[0], "endOffset": tags[1], "recordCount": tags[2]}
	}
	if diff := cmp.Diff(want, s.tags); diff != "" {
		t.Error(diff)
	}
	o := Options{Config: DefaultConfig(), Store: r.store}
	o.Config.ObjectTagging = true
	if _, err := New(o); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "s3.object.tagging") {
		t.Errorf("a store without tags: %v", err)
	}
}
