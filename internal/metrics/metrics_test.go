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
		Version: "v1", FreeBytes: 7, NotReady: []string{"it drains"},
		Sources: []web.Source{
			{Name: "orders", State: "running", Records: 10, Bytes: 100, Malformed: 2, Quarantined: 1, Streams: 3, LastItem: at, LastErrorAt: at},
			{Name: "quiet", State: "waiting"},
			{Name: "theirs", State: "external"},
		},
		Retention: []web.Retention{{Topic: "orders_raw", Kept: 3600, DeletedFrom: at}},
		Topics:    []web.Topic{{Topic: "orders_raw", Partition: 1, Lag: 4, OpenObjects: 1, Objects: 2, Records: 6, Bytes: 60, Quarantined: 1, Stopped: true, LostFrom: 2, LostTo: 5, LandedUntil: at, LogBytes: 70}},
		Serialize: []web.Jobs{{Source: "orders", Runs: 2, Failures: 1, Seconds: 1.5, Rows: 5, Quarantined: 1, LastSuccess: at, TablesUntil: at, LastErrorAt: at}},
		Tables:    []web.Table{{Name: "db.orders", Days: 1, Rows: 5, Bytes: 50, Columns: 4}},
	}
}

func scrape(t *testing.T, status func(context.Context) (web.Status, error)) (int, string) {
	t.Helper()
	answer := httptest.NewRecorder()
	Handler(status, slog.New(slog.DiscardHandler)).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
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
		`headwater_serialize_seconds_total{source="orders"} 1.5`, `headwater_table_rows{table="db.orders"} 5`, "go_goroutines ", "process_cpu_seconds_total ",
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
	for _, m := range all() {
		d := described.FindStringSubmatch(m.desc.String())
		if d == nil {
			t.Fatal(m.desc)
		}
		kind := map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}[m.kind]
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", d[1], kind, strings.ReplaceAll(d[3], ",", ", "), d[2])
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
