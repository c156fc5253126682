package serialize

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
	"headwater/schema"
	"headwater/serialize/parquet"
)

// expect is what a column of type t must hold of a JSON text, by encoding/json.
func expect(t testing.TB, typ schema.Type, raw json.RawMessage) any {
	t.Helper()
	if raw == nil || string(raw) == "null" {
		return nil
	}
	switch typ.Kind {
	case schema.Undecided:
		if !hollow(t, raw) {
			t.Fatalf("%s has no column", raw)
		}
		return nil
	case schema.Struct:
		var m map[string]json.RawMessage
		decode(t, raw, &m)
		out := map[string]any{}
		for name, value := range m {
			if v := expect(t, fieldType(typ, name), trimmed(value)); v != nil {
				out[name] = v
			}
		}
		return out
	case schema.List:
		var list []json.RawMessage
		decode(t, raw, &list)
		out := []any{}
		for _, value := range list {
			out = append(out, expect(t, *typ.Elem, trimmed(value)))
		}
		return out
	case schema.String:
		if raw[0] == '"' {
			var s string
			decode(t, raw, &s)
			return s
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			t.Fatal(err)
		}
		return b.String()
	case schema.Boolean:
		return string(raw) == "true"
	case schema.Long:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	case schema.Decimal:
		n, ok := new(big.Int).SetString(string(raw), 10)
		if !ok {
			t.Fatal(string(raw))
		}
		return n.String() + "m"
	case schema.Double:
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			t.Fatal(err)
		}
		if n, whole := new(big.Int).SetString(string(raw), 10); whole {
			if exact, _ := new(big.Float).SetFloat64(f).Int(nil); exact.Cmp(n) != 0 {
				t.Fatalf("the integer %s became the double %v", raw, f)
			}
		}
		return f
	}
	t.Fatalf("kind %d", typ.Kind)
	return nil
}

func trimmed(raw json.RawMessage) json.RawMessage { return bytes.TrimSpace(raw) }

func decode(t testing.TB, raw []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
}

// hollow: there is nothing in raw that a column could hold.
func hollow(t testing.TB, raw json.RawMessage) bool {
	t.Helper()
	switch raw[0] {
	case 'n':
		return true
	case '[':
		var list []json.RawMessage
		decode(t, raw, &list)
		for _, v := range list {
			if !hollow(t, trimmed(v)) {
				return false
			}
		}
		return true
	case '{':
		var m map[string]json.RawMessage
		decode(t, raw, &m)
		for _, v := range m {
			if !hollow(t, trimmed(v)) {
				return false
			}
		}
		return true
	}
	return false
}

// texts makes random JSON.
type texts struct{ *rand.Rand }

func (r texts) space() string { return []string{"", "", "", " ", "\t "}[r.IntN(5)] }

func (r texts) value(depth int) string {
	n := r.IntN(10)
	if depth <= 0 {
		n = r.IntN(7)
	}
	switch n {
	case 0:
		return "null"
	case 1:
		return []string{"true", "false"}[r.IntN(2)]
	case 2:
		return strconv.FormatInt(r.Int64N(2000)-1000, 10)
	case 3:
		return []string{
			"9007199254740993", "-9223372036854775808", "18446744073709551616", "1e5", "-0", "0.1", "1E-400", "1e400",
			strings.Repeat("9", 38), "1" + strings.Repeat("0", 38),
		}[r.IntN(10)]
	case 4, 5, 6:
		return r.text()
	case 7, 8:
		return r.object(depth - 1)
	}
	var parts []string
	for range r.IntN(4) {
		parts = append(parts, r.space()+r.value(depth-1)+r.space())
	}
	return "[" + strings.Join(parts, ",") + r.space() + "]"
}

func (r texts) text() string {
	parts := []string{`a`, `b`, ` `, `\n`, `\u00e9`, "\u00e9", `\ud83d\ude00`, `\ud83d`, `\"`, `\\`, `{`, `]`, `\/`, "\u4e16", "\U0001f600"}
	var s strings.Builder
	for range r.IntN(5) {
		s.WriteString(parts[r.IntN(len(parts))])
	}
	return `"` + s.String() + `"`
}

func (r texts) object(depth int) string {
	keys := []string{`"a"`, `"b"`, `"c"`, `"d e"`, `"\u00e9"`, `"f\"g"`}
	var parts []string
	for _, i := range r.Perm(len(keys))[:r.IntN(len(keys))] {
		parts = append(parts, r.space()+keys[i]+r.space()+":"+r.space()+r.value(depth)+r.space())
	}
	return "{" + r.space() + strings.Join(parts, ",") + "}"
}

// TestOracle compares both tables with encoding/json's view of random documents.
func TestOracle(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := texts{rand.New(rand.NewPCG(seed, 1))}
			w := newWorld(t)
			var docs []string
			for range 1 + r.IntN(4) {
				var lines []string
				for range 1 + r.IntN(30) {
					doc := r.object(int(seed % 5))
					docs = append(docs, doc)
					lines = append(lines, envelopeOf(doc))
				}
				w.put(t, lines...)
			}
			w.run(t)
			check(t, w, docs)
		})
	}
}

// check compares the rows with the documents, one for each row.
func check(t testing.TB, w *world, docs []string) {
	t.Helper()
	raw, flat := w.rows(t, w.job.Raw), w.rows(t, w.job.Flat)
	if len(raw) != len(docs) || len(flat) != len(docs) {
		t.Fatalf("%d and %d rows of %d documents", len(raw), len(flat), len(docs))
	}
	typ := fieldType(w.footer(t, w.job.Raw).Schema, "raw_data")
	if typ.Kind == schema.Undecided {
		typ.Kind = schema.Struct
	}
	for i, doc := range docs {
		want := expect(t, typ, json.RawMessage(doc)).(map[string]any)
		got, _ := raw[i].(map[string]any)["raw_data"].(map[string]any)
		if got == nil && len(typ.Fields) == 0 {
			got = map[string]any{} // an undecided raw_data has no column
		}
		if diff := differ(want, got); diff != "" {
			t.Fatalf("raw row %d of %s:\n%s", i, doc, diff)
		}
		flatWant := map[string]any{schema.IngestedAt: int64(noon * 1000)}
		flatten(want, "", flatWant)
		if diff := differ(flatWant, flat[i]); diff != "" {
			t.Fatalf("flat row %d of %s:\n%s", i, doc, diff)
		}
	}
}

// differ is cmp.Diff for values that may be deep: it takes exponential time on nested lists.
func differ(want, got any) string {
	switch {
	case reflect.DeepEqual(want, got):
		return ""
	case len(fmt.Sprint(want)) > 1000:
		return fmt.Sprintf("want %v\ngot  %v", want, got)
	}
	return cmp.Diff(want, got)
}

func flatten(m map[string]any, prefix string, out map[string]any) {
	for name, v := range m {
		if inner, ok := v.(map[string]any); ok {
			flatten(inner, prefix+name+"_", out)
		} else {
			out[prefix+name] = v
		}
	}
}

// FuzzRecord compares with encoding/json which texts are taken in, and, of those that are, what is read from them.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"a":1}`, `{"a":[1,2,{"b":null}]}`, `{"a":"\ud800","b":1e999}`, `[1]`, `"x"`, `{"a":1,"a":2}`, `{"a":01}`, `{"a":1}}`, `{`, `{"a":tru}`,
		"{\"a\":\"\xff\"}", `{"":{"":0}}`, `nul`, `-`, `{"a":-}`, `{"a":1.}`, `{"a" :1 , "b":[ ]}`, `{"a":"\u12"}`, "\ufeff{}", `{"a":"\`, `[[[[]]]]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if bytes.ContainsAny(doc, "\r\n") || !utf8.Valid(doc) {
			return
		}
		in := newInferrer(reading{}, noon, noon+1, 1<<20)
		line := []byte(envelopeOf(string(doc)))
		of, reason := in.record(line)
		switch reason {
		case envelope.DuplicateKey, reasonEnvelope, reasonTimestamp, reasonDay, reasonMalformed:
			return // doc has them itself, or is two values with a comma between
		}
		if valid := json.Valid(line); valid != (reason == "") {
			t.Fatalf("%q: valid %v, reason %q", doc, valid, reason)
		}
		if reason != "" || of != classObject || !json.Valid(doc) {
			return
		}
		found := scanned{evidence: in.evidence()}
		whole := layout{record: found.evidenceOfRows().Resolve(), rows: found.rowsOf()}
		typ := fieldType(whole.record, "raw_data")
		if typ.Kind == schema.Undecided {
			return
		}
		cut := newInferrer(reading{}, noon, noon+1, 1<<20)
		cut.cutInto(whole)
		w, leaves := cut.cut, cut.cut.leaves
		w.out = &batch{leaves: make([]leaf, len(leaves))}
		if _, reason := cut.record(line); reason != "" || cut.misfit {
			t.Fatal(reason, cut.misfit)
		}
		if depthOf(typ) > 8 || bytes.Contains(doc, []byte(`\u`)) {
			return // encoding/json folds escaped keys that differ only in half characters
		}
		w.finish()
		a := assembler{}
		for i := range w.out.leaves {
			a.leaves = append(a.leaves, w.out.leaves[i].reader(leaves[i]))
		}
		got := a.fields(whole.record, 0, 0, true)["raw_data"]
		if diff := differ(expect(t, typ, json.RawMessage(bytes.TrimSpace(doc))), got); diff != "" {
			t.Fatalf("%s: %s", doc, diff)
		}
	})
}

func depthOf(t schema.Type) int {
	switch t.Kind {
	case schema.List:
		return 1 + depthOf(*t.Elem)
	case schema.Struct:
		deepest := 0
		for _, f := range t.Fields {
			deepest = max(deepest, depthOf(f.Type))
		}
		return 1 + deepest
	}
	return 0
}

// reader gives a batch's leaf to the assembler without a file between.
func (l *leaf) reader(info leafInfo) leafReader {
	var r leafReader
	for _, run := range l.Def {
		r.def = append(r.def, slices.Repeat([]int16{int16(run.Level)}, int(run.Count))...)
	}
	r.rep = make([]int16, len(r.def))
	for i, rep := range l.Rep {
		r.rep[i] = int16(rep)
	}
	for _, v := range l.Longs {
		r.values = append(r.values, v)
	}
	for _, v := range l.Doubles {
		r.values = append(r.values, v)
	}
	for _, v := range l.Bools {
		r.values = append(r.values, v)
	}
	for data := l.Data; len(data) > 0; {
		if info.kind == schema.Decimal {
			r.values = append(r.values, decimalText(data[:parquet.DecimalWidth]))
			data = data[parquet.DecimalWidth:]
			continue
		}
		n := 4 + binary.LittleEndian.Uint32(data)
		r.values = append(r.values, string(data[4:n]))
		data = data[n:]
	}
	return r
}
