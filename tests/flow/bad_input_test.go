package flow

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"headwater/tests/binary"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// reasons counts what lies in quarantine: by stage, and by the reason up to a colon, after which it has particulars.
func reasons(t *testing.T, p binary.Pipeline) map[string]int {
	t.Helper()
	got := map[string]int{}
	files, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/raw/_quarantine/*/*/*/*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		stage := strings.Split(strings.TrimPrefix(name, filepath.Join(p.Dir, "headwater-data/raw/_quarantine")), "/")[1]
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for d := json.NewDecoder(z); ; {
			var e struct{ Reason string }
			if err := d.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			reason, _, _ := strings.Cut(e.Reason, ":")
			got[stage+" "+reason]++
		}
		_ = f.Close()
	}
	return got
}

// number is the one number that a query answers.
func number(t *testing.T, p binary.Pipeline, sql string) int {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(p.Run(t, nil, "query", "--format", "csv", sql).Must(t))).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%s: %q, %v", sql, rows, err)
	}
	n, err := strconv.Atoi(rows[1][0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBadInput gives a source one bad file beside a good one, and another source a good one: the run ends well, the good
// records are in the tables, the bad ones in quarantine with their reason, and a second run changes nothing.
func TestBadInput(t *testing.T) {
	const good = "{\"n\":1}\n{\"n\":2}\n"
	long := strings.Repeat("x", 50_000_000)
	tests := []struct {
		name, file, text string
		rows             int            // of the bad file
		quarantined      map[string]int // by stage and reason
		check            string         // a query that must answer 1
	}{
		{name: "malformed JSON", file: "x.ndjson", text: "{\"n\":\n{\"n\":3}\n[1,2\n", rows: 1, quarantined: map[string]int{"serialize malformed": 2}},
		{name: "text after a value", file: "x.ndjson", text: "{\"n\":1} {\"n\":2}\n{\"n\":3}\n", rows: 1, quarantined: map[string]int{"serialize malformed": 1}},
		{name: "NaN", file: "x.ndjson", text: "{\"n\":NaN}\n{\"n\":-Infinity}\n", quarantined: map[string]int{"serialize malformed": 2}},
		{name: "invalid UTF-8", file: "x.ndjson", text: "{\"n\":3,\"s\":\"\xff\xfe\"}\n", quarantined: map[string]int{"serialize malformed": 1}},
		{name: "lone surrogate", file: "x.ndjson", text: "{\"n\":3,\"s\":\"a\\ud800b\"}\n", rows: 1, check: "select count(*) from db.bad where s = 'a\ufffdb'"},
		{name: "deep nesting", file: "x.ndjson", text: strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "\n{\"n\":3}\n", rows: 1, quarantined: map[string]int{"serialize malformed": 1}},
		{name: "a long string", file: "x.ndjson", text: "{\"n\":3,\"s\":\"" + long + "\"}\n{\"n\":4}\n", rows: 1, quarantined: map[string]int{"collect too-large": 1, "serialize malformed": 1}},
		{name: "duplicate keys", file: "x.ndjson", text: "{\"n\":3,\"n\":4}\n", quarantined: map[string]int{"serialize duplicate-key": 1}},
		{name: "keys that differ in case", file: "x.ndjson", text: "{\"n\":3,\"a\":1,\"A\":2}\n", rows: 1, check: "select count(*) from db.bad where a_2 = 1 and A = 2"},
		{name: "a number among objects", file: "x.ndjson", text: "17\n", quarantined: map[string]int{"serialize kind": 1}},
		{name: "an empty file", file: "x.ndjson"},
		{name: "blank lines", file: "x.ndjson", text: "\n\n  \n{\"n\":3}\n\n", rows: 1},
		{name: "no line feed at the end", file: "x.ndjson", text: "{\"n\":3}\n{\"n\":4}", rows: 2},
		{name: "a byte order mark and CRLF", file: "x.ndjson", text: "\xef\xbb\xbf{\"n\":3}\r\n{\"n\":4}\r\n", rows: 2},
		{name: "concatenated gzips", file: "x.ndjson", text: zipped(t, "{\"n\":3}\n") + zipped(t, "{\"n\":4}\n"), rows: 2},
		{name: "a truncated gzip", file: "x.ndjson", text: func() string { z := zipped(t, strings.Repeat("{\"n\":3}\n", 10)); return z[:len(z)-6] }(), rows: 10, quarantined: map[string]int{"serialize malformed": 1}},
		{name: "zeros", file: "x.ndjson", text: strings.Repeat("\x00", 1000) + "\n{\"n\":3}\n", rows: 1, quarantined: map[string]int{"serialize malformed": 1}},
		{name: "CSV rows of other lengths", file: "x.csv", text: "n,s\n3,a\n4\n5,b,c\n6,d\n", rows: 2, quarantined: map[string]int{"serialize malformed": 2}},
		{name: "an unclosed quote", file: "x.csv", text: "n,s\n3,a\n4,\"b\n5,c\n", rows: 2, quarantined: map[string]int{"serialize malformed": 1}},
		{name: "repeated header names", file: "x.csv", text: "n,a,a,A\n3,x,y,z\n", rows: 1, check: "select count(*) from db.bad where a_2 = 'y'"},
		{name: "a header alone", file: "x.csv", text: "n,s\n"},
	}
	bin := binary.Build(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := binary.New(t, bin, `
database: db
sources:
  bad: {file: {path: "bad/*"}}
  good: {file: {path: "good/*"}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`)
			p.Write(t, "bad/a.ndjson", []byte(good))
			p.Write(t, "bad/"+test.file, []byte(test.text))
			p.Write(t, "good/a.ndjson", []byte(good))
			for _, run := range []string{"first", "second"} {
				p.Run(t, nil, "run", "--once").Must(t)
				if got := number(t, p, "select count(*) from db.good"); got != 2 {
					t.Errorf("%s run: the other source has %d rows, want 2", run, got)
				}
				for _, table := range []string{"db.bad", "db.bad_raw"} {
					if got := number(t, p, "select count(*) from "+table); got != test.rows+2 {
						t.Errorf("%s run: %s has %d rows, want %d", run, table, got, test.rows+2)
					}
				}
				want := test.quarantined
				if want == nil {
					want = map[string]int{}
				}
				if got := reasons(t, p); !maps.Equal(got, want) {
					t.Errorf("%s run: in quarantine are %v, want %v", run, describe(got), describe(want))
				}
				if test.check != "" {
					if got := number(t, p, test.check); got != 1 {
						t.Errorf("%s run: %s answers %d, want 1", run, test.check, got)
					}
				}
			}
		})
	}
}

func describe(counts map[string]int) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s: %d", k, counts[k]))
	}
	return strings.Join(all, ", ")
}
