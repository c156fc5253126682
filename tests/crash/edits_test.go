package crash

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"headwater/tests/binary"
)

// TestEditsKilled edits the sources of a running pipeline at random and kills it at random moments. Sources go, come back and are opened
// anew, but each keeps its files.
func TestEditsKilled(t *testing.T) {
	kills, seed := drawn(t, 5, 10)
	random := rand.New(rand.NewPCG(seed, 0))
	whole := pipeline + "serialize: {every: 200ms}\n"
	const odd = "  odd:\n    file: {path: \"in/odd/*.ndjson\", every: 20ms, settle: 50ms}\n"
	files := []string{
		whole,
		strings.Replace(whole, odd, "", 1),
		strings.ReplaceAll(whole, "settle: 50ms", "settle: 40ms"),
		strings.Replace(whole, "every: 20ms", "every: 10ms", 1),
		strings.Replace(whole, "in/odd/*", "in/none/*", 1),
		whole[:len(whole)/2], // as an editor may leave it for a moment, or for longer
	}
	if !strings.Contains(whole, odd) {
		t.Fatal("the source is not what it was")
	}
	w := newWorld(t, binary.Build(t), whole)
	taken := 0
	for range kills {
		w.Write(t, "pipeline.yaml", []byte(whole)) // with a broken file it would not start
		proc := w.Start(t, w.env, "run")
		for life := time.Duration(3000+random.IntN(6000)) * time.Millisecond; life > 0; life -= 100 * time.Millisecond {
			w.arrive(t, random.IntN(30))
			if life%(2200*time.Millisecond) < 100*time.Millisecond { // time enough to be taken
				w.Write(t, "pipeline.yaml", []byte(files[random.IntN(len(files))]))
			}
			time.Sleep(100 * time.Millisecond)
		}
		proc.Kill(t)
		taken += strings.Count(proc.Wait(t, 3*time.Minute).Stderr, "are others now")
	}
	w.Write(t, "pipeline.yaml", []byte(whole))
	w.Run(t, w.env, "run", "--once").Must(t)
	w.verify(t)
	t.Logf("%d lines in %d files survived %d edits that were taken", w.next, w.files, taken)
	if taken == 0 {
		t.Error("no edit was taken")
	}
}
