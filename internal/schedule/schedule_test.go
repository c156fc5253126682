package schedule

import (
	"context"
	"errors"
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

// TestRunOverDays: a year of days has one run each, beside the one at the start, though clocks are set; what fails is tried again and
// does not move the next time.
func TestRunOverDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loc, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse("10 2 * * *")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := time.Now().In(loc)
		runs, failed := map[string]int{}, 0
		again := func(error) time.Duration { failed++; return 20 * time.Minute }
		err = s.Run(ctx, loc, again, func(_ context.Context, now, next time.Time) error {
			day := now.Format(time.DateOnly)
			runs[day]++
			if next.Sub(now) > 25*time.Hour {
				t.Errorf("after %s it is due at %s", now, next)
			}
			if len(runs) == 367 {
				cancel()
			}
			if len(runs)%10 == 0 && runs[day] < 3 {
				return errors.New("the lake is away")
			}
			return nil
		})
		if err == nil {
			t.Error("Run ended by itself")
		}
		for i := range 366 {
			day := began.AddDate(0, 0, i)
			want := 1
			if i == 0 && began.Hour() < 2 {
				want++ // the start, and the time of that day
			}
			if (i+1)%10 == 0 {
				want = 3
			}
			if got := runs[day.Format(time.DateOnly)]; got != want {
				t.Errorf("%s has %d runs, want %d", day.Format(time.DateOnly), got, want)
			}
		}
		if failed != 2*36 {
			t.Errorf("%d runs failed", failed)
		}
	})
}

// TestRunWithoutTimes waits for its end, after the run at the start.
func TestRunWithoutTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Parse("0 0 30 2 *")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		runs := 0
		job := func(context.Context, time.Time, time.Time) error { runs++; return nil }
		if err := s.Run(ctx, time.UTC, nil, job); err == nil || runs != 1 {
			t.Errorf("%d runs, %v", runs, err)
		}
	})
}
