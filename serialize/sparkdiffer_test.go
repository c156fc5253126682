package serialize

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
	"headwater/schema"
)

// TestSparkDifferences: where Spark fails as a whole, or loses records, the dialect goes on by docs/spark-dialect.md.
func TestSparkDifferences(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 60) + `1` + strings.Repeat(`}`, 60)
	for name, test := range map[string]struct {
		lines   []string // as in testdata
		flat    string   // columns
		rows    string
		reasons map[string]int64
	}{
		"case": {
			[]string{`={"a":1,"A":"x"}`, `={"o":{"k":1},"o_k":2}`},
			"A string, a_2 bigint, o_k bigint, o_k_2 bigint",
			"[map[A:x a_2:1] map[o_k:1 o_k_2:2]]", nil,
		},
		"a key twice":    {[]string{`={"a":1}`, `={"a":1,"a":""}`}, "a bigint", "[map[a:1]]", map[string]int64{"duplicate-key": 1}},
		"no column":      {[]string{`={}`, `={"a":{}}`, `={"b":[{}]}`}, "_ingested_at timestamp", "[map[_ingested_at:1783252800000000] map[_ingested_at:1783252800000000] map[_ingested_at:1783252800000000]]", nil},
		"no object":      {[]string{`=1`, `=null`, `=""`}, "value bigint", "[map[value:1] map[] map[]]", nil},
		"nothing":        {[]string{`=null`, `=""`}, "value string", "[map[] map[value:]]", nil},
		"some no object": {[]string{`={"a":1}`, `=7`, `=""`, `="x"`, `=[{"a":1}]`}, "a bigint", "[map[a:1] map[]]", map[string]int64{"kind": 3}},
		"table partition": {
			[]string{`={"year":1,"Month":2,"_ingested_at":3}`}, "Month_2 bigint, _ingested_at bigint, year_2 bigint", "[map[Month_2:2 _ingested_at:3 year_2:1]]", nil,
		},
		"names":         {[]string{"={\"a:b\":1,\"c\\u0001\":2,\"d.e\":3}"}, "a_b bigint, c_ bigint, d.e bigint", "[map[a_b:1 c_:2 d.e:3]]", nil},
		"text after it": {[]string{`={"a":1}`, envelopeOf(`{"a":"x"}`) + ` {"a":2}`}, "a bigint", "[map[a:1]]", map[string]int64{envelope.TextAfterValue: 1}},
		"unfit digits":  {[]string{`={"a":18446744073709551616}`, `{"raw_data":{"a":123456789012345678901234567890},"cut`}, "a decimal(20,0)", "[map[a:18446744073709551616m]]", map[string]int64{envelope.UnexpectedEnd: 1}},
		"deep":          {[]string{`={"d":` + deep + `}`}, "", "", nil},
		"long number":   {[]string{`={"n":` + strings.Repeat("9", 2000) + `}`}, "n double", "[map[n:+Inf]]", nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.job.Schema.Dialect = DialectSpark
			var lines []string
			for _, l := range test.lines {
				if text, bare := strings.CutPrefix(l, "="); bare {
					l = envelopeOf(text)
				}
				lines = append(lines, l)
			}
			w.put(t, lines...)
			r := w.run(t)
			var columns []string
			for _, f := range w.footer(t, w.job.Flat).Schema.Fields {
				columns = append(columns, fmt.Sprintf("%s %v", f.Name, f.Type))
			}
			flat, rows := strings.Join(columns, ", "), fmt.Sprint(w.rows(t, w.job.Flat))
			if name == "deep" {
				// The envelope is a level, raw_data and d are two more.
				if !strings.HasSuffix(flat, "_a string") || !strings.Contains(rows, strings.Repeat(`{"a":`, 12)+"1}") {
					t.Errorf("got %s and %s", flat, rows)
				}
				return
			}
			if flat != test.flat || rows != test.rows {
				t.Errorf("got %s and\n%s, want %s and\n%s", flat, rows, test.flat, test.rows)
			}
			if len(test.reasons)+len(r.Reasons) > 0 {
				if diff := cmp.Diff(test.reasons, r.Reasons); diff != "" {
					t.Error(diff)
				}
			}
			if got := w.footer(t, w.job.Raw).Settings["dialect"]; got != "spark" {
				t.Errorf("the footer tells of dialect %q", got)
			}
		})
	}
}

// TestDialectChanges: tables of another dialect are made anew, and back.
func TestDialectChanges(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"n":18446744073709551616,"u":null}`))
	w.run(t)
	before := w.file(t, w.job.Flat)
	w.job.Schema.Dialect = DialectSpark
	if stale, err := w.Stale(t.Context(), w.job); !stale || err != nil {
		t.Fatal(stale, err)
	}
	w.run(t)
	if got := w.footer(t, w.job.Flat).Schema.String(); got != "struct<n:decimal(20,0),u:string>" {
		t.Errorf("the table is %s", got)
	}
	if r := w.run(t); !r.NoOp {
		t.Error("the same again is not nothing")
	}
	w.job.Schema.Dialect = DialectHeadwater
	w.run(t)
	if string(w.file(t, w.job.Flat)) != string(before) {
		t.Error("the table that came back has other bytes")
	}
}

// TestSparkOfOthers: what is declared of a topic is heeded, and its time, converted, is no column of the flat table.
func TestSparkOfOthers(t *testing.T) {
	w := newWorld(t)
	w.job.Schema.Dialect = DialectSpark
	w.job.Shape = envelope.Shape{Unit: envelope.Unit("iso"), InString: true}
	w.put(t, `{"raw_data":"{\"a\":[1,\"\"],\"n\":0.5}","ingestion_timestamp":"2026-07-05T12:00:00Z"}`, `{"raw_data":"{\"a\":[2],\"n\":1}","ingestion_timestamp":"2026-07-05T12:00:01Z"}`)
	r := w.run(t)
	if r.Rows != 2 {
		t.Fatalf("%d rows, %v", r.Rows, r.Reasons)
	}
	want := schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "a", Type: schema.Type{Kind: schema.List, Elem: &schema.Type{Kind: schema.Long}}}, {Name: "n", Type: schema.Type{Kind: schema.Double}}}}
	if diff := cmp.Diff(want, w.footer(t, w.job.Flat).Schema); diff != "" {
		t.Error(diff)
	}
	if got := fmt.Sprint(w.rows(t, w.job.Flat)); got != "[map[n:0.5] map[a:[2] n:1]]" {
		t.Error(got)
	}
}

// FuzzSpark: what the first pass of the dialect takes in fits the columns that it finds, and is one row of them.
func FuzzSpark(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,"",[2]]}`, `{'a':'x\'"'}`, `{"a":NaN,"b":-INF}`, `{"a":[{"b":""},""]}`, `{"a":[[1],[""]]}`, `{"a":{"b":[]},"c":[{}]}`, `{"":1,"a":{"":2}}`, `{"a":18446744073709551616}`,
		`{"a":"\ud800"}`, `""`, `''`, `[""]`, `[['']]`, `{"a":-0}`, `{"a":1e999}`, `{"a":'`, `{'a`, `{"a":-I}`, `+`, `{"a":[{"b":[[{"c":[""]}]]}]}`,
	} {
		f.Add([]byte(s), []byte(`{"a":1}`))
		f.Add([]byte(s), []byte(`{"a":["x",1.5]}`))
	}
	f.Fuzz(func(t *testing.T, doc, other []byte) {
		how := reading{spark: true}
		in := newInferrer(how, noon, noon+1, 1<<20)
		s := &scanned{}
		var fit [][]byte
		for _, d := range [][]byte{doc, other} {
			line := []byte(envelopeOf(string(d)))
			if of, reason := in.record(line); reason == "" && (of != classBare) {
				fit = append(fit, line)
			}
		}
		s.evidence = in.evidence()
		record := s.evidenceOfRows().ResolveSpark()
		w := newInferrer(how, noon, noon+1, 1<<20)
		w.cutInto(layout{record: record, rows: classObject})
		w.cut.out = &batch{leaves: make([]leaf, len(w.cut.leaves))}
		for _, line := range fit {
			if _, reason := w.record(line); reason != "" || w.misfit {
				t.Fatalf("%q of %v: %q", line, record, reason)
			}
		}
		a := assembler{}
		w.cut.finish()
		for i := range w.cut.out.leaves {
			a.leaves = append(a.leaves, w.cut.out.leaves[i].reader(w.cut.leaves[i]))
		}
		for range fit {
			a.at = 0
			a.fields(record, 0, 0, true)
		}
		for i, l := range a.leaves {
			if len(l.def) > 0 || len(l.values) > 0 {
				t.Fatalf("leaf %d of %v has %d levels and %d values too many", i, record, len(l.def), len(l.values))
			}
		}
	})
}
