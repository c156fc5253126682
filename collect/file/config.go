package file

import (
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"headwater/internal/setting"
)

// Config is a file source's.
type Config struct {
	// Path is a glob that may contain ** and {a,b}; a relative one is relative to the folder of the configuration. Names that begin
	// with a dot match only where the glob spells the dot.
	Path    string `yaml:"path"`
	Reading `yaml:",inline"`
}

// Reading is how files are read, wherever they lie.
type Reading struct {
	// Format is auto, json (one document a file, or arrays), ndjson, csv, lines or bytes (a file is one item).
	Format string `yaml:"format"`
	// Array says what a JSON array that a json file begins with is: items, one for each element, or document, one item.
	Array string `yaml:"array"`
	// Every is how often the folders are listed.
	Every time.Duration `yaml:"every"`
	// Settle is how long a file must stay unchanged before what looks unfinished at its end is taken for finished.
	Settle time.Duration `yaml:"settle"`
	// MaxItem is the greatest length of an item; a longer one comes in malformed parts of that length. A reader holds
	// one item, so that a source needs at most four times twice as much memory.
	MaxItem setting.Bytes `yaml:"max_item"`
	// MaxRatio is how many times its size a gzip file, or an entry of a zip archive, may decompress to; a file that goes beyond it, and beyond MaxItem, is a
	// bomb, told of and left there. 0 is any.
	MaxRatio int `yaml:"max_ratio"`
	// Forget is how long a file must be gone before the cursor forgets it; if it comes back after that it is read again. 0 is never.
	Forget time.Duration `yaml:"forget"`
	CSV    CSV           `yaml:"csv"`
}

// CSV is how rows are cut into fields.
type CSV struct {
	// Delimiter is one ASCII character; empty means a tab for names that end in .tsv and a comma for others.
	Delimiter string `yaml:"delimiter"`
	// Header says that the first row has the names; without, they are _c0, _c1 and so on.
	Header bool `yaml:"header"`
}

const (
	formatAuto   = "auto"
	formatJSON   = "json"
	formatNDJSON = "ndjson"
	formatCSV    = "csv"
	formatLines  = "lines"
	formatBytes  = "bytes"

	arrayItems    = "items"
	arrayDocument = "document"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{Reading: DefaultReading()}
}

// DefaultReading is what holds for a setting that is not given.
func DefaultReading() Reading {
	return Reading{Format: formatAuto, Array: arrayItems, Every: time.Second, Settle: 10 * time.Second, MaxItem: 64 << 20, MaxRatio: 200, Forget: 30 * 24 * time.Hour, CSV: CSV{Header: true}}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	if c.Path == "" {
		f.Add([]string{"path"}, "is missing: give a file or a glob such as in/*.csv.gz")
	}
	CheckGlob(&f, "path", c.Path)
	return append(f, c.Reading.Validate()...)
}

// CheckGlob adds what is wrong with a glob that a key has.
func CheckGlob(f *setting.Faults, key, glob string) {
	if !doublestar.ValidatePattern(glob) {
		f.Add([]string{key}, "is not a glob that can be read: check its brackets and braces, got %q", glob)
	}
}

// Validate returns every fault of how files are to be read.
func (c *Reading) Validate() setting.Faults {
	var f setting.Faults
	formats := []string{formatAuto, formatJSON, formatNDJSON, formatCSV, formatLines, formatBytes}
	if !slices.Contains(formats, c.Format) {
		f.Add([]string{"format"}, "must be one of %s, got %q", strings.Join(formats, ", "), c.Format)
	}
	if c.Array != arrayItems && c.Array != arrayDocument {
		f.Add([]string{"array"}, "must be %s or %s, got %q", arrayItems, arrayDocument, c.Array)
	}
	if c.Every <= 0 {
		f.Add([]string{"every"}, "must be positive, got %v", c.Every)
	}
	if c.Settle < 0 {
		f.Add([]string{"settle"}, "must not be negative, got %v", c.Settle)
	}
	if c.MaxItem < keptBuffer || c.MaxItem > 1<<30 {
		f.Add([]string{"max_item"}, "must be from 1MiB to 1GiB, got %s", c.MaxItem)
	}
	if c.MaxRatio < 0 {
		f.Add([]string{"max_ratio"}, "must not be negative, got %d", c.MaxRatio)
	}
	if c.Forget < 0 {
		f.Add([]string{"forget"}, "must not be negative, got %v", c.Forget)
	}
	d := c.CSV.Delimiter
	if d != "" && (len(d) != 1 || d[0] >= 0x80 || strings.Contains("\"\r\n", d)) {
		f.Add([]string{"csv", "delimiter"}, "must be one ASCII character other than a quote or a line end, got %q", d)
	}
	return f
}
