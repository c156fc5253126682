package land

import (
	_ "embed"
	"strconv"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/folders.txt
var jodasFolders string

// TestFolders: the folders of times are those of Joda-Time, and so the connector's.
func TestFolders(t *testing.T) {
	read := 0
	for line := range strings.Lines(jodasFolders) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		read++
		f := strings.Split(strings.TrimSuffix(line, "\n"), " | ")
		format, zone, want := f[0], f[2], f[5]
		compiled, err := parsePathFormat(format)
		if strings.HasPrefix(want, "! ") {
			if err == nil {
				t.Errorf("%s: there is no error, Joda-Time says %s", line, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		loc, err := loadZone(zone)
		if err != nil {
			t.Fatal(err)
		}
		duration, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, f[4])
		if err != nil {
			t.Fatal(err)
		}
		p := timeFolders{format: compiled, duration: duration, loc: loc}
		for range 2 { // the second answer comes from the first
			if got := p.of(at.UnixMilli()); got != want {
				t.Errorf("%s: got %s", line, got)
			}
		}
	}
	if read < 60 {
		t.Errorf("only %d lines were read", read)
	}
}

// TestEarly: in declared topics times before 1970 have their own day.
func TestEarly(t *testing.T) {
	early := timeFolders{format: pathFormat{{letter: 'd', count: 1}}, duration: dayMillis, loc: time.UTC, early: true}
	for at, want := range map[int64]string{-1: "31", -dayMillis: "31", -dayMillis - 1: "30", 0: "1", 1: "1"} {
		if got := early.of(at); got != want {
			t.Errorf("%d ms is on day %s, want %s", at, got, want)
		}
	}
}

func TestPathFormatRefused(t *testing.T) {
	for format, reason := range map[string]string{
		"":                          "empty",
		"/":                         "empty",
		"YYYY//MM":                  "empty",
		"/YYYY":                     "empty",
		"'..'/YYYY":                 "empty",
		"'year='YYYY'":              "not closed",
		"YYYY'abc":                  "not closed",
		"date=YYYY":                 "single quotes",
		"YYYY z":                    "+0200",
		"YYYY/'_lock'":              "lake's own",
		"'.tmp-'YYYY":               "lake's own",
		strings.Repeat("Y", 201):    "too long",
		strings.Repeat("YYYY-", 41): "at most 200",
	} {
		if _, err := parsePathFormat(format); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: got %v, want something about %q", format, err, reason)
		}
	}
}
