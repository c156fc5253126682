package interop

import (
	"bytes"
	"compress/gzip"
	"fmt"
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
// its own beside ours. Hive's own metastore in its place changes nothing but the address.
func TestSpark(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		testSpark(t, "")
	})
	t.Run("hive", func(t *testing.T) {
		t.Parallel()
		testSpark(t, "thrift://"+fixture.Metastore(t))
	})
}

func testSpark(t *testing.T, metastore string) {
	extra := ""
	if metastore != "" {
		extra = fmt.Sprintf("hive: {uris: [%q]}", metastore)
	}
	p := newPipeline(t, extra+`
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
		p.Write(t, fmt.Sprintf("headwater-data/raw/topics/trades_raw/date=2026-07-0%d/trades_raw+0+%010d.json.gz", day, day*1000), text.Bytes())
	}
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "three days in both tables", func() bool {
		parts, err := filepath.Glob(filepath.Join(p.Dir, tableParts))
		return err == nil && len(parts) == 6
	})
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
	if metastore == "" {
		metastore = "thrift://" + p.running(t).Hive
	}
	python(t, &seen, "spark.py", metastore, filepath.Join(p.Dir, "warehouse"))
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
	if !strings.Contains(fmt.Sprint(seen.Described), filepath.Join(p.Dir, "headwater-data/tables/air/trades")) {
		t.Errorf("described as %v", seen.Described)
	}
	got := p.query(t, "select day, count(*), sum(qty)::bigint from air.trades group by all order by all")
	if diff := cmp.Diff([][]string{{"5", "50", "250"}, {"6", "60", "360"}, {"7", "70", "490"}}, got); diff != "" {
		t.Errorf("headwater query (-spark +headwater):\n%s", diff)
	}
}
