package file

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
)

// bench is a folder, a topic and a configuration.
type bench struct {
	dir    string
	log    *collecttest.Log
	c      Config
	runner collect.Config
	notes  bytes.Buffer
}

func newBench(t *testing.T, path string) *bench {
	b := &bench{dir: t.TempDir(), log: &collecttest.Log{}, c: DefaultConfig(), runner: collect.DefaultConfig()}
	b.c.Path = path
	b.runner.Retry.Tries = 1
	return b
}

func (b *bench) write(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(b.dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	// Whole or not at all: a source that runs would take a file that is empty for a moment for another one.
	temp := filepath.Join(b.dir, ".written")
	must(t, os.WriteFile(temp, data, 0o644))
	must(t, os.Rename(temp, path))
}

func (b *bench) make() *collect.Runner {
	src := New(b.c, b.dir, slog.New(slog.NewTextHandler(&b.notes, nil)))
	return collect.New(collect.Options{
		Name: "files", Source: src, Open: b.log.Open, Quarantine: &collecttest.Quarantine{}, Config: b.runner,
	})
}

func (b *bench) once(t *testing.T) {
	t.Helper()
	must(t, b.make().Run(t.Context(), true))
}

// live runs in the background of a synctest bubble until stop.
func (b *bench) live(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- b.make().Run(ctx, false) }()
	return func() {
		cancel()
		must(t, <-result)
	}
}

// items are "stream: raw_data", with "!reason" where that is malformed, in the order of the topic.
func (b *bench) items(t *testing.T) []string {
	t.Helper()
	items := []string{}
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		must(t, err)
		s := r.Position.Stream + ": " + string(v.RawData)
		if reason, is := envelope.MetadataMalformed(v.Metadata); is {
			s += " !" + reason
		}
		items = append(items, s)
	}
	for _, fault := range b.log.Faults() {
		t.Error(fault)
	}
	return items
}

func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if d := cmp.Diff(want, b.items(t)); d != "" {
		t.Errorf("items (-want +got):\n%s", d)
	}
}

func gzipped(t *testing.T, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&out)
		_, err := w.Write([]byte(p))
		must(t, err)
		must(t, w.Close())
	}
	return out.Bytes()
}

func TestFormats(t *testing.T) {
	bom := "\xef\xbb\xbf"
	for _, c := range []struct {
		name, data string
		want       []string
	}{
		{"a.csv", bom + "x,x,\r\n1,\"2\n\",3\r\n4,5\r\n", []string{`{"x":"1","x_2":"2\n","_c2":"3"}`, `"4,5" !row of 2 fields where there should be 3`}},
		{"a.tsv", "x\ty\n1\t2\n", []string{`{"x":"1","y":"2"}`}},
		{"a.csv", "", nil},
		{"a.csv", "x,y", nil},
		{"a.csv", "x\n\xff\n", []string{`{"eA==":"/w=="} !not UTF-8`}},
		{"a.ndjson", bom + "{\"a\" : 1.10}\n\n 2 \n{]\n3", []string{`{"a":1.10}`, `2`, `"{]" !`, `3`}},
		{"a.json", bom + "{\n \"a\": [1, 2]\n}\n", []string{`{"a":[1,2]}`}},
		{"a.json", "{\"a\":1}\n{\"a\":2}", []string{`{"a":1}`, `{"a":2}`}},
		{"a.txt", bom + "one\r\n\ntwo", []string{`"one"`, `""`, `"two"`}},
		{"a.log", "caf\xe9\n", []string{`"` + base64.StdEncoding.EncodeToString([]byte("caf\xe9")) + `"`}},
		{"a.bin", "\x00" + bom, []string{`"` + base64.StdEncoding.EncodeToString([]byte("\x00"+bom)) + `"`}},
		{"README", "one\n", []string{`"one"`}},
	} {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%.10q/%v", c.name, c.data, zipped), func(t *testing.T) {
				b, name, data := newBench(t, "*"), c.name, []byte(c.data)
				if zipped {
					name, data = name+".gz", gzipped(t, c.data[:len(c.data)/2], c.data[len(c.data)/2:])
				}
				b.write(t, name, data)
				for range 2 {
					b.once(t)
					got := b.items(t)
					if len(got) != len(c.want) {
						t.Fatalf("items %q, want %q", got, c.want)
					}
					for i := range got {
						if want := name + "#0: " + c.want[i]; got[i] != want && !(strings.Contains(want, "!") && strings.HasPrefix(got[i], want[:strings.Index(want, "!")+1])) {
							t.Errorf("item %d: %s, want %s", i, got[i], want)
						}
					}
				}
			})
		}
	}
}

func TestOriginAndPosition(t *testing.T) {
	b := newBench(t, "a.csv")
	b.write(t, "a.csv", []byte("x\n1\n22\n"))
	b.once(t)
	for i, at := range []string{"2", "4"} {
		v, err := envelope.Parse(b.log.Records()[i].Value)
		must(t, err)
		var m struct{ Origin, Position string }
		must(t, json.Unmarshal(v.Metadata, &m))
		if m.Origin != filepath.Join(b.dir, "a.csv") || m.Position != at {
			t.Errorf("item %d: %+v", i, m)
		}
	}
}

func TestUnfinishedEndsWaitUntilTheFileSettles(t *testing.T) {
	whole := strings.Repeat("x", 100) + "\n"
	cut := gzipped(t, whole, whole)[:40]
	for _, c := range []struct {
		name        string
		data        []byte
		early, late []string
	}{
		{"a.log", []byte("1\n2"), []string{`"1"`}, []string{`"2"`}},
		{"a.csv", []byte("x\n1\n\"2\n3"), []string{`{"x":"1"}`}, []string{"\"\\\"2\" !quote opened in field 1 never closes", `{"x":"3"}`}},
		{"a.json", []byte("{\n}\n"), nil, []string{`{}`}},
		{"a.json", []byte(`[{"a":1}, 2`), []string{`{"a":1}`}, []string{`" 2" !the array never closes`}},
		{"a.json", []byte("[1]\n"), []string{"1"}, nil},
		{"a.json.gz", gzipped(t, `[{"a":`, `1},"x"]`), []string{`{"a":1}`, `"x"`}, nil},
		{"a.bin", []byte("\x00"), nil, []string{`"AA=="`}},
		{"a", []byte("1"), nil, []string{`"1"`}},
		{"a.log.gz", cut, []string{`"` + whole[:100] + `"`}, []string{`"" !`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a*")
				stop := b.live(t)
				expect := func(want []string) {
					t.Helper()
					synctest.Wait()
					got := b.items(t)
					if len(got) != len(want) {
						t.Fatalf("items %q, want %q", got, want)
					}
					for i := range got {
						if !strings.HasPrefix(got[i], c.name+"#0: "+want[i]) {
							t.Errorf("item %q, want %q", got[i], want[i])
						}
					}
				}
				b.write(t, c.name, c.data)
				time.Sleep(b.c.Settle - time.Millisecond)
				expect(c.early)
				time.Sleep(3 * b.c.Every)
				expect(append(c.early, c.late...))
				time.Sleep(time.Hour)
				expect(append(c.early, c.late...))
				stop()
				stop = b.live(t) // and a new process
				time.Sleep(time.Minute)
				expect(append(c.early, c.late...))
				stop()
			})
		})
	}
}

func TestGrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a.csv")
		path := filepath.Join(b.dir, "a.csv")
		stop := b.live(t)
		text := "x,y\n1,\"2\n3\"\n4,5\n"
		for _, c := range text {
			appendTo(t, path, string(c)) // slower than the listings, quicker than settle
			time.Sleep(3 * b.c.Every)
		}
		stop()
		b.expect(t, `a.csv#0: {"x":"1","y":"2\n3"}`, `a.csv#0: {"x":"4","y":"5"}`)
	})
}

// An array that is written slowly, in a file that is read by one process after the other, gives each element once.
func TestGrowingArray(t *testing.T) {
	for _, packed := range []bool{false, true} {
		b := newBench(t, "a.json")
		b.c.Settle = time.Hour
		text := "\xef\xbb\xbf [ {\"a\":[1,2]},\n\"x, ]\" , [3],4\n]\n[5]"
		var want []string
		for _, element := range []string{`{"a":[1,2]}`, `"x, ]"`, "[3]", "4", "5"} {
			want = append(want, "a.json#0: "+element)
		}
		for n := range len(text) {
			data := []byte(text[:n+1])
			if packed {
				data = gzipped(t, text[:n+1])
			}
			b.write(t, "a.json", data)
			synctest.Test(t, func(t *testing.T) {
				stop := b.live(t)
				time.Sleep(3 * b.c.Every)
				stop()
			})
		}
		b.expect(t, want...)
	}
}

// What follows an element that is too long comes in parts: nobody knows where it ends.
func TestLongElement(t *testing.T) {
	b := newBench(t, "a.json")
	b.c.MaxItem = 1 << 10
	long := `[1,{"pad":"` + strings.Repeat("x", 300_000) + `"},2]`
	b.write(t, "a.json", []byte(long))
	b.once(t)
	got := b.items(t)
	if len(got) < 3 || got[0] != "a.json#0: 1" {
		t.Fatalf("%d items: %.200q", len(got), got)
	}
	for _, part := range got[1:] {
		if !strings.Contains(part, "!part of an item that is longer than max_item") {
			t.Errorf("%.100q", part)
		}
	}
	before := len(got)
	b.once(t)
	if after := b.items(t); len(after) != before {
		t.Errorf("read again there are %d items, not %d", len(after), before)
	}
}

// A line that was taken for finished and is finished after all is not followed by an empty one.
func TestLateNewline(t *testing.T) {
	for _, newline := range []string{"\n", "\r\n"} {
		b := newBench(t, "a.txt")
		b.write(t, "a.txt", []byte("1"))
		b.once(t)
		b.write(t, "a.txt", []byte("1"+newline+"2"))
		b.once(t)
		b.write(t, "a.txt", []byte("1"+newline+"2"+newline+newline))
		b.once(t)
		b.expect(t, `a.txt#0: "1"`, `a.txt#0: "2"`, `a.txt#0: ""`)
	}
}

func TestReplaced(t *testing.T) {
	long := strings.Repeat("0123456789\n", 2000)
	for _, c := range []struct {
		name, first, second string
		fresh               bool // a new generation
	}{
		{"grown", "1\n2\n", "1\n2\n3\n", false},
		{"same", "1\n2\n", "1\n2\n", false},
		{"shorter", "1\n2\n", "1\n", true},
		{"empty", "1\n2\n", "", true},
		{"other text", "1\n2\n", "1\n3\n", true},
		{"other and longer", "1\n2\n", "4\n5\n6\n", true},
		{"long, other before the end", long, long[:len(long)-4000] + "x" + long[len(long)-3999:], true},
		{"long, other at the end", long, long[:len(long)-2] + "x\n", true},
	} {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, zipped), func(t *testing.T) {
				b := newBench(t, "a.txt")
				put := func(text string) {
					if zipped {
						b.write(t, "a.txt", gzipped(t, text))
					} else {
						b.write(t, "a.txt", []byte(text))
					}
				}
				put(c.first)
				b.once(t)
				put(c.second)
				must(t, os.Chtimes(filepath.Join(b.dir, "a.txt"), time.Time{}, time.Now().Add(time.Minute)))
				b.once(t)
				want, rest := []string{}, c.second
				for line := range strings.Lines(c.first) {
					want = append(want, fmt.Sprintf("a.txt#0: %q", strings.TrimSpace(line)))
				}
				generation := 1
				if !c.fresh {
					generation, rest = 0, strings.TrimPrefix(c.second, c.first)
				}
				for line := range strings.Lines(rest) {
					want = append(want, fmt.Sprintf("a.txt#%d: %q", generation, strings.TrimSpace(line)))
				}
				b.expect(t, want...)
				_, cursor := b.log.Snapshots()
				if _, known := cursor.Streams["a.txt#0"]; known == c.fresh || len(cursor.Streams) != 1 {
					t.Errorf("the cursor knows %v", cursor.Streams)
				}
			})
		}
	}
}

// A document is the whole file, so one that grew is another one; so is a header that grew.
func TestWholeFilesThatGrow(t *testing.T) {
	b := newBench(t, "a.*")
	b.write(t, "a.json", []byte("{\n}"))
	b.write(t, "a.csv", []byte("x"))
	b.once(t)
	b.write(t, "a.json", []byte("{\n}\n "))
	b.write(t, "a.csv", []byte("x,y\n1,2\n"))
	b.once(t)
	b.once(t)
	got := b.items(t)
	want := []string{"a.json#0: {}", "a.csv#1: {\"x\":\"1\",\"y\":\"2\"}", "a.json#1: {}"}
	if got[len(got)-1] == want[1] {
		want[1], want[2] = want[2], want[1]
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A gzip file that arrives in pieces gives its lines as they can be read, tells once of each length it stayed at that it is
// short, and goes on.
func TestShortGzip(t *testing.T) {
	b := newBench(t, "a.txt")
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "%d %x\n", i, i*i*7919)
	}
	half := text.Len() / 2
	data := gzipped(t, text.String()[:half], text.String()[half:])
	for _, n := range []int{1, 5, 15, len(data) / 3, len(data) / 3, len(data) - 4, len(data), len(data)} {
		b.write(t, "a.txt", data[:n])
		b.once(t)
	}
	var lines []string
	short := 0
	for _, it := range b.items(t) {
		if strings.Contains(it, " !gzip is damaged: it ends in the middle after ") {
			short++
		} else {
			lines = append(lines, it)
		}
	}
	if short != 4 {
		t.Errorf("told %d times that it is short, want 4", short)
	}
	// The single byte 0x1f is no gzip file yet, and begins another generation.
	if len(lines) != 3001 || !strings.HasPrefix(lines[3000], "a.txt#1: \"2999 ") {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

func TestDamagedGzip(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"checksum": func(b []byte) []byte { b[len(b)-8] ^= 1; return b },
		"garbage":  func(b []byte) []byte { return append(b, "garbage"...) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "*")
			b.write(t, "a.txt.gz", damage(gzipped(t, "1\n2\n3")))
			b.write(t, "b.txt", []byte("4\n"))
			b.once(t)
			b.once(t)
			bad := 0
			for _, it := range b.items(t) {
				if strings.Contains(it, "!gzip is damaged") && strings.Contains(it, `"3"`) {
					bad++
				}
			}
			if len(b.items(t)) != 4 || bad != 1 {
				t.Errorf("items %q", b.items(t))
			}
		})
	}
}

func TestLongItemsComeInParts(t *testing.T) {
	for _, name := range []string{"a.txt", "a.json", "a.bin", "a.csv"} {
		for _, zipped := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, zipped), func(t *testing.T) {
				b := newBench(t, "a.*")
				b.c.MaxItem, b.c.MaxRatio = 1<<20, 0 // the text compresses too well
				if name == "a.bin" {
					b.c.Format = formatBytes
				}
				long := strings.Repeat("0123456789abcdef", 150<<10)
				text := long + "\n" + "1\n"
				data := []byte(text)
				if zipped {
					data = gzipped(t, text)
				}
				b.write(t, name, data)
				for try := 1; len(b.items(t)) < 3 && try < 10; try++ { // a new process after each part
					b.log.Fail(2)
					if err := b.make().Run(t.Context(), true); err == nil {
						break
					}
				}
				b.log.Fail(0)
				b.once(t)
				var whole []byte
				rest := []string{}
				for i, it := range b.items(t) {
					raw, reason, _ := strings.Cut(strings.TrimPrefix(it, name+"#0: "), " !")
					if i > 2 || !strings.HasPrefix(reason, "part of an item that is longer than max_item") {
						rest = append(rest, it)
						continue
					}
					var s string
					must(t, json.Unmarshal([]byte(raw), &s))
					whole = append(whole, s...)
				}
				want := []string{name + `#0: "1"`}
				switch name {
				case "a.csv":
					want[0] += " !the header of this file is malformed: it is longer than max_item"
				case "a.json", "a.bin":
					want, long = want[:0], text
				}
				if d := cmp.Diff(want, rest); d != "" || string(whole) != long {
					t.Errorf("%d bytes of %d, then (-want +got):\n%.1000s", len(whole), len(long), d)
				}
			})
		}
	}
}

func TestGlobs(t *testing.T) {
	all := []string{"in/a.csv", "in/.hidden.csv", "in/x/b.csv", "in/x/y/c.csv", "in/.x/d.csv", "e.csv", "in/f.txt", "other/g.csv", "in/{h}.csv"}
	for pattern, want := range map[string]string{
		"in/*.csv":         "in/a.csv in/{h}.csv",
		"in/**/*.csv":      "in/a.csv in/x/b.csv in/x/y/c.csv in/{h}.csv",
		"**":               "e.csv in/a.csv in/f.txt in/x/b.csv in/x/y/c.csv in/{h}.csv other/g.csv",
		"in/.*.csv":        "in/.hidden.csv",
		"in/.x/*":          "in/.x/d.csv",
		"*/*.csv":          "in/a.csv in/{h}.csv other/g.csv",
		"{in/x,other}/*":   "in/x/b.csv other/g.csv",
		"in/x/b.csv":       "in/x/b.csv",
		"./in/../e.csv":    "e.csv",
		"in/\\{h\\}.csv":   "in/{h}.csv",
		"in/x/**/y/*.csv":  "in/x/y/c.csv",
		"i[n]/?.{csv,txt}": "in/a.csv in/f.txt",
	} {
		b := newBench(t, pattern)
		b.dir = filepath.Join(b.dir, "odd [name]* {a}\\") // must not be read as a glob
		for _, name := range all {
			b.write(t, name, []byte("x\n"))
		}
		s := New(b.c, b.dir, nil)
		found, err := s.find(t.Context(), func(path string, err error) {
			if err != nil {
				t.Error(path, err)
			}
		})
		must(t, err)
		var names []string
		for _, path := range found {
			names = append(names, s.nameOf(path))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

// A file outside the base folder has its whole path for a name, and its position is found again.
func TestAbsolutePath(t *testing.T) {
	b, elsewhere := newBench(t, ""), t.TempDir()
	b.c.Path = filepath.Join(elsewhere, "*")
	must(t, os.WriteFile(filepath.Join(elsewhere, "a.txt"), []byte("1\n"), 0o644))
	b.once(t)
	b.once(t)
	b.expect(t, filepath.Join(elsewhere, "a.txt")+`#0: "1"`)
}

func TestUnreadable(t *testing.T) {
	b := newBench(t, "**/*.txt")
	b.write(t, "a/1.txt", []byte("1\n"))
	must(t, os.Symlink("2.txt", filepath.Join(b.dir, "a", "2.txt"))) // a link to itself
	must(t, os.Symlink("nowhere", filepath.Join(b.dir, "a", "3.txt")))
	must(t, os.Mkdir(filepath.Join(b.dir, "dir.txt"), 0o755))
	b.write(t, "z/4.txt", []byte("4\n"))
	err := b.make().Run(t.Context(), true)
	if err == nil || !strings.Contains(err.Error(), "1 files or folders of **/*.txt could not be read") || !strings.Contains(err.Error(), "2.txt") {
		t.Errorf("error %v", err)
	}
	if n := len(b.items(t)); n != 2 {
		t.Errorf("%d items, want the 2 that can be read", n)
	}
}

// What keeps a file from being read is logged when it begins, not at every listing.
func TestUnreadableIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "*.txt")
		must(t, os.Symlink("2.txt", filepath.Join(b.dir, "2.txt")))
		stop := b.live(t)
		time.Sleep(time.Minute)
		must(t, os.Remove(filepath.Join(b.dir, "2.txt")))
		b.write(t, "2.txt", []byte("2\n"))
		time.Sleep(time.Minute)
		stop()
		b.expect(t, `2.txt#0: "2"`)
		if n := strings.Count(b.notes.String(), "cannot read"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, b.notes.String())
		}
	})
}

func TestFolderThatIsNotThere(t *testing.T) {
	b := newBench(t, "in/*.txt")
	if err := b.make().Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "listing "+filepath.Join(b.dir, "in")) {
		t.Errorf("error %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		stop := b.live(t)
		time.Sleep(time.Minute)
		b.write(t, "in/a.txt", []byte("1\n"))
		time.Sleep(time.Minute)
		stop()
	})
	b.expect(t, `in/a.txt#0: "1"`)
}

// What was read of a file that goes before it settles is not lost, and a file that comes back is not read twice.
func TestVanishing(t *testing.T) {
	for _, name := range []string{"a.txt", "a", "a.csv"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a*")
				stop := b.live(t)
				b.write(t, name, []byte("x\n1"))
				time.Sleep(2 * b.c.Every)
				must(t, os.Rename(filepath.Join(b.dir, name), filepath.Join(b.dir, "gone")))
				time.Sleep(2 * b.c.Every)
				synctest.Wait()
				got := b.items(t)
				if len(got) == 0 || !strings.HasSuffix(got[len(got)-1], `"1"`) && !strings.HasSuffix(got[len(got)-1], `"1"}`) {
					t.Errorf("items %q", got)
				}
				must(t, os.Rename(filepath.Join(b.dir, "gone"), filepath.Join(b.dir, name)))
				time.Sleep(time.Minute)
				stop()
				if again := b.items(t); len(again) != len(got) {
					t.Errorf("items %q", again)
				}
			})
		})
	}
}

// Renaming another file over one is seen although nothing of it changes but its number.
func TestRenamedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a.txt")
		b.write(t, "a.txt", []byte("1\n"))
		b.write(t, "b", []byte("2\n"))
		at := time.Now()
		for _, name := range []string{"a.txt", "b"} {
			must(t, os.Chtimes(filepath.Join(b.dir, name), at, at))
		}
		stop := b.live(t)
		time.Sleep(time.Minute)
		must(t, os.Rename(filepath.Join(b.dir, "b"), filepath.Join(b.dir, "a.txt")))
		time.Sleep(time.Minute)
		stop()
		b.expect(t, `a.txt#0: "1"`, `a.txt#1: "2"`)
	})
}

// After a restart a gzip file that did not change is not decompressed again.
func TestFinishedGzipIsLeftAlone(t *testing.T) {
	b := newBench(t, "a.txt.gz")
	data := gzipped(t, "1\n")
	path := filepath.Join(b.dir, "a.txt.gz")
	b.write(t, "a.txt.gz", data)
	info, err := os.Stat(path)
	must(t, err)
	b.once(t)
	data[len(data)-8] ^= 1 // would be damaged if it were read
	b.write(t, "a.txt.gz", data)
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	b.once(t)
	b.expect(t, `a.txt.gz#0: "1"`)
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime().Add(time.Second)))
	b.once(t)
	if n := len(b.items(t)); n != 2 {
		t.Errorf("%d items, want also that the file is damaged", n)
	}
}

func TestPositionThatCannotBeRead(t *testing.T) {
	b := newBench(t, "*.txt")
	b.write(t, "a.txt", []byte("1\n"))
	b.write(t, "b.txt", []byte("2\n"))
	open := func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
		log, c, err := b.log.Open(ctx)
		c.Streams["a.txt#3"] = envelope.StreamCursor{Seq: 1, Resume: json.RawMessage(`"?"`)}
		return log, c, err
	}
	err := collect.New(collect.Options{Name: "files", Source: New(b.c, b.dir, nil), Open: open, Config: b.runner}).Run(t.Context(), true)
	if err == nil || !strings.Contains(err.Error(), `reading position "?"`) {
		t.Errorf("error %v", err)
	}
	b.expect(t, `b.txt#0: "2"`)
}

func TestManySmallFiles(t *testing.T) {
	const n = 3_000
	b := newBench(t, "**")
	for i := range n {
		name := filepath.Join(b.dir, fmt.Sprint(i%100), fmt.Sprintf("%d.txt", i))
		if i < 100 {
			must(t, os.Mkdir(filepath.Dir(name), 0o755))
		}
		must(t, os.WriteFile(name, fmt.Appendf(nil, "%d", i), 0o644))
	}
	most := 0
	b.log.Buffer = 1000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			fds, _ := os.ReadDir("/proc/self/fd")
			most = max(most, len(fds))
			time.Sleep(time.Millisecond)
		}
	}()
	for range 2 {
		b.once(t)
		if got := len(b.items(t)); got != n {
			t.Fatalf("%d items, want %d", got, n)
		}
	}
	if <-done; most > 100 {
		t.Errorf("%d files open at once", most)
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	good.Path = "in/**/*.{csv,tsv}"
	if f := good.Validate(); len(f) > 0 {
		t.Errorf("%v", f)
	}
	bad := Config{Path: "[", Reading: Reading{Format: "xml", Every: -1, Settle: -1, MaxItem: 1, MaxRatio: -1, CSV: CSV{Delimiter: "ab"}}}
	var paths []string
	for _, f := range bad.Validate() {
		paths = append(paths, strings.Join(f.Path, "."))
	}
	if got := strings.Join(paths, " "); got != "path format array every settle max_item max_ratio csv.delimiter" {
		t.Errorf("faults of %s", got)
	}
	empty := DefaultConfig()
	if f := empty.Validate(); len(f) != 1 {
		t.Errorf("%v", f)
	}
}

// A log that is emptied and begins again with the same line is a new generation, even if it was seen only while it was empty.
func TestTruncated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a.txt")
		stop := b.live(t)
		for _, text := range []string{"1\n", "", "1\n2\n"} {
			b.write(t, "a.txt", []byte(text))
			time.Sleep(2 * b.c.Every)
		}
		stop()
		b.expect(t, `a.txt#0: "1"`, `a.txt#1: "1"`, `a.txt#1: "2"`)
	})
}

// TestForget: a file that is gone for long leaves the cursor; one that comes back before is not read again.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "in/*.ndjson")
		b.c.Forget = 3 * time.Hour
		b.write(t, "in/a.ndjson", []byte("1\n"))
		b.write(t, "in/empty.ndjson", nil)
		streams := func() int {
			_, c := b.log.Snapshots()
			return len(c.Streams)
		}
		remove := func(names ...string) {
			for _, name := range names {
				must(t, os.Remove(filepath.Join(b.dir, "in", name)))
			}
		}
		stop := b.live(t)
		time.Sleep(time.Minute)
		b.write(t, "in/b.ndjson", []byte("2\n"))
		time.Sleep(4 * time.Minute)
		remove("a.ndjson", "b.ndjson", "empty.ndjson")
		time.Sleep(2 * time.Hour)
		if n := streams(); n != 2 {
			t.Errorf("after 2h %d streams are known, want 2", n)
		}
		b.write(t, "in/a.ndjson", []byte("1\n"))
		time.Sleep(time.Hour)
		remove("a.ndjson")
		stop() // the time it is gone is not lost with the process
		stop = b.live(t)
		time.Sleep(150 * time.Minute)
		if n := streams(); n != 1 {
			t.Errorf("%d streams are known, want 1: b is gone for long, a is not", n)
		}
		b.expect(t, "in/a.ndjson#0: 1", "in/b.ndjson#0: 2")
		stop()
		time.Sleep(time.Hour)
		b.once(t)
		if n := streams(); n != 0 {
			t.Errorf("%d streams are known, want none", n)
		}
		b.write(t, "in/a.ndjson", []byte("1\n"))
		b.once(t)
		b.expect(t, "in/a.ndjson#0: 1", "in/b.ndjson#0: 2", "in/a.ndjson#0: 1")
	})
}

// TestUnreadableFolderForgetsNothing: what cannot be looked for is not gone.
func TestUnreadableFolderForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "in/*/*.ndjson")
		b.c.Forget = time.Hour
		b.write(t, "in/x/a.ndjson", []byte("1\n"))
		stop := b.live(t)
		time.Sleep(5 * time.Minute)
		must(t, os.Rename(filepath.Join(b.dir, "in"), filepath.Join(b.dir, "away"))) // nothing can be listed
		time.Sleep(5 * time.Hour)
		must(t, os.Rename(filepath.Join(b.dir, "away"), filepath.Join(b.dir, "in")))
		time.Sleep(5 * time.Hour)
		stop()
		if _, c := b.log.Snapshots(); len(c.Streams) != 1 {
			t.Errorf("the cursor has %v", c.Streams)
		}
		b.expect(t, "in/x/a.ndjson#0: 1")
	})
}
