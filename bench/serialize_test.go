package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"headwater/tests/interop/fixture"
)

// engine is a program that makes both tables of the objects below raw.
type engine struct {
	name string
	// module is what Python must have for it; empty for what is in this binary.
	module string
	// command ends well with the number of rows as its last word.
	command func(l *lab, raw, out string) *exec.Cmd
}

var engines = []engine{
	{"headwater", "", func(l *lab, raw, out string) *exec.Cmd {
		return l.child(task{Role: "serialize", In: raw, Out: out, Topic: l.topic()})
	}},
	{"duckdb", "duckdb", script("duckdb")},
	{"pyarrow", "pyarrow", script("pyarrow")},
	{"polars", "polars", script("polars")},
	{"clickhouse", "chdb", script("clickhouse")},
	{"spark", "pyspark", func(l *lab, raw, out string) *exec.Cmd {
		python := fixture.Python(l.t)
		cmd := exec.CommandContext(l.t.Context(), filepath.Join(filepath.Dir(python), "spark-submit"),
			"--master", fmt.Sprintf("local[%d]", runtime.NumCPU()), "--driver-memory", "4g", "--conf", "spark.driver.bindAddress=127.0.0.1", "--conf", "spark.driver.host=127.0.0.1",
			"peer_spark.py", raw, out)
		cmd.Env = append(os.Environ(), "PYSPARK_PYTHON="+python, "TMPDIR="+l.t.TempDir())
		return cmd
	}},
	{"floor", "", func(l *lab, raw, _ string) *exec.Cmd {
		return l.child(task{Role: "floor", In: raw, Bytes: l.uncompressed})
	}},
}

func script(name string) func(l *lab, raw, out string) *exec.Cmd {
	return func(l *lab, raw, out string) *exec.Cmd {
		return exec.CommandContext(l.t.Context(), fixture.Python(l.t), "peer_"+name+".py", raw, out)
	}
}

// patience is how long an engine may take for the tables of one kind of data.
const patience = 10 * time.Minute

// chosen are the engines that HEADWATER_BENCH_ENGINES names, or all; headwater and the floor always are. What cannot be had is named and left out.
func chosen(t *testing.T) (out []engine) {
	t.Helper()
	wanted := os.Getenv("HEADWATER_BENCH_ENGINES")
	names := strings.Split(wanted, ",")
	for _, name := range names {
		if wanted != "" && !slices.ContainsFunc(engines, func(e engine) bool { return e.name == name }) {
			t.Fatalf("HEADWATER_BENCH_ENGINES: there is no engine %q", name)
		}
	}
	for _, e := range engines {
		if e.module != "" && wanted != "" && !slices.Contains(names, e.name) {
			continue
		}
		if reason := missing(t, e); reason != nil {
			fmt.Printf("%s is left out: %v\n", e.name, reason)
			continue
		}
		out = append(out, e)
	}
	return out
}

func missing(t *testing.T, e engine) error {
	t.Helper()
	if e.module == "" {
		return nil
	}
	if e.name == "spark" {
		if _, err := exec.LookPath("java"); err != nil {
			return err
		}
	}
	return exec.CommandContext(t.Context(), fixture.Python(t), "-c", "import "+e.module).Run()
}

// need is what one run of an engine took.
type need struct {
	usage
	wall  time.Duration
	bytes int64
}

// median is that of each number for itself.
func median(all []need) need {
	middle := func(of func(need) int64) int64 {
		list := make([]int64, len(all))
		for i, n := range all {
			list[i] = of(n)
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	return need{
		usage{all[0].records, time.Duration(middle(func(n need) int64 { return int64(n.cpu) })), middle(func(n need) int64 { return n.memory })},
		time.Duration(middle(func(n need) int64 { return int64(n.wall) })), middle(func(n need) int64 { return n.bytes }),
	}
}

// serialize runs an engine once. The error says why it has not made both tables.
func (l *lab) serialize(e engine, raw, out string) (need, error) {
	cmd := e.command(l, raw, out)
	var said, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &complaints
	patient, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	start := time.Now()
	err := cmd.Start()
	if err == nil {
		stop := context.AfterFunc(patient, func() { _ = cmd.Process.Kill() })
		err = cmd.Wait()
		stop()
	}
	wall := time.Since(start)
	words := strings.Fields(said.String())
	switch {
	case patient.Err() != nil:
		return need{}, fmt.Errorf("not done within %s", patience)
	case err != nil:
		lines := strings.Split(strings.TrimSpace(complaints.String()), "\n")
		return need{}, fmt.Errorf("%w: %.200s", err, lines[len(lines)-1])
	case len(words) == 0 || words[len(words)-1] != fmt.Sprint(l.records):
		return need{}, fmt.Errorf("%.50q rows of %d", said.String(), l.records)
	}
	size, err := parquetBytes(out)
	return need{used(cmd.ProcessState, int64(l.records)), wall, size}, err
}

// parquetBytes is the size of the Parquet files below a folder.
func parquetBytes(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".parquet" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// uncompressedSize is that of the raw table's pages: what both tables have, one compression is enough for.
func uncompressedSize(own tables) (int64, error) {
	files, err := parquetFiles(own.raw)
	if err != nil {
		return 0, err
	}
	db, err := openDatabase()
	if err != nil {
		return 0, err
	}
	defer db.close()
	sum, err := db.rows([]string{"sum(total_uncompressed_size)"}, fmt.Sprintf("FROM parquet_metadata(%s)", sqlList(files)))
	if err != nil {
		return 0, err
	}
	return number(*sum[0][0]), nil
}

// TestSerialize prints what engines need that make both tables of the same objects, after it has compared what they make.
func TestSerialize(t *testing.T) {
	scale, runs := settings(t)
	all := chosen(t)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	var notes []string
	fmt.Fprintln(w, "data\tengine\trecords\tCPU s\twall s\tpeak MB\tMB of tables\tCPU of headwater's\tof the floor's")
	for _, d := range datasets {
		l := &lab{t: t, dir: t.TempDir(), data: d, records: int(float64(d.full) * scale), least: map[string]usage{}}
		l.prepare()
		raw := l.objects(12)
		needs := map[string][]need{}
		failed := map[string]error{}
		own := ""
		for run := range runs {
			for _, e := range all {
				if failed[e.name] != nil {
					continue
				}
				out := l.fresh(e.name)
				n, err := l.serialize(e, raw, out)
				if err != nil {
					failed[e.name] = err
					continue
				}
				needs[e.name] = append(needs[e.name], n)
				if run > 0 {
					continue
				}
				switch {
				case e.name == "headwater":
					own = out
					l.count(task{Role: "compare", In: raw, Out: own})
					if l.uncompressed, err = uncompressedSize(ownTables(own, d.name)); err != nil {
						t.Fatal(err)
					}
				case e.module != "":
					l.count(task{Role: "compare", Out: own, Rival: out})
					said, err := os.ReadFile(filepath.Join(out, "differences"))
					if err != nil {
						t.Fatal(err)
					}
					if len(said) > 0 {
						notes = append(notes, fmt.Sprintf("%s by %s: %s", d.name, e.name, said))
					}
				}
			}
		}
		if err := errors.Join(failed["headwater"], failed["floor"]); err != nil {
			t.Fatal(err)
		}
		ours, floor := median(needs["headwater"]), median(needs["floor"])
		for _, e := range all {
			if err := failed[e.name]; err != nil {
				fmt.Fprintf(w, "%s\t%s\t%d\tfailed\n", d.name, e.name, l.records)
				notes = append(notes, fmt.Sprintf("%s by %s: %v", d.name, e.name, err))
				continue
			}
			n := median(needs[e.name])
			fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%.2f\t%d\t%.1f\t%.2f\t%.2f\n", d.name, e.name, n.records, n.cpu.Seconds(), n.wall.Seconds(), n.memory>>20, float64(n.bytes)/1e6,
				cmp.Or(n.cpu.Seconds()/ours.cpu.Seconds(), 1), n.cpu.Seconds()/floor.cpu.Seconds())
		}
	}
	fmt.Printf("%s, %s/%s, %d processors, median of %d runs, every value of headwater's tables equal to those of the objects\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runs)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, n := range notes {
		fmt.Println(n)
	}
}
