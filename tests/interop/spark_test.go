package interop

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestSpark asks a running pipeline's metastore with Spark: it lists the tables, prunes partitions, sees the types, and makes tables of
// its own beside ours. With Apache Kafka, an S3 server and Hive's own metastore in the place of the embedded parts nothing changes but the
// addresses.
func TestSpark(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		testSpark(t, nil)
	})
	t.Run("elsewhere", func(t *testing.T) {
		t.Parallel()
		s3 := fixture.NewS3(t)
		testSpark(t, &elsewhere{s3: s3, kafka: fixture.Kafka(t).Addr, hive: "thrift://" + fixture.Metastore(t, fixture.Hive{S3: &s3})})
	})
}

// elsewhere is where the parts are that a pipeline does not embed.
type elsewhere struct {
	s3          fixture.S3
	kafka, hive string
}

func testSpark(t *testing.T, there *elsewhere) {
	kcat := fixture.Kcat(t)
	addresses, raw := "", ""
	if there != nil {
		raw = there.s3.Bucket(t, "acme-raw")
		addresses = fmt.Sprintf("kafka: {brokers: [%q]}\nhive: {uris: [%q]}\nlake: {raw: %q, tables: %q}\n", there.kafka, there.hive, raw, there.s3.Bucket(t, "acme-lake"))
	}
	p := newPipeline(t, addresses+`
serialize: {every: 100ms}
sources:
  trades: {file: {path: "in/*.ndjson", settle: 0s}}
`)
	// Three days of objects as another sink would have left them.
	for day := 5; day <= 7; day++ {
		var text bytes.Buffer
		at := time.Date(2026, 7, day, 12, 0, 0, 0, time.UTC).UnixMilli()
		z := gzip.NewWriter(&text)
		for id := range 10 * day {
			fmt.Fprintf(z, `{"raw_data":{"id":%d,"qty":%d,"Price":%d.5,"ok":true,"Buyer":{"Name":"Zoë %d"},"tags":["x%d"],"big":12345678901234567890},`+
				`"metadata":{"thread_id":0,"host_name":"h","process_start_time":"","source":"trades"},"ingestion_timestamp":%d}`+"\n", id+100*(day-5), day, id, id, day, at)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("topics/trades_raw/date=2026-07-0%d/trades_raw+0+%010d.json.gz", day, day*1000)
		if there == nil {
			p.Write(t, "headwater-data/raw/"+key, text.Bytes())
			continue
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(there.s3.Dir, "acme-raw", key)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(there.s3.Dir, "acme-raw", key), text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tables, parts := filepath.Join(p.Dir, "headwater-data/tables"), filepath.Join(p.Dir, tableParts)
	args := []string{"", filepath.Join(p.Dir, "warehouse")}
	if there != nil {
		p.env = fixture.S3Env
		tables, parts = "s3a://acme-lake", filepath.Join(there.s3.Dir, "acme-lake/air/*/year=*/month=*/day=*/part-00000.snappy.parquet")
		settings, err := json.Marshal(there.s3.S3A())
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, fixture.S3A(t), string(settings))
	}
	proc := p.Start(t, p.env, "run")
	binary.Eventually(t, "three days in both tables", func() bool {
		found, err := filepath.Glob(parts)
		return err == nil && len(found) == 6
	})
	running := p.running(t)
	broker := running.Kafka
	if there != nil {
		broker = there.kafka
	}
	var seen struct {
		Tables     [][]string
		Types      map[string]string
		Partitions []string
		Days       [][]int64
		OneDay     [][]float64 `json:"one_day"`
		SomeDays   [][]int     `json:"some_days"`
		Nested     [][]any
		Raw        [][]any
		Files      int
		Described  [][]string
		OwnDays    [][]int  `json:"own_days"`
		OwnParts   []string `json:"own_partitions"`
		Repaired   []string `json:"own_repaired"`
		Renamed    [][]int  `json:"own_renamed"`
		Copy       [][]int  `json:"own_copy"`
		OwnTables  []string `json:"own_tables"`
		Databases  []string
	}
	args[0] = "thrift://" + running.Hive
	if there != nil {
		args[0] = there.hive
	}
	python(t, &seen, "spark.py", args...)
	p.Write(t, "in/a.ndjson", []byte(`{"id":999}`+"\n")) // now that nobody counts days
	binary.Eventually(t, "the records by kcat", func() bool {
		got, err := exec.CommandContext(t.Context(), kcat, "-b", broker, "-t", "trades_raw", "-C", "-e", "-q").CombinedOutput()
		if err == nil && bytes.Contains(got, []byte(`{"raw_data":{"id":999},`)) {
			envelopes(t, got)
			return true
		}
		return false
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, limit).Must(t)

	for what, pair := range map[string][2]any{
		"tables": {[][]string{{"air", "trades"}, {"air", "trades_raw"}}, seen.Tables},
		"types": {map[string]string{
			"id": "bigint", "qty": "bigint", "Price": "double", "ok": "boolean", "Buyer_Name": "string", "tags": "array<string>", "big": "decimal(38,0)",
			"_ingested_at": "timestamp", "year": "int", "month": "int", "day": "int",
		}, seen.Types},
		"partitions":     {[]string{"year=2026/month=7/day=5", "year=2026/month=7/day=6", "year=2026/month=7/day=7"}, seen.Partitions},
		"days":           {[][]int64{{2026, 7, 5, 50, 250}, {2026, 7, 6, 60, 360}, {2026, 7, 7, 70, 490}}, seen.Days},
		"one day":        {[][]float64{{50, 250, 49.5}}, seen.OneDay},
		"some days":      {[][]int{{50}}, seen.SomeDays},
		"nested":         {[][]any{{"Zoë 1", "x5", "12345678901234567890", true}}, seen.Nested},
		"raw":            {[][]any{{"Zoë 1", "trades", float64(time.Date(2026, 7, 5, 12, 0, 0, 0, time.UTC).UnixMilli())}}, seen.Raw},
		"files read":     {1, seen.Files},
		"own days":       {[][]int{{1, 2}, {4, 3}}, seen.OwnDays},
		"own partitions": {[]string{"year=2026/month=1/day=3", "year=2026/month=1/day=9"}, seen.OwnParts},
		"repaired":       {[]string{"year=2026/month=1/day=2", "year=2026/month=1/day=3", "year=2026/month=1/day=9"}, seen.Repaired},
		"renamed":        {[][]int{{2}}, seen.Renamed},
		"copy":           {[][]int{{50, 250}}, seen.Copy},
		"own tables":     {[]string{"copy", "dates", "view"}, seen.OwnTables},
		"databases":      {[]string{"air", "default"}, seen.Databases},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	for _, want := range [][]string{{"Type", "EXTERNAL"}, {"Provider", "parquet"}, {"Partition Provider", "Catalog"}} {
		if !slices.ContainsFunc(seen.Described, func(row []string) bool { return slices.Equal(row, want) }) {
			t.Errorf("described as %v, want %v", seen.Described, want)
		}
	}
	if !strings.Contains(fmt.Sprint(seen.Described), tables+"/air/trades") {
		t.Errorf("described as %v", seen.Described)
	}
	got := p.query(t, "select day, count(*), sum(qty)::bigint from air.trades group by all order by all")
	if diff := cmp.Diff([][]string{{"5", "50", "250"}, {"6", "60", "360"}, {"7", "70", "490"}}, got); diff != "" {
		t.Errorf("headwater query (-spark +headwater):\n%s", diff)
	}
}
