package land

import (
	"strings"
	"testing"
	"time"
)

func TestPathFormat(t *testing.T) {
	at := time.Date(2026, 7, 5, 3, 4, 9, 0, time.UTC)
	for format, want := range map[string]string{
		"'date'=YYYY-MM-dd":                      "date=2026-07-05",
		"'date'=yyyy-MM-dd/":                     "date=2026-07-05",
		"'year'=YYYY/'month'=M/'day'=d/'hour'=H": "year=2026/month=7/day=5/hour=3",
		"HHmmss":                                 "030409",
		"m's'":                                   "4s",
		"'o''clock'=HH":                          "o'clock=03",
		"''YYYY":                                 "'2026",
		"'a/b'/YYYY":                             "a/b/2026",
		"'\u00fcber'=dd":                         "\u00fcber=05",
	} {
		f, err := parsePathFormat(format)
		if err != nil {
			t.Errorf("%q: %v", format, err)
			continue
		}
		if got := f.format(at); got != want {
			t.Errorf("%q = %q, want %q", format, got, want)
		}
	}
}

func TestPathFormatRefused(t *testing.T) {
	for format, reason := range map[string]string{
		"":                 "empty",
		"/":                "empty",
		"YYYY//MM":         "empty",
		"/YYYY":            "empty",
		"'..'/YYYY":        "empty",
		"'year='YYYY'":     "not closed",
		"YY":               "not supported",
		"YYYYY":            "not supported",
		"MMM":              "not supported",
		"xxxx":             "not supported",
		"date=YYYY":        "not supported",
		"'date'=YYYY-MM-D": "not supported",
	} {
		if _, err := parsePathFormat(format); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: got %v, want something about %q", format, err, reason)
		}
	}
}

func TestPartitioner(t *testing.T) {
	const hour, day = int64(time.Hour / time.Millisecond), int64(24 * time.Hour / time.Millisecond)
	tests := []struct {
		format, zone string
		duration     int64
		at, want     string
	}{
		{"'day'=dd/'hour'=HH", "America/Santiago", hour, "2024-05-09T03:17:33Z", "day=08/hour=23"},
		{"'day'=dd/'hour'=HH", "America/Santiago", hour, "2024-01-28T03:17:33Z", "day=28/hour=00"},
		{"'year'=YYYY/'month'=M/'day'=d/'hour'=H", "UTC", 2 * hour, "2015-04-02T01:00:00Z", "year=2015/month=4/day=2/hour=0"},
		{"'date'=YYYY-MM-dd", "UTC", day, "2026-07-05T23:59:59Z", "date=2026-07-05"},
		{"'date'=YYYY-MM-dd", "Europe/Berlin", day, "2026-07-05T21:59:59Z", "date=2026-07-05"},
		{"'date'=YYYY-MM-dd", "Europe/Berlin", day, "2026-07-05T22:00:00Z", "date=2026-07-06"},
		{"'date'=YYYY-MM-dd", "+02:00", day, "2026-07-05T22:00:00Z", "date=2026-07-06"},
		// The two hours of a clock set back have one name.
		{"'hour'=HH", "Europe/Berlin", hour, "2026-10-25T00:30:00Z", "hour=02"},
		{"'hour'=HH", "Europe/Berlin", hour, "2026-10-25T01:30:00Z", "hour=02"},
		// Before 1970 the division goes toward zero, as the connector's.
		{"'date'=YYYY-MM-dd", "UTC", day, "1969-12-31T12:00:00Z", "date=1970-01-01"},
		{"'date'=YYYY-MM-dd", "UTC", day, "1969-12-30T12:00:00Z", "date=1969-12-31"},
		// A day whose midnight is skipped is still that day.
		{"'date'=YYYY-MM-dd", "America/Santiago", day, "2024-09-08T04:30:00Z", "date=2024-09-08"},
	}
	early := partitioner{format: pathFormat{{field: time.Time.Day, digits: 1}}, duration: day, loc: time.UTC, early: true}
	for at, want := range map[int64]string{-1: "31", -day: "31", -day - 1: "30", 0: "1", 1: "1"} {
		if got := early.encode(at); got != want {
			t.Errorf("%d ms is on day %s, want %s", at, got, want)
		}
	}
	for _, tt := range tests {
		format, err := parsePathFormat(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := loadZone(tt.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		p := partitioner{format: format, duration: tt.duration, loc: loc}
		for range 2 { // the second answer comes from the first
			if got := p.encode(at.UnixMilli()); got != tt.want {
				t.Errorf("%s in %s of %s = %s, want %s", tt.format, tt.zone, tt.at, got, tt.want)
			}
		}
	}
}
