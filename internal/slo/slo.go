// Package slo judges whether the tables of a source are as fresh and as large as they were promised to be, and says which stage keeps them from it.
//
// What enters: the objectives of a source, and what is known of its tables and of the days that they are not complete with. What leaves: a Verdict for
// each objective of which something is known. It reads nothing and remembers nothing; it starts no goroutine. Docs: docs/slo.md.
package slo

import (
	"fmt"
	"time"

	"headwater/internal/setting"
	"headwater/table"
)

// The objectives, by the names that status, metrics and notifications have for them.
const (
	Freshness     = "freshness"
	MinRows       = "min_rows"
	MaxRows       = "max_rows"
	MaxBytes      = "max_bytes"
	MaxQuarantine = "max_quarantine"
)

// Config has the objectives of a source. The zero of each, of MaxQuarantine the whole, is none.
type Config struct {
	// Freshness is how long ago the last day may have ended that the tables are complete with.
	Freshness time.Duration `yaml:"freshness"`
	// MinRows, MaxRows and MaxBytes are of a day of a table.
	MinRows  setting.Count `yaml:"min_rows"`
	MaxRows  setting.Count `yaml:"max_rows"`
	MaxBytes setting.Bytes `yaml:"max_bytes"`
	// MaxQuarantine is which part of a day's records may be in serialize's quarantine and not in the table.
	MaxQuarantine setting.Percent `yaml:"max_quarantine"`
}

// DefaultConfig has no objectives.
func DefaultConfig() Config { return Config{MaxQuarantine: setting.Whole} }

// Validate reports everything that is wrong.
func (c *Config) Validate() setting.Faults {
	var faults setting.Faults
	if c.Freshness != 0 && c.Freshness <= 24*time.Hour {
		faults.Add([]string{"freshness"}, "must be more than 24h, or 0s for none: tables are complete by whole days, so that just before the next one is, the last has ended a day ago; got %s", c.Freshness)
	}
	if c.MaxRows > 0 && c.MinRows > c.MaxRows {
		faults.Add([]string{"min_rows"}, "must be at most max_rows (%s), got %s", c.MaxRows, c.MinRows)
	}
	return faults
}

// Objectives names those that there are.
func (c Config) Objectives() (names []string) {
	for _, o := range []struct {
		name string
		is   bool
	}{
		{Freshness, c.Freshness > 0},
		{MinRows, c.MinRows > 0},
		{MaxRows, c.MaxRows > 0},
		{MaxBytes, c.MaxBytes > 0},
		{MaxQuarantine, c.MaxQuarantine < setting.Whole},
	} {
		if o.is {
			names = append(names, o.name)
		}
	}
	return names
}

// Volume is what a table has of a day that is closed and published. A closed day without records has none of anything.
type Volume struct {
	Table                    table.Name
	Day                      table.Day
	Rows, Quarantined, Bytes int64
}

// Facts are what is known of a source's tables.
type Facts struct {
	// Now is the time, by the clock of who remembers the verdicts, and First when the objectives of the source were first judged.
	Now, First time.Time
	// Known says that the next three are.
	Known bool
	// Complete is when the last day ended that the tables are complete with; zero if there is none.
	Complete time.Time
	// Behind is why they are not complete with the day after it. It is asked only if they should be.
	Behind func() Behind
	// Volumes are those of the newest day of each table; none if they are not known.
	Volumes []Volume
}

// Verdict says whether an objective is kept.
type Verdict struct {
	Objective string
	Breached  bool
	// Since is when the breach began, if that can be told; zero is now.
	Since time.Time
	// Reason says what is and what should be. It is empty if the objective is kept.
	Reason string
	// Behind is what keeps the tables from being fresh.
	Behind Behind
}

// Judge judges the objectives of which something is known.
func (c Config) Judge(f Facts) (all []Verdict) {
	for _, name := range c.Objectives() {
		if name == Freshness {
			if f.Known {
				all = append(all, c.fresh(f))
			}
			continue
		}
		if len(f.Volumes) == 0 {
			continue
		}
		v := Verdict{Objective: name}
		for _, volume := range f.Volumes {
			if wrong := c.volume(name, volume); wrong != "" && !v.Breached { // of the two tables one is enough
				v.Breached = true
				v.Reason = fmt.Sprintf("%s has of %s %s", volume.Table, volume.Day, wrong)
			}
		}
		all = append(all, v)
	}
	return all
}

// fresh judges the freshness. Before any day is complete, it counts from when it was first judged.
func (c Config) fresh(f Facts) Verdict {
	v := Verdict{Objective: Freshness}
	from := f.Complete
	if from.IsZero() {
		from = f.First
	}
	v.Since = from.Add(c.Freshness)
	if v.Breached = f.Now.After(v.Since); !v.Breached {
		return Verdict{Objective: Freshness}
	}
	v.Behind = f.Behind()
	if f.Complete.IsZero() { // a time and no age, so that the reason is another one only if something has happened
		v.Reason = fmt.Sprintf("no day is complete, it was first looked for one at %s, and %s are allowed", from.UTC().Format(time.RFC3339), c.Freshness)
	} else {
		v.Reason = fmt.Sprintf("the last complete day ended at %s, and %s are allowed", from.UTC().Format(time.RFC3339), c.Freshness)
	}
	if v.Behind.Text != "" {
		v.Reason += "; " + v.Behind.String()
	}
	return v
}

// volume says how a day does not keep an objective; it is empty if it does.
func (c Config) volume(name string, v Volume) string {
	switch {
	case name == MinRows && v.Rows < int64(c.MinRows):
		return fmt.Sprintf("%d rows, and at least %d are expected", v.Rows, int64(c.MinRows))
	case name == MaxRows && v.Rows > int64(c.MaxRows):
		return fmt.Sprintf("%d rows, and at most %d are expected", v.Rows, int64(c.MaxRows))
	case name == MaxBytes && v.Bytes > int64(c.MaxBytes):
		return fmt.Sprintf("%s (%d bytes), and at most %s are expected", setting.Bytes(v.Bytes).Rounded(), v.Bytes, c.MaxBytes)
	case name == MaxQuarantine && c.MaxQuarantine.Exceeded(v.Quarantined, v.Quarantined+v.Rows):
		return fmt.Sprintf("%d of %d records in quarantine, and at most %s may be", v.Quarantined, v.Quarantined+v.Rows, c.MaxQuarantine)
	}
	return ""
}
