package file

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A bomb is read up to the same byte wherever reading was broken off before, told of once, and goes on when it may.
func TestBomb(t *testing.T) {
	var text strings.Builder
	pad := strings.Repeat("0", 60_000)
	const lines = 100
	for i := range lines {
		fmt.Fprintf(&text, "%d %s\n", i, pad)
	}
	var first []string
	for stops := range 4 {
		b := newBench(t, "*")
		b.c.MaxItem = 1 << 20
		b.write(t, "a.txt.gz", gzipped(t, text.String()))
		b.write(t, "b.txt", []byte("good\n"))
		for range stops { // a new process after some items
			b.log.Fail(7)
			if err := b.make().Run(t.Context(), true); err == nil {
				t.Fatal("it was not stopped")
			}
		}
		b.log.Fail(0)
		b.once(t)
		got := b.items(t)
		b.once(t)
		if again := b.items(t); !slices.Equal(again, got) {
			t.Fatalf("after %d stops: read again, it has %d items instead of %d", stops, len(again), len(got))
		}
		told := 0
		for _, it := range got {
			if strings.Contains(it, "!gzip-bomb: ") {
				told++
			}
		}
		if told != 1 || len(got) < 1<<20/60_000 || len(got) > lines/2 {
			t.Fatalf("after %d stops: told %d times, %d items", stops, told, len(got))
		}
		slices.Sort(got)
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Errorf("%d stops make a difference: %d items instead of %d", stops, len(got), len(first))
		}
		b.c.MaxRatio = 0
		b.once(t)
		if got := len(b.items(t)); got != lines+2 {
			t.Errorf("without a limit it has %d items, want the lines, what was told and the good one: %d", got, lines+2)
		}
	}
}
