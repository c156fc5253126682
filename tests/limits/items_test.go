package limits

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"headwater/tests/binary"
)

// besideGood has a source whose folder gets one bad file and a good one, and another source.
const besideGood = `
database: db
sources:
  big: {file: {path: "in/*", max_item: %s}}
  good: {file: {path: "good/*"}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

const goodLines = "{\"n\":0}\n{\"n\":1}\n"

// monster is a file that nobody wants, and what becomes of it.
type monster struct {
	name, file string
	write      func(t *testing.T, s *sink)
	rows       int            // that it adds to the good file's
	reasons    map[string]int // what goes to quarantine: by stage, and by the reason up to a colon
	memory     int            // the budget of the process's peak in MiB
	disk       int            // the budget of the data folder in MiB
	maxItem    string         // of the bad file's source; empty for the default
}

// TestMonstrousItems has lines, strings, documents and fields that are larger than any limit.
func TestMonstrousItems(t *testing.T) {
	repeat := func(t *testing.T, s *sink, text string, n int) {
		chunk := []byte(strings.Repeat(text, mib/len(text)))
		for ; n > 0; n -= len(chunk) {
			s.write(t, chunk[:min(n, len(chunk))])
		}
	}
	tests := []monster{
		{
			name: "a line of 70 MiB", file: "x.ndjson", memory: 1024, disk: 100,
			write: func(t *testing.T, s *sink) {
				s.write(t, []byte(`{"s":"`))
				repeat(t, s, "abcdefgh", 70*mib)
				s.write(t, []byte("\"}\n"))
			},
			reasons: map[string]int{"collect too-large": 1, "serialize malformed": 2},
		},
		{
			name: "a string of 50 MB", file: "x.ndjson", memory: 1024, disk: 100,
			write: func(t *testing.T, s *sink) {
				s.write(t, []byte(`{"s":"`))
				repeat(t, s, "abcdefgh", 50e6)
				s.write(t, []byte("\"}\n"))
			},
			reasons: map[string]int{"collect too-large": 1, "serialize malformed": 1},
		},
		{
			name: "a document of 60 MB on one line", file: "x.json", memory: 1536, disk: 100, rows: 1,
			write: func(t *testing.T, s *sink) {
				s.write(t, []byte(`{"n":2,"items":[{"a":0}`))
				repeat(t, s, `,{"a":1234567,"b":"xyz"}`, 60e6/24*24)
				s.write(t, []byte("]}\n"))
			},
		},
		{
			name: "a CSV field of 30 MB", file: "x.csv", memory: 1024, disk: 100, rows: 1,
			write: func(t *testing.T, s *sink) {
				s.write(t, []byte("n,s\n2,short\n3,"))
				repeat(t, s, "abcdefgh", 30e6)
				s.write(t, []byte("\n"))
			},
			reasons: map[string]int{"collect too-large": 1, "serialize malformed": 1},
		},
		{
			// Every byte of it is six in JSON.
			name: "a line of 60 MB of zeros", file: "x.ndjson", memory: 1024, disk: 100, rows: 1,
			write: func(t *testing.T, s *sink) {
				repeat(t, s, "\x00", 60e6)
				s.write(t, []byte("\n{\"n\":2}\n"))
			},
			reasons: map[string]int{"collect too-large": 1, "serialize malformed": 1},
		},
		{
			name: "a line of 300 MB", file: "x.ndjson", memory: 1024, disk: 100, rows: 1,
			write: func(t *testing.T, s *sink) {
				s.write(t, []byte(`{"s":"`))
				repeat(t, s, "abcdefgh", 300e6)
				s.write(t, []byte("\"}\n{\"n\":2}\n"))
			},
			reasons: map[string]int{"collect too-large": 5, "serialize malformed": 5},
		},
	}
	for _, test := range tests {
		t.Run(test.name, test.run)
	}
}

func (m monster) run(t *testing.T) {
	p := binary.New(t, binary.Build(t), fmt.Sprintf(besideGood, cmp.Or(m.maxItem, "64MiB")))
	p.Write(t, "in/a.ndjson", []byte(goodLines))
	p.Write(t, "good/a.ndjson", []byte(goodLines))
	s := create(t, filepath.Join(p.Dir, "in", m.file), strings.HasSuffix(m.file, ".gz"))
	m.write(t, s)
	s.close(t)
	for _, what := range []string{"first", "second"} {
		u := run(t, p, "run", "--once")
		used := disk(t, p, "headwater-data")
		got := reasons(t, p)
		t.Logf("%-32s %s run: %v; disk %d MiB; quarantine %v", m.name, what, u, used/mib, got)
		within(t, what+" run, peak memory in MiB", u.rss/mib, m.memory)
		within(t, what+" run, disk in MiB", used/mib, m.disk)
		dense(t, p, "db.good", 2)
		if rows := answer(t, p, "select count(*) from db.big_raw")[0]; rows != fmt.Sprint(2+m.rows) {
			t.Errorf("%s run: %s rows, want %d", what, rows, 2+m.rows)
		}
		if !maps.Equal(got, m.reasons) {
			t.Errorf("%s run: in quarantine are %v, want %v", what, got, m.reasons)
		}
	}
}

// reasons counts what lies in quarantine, without holding it.
func reasons(t *testing.T, p binary.Pipeline) map[string]int {
	t.Helper()
	got := map[string]int{}
	root := filepath.Join(p.Dir, "headwater-data/raw/_quarantine")
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".json.gz") {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		stage, _, _ := strings.Cut(strings.TrimPrefix(name, root+"/"), "/")
		for d := json.NewDecoder(z); d.More(); {
			var e struct{ Reason string }
			if err := d.Decode(&e); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			reason, _, _ := strings.Cut(e.Reason, ":")
			got[stage+" "+reason]++
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return got
}
