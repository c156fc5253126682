package main

import (
	"testing"
	"time"

	"headwater/internal/web"
	"headwater/kafka"
)

func at(second int) time.Time { return time.Unix(1783252800+int64(second), 0) }

func TestLandedUntil(t *testing.T) {
	type look struct {
		ends, committed map[int32]int64
		want            time.Time
	}
	offsets := func(of ...int64) map[int32]int64 {
		m := map[int32]int64{}
		for i, o := range of {
			m[int32(i)] = o
		}
		return m
	}
	for name, looks := range map[string][]look{
		"nothing was ever there":        {{offsets(0), nil, at(0)}, {offsets(0), nil, at(1)}},
		"nothing lands":                 {{offsets(5), nil, time.Time{}}, {offsets(9), nil, time.Time{}}},
		"it lands behind":               {{offsets(5), nil, time.Time{}}, {offsets(9), offsets(4), time.Time{}}, {offsets(12), offsets(5), at(0)}, {offsets(13), offsets(12), at(2)}},
		"it lands all":                  {{offsets(5), nil, time.Time{}}, {offsets(9), offsets(9), at(1)}},
		"one of two lands":              {{offsets(5, 5), offsets(5, 4), time.Time{}}, {offsets(6, 5), offsets(5, 5), at(0)}},
		"a Kafka partition is added":    {{offsets(5), offsets(5), at(0)}, {offsets(5, 1), offsets(5), at(0)}, {offsets(5, 1), offsets(5, 1), at(2)}},
		"a stopped writer starts again": {{offsets(5), offsets(5), at(0)}, {offsets(9), offsets(5), at(0)}, {offsets(9), offsets(5), at(0)}, {offsets(9), offsets(9), at(3)}},
	} {
		t.Run(name, func(t *testing.T) {
			var w watch
			for i, l := range looks {
				w.note(at(i), kafka.Offsets{"a": l.ends}, kafka.Offsets{"a": l.committed})
				if got := w.landedUntil("a"); !got.Equal(l.want) {
					t.Errorf("look %d: %v, want %v", i, got, l.want)
				}
			}
		})
	}
}

// TestMarksAreBounded: a topic that does not land for a day costs no more, and what lands of it later is told all the same.
func TestMarksAreBounded(t *testing.T) {
	var w watch
	const looks = 24 * 60 * 30
	for i := range looks {
		w.note(at(2*i), kafka.Offsets{"a": {0: int64(i + 1)}}, kafka.Offsets{})
		if n := len(w.marks["a"]); n > 5000 {
			t.Fatalf("%d marks after %d looks", n, i)
		}
	}
	w.note(at(2*looks), kafka.Offsets{"a": {0: looks}}, kafka.Offsets{"a": {0: looks / 2}})
	got := w.landedUntil("a").Sub(at(looks))
	if got > 0 || got < -2*time.Minute {
		t.Errorf("it is told to be landed until %v from when it was", got)
	}
	w.note(at(2*looks+2), kafka.Offsets{"b": {}}, nil)
	if len(w.marks["a"]) > 0 || !w.landedUntil("a").IsZero() {
		t.Error("a topic that is gone is kept")
	}
}

func TestRates(t *testing.T) {
	var w watch
	for i := range 60 {
		w.count(sample{at: at(2 * i), sources: map[string][2]int64{"a": {int64(i * i), int64(20 * i)}}})
	}
	s := web.Status{Sources: []web.Source{{Name: "a"}, {Name: "new"}}}
	w.fill(&s)
	if want := float64(59*59-54*54) / 10; s.Sources[0].RecordsPerSecond != want || s.Sources[0].BytesPerSecond != 10 || s.Sources[1].RecordsPerSecond != 0 {
		t.Errorf("%+v", s.Sources)
	}
	if len(w.past) > 7 {
		t.Errorf("%d samples are kept", len(w.past))
	}
}

func TestUntil(t *testing.T) {
	recent := scope{recent: true}
	past := scope{before: at(10)}
	for _, c := range []struct {
		scope    scope
		external bool
		landed   time.Time
		want     time.Time
	}{
		{everyDay, false, at(20), at(20)},
		{everyDay, true, at(20), at(20)},
		{recent, false, at(20), at(20)},
		{recent, true, at(20), time.Time{}},
		{past, false, at(20), at(10)},
		{past, false, at(5), at(5)},
		{past, false, time.Time{}, time.Time{}},
		{past, true, at(5), time.Time{}},
	} {
		if got := c.scope.until(c.landed, c.external); !got.Equal(c.want) {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
