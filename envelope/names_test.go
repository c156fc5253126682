package envelope

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUniqueNames(t *testing.T) {
	for _, c := range [][2][]string{
		{{"a", "b"}, {"a", "b"}},
		{{"a", "a", "a"}, {"a", "a_2", "a_3"}},
		{{"a", "a_2", "a"}, {"a", "a_2", "a_3"}},
		{{"a", "a", "a_2"}, {"a", "a_2", "a_2_2"}},
		{{"", "x", ""}, {"_c0", "x", "_c2"}},
		{{"_c1", ""}, {"_c1", "_c1_2"}},
	} {
		if d := cmp.Diff(c[1], UniqueNames(c[0])); d != "" {
			t.Errorf("%q (-want +got):\n%s", c[0], d)
		}
	}
}

// A header of very many equal names is a header like any other.
func TestUniqueNamesOfManyEqualNames(t *testing.T) {
	const n = 200_000
	began := time.Now()
	names := UniqueNames(strings.Split(strings.Repeat("a,", n-1)+"a", ","))
	if names[0] != "a" || names[n-1] != "a_"+strconv.Itoa(n) {
		t.Errorf("names %s .. %s", names[0], names[n-1])
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
