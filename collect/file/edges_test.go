package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A first row that was taken without its line end is the same row when the line end comes later.
func TestFirstRowWithoutItsLineEnd(t *testing.T) {
	for _, c := range []struct {
		name, first, then string
		header            bool
		want              []string
	}{
		{"row", "1,2", "\n3,4\n", false, []string{`a.csv#0: {"_c0":"1","_c1":"2"}`, `a.csv#0: {"_c0":"3","_c1":"4"}`}},
		{"header", "x,y", "\n3,4\n", true, []string{`a.csv#1: {"x":"3","y":"4"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, "a.csv")
			b.c.CSV.Header = c.header
			b.write(t, "a.csv", []byte(c.first))
			b.once(t)
			b.write(t, "a.csv", []byte(c.first+c.then))
			b.once(t)
			b.once(t)
			b.expect(t, c.want...)
		})
	}
}

func TestFolderThatIsNotUTF8(t *testing.T) {
	b := newBench(t, "in/**/*.txt")
	b.write(t, "in/caf\xe9/d\xe9j\xe0.txt", []byte("1\n"))
	b.once(t)
	b.once(t)
	b.expect(t, "in/caf\xe9/d\xe9j\xe0.txt#0: \"1\"")
}

// The folder that the glob begins with may be a link.
func TestFolderThatIsALink(t *testing.T) {
	b := newBench(t, "link/*.txt")
	b.write(t, "in/a.txt", []byte("1\n"))
	must(t, os.Symlink("in", filepath.Join(b.dir, "link")))
	b.once(t)
	b.expect(t, `link/a.txt#0: "1"`)
}

// What was read of a file that another one replaces before it settles is not lost.
func TestReplacedBeforeItSettles(t *testing.T) {
	for _, way := range []string{"rename", "truncate", "empty"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, "a.log")
				path := filepath.Join(b.dir, "a.log")
				b.write(t, "a.log", []byte("1\n2"))
				stop := b.live(t)
				time.Sleep(2 * b.c.Every)
				want := []string{`a.log#0: "1"`, `a.log#0: "2"`}
				switch way {
				case "rename":
					must(t, os.Rename(path, path+".1"))
					b.write(t, "a.log", []byte("3\n"))
					want = append(want, `a.log#1: "3"`)
				case "truncate":
					b.write(t, "a.log", []byte("3\n"))
					want = append(want, `a.log#1: "3"`)
				case "empty":
					b.write(t, "a.log", nil)
				}
				time.Sleep(time.Minute)
				stop()
				b.expect(t, want...)
			})
		})
	}
}

// A folder that is not there is told of by the error, not again by every try.
func TestMissingFolderIsToldOnce(t *testing.T) {
	b := newBench(t, "in/*.txt")
	b.runner.Retry.Tries, b.runner.Retry.Max = 3, b.runner.Retry.Min
	err := b.make().Run(t.Context(), true)
	if err == nil || strings.Contains(err.Error(), "1 files") || strings.Contains(err.Error(), "stat .") {
		t.Errorf("error %v", err)
	}
	if n := strings.Count(b.notes.String(), "\n"); n > 1 {
		t.Errorf("%d lines:\n%s", n, b.notes.String())
	}
}

// A first line longer than what is first looked at is judged by all of it.
func TestLongFirstLine(t *testing.T) {
	long := `{"a":"` + strings.Repeat("x", 3<<20) + `"}`
	for name, data := range map[string]string{"a.json": long + "\n{}\n", "b": "\n" + long + "\n{}\n", "c.json": "{\"a\":\"" + strings.Repeat("x", 3<<20) + "\"\n}\n"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "*")
			b.write(t, name, []byte(data))
			b.once(t)
			b.once(t)
			got := b.items(t)
			want := 2
			if name == "c.json" {
				want = 1
			}
			if len(got) != want {
				t.Fatalf("%d items, want %d", len(got), want)
			}
			for _, it := range got {
				if strings.Contains(it, "!") {
					t.Errorf("malformed: %.100s", it)
				}
			}
		})
	}
}
