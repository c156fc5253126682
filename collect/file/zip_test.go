package file

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zip"
	"github.com/klauspost/compress/zstd"

	"headwater/collect/collecttest"
)

// member is an entry of an archive that a test makes.
type member struct {
	name, text string
	method     uint16
	flags      uint16
}

func archived(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	z.RegisterCompressor(zstd.ZipMethodWinZip, zstd.ZipCompressor())
	z.RegisterCompressor(97, func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil })
	for _, m := range members {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method, Flags: m.flags})
		must(t, err)
		_, err = io.WriteString(w, m.text)
		must(t, err)
	}
	must(t, z.Close())
	return out.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func deflated(name, text string) member { return member{name: name, text: text, method: zip.Deflate} }

func TestArchive(t *testing.T) {
	b := newBench(t, "in/*")
	b.write(t, "in/A.ZIP", archived(t,
		member{name: "folder/"},
		deflated("folder/a.csv", "x,y\n1,2\n3,4"),
		member{name: "b.ndjson", text: "{\"n\":1}\n{\"n\":2}\n", method: zstd.ZipMethodWinZip},
		member{name: "c.json", text: `[{"n":3},{"n":4}]`},
		deflated("d.log.gz", string(gzipped(t, "5\n", "6\n"))),
		deflated("../../e.txt", "up\n"), deflated("/e.txt", "root\n"), deflated(`win\f.txt`, "back\n"), deflated("caf\xe9.txt", "8\n"),
		deflated("e.txt", "again\n"), deflated("g.txt", ""),
		deflated(".hidden.txt", "no\n"), deflated("__MACOSX/a.csv", "no\n"), deflated("x/.git/config", "no\n"),
	))
	b.write(t, "in/empty.zip", archived(t))
	b.write(t, "in/lines.zip", []byte("no archive\n"))
	b.write(t, "in/gz.zip", gzipped(t, "no archive either\n"))
	want := []string{
		`in/A.ZIP/folder/a.csv#0: {"x":"1","y":"2"}`, `in/A.ZIP/folder/a.csv#0: {"x":"3","y":"4"}`,
		`in/A.ZIP/b.ndjson#0: {"n":1}`, `in/A.ZIP/b.ndjson#0: {"n":2}`,
		`in/A.ZIP/c.json#0: {"n":3}`, `in/A.ZIP/c.json#0: {"n":4}`,
		`in/A.ZIP/d.log.gz#0: "5"`, `in/A.ZIP/d.log.gz#0: "6"`,
		`in/A.ZIP/e.txt#0: "up"`, `in/A.ZIP/e.txt#2#0: "root"`, `in/A.ZIP/win/f.txt#0: "back"`, "in/A.ZIP/caf\xe9.txt#0: \"8\"",
		`in/A.ZIP/e.txt#3#0: "again"`,
		`in/lines.zip#0: "no archive"`, `in/gz.zip#0: "no archive either"`,
	}
	slices.Sort(want)
	for range 3 { // a process that begins again knows what was read
		b.once(t)
		got := b.items(t)
		slices.Sort(got)
		if d := slices.Compare(want, got); d != 0 {
			t.Fatalf("got %q", got)
		}
	}
	origin := `"origin":"` + filepath.Join(b.dir, "in/A.ZIP/folder/a.csv") + `"`
	if !slices.ContainsFunc(b.log.Records(), func(r collecttest.Stored) bool { return strings.Contains(string(r.Value), origin) }) {
		t.Errorf("nothing says %s", origin)
	}
}

// An office document is no archive of files, and an archive is one only by its name.
func TestZipByAnotherName(t *testing.T) {
	b := newBench(t, "*")
	b.write(t, "a.xlsx", archived(t, deflated("xl/sheet.xml", "<x/>")))
	b.once(t)
	if got := b.items(t); len(got) != 1 || !strings.HasPrefix(got[0], `a.xlsx#0: "UEsD`) {
		t.Errorf("got %q", got)
	}
}

// What is appended to an entry goes on, another beginning is another generation, a new entry is a new stream; and the same archive as another file
// of the same name too.
func TestArchiveThatChanges(t *testing.T) {
	b := newBench(t, "*.zip")
	want := []string{`a.zip/a.log#0: "1"`, `a.zip/b.log#0: "x"`}
	b.write(t, "a.zip", archived(t, deflated("a.log", "1\n"), deflated("b.log", "x\n")))
	b.once(t)
	b.expect(t, want...)
	b.write(t, "a.zip", archived(t, deflated("new.log", "n\n"), deflated("a.log", "1\n2\n"), deflated("b.log", "y\nx\n")))
	b.once(t)
	want = append(want, `a.zip/new.log#0: "n"`, `a.zip/a.log#0: "2"`, `a.zip/b.log#1: "y"`, `a.zip/b.log#1: "x"`)
	b.expect(t, want...)
	b.write(t, "a.zip", []byte("plain\n"))
	b.once(t)
	want = append(want, `a.zip#0: "plain"`)
	b.expect(t, want...)
	b.write(t, "a.zip", archived(t, deflated("a.log", "1\n2\n3")))
	b.once(t)
	b.once(t)
	want = append(want, `a.zip/a.log#0: "3"`)
	b.expect(t, want...)
}

// An archive that is still written has no directory: it waits, and is told of when it does not change any more.
func TestArchiveThatIsWritten(t *testing.T) {
	whole := archived(t, deflated("a.log", "1\n"), deflated("b.log", "2\n"))
	for _, settles := range []bool{false, true} {
		t.Run(fmt.Sprint(settles), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "*.zip")
				stop := b.live(t)
				b.write(t, "a.zip", whole[:len(whole)/2])
				time.Sleep(b.c.Settle / 2)
				b.expect(t)
				want := []string{}
				if settles {
					time.Sleep(b.c.Settle)
					want = []string{`a.zip#0: "" !zip is damaged: zip: not a valid zip file after ` + fmt.Sprint(len(whole)/2) + ` bytes, which decompress to 0; this is what follows the last whole item`}
					b.expect(t, want...)
				}
				b.write(t, "a.zip", whole)
				time.Sleep(time.Minute)
				stop()
				b.expect(t, append(want, `a.zip/a.log#0: "1"`, `a.zip/b.log#0: "2"`)...)
				b.once(t)
				b.expect(t, append(want, `a.zip/a.log#0: "1"`, `a.zip/b.log#0: "2"`)...)
			})
		})
	}
}

// An entry that cannot be read is told of once and keeps no other from being read.
func TestDamagedEntries(t *testing.T) {
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte('a' + i*i%23)
	}
	broken := archived(t, member{name: "a.log", text: "1\n" + string(noise) + "\n"}, deflated("b.log", "2\n"))
	i := bytes.Index(broken, noise[:50])
	broken[i+20] ^= 1 // stored, so that only the checksum tells
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"checksum":  {broken, "zip is damaged: zip: checksum error"},
		"encrypted": {archived(t, member{name: "a.log", text: "1\n", flags: 1}, deflated("b.log", "2\n")), "the entry is encrypted"},
		"method":    {archived(t, member{name: "a.log", text: "1\n", method: 97}, deflated("b.log", "2\n")), "compression method 97 is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "*.zip")
			b.write(t, "a.zip", c.data)
			b.once(t)
			got := b.items(t)
			told, good := 0, 0
			for _, it := range got {
				if strings.Contains(it, c.want) && strings.HasPrefix(it, "a.zip/a.log#0: ") {
					told++
				}
				if it == `a.zip/b.log#0: "2"` {
					good++
				}
			}
			if told != 1 || good != 1 {
				t.Errorf("%d items, the last is %.300s", len(got), got[len(got)-1])
			}
			b.once(t)
			if again := b.items(t); len(again) != len(got) {
				t.Errorf("read again there are %d items instead of %d", len(again), len(got))
			}
		})
	}
}

// TestOverlappingEntries: an archive of which many entries are the same bytes would have more text than max_ratio allows.
func TestOverlappingEntries(t *testing.T) {
	data := archived(t, deflated("a.log", strings.Repeat("a line\n", 300)), deflated("b.log", strings.Repeat("a line\n", 300)))
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	data[at+20], data[at+21], data[at+22] = 0xff, 0xff, 0xff // the second entry's compressed size
	b := newBench(t, "*.zip")
	b.write(t, "a.zip", data)
	b.once(t)
	b.once(t)
	if got := b.items(t); len(got) != 1 || !strings.Contains(got[0], "they overlap") {
		t.Errorf("%d items, the last is %.300s", len(got), got[len(got)-1])
	}
}

// A bomb in an archive ends at the same byte wherever reading was broken off before, and the entry after it is read.
func TestBombInArchive(t *testing.T) {
	line := strings.Repeat("0", 59_999) + "\n"
	data := archived(t, deflated("a.log", strings.Repeat(line, 100)), deflated("b.log", "good\n"))
	var first []string
	for stops := range 3 {
		b := newBench(t, "*")
		b.c.MaxItem = 1 << 20
		b.write(t, "a.zip", data)
		for range stops {
			b.log.Fail(7)
			if err := b.make().Run(t.Context(), true); err == nil {
				t.Fatal("it was not stopped")
			}
		}
		b.log.Fail(0)
		b.once(t)
		got := b.items(t)
		if n := len(got); n < 20 || n > 90 || !strings.Contains(got[n-2], "!zip-bomb: ") || got[n-1] != `a.zip/b.log#0: "good"` {
			t.Fatalf("%d items", n)
		}
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Errorf("%d stops make a difference: %d items instead of %d", stops, len(got), len(first))
		}
		b.c.MaxRatio = 0
		b.once(t)
		if n := len(b.items(t)); n != 102 {
			t.Errorf("without a limit there are %d items", n)
		}
	}
}

func TestManyEntries(t *testing.T) {
	const n = 10_000
	var members []member
	for i := range n {
		members = append(members, member{name: fmt.Sprintf("%d.log", i), text: fmt.Sprintln(i)})
	}
	b := newBench(t, "*.zip")
	b.write(t, "a.zip", archived(t, members...))
	b.once(t)
	b.once(t)
	if got := b.items(t); len(got) != n || got[n-1] != fmt.Sprintf("a.zip/%d.log#0: \"%d\"", n-1, n-1) {
		t.Errorf("%d items, the last is %s", len(got), got[len(got)-1])
	}
}

// An archive that has not changed is not decompressed again by the next process.
func TestFinishedArchiveIsLeftAlone(t *testing.T) {
	b := newBench(t, "*.zip")
	data := archived(t, member{name: "a.log", text: "1\n"}, deflated("b.log", "2\n"))
	b.write(t, "a.zip", data)
	b.once(t)
	path := filepath.Join(b.dir, "a.zip")
	info, err := os.Stat(path)
	must(t, err)
	data[bytes.Index(data, []byte("1\n"))] = '7'
	must(t, os.WriteFile(path, data, 0o644))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	b.once(t)
	b.expect(t, `a.zip/a.log#0: "1"`, `a.zip/b.log#0: "2"`)
}

// The entries of an archive that is gone for long are forgotten, and those of one that comes back before that are not read again.
func TestForgetArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "*.zip")
		b.c.Forget = time.Hour
		path := filepath.Join(b.dir, "a.zip")
		data := archived(t, deflated("a.log", "1\n"))
		b.write(t, "a.zip", data)
		stop := b.live(t)
		defer stop()
		away := func(d time.Duration) {
			time.Sleep(2 * seekGone)
			must(t, os.Rename(path, path+".away"))
			time.Sleep(d)
			must(t, os.Rename(path+".away", path))
			must(t, os.Chtimes(path, time.Now(), time.Now()))
			time.Sleep(2 * seekGone)
		}
		away(40 * time.Minute)
		away(40 * time.Minute)
		b.expect(t, `a.zip/a.log#0: "1"`)
		away(3 * time.Hour)
		b.expect(t, `a.zip/a.log#0: "1"`, `a.zip/a.log#0: "1"`)
	})
}

// zipWorld has the lines of all parts in one archive each, which is written anew for every line.
type zipWorld struct {
	world
	text map[int]string
}

func (w *zipWorld) Put(t *testing.T, part, n int) {
	w.text[part] += fmt.Sprintf("%d\n", n)
	must(t, os.WriteFile(filepath.Join(w.dir, ".new"), archived(t, deflated("x/first.log", ""), deflated("x/second.log", w.text[part])), 0o644))
	must(t, os.Rename(filepath.Join(w.dir, ".new"), w.path(part)))
}

func TestArchiveConformance(t *testing.T) {
	collecttest.Run(t, collecttest.Harness{Parts: 3, World: func(t *testing.T) collecttest.World {
		return &zipWorld{text: map[int]string{}, world: world{dir: t.TempDir(), name: "%d.zip", number: func(raw json.RawMessage) (n int, err error) {
			_, err = fmt.Sscanf(string(raw), "\"%d\"", &n)
			return n, err
		}}}
	}})
}
