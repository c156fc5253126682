package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"headwater/tests/binary"
)

const oneSource = `
database: db
sources:
  big: {file: {path: "in/*"}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// TestBigFile takes a big file through all stages, and one of a third of its size: the budget of memory is the same.
func TestBigFile(t *testing.T) {
	n := size(t, "HEADWATER_BIG", "300MB")
	both := []bool{false, true}
	if os.Getenv("HEADWATER_BIG") == "" {
		both = drawOne(t, both)
	}
	for _, compress := range both {
		name := map[bool]string{false: "plain", true: "gz"}[compress]
		t.Run(name, func(t *testing.T) {
			sizes := []int{n / 3, n}
			if os.Getenv("HEADWATER_BIG") == "" {
				sizes = map[bool][]int{false: {n}, true: {n / 3}}[compress]
			}
			for _, n := range sizes {
				p := binary.New(t, binary.Build(t), oneSource)
				count := lines(t, filepath.Join(p.Dir, "in/a.ndjson"), n, compress)
				before := time.Now()
				u := run(t, p, "run", "--once")
				t.Logf("%-5s %5d MB, %8d lines: %v, %.1f MB/s, %.0f CPU s/GB; on disk: Kafka %d, raw %d, tables %d MiB", name, n/1e6, count, u, float64(n)/1e6/u.wall.Seconds(), u.cpu.Seconds()*1e9/float64(n),
					disk(t, p, "headwater-data/kafka")/mib, disk(t, p, "headwater-data/raw")/mib, disk(t, p, "headwater-data/tables")/mib)
				within(t, "peak memory in MiB", u.rss/mib, 1536)
				within(t, "open files", u.fds, 200)
				dense(t, p, "db.big", count)
				// serialize alone, from the same objects
				if err := os.RemoveAll(filepath.Join(p.Dir, "headwater-data/tables")); err != nil {
					t.Fatal(err)
				}
				if after := time.Now(); before.UTC().Day() == after.UTC().Day() {
					u = run(t, p, "serialize", "--source", "big", "--date", after.UTC().Format(time.DateOnly))
					t.Logf("%-5s %5d MB, serialize alone:   %v", name, n/1e6, u)
				}
			}
		})
	}
}

const landOnly = `
database: db
sources: {}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// TestLandingMemory lands what another producer sends, and nothing else.
func TestLandingMemory(t *testing.T) {
	n := size(t, "HEADWATER_BIG", "300MB")
	p := binary.New(t, binary.Build(t), landOnly+"land: {rotate.schedule.interval.ms: 2000}\n")
	m := watch(t, p, "run")
	base := ready(t, p, m)
	pad := chance(t)
	count := n / 300
	to := producer(t, p)
	day := time.Date(2026, 7, 5, 0, 0, 0, 0, time.UTC).UnixMilli()
	for i := range count {
		to.send(t, "big_raw", fmt.Sprintf(`{"raw_data":{"n":%d,"pad":"%0200x"},"metadata":{"thread_id":0,"host_name":"h","process_start_time":""},"ingestion_timestamp":%d}`, i, pad.Uint64(), day))
	}
	to.flush(t)
	eventually(t, p, "landing all", func(s status) bool { return len(s.Topics) == 1 && s.Topics[0].Records == count && s.Topics[0].Lag == 0 })
	u := m.stop(t)
	t.Logf("landing alone, %d records of 300 B: %v; before the first record %d MiB", count, u, base.rss/mib)
	within(t, "peak memory over the idle process's in MiB", (u.rss-base.rss)/mib, 200)
	exactlyOnce(t, p, "big_raw", count)
}
