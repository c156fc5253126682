// Package dayclose says when a day of a source is over: when nothing that belongs to it can come any more, and all that came has landed.
//
// What enters: the broker's clock, the ends of topics, what land has committed, and until when collectors have read. What leaves: a
// lake.DayEnd for each day, among the raw objects, and a Verdict for whoever asks. Records are not looked at: their time chooses their
// day, and closes none.
//
// A day is closed in two steps, which any process does, in any order with others:
//  1. It has ended: the broker's clock shows a time after its end, and its collector says that it has read past it, or, of a topic that others
//     fill, some time has passed since. Then the ends of the topic's Kafka partitions are noted, in an object that is created once.
//  2. It is closed: land has committed those ends. The object is replaced once, by one that says so.
//
// A closed day closes all days before it, which have ended before, so that days without a process are not missed. Closed days stay closed.
//
// Invariants:
//  1. The ends are asked for after the day has ended by the broker's clock and in the collector's words: all that the day may have is below them.
//  2. A day's ends are noted once and never moved, so that a record is late, or not, for ever and for everybody.
//
// Format: docs/format/day-close.md. A Closer starts no goroutine; Run blocks.
package dayclose

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"headwater/internal/setting"
	"headwater/lake"
	"headwater/table"
)

// Config is when days close.
type Config struct {
	// After is how long after its end a day of a topic that others fill is taken to have ended, because nobody says that they are done.
	After time.Duration `yaml:"after"`
}

// DefaultConfig waits two hours.
func DefaultConfig() Config { return Config{After: 2 * time.Hour} }

// Validate reports everything that is wrong.
func (c *Config) Validate() setting.Faults {
	var faults setting.Faults
	if c.After < 0 {
		faults.Add([]string{"after"}, "must be 0 or more, got %s", c.After)
	}
	return faults
}

// Source is a topic whose days close.
type Source struct {
	Name, Topic string
	// External: others fill the topic, and no collector says until when it has read.
	External bool
	// After is how long a day lasts after its end.
	After time.Duration
}

// Log is what there is to know of the topics.
type Log interface {
	// Now is the broker's clock.
	Now(ctx context.Context) (time.Time, error)
	// Ends gives, of topics that exist, the id and the end of each Kafka partition, records of open transactions included.
	Ends(ctx context.Context, topics []string) (map[string]End, error)
	// Landed gives the offsets below which all records of the topics have landed.
	Landed(ctx context.Context, topics []string) (map[string]map[int32]int64, error)
	// ReadUntil gives the time until which the collectors of sources have read, as far as they have said.
	ReadUntil(ctx context.Context) (map[string]time.Time, error)
}

// End is how a topic ends.
type End struct {
	Log     string
	Offsets map[int32]int64
}

// Options are what a Closer is made of; all are needed.
type Options struct {
	// Sources are those of now.
	Sources  func(ctx context.Context) ([]Source, error)
	Log      Log
	Raw      lake.Store
	Location *time.Location
	Logger   *slog.Logger
}

// Closer closes days. Its methods may be called from several goroutines.
type Closer struct {
	o       Options
	changed chan struct{}
	turn    chan struct{} // has room for one who looks

	mu    sync.Mutex
	skew  time.Duration // how far the broker's clock is before ours
	asked time.Time     // when it was last asked, by our clock
	known map[string]*state
}

// state is what is known of a source.
type state struct {
	closed  lake.DayEnd   // the last day that is closed
	pending []lake.DayEnd // later ones that have ended, in order
	objects []lake.Object // those of pending
	waits   map[table.Day][]Wait
}

// New makes a Closer; it looks at nothing yet.
func New(o Options) *Closer {
	return &Closer{o: o, changed: make(chan struct{}, 1), turn: make(chan struct{}, 1), known: map[string]*state{}}
}

// Changed has an element after a day has closed; one for several days is enough.
func (c *Closer) Changed() <-chan struct{} { return c.changed }

// ends is when a day of a source is over by the broker's clock.
func (c *Closer) ends(s Source, d table.Day) time.Time {
	return d.Add(1).Begins(c.o.Location).Add(s.After)
}

// lastEnded is the last day of a source that is over at a time.
func (c *Closer) lastEnded(s Source, at time.Time) table.Day {
	return table.DayOf(at.Add(-s.After).In(c.o.Location)).Add(-1)
}
