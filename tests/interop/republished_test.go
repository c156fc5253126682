package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"headwater/internal/web"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// republishes is how often the day is published anew: HEADWATER_REPUBLISHES, or 20 times.
var republishes = sync.OnceValue(func() int {
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_REPUBLISHES")); err == nil {
		return n
	}
	return 20
})

// TestRepublished has readers ask for a day again and again while it is published anew, each time with another number in all rows and with another number of them. Each answer is
// of one version, and none is of one before the last answer's. In mode replace a reader that opens a file twice, as Spark and DuckDB do, may meet another the second
// time, and notice: then it fails, and says so. In mode swap none does.
func TestRepublished(t *testing.T) {
	fixture.Python(t)
	for _, mode := range []string{"replace", "swap"} {
		t.Run(mode, func(t *testing.T) {
			p := newPipeline(t, fmt.Sprintf("serialize: {schedule: \"\", publish: %s}\nsources: {cases: {external: {topic: cases_raw, timestamp: ms}}}\n", mode))
			version(t, p, 1)
			p.headwater(t, "serialize", "--source", "cases", "--date", "2026-07-05")
			proc := p.Start(t, p.env, "run")
			binary.Eventually(t, "a metastore", func() bool { return p.running(t).Hive != "" })
			where := map[string]string{"spark": "thrift://" + p.running(t).Hive}
			if mode == "replace" { // by path one sees nothing else
				day := filepath.Join(p.Dir, "headwater-data/tables/air/cases/year=2026/month=7/day=5")
				where["duckdb"], where["pyarrow"] = day, day
			}
			done := filepath.Join(p.Dir, "done")
			var readers sync.WaitGroup
			for reader, at := range where {
				started := filepath.Join(p.Dir, reader)
				readers.Go(func() {
					var got asked
					python(t, &got, "republished.py", reader, at, started, done)
					got.check(t, reader, mode == "replace" && reader != "pyarrow")
				})
			}
			readers.Go(func() { p.askAgain(t, done) })
			for reader := range where {
				binary.Eventually(t, "the first answer of "+reader, func() bool { _, err := os.Stat(filepath.Join(p.Dir, reader)); return err == nil })
			}
			api := web.Client{Address: p.running(t).HTTP, Token: p.running(t).Token}
			for v := 2; v <= republishes()+1; v++ {
				version(t, p, v)
				r, err := api.Serialize(context.Background(), web.SerializeRequest{Source: "cases", Date: "2026-07-05", AllowShrink: true})
				if err != nil || r.Rows != int64(rowsOf(v)) {
					t.Errorf("version %d: %+v, %v", v, r, err)
				}
			}
			p.Write(t, "done", nil)
			readers.Wait()
			if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			proc.Wait(t, limit).Must(t)
		})
	}
}

func rowsOf(version int) int { return 100 + version%7 }

// version has the day's one object be the rows of a version.
func version(t *testing.T, p pipeline, v int) {
	t.Helper()
	docs := make([]string, rowsOf(v))
	for i := range docs {
		docs[i] = fmt.Sprintf(`{"v":%d,"pad":"%d %d"}`, v, i, i*v)
	}
	writeCases(t, p, 5, 0, docs)
}

// asked is what a reader has seen: rows, least and greatest version of each answer that differed from the one before.
type asked struct {
	Asked   int
	Answers [][3]int
	Faults  []string
}

// check fails unless each answer was of one version, whole.
func (a asked) check(t *testing.T, reader string, mayFail bool) {
	t.Helper()
	last := 0
	for i, answer := range a.Answers {
		if v := answer[1]; v != answer[2] || v < last || answer[0] != rowsOf(v) {
			t.Errorf("%s: answer %d is %v, after version %d", reader, i, answer, last)
		}
		last = answer[1]
	}
	if last != republishes()+1 {
		t.Errorf("%s: the last answer is of version %d of %d", reader, last, republishes()+1)
	}
	if len(a.Faults) > 0 && (!mayFail || len(a.Faults) > a.Asked/2) {
		t.Errorf("%s failed %d times of %d: %s", reader, len(a.Faults), a.Asked, a.Faults)
	}
	t.Logf("%s asked %d times, saw %d versions, failed %d times", reader, a.Asked, len(a.Answers), len(a.Faults))
}

// askAgain is what the other readers do, by headwater query.
func (p pipeline) askAgain(t *testing.T, done string) {
	var got asked
	for left := 2; left > 0; got.Asked++ {
		if _, err := os.Stat(done); err == nil {
			left--
		}
		r := p.Start(t, p.env, "query", "--format", "csv", "select count(*), min(v), max(v) from air.cases where day = 5").Wait(t, limit)
		fields := strings.FieldsFunc(r.Stdout, func(c rune) bool { return c == ',' || c == '\n' || c == '\r' })
		if r.Code != 0 || len(fields) < 6 {
			got.Faults = append(got.Faults, r.Stderr)
			continue
		}
		var answer [3]int
		for i := range answer {
			answer[i], _ = strconv.Atoi(fields[len(fields)-3+i])
		}
		if n := len(got.Answers); n == 0 || got.Answers[n-1] != answer {
			got.Answers = append(got.Answers, answer)
		}
	}
	got.check(t, "headwater query", false)
}
