// Package crash kills headwater at every named point and at random moments, restarts it, and looks for every line that
// was ever written: in the raw objects and in both tables, exactly once.
package crash

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headwater/internal/crash"
	"headwater/tests/binary"
)

// pipeline has two sources and small limits, so that few lines meet every kind of rotation, snapshot and quarantine, twice.
const pipeline = `
database: db
collect: {snapshot_every: 100ms, max_record: 16KiB, max_item: 16KiB}
sources:
  odd:
    file: {path: "in/odd/*.ndjson", every: 20ms, settle: 50ms}
  even:
    file: {path: "in/even/*.ndjson", every: 20ms, settle: 50ms}
land:
  flush.size: 40
  rotate.interval.ms: 300
  rotate.schedule.interval.ms: 500
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// world is a pipeline and the numbers of the lines that were given to it.
type world struct {
	binary.Pipeline
	next, files int
	// large are the lines that are too large for a record and belong into the quarantine, by number.
	large map[int]bool
	// layers is the folder with the raw objects and the quarantine; env is what the process needs besides, to get at them.
	layers string
	env    []string
	// late, if it is set, is what a line has besides, by its number.
	late func(n int) string
	// untabled: nothing but raw objects is made.
	untabled bool
	// unregistered says in what the metastore differs from the files.
	unregistered func(*testing.T) string
	// meanwhile, if it is set, is called before each kill, and settle before the last run.
	meanwhile func(*binary.Process)
	settle    func()
}

func newWorld(t *testing.T, bin, yaml string) *world {
	p := binary.New(t, bin, yaml)
	return &world{Pipeline: p, large: map[int]bool{}, layers: filepath.Join(p.Dir, "headwater-data/raw"), unregistered: func(t *testing.T) string { return p.Unregistered(t) }}
}

// arrive makes a new file of n numbered lines.
func (w *world) arrive(t *testing.T, n int) {
	var b bytes.Buffer
	for range n {
		w.line(&b, "")
	}
	w.file(t, b.Bytes())
}

// arriveLarge makes a new file of three lines, of which two are too large for a record.
func (w *world) arriveLarge(t *testing.T) {
	var b bytes.Buffer
	w.line(&b, "")
	for range 2 {
		w.large[w.next] = true
		w.line(&b, strings.Repeat("x", 20_000))
	}
	w.file(t, b.Bytes())
}

func (w *world) line(b *bytes.Buffer, pad string) {
	late := ""
	if w.late != nil {
		late = w.late(w.next)
	}
	fmt.Fprintf(b, "{\"n\":%d,\"pad\":%q%s}\n", w.next, pad, late)
	w.next++
}

func (w *world) file(t *testing.T, data []byte) {
	w.files++
	w.Write(t, fmt.Sprintf("in/%s/%04d.ndjson", []string{"even", "odd"}[w.files%2], w.files), data)
}

// verify is the oracle: it fails unless every line is exactly once in the raw objects and in both tables; a large line is
// once in the quarantine, and its record once in the raw objects and in the quarantine of the tables.
func (w *world) verify(t *testing.T) {
	t.Helper()
	for _, problem := range w.problems(t) {
		t.Error(problem)
	}
}

func (w *world) problems(t *testing.T) []string {
	t.Helper()
	return w.problemsOf(t, "odd", "even")
}

// problemsOf looks at the tables of the sources together.
func (w *world) problemsOf(t *testing.T, sources ...string) []string {
	t.Helper()
	union := func(query string) string {
		var all []string
		for _, source := range sources {
			all = append(all, fmt.Sprintf(query, source))
		}
		return strings.Join(all, " union all ")
	}
	ordinary, all := map[int]int{}, map[int]int{}
	for n := range w.next {
		all[n] = 1
		if !w.large[n] {
			ordinary[n] = 1
		}
	}
	raw := w.objects(t)
	var problems []string
	report := func(where string, want, got map[int]int) {
		for _, n := range slices.Sorted(maps.Keys(want)) {
			if got[n] != want[n] {
				problems = append(problems, fmt.Sprintf("line %d is %d times in %s, want %d", n, got[n], where, want[n]))
			}
		}
		for _, n := range slices.Sorted(maps.Keys(got)) {
			if want[n] == 0 {
				problems = append(problems, fmt.Sprintf("line %d is %d times in %s and was never written", n, got[n], where))
			}
		}
	}
	report("the raw objects", ordinary, raw.numbers)
	if raw.other != len(w.large) {
		problems = append(problems, fmt.Sprintf("the raw objects have %d records of large lines, want %d", raw.other, len(w.large)))
	}
	kept := w.quarantine(t, "collect")
	large := map[int]int{}
	for n := range w.large {
		large[n] = 1
	}
	report("collect's quarantine", large, kept.numbers)
	if w.untabled {
		return problems
	}
	report("the raw table", ordinary, w.sql(t, union("select raw_data.n from db.%s_raw")))
	report("the flat table", ordinary, w.sql(t, union("select n from db.%s")))
	if w.env != nil {
		return problems // the tables are elsewhere
	}
	if diff := w.unregistered(t); diff != "" {
		problems = append(problems, "files and metastore differ (-files +metastore):\n"+diff)
	}
	if len(problems) > 20 {
		problems = append(problems[:20], fmt.Sprintf("and %d more", len(problems)-20))
	}
	return problems
}

// counted is the numbers found in files and how many lines had none.
type counted struct {
	numbers map[int]int
	other   int
}

// objects counts the lines of every raw object, read with nothing of headwater's.
func (w *world) objects(t *testing.T) counted {
	return w.count(t, "topics", func(line []byte) (int, bool) {
		var e struct {
			RawData struct{ N *int } `json:"raw_data"`
		}
		if json.Unmarshal(line, &e) != nil || e.RawData.N == nil {
			return 0, false
		}
		return *e.RawData.N, true
	})
}

// quarantine counts the lines that a stage has put aside.
func (w *world) quarantine(t *testing.T, stage string) counted {
	return w.count(t, "_quarantine/"+stage, func(line []byte) (int, bool) {
		var e struct{ Data string }
		var item struct{ N *int }
		if json.Unmarshal(line, &e) != nil || json.Unmarshal([]byte(e.Data), &item) != nil || item.N == nil {
			return 0, false
		}
		return *item.N, true
	})
}

func (w *world) count(t *testing.T, dir string, number func([]byte) (int, bool)) counted {
	t.Helper()
	c := counted{numbers: map[int]int{}}
	binary.EachLine(t, filepath.Join(w.layers, dir), func(line []byte) {
		if n, ok := number(line); ok {
			c.numbers[n]++
		} else {
			c.other++
		}
	})
	return c
}

// sql counts the numbers that a query answers.
func (w *world) sql(t *testing.T, query string) map[int]int {
	t.Helper()
	out := w.Run(t, w.env, "query", "--format", "csv", query).Must(t)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]int{}
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatalf("%q answered %q", query, row[0])
		}
		got[n]++
	}
	return got
}

// turn says whether the i-th of many cases has its turn: every third has, others with another seed; with HEADWATER_POINTS=all all have.
func turn(i int) bool { return os.Getenv("HEADWATER_POINTS") == "all" || (uint64(i)+theSeed())%3 == 0 }

// theSeed is HEADWATER_SEED or, without, one that no other process has.
var theSeed = sync.OnceValue(func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano())
})

// TestEveryPoint kills run --once at each point, on an empty folder and on one that has seen a whole run, and expects
// the next run to make everything whole.
func TestEveryPoint(t *testing.T) {
	bin := binary.Build(t)
	for i, point := range crash.Points {
		if strings.HasPrefix(point, "runs.") {
			continue // TestScheduleKilled dies there
		}
		for n, pass := range []string{"", ":2"} {
			if !turn(i + n) {
				continue
			}
			t.Run(point+pass, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, bin, pipelineFor(point))
				if strings.HasSuffix(point, "-intent") {
					w = wallclock(t, bin)
				}
				w.dieAt(t, point+pass)
			})
		}
	}
}

// swapping is pipeline with its tables published beside the ones before.
const swapping = pipeline + "serialize: {publish: swap}\n"

// pipelineFor is one that passes the point.
func pipelineFor(point string) string {
	if commits(point) {
		return swapping
	}
	return pipeline
}

// commits says whether only who swaps passes the point.
func commits(point string) bool {
	return strings.HasPrefix(point, "table.") && strings.HasSuffix(point, "-commit")
}

// TestSwapped kills run --once at the other points of a publish that swaps.
func TestSwapped(t *testing.T) {
	bin := binary.Build(t)
	for i, point := range []string{"serialize.after-write", "table.before-put:2", "table.after-put:2", "table.after-register:3", "serialize.between-tables"} {
		if !turn(i) {
			continue
		}
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			newWorld(t, bin, swapping).dieAt(t, point)
		})
	}
}

// dieAt has runs die at the point, and expects the next one to make everything whole.
func (w *world) dieAt(t *testing.T, point string) {
	t.Helper()
	died := 0
	for range 3 {
		for range 2 {
			w.arrive(t, 90)
		}
		w.arriveLarge(t)
		died += w.runKilled(t, point)
	}
	if died == 0 {
		t.Errorf("no run passed %s", point)
	}
	w.arrive(t, 10)
	last := w.Run(t, w.env, "run", "--once")
	last.Must(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(last.Stderr)
		}
	})
	w.verify(t)
}

// runKilled runs once with a crash point armed and gives 1 if the process died there; if it did not pass the point it must have ended well.
func (w *world) runKilled(t *testing.T, point string) int {
	t.Helper()
	r := w.Run(t, append([]string{"HEADWATER_CRASH=" + point}, w.env...), "run", "--once")
	if r.Signal == syscall.SIGKILL {
		return 1
	}
	r.Must(t)
	return 0
}

// drawn is how many kills a test makes, few or the given part of HEADWATER_KILLS, and the seed that gives the same ones again.
func drawn(t *testing.T, few, part int) (kills int, seed uint64) {
	t.Helper()
	kills = few
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_KILLS")); err == nil {
		kills = n / part
	}
	t.Logf("HEADWATER_SEED=%d, %d kills", theSeed(), kills)
	return kills, theSeed()
}

// TestRandomKills kills a running pipeline again and again at random moments while files arrive and days are serialized.
func TestRandomKills(t *testing.T) {
	kills, seed := drawn(t, 10, 1)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, binary.Build(t), pipeline+"serialize: {every: 200ms}\n")
	w.survive(t, random, kills)
}

// TestSwappedKilled is TestRandomKills of whole days that are published again and again beside the ones before, which are deleted at once; Kafka and the raw objects
// are there for the day's sake alone.
func TestSwappedKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 6, 2)
	w := newWorld(t, binary.Build(t), pipeline+"serialize: {every: 200ms, publish: swap, grace: 0s, schema: {ledger: off}, days_table: headwater_days}\n")
	w.survive(t, rand.New(rand.NewPCG(seed, 0)), kills)
}

// wallclock is a pipeline whose folders are of the time at which records are landed, another every tenth of a second.
func wallclock(t *testing.T, bin string) *world {
	w := newWorld(t, bin, strings.Replace(pipeline, "\nland:\n", `
serialize: {engine: none}
land:
  timestamp.extractor: Wallclock
  path.format: "'at'=HHmmssSSS"
  partition.duration.ms: 100
`, 1))
	w.untabled = true
	return w
}

// TestWallclockKilled kills a pipeline whose records have another folder when they are read again.
func TestWallclockKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 6, 2)
	wallclock(t, binary.Build(t)).survive(t, rand.New(rand.NewPCG(seed, 0)), kills)
}

// survive has a pipeline run and killed again and again, and then looks for what arrived meanwhile.
func (w *world) survive(t *testing.T, random *rand.Rand, kills int) {
	t.Helper()
	for range kills {
		proc := w.Start(t, w.env, "run")
		for life := time.Duration(random.IntN(2500)) * time.Millisecond; life > 0; life -= 100 * time.Millisecond {
			w.arrive(t, random.IntN(60))
			if random.IntN(8) == 0 {
				w.arriveLarge(t)
			}
			time.Sleep(min(life, 100*time.Millisecond))
		}
		if w.meanwhile != nil {
			w.meanwhile(proc)
		}
		proc.Kill(t)
	}
	if w.settle != nil {
		w.settle()
	}
	w.Run(t, w.env, "run", "--once").Must(t)
	w.verify(t)
	t.Logf("%d lines in %d files survived", w.next, w.files)
}

// TestDrain ends a running pipeline with SIGTERM: everything that had arrived is landed and the process ends with 0.
func TestDrain(t *testing.T) {
	w := newWorld(t, binary.Build(t), pipeline)
	proc := w.Start(t, nil, "run")
	for range 10 {
		w.arrive(t, 50)
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second)
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	if got := len(w.objects(t).numbers); got == 0 {
		t.Error("nothing has landed")
	}
	w.Run(t, w.env, "run", "--once").Must(t)
	w.verify(t)
}
