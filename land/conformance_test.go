package land

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
	"headwater/lake/lakefault"
)

var update = flag.Bool("update", false, "rewrite the table of differences in docs/land.md")

// behaviour is one of those that the connector's own tests hold it to, in our words.
type behaviour struct {
	n         int
	connector string
	// here is what is other here, and why; empty if it is the same. docs/land.md has them.
	here string
	// check holds our result; nil for what is about records with schemas, tags, or files of keys and headers.
	check func(t *testing.T)
}

const (
	noSchemas = "not here: records have no schemas"
	inLake    = "the record is whole in the lake's quarantine, with the reason, and holds nothing up"
	inBoth    = "the record is a dead letter where there is a topic of them, at least once, and in any case whole in the lake's quarantine, exactly once"
)

// behaviours are numbered as they were found; 37 is none.
var behaviours = []behaviour{
	{1, "ten records, flush.size 3, offsets padded to 2: objects at 00, 03 and 06; the tenth stays open", "", lands(
		func(o *Options) { byClass(byPartition, 3)(o); o.Config.OffsetPadWidth = 2 }, plain(10),
		"partition=12/t+12+00=0 1 2; partition=12/t+12+03=3 4 5; partition=12/t+12+06=6 7 8",
	)},
	{2, "nine records, flush.size 3: offsets of ten digits", "", lands(
		byClass(byPartition, 3), plain(9),
		"partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000003=3 4 5; partition=12/t+12+0000000006=6 7 8",
	)},
	{3, "without topics.dir keys begin with the topic", "", func(t *testing.T) {
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, plain(3))
		r.landOpen(func(o *Options) { byClass(byPartition, 3)(o); o.Config.TopicsDir = "" })
		for key := range r.objects("") {
			if key != "t/partition=12/t+12+0000000000.json.gz" {
				t.Errorf("got %s", key)
			}
		}
	}},
	{4, "nine records, flush.size 10, and a stop: there is no object", "flush.on.stop, which is true by default, closes and commits what is open; with false there is no object either", func(t *testing.T) {
		lands(byClass(byPartition, 10), plain(9), "")(t)
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, plain(9))
		l := r.lander(func(o *Options) { ofT(o); byClass(byPartition, 10)(o) })
		stop := r.start(l)
		r.awaitRead(l)
		stop()
		r.wantFiles("partition=12/t+12+0000000000=0 1 2 3 4 5 6 7 8")
	}},
	{5, "a field of three values in turn over 18 records, flush.size 9 for all of them together: six objects of three", "", lands(
		byClass(byField, 9, "int"), with(18, func(i int) string { return fmt.Sprintf(`"int":%d`, 16+i%3) }),
		"int=16/t+12+0000000000=0 3 6; int=17/t+12+0000000001=1 4 7; int=18/t+12+0000000002=2 5 8; "+
			"int=16/t+12+0000000009=9 12 15; int=17/t+12+0000000010=10 13 16; int=18/t+12+0000000011=11 14 17",
	)},
	{6, "partitioner.max.open.files 5 and six values: at the sixth, five objects of one record", "", lands(
		func(o *Options) { byClass(byField, 10, "int")(o); o.Config.MaxOpenFiles = 5 }, with(6, func(i int) string { return fmt.Sprintf(`"int":%d`, i) }),
		"int=0/t+12+0000000000=0; int=1/t+12+0000000001=1; int=2/t+12+0000000002=2; int=3/t+12+0000000003=3; int=4/t+12+0000000004=4",
	)},
	{7, "the same of two fields", "", lands(
		func(o *Options) { byClass(byField, 10, "int", "boolean")(o); o.Config.MaxOpenFiles = 5 },
		with(6, func(i int) string { return fmt.Sprintf(`"int":%d,"boolean":%v`, 16+i/2, i%2 == 0) }),
		"int=16/boolean=true/t+12+0000000000=0; int=16/boolean=false/t+12+0000000001=1; int=17/boolean=true/t+12+0000000002=2; "+
			"int=17/boolean=false/t+12+0000000003=3; int=18/boolean=true/t+12+0000000004=4",
	)},
	{8, "any number open: one value, 20 records, flush.size 10: objects at 0 and 10", "", lands(
		byClass(byField, 10, "int"), with(20, func(int) string { return `"int":1` }),
		"int=1/t+12+0000000000=0 1 2 3 4 5 6 7 8 9; int=1/t+12+0000000010=10 11 12 13 14 15 16 17 18 19",
	)},
	{9, "hourly folders of Kafka's time, rotate.interval.ms of a minute: nine records 20 seconds apart, and nine two hours later", "", lands(
		timed(byHour, "Record", 60_000), times(everyTwenty("10:00:00", "12:00:00")),
		hour("10", "0=0 1 2", "3=3 4 5", "6=6 7 8")+"; "+hour("12", "9=9 10 11", "12=12 13 14"),
	)},
	{10, "the same in folders of days", "", lands(
		timed(byDay, "Record", 60_000), times(everyTwenty("10:00:00", "12:00:00")),
		strings.ReplaceAll(hour("10", "0=0 1 2", "3=3 4 5", "6=6 7 8", "9=9 10 11", "12=12 13 14"), "/hour=10", ""),
	)},
	{11, "the same by a field, and one record six hours later closes the last", "", lands(
		timed(byHour, "RecordField", 60_000), times(everyTwenty("10:00:00", "12:00:00")+" 18:00:00"),
		hour("10", "0=0 1 2", "3=3 4 5", "6=6 7 8")+"; "+hour("12", "9=9 10 11", "12=12 13 14", "15=15 16 17"),
	)},
	{12, "a record without a timestamp in Kafka, where the extractor needs it: the task fails", inLake, func(t *testing.T) {
		none := []*kgo.Record{{Value: []byte(`{"raw_data":"x"}`), Timestamp: time.UnixMilli(noTimestamp)}}
		quarantines(timed(byHour, "Record", 60_000), append(none, times("10:00:00 12:00:00")...), hour("10", "1=0"), 1)(t)
	}},
	{13, "rotate.interval.ms of ten minutes and late records: they share the rotation", "", lands(
		timed(byHour, "RecordField", 600_000), times("10:00:00 09:58:00 10:09:00 09:55:00 10:10:00"), hour("10", "0=0 2")+"; "+hour("09", "1=1 3"),
	)},
	{14, "the same with rotate.file.on.partition.change: four objects of one record", "as without it: " + ofFolders, lands(
		timed(byHour, "RecordField", 600_000), times("10:00:00 09:58:00 10:09:00 09:55:00 10:10:00"), hour("10", "0=0 2")+"; "+hour("09", "1=1 3"),
	)},
	{15, "rotate.interval.ms of a day and four records out of order: a record a day after the first closes them", "", func(t *testing.T) {
		lands(timed(byHour, "RecordField", dayMillis), times("10:00:00 08:00:00 11:00:00 09:00:00"), "")(t)
		lands(timed(byHour, "RecordField", dayMillis), times("10:00:00 08:00:00 11:00:00 09:00:00 2026-07-06T10:00:00"),
			hour("10", "0=0")+"; "+hour("08", "1=1")+"; "+hour("11", "2=2")+"; "+hour("09", "3=3"))(t)
	}},
	{16, "Wallclock, rotate.interval.ms of an hour: nine records; nine two hours later close them; one more than an hour after those closes them", "", landsByClock(
		func(o *Options) { timed(byDay, "Wallclock", 3_600_000)(o); o.Config.IdleFlushMs = -1 }, "9 = +2h 9 =0 +61m 1 =0,9",
	)},
	{17, "Wallclock: records that were fetched in one hour and are written in the next have the folder of the first", "", checkFetched},
	{18, "rotate.schedule.interval.ms of ten minutes: three records and eleven minutes of silence, twice", "", landsByClock(scheduled(1000, 600_000), "3 = +11m =0 3 =0 +11m =0,3")},
	{19, "the schedule passes once with nothing open: the next three records are one object", "", landsByClock(scheduled(3, 600_000), "+11m 1 1 = 1 =0")},
	{20, "it passes five times: the same", "", landsByClock(scheduled(3, 600_000), "+51m 1 1 = 1 =0")},
	{21, "rotate.interval.ms with DefaultPartitioner is left out", "it closes what no record has come to for so long by the clock: a quiet topic would stay open for good", func(t *testing.T) {
		settings := func(o *Options) { byClass(byPartition, 1000)(o); o.Config.RotateIntervalMs = 60_000 }
		lands(settings, times(everyTwenty("10:00:00", "12:00:00")), "")(t)
		landsByClock(settings, "3 +59s = +2s =0")(t)
	}},
	{22, "an error of the store that may pass goes to the framework, which delivers the records again", untilItSucceeds, faulty(lakefault.Before, timed(byHour, "RecordField", 60_000), times(everyTwenty("10:00:00")), hour("10", "0=0 1 2", "3=3 4 5"))},
	{23, "a null value before nine values, written for its key: objects of 1, 3, 3 and 3 records", "keys are not stored, so that there is nothing to write of it: " + inLake, quarantines(
		byClass(byPartition, 3), append(nulls(1), plain(9)...), "partition=12/t+12+0000000001=0 1 2; partition=12/t+12+0000000004=3 4 5; partition=12/t+12+0000000007=6 7 8", 1,
	)},
	{24, "three records without a schema are one object", "", lands(byClass(byPartition, 3), plain(3), "partition=12/t+12+0000000000=0 1 2")},
	{25, "nine values, a null value and a value: objects of 3, 3, 3 and 1 records, the last open", "as for a null value before them", quarantines(
		byClass(byPartition, 3), append(append(plain(9), nulls(1)...), plain(1)...), "partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000003=3 4 5; partition=12/t+12+0000000006=6 7 8", 1,
	)},
	{26, "an object's tags cannot be set: it stays without, or the task ends", "tags are part of the put, which is tried until it succeeds", checkTagged},
	{27, "a null key or no headers, where they are stored", "not here: " + keysNotStored, nil},
	{28, "a record without a folder is a dead letter, once", inBoth, reports(
		byClass(byField, 3, "int"), with(4, func(i int) string { return []string{`"int":1`, `"int":{}`, `"int":1`, `"int":1`}[i] }), "int=1/t+12+0000000000=0 2 3", 1,
	)},
	{29, "a value that does not fit its schema is a dead letter, and the objects are not disturbed", noSchemas + ". Of what is no JSON, " + inBoth, reports(
		byClass(byPartition, 3), append(append(plain(3), &kgo.Record{Value: []byte("{")}), plain(6)[3:]...), "partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000004=3 4 5", 1,
	)},
	{30, "keys and headers are objects beside the values", "not here: " + keysNotStored, nil},
	{
		31, "objects exist at 0, 1 and 2 and nothing is committed: writing begins at the first key that is free, within max.files.scan.limit, and records may be in two objects",
		"what has landed is known from the objects' tails, however many there are: no record lands twice", checkExisting,
	},
	{32, "seven records in each of two Kafka partitions, flush.size 3, compressed: objects at 0 and 3", "", func(t *testing.T) {
		r := newRig(t, 2, "t")
		r.produceRecords("t", 0, plain(7))
		r.produceRecords("t", 1, plain(7))
		r.landOpen(func(o *Options) { byClass(byPartition, 3)(o); o.Config.CompressionLevel = 9 })
		r.wantFiles("partition=0/t+0+0000000000=0 1 2; partition=0/t+0+0000000003=3 4 5; partition=1/t+1+0000000000=0 1 2; partition=1/t+1+0000000003=3 4 5")
	}},
	{33, "folders whose names have .json and .avro in them keep them", "", lands(
		func(o *Options) { byClass(byTime, 3)(o); o.Config.PathFormat = "'a.json'/'b.avro'YYYY" }, plain(3), "a.json/b.avro2026/t+12+0000000000=0 1 2",
	)},
	{34, "an object with two of three records exists at 0 and nothing is committed: it is replaced by one of three", "objects are never replaced: landing goes on behind it", func(t *testing.T) {
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, plain(2))
		r.landOpen(byClass(byPartition, 2))
		r.setOffset("t", 12, -1)
		r.produceRecords("t", 12, plain(5)[2:])
		r.landOpen(byClass(byPartition, 3))
		r.wantFiles("partition=12/t+12+0000000000=0 1; partition=12/t+12+0000000002=2 3 4")
	}},
	{35, "11000 records, flush.size 10000: one object of 10000", "", func(t *testing.T) {
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, plain(11_000))
		r.landOpen(byClass(byPartition, 10_000))
		for key, o := range r.objects("") {
			if key != "topics/t/partition=12/t+12+0000000000.json.gz" || len(o.lines) != 10_000 || o.tail.Next != 10_000 {
				t.Errorf("%s has %d records, %+v", key, len(o.lines), o.tail)
			}
		}
		if got := r.committed("t", 12); got != 10_000 {
			t.Errorf("committed %d", got)
		}
	}},
	{36, "null values are left out and reported, with behavior.on.null.values ignore", inBoth, reports(
		byClass(byPartition, 3), append(plain(6), nulls(2)...), "partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000003=3 4 5", 2,
	)},
	{38, "the store fails once, before or after it has the object: the object is there in the end", "", func(t *testing.T) {
		faulty(lakefault.Before, byClass(byPartition, 3), plain(6), "partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000003=3 4 5")(t)
		faulty(lakefault.After, byClass(byPartition, 3), plain(6), "partition=12/t+12+0000000000=0 1 2; partition=12/t+12+0000000003=3 4 5")(t)
	}},
	{39, "partition.duration.ms of two hours: 01:00 is in the folder of midnight", "", lands(
		func(o *Options) {
			byClass(byTime, 2)(o)
			o.Config.PathFormat, o.Config.PartitionDurationMs = "'year'=YYYY/'month'=M/'day'=d/'hour'=H", 7_200_000
		}, times("2015-04-02T01:00:00 2015-04-02T01:59:59"), "year=2015/month=4/day=2/hour=0/t+12+0000000000=0 1",
	)},
	{40, "a path.format, duration, locale or timezone that cannot be used is refused; one slash at the end is taken off", "without a timezone the pipeline's holds", func(t *testing.T) {
		for key, set := range map[string]func(*Config){
			"path.format":            func(c *Config) { c.PathFormat = "" },
			"path.format ":           func(c *Config) { c.PathFormat = "/" },
			"path.format  ":          func(c *Config) { c.PathFormat = "'year='YYYY'" },
			"partition.duration.ms":  func(c *Config) { c.PartitionDurationMs = -1 },
			"partition.duration.ms ": func(c *Config) { c.PartitionDurationMs = 0 },
			"locale":                 func(c *Config) { c.Locale = " " },
			"timezone":               func(c *Config) { c.Timezone = " " },
		} {
			c := DefaultConfig()
			set(&c)
			if faults := c.Validate(); len(faults) != 1 || faults[0].Path[0] != strings.TrimSpace(key) {
				t.Errorf("%s: %v", key, faults)
			}
		}
		lands(func(o *Options) { byClass(byTime, 1)(o); o.Config.PathFormat, o.Config.Timezone = "'year='YYYY/", "" }, plain(1), "year=2026/t+12+0000000000=0")(t)
	}},
	{41, "times are numbers, texts with numbers, ISO 8601 with and without milliseconds, in nested fields too; others are an error", "instead of the error, " + inLake, func(t *testing.T) {
		var all []*kgo.Record
		for _, at := range []string{"1783245600000", `"1783245600000"`, `"2026-07-05T10:00:00Z"`, `"2026-07-05T10:00:00.000+00:00"`, "0", `"-1"`, `"abc"`, "[1]", "9223372036854775807", "-9223372036854775808"} {
			all = append(all, &kgo.Record{Value: fmt.Appendf(nil, `{"raw_data":"%d","a":{"b":%s}}`, len(all), at)})
		}
		quarantines(func(o *Options) {
			timed(byDay, "RecordField", -1)(o)
			o.Config.FlushSize, o.Config.TimestampField = 6, "a.b"
		}, all,
			"year=2026/month=07/day=05/t+12+0000000000=0 1 2 3; year=1970/month=01/day=01/t+12+0000000004=4 5", 4)(t)
	}},
	{42, "America/Santiago, with and without summer time", "", lands(
		func(o *Options) {
			byClass(byTime, 2)(o)
			o.Config.PathFormat, o.Config.PartitionDurationMs, o.Config.Timezone = "'day'=dd/'hour'=HH", hourMillis, "America/Santiago"
		}, times("2024-05-09T03:17:33 2024-01-28T03:17:33"), "day=08/hour=23/t+12+0000000000=0; day=28/hour=00/t+12+0000000001=1",
	)},
	{43, "a schedule of seven hours: after 16:59:59 comes 21:00, then midnight; on a day of 25 hours, every hour, after 22:00 comes 23:00, then midnight", "", func(t *testing.T) {
		for _, tt := range []struct{ zone, at, period, want string }{
			{"UTC", "2026-07-05T16:59:59Z", "7h", "2026-07-05T21:00:00Z"},
			{"UTC", "2026-07-05T23:59:59Z", "7h", "2026-07-06T00:00:00Z"},
			{"Europe/Paris", "2026-10-25T21:00:00Z", "1h", "2026-10-25T22:00:00Z"},
			{"Europe/Paris", "2026-10-25T22:00:00Z", "1h", "2026-10-25T23:00:00Z"},
		} {
			wantNext(t, tt.zone, tt.at, tt.period, tt.want)
		}
	}},
	{44, "a nested field; missing, it is null; any directory.delim", "directory.delim is /, by which stores and readers find folders", func(t *testing.T) {
		lands(byClass(byField, 2, "user.address.city"), with(2, func(i int) string { return []string{`"user":{"address":{"city":"NYC"}}`, `"user":{}`}[i] }),
			"user.address.city=NYC/t+12+0000000000=0; user.address.city=null/t+12+0000000001=1")(t)
		c := DefaultConfig()
		c.DirectoryDelim = "_"
		if faults := c.Validate(); len(faults) != 1 {
			t.Errorf("%v", faults)
		}
	}},
	{45, "records of two schemas in turn close each other's objects", noSchemas, nil},
}

// checkTagged: a put with tags fails once.
func checkTagged(t *testing.T) {
	r := newRig(t, 13, "t")
	r.produceRecords("t", 12, plain(3))
	s := tagging{r.store, map[string]map[string]string{}, new(int)}
	*s.failures = 1
	r.landOpen(func(o *Options) { byClass(byPartition, 3)(o); o.Store, o.Config.ObjectTagging = s, true })
	r.wantFiles("partition=12/t+12+0000000000=0 1 2")
	if len(s.tags) != 1 || *s.failures != 0 {
		t.Errorf("tags %v, %d failures left", s.tags, *s.failures)
	}
}

// TestConformance has each behaviour of the connector, the same or with its difference.
func TestConformance(t *testing.T) {
	for _, b := range behaviours {
		t.Run(fmt.Sprint(b.n), func(t *testing.T) {
			if b.check == nil {
				if !strings.HasPrefix(b.here, "not here: ") {
					t.Error("nothing holds it")
				}
				return
			}
			t.Parallel()
			b.check(t)
		})
	}
	for n := 1; n <= 45; n++ {
		found := 0
		for _, b := range behaviours {
			if b.n == n {
				found++
			}
		}
		if found != 1 && n != 37 {
			t.Errorf("behaviour %d is there %d times", n, found)
		}
	}
}

// TestDifferences holds the page to the table.
func TestDifferences(t *testing.T) {
	const file, begin, end = "../docs/land.md", "| the connector | here |\n|---|---|\n", "\n\n"
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := bytes.Cut(page, []byte(begin))
	table, tail, closed := bytes.Cut(rest, []byte(end))
	if !found || !closed {
		t.Fatalf("%s has no table of differences", file)
	}
	var want []string
	for _, b := range behaviours {
		if b.here != "" {
			want = append(want, "| "+b.connector+" | "+b.here+" |")
		}
	}
	if *update {
		text := string(head) + begin + strings.Join(want, "\n") + end + string(tail)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, strings.Split(string(table), "\n")); diff != "" {
		t.Errorf("%s (-want +got); go test ./land -run TestDifferences -update writes it:\n%s", file, diff)
	}
}

func ofT(o *Options) { o.Config.Topics = []string{"t"} }

// plain are n records without a time of their own in Kafka.
func plain(n int) []*kgo.Record { return with(n, nil) }

// with are n records that have more.
func with(n int, more func(i int) string) (records []*kgo.Record) {
	values := numbered(n, func(i int) string {
		if more == nil {
			return ""
		}
		return more(i) + ","
	})
	for _, value := range values {
		records = append(records, &kgo.Record{Value: []byte(value)})
	}
	return records
}

func nulls(n int) (records []*kgo.Record) {
	for range n {
		records = append(records, &kgo.Record{})
	}
	return records
}

// times are records of those times, in Kafka and in their field.
func times(all string) (records []*kgo.Record) {
	for i, value := range clocks(all) {
		clock := strings.Fields(all)[i]
		if !strings.Contains(clock, "T") {
			clock = "2026-07-05T" + clock
		}
		at, err := time.Parse("2006-01-02T15:04:05", clock)
		if err != nil {
			panic(err)
		}
		records = append(records, &kgo.Record{Value: []byte(value), Timestamp: at})
	}
	return records
}

// timed are folders of time, and an interval alone that closes objects.
func timed(class, extractor string, interval int64) func(*Options) {
	return func(o *Options) {
		byClass(class, 1000)(o)
		o.Config.TimestampExtractor, o.Config.RotateIntervalMs = extractor, interval
	}
}

func scheduled(flush int, every int64) func(*Options) {
	return func(o *Options) { byClass(byPartition, flush)(o); o.Config.RotateScheduleIntervalMs = every }
}

// hour are objects of one hourly folder, each as offset=ids.
func hour(name string, objects ...string) string {
	var all []string
	for _, o := range objects {
		offset, ids, _ := strings.Cut(o, "=")
		all = append(all, fmt.Sprintf("year=2026/month=07/day=05/hour=%s/t+12+%010s=%s", name, offset, ids))
	}
	return strings.Join(all, "; ")
}

// landOpen lands what was produced until all of it is read, and drops what is open then: the objects are those that rotation has
// closed.
func (r *rig) landOpen(set func(*Options)) *Lander {
	r.t.Helper()
	l := r.lander(func(o *Options) { ofT(o); set(o); o.Config.FlushOnStop = false })
	stop := r.start(l)
	r.awaitRead(l)
	stop()
	return l
}

func (r *rig) awaitRead(l *Lander) {
	r.t.Helper()
	for p, end := range r.made["t"] {
		eventually(r.t, "everything is read", func() bool { return end == 0 || l.statusOf(topicPartition{"t", p}).Position == end })
	}
}

// wantFiles compares the objects with "key=ids; ...".
func (r *rig) wantFiles(text string) {
	r.t.Helper()
	want := map[string]string{}
	for part := range strings.SplitSeq(text, "; ") {
		if i := strings.LastIndexByte(part, '='); i >= 0 {
			want["t/"+part[:i]] = part[i+1:]
		}
	}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		r.t.Error(diff)
	}
}

func lands(set func(*Options), records []*kgo.Record, want string) func(*testing.T) {
	return quarantines(set, records, want, 0)
}

func quarantines(set func(*Options), records []*kgo.Record, want string, quarantined int64) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, records)
		l := r.landOpen(set)
		r.wantFiles(want)
		if s := l.statusOf(topicPartition{"t", 12}); s.Quarantined != quarantined {
			t.Errorf("%d records are in quarantine, want %d", s.Quarantined, quarantined)
		}
	}
}

// reports is quarantines with a topic of dead letters, which has as many.
func reports(set func(*Options), records []*kgo.Record, want string, quarantined int64) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, records)
		l := r.landOpen(func(o *Options) { set(o); withLetters(o) })
		r.wantFiles(want)
		if s, letters := l.statusOf(topicPartition{"t", 12}), r.letters(); s.Quarantined != quarantined || int64(len(letters)) != quarantined {
			t.Errorf("%d records are in quarantine, want %d, and %d are dead letters", s.Quarantined, quarantined, len(letters))
		}
	}
}

func faulty(when lakefault.When, set func(*Options), records []*kgo.Record, want string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		r := newRig(t, 13, "t")
		r.produceRecords("t", 12, records)
		store := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, When: when, Err: errors.New("500 Internal Error")})
		r.landOpen(func(o *Options) { set(o); o.Store = store })
		r.wantFiles(want)
		if store.Fired() != 1 || retry.Classify(errors.New("500 Internal Error")) == retry.Permanent {
			t.Errorf("the store has failed %d times", store.Fired())
		}
	}
}

// landsByClock plays steps in virtual time, on one Kafka partition.
func landsByClock(set func(*Options), steps string) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r := newRigOn(t, &kfake.VirtualNetwork{}, 1, "t")
			l := r.lander(func(o *Options) { ofT(o); set(o); o.Config.FlushOnStop = false })
			stop := r.start(l)
			eventually(t, "landing has begun", func() bool { return len(l.Status().Partitions) > 0 })
			r.play(l, steps)
			stop()
		})
	}
}

// play has steps: 3 produces three records, +1h lets an hour pass, and =0,3 has objects at offsets 0 and 3 and no others.
func (r *rig) play(l *Lander, steps string) {
	r.t.Helper()
	for step := range strings.FieldsSeq(steps) {
		if want, isWant := strings.CutPrefix(step, "="); isWant {
			if got := r.offsets(); got != want {
				r.t.Errorf("%s, %s, %s: objects begin at %q", steps, step, time.Now().Format(time.DateTime), got)
			}
			continue
		}
		if step[0] == '+' {
			d, err := time.ParseDuration(step)
			if err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(d)
			synctest.Wait()
			continue
		}
		var n int
		if _, err := fmt.Sscan(step, &n); err != nil {
			r.t.Fatal(err)
		}
		r.produceRecords("t", 0, plain(n))
		r.awaitRead(l)
	}
}

// offsets are those at which the objects begin, in order.
func (r *rig) offsets() string {
	r.t.Helper()
	var all []int64
	for _, o := range r.objects("topics/") {
		all = append(all, o.tail.First)
	}
	slices.Sort(all)
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ","), "[]")
}

// checkFetched has two records fetched together in the last second of an hour, and the second written in the next hour, after the
// first has been put into quarantine.
func checkFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, &kfake.VirtualNetwork{}, 1, "t")
		slow := lakefault.New(r.store, lakefault.Rule{Op: lakefault.Put, Nth: 1, Delay: 2 * time.Second})
		l := r.lander(func(o *Options) {
			ofT(o)
			timed(byHour, "Wallclock", -1)(o)
			o.Config.FlushSize, o.Quarantine.Store = 1, slow
		})
		time.Sleep(time.Hour - time.Second)
		r.produceRecords("t", 0, append([]*kgo.Record{{Value: []byte("no JSON")}}, plain(1)...))
		stop := r.start(l)
		r.awaitRead(l)
		r.produceRecords("t", 0, plain(1))
		r.awaitRead(l)
		stop()
		r.wantFiles("year=2000/month=01/day=01/hour=00/t+0+0000000001=0; year=2000/month=01/day=01/hour=01/t+0+0000000002=0")
	})
}

// checkExisting loses the commit of three objects of one record, one of which has a null value behind it.
func checkExisting(t *testing.T) {
	r := newRig(t, 13, "t")
	r.produceRecords("t", 12, append(plain(2), nulls(1)...))
	r.produceRecords("t", 12, plain(4)[2:])
	r.landOpen(byClass(byPartition, 1))
	r.setOffset("t", 12, -1)
	r.produceRecords("t", 12, plain(7)[4:])
	r.landOpen(byClass(byPartition, 3))
	r.wantFiles("partition=12/t+12+0000000000=0; partition=12/t+12+0000000001=1; partition=12/t+12+0000000003=2; partition=12/t+12+0000000004=3; partition=12/t+12+0000000005=4 5 6")
}

// TestRotationOverDays lands a record in the middle of each hour of days of 23 and 25 hours, in virtual time: objects are closed at
// multiples of the period since midnight, and at midnight.
func TestRotationOverDays(t *testing.T) {
	for _, tt := range []struct {
		day, period string
		hours       int
		want        string // offsets at which objects begin, by the next midnight
	}{
		{"2000-03-26", "7h", 23, "0,7,14,21"},
		{"2000-10-29", "7h", 25, "0,7,14,21"},
		{"2000-10-29", "12h", 25, "0,12,24"},
	} {
		t.Run(tt.day+" "+tt.period, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				zone, err := time.LoadLocation("Europe/Paris")
				if err != nil {
					t.Fatal(err)
				}
				day, err := time.ParseInLocation(time.DateOnly, tt.day, zone)
				if err != nil {
					t.Fatal(err)
				}
				period, err := time.ParseDuration(tt.period)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Until(day) - time.Minute)
				r := newRigOn(t, &kfake.VirtualNetwork{}, 1, "t")
				l := r.lander(func(o *Options) {
					ofT(o)
					scheduled(1000, period.Milliseconds())(o)
					o.Config.Timezone, o.Config.FlushOnStop = zone.String(), false
				})
				stop := r.start(l)
				eventually(t, "landing has begun", func() bool { return len(l.Status().Partitions) > 0 })
				time.Sleep(time.Until(day))
				for n := range tt.hours {
					time.Sleep(time.Until(day.Add(time.Duration(n)*time.Hour + 30*time.Minute)))
					r.play(l, "1")
				}
				end := day.AddDate(0, 0, 1)
				time.Sleep(time.Until(end) - time.Second)
				if last := r.offsets(); last == tt.want {
					t.Errorf("a second before midnight the last object is closed: %s", last)
				}
				time.Sleep(2 * time.Second)
				r.play(l, "="+tt.want)
				if got, want := time.Now(), day.Add(time.Duration(tt.hours)*time.Hour+time.Second); !got.Equal(want) {
					t.Errorf("it is %s, and the day was not of %d hours", got, tt.hours)
				}
				stop()
			})
		})
	}
}

// TestRotationByClock has the rest of what the clock closes.
func TestRotationByClock(t *testing.T) {
	idle := func(o *Options) { byClass(byPartition, 1000)(o); o.Config.IdleFlushMs = 600_000 }
	both := func(o *Options) { scheduled(1000, 3_600_000)(o); o.Config.IdleFlushMs = 600_000 }
	for steps, set := range map[string]func(*Options){
		"1 +599s = +2s =0 +1h 1 +599s =0 +2s =0,1":    idle, // silence counts from the last record
		"1 +9m 1 +9m 1 +9m = +61s =0":                 idle,
		"+55m 1 +4m = +2m =0 +1m 1 +599s =0 +2s =0,1": both, // whichever comes first
		"+3h 2 +9m = 1 +2m = +9m =0":                  both,
		"1 +5h =":                                     byClass(byPartition, 1000), // nothing is set
	} {
		t.Run(steps, func(t *testing.T) {
			t.Parallel()
			landsByClock(set, steps)(t)
		})
	}
}
