package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"headwater/envelope"
	"headwater/internal/setting"
)

// External is the kind of a source whose topic somebody else fills: nothing is collected, and the topic lands and is serialized like any
// other. It needs no registration.
const External = "external"

// external is its configuration: what is declared of the topic's records.
type external struct {
	// Topic is the topic's name.
	Topic string `yaml:"topic"`
	// Timestamp is how times are spelled: ms, s (since 1970) or iso.
	Timestamp string `yaml:"timestamp"`
	// TimestampField leads to a record's time, with dots, where records have no envelope; without, it is the Kafka record's own.
	TimestampField string `yaml:"timestamp_field"`
	// Envelope is headwater, or none for documents that have no envelope.
	Envelope string `yaml:"envelope"`
	// RawData is json, or json_string if it is a JSON text in a string.
	RawData string `yaml:"raw_data"`
}

func defaultExternal() external {
	return external{Timestamp: string(envelope.Millis), Envelope: "headwater", RawData: "json"}
}

var externalKind = kind{reflect.TypeFor[external](), func(n *node, path []string) (reading, setting.Faults) {
	c := defaultExternal()
	faults := read(n, &c, path, c.validate)
	return reading{config: func() any { return c }, external: &c}, faults
}}

func (c *external) validate() setting.Faults {
	var faults setting.Faults
	at := func(key, format string, args ...any) { faults.Add([]string{key}, format, args...) }
	switch {
	case c.Topic == "":
		at("topic", "is missing: write the name of the topic that others fill")
	case !validTopic(c.Topic):
		at("topic", "%s", badTopic(c.Topic))
	}
	oneOf := func(key, got string, allowed ...string) {
		if !slices.Contains(allowed, got) {
			at(key, "must be %s or %s, got %q", strings.Join(allowed[:len(allowed)-1], ", "), allowed[len(allowed)-1], got)
		}
	}
	oneOf("timestamp", c.Timestamp, string(envelope.Millis), string(envelope.Seconds), string(envelope.ISO))
	oneOf("envelope", c.Envelope, "headwater", "none")
	oneOf("raw_data", c.RawData, "json", "json_string")
	switch {
	case c.TimestampField == "" && c.Envelope == "none" && c.Timestamp != string(envelope.Millis):
		at("timestamp", "needs timestamp_field, the field that has such a time: without one it is the Kafka record's own, in ms")
	case c.TimestampField != "" && c.Envelope != "none":
		at("timestamp_field", "goes with envelope: none; an envelope has its time in %s", envelope.KeyTimestamp)
	case c.TimestampField != "" && slices.Contains(strings.Split(c.TimestampField, "."), ""):
		at("timestamp_field", "must be field names joined by dots, as created_at or event.time, got %q", c.TimestampField)
	}
	return faults
}

func (c *external) shape() envelope.Shape {
	s := envelope.Shape{Unit: envelope.Unit(c.Timestamp), Bare: c.Envelope == "none", Field: c.TimestampField, InString: c.RawData == "json_string"}
	if s.Bare && s.Field == "" {
		s.Unit = ""
	}
	return s
}

func validTopic(name string) bool {
	return topicName.MatchString(name) && strings.Trim(name, ".") != "" && name != cursorsTopic
}

func badTopic(name string) string {
	return fmt.Sprintf("must be letters, digits, '.', '_' and '-', at most 249, and not %s, got %q", cursorsTopic, name)
}
