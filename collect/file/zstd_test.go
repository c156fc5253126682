package file

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
)

func zstandard(t *testing.T, parts ...string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	must(t, err)
	defer w.Close()
	var out []byte
	for _, p := range parts {
		out = w.EncodeAll([]byte(p), out)
	}
	return out
}

func TestZstd(t *testing.T) {
	b := newBench(t, "**")
	skip := "\x50\x2a\x4d\x18\x02\x00\x00\x00ab"
	b.write(t, "a.csv.zst", zstandard(t, "x\n1\n", "2\n"))
	b.write(t, "b", append([]byte(skip), zstandard(t, "{\"a\":1}\n")...))
	b.write(t, "c.zip", archived(t, deflated("d.log.zst", string(zstandard(t, "5\n")))))
	for range 2 {
		b.once(t)
		b.expectSorted(t, `a.csv.zst#0: {"x":"1"}`, `a.csv.zst#0: {"x":"2"}`, `b#0: {"a":1}`, `c.zip/d.log.zst#0: "5"`)
	}
}

// A file that ends in the middle waits, and goes on where it stood when the rest comes.
func TestZstdGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "a.log.zst")
		first, second := zstandard(t, "1\n"), zstandard(t, "2\n")
		b.write(t, "a.log.zst", append(first, second[:9]...))
		stop := b.live(t)
		time.Sleep(5 * time.Second)
		b.expect(t, `a.log.zst#0: "1"`)
		appendTo(t, filepath.Join(b.dir, "a.log.zst"), string(second[9:]))
		time.Sleep(time.Minute)
		stop()
		b.expect(t, `a.log.zst#0: "1"`, `a.log.zst#0: "2"`)
	})
}

func TestZstdDamaged(t *testing.T) {
	whole := zstandard(t, strings.Repeat("1\n", 100_000)+"2\n")
	for name, data := range map[string][]byte{"ends in the middle": whole[:len(whole)-3], "zstd": append([]byte("\x28\xb5\x2f\xfd"), "no such thing"...)} {
		b := newBench(t, "a.log.zst")
		b.write(t, "a.log.zst", data)
		b.once(t)
		b.once(t)
		got := b.items(t)
		if last := got[len(got)-1]; !strings.Contains(last, "!zstd is damaged: ") || !strings.Contains(last, name) || len(got) > 1 && strings.Contains(got[len(got)-2], "!") {
			t.Errorf("%s: %d items, the last is %s", name, len(got), last)
		}
	}
	b := newBench(t, "a.log.zst")
	b.c.MaxItem = 1 << 20
	b.write(t, "a.log.zst", zstandard(t, strings.Repeat(strings.Repeat("x", 1<<16)+"\n", 512)))
	b.once(t)
	if got := b.items(t); !strings.Contains(got[len(got)-1], "zstd-bomb") || len(got) >= 512 {
		t.Errorf("%d items, the last is %s", len(got), got[len(got)-1])
	}
}
