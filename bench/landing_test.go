package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"text/tabwriter"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
	"headwater/tests/interop/fixture"
)

// landings are what is measured of landing: settings that the Kafka Connect S3 sink was measured with on this kind of machine, at
// gzip's level of each.
var landings = []struct{ flush, level int }{{180_000, -1}, {10_000, -1}, {180_000, 5}, {180_000, 1}}

// allTrades is how many records are landed at the full scale, of 259 bytes each.
const allTrades = 2_160_000

// TestLanding prints how many records landing brings from Kafka to an S3 server for a second of CPU time, and how large they are there.
func TestLanding(t *testing.T) {
	scale, known := scales[os.Getenv("HEADWATER_BENCH")]
	if !known {
		t.Skip("set HEADWATER_BENCH to small, medium or full: make bench SCALE=small")
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "flush.size\tlevel\trecords\tCPU s\trecords per CPU s\tpeak MB\tobjects\tMB\tof zlib's")
	l, sizes := measureLanding(t, int(allTrades*scale), 3)
	for _, c := range landings {
		part := landingPart(c.flush, c.level)
		used, size := l.least[part], sizes[part]
		fmt.Fprintf(w, "%d\t%d\t%d\t%.2f\t%.0f\t%d\t%d\t%.1f\t%.3f\n", c.flush, c.level, used.records, used.cpu.Seconds(), used.perSecond(), used.memory>>20,
			size.objects, float64(size.bytes)/1e6, float64(size.bytes)/float64(sizes["zlib"].bytes))
	}
	fmt.Printf("%s, %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestFewLanded keeps the benchmark working: all records arrive.
func TestFewLanded(t *testing.T) { measureLanding(t, 3000, 1) }

func landingPart(flush, level int) string { return fmt.Sprintf("land-%d-%d", flush, level) }

// landed is what lies in a bucket.
type landed struct{ objects, bytes int64 }

func measureLanding(t *testing.T, records, runs int) (*lab, map[string]landed) {
	t.Helper()
	fixture.SetAWS()
	store := fixture.NewS3(t)
	l := &lab{t: t, dir: t.TempDir(), data: dataset{name: "trades"}, records: records, least: map[string]usage{}, profiles: os.Getenv("HEADWATER_BENCH_PROFILES")}
	sizes := map[string]landed{"zlib": zlibSize(t, records)}
	broker := l.fresh("kafka")
	l.withBroker(broker, task{Role: "trades", Topic: "trades_raw"})
	for run := range runs {
		for _, c := range landings {
			part := landingPart(c.flush, c.level)
			name := fmt.Sprint(part, "-", run)
			l.withBroker(broker, task{Role: "land", Part: part, Topic: "trades_raw", Group: name, Out: l.fresh("landed"), Store: store.Bucket(t, name), Flush: c.flush, Level: c.level})
			sizes[part] = sizeOf(t, filepath.Join(store.Dir, name))
		}
	}
	return l, sizes
}

func sizeOf(t *testing.T, dir string) (all landed) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		all.objects++
		all.bytes += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// zlibSize is how large the records are by Go's own gzip at the level that it and the connector's zlib have as their default: 6 of zlib. The two differ by a hundredth.
func zlibSize(t *testing.T, records int) landed {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	random := rand.New(rand.NewPCG(11, 11))
	var line []byte
	for i := range records {
		line = append(trade(line[:0], random, i), '\n')
		if _, err := z.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return landed{1, int64(out.Len())}
}

// trade appends the i-th record.
func trade(to []byte, random *rand.Rand, i int) []byte {
	symbols := [...]string{"AAPL", "AMZN", "AVGO", "GOOG", "META", "MSFT", "NVDA", "TSLA"}
	return fmt.Appendf(to, `{"raw_data":{"id":%d,"symbol":%q,"price":%d.%02d,"volume":%d,"venue":"XNAS","condition":"regular"},`+
		`"metadata":{"thread_id":%d,"host_name":"collector-7f9c4d8b6c-x2x9z","process_start_time":"2026-11-22T08:00:00.000Z"},"ingestion_timestamp":%d}`,
		i, symbols[random.IntN(len(symbols))], 100+random.IntN(100), random.IntN(100), 1+random.IntN(2500), i%4, 1_795_000_000_000+i)
}

// doTrades has all records in the topic, in batches that gzip compresses, as sources produce them.
func doTrades(ctx context.Context, t task) (int64, error) {
	if err := t.ensureTopic(ctx); err != nil {
		return 0, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.Broker), kgo.DefaultProduceTopic(t.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	random := rand.New(rand.NewPCG(11, 11))
	for i := range t.Records {
		r := &kgo.Record{Value: trade(nil, random, i), Partition: int32(i / 1000 % parts)}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, err
	}
	ends, err := kafka.EndOffsets(ctx, cl, t.Topic)
	n := int64(0)
	for _, end := range ends[t.Topic] {
		n += end
	}
	return n, err
}
