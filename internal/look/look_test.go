package look

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/builtin"
	"headwater/internal/config"
)

var update = flag.Bool("update", false, "rewrite testdata")

// in makes a folder shop of the files and has it be the current one.
func in(t *testing.T, files map[string]string) Options {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	must(t, os.Mkdir(dir, 0o750))
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	t.Chdir(dir)
	return Options{File: "pipeline.yaml", Dir: dir, Kinds: builtin.Sources()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func gzipped(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return out.String()
}

// zipped is an archive of one entry; flags of 1 says that it is encrypted.
func zipped(t *testing.T, name, text string, flags uint16) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.CreateRaw(&zip.FileHeader{Name: name, Flags: flags, CompressedSize64: uint64(len(text)), UncompressedSize64: uint64(len(text))})
	must(t, err)
	_, err = f.Write([]byte(text))
	must(t, errors.Join(err, w.Close()))
	return out.String()
}

// TestGolden reads testdata/*.txt: sections that are named for files have what is in them, "what" the operands, and "pipeline" is what must
// come of them.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for i, path := range paths {
		paths[i], err = filepath.Abs(path)
		must(t, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			must(t, err)
			given, want, _ := strings.Cut(string(text), "-- pipeline --\n")
			files := map[string]string{}
			for section := range strings.SplitSeq(given, "\n-- ") {
				name, text, _ := strings.Cut(strings.TrimPrefix(section, "-- "), " --\n")
				files[name] = text + "\n"
			}
			what := strings.Fields(files["what"])
			delete(files, "what")
			got, _, _, err := Pipeline(t.Context(), in(t, files), what)
			if err != nil {
				got = fmt.Appendf(got, "%v\n", err)
			}
			if *update {
				must(t, os.WriteFile(path, []byte(given+"-- pipeline --\n"+string(got)), 0o600))
			} else if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSeen looks at what a text file cannot hold. Each wants a part of the pipeline, or of the error.
func TestSeen(t *testing.T) {
	wide, long := map[string]int{}, []string{"a,b"}
	for i := range 50 {
		wide[fmt.Sprint("k", i)] = i
	}
	for i := range 300 {
		long = append(long, fmt.Sprintf("%d,%d", i, i*i))
	}
	columns, err := json.Marshal(wide)
	must(t, err)
	for name, test := range map[string]struct{ text, want string }{
		"empty.ndjson":        {"", "No item was seen: the columns of shop.empty are not known yet."},
		"picture.png":         {"\x89PNG\r\n\x1a\n\x00", "An item is a file, whose bytes are kept as base64."},
		"giant.ndjson":        {`{"a":"` + strings.Repeat("x", 9<<20) + `"}` + "\n{\"b\":1}\n", "Looked at: 1 item.\n"},
		"cut.csv.gz":          {gzipped(strings.Join(long, "\n"))[:900], "1 item would go to quarantine: gzip is damaged"},
		"nothing.csv.gz":      {gzipped("a,b\n1,2\n")[:11], "nothing in it can be read: gzip is damaged"},
		"secret.zip":          {zipped(t, "a.csv", "a,b\n1,2\n", 1), "the entry is encrypted"},
		"open.zip":            {zipped(t, "a.csv", "a;b\n1;2\n", 0), `path: "open.zip", csv: {delimiter: ";"}`},
		"latin.csv":           {"a,b\xe9\n1,2\n", "convert it"},
		"broken.json":         {"{\n\"a\": 1", "nothing in it can be read: unexpected-end"},
		"wide.ndjson":         {string(columns), "  #   … and 11 more\n"},
		"orders-2026-07.csv":  {"a,b\n1,2\n", "\n  orders:\n"},
		"2026-07-05.csv":      {"a,b\n1,2\n", "\n  shop:\n"},
		"q1.csv":              {"a,b\n1,2\n", "\n  q1:\n"},
		"Öl & \"Gas\" #1.csv": {"a,b\n1,2\n", `path: "Öl & \"Gas\" #1.csv"`},
		"a\nb: ${HOME}.csv":   {"a,b\n1,2\n", "# \"a\\nb: ${HOME}.csv\", 8 bytes."},
		"bom.csv":             {"\ufeffa;b\n1;2\n", `delimiter: ";"`},
		"pivot.csv":           {"country,2025,2026\nDE,1,2\n", `path: "pivot.csv"}`},
		"bare.csv":            {"DE,10.5\nFR,20\n", `csv: {header: false}`},
		"text.csv":            {"name\nx\n", `path: "text.csv"}`},
		"comma.csv":           {"name,price; EUR\nx,1\ny,2;3\n", `path: "comma.csv"}`},
		"tabs.csv":            {"name\tprice, EUR\tn\nx\t1,5\t1\n", `delimiter: "\t"`},
		"tabs.tsv":            {"name\tprice\nx\t1\n", `path: "tabs.tsv"}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := in(t, map[string]string{name: test.text})
			text, _, _, err := Pipeline(t.Context(), o, []string{name})
			if got := string(text) + fmt.Sprint(err); !strings.Contains(got, test.want) {
				t.Errorf("%s\nis without %s", got, test.want)
			}
			if _, is := errors.AsType[Fault](err); err != nil && !is {
				t.Errorf("%v is no Fault", err)
			}
		})
	}
}

// TestPaths looks at several files. Each wants a part of the pipeline, or of what was left out.
func TestPaths(t *testing.T) {
	row, lines := "a,b\n1,2\n", strings.Repeat("{}\n", 700)
	scattered := map[string]string{}
	for i := range 2 * mostSources {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		scattered["in/"+name+"/"+name+".json"] = "{}"
	}
	for _, test := range []struct {
		name  string
		files map[string]string
		what  []string
		want  string
	}{
		{"names with commas", map[string]string{"a,1.csv": row, "a,2.csv": row, "a,3.csv": row}, []string{"a,1.csv", "a,3.csv"}, `path: "{a\\,1.csv,a\\,3.csv}"`},
		{"a dollar before a brace", map[string]string{"x$a.csv": row}, []string{"x${a,b}.csv"}, `path: "x$${a,b}.csv"`},
		{"tables of one name", map[string]string{"a.csv": row, "a.tsv": row, "a_raw.csv": row}, []string{"."}, "\n  a_raw_2:\n"},
		{"tables of one name, the longer first", nil, []string{"push:a_raw", "push:a"}, "\n  a_2:\n"},
		{"our data", map[string]string{"a.csv": row, "headwater-data/run.json": "{}"}, []string{"."}, "limit 10\"\ndatabase: shop"},
		{"names that end a line", map[string]string{"a.ndjson": "{\"a\":[{\"x\u2028y: 1\":1}]}"}, []string{"."}, "x?y_ 1:bigint"},
		{"compressed and not", map[string]string{"a-1.csv": row, "a-2.csv.gz": gzipped(row)}, []string{"."}, `path: "a-*.csv{,.gz}"`},
		{"compressed", map[string]string{"a-1.csv.gz": gzipped(row), "a-2.csv.gz": gzipped(row)}, []string{"."}, `path: "a-*.csv.gz"`},
		{"days for folders", map[string]string{"2026/07/05.csv": row, "2026/07/06.csv": row}, []string{"."}, `path: "[0-9]*/[0-9]*/[0-9]*.csv"`},
		{"thousands of items", map[string]string{"a1.ndjson": lines, "a2.ndjson": lines}, []string{"a1.ndjson", "a2.ndjson"}, "Looked at: 1000 items."},
		{"first rows that are alike", map[string]string{"a1.csv": "x,1\n", "a2.csv": "x,1\n"}, []string{"."}, `path: "a*.csv"}`},
		{"first rows that are not", map[string]string{"a1.csv": "x,1\n", "a2.csv": "x,2\n"}, []string{"."}, `path: "a*.csv", csv: {header: false}}`},
		{"too many sources", scattered, []string{"in"}, `path: "in/**/*.json"`},
		{"too many sources around our data", scattered, []string{"."}, "no glob finds them alone"},
		{"a folder of SQL's", map[string]string{"select/a.csv": row}, []string{"select/../select"}, `path: "select/a.csv"`},
		{"somewhere else", map[string]string{"../else/a.csv": row}, []string{"../else"}, "/else/a.csv\"}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, _, left, err := Pipeline(t.Context(), in(t, test.files), test.what)
			if got := string(text) + fmt.Sprint(left, err); !strings.Contains(got, test.want) {
				t.Errorf("%s\nis without %s", got, test.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"Orders": "orders", "2026": "x", "--": "x", "Ünïcode": "n_code", "3d models": "d_models", "a" + strings.Repeat("_b", 99): "a" + strings.Repeat("_b", 29),
	} {
		if got := identifier(text, "x"); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for address, want := range map[string]string{
		"wss://stream.example.com/ws": "example", "wss://feed.example/v2/trades": "trades", "ws://localhost:80": "feed", "ws://127.0.0.1/": "feed",
	} {
		if got := feedName(address); got != want {
			t.Errorf("%s is %q, want %q", address, got, want)
		}
	}
}

// TestGiant looks at a file of zeros without end: a part of an item is enough.
func TestGiant(t *testing.T) {
	o := in(t, map[string]string{"zeros.json": ""})
	must(t, os.Truncate("zeros.json", 1<<30))
	l := &looker{Options: o}
	files := regular([]string{filepath.Join(o.Dir, "zeros.json")})
	s, err := l.sample(t.Context(), &group{files: files})
	must(t, err)
	if r := l.rows(t.Context(), []string{files[0].path}, ""); r.items != 1 || s.items != 1 || !strings.Contains(s.unfit(), "longer than max_item") {
		t.Errorf("%d and %d items: %s", r.items, s.items, s.unfit())
	}
}

// TestNoValues looks at items that must not be told of.
func TestNoValues(t *testing.T) {
	o := in(t, map[string]string{
		"a.ndjson": "{\"name\":\"Jane\"}\n{\"name\":Jane}\n[\"Jane\"]\n", "b.csv": "name,age\nJane,1\nJane\n\"Jane\"x,2\n", "c.txt": "Jane\n",
		"d.json": `[{"name":"Jane"}, Jane]`, "e.csv": "Jane,7\nJane,8\n",
	})
	text, sources, left, err := Pipeline(t.Context(), o, []string{"."})
	if err != nil || len(sources) != 5 || len(left) != 0 || bytes.Contains(text, []byte("Jane")) || !bytes.Contains(text, []byte("quarantine")) {
		t.Errorf("%q, left %q, %v:\n%s", sources, left, err, text)
	}
}

func TestRefusals(t *testing.T) {
	o := in(t, map[string]string{"a.csv": "a,b\n1,2\n", "in/b.csv": "a,b\n1,2\n", "none/x.md": "x", "loop/x": "", "headwater-data/run.json": "{}"})
	must(t, os.Symlink("self", "self"))
	must(t, os.Symlink("self", "loop/self.csv"))
	for _, test := range []struct{ what, want string }{
		{"missing.csv", "does not exist"},
		{"*.xml", "no file matches"},
		{"a{.csv", "not a glob"},
		{"self", "see that it can be read"},
		{"/dev/null", "neither a file nor a folder"},
		{"https://example.com/a.csv", "download"},
		{"kafka://example.com", "kafka addresses are not read"},
		{"push:A b", "must have a name"},
		{"none", "nothing to read was found"},
		{"a.csv, *.csv", "is in two of the sources"},
		{"**/*.json", "headwater-data"},
	} {
		_, _, _, err := Pipeline(t.Context(), o, strings.Split(test.what, ", "))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.what, err, test.want)
		}
	}
	o.Database = "Not a name"
	if _, _, _, err := Pipeline(t.Context(), o, []string{"a.csv"}); err == nil || !strings.Contains(err.Error(), "database: must be") {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, _, err := Pipeline(ended, o, []string{"in"}); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Error(err)
	}
}

// TestUnreadable cannot be run as root, who may read everything.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	o := in(t, map[string]string{"in/a1.csv": "a,b\n1,2\n", "in/a2.csv": "a,b\n1,2\n", "in/b.csv": "a,b\n1,2\n", "in/shut/c.csv": "a,b\n1,2\n"})
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	must(t, os.Chmod("in/a2.csv", 0))
	must(t, os.Chmod("in/b.csv", 0))
	must(t, os.Chmod("in/shut", 0))
	t.Cleanup(func() { _ = os.Chmod("in/shut", 0o700) })
	text, sources, left, err := Pipeline(t.Context(), o, []string{"in"})
	if err != nil || len(sources) != 1 || len(left) != 1 || !strings.Contains(left[0], "permission denied; see that it can be read") ||
		!strings.Contains(string(text), "# 1 file could not be read: open ") || strings.Count(log.String(), "in/shut") != 2 {
		t.Errorf("%q, %q, %v, %s\n%s", sources, left, err, &log, text)
	}
	for _, what := range []string{"in/b.csv", "in/shut", "in/shut/c.csv"} {
		if _, _, _, err := Pipeline(t.Context(), o, []string{what}); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// tally is an Out that counts the numbers that items carry.
type tally struct {
	mu  sync.Mutex
	got map[string]int
	bad []string
}

func (c *tally) Streams() map[string]envelope.StreamCursor { return nil }

func (c *tally) Emit(_ context.Context, it collect.Item) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := ""
	switch {
	case it.Malformed != "":
		c.bad = append(c.bad, it.Malformed)
	case it.Kind == envelope.Fields:
		number = it.Values[0]
	default:
		var v struct{ N string }
		if err := json.Unmarshal(it.Data, &v); err != nil {
			c.bad = append(c.bad, err.Error())
		}
		number = v.N
	}
	c.got[number]++
	return nil
}

func (c *tally) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func (c *tally) Drain(context.Context) error { return nil }

// collected has the sources of a pipeline read once what is there.
func collected(t *testing.T, o Options, text []byte) *tally {
	t.Helper()
	p, err := config.Parse(o.File, o.Dir, text, o.Kinds)
	must(t, err)
	c := &tally{got: map[string]int{}}
	for _, s := range p.Sources {
		source, err := s.Open(config.Env{})
		must(t, err)
		must(t, source.Run(t.Context(), c, true))
	}
	return c
}

// TestEveryItemOnce draws files with names and delimiters of all kinds: what is collected is each of their items, once.
func TestEveryItemOnce(t *testing.T) {
	seed := uint64(20261129)
	if text := os.Getenv("HEADWATER_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 150 {
		files, want := drawn(r)
		t.Run("", func(t *testing.T) {
			o := in(t, files)
			whats := slices.Sorted(maps.Keys(files))
			for i := range whats {
				whats[i] = "./" + whats[i]
			}
			if r.IntN(2) == 0 {
				whats = []string{"."}
			}
			text, _, left, err := Pipeline(t.Context(), o, whats)
			if err != nil || len(left) > 0 {
				t.Fatalf("%q of %q: left %q, %v", whats, slices.Sorted(maps.Keys(files)), left, err)
			}
			c := collected(t, o, text)
			if diff := cmp.Diff(want, c.got); diff != "" || len(c.bad) > 0 {
				t.Errorf("%q of %q: %q, %s\n%s", whats, slices.Sorted(maps.Keys(files)), c.bad, diff, text)
			}
		})
	}
}

// drawn is a few files in one folder, by name, and the numbers in them. Names that differ in numbers alone have one delimiter.
func drawn(r *rand.Rand) (files map[string]string, want map[string]int) {
	files, want = map[string]string{}, map[string]int{}
	odds := strings.Fields(`a b Z 1 20 - _ . ' " : # $ ${ { } [ ] * ? \ , ! é % &`)
	odds = append(odds, " ", "\n", "\xff")
	delimiter, header := []string{",", ";", "\t", "|"}[r.IntN(4)], r.IntN(2) == 0
	odd := func() string {
		letters := make([]string, r.IntN(6))
		for i := range letters {
			letters[i] = odds[r.IntN(len(odds))]
		}
		return strings.Join(letters, "")
	}
	folder := []string{"", "in" + odd() + "/"}[r.IntN(2)]
	for range 1 + r.IntN(5) {
		kind, zip := []string{".csv", ".tsv", ".ndjson", ".json"}[r.IntN(4)], r.IntN(3) == 0
		name := folder + []string{"x", "orders", "b"}[r.IntN(3)] + odd() + kind
		if zip {
			name += ".gz"
		}
		if files[name] != "" {
			continue
		}
		var rows, documents []string
		for range 1 + r.IntN(3) {
			number := strconv.Itoa(len(want) + 1)
			want[number] = 1
			rows, documents = append(rows, number+delimiter+"text\n"), append(documents, `{"n":"`+number+`"}`)
		}
		if header {
			rows = append([]string{"n" + delimiter + "word\n"}, rows...)
		}
		text := map[string]string{".ndjson": strings.Join(documents, "\n"), ".json": "[" + strings.Join(documents, ",") + "]"}[kind]
		if text == "" {
			text = strings.Join(rows, "")
		}
		if zip {
			text = gzipped(text)
		}
		files[name] = text
	}
	return files, want
}
