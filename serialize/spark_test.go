package serialize

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/schema"
	"headwater/table"
	"headwater/tests/interop/fixture"
)

// sparkDay is the lines of a day's objects. A line that begins with ! is kept from Spark, which takes it otherwise on purpose: it must
// go to quarantine.
type sparkDay [][]string

// rowsOf is what a reader has found in a table, in the form of testdata/spark.py.
type rowsOf struct {
	Schema json.RawMessage
	Rows   []json.RawMessage
}

// sparkAnswer is what Spark found in the objects of a day and in our tables.
type sparkAnswer struct {
	Error     string
	Corrupt   int64
	Raw, Flat *rowsOf
	OurRaw    *rowsOf `json:"our_raw"`
	OurFlat   *rowsOf `json:"our_flat"`
}

// text is the answer with the rows in an order of their own: Spark reads objects in another than ours.
func (a sparkAnswer) text(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "corrupt %d\n", a.Corrupt)
	for _, table := range []struct {
		name string
		*rowsOf
	}{{"raw", a.Raw}, {"flat", a.Flat}} {
		if table.rowsOf == nil {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", table.name, canonical(t, table.Schema))
		rows := make([]string, len(table.Rows))
		for i, r := range table.Rows {
			rows[i] = canonical(t, r)
		}
		slices.Sort(rows)
		for _, r := range rows {
			fmt.Fprintf(&b, "%s\n", r)
		}
	}
	return b.String()
}

// canonical is equal for equal JSON.
func canonical(t testing.TB, text []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return marshal(t, v)
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

// told is a value of readRows as testdata/spark.py tells it.
func told(v any, typ schema.Type) any {
	switch v := v.(type) {
	case map[string]any:
		out := make([]any, len(typ.Fields))
		for i, f := range typ.Fields {
			out[i] = told(v[f.Name], f.Type)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = told(v[i], *typ.Elem)
		}
		return out
	case float64:
		return fmt.Sprintf("%016x", math.Float64bits(v))
	}
	return v
}

// ours is what the dialect makes of the day, as if Spark had read it.
func (d sparkDay) ours(t testing.TB) (a sparkAnswer, w *world) {
	t.Helper()
	w = newWorld(t)
	w.job.Schema.Dialect = DialectSpark
	var kept int64
	for _, object := range d {
		lines := slices.Clone(object)
		for i, l := range lines {
			var own bool
			if lines[i], own = strings.CutPrefix(l, "!"); own {
				kept++
			}
		}
		// Without a tail: there are blank lines, which are no records.
		w.putObject(t, lake.RawKey("topics", testTopic, "date=2026-07-05", 0, w.next), zip(t, strings.Join(lines, "\n")+"\n"))
		w.next += int64(len(lines))
	}
	r := w.run(t)
	a.Corrupt = r.Quarantined - kept
	read := func(n table.Name) *rowsOf {
		typ := w.footer(t, n).Schema
		out := rowsOf{Schema: json.RawMessage(marshal(t, typ))}
		for _, row := range w.rows(t, n) {
			out.Rows = append(out.Rows, json.RawMessage(marshal(t, told(row, typ))))
		}
		return &out
	}
	a.Raw = read(w.job.Raw)
	if fieldType(w.footer(t, w.job.Raw).Schema, "raw_data").Kind == schema.Struct {
		a.Flat = read(w.job.Flat) // else Spark has none
	}
	return a, w
}

// pyspark is one Spark that is asked for many days.
type pyspark struct {
	in   *json.Encoder
	out  *bufio.Reader
	log  *bytes.Buffer
	kill func()
}

// patience is how long Spark may take for the days that it is asked for, on a machine that is busy with other tests.
const patience = 10 * time.Minute

func startSpark(t *testing.T) *pyspark {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	t.Cleanup(kill)
	cmd := exec.CommandContext(ctx, fixture.Python(t), "testdata/spark.py")
	p := &pyspark{log: &bytes.Buffer{}, kill: kill}
	cmd.Stderr = p.log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in, p.out = json.NewEncoder(in), bufio.NewReader(out)
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // how it ends says nothing: its answers are here
	})
	return p
}

// ask gives the days to Spark, with our tables of them, and returns its answers and ours.
func (p *pyspark) ask(t testing.TB, days ...sparkDay) (spark, ours []sparkAnswer) {
	t.Helper()
	base, err := os.MkdirTemp(t.TempDir(), "days-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	write := func(path string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var folders []string
	for i, d := range days {
		a, w := d.ours(t)
		ours = append(ours, a)
		folder := filepath.Join(base, strconv.Itoa(i))
		folders = append(folders, folder)
		for k, object := range d {
			lines := slices.DeleteFunc(slices.Clone(object), func(l string) bool { return strings.HasPrefix(l, "!") })
			write(fmt.Sprintf("%s/in/%d.json.gz", folder, k), zip(t, strings.Join(lines, "\n")+"\n"))
		}
		if i%5 == 0 { // to read them costs Spark more than to infer
			write(folder+"/raw.parquet", w.file(t, w.job.Raw))
			write(folder+"/flat.parquet", w.file(t, w.job.Flat))
		}
	}
	defer time.AfterFunc(patience, p.kill).Stop()
	if err := p.in.Encode(folders); err != nil {
		t.Fatalf("asking Spark: %v\n%s", err, p.log)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("Spark's answer: %v\n%s", err, p.log)
	}
	if err := json.Unmarshal(line, &spark); err != nil || len(spark) != len(days) {
		t.Fatalf("Spark's answer has %d days: %v", len(spark), err)
	}
	return spark, ours
}

// differ compares three: Spark's reading of the objects, ours, and Spark's reading of our tables.
func (a sparkAnswer) differ(t testing.TB, ours sparkAnswer) string {
	t.Helper()
	if a.Error != "" {
		return "Spark fails: " + a.Error
	}
	want := a.text(t)
	if diff := cmp.Diff(want, ours.text(t)); diff != "" {
		return "(-spark +ours)\n" + diff
	}
	if a.OurRaw == nil {
		return ""
	}
	again := sparkAnswer{Corrupt: a.Corrupt, Raw: a.OurRaw}
	if a.Flat != nil {
		again.Flat = a.OurFlat
	}
	if diff := cmp.Diff(want, again.text(t)); diff != "" {
		return "(-spark +ours read by Spark)\n" + diff
	}
	return ""
}

// shrink takes lines away as long as the day still differs.
func (p *pyspark) shrink(t testing.TB, d sparkDay) sparkDay {
	t.Helper()
	var lines []string
	for _, object := range d {
		lines = append(lines, object...)
	}
	for size := max(1, len(lines)/2); ; size /= 2 {
		for at := 0; at < len(lines) && len(lines) > 1; {
			less := slices.Delete(slices.Clone(lines), at, min(at+size, len(lines)))
			if len(less) > 0 {
				spark, ours := p.ask(t, sparkDay{less})
				if spark[0].differ(t, ours[0]) != "" {
					lines = less
					continue
				}
			}
			at += size
		}
		if size <= 1 {
			return sparkDay{lines}
		}
	}
}

// TestSparkGolden compares the dialect with what Spark answered when testdata/spark was written: -update asks it again.
func TestSparkGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/spark/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	var p *pyspark
	if *update {
		p = startSpark(t)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			comment, rest, found := strings.Cut(string(text), "-- in --\n")
			if !found {
				t.Fatal("no section in")
			}
			in, want, _ := strings.Cut(rest, "-- spark --\n")
			var lines []string
			for l := range strings.SplitSeq(strings.TrimSuffix(in, "\n"), "\n") {
				if text, bare := strings.CutPrefix(l, "="); bare {
					l = envelopeOf(text)
				}
				lines = append(lines, l)
			}
			d := sparkDay{lines}
			if *update {
				spark, ours := p.ask(t, d)
				if diff := spark[0].differ(t, ours[0]); diff != "" {
					t.Error(diff)
				}
				if err := os.WriteFile(path, []byte(comment+"-- in --\n"+in+"-- spark --\n"+spark[0].text(t)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			a, _ := d.ours(t)
			if diff := cmp.Diff(want, a.text(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSparkDialect compares the dialect with Spark on random days: as many as HEADWATER_SPARK_DAYS says, else as long as its time.
func TestSparkDialect(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	days, limit := math.MaxInt, 20*time.Second
	if os.Getenv("CI") != "" {
		limit = time.Minute
	}
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_SPARK_DAYS")); err == nil {
		days, limit = n, math.MaxInt64
	}
	p := startSpark(t)
	began, asked, rows := time.Now(), 0, 0
	for at := uint64(0); asked < days && time.Since(began) < limit; at++ {
		batch := make([]sparkDay, min(20, days-asked))
		for i := range batch {
			batch[i] = newDayMaker(rand.New(rand.NewPCG(seed, uint64(asked+i)))).day()
		}
		spark, ours := p.ask(t, batch...)
		for i, d := range batch {
			if diff := spark[i].differ(t, ours[i]); diff != "" {
				d = p.shrink(t, d)
				spark, ours := p.ask(t, d)
				t.Errorf("HEADWATER_SEED=%d, day %d, shrunk to\n%s\n%s", seed, asked+i, strings.Join(slices.Concat(d...), "\n"), spark[0].differ(t, ours[0]))
			}
			rows += len(ours[i].Raw.Rows)
		}
		if t.Failed() {
			return
		}
		asked += len(batch)
	}
	t.Logf("HEADWATER_SEED=%d: %d days of %d rows in %v", seed, asked, rows, time.Since(began).Round(time.Second))
}
