package crash

import (
	"testing"

	"headwater/tests/binary"
)

// TestOracleCatchesBrokenCode breaks the two things that exactly-once rests on, one at a time, and wants the oracle to find
// lines that are lost or doubled: a test of survival that cannot fail would say nothing.
func TestOracleCatchesBrokenCode(t *testing.T) {
	t.Parallel()
	t.Run("objects created without a condition", func(t *testing.T) {
		t.Parallel()
		bin := binary.Mutant(t, "land/partition.go",
			"cond := lake.Condition{IfAbsent: true}", "cond := lake.Condition{}")
		// The woken process races with the news that it is no longer a member; mostly, not always, it does its damage first.
		var w *world
		for range 4 {
			if w = zombie(t, bin); len(w.problems(t)) > 0 {
				break
			}
		}
		caught(t, w)
	})
	t.Run("cursors without the sequence numbers in the topic", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, binary.Mutant(t, "kafka/source.go",
			"if err := read(ctx, l.cl, l.topic, from, ends[l.topic], r.add); err != nil {",
			"if err := read(ctx, l.cl, l.topic, from, nil, r.add); err != nil {"), pipeline)
		for range 2 { // one for each source
			w.arrive(t, 50)
		}
		w.runKilled(t, "collect.before-snapshot")
		w.Run(t, nil, "run", "--once").Must(t)
		caught(t, w)
	})
}

func caught(t *testing.T, w *world) {
	t.Helper()
	problems := w.problems(t)
	if len(problems) == 0 {
		t.Fatal("the code is broken and the oracle found nothing")
	}
	t.Logf("found %d problems, the first: %s", len(problems), problems[0])
}
