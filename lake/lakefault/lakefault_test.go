package lakefault_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/laketest"
	"headwater/lake/mem"
)

func TestContract(t *testing.T) {
	laketest.Run(t, func(*testing.T) lake.Store { return lakefault.New(mem.New()) })
}

func TestRace(t *testing.T) {
	laketest.Race(t, lakefault.New(mem.New()))
}

// call calls one method on the key d/k, or the prefix d/.
func call(ctx context.Context, s lake.Store, op lakefault.Op) (got string, err error) {
	switch op {
	case lakefault.Put:
		_, err = s.Put(ctx, "d/k", strings.NewReader("new!"), lake.Condition{})
	case lakefault.Get:
		r, _, getErr := s.Get(ctx, "d/k", 0, -1)
		if getErr != nil {
			return "", getErr
		}
		defer r.Close()
		data, readErr := io.ReadAll(r)
		return string(data), readErr
	case lakefault.Stat:
		_, err = s.Stat(ctx, "d/k")
	case lakefault.List:
		for o, listErr := range s.List(ctx, "d/", "") {
			got, err = got+o.Key, listErr
		}
	case lakefault.Delete:
		err = s.Delete(ctx, "d/k")
	}
	return got, err
}

// hold is a store with the object d/k.
func hold(t *testing.T, data string) *mem.Store {
	t.Helper()
	s := mem.New()
	if _, err := s.Put(t.Context(), "d/k", strings.NewReader(data), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFaults(t *testing.T) {
	t.Parallel()
	mine := errors.New("the network broke")
	for _, c := range []struct {
		op        lakefault.Op
		when      lakefault.When
		got, left string
	}{
		{lakefault.Put, lakefault.Before, "", "old!"},
		{lakefault.Put, lakefault.After, "", "new!"},
		{lakefault.Get, lakefault.Before, "", "old!"},
		{lakefault.Get, lakefault.After, "ol", "old!"},
		{lakefault.Stat, lakefault.Before, "", "old!"},
		{lakefault.Stat, lakefault.After, "", "old!"},
		{lakefault.List, lakefault.Before, "", "old!"},
		{lakefault.List, lakefault.After, "d/k", "old!"},
		{lakefault.Delete, lakefault.Before, "", "old!"},
		{lakefault.Delete, lakefault.After, "", ""},
	} {
		inner := hold(t, "old!")
		s := lakefault.New(inner, lakefault.Rule{Op: c.op, KeyContains: "d/", When: c.when, Err: mine})
		got, err := call(t.Context(), s, c.op)
		if !errors.Is(err, mine) || got != c.got || s.Fired() != 1 {
			t.Errorf("%s, %v: got %q, %v, fired %d", c.op, c.when, got, err, s.Fired())
		}
		left, err := call(t.Context(), inner, lakefault.Get)
		if left != c.left || (err != nil) != (c.left == "") {
			t.Errorf("%s, %v: left %q, %v", c.op, c.when, left, err)
		}
	}
}

func TestNth(t *testing.T) {
	t.Parallel()
	s := lakefault.New(hold(t, "x"),
		lakefault.Rule{Op: lakefault.Stat, KeyContains: "other"},
		lakefault.Rule{Op: lakefault.Delete},
		lakefault.Rule{Op: lakefault.Stat, Nth: 2},
		lakefault.Rule{Nth: 4},
	)
	var failed []bool
	for range 6 {
		_, err := call(t.Context(), s, lakefault.Stat)
		failed = append(failed, errors.Is(err, lakefault.ErrInjected))
	}
	if diff := cmp.Diff([]bool{false, true, false, true, false, false}, failed); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Set()
	if _, err := call(t.Context(), s, lakefault.Delete); err != nil || s.Fired() != 2 {
		t.Errorf("without rules: %v, fired %d", err, s.Fired())
	}
}

func TestDelayAndHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := lakefault.New(hold(t, "x"),
			lakefault.Rule{Op: lakefault.Stat, Delay: time.Hour},
			lakefault.Rule{Op: lakefault.Delete, Delay: lakefault.Hang, When: lakefault.After},
			lakefault.Rule{Op: lakefault.Get, Delay: time.Minute, Err: io.ErrClosedPipe})
		start := time.Now()
		if _, err := call(t.Context(), s, lakefault.Stat); err != nil || time.Since(start) != time.Hour {
			t.Errorf("late Stat: %v after %v", err, time.Since(start))
		}
		if _, err := call(t.Context(), s, lakefault.Get); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("late and failing Get: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := call(ctx, s, lakefault.Stat); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stat later than its context: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := call(ctx, s, lakefault.Delete); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hanging Delete: %v", err)
		}
		if _, err := call(t.Context(), s, lakefault.Delete); !errors.Is(err, lake.ErrNotExist) {
			t.Errorf("the Delete that hung has not taken effect: %v", err)
		}
	})
}

func TestRandom(t *testing.T) {
	t.Parallel()
	runs := map[string]int{}
	for _, seed := range []uint64{1, 1, 2} {
		inner := mem.New()
		s := lakefault.Random(inner, seed, 0.3)
		outcome, failed, lost := "", 0, 0
		for range 300 {
			_, err := call(t.Context(), s, lakefault.Put)
			took := inner.Delete(t.Context(), "d/k") == nil
			switch {
			case err == nil && took:
				outcome += "."
			case err != nil && took:
				outcome += "A"
				lost++
			case err != nil:
				outcome += "B"
			default:
				t.Fatal("a Put returned nil and was not there")
			}
			if err != nil {
				failed++
			}
		}
		if failed < 60 || failed > 120 || lost < 20 || lost > failed-20 || s.Fired() != failed {
			t.Errorf("seed %d: %d of 300 failed, %d after, fired %d", seed, failed, lost, s.Fired())
		}
		runs[outcome]++
	}
	if len(runs) != 2 {
		t.Errorf("two equal seeds and another one gave %d different runs", len(runs))
	}
}
