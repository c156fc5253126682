package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/lake/laketest"
)

const (
	crashDirEnv  = "HEADWATER_FILE_TEST_DIR"
	crashCondEnv = "HEADWATER_FILE_TEST_COND"
	smallDirEnv  = "HEADWATER_FILE_TEST_SMALL"
)

func openStore(dir string) (lake.Store, error) { return Open(dir) }

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(crashDirEnv) != "":
		err = putAndCrash(os.Getenv(crashDirEnv), os.Getenv(crashCondEnv))
	case os.Getenv(smallDirEnv) != "":
		err = putOnFullDisk(os.Getenv(smallDirEnv))
	default:
		laketest.Main(m, openStore)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func testStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	laketest.Run(t, func(t *testing.T) lake.Store { return testStore(t) })
}

func TestRaceProcesses(t *testing.T) {
	laketest.RaceProcesses(t, t.TempDir(), openStore)
}

func TestRaceGoroutines(t *testing.T) {
	laketest.Race(t, testStore(t))
}

// child runs this test binary again with settings in its environment.
func child(t *testing.T, settings ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), settings...)
	return cmd
}

const crashKey = "t/date=2026-07-05/k"

// putAndCrash runs in a child, with HEADWATER_CRASH set.
func putAndCrash(dir, cond string) error {
	s, err := Open(dir)
	if err != nil {
		return err
	}
	c := lake.Condition{IfAbsent: cond == "absent"}
	if cond == "version" {
		o, err := s.Stat(context.Background(), crashKey)
		if err != nil {
			return err
		}
		c.IfVersion = o.Version
	}
	_, err = s.Put(context.Background(), crashKey, strings.NewReader("new"), c)
	return fmt.Errorf("Put returned instead of dying: %w", err)
}

func TestCrash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cond, point, before, after string
		temps                      int
	}{
		{"absent", "lake.after-temp", "", "", 1},
		{"absent", "lake.after-link", "", "new", 1},
		{"version", "lake.after-temp", "old", "old", 1},
		{"version", "lake.after-link", "old", "new", 0},
		{"none", "lake.after-temp", "old", "old", 1},
		{"none", "lake.after-link", "old", "new", 0},
	} {
		t.Run(c.cond+"/"+c.point, func(t *testing.T) {
			t.Parallel()
			s := testStore(t)
			if c.before != "" {
				put(t, s, crashKey, c.before)
			}
			cmd := child(t, crashDirEnv+"="+s.root.Name(), crashCondEnv+"="+c.cond, "HEADWATER_CRASH="+c.point)
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child ended with %v: %s", err, out)
			}
			if got := contents(t, s); got != c.after {
				t.Errorf("after the crash the object is %q, want %q", got, c.after)
			}
			before, _ := s.Stat(t.Context(), crashKey)
			if removed, err := s.Sweep(t.Context()); removed != c.temps || err != nil {
				t.Errorf("Sweep = %d, %v, want %d", removed, err, c.temps)
			}
			if left := temps(t, s); len(left) != 0 {
				t.Errorf("after Sweep there is %q", left)
			}
			if after, _ := s.Stat(t.Context(), crashKey); after.Version != before.Version {
				t.Errorf("Sweep changed the version from %s to %s", before.Version, after.Version)
			}
			put(t, s, crashKey, "next") // a lock of the dead would hang here
		})
	}
}

// contents is the one object's, or nothing if there is none, and checks that listings agree.
func contents(t *testing.T, s *Store) string {
	t.Helper()
	listed := 0
	for _, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		listed++
	}
	r, _, err := s.Get(t.Context(), crashKey, 0, -1)
	if errors.Is(err, lake.ErrNotExist) && listed == 0 {
		return ""
	}
	if err != nil || listed != 1 {
		t.Fatalf("%d objects are listed; Get = %v", listed, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func put(t *testing.T, s *Store, key, data string) {
	t.Helper()
	if _, err := s.Put(t.Context(), key, strings.NewReader(data), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
}

// temps are the temporary files of the whole lake.
func temps(t *testing.T, s *Store) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(s.root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if strings.Contains(name, lake.TempPrefix) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// heldBody tells when Put reads it and goes on when it may.
type heldBody struct {
	*strings.Reader
	reading, goOn chan struct{}
}

func (b heldBody) Read(p []byte) (int, error) {
	select {
	case <-b.reading:
	default:
		close(b.reading)
	}
	<-b.goOn
	return b.Reader.Read(p)
}

func TestSweepSparesLivingWriters(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	body := heldBody{strings.NewReader("data"), make(chan struct{}), make(chan struct{})}
	failed := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), crashKey, body, lake.Condition{})
		failed <- err
	}()
	<-body.reading
	if left := temps(t, s); len(left) != 1 {
		t.Errorf("a writer has the temporary files %q, want one", left)
	}
	other, err := Open(s.root.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if removed, err := other.Sweep(t.Context()); removed != 0 || err != nil {
		t.Errorf("Sweep = %d, %v beside a living writer", removed, err)
	}
	close(body.goOn)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if got := contents(t, s); got != "data" {
		t.Errorf("the object is %q", got)
	}
}

// TestSweepBesideWriters hits the moment between creating and locking a temporary file.
func TestSweepBesideWriters(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	done := make(chan struct{})
	var sweeps sync.WaitGroup
	swept := make([]int, 4)
	for i := range swept {
		sweeps.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n, err := s.Sweep(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				swept[i] += n
			}
		})
	}
	for i := range 100 {
		put(t, s, fmt.Sprintf("d/k%d", i), "data")
	}
	close(done)
	sweeps.Wait()
	count := 0
	for o, err := range s.List(t.Context(), "d/", "") {
		if err != nil || o.Size != 4 {
			t.Fatalf("listed %+v, %v", o, err)
		}
		count++
	}
	if count != 100 {
		t.Errorf("%d of 100 objects are there", count)
	}
	t.Logf("sweeps came between creating and locking %v times", swept)
}

func TestLockIsHeldByAnother(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	put(t, s, crashKey, "old")
	lock, err := s.lock(t.Context(), crashKey)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Put(ctx, crashKey, strings.NewReader("new"), lake.Condition{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put = %v, want context.DeadlineExceeded", err)
	}
	if err := s.Delete(ctx, crashKey); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Delete = %v, want context.DeadlineExceeded", err)
	}
	if got, left := contents(t, s), temps(t, s); got != "old" || len(left) != 0 {
		t.Errorf("the object is %q and there is %q", got, left)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, s, crashKey, "new")
}

func TestLockPath(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"db/t/year=2026/month=7/day=5/part-00000.snappy.parquet": "db/t/_lock",
		"topics/x/date=2026-07-05/x+0+0000000000.json.gz":        "topics/x/_lock",
		"_headwater/schema/t/v000007.json":                       "_headwater/schema/t/_lock",
		"year=2026/k":                                            "_lock",
		"d/a=b":                                                  "d/_lock",
		"k":                                                      "_lock",
	} {
		if got := lockPath(key); got != want {
			t.Errorf("lockPath(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestFolderAndFile(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	put(t, s, "a/b", "x")
	for _, key := range []string{"a", "a/b/c", "a/" + strings.Repeat("n", 300)} {
		for _, cond := range []lake.Condition{{}, {IfAbsent: true}} {
			_, err := s.Put(t.Context(), key, strings.NewReader("y"), cond)
			if err == nil || retry.Classify(err) != retry.Permanent || errors.Is(err, lake.ErrExists) {
				t.Errorf("Put(%.10q, %+v) = %v, want a permanent error of its own", key, cond, err)
			}
		}
	}
	if left := temps(t, s); len(left) != 0 {
		t.Errorf("refused Puts left %q", left)
	}
}

func TestLinksOutOfTheLake(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(s.root.Name(), "out")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), "out/secret", 0, -1); err == nil {
		t.Error("Get followed a link out of the lake")
	}
	if _, err := s.Put(t.Context(), "out/new", strings.NewReader("x"), lake.Condition{}); err == nil {
		t.Error("Put followed a link out of the lake")
	}
	var last error
	for _, err := range s.List(t.Context(), "", "") {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "out is no regular file") {
		t.Errorf("List = %v, want an error that names the link", last)
	}
}

func TestListSkipsOwnFiles(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	put(t, s, "d/k", "x")
	for _, name := range []string{"_lock", "d/.tmp-abc", ".tmp-dir/file"} {
		file := filepath.Join(s.root.Name(), name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Key)
	}
	if !slices.Equal(got, []string{"d/k"}) {
		t.Errorf("List = %q", got)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, "d/k", "x")
	if _, err := Open(filepath.Join(dir, "d", "k")); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Open of a file = %v, want an error that names it", err)
	}
}

// TestFolderRemoved: a folder that somebody removed by hand comes back with the next Put.
func TestFolderRemoved(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	put(t, s, crashKey, "old")
	if err := os.RemoveAll(filepath.Join(s.root.Name(), "t")); err != nil {
		t.Fatal(err)
	}
	put(t, s, crashKey, "new")
	if got := contents(t, s); got != "new" {
		t.Errorf("the object is %q", got)
	}
}

// TestFullDisk runs a child in a mount namespace of its own, where it may mount a disk of 1 MiB.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$0" && exec "$1"`, dir, program)
	cmd.Env = append(os.Environ(), smallDirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || bytes.HasPrefix(out, []byte("unshare:")) || bytes.HasPrefix(out, []byte("mount:")) {
		t.Skipf("a small disk cannot be mounted here: %v: %s", err, out)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// putOnFullDisk runs in a child.
func putOnFullDisk(dir string) error {
	ctx := context.Background()
	s, err := Open(dir)
	if err != nil {
		return err
	}
	if _, err := s.Put(ctx, crashKey, strings.NewReader("old"), lake.Condition{}); err != nil {
		return err
	}
	_, err = s.Put(ctx, crashKey, bytes.NewReader(make([]byte, 2<<20)), lake.Condition{})
	if !errors.Is(err, syscall.ENOSPC) || retry.Classify(err) != retry.Transient {
		return fmt.Errorf("Put on a full disk gives %w, want ENOSPC, transient", err)
	}
	if o, err := s.Stat(ctx, crashKey); err != nil || o.Size != 3 {
		return fmt.Errorf("the old object is now %+v: %w", o, err)
	}
	if n, err := s.Sweep(ctx); n != 0 || err != nil {
		return fmt.Errorf("a failed Put left %d temporary files: %w", n, err)
	}
	if _, err := s.Put(ctx, crashKey, bytes.NewReader(make([]byte, 512<<10)), lake.Condition{}); err != nil {
		return fmt.Errorf("putting what fits: %w", err)
	}
	return nil
}

// TestVersionTime: the time that a kernel before 6.13 gives a file is that of its last tick, which may lie before the
// Put; within a tick an inode may be used twice.
func TestVersionTime(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	for range 20 {
		before := time.Now().Round(0)
		o, err := s.Put(t.Context(), "k", strings.NewReader("same"), lake.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		if o.Modified.Before(before) || o.Modified.After(time.Now().Round(0)) {
			t.Errorf("Put at %v and later is dated %v", before, o.Modified)
		}
	}
}
