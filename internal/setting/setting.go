// Package setting has the value types that configurations are made of, and the form of their faults. It imports
// nothing of ours; every stage's Config uses it and internal/config reports what it finds.
package setting

import (
	"fmt"
	"log/slog"
	"math/big"
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

var units = []struct {
	suffix string
	factor int64
}{
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
	s := strings.TrimSpace(string(text))
	for _, u := range units {
		number, found := strings.CutSuffix(s, u.suffix)
		if !found {
			continue
		}
		number = strings.TrimSpace(number)
		if strings.Trim(number, "0123456789.") != "" {
			break
		}
		n, ok := new(big.Rat).SetString(number)
		if !ok {
			break
		}
		size := n.Mul(n, new(big.Rat).SetInt64(u.factor))
		if !size.IsInt() || !size.Num().IsInt64() {
			break
		}
		*b = Bytes(size.Num().Int64())
		return nil
	}
	return fmt.Errorf("%q is not a size as 64MiB, 20MB or 1000", s)
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
