package gunzip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
)

// both reads data by the library and by this package, in pieces of what r gives.
func both(t *testing.T, data []byte, through func(io.Reader) io.Reader) (text []byte, err error) {
	t.Helper()
	var want []byte
	z, theirs := gzip.NewReader(bytes.NewReader(data))
	if theirs == nil {
		want, theirs = io.ReadAll(z)
	} else if theirs == io.EOF {
		theirs = nil
	}
	got, err := io.ReadAll(NewReader(through(bytes.NewReader(data))))
	// The library takes a header that is cut in its name for the end.
	if cut := err == io.ErrUnexpectedEOF && theirs == nil && len(got) == len(want); (err == nil) != (theirs == nil) && !cut {
		t.Fatalf("%d bytes: %v after %d bytes of text, the library %v after %d", len(data), err, len(got), theirs, len(want))
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: other text", len(data))
	}
	if n := min(len(got), len(want)); !bytes.Equal(got[:n], want[:n]) {
		t.Fatalf("%d bytes, which end in %v: other text before it", len(data), err)
	}
	return got, err
}

func whole(r io.Reader) io.Reader { return r }

// pack is a member, with everything that a header may have.
func pack(t testing.TB, level int, name string, extra, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	z.Name, z.Comment, z.Extra = name, name, extra
	half := len(text) / 2
	_, err = z.Write(text[:half])
	if err := errors.Join(err, z.Flush()); err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(text[half:])
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample is text of some kind: repeating itself near or far, or not at all.
func sample(r *rand.Rand, kind, n int) []byte {
	var b strings.Builder
	for b.Len() < n {
		switch kind {
		case 0:
			b.WriteByte(byte(r.IntN(256)))
		case 1:
			fmt.Fprintf(&b, `{"symbol":"SYM%d","price":%d.%02d,"side":"buy"}`+"\n", r.IntN(90), r.IntN(300), r.IntN(100))
		case 2:
			b.WriteString(strings.Repeat(string(rune('a'+r.IntN(3))), 1+r.IntN(600)))
		case 3:
			b.WriteByte("aaaaaaaabbbbccde"[r.IntN(16)])
		case 4:
			b.WriteString(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz"[:1+r.IntN(36)], 900))
		}
	}
	return []byte(b.String()[:n])
}

func TestSameText(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, level := range []int{-3, -2, 0, 1, 6, 9} {
		for kind := range 5 {
			for _, n := range []int{0, 1, 300, 70_000, 300_000} {
				text := sample(r, kind, n)
				data := pack(t, level, either(n%3 == 0, "x\u00ff", ""), sample(r, 0, n%1000), text)
				data = append(data, pack(t, 6, "", nil, text[:n/2])...)
				for _, through := range []func(io.Reader) io.Reader{whole, iotest.HalfReader, iotest.DataErrReader} {
					if got, err := both(t, data, through); err != nil || !bytes.Equal(got, append(bytes.Clone(text), text[:n/2]...)) {
						t.Fatal(level, kind, n, err)
					}
				}
			}
		}
	}
	if _, err := both(t, pack(t, 9, "", nil, sample(r, 1, 5000)), iotest.OneByteReader); err != nil {
		t.Error(err)
	}
}

func either[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

// TestDamage cuts members at each byte and turns each bit.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var data []byte
	for i, level := range []int{9, 0, 1, -2} {
		data = append(data, pack(t, level, "name", []byte("extra"), sample(r, i, 100))...)
	}
	failed := 0
	for n := range data {
		if _, err := both(t, data[:n], whole); err != nil {
			failed++
		}
	}
	if failed != len(data)-4 { // cut between members there is nothing wrong
		t.Errorf("%d of %d cuts were noticed", failed, len(data))
	}
	for i := range 8 * len(data) {
		turned := bytes.Clone(data)
		turned[i/8] ^= 1 << (i % 8)
		both(t, turned, whole)
	}
	if _, err := both(t, append(bytes.Clone(data), "garbage behind it"...), whole); !errors.Is(err, gzip.ErrHeader) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(NewReader(io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(broken)))); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzSame(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for kind := range 5 {
		f.Add(pack(f, 9-kind, "n", []byte("e"), sample(r, kind, 300)), uint16(kind), byte(0))
	}
	f.Add([]byte("\x1f\x8b\b0000000"), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, with byte) {
		if len(data) > 0 {
			data = bytes.Clone(data)
			data[int(at)%len(data)] ^= with
		}
		both(t, data, whole)
	})
}

func BenchmarkTicks(b *testing.B) {
	r := rand.New(rand.NewPCG(4, 4))
	text := sample(r, 1, 8<<20)
	data := pack(b, 6, "", nil, text)
	for name, open := range map[string]func() io.Reader{
		"own":     func() io.Reader { return NewReader(bytes.NewReader(data)) },
		"library": func() io.Reader { z, _ := gzip.NewReader(bytes.NewReader(data)); return z },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := io.Copy(io.Discard, open()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
