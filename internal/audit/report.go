package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The kinds of findings.
const (
	// Missing: records or objects that should be there are not.
	Missing = "missing"
	// Truncated: an object is shorter than it was made.
	Truncated = "truncated"
	// Overlap: offsets are in two objects.
	Overlap = "overlap"
	// Rows: the counts of a day do not add up.
	Rows = "rows"
	// Changed: rows are others than the objects' records make.
	Changed = "changed"
	// Differs: an object's records are others than Kafka's.
	Differs = "differs"
	// Numbers: the numbers of a stream's records are not dense.
	Numbers = "numbers"
	// Unreadable: a file cannot be read, or is somebody else's.
	Unreadable = "unreadable"
	// Stray: an object in a topic's folder is none of its raw objects.
	Stray = "stray"
	// NotProven: nobody can tell, because what is there says nothing of itself.
	NotProven = "unproven"
)

// Report is what an audit has found. Its JSON is docs/format/audit.md's.
type Report struct {
	V    int       `json:"v"`
	Time time.Time `json:"time"`
	// Recomputed: objects and rows were read again.
	Recomputed bool `json:"recomputed"`
	// Kafka is KafkaAsked, KafkaOff, or why it did not answer.
	Kafka string `json:"kafka"`
	// Differences and Unknown are how many the sources have together.
	Differences int64    `json:"differences"`
	Unknown     int64    `json:"unknown"`
	Sources     []Source `json:"sources"`
	// Failed says what could not be looked at.
	Failed []string `json:"failed"`
}

// What Report.Kafka is where Kafka was asked, and where the pipeline's own broker does not run.
const (
	KafkaAsked = "asked"
	KafkaOff   = "not running"
)

// Source is what was found of one source.
type Source struct {
	Source     string      `json:"source"`
	Topic      string      `json:"topic"`
	Partitions []Partition `json:"partitions"`
	Days       []Day       `json:"days"`
	// Differences are what is wrong; Unknown is what nobody can tell.
	Differences []Finding `json:"differences"`
	Unknown     []Finding `json:"unknown"`
}

// Partition is a Kafka partition of the source's topic, and the log that it was then.
type Partition struct {
	Partition  int32  `json:"partition"`
	Generation int    `json:"generation"`
	Log        string `json:"log,omitempty"`
	// First and Next are the range of offsets that objects prove; null without such objects.
	First *int64 `json:"first"`
	Next  *int64 `json:"next"`
	// Start, End and Committed are Kafka's; null where it was not asked, and for logs that it has no more.
	Start     *int64 `json:"start"`
	End       *int64 `json:"end"`
	Committed *int64 `json:"committed"`
	Objects   int    `json:"objects"`
	// Unproven is how many of them say nothing of themselves. Then Records is null.
	Unproven    int    `json:"unproven"`
	Records     *int64 `json:"records"`
	Quarantined int64  `json:"quarantined"`
}

// Day is a day of the source.
type Day struct {
	Day string `json:"day"`
	// State is table.Whole, table.Open or table.Undone, empty without tables.
	State   string `json:"state,omitempty"`
	Objects int    `json:"objects"`
	// Unproven is how many of them say nothing of themselves. Then Records is null, unless they were read.
	Unproven int    `json:"unproven"`
	Records  *int64 `json:"records"`
	// Waiting is how many of the objects the tables were not made from yet.
	Waiting int `json:"waiting"`
	// LandQuarantined is how many records land could not land; theirs is the day of Kafka's time.
	LandQuarantined int64 `json:"land_quarantined"`
	// RawRows, FlatRows and Quarantined are the tables'; null without tables.
	RawRows     *int64 `json:"raw_rows"`
	FlatRows    *int64 `json:"flat_rows"`
	Quarantined *int64 `json:"quarantined"`
	// Sums are there if the day was recomputed.
	Sums *Sums `json:"sums,omitempty"`
}

// Sums are checksums that do not depend on the order of what is summed.
type Sums struct {
	Objects string `json:"objects,omitempty"`
	Raw     string `json:"raw,omitempty"`
	Flat    string `json:"flat,omitempty"`
}

// Finding is a difference, or what nobody can tell. Fields are set as far as they apply.
type Finding struct {
	Kind      string `json:"kind"`
	Day       string `json:"day,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	// From and To are the first and the last offset.
	From *int64 `json:"from,omitempty"`
	To   *int64 `json:"to,omitempty"`
	// Records is how many records it is about, if that is known.
	Records int64  `json:"records,omitempty"`
	Object  string `json:"object,omitempty"`
	Table   string `json:"table,omitempty"`
	Text    string `json:"text"`
}

// at gives the finding a place in Kafka: from the first to the last offset.
func (f Finding) at(p place, from, to int64) Finding {
	f.Topic, f.Partition, f.From, f.To = p.topic, &p.partition, &from, &to
	return f
}

// same says whether two audits have found the same.
func (f Finding) same(o Finding) bool {
	return f.Kind == o.Kind && f.Day == o.Day && f.Object == o.Object && f.Table == o.Table && equal(f.Partition, o.Partition) && equal(f.From, o.From)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// Where is the place of the finding, for people.
func (f Finding) Where() string {
	var parts []string
	if f.Day != "" {
		parts = append(parts, f.Day)
	}
	if f.Partition != nil {
		at := fmt.Sprintf("topic %s, partition %d", f.Topic, *f.Partition)
		switch {
		case f.From != nil && *f.From == *f.To:
			at += fmt.Sprintf(", offset %d", *f.From)
		case f.From != nil:
			at += fmt.Sprintf(", offsets %d to %d", *f.From, *f.To)
		}
		parts = append(parts, at)
	}
	if f.Object != "" {
		parts = append(parts, f.Object)
	}
	if f.Table != "" {
		parts = append(parts, f.Table)
	}
	return strings.Join(parts, ", ")
}

func (s *Source) differ(f Finding)   { s.Differences = append(s.Differences, f) }
func (s *Source) notKnown(f Finding) { s.Unknown = append(s.Unknown, f) }

// both keeps of the differences those that another look has found too: what a process does meanwhile is none.
func (s *Source) both(again *Source) {
	s.Differences = slices.DeleteFunc(s.Differences, func(f Finding) bool {
		return !slices.ContainsFunc(again.Differences, f.same)
	})
}
