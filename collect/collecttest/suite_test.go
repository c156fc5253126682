package collecttest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
)

// shelf is a world in memory whose parts are lists; flaw is what its source does wrong.
type shelf struct {
	flaw string

	mu     sync.Mutex
	parts  map[int][]int
	broken map[int]bool
}

func (s *shelf) Put(_ *testing.T, part, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[part] = append(s.parts[part], n)
}

func (s *shelf) Break(_ *testing.T, part int) { s.set(part, true) }
func (s *shelf) Mend(_ *testing.T, part int)  { s.set(part, false) }

func (s *shelf) set(part int, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[part] = broken
}

func (s *shelf) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

func (s *shelf) Source(*testing.T) collect.Source { return &reader{s: s, kept: map[int]int{}} }

// at is the number of an item of a part, or what is wrong.
func (s *shelf) at(part, i int) (n int, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken[part] {
		return 0, false, fmt.Errorf("part %d is broken", part)
	}
	if i >= len(s.parts[part]) {
		return 0, false, nil
	}
	return s.parts[part][i], true, nil
}

type reader struct {
	s    *shelf
	kept map[int]int
}

func (r *reader) Run(ctx context.Context, out collect.Out, once bool) error {
	next := map[int]int{}
	for part := range 3 {
		if at, known := out.Streams()[fmt.Sprint(part)]; known {
			next[part] = int(at.Seq) + 1
			if r.s.flaw == "reads the last item again" {
				next[part]--
			}
		}
	}
	if r.s.flaw == "trusts its memory" {
		maps.Copy(next, r.kept)
	}
	if r.s.flaw == "leaks" {
		go func() { time.Sleep(time.Minute) }()
	}
	for {
		var failed []error
		moved := false
		for part := range 3 {
			n, ok, err := r.s.at(part, next[part])
			if err != nil {
				failed = append(failed, err)
				if r.s.flaw == "gives up at the first error" {
					return err
				}
			}
			if !ok {
				continue
			}
			moved = true
			if err := r.emit(ctx, out, part, n); err != nil {
				if r.s.flaw == "ignores Emit" {
					continue
				}
				return err
			}
			next[part]++
			r.kept[part] = next[part]
		}
		if once && !moved {
			if r.s.flaw == "hides errors" {
				return nil
			}
			return errors.Join(failed...)
		}
		if !moved {
			select {
			case <-ctx.Done():
				if r.s.flaw != "does not stop" {
					return nil
				}
			case <-time.After(time.Millisecond):
			}
		}
	}
}

func (r *reader) emit(ctx context.Context, out collect.Out, part, n int) error {
	it := collect.Item{
		Stream: fmt.Sprint(part), Resume: json.RawMessage("1"), Done: func() {},
		Item: envelope.Item{Kind: envelope.JSON, Data: fmt.Append(nil, n)},
	}
	if r.s.flaw == "says nothing of where to resume" {
		it.Resume = nil
	}
	if r.s.flaw == "malformed" {
		it.Malformed = "because"
	}
	if r.s.flaw == "drops an item" && n == 5 {
		return nil
	}
	return out.Emit(ctx, it)
}

func harness(flaw string) collecttest.Harness {
	return collecttest.Harness{Parts: 3, Patience: 2 * time.Second, World: func(*testing.T) collecttest.World {
		return &shelf{flaw: flaw, parts: map[int][]int{}, broken: map[int]bool{}}
	}}
}

func TestSuiteAcceptsAGoodSource(t *testing.T) { collecttest.Run(t, harness("")) }

// TestSuiteFindsFlaws runs the suite on a source with a flaw in a process of its own, where it must fail.
func TestSuiteFindsFlaws(t *testing.T) {
	if flaw := os.Getenv("COLLECTTEST_FLAW"); flaw != "" {
		collecttest.Run(t, harness(flaw))
		return
	}
	for flaw, test := range map[string]string{
		"reads the last item again":       "AnotherRunFindsNothing",
		"trusts its memory":               "FailureAtEveryPrefix",
		"leaks":                           "Live",
		"gives up at the first error":     "OnePartFails",
		"hides errors":                    "OnePartFails",
		"ignores Emit":                    "StopWhileBlocked",
		"does not stop":                   "Live",
		"says nothing of where to resume": "Once",
		"malformed":                       "Once",
		"drops an item":                   "Once",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSuiteFindsFlaws$/^"+test+"$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), "COLLECTTEST_FLAW="+flaw)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "TestSuiteFindsFlaws/"+test) {
				t.Errorf("the suite did not find it: %v\n%.2000s", err, out)
			}
		})
	}
}
