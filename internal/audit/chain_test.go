package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"headwater/lake"
)

// obj makes an object of offsets; with vague it does not tell which of them it has.
func obj(key string, isVague bool, offsets ...int64) *object {
	t := lake.Tail{First: offsets[0], Next: offsets[len(offsets)-1] + 1, Count: int64(len(offsets))}
	for _, o := range offsets {
		if n := len(t.Runs); n > 0 && t.Runs[n-1].Last == o-1 {
			t.Runs[n-1].Last = o
		} else {
			t.Runs = append(t.Runs, lake.Run{First: o, Last: o})
		}
	}
	if isVague {
		t.Runs = nil
	}
	return &object{Object: lake.Object{Key: key}, tail: t, told: true}
}

func text(c coverage) string {
	var all []string
	for _, h := range c.holes {
		all = append(all, fmt.Sprintf("hole %d-%d", h.from, h.to))
	}
	for _, v := range c.vague {
		if v.short != 0 {
			all = append(all, fmt.Sprintf("short %d in %d-%d", v.short, v.from, v.to))
		}
	}
	for _, d := range c.double {
		all = append(all, fmt.Sprintf("double %d-%d %s %s", d.from, d.to, d.a.Key, d.b.Key))
	}
	return strings.Join(all, ", ")
}

func TestCover(t *testing.T) {
	for _, c := range []struct {
		name        string
		objects     []*object
		quarantined []int64
		from, to    int64
		want        string
	}{
		{"nothing", nil, nil, 0, 0, ""},
		{"nothing of three", nil, nil, 0, 3, "hole 0-3"},
		{"all", []*object{obj("b", false, 3, 4), obj("a", false, 0, 1, 2)}, nil, 0, 5, ""},
		{"two folders in turn", []*object{obj("a", false, 0, 2, 4), obj("b", false, 1, 3)}, nil, 0, 5, ""},
		{"one in quarantine", []*object{obj("a", false, 0, 1, 3)}, []int64{2}, 0, 4, ""},
		{"one is missing", []*object{obj("a", false, 0, 1, 3)}, nil, 0, 4, "hole 2-3"},
		{"the first and the last", []*object{obj("a", false, 1, 2)}, nil, 0, 4, "hole 0-1, hole 3-4"},
		{"what is not committed yet", []*object{obj("a", false, 0, 1, 2), obj("b", false, 5)}, nil, 0, 3, ""},
		{"a copy", []*object{obj("a", false, 0, 1), obj("copy", false, 0, 1)}, nil, 0, 2, "double 0-2 a copy"},
		{"an overlap", []*object{obj("a", false, 0, 1, 2), obj("b", false, 2, 3)}, nil, 0, 4, "double 2-3 a b"},
		{"inside a long one", []*object{obj("a", false, 0, 1, 2, 3, 4), obj("b", false, 1), obj("c", false, 3)}, nil, 0, 5, "double 1-2 a b, double 3-4 a c"},
		{"vague, all", []*object{obj("a", true, 0, 2, 4), obj("b", true, 1, 3)}, nil, 0, 5, ""},
		{"vague beside exact", []*object{obj("a", true, 0, 2, 4), obj("b", false, 1, 3)}, nil, 0, 5, ""},
		{"vague, one is missing", []*object{obj("a", true, 0, 2, 4), obj("b", false, 1)}, nil, 0, 5, "short 1 in 0-5"},
		{"vague, one too many", []*object{obj("a", true, 0, 2, 4), obj("b", true, 1, 3), obj("c", false, 2)}, nil, 0, 5, "short -1 in 0-5"},
		{"vague, a copy", []*object{obj("a", true, 0, 2), obj("copy", true, 0, 2), obj("b", false, 1)}, nil, 0, 3, "double 0-3 a copy"},
		{"a hole before vague ones", []*object{obj("a", false, 0), obj("b", true, 2, 4), obj("c", false, 3)}, nil, 0, 5, "hole 1-2"},
		{"vague beyond what is committed", []*object{obj("a", true, 0, 2, 6)}, nil, 0, 3, ""},
	} {
		if got := text(cover(c.objects, c.quarantined, c.from, c.to)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestCoverDrawn: offsets are shared out among objects and quarantine at random; all of them are found, and what is taken away is missed.
func TestCoverDrawn(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		end := int64(1 + random.IntN(60))
		shares := make([][]int64, 1+random.IntN(6))
		var quarantined []int64
		for o := range end {
			if random.IntN(15) == 0 {
				quarantined = append(quarantined, o)
				continue
			}
			at := random.IntN(len(shares))
			shares[at] = append(shares[at], o)
		}
		var objects []*object
		for i, s := range shares {
			if len(s) > 0 {
				objects = append(objects, obj(fmt.Sprint(i), random.IntN(3) == 0, s...))
			}
		}
		if got := text(cover(slices.Clone(objects), quarantined, 0, end)); got != "" {
			t.Fatalf("seed %d: %q", seed, got)
		}
		if len(objects) == 0 {
			continue
		}
		gone := random.IntN(len(objects))
		fewer := slices.Delete(slices.Clone(objects), gone, gone+1)
		if got := text(cover(fewer, quarantined, 0, end)); got == "" {
			t.Fatalf("seed %d: nobody misses object %d", seed, gone)
		}
		more := append(slices.Clone(objects), &object{Object: lake.Object{Key: "copy"}, tail: objects[gone].tail, told: true})
		if got := text(cover(more, quarantined, 0, end)); !strings.Contains(got, "double") {
			t.Fatalf("seed %d: nobody sees the copy of object %d: %q", seed, gone, got)
		}
	}
}
