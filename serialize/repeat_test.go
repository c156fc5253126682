package serialize

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	filestore "headwater/lake/file"
	"headwater/table"
	"headwater/table/dir"
)

// ticks are n records as a market data source has them, with ids of width characters.
func ticks(n int, seed uint64, width int) []string {
	r := rand.New(rand.NewPCG(seed, 2))
	out := make([]string, n)
	for i := range out {
		out[i] = envelopeOf(fmt.Sprintf(
			`{"symbol":"SYM%03d","price":%d.%02d,"size":%d,"side":"%s","venue":{"id":%d,"name":"venue %d"},"seq":%d,"flags":["a","b"],"id":"%0*x"}`,
			r.IntN(300), 50+r.IntN(200), r.IntN(100), r.IntN(5000), []string{"buy", "sell"}[r.IntN(2)], r.IntN(9), r.IntN(9), i, width, r.Uint64()))
	}
	return out
}

// TestDeterminism: whatever the workers do, equal input gives equal bytes; the ids look as if there were few of them and then overflow
// the dictionary, so that chunks have dictionary and plain pages.
func TestDeterminism(t *testing.T) {
	var want [2][]byte
	for i, workers := range []int{1, 3, 2} {
		w := newWorld(t)
		w.Config.Workers = workers
		w.Config.RowGroupBytes = 7 << 20
		for o := range 5 {
			lines := ticks(8_000, uint64(o), 80)
			for i := range lines {
				if o == 0 {
					lines[i] = lines[i%3000] // so that a dictionary is begun
				}
			}
			w.put(t, lines...)
		}
		if r := w.run(t); r.Rows != 40_000 {
			t.Fatal(r)
		}
		for j, n := range []table.Name{w.job.Raw, w.job.Flat} {
			got := w.file(t, n)
			if i == 0 {
				want[j] = got
				checkFile(t, got)
			} else if !bytes.Equal(want[j], got) {
				t.Errorf("%d workers made another %s", workers, n)
			}
		}
	}
}

// TestFlatAlone: the flat table's file is the same whether the raw one is written beside it or not.
func TestFlatAlone(t *testing.T) {
	w := newWorld(t)
	w.Config.RowGroupBytes = 1 << 20
	w.put(t, ticks(9_000, 1, 8)...)
	w.run(t)
	want := w.file(t, w.job.Flat)
	for _, separator := range []string{"__", "_"} {
		w.Config.Flat.Separator = separator
		if r := w.run(t); r.Raw.Written || !r.Flat.Written {
			t.Fatalf("%+v", r)
		}
	}
	if !bytes.Equal(want, w.file(t, w.job.Flat)) {
		t.Error("without the raw table another file was made")
	}
}

// checkFile looks at what the pages and row groups are like.
func checkFile(t *testing.T, data []byte) {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.NumRowGroups() < 2 {
		t.Errorf("%d row groups", f.NumRowGroups())
	}
	mixed := 0
	for _, c := range f.MetaData().RowGroups[0].Columns {
		if len(c.MetaData.EncodingStats) > 2 {
			mixed++
		}
	}
	if mixed == 0 {
		t.Error("no chunk has dictionary and plain pages, so the test misses its point")
	}
	if by := f.MetaData().GetCreatedBy(); by != "headwater version 1" {
		t.Error(by)
	}
}

func TestNoOp(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1,"A":1}`), envelopeOf(`{"a":1,"a":1}`))
	stale := func(want bool) {
		t.Helper()
		if got, err := w.Stale(t.Context(), w.job); got != want || err != nil {
			t.Errorf("stale %v, want %v; %v", got, want, err)
		}
	}
	stale(true)
	first := w.run(t)
	stale(false)
	catalog, err := dir.Open(t.Context(), w.tables) // what was registered is forgotten
	if err != nil {
		t.Fatal(err)
	}
	w.Catalog = catalog
	again := w.run(t)
	if first.NoOp || !again.NoOp || again.Raw.Written || again.Rows != 1 || again.Quarantined != 1 || len(again.RenamedFlat) != 1 {
		t.Errorf("%+v\n%+v", first, again)
	}
	if first.Raw.Object != again.Raw.Object {
		t.Error("the file was written again")
	}
	w.job.Full = true
	if full := w.run(t); full.NoOp || !full.Raw.Written {
		t.Errorf("%+v", full)
	}
	w.job.Full = false
	w.put(t, envelopeOf(`{"b":1}`))
	stale(true)
	if r := w.run(t); r.NoOp || r.Rows != 2 {
		t.Errorf("%+v", r)
	}
	w.Config.Flat.Separator = "__"
	stale(true)
	raw := w.footer(t, w.job.Raw)
	if r := w.run(t); r.NoOp || r.Raw.Written || !r.Flat.Written {
		t.Errorf("only the flat table depends on the separator: %+v", r)
	}
	if diff := cmp.Diff(raw, w.footer(t, w.job.Raw)); diff != "" {
		t.Error(diff)
	}
}

func TestQuarantineIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.put(t, `bad`, envelopeOf(`{}`))
	w.run(t)
	if n := len(w.quarantined(t)); n != 1 {
		t.Fatal(n)
	}
	if err := w.raw.Delete(t.Context(), lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)); err != nil {
		t.Fatal(err)
	}
	w.put(t, envelopeOf(`{}`))
	w.run(t)
	if n := len(w.quarantined(t)); n != 0 {
		t.Errorf("the day has no bad record any more, but %d", n)
	}
}

// TestQuarantineOfTwo: a run that has looked before another's objects were there does not undo what the other has quarantined.
func TestQuarantineOfTwo(t *testing.T) {
	for _, open := range []bool{false, true} {
		for _, mine := range []string{"bad", envelopeOf(`{}`)} {
			for _, before := range []string{"bad", envelopeOf(`{}`), ""} {
				w := newWorld(t)
				w.job.Open = open
				want := 1
				for _, line := range []string{before, mine} {
					if line == "bad" {
						want++
					}
				}
				if before != "" {
					w.put(t, before)
					w.runOnce(t)
				}
				w.put(t, mine)
				other, met := New(w.Options), false
				w.Raw = &replacer{Store: w.raw, replace: func() {
					if met {
						return
					}
					met = true
					w.put(t, `worse`)
					if _, err := other.Run(t.Context(), w.job); err != nil {
						t.Error(err)
					}
				}}
				if _, err := w.Run(t.Context(), w.job); err != nil && !errors.Is(err, table.ErrOutdated) {
					t.Error(err)
				}
				if w.runOnce(t); !met || len(w.quarantined(t)) != want {
					t.Errorf("open %v, %q before %q: %d are in quarantine, want %d", open, before, mine, len(w.quarantined(t)), want)
				}
			}
		}
	}
}

func TestDays(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"date=2026-07-05", "date=2026-07-06", "date=2027-01-01", "date=junk"} {
		for offset := range int64(3) {
			w.putObject(t, lake.RawKey("topics", testTopic, path, 0, offset), nil)
		}
	}
	w.putObject(t, lake.RawKey("topics", testTopic+"_2", "date=2020-01-01", 0, 0), nil)
	got, err := w.Days(t.Context(), testTopic)
	want := []table.Day{testDay, {Year: 2026, Month: 7, Day: 6}, {Year: 2027, Month: 1, Day: 1}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestWide(t *testing.T) {
	w := newWorld(t)
	var lines, docs []string
	for i := range 10 {
		var b strings.Builder
		for c := range 2000 {
			if (c+i)%7 != 0 {
				fmt.Fprintf(&b, `,"column_%04d":%d`, c, c*i)
			}
		}
		docs = append(docs, "{"+b.String()[1:]+"}")
		lines = append(lines, envelopeOf(docs[i]))
	}
	w.put(t, lines...)
	w.run(t)
	if n := len(w.footer(t, w.job.Flat).Schema.Fields); n != 2001 {
		t.Errorf("%d columns", n)
	}
	check(t, w, docs)
}

// TestManyRows goes over batches, pages and row groups, with values of every size.
func TestManyRows(t *testing.T) {
	w := newWorld(t)
	w.Config.RowGroupBytes = 1 << 20
	var docs []string
	for range 3 {
		var lines []string
		for i := range 10_000 {
			doc := fmt.Sprintf(`{"i":%d,"l":[%d,null,{"k":"%d"}],"s":{"t":%v}}`, i, i%3, i%1000, i%2 == 0)
			switch {
			case i%3000 == 17:
				doc = fmt.Sprintf(`{"big":"%s"}`, strings.Repeat("0123456789", 50_000))
			case i%11 == 0:
				doc = `{}`
			}
			docs = append(docs, doc)
			lines = append(lines, envelopeOf(doc))
		}
		w.put(t, lines...)
	}
	w.run(t)
	check(t, w, docs)
	flat := w.footer(t, w.job.Flat).Schema.String()
	if flat != "struct<big:string,i:bigint,l:array<string>,s_t:boolean,_ingested_at:timestamp>" {
		t.Error(flat)
	}
}

// TestCrash kills a process of its own at each point of this package and of publishing, and runs again.
func TestCrash(t *testing.T) {
	const child = "HEADWATER_SERIALIZE_CRASH_DIR"
	if folder := os.Getenv(child); folder != "" {
		w := fileWorld(t, folder)
		w.run(t)
		return
	}
	clean := fileWorld(t, t.TempDir())
	clean.run(t)
	for _, point := range []string{
		"serialize.after-write", "table.before-put", "table.after-put", "table.after-register", "serialize.between-tables",
		"table.before-put:2", "table.after-put:2",
	} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
			cmd.Env = append(os.Environ(), child+"="+folder, "HEADWATER_CRASH="+point)
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Fatalf("it lived: %s", out)
			}
			w := fileWorld(t, folder)
			if left, err := os.ReadDir(w.Temp); err != nil || len(left) > 0 {
				t.Error("files were left behind", left, err)
			}
			w.run(t)
			for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
				if !bytes.Equal(clean.file(t, n), w.file(t, n)) {
					t.Errorf("%s has other bytes than a run without a crash makes", n)
				}
				if ps, err := w.Catalog.Partitions(t.Context(), n); err != nil || len(ps) != 1 {
					t.Error(ps, err)
				}
			}
		})
	}
}

// fileWorld is a world on disk, with two objects of raw data.
func fileWorld(t *testing.T, folder string) *world {
	t.Helper()
	w := newWorld(t)
	open := func(name string) *filestore.Store {
		s, err := filestore.Open(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w.Temp = filepath.Join(folder, "tmp")
	if err := os.MkdirAll(w.Temp, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, tables := open("raw"), open("tables")
	w.Raw, w.Tables, w.Quarantine = raw, tables, lake.Quarantine{Store: raw, Dir: w.Temp}
	catalog, err := dir.Open(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	w.Catalog = catalog
	key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)
	data := zip(t, envelopeOf(`{"a":1,"b":[{"c":"x"}]}`)+"\n"+envelopeOf(`{"a":2}`)+"\nbad\n")
	_, err = raw.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{IfAbsent: true})
	if err != nil && !errors.Is(err, lake.ErrExists) {
		t.Fatal(err)
	}
	return w
}

func BenchmarkTicks(b *testing.B) {
	w := newWorld(b)
	const objects, each = 4, 50_000
	var text int64
	for o := range uint64(objects) {
		lines := ticks(each, o, 16)
		for _, l := range lines {
			text += int64(len(l))
		}
		w.put(b, lines...)
	}
	w.job.Full = true
	b.SetBytes(text)
	start := cpuSeconds()
	for b.Loop() {
		w.runOnce(b)
	}
	b.ReportMetric(float64(b.N*objects*each)/(cpuSeconds()-start), "rows/cpu-s")
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// TestOrder: which object a record is in, and what stands before it, changes neither the schema nor what is quarantined,
// and records that are quarantined leave no trace in the schema.
func TestOrder(t *testing.T) {
	for _, dialect := range []string{DialectHeadwater, DialectSpark} {
		t.Run(dialect, func(t *testing.T) { testOrder(t, dialect) })
	}
}

func testOrder(t *testing.T, dialect string) {
	r := texts{rand.New(rand.NewPCG(7, 7))}
	var good, all []string
	for range 150 {
		good = append(good, envelopeOf(r.object(3)))
		all = append(all, good[len(good)-1])
		switch r.IntN(5) {
		case 0:
			all = append(all, envelopeOf(`{"z":1,"a":{"new":`+r.value(2)+`,"new":1}}`))
		case 1:
			all = append(all, strings.Replace(envelopeOf(r.value(2)), `"h"}`, `"h","malformed":"x","trace":1}`, 1))
		case 2:
			all = append(all, strings.Replace(envelopeOf(`[`+r.value(2)+`]`), "thread_id", "bare_only", 1))
		case 3:
			all = append(all, envelopeOf(`{"y":[1,`+r.value(2)+`],"cut`))
		}
	}
	clean := newWorld(t)
	clean.job.Schema.Dialect = dialect
	clean.put(t, good...)
	clean.run(t)
	want := clean.footer(t, clean.job.Raw).Schema
	for workers := range 4 {
		w := newWorld(t)
		w.Config.Workers, w.job.Schema.Dialect = workers+1, dialect
		lines := all
		for len(lines) > 0 {
			n := min(len(lines), 1+r.IntN(60))
			w.put(t, lines[:n]...)
			lines = lines[n:]
		}
		result := w.run(t)
		if result.Rows != int64(len(good)) || result.Quarantined != int64(len(all)-len(good)) {
			t.Errorf("%d rows and %d quarantined of %d good among %d", result.Rows, result.Quarantined, len(good), len(all))
		}
		if diff := cmp.Diff(want, w.footer(t, w.job.Raw).Schema); diff != "" {
			t.Error(diff)
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
}
