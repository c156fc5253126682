package flow

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
)

// get asks the door of a running pipeline; without one it gives 0.
func get(t *testing.T, p binary.Pipeline, path string) (int, string) {
	t.Helper()
	door := statusOf(t, p).Listen.HTTP
	if door == "" {
		return 0, ""
	}
	resp, err := http.Get("http://" + door + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// measured is the sum of a metric over its labels, -1 if it is not there.
func measured(t *testing.T, text, name string) float64 {
	t.Helper()
	sum := -1.0
	for _, m := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum = max(sum, 0) + v
	}
	return sum
}

// TestMetricsAddUp runs a pipeline with good and bad lines until they are in the tables: what was collected was landed, and is rows and
// quarantined records.
func TestMetricsAddUp(t *testing.T) {
	t.Parallel()
	l := &lines{Pipeline: binary.New(t, binary.Build(t), orders+"serialize: {every: 200ms}\n")}
	proc := l.Start(t, nil, "run")
	binary.Eventually(t, "being ready", func() bool {
		code, _ := get(t, l.Pipeline, "/readyz")
		return code == http.StatusOK
	})
	l.Write(t, "in/a.ndjson", []byte(l.text(50)))
	l.Write(t, "in/bad.ndjson", []byte("{\"n\":\n7\n"))
	const bad = 2
	var text string
	binary.Eventually(t, "all lines in the tables", func() bool {
		_, text = get(t, l.Pipeline, "/metrics")
		return measured(t, text, "headwater_table_rows") == float64(2*l.next)
	})
	there := time.Now()
	for name, want := range map[string]int{
		"headwater_ready": 1, "headwater_collect_running": 1, "headwater_collect_records_total": l.next + bad,
		"headwater_collect_malformed_records_total": 1, "headwater_land_records_total": l.next + bad, "headwater_land_lag_records": 0,
		"headwater_serialize_failures_total": 0, "headwater_table_partitions": 2,
	} {
		if got := measured(t, text, name); got != float64(want) {
			t.Errorf("%s is %v, want %d", name, got, want)
		}
	}
	for stage, metric := range map[string]string{"land": "headwater_land_until_timestamp_seconds", "serialize": "headwater_serialize_until_timestamp_seconds"} {
		binary.Eventually(t, stage+" to be known to be up to date", func() bool {
			_, text = get(t, l.Pipeline, "/metrics")
			return measured(t, text, metric) > float64(there.Unix())
		})
	}
	binary.Eventually(t, "the size of Kafka's log", func() bool {
		_, text = get(t, l.Pipeline, "/metrics")
		return measured(t, text, "headwater_kafka_log_bytes") > 0
	})
	if out := l.Run(t, nil, "status").Must(t); !strings.Contains(out, "ALL UNTIL") || !strings.Contains(out, " KiB") {
		t.Errorf("status says\n%s", out)
	}
	if free := measured(t, text, "headwater_disk_free_bytes"); free < 1 {
		t.Errorf("%v bytes are free", free)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	l.verify(t)
}

// TestScheduleMakesUpForWhatWasMissed: a process that starts makes the tables of the days before today, and leaves today's to the next
// time.
func TestScheduleMakesUpForWhatWasMissed(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `
database: db
sources: {}
land: {rotate.schedule.interval.ms: 200}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
serialize: {schedule: "10 0 * * *"}
close: {after: 0s}
`)
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	now := time.Now()
	produce(t, statusOf(t, p).Listen.Kafka, "many_raw",
		fmt.Sprintf(`{"raw_data":{"n":1},"metadata":{},"ingestion_timestamp":%d}`, now.AddDate(0, 0, -3).UnixMilli()),
		fmt.Sprintf(`{"raw_data":{"n":2},"metadata":{},"ingestion_timestamp":%d}`, now.AddDate(0, 0, -1).UnixMilli()),
		fmt.Sprintf(`{"raw_data":{"n":3},"metadata":{},"ingestion_timestamp":%d}`, now.UnixMilli()))
	binary.Eventually(t, "landing", func() bool {
		s := statusOf(t, p)
		return len(s.Topics) == 1 && s.Topics[0].Records == 3
	})
	if s := statusOf(t, p); len(s.Tables) != 0 {
		t.Errorf("before the next time there are %+v", s.Tables)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	proc = p.Start(t, nil, "run")
	binary.Eventually(t, "the tables of the days before today", func() bool {
		s := statusOf(t, p)
		return len(s.Tables) == 2 && s.Tables[0].Rows == 2 && s.Tables[1].Rows == 2
	})
	if out := p.Run(t, nil, "status").Must(t); !strings.Contains(out, "are serialized next at ") || !strings.Contains(out, " 00:10 UTC") {
		t.Errorf("status says\n%s", out)
	}
	proc.Kill(t)
}

// produce sends records as another program would.
func produce(t *testing.T, broker, topic string, values ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for _, v := range values {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}
