package hive

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/schema"
)

// TestInOrder: what another job has put into an order stays in it, and what comes goes behind it.
func TestInOrder(t *testing.T) {
	parse := func(text string) (s schema.Type) {
		t.Helper()
		if err := s.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		return s
	}
	field := func(name, typ string) string {
		return `{"name":"` + name + `","type":` + typ + `,"nullable":true,"metadata":{}}`
	}
	before := parse(`{"type":"struct","fields":[` + field("z", `"long"`) + "," + field("b", `{"type":"array","containsNull":true,"elementType":{"type":"struct","fields":[`+
		field("y", `"long"`)+","+field("x", `"long"`)+`]}}`) + `]}`)
	file := parse(`{"type":"struct","fields":[` + field("a", `"string"`) + "," + field("b", `{"type":"array","containsNull":true,"elementType":{"type":"struct","fields":[`+
		field("w", `"long"`)+","+field("x", `"double"`)+`]}}`) + "," + field("z", `"double"`) + `]}`)
	got := inOrder(before, schema.Merge(before, file)).String()
	if diff := cmp.Diff("struct<z:double,b:array<struct<y:bigint,x:double,w:bigint>>,a:string>", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUnder: places are compared however readers spell them.
func TestUnder(t *testing.T) {
	for _, c := range []struct {
		root, location, below string
		inside                bool
	}{
		{"file:///srv/tables", "file:/srv/tables/a/b/", "a/b", true},
		{"s3a://lake/tables", "s3://lake/tables/a", "a", true},
		{"s3a://lake/tables", "s3n://lake/tables", "", true},
		{"s3a://lake/tables", "s3a://lake/tablesX/a", "", false},
		{"s3a://lake", "hdfs://lake/a", "", false},
	} {
		below, inside := under(c.root, c.location)
		if inside != c.inside || inside && below != c.below {
			t.Errorf("under(%s, %s) is %q, %v", c.root, c.location, below, inside)
		}
	}
}
