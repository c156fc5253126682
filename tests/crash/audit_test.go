package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"headwater/internal/audit"
	"headwater/tests/binary"
)

// TestAuditSilent: an audit finds nothing in histories of kills, whenever it looks: after a kill, beside a process, and in the end.
// HEADWATER_HISTORIES says how many there are.
func TestAuditSilent(t *testing.T) {
	t.Parallel()
	_, seed := drawn(t, 1, 1)
	histories := 4
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_HISTORIES")); err == nil {
		histories = n
	}
	for i := range histories {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			silent(t, rand.New(rand.NewPCG(seed, uint64(i))))
		})
	}
}

func silent(t *testing.T, random *rand.Rand) {
	mode := []string{"replace", "swap"}[random.IntN(2)]
	every := []string{"300ms", "0s"}[random.IntN(2)]
	w := newWorld(t, binary.Build(t), fmt.Sprintf(`
database: db
collect: {snapshot_every: 100ms, max_record: 16KiB, max_item: 16KiB}
sources:
  lines: {file: {path: "in/**/*.ndjson", every: 50ms, settle: 50ms}, topic: {partitions: %d}}
land: {flush.size: %d, rotate.interval.ms: 200, rotate.schedule.interval.ms: 300}
serialize: {every: %s, publish: %s}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`, 1+random.IntN(3), 5+random.IntN(200), every, mode))
	for range 2 + random.IntN(2) {
		proc := w.Start(t, nil, "run")
		for range 1 + random.IntN(8) {
			w.arrive(t, 1+random.IntN(200))
			if random.IntN(6) == 0 {
				w.arriveLarge(t)
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // the time of the kill is to be any
		}
		if random.IntN(2) == 0 && !proc.Ended() {
			isSilent(t, w, "beside a process")
		}
		proc.Kill(t)
		isSilent(t, w, "after a kill")
	}
	w.Run(t, nil, "run", "--once").Must(t)
	isSilent(t, w, "in the end", "--recompute")
}

// isSilent runs an audit, which may find that there is nothing yet.
func isSilent(t *testing.T, w *world, when string, args ...string) {
	t.Helper()
	for _, folder := range []string{"raw", "tables"} {
		if _, err := os.Stat(w.Dir + "/headwater-data/" + folder); err != nil {
			return // the process was killed before it made it
		}
	}
	got := w.Run(t, nil, "audit", append(args, "--json")...)
	var r audit.Report
	if err := json.Unmarshal([]byte(got.Stdout), &r); err != nil || got.Code != 0 || r.Differences != 0 {
		t.Errorf("%s: %d, %v\n%s%s", when, got.Code, err, got.Stdout, got.Stderr)
	}
}
