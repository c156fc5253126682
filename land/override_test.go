package land

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// overridden has a topic of hourly folders and one of Kafka partitions; the rest are of days.
func overridden(o *Options) {
	hourly, partition, one, three, never := byHour, byPartition, 1, 3, int64(-1)
	o.Config.FlushSize = 100
	o.Config.Overrides = []Override{
		{TopicsRegex: "a_.*", PartitionerClass: &hourly, FlushSize: &three, RotateIntervalMs: &never},
		{TopicsRegex: "a_raw|b_raw", PartitionerClass: &partition, FlushSize: &one},
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw", "b_raw", "bb_raw")
	for _, topic := range []string{"a_raw", "b_raw", "bb_raw"} {
		r.produce(topic, 0, clocks("10:00:00 10:10:00 10:20:00 11:00:00")...)
	}
	r.land(overridden)
	want := map[string]string{
		"a_raw/year=2026/month=07/day=05/hour=10/a_raw+0+0000000000": "0 1 2",
		"a_raw/year=2026/month=07/day=05/hour=11/a_raw+0+0000000003": "3",
		"b_raw/partition=0/b_raw+0+0000000000":                       "0",
		"b_raw/partition=0/b_raw+0+0000000001":                       "1",
		"b_raw/partition=0/b_raw+0+0000000002":                       "2",
		"b_raw/partition=0/b_raw+0+0000000003":                       "3",
		"bb_raw/date=2026-07-05/bb_raw+0+0000000000":                 "0",
		"bb_raw/date=2026-07-05/bb_raw+0+0000000001":                 "1",
		"bb_raw/date=2026-07-05/bb_raw+0+0000000002":                 "2",
		"bb_raw/date=2026-07-05/bb_raw+0+0000000003":                 "3",
	}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		t.Error(diff)
	}
}

// TestOverrideMoved: an override that is taken away is a change of the layout of its topics, and of no others.
func TestOverrideMoved(t *testing.T) {
	with, without := &Lander{}, &Lander{}
	for _, l := range []*Lander{with, without} {
		o := Options{Config: DefaultConfig()}
		overridden(&o)
		if l == without {
			o.Config.Overrides = o.Config.Overrides[1:]
		}
		made, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		*l = Lander{settings: made.settings}
	}
	for topic, moves := range map[string]bool{"a_raw": true, "a_x": true, "b_raw": false, "c_raw": false} {
		if got := with.layoutOf(topic) != without.layoutOf(topic); got != moves {
			t.Errorf("%s moves: %v", topic, got)
		}
	}
}

func TestOverrideFaults(t *testing.T) {
	field, format, duration := byField, "date=YYYY", int64(60_000)
	hour := byHour
	c := DefaultConfig()
	c.FlushSize = 0
	c.Overrides = []Override{{}, {TopicsRegex: "a", PartitionerClass: &field}, {TopicsRegex: "b", PathFormat: &format}, {TopicsRegex: "c", PartitionerClass: &hour, PartitionDurationMs: &duration}, {TopicsRegex: "("}}
	var got []string
	for _, f := range c.Validate() {
		got = append(got, strings.Join(f.Path, " "))
	}
	want := []string{
		"flush.size", // once
		"overrides 0 topics.regex", "overrides 1 partition.field.name", "overrides 2 path.format", "overrides 3 partition.duration.ms", "overrides 4 topics.regex",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for key, want := range map[string]string{"max.memory": "under land itself", "s3.bucket.name": "lake.raw", "flush.sise": ""} {
		if why := (&Override{}).Unknown(key); !strings.Contains(why, want) || (want == "") != (why == "") {
			t.Errorf("%s: %q", key, why)
		}
	}
}

// TestOverrideHasAll: each key of Config either can be overridden or is refused with the reason, and what an override says is
// what holds.
func TestOverrideHasAll(t *testing.T) {
	c := DefaultConfig()
	for _, key := range configKeys(c) {
		can := slices.Contains(configKeys(Override{}), key)
		if told := (&Override{}).Unknown(key) != ""; can == told && key != "topics.regex" {
			t.Errorf("%s can be overridden: %v, and is refused: %v", key, can, told)
		}
	}
	o := Override{TopicsRegex: "x"}
	setAll(&o)
	if conf := c.with(&o); len(unchanged(c, conf, configKeys(o))) > 0 {
		t.Errorf("an override of %v changes nothing", unchanged(c, conf, configKeys(o)))
	}
}

// configKeys are the keys that a pipeline file has for a struct.
func configKeys(of any) (keys []string) {
	for f := range reflect.TypeOf(of).Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// setAll has every pointer of an override point to sevens.
func setAll(o *Override) {
	v := reflect.ValueOf(o).Elem()
	for _, field := range v.Fields() {
		if field.Kind() != reflect.Pointer {
			continue
		}
		at := reflect.New(field.Type().Elem())
		switch at.Elem().Kind() {
		case reflect.String:
			at.Elem().SetString("7")
		case reflect.Slice:
			at.Elem().Set(reflect.ValueOf([]string{"7"}))
		default:
			at.Elem().SetInt(7)
		}
		field.Set(at)
	}
}

// unchanged are those of the keys whose values are the same in both.
func unchanged(a, b Config, keys []string) (same []string) {
	for i, key := range configKeys(a) {
		if slices.Contains(keys, key) && key != "topics.regex" && reflect.DeepEqual(reflect.ValueOf(a).Field(i).Interface(), reflect.ValueOf(b).Field(i).Interface()) {
			same = append(same, key)
		}
	}
	return same
}
