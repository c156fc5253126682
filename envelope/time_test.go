package envelope_test

import (
	"encoding/json"
	"math/big"
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
		{envelope.Seconds, "1.7832959999999999e9", 1783295999999999}, // as Java spells a double; the next microsecond is another day
		{envelope.Seconds, "-17832959999999999E-7", -1783295999999999},
		{envelope.Seconds, "1e-400000000000", 0},
		{envelope.Millis, "0e400000000000", 0},
		{envelope.Millis, "0.0017832528e+15", 1783252800000000},
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
			`"2026-07-05 12:00:00"`, "1e400", "1e99999999999999999999", "99999999999999999999", "123456789012345678901234567890",
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

// TestOffsetOfTheMachine: an offset in the text is that offset, also where the machine's clock had the same one once. Not parallel: all
// tests have one time.Local.
func TestOffsetOfTheMachine(t *testing.T) {
	before := time.Local
	t.Cleanup(func() { time.Local = before })
	for zone, text := range map[string]string{"CET": "2026-07-05T12:00:00+01:00", "EST5EDT": "2026-07-05T06:00:00-05:00", "WET": "2026-07-05T11:00:00+00"} {
		var err error
		if time.Local, err = time.LoadLocation(zone); err != nil {
			t.Fatal(err)
		}
		if got, ok := envelope.ParseISO(text, time.UTC); !ok || got.Unix() != 1783249200 {
			t.Errorf("on a machine in %s, %s is %s", zone, text, got)
		}
	}
}

// TestSkipped: what a clock that was put forward has skipped is read by the clock as it was, so that a day begins where it does.
func TestSkipped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ zone, text, want string }{
		{"America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00"},
		{"America/Santiago", "2026-09-06T00:30:00.5", "2026-09-06T01:30:00.5-03:00"},
		{"Africa/Cairo", "2024-04-26", "2024-04-26T01:00:00+03:00"},
		{"Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T03:30:00+02:00"},
		{"Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00"},
	} {
		zone, err := time.LoadLocation(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := envelope.ParseISO(test.text, zone)
		if text := got.Format(time.RFC3339Nano); !ok || text != test.want {
			t.Errorf("%s in %s is %s, want %s", test.text, test.zone, text, test.want)
		}
	}
	for _, text := range []string{"2026-07-05T12:00:00+24:00", "2026-07-05T12:00:00+05:60", "2026-07-05T12:00:00-99"} {
		if got, ok := envelope.ParseISO(text, time.UTC); ok {
			t.Errorf("%s is %s", text, got)
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

// FuzzMicros compares numbers with exact arithmetic.
func FuzzMicros(f *testing.F) {
	f.Add("1783252800.123456")
	f.Add("-12.5")
	f.Add(`"1.7832528001234567E9"`)
	f.Fuzz(func(t *testing.T, text string) {
		raw, err := envelope.Compact(nil, []byte(text), envelope.DefaultLimits)
		if err != nil || string(raw) != text {
			return // it is never asked for
		}
		got, err := envelope.Seconds.Micros(raw, time.UTC)
		if err != nil {
			return
		}
		if text[0] == '"' && json.Unmarshal(raw, &text) != nil {
			t.Fatalf("%q is %d", text, got)
		}
		if _, exponent, _ := strings.Cut(strings.ToLower(text), "e"); len(exponent) > 4 {
			return // too many digits for exact arithmetic
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

// FuzzISO: what is RFC 3339 is read as the library reads it, and what is read is on the day that the text names.
func FuzzISO(f *testing.F) {
	f.Add("2026-07-05T12:00:00.123456+02:00")
	f.Add("2026-09-06")
	f.Add("2016-12-31T23:59:60Z")
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := envelope.ParseISO(text, santiago)
		want, err := time.Parse(time.RFC3339Nano, text)
		if _, offset := want.Zone(); err == nil && text[len(text)-2:] < "60" && max(offset, -offset) < 24*3600 && !(ok && got.Equal(want)) {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
		if _, err := time.Parse(time.DateOnly, text); err == nil && got.Format(time.DateOnly) != text {
			t.Errorf("%q is on %s", text, got.Format(time.DateOnly))
		}
	})
}
