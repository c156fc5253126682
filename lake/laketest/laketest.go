// Package laketest is the suite that every lake.Store passes: Run checks each duty of the contract, Race lets writers
// compete. A new store's test is one call of each.
package laketest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/lake"
)

// Run checks that the stores that open returns keep the contract. Each call of open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) lake.Store) {
	duties := []struct {
		name  string
		check func(t *testing.T, s lake.Store)
	}{
		{"PutGet", putGet},
		{"PutReadsFromCurrentPosition", putFromPosition},
		{"PutFailingBody", putFailingBody},
		{"Ranges", ranges},
		{"NotExist", notExist},
		{"BadKeys", badKeys},
		{"IfAbsent", ifAbsent},
		{"IfVersion", ifVersion},
		{"VersionChanges", versionChanges},
		{"ReaderKeepsItsObject", readerKeepsItsObject},
		{"Delete", deletes},
		{"ListOrder", listOrder},
		{"ListEnds", listEnds},
		{"ContextEnded", contextEnded},
		{"Local", local},
	}
	for _, d := range duties {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			d.check(t, open(t))
		})
	}
}

func putGet(t *testing.T, s lake.Store) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
	for key, data := range map[string][]byte{
		"empty":                   nil,
		"one":                     []byte("x"),
		"a/b/date=2026-07-05/big": big,
		"odd/ +%?*é\n\"'":         []byte("name"),
	} {
		before := time.Now().Add(-time.Hour)
		o := put(t, s, key, data)
		if o.Key != key || o.Size != int64(len(data)) || o.Version == "" {
			t.Errorf("Put(%q) of %d bytes = %+v", key, len(data), o)
		}
		if o.Modified.Before(before) || o.Modified.After(time.Now().Add(time.Hour)) {
			t.Errorf("Put(%q) says it was modified at %v", key, o.Modified)
		}
		r, got, err := s.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if read := readAll(t, r); !bytes.Equal(read, data) {
			t.Errorf("Get(%q) gives %d bytes that differ from the %d put", key, len(read), len(data))
		}
		stat, err := s.Stat(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]lake.Object{o, o, o}, []lake.Object{got, stat, list(t, s, key, "")[0]}, sameTime); diff != "" {
			t.Errorf("Put, and then Get, Stat and List disagree on %q (-put):\n%s", key, diff)
		}
	}
}

// sameTime allows stores that tell times in seconds.
var sameTime = cmpopts.EquateApproxTime(2 * time.Second)

// closeCounter is a body that must not be closed.
type closeCounter struct {
	io.ReadSeeker
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

func putFromPosition(t *testing.T, s lake.Store) {
	body := &closeCounter{ReadSeeker: strings.NewReader("headtail")}
	if _, err := body.Seek(4, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	o, err := s.Put(t.Context(), "k", body, lake.Condition{})
	if err != nil || o.Size != 4 {
		t.Errorf("Put from position 4 = %+v, %v", o, err)
	}
	if got := get(t, s, "k"); got != "tail" {
		t.Errorf("Put from position 4 stored %q", got)
	}
	if body.closed != 0 {
		t.Error("Put closed the body")
	}
}

// failingBody breaks after some bytes, at every try.
type failingBody struct {
	io.Reader
	err error
}

func newFailingBody(err error) failingBody {
	return failingBody{io.MultiReader(strings.NewReader("new, but torn"), iotest.ErrReader(err)), err}
}

func (f failingBody) Seek(int64, int) (int64, error) { return 0, nil }

func putFailingBody(t *testing.T, s lake.Store) {
	broken := errors.New("the disk of the body broke")
	put(t, s, "d/old", []byte("old"))
	for _, key := range []string{"d/old", "d/none"} {
		if _, err := s.Put(t.Context(), key, newFailingBody(broken), lake.Condition{}); !errors.Is(err, broken) {
			t.Errorf("Put(%q) with a broken body = %v", key, err)
		}
	}
	if got := get(t, s, "d/old"); got != "old" {
		t.Errorf("a failed Put left %q", got)
	}
	if got := keys(list(t, s, "", "")); !slices.Equal(got, []string{"d/old"}) {
		t.Errorf("a failed Put left %q", got)
	}
}

func ranges(t *testing.T, s lake.Store) {
	put(t, s, "k", []byte("0123456789"))
	put(t, s, "empty", nil)
	for _, c := range []struct {
		key       string
		offset, n int64
		want      string
	}{
		{"k", 0, -1, "0123456789"},
		{"k", 0, 3, "012"},
		{"k", 3, 4, "3456"},
		{"k", 3, -1, "3456789"},
		{"k", 9, 1, "9"},
		{"k", 0, 0, ""},
		{"k", 5, 0, ""},
		{"k", 8, 100, "89"},
		{"k", 8, 1<<63 - 1, "89"},
		{"k", 10, -1, ""},
		{"k", 11, 5, ""},
		{"k", 1 << 62, 1 << 62, ""},
		{"k", -3, -1, "789"},
		{"k", -3, 2, "78"},
		{"k", -3, 100, "789"},
		{"k", -10, -1, "0123456789"},
		{"k", -512, -1, "0123456789"},
		{"k", -512, 2, "01"},
		{"empty", 0, -1, ""},
		{"empty", 0, 10, ""},
		{"empty", -512, -1, ""},
		{"empty", 7, 1, ""},
	} {
		r, o, err := s.Get(t.Context(), c.key, c.offset, c.n)
		if err != nil {
			t.Errorf("Get(%q, %d, %d) = %v", c.key, c.offset, c.n, err)
			continue
		}
		if got := string(readAll(t, r)); got != c.want {
			t.Errorf("Get(%q, %d, %d) gives %q, want %q", c.key, c.offset, c.n, got, c.want)
		}
		if whole := int64(10 * (1 - strings.Count(c.key, "empty"))); o.Size != whole {
			t.Errorf("Get(%q, %d, %d) says the object has %d bytes, want %d", c.key, c.offset, c.n, o.Size, whole)
		}
	}
}

func notExist(t *testing.T, s lake.Store) {
	put(t, s, "dir/file", []byte("x"))
	for _, key := range []string{"none", "none/none", "dir", "dir/none", "dir/file/below", "di"} {
		for method, err := range lookUps(t.Context(), s, key) {
			if !errors.Is(err, lake.ErrNotExist) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s(%q) = %v, want ErrNotExist and the key", method, key, err)
			}
		}
	}
	if got := get(t, s, "dir/file"); got != "x" {
		t.Errorf("the object beside the missing ones is now %q", got)
	}
}

func badKeys(t *testing.T, s lake.Store) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.", "./a", "a\x00b", "_lock", "a/_lock", "a/_lock/b", ".tmp-a", "a/.tmp-/b", "\xff", "a/\xc3/b",
	} {
		for method, err := range calls(t.Context(), s, key) {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s(%q) = %v, want fs.ErrInvalid", method, key, err)
			}
		}
	}
	if got := keys(list(t, s, "", "")); len(got) != 0 {
		t.Errorf("bad keys made the objects %q", got)
	}
}

// calls calls every method that takes a key and expects none of them to succeed.
func calls(ctx context.Context, s lake.Store, key string) map[string]error {
	errs := lookUps(ctx, s, key)
	_, errs["Put"] = s.Put(ctx, key, strings.NewReader("x"), lake.Condition{})
	return errs
}

// lookUps calls every method that needs an object.
func lookUps(ctx context.Context, s lake.Store, key string) map[string]error {
	r, _, getErr := s.Get(ctx, key, 0, -1)
	if getErr == nil {
		r.Close()
	}
	_, statErr := s.Stat(ctx, key)
	return map[string]error{"Get": getErr, "Stat": statErr, "Delete": s.Delete(ctx, key)}
}

func ifAbsent(t *testing.T, s lake.Store) {
	absent := lake.Condition{IfAbsent: true}
	first, err := s.Put(t.Context(), "d/k", strings.NewReader("first"), absent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), "d/k", strings.NewReader("second"), absent)
	if !errors.Is(err, lake.ErrExists) || !strings.Contains(err.Error(), "d/k") {
		t.Errorf("second Put = %v, want ErrExists and the key", err)
	}
	if got := get(t, s, "d/k"); got != "first" {
		t.Errorf("the refused Put left %q", got)
	}
	if o, err := s.Stat(t.Context(), "d/k"); err != nil || o.Version != first.Version {
		t.Errorf("the refused Put changed the version: %+v, %v", o, err)
	}
	if err := s.Delete(t.Context(), "d/k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "d/k", strings.NewReader("third"), absent); err != nil {
		t.Errorf("Put after Delete = %v", err)
	}
}

func ifVersion(t *testing.T, s lake.Store) {
	at := func(version string) lake.Condition { return lake.Condition{IfVersion: version} }
	first := put(t, s, "t/y=1/k", []byte("1"))
	second, err := s.Put(t.Context(), "t/y=1/k", strings.NewReader("2"), at(first.Version))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{first.Version, "never was one"} {
		_, err := s.Put(t.Context(), "t/y=1/k", strings.NewReader("3"), at(version))
		if !errors.Is(err, lake.ErrChanged) || !strings.Contains(err.Error(), "t/y=1/k") {
			t.Errorf("Put at version %q = %v, want ErrChanged and the key", version, err)
		}
	}
	if got := get(t, s, "t/y=1/k"); got != "2" {
		t.Errorf("the refused Put left %q", got)
	}
	if _, err := s.Put(t.Context(), "t/y=1/none", strings.NewReader("x"), at(second.Version)); !errors.Is(err, lake.ErrChanged) {
		t.Errorf("Put at a version where there is no object = %v, want ErrChanged", err)
	}
	if err := s.Delete(t.Context(), "t/y=1/k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "t/y=1/k", strings.NewReader("4"), at(second.Version)); !errors.Is(err, lake.ErrChanged) {
		t.Errorf("Put at the version of a deleted object = %v, want ErrChanged", err)
	}
	if got := keys(list(t, s, "", "")); len(got) != 0 {
		t.Errorf("refused Puts left %q", got)
	}
}

// versionChanges: as many replacements as it takes for a store to use an inode again within one tick of its clock.
func versionChanges(t *testing.T, s lake.Store) {
	seen := map[string]int{}
	for i := range 60 {
		o := put(t, s, "k", fmt.Appendf(nil, "%04d", i))
		if before, ok := seen[o.Version]; ok {
			t.Fatalf("replacements %d and %d have the version %s", before, i, o.Version)
		}
		seen[o.Version] = i
	}
}

func readerKeepsItsObject(t *testing.T, s lake.Store) {
	old, other := bytes.Repeat([]byte("o"), 1<<20), bytes.Repeat([]byte("n"), 1<<20)
	for _, change := range []func(){
		func() { put(t, s, "k", other) },
		func() {
			if err := s.Delete(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		put(t, s, "k", old)
		r, _, err := s.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		start := make([]byte, 1000)
		if _, err := io.ReadFull(r, start); err != nil {
			t.Fatal(err)
		}
		change()
		rest, err := io.ReadAll(r)
		if got := append(start, rest...); err == nil && !bytes.Equal(got, old) {
			t.Error("a reader gave other bytes after its object was replaced or deleted")
		}
		if bytes.ContainsRune(rest, 'n') {
			t.Error("a reader mixed two objects")
		}
		r.Close()
	}
}

func deletes(t *testing.T, s lake.Store) {
	put(t, s, "d/a", []byte("a"))
	put(t, s, "d/b", []byte("b"))
	if err := s.Delete(t.Context(), "d/a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "d/a"); !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("second Delete = %v, want ErrNotExist", err)
	}
	if _, err := s.Stat(t.Context(), "d/a"); !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("Stat after Delete = %v, want ErrNotExist", err)
	}
	if got := keys(list(t, s, "", "")); !slices.Equal(got, []string{"d/b"}) {
		t.Errorf("after Delete there are %q", got)
	}
	if err := s.Delete(t.Context(), "d"); !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("Delete of what is no key = %v, want ErrNotExist", err)
	}
	put(t, s, "d/a", []byte("again"))
	if got := get(t, s, "d/a"); got != "again" {
		t.Errorf("after Delete and Put it reads %q", got)
	}
}

func listOrder(t *testing.T, s lake.Store) {
	all := []string{
		"a-b", "a/b", "a/b-c/d", "a/b.c", "a/b0/z", "a/c", "a0", "b/date=2026-07-05/x+0+0000000001.json.gz",
		"b/date=2026-07-05/x+0+10000000000.json.gz", "b/date=2026-07-06/x", "b0/date=1/x", "z", "\xc3\xa9/x", "\U0001f600",
	}
	slices.Sort(all)
	for _, i := range rand.Perm(len(all)) {
		put(t, s, all[i], []byte(all[i]))
	}
	marks := []string{
		"", "a", "a/", "a/b", "a/b-", "a/b-c/", "a/b/", "a-", "a-b", "a0", "a0/", "b", "b/date=2026-07-0", "b/date=2026-07-05/", "b/date=2026-07-05/x+0+1",
		"c", "z", "z/", "\xc3", "\xff", "\xff\xff", "/", "//", "a//", "./a", "../", "a/../", ".", "_lock", "a/.tmp-",
	}
	for _, prefix := range marks {
		for _, after := range append(marks, all...) {
			var want []string
			for _, key := range all {
				if strings.HasPrefix(key, prefix) && key > after {
					want = append(want, key)
				}
			}
			got := list(t, s, prefix, after)
			if diff := cmp.Diff(want, keys(got)); diff != "" {
				t.Fatalf("List(%q, %q) (-want +got):\n%s", prefix, after, diff)
			}
			for _, o := range got {
				if o.Size != int64(len(o.Key)) || o.Version == "" {
					t.Fatalf("List(%q, %q) describes %q as %+v", prefix, after, o.Key, o)
				}
			}
		}
	}
}

func listEnds(t *testing.T, s lake.Store) {
	if got := list(t, s, "", ""); len(got) != 0 {
		t.Fatalf("an empty store lists %v", got)
	}
	for i := range 50 {
		put(t, s, fmt.Sprintf("d%d/k%d", i%7, i), nil)
	}
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil || o.Key != "d0/k0" {
			t.Errorf("the first object is %+v, %v", o, err)
		}
		break // the next listing must not suffer from this one
	}
	if got := list(t, s, "", ""); len(got) != 50 {
		t.Errorf("listed %d of 50 objects", len(got))
	}
	seen := 0
	for o, err := range s.List(t.Context(), "", "") { // deleting what was listed is how retention works
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), o.Key); err != nil {
			t.Fatal(err)
		}
		seen++
	}
	if seen != 50 {
		t.Errorf("listed %d of 50 objects while deleting them", seen)
	}
}

func contextEnded(t *testing.T, s lake.Store) {
	put(t, s, "k", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for method, err := range calls(ctx, s, "k") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", method, err)
		}
	}
	var last error
	for _, err := range s.List(ctx, "", "") {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("List ended with %v, want context.Canceled", last)
	}
	if got := get(t, s, "k"); got != "x" {
		t.Errorf("the object is now %q", got)
	}
}

func local(t *testing.T, s lake.Store) {
	l, ok := s.(lake.Local)
	if !ok {
		t.Skip("the store is not on this machine")
	}
	o := put(t, s, "d/date=1/k", []byte("data"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(l.Path("d/date=1/k"), link); errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("the store and the test's folder do not share a file system: %v", err)
	}
	if after, err := s.Stat(t.Context(), "d/date=1/k"); err != nil || after.Version != o.Version {
		t.Errorf("a reader's hard link changed the version from %s: %+v, %v", o.Version, after, err)
	}
	put(t, s, "d/date=1/k", []byte("other"))
	if data, err := os.ReadFile(link); err != nil || string(data) != "data" {
		t.Errorf("the hard link reads %q, %v after the object was replaced", data, err)
	}
	if p := l.Path("../escape"); p != "" {
		t.Errorf("Path of a bad key = %q, want nothing", p)
	}
}

func put(t *testing.T, s lake.Store, key string, data []byte) lake.Object {
	t.Helper()
	o, err := s.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func get(t *testing.T, s lake.Store, key string) string {
	t.Helper()
	r, _, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return string(readAll(t, r))
}

func readAll(t *testing.T, r io.ReadCloser) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func list(t *testing.T, s lake.Store, prefix, after string) []lake.Object {
	t.Helper()
	var all []lake.Object
	for o, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

func keys(objects []lake.Object) []string {
	var keys []string
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys
}
