package land

import (
	"strings"
	"testing"
)

func TestDefaultConfig(t *testing.T) {
	c := DefaultConfig()
	if faults := c.Validate(); len(faults) > 0 {
		t.Errorf("%v", faults)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		key, reason string
		set         func(*Config)
	}{
		{"topics.regex", "empty", func(c *Config) { c.TopicsRegex = "" }},
		{"topics.regex", "missing closing", func(c *Config) { c.TopicsRegex = "(" }},
		{"topics.regex", "unexpected )", func(c *Config) { c.TopicsRegex = "a)|(b" }},
		{"topics.dir", "joined by /", func(c *Config) { c.TopicsDir = "/topics" }},
		{"topics.dir", "joined by /", func(c *Config) { c.TopicsDir = "a/../b" }},
		{"topics.dir", "at most 256", func(c *Config) { c.TopicsDir = strings.Repeat("a", 257) }},
		{"topics.dir", "joined by /", func(c *Config) { c.TopicsDir = "_quarantine/land" }},
		{"topics.dir", "joined by /", func(c *Config) { c.TopicsDir = "a/.tmp-1" }},
		{"topics.dir", "joined by /", func(c *Config) { c.TopicsDir = "_lock" }},
		{"flush.size", "got 0", func(c *Config) { c.FlushSize = 0 }},
		{"rotate.interval.ms", "got 0", func(c *Config) { c.RotateIntervalMs = 0 }},
		{"rotate.schedule.interval.ms", "got -2", func(c *Config) { c.RotateScheduleIntervalMs = -2 }},
		{"rotate.schedule.interval.ms", "never", func(c *Config) { c.RotateScheduleIntervalMs = 1 << 62 }},
		{"partitioner.class", "or HourlyPartitioner", func(c *Config) { c.PartitionerClass = "com.example.MinutePartitioner" }},
		{"partition.field.name", "FieldPartitioner", func(c *Config) { c.PartitionerClass = "FieldPartitioner" }},
		{"partition.field.name", "FieldPartitioner", func(c *Config) { c.PartitionFieldName = []string{"a"} }},
		{"partition.field.name", "dots", func(c *Config) { c.PartitionerClass, c.PartitionFieldName = "FieldPartitioner", []string{"a..b"} }},
		{"partition.field.name", "twice", func(c *Config) {
			c.PartitionerClass, c.PartitionFieldName = "FieldPartitioner", []string{"a", "b", "a"}
		}},
		{"path.format", "TimeBasedPartitioner", func(c *Config) { c.PartitionerClass, c.PathFormat = "DailyPartitioner", "YYYY" }},
		{"partition.duration.ms", "3600000", func(c *Config) { c.PartitionerClass, c.PartitionDurationMs = "HourlyPartitioner", 60_000 }},
		{"locale", "words", func(c *Config) { c.Locale, c.PathFormat = "en_US", "YYYY/MMMM" }},
		{"locale", "words", func(c *Config) { c.Locale, c.PathFormat = "de", "YYYY/E" }},
		{"topics", "names of topics", func(c *Config) { c.Topics = []string{"a", ""} }},
		{"topics", "names of topics", func(c *Config) { c.Topics = []string{".."} }},
		{"topics.regex", "leave the other out", func(c *Config) { c.Topics, c.TopicsRegex = []string{"a"}, "a" }},
		{"format.class", "JSON", func(c *Config) { c.FormatClass = "io.confluent.connect.s3.format.bytearray.ByteArrayFormat" }},
		{"format.class", "Parquet", func(c *Config) { c.FormatClass = "AvroFormat" }},
		{"directory.delim", "must be /", func(c *Config) { c.DirectoryDelim = "-" }},
		{"file.delim", "must be +", func(c *Config) { c.FileDelim = "_" }},
		{"filename.offset.zero.pad.width", "19", func(c *Config) { c.OffsetPadWidth = 20 }},
		{"behavior.on.null.values", "keys are not stored", func(c *Config) { c.BehaviorOnNullValues = "write" }},
		{"behavior.on.null.values", "or fail", func(c *Config) { c.BehaviorOnNullValues = "drop" }},
		{"errors.deadletterqueue.topic.name", "name of a topic", func(c *Config) { c.DeadLetterTopic = "a b" }},
		{"errors.deadletterqueue.topic.name", "none of the topics that land", func(c *Config) { c.DeadLetterTopic = "dlq_raw" }},
		{"errors.deadletterqueue.topic.name", "none of the topics that land", func(c *Config) { c.DeadLetterTopic, c.Topics = "a.b", []string{"c", "a.b"} }},
		{"errors.deadletterqueue.topic.replication.factor", "at least 1", func(c *Config) { c.DeadLetterReplication = 0 }},
		{"errors.deadletterqueue.topic.replication.factor", "got 32768", func(c *Config) { c.DeadLetterReplication = 32768 }},
		{"flush.bytes", "no limit", func(c *Config) { c.FlushBytes = -1 }},
		{"idle.flush.ms", "never", func(c *Config) { c.IdleFlushMs = -2 }},
		{"partitioner.max.open.files", "no limit", func(c *Config) { c.MaxOpenFiles = 0 }},
		{"path.format", "single quotes", func(c *Config) { c.PathFormat = "date=YYYY" }},
		{"partition.duration.ms", "at least 1", func(c *Config) { c.PartitionDurationMs = 0 }},
		{"locale", "as en", func(c *Config) { c.Locale = "" }},
		{"timezone", "Europe/Paris", func(c *Config) { c.Timezone = "Mars/Olympus" }},
		{"timestamp.extractor", "Wallclock, got", func(c *Config) { c.TimestampExtractor = "Clock" }},
		{"timestamp.extractor", "RecordField", func(c *Config) { c.TimestampExtractor = "Other" }},
		{"timestamp.field", "dots", func(c *Config) { c.TimestampField = "a..b" }},
		{"s3.compression.type", "gzip", func(c *Config) { c.CompressionType = "none" }},
		{"s3.compression.level", "9", func(c *Config) { c.CompressionLevel = 10 }},
		{"max.memory", "1MiB", func(c *Config) { c.MaxMemory = 0 }},
		{"max.record.bytes", "positive", func(c *Config) { c.MaxRecordBytes = 0 }},
	} {
		c := DefaultConfig()
		tt.set(&c)
		faults := c.Validate()
		if len(faults) != 1 || faults[0].Path[0] != tt.key || !strings.Contains(faults[0].Text, tt.reason) {
			t.Errorf("%s: got %v, want something about %q", tt.key, faults, tt.reason)
		}
		if _, err := New(Options{Config: c}); err == nil || !strings.Contains(err.Error(), tt.key) {
			t.Errorf("%s: New gives %v", tt.key, err)
		}
	}
	for _, set := range []func(*Config){
		func(c *Config) { c.TopicsDir = "" },
		func(c *Config) { c.Locale, c.Timezone = "en_US", "+05:30" },
		func(c *Config) { c.PartitionerClass = "io.confluent.connect.storage.partitioner.TimeBasedPartitioner" },
		func(c *Config) { c.TimestampExtractor, c.TimestampField = "Record", "" },
		func(c *Config) { c.Locale, c.PathFormat = "fr", "YYYY-MM-dd" },
		func(c *Config) { c.PathFormat = "YYYY/MMMM/EEE/aG" },
		func(c *Config) { c.PartitionerClass = "io.confluent.connect.storage.partitioner.DefaultPartitioner" },
		func(c *Config) { c.PartitionerClass, c.PartitionFieldName = "FieldPartitioner", []string{"a.b", "c"} },
		func(c *Config) {
			c.PartitionerClass, c.PathFormat = "DailyPartitioner", "'year'=YYYY/'month'=MM/'day'=dd"
		},
		func(c *Config) { c.PartitionerClass, c.PartitionDurationMs = "HourlyPartitioner", 3_600_000 },
		func(c *Config) { c.Topics = []string{"a", "b"} },
		func(c *Config) { c.Topics, c.DeadLetterTopic, c.DeadLetterReplication = []string{"a"}, "b_raw", -1 },
		func(c *Config) { c.FormatClass, c.OffsetPadWidth = "io.confluent.connect.s3.format.json.JsonFormat", 0 },
		func(c *Config) {
			c.BehaviorOnNullValues, c.FlushBytes, c.IdleFlushMs, c.MaxOpenFiles = "fail", 1, -1, 1
		},
		func(c *Config) { c.RotateIntervalMs, c.RotateScheduleIntervalMs = -1, -1 },
	} {
		c := DefaultConfig()
		set(&c)
		if faults := c.Validate(); len(faults) > 0 {
			t.Errorf("%v", faults)
		}
	}
}

func TestLands(t *testing.T) {
	l, err := New(Options{Config: DefaultConfig(), Declared: Declared{Topics: []string{"a.b"}}})
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"x_raw": true, "raw": true, "x_raw2": false, "a.b": true, "aXb": false} {
		if got := l.Lands(topic); got != want {
			t.Errorf("Lands(%s) = %v", topic, got)
		}
	}
}
