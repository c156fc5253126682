package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
)

func dayOf(fields map[string]schema.Seen) Day {
	data := &schema.Evidence{Seen: schema.SeenObject, Fields: map[string]*schema.Evidence{}}
	for name, seen := range fields {
		data.Fields[name] = &schema.Evidence{Seen: seen, First: []schema.First{{Kind: seen, At: 1}}}
	}
	return Day{
		Evidence: &schema.Evidence{Seen: schema.SeenObject, Fields: map[string]*schema.Evidence{envelope.KeyRawData: data}},
		Place:    func(at int64) Place { return Place{Day: "2026-07-05", Object: "o", Record: at} },
		Touched:  func(schema.Type) ([]string, error) { return nil, nil },
	}
}

// TestLoserBuildsOnWinner: of two changes of one version neither is lost.
func TestLoserBuildsOnWinner(t *testing.T) {
	log := Log{Store: mem.New(), Table: "db.t"}
	add := func(name string, before func()) {
		if _, err := log.Change(t.Context(), name, func(v *Version) (bool, error) {
			if before != nil {
				before()
				before = nil
			}
			return v.Add(dayOf(map[string]schema.Seen{name: schema.SeenInt}), Rules{})
		}); err != nil {
			t.Fatal(err)
		}
	}
	add("slow", func() { add("quick", nil) })
	head, err := log.Head(t.Context())
	if err != nil || head.Number != 2 || head.Find("slow") == nil || head.Find("quick") == nil {
		t.Fatalf("a change is lost: version %d, %v, %v", head.Number, slices.Collect(maps.Keys(head.Record.Fields[envelope.KeyRawData].Fields)), err)
	}
	first, err := log.Read(t.Context(), 1)
	if err != nil || first.By != "quick" {
		t.Errorf("version 1 is by %s, %v", first.By, err)
	}
	if _, err := log.Read(t.Context(), 3); !errors.Is(err, ErrNoVersion) {
		t.Error(err)
	}
	again := head.Number
	add("quick", nil)
	if head, err = log.Head(t.Context()); err != nil || head.Number != again {
		t.Errorf("what is known makes version %d, %v", head.Number, err)
	}
}

// lossy loses the answers of its first writes.
type lossy struct {
	lake.Store
	lose int
}

func (l *lossy) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	o, err := l.Store.Put(ctx, key, body, cond)
	if l.lose--; l.lose >= 0 && err == nil {
		return lake.Object{}, errors.New("the answer is lost")
	}
	return o, err
}

func TestLostAnswer(t *testing.T) {
	log := Log{Store: &lossy{mem.New(), 1}, Table: "db.t"}
	v, err := log.Change(t.Context(), "x", func(v *Version) (bool, error) {
		return v.Add(dayOf(map[string]schema.Seen{"a": schema.SeenInt}), Rules{})
	})
	if err != nil || v.Number != 1 {
		t.Fatal(v, err)
	}
}

// TestOrderDoesNotMatter: whatever the order in which days come, the types are the same, as long as nothing waits.
func TestOrderDoesNotMatter(t *testing.T) {
	kinds := []schema.Seen{
		schema.SeenNull, schema.SeenBool, schema.SeenInt, schema.SeenWideInt, schema.SeenBigInt, schema.SeenFraction, schema.SeenString, schema.SeenHugeInt,
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 5))
		var days []Day
		for range 2 + r.IntN(4) {
			fields := map[string]schema.Seen{}
			for range 1 + r.IntN(4) {
				fields[fmt.Sprintf("f%d", r.IntN(4))] = kinds[r.IntN(len(kinds))]
			}
			days = append(days, dayOf(fields))
		}
		var want schema.Type
		for round := range 4 {
			v := &Version{Record: &Node{}}
			for _, i := range r.Perm(len(days)) {
				if _, err := v.Add(days[i], Rules{}); err != nil {
					t.Fatal(err)
				}
				if changed, err := v.Add(days[i], Rules{}); changed || err != nil {
					t.Fatalf("seed %d: the same day again changes something: %v", seed, err)
				}
			}
			got := v.Evidence().Resolve()
			if round == 0 {
				want = got
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: another order has other types:\n%s", seed, diff)
			}
		}
	}
}

// TestWaits: what would have too many days rewritten waits, is told once, and is in the type once it is approved.
func TestWaits(t *testing.T) {
	v := &Version{Record: &Node{}}
	days := []string{"2026-07-01", "2026-07-02"}
	add := func(name string, seen schema.Seen, rules Rules) bool {
		d := dayOf(map[string]schema.Seen{name: seen})
		d.Touched = func(schema.Type) ([]string, error) { return days, nil }
		changed, err := v.Add(d, rules)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	typeOf := func(path string) string { return v.Find(path).Type().String() }
	add("a", schema.SeenInt, Rules{})
	if !add("a", schema.SeenString, Rules{MaxRewrite: 1}) || typeOf("a") != "bigint" || !v.Rescued || len(v.Rewrite) != 0 {
		t.Fatalf("%s, %v, %v", typeOf("a"), v.Rescued, v.Rewrite)
	}
	if add("a", schema.SeenString, Rules{MaxRewrite: 1}) {
		t.Error("it is told twice")
	}
	add("a", schema.SeenFraction, Rules{MaxRewrite: 2})
	if typeOf("a") != "double" || !slices.Equal(v.Rewrite, days) {
		t.Errorf("%s, %v", typeOf("a"), v.Rewrite)
	}
	if places, err := v.Approve("", func(schema.Type) ([]string, error) { return []string{"2026-07-03"}, nil }); err != nil || !slices.Equal(places, []string{"a"}) || typeOf("a") != "string" || len(v.Rewrite) != 3 {
		t.Errorf("%v, %v, %s, %v", places, err, typeOf("a"), v.Rewrite)
	}
	if _, err := v.Approve("", nil); !errors.Is(err, ErrNoField) {
		t.Error(err)
	}
}
