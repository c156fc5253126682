package file

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Folders of days are looked into as long as they are of the days that are looked for.
func TestDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it is midnight of 2000-01-01 in UTC
		b := newBench(t, "in/{yyyy}/{MM}/{dd}-*/*.log")
		b.c.Forget, b.c.Every = 48*time.Hour, 10*time.Minute
		for _, day := range []string{"1999/12/29", "1999/12/30", "1999/12/31", "2000/01/01", "2000/01/02"} {
			b.write(t, "in/"+day+"-x/a.log", []byte(day+"\n"))
		}
		stop := b.live(t)
		time.Sleep(time.Minute)
		want := []string{`in/1999/12/30-x/a.log#0: "1999/12/30"`, `in/1999/12/31-x/a.log#0: "1999/12/31"`, `in/2000/01/01-x/a.log#0: "2000/01/01"`}
		b.expectSorted(t, want...)
		time.Sleep(11 * time.Hour) // there are places where it is tomorrow
		want = append(want, `in/2000/01/02-x/a.log#0: "2000/01/02"`)
		b.expectSorted(t, want...)
		time.Sleep(10 * 24 * time.Hour)
		stop()
		b.expectSorted(t, want...)
		if _, cursor := b.log.Snapshots(); len(cursor.Streams) != 0 {
			t.Errorf("days that are over are not forgotten: %v", cursor.Streams)
		}
	})
}

func TestDatesOfNothing(t *testing.T) {
	b := newBench(t, "in/{yyyy}/*.log")
	if err := b.make().Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "/in: ") {
		t.Errorf("the folder of the years is missing: %v", err)
	}
	b.write(t, "in/1970/a.log", []byte("1\n"))
	b.once(t) // and no year is one that is looked for
	b.expect(t)
	for lookback, want := range map[int]int{0: 2, 1: 3, 40: 42} {
		b.c.Path, b.c.Lookback = "{yyyy}{MM}{dd}", lookback
		at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		if got := New(b.c, b.dir, nil).patterns(at); len(got) != want || !strings.HasSuffix(got[want-1], "/20260301") {
			t.Errorf("lookback %d: %d patterns, want %d: %q", lookback, len(got), want, got)
		}
	}
}
