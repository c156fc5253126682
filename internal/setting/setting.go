// Package setting has the value types that configurations are made of, and the form of their faults. It imports
// nothing of ours; every stage's Config uses it and internal/config reports what it finds.
package setting

import (
	"fmt"
	"log/slog"
	"math/big"
	"math/bits"
	"path/filepath"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	// Path leads to the value, from the Config that reports it; a segment may contain dots ("flush.size").
	Path []string
	// Text says what is wrong, what was given and what would be right.
	Text string
}

// String is the fault for people.
func (f Fault) String() string { return strings.Join(f.Path, ".") + ": " + f.Text }

// Faults collects faults; the zero value is empty.
type Faults []Fault

// Add appends a fault.
func (f *Faults) Add(path []string, format string, args ...any) {
	*f = append(*f, Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

// Under puts the faults of a part below the path that leads to it.
func (f *Faults) Under(part Faults, path ...string) {
	for _, p := range part {
		*f = append(*f, Fault{Path: append(append([]string{}, path...), p.Path...), Text: p.Text})
	}
}

// At is where a path that a configuration names leads to: relative ones begin at the folder base.
func At(base, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(base, path)
}

// Bytes is a size, written as 64MiB, 20MB or a bare number of bytes.
type Bytes int64

// Rounded is the size for people, as 1.2 GiB.
func (b Bytes) Rounded() string {
	if b < 1<<10 {
		return fmt.Sprintf("%d B", int64(b))
	}
	n, unit := float64(b), 0
	for ; n >= 1<<10 && unit < 5; unit++ {
		n /= 1 << 10
	}
	return fmt.Sprintf("%.1f %ciB", n, " KMGTP"[unit])
}

// unit is what a number may be followed by.
type unit struct {
	suffix string
	factor int64
}

var units = []unit{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, ok := scaled(string(text), units)
	if !ok {
		return fmt.Errorf("%q is not a size as 64MiB, 20MB or 1000", strings.TrimSpace(string(text)))
	}
	*b = Bytes(n)
	return nil
}

// scaled reads a number, which is not negative, with one of the suffixes. It is false for what is none, or no whole number of ones.
func scaled(text string, units []unit) (int64, bool) {
	s := strings.TrimSpace(text)
	for _, u := range units {
		number, found := strings.CutSuffix(s, u.suffix)
		if !found {
			continue
		}
		number = strings.TrimSpace(number)
		if strings.Trim(number, "0123456789.") != "" {
			return 0, false
		}
		n, ok := new(big.Rat).SetString(number)
		if !ok {
			return 0, false
		}
		n.Mul(n, new(big.Rat).SetInt64(u.factor))
		return n.Num().Int64(), n.IsInt() && n.Num().IsInt64()
	}
	return 0, false
}

// MarshalText writes the size in the largest binary unit that divides it.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b Bytes) String() string {
	for i := 3; i >= 0; i-- {
		if f := units[i].factor; b != 0 && int64(b)%f == 0 {
			return strconv.FormatInt(int64(b)/f, 10) + units[i].suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Count is a number of things, written as 50M, 1.5k or a bare number.
type Count int64

var counts = []unit{{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}}

// UnmarshalText reads a number of things.
func (c *Count) UnmarshalText(text []byte) error {
	n, ok := scaled(string(text), counts)
	if !ok {
		return fmt.Errorf("%q is not a number of things as 50M, 1.5k or 1000", strings.TrimSpace(string(text)))
	}
	*c = Count(n)
	return nil
}

// MarshalText writes the number with the largest suffix that divides it.
func (c Count) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func (c Count) String() string {
	for _, u := range []unit{counts[2], counts[1], counts[0]} {
		if c != 0 && int64(c)%u.factor == 0 {
			return strconv.FormatInt(int64(c)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(c), 10)
}

// Percent is a part of a whole, written as 0.1%. It is kept in millionths of a percent.
type Percent int64

// Whole is 100%.
const Whole = 100 * percent

const percent Percent = 1e6

// UnmarshalText reads a percentage.
func (p *Percent) UnmarshalText(text []byte) error {
	n, ok := scaled(string(text), []unit{{"%", int64(percent)}})
	if !ok || Percent(n) > Whole {
		return fmt.Errorf("%q is not a part of a whole as 0.1%% or 25%%, up to 100%%", strings.TrimSpace(string(text)))
	}
	*p = Percent(n)
	return nil
}

// MarshalText writes the percentage.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p Percent) String() string {
	return strconv.FormatFloat(float64(p)/float64(percent), 'f', -1, 64) + "%"
}

// Exceeded says whether part is more than that of whole. Neither is negative.
func (p Percent) Exceeded(part, whole int64) bool {
	high, low := bits.Mul64(uint64(part), uint64(Whole))
	limitHigh, limit := bits.Mul64(uint64(p), uint64(whole))
	return high > limitHigh || high == limitHigh && low > limit
}

// Secret is a value that never prints: every way of formatting or marshalling it gives ***.
type Secret string

// Reveal is the value itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return "***" }

// Format keeps every verb, %#v and %q too, from printing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// MarshalText keeps encoders from printing the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// LogValue keeps log handlers from printing the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue("***") }
