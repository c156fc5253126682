package land

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/lake"
	"headwater/lake/lakefault"
)

// outcome is what has become of each record: its folder and line, or the reason of its quarantine.
func (r *rig) outcome(topic string) (all []string) {
	r.t.Helper()
	for key, o := range r.objects("topics/") {
		name, err := lake.ParseRawKey(key)
		if err != nil {
			r.t.Fatal(err)
		}
		next := 0
		for offset := range r.made[topic][0] {
			if o.tail.Has(offset) {
				all = append(all, fmt.Sprintf("%d %s %s", offset, name.Path, o.lines[next]))
				next++
			}
		}
	}
	quarantine := lake.Quarantine{Store: r.store}
	for o, err := range r.store.List(context.Background(), lake.QuarantinePrefix("land", ""), "") {
		if err != nil {
			r.t.Fatal(err)
		}
		for e, err := range quarantine.Read(context.Background(), o.Key) {
			if err != nil {
				r.t.Fatal(err)
			}
			all = append(all, fmt.Sprintf("%d %s", e.Record.Offset, e.Reason))
		}
	}
	slices.Sort(all)
	return all
}

// TestShapes: the time of a record is read as it was declared, and what does not fit is in quarantine.
func TestShapes(t *testing.T) {
	t.Parallel()
	const unfit = "no time: field ingestion_timestamp "
	tests := []struct {
		name   string
		shape  envelope.Shape
		values []string
		want   []string
	}{
		{
			"milliseconds",
			envelope.Shape{Unit: envelope.Millis},
			[]string{
				`{"ingestion_timestamp":1783252800000}`, `{"ingestion_timestamp":1783252800000.7, "x":1}`, `{"ingestion_timestamp":"1783252800000"}`,
				`{"ingestion_timestamp":"2026-07-05"}`, `{"ingestion_timestamp":null}`, `{"t":1783252800000}`, `7`,
			},
			[]string{
				`date=2026-07-05 {"ingestion_timestamp":1783252800000}`, `date=2026-07-05 {"ingestion_timestamp":1783252800000.7,"x":1}`,
				`date=2026-07-05 {"ingestion_timestamp":"1783252800000"}`,
				unfit + "is not a number of milliseconds", unfit + "is not a number of milliseconds", unfit + "is missing", unfit + "is missing",
			},
		},
		{
			"seconds",
			envelope.Shape{Unit: envelope.Seconds},
			[]string{
				`{"ingestion_timestamp":1783295999.9999}`, `{"ingestion_timestamp":1783296000}`, `{"ingestion_timestamp":-0.5}`,
				`{"ingestion_timestamp":1783252800000}`, `{"ingestion_timestamp":1e400}`, `{"ingestion_timestamp":[1]}`, `{"ingestion_timestamp":253402300799}`,
			},
			[]string{
				`date=2026-07-05 {"ingestion_timestamp":1783295999.9999}`, `date=2026-07-06 {"ingestion_timestamp":1783296000}`, `date=1969-12-31 {"ingestion_timestamp":-0.5}`,
				"no time: it is outside the years 1 to 9999", unfit + "is outside the years 1 to 9999", unfit + "is not a number of seconds", "no time: it is outside the years 1 to 9999",
			},
		},
		{
			"iso",
			envelope.Shape{Unit: envelope.ISO},
			[]string{
				`{"ingestion_timestamp":"2026-07-05T23:30:00-01:00"}`, `{"ingestion_timestamp":"9999-01-01"}`, `{"ingestion_timestamp":1783252800000}`,
				`{"ingestion_timestamp":"1783252800000"}`, `{"ingestion_timestamp":"2026-02-30"}`,
			},
			[]string{
				`date=2026-07-06 {"ingestion_timestamp":"2026-07-05T23:30:00-01:00"}`, `date=9999-01-01 {"ingestion_timestamp":"9999-01-01"}`,
				unfit + "is not a time as 2026-07-05T12:00:00Z", unfit + "is not a time as 2026-07-05T12:00:00Z", unfit + "is not a time as 2026-07-05T12:00:00Z",
			},
		},
		{
			"bare, with Kafka's time",
			envelope.Shape{Bare: true},
			[]string{`{ "a": 1.10 }`, `[1]`, `"text"`, `null`, `{"a":`, "\xff\xfe", "", " "},
			[]string{
				wrapped(`{"a":1.10}`, 0, 1751700000000), wrapped(`[1]`, 1, 1751700000000), wrapped(`"text"`, 2, 1751700000000), wrapped(`null`, 3, 1751700000000),
				"no JSON: unexpected-end", "no JSON: invalid-utf8", "null value", "no JSON: empty",
			},
		},
		{
			"bare, with a field",
			envelope.Shape{Bare: true, Unit: envelope.Seconds, Field: "event.at"},
			[]string{`{"event":{"at":1751700000.5}}`, `{"event":{"at":"soon"}}`, `{"event":7}`, `{"event.at":1751700000}`},
			[]string{
				wrapped(`{"event":{"at":1751700000.5}}`, 0, 1751700000500), "no time: field event.at is not a number of seconds",
				"no time: field event.at is missing", "no time: field event.at is missing",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1, "theirs")
			r.produce("theirs", 0, test.values...)
			l := r.land(func(o *Options) {
				o.Topics, o.Shapes = []string{"theirs"}, map[string]envelope.Shape{"theirs": test.shape}
			})
			for i := range test.want {
				test.want[i] = fmt.Sprintf("%d %s", i, test.want[i])
			}
			if diff := cmp.Diff(test.want, r.outcome("theirs")); diff != "" {
				t.Error(diff)
			}
			if got := r.committed("theirs", 0); got != int64(len(test.values)) {
				t.Errorf("%d is committed of %d: %+v", got, len(test.values), l.Status())
			}
		})
	}
}

// wrapped is the envelope of a document of topic theirs.
func wrapped(document string, offset int, millis int64) string {
	return fmt.Sprintf(`date=2025-07-05 {"raw_data":%s,"metadata":{"thread_id":0,"host_name":"","process_start_time":"","source":"theirs","origin":"theirs",`+
		`"position":"partition 0, offset %d"},"ingestion_timestamp":%d}`, document, offset, millis)
}

// TestBesideTheValue: key, headers and time of a bare record are in its envelope, and those of a record without a value in quarantine.
func TestBesideTheValue(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "theirs")
	at := time.UnixMilli(1751700000123)
	records := []*kgo.Record{
		{Key: []byte(`k"1`), Value: []byte(`{"a":1}`), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "h", Value: []byte{0xff}}, {Key: "none"}}},
		{Key: []byte{0, 0xff}, Value: []byte(`{"a":2}`)},
		{Key: []byte{}, Value: []byte(`{"a":3}`)},
		{Key: []byte{0, 0xff}, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}},
		{Key: bytes.Repeat([]byte("k"), 1<<20), Value: []byte(`{"a":5}`), Headers: []kgo.RecordHeader{{Key: "h", Value: make([]byte, 1<<20)}}},
	}
	for _, record := range records {
		record.Topic, record.Timestamp = "theirs", at
	}
	if err := r.cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	r.made["theirs"][0] = int64(len(records))
	r.land(func(o *Options) {
		o.Topics, o.Shapes = []string{"theirs"}, map[string]envelope.Shape{"theirs": {Bare: true}}
		o.Config.MaxRecordBytes = 2 << 20 // which is less than all of the last one
	})
	got := r.outcome("theirs")
	for i, want := range []string{
		`"offset 0","key":"k\"1","headers":[["h","v"],["h","/w==","base64"],["none",""]]},"ingestion_timestamp":1751700000123}`,
		`"offset 1","key_base64":"AP8="},"ingestion_timestamp":1751700000123}`, `"offset 2","key":""},"ingestion_timestamp":1751700000123}`, "null value", "too large",
	} {
		if want = strings.TrimPrefix(want, `"`); !strings.HasSuffix(got[i], want) {
			t.Errorf("got  %s\nwant ...%s", got[i], want)
		}
	}
	key := lake.QuarantineKey("land", "theirs", "2025-07-05", lake.LandID("theirs", 0, 3))
	for e, err := range (lake.Quarantine{Store: r.store}).Read(t.Context(), key) {
		if err != nil || string(e.Key) != "\x00\xff" || !slices.Equal(e.Headers, [][2]string{{"h", "v"}}) || e.Record.Timestamp != at.UnixMilli() {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

// TestNoTimestamp: a record without a time in Kafka, which old clients make, has none.
func TestNoTimestamp(t *testing.T) {
	t.Parallel()
	e := extractor{}
	if _, err := e.millis([]byte("{}"), time.UnixMilli(-1)); err == nil {
		t.Error("no time is the last millisecond of 1969")
	}
	if got, err := e.millis([]byte("{}"), time.UnixMilli(0)); got != 0 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

// TestBareDepth: the deepest document may be wrapped.
func TestBareDepth(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "theirs")
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	r.produce("theirs", 0, nested(1000), nested(1001))
	r.land(func(o *Options) {
		o.Topics, o.Shapes = []string{"theirs"}, map[string]envelope.Shape{"theirs": {Bare: true}}
	})
	if diff := cmp.Diff([]string{"0 " + wrapped(nested(1000), 0, 1751700000000), "1 no JSON: too-deep"}, r.outcome("theirs")); diff != "" {
		t.Error(diff)
	}
}

// TestShapeChanged: the unit is declared after some records have landed where another one led, one rotation of it not committed.
func TestShapeChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	produce := func() {
		for range 20 {
			offset := r.made["a_raw"][0]
			r.produce("a_raw", 0, fmt.Sprintf(`{"raw_data":%q,"ingestion_timestamp":%d}`, lake.LandID("a_raw", 0, offset), 1783295990+offset))
		}
	}
	old := func(o *Options) { o.Config.FlushSize, o.Config.RotateIntervalMs = 20, -1 }
	produce()
	r.land(old)
	produce()
	store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: lakefault.After, Delay: lakefault.Hang})
	stop := r.start(r.lander(func(o *Options) { old(o); o.Store, o.Config.FlushOnStop = store, false }))
	eventually(t, "the first object exists", func() bool { return store.Fired() > 0 })
	stop()
	produce()
	r.land(func(o *Options) { old(o); o.Shapes = map[string]envelope.Shape{"a_raw": {Unit: envelope.Seconds}} })
	r.exactlyOnce()
	if got := keys(r.files()); got != "a_raw/date=1970-01-21/a_raw+0+0000000000 a_raw/date=1970-01-21/a_raw+0+0000000020 a_raw/date=2026-07-06/a_raw+0+0000000040" {
		t.Error(got)
	}
}
