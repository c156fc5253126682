package land

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/internal/setting"
)

// Override has other values for some of Config's keys, for the topics that TopicsRegex matches as a whole; those left out are
// Config's. Of several that match a topic the first one holds, and the others count for nothing.
type Override struct {
	// TopicsRegex chooses among the topics that are landed; it lands none by itself.
	TopicsRegex              string         `yaml:"topics.regex"`
	FlushSize                *int           `yaml:"flush.size"`
	FlushBytes               *setting.Bytes `yaml:"flush.bytes"`
	RotateIntervalMs         *int64         `yaml:"rotate.interval.ms"`
	RotateScheduleIntervalMs *int64         `yaml:"rotate.schedule.interval.ms"`
	IdleFlushMs              *int64         `yaml:"idle.flush.ms"`
	MaxOpenFiles             *int           `yaml:"partitioner.max.open.files"`
	PartitionerClass         *string        `yaml:"partitioner.class"`
	PartitionFieldName       *[]string      `yaml:"partition.field.name"`
	PathFormat               *string        `yaml:"path.format"`
	PartitionDurationMs      *int64         `yaml:"partition.duration.ms"`
	TimestampExtractor       *string        `yaml:"timestamp.extractor"`
	TimestampField           *string        `yaml:"timestamp.field"`
	BehaviorOnNullValues     *string        `yaml:"behavior.on.null.values"`
	MaxRecordBytes           *setting.Bytes `yaml:"max.record.bytes"`
}

// Unknown is what a pipeline file is told of a key that Override has not; empty if land has none of that name either.
func (o *Override) Unknown(key string) string {
	switch key {
	case "topics", "topics.dir", "format.class", "directory.delim", "file.delim", "filename.offset.zero.pad.width", "locale", "timezone",
		"s3.compression.type", "s3.compression.level", "s3.object.tagging", "on.lost.records", "flush.on.stop",
		deadLetterTopic, "errors.deadletterqueue.topic.replication.factor", "errors.deadletterqueue.context.headers.enable", "max.memory", "overrides":
		return "is of all topics together: write it under land itself"
	}
	return (&Config{}).Unknown(key)
}

func over[T any](at, value *T) {
	if value != nil {
		*at = *value
	}
}

// with is c for the topics of o.
func (c *Config) with(o *Override) Config {
	out := *c
	out.Overrides = nil
	over(&out.FlushSize, o.FlushSize)
	over(&out.FlushBytes, o.FlushBytes)
	over(&out.RotateIntervalMs, o.RotateIntervalMs)
	over(&out.RotateScheduleIntervalMs, o.RotateScheduleIntervalMs)
	over(&out.IdleFlushMs, o.IdleFlushMs)
	over(&out.MaxOpenFiles, o.MaxOpenFiles)
	over(&out.PartitionerClass, o.PartitionerClass)
	over(&out.PartitionFieldName, o.PartitionFieldName)
	over(&out.PathFormat, o.PathFormat)
	over(&out.PartitionDurationMs, o.PartitionDurationMs)
	over(&out.TimestampExtractor, o.TimestampExtractor)
	over(&out.TimestampField, o.TimestampField)
	over(&out.BehaviorOnNullValues, o.BehaviorOnNullValues)
	over(&out.MaxRecordBytes, o.MaxRecordBytes)
	return out
}

// Overridden are the configurations of the topics that Overrides match, in their order.
func (c *Config) Overridden() (all []Config) {
	for i := range c.Overrides {
		all = append(all, c.with(&c.Overrides[i]))
	}
	return all
}

// validateOverrides reports what is wrong with a topic's configuration and not with c itself, whose faults are known.
func (c *Config) validateOverrides(known setting.Faults) setting.Faults {
	var f setting.Faults
	for i, conf := range c.Overridden() {
		var one setting.Faults
		if _, err := compileTopics(c.Overrides[i].TopicsRegex); err != nil {
			one.Add([]string{"topics.regex"}, "%v; write a regular expression that matches the whole name, as quotes_.*", err)
		}
		for _, fault := range conf.validate() {
			if !slices.ContainsFunc(known, func(k setting.Fault) bool { return k.String() == fault.String() }) {
				one = append(one, fault)
			}
		}
		f.Under(one, "overrides", strconv.Itoa(i))
	}
	return f
}

// settings are what is made of the configuration of a topic.
type settings struct {
	conf   Config
	topics *regexp.Regexp // nil for all that no other matches
	path   pathFormat
	field  []string
	layout string
}

func newSettings(conf Config, zone *time.Location) (s settings, err error) {
	s.conf = conf
	format, _ := conf.timeFolders()
	if s.path, err = parsePathFormat(format); err != nil {
		return s, err
	}
	if simpleName(conf.TimestampExtractor) == "RecordField" {
		s.field = strings.Split(conf.TimestampField, ".")
	}
	s.layout = conf.layout(zone)
	return s, nil
}

// of is what holds for a topic.
func (l *Lander) of(topic string) *settings {
	i := slices.IndexFunc(l.settings, func(s settings) bool { return s.topics == nil || s.topics.MatchString(topic) })
	return &l.settings[i] // the last one matches all
}
