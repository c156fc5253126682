package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/dayclose"
	"headwater/internal/setting"
	"headwater/internal/slo"
	"headwater/serialize"
	"headwater/table"
)

// Source is one configured input, and where its records and rows go.
type Source struct {
	Name string
	// Kind is its key in the Registry, or External.
	Kind string
	// Topic is the Kafka topic that its records go to, or come from if it is External.
	Topic string
	// Partitions and Replication are for making the topic; 0 leaves them to the broker.
	Partitions  int32
	Replication int16
	// Configs are the topic's, by Kafka's names.
	Configs map[string]string
	// HTTPPath is where the process's listener takes its items; empty if it does not.
	HTTPPath string
	// RawTable keeps the envelopes, FlatTable what was in them.
	RawTable, FlatTable table.Name

	// Schema is how the columns of the tables are decided: serialize.schema with the source's own keys.
	Schema serialize.SchemaConfig
	// Legacy is about objects that others have written.
	Legacy serialize.LegacyConfig
	// Shape is what is declared of the records if it is External.
	Shape envelope.Shape
	// CloseAfter is how long after its end a day is taken to be over.
	CloseAfter time.Duration
	// Runs are when and how its days are made: serialize with the source's own keys. Scheduler is who does so by himself.
	Runs      serialize.RunsConfig
	Scheduler string
	// SLO has the objectives of its tables: slo with the source's own keys.
	SLO slo.Config

	base   string
	config func() any // that of its kind; behind a function, because it has secrets
	open   opener
}

// Open makes the source, which must not be External. It dials nothing: faults of the outside world come from the source's Run.
func (s Source) Open(env Env) (collect.Source, error) {
	env.Name = s.Name
	if env.Base == "" {
		env.Base = s.base
	}
	if s.HTTPPath == "" {
		env.Handle = nil
	}
	return s.open(env)
}

// common are the keys that every source may have beside its kind.
type common struct {
	Topic  topicKeys              `yaml:"topic"`
	Tables tablesKeys             `yaml:"tables"`
	Schema serialize.SchemaConfig `yaml:"schema"`
	Close  dayclose.Config        `yaml:"close"`
	Legacy serialize.LegacyConfig `yaml:"legacy"`
	// Serialize and Scheduler are the pipeline's, with the source's own keys.
	Serialize serialize.RunsConfig `yaml:"serialize"`
	Scheduler string               `yaml:"scheduler"`
	// SLO is the pipeline's likewise.
	SLO slo.Config `yaml:"slo"`
}

// The values of Scheduler: who makes the tables of a source's days.
const (
	// InternalScheduler is a process of ours that runs, by serialize.schedule and serialize.every.
	InternalScheduler = "internal"
	// AirflowScheduler is Airflow, which calls headwater serialize --by airflow.
	AirflowScheduler = "airflow"
	// NoScheduler leaves it to whoever calls headwater serialize.
	NoScheduler = "none"
)

func validateScheduler(faults *setting.Faults, is string) {
	if !slices.Contains([]string{InternalScheduler, AirflowScheduler, NoScheduler}, is) {
		faults.Add([]string{"scheduler"}, "must be internal, airflow or none, got %q", is)
	}
}

type topicKeys struct {
	Name        string            `yaml:"name"`
	Partitions  int32             `yaml:"partitions"`
	Replication int16             `yaml:"replication"`
	Configs     map[string]string `yaml:"configs"`
}

type tablesKeys struct {
	Raw  string `yaml:"raw"`
	Flat string `yaml:"flat"`
}

func defaultCommon(p *Pipeline) common {
	return common{
		Topic: topicKeys{Name: "{source}_raw"}, Tables: tablesKeys{Raw: "{source}_raw", Flat: "{source}"}, Schema: p.Serialize.Schema,
		Legacy: serialize.LegacyConfig{Dedupe: serialize.DedupeNone}, Serialize: p.Serialize.RunsConfig, Scheduler: p.Scheduler, SLO: p.SLO,
	}
}

// cursorsTopic holds every source's cursor snapshots.
const cursorsTopic = "headwater_cursors"

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func (c *common) validate() setting.Faults {
	var faults setting.Faults
	t := c.Topic
	if !validTopic(t.Name) {
		faults.Add([]string{"topic", "name"}, "%s", badTopic(t.Name))
	}
	if t.Partitions < 0 {
		faults.Add([]string{"topic", "partitions"}, "must be 1 or more, or 0 for the broker's own number, got %d", t.Partitions)
	}
	if t.Replication < 0 {
		faults.Add([]string{"topic", "replication"}, "must be 1 or more, or 0 for the broker's own number, got %d", t.Replication)
	}
	if strings.Contains(t.Configs["cleanup.policy"], "compact") {
		faults.Add([]string{"topic", "configs", "cleanup.policy"}, "must be delete: compaction would drop records before they land")
	}
	for key, name := range map[string]string{"raw": c.Tables.Raw, "flat": c.Tables.Flat} {
		if !tableName.MatchString(name) {
			faults.Add([]string{"tables", key}, "must be lower case letters, digits and _, at most 128, got %q", name)
		}
	}
	if c.Tables.Raw == c.Tables.Flat {
		faults.Add([]string{"tables", "flat"}, "is the name of the raw table: write another")
	}
	faults.Under(c.Schema.Validate(), "schema")
	faults.Under(c.Close.Validate(), "close")
	faults.Under(c.Legacy.Validate(), "legacy")
	faults.Under(c.Serialize.Validate(), "serialize")
	validateScheduler(&faults, c.Scheduler)
	faults.Under(c.SLO.Validate(), "slo")
	return faults
}

// readSources makes f.Pipeline.Sources of the file's sources.
func (f *file) readSources(reg *Registry) setting.Faults {
	var faults setting.Faults
	if f.Sources == nil {
		return faults
	}
	if f.Sources.shape == list || f.Sources.shape == scalar {
		faults.Add([]string{"sources"}, "must be a mapping of names to sources, got %s", f.Sources.shape)
	}
	for _, name := range f.Sources.keys {
		if !sourceName.MatchString(name) {
			faults.Add([]string{"sources", name}, "must have a name of lower case letters, digits and _ that begins with a letter, got %q", name)
		}
		s, part := f.readSource(name, f.Sources.values[name], reg)
		faults.Under(part, "sources", name)
		f.Pipeline.Sources = append(f.Pipeline.Sources, s)
	}
	f.collisions(&faults)
	return faults
}

func (f *file) readSource(name string, n *node, reg *Registry) (Source, setting.Faults) {
	s := Source{Name: name, base: f.Dir}
	var faults setting.Faults
	if n.shape != mapping && n.shape != null {
		faults.Add(nil, "must be a mapping with the source's kind as a key (%s), got %s", strings.Join(reg.Kinds(), ", "), n.shape)
		return s, faults
	}
	keys := *n
	keys.keys = nil
	mistyped := false
	var declared *external
	known := keysOf(fieldsOf(reflect.TypeFor[common]()))
	for _, key := range n.keys {
		k, isKind := reg.kind(key)
		switch {
		case slices.Contains(known, key):
			keys.keys = append(keys.keys, key)
		case !isKind:
			mistyped = true
			faults.Add([]string{key}, "%s", unknown("key", key, append(reg.Kinds(), known...)))
		case s.Kind != "":
			faults.Add([]string{key}, "is a second kind beside %s: give it a source of its own", s.Kind)
		default:
			got, part := k.read(n.values[key], []string{key})
			s.Kind, s.config, s.open, declared = key, got.config, got.open, got.external
			if got.httpPath != nil {
				s.HTTPPath = got.httpPath(name)
			}
			faults.Under(part)
		}
	}
	if s.Kind == "" && !mistyped {
		faults.Add(nil, "says nothing of where to read: give it one of %s", strings.Join(reg.Kinds(), ", "))
	}
	if declared != nil && n.values["topic"] != nil {
		faults.Add([]string{"topic"}, "is made by who fills it: leave the key out, external.topic names the topic")
		keys.keys = slices.DeleteFunc(keys.keys, func(key string) bool { return key == "topic" })
	}
	faults.Under(s.place(&f.Pipeline, &keys))
	if declared != nil {
		s.Topic, s.Shape = declared.Topic, declared.shape()
	}
	if n.values["slo"] != nil && f.Serialize.Engine == serialize.NoEngine && len(s.SLO.Objectives()) > 0 {
		faults.Add([]string{"slo"}, "%s", sloWithoutTables)
	}
	spark := f.Serialize.Engine == serialize.EngineSpark || f.Serialize.Engine == serialize.EngineAuto
	if spark && s.Legacy.Dedupes() {
		faults.Add([]string{"legacy", "dedupe"}, "is what the native engine does, and serialize.engine is %s: write native, or none here", f.Serialize.Engine)
	}
	if c := f.Serialize; spark && c.Schema.Dialect == serialize.DialectSpark {
		if why := serialize.NotOnSpark(s.Schema, s.Shape); why != "" && len(faults) == 0 {
			faults.Add(nil, "has tables that serialize.engine is not for: %s %s", c.Engine, why)
		}
	}
	return s, faults
}

// place reads where the source's records and rows go.
func (s *Source) place(p *Pipeline, n *node) setting.Faults {
	c := defaultCommon(p)
	c.Close = dayclose.Config{} // whose collector says when a day is over
	if s.Kind == External {
		c.Close = p.Close
	}
	name := s.Name
	if !sourceName.MatchString(name) {
		name = "source" // the name is a fault already, what is derived from it is none of its own
	}
	faults := read(n, &c, nil, func() setting.Faults {
		for _, template := range []*string{&c.Topic.Name, &c.Tables.Raw, &c.Tables.Flat} {
			*template = strings.ReplaceAll(*template, "{source}", name)
		}
		return c.validate()
	})
	s.Topic, s.Partitions, s.Replication, s.Configs = c.Topic.Name, c.Topic.Partitions, c.Topic.Replication, c.Topic.Configs
	s.RawTable, s.FlatTable = table.Name{Database: p.Database, Table: c.Tables.Raw}, table.Name{Database: p.Database, Table: c.Tables.Flat}
	s.Schema, s.CloseAfter, s.Legacy = c.Schema, c.Close.After, c.Legacy
	s.Runs, s.Scheduler = c.Serialize, c.Scheduler
	s.SLO = c.SLO
	return faults
}

// collisions finds sources that would write into one topic or one table.
func (f *file) collisions(faults *setting.Faults) {
	topics, tables, paths := map[string]Source{}, map[string]Source{}, map[string]Source{}
	check := func(seen map[string]Source, s Source, what, name, key string) {
		other, taken := seen[key]
		if !taken {
			seen[key] = s
		} else if other.Name != s.Name {
			write := map[string]string{"topic": "topic.name", "table": "tables", "path": s.Kind + ".path"}[what]
			if what == "topic" && s.Kind == External {
				write = "another external.topic"
			}
			faults.Add([]string{"sources", s.Name}, "has the %s %s, as source %s on line %d has: write %s in one of them",
				what, name, other.Name, f.Sources.values[other.Name].line, write)
		}
	}
	for _, s := range f.Pipeline.Sources {
		if !sourceName.MatchString(s.Name) || s.Topic == "" {
			continue // it has faults enough, and names only by default
		}
		// Kafka refuses topics that differ only in '.' and '_', because their metrics would have one name.
		check(topics, s, "topic", s.Topic, strings.ReplaceAll(s.Topic, ".", "_"))
		if s.Topic == f.Land.DeadLetterTopic {
			faults.Add([]string{"sources", s.Name}, "has the topic %s, which is land.errors.deadletterqueue.topic.name, and topics of sources land: its records would come into it again. Give dead letters another topic", s.Topic)
		}
		check(tables, s, "table", s.RawTable.Table, s.RawTable.Table)
		check(tables, s, "table", s.FlatTable.Table, s.FlatTable.Table)
		if name := f.Serialize.DaysTable; name != "" && (name == s.RawTable.Table || name == s.FlatTable.Table) {
			faults.Add([]string{"sources", s.Name}, "has the table %s, which serialize.days_table is: give one of them another name", name)
		}
		if s.HTTPPath != "" {
			check(paths, s, "path", s.HTTPPath, s.HTTPPath)
		}
	}
}
