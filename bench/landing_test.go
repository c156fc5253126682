package bench

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/land"
	"headwater/tests/binary"
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
	fmt.Fprintln(w, "flush.size\tlevel\trecords\tCPU s\trecords per CPU s\town MB\tpeak MB\tobjects\tMB\tof zlib's")
	l, sizes := measureLanding(t, int(allTrades*scale), 3)
	for _, c := range landings {
		part := landingPart(c.flush, c.level)
		used, size := l.least[part], sizes[part]
		fmt.Fprintf(w, "%d\t%d\t%d\t%.2f\t%.0f\t%d\t%d\t%d\t%.1f\t%.3f\n", c.flush, c.level, used.records, used.cpu.Seconds(), used.perSecond(), size.own>>20, used.memory>>20,
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

// landed is what lies in a bucket, and the memory that a process took to bring it there, without its program.
type landed struct{ objects, bytes, own int64 }

// measureLanding has headwater land bring the records of an Apache Kafka into a bucket, with each of the settings.
func measureLanding(t *testing.T, records, runs int) (*lab, map[string]*landed) {
	t.Helper()
	broker, store := fixture.Kafka(t), fixture.NewS3(t)
	l := &lab{t: t, records: records, least: map[string]usage{}}
	sizes := map[string]*landed{"zlib": zlibSize(t, records)}
	for _, c := range landings {
		sizes[landingPart(c.flush, c.level)] = &landed{}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.DefaultProduceTopic(tradesTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.GzipCompression())) // as sources produce them
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	produceTrades(t, client, records)
	bin := binary.Build(t)
	for run := range runs {
		for _, c := range landings {
			part := landingPart(c.flush, c.level)
			name := fmt.Sprint(part, "-", run)
			p := binary.New(t, bin, fmt.Sprintf("database: db\nkafka: {brokers: [%q]}\nlake: {raw: %q, tables: tables}\nlisten: {http: \"127.0.0.1:0\"}\nsources: {}\nserialize: {engine: none}\n"+
				"land: {flush.size: %d, s3.compression.level: %d}\n", broker.Addr, store.Bucket(t, name), c.flush, c.level))
			u, own := landAll(t, p, client, records)
			l.note(part, u)
			before := sizes[part].own
			sizes[part] = sizeOf(t, filepath.Join(store.Dir, name))
			sizes[part].own = max(before, own)
		}
	}
	return l, sizes
}

const tradesTopic = "trades_raw"

// landAll runs a pipeline that lands all records.
func landAll(t *testing.T, p binary.Pipeline, client *kgo.Client, records int) (u usage, own int64) {
	t.Helper()
	admin := kadm.NewClient(client)
	_, _ = admin.DeleteGroup(t.Context(), land.DefaultGroup) // which there may be none of
	proc := p.Start(t, fixture.S3Env, "run", "--once")
	peak := make(chan int64)
	go func() { peak <- peakOwn(proc.Cmd.Process.Pid) }()
	proc.Wait(t, 5*time.Minute).Must(t)
	offsets, err := admin.FetchOffsets(t.Context(), land.DefaultGroup)
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	offsets.Each(func(o kadm.OffsetResponse) { n += o.At })
	if n != int64(records) {
		t.Fatalf("%d records of %d are committed", n, records)
	}
	return used(proc.Cmd.ProcessState, int64(records)), <-peak
}

// peakOwn is the most memory that a process has, until it ends, without the pages of its program's file.
func peakOwn(pid int) (bytes int64) {
	for {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, running := strings.Cut(string(status), "RssAnon:")
		if err != nil || !running {
			return bytes
		}
		kb, _ := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
		bytes = max(bytes, kb<<10)
		time.Sleep(5 * time.Millisecond)
	}
}

func sizeOf(t *testing.T, dir string) *landed {
	t.Helper()
	all := &landed{}
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
func zlibSize(t *testing.T, records int) *landed {
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
	return &landed{objects: 1, bytes: int64(out.Len())}
}

// trade appends the i-th record.
func trade(to []byte, random *rand.Rand, i int) []byte {
	symbols := [...]string{"AAPL", "AMZN", "AVGO", "GOOG", "META", "MSFT", "NVDA", "TSLA"}
	return fmt.Appendf(to, `{"raw_data":{"id":%d,"symbol":%q,"price":%d.%02d,"volume":%d,"venue":"XNAS","condition":"regular"},`+
		`"metadata":{"thread_id":%d,"host_name":"collector-7f9c4d8b6c-x2x9z","process_start_time":"2026-11-22T08:00:00.000Z"},"ingestion_timestamp":%d}`,
		i, symbols[random.IntN(len(symbols))], 100+random.IntN(100), random.IntN(100), 1+random.IntN(2500), i%4, 1_795_000_000_000+i/10)
}

// produceTrades has all records in a topic of four Kafka partitions.
func produceTrades(t *testing.T, client *kgo.Client, records int) {
	t.Helper()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), parts, 1, nil, tradesTopic); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(11, 11))
	var failed atomic.Pointer[error]
	for i := range records {
		r := &kgo.Record{Value: trade(nil, random, i), Partition: int32(i / 1000 % parts)}
		client.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		t.Fatal(*err)
	}
}
