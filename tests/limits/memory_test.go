package limits

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"headwater/lake"
	"headwater/tests/binary"
)

// TestMaxMemory makes tables of data that is hard on memory, with less than the default.
func TestMaxMemory(t *testing.T) {
	n := size(t, "HEADWATER_BIG", "120MB")
	rng := chance(t)
	const maxMemory = 128
	serialize := func(t *testing.T, objects, n int, item func(n int) string) (usage, int) {
		t.Helper()
		p := binary.New(t, binary.Build(t), oneSource+fmt.Sprintf("serialize: {max_memory: %dMiB}\n", maxMemory))
		count := landed(t, p, objects, n, item)
		u := run(t, p, "serialize", "--source", "big", "--date", "2026-07-05")
		dense(t, p, "db.big", count)
		return u, count
	}
	base, _ := serialize(t, 1, 2, func(int) string { return `{"n":0}` })
	t.Logf("one record: %v", base)
	for _, kind := range []struct {
		name string
		// objects is how many there are; the first has half of everything.
		objects int
		item    func(n int) string
	}{
		{"texts", 50, func(n int) string {
			var b strings.Builder
			for range 500 {
				fmt.Fprintf(&b, "%016x", rng.Uint64())
			}
			return fmt.Sprintf(`{"n":%d,"s":"%s"}`, n, b.String())
		}},
		{"small numbers", 400, func(n int) string {
			return fmt.Sprintf(`{"n":%d,"l":[%s1]}`, n, strings.Repeat("1,2,", 1000))
		}},
		{"objects in lists", 50, func(n int) string {
			return fmt.Sprintf(`{"n":%d,"l":[%s{}]}`, n, strings.Repeat(fmt.Sprintf(`{"f%d":1},{},`, n%50), 100))
		}},
		{"columns", 50, func(n int) string {
			var b strings.Builder
			for c := range 2000 {
				fmt.Fprintf(&b, `,"c%d":%d`, c, rng.IntN(1e6))
			}
			return fmt.Sprintf(`{"n":%d%s}`, n, b.String())
		}},
		{"sparse columns", 50, func(n int) string {
			var b strings.Builder
			for c := range 10 {
				fmt.Fprintf(&b, `,"c%d":"%x"`, rng.IntN(150)*10+c, rng.Uint64())
			}
			return fmt.Sprintf(`{"n":%d%s}`, n, b.String())
		}},
	} {
		t.Run(strings.ReplaceAll(kind.name, " ", "-"), func(t *testing.T) {
			u, count := serialize(t, kind.objects, n, kind.item)
			t.Logf("%s: %d records in %d objects: %v", kind.name, count, kind.objects, u)
			within(t, "peak memory in MiB over that of one record", (u.rss-base.rss)/mib, maxMemory*3/2)
		})
	}
}

// landed writes objects of items, together so many bytes, and says how many items.
func landed(t *testing.T, p binary.Pipeline, objects, bytes int, item func(n int) string) (count int) {
	t.Helper()
	at := time.Date(2026, 7, 5, 12, 0, 0, 0, time.UTC).UnixMilli()
	for object := range objects {
		share := bytes / 2
		if object > 0 {
			share /= objects - 1
		}
		name := filepath.Join(p.Dir, "headwater-data/raw", lake.RawKey("topics", "big_raw", "date=2026-07-05", 0, int64(count)))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
		for written := 0; err == nil && written < share; count++ {
			var m int
			m, err = fmt.Fprintf(z, `{"raw_data":%s,"metadata":{"thread_id":0,"host_name":"h","process_start_time":""},"ingestion_timestamp":%d}`+"\n", item(count), at)
			written += m
		}
		if err == nil {
			err = z.Close()
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return count
}
