package schema

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSeenOfNumber(t *testing.T) {
	nines := strings.Repeat("9", 38)
	tests := map[string]Seen{
		"0": SeenInt, "-0": SeenInt, "999999999999999": SeenInt, "9007199254740992": SeenInt, "9007199254740993": SeenWideInt,
		"9007199254740994": SeenInt, "-9007199254740993": SeenWideInt, "9223372036854775807": SeenWideInt,
		"-9223372036854775808": SeenInt, "9223372036854775808": SeenBigInt, "-9223372036854775809": SeenBigInt,
		nines: SeenBigInt, "-" + nines: SeenBigInt, "1" + nines: SeenHugeInt, "1.5": SeenFraction, "1e2": SeenFraction, "-1E-9": SeenFraction,
		"1e308": SeenFraction, "1e309": SeenHugeFraction, "1e-999": SeenFraction, "0.0": SeenFraction,
		strings.Repeat("9", 310) + ".0": SeenHugeFraction, "0." + strings.Repeat("9", 400): SeenFraction,
	}
	for text, want := range tests {
		if got := SeenOfNumber([]byte(text)); got != want {
			t.Errorf("%s: %b, want %b", text, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	str := func(s Seen) *Evidence { return &Evidence{Seen: s} }
	tests := []struct {
		e    *Evidence
		want Type
	}{
		{str(0), Type{}},
		{str(SeenNull), Type{}},
		{str(SeenBool | SeenNull), Type{Kind: Boolean}},
		{str(SeenInt | SeenWideInt), Type{Kind: Long}},
		{str(SeenInt | SeenBigInt), Type{Kind: Decimal}},
		{str(SeenInt | SeenFraction), Type{Kind: Double}},
		{str(SeenWideInt | SeenFraction), Type{Kind: String}},
		{str(SeenBigInt | SeenFraction), Type{Kind: String}},
		{str(SeenHugeInt), Type{Kind: String}},
		{str(SeenHugeFraction), Type{Kind: String}},
		{str(SeenBool | SeenInt), Type{Kind: String}},
		{str(SeenArray | SeenObject), Type{Kind: String}},
		{str(SeenString | SeenObject), Type{Kind: String}},
		{str(SeenEmptyString), Type{Kind: String}},
		{str(SeenEmptyString | SeenInt), Type{Kind: String}},
		{str(SeenEmptyString | SeenString), Type{Kind: String}},
		{str(SeenArray), Type{}},
		{str(SeenObject), Type{}},
		{&Evidence{Seen: SeenArray, Elem: str(SeenNull)}, Type{}},
		{&Evidence{Seen: SeenArray, Elem: str(SeenInt | SeenString)}, Type{Kind: List, Elem: &Type{Kind: String}}},
		{
			&Evidence{Seen: SeenObject, Fields: map[string]*Evidence{"b": str(SeenInt), "a": str(SeenBool), "n": str(SeenNull)}},
			Type{Kind: Struct, Fields: []Field{{"a", Type{Kind: Boolean}}, {"b", Type{Kind: Long}}}},
		},
	}
	for i, test := range tests {
		if diff := cmp.Diff(test.want, test.e.Resolve()); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}

func randomEvidence(r *rand.Rand, depth int) *Evidence {
	e := &Evidence{Seen: Seen(r.IntN(1 << 12))}
	if r.IntN(2) == 0 {
		e.Seen = 1 << r.IntN(12)
	}
	if e.Seen&SeenBigInt != 0 {
		e.BigDigits = uint8(19 + r.IntN(20))
	}
	if e.Seen&SeenArray != 0 && depth > 0 {
		e.Elem = randomEvidence(r, depth-1)
	}
	if e.Seen&SeenObject != 0 && depth > 0 {
		e.Fields = map[string]*Evidence{}
		for range r.IntN(4) {
			e.Fields[fmt.Sprint(r.IntN(5))] = randomEvidence(r, depth-1)
		}
	}
	return e
}

// same compares evidence; no fields are the same as no map of them.
func same(a, b *Evidence) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Seen != b.Seen || a.BigDigits != b.BigDigits || !same(a.Elem, b.Elem) || len(a.Fields) != len(b.Fields) {
		return false
	}
	for name, f := range a.Fields {
		if !same(f, b.Fields[name]) {
			return false
		}
	}
	return true
}

func merged(list ...*Evidence) *Evidence {
	out := &Evidence{}
	for _, e := range list {
		out.Merge(e.clone())
	}
	return out
}

func TestMergeOfEvidence(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		a, b, c := randomEvidence(r, 3), randomEvidence(r, 3), randomEvidence(r, 3)
		ab := merged(a, b)
		switch {
		case !same(ab, merged(b, a)):
			t.Fatal("not commutative")
		case !same(merged(ab, c), merged(a, merged(b, c))):
			t.Fatal("not associative")
		case !same(merged(a, a), a):
			t.Fatal("not idempotent")
		case !same(merged(ab, a), ab):
			t.Fatal("forgot something")
		case !reflect.DeepEqual(merged(a, b, c).Resolve(), merged(c, a, b, a).Resolve()),
			!reflect.DeepEqual(merged(a, b, c).ResolveSpark(), merged(c, a, b, a).ResolveSpark()):
			t.Fatal("the type depends on the order")
		}
	}
}

func TestFlatten(t *testing.T) {
	long, str := Type{Kind: Long}, Type{Kind: String}
	st := func(fields ...Field) Type { return Type{Kind: Struct, Fields: fields} }
	list := func(t Type) Type { return Type{Kind: List, Elem: &t} }
	tests := []struct {
		in      Type
		want    []Field
		renamed []Renamed
	}{
		{Type{}, nil, nil},
		{str, []Field{{"value", str}}, nil},
		{list(long), []Field{{"value", list(long)}}, nil},
		{st(Field{"a", st(Field{"b", st(Field{"c", long})})}), []Field{{"a_b_c", long}}, nil},
		{st(Field{"A", long}, Field{"a", str}, Field{"a_2", str}), []Field{{"A", long}, {"a_3", str}, {"a_2", str}}, []Renamed{{"a", "a_3"}}},
		{
			st(Field{"YEAR", long}, Field{"a", st(Field{"b", long})}, Field{"a_b", str}),
			[]Field{{"YEAR_2", long}, {"a_b", long}, {"a_b_2", str}},
			[]Renamed{{"YEAR", "YEAR_2"}, {"a_b", "a_b_2"}},
		},
		{
			st(Field{"a.b", long}, Field{"x:y\n", st(Field{"<z>", list(st(Field{"p;q", long}))})}),
			[]Field{{"a_b", long}, {"x_y___z_", list(st(Field{"p_q", long}))}},
			[]Renamed{{"a.b", "a_b"}, {"x:y\n.<z>", "x_y___z_"}, {"x:y\n.<z>.p;q", "x_y___z_.p_q"}},
		},
		{
			st(Field{"l", list(st(Field{"K", long}, Field{"k", long}))}),
			[]Field{{"l", list(st(Field{"K", long}, Field{"k_2", long}))}},
			[]Renamed{{"l.k", "l.k_2"}},
		},
	}
	for i, test := range tests {
		got, renamed, _ := Flatten(test.in, "_", nil)
		want := st(append(test.want, Field{IngestedAt, Type{Kind: Timestamp}})...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
		if diff := cmp.Diff(test.renamed, renamed); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}

func TestUnique(t *testing.T) {
	long := Type{Kind: Long}
	st := func(names ...string) (t Type) {
		t.Kind = Struct
		for _, name := range names {
			t.Fields = append(t.Fields, Field{name, long})
		}
		return t
	}
	tests := []struct{ in, want Type }{
		{st("Day", "a", "year"), st("Day_2", "a", "year_2")},
		{st("METADATA", "Metadata", "metadata", "raw_data"), st("METADATA_2", "Metadata_3", "metadata", "raw_data")},
		{st("Raw_Data", "raw.data"), st("Raw_Data_2", "raw_data_3")},
		{
			Type{Kind: Struct, Fields: []Field{{"metadata", st("Metadata", "metadata", "year")}}},
			Type{Kind: Struct, Fields: []Field{{"metadata", st("Metadata", "metadata_2", "year")}}},
		},
	}
	for i, test := range tests {
		got, _, _ := Unique(test.in, []string{"metadata", "raw_data"}, nil)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}

// TestManyLikeNames: tens of thousands of names that differ in nothing that counts take no time to speak of.
func TestManyLikeNames(t *testing.T) {
	wide := Type{Kind: Struct}
	for i := range 1 << 15 {
		name := []byte("abcdefghijklmno")
		for bit := range name {
			if i>>bit&1 != 0 {
				name[bit] -= 'a' - 'A'
			}
		}
		wide.Fields = append(wide.Fields, Field{string(name), Type{Kind: Long}})
	}
	start := time.Now()
	flat, renamed, _ := Flatten(wide, "_", nil)
	if last := flat.Fields[len(wide.Fields)-1].Name; len(renamed) != 1<<15-1 || !strings.HasSuffix(last, "_32768") {
		t.Error(len(renamed), last)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Error(took)
	}
}

// TestNamesStayApart: whatever the names, the flat table's differ without regard to case, and none is the partition's.
func TestNamesStayApart(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	parts := []string{"a", "A", "a_2", "a_2_2", "year", "", "_", "_empty", "_ingested_at", "value", "Day_2", "day"}
	var random func(depth int) Type
	random = func(depth int) Type {
		if depth == 0 || r.IntN(2) == 0 {
			return Type{Kind: Long}
		}
		t := Type{Kind: Struct}
		for _, i := range r.Perm(len(parts))[:1+r.IntN(len(parts)-1)] {
			t.Fields = append(t.Fields, Field{parts[i], random(depth - 1)})
		}
		return t
	}
	for range 500 {
		flat, _, _ := Flatten(random(3), "_", nil)
		taken := map[string]bool{"year": true, "month": true, "day": true}
		for _, f := range flat.Fields {
			name := strings.ToLower(f.Name)
			if taken[name] || name == "" {
				t.Fatalf("%q twice among %v", name, flat.Fields)
			}
			taken[name] = true
		}
		if last := flat.Fields[len(flat.Fields)-1]; last.Name != IngestedAt {
			t.Fatal(last)
		}
	}
}

// TestResolveSpark has the rules in which Spark differs; days with its own answers are in package serialize.
func TestResolveSpark(t *testing.T) {
	str := func(s Seen) *Evidence { return &Evidence{Seen: s} }
	big := func(s Seen, digits uint8) *Evidence { return &Evidence{Seen: s | SeenBigInt, BigDigits: digits} }
	list := func(elem *Evidence) *Evidence { return &Evidence{Seen: SeenArray, Elem: elem} }
	fields := func(f map[string]*Evidence) *Evidence { return &Evidence{Seen: SeenObject, Fields: f} }
	for i, test := range []struct {
		e    *Evidence
		want Type
	}{
		{str(SeenNull), of(String)},
		{str(SeenEmptyString | SeenNull), of(String)},
		{str(SeenEmptyString | SeenInt), of(Long)},
		{str(SeenEmptyString | SeenBool), of(Boolean)},
		{str(SeenString | SeenInt), of(String)},
		{str(SeenWideInt | SeenFraction), of(Double)},
		{str(SeenHugeInt), of(Double)},
		{str(SeenHugeInt | SeenInt), of(Double)},
		{str(SeenHugeFraction), of(Double)},
		{big(0, 19), decimal(19)},
		{big(SeenInt, 19), decimal(20)},
		{big(SeenWideInt, 30), decimal(30)},
		{big(0, 38), of(Decimal)},
		{big(SeenFraction, 19), of(Double)},
		{big(SeenHugeInt, 19), of(Double)},
		{list(nil), array(of(String))},
		{list(str(SeenEmptyString)), array(of(String))},
		{list(fields(nil)), Type{}},
		{fields(map[string]*Evidence{"": str(SeenInt)}), Type{}},
		{fields(map[string]*Evidence{"a": str(SeenObject), "never": {}}), Type{}},
		{
			fields(map[string]*Evidence{"\U0001f600": str(SeenInt), "\uff5e": str(SeenInt), "Z": str(SeenInt), "a": list(str(SeenObject | SeenEmptyString))}),
			object("Z", of(Long), "\U0001f600", of(Long), "\uff5e", of(Long)),
		},
	} {
		if diff := cmp.Diff(test.want, test.e.ResolveSpark()); diff != "" {
			t.Errorf("%d: %s", i, diff)
		}
	}
}

func TestNamesOfSpark(t *testing.T) {
	typ := object("", of(Long), "A", of(Long), "a", of(Long), "b.c", object("d:e", of(Long)), "year", of(Long))
	typ.Fields = typ.Fields[1:] // nameless ones are never resolved
	flat, renamed := FlattenSpark(typ, "_")
	want := object("A", of(Long), "a_2", of(Long), "b.c_d_e", of(Long), "year_2", of(Long))
	if diff := cmp.Diff(want, flat); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Renamed{{"a", "a_2"}, {"b.c.d:e", "b.c_d_e"}, {"year", "year_2"}}, renamed); diff != "" {
		t.Error(diff)
	}
	if flat, _ := FlattenSpark(Type{}, "_"); !Equal(flat, object(IngestedAt, of(Timestamp))) {
		t.Errorf("a table of nothing is %v", flat)
	}
	unique, _ := UniqueSpark(typ, nil)
	if want := object("A", of(Long), "a_2", of(Long), "b.c", object("d_e", of(Long)), "year_2", of(Long)); !Equal(unique, want) {
		t.Errorf("%v, want %v", unique, want)
	}
}
