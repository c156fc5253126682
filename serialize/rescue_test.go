package serialize

import (
	"fmt"
	"math/big"
	"testing"
)

// TestUnscaled: a number is a decimal of so many digits exactly, or it is none.
func TestUnscaled(t *testing.T) {
	for _, test := range []struct {
		number        string
		digits, scale int
		want          string
	}{
		{"0", 1, 0, "0"},
		{"-0", 5, 2, "-0"},
		{"1", 3, 2, "100"},
		{"12.5", 4, 2, "1250"},
		{"12.50", 4, 2, "1250"},
		{"12.500", 4, 2, "1250"},
		{"12.505", 5, 2, ""},
		{"123.45", 4, 2, ""},
		{"1e2", 5, 2, "10000"},
		{"1.5E1", 3, 1, "150"},
		{"15e-1", 2, 1, "15"},
		{"15e-2", 2, 1, ""},
		{"0.001", 3, 0, ""},
		{"0.000", 3, 0, "0"},
		{"1e101", 38, 0, ""},
		{"0e99", 3, 1, "0"},
		{"100", 1, 0, ""},
		{"-99.99", 4, 2, "-9999"},
		{"1e-100", 38, 38, ""},
		{"0.00000000000000000000000000000000000001", 38, 38, "1"},
	} {
		got, ok := unscaled([]byte(test.number), test.digits, test.scale)
		if string(got) != test.want || ok != (test.want != "") {
			t.Errorf("%s as decimal(%d,%d): %q, %v", test.number, test.digits, test.scale, got, ok)
		}
		if !ok {
			continue
		}
		value, _ := new(big.Rat).SetString(test.number)
		back, _ := new(big.Rat).SetString(fmt.Sprintf("%se-%d", got, test.scale))
		if value.Cmp(back) != 0 {
			t.Errorf("%s is %s", test.number, back)
		}
	}
}
