package schema

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func object(nameAndType ...any) Type {
	t := Type{Kind: Struct}
	for i := 0; i < len(nameAndType); i += 2 {
		t.Fields = append(t.Fields, Field{nameAndType[i].(string), nameAndType[i+1].(Type)})
	}
	return t
}

func of(k Kind) Type { return Type{Kind: k} }

func array(elem Type) Type { return Type{Kind: List, Elem: &elem} }

func TestMerge(t *testing.T) {
	for _, c := range []struct{ a, b, want Type }{
		{of(Undecided), of(Long), of(Long)},
		{of(Undecided), object("a", of(Long)), object("a", of(Long))},
		{of(Undecided), of(Undecided), of(Undecided)},
		{of(Long), of(Decimal), of(Decimal)},
		{of(Long), decimal(19), decimal(20)},
		{decimal(25), of(Long), decimal(25)},
		{decimal(25), decimal(19), decimal(25)},
		{decimal(25), of(Decimal), of(Decimal)},
		{decimal(25), of(Double), of(String)},
		{of(Long), of(Double), of(Double)},
		{of(Decimal), of(Double), of(String)},
		{of(Boolean), of(Long), of(String)},
		{of(Timestamp), of(Timestamp), of(Timestamp)},
		{of(Timestamp), of(Long), of(String)},
		{of(Timestamp), of(String), of(String)},
		{array(of(Long)), array(of(Double)), array(of(Double))},
		{array(of(Undecided)), array(of(Long)), array(of(Long))},
		{array(of(Long)), of(Long), of(String)},
		{array(of(Long)), object("a", of(Long)), of(String)},
		{object("a", of(Long)), of(Long), of(String)},
		{object("b", of(Long), "a", of(Long)), object("b", of(Long), "a", of(Long)), object("b", of(Long), "a", of(Long))},
		{object("b", of(Long), "a", of(Long)), object("a", of(Long), "b", of(Long)), object("a", of(Long), "b", of(Long))},
		{
			object("z", of(Long), "_ingested_at", of(Timestamp)), object("y", of(Long), "_ingested_at", of(Timestamp)),
			object("y", of(Long), "z", of(Long), "_ingested_at", of(Timestamp)),
		},
		{
			object("_ingested_at_2", of(Long), "_ingested_at", of(Timestamp)), object("y", of(Long), "_ingested_at", of(Timestamp)),
			object("_ingested_at_2", of(Long), "y", of(Long), "_ingested_at", of(Timestamp)),
		},
		{object("a", of(Long)), object("A", of(String)), object("A", of(String), "a", of(Long))},
		{object("a", object("x", of(Long))), object("a", object("y", of(Long))), object("a", object("x", of(Long), "y", of(Long)))},
		{object(), object("a", of(Long)), object("a", of(Long))},
	} {
		if diff := cmp.Diff(c.want, Merge(c.a, c.b)); diff != "" {
			t.Errorf("Merge(%s, %s) (-want +got):\n%s", c.a, c.b, diff)
		}
	}
}

// random is a type of few kinds and names, so that two of them have something in common.
func random(r *rand.Rand, depth int) Type {
	k := Kind(r.IntN(int(Struct) + 1))
	switch {
	case k == Decimal:
		return decimal(1 + r.IntN(38))
	case k < List || depth == 0:
		return of(k % List)
	case k == List:
		return array(random(r, depth-1))
	}
	t := Type{Kind: Struct}
	for _, i := range r.Perm(4)[:r.IntN(5)] {
		t.Fields = append(t.Fields, Field{[]string{"a", "B", "b", "_ingested_at"}[i], random(r, depth-1)})
	}
	return t
}

func TestMergeIsAJoin(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30000 {
		a, b, c := random(r, 3), random(r, 3), random(r, 3)
		if r.IntN(2) == 0 { // structs that differ a little say more
			a, b, c = object("x", a, "y", of(Long)), object("y", of(Long), "x", b), object("x", c)
		}
		if !Equal(Merge(a, a), a) {
			t.Fatalf("not idempotent: %s", a)
		}
		if ab, ba := Merge(a, b), Merge(b, a); !Equal(ab, ba) {
			t.Fatalf("not commutative: %s and %s give %s and %s", a, b, ab, ba)
		}
		if x, y := Merge(Merge(a, b), c), Merge(a, Merge(b, c)); !Equal(x, y) {
			t.Fatalf("not associative: %s, %s, %s give\n%s and\n%s", a, b, c, x, y)
		}
		if ab := Merge(a, b); !Equal(Merge(ab, a), ab) {
			t.Fatalf("%s does not hold %s", ab, a)
		}
	}
}

func TestMergeKeepsItsArguments(t *testing.T) {
	a, b := object("b", of(Long), "a", of(Long)), object("b", of(Double), "c", of(Long))
	before := a.String() + b.String()
	Merge(a, b)
	if after := a.String() + b.String(); after != before {
		t.Errorf("was %s, is %s", before, after)
	}
}

var nested = object("Id", of(Long), "big", of(Decimal), "ok", of(Boolean), "d", of(Double), "at", of(Timestamp), "u", of(Undecided),
	"Lines", array(object("SKU", of(String))))

func TestSparkJSON(t *testing.T) {
	got, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"struct","fields":[` +
		`{"name":"Id","type":"long","nullable":true,"metadata":{}},` +
		`{"name":"big","type":"decimal(38,0)","nullable":true,"metadata":{}},` +
		`{"name":"ok","type":"boolean","nullable":true,"metadata":{}},` +
		`{"name":"d","type":"double","nullable":true,"metadata":{}},` +
		`{"name":"at","type":"timestamp","nullable":true,"metadata":{}},` +
		`{"name":"u","type":"void","nullable":true,"metadata":{}},` +
		`{"name":"Lines","type":{"type":"array","elementType":{"type":"struct","fields":[` +
		`{"name":"SKU","type":"string","nullable":true,"metadata":{}}]},"containsNull":true},"nullable":true,"metadata":{}}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if empty, err := json.Marshal(object()); err != nil || string(empty) != `{"type":"struct","fields":[]}` {
		t.Errorf("an empty struct is %s, %v", empty, err)
	}
}

func TestSparkJSONComesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		want := random(r, 4)
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Type
		if err := json.Unmarshal(text, &got); err != nil || !Equal(got, want) {
			t.Fatalf("%s comes back as %s, %v", text, got, err)
		}
	}
}

func TestSparkJSONOfOthers(t *testing.T) {
	for _, text := range []string{
		`"integer"`, `"date"`, `"decimal(10,11)"`, `"decimal(0,0)"`, `"decimal(39,0)"`, `"decimal(07,0)"`, `null`, `1`, `[]`, `{}`, `{"type":"map","keyType":"long","valueType":"long"}`,
		`{"type":"array","elementType":"float"}`, `{"type":"struct","fields":[{"name":"a","type":"byte"}]}`, `{"type":"struct","fields":[{"name":1}]}`,
		`{"type":"struct","fields":[{"name":"a"}]}`,
	} {
		var got Type
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was read as %s", text, got)
		}
	}
	if _, err := json.Marshal(Type{Kind: 99}); err == nil {
		t.Error("an unknown kind was written")
	}
}

func FuzzSparkJSON(f *testing.F) {
	f.Add([]byte(`{"type":"struct","fields":[{"name":"a","type":{"type":"array","elementType":"long"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var first, second Type
		if json.Unmarshal(text, &first) != nil {
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &second); err != nil || !Equal(first, second) {
			t.Fatalf("%s became %s, %v", text, again, err)
		}
	})
}

func TestHive(t *testing.T) {
	want := "struct<id:bigint,big:decimal(38,0),ok:boolean,d:double,at:timestamp,u:void,lines:array<struct<sku:string>>>"
	if got := nested.Hive(); got != want {
		t.Errorf("Hive is %s, want %s", got, want)
	}
	if got, want := nested.String(), strings.NewReplacer("id:", "Id:", "lines:", "Lines:", "sku:", "SKU:").Replace(want); got != want {
		t.Errorf("String is %s, want %s", got, want)
	}
}
