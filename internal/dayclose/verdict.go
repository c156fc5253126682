package dayclose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"headwater/table"
)

// Verdict is what is known of a day.
type Verdict struct {
	Closed bool
	// ClosedAt is when it was closed, by itself or with a later day.
	ClosedAt time.Time
	// Waits are what it waits for; none if it is closed.
	Waits []Wait
}

// The values of Wait.What.
const (
	WaitClock     = "clock"
	WaitCollector = "collector"
	WaitTopic     = "topic"
	WaitLand      = "land"
	WaitLog       = "log"
)

// Wait is one thing that a day waits for.
type Wait struct {
	// What is WaitClock, until the broker's shows Until; WaitCollector, which has read until Since, zero if it has not said so, to read until Until; WaitTopic, to be
	// there; WaitLand, which has committed Landed of a Kafka partition and needs Needs; or WaitLog, a topic that was made anew since the day ended.
	What      string    `json:"what"`
	Topic     string    `json:"topic,omitempty"`
	Partition int32     `json:"partition"`
	Landed    int64     `json:"landed"`
	Needs     int64     `json:"needs"`
	Since     time.Time `json:"since,omitzero"`
	Until     time.Time `json:"until,omitzero"`
}

func (w Wait) String() string {
	switch w.What {
	case WaitClock:
		return fmt.Sprintf("it ends at %s, and the broker's clock shows %s", clock(w.Until), clock(w.Since))
	case WaitCollector:
		if w.Since.IsZero() {
			return fmt.Sprintf("its collector has not said yet until when it has read: it must have read past %s", clock(w.Until))
		}
		return fmt.Sprintf("its collector has read until %s, and must read past %s: see headwater status for why it does not", clock(w.Since), clock(w.Until))
	case WaitTopic:
		return fmt.Sprintf("topic %s does not exist", w.Topic)
	case WaitLog:
		return fmt.Sprintf("topic %s was deleted and made anew since the day ended: it closes with the next day that does", w.Topic)
	}
	return fmt.Sprintf("topic %s partition %d has landed to offset %d of %d", w.Topic, w.Partition, w.Landed, w.Needs)
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// Reason says what the day waits for; it is empty if it is closed.
func (v Verdict) Reason() string {
	var all []string
	for _, w := range v.Waits {
		all = append(all, w.String())
	}
	return strings.Join(all, "; ")
}

// Closed says whether a day of a source is closed, as of the last look, or what it waits for. If nobody has looked yet, it does. A source that
// there is not is an error.
func (c *Closer) Closed(ctx context.Context, source string, day table.Day) (Verdict, error) {
	sources, err := c.o.Sources(ctx)
	if err != nil {
		return Verdict{}, err
	}
	i := slices.IndexFunc(sources, func(s Source) bool { return s.Name == source })
	if i < 0 {
		return Verdict{}, fmt.Errorf("there is no source %s whose days could close", source)
	}
	c.mu.Lock()
	known := c.known[source] != nil
	c.mu.Unlock()
	if !known {
		if err := c.Look(ctx); err != nil {
			return Verdict{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verdict(sources[i], day), nil
}

// verdict is that of the last look. mu is held.
func (c *Closer) verdict(s Source, day table.Day) Verdict {
	st := c.known[s.Name]
	switch {
	case st == nil:
		return Verdict{Waits: []Wait{{What: WaitCollector, Until: c.ends(s, day)}}} // it has come since
	case day.Compare(dayOf(st.closed)) <= 0:
		return Verdict{Closed: true, ClosedAt: st.closed.Closed}
	}
	var first table.Day // of which it is known what they wait for, and not before the day
	for d := range st.waits {
		if d.Compare(day) >= 0 && (first == table.Day{} || d.Compare(first) < 0) {
			first = d
		}
	}
	if waits := st.waits[first]; len(waits) > 0 {
		return Verdict{Waits: waits}
	}
	return Verdict{Waits: []Wait{{What: WaitClock, Since: time.Now().Add(c.skew), Until: c.ends(s, day)}}}
}

// Through is the last closed day of a source, as of the last look; the zero day if there is none, or nobody has looked.
func (c *Closer) Through(source string) table.Day {
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.known[source]; st != nil {
		return dayOf(st.closed)
	}
	return table.Day{}
}

// Next is the first day of a source that is over and not closed, and what it waits for, as of the last look. It is false if there is none.
func (c *Closer) Next(source string) (day table.Day, v Verdict, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.known[source]
	if st == nil {
		return day, v, false
	}
	for d := range st.waits {
		if !found || d.Compare(day) < 0 {
			day, found = d, true
		}
	}
	return day, Verdict{Waits: st.waits[day]}, found
}
