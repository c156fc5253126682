package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// TestSparkReadsAnOpenDay asks a running pipeline's metastore with Spark while today grows, and once begins anew because a column gets another
// type: each answer has all rows of the one before, none twice, and at last all.
func TestSparkReadsAnOpenDay(t *testing.T) {
	p := newPipeline(t, `
serialize: {every: 100ms}
land: {flush.size: 10, rotate.interval.ms: 300, rotate.schedule.interval.ms: 300}
sources:
  trades: {file: {path: "in/*.ndjson", every: 50ms, settle: 0s}}
`)
	const rows, widens = 600, 400
	write := func(id int) {
		value := "1"
		if id >= widens {
			value = `"one"`
		}
		p.Write(t, fmt.Sprintf("in/%03d.ndjson", id), fmt.Appendf(nil, "{\"id\":%d,\"value\":%s}\n", id, value))
	}
	write(0)
	proc := p.Start(t, p.env, "run")
	open := filepath.Join(p.Dir, "headwater-data/tables/air/trades/_runs/*-open*/part-*.parquet")
	binary.Eventually(t, "an open day", func() bool { found, err := filepath.Glob(open); return err == nil && len(found) > 0 })
	var writer sync.WaitGroup
	started := filepath.Join(p.Dir, "started")
	writer.Go(func() {
		binary.Eventually(t, "Spark's first answer", func() bool { _, err := os.Stat(started); return err == nil })
		for id := 1; id < rows; id++ {
			write(id)
			time.Sleep(30 * time.Millisecond)
		}
	})
	var seen [][2]int
	python(t, &seen, "spark_open.py", "thrift://"+p.running(t).Hive, filepath.Join(p.Dir, "warehouse"), fmt.Sprint(rows), started)
	writer.Wait()
	for i, answer := range seen {
		if answer[0] != answer[1] || i > 0 && answer[0] < seen[i-1][0] {
			t.Errorf("answer %d has %d rows, %d different ones, after %v", i, answer[0], answer[1], seen[:i])
		}
	}
	if len(seen) < 4 {
		t.Errorf("Spark has seen the day grow %d times", len(seen))
	}
	if last := seen[len(seen)-1]; last[0] != rows {
		t.Errorf("at last Spark read %d rows, want %d", last[0], rows)
	}
	t.Logf("Spark's answers: %v", seen)
	if second, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(open)), "*-open-2/part-00000.snappy.parquet")); err != nil || len(second) == 0 {
		t.Errorf("the day was not begun anew: %v", err)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, limit).Must(t)
}
