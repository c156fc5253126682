package flow

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/tests/binary"
)

// rawObject is an object of a day of July 2026 in a folder of raw objects, as the real connector would have written it.
func rawObject(t *testing.T, raw string, day int, docs ...string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	at := time.Date(2026, 7, day, 12, 0, 0, 0, time.UTC).UnixMilli()
	for _, doc := range docs {
		fmt.Fprintf(z, `{"raw_data":%s,"metadata":{"thread_id":1},"ingestion_timestamp":%d}`+"\n", doc, at)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(raw, fmt.Sprintf("topics/orders_raw/date=2026-07-%02d/orders_raw+0+%010d.json.gz", day, day*1000))
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestSchemaCommands: what is known of the columns is shown and changed.
func TestSchemaCommands(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), "database: db\nlake: {raw: raw, tables: tables}\nsources:\n  orders: {external: {topic: orders_raw, timestamp: ms}, schema: {max_rewrite: 1}}\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\n")
	raw := filepath.Join(p.Dir, "raw")
	run := func(command string, args ...string) string {
		t.Helper()
		return p.Run(t, nil, command, args...).Must(t)
	}
	has := func(text string, wanted ...string) {
		t.Helper()
		text = strings.Join(strings.Fields(text), " ")
		for _, w := range wanted {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in %s", w, text)
			}
		}
	}
	if r := p.Run(t, nil, "schema show", "orders"); r.Code != 2 || !strings.Contains(r.Stderr, "no schema yet") {
		t.Errorf("before any day: %d, %s", r.Code, r.Stderr)
	}
	var docs []string
	for i := range 12 {
		docs = append(docs, fmt.Sprintf(`{"price":%d,"at":"2026-07-05T10:00:%02dZ","items":[{"sku":"%d"}],"Price":true}`, i, i, i))
	}
	for day := 1; day <= 3; day++ {
		rawObject(t, raw, day, docs...)
		run("serialize", "--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", day))
	}
	has(run("schema show", "orders"), "db.orders, version 1 of", "by serialize 2026-07-01", "Price boolean v1", "price_2 bigint v1", "items array<struct<sku:string>> v1")
	has(run("schema diff", "orders"), "version 0 to 1", "+ price_2 bigint")

	rawObject(t, raw, 4, `{"price":"n/a","new":1.5}`, `{"price":7}`)
	run("serialize", "--source", "orders", "--date", "2026-07-04")
	has(run("schema show", "orders"), "version 2", "price_2 bigint v1 waits for approval: string", "new double v2", "_rescued string", "schema approve FILE orders")
	has(run("schema show", "orders", "--version", "1"), "version 1", "price_2 bigint v1 _ingested_at") // no note
	has(run("schema diff", "orders"), "version 1 to 2", "+ new double", "~ price_2 bigint -> bigint waits for approval: string")
	has(run("schema explain", "orders", "price"), "price of db.orders: bigint", "waits for approval: string", "int v1 2026-07-01 topics/orders_raw/date=2026-07-01/orders_raw+0+0000001000.json.gz 1 unknown 1 7",
		`string v2 2026-07-04 topics/orders_raw/date=2026-07-04/orders_raw+0+0000004000.json.gz 1 unknown 1 "n/a"`)
	has(run("schema explain", "orders", "items[].sku", "--date", "2026-07-02"), `string v1 2026-07-01`, `12 "0" "1" "2"`)
	var explained struct {
		Type   string
		Counts map[string]int
	}
	if err := json.Unmarshal([]byte(run("schema explain", "orders", "price_2", "--json")), &explained); err != nil || explained.Type != "bigint" || explained.Counts["string"] != 1 {
		t.Errorf("%+v, %v", explained, err)
	}
	rows := run("query", `select price_2, _rescued from orders where day = 4 order by price_2 nulls first`, "--format", "csv")
	has(rows, `,"{""/raw_data/price"":""n/a""}"`, "7,")
	has(run("schema suggest", "orders", "--date", "2026-07-03"), `"at": timestamp(iso) # all of 12 values`, `"items[].sku": long # all of 12 values`)

	has(run("schema approve", "orders", "price"), "version 3", "4 days have columns of other types and are rewritten by the next run: 2026-07-01 2026-07-02 2026-07-03 2026-07-04")
	for day := 1; day <= 4; day++ {
		run("serialize", "--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", day))
	}
	has(run("query", `select typeof(price_2) as t, count(*) as n from orders group by all`, "--format", "csv"), "VARCHAR,38")
	has(run("schema pin", "orders", "at", "timestamp(iso)"), "version 4", "4 days")
	has(run("schema show", "orders"), "at timestamp v1 pinned: timestamp(iso)")
	has(run("schema revert", "orders", "--to", "1", "--quarantine-offending"), "version 5")
	for day := 1; day <= 4; day++ {
		run("serialize", "--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", day))
	}
	has(run("schema show", "orders"), "price_2 bigint v1 refused: string", "at string v1")
	has(run("query", `select typeof(price_2) as t, count(*) as n from orders group by all`, "--format", "csv"), "BIGINT,37")
	has(run("quarantine ls", "--reason", "schema"), "orders 2026-07-04 serialize schema 1")
	has(run("quarantine replay", "--reason", "schema"), "orders 2026-07-04: 1 records were in quarantine, 1 are; 1 rows")
	run("schema pin", "orders", "price", "string")
	run("schema approve", "orders", "new") // the record has that too, and the older version has not
	has(run("quarantine replay"), "orders 2026-07-04: 1 records were in quarantine, 0 are; 2 rows")
	has(run("quarantine replay", "--date", "2026-07-04"), "Nothing of these")

	for args, want := range map[string]string{
		"show nobody": "nobody", "explain orders nothing": "knows no such field", "pin orders price int": "timestamp(iso)", "pin orders nothing long": "knows no such field",
		"approve orders": "waits", "revert orders --to 9": "before the last", "show orders --version 9": "no such version", "explain orders price --date x": "2026-07-05",
	} {
		words := strings.Fields(args)
		if r := p.Run(t, nil, "schema "+words[0], words[1:]...); r.Code != 2 || !strings.Contains(r.Stderr, want) {
			t.Errorf("schema %s: %d, %s", args, r.Code, r.Stderr)
		}
	}
}

// TestSchemaRace: eight processes that make days of one source at once end in one history, and the types are those of all days.
func TestSchemaRace(t *testing.T) {
	t.Parallel()
	const days = 8
	shared := t.TempDir()
	raw := filepath.Join(shared, "raw")
	values := []string{"1", "1.5", `null`, "2", `[1]`, `[1.5]`, "true", "3"}
	for day := 1; day <= days; day++ {
		rawObject(t, raw, day, fmt.Sprintf(`{"a":%s,"d%d":%s,"same":{"k%d":1}}`, values[day%4], day, values[day-1], day))
	}
	bin := binary.Build(t)
	yaml := fmt.Sprintf("database: db\nlake: {raw: %q, tables: %q}\nsources:\n  orders: {external: {topic: orders_raw, timestamp: ms}}\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\n", raw, filepath.Join(shared, "tables"))
	var processes [days]binary.Pipeline
	for i := range processes {
		processes[i] = binary.New(t, bin, yaml)
	}
	for range 2 { // what has become stale by others is made again
		var running sync.WaitGroup
		for i, p := range processes {
			running.Go(func() {
				if r := p.Run(t, nil, "serialize", "--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", i+1)); r.Code != 0 {
					t.Errorf("day %d: %d, %s", i+1, r.Code, r.Stderr)
				}
			})
		}
		running.Wait()
	}
	p := processes[0]
	show := strings.Join(strings.Fields(p.Run(t, nil, "schema show", "orders").Must(t)), " ")
	for _, want := range []string{" a double ", " d1 bigint ", " d2 double ", " d5 array<bigint> ", " d7 boolean ", " same_k8 bigint "} {
		if !strings.Contains(show, want) {
			t.Errorf("no %q in %s", want, show)
		}
	}
	files, err := filepath.Glob(filepath.Join(shared, "tables/_headwater/schema/db.orders/v*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if want := fmt.Sprintf("v%06d.json", i+1); filepath.Base(f) != want {
			t.Errorf("version %d is %s", i+1, f)
		}
	}
	if got := p.Run(t, nil, "query", "select typeof(a) as t, count(*) as n from orders group by all", "--format", "csv").Must(t); !strings.Contains(got, "DOUBLE,8") {
		t.Errorf("the table has %s", got)
	}
	for day := 1; day <= days; day++ {
		if got := p.Run(t, nil, "serialize", "--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", day)).Must(t); !strings.Contains(got, "unchanged") {
			t.Errorf("after all were made: %s", got)
		}
	}
}

// TestExpiredDayIsCast: a run finds the days whose objects are no more by itself, and gives their columns the types of today.
func TestExpiredDayIsCast(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), "database: db\nlake: {raw: raw, tables: tables}\nsources:\n  orders: {file: {path: \"in/*.ndjson\"}}\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\n")
	raw := filepath.Join(p.Dir, "raw")
	rawObject(t, raw, 1, `{"a":1,"b":"x"}`, `{"a":2}`)
	p.Run(t, nil, "serialize", "--source", "orders", "--date", "2026-07-01").Must(t)
	if err := os.RemoveAll(filepath.Join(raw, "topics/orders_raw/date=2026-07-01")); err != nil {
		t.Fatal(err)
	}
	rawObject(t, raw, 2, `{"a":0.5}`)
	p.Write(t, "in/a.ndjson", []byte("{\"a\":7}\n"))
	p.Run(t, nil, "run", "--once") // nothing lands, because the objects are the connector's; the tables are made
	if got := p.Run(t, nil, "query", "select typeof(a) as t, day, count(*) as n, sum(a) as s, max(b) as b from orders group by all order by day", "--format", "csv").Must(t); !strings.Contains(got, "DOUBLE,1,2,3.0,x") || !strings.Contains(got, "DOUBLE,2,1,0.5,") {
		t.Errorf("the table has %s", got)
	}
	files, err := filepath.Glob(filepath.Join(p.Dir, "tables/db/orders/year=2026/month=7/day=1/*.parquet"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil || !bytes.Contains(data, []byte(`"schema_version":2`)) {
		t.Errorf("the day's file is of another version of the schema; %v", err)
	}
}
