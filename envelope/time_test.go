package envelope_test

import (
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/envelope"
)

func TestMicros(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		unit envelope.Unit
		raw  string
		want int64
	}{
		{envelope.Millis, "1783252800123", 1783252800123000},
		{envelope.Millis, "1783252800123.4567", 1783252800123456},
		{envelope.Millis, `"1783252800123"`, 1783252800123000},
		{envelope.Millis, "-1", -1000},
		{envelope.Millis, "1.783252800123e12", 1783252800123000},
		{envelope.Seconds, "1783252800", 1783252800000000},
		{envelope.Seconds, "1783252800.123456", 1783252800123456}, // which a double times a million is not exactly
		{envelope.Seconds, "1783252800.1", 1783252800100000},
		{envelope.Seconds, `"-0.5"`, -500000},
		{envelope.Seconds, "17832528e2", 1783252800000000},
		{envelope.Seconds, "0", 0},
		{envelope.ISO, `"2026-07-05T12:00:00Z"`, 1783252800000000},
		{envelope.ISO, `"2026-07-05T12:00:00"`, 1783252800000000 - 7200e6},
		{envelope.ISO, `"2026-07-05T12:00:00.1234567+00:00"`, 1783252800123456},
		{envelope.ISO, `"1969-12-31T23:59:59.999999Z"`, -1},
	} {
		if got, err := test.unit.Micros([]byte(test.raw), time.FixedZone("", 7200)); err != nil || got != test.want {
			t.Errorf("%s of %s is %d, %v; want %d", test.raw, test.unit, got, err, test.want)
		}
	}
	for _, unit := range []envelope.Unit{envelope.Millis, envelope.Seconds, envelope.ISO} {
		for _, raw := range []string{
			"", "null", "true", "{}", "[1]", `""`, `" 1"`, `"1 "`, `"0x1"`, `"1_000"`, `"Infinity"`, `"NaN"`, `"today"`, `"\x"`, `"2026-02-30"`,
			`"2026-07-05 12:00:00"`, "1e400", "99999999999999999999", "123456789012345678901234567890",
		} {
			if got, err := unit.Micros([]byte(raw), time.UTC); err == nil {
				t.Errorf("%s of %s is %d", raw, unit, got)
			}
		}
	}
	for _, raw := range []string{`"2026"`, "2026"} {
		if _, err := envelope.ISO.Micros([]byte(raw), time.UTC); (err == nil) != (raw[0] == '"') {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestMillisOf(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]int64{0: 0, 999: 0, 1000: 1, -1: -1, -1000: -1, -1001: -2} {
		if got := envelope.MillisOf(micros); got != want {
			t.Errorf("%d is in millisecond %d, want %d", micros, got, want)
		}
	}
}

// FuzzMicros compares numbers without an exponent with exact arithmetic.
func FuzzMicros(f *testing.F) {
	f.Add("1783252800.123456")
	f.Add("-12.5")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := envelope.Seconds.Micros([]byte(text), time.UTC)
		if err != nil {
			return
		}
		if number, unquoted := strconv.Unquote(text); unquoted == nil {
			text = number
		}
		if strings.ContainsAny(text, "eE") {
			return
		}
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is %d", text, got)
		}
		exact.Mul(exact, big.NewRat(1e6, 1)).Sub(exact, new(big.Rat).SetInt64(got))
		if exact.Abs(exact).Cmp(big.NewRat(1, 1)) >= 0 {
			t.Errorf("%q is %d, which is %s off", text, got, exact)
		}
	})
}
