package serialize

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"headwater/envelope"
	"headwater/internal/schedule"
	"headwater/internal/setting"
	"headwater/schema"
	"headwater/serialize/spark"
)

// Config is how raw objects become tables.
type Config struct {
	// Every is how often a running pipeline brings the tables of days up to date whose objects have changed; what is not over stays open. 0 is never.
	Every time.Duration `yaml:"every"`
	// RunsConfig is when and how days are made that are over; a source may have its own.
	RunsConfig `yaml:",inline"`
	// Parallel is how many runs are done at a time, each with MaxMemory; those of one source never are.
	Parallel int `yaml:"parallel"`
	// Lease is for how long a run is its process's that says nothing more, where several processes have one state; then another does it.
	Lease time.Duration `yaml:"lease"`
	// Engine that does the work: native, spark, auto, which is spark for large days, or none, which makes no tables.
	Engine string `yaml:"engine"`
	// Spark is about the engine of that name.
	Spark spark.Config `yaml:"spark"`
	// Publish is how the file of a whole day takes the place of the one before it: replace, in whose place it is written, or swap, beside which it
	// is, and to which readers are pointed then.
	Publish string `yaml:"publish"`
	// Grace is how long files stay when no reader is told of them any more.
	Grace time.Duration `yaml:"grace"`
	// Late is what becomes of records that come for a day that was closed: LateReopen makes it again, LateQuarantine leaves them out.
	Late string `yaml:"late"`
	// SuccessFile puts an empty object _SUCCESS beside the file of each day that is over, for those who wait for it.
	SuccessFile bool `yaml:"success_file"`
	// DaysTable is the name of a table that says of each table and day what there is, since when, and what became of the last run; empty is none.
	DaysTable string `yaml:"days_table"`
	// Flat is about the flat table.
	Flat FlatConfig `yaml:"flat"`
	// RowGroupBytes is how many bytes of JSON text go into a row group, unless it would take more than its share of MaxMemory.
	RowGroupBytes setting.Bytes `yaml:"row_group_bytes"`
	// MaxMemory is about how much a run may have in memory beside the program itself, but for a record that is longer than its share. A quarter is for
	// the row groups under way, which end before they are more, a quarter for the records that wait to be encoded, a quarter for those that the workers are
	// at: there are fewer workers where it would be too little for all.
	MaxMemory setting.Bytes `yaml:"max_memory"`
	// RecordBytes is the longest record that is read; longer ones go to quarantine.
	RecordBytes setting.Bytes `yaml:"record_bytes"`
	// Schema is how the columns of tables are decided; a source may have its own.
	Schema SchemaConfig `yaml:"schema"`
	// Workers is how many goroutines read, and as many encode; 0 means one for each processor.
	Workers int `yaml:"workers"`
}

// RunsConfig is when and how the tables of a source's days are made.
type RunsConfig struct {
	// Schedule is when those of the days before today are made, by the five fields of cron in the pipeline's timezone; empty is never.
	Schedule string `yaml:"schedule"`
	// Retries is how often a run is tried again that has failed with what may pass.
	Retries RetriesConfig `yaml:"retries"`
	// Timeout is how long a try may take; 0 is without end.
	Timeout time.Duration `yaml:"timeout"`
}

// RetriesConfig is how often something is tried again, and after which waits: up to MinWait first, twice as much each time, up to MaxWait.
type RetriesConfig struct {
	// Max is how many tries may follow the first one; the next time of the schedule begins anew.
	Max int `yaml:"max"`
	// MinWait is the longest wait before the second try, MaxWait the longest of all.
	MinWait time.Duration `yaml:"min_wait"`
	MaxWait time.Duration `yaml:"max_wait"`
}

// DefaultRunsConfig is a run a day, tried again for some hours.
func DefaultRunsConfig() RunsConfig {
	return RunsConfig{Schedule: "10 0 * * *", Retries: RetriesConfig{Max: 12, MinWait: time.Minute, MaxWait: 15 * time.Minute}, Timeout: 6 * time.Hour}
}

// Validate reports everything that is wrong.
func (c *RunsConfig) Validate() setting.Faults {
	var faults setting.Faults
	if c.Schedule != "" {
		if _, err := schedule.Parse(c.Schedule); err != nil {
			faults.Add([]string{"schedule"}, "%v", err)
		}
	}
	if c.Retries.Max < 0 {
		faults.Add([]string{"retries", "max"}, "must be 0 for none or more, got %d", c.Retries.Max)
	}
	if c.Retries.MinWait <= 0 {
		faults.Add([]string{"retries", "min_wait"}, "must be positive, got %s", c.Retries.MinWait)
	}
	if c.Retries.MaxWait < c.Retries.MinWait {
		faults.Add([]string{"retries", "max_wait"}, "must be min_wait (%s) or more, got %s", c.Retries.MinWait, c.Retries.MaxWait)
	}
	if c.Timeout < 0 {
		faults.Add([]string{"timeout"}, "must be 0 for no limit or more, got %s", c.Timeout)
	}
	return faults
}

// SchemaConfig is how the columns of a source's tables are decided.
type SchemaConfig struct {
	// MaxColumns is how many columns a table may have; a day that needs more is refused.
	MaxColumns int `yaml:"max_columns"`
	// Dialect is whose rules decide columns and values: headwater's or spark's.
	Dialect string `yaml:"dialect"`
	// Ledger is on, so that a column has one type for life, or off: every day stands alone.
	Ledger string `yaml:"ledger"`
	// Columns is what becomes of values that the ledger has no column for, or one of another type: evolve adds and widens, freeze
	// rescues them, quarantine sends their records there.
	Columns string `yaml:"columns"`
	// MaxRewrite is how many days a run may have rewritten for a column that widens. Above it the widening waits for approval, and the values
	// are rescued.
	MaxRewrite int `yaml:"max_rewrite"`
	// Rescued gives the tables the column _rescued before there is anything in it.
	Rescued bool `yaml:"rescued"`
	// Hints are the types of fields, whatever their values look like, by their place in raw_data: a.b, or a[].b in lists.
	Hints map[string]string `yaml:"hints"`
}

// The values of Publish, Dialect, Ledger and Columns.
const (
	PublishReplace = "replace"
	PublishSwap    = "swap"

	DialectHeadwater = "headwater"
	// DialectSpark makes of each day, which stands alone whatever Ledger says, what Spark 4 makes of it, but for what docs/spark-dialect.md names.
	DialectSpark = "spark"

	LedgerOn  = "on"
	LedgerOff = "off"

	ColumnsEvolve     = "evolve"
	ColumnsFreeze     = "freeze"
	ColumnsQuarantine = "quarantine"
)

// FlatConfig is how raw_data becomes one level of columns.
type FlatConfig struct {
	// Separator joins the names on the way to a field.
	Separator string `yaml:"separator"`
	// Arrays are kept as list columns: keep.
	Arrays string `yaml:"arrays"`
}

// The values of Engine.
const (
	EngineNative = "native"
	EngineSpark  = "spark"
	// EngineAuto is EngineSpark for the days that are larger than Spark.AutoAbove.
	EngineAuto = "auto"
	// NoEngine is the engine of pipelines whose raw objects are for others.
	NoEngine = "none"
)

// DefaultConfig is the native engine, with a memory need that suits days of any size.
func DefaultConfig() Config {
	return Config{
		RunsConfig:    DefaultRunsConfig(),
		Parallel:      1,
		Lease:         time.Minute,
		Engine:        EngineNative,
		Spark:         spark.DefaultConfig(),
		Publish:       PublishReplace,
		Grace:         24 * time.Hour,
		Late:          LateReopen,
		Flat:          FlatConfig{Separator: "_", Arrays: "keep"},
		RowGroupBytes: 256 << 20,
		MaxMemory:     1 << 30,
		RecordBytes:   72 << 20,
		Schema:        SchemaConfig{MaxColumns: 20_000, Dialect: DialectHeadwater, Ledger: LedgerOn, Columns: ColumnsEvolve, MaxRewrite: 31, Hints: map[string]string{}},
	}
}

// Validate reports everything that is wrong.
func (c *Config) Validate() setting.Faults {
	var faults setting.Faults
	if c.Every < 0 || c.Every > 0 && c.Every < 100*time.Millisecond {
		faults.Add([]string{"every"}, "must be 0 for never, or 100ms or more, got %s", c.Every)
	}
	faults.Under(c.RunsConfig.Validate())
	if c.Parallel < 1 {
		faults.Add([]string{"parallel"}, "must be 1 or more, got %d", c.Parallel)
	}
	if c.Lease < time.Second {
		faults.Add([]string{"lease"}, "must be 1s or more, got %s", c.Lease)
	}
	switch c.Engine {
	case EngineNative, NoEngine:
	case EngineSpark, EngineAuto:
		if why := NotOnSpark(c.Schema, envelope.Shape{}); why != "" {
			faults.Add([]string{"engine"}, "%s %s", c.Engine, why)
		}
	default:
		faults.Add([]string{"engine"}, "must be native, spark, auto, or none to make no tables, got %q", c.Engine)
	}
	faults.Under(c.Spark.Validate(), "spark")
	if c.Publish != PublishReplace && c.Publish != PublishSwap {
		faults.Add([]string{"publish"}, "must be replace or swap, got %q", c.Publish)
	}
	if strings.Trim(c.DaysTable, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		faults.Add([]string{"days_table"}, "must be lower case letters, digits and _, got %q", c.DaysTable)
	}
	switch c.Late {
	case LateReopen:
	case LateQuarantine:
		if c.Engine == EngineSpark {
			faults.Add([]string{"late"}, "quarantine is not for engine spark, which reads days whole: write reopen, or engine: native or auto")
		}
	case LateNextDay:
		faults.Add([]string{"late"}, "next_day cannot be kept: a record that has landed lies in its own day's folder, which all readers of the raw objects go by. Write reopen, or quarantine")
	default:
		faults.Add([]string{"late"}, "must be reopen or quarantine, got %q", c.Late)
	}
	if c.Grace < 0 {
		faults.Add([]string{"grace"}, "must be 0 or more, got %s", c.Grace)
	}
	if s := c.Flat.Separator; s == "" || len(s) > 8 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		faults.Add([]string{"flat", "separator"}, "must be 1 to 8 lower case letters, digits or _, got %q", s)
	}
	if c.Flat.Arrays != "keep" {
		faults.Add([]string{"flat", "arrays"}, "must be keep, got %q", c.Flat.Arrays)
	}
	if c.RowGroupBytes < 1<<20 || c.RowGroupBytes > 2<<30 {
		faults.Add([]string{"row_group_bytes"}, "must be 1MiB to 2GiB, got %s", c.RowGroupBytes)
	}
	if c.MaxMemory < 64<<20 {
		faults.Add([]string{"max_memory"}, "must be 64MiB or more, got %s", c.MaxMemory)
	}
	if c.RecordBytes < 1<<10 || c.RecordBytes > 1<<30 {
		faults.Add([]string{"record_bytes"}, "must be 1KiB to 1GiB, got %s", c.RecordBytes)
	}
	faults.Under(c.Schema.Validate(), "schema")
	if c.Workers < 0 {
		faults.Add([]string{"workers"}, "must be 0 (one for each processor) or more, got %d", c.Workers)
	}
	return faults
}

// Validate reports everything that is wrong.
func (c *SchemaConfig) Validate() setting.Faults {
	var faults setting.Faults
	if c.MaxColumns < 1 {
		faults.Add([]string{"max_columns"}, "must be positive, got %d", c.MaxColumns)
	}
	if c.Dialect != DialectHeadwater && c.Dialect != DialectSpark {
		faults.Add([]string{"dialect"}, "must be headwater or spark, got %q", c.Dialect)
	}
	if c.Ledger != LedgerOn && c.Ledger != LedgerOff {
		faults.Add([]string{"ledger"}, "must be on or off, got %q", c.Ledger)
	}
	switch c.Columns {
	case ColumnsEvolve:
	case ColumnsFreeze, ColumnsQuarantine:
		if !c.hasLedger() {
			faults.Add([]string{"columns"}, "%s needs the ledger: write ledger: on, and dialect: headwater", c.Columns)
		}
	default:
		faults.Add([]string{"columns"}, "must be evolve, freeze or quarantine, got %q", c.Columns)
	}
	if c.MaxRewrite < 0 {
		faults.Add([]string{"max_rewrite"}, "must be 0 or more, got %d", c.MaxRewrite)
	}
	if c.Dialect == DialectSpark && (c.Rescued || len(c.Hints) > 0) {
		faults.Add([]string{"dialect"}, "spark has neither hints nor the column %s: leave them out, or write headwater", schema.Rescued)
	}
	for _, path := range slices.Sorted(maps.Keys(c.Hints)) {
		if _, err := schema.ParseHint(c.Hints[path]); err != nil {
			faults.Add([]string{"hints", path}, "%v", err)
		}
	}
	return faults
}

// hasLedger says whether days have the types of all days.
func (c *SchemaConfig) hasLedger() bool { return c.Ledger == LedgerOn && c.Dialect != DialectSpark }

// workers is how many goroutines read, and as many encode.
func (c *Config) workers() int {
	n := c.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return max(1, min(n, c.share()/workerBytes))
}

// share is that of MaxMemory which each of the three has that may take a quarter.
func (c *Config) share() int { return int(c.MaxMemory / 4) }
