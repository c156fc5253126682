package interop

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// sparkSession is a Spark that answers one question after the other.
type sparkSession struct {
	t      *testing.T
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr bytes.Buffer
}

func newSparkSession(t *testing.T, args ...string) *sparkSession {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), fixture.Python(t), append([]string{filepath.Join("testdata", "adopt.py")}, args...)...)
	s := &sparkSession{t: t}
	cmd.Stderr = &s.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 16<<20)
	t.Cleanup(func() {
		_ = s.in.Close()
		_ = cmd.Wait() // the test's end may have killed it
	})
	return s
}

func (s *sparkSession) ask(into any, command ...any) {
	s.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		s.t.Fatalf("%s: %v\n%s", line, err, s.stderr.String())
	}
	for s.out.Scan() {
		if answer, is := strings.CutPrefix(s.out.Text(), "\x1e"); is {
			if err := json.Unmarshal([]byte(answer), into); err != nil {
				s.t.Fatalf("%s: %v", line, err)
			}
			return
		}
	}
	s.t.Fatalf("%s: no answer: %v\n%s", line, s.out.Err(), s.stderr.String())
}

// sparksTable is a table as Spark sees it.
type sparksTable struct {
	Rows       [][]any           `json:"rows"`
	Partitions []string          `json:"partitions"`
	Columns    [][]any           `json:"columns"`
	Details    [][]any           `json:"details"`
	Properties map[string]string `json:"properties"`
}

// oldJob is what the test knows of a source whose tables another job makes.
type oldJob struct {
	name    string
	strings bool
	days    map[int][]string
}

func (j *oldJob) write(t *testing.T, p pipeline, day, offset int, docs ...string) {
	t.Helper()
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	for _, doc := range docs {
		fmt.Fprintf(z, `{"raw_data":%s,"metadata":{"host_name":"h"},"ingestion_timestamp":%d}`+"\n", doc, caseTime(day))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p.Write(t, fmt.Sprintf("headwater-data/raw/topics/%[1]s_raw/date=2026-07-%02[2]d/%[1]s_raw+0+%010[3]d.json.gz", j.name, day, offset), text.Bytes())
	j.days[day] = append(j.days[day], docs...)
}

// want are the rows of the two tables for these days.
func (j *oldJob) want(t *testing.T, days ...int) (raw, flat [][]any) {
	t.Helper()
	for _, day := range days {
		for _, doc := range j.days[day] {
			var d struct {
				ID    float64
				Price float64
				Buyer struct{ Name string }
			}
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			raw = append(raw, []any{float64(day), d.ID, d.Buyer.Name, "h"})
			flat = append(flat, []any{float64(day), d.ID, d.Price, d.Buyer.Name})
		}
	}
	order := func(a, b []any) int { return strings.Compare(fmt.Sprint(a...), fmt.Sprint(b...)) }
	slices.SortFunc(raw, order)
	slices.SortFunc(flat, order)
	return raw, flat
}

func (j *oldJob) partitions(days ...int) (out []string) {
	spelled := "year=2026/month=7/day=%d"
	if j.strings {
		spelled = "year=2026/month=07/day=%02d"
	}
	for _, day := range days {
		out = append(out, fmt.Sprintf(spelled, day))
	}
	slices.Sort(out)
	return out
}

// TestAdoptTables: tables that a job on Spark has made are taken over, go on by Headwater, and are given back to the job, which then goes on: with values, partitions and
// columns as they should be at each step, for days that are spelled as numbers and as texts.
func TestAdoptTables(t *testing.T) {
	fixture.Python(t)
	p := newPipeline(t, `serialize: {schedule: ""}
sources:
  ints: {external: {topic: ints_raw}, schema: {dialect: spark}}
  texts: {external: {topic: texts_raw}}
`)
	jobs := []*oldJob{{"ints", false, map[int][]string{}}, {"texts", true, map[int][]string{}}}
	for _, j := range jobs {
		for day := 4; day <= 6; day++ {
			j.write(t, p, day, 0, fmt.Sprintf(`{"id":%d,"price":%d.5,"Buyer":{"name":"Zoë"}}`, day, day), `{"id":7,"price":2.25,"Buyer":{"name":"B"}}`)
		}
	}
	proc := p.Start(t, p.env, "run")
	binary.Eventually(t, "a metastore", func() bool { return p.running(t).Hive != "" })
	data := filepath.Join(p.Dir, "headwater-data")
	spark := newSparkSession(t, "thrift://"+p.running(t).Hive, filepath.Join(p.Dir, "warehouse"), filepath.Join(data, "raw"), filepath.Join(data, "tables"))
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			spark.t = t
			read := func(step string, days ...int) (raw, flat sparksTable) {
				t.Helper()
				spark.ask(&raw, "read", j.name+"_raw", "raw_data.id, raw_data.Buyer.name, metadata.host_name")
				spark.ask(&flat, "read", j.name, "id, price, Buyer_name")
				wantRaw, wantFlat := j.want(t, days...)
				for _, got := range []*sparksTable{&raw, &flat} {
					want := wantRaw
					if got == &flat {
						want = wantFlat
					}
					slices.SortFunc(got.Rows, func(a, b []any) int { return strings.Compare(fmt.Sprint(a...), fmt.Sprint(b...)) })
					if diff := cmp.Diff(want, got.Rows); diff != "" {
						t.Errorf("%s: rows (-want +got):\n%s", step, diff)
					}
					if diff := cmp.Diff(j.partitions(days...), got.Partitions); diff != "" {
						t.Errorf("%s: partitions (-want +got):\n%s", step, diff)
					}
				}
				return raw, flat
			}
			alike := func(step string, want, got sparksTable) {
				t.Helper()
				// Our marks, and what only says how often the schema was written.
				if diff := cmp.Diff(want.Details, got.Details); diff != "" {
					t.Errorf("%s: what the table is (-before +after):\n%s", step, diff)
				}
				if diff := cmp.Diff(want.Columns, got.Columns); diff != "" {
					t.Errorf("%s: columns (-before +after):\n%s", step, diff)
				}
			}
			job := func(days ...int) {
				t.Helper()
				for _, day := range days {
					var none any
					spark.ask(&none, "job", j.name, day, j.strings)
				}
			}
			serialize := func(day int, args ...string) binary.Result {
				return p.Run(t, p.env, "serialize", append([]string{"--source", j.name, "--date", fmt.Sprintf("2026-07-%02d", day)}, args...)...)
			}
			job(4, 5)
			raw, flat := read("the old job", 4, 5)

			plan := p.headwater(t, "tables adopt", j.name, "--dry-run")
			if !strings.Contains(plan, "2 days with 4 rows") || !strings.Contains(plan, "Nothing was changed") {
				t.Errorf("the plan is\n%s", plan)
			}
			p.headwater(t, "tables adopt", j.name)
			raw2, flat2 := read("adopted", 4, 5)
			alike("adopted", raw, raw2)
			alike("adopted", flat, flat2)

			if out := serialize(4).Must(t); !strings.Contains(out, "unchanged") {
				t.Errorf("a day whose objects are older than its adopted files is made again: %s", out)
			}
			j.write(t, p, 5, 2, `{"id":99,"price":0.5,"Buyer":{"name":"late"}}`)
			serialize(5).Must(t)
			serialize(6).Must(t)
			raw2, flat2 = read("headwater", 4, 5, 6)
			if j.name == "ints" {
				alike("headwater", raw, raw2)
				alike("headwater", flat, flat2)
			} else if diff := cmp.Diff(flat.Columns[:3], flat2.Columns[:3]); diff != "" || flat2.Columns[3][0] != "_ingested_at" {
				t.Errorf("the flat table's columns are no longer first (-before +after):\n%s\n%v", diff, flat2.Columns)
			}
			if got := p.query(t, "select count(*) from air."+j.name); len(got) != 1 || got[0][0] != "7" {
				t.Errorf("headwater query counts %v", got)
			}

			p.headwater(t, "tables release", j.name)
			raw2, flat2 = read("released", 4, 5, 6)
			for _, got := range []sparksTable{raw2, flat2} {
				for key := range got.Properties {
					if strings.HasPrefix(key, "headwater") {
						t.Errorf("the released table has the property %s", key)
					}
				}
				if got.Properties["team"] != "data" {
					t.Errorf("the old job's property is gone: %v", got.Properties)
				}
			}
			if runs, _ := filepath.Glob(filepath.Join(data, "tables/old/*/_runs/*.json")); strings.Contains(strings.Join(runs, " "), j.name) {
				t.Errorf("left in the table's folder: %v", runs)
			}
			if r := serialize(6, "--full"); r.Code != 3 || !strings.Contains(r.Stderr, "tables adopt") {
				t.Errorf("a run after the release ends with %d: %s", r.Code, r.Stderr)
			}

			j.write(t, p, 6, 2, `{"id":100,"price":8.5,"Buyer":{"name":"later"}}`)
			j.write(t, p, 7, 0, `{"id":1,"price":1.5,"Buyer":{"name":"new"}}`)
			job(5, 6, 7)
			read("the old job again", 4, 5, 6, 7)
			p.headwater(t, "tables adopt", j.name)
			read("adopted again", 4, 5, 6, 7)
		})
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, limit).Must(t)
}
