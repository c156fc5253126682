package serialize

import (
	"bytes"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/klauspost/compress/gzip"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
)

const (
	testTopic = "ticks_raw"
	testLog   = "AAAAAAAAAAAAAAAAAAAAAA"
	// noon of the tests' day, 2026-07-05.
	noon = 1783252800000
)

var testDay = table.Day{Year: 2026, Month: 7, Day: 5}

// world is a lake with a Serializer.
type world struct {
	*Serializer
	raw, tables *mem.Store
	job         Job
	next        int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	raw, tables := mem.New(), mem.New()
	catalog, err := dir.Open(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	z := New(Options{
		Config: DefaultConfig(), Raw: raw, Tables: tables, Catalog: catalog,
		Quarantine: lake.Quarantine{Store: raw, Dir: t.TempDir()}, TopicsDir: "topics", Temp: t.TempDir(),
	})
	return &world{Serializer: z, raw: raw, tables: tables, job: Job{
		Source: "ticks", Topic: testTopic, Day: testDay, Schema: DefaultConfig().Schema,
		Raw: table.Name{Database: "market", Table: "ticks_raw"}, Flat: table.Name{Database: "market", Table: "ticks"},
	}}
}

// envelopeOf wraps a JSON text as the collectors do.
func envelopeOf(text string) string {
	return fmt.Sprintf(`{"raw_data":%s,"metadata":{"thread_id":1,"host_name":"h"},"ingestion_timestamp":%d}`, text, noon)
}

// put adds an object with a tail that tells of lines.
func (w *world) put(t testing.TB, lines ...string) string {
	t.Helper()
	n := int64(len(lines))
	key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, w.next)
	tail := lake.Tail{Log: testLog, First: w.next, Next: w.next + n, Count: n}
	w.next += n
	w.putObject(t, key, tail.Append(zip(t, strings.Join(lines, "\n")+"\n")))
	return key
}

func (w *world) putObject(t testing.TB, key string, data []byte) {
	t.Helper()
	if _, err := w.raw.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func zip(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) runOnce(t testing.TB) Result {
	t.Helper()
	r, err := w.Run(t.Context(), w.job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run is one Run, and the same again with other guesses of the schema.
func (w *world) run(t testing.TB) Result {
	t.Helper()
	before := w.others(t)
	r := w.runOnce(t)
	if r.Objects > 0 {
		w.agrees(t, r, before, once, scarce[0], scarce[1])
	}
	return r
}

// others has the schema ledger and the files of other days.
func (w *world) others(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for o, err := range w.Tables.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(o.Key, w.job.Day.Path()+"/") {
			all[o.Key] = bytesOf(t, w.Tables, o.Key)
		}
	}
	return all
}

// bytesOf are an object's.
func bytesOf(t testing.TB, s lake.Store, key string) []byte {
	t.Helper()
	r, _, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (w *world) file(t testing.TB, n table.Name) []byte {
	t.Helper()
	return bytesOf(t, w.Tables, table.PartKey(n, w.job.Day))
}

func (w *world) footer(t testing.TB, n table.Name) table.Footer {
	t.Helper()
	seen, err := table.Look(t.Context(), w.Tables, n, w.job.Day)
	if err != nil || !seen.Exists {
		t.Fatal(seen.Exists, err)
	}
	return seen.Footer
}

// rows reads a table partition back: an object per row, without nulls in structs.
func (w *world) rows(t testing.TB, n table.Name) []any {
	t.Helper()
	return readRows(t, w.file(t, n), w.footer(t, n).Schema)
}

func readRows(t testing.TB, data []byte, typ schema.Type) []any {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := assembler{leaves: make([]leafReader, f.MetaData().Schema.NumColumns())}
	for g := range f.NumRowGroups() {
		for i := range a.leaves {
			r, err := f.RowGroup(g).Column(i)
			if err != nil {
				t.Fatal(err)
			}
			a.leaves[i].read(t, r, f.MetaData().RowGroup(g).NumRows())
		}
	}
	out := []any{}
	for range f.NumRows() {
		a.at = 0
		row := a.fields(typ, 0, 0, true)
		out = append(out, row)
	}
	for i, l := range a.leaves {
		if len(l.def) > 0 || len(l.values) > 0 {
			t.Fatalf("column %d has %d levels and %d values too many", i, len(l.def), len(l.values))
		}
	}
	return out
}

// leafReader has what is left of a leaf's levels and values.
type leafReader struct {
	def, rep []int16
	values   []any
}

func (l *leafReader) read(t testing.TB, r file.ColumnChunkReader, rows int64) {
	t.Helper()
	for r.HasNext() {
		const n = 1000
		def, rep := make([]int16, n), make([]int16, n)
		var levels int64
		var got int
		var err error
		take := func(v any) { l.values = append(l.values, v) }
		switch r := r.(type) {
		case *file.Int64ColumnChunkReader:
			v := make([]int64, n)
			levels, got, err = r.ReadBatch(n, v, def, rep)
			for _, x := range v[:got] {
				take(x)
			}
		case *file.Float64ColumnChunkReader:
			v := make([]float64, n)
			levels, got, err = r.ReadBatch(n, v, def, rep)
			for _, x := range v[:got] {
				take(x)
			}
		case *file.BooleanColumnChunkReader:
			v := make([]bool, n)
			levels, got, err = r.ReadBatch(n, v, def, rep)
			for _, x := range v[:got] {
				take(x)
			}
		case *file.ByteArrayColumnChunkReader:
			v := make([]parquet.ByteArray, n)
			levels, got, err = r.ReadBatch(n, v, def, rep)
			for _, x := range v[:got] {
				take(string(x))
			}
		case *file.FixedLenByteArrayColumnChunkReader:
			v := make([]parquet.FixedLenByteArray, n)
			levels, got, err = r.ReadBatch(n, v, def, rep)
			for _, x := range v[:got] {
				take(decimalText(x))
			}
		default:
			t.Fatalf("no reader for %T", r)
		}
		if err != nil {
			t.Fatal(err)
		}
		l.def = append(l.def, def[:levels]...)
		if r.Descriptor().MaxRepetitionLevel() == 0 {
			clear(rep)
		}
		l.rep = append(l.rep, rep[:levels]...)
	}
	if starts := len(l.rep); int64(starts) < rows {
		t.Fatalf("%d levels for %d rows", starts, rows)
	}
}

// decimalText marks a decimal by an m, so that it is not taken for a string.
func decimalText(b []byte) string {
	n := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(b)*8)))
	}
	return n.String() + "m"
}

// assembler puts records together from levels, by the textbook and not by what the package under test does.
type assembler struct {
	leaves []leafReader
	at     int // the next leaf
}

// value reads the place of type t, whose values have the definition level def, inside rep repeated levels. With there false
// something above is null and each leaf has one entry that says so.
func (a *assembler) value(t schema.Type, def, rep int16, there bool) any {
	first := &a.leaves[a.at]
	switch t.Kind {
	case schema.Struct:
		here := there && first.def[0] >= def
		fields := a.fields(t, def, rep, here)
		if !here {
			return nil
		}
		return fields
	case schema.Map:
		out, from := map[string]any{}, a.at
		if !there || first.def[0] <= def {
			here := there && first.def[0] == def
			a.value(schema.Type{Kind: schema.String}, def+1, rep+1, false)
			a.value(*t.Elem, def+2, rep+1, false)
			if here {
				return out
			}
			return nil
		}
		for {
			a.at = from
			key := a.value(schema.Type{Kind: schema.String}, def+1, rep+1, true)
			out[key.(string)] = a.value(*t.Elem, def+2, rep+1, true)
			if len(first.rep) == 0 || first.rep[0] != rep+1 {
				return out
			}
		}
	case schema.List:
		if !there || first.def[0] <= def {
			here := there && first.def[0] == def
			a.value(*t.Elem, def+2, rep+1, false)
			if here {
				return []any{}
			}
			return nil
		}
		list, from := []any{}, a.at
		for {
			a.at = from
			list = append(list, a.value(*t.Elem, def+2, rep+1, true))
			if len(first.rep) == 0 || first.rep[0] != rep+1 {
				return list
			}
		}
	}
	a.at++
	d := first.def[0]
	first.def, first.rep = first.def[1:], first.rep[1:]
	if d < def {
		return nil
	}
	v := first.values[0]
	first.values = first.values[1:]
	return v
}

func (a *assembler) fields(t schema.Type, def, rep int16, there bool) map[string]any {
	m := map[string]any{}
	for _, f := range t.Fields {
		if v := a.value(f.Type, def+1, rep, there); v != nil {
			m[f.Name] = v
		}
	}
	return m
}
