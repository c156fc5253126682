package progress

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestWedged: what has work and does not move is wedged; what moves, or meets errors, or is idle in between, is not.
func TestWedged(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 7, 5, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	d := New(5 * time.Minute)
	for minute := range 12 {
		signs := []Sign{{"land", "topic a", "7"}, {"land", "topic b", at(minute).String()}}
		if minute != 6 {
			signs = append(signs, Sign{"lake", "a put", "0"})
		}
		d.Look(at(minute), signs)
		if got := d.Wedged(at(minute)); (len(got) > 0) != (minute > 5) {
			t.Fatalf("in minute %d: %v", minute, got)
		}
	}
	want := []Wedged{{"land", "topic a", began}}
	if diff := cmp.Diff(want, d.Wedged(at(11))); diff != "" {
		t.Error(diff)
	}
	if got := want[0].String(); got != "land: topic a has not moved since 2026-07-05T03:00:00Z, and has work to do" {
		t.Error(got)
	}
	d.Look(at(12), nil)
	if got := d.Wedged(at(17)); len(got) > 0 {
		t.Errorf("nothing has work: %v", got)
	}
	if diff := cmp.Diff([]Wedged{{Self, "looking after the stages", at(12)}}, d.Wedged(at(18))); diff != "" {
		t.Error(diff)
	}
	if got := New(0).Wedged(at(100)); got != nil {
		t.Errorf("without patience, which is never: %v", got)
	}
	if got := New(time.Minute).Wedged(at(100)); got != nil {
		t.Errorf("before the first look: %v", got)
	}
}
