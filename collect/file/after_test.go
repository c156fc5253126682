package file

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// left are the files that there are.
func (b *bench) left(t *testing.T) (names []string) {
	must(t, filepath.WalkDir(b.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(b.dir, path)
			names = append(names, name)
		}
		return err
	}))
	slices.Sort(names)
	return names
}

func (b *bench) expectLeft(t *testing.T, want string) {
	t.Helper()
	if got := strings.Join(b.left(t), " "); got != want {
		t.Errorf("the files are %q, want %q\n%s", got, want, b.notes.String())
	}
}

// expectSorted is expect where files are read at the same time.
func (b *bench) expectSorted(t *testing.T, want ...string) {
	t.Helper()
	got := b.items(t)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("items %q, want %q", got, want)
	}
}

func TestAfter(t *testing.T) {
	for after, want := range map[string]string{
		afterNone:   "in/a.log in/b.log.gz in/x/c.zip in/x/d.log",
		afterDelete: "",
		afterMove:   "old/a.log old/b.log.gz old/x/c.zip old/x/d.log",
		afterRename: "in/a.log.read in/b.log.gz.read in/x/c.zip.read in/x/d.log.read",
	} {
		t.Run(after, func(t *testing.T) {
			b := newBench(t, "in/**/*.{log,gz,zip}")
			b.c.After = after
			if after == afterMove {
				b.c.MoveTo = "old"
			}
			b.write(t, "in/a.log", []byte("1\n2"))
			b.write(t, "in/b.log.gz", gzipped(t, "3\n"))
			b.write(t, "in/x/c.zip", archived(t, deflated("e.log", "4\n"), deflated("f.log", "5\n")))
			b.write(t, "in/x/d.log", nil)
			b.once(t)
			b.once(t)
			b.expectSorted(t, `in/a.log#0: "1"`, `in/a.log#0: "2"`, `in/b.log.gz#0: "3"`, `in/x/c.zip/e.log#0: "4"`, `in/x/c.zip/f.log#0: "5"`)
			b.expectLeft(t, want)
		})
	}
}

// A file that comes under the name of one that was disposed of is another one, even with the same bytes.
func TestAfterTheSameAgain(t *testing.T) {
	b := newBench(t, "in/*")
	b.c.After, b.c.MoveTo = afterMove, "old"
	for range 2 {
		b.write(t, "in/a.log", []byte("1\n"))
		b.write(t, "in/a.zip", archived(t, deflated("e.log", "2\n")))
		b.once(t)
	}
	b.expectSorted(t, `in/a.log#0: "1"`, `in/a.log#1: "1"`, `in/a.zip/e.log#0: "2"`, `in/a.zip/e.log#1: "2"`)
	if n := len(b.left(t)); n != 4 {
		t.Errorf("%q", b.left(t))
	}
}

// What is not in Kafka yet, and what has changed since, is not touched.
func TestAfterWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "*.log")
		b.c.After = afterDelete
		b.write(t, "a.log", []byte("1\n"))
		release := b.log.Hold()
		stop := b.live(t)
		time.Sleep(time.Minute)
		b.expectLeft(t, "a.log")
		appendTo(t, filepath.Join(b.dir, "a.log"), "2\n")
		release()
		time.Sleep(b.c.Settle - 2*time.Second)
		b.expectLeft(t, "a.log")
		time.Sleep(time.Minute)
		b.expectLeft(t, "")
		stop()
		b.expect(t, `a.log#0: "1"`, `a.log#0: "2"`)
	})
}

// Whatever comes between the last look and the action is not lost by it.
func TestAfterChanged(t *testing.T) {
	b := newBench(t, "a.log")
	b.c.After = afterDelete
	b.write(t, "a.log", []byte("1\n"))
	info, err := os.Stat(filepath.Join(b.dir, "a.log"))
	must(t, err)
	appendTo(t, filepath.Join(b.dir, "a.log"), "2\n")
	for _, err := range []error{local{}.Remove(t.Context(), filepath.Join(b.dir, "a.log"), info), local{}.Rename(t.Context(), filepath.Join(b.dir, "a.log"), filepath.Join(b.dir, "b"), info)} {
		if !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
	}
	b.expectLeft(t, "a.log")
}

// What is damaged is left for somebody to see; so is what cannot be disposed of, which is told.
func TestAfterInVain(t *testing.T) {
	b := newBench(t, "*")
	b.c.After = afterRename
	b.write(t, "a.log.gz", gzipped(t, "1\n")[:10])
	b.once(t)
	b.expectLeft(t, "a.log.gz")
	b.write(t, "b.log", []byte("1\n"))
	if err := b.make().Run(t.Context(), true); err == nil || !strings.Contains(err.Error(), "b.log.read would be read again") {
		t.Error(err)
	}
	b.expectLeft(t, "a.log.gz b.log")
}

// A kill after the file was disposed of and before that was known: what comes next under its name is another file.
func TestAfterKilled(t *testing.T) {
	b := newBench(t, "*.log")
	b.write(t, "a.log", []byte("1\n"))
	b.once(t)
	_, cursor := b.log.Snapshots()
	s := cursor.Streams["a.log#0"]
	s.Resume = []byte(strings.Replace(string(s.Resume), `}`, `,"taken":true}`, 1))
	if p, err := parsePosition(s.Resume); err != nil || !p.Taken || !strings.Contains(string(p.encode()), `"taken":true`) {
		t.Fatalf("%s: %+v, %v", s.Resume, p, err)
	}
	log, at, err := b.log.Open(t.Context())
	must(t, err)
	at.Streams["a.log#0"] = s
	must(t, log.Snapshot(t.Context(), at))
	must(t, log.Close())
	must(t, os.Remove(filepath.Join(b.dir, "a.log")))
	b.c.After = afterDelete
	b.once(t)
	b.write(t, "a.log", []byte("1\n"))
	b.once(t)
	b.expect(t, `a.log#0: "1"`, `a.log#1: "1"`)
	b.expectLeft(t, "")
}

// A file is read when the file that says that it is whole is there, and that one never is.
func TestDoneMarker(t *testing.T) {
	b := newBench(t, "in/*")
	b.c.DoneMarker, b.c.After = ".done", afterDelete
	b.write(t, "in/a.log", []byte("1\n"))
	b.write(t, "in/b.log", []byte("2\n"))
	b.write(t, "in/b.log.done", []byte("whole\n"))
	b.once(t)
	b.expect(t, `in/b.log#0: "2"`)
	b.expectLeft(t, "in/a.log")
	b.write(t, "in/a.log.done", nil)
	b.once(t)
	b.expect(t, `in/b.log#0: "2"`, `in/a.log#0: "1"`)
	b.expectLeft(t, "")
}
