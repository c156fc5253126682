package land

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/kafka"
	"headwater/lake"
)

// discard is a store that is always empty.
type discard struct{ lake.Store }

func (discard) Put(_ context.Context, key string, body io.ReadSeeker, _ lake.Condition) (lake.Object, error) {
	n, err := io.Copy(io.Discard, body)
	return lake.Object{Key: key, Size: n}, err
}

// BenchmarkLand measures the path of a record from the queue to the closed object, without Kafka: validate, find the
// time and the folder, compress, rotate. Records are of 259 bytes, 180,000 to an object; records per CPU second count
// all threads.
func BenchmarkLand(b *testing.B) {
	const batch = 1000
	var records []*kgo.Record
	bytes := 0
	for i := range batch {
		v := fmt.Sprintf(`{"raw_data":{"symbol":"AAPL","price":%d.%02d,"size":%d,"exchange":"XNAS","seq":%d,"flags":["regular","odd_lot"]},`+
			`"metadata":{"thread_id":%d,"host_name":"collector-7f9c4","process_start_time":"2026-07-05T00:00:00Z"},"ingestion_timestamp":%d}`,
			100+i*7919%97, i*31%100, i*17%1000, 1_000_000+i*613, i%8, 1783245600000+i)
		bytes += len(v)
		records = append(records, &kgo.Record{Topic: "a_raw", Value: []byte(v), Timestamp: time.UnixMilli(1783245600000)})
	}
	o := Options{Config: DefaultConfig(), Store: discard{}, Spool: b.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	l, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	spool, err := newSpool(o.Spool, o.Config.CompressionLevel, int64(o.Config.MaxMemory))
	if err != nil {
		b.Fatal(err)
	}
	s := &session{Lander: l, spool: spool, room: make(chan struct{}, 1)}
	o.Kafka = kafka.DefaultConfig()
	o.Kafka.Brokers = []string{"127.0.0.1:1"} // nothing is asked of it
	if s.cl, err = kafka.NewClient(o.Kafka); err != nil {
		b.Fatal(err)
	}
	defer s.cl.Close()
	p := newPartition(s, topicPartition{"a_raw", 0}, start{log: someLog, fresh: true, committed: -1})
	p.newest = map[string]foundObject{} // nothing to list
	p.hold = 1 << 62                    // nothing to commit to
	p.rotation.start(time.Now())
	cpu := cpuTime(b)
	n := 0
	for b.Loop() {
		for _, r := range records {
			r.Offset = int64(n)
			n++
			if err := p.land(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.rotate(b.Context()); err != nil {
		b.Fatal(err)
	}
	used := (cpuTime(b) - cpu).Seconds()
	b.ReportMetric(float64(n)/used, "records/cpu-s")
	b.ReportMetric(float64(bytes)/batch, "B/record")
	b.ReportMetric(float64(n)/batch*float64(bytes)/used/1e6, "MB/cpu-s")
}

func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
