//go:build !noduckdb

package query

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"headwater/table"
)

// endless is a statement whose answer never ends: a test over it ends only if the answer is streamed.
const endless = "SELECT i, 'some text' AS t FROM range(1000000000000000) r(i)"

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAnswerIsStreamedUntilTheContextEnds(t *testing.T) {
	for _, format := range []string{"csv", "json", "table"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		got := 0
		q := Query{SQL: endless, Format: format, Temp: t.TempDir(), Limits: Limits{Memory: 64 << 20}, Out: writerFunc(func(p []byte) (int, error) {
			if got += len(p); got > 4<<20 {
				cancel(enough)
			}
			return len(p), nil
		})}
		if err := Run(ctx, q); !errors.Is(err, enough) {
			t.Errorf("%s: %v, want the context's cause", format, err)
		}
	}
}

func TestReaderOfTheAnswerGoesAway(t *testing.T) {
	gone := errors.New("gone")
	q := Query{SQL: endless, Format: "csv", Temp: t.TempDir(), Out: writerFunc(func([]byte) (int, error) { return 0, gone })}
	if err := Run(t.Context(), q); !errors.Is(err, gone) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

func TestErrorAfterTheFirstRows(t *testing.T) {
	var out bytes.Buffer
	q := Query{SQL: "SELECT CASE WHEN i < 500000 THEN i ELSE error('too far') END AS i FROM range(1000000) r(i)", Format: "csv", Temp: t.TempDir(), Out: &out, Limits: Limits{Threads: 1}}
	if err := Run(t.Context(), q); !errors.Is(err, ErrSQL) || !strings.Contains(err.Error(), "too far") {
		t.Errorf("got %v, want ErrSQL and the reason", err)
	}
}

func TestWorkerEndsWithItsParent(t *testing.T) {
	for name, sql := range map[string]string{"streaming": endless, "computing": "SELECT sum(random()) FROM range(1000000000000000)"} {
		in, parent := io.Pipe()
		var stderr bytes.Buffer
		done := make(chan error)
		started := make(chan struct{}, 1)
		out := writerFunc(func(p []byte) (int, error) {
			select {
			case started <- struct{}{}:
			default:
			}
			return len(p), nil
		})
		go func() { done <- Worker(t.Context(), in, out, &stderr) }()
		if _, err := fmt.Fprintf(parent, `{"sql": %q, "format": "csv", "folder": %q}`, sql, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if name == "streaming" {
			<-started
		}
		_ = parent.Close()
		if err := <-done; err == nil || !strings.Contains(stderr.String(), "the parent has ended") {
			t.Errorf("%s: Worker = %v, stderr %q", name, err, &stderr)
		}
	}
}

func TestWorkerRefusesOtherInput(t *testing.T) {
	var out, stderr bytes.Buffer
	if err := Worker(t.Context(), strings.NewReader("hello"), &out, &stderr); err == nil || !strings.Contains(stderr.String(), `"fault"`) {
		t.Errorf("Worker = %v, stderr %q", err, &stderr)
	}
}

func TestCrashOfTheWorker(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"killed":        {"kill -9 $$", "memory"},
		"complaining":   {"cat >/dev/null & echo terrible >&2; exit 3", "terrible"},
		"not a program": {"", "starting"},
	} {
		exe := filepath.Join(t.TempDir(), "worker")
		if c.script != "" {
			if err := os.WriteFile(exe, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		q := Query{SQL: "SELECT 1", Format: "csv", Temp: t.TempDir(), Out: io.Discard, Exe: exe}
		err := Run(t.Context(), q)
		if err == nil || errors.Is(err, ErrSQL) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q that is not the statement's", name, err, c.want)
		}
	}
}

// TestCtrlCIsTheParents has the worker in a process group of its own, which a terminal's signals do not reach.
func TestCtrlCIsTheParents(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "worker")
	if err := os.WriteFile(exe, []byte("#!/bin/sh\nps -o pgid= -p $$\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Run(t.Context(), Query{SQL: "SELECT 1", Format: "csv", Temp: t.TempDir(), Out: &out, Exe: exe}); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got == "" || got == strconv.Itoa(syscall.Getpgrp()) {
		t.Errorf("the worker is in the process group %q", got)
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Run(t.Context(), Query{SQL: "SELECT 1", Format: "xml", Temp: t.TempDir()}); err == nil {
		t.Error("the format xml was taken")
	}
}

func TestSweep(t *testing.T) {
	temp := t.TempDir()
	for _, name := range []string{"query-1-dead/shop/orders", "query-2-alive", "other"} {
		if err := os.MkdirAll(filepath.Join(temp, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockFolder(filepath.Join(temp, "query-2-alive"))
	if err != nil || lock == nil {
		t.Fatal(lock, err)
	}
	defer lock.Close()
	f, err := openFolder(temp)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"query-1-dead": false, "query-2-alive": true, "other": true, filepath.Base(f.path): true} {
		if _, err := os.Stat(filepath.Join(temp, name)); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", name, err == nil, want)
		}
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the query's own folder: %v, want it gone", err)
	}
}

func TestPinnedFileOutlivesItsReplacement(t *testing.T) {
	old := parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")
	replacement := parquet(t, 5, object("id", long), "SELECT 2::BIGINT id")
	folder := t.TempDir()
	s, err := pin(t.Context(), folder, Table{Name: orders, Files: []File{old}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(old.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(replacement.Path, old.Path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(folder, s.Groups[0].Files[0]))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the pinned file changed (%v)", err)
	}
}

func TestVanishedFileIsListedAgain(t *testing.T) {
	there := parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")
	gone := there
	gone.Path += ".gone"
	calls := 0
	refresh := func(files ...File) func(context.Context, table.Name) (Table, error) {
		return func(_ context.Context, n table.Name) (Table, error) {
			calls++
			return Table{Name: n, Files: files}, nil
		}
	}
	listed := Table{Name: orders, Files: []File{there, gone}}
	s, err := pin(t.Context(), t.TempDir(), listed, refresh(there))
	if err != nil || calls != 1 || len(s.Groups) != 1 || len(s.Groups[0].Files) != 1 {
		t.Errorf("after %d calls: %+v, %v", calls, s, err)
	}
	if _, err := pin(t.Context(), t.TempDir(), listed, refresh(gone)); !errors.Is(err, fs.ErrNotExist) || calls != 2 {
		t.Errorf("vanished twice: %v after %d calls", err, calls)
	}
	if _, err := pin(t.Context(), t.TempDir(), listed, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no one to ask: %v", err)
	}
}

func TestFileReplacedSinceItWasListedHasItsOwnSchema(t *testing.T) {
	f := table.Footer{Table: orders.String(), Schema: object("id", str)}
	kv := make([]string, 0, 2)
	for _, m := range f.Metadata() {
		kv = append(kv, identifier(m[0])+": "+literal(m[1]))
	}
	path := filepath.Join(t.TempDir(), "new.parquet")
	db, err := openDuckDB()
	if err != nil {
		t.Fatal(err)
	}
	defer db.close()
	if err := db.exec(fmt.Sprintf("COPY (SELECT 'x' AS id) TO %s (FORMAT parquet, KV_METADATA {%s})", literal(path), strings.Join(kv, ", "))); err != nil {
		t.Fatal(err)
	}
	stale := File{Path: path, Day: table.Day{Year: 2026, Month: 7, Day: 5}, Schema: object("id", long), Bytes: 1}
	wantAnswer(t, "csv", "SELECT id, typeof(id) AS t FROM shop.orders", "id,t\nx,VARCHAR\n", Table{Name: orders, Schema: object("id", long), Files: []File{stale}})
}

func TestFileOfAnotherFileSystemIsCopied(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "headwater-test-")
	if err != nil {
		t.Skip("there is no second file system: ", err)
	}
	defer os.RemoveAll(other)
	f := parquet(t, 5, object("id", long), "SELECT 1::BIGINT id")
	data, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	f.Path = filepath.Join(other, "x.parquet")
	if err := os.WriteFile(f.Path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "csv", "SELECT id FROM shop.orders", "id\n1\n", Table{Name: orders, Files: []File{f}})
}

func TestLimits(t *testing.T) {
	l := DefaultLimits()
	if f := l.Validate(); len(f) != 0 {
		t.Errorf("the defaults are faulty: %v", f)
	}
	l = Limits{Memory: 1, Threads: -1, Spill: -1, Cache: -1}
	if f := l.Validate(); len(f) != 7 {
		t.Errorf("got %v, want seven faults", f)
	}
}
