package schedule

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	for text, ok := range map[string]bool{
		"10 0 * * *": true, "*/5 * * * *": true, "@daily": true, "0 6 * * mon-fri": true,
		"": false, "10 0 * *": false, "61 0 * * *": false, "CRON_TZ=UTC 10 0 * * *": false, "@every 5m": false, "10 0 * * * *": false,
	} {
		if _, err := Parse(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if next := (Schedule{}).Next(time.Now()); !next.IsZero() {
		t.Error(next)
	}
}

// TestDays counts the times of a year: every day has one, also those of 23 and 25 hours.
func TestDays(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Santiago", "Asia/Kolkata", "Australia/Lord_Howe"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse("10 4 * * *")
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, loc)
		for day := range 365 {
			at = s.Next(at)
			if want := time.Date(2026, 1, 1+day, 4, 10, 0, 0, loc); !at.Equal(want) {
				t.Fatalf("%s: day %d is due at %s, want %s", zone, day, at, want)
			}
		}
	}
}

// TestClockChanges: a time that a day does not have, or has twice, comes once on that day.
func TestClockChanges(t *testing.T) {
	for zone, spec := range map[string]string{
		"Europe/Berlin": "10 2 * * *", "America/Santiago": "10 0 * * *", "Australia/Lord_Howe": "45 1 * * *", "America/New_York": "30 1 * * *",
	} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Date(2026, 1, 1, 12, 0, 0, 0, loc)
		for day := range 3 * 365 {
			at = s.Next(at)
			if got, want := at.Format(time.DateOnly), time.Date(2026, 1, 2+day, 12, 0, 0, 0, loc).Format(time.DateOnly); got != want {
				t.Fatalf("%s: after %d days comes %s, want %s", zone, day, at, want)
			}
		}
	}
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Until(t.Context(), began.Add(25*time.Hour)); err != nil || time.Since(began) != 25*time.Hour {
			t.Errorf("waited %s, %v", time.Since(began), err)
		}
		if err := Until(t.Context(), began); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Until(ctx, time.Now().Add(time.Hour)); err == nil {
			t.Error("the context's end is no error")
		}
	})
}
