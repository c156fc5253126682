package limits

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
)

// ready waits until a pipeline answers and gives its peak so far.
func ready(t *testing.T, p binary.Pipeline, m *meter) usage {
	t.Helper()
	eventually(t, p, "an answer", func(s status) bool { return s.Running })
	return m.now(t)
}

// external is a producer that knows nothing of headwater.
type external struct {
	client *kgo.Client
	failed chan error
}

func producer(t *testing.T, p binary.Pipeline) *external {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(statusOf(t, p).Listen.Kafka), kgo.AllowAutoTopicCreation(), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &external{cl, make(chan error, 1)}
}

func (e *external) send(t *testing.T, topic, value string) {
	e.client.Produce(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}, func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case e.failed <- err:
			default:
			}
		}
	})
}

func (e *external) flush(t *testing.T) {
	t.Helper()
	if err := e.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-e.failed:
		t.Fatal(err)
	default:
	}
}

// exactlyOnce fails the test unless the raw objects of a topic hold the records 0 to n-1, each once. It gives the number of objects.
func exactlyOnce(t *testing.T, p binary.Pipeline, topic string, n int) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(p.Dir, "headwater-data/raw/topics", topic, "date=*", "*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, n)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := bufio.NewScanner(z)
		s.Buffer(nil, 80*mib)
		for s.Scan() {
			var r struct {
				RawData struct{ N int } `json:"raw_data"`
			}
			if err := json.Unmarshal(s.Bytes(), &r); err != nil || r.RawData.N >= n {
				t.Fatalf("%s: record %d, %v", name, r.RawData.N, err)
			}
			seen[r.RawData.N]++
		}
		if err := s.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, times := range seen {
		if times != 1 {
			t.Fatalf("record %d is in the raw objects %d times", i, times)
		}
	}
	return len(names)
}

// spread sends records to one topic whose days go round. The last day has only the last record, so that who has met
// every day has met every record.
func spread(t *testing.T, p binary.Pipeline, topic string, days, count int) {
	t.Helper()
	to := producer(t, p)
	first := time.Date(2019, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range count {
		day := i % (days - 1)
		if i == count-1 {
			day = days - 1
		}
		at := first.AddDate(0, 0, day).UnixMilli()
		to.send(t, topic, fmt.Sprintf(`{"raw_data":{"n":%d,"s":"some text"},"metadata":{"thread_id":0,"host_name":"h","process_start_time":""},"ingestion_timestamp":%d}`, i, at))
	}
	to.flush(t)
}

// manyPaths leaves objects open until the stop.
const manyPaths = landOnly + `
land: {rotate.interval.ms: -1, rotate.schedule.interval.ms: -1}
`

// TestOpenPaths has 2,000 objects open at the same time.
func TestOpenPaths(t *testing.T) {
	const days, count = 2000, 40_000
	p := binary.New(t, binary.Build(t), manyPaths)
	m := watch(t, p, "run")
	base := ready(t, p, m)
	spread(t, p, "many_raw", days, count)
	eventually(t, p, "having all paths open", func(s status) bool {
		return len(s.Topics) == 1 && s.Topics[0].OpenObjects == days
	})
	began := time.Now()
	u := m.stop(t)
	t.Logf("%d open paths: %v; idle %d MiB; closing them took %.1f s", days, u, base.rss/mib, time.Since(began).Seconds())
	within(t, "peak memory in MiB", u.rss/mib, 600)
	within(t, "open files", u.fds, 500)
	exactlyOnce(t, p, "many_raw", count)
}

// TestManyDays serializes 400 days of one topic.
func TestManyDays(t *testing.T) {
	const days, count = 400, 8000
	p := binary.New(t, binary.Build(t), manyPaths)
	m := watch(t, p, "run")
	ready(t, p, m)
	spread(t, p, "many_raw", days, count)
	m.stop(t)
	once := run(t, p, "run", "--once")
	t.Logf("%d days:          %v, %.0f ms a day", days, once, once.wall.Seconds()*1000/days)
	again := run(t, p, "run", "--once")
	t.Logf("%d days, nothing new: %v, %.0f ms a day", days, again, again.wall.Seconds()*1000/days)
	within(t, "peak memory in MiB", once.rss/mib, 600)
	within(t, "open files", once.fds, 200)
	dense(t, p, "db.many", count)
	exactlyOnce(t, p, "many_raw", count)
}
