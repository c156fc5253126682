//go:build !noduckdb

package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/schema"
	"headwater/table"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "query-worker" {
		if Worker(context.Background(), os.Stdin, os.Stdout, os.Stderr) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var (
	long      = schema.Type{Kind: schema.Long}
	double    = schema.Type{Kind: schema.Double}
	decimal   = schema.Type{Kind: schema.Decimal}
	str       = schema.Type{Kind: schema.String}
	timestamp = schema.Type{Kind: schema.Timestamp}
	orders    = table.Name{Database: "shop", Table: "orders"}
)

func object(nameAndType ...any) schema.Type {
	t := schema.Type{Kind: schema.Struct}
	for i := 0; i < len(nameAndType); i += 2 {
		t.Fields = append(t.Fields, schema.Field{Name: nameAndType[i].(string), Type: nameAndType[i+1].(schema.Type)})
	}
	return t
}

func array(elem schema.Type) schema.Type { return schema.Type{Kind: schema.List, Elem: &elem} }

// parquet writes what sql selects as a file for day 2026-07-<day>.
func parquet(t testing.TB, day int, s schema.Type, sql string) File {
	t.Helper()
	db, err := openDuckDB()
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	path := filepath.Join(t.TempDir(), fmt.Sprintf("%d [part]*.parquet", day))
	if err := errors.Join(db.exec("SET TimeZone = 'UTC'"), db.exec(fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet)", sql, literal(path)))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return File{Path: path, Day: table.Day{Year: 2026, Month: 7, Day: day}, Schema: s, Bytes: info.Size()}
}

func answerOf(t testing.TB, format, sql string, tables ...Table) (string, error) {
	t.Helper()
	var out bytes.Buffer
	q := Query{SQL: sql, Format: format, Tables: tables, Temp: filepath.Join(t.TempDir(), "a=b [1]", "tmp"), Out: &out, Limits: DefaultLimits()}
	err := Run(t.Context(), q)
	if left, _ := os.ReadDir(q.Temp); len(left) > 0 {
		t.Errorf("the folder of queries still holds %v", left)
	}
	return out.String(), err
}

func wantAnswer(t *testing.T, format, sql, want string, tables ...Table) {
	t.Helper()
	got, err := answerOf(t, format, sql, tables...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", sql, diff)
	}
}

const values = `SELECT 9007199254740993 AS "Big", CAST('12345678901234567890123456789012345678' AS DECIMAL(38,0)) AS huge,
	CAST(0.1 AS DOUBLE) AS d, 'a "b", ' || chr(10) || 'c<&>' AS s, TIMESTAMPTZ '2026-07-05 01:02:03.004005+02' AS at, true AS yes,
	{'Zip': 1, 'q"': NULL, 'deep': [{'n': 9007199254740993}]} AS o, [1.5, NULL] AS l, NULL::VARCHAR AS nothing, '' AS empty
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL`

func TestFormats(t *testing.T) {
	wantAnswer(t, "json", values, `
{"Big":9007199254740993,"huge":12345678901234567890123456789012345678,"d":0.1,"s":"a \"b\", \nc<&>","at":"2026-07-04T23:02:03.004005Z","yes":true,"o":{"Zip":1,"q\"":null,"deep":[{"n":9007199254740993}]},"l":[1.5,null],"nothing":null,"empty":""}
{"Big":null,"huge":null,"d":null,"s":null,"at":null,"yes":null,"o":null,"l":null,"nothing":null,"empty":null}
`)
	wantAnswer(t, "csv", values, `
Big,huge,d,s,at,yes,o,l,nothing,empty
9007199254740993,12345678901234567890123456789012345678,0.1,"a ""b"", 
c<&>",2026-07-04T23:02:03.004005Z,true,"{""Zip"":1,""q\"""":null,""deep"":[{""n"":9007199254740993}]}","[1.5,null]",,""
,,,,,,,,,
`)
	wantAnswer(t, "table", "SELECT n, s FROM (VALUES (1, 'a'), (NULL, 'bc'||chr(10)||chr(27)), (333, NULL)) t(n, s) ORDER BY s NULLS LAST", `
   n  s
----  --------
   1  a
NULL  bc\n\x1b
 333  NULL
(3 rows)
`)
	wantAnswer(t, "table", "SELECT 1 AS a, 2 AS a", "a  a\n-  -\n1  2\n(1 row)\n")
	wantAnswer(t, "json", "SELECT 1 AS a, 2 AS a", `{"a":1,"a_1":2}`+"\n")
	wantAnswer(t, "table", "SELECT 1 AS a WHERE false", "a\n-\n(0 rows)\n")
	wantAnswer(t, "csv", "SELECT 1 AS a WHERE false;  -- nothing", "a\n")
	wantAnswer(t, "json", "SELECT 1 AS a WHERE false", "")
	wantAnswer(t, "json", `SELECT MAP {'k': 1, 'j': NULL} m, DATE '2026-01-02' dt, 'inf'::DOUBLE f, [] e, NULL n, '{"a":1.10}'::JSON j, 'x'::BLOB b, 1.50 de, INTERVAL 1 DAY i,  TIMESTAMP '2026-01-01' ts, [[1],[]] ll, 170141183460469231731687303715884105727::HUGEINT h, map{[1]:2} lm`, `
{"m":{"k":1,"j":null},"dt":"2026-01-02","f":"inf","e":[],"n":null,"j":{"a":1.10},"b":"x","de":1.50,"i":"1 day","ts":"2026-01-01T00:00:00.000000","ll":[[1],[]],"h":170141183460469231731687303715884105727,"lm":{"[1]":2}}
`)
}

// TestTableForPeople aligns by what a terminal draws, and keeps it from obeying a value.
func TestTableForPeople(t *testing.T) {
	wantAnswer(t, "table", "SELECT s, 1 AS n FROM (VALUES ('\u65e5\u672c'), ('e\u0301'), ('a\u202eb'), ('\U0001F600'), (NULL)) t(s)", "s         n\n"+
		"--------  -\n"+
		"\u65e5\u672c      1\n"+
		"e\u0301         1\n"+
		"a\\u202eb  1\n"+
		"\U0001F600        1\n"+
		"NULL      1\n(5 rows)\n")
	long, err := answerOf(t, "table", "SELECT repeat('x', 100000) AS s, 1 AS n UNION ALL SELECT 'y', 2")
	if err != nil || len(long) > 110_000 {
		t.Errorf("a long value and a short one take %d bytes, %v", len(long), err)
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{
		{"abc", 0, "abc"},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab>"},
		{"\u65e5\u672c\u8a9e", 6, "\u65e5\u672c\u8a9e"},
		{"\u65e5\u672c\u8a9e", 5, "\u65e5\u672c>"},
		{"\u65e5\u672c\u8a9e", 4, "\u65e5>"}, // half a character cannot be shown
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"ab", 1, ">"},
	} {
		if got := cut(test.line, test.width); got != test.want {
			t.Errorf("%q cut to %d is %q, want %q", test.line, test.width, got, test.want)
		}
	}
}

// TestOneDatabase needs not be named.
func TestOneDatabase(t *testing.T) {
	tab := Table{Name: orders, Files: []File{parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")}}
	other := Table{Name: table.Name{Database: "other", Table: "orders"}}
	wantAnswer(t, "csv", "SELECT id FROM orders", "id\n1\n", tab)
	wantAnswer(t, "csv", "SHOW TABLES", "name\norders\n", tab)
	if _, err := answerOf(t, "csv", "SELECT id FROM orders", tab, other); !errors.Is(err, ErrSQL) {
		t.Errorf("two tables of this name: got %v", err)
	}
}

// TestFaultThatQuotesALongValue is told as what it is.
func TestFaultThatQuotesALongValue(t *testing.T) {
	_, err := answerOf(t, "csv", "SELECT CAST(repeat('\u65e5', 100000) AS INTEGER)")
	if !errors.Is(err, ErrSQL) || len(err.Error()) > 5000 || !strings.Contains(err.Error(), "Could not convert") {
		t.Errorf("got %.6000v", err)
	}
}

func TestTerminalWidth(t *testing.T) {
	var out bytes.Buffer
	q := Query{SQL: "SELECT 'abcdefghij' AS a, 1 AS b", Format: "table", Width: 8, Temp: t.TempDir(), Out: &out}
	if err := Run(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if want := "a      >\n-------" + ">\nabcdefg>\n(1 row)\n"; out.String() != want {
		t.Errorf("got\n%s want\n%s", &out, want)
	}
}

// TestDecimals: days of other precisions are one column, the widest.
func TestDecimals(t *testing.T) {
	of := func(digits uint8) schema.Type { return schema.Type{Kind: schema.Decimal, Precision: digits} }
	tab := Table{Name: orders, Files: []File{
		parquet(t, 5, object("d", of(19)), "SELECT CAST(-9223372036854775809 AS DECIMAL(19,0)) d"),
		parquet(t, 6, object("d", long), "SELECT 7::BIGINT d"),
		parquet(t, 7, object("d", of(25)), "SELECT CAST('1234567890123456789012345' AS DECIMAL(25,0)) d"),
	}}
	for _, f := range tab.Files {
		tab.Schema = schema.Merge(tab.Schema, f.Schema)
	}
	wantAnswer(t, "json", "SELECT d, typeof(d) AS t FROM shop.orders ORDER BY d", `
{"d":-9223372036854775809,"t":"DECIMAL(25,0)"}
{"d":7,"t":"DECIMAL(25,0)"}
{"d":1234567890123456789012345,"t":"DECIMAL(25,0)"}
`, tab)
}

func TestDaysOfDifferentSchemas(t *testing.T) {
	first := object("id", long, "n", long, "v", object("a", long, "B", timestamp), "l", array(object("x", long)), "t", timestamp, "s", str, "d", decimal, "old", str)
	second := object("id", long, "n", double, "v", object("a", str, "c", array(str)), "l", array(object("x", decimal, "y", str)), "t", str, "s", array(object("k", long, "m", str)), "d", double, "new", object("e", long))
	tab := Table{Name: orders, Files: []File{
		parquet(t, 5, first, `SELECT 1::BIGINT id, 7::BIGINT n, {'a': 5::BIGINT, 'B': TIMESTAMPTZ '2026-01-01 00:00:00+00'} v, [{'x': 1::BIGINT}, NULL] l,
			TIMESTAMPTZ '2026-01-01 00:00:00+00' t, 'plain' s, 12345678901234567890::DECIMAL(38,0) d, 'o' "old"`),
		parquet(t, 6, second, `SELECT 2::BIGINT id, 0.5::DOUBLE n, {'a': 'x', 'c': ['y']} v, [{'x': 2::DECIMAL(38,0), 'y': 'z'}] l,
			'noon' t, [{'k': 1::BIGINT, 'm': NULL}, {'k': NULL, 'm': 'q"'}] s, 0.25::DOUBLE d, {'e': 3::BIGINT} "new"`),
		parquet(t, 7, object("id", long), "SELECT NULL::BIGINT id"),
	}}
	wantAnswer(t, "json", "FROM shop.orders ORDER BY day", `
{"d":"12345678901234567890","id":1,"l":[{"x":1,"y":null},null],"n":7.0,"new":null,"old":"o","s":"plain","t":"2026-01-01T00:00:00.000000Z","v":{"B":"2026-01-01T00:00:00.000000Z","a":"5","c":null},"year":2026,"month":7,"day":5}
{"d":"0.25","id":2,"l":[{"x":2,"y":"z"}],"n":0.5,"new":{"e":3},"old":null,"s":"[{\"k\":1},{\"m\":\"q\\\"\"}]","t":"noon","v":{"B":null,"a":"x","c":["y"]},"year":2026,"month":7,"day":6}
{"d":null,"id":null,"l":null,"n":null,"new":null,"old":null,"s":null,"t":null,"v":null,"year":2026,"month":7,"day":7}
`, tab)
	wantAnswer(t, "csv", "SELECT column_name, column_type FROM (DESCRIBE shop.orders) WHERE column_name IN ('d', 'l', 'v', 'day')", `
column_name,column_type
d,VARCHAR
l,"STRUCT(x DECIMAL(38,0), y VARCHAR)[]"
v,"STRUCT(B TIMESTAMP WITH TIME ZONE, a VARCHAR, c VARCHAR[])"
day,INTEGER
`, tab)
}

func TestTableWithoutFiles(t *testing.T) {
	tab := Table{Name: orders, Schema: object("id", long, "o", object("A", array(str)), "gone", schema.Type{})}
	wantAnswer(t, "csv", "SELECT column_name, column_type FROM (DESCRIBE shop.orders)", `
column_name,column_type
id,BIGINT
o,STRUCT(A VARCHAR[])
year,INTEGER
month,INTEGER
day,INTEGER
`, tab)
	wantAnswer(t, "csv", "FROM shop.orders", "id,o,year,month,day\n", tab)
	wantAnswer(t, "csv", "SELECT count(*) AS n FROM shop.empty", "n\n0\n", Table{Name: table.Name{Database: "shop", Table: "empty"}})
}

func TestNamesThatDifferInCase(t *testing.T) {
	tab := Table{Name: orders, Files: []File{
		parquet(t, 5, object("ID", long), `SELECT 1::BIGINT AS "ID"`),
		parquet(t, 6, object("id", str, "select \"'", str), `SELECT 'a' AS id, 'b' AS "select ""'"`),
	}}
	wantAnswer(t, "csv", "FROM shop.orders ORDER BY day", `
ID,id_1,"select ""'",year,month,day
1,,,2026,7,5
,a,b,2026,7,6
`, tab)
}

func TestFilesOfOtherDaysAreNotRead(t *testing.T) {
	s := object("id", long)
	poison := parquet(t, 6, s, "SELECT 2::BIGINT id")
	if err := os.WriteFile(poison.Path, bytes.Repeat([]byte("x"), int(poison.Bytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	tab := Table{Name: orders, Files: []File{parquet(t, 5, s, "SELECT 1::BIGINT id"), poison}}
	wantAnswer(t, "csv", "SELECT id FROM shop.orders WHERE year = 2026 AND month = 7 AND day = 5", "id\n1\n", tab)
	_, err := answerOf(t, "csv", "SELECT sum(id) FROM shop.orders", tab)
	if err == nil || errors.Is(err, ErrSQL) {
		t.Errorf("reading a damaged file: %v, want an error that is not the statement's", err)
	}
}

func TestOnlyNamedTablesArePinned(t *testing.T) {
	gone := Table{Name: table.Name{Database: "shop", Table: "other"}, Schema: object("id", long), Files: []File{{Path: "/nowhere", Day: table.Day{Year: 2026, Month: 7, Day: 5}}}}
	wantAnswer(t, "csv", "SELECT database || '.' || schema || '.' || name AS name, column_names FROM (SHOW ALL TABLES)",
		"name,column_names\nmemory.shop.other,\"[\"\"id\"\",\"\"year\"\",\"\"month\"\",\"\"day\"\"]\"\n", gone)
	_, err := answerOf(t, "csv", "FROM query_table('shop.oth' || 'er')", gone)
	if !errors.Is(err, ErrSQL) || !strings.Contains(err.Error(), "write the name other") {
		t.Errorf("a table with a computed name: %v", err)
	}
	if _, err := answerOf(t, "csv", "FROM shop.OTHER", gone); err == nil || errors.Is(err, ErrSQL) {
		t.Errorf("a file that is gone: %v, want an error that is not the statement's", err)
	}
}

func TestThousandsOfFiles(t *testing.T) {
	f := parquet(t, 1, object("id", long, "s", str), "SELECT 1::BIGINT id, 'x' s")
	tab := Table{Name: orders}
	for day := range 3000 {
		f.Day = table.Day{Year: 2000 + day/336, Month: day/28%12 + 1, Day: day%28 + 1}
		tab.Files = append(tab.Files, f)
	}
	wantAnswer(t, "csv", "SELECT count(*) AS n, count(DISTINCT (year, month, day)) AS days FROM shop.orders", "n,days\n3000,3000\n", tab)
}

func TestRefused(t *testing.T) {
	tab := Table{Name: orders, Files: []File{parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")}}
	mine := filepath.Join(t.TempDir(), "out.csv")
	for _, sql := range []string{
		"", ";", "SELECT", "SELECT nothing FROM shop.orders", "SELECT * FROM nowhere", "SELECT CAST('x' AS INTEGER)", "SELECT ?",
		"SELECT 1; SELECT 2",
		"FROM read_csv('/etc/passwd')", "FROM '/etc/passwd'", "FROM read_text('/etc/passwd')", "FROM glob('/etc/*')", "FROM '../../../../etc/passwd'",
		"COPY shop.orders TO '" + mine + "'", "COPY (SELECT 1) TO 'shop/orders/year=2026/month=7/day=5/0.parquet'",
		"EXPLAIN COPY (SELECT 1) TO 'x.csv'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", "/* */ EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
		"explain (analyze, format json) COPY (SELECT 1) TO 'x.csv'", "EXPLAIN (ANALYZE) EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
		"ATTACH 'x.db'", "INSTALL httpfs", "LOAD httpfs", "SET memory_limit = '100GB'", "RESET lock_configuration", "PRAGMA memory_limit = '1GB'",
		"CREATE TABLE x AS SELECT 1", "DROP VIEW shop.orders", "DELETE FROM shop.orders", "EXPORT DATABASE 'x'", "CALL pragma_version()",
		"PREPARE p AS SELECT 1", "BEGIN", "VACUUM", "SELECT * FROM query('COPY (SELECT 1) TO ''x.csv''')",
		"SELECT * FROM shop.orders WHERE id = error('x')",
		"SELECT getenv('HOME')", "FROM read_blob('/proc/self/environ')", "FROM read_parquet('" + tab.Files[0].Path + "')", "FROM parquet_metadata('" + tab.Files[0].Path + "')",
		"FROM read_json('/etc/passwd')", "FROM sniff_csv('/etc/passwd')", "FROM read_csv('http://127.0.0.1:1/x')", "FROM read_parquet('s3://raw/x')", "FROM sqlite_scan('x.db', 'x')",
		"SET enable_external_access = true", "SET allowed_directories = ['/']", "CREATE SECRET (TYPE s3)", "CREATE MACRO f() AS 1", "SET VARIABLE x = 1",
	} {
		out, err := answerOf(t, "csv", sql, tab)
		if !errors.Is(err, ErrSQL) {
			t.Errorf("%q gave %q and %v, want ErrSQL", sql, out, err)
		}
	}
	if _, err := os.Stat(mine); err == nil {
		t.Error("a file was written")
	}
	wantAnswer(t, "csv", "FROM shop.orders", "id,year,month,day\n1,2026,7,5\n", tab)
}

func TestStatements(t *testing.T) {
	tab := Table{Name: orders, Files: []File{parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")}}
	for sql, want := range map[string]string{
		"SELECT id FROM shop.orders -- all":                               "id\n1\n",
		"WITH a AS (SELECT 1 AS x) FROM a;":                               "x\n1\n",
		"SELECT TIMESTAMPTZ '2026-07-05 23:30:00+00'::DATE::VARCHAR AS d": "d\n2026-07-05\n",
		"VALUES (1, 'b')":                                  "col0,col1\n1,b\n",
		"SELECT name FROM (SHOW ALL TABLES)":               "name\norders\n",
		"DESCRIBE shop.orders":                             "column_name,column_type,null,key,default,extra\nid,BIGINT,YES,,,\nyear,INTEGER,YES,,,\nmonth,INTEGER,YES,,,\nday,INTEGER,YES,,,\n",
		"SELECT column_name FROM (SUMMARIZE shop.orders)":  "column_name\nid\nyear\nmonth\nday\n",
		"SELECT i FROM range(5) t(i) ORDER BY i DESC":      "i\n4\n3\n2\n1\n0\n",
		"SELECT typeof(id), year FROM shop.orders LIMIT 1": "typeof(id),year\nBIGINT,2026\n",
	} {
		got, err := answerOf(t, "csv", sql, tab)
		if err != nil || got != want {
			t.Errorf("%q gave %q and %v, want %q", sql, got, err, want)
		}
	}
	for _, sql := range []string{"EXPLAIN SELECT 1", "explain analyze (SELECT 1)", "EXPLAIN (FORMAT json) SELECT 1"} {
		if plan, err := answerOf(t, "csv", sql); err != nil || plan == "" {
			t.Errorf("%q gave %q, %v", sql, plan, err)
		}
	}
	plan, err := answerOf(t, "csv", "EXPLAIN ANALYZE SELECT * FROM shop.orders WHERE day = 5", tab)
	if err != nil || !strings.Contains(plan, "PARQUET") {
		t.Errorf("EXPLAIN gave %q, %v", plan, err)
	}
}

// TestRows: an answer with more rows than it may have is no answer.
func TestRows(t *testing.T) {
	for n, whole := range map[int]bool{3: true, 4: false, 100_000: false} {
		var out strings.Builder
		err := Run(t.Context(), Query{SQL: fmt.Sprintf("FROM range(%d)", n), Format: "csv", Temp: t.TempDir(), Out: &out, Rows: 3})
		if whole != (err == nil) || !whole && (!errors.Is(err, ErrSQL) || !strings.Contains(err.Error(), "more than 3 rows")) || len(out.String()) > 100 {
			t.Errorf("%d rows gave %d bytes and %v", n, out.Len(), err)
		}
	}
}

// TestSpill: a query takes no more of the disk than it may.
func TestSpill(t *testing.T) {
	limits := DefaultLimits()
	limits.Memory, limits.Spill, limits.Threads = 64<<20, 1<<20, 1
	err := Run(t.Context(), Query{SQL: "SELECT max(a) FROM (SELECT md5(i::VARCHAR) || repeat('x', 100) AS a FROM range(3000000) t(i) ORDER BY 1 OFFSET 1)", Format: "csv", Temp: t.TempDir(), Out: io.Discard, Limits: limits})
	if err == nil || !strings.Contains(err.Error(), "max_temp_directory_size") {
		t.Errorf("got %v", err)
	}
}

// TestEnvironment: the worker has no secrets that it could give away.
func TestEnvironment(t *testing.T) {
	t.Setenv("KAFKA_PASSWORD", "sesame")
	exe := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(exe, []byte("#!/bin/sh\nread input\nexport -p\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Run(t.Context(), Query{SQL: "SELECT 1", Format: "csv", Temp: t.TempDir(), Out: &out, Exe: exe}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "PATH") || strings.Contains(out.String(), "sesame") {
		t.Errorf("the worker has %s", out.String())
	}
}
