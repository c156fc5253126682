package slo

import (
	"cmp"
	"fmt"
	"time"

	"headwater/internal/dayclose"
	"headwater/internal/runs"
	"headwater/table"
)

// The values of Behind.Stage.
const (
	Collect   = "collect"
	Topic     = "topic"
	Land      = "land"
	Serialize = "serialize"
	Schedule  = "schedule"
)

// Behind is the stage that keeps tables from being complete with the next day.
type Behind struct {
	// Stage is Collect, which has not read past the day; Topic, which does not exist; Land; Serialize, whose run failed, waits or is under way;
	// or Schedule, which plans none. It is empty if the day is not over.
	Stage string
	// Since is from when on it is, zero if nobody knows.
	Since time.Time
	Text  string
}

func (b Behind) String() string {
	switch {
	case b.Stage == "":
		return b.Text
	case b.Since.IsZero():
		return b.Stage + ": " + b.Text
	}
	return fmt.Sprintf("%s, since %s: %s", b.Stage, b.Since.UTC().Format(time.RFC3339), b.Text)
}

// Trace is what is known of the first day that tables are not complete with.
type Trace struct {
	Day table.Day
	// Ended is when it ended.
	Ended time.Time
	// Closed: it is, and Waits are what it waits for otherwise.
	Closed bool
	Waits  []dayclose.Wait
	// FailingSince and Failing are of the source's collector, if it fails and is of this process.
	FailingSince time.Time
	Failing      string
	// LandedUntil is a time: all that the source's topic had then has landed. Landing is the last error of landing it.
	LandedUntil time.Time
	Landing     string
	// Run is the last of the day, nil if there was none.
	Run *runs.Run
	// Making is why the last try to make its tables in this process failed, at MakingAt, if it did.
	Making   string
	MakingAt time.Time
	// Paused: the source's schedule is. By is who makes its days by himself, if not a schedule of ours; Never: its schedule has no times.
	Paused, Never bool
	By            string
}

// Behind finds the first stage that the day has not passed.
func (t Trace) Behind() Behind {
	if !t.Closed {
		return t.open()
	}
	if t.Run == nil {
		return t.unplanned()
	}
	r := *t.Run
	b := Behind{Stage: Serialize}
	switch name := fmt.Sprintf("run %d of %s", r.ID, t.Day); {
	case r.State == runs.Failed:
		b.Since, b.Text = r.Ended, fmt.Sprintf("%s failed: %s", name, r.Error)
	case r.State == runs.Cancelled:
		b.Since, b.Text = r.Ended, name+" was cancelled"
	case r.State == runs.Running:
		b.Since, b.Text = r.Began, name+" is under way"
	case r.State == runs.Done:
		b.Since, b.Text = r.Ended, name+" is done, and the tables have not been found to be complete since: there may be newer objects, or the metastore may not answer"
	case t.Paused:
		b.Stage, b.Since, b.Text = Schedule, r.Planned, name+" waits, because the source's schedule is paused: headwater runs resume"
	case r.Error != "":
		b.Since, b.Text = r.Planned, fmt.Sprintf("%s is tried again at %s, because it failed: %s", name, r.Due.UTC().Format(time.RFC3339), r.Error)
	default:
		b.Since, b.Text = r.Planned, fmt.Sprintf("%s waits: %s", name, cmp.Or(r.Waits, "others come first"))
	}
	return b
}

// unplanned is for a closed day that has no run.
func (t Trace) unplanned() Behind {
	b := Behind{Stage: Schedule, Since: t.Ended}
	switch {
	case t.Making != "":
		b.Stage, b.Since, b.Text = Serialize, t.MakingAt, fmt.Sprintf("the tables of %s could not be made: %s", t.Day, t.Making)
	case t.Paused:
		b.Text = "the source's schedule is paused: headwater runs resume"
	case t.By != "":
		b.Text = fmt.Sprintf("%s is closed, and its tables are left to %s", t.Day, t.By)
	case t.Never:
		b.Text = fmt.Sprintf("%s is closed, and serialize.schedule has no times", t.Day)
	default:
		b.Text = fmt.Sprintf("%s is closed, and no run of it was planned yet", t.Day)
	}
	return b
}

// open is for a day that is not closed. The first of its waits is the one that comes first on a record's way.
func (t Trace) open() Behind {
	if len(t.Waits) == 0 {
		return Behind{Stage: Collect, Since: t.Ended, Text: fmt.Sprintf("nobody has looked whether %s is closed", t.Day)}
	}
	w := t.Waits[0]
	b := Behind{Since: t.Ended, Text: fmt.Sprintf("%s is not closed: %s", t.Day, w)}
	more := ""
	switch w.What {
	case dayclose.WaitCollector:
		b.Stage, more = Collect, t.Failing
		if !w.Since.IsZero() {
			b.Since = w.Since
		}
		if !t.FailingSince.IsZero() {
			b.Since = t.FailingSince
		}
	case dayclose.WaitTopic, dayclose.WaitLog:
		b.Stage = Topic
	case dayclose.WaitLand:
		b.Stage, more = Land, t.Landing
		if !t.LandedUntil.IsZero() {
			b.Since = t.LandedUntil
		}
	case dayclose.WaitClock: // what the clock shows would make it another reason each time
		b.Since, b.Text = time.Time{}, fmt.Sprintf("%s is not over before %s", t.Day, w.Until.UTC().Format(time.RFC3339))
	}
	if more != "" {
		b.Text += "; its last error: " + more
	}
	return b
}
