package parquet

import (
	"slices"
	"testing"
)

// TestLevels: the same levels are the same runs, however they came.
func TestLevels(t *testing.T) {
	var l Levels
	for _, level := range []uint8{1, 1, 0, 2, 2} {
		l.Add(level, 1)
	}
	l.Add(2, 3)
	if want := (Levels{{1, 2}, {0, 1}, {2, 5}}); !slices.Equal(want, l) {
		t.Errorf("%v, want %v", l, want)
	}
	if l.Len() != 8 || l.Count(2) != 5 || l.Count(3) != 0 {
		t.Errorf("%d levels, %d of them 2, %d of them 3", l.Len(), l.Count(2), l.Count(3))
	}
}
