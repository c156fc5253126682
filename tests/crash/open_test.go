package crash

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headwater/internal/crash"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestEveryPointOfAnOpenDay kills a running pipeline at each point that a run of an open day passes, again and again, and expects what is
// started next to make everything whole, first with the day still open.
func TestEveryPointOfAnOpenDay(t *testing.T) {
	bin := binary.Build(t)
	for i, point := range crash.Points {
		if !strings.HasPrefix(point, "serialize.") && !strings.HasPrefix(point, "table.") || commits(point) {
			continue
		}
		for n, pass := range []string{"", ":2", ":5"} {
			if pass == ":5" && strings.HasSuffix(point, "-version") {
				continue // there are not so many versions of the ledger
			}
			if !turn(i + n) {
				continue
			}
			t.Run(point+pass, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, bin, pipeline+"serialize: {every: 100ms}\n")
				w.dieOpenAt(t, point+pass)
			})
		}
	}
}

func (w *world) dieOpenAt(t *testing.T, point string) {
	t.Helper()
	proc := w.Start(t, append([]string{"HEADWATER_CRASH=" + point}, w.env...), "run")
	binary.Eventually(t, "a run that passes "+point, func() bool {
		w.arrive(t, 5)
		time.Sleep(200 * time.Millisecond)
		return proc.Ended()
	})
	proc = w.Start(t, w.env, "run")
	w.arrive(t, 20)
	binary.Eventually(t, "all lines being in the tables", func() bool {
		r := w.Run(t, w.env, "query", "--format", "csv", "select n from db.odd union all select n from db.even")
		return len(strings.Fields(r.Stdout)) > w.next // with the name of the column
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	w.verify(t)
	if w.env == nil {
		w.wantOpen(t)
	}
	w.Run(t, w.env, "run", "--once").Must(t)
	w.verify(t)
}

// TestOpenDayOnS3 is TestEveryPointOfAnOpenDay, of the points between two writes, with both layers in buckets.
func TestOpenDayOnS3(t *testing.T) {
	bin, server := binary.Build(t), fixture.NewS3(t)
	t.Run("points", func(t *testing.T) { // together, so that the server outlives them
		for i, point := range []string{"table.after-put:2", "serialize.between-tables", "serialize.between-tables:3"} {
			if !turn(i) {
				continue
			}
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				onS3(t, bin, pipeline+"serialize: {every: 100ms}\n", server, server.Endpoint, fmt.Sprintf("open-%d", i)).dieOpenAt(t, point)
			})
		}
	})
}

// wantOpen fails if there are no files of an open day, so that the test has missed its point.
func (w *world) wantOpen(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(w.Dir, "headwater-data/tables/db/odd/_runs/*-open*/part-00000.snappy.parquet"))
	if err != nil || len(files) == 0 {
		t.Errorf("there are no files of an open day: %v", err)
	}
}

// TestOpenDayIsReadMeanwhile asks again and again while a pipeline is killed, its open day grows and is closed: there are never fewer lines than
// before, and none twice.
func TestOpenDayIsReadMeanwhile(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 4)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, binary.Build(t), pipeline+"serialize: {every: 100ms}\n")
	w.arrive(t, 1)
	w.arrive(t, 1)
	w.Run(t, nil, "run", "--once").Must(t)
	done := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		had := map[string]int{}
		for {
			select {
			case <-done:
				return
			default:
			}
			r := w.Run(t, nil, "query", "--format", "csv", "select n from db.odd")
			now := map[string]int{}
			for _, text := range strings.Fields(r.Must(t))[1:] {
				now[text]++
			}
			for n, times := range now {
				if times > 1 {
					t.Errorf("line %s is read %d times", n, times)
				}
			}
			for n := range had {
				if now[n] == 0 {
					t.Errorf("line %s was read, and is no more", n)
				}
			}
			had = now
		}
	})
	for range kills {
		w.survive(t, random, 1) // and a run --once, which makes one file of the day
	}
	close(done)
	reader.Wait()
	w.wantOpen(t)
}
