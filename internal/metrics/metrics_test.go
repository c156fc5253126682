package metrics

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"headwater/internal/web"
)

var update = flag.Bool("update", false, "rewrite the table of docs/metrics.md")

func full() web.Status {
	at := time.UnixMilli(1783252800500)
	return web.Status{
		Version: "v1", FreeBytes: 7, MinFreeBytes: 3, NotReady: []string{"it drains"}, Wedged: map[string]bool{"land": true, "lake": false}, MemoryLimits: map[string]int64{"land": 9},
		Sources: []web.Source{
			{Name: "orders", State: "running", Records: 10, Bytes: 100, Malformed: 2, Quarantined: 1, Streams: 3, LastItem: at, LastErrorAt: at, FailingSince: at},
			{Name: "quiet", State: "waiting"},
			{Name: "theirs", State: "external"},
		},
		Retention: []web.Retention{{Topic: "orders_raw", Kept: 3600, DeletedFrom: at}},
		Topics:    []web.Topic{{Topic: "orders_raw", Partition: 1, Lag: 4, Errors: 2, OpenObjects: 1, Objects: 2, Records: 6, Bytes: 60, Quarantined: 1, Stopped: true, LostFrom: 2, LostTo: 5, LandedUntil: at, LogBytes: 70}},
		Serialize: []web.Jobs{{Source: "orders", Runs: 2, Failures: 1, FailingDays: 2, Seconds: 1.5, Rows: 5, Quarantined: 1, LastSuccess: at, TablesUntil: at, LastErrorAt: at}},
		SLO:       []web.Objective{{Source: "orders", Objective: "freshness", Breached: true, Since: at}, {Source: "orders", Objective: "max_rows"}},
		Notify:    []web.Webhook{{Webhook: 1}, {Webhook: 2, Waiting: 3, GivenUp: 4, FailingSince: at}},
		Tables:    []web.Table{{Name: "db.orders", Days: 1, Rows: 5, Bytes: 50, Columns: 4}},
	}
}

// recorded has something of everything.
func recorded() *Recorder {
	r := NewRecorder()
	r.Produced("orders")(3*time.Millisecond, 300)
	r.Stored("raw", "put", time.Second, false)
	r.Stored("raw", "put", time.Second, true)
	r.Put("raw", 1<<20)
	r.Told("ensure", time.Second, false)
	r.Told("ensure", time.Second, true)
	r.Serialized("orders", 2*time.Second, time.Second)
	for i := range mostReasons + 5 {
		r.Quarantined("land", "orders", fmt.Sprintf("reason %d: %d", i, i), 1)
		r.Quarantined("land", "orders", fmt.Sprintf("reason %d: more", i), 1)
	}
	return r
}

func scrape(t *testing.T, status func(context.Context) (web.Status, error)) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	Handler(status, recorded(), slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Code, string(text)
}

func TestMetrics(t *testing.T) {
	code, text := scrape(t, func(context.Context) (web.Status, error) { return full(), nil })
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	for _, want := range []string{
		`headwater_build_info{version="v1"} 1`, `headwater_ready 0`, `headwater_disk_free_bytes 7`,
		`headwater_collect_running{source="orders"} 1`, `headwater_collect_running{source="quiet"} 0`,
		`headwater_collect_last_item_timestamp_seconds{source="orders"} 1.7832528005e+09`,
		`headwater_land_lag_records{partition="1",topic="orders_raw"} 4`, `headwater_land_stopped{partition="1",topic="orders_raw"} 1`,
		`headwater_land_deleted_from_timestamp_seconds{topic="orders_raw"} 1.7832528005e+09`,
		`headwater_land_lost_records{partition="1",topic="orders_raw"} 3`,
		`headwater_land_until_timestamp_seconds{partition="1",topic="orders_raw"} 1.7832528005e+09`, `headwater_kafka_log_bytes{partition="1",topic="orders_raw"} 70`,
		`headwater_serialize_until_timestamp_seconds{source="orders"} 1.7832528005e+09`,
		`headwater_serialize_seconds_total{source="orders"} 1.5`, `headwater_table_rows{table="db.orders"} 5`, `headwater_wedged{stage="land"} 1`, `headwater_wedged{stage="lake"} 0`, `headwater_memory_limit_bytes{part="land"} 9`, `headwater_disk_min_free_bytes 3`,
		`headwater_collect_failing_since_timestamp_seconds{source="orders"} 1.7832528005e+09`, `headwater_collect_failing_since_timestamp_seconds{source="quiet"} 0`,
		`headwater_land_errors_total{partition="1",topic="orders_raw"} 2`, `headwater_serialize_failing_partitions{source="orders"} 2`,
		`headwater_collect_produce_seconds_count{source="orders"} 1`, `headwater_collect_record_bytes_sum{source="orders"} 300`,
		`headwater_lake_seconds_count{layer="raw",operation="put"} 1`, `headwater_lake_errors_total{layer="raw",operation="put"} 1`, `headwater_lake_errors_total{layer="tables",operation="get"} 0`,
		`headwater_lake_put_bytes_count{layer="raw"} 1`, `headwater_metastore_seconds_count{operation="ensure"} 1`, `headwater_metastore_errors_total{operation="ensure"} 1`,
		`headwater_serialize_run_seconds_sum{source="orders"} 2`, `headwater_serialize_publish_seconds_sum{source="orders"} 1`,
		`headwater_quarantined_records_total{reason="reason 0",source="orders",stage="land"} 2`, `headwater_quarantined_records_total{reason="other",source="orders",stage="land"} 10`,
		"go_goroutines ", "process_cpu_seconds_total ",
	} {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, "\n"+want) {
			t.Errorf("%s is not there", want)
		}
	}
	if strings.Contains(text, `last_item_timestamp_seconds{source="quiet"}`) {
		t.Error("what never was has a time")
	}
	if strings.Contains(text, "theirs") {
		t.Error("a source that is not collected looks as if it stood still")
	}
}

func TestStatusThatFails(t *testing.T) {
	code, text := scrape(t, func(context.Context) (web.Status, error) { return web.Status{}, errors.New("no tables") })
	if code != http.StatusInternalServerError || !strings.Contains(text, "no tables") {
		t.Errorf("%d: %s", code, text)
	}
}

var described = regexp.MustCompile(`fqName: "(.*?)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{\}, variableLabels: \{(.*?)\}`)

// TestDocument: docs/metrics.md has every metric, with its labels and meaning, and no other.
func TestDocument(t *testing.T) {
	const path = "../../docs/metrics.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	row := func(desc *prometheus.Desc, kind string) {
		d := described.FindStringSubmatch(desc.String())
		if d == nil {
			t.Fatal(desc)
		}
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", d[1], kind, strings.ReplaceAll(d[3], ",", ", "), d[2])
	}
	for _, m := range all() {
		row(m.desc, map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}[m.kind])
	}
	for _, c := range NewRecorder().all() {
		descs := make(chan *prometheus.Desc, 1)
		c.Describe(descs)
		kind := "counter"
		if _, is := c.(*prometheus.HistogramVec); is {
			kind = "histogram"
		}
		row(<-descs, kind)
	}
	text := string(data)
	begin := strings.Index(text, "| metric |")
	end := strings.Index(text[max(begin, 0):], "\n\n") + begin + 1
	if begin < 0 || end <= begin {
		t.Fatalf("%s has no table that begins with | metric |", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(text[:begin]+table.String()+text[end:]), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(table.String(), text[begin:end]); d != "" {
		t.Errorf("%s (-want +got); go test ./internal/metrics -update writes it:\n%s", path, d)
	}
}
