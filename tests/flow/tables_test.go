package flow

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/table"
	"headwater/table/hive"
	"headwater/table/metastore"
	"headwater/tests/binary"
)

// tabled is a pipeline of two days whose tables are in a metastore that the test can change.
type tabled struct {
	binary.Pipeline
	t    *testing.T
	raw  string
	hive *hive.Catalog
}

func newTabled(t *testing.T) tabled {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "hive.db"), Addr: "127.0.0.1:0", Warehouse: "file:///srv"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`database: db
lake: {raw: raw, tables: tables}
sources:
  orders: {external: {topic: orders_raw, timestamp: ms}}
serialize: {publish: swap, schedule: ""}
hive: {uris: ["thrift://%s"]}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, m.Addr()))
	o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + filepath.Join(p.Dir, "tables")}
	o.Config.URIs = []string{"thrift://" + m.Addr()}
	c, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	w := tabled{Pipeline: p, t: t, raw: filepath.Join(p.Dir, "raw"), hive: c}
	for day := 4; day <= 5; day++ {
		rawObject(t, w.raw, day, `{"n":1,"a":{"b":"x"}}`, `{"n":2}`)
		w.serialize(day)
	}
	return w
}

func (w tabled) serialize(day int, args ...string) string {
	w.t.Helper()
	return w.Run(w.t, nil, "serialize", append([]string{"--source", "orders", "--date", fmt.Sprintf("2026-07-%02d", day)}, args...)...).Must(w.t)
}

// more adds an object of the day.
func (w tabled) more(day int, docs ...string) {
	w.t.Helper()
	at := filepath.Join(w.raw, fmt.Sprintf("topics/orders_raw/date=2026-07-%02d/orders_raw+0+%010d.json.gz", day, day*1000))
	other := strings.Replace(at, "orders_raw+0", "orders_raw+1", 1)
	if _, err := os.Stat(other); err == nil {
		w.t.Fatal("there is one already")
	}
	if err := os.Rename(at, other); err != nil {
		w.t.Fatal(err)
	}
	rawObject(w.t, w.raw, day, docs...)
}

// says runs a command on the tables and checks its code, and that its output has the words, whatever is between two of them.
func (w tabled) says(code int, words []string, command string, args ...string) string {
	w.t.Helper()
	r := w.Run(w.t, nil, command, args...)
	said := strings.Join(strings.Fields(r.Stdout+r.Stderr), " ")
	if r.Code != code {
		w.t.Errorf("%s %v ended with %d, want %d: %s", command, args, r.Code, code, said)
	}
	for _, word := range words {
		if !strings.Contains(said, word) {
			w.t.Errorf("%s %v does not say %q: %s", command, args, word, said)
		}
	}
	return said
}

func (w tabled) wantRows(day, want int) {
	w.t.Helper()
	out := w.Run(w.t, nil, "query", "--format", "csv", fmt.Sprintf("select count(*) from db.orders where day = %d", day)).Must(w.t)
	if got := strings.Fields(out)[1]; got != fmt.Sprint(want) {
		w.t.Errorf("day %d has %s rows, want %d", day, got, want)
	}
	ps, err := w.hive.Partitions(w.t.Context(), table.Name{Database: "db", Table: "orders"})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range ps {
		if p.Day.Day == day && p.Rows != int64(want) {
			w.t.Errorf("registered are %d rows of day %d, want %d", p.Rows, day, want)
		}
	}
}

// TestDaysTable: what became of each day can be asked for as everything else.
func TestDaysTable(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `database: db
lake: {raw: raw, tables: tables}
sources:
  orders: {external: {topic: orders_raw, timestamp: ms}}
serialize: {publish: swap, days_table: headwater_days}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`)
	w := tabled{Pipeline: p, t: t, raw: filepath.Join(p.Dir, "raw")}
	days := func(want ...string) {
		t.Helper()
		out := w.Run(t, nil, "query", "--format", "csv", `select day, "table", state, rows, quarantined, year(published_at)>2025 as published, schema_version, reason<>'' as failed from db.headwater_days order by all`).Must(t)
		got := strings.Fields(out)[1:]
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("days are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	rawObject(t, w.raw, 5, `{"n":1}`, `{"n":2}`, `not JSON`)
	w.serialize(5)
	days("5,db.orders,whole,2,1,true,1,false", "5,db.orders_raw,whole,2,1,true,1,false")
	rawObject(t, w.raw, 6, `{"n":1}`)
	w.serialize(6)
	w.more(5, `{"n":3}`)
	w.serialize(5)
	w.says(0, nil, "tables rollback", "orders", "--day", "2026-07-05")
	days("5,db.orders,undone,2,1,true,1,false", "5,db.orders_raw,whole,3,1,true,1,false", "6,db.orders,whole,1,0,true,1,false", "6,db.orders_raw,whole,1,0,true,1,false")
	damaged := filepath.Join(w.raw, "topics/orders_raw/date=2026-07-06/orders_raw+0+0000006000.json.gz")
	if err := os.Truncate(damaged, 20); err != nil {
		t.Fatal(err)
	}
	w.says(3, nil, "serialize", "--source", "orders", "--date", "2026-07-06")
	days("5,db.orders,undone,2,1,true,1,false", "5,db.orders_raw,whole,3,1,true,1,false", "6,db.orders,failed,1,0,true,1,true", "6,db.orders_raw,failed,1,0,true,1,true")
	w.says(0, []string{"db.headwater_days: 2 days, 4 rows"}, "tables audit")
	rawObject(t, w.raw, 6, `{"n":1}`, `{"n":2}`)
	w.serialize(6)
	days("5,db.orders,undone,2,1,true,1,false", "5,db.orders_raw,whole,3,1,true,1,false", "6,db.orders,whole,2,0,true,1,false", "6,db.orders_raw,whole,2,0,true,1,false")
	p.Write(t, "pipeline.yaml", []byte("sources:\n  orders: {external: {topic: orders_raw, timestamp: ms}}\nserialize: {days_table: orders}\n"))
	if r := p.Run(t, nil, "check"); r.Code != 2 || !strings.Contains(r.Stdout+r.Stderr, "serialize.days_table") {
		t.Errorf("a name that is taken: %d, %s", r.Code, r.Stdout+r.Stderr)
	}
}

// TestTables looks after tables, without a running process and with one.
func TestTables(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprint("running ", running), func(t *testing.T) {
			t.Parallel()
			w := newTabled(t)
			if running {
				run := w.Start(t, nil, "run")
				binary.Eventually(t, "an answer", func() bool { return strings.Contains(run.Stderr(), "answering HTTP") })
			}
			w.shown()
			w.audited()
			w.rolledBack()
			w.dropped()
		})
	}
}

func (w tabled) shown() {
	w.t.Helper()
	w.says(0, []string{"db.orders 2 2026-07-05 4 3", "db.orders_raw 2 2026-07-05 4 3"}, "tables ls")
	w.says(0, []string{`{"name":"db.orders","days":2,"last_day":"2026-07-05","rows":4,`}, "tables ls", "--json")
	w.says(0, []string{"db.orders, 3 columns besides year, month and day, 2 days", "a_b string", "n bigint", "2026-07-04 2 0 1 1", "whole v1 native db/orders/_runs/2026-07-04-r000001-"}, "tables show", "orders")
	w.says(0, []string{`"state":"whole"`, `{"name":"n","type":"bigint"}`}, "tables show", "db.orders", "--json")
	w.says(2, []string{"there is no table db.nothing"}, "tables show", "nothing")
	w.says(2, []string{"TABLE must be as"}, "tables show", "db/orders")
	w.says(2, []string{"TABLE is missing"}, "tables show")
}

func (w tabled) audited() {
	w.t.Helper()
	clean := w.says(0, []string{"db.orders: 2 days, 4 rows", "db.orders_raw: 2 days"}, "tables audit")
	if strings.Contains(clean, "2026-07") {
		w.t.Errorf("a clean audit says %s", clean)
	}
	orders := table.Name{Database: "db", Table: "orders"}
	if err := w.hive.DropPartitions(w.t.Context(), orders, []table.Day{{Year: 2026, Month: 7, Day: 4}}); err != nil {
		w.t.Fatal(err)
	}
	if err := w.hive.Drop(w.t.Context(), table.Name{Database: "db", Table: "orders_raw"}); err != nil {
		w.t.Fatal(err)
	}
	ps, err := w.hive.Partitions(w.t.Context(), orders)
	if err != nil || len(ps) != 1 {
		w.t.Fatal(ps, err)
	}
	gone := ps[0]
	gone.Day.Day = 9
	if err := w.hive.SetPartitions(w.t.Context(), orders, []table.Partition{gone}); err != nil {
		w.t.Fatal(err)
	}
	findings := []string{"2026-07-04 unregistered: db/orders/_runs/2026-07-04-r000001-", "2026-07-09 gone: it is registered at db/orders/_runs/2026-07-05-r000001-"}
	w.says(3, findings, "tables audit", "orders")
	w.says(3, append(findings, "2026-07-04 unregistered: db/orders_raw/", "2026-07-05 unregistered: db/orders_raw/"), "tables audit")
	w.says(3, []string{`{"kind":"gone","day":"2026-07-09",`}, "tables audit", "--json")
	w.says(0, append(findings, "(mended)"), "tables repair")
	w.says(0, nil, "tables audit")
	w.says(2, []string{"there is no table db.nothing"}, "tables audit", "nothing")
}

func (w tabled) rolledBack() {
	w.t.Helper()
	w.says(3, []string{"there is no older version of the day"}, "tables rollback", "orders", "--day", "2026-07-05")
	w.more(5, `{"n":3}`)
	w.serialize(5)
	w.wantRows(5, 3)
	w.says(0, []string{"2026-07-05 retired: 2 objects"}, "tables audit", "orders")
	w.says(0, []string{"db.orders 2026-07-05: read are 2 rows again"}, "tables rollback", "orders", "--day", "2026-07-05")
	w.wantRows(5, 2)
	w.says(0, []string{"2026-07-05 2 0 1 1", "undone"}, "tables show", "orders")
	if out := w.serialize(5); !strings.Contains(out, "unchanged") {
		w.t.Errorf("after the roll-back: %s", out)
	}
	w.wantRows(5, 2)
	w.says(0, nil, "tables audit")
	w.serialize(5, "--full")
	w.wantRows(5, 3)
	w.says(2, []string{"--day is needed"}, "tables rollback", "orders")
	w.says(3, []string{"there is no older version"}, "tables rollback", "orders", "--day", "2026-07-09")
}

func (w tabled) dropped() {
	w.t.Helper()
	w.says(2, []string{"add --yes"}, "tables drop", "orders")
	w.wantRows(5, 3)
	w.says(0, []string{"db.orders is dropped, with"}, "tables drop", "orders", "--yes", "--schema")
	if said := w.says(0, []string{"db.orders_raw 2"}, "tables ls"); strings.Contains(said, "db.orders 2") {
		w.t.Errorf("it is still there: %s", said)
	}
	if left, _ := filepath.Glob(filepath.Join(w.Dir, "tables/db/orders/*/*/*.parquet")); len(left) > 0 {
		w.t.Errorf("left are %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(w.Dir, "tables/_headwater/schema/db.orders/*.json")); len(left) > 0 {
		w.t.Errorf("left are %v", left)
	}
	w.serialize(5)
	w.wantRows(5, 3)
	files, err := filepath.Glob(filepath.Join(w.Dir, "tables/db/orders/_runs/2026-07-05-r*/*.parquet"))
	if err != nil || len(files) == 0 {
		w.t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		w.t.Fatal(err)
	}
	w.says(3, []string{"2026-07-05 unreadable: ", "has 100 bytes"}, "tables audit", "orders")
}
