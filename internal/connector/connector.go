// Package connector makes a pipeline file of the configuration of a Kafka Connect S3 sink.
//
// What enters: a connector's configuration, as Connect's REST interface has it, as the bare JSON of its keys, or as a properties file. What
// leaves: what becomes of each key, and the text of a pipeline file that lands what the connector landed. Nothing is asked
// and nothing written. Rules: docs/land.md.
//
// Invariants:
//  1. Every key of the input has a verdict, and so has every default of the connector that cannot be kept.
//  2. The text is a pipeline file without faults, whatever was refused; what was refused is left out of it.
//  3. No value is printed that may be a secret: of values of unknown meaning, only the key is.
//
// Neighbours: land knows the keys and checks them; cmd/headwater prints and writes.
package connector

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"headwater/lake/s3"
	"headwater/land"
)

// Line is what becomes of one key.
type Line struct {
	// Key is as the configuration has it; Default: it does not, and the connector's default is meant.
	Key     string
	Default bool
	Verdict land.Verdict
	// Why is empty only if Verdict is land.Same.
	Why string
}

// Result is what Import makes.
type Result struct {
	// Name is the connector's; it may be empty.
	Name string
	// Lines are in the order of the configuration, defaults after them.
	Lines []Line
	// Pipeline is the text of the pipeline file.
	Pipeline []byte
}

// Refused are the lines with that verdict.
func (r *Result) Refused() (all []Line) {
	for _, l := range r.Lines {
		if l.Verdict == land.Refused {
			all = append(all, l)
		}
	}
	return all
}

// Import reads a connector's configuration. database is that of the pipeline; empty for one made of the connector's name.
func Import(data []byte, database string) (*Result, error) {
	if database != "" && !databaseName.MatchString(database) {
		return nil, fmt.Errorf("the database must be lower case letters, digits and _, at most 128, got %q", database)
	}
	name, all, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the connector: %w", err)
	}
	c := &conversion{given: map[string]string{}, land: sinkDefaults()}
	for _, s := range all {
		c.given[s.key] = strings.TrimSpace(s.value)
	}
	for _, s := range all {
		c.lines = append(c.lines, c.take(s.key, c.given[s.key]))
	}
	c.checkFramework()
	c.checkBucket()
	c.checkLand()
	name = cmp.Or(c.given["name"], name)
	return &Result{Name: name, Lines: c.lines, Pipeline: c.render(name, database)}, nil
}

var databaseName = regexp.MustCompile(`^[a-z0-9_]{1,128}$`)

// conversion is one Import.
type conversion struct {
	given map[string]string
	lines []Line
	land  land.Config
}

// sinkDefaults is what holds in the connector where a configuration says nothing. What land leaves out of what the
// connector has not, as flush.bytes, is land's own default.
func sinkDefaults() land.Config {
	c := land.DefaultConfig()
	c.TopicsRegex, c.FormatClass, c.FlushSize = "", "", 0 // needed
	c.RotateIntervalMs, c.RotateScheduleIntervalMs = -1, -1
	c.PartitionerClass, c.PathFormat, c.PartitionDurationMs, c.Locale = "DefaultPartitioner", "", -1, ""
	c.TimestampExtractor, c.TimestampField = "Wallclock", "timestamp"
	c.BehaviorOnNullValues = "fail"
	c.CompressionType = "none"
	return c
}

// fields are the connector's keys that land has too, in the order in which they are written.
var fields = []struct {
	key string
	at  func(*land.Config) any
}{
	{"topics", func(c *land.Config) any { return &c.Topics }},
	{"topics.regex", func(c *land.Config) any { return &c.TopicsRegex }},
	{"topics.dir", func(c *land.Config) any { return &c.TopicsDir }},
	{"format.class", func(c *land.Config) any { return &c.FormatClass }},
	{"directory.delim", func(c *land.Config) any { return &c.DirectoryDelim }},
	{"file.delim", func(c *land.Config) any { return &c.FileDelim }},
	{"filename.offset.zero.pad.width", func(c *land.Config) any { return &c.OffsetPadWidth }},
	{"flush.size", func(c *land.Config) any { return &c.FlushSize }},
	{"rotate.interval.ms", func(c *land.Config) any { return &c.RotateIntervalMs }},
	{"rotate.schedule.interval.ms", func(c *land.Config) any { return &c.RotateScheduleIntervalMs }},
	{"partitioner.max.open.files", func(c *land.Config) any { return &c.MaxOpenFiles }},
	{"partitioner.class", func(c *land.Config) any { return &c.PartitionerClass }},
	{"partition.field.name", func(c *land.Config) any { return &c.PartitionFieldName }},
	{"path.format", func(c *land.Config) any { return &c.PathFormat }},
	{"partition.duration.ms", func(c *land.Config) any { return &c.PartitionDurationMs }},
	{"locale", func(c *land.Config) any { return &c.Locale }},
	{"timezone", func(c *land.Config) any { return &c.Timezone }},
	{"timestamp.extractor", func(c *land.Config) any { return &c.TimestampExtractor }},
	{"timestamp.field", func(c *land.Config) any { return &c.TimestampField }},
	{"behavior.on.null.values", func(c *land.Config) any { return &c.BehaviorOnNullValues }},
	{"errors.deadletterqueue.topic.name", func(c *land.Config) any { return &c.DeadLetterTopic }},
	{"errors.deadletterqueue.topic.replication.factor", func(c *land.Config) any { return &c.DeadLetterReplication }},
	{"errors.deadletterqueue.context.headers.enable", func(c *land.Config) any { return &c.DeadLetterHeaders }},
	{"s3.compression.type", func(c *land.Config) any { return &c.CompressionType }},
	{"s3.compression.level", func(c *land.Config) any { return &c.CompressionLevel }},
	{"s3.object.tagging", func(c *land.Config) any { return &c.ObjectTagging }},
}

// field is where land has a key, or nil.
func field(c *land.Config, key string) any {
	for _, f := range fields {
		if f.key == key {
			return f.at(c)
		}
	}
	return nil
}

// takenOver are keys beside those of land whose values the pipeline file has.
var takenOver = []string{"s3.bucket.name", "s3.region", "store.url", "s3.ssea.name", "s3.sse.kms.key.id", "s3.acl.canned", extraTags}

// extraTags are the tags that all objects have, with s3.object.tagging alone.
const extraTags = "s3.object.tagging.key.value.pairs"

// given are the keys that say with what objects are put, and what each is in lake.raw.
var given = []struct{ key, in string }{{"s3.ssea.name", "sse"}, {"s3.sse.kms.key.id", "kms_key"}, {"s3.acl.canned", "acl"}, {extraTags, "tags"}}

// take gives a key its verdict, and land its value.
func (c *conversion) take(key, value string) Line {
	at := field(&c.land, key)
	if (at != nil || slices.Contains(takenOver, key)) && strings.Contains(value, "${") {
		delete(c.given, key)
		return Line{key, false, land.Refused, "its value is one that the worker looks up: write the value itself"}
	}
	if at == nil {
		verdict, why, _ := land.SinkKey(key, value)
		return Line{key, false, verdict, why}
	}
	if key == "behavior.on.null.values" || key == "s3.compression.type" {
		value = strings.ToLower(value) // the connector takes both cases
	}
	if err := set(at, value); err != nil {
		return Line{key, false, land.Refused, err.Error()}
	}
	return Line{key, false, land.Same, ""}
}

// set reads a value as Connect's types are read.
func set(at any, text string) error {
	var err error
	switch at := at.(type) {
	case *string:
		*at = text
	case *[]string:
		*at = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*at = append(*at, part)
			}
		}
	case *int:
		*at, err = strconv.Atoi(text)
	case *int64:
		*at, err = strconv.ParseInt(text, 10, 64)
	case *bool:
		if *at = strings.EqualFold(text, "true"); !*at && !strings.EqualFold(text, "false") {
			return fmt.Errorf("must be true or false, got %q", text)
		}
	default:
		panic(fmt.Sprintf("a key of land is a %T", at))
	}
	if err != nil {
		return fmt.Errorf("must be a whole number, got %q", text)
	}
	return nil
}

// judge replaces the verdict of a key, or gives the connector's default one.
func (c *conversion) judge(key string, verdict land.Verdict, why string) {
	for i := range c.lines {
		if c.lines[i].Key == key {
			c.lines[i].Verdict, c.lines[i].Why = verdict, why
			return
		}
	}
	c.lines = append(c.lines, Line{key, true, verdict, why})
}

// has says that the configuration has a key, and that it was not refused or left out.
func (c *conversion) has(key string) bool { _, given := c.given[key]; return given }

// named says that it has it.
func (c *conversion) named(key string) bool {
	return slices.ContainsFunc(c.lines, func(l Line) bool { return l.Key == key && !l.Default })
}

// simple is a class without its package.
func simple(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }

// checkFramework looks at what the keys of the framework say together.
func (c *conversion) checkFramework() {
	if !c.has("connector.class") {
		c.judge("connector.class", land.Refused, "is missing: this may be no connector at all")
	}
	switch simple(c.given["value.converter"]) {
	case "":
		c.judge("value.converter", land.Ignored, "the worker's own is not known here; it must be one of JSON without schemas")
	case "JsonConverter":
		if !c.has("value.converter.schemas.enable") {
			_, why, _ := land.SinkKey("value.converter.schemas.enable", "true")
			c.judge("value.converter.schemas.enable", land.Refused, why)
		}
		c.judge("value.converter", land.Better, "records keep the order of their keys, repeated ones, and numbers of any length; what follows a record's JSON is not dropped")
	case "StringConverter", "ByteArrayConverter":
		c.judge("value.converter", land.Better, "records that are JSON land as they are, not as a text in quotes; others go to quarantine")
	}
}

// checkBucket looks at what goes into lake.raw.
func (c *conversion) checkBucket() {
	defer c.checkGiven()
	switch bucket := c.given["s3.bucket.name"]; {
	case bucket == "" && !c.named("s3.bucket.name"):
		c.judge("s3.bucket.name", land.Refused, "is missing: lake.raw is left to be a folder")
	case c.has("s3.bucket.name") && !bucketName.MatchString(bucket):
		c.judge("s3.bucket.name", land.Refused, fmt.Sprintf("is no name of a bucket: %q", bucket))
		delete(c.given, "s3.bucket.name")
	}
	if at := c.given["store.url"]; at != "" {
		if !strings.Contains(at, "://") {
			at = "https://" + at // as the connector does
		}
		c.given["store.url"] = at
		if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			c.judge("store.url", land.Refused, "must be an address as https://s3.example.com")
			delete(c.given, "store.url")
		}
	}
}

// checkGiven leaves out of lake.raw what objects cannot be put with.
func (c *conversion) checkGiven() {
	leave := func(key string, verdict land.Verdict, why string) {
		if c.given[key] != "" {
			c.judge(key, verdict, why)
		}
		delete(c.given, key)
	}
	if c.given["s3.bucket.name"] == "" {
		for _, g := range given {
			leave(g.key, land.Refused, "there is no bucket to put objects into")
		}
		if c.land.ObjectTagging {
			leave("s3.object.tagging", land.Refused, "objects in a folder have no tags")
			c.land.ObjectTagging = false
		}
	}
	if !c.land.ObjectTagging {
		leave(extraTags, land.Ignored, "it goes with s3.object.tagging: true")
	}
	if c.given[extraTags] != "" {
		c.given[extraTags] = strings.Join(strings.FieldsFunc(c.given[extraTags], func(r rune) bool { return r == ',' }), ",")
	}
	for _, g := range given {
		query := url.Values{g.in: {c.given[g.key]}}
		if g.in == "kms_key" {
			query.Set("sse", "aws:kms")
			if !strings.HasPrefix(c.given["s3.ssea.name"], "aws:kms") {
				leave(g.key, land.Ignored, "it goes with s3.ssea.name: aws:kms")
			}
		}
		if c.given[g.key] == "" {
			continue
		}
		if err := s3.CheckURL("s3://bucket?" + query.Encode()); err != nil {
			leave(g.key, land.Refused, "lake.raw "+err.Error())
		}
	}
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`)

// leastDemanding is the partitioner that stands in for one that is refused: it asks nothing of records.
const leastDemanding = "DefaultPartitioner"

// checkLand has land check its keys, and puts its own defaults in the place of what is refused.
func (c *conversion) checkLand() {
	own := land.DefaultConfig()
	own.PartitionerClass = leastDemanding
	refuse := func(key, why string) {
		c.judge(key, land.Refused, why)
		c.reset(key, &own)
	}
	for i := range c.lines {
		if l := c.lines[i]; l.Verdict == land.Refused && field(&c.land, l.Key) != nil {
			c.reset(l.Key, &own)
		}
	}
	c.checkTopics(refuse)
	c.checkPartitioner()
	for _, key := range []string{"rotate.interval.ms", "rotate.schedule.interval.ms"} {
		if at := field(&c.land, key).(*int64); *at < 1 {
			*at = -1
		}
	}
	if c.land.CompressionType == "none" {
		c.land.CompressionType = own.CompressionType
		c.judge("s3.compression.type", land.Better, "objects are .json.gz, smaller and with a last member that says what they cover; readers that look for .json have to be told")
	}
	if c.land.FormatClass == "" {
		refuse("format.class", "is missing: the connector does not start without it")
	}
	for range 2 { // a value that was reset may be at odds with another
		for _, fault := range c.land.Validate() {
			key, why := fault.Path[0], fault.Text
			if !c.named(key) {
				why = "is missing: the connector does not start without it"
			}
			refuse(key, why)
			if key == "partition.field.name" {
				c.land.PartitionerClass = leastDemanding
			}
		}
	}
}

// reset gives a key land's own default: what is written has to be without faults.
func (c *conversion) reset(key string, own *land.Config) {
	switch at := field(&c.land, key).(type) {
	case *string:
		*at = *field(own, key).(*string)
	case *[]string:
		*at = *field(own, key).(*[]string)
	case *int:
		*at = *field(own, key).(*int)
	case *int64:
		*at = *field(own, key).(*int64)
	case *bool:
		*at = *field(own, key).(*bool)
	}
	delete(c.given, key)
}

func (c *conversion) checkTopics(refuse func(key, why string)) {
	own := land.DefaultConfig()
	switch {
	case len(c.land.Topics) > 0 && c.land.TopicsRegex != "":
		refuse("topics.regex", "is beside topics, and the connector takes one of them")
	case len(c.land.Topics) > 0:
		c.land.TopicsRegex = own.TopicsRegex
	case c.land.TopicsRegex == "":
		refuse("topics", "is missing: the connector has either topics or topics.regex")
		c.land.TopicsRegex = own.TopicsRegex
	}
}

// checkPartitioner leaves out what is for another partitioner than the connector's.
func (c *conversion) checkPartitioner() {
	own := land.DefaultConfig()
	class := simple(c.land.PartitionerClass)
	leave := func(why string, keys ...string) {
		for _, key := range keys {
			if c.has(key) {
				c.judge(key, land.Ignored, why)
			}
			c.reset(key, &own)
		}
	}
	if class != "FieldPartitioner" {
		leave("it goes with FieldPartitioner", "partition.field.name")
	}
	timed := class == "TimeBasedPartitioner" || class == "DailyPartitioner" || class == "HourlyPartitioner"
	if class != "TimeBasedPartitioner" {
		leave("it goes with TimeBasedPartitioner", "path.format", "partition.duration.ms")
	}
	if !timed {
		leave("it goes with partitioners by time", "locale", "timestamp.extractor", "timestamp.field")
		if c.land.RotateScheduleIntervalMs < 1 {
			leave("it goes with partitioners by time", "timezone")
		}
		if c.has("rotate.interval.ms") && c.land.RotateIntervalMs > 0 {
			c.judge("rotate.interval.ms", land.Better, "without folders of time the connector leaves it out; here objects are closed when no record has come for so long")
		}
		return
	}
	if c.land.Timezone == "" {
		c.judge("timezone", land.Refused, "is missing: the connector does not start without it")
	}
	if c.land.ByClock() {
		c.judge("timestamp.extractor", land.Better, "a record that is read again lands in the folder it was about to land in, and objects are closed when the clock gives another folder")
	}
	if simple(c.land.TimestampExtractor) != "RecordField" {
		leave("it goes with RecordField", "timestamp.field")
	}
}
