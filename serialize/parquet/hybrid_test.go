package parquet

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// run is what a header of the hybrid stands for.
type run struct {
	value uint32
	n     uint64
}

// decode reads the hybrid by the format's text.
func decode(t *testing.T, data []byte, width int) (runs []run) {
	t.Helper()
	for len(data) > 0 {
		header, n := binary.Uvarint(data)
		if n <= 0 || header > 1<<32-1 {
			t.Fatal("no header", header)
		}
		data = data[n:]
		if header&1 == 0 {
			size := (width + 7) / 8
			var value [4]byte
			copy(value[:], data[:size])
			data = data[size:]
			runs = append(runs, run{binary.LittleEndian.Uint32(value[:]), header >> 1})
			continue
		}
		groups := int(header >> 1)
		for i := range groups * 8 {
			var v uint32
			for b := range width {
				at := i*width + b
				v |= uint32(data[at/8]>>(at%8)&1) << b
			}
			runs = append(runs, run{v, 1})
		}
		data = data[groups*width:]
	}
	return runs
}

func TestHybrid(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for width := 1; width <= 32; width++ {
		for range 60 {
			var want []uint32
			for range r.IntN(60) {
				v := uint32(r.Uint64() & (1<<width - 1))
				want = append(want, slices.Repeat([]uint32{v}, 1+r.IntN(1+r.IntN(40)))...)
			}
			var got []uint32
			var h hybrid
			h.reset(width)
			for at := 0; at < len(want); { // in parts
				n := min(1+r.IntN(200), len(want)-at)
				if width <= 8 {
					var levels []uint8
					for _, v := range want[at : at+n] {
						levels = append(levels, uint8(v))
					}
					h.levels(levels)
				} else {
					h.numbers(want[at : at+n])
				}
				at += n
			}
			for _, run := range decode(t, h.end(), width) {
				got = append(got, slices.Repeat([]uint32{run.value}, int(run.n))...)
			}
			if len(got) < len(want) || len(got) > len(want)+7 || !slices.Equal(want, got[:len(want)]) {
				t.Fatalf("width %d: want %v, got %v", width, want, got)
			}
		}
	}
}

// TestLongRun: a run's length fits in the 32 bits of a header, and a long one takes few bytes however it came.
func TestLongRun(t *testing.T) {
	var h hybrid
	h.reset(3)
	h.repeat(5, 3)
	for range 5 {
		h.repeat(1, 1<<30-1)
	}
	out := h.end()
	var n uint64
	for _, run := range decode(t, out, 3) {
		if run.value == 1 {
			n += run.n
		}
	}
	if n != 5*(1<<30-1) || len(out) > 60 {
		t.Errorf("%d values in %d bytes", n, len(out))
	}
}

func TestDictionary(t *testing.T) {
	d := newDictionary()
	for range 2 {
		for round := range 2 {
			for i := range uint64(100_000) {
				// Multiples of 1<<40 have nothing in their lower bits.
				if got, isNew := d.number(i << 40); uint64(got) != i || isNew != (round == 0) {
					t.Fatal(i, got, isNew)
				}
			}
		}
		if d.n != 100_000 || d.size() != 800_000 || len(d.page(new([]byte))) != 800_000 {
			t.Fatal(d.n, d.size())
		}
		d.reset()
		for round := range 2 {
			for i := range uint32(50_000) {
				text := binary.BigEndian.AppendUint32(nil, i)
				text = append(text, text[:i%4]...)
				if got, isNew := d.text(text); got != i || isNew != (round == 0) || string(d.plain(got)) != string(text) {
					t.Fatal(i, got, isNew)
				}
			}
		}
		d.reset()
	}
}
