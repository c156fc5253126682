package main

import (
	"testing"
	"time"

	"headwater/internal/config"
	"headwater/lake/mem"
	"headwater/serialize"
	"headwater/table"
)

// TestStaysOpen: today and later are open, in the pipeline's time zone; yesterday is if it was and the schedule has not closed it; no other day is.
func TestStaysOpen(t *testing.T) {
	zone := time.FixedZone("", 2*60*60)
	n := table.Name{Database: "db", Table: "odd_raw"}
	now := time.Date(2026, 7, 5, 23, 30, 0, 0, time.UTC) // there it is the 6th
	for _, c := range []struct {
		day      int
		schedule string
		want     bool
	}{{5, "10 0 * * *", false}, {6, "10 0 * * *", true}, {7, "", true}, {4, "", false}, {5, "", false}} {
		p := &pipeline{cfg: &config.Pipeline{Location: zone}, serializer: serialize.New(serialize.Options{Tables: mem.New()})}
		p.cfg.Serialize.Schedule = c.schedule
		got, err := p.staysOpen(t.Context(), serialize.Job{Raw: n, Day: table.Day{Year: 2026, Month: 7, Day: c.day}}, now)
		if err != nil || got != c.want {
			t.Errorf("day %d with the schedule %q: %t, %v", c.day, c.schedule, got, err)
		}
	}
}
