package setting

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFaultsUnder(t *testing.T) {
	var part, whole Faults
	part.Add([]string{"flush.size"}, "must be positive, got %d", -1)
	part.Add(nil, "is wrong")
	whole.Under(part, "land")
	whole.Under(part, "sources", "orders")
	want := Faults{
		{[]string{"land", "flush.size"}, "must be positive, got -1"},
		{[]string{"land"}, "is wrong"},
		{[]string{"sources", "orders", "flush.size"}, "must be positive, got -1"},
		{[]string{"sources", "orders"}, "is wrong"},
	}
	if diff := cmp.Diff(want, whole); diff != "" {
		t.Error(diff)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "1000": 1000, "17B": 17, "1KiB": 1 << 10, "64MiB": 64 << 20, "2GiB": 2 << 30, "3TiB": 3 << 40,
		"1kB": 1e3, "1KB": 1e3, "20MB": 20e6, "5GB": 5e9, "1TB": 1e12, " 64 MiB ": 64 << 20, "1.5KiB": 1536, "0.57MB": 570_000, "9223372036854775807": 1<<63 - 1,
	} {
		var got Bytes
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
}

func TestBytesThatAreNone(t *testing.T) {
	for _, text := range []string{"", " ", "B", "MiB", "-1", "-1KiB", "ten", "64 mib", "1PiB", "NaN", "inf", "Inf B", "1e30", "9999999TiB", "9223372036854775808", ".", "1.2.3", "1,5MB", "64MiBB", "0.5", "1.0001KiB", "0x10", "1_000"} {
		b := Bytes(7)
		if err := b.UnmarshalText([]byte(text)); err == nil || b != 7 {
			t.Errorf("%q is taken for %d", text, b)
		}
	}
}

func TestBytesString(t *testing.T) {
	for b, want := range map[Bytes]string{0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 64 << 20: "64MiB", 1 << 30: "1GiB", 3 << 40: "3TiB", -1024: "-1KiB"} {
		if got := b.String(); got != want {
			t.Errorf("%d prints as %s, want %s", int64(b), got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]Count{"0": 0, "1000": 1000, "1.5k": 1500, "50M": 50e6, " 2 G ": 2e9, "9223372036854775807": 1<<63 - 1} {
		var got Count
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "-1", "1K", "50MiB", "1.0001k", "9999999999G", "1,000", "1e3", "10%"} {
		c := Count(7)
		if err := c.UnmarshalText([]byte(text)); err == nil || c != 7 {
			t.Errorf("%q is taken for %d", text, c)
		}
	}
	for c, want := range map[Count]string{0: "0", 1: "1", 1000: "1k", 1500: "1500", 50e6: "50M", 3e9: "3G"} {
		if got := c.String(); got != want {
			t.Errorf("%d prints as %s, want %s", int64(c), got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]string{"0%": "0%", "0.1%": "0.1%", " 25 %": "25%", "100%": "100%", "0.000001%": "0.000001%"} {
		var got Percent
		if err := got.UnmarshalText([]byte(text)); err != nil || got.String() != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "0.1", "-1%", "100.1%", "0.0000001%", "1e1%", "10%%", "99999999999999999999%"} {
		p := Percent(7)
		if err := p.UnmarshalText([]byte(text)); err == nil || p != 7 {
			t.Errorf("%q is taken for %s", text, p)
		}
	}
	tenth := percent / 10 // 0.1%
	for _, c := range []struct {
		p           Percent
		part, whole int64
		want        bool
	}{
		{tenth, 1, 1000, false},
		{tenth, 2, 1000, true},
		{tenth, 1, 999, true},
		{0, 0, 0, false},
		{0, 1, 1e18, true},
		{tenth, 4e15, 4e18, false}, // whose products are no int64
		{tenth, 4e15 + 1, 4e18, true},
		{Whole, 5, 5, false},
	} {
		if got := c.p.Exceeded(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d is more than %s: %v", c.part, c.whole, c.p, got)
		}
	}
}

func FuzzBytes(f *testing.F) {
	for _, n := range []int64{0, 1, 1023, 1024, 64 << 20, 1<<62 - 1} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		want := Bytes(n & (1<<63 - 1))
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got Bytes
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Errorf("%d is written as %s and read as %d: %v", int64(want), text, int64(got), err)
		}
	})
}

func TestSecretNeverPrints(t *testing.T) {
	s := Secret("hunter2")
	if s.Reveal() != "hunter2" {
		t.Errorf("Reveal gives %q", s.Reveal())
	}
	whole := struct {
		Password Secret
		Pointer  *Secret
		Map      map[string]Secret
	}{s, &s, map[string]Secret{"k": s}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "whole", whole)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "whole", whole)
	asJSON, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(asJSON), s.String(), fmt.Sprint(s), fmt.Sprintf("%+v %#v", whole, whole), fmt.Errorf("x %v", s).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%10s", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, s))
	}
	for _, text := range texts {
		if !strings.Contains(text, "***") || strings.Contains(text, "hunter2") || strings.Contains(strings.ToLower(text), "68756e746572") {
			t.Errorf("a secret prints as %s", text)
		}
	}
}

func TestRounded(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 29: "1.5 GiB", 1 << 62: "4096.0 PiB"} {
		if got := Bytes(n).Rounded(); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
