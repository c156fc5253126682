package main

import (
	"bytes"
	"testing"
	"time"
)

func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, width: func() int { return 8 }}
	_, _ = s.Write([]byte("a\n"))
	s.draw("working hard")
	s.draw("working harder") // cut to the same: not drawn again
	_, _ = s.Write([]byte("b\n"))
	s.draw("")
	_, _ = s.Write([]byte("c\n"))
	want := "a\n" + clearLine + "working" + clearLine + "b\nworking" + clearLine + "c\n"
	if out.String() != want {
		t.Errorf("drawn\n%q, want\n%q", out.String(), want)
	}
}

func TestLine(t *testing.T) {
	start := time.Date(2026, 7, 5, 10, 0, 0, 0, time.UTC)
	from := counts{at: start.Add(10 * time.Second), collected: 1_000_000, landed: 100_000}
	for _, test := range []struct {
		to   counts
		want string
	}{
		{
			counts{at: start.Add(12 * time.Second), collected: 1_250_000, landed: 300_000, lag: 950_000, amiss: 7},
			"12s  collected 1,250,000 (125,000/s), landed 300,000 (100,000/s), 950,000 to go, about 10s, 7 malformed",
		},
		{
			counts{at: start.Add(12 * time.Second), collected: 1_000_000, landed: 100_000, job: "2026-07-05 of orders"},
			"12s  collected 1,000,000, landed 100,000, serializing 2026-07-05 of orders",
		},
		{counts{at: from.at, collected: 999}, "10s  collected 999, landed 0"},
	} {
		if got := line(from, test.to, start); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
