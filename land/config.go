package land

import (
	"compress/gzip"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"headwater/internal/setting"
	"headwater/lake"
)

// Config has the key names of the Kafka Connect S3 sink, so that a connector's configuration can be taken over line by
// line; on.lost.records, max.memory and max.record.bytes are our own. Rules: docs/format/rotation.md.
type Config struct {
	// Topics are landed, and then TopicsRegex counts for nothing; topics that sources name are landed besides.
	Topics []string `yaml:"topics"`
	// TopicsRegex must match the whole name of a topic for it to be landed.
	TopicsRegex string `yaml:"topics.regex"`
	// TopicsDir is the first part of every key; empty for none.
	TopicsDir string `yaml:"topics.dir"`
	// FormatClass is JsonFormat, with or without its Java package: a line is a record.
	FormatClass string `yaml:"format.class"`
	// DirectoryDelim and FileDelim are / and +, and OffsetPadWidth is the least number of digits of the offset in a key.
	DirectoryDelim string `yaml:"directory.delim"`
	FileDelim      string `yaml:"file.delim"`
	OffsetPadWidth int    `yaml:"filename.offset.zero.pad.width"`
	// FlushSize is the number of records of a Kafka partition, over all its open objects, that closes them.
	FlushSize int `yaml:"flush.size"`
	// RotateIntervalMs closes the open objects of a Kafka partition when a record's time is that far after the first one's, with
	// folders of time; -1 for never.
	RotateIntervalMs int64 `yaml:"rotate.interval.ms"`
	// RotateScheduleIntervalMs closes them at multiples of it since local midnight; -1 for never.
	RotateScheduleIntervalMs int64 `yaml:"rotate.schedule.interval.ms"`
	// FlushBytes is the same in bytes of text; 0 for no limit.
	FlushBytes setting.Bytes `yaml:"flush.bytes"`
	// IdleFlushMs closes them when no record has come for so long by the clock; 0 for RotateIntervalMs, -1 for never.
	IdleFlushMs int64 `yaml:"idle.flush.ms"`
	// MaxOpenFiles closes them before one more would be opened; -1 for no limit.
	MaxOpenFiles int `yaml:"partitioner.max.open.files"`
	// PartitionerClass is one of the connector's five, with or without its Java package.
	PartitionerClass string `yaml:"partitioner.class"`
	// PartitionFieldName has the FieldPartitioner's fields; dots lead into nested objects.
	PartitionFieldName []string `yaml:"partition.field.name"`
	// PathFormat is the TimeBasedPartitioner's folder of a record's time, in Joda's letters.
	PathFormat string `yaml:"path.format"`
	// PartitionDurationMs is the length of the stretches of time that share a folder.
	PartitionDurationMs int64 `yaml:"partition.duration.ms"`
	// Locale is that of the words in PathFormat; there are those of en.
	Locale string `yaml:"locale"`
	// Timezone is that of the folders and of the schedule; empty for the pipeline's.
	Timezone string `yaml:"timezone"`
	// TimestampExtractor is RecordField (a field of the record's value), Record (Kafka's own timestamp) or Wallclock (when the record is read).
	TimestampExtractor string `yaml:"timestamp.extractor"`
	// TimestampField is the field for RecordField; dots lead into nested objects.
	TimestampField string `yaml:"timestamp.field"`
	// BehaviorOnNullValues is ignore, which has them in quarantine, or fail, which stops their Kafka partition.
	BehaviorOnNullValues string `yaml:"behavior.on.null.values"`
	// DeadLetterTopic is where records that go to quarantine are sent as well; empty for nowhere.
	DeadLetterTopic string `yaml:"errors.deadletterqueue.topic.name"`
	// DeadLetterReplication is the replication factor of DeadLetterTopic if it has to be made; -1 for the broker's default.
	DeadLetterReplication int `yaml:"errors.deadletterqueue.topic.replication.factor"`
	// DeadLetterHeaders adds Connect's headers, which say where a dead letter comes from and why.
	DeadLetterHeaders bool `yaml:"errors.deadletterqueue.context.headers.enable"`
	// OnLostRecords is what becomes of a Kafka partition whose records were deleted from Kafka before they were landed: stop or continue.
	OnLostRecords string `yaml:"on.lost.records"`
	// CompressionType is gzip.
	CompressionType string `yaml:"s3.compression.type"`
	// CompressionLevel is gzip's level from 0 to 9, or -1 for 6.
	CompressionLevel int `yaml:"s3.compression.level"`
	// ObjectTagging gives objects the tags startOffset, endOffset (of the last record) and recordCount.
	ObjectTagging bool `yaml:"s3.object.tagging"`
	// FlushOnStop closes and commits the open objects at the end of Run; otherwise they are read again from Kafka.
	FlushOnStop bool `yaml:"flush.on.stop"`
	// MaxMemory bounds the text of all open objects that waits to be compressed.
	MaxMemory setting.Bytes `yaml:"max.memory"`
	// MaxRecordBytes is the size above which a record goes to quarantine.
	MaxRecordBytes setting.Bytes `yaml:"max.record.bytes"`
	// Overrides are for some of the topics.
	Overrides []Override `yaml:"overrides"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		Topics:                   []string{},
		PartitionFieldName:       []string{},
		TopicsRegex:              ".*raw$",
		TopicsDir:                "topics",
		FormatClass:              "JsonFormat",
		DirectoryDelim:           "/",
		FileDelim:                "+",
		OffsetPadWidth:           lake.OffsetWidth,
		MaxOpenFiles:             -1,
		FlushSize:                180_000,
		RotateIntervalMs:         300_000,
		RotateScheduleIntervalMs: 300_000,
		PartitionerClass:         byTime,
		PathFormat:               "'date'=YYYY-MM-dd",
		PartitionDurationMs:      dayMillis,
		Locale:                   "en",
		TimestampExtractor:       "RecordField",
		TimestampField:           "ingestion_timestamp",
		BehaviorOnNullValues:     "ignore",
		DeadLetterReplication:    3,
		OnLostRecords:            "stop",
		CompressionType:          "gzip",
		CompressionLevel:         -1,
		FlushOnStop:              true,
		MaxMemory:                128 << 20,
		MaxRecordBytes:           64 << 20,
		Overrides:                []Override{},
	}
}

// maxMillis keeps the durations from overflowing when they become nanoseconds.
const maxMillis = int64(100 * 365 * 24 * time.Hour / time.Millisecond)

// maxDir keeps the note of a commit, which names the earlier dirs too, below the 4096 bytes that Kafka takes by default.
const maxDir = 256

// Validate reports everything that is wrong with c.
func (c *Config) Validate() setting.Faults {
	f := c.validate()
	return append(f, c.validateOverrides(f)...)
}

// validate leaves out the overrides.
func (c *Config) validate() setting.Faults {
	var f setting.Faults
	at := func(key, format string, args ...any) { f.Add([]string{key}, format, args...) }
	if _, err := compileTopics(c.TopicsRegex); err != nil {
		at("topics.regex", "%v; write a regular expression that matches the whole name, as .*raw$", err)
	}
	if !validDir(c.TopicsDir) {
		at("topics.dir", "must be names joined by /, as topics or lake/topics, none of them the lake's own (_quarantine, _superseded, _lock, .tmp-), got %q", c.TopicsDir)
	}
	if len(c.TopicsDir) > maxDir {
		at("topics.dir", "must have at most %d bytes, got %d", maxDir, len(c.TopicsDir))
	}
	if c.FlushSize < 1 {
		at("flush.size", "must be at least 1 record, got %d", c.FlushSize)
	}
	for _, rotate := range []struct {
		key string
		ms  int64
	}{{"rotate.interval.ms", c.RotateIntervalMs}, {"rotate.schedule.interval.ms", c.RotateScheduleIntervalMs}} {
		if (rotate.ms < 1 && rotate.ms != -1) || rotate.ms > maxMillis {
			at(rotate.key, "must be milliseconds from 1, or -1 for never, got %d", rotate.ms)
		}
	}
	c.validateNames(at)
	c.validateDeadLetters(at)
	c.validateLimits(at)
	c.validateFolders(at)
	c.validateRest(at)
	return f
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

func validTopic(name string) bool {
	return topicName.MatchString(name) && strings.Trim(name, ".") != ""
}

func (c *Config) validateNames(at func(key, format string, args ...any)) {
	for _, topic := range c.Topics {
		if !validTopic(topic) {
			at("topics", "must be names of topics, each of letters, digits, '.', '_' and '-', got %q", topic)
		}
	}
	if len(c.Topics) > 0 && c.TopicsRegex != DefaultConfig().TopicsRegex {
		at("topics.regex", "is beside topics, and a topic is landed by one of them: leave the other out")
	}
	switch simpleName(c.FormatClass) {
	case "JsonFormat":
	case "ByteArrayFormat":
		at("format.class", "must be JsonFormat, got %q: objects are lines of JSON, as serialize reads them. Of records that are JSON, JsonFormat keeps the bytes too; others go to quarantine, whole", c.FormatClass)
	default:
		at("format.class", "must be JsonFormat, got %q: raw objects are lines of JSON, and the tables are Parquet files", c.FormatClass)
	}
	if c.DirectoryDelim != "/" {
		at("directory.delim", "must be /, by which stores and readers find folders, got %q", c.DirectoryDelim)
	}
	if c.FileDelim != "+" {
		at("file.delim", "must be +, by which what has landed is found after a restart, got %q", c.FileDelim)
	}
	if c.OffsetPadWidth < 0 || c.OffsetPadWidth > 19 {
		at("filename.offset.zero.pad.width", "must be from 0 to 19, which is as long as offsets get, got %d", c.OffsetPadWidth)
	}
	switch c.BehaviorOnNullValues {
	case "ignore", "fail":
	case "write":
		at("behavior.on.null.values", "must be ignore or fail; write has no object to write to, because keys are not stored: ignored records are whole in quarantine, with their keys")
	default:
		at("behavior.on.null.values", "must be ignore, which has them in quarantine, or fail, got %q", c.BehaviorOnNullValues)
	}
}

func (c *Config) validateDeadLetters(at func(key, format string, args ...any)) {
	if topic := c.DeadLetterTopic; topic != "" {
		landed, err := compileTopics(c.topicsExpr())
		switch {
		case !validTopic(topic):
			at(deadLetterTopic, "must be the name of a topic, of letters, digits, '.', '_' and '-', got %q", topic)
		case err == nil && landed.MatchString(topic):
			at(deadLetterTopic, "must be none of the topics that land, or its records would come into it again, got %s, which topics or topics.regex (%s) names", topic, c.topicsExpr())
		}
	}
	if n := c.DeadLetterReplication; n < 1 && n != -1 || n > math.MaxInt16 {
		at("errors.deadletterqueue.topic.replication.factor", "must be at least 1, or -1 for the broker's default, got %d", n)
	}
}

// goOn is the value of on.lost.records that lands what is behind.
const goOn = "continue"

func (c *Config) validateLimits(at func(key, format string, args ...any)) {
	if c.OnLostRecords != "stop" && c.OnLostRecords != goOn {
		at("on.lost.records", "must be stop, which waits for `headwater land accept`, or %s, got %q", goOn, c.OnLostRecords)
	}
	if c.FlushBytes < 0 {
		at("flush.bytes", "must be positive, as 256MiB, or 0 for no limit, got %s", c.FlushBytes)
	}
	if c.IdleFlushMs < -1 || c.IdleFlushMs > maxMillis {
		at("idle.flush.ms", "must be milliseconds from 1, 0 for those of rotate.interval.ms, or -1 for never, got %d", c.IdleFlushMs)
	}
	if c.MaxOpenFiles < 1 && c.MaxOpenFiles != -1 {
		at("partitioner.max.open.files", "must be at least 1, or -1 for no limit, got %d", c.MaxOpenFiles)
	}
}

// The partitioners.
const (
	byPartition = "DefaultPartitioner"
	byField     = "FieldPartitioner"
	byTime      = "TimeBasedPartitioner"
	byDay       = "DailyPartitioner"
	byHour      = "HourlyPartitioner"

	dayMillis  = 86_400_000
	hourMillis = 3_600_000
	dayFormat  = "'year'=YYYY/'month'=MM/'day'=dd"
	hourFormat = dayFormat + "/'hour'=HH"
)

func (c *Config) validateFolders(at func(key, format string, args ...any)) {
	format, err := parsePathFormat(c.PathFormat)
	if err != nil {
		at("path.format", "%v", err)
	}
	if c.PartitionDurationMs < 1 || c.PartitionDurationMs > maxMillis {
		at("partition.duration.ms", "must be at least 1, as 86400000 for a day, got %d", c.PartitionDurationMs)
	}
	class := simpleName(c.PartitionerClass)
	if (class == byField) != (len(c.PartitionFieldName) > 0) {
		at("partition.field.name", "goes with FieldPartitioner, got %s and the fields %q", class, c.PartitionFieldName)
	}
	switch class {
	case byPartition:
	case byField:
		for i, name := range c.PartitionFieldName {
			switch {
			case slices.Contains(strings.Split(name, "."), ""):
				at("partition.field.name", "must be field names joined by dots, as raw_data.country, got %q", name)
			case slices.Contains(c.PartitionFieldName[:i], name):
				at("partition.field.name", "must name a field once, got %q twice", name)
			}
		}
	case byTime:
		if err == nil && format.named() && c.Locale != "en" {
			at("locale", "must be en, got %q: path.format has words, and those of other locales differ from one Java to the next. Write numbers, as MM, or locale: en", c.Locale)
		}
	case byDay, byHour:
		// What it has of its own would be overruled in silence.
		own, millis := c.timeFolders()
		if c.PathFormat != own && c.PathFormat != DefaultConfig().PathFormat {
			at("path.format", "is %s of a %s: leave it out, or write TimeBasedPartitioner", own, class)
		}
		if c.PartitionDurationMs != millis && c.PartitionDurationMs != dayMillis {
			at("partition.duration.ms", "is %d of a %s: leave it out, or write TimeBasedPartitioner", millis, class)
		}
	default:
		at("partitioner.class", "must be %s, %s, %s, %s or %s, got %q", byPartition, byField, byTime, byDay, byHour, c.PartitionerClass)
	}
}

// timeFolders are the path.format and the partition.duration.ms of the partitioners by time.
func (c *Config) timeFolders() (format string, millis int64) {
	switch simpleName(c.PartitionerClass) {
	case byDay:
		return dayFormat, dayMillis
	case byHour:
		return hourFormat, hourMillis
	}
	return c.PathFormat, c.PartitionDurationMs
}

// timed says that folders are made of times.
func (c *Config) timed() bool {
	class := simpleName(c.PartitionerClass)
	return class != byPartition && class != byField
}

// ByClock says that a record's folder is of the time at which it is landed, and no fact of the record.
func (c *Config) ByClock() bool { return simpleName(c.TimestampExtractor) == "Wallclock" && c.timed() }

// TimeField is the field of a record by whose time its folder is chosen; empty if it is by something else.
func (c *Config) TimeField() string {
	if simpleName(c.TimestampExtractor) != "RecordField" || !c.timed() {
		return ""
	}
	return c.TimestampField
}

// Folders says what the folders of a topic are made of: a path.format, or the name of a partitioner that is not by time.
func (c *Config) Folders() string {
	switch class := simpleName(c.PartitionerClass); class {
	case byPartition, byField:
		return class
	}
	format, _ := c.timeFolders()
	return format
}

// topicsExpr matches the topics to land, other than those that sources name.
func (c *Config) topicsExpr() string {
	if len(c.Topics) == 0 {
		return c.TopicsRegex
	}
	var names []string
	for _, topic := range c.Topics {
		names = append(names, regexp.QuoteMeta(topic))
	}
	return strings.Join(names, "|")
}

func (c *Config) validateRest(at func(key, format string, args ...any)) {
	if strings.TrimSpace(c.Locale) == "" {
		at("locale", "must be a locale, as en, got %q", c.Locale)
	}
	if c.Timezone != "" {
		if _, err := loadZone(c.Timezone); err != nil {
			at("timezone", "%v; write UTC, Europe/Paris or +02:00, or leave it out for the pipeline's", err)
		}
	}
	switch simpleName(c.TimestampExtractor) {
	case "RecordField", "Record", "Wallclock":
	default:
		at("timestamp.extractor", "must be RecordField, Record or Wallclock, got %q", c.TimestampExtractor)
	}
	for name := range strings.SplitSeq(c.TimestampField, ".") {
		if name == "" && simpleName(c.TimestampExtractor) == "RecordField" {
			at("timestamp.field", "must be field names joined by dots, as ingestion_timestamp, got %q", c.TimestampField)
			break
		}
	}
	if c.CompressionType != "gzip" {
		at("s3.compression.type", "must be gzip, whose last member says what an object covers, got %q", c.CompressionType)
	}
	if c.CompressionLevel < gzip.DefaultCompression || c.CompressionLevel > gzip.BestCompression {
		at("s3.compression.level", "must be from -1 to 9, got %d", c.CompressionLevel)
	}
	if c.MaxMemory < 1<<20 {
		at("max.memory", "must be at least 1MiB, got %s", c.MaxMemory)
	}
	if c.MaxRecordBytes < 1 {
		at("max.record.bytes", "must be positive, as 64MiB, got %s", c.MaxRecordBytes)
	}
}

// simpleName is a class name without its Java package.
func simpleName(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }

// compileTopics makes a regular expression that, as the connector's, has to match the whole name.
func compileTopics(expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, fmt.Errorf("it is empty")
	}
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err
	}
	return regexp.Compile(wholeName(expr))
}

func wholeName(expr string) string { return "^(?:" + expr + ")$" }

func validDir(dir string) bool {
	if dir == "" {
		return true
	}
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" || part == "." || part == ".." || part == "_quarantine" || part+"/" == SupersededPrefix || part == lake.LockName || strings.HasPrefix(part, lake.TempPrefix) {
			return false
		}
	}
	return true
}

// loadZone knows the names of time zones and offsets as +02:00.
func loadZone(name string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", name); err == nil {
		_, seconds := t.Zone()
		return time.FixedZone(name, seconds), nil
	}
	return time.LoadLocation(name)
}
