package collect

import (
	"time"

	"headwater/envelope"
	"headwater/internal/setting"
)

// Config is what can be set of a Runner. Batches, linger and compression are package kafka's.
type Config struct {
	// SnapshotEvery is how often a cursor that changed is written.
	SnapshotEvery time.Duration `yaml:"snapshot_every"`
	// MaxItem is the greatest length of a record; an item whose record would be longer goes to the quarantine.
	MaxItem setting.Bytes `yaml:"max_item"`
	// MaxRecord is the same for an item that had to be wrapped as a string (text, bytes, malformed), which readers of JSON
	// bound more tightly than a document.
	MaxRecord setting.Bytes `yaml:"max_record"`
	// MaxDepth and MaxString bound what is accepted as a JSON item.
	MaxDepth  int           `yaml:"max_depth"`
	MaxString setting.Bytes `yaml:"max_string"`
	// Drain is how long a stop waits for the source to return and for the records on their way.
	Drain time.Duration `yaml:"drain"`
	Retry Retry         `yaml:"retry"`
}

// Retry bounds the waits between the runs of a source that fails.
type Retry struct {
	Min time.Duration `yaml:"min"`
	Max time.Duration `yaml:"max"`
	// Tries is how often a run with once is begun before its error is returned; other runs go on for ever.
	Tries int `yaml:"tries"`
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		SnapshotEvery: time.Minute,
		MaxItem:       64 << 20,
		MaxRecord:     20e6,
		MaxDepth:      envelope.DefaultLimits.Depth,
		MaxString:     setting.Bytes(envelope.DefaultLimits.String),
		Drain:         30 * time.Second,
		Retry:         Retry{Min: 100 * time.Millisecond, Max: 30 * time.Second, Tries: 4},
	}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	positive := func(ok bool, v any, path ...string) {
		if !ok {
			f.Add(path, "must be positive, got %v", v)
		}
	}
	positive(c.SnapshotEvery > 0, c.SnapshotEvery, "snapshot_every")
	positive(c.MaxRecord > 0, c.MaxRecord, "max_record")
	positive(c.MaxDepth > 0, c.MaxDepth, "max_depth")
	positive(c.MaxString > 0, c.MaxString, "max_string")
	positive(c.Drain > 0, c.Drain, "drain")
	positive(c.Retry.Min > 0, c.Retry.Min, "retry", "min")
	positive(c.Retry.Tries > 0, c.Retry.Tries, "retry", "tries")
	if c.MaxItem < c.MaxRecord {
		f.Add([]string{"max_item"}, "must be at least max_record (%s), got %s", c.MaxRecord, c.MaxItem)
	}
	if c.MaxRecord > 0 && c.MaxRecord < minRecord {
		f.Add([]string{"max_record"}, "must be at least %s, so that the record of a quarantined item fits, got %s", setting.Bytes(minRecord), c.MaxRecord)
	}
	if c.Retry.Max < c.Retry.Min {
		f.Add([]string{"retry", "max"}, "must be at least retry.min (%s), got %s", c.Retry.Min, c.Retry.Max)
	}
	return f
}

// minRecord leaves room for the envelope of a quarantined item with its origin and headers.
const minRecord = 16 << 10
