package interop

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestRows has every reader that can be had read every value of both tables, by days that are hard on readers, and compares them with the documents: decimals, names that are not
// ASCII, lists of structs in each other, maps, empty lists beside nulls and absent ones, pages with a dictionary and without, several row groups, a day of nulls, one without rows, days of one record, columns that
// come late, and such that become long, double and text from day to day.
func TestRows(t *testing.T) {
	fixture.Python(t)
	p := newPipeline(t, casesYAML)
	flatRows, rawRows := makeCases(t, p)
	flat, raw := filepath.Join(p.Dir, "headwater-data/tables/air/cases"), filepath.Join(p.Dir, "headwater-data/tables/air/cases_raw")
	for day := range casesByDay() {
		for _, table := range []string{flat, raw} {
			if _, err := os.Stat(filepath.Join(table, fmt.Sprintf("year=2026/month=7/day=%d/part-00000.snappy.parquet", day))); err != nil {
				t.Error(err)
			}
		}
	}
	for reader, variants := range map[string][]string{
		"pyarrow": {"pyarrow"}, "duckdb": {"duckdb"}, "polars": {"polars"}, "clickhouse": {"clickhouse"}, "spark": {"spark", "spark-rows", "hive"},
	} {
		t.Run(reader, func(t *testing.T) {
			out := t.TempDir()
			var nothing struct{}
			python(t, &nothing, "rows.py", reader, flat, raw, out)
			for _, variant := range variants {
				for table, rows := range map[string][]any{"flat": flatRows, "raw": rawRows} {
					compareReader(t, variant, table, rows, filepath.Join(out, variant+"-"+table))
				}
			}
		})
	}
	t.Run("trino", func(t *testing.T) { // by the pipeline's own metastore
		var proc *binary.Process
		trino := fixture.NewTrino(t, func() string {
			proc = p.Start(t, nil, "run")
			binary.Eventually(t, "a metastore", func() bool { return p.running(t).Hive != "" })
			return p.running(t).Hive
		})
		out := t.TempDir()
		for table, rows := range map[string][]any{"cases": flatRows, "cases_raw": rawRows} {
			trinoRows(t, trino, table, filepath.Join(out, table))
			compareReader(t, "trino", table, rows, filepath.Join(out, table))
		}
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		proc.Wait(t, limit)
	})
}

const casesYAML = "serialize: {row_group_bytes: 1MiB, every: 0s, schedule: \"\"}\nsources: {cases: {file: {path: \"in/*.ndjson\"}}}\n"

// makeCases makes the tables of casesByDay, and says which rows they are to have.
func makeCases(t *testing.T, p pipeline) (flatRows, rawRows []any) {
	t.Helper()
	days := casesByDay()
	for _, day := range slices.Sorted(maps.Keys(days)) { // those after the first have its columns too
		objects := days[day]
		at := day * 1_000_000
		for _, docs := range objects {
			writeCases(t, p, day, at, docs)
			at += len(docs)
		}
		p.headwater(t, "serialize", "--source", "cases", "--date", fmt.Sprintf("2026-07-%02d", day))
	}
	for day := range days { // makes those anew whose columns have got other types
		p.headwater(t, "serialize", "--source", "cases", "--date", fmt.Sprintf("2026-07-%02d", day))
	}
	for day, objects := range days {
		for _, doc := range slices.Concat(objects...) {
			if doc == noItem {
				continue
			}
			f, r := expectedRows(t, day, doc)
			flatRows, rawRows = append(flatRows, f), append(rawRows, r)
		}
	}
	return flatRows, rawRows
}

// TestRowsInABucket is TestRows of tables in a bucket, by the readers' own clients of S3.
func TestRowsInABucket(t *testing.T) {
	t.Parallel()
	fixture.Python(t)
	server := fixture.NewS3(t)
	p := newPipeline(t, casesYAML+fmt.Sprintf("lake: {tables: %q}\n", server.Bucket(t, "open")))
	p.env = fixture.S3Env
	flatRows, rawRows := makeCases(t, p)
	proc := p.Start(t, p.env, "run")
	binary.Eventually(t, "a metastore", func() bool { return p.running(t).Hive != "" })
	settings, err := json.Marshal(map[string]any{
		"endpoint": server.Endpoint, "access_key": "root", "secret_key": "rootsecret123",
		"hadoop": server.S3A(), "jars": fixture.S3A(t), "metastore": "thrift://" + p.running(t).Hive,
	})
	if err != nil {
		t.Fatal(err)
	}
	for reader, at := range map[string]string{"pyarrow": "open/air/", "polars": "open/air/", "spark": "air."} {
		t.Run(reader, func(t *testing.T) {
			out := t.TempDir()
			var nothing struct{}
			python(t, &nothing, "rows.py", reader, at+"cases", at+"cases_raw", out, string(settings))
			for table, rows := range map[string][]any{"flat": flatRows, "raw": rawRows} {
				compareReader(t, reader, table, rows, filepath.Join(out, reader+"-"+table))
			}
		})
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, limit).Must(t)
}

// trinoRows has Trino write every row of a table of the database air as a line of JSON.
func trinoRows(t *testing.T, trino fixture.Trino, table, path string) {
	t.Helper()
	columns, _ := trino.Query(t, "select * from air."+table+" limit 0")
	fields := make([]string, len(columns))
	for i, c := range columns {
		value := fmt.Sprintf("%q", c)
		if c == "_ingested_at" {
			value = "cast(to_unixtime(" + value + ") * 1000000 as bigint)"
		}
		fields[i] = "json_format(cast(" + value + " as json))"
	}
	_, rows := trino.Query(t, "select "+strings.Join(fields, ", ")+" from air."+table)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, row := range rows {
		line := map[string]any{}
		for i, c := range columns {
			text, _ := row[i].(string)
			if text == "" {
				continue // null
			}
			var v any
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%s: %s: %v", c, text, err)
			}
			if v != nil {
				line[c] = withoutNulls(v)
			}
		}
		if err := json.NewEncoder(f).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
}

// noItem is of a record without an item, which has no row.
const noItem = ""

// casesByDay has the documents of each object of each day.
func casesByDay() map[int][][]string {
	tags := []string{`"tags":["a","b"]`, `"tags":[]`, `"tags":null`, `"none":null`, `"tags":["x",null,""]`}
	lines := []string{
		`[{"sku":"s","parts":[{"n":1,"codes":["q","r"]},{"n":null,"codes":[]},null,{"codes":null}]},{"sku":null,"parts":[]}]`,
		`[]`, `null`, `[null]`, `[{}]`, `[{"parts":null},{"parts":[{}]}]`, `[{"sku":"Zo\u00eb \ud83d\ude80"}]`,
	}
	matrix := []string{`[[1,2],[],null,[3]]`, `[]`, `[[]]`, `[[null]]`, `null`}
	// Powers of two are exact in short texts.
	bigs := []string{"12345678901234567890", "-1", "0", strings.Repeat("9", 38), "-" + strings.Repeat("9", 38), "9223372036854775808", "null"}
	by := func(i int) string {
		return [...]string{`{}`, `null`, fmt.Sprintf(`{"%d":{"n":%d},"%d":null,"7":{"codes":["é"]}}`, 1000+i%200, i, 3000+i%50)}[i%3]
	}
	doc := func(i int, more string) string {
		return fmt.Sprintf(`{"id":%d,"Größe":%d.125,"名前":"value %d","uid":"%032x","kind":"%c","big":%s,"ok":%t,"by":%s,"At":{"lat":%d.5,"Lon":null,"In":{"deep":%d}},%s,"lines":%s,"matrix":%s%s}`,
			i, i, i%3, uint64(i)*0x9e3779b97f4a7c15, 'a'+i%4, bigs[i%7], i%2 == 0, by(i), i%90, i, tags[i%5], lines[i%7], matrix[i%5], more)
	}
	var objects [][]string
	for o := range 6 {
		var docs []string
		for i := range 1500 {
			docs = append(docs, doc(o*1500+i, ""))
		}
		objects = append(objects, docs)
	}
	return map[int][][]string{
		5: objects,
		6: {{doc(70_000, `,"late":"x","Später":[{"k":1.5,"l":["m"]}],"At2":{"z":true}`)}},
		7: {{`{"id":null,"kind":null,"tags":null,"At":null,"lines":null}`, `{}`}},
		8: {{noItem}},
		9: {{`{"id":99999,"wide":7,"in":{"w":1}}`}},
		// The same columns get other types, and fields, one day after the other; the days before are made anew.
		10: {{`{"id":100000,"wide":1.5,"in":{"w":"x","more":true}}`}},
		11: {{`{"id":100001,"wide":"text","in":{"w":-2,"more":false,"deep":{"er":[{"n":1}]}}}`}},
		12: {{`{"id":100002,"wide":true,"in":{"deep":{"er":[{"m":"x"}],"est":0.5}}}`}},
	}
}

func caseTime(day int) int64 { return time.Date(2026, 7, day, 12, 0, 0, 0, time.UTC).UnixMilli() }

// writeCases writes an object as another sink would have left it.
func writeCases(t *testing.T, p pipeline, day, offset int, docs []string) {
	t.Helper()
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	for _, doc := range docs {
		item := `"raw_data":` + doc + ","
		if doc == noItem {
			item = ""
		}
		fmt.Fprintf(z, `{%s"metadata":{"host_name":"h"},"ingestion_timestamp":%d}`+"\n", item, caseTime(day))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	p.Write(t, fmt.Sprintf("headwater-data/raw/topics/cases_raw/date=2026-07-%02d/cases_raw+0+%010d.json.gz", day, offset), text.Bytes())
}

// expectedRows are a document's, without what is null in objects.
func expectedRows(t *testing.T, day int, doc string) (flat, raw map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(doc))
	d.UseNumber()
	var item map[string]any
	if err := d.Decode(&item); err != nil {
		t.Fatal(err)
	}
	item = withoutNulls(item).(map[string]any)
	asText(item, "wide")
	if in, ok := item["in"].(map[string]any); ok {
		asText(in, "w")
	}
	number := func(n int64) json.Number { return json.Number(fmt.Sprint(n)) }
	partition := map[string]any{"year": number(2026), "month": number(7), "day": number(int64(day))}
	flat, raw = maps.Clone(partition), partition
	flattenCase(item, "", flat)
	flat["_ingested_at"] = number(caseTime(day) * 1000)
	raw["metadata"], raw["ingestion_timestamp"] = map[string]any{"host_name": "h"}, number(caseTime(day))
	raw["raw_data"] = item
	return flat, raw
}

// asText is what becomes of a value where the column has become one of texts.
func asText(item map[string]any, name string) {
	if v, found := item[name]; found {
		item[name] = fmt.Sprint(v)
	}
}

func flattenCase(item map[string]any, prefix string, out map[string]any) {
	for name, v := range item {
		if inner, ok := v.(map[string]any); ok && prefix+name != "by" { // which is a map
			flattenCase(inner, prefix+name+"_", out)
		} else {
			out[prefix+name] = v
		}
	}
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, v := range v {
			if v != nil {
				out[name] = withoutNulls(v)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, v := range v {
			out[i] = withoutNulls(v)
		}
		return out
	}
	return v
}

// canonical is a text that equal values have in common, whatever the spelling of their numbers.
func canonical(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var fields []string
		for name, v := range v {
			fields = append(fields, fmt.Sprintf("%q:%s", name, canonical(v)))
		}
		slices.Sort(fields)
		return "{" + strings.Join(fields, ",") + "}"
	case []any:
		elems := make([]string, len(v))
		for i, v := range v {
			elems[i] = canonical(v)
		}
		return "[" + strings.Join(elems, ",") + "]"
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			return "no number: " + v.String()
		}
		return r.RatString()
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// views are what readers make of a value, by their nature: both sides are compared as they see it.
var views = map[string]func(any) any{
	"clickhouse": hollow,
	"hive":       lowerCase,
	"trino":      lowerCase,
}

// hollow has no difference between null, an empty list and an empty object: ClickHouse has no lists that are null.
func hollow(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, v := range v {
			if v = hollow(v); v != nil {
				out[name] = v
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case []any:
		out := make([]any, len(v))
		for i, v := range v {
			out[i] = hollow(v)
		}
		if len(out) > 0 {
			return out
		}
		return nil
	}
	return v
}

// lowerCase has the names of Hive.
func lowerCase(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, v := range v {
			out[strings.ToLower(name)] = lowerCase(v)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, v := range v {
			out[i] = lowerCase(v)
		}
		return out
	}
	return v
}

// compareReader compares what a reader has found with what was to be found, in no order.
func compareReader(t *testing.T, reader, table string, rows []any, path string) {
	t.Helper()
	view := canonical
	if as := views[reader]; as != nil {
		view = func(v any) string { return canonical(as(v)) }
	}
	var want []string
	for _, row := range rows {
		want = append(want, view(row))
	}
	slices.Sort(want)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	d := json.NewDecoder(f)
	d.UseNumber()
	for d.More() {
		var row map[string]any
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		got = append(got, view(row))
	}
	slices.Sort(got)
	if len(got) != len(want) {
		t.Errorf("%s finds %d rows of the %s table, want %d", reader, len(got), table, len(want))
	}
	different := 0
	for i := range min(len(got), len(want)) {
		if got[i] == want[i] {
			continue
		}
		if different++; different <= 3 {
			t.Errorf("%s finds in the %s table\n%s, want\n%s", reader, table, got[i], want[i])
		}
	}
	if different > 3 {
		t.Errorf("%s: %d rows of the %s table differ", reader, different, table)
	}
}
