package interop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestSparkOverwrites: Spark overwrites a day of a table of ours, and our next run neither doubles its rows nor takes the day for its own. Where the mode
// is replace it says what lies there, and where it is swap it makes the day again, elsewhere.
func TestSparkOverwrites(t *testing.T) {
	fixture.Python(t)
	for _, mode := range []string{"replace", "swap"} {
		t.Run(mode, func(t *testing.T) {
			p := newPipeline(t, fmt.Sprintf("serialize: {schedule: \"\", publish: %s}\nsources: {cases: {external: {topic: cases_raw, timestamp: ms}}}\n", mode))
			for day := 4; day <= 5; day++ {
				writeCases(t, p, day, day*100, []string{fmt.Sprintf(`{"v":%d}`, day), `{"v":1}`})
				p.headwater(t, "serialize", "--source", "cases", "--date", fmt.Sprintf("2026-07-%02d", day))
			}
			proc := p.Start(t, p.env, "run")
			binary.Eventually(t, "a metastore", func() bool { return p.running(t).Hive != "" })
			spark := func(statement string, want ...[4]int) {
				t.Helper()
				var got [][4]int
				python(t, &got, "overwrite.py", "thrift://"+p.running(t).Hive, filepath.Join(p.Dir, "warehouse"), statement)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("Spark reads (-want +got):\n%s", diff)
				}
			}
			again := func(args ...string) binary.Result {
				return p.Run(t, p.env, "serialize", append([]string{"--source", "cases", "--date", "2026-07-05"}, args...)...)
			}
			spark("insert overwrite table air.cases partition (year = 2026, month = 7, day = 5) select 7, current_timestamp() from range(3)", [4]int{4, 2, 1, 4}, [4]int{5, 3, 7, 7})
			r := again()
			if mode == "swap" {
				r.Must(t)
				spark("", [4]int{4, 2, 1, 4}, [4]int{5, 2, 1, 5})
			} else {
				if r.Code != 3 || !strings.Contains(r.Stderr, "year=2026/month=7/day=5/part-") || !strings.Contains(r.Stderr, "delete or move what is there") {
					t.Errorf("the next run ended with %d: %s", r.Code, r.Stderr)
				}
				spark("", [4]int{4, 2, 1, 4}, [4]int{5, 3, 7, 7})
				// The table's other days go on.
				writeCases(t, p, 4, 500, []string{`{"v":9}`})
				p.headwater(t, "serialize", "--source", "cases", "--date", "2026-07-04")
				theirs, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/tables/air/cases/year=2026/month=7/day=5/part-*"))
				for _, file := range theirs {
					err = errors.Join(err, os.Remove(file))
				}
				if err != nil || len(theirs) == 0 {
					t.Fatal(theirs, err)
				}
				again().Must(t)
				spark("", [4]int{4, 3, 1, 9}, [4]int{5, 2, 1, 5})
			}
			if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			proc.Wait(t, limit).Must(t)
		})
	}
}
