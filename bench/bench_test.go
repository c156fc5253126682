// Package bench measures the stages beside what a user would pick instead: records per CPU second and peak memory. `make bench`
// prints the table; docs/bench.md says what is compared with what and has a result.
//
// Every measurement is a process of its own, this test binary started again with a task, so that the kernel counts its CPU time
// and memory. The broker is another one. No time is asserted: what the tests check is that every part, ours or not,
// has brought all records to its end.
package bench

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// childArg marks a process that does one task.
const childArg = "bench-child"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childArg {
		if err := child(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// usage is what processes needed for a number of records.
type usage struct {
	records int64
	cpu     time.Duration
	memory  int64 // bytes at the peak
}

// least takes the CPU time of the run that was disturbed least and, because it is a limit, the greatest memory.
func (u usage) least(other usage) usage {
	if u.records == 0 {
		return other
	}
	return usage{u.records, min(u.cpu, other.cpu), max(u.memory, other.memory)}
}

func (u usage) perSecond() float64 { return float64(u.records) / u.cpu.Seconds() }

func used(p *os.ProcessState, records int64) usage {
	return usage{records, p.UserTime() + p.SystemTime(), p.SysUsage().(*syscall.Rusage).Maxrss << 10}
}

// lab runs the measurements of one data set.
type lab struct {
	t       *testing.T
	dir     string
	data    dataset
	records int
	// profiles is where CPU profiles go, empty for none.
	profiles string
	least    map[string]usage
	// uncompressed is how many bytes the floor compresses.
	uncompressed int64
}

// part is a line of the table, with the parts that it is compared with.
type part struct {
	name   string
	rivals []string
}

var lines = []part{
	{"collect", []string{"producer"}},
	{"producer", nil},
	{"broker of collect", []string{"broker of producer"}},
	{"broker of producer", nil},
	{"land", []string{"gzip-go", "gzip"}},
	{"gzip-go", nil},
	{"gzip", nil},
	{"broker of land", nil},
	{"serialize", nil},
}

func (l *lab) note(part string, u usage) { l.least[part] = l.least[part].least(u) }

// run runs a command that must end well and whose last word is the number of records. All must be there.
func (l *lab) run(part string, cmd *exec.Cmd) {
	l.t.Helper()
	if got := l.output(part, cmd); got != "" && got != strconv.Itoa(l.records) {
		l.t.Fatalf("%s of %s: %s records of %d", part, l.data.name, got, l.records)
	}
	l.note(part, used(cmd.ProcessState, int64(l.records)))
}

func (l *lab) output(part string, cmd *exec.Cmd) string {
	l.t.Helper()
	var out bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		l.t.Fatalf("%s of %s: %v", part, l.data.name, err)
	}
	return strings.TrimSpace(out.String())
}

// count runs a task in a child whose answer is another number than that of the records.
func (l *lab) count(t task) int64 {
	l.t.Helper()
	n, err := strconv.ParseInt(l.output(t.part(), l.child(t)), 10, 64)
	if err != nil {
		l.t.Fatalf("%s of %s: %v", t.part(), l.data.name, err)
	}
	return n
}

// do runs a task in a child.
func (l *lab) do(t task) {
	l.t.Helper()
	l.run(t.part(), l.child(t))
}

func (t task) part() string { return cmp.Or(t.Part, t.Role) }

func (l *lab) child(t task) *exec.Cmd {
	t.Data, t.Records = l.data.name, l.records
	if l.profiles != "" {
		t.Profile = filepath.Join(l.profiles, l.data.name+"-"+t.part()+".pprof")
	}
	arg, err := json.Marshal(t)
	if err != nil {
		l.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.CommandContext(l.t.Context(), exe, childArg, string(arg))
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // with the race detector each child would wait for a second
	return cmd
}

// withBroker does a task with a broker on dir, which lives as long.
func (l *lab) withBroker(dir string, t task) {
	l.t.Helper()
	cmd := l.child(task{Role: "broker", Out: dir})
	stop, err := cmd.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	said := bufio.NewReader(out)
	addr, err := said.ReadString('\n')
	if err == nil {
		t.Broker = strings.TrimSpace(addr)
		l.do(t)
	}
	if err := errors.Join(err, stop.Close(), cmd.Wait()); err != nil {
		l.t.Fatalf("the broker of %s: %v", t.part(), err)
	}
	l.note("broker of "+t.part(), used(cmd.ProcessState, int64(l.records)))
}

// prepare makes the items.
func (l *lab) prepare() { l.do(task{Role: "generate", Out: l.path("items")}) }

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) topic() string { return l.data.name + "_raw" }

// objects puts the items into n objects and gives the folder of the raw layer.
func (l *lab) objects(n int) string {
	raw := l.fresh("raw")
	l.do(task{Role: "objects", In: l.path("items"), Out: raw, Topic: l.topic(), Objects: n})
	return raw
}

// fresh is an empty folder.
func (l *lab) fresh(name string) string {
	if err := errors.Join(os.RemoveAll(l.path(name)), os.MkdirAll(l.path(name), 0o750)); err != nil {
		l.t.Fatal(err)
	}
	return l.path(name)
}

// measure runs every part once. Each stage reads what the one before it wrote, and its rivals the same.
func (l *lab) measure() {
	topic := l.topic()
	kafka, text := l.fresh("kafka"), l.path("text")
	l.withBroker(kafka, task{Role: "collect", In: l.path("items"), Topic: topic})
	landed := l.fresh("landed")
	l.withBroker(kafka, task{Role: "land", Topic: topic, Out: landed})
	raw := filepath.Join(landed, "raw")
	l.do(task{Role: "text", In: raw, Out: text})
	l.withBroker(l.fresh("kafka-producer"), task{Role: "producer", In: text, Topic: topic})
	l.do(task{Role: "gzip-go", In: text, Out: l.path("text.gz")})
	l.gzip(text)
	l.do(task{Role: "serialize", In: raw, Out: l.fresh("serialized"), Topic: topic})
}

func (l *lab) gzip(text string) {
	out, err := os.Create(l.path("text.gz"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(l.t.Context(), "gzip", "-c", text)
	cmd.Stdout = out
	l.run("gzip", cmd)
}

func (l *lab) print(w io.Writer) {
	for _, p := range lines {
		u, measured := l.least[p.name]
		if !measured {
			continue
		}
		var ratios []string
		for _, rival := range p.rivals {
			if r, measured := l.least[rival]; measured {
				ratios = append(ratios, fmt.Sprintf("%.2f of %s", u.perSecond()/r.perSecond(), rival))
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%.0f\t%d\t%s\n", l.data.name, p.name, u.records, u.cpu.Seconds(), u.perSecond(), u.memory>>20, strings.Join(ratios, ", "))
	}
}

// scales are shares of the full numbers of records.
var scales = map[string]float64{"small": 0.1, "medium": 0.4, "full": 1}

// TestTable is the benchmark; HEADWATER_BENCH is the scale. HEADWATER_BENCH_PROFILES names a folder for CPU profiles.
func TestTable(t *testing.T) {
	scale, runs := settings(t)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "data\tpart\trecords\tCPU s\trecords per CPU s\tpeak MB\tratio")
	for _, d := range datasets {
		l := &lab{
			t: t, dir: t.TempDir(), data: d, records: int(float64(d.full) * scale), least: map[string]usage{},
			profiles: os.Getenv("HEADWATER_BENCH_PROFILES"),
		}
		l.prepare()
		for range runs {
			l.measure()
		}
		l.print(w)
	}
	fmt.Printf("%s, %s/%s, %d processors, %d runs each: least CPU time, greatest memory\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runs)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// settings are the scale and the number of runs. Without a scale the test is skipped.
func settings(t *testing.T) (scale float64, runs int) {
	t.Helper()
	scale, known := scales[os.Getenv("HEADWATER_BENCH")]
	if !known {
		t.Skip("set HEADWATER_BENCH to small, medium or full: make bench SCALE=small")
	}
	runs, err := strconv.Atoi(cmp.Or(os.Getenv("HEADWATER_BENCH_RUNS"), "3"))
	if err != nil || runs < 1 {
		t.Fatalf("HEADWATER_BENCH_RUNS must be a number of runs: %v", err)
	}
	return scale, runs
}

// TestParts keeps the benchmark working: few records through every part, all of which must arrive.
func TestParts(t *testing.T) {
	for _, d := range datasets {
		t.Run(d.name, func(t *testing.T) {
			l := &lab{t: t, dir: t.TempDir(), data: d, records: 301, least: map[string]usage{}}
			l.prepare()
			l.measure()
			for _, p := range lines {
				if _, measured := l.least[p.name]; !measured {
					t.Errorf("%s was not measured", p.name)
				}
			}
		})
	}
}

// TestGenerate pins what is generated: numbers can be compared only over the same data.
func TestGenerate(t *testing.T) {
	want := map[string]string{"ticks": "9ab1bffb3cdb1fcd", "orders": "c268c41bd61ca7d9", "events": "334bec4bb6621a58"}
	for _, d := range datasets {
		dir := t.TempDir()
		if err := generate(d, dir, 1000); err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		for p := range parts {
			data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("part-%d.ndjson", p)))
			if err != nil {
				t.Fatal(err)
			}
			for item := range bytes.Lines(data) {
				if !json.Valid(item) || !utf8.Valid(item) {
					t.Fatalf("%s: not JSON: %s", d.name, item)
				}
			}
			hash.Write(data)
		}
		if got := hex.EncodeToString(hash.Sum(nil)[:8]); got != want[d.name] {
			t.Errorf("%s: generated data with hash %s, want %s", d.name, got, want[d.name])
		}
	}
}
