package land

import (
	"compress/gzip"
	"fmt"
	"regexp"
	"strings"
	"time"

	"headwater/internal/setting"
	"headwater/lake"
)

// Config has the key names of the Kafka Connect S3 sink, so that a connector's configuration can be taken over line by
// line; max.memory and max.record.bytes are our own. Rules: docs/format/rotation.md.
type Config struct {
	// TopicsRegex must match the whole name of a topic for it to be landed.
	TopicsRegex string `yaml:"topics.regex"`
	// TopicsDir is the first part of every key; empty for none.
	TopicsDir string `yaml:"topics.dir"`
	// FlushSize is the number of records of a Kafka partition, over all its open objects, that closes them.
	FlushSize int `yaml:"flush.size"`
	// RotateIntervalMs closes the open objects of a Kafka partition when a record's time is that far after the first one's, and
	// when no record has come for that long; -1 for never.
	RotateIntervalMs int64 `yaml:"rotate.interval.ms"`
	// RotateScheduleIntervalMs closes them at multiples of it since local midnight; -1 for never.
	RotateScheduleIntervalMs int64 `yaml:"rotate.schedule.interval.ms"`
	// PartitionerClass is TimeBasedPartitioner, with or without its Java package.
	PartitionerClass string `yaml:"partitioner.class"`
	// PathFormat is the folder of a record's time, in Joda's letters.
	PathFormat string `yaml:"path.format"`
	// PartitionDurationMs is the length of the stretches of time that share a folder.
	PartitionDurationMs int64 `yaml:"partition.duration.ms"`
	// Locale is en: the letters that are supported have no other spelling.
	Locale string `yaml:"locale"`
	// Timezone is that of the folders and of the schedule; empty for the pipeline's.
	Timezone string `yaml:"timezone"`
	// TimestampExtractor is RecordField (a field of the record's value) or Record (Kafka's own timestamp).
	TimestampExtractor string `yaml:"timestamp.extractor"`
	// TimestampField is the field for RecordField; dots lead into nested objects.
	TimestampField string `yaml:"timestamp.field"`
	// CompressionType is gzip.
	CompressionType string `yaml:"s3.compression.type"`
	// CompressionLevel is gzip's level from 0 to 9, or -1 for its default.
	CompressionLevel int `yaml:"s3.compression.level"`
	// FlushOnStop closes and commits the open objects at the end of Run; otherwise they are read again from Kafka.
	FlushOnStop bool `yaml:"flush.on.stop"`
	// MaxMemory bounds the text of all open objects that waits to be compressed.
	MaxMemory setting.Bytes `yaml:"max.memory"`
	// MaxRecordBytes is the size above which a record goes to quarantine.
	MaxRecordBytes setting.Bytes `yaml:"max.record.bytes"`
}

// DefaultConfig is what holds where the file says nothing.
func DefaultConfig() Config {
	return Config{
		TopicsRegex:              ".*raw$",
		TopicsDir:                "topics",
		FlushSize:                180_000,
		RotateIntervalMs:         300_000,
		RotateScheduleIntervalMs: 300_000,
		PartitionerClass:         "TimeBasedPartitioner",
		PathFormat:               "'date'=YYYY-MM-dd",
		PartitionDurationMs:      86_400_000,
		Locale:                   "en",
		TimestampExtractor:       "RecordField",
		TimestampField:           "ingestion_timestamp",
		CompressionType:          "gzip",
		CompressionLevel:         -1,
		FlushOnStop:              true,
		MaxMemory:                128 << 20,
		MaxRecordBytes:           64 << 20,
	}
}

// maxMillis keeps the durations from overflowing when they become nanoseconds.
const maxMillis = int64(100 * 365 * 24 * time.Hour / time.Millisecond)

// maxDir keeps the note of a commit, which names the earlier dirs too, below the 4096 bytes that Kafka takes by default.
const maxDir = 256

// Validate reports everything that is wrong with c.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	at := func(key, format string, args ...any) { f.Add([]string{key}, format, args...) }
	if _, err := compileTopics(c.TopicsRegex); err != nil {
		at("topics.regex", "%v; write a regular expression that matches the whole name, as .*raw$", err)
	}
	if !validDir(c.TopicsDir) {
		at("topics.dir", "must be names joined by /, as topics or lake/topics, none of them the lake's own (_quarantine, _lock, .tmp-), got %q", c.TopicsDir)
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
	if simpleName(c.PartitionerClass) != "TimeBasedPartitioner" {
		at("partitioner.class", "must be TimeBasedPartitioner, the only one there is so far, got %q; DailyPartitioner and HourlyPartitioner are a path.format and a partition.duration.ms", c.PartitionerClass)
	}
	if _, err := parsePathFormat(c.PathFormat); err != nil {
		at("path.format", "%v", err)
	}
	if c.PartitionDurationMs < 1 || c.PartitionDurationMs > maxMillis {
		at("partition.duration.ms", "must be at least 1, as 86400000 for a day, got %d", c.PartitionDurationMs)
	}
	c.validateRest(at)
	return f
}

func (c *Config) validateRest(at func(key, format string, args ...any)) {
	if lang, _, _ := strings.Cut(strings.ReplaceAll(c.Locale, "_", "-"), "-"); lang != "en" {
		at("locale", "must be en, got %q; path.format has only digits, which are the same in every locale", c.Locale)
	}
	if c.Timezone != "" {
		if _, err := loadZone(c.Timezone); err != nil {
			at("timezone", "%v; write UTC, Europe/Paris or +02:00, or leave it out for the pipeline's", err)
		}
	}
	switch simpleName(c.TimestampExtractor) {
	case "RecordField", "Record":
	case "Wallclock":
		at("timestamp.extractor", "must be RecordField or Record; with Wallclock a record that is read again after a crash gets another time and would be landed twice")
	default:
		at("timestamp.extractor", "must be RecordField or Record, got %q", c.TimestampExtractor)
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
		if part == "" || part == "." || part == ".." || part == "_quarantine" || part == lake.LockName || strings.HasPrefix(part, lake.TempPrefix) {
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
