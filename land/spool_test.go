package land

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
)

const someLog = "AAAAAAAAAAAAAAAAAAAAAA"

func sealed(t *testing.T, s *spool, o *openObject) []byte {
	t.Helper()
	f, err := s.seal(o, someLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	packed, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestBudget: thousands of open objects, filled by several goroutines, stay within the budget, and hold what was put in.
func TestBudget(t *testing.T) {
	t.Parallel()
	const objects, writers, budget = 2000, 4, 1 << 20
	s, err := newSpool(t.TempDir(), 1, budget)
	if err != nil {
		t.Fatal(err)
	}
	var all [writers][]*openObject
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for n := range objects / writers {
				all[w] = append(all[w], &openObject{path: fmt.Sprint(w, n)})
			}
			for i := range int64(20_000) {
				o := all[w][random.IntN(len(all[w]))]
				o.covers(i, i)
				if err := s.add(o, fmt.Appendf(nil, "%s %d %s", o.path, o.count, strings.Repeat("x", random.IntN(300)))); err != nil {
					t.Error(err)
				}
				s.mu.Lock()
				used := s.used
				s.mu.Unlock()
				if used > budget+writers*memberText {
					t.Errorf("%d bytes are in memory", used)
				}
			}
		})
	}
	wait.Wait()
	records := 0
	for _, part := range all {
		for _, o := range part {
			if o.count == 0 {
				continue
			}
			for i, line := range lines(t, sealed(t, s, o)) {
				records++
				if !strings.HasPrefix(line, fmt.Sprintf("%s %d ", o.path, i+1)) {
					t.Fatalf("line %d of %s is %q", i, o.path, line)
				}
			}
			s.drop(o)
		}
	}
	if records != writers*20_000 {
		t.Errorf("%d records came out", records)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) > 0 || s.used != 0 || len(s.held) > 0 {
		t.Errorf("left: files %v, %d bytes, %d objects", left, s.used, len(s.held))
	}
}

// TestMembers: an object is cut into members of about 1 MiB of text, and a large record makes one of its own.
func TestMembers(t *testing.T) {
	t.Parallel()
	s, err := newSpool(t.TempDir(), 1, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	o := &openObject{}
	big := strings.Repeat("y", 5<<20)
	for i := range int64(3000) {
		o.covers(i, i)
		line := strings.Repeat("x", 999)
		if i == 1500 {
			line = big
		}
		if err := s.add(o, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if s.used > 2*memberText {
		t.Errorf("%d bytes stay in memory", s.used)
	}
	packed := sealed(t, s, o)
	if got := len(lines(t, packed)); got != 3000 {
		t.Errorf("%d lines", got)
	}
	if members := strings.Count(string(packed), "\x1f\x8b\x08"); members < 4 || members > 6 {
		t.Errorf("%d members", members)
	}
	tail, found, err := lake.ParseTail(packed)
	want := lake.Tail{Log: someLog, First: 0, Next: 3000, Count: 3000, Runs: []lake.Run{{First: 0, Last: 2999}}}
	if diff := cmp.Diff(want, tail); diff != "" || !found || err != nil {
		t.Errorf("found %v, %v, %s", found, err, diff)
	}
}

// TestSpoolFails: an error is found by the owner of the object, whoever met it, and nothing is sealed that lacks a member.
func TestSpoolFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "leftover.gz"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newSpool(dir, -1, 2000)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	mine, other := &openObject{}, &openObject{}
	if err := s.add(other, make([]byte, 1500)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.add(mine, make([]byte, 600)); err != nil {
		t.Errorf("the error is not this object's: %v", err)
	}
	if err := s.add(other, make([]byte, 1)); err == nil {
		t.Error("the owner does not learn of the error")
	}
	other.covers(0, 0)
	if _, err := s.seal(other, someLog); err == nil {
		t.Error("an object without a member was sealed")
	}
	if _, err := newSpool(dir, -1, 1000); err == nil {
		t.Error("a folder that does not exist was taken for a spool")
	}
}

func TestManyRuns(t *testing.T) {
	t.Parallel()
	var o openObject
	for i := range int64(5 * maxRuns) {
		o.covers(2*i, 2*i)
	}
	tail, found, err := lake.ParseTail(o.tail(someLog).Append(nil))
	want := lake.Tail{Log: someLog, First: 0, Next: 10*maxRuns - 1, Count: 5 * maxRuns}
	if diff := cmp.Diff(want, tail); diff != "" || !found || err != nil {
		t.Errorf("found %v, %v, %s", found, err, diff)
	}
}
