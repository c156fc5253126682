package kafka

import (
	"regexp"
	"strings"
	"time"

	"headwater/collect/message"
	"headwater/internal/setting"
	cluster "headwater/kafka"
)

// Config is a kafka source's.
type Config struct {
	// Brokers, TLS and SASL are how the cluster is reached, as those of the pipeline's own Kafka.
	Brokers []string      `yaml:"brokers"`
	TLS     *cluster.TLS  `yaml:"tls"`
	SASL    *cluster.SASL `yaml:"sasl"`
	// Topics are the names of those that are read, or TopicsRegex has to match the whole of a name.
	Topics      []string `yaml:"topics"`
	TopicsRegex string   `yaml:"topics_regex"`
	// Start is where a source that has read nothing yet begins: earliest, latest or a time as 2026-07-05T00:00:00Z.
	Start string `yaml:"start"`
	// Isolation is read_committed or read_uncommitted.
	Isolation string `yaml:"isolation"`
	// Group, if not empty, is a consumer group that is told how far Kafka has the records, for monitors of its lag. Nothing is read from it.
	Group string `yaml:"group"`
	// Format is auto, json, text or bytes; see package message.
	Format string `yaml:"format"`
	// MaxRecordBytes bounds the batches that are read.
	MaxRecordBytes setting.Bytes `yaml:"max_record_bytes"`
	// Timeout is how long the brokers may take to answer.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	earliest        = "earliest"
	latest          = "latest"
	readCommitted   = "read_committed"
	readUncommitted = "read_uncommitted"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{Start: earliest, Isolation: readCommitted, Format: message.Auto, MaxRecordBytes: 64 << 20, Timeout: 15 * time.Second}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	if len(c.Brokers) == 0 {
		f.Add([]string{"brokers"}, "is missing: write some brokers of the cluster as [\"kafka.example:9092\"]")
	}
	reached := c.cluster("")
	f = append(f, reached.Validate()...)
	if (len(c.Topics) == 0) == (c.TopicsRegex == "") {
		f.Add([]string{"topics"}, "must be the names of the topics to read, or topics_regex must match them: write one of the two")
	}
	for _, name := range c.Topics {
		if name == "" || strings.Trim(name, legal) != "" {
			f.Add([]string{"topics"}, "must be names of topics, got %q: a pattern goes into topics_regex", name)
		}
	}
	if _, err := regexp.Compile(c.TopicsRegex); err != nil {
		f.Add([]string{"topics_regex"}, "must be a regular expression: %v", err)
	}
	if _, err := time.Parse(time.RFC3339, c.Start); err != nil && c.Start != earliest && c.Start != latest {
		f.Add([]string{"start"}, "must be earliest, latest or a time as 2026-07-05T00:00:00Z, got %q", c.Start)
	}
	if c.Isolation != readCommitted && c.Isolation != readUncommitted {
		f.Add([]string{"isolation"}, "must be read_committed or read_uncommitted, got %q", c.Isolation)
	}
	message.ValidateFormat(&f, c.Format)
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be at least 1s, got %v", c.Timeout)
	}
	return f
}

// legal are the characters of a topic's name.
const legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// cluster is the configuration of a client; relative paths are relative to the folder base.
func (c *Config) cluster(base string) cluster.Config {
	k := cluster.DefaultConfig()
	k.Brokers, k.SASL, k.MaxRecordBytes = c.Brokers, c.SASL, c.MaxRecordBytes
	k.BatchBytes = 1 << 10 // we write nothing, and it must not be more than a record
	if c.TLS != nil {
		t := *c.TLS
		for _, path := range []*string{&t.CA, &t.Cert, &t.Key} {
			if *path != "" {
				*path = setting.At(base, *path)
			}
		}
		k.TLS = &t
	}
	return k
}

// matches says whether a topic is one of those to be read.
func (c *Config) matches() func(topic string) bool {
	if c.TopicsRegex == "" {
		named := map[string]bool{}
		for _, name := range c.Topics {
			named[name] = true
		}
		return func(topic string) bool { return named[topic] }
	}
	expr, err := regexp.Compile("^(?:" + c.TopicsRegex + ")$")
	if err != nil {
		return func(string) bool { return false } // Validate refuses it
	}
	return expr.MatchString
}
