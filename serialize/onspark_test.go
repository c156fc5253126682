package serialize

import (
	"bufio"
	"encoding/json"
	"errors"
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
	"headwater/lake/file"
	"headwater/schema"
	"headwater/serialize/spark"
	"headwater/table"
	"headwater/table/dir"
	"headwater/tests/interop/fixture"
)

// sparkSettings are the program's own, which sparkd.py has for all.
var sparkSettings = spark.Settings()

// submitTo is a command that stands for spark-submit, before one Spark that ends with the test.
func submitTo(t *testing.T) string {
	t.Helper()
	python, base := fixture.Python(t), t.TempDir()
	settings, err := json.Marshal(sparkSettings)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(base, "socket")
	cmd := exec.CommandContext(t.Context(), python, "-B", "testdata/sparkd.py", socket, string(settings))
	log, err := os.Create(filepath.Join(base, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		said, _ := os.ReadFile(log.Name())
		t.Fatalf("Spark says %q, %v\n%s", line, err, said)
	}
	relay, err := filepath.Abs("testdata/submit.py")
	if err != nil {
		t.Fatal(err)
	}
	return script(t, fmt.Sprintf("HEADWATER_TEST_SPARK=%s exec %s %s \"$@\"", socket, python, relay))
}

// script is the path of a command of sh.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "submit")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// cluster is a world whose lake is in folders, and whose days Spark makes.
type cluster struct {
	*Serializer
	job Job
	dir string
}

// onCluster has the raw objects of a world. Its folders have in their names what programs may take for more than a name.
func (w *world) onCluster(t *testing.T, submit string) *cluster {
	t.Helper()
	c := &cluster{job: w.job, dir: filepath.Join(t.TempDir(), "a b,c %41 é+=")}
	c.job.Schema.Dialect = DialectSpark
	raw, tables := filepath.Join(c.dir, "raw"), filepath.Join(c.dir, "tables")
	o := w.Options
	o.Raw, o.Tables = c.store(t, raw), c.store(t, tables)
	for at, err := range w.raw.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(at.Key, "topics/") {
			continue
		}
		if err = os.MkdirAll(filepath.Dir(filepath.Join(raw, at.Key)), 0o700); err == nil {
			err = os.WriteFile(filepath.Join(raw, at.Key), bytesOf(t, w.raw, at.Key), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := dir.Open(t.Context(), o.Tables)
	if err != nil {
		t.Fatal(err)
	}
	o.Catalog, o.Quarantine.Store, o.Temp = catalog, o.Raw, t.TempDir()
	o.Spark = OnSpark{Raw: "file://" + raw, Tables: "file://" + tables}
	o.Config.Engine, o.Config.Spark.Submit = EngineSpark, submit
	c.Serializer = New(o)
	return c
}

func (c *cluster) store(t *testing.T, path string) lake.Store {
	t.Helper()
	s, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (c *cluster) run(t *testing.T) Result {
	t.Helper()
	r, err := c.Run(t.Context(), c.job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// held is what the table has of the day.
func (c *cluster) held(t *testing.T, n table.Name) table.Held {
	t.Helper()
	h, err := table.LookDay(t.Context(), c.Tables, n, c.job.Day)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// text is a table's schema and rows, in an order of their own.
func text(t *testing.T, s lake.Store, h table.Held) string {
	t.Helper()
	typ := h.Whole().Footer.Schema
	rows := []string{}
	for _, f := range h.Files() {
		for _, row := range readRows(t, bytesOf(t, s, f.Object.Key), typ) {
			rows = append(rows, marshal(t, told(row, typ)))
		}
	}
	slices.Sort(rows)
	return typ.String() + "\n" + strings.Join(rows, "\n")
}

// differs compares the day's tables, and what is left out, with those of the native engine.
func (c *cluster) differs(t *testing.T, w *world) string {
	t.Helper()
	native := w.Serializer
	job := w.job
	job.Schema.Dialect = DialectSpark
	want, err := native.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Run(t.Context(), c.job)
	if err != nil {
		return err.Error()
	}
	counted := func(r Result) string {
		return fmt.Sprint(r.Rows, " rows, ", r.Quarantined, " ", r.Reasons, " ", r.RenamedRaw, r.RenamedFlat)
	}
	var diff strings.Builder
	diff.WriteString(cmp.Diff(counted(want), counted(got)))
	for _, n := range []table.Name{job.Raw, job.Flat} {
		h := c.held(t, n)
		if !h.Whole().Exists || h.Whole().Footer.Engine != EngineSpark || h.Whole().Footer.Quarantined != got.Quarantined {
			diff.WriteString(fmt.Sprintf("the footer is %+v\n", h.Whole().Footer))
		}
		diff.WriteString(cmp.Diff(text(t, native.Tables, w.held(t, n)), text(t, c.Tables, h)))
	}
	return diff.String()
}

// world puts the day into one. Of lines that begin with ! those are left out that have text after the value: Spark passes over that.
func (d sparkDay) world(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for _, object := range d {
		var lines []string
		for _, l := range object {
			own, kept := strings.CutPrefix(l, "!")
			if !kept || !strings.HasSuffix(l, " x") && !strings.HasSuffix(l, `}{"a":1}`) {
				lines = append(lines, own)
			}
		}
		w.putObject(t, lake.RawKey("topics", testTopic, "date=2026-07-05", 0, w.next), zip(t, strings.Join(lines, "\n")+"\n"))
		w.next += int64(len(object))
	}
	return w
}

// TestOnSpark: a real Spark makes the tables that the native engine makes.
func TestOnSpark(t *testing.T) {
	t.Parallel()
	submit := submitTo(t)
	deep := strings.Repeat(`{"a":`, 60) + `1` + strings.Repeat(`}`, 60)
	for name, lines := range map[string][]string{
		"kinds":     {`={"a":1}`, `=7`, `=""`, `="x"`, `="{"`, `=[{"a":1}]`, `=null`},
		"bare":      {`=1`, `=null`, `=""`, `="{x"`},
		"no column": {`={}`, `={"a":{}}`, `={"b":[{}]}`},
		"nothing":   {`=null`, `=""`},
		"corrupt":   {"nul", `{"raw_data":{"a":1}`, "{\"raw_data\":{\"a\":\"\xff\"},\"ingestion_timestamp\":1783252800000}\r"},
		"envelopes": {
			`={"a":1}`, `[` + envelopeOf(`{"b":1}`) + `]`, `{"raw_data":{"b":1}}`, fmt.Sprintf(`{"ingestion_timestamp":%d}`, noon), `{"raw_data":{"b":1},"ingestion_timestamp":"1783252800000"}`,
			`{"raw_data":{"b":1},"ingestion_timestamp":1783252800000.0}`, `{"raw_data":{"b":1},"ingestion_timestamp":1}`, fmt.Sprintf(`{"raw_data":"b","metadata":{"malformed":"why"},"ingestion_timestamp":%d}`, noon),
			fmt.Sprintf(`{"raw_data":{"a":2},"metadata":{"malformed":""},"ingestion_timestamp":%d,"more":[{"b":1}]}`, noon), `{"raw_data":{"b":1},"ingestion_timestamp":null}`,
		},
		"keys":      {`={"a":1,"a":2}`, `={"a":{"b":1},"A":2,"a_b":"x"}`, `={"year":1,"Month":[{"x":1,"X":2,"c:d":3}],"":4}`, `={"o":{"k":1,"k":2}}`, `={"\ud83d\ude00":1,"\ud83d\ude01":2}`},
		"halves":    {`={"a":"\ud800","b":"\\ud800","c":["\udc00\ud83d"]}`, `={"d":{"e":"\ud83d\ude00"}}`},
		"deep":      {`={"d":` + deep + `}`, `={"l":` + strings.Repeat("[", 60) + "1" + strings.Repeat("]", 60) + `}`},
		"long line": {`={"a":"` + strings.Repeat("x", 2000) + `"}`, `={"a":"y"}`},
		"an object": {`={"a":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if name == "long line" {
				w.Config.RecordBytes = 1 << 10
			}
			for i, l := range lines {
				if doc, bare := strings.CutPrefix(l, "="); bare {
					lines[i] = envelopeOf(doc)
				}
			}
			w.put(t, lines...)
			w.put(t, envelopeOf(`null`))
			c := w.onCluster(t, submit)
			if diff := c.differs(t, w); diff != "" {
				t.Errorf("(-native +spark)\n%s", diff)
			}
			if again := c.run(t); !again.NoOp {
				t.Errorf("the same again: %+v", again)
			}
			left, _ := filepath.Glob(filepath.Join(c.dir, "raw/_spark/copies/*"))
			if temp, _ := filepath.Glob(c.Temp + "/*"); len(left)+len(temp) > 0 {
				t.Errorf("left are %v and %v", left, temp)
			}
		})
	}
	t.Run("drawn", func(t *testing.T) {
		t.Parallel()
		drawnOnSpark(t, submit)
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		twoOnSpark(t, submit)
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		key := w.put(t, envelopeOf(`{"a":1}`))
		w.putObject(t, key, bytesOf(t, w.raw, key)[:40])
		_, err := w.onCluster(t, submit).Run(t.Context(), w.onCluster(t, submit).job)
		if !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "ticks_raw+0+0000000000.json.gz") {
			t.Errorf("a cut object: %v", err)
		}
	})
}

// drawnOnSpark compares random days: as many as HEADWATER_SPARK_DAYS says, else as long as its time.
func drawnOnSpark(t *testing.T, submit string) {
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	days, limit := math.MaxInt, 20*time.Second
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_SPARK_DAYS")); err == nil {
		days, limit = n, math.MaxInt64
	}
	began, n := time.Now(), 0
	for ; n < days && time.Since(began) < limit; n++ {
		d := newDayMaker(rand.New(rand.NewPCG(seed, uint64(n)))).day()
		w := d.world(t)
		if diff := w.onCluster(t, submit).differs(t, w); diff != "" {
			t.Fatalf("HEADWATER_SEED=%d, day %d\n%s\n(-native +spark)\n%s", seed, n, strings.Join(slices.Concat(d...), "\n"), diff)
		}
	}
	t.Logf("HEADWATER_SEED=%d: %d days in %v", seed, n, time.Since(began).Round(time.Second))
}

// twoOnSpark: of two runs at once one publishes, or finds that the other has.
func twoOnSpark(t *testing.T, submit string) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1}`))
	c := w.onCluster(t, submit)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := c.Run(t.Context(), c.job)
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil && !errors.Is(err, table.ErrOutdated) {
			t.Error(err)
		}
	}
	if r := c.run(t); !r.NoOp || r.Rows != 1 {
		t.Errorf("%+v", r)
	}
	// Who is outdated has left files, which nobody reads.
	c.Config.Grace = 0
	c.run(t)
	for _, n := range []table.Name{c.job.Raw, c.job.Flat} {
		if h := c.held(t, n); h.Commit.Number != 1 || len(h.Files()) == 0 || slices.ContainsFunc(h.Retired, func(o lake.Object) bool { return strings.HasSuffix(o.Key, ".parquet") }) {
			t.Errorf("%s: commit %d of %d files, left are %v", n, h.Commit.Number, len(h.Files()), h.Retired)
		}
	}
	if h := c.held(t, c.job.Flat); !schema.Equal(h.Whole().Footer.Schema, schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "a", Type: schema.Type{Kind: schema.Long}}}}) {
		t.Errorf("the table is %v", h.Whole().Footer.Schema)
	}
}

// TestSparkIsNotBelieved: what does not agree with the objects, or with itself, is not published.
func TestSparkIsNotBelieved(t *testing.T) {
	const record = `{"type":"struct","fields":[{"name":"ingestion_timestamp","type":"long","nullable":true,"metadata":{}},{"name":"raw_data","type":` + flat + `,"nullable":true,"metadata":{}}]}`
	size := func(n int) string { return fmt.Sprintf(`SIZE,"what":"object","records":%d}]}`, n) }
	made := func(rows int, flat string) string {
		return fmt.Sprintf(`{"made":{"raw":{"rows":%d,"schema":%s,"files":["file:/x/part-0.parquet"]},"flat":{"rows":%d,"schema":%s,"files":["file:/y/part-0.parquet"]}}}`, rows, record, rows, flat)
	}
	for name, test := range map[string]struct{ counts, bad, schema, made, says string }{
		"records are missing":          {size(1), "", record, made(1, flat), "has 1 records, but was written with 2"},
		"rows are missing":             {size(2), "", record, made(1, flat), "2 rows"},
		"a column has another type":    {size(2), "", record, made(2, `{"type":"struct","fields":[{"name":"a","type":"string"}]}`), "a:string"},
		"a type that no table has":     {size(2), "", `"date"`, "", `type "date"`},
		"a record that it cannot read": {size(2), "", `{"type":"struct","fields":[{"name":"_headwater_corrupt","type":"string"}]}`, "", "half a character"},
		"the object is another":        {`7,"what":"object","records":2}]}`, "", record, made(2, flat), "it was replaced"},
		"an object of others":          {`SIZE,"what":"object","records":2},{"uri":"file:/etc/passwd","size":1,"what":"bad","records":1}]}`, "", record, made(2, flat), "not asked for"},
		"files that are not there":     {size(2), "", record, made(2, flat), "part-0.parquet: object does not exist"},
		"what is left out is unknown":  {`SIZE,"what":"bad","records":2}]}`, `headwater {"bad":{"uri":"OBJECT","sha256":"ff"}}`, record, made(0, flat), "it has told of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			key := w.put(t, envelopeOf(`{"a":1}`), envelopeOf(`{"a":2}`))
			c := w.onCluster(t, "")
			o, err := c.Raw.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join([]string{`headwater {"counts":[{"uri":"OBJECT","size":` + test.counts, test.bad, `headwater {"schema":` + test.schema + `}`, "headwater " + test.made}, "\n")
			said = strings.NewReplacer("OBJECT", "file:"+filepath.Join(c.dir, "raw", key), "SIZE", fmt.Sprint(o.Size)).Replace(said)
			c.Config.Spark.Submit = script(t, "cat <<'E'\n"+said+"\nE\nexec cat >/dev/null")
			if _, err := c.Run(t.Context(), c.job); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
			for _, n := range []table.Name{c.job.Raw, c.job.Flat} {
				if h := c.held(t, n); h.Whole().Exists {
					t.Errorf("%s was published", n)
				}
			}
		})
	}
}

const flat = `{"type":"struct","fields":[{"name":"a","type":"long","nullable":true,"metadata":{}}]}`

// TestEngines: who makes a day, and that another would is no reason to make it anew.
func TestEngines(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1}`))
	c := w.onCluster(t, script(t, `echo 'headwater {"error":{"text":"it was asked","data":true}}'`))
	asked := func(what string, want bool) {
		t.Helper()
		_, err := c.Run(t.Context(), c.job)
		if want != (errors.Is(err, ErrData) && strings.Contains(err.Error(), "it was asked")) || !want && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	asked("spark", true)
	c.Config.Engine = EngineAuto
	asked("a small day", false)
	c.Config.Engine = EngineSpark
	if stale, err := c.Stale(t.Context(), c.job); stale || err != nil {
		t.Errorf("another engine alone makes it stale: %t, %v", stale, err)
	}
	asked("nothing new", false)
	c.job.Engine = EngineSpark
	asked("by name", true)
	c.job.Engine, c.job.Full, c.Config.Engine, c.Config.Spark.AutoAbove = "", true, EngineAuto, 0
	asked("a large day", true)
	there := c.Spark
	c.Spark.Raw = ""
	asked("a large day in a store that Spark cannot reach", false)
	c.Spark = there
	for says, change := range map[string]func(){
		"dialect: spark": func() { c.job.Schema.Dialect = DialectHeadwater },
		"declared":       func() { c.job.Shape.InString = true },
		"elsewhere":      func() { c.Spark.Raw = "" },
		"for a pattern":  func() { c.Spark.Raw = "file:///a[b]" },
	} {
		c.job.Engine, c.job.Schema.Dialect, c.job.Shape.InString, c.Spark = EngineSpark, DialectSpark, false, there
		change()
		if _, err := c.Run(t.Context(), c.job); !errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
