package slo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/dayclose"
	"headwater/internal/runs"
	"headwater/internal/setting"
	"headwater/table"
)

var (
	midnight = time.Date(2026, 7, 6, 0, 0, 0, 0, time.UTC)
	fifth    = table.Day{Year: 2026, Month: 7, Day: 5}
	raw      = table.Name{Database: "market", Table: "orders_raw"}
	flat     = table.Name{Database: "market", Table: "orders"}
)

// told is what the verdicts say, in one text.
func told(all []Verdict) string {
	var lines []string
	for _, v := range all {
		line := v.Objective + " kept"
		if v.Breached {
			line = fmt.Sprintf("%s breached since %s: %s", v.Objective, v.Since.Format("02T15:04"), v.Reason)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestFreshness(t *testing.T) {
	c := DefaultConfig()
	c.Freshness = 26 * time.Hour
	asked := 0
	facts := Facts{Known: true, Complete: midnight, First: midnight.AddDate(-1, 0, 0), Behind: func() Behind {
		asked++
		return Behind{Stage: Land, Since: midnight, Text: "it lags"}
	}}
	for name, s := range map[string]struct {
		now   time.Time
		facts func(*Facts)
		want  string
	}{
		"just complete":             {midnight, nil, "freshness kept"},
		"still":                     {midnight.Add(26 * time.Hour), nil, "freshness kept"},
		"too long ago":              {midnight.Add(26*time.Hour + time.Millisecond), nil, "freshness breached since 07T02:00: the last complete day ended at 2026-07-06T00:00:00Z, and 26h0m0s are allowed; land, since 2026-07-06T00:00:00Z: it lags"},
		"much too long ago":         {midnight.AddDate(1, 0, 0), nil, "freshness breached since 07T02:00: the last complete day ended at 2026-07-06T00:00:00Z, and 26h0m0s are allowed; land, since 2026-07-06T00:00:00Z: it lags"},
		"the clock was set back":    {midnight.AddDate(-1, 0, 0), nil, "freshness kept"},
		"nothing is known":          {midnight.AddDate(1, 0, 0), func(f *Facts) { f.Known = false }, ""},
		"a new source":              {midnight.Add(26 * time.Hour), func(f *Facts) { f.Complete, f.First = time.Time{}, midnight }, "freshness kept"},
		"a source that never is":    {midnight.Add(27 * time.Hour), func(f *Facts) { f.Complete, f.First = time.Time{}, midnight }, "freshness breached since 07T02:00: no day is complete, it was first looked for one at 2026-07-06T00:00:00Z, and 26h0m0s are allowed; land, since 2026-07-06T00:00:00Z: it lags"},
		"nobody knows what is late": {midnight.Add(27 * time.Hour), func(f *Facts) { f.Behind = func() Behind { return Behind{} } }, "freshness breached since 07T02:00: the last complete day ended at 2026-07-06T00:00:00Z, and 26h0m0s are allowed"},
	} {
		f := facts
		f.Now = s.now
		if s.facts != nil {
			s.facts(&f)
		}
		before := asked
		got := told(c.Judge(f))
		if d := cmp.Diff(s.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if strings.Contains(got, "kept") && asked > before {
			t.Errorf("%s: it was asked why", name)
		}
	}
}

func TestVolumes(t *testing.T) {
	c := Config{MinRows: 10, MaxRows: 1000, MaxBytes: 20 << 10, MaxQuarantine: setting.Whole / 1000}
	none := DefaultConfig()
	if got := told(none.Judge(Facts{Known: true, Volumes: []Volume{{Table: raw, Day: fifth}}})); got != "" || len(none.Objectives()) > 0 {
		t.Errorf("without objectives: %s", got)
	}
	all := func(rows, quarantined, bytes int64) []Volume {
		return []Volume{{Table: raw, Day: fifth, Rows: rows, Quarantined: quarantined, Bytes: 1}, {Table: flat, Day: fifth, Rows: rows, Quarantined: quarantined, Bytes: bytes}}
	}
	for name, s := range map[string]struct {
		volumes []Volume
		want    string
	}{
		"not known":  {nil, ""},
		"usual":      {all(999, 0, 20<<10), "min_rows kept\nmax_rows kept\nmax_bytes kept\nmax_quarantine kept"},
		"the limits": {all(10, 0, 20<<10), "min_rows kept\nmax_rows kept\nmax_bytes kept\nmax_quarantine kept"},
		"no records": {all(0, 0, 0), "min_rows breached since 01T00:00: market.orders_raw has of 2026-07-05 0 rows, and at least 10 are expected\nmax_rows kept\nmax_bytes kept\nmax_quarantine kept"},
		"much":       {all(1001, 1, 20<<10+1), "min_rows kept\nmax_rows breached since 01T00:00: market.orders_raw has of 2026-07-05 1001 rows, and at most 1000 are expected\nmax_bytes breached since 01T00:00: market.orders has of 2026-07-05 20.0 KiB (20481 bytes), and at most 20KiB are expected\nmax_quarantine kept"},
		"bad":        {all(500, 1, 1), "min_rows kept\nmax_rows kept\nmax_bytes kept\nmax_quarantine breached since 01T00:00: market.orders_raw has of 2026-07-05 1 of 501 records in quarantine, and at most 0.1% may be"},
	} {
		if d := cmp.Diff(s.want, told(c.Judge(Facts{Volumes: s.volumes}))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestBehind: of each stage that may be behind, which it is, since when and why.
func TestBehind(t *testing.T) {
	at := func(hour int) time.Time { return midnight.Add(time.Duration(hour) * time.Hour) }
	run := func(r runs.Run) *runs.Run {
		r.ID, r.Planned = 7, at(1)
		return &r
	}
	reads := dayclose.Wait{What: dayclose.WaitCollector, Since: at(-2), Until: at(0)}
	for name, s := range map[string]struct {
		trace Trace
		want  string
	}{
		"the day is not over":      {Trace{Waits: []dayclose.Wait{{What: dayclose.WaitClock, Since: at(-1), Until: at(0)}}}, "2026-07-05 is not over before 2026-07-06T00:00:00Z"},
		"the collector stands":     {Trace{Waits: []dayclose.Wait{reads}}, "collect, since 2026-07-05T22:00:00Z: 2026-07-05 is not closed: " + reads.String()},
		"the collector fails":      {Trace{Waits: []dayclose.Wait{reads}, FailingSince: at(-3), Failing: "no route"}, "collect, since 2026-07-05T21:00:00Z: 2026-07-05 is not closed: " + reads.String() + "; its last error: no route"},
		"the collector is silent":  {Trace{Waits: []dayclose.Wait{{What: dayclose.WaitCollector, Until: at(0)}}}, "collect, since 2026-07-06T00:00:00Z: 2026-07-05 is not closed: its collector has not said yet until when it has read: it must have read past 2026-07-06T00:00:00Z"},
		"no topic":                 {Trace{Waits: []dayclose.Wait{{What: dayclose.WaitTopic, Topic: "x"}}}, "topic, since 2026-07-06T00:00:00Z: 2026-07-05 is not closed: " + dayclose.Wait{What: dayclose.WaitTopic, Topic: "x"}.String()},
		"landing lags":             {Trace{Waits: []dayclose.Wait{{What: dayclose.WaitLand, Topic: "x", Partition: 2, Landed: 3, Needs: 9}}, LandedUntil: at(-5), Landing: "no bucket", FailingSince: at(-9), Failing: "not this"}, "land, since 2026-07-05T19:00:00Z: 2026-07-05 is not closed: topic x partition 2 has landed to offset 3 of 9; its last error: no bucket"},
		"nobody has looked":        {Trace{}, "collect, since 2026-07-06T00:00:00Z: nobody has looked whether 2026-07-05 is closed"},
		"the run failed":           {Trace{Closed: true, Run: run(runs.Run{State: runs.Failed, Ended: at(2), Error: "no rows"})}, "serialize, since 2026-07-06T02:00:00Z: run 7 of 2026-07-05 failed: no rows"},
		"it waits":                 {Trace{Closed: true, Run: run(runs.Run{State: runs.Waiting})}, "serialize, since 2026-07-06T01:00:00Z: run 7 of 2026-07-05 waits: others come first"},
		"it waits for something":   {Trace{Closed: true, Run: run(runs.Run{State: runs.Waiting, Waits: "its objects"})}, "serialize, since 2026-07-06T01:00:00Z: run 7 of 2026-07-05 waits: its objects"},
		"it is tried again":        {Trace{Closed: true, Run: run(runs.Run{State: runs.Waiting, Error: "no store", Due: at(3)})}, "serialize, since 2026-07-06T01:00:00Z: run 7 of 2026-07-05 is tried again at 2026-07-06T03:00:00Z, because it failed: no store"},
		"it is paused":             {Trace{Closed: true, Paused: true, Run: run(runs.Run{State: runs.Waiting})}, "schedule, since 2026-07-06T01:00:00Z: run 7 of 2026-07-05 waits, because the source's schedule is paused: headwater runs resume"},
		"it is under way":          {Trace{Closed: true, Run: run(runs.Run{State: runs.Running, Began: at(2)})}, "serialize, since 2026-07-06T02:00:00Z: run 7 of 2026-07-05 is under way"},
		"it was cancelled":         {Trace{Closed: true, Run: run(runs.Run{State: runs.Cancelled, Ended: at(2)})}, "serialize, since 2026-07-06T02:00:00Z: run 7 of 2026-07-05 was cancelled"},
		"it is done":               {Trace{Closed: true, Run: run(runs.Run{State: runs.Done, Ended: at(2)})}, "serialize, since 2026-07-06T02:00:00Z: run 7 of 2026-07-05 is done, and the tables have not been found to be complete since: there may be newer objects, or the metastore may not answer"},
		"nothing is planned":       {Trace{Closed: true}, "schedule, since 2026-07-06T00:00:00Z: 2026-07-05 is closed, and no run of it was planned yet"},
		"the schedule is paused":   {Trace{Closed: true, Paused: true}, "schedule, since 2026-07-06T00:00:00Z: the source's schedule is paused: headwater runs resume"},
		"somebody else does it":    {Trace{Closed: true, By: "Airflow"}, "schedule, since 2026-07-06T00:00:00Z: 2026-07-05 is closed, and its tables are left to Airflow"},
		"somebody else cannot":     {Trace{Closed: true, By: "Airflow", Making: "no disk", MakingAt: at(4)}, "serialize, since 2026-07-06T04:00:00Z: the tables of 2026-07-05 could not be made: no disk"},
		"there is no schedule":     {Trace{Closed: true, Never: true}, "schedule, since 2026-07-06T00:00:00Z: 2026-07-05 is closed, and serialize.schedule has no times"},
		"a run that is not needed": {Trace{Waits: []dayclose.Wait{reads}, Run: run(runs.Run{State: runs.Waiting})}, "collect, since 2026-07-05T22:00:00Z: 2026-07-05 is not closed: " + reads.String()},
	} {
		s.trace.Day, s.trace.Ended = fifth, midnight
		if d := cmp.Diff(s.want, s.trace.Behind().String()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
