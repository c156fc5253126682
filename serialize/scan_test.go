package serialize

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestPlainBytes: every byte, wherever it stands and whatever follows.
func TestPlainBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for c := range 256 {
		for at := range 8 {
			for range 20 {
				var b [8]byte
				for i := range b {
					b[i] = byte(r.IntN(256))
					if i < at {
						b[i] = "az \x7f!#[]"[r.IntN(8)]
					}
				}
				b[at] = byte(c)
				want := 0
				for want < 8 && plain[b[want]] {
					want++
				}
				if got := plainBytes(binary.LittleEndian.Uint64(b[:])); got != want {
					t.Fatalf("%q: %d, want %d", b, got, want)
				}
			}
		}
	}
}

// TestNumbers: bit by bit what the library makes of them, whatever comes after them.
func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	texts := []string{
		"0", "-0", "-0.0", "0.1", "1.5", "-123.456", "999999999999999", "9999999999999999", "9007199254740993", "90071992547409.93", "0.00000000000001",
		"123456789012.3456", "12345678901234567.8", "1e5", "1E-400", "1e400", "5e-324", "1.7976931348623157e308",
	}
	for range 200_000 {
		digits := strconv.FormatUint(r.Uint64()>>r.IntN(60), 10)
		if at := r.IntN(len(digits)); at > 0 && r.IntN(4) > 0 {
			digits = digits[:at] + "." + digits[at:]
		}
		texts = append(texts, digits, "-"+digits)
	}
	for _, text := range texts {
		want, err := strconv.ParseFloat(text, 64)
		s := newScanner()
		s.reset([]byte("[" + text + "]      "[:1+r.IntN(7)]))
		if s.next(); s.next() != tokenNumber {
			t.Fatalf("%s: %s", text, s.reason)
		}
		got, ok := s.double()
		if math.Float64bits(want) != math.Float64bits(got) || ok != (err == nil) {
			t.Fatalf("%s: %v %v, want %v %v", text, got, ok, want, err)
		}
		whole, err := strconv.ParseInt(text, 10, 64)
		if n, ok := s.long(); n != whole || ok != (err == nil) {
			t.Fatalf("%s: %v %v, want %v %v", text, n, ok, whole, err)
		}
	}
}
