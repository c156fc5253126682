// Package interop checks that programs which know nothing of Headwater read what it writes, and that they find in it what went in.
package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// limit is how long a command may take on a machine that is busy with other tests.
const limit = 5 * time.Minute

type pipeline struct {
	binary.Pipeline
	env []string // what its commands need besides
}

func newPipeline(t *testing.T, yaml string) pipeline {
	t.Helper()
	// Free ports: the tests of several packages run at the same time.
	const head = "database: air\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\"}\n"
	return pipeline{Pipeline: binary.New(t, binary.Build(t), head+yaml)}
}

// headwater runs a command on the pipeline and returns what it printed.
func (p pipeline) headwater(t *testing.T, command string, args ...string) string {
	t.Helper()
	return p.Start(t, p.env, command, args...).Wait(t, limit).Must(t)
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return string(out)
}

// query gives the rows of an answer without its header.
func (p pipeline) query(t *testing.T, sql string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(p.headwater(t, "query", sql, "--format", "csv"))).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%s: the answer is no CSV with a header: %v", sql, err)
	}
	return rows[1:]
}

// sums has the SHA-256 of every file under the pipeline's folder that matches the glob.
func (p pipeline) sums(t *testing.T, glob string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, glob))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is at %s: %v", glob, err)
	}
	out := map[string]string{}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimPrefix(path, p.Dir)] = fmt.Sprintf("%x", sum.Sum(nil))
	}
	return out
}

func (p pipeline) stats(t *testing.T, files map[string]string) map[string]os.FileInfo {
	t.Helper()
	out := map[string]os.FileInfo{}
	for key := range files {
		info, err := os.Stat(filepath.Join(p.Dir, key))
		if err != nil {
			t.Fatal(err)
		}
		out[key] = info
	}
	return out
}

const (
	rawObjects = "headwater-data/raw/topics/*/date=*/*.json.gz"
	tableParts = "headwater-data/tables/air/*/year=*/month=*/day=*/part-00000.snappy.parquet"
)

// python runs a script of testdata and reads the JSON it prints into *into.
func python(t *testing.T, into any, script string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), fixture.Python(t), append([]string{filepath.Join("testdata", script)}, args...)...)
	if err := json.Unmarshal([]byte(output(t, cmd)), into); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
}

// carrier is what is compared of the flights of an airline.
type carrier struct {
	Flights  int
	Distance int
	Delay    float64
}

// carriers asks headwater for the same.
func (p pipeline) carriers(t *testing.T) map[string]carrier {
	t.Helper()
	out := map[string]carrier{}
	for _, row := range p.query(t, `SELECT carrier, count(*), sum(CAST(distance AS BIGINT)),
		avg(CASE WHEN dep_delay NOT IN ('', 'NA') THEN CAST(dep_delay AS DOUBLE) END) FROM air.flights GROUP BY carrier`) {
		flights, err1 := strconv.Atoi(row[1])
		distance, err2 := strconv.Atoi(row[2])
		delay, err3 := strconv.ParseFloat(row[3], 64)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("row %q: %v, %v, %v", row, err1, err2, err3)
		}
		out[row[0]] = carrier{flights, distance, delay}
	}
	return out
}

func TestFlights(t *testing.T) {
	source := fixture.FlightsCSV(t)
	var want map[string]carrier
	python(t, &want, "carriers.py", source)

	p := newPipeline(t, "sources: {flights: {file: {path: \"in/*.csv\", format: csv}}}\n")
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	p.Write(t, "in/flights.csv", data)
	p.headwater(t, "run", "--once")

	check := func(when string) {
		t.Helper()
		for _, table := range []string{"flights", "flights_raw"} {
			if got := p.query(t, "SELECT count(*) FROM air."+table); got[0][0] != strconv.Itoa(fixture.Flights) {
				t.Errorf("%s %s has %s rows, want %d", when, table, got[0][0], fixture.Flights)
			}
		}
		if diff := cmp.Diff(want, p.carriers(t), cmpopts.EquateApprox(1e-9, 0)); diff != "" {
			t.Errorf("%s the aggregates differ (-want +got):\n%s", when, diff)
		}
	}
	check("after the first run")
	// The CSV's own year, month and day have the names of the partition columns.
	if got := p.query(t, "SELECT min(year_2), max(year_2), count(DISTINCT month_2), count(DISTINCT day_2) FROM air.flights"); !slices.Equal(got[0], []string{"2013", "2013", "12", "31"}) {
		t.Errorf("year_2, month_2 and day_2 hold %v", got[0])
	}

	objects, parts := p.sums(t, rawObjects), p.sums(t, tableParts)
	p.headwater(t, "run", "--once")
	check("after the second run")
	if diff := cmp.Diff(objects, p.sums(t, rawObjects)); diff != "" {
		t.Errorf("the second run changed raw objects:\n%s", diff)
	}
	if diff := cmp.Diff(parts, p.sums(t, tableParts)); diff != "" {
		t.Errorf("the second run changed tables:\n%s", diff)
	}
	before := p.stats(t, parts)
	for key := range objects {
		date := strings.TrimPrefix(filepath.Base(filepath.Dir(key)), "date=")
		p.headwater(t, "serialize", "--source", "flights", "--date", date, "--full")
	}
	if diff := cmp.Diff(parts, p.sums(t, tableParts)); diff != "" {
		t.Errorf("the same day serialized again has other bytes:\n%s", diff)
	}
	for key, after := range p.stats(t, parts) {
		if os.SameFile(before[key], after) {
			t.Errorf("%s was not written again, so that nothing was compared", key)
		}
	}
}

// sensors is a number of documents whose sums are easily told.
const sensors = 2000

func sensorsPipeline(t *testing.T, dialect string, big uint64) pipeline {
	t.Helper()
	p := newPipeline(t, "sources: {sensors: {file: {path: \"in/*.ndjson\", format: ndjson}, schema: {dialect: "+dialect+"}}}\n")
	var lines bytes.Buffer
	for i := range sensors {
		fmt.Fprintf(&lines, `{"id":%d,"name":"Zo\u00eb \"%d\"","at":{"lat":%d.5,"lon":-0.25},"tags":["a","b"],"big":%d,"none":null}`+"\n", i, i, i, big)
	}
	p.Write(t, "in/sensors.ndjson", lines.Bytes())
	p.headwater(t, "run", "--once")
	return p
}

// TestReaders reads the tables and the raw objects with what their readers have at hand.
func TestReaders(t *testing.T) {
	fixture.Python(t) // skips before anything is run
	t.Run("headwater", func(t *testing.T) { testReaders(t, "headwater", 9007199254740993) })
	// Its decimals have the bytes that their digits need, here 9.
	t.Run("spark", func(t *testing.T) { testReaders(t, "spark", 12345678901234567890) })
}

func testReaders(t *testing.T, dialect string, big uint64) {
	p := sensorsPipeline(t, dialect, big)
	tables, raw := filepath.Join(p.Dir, "headwater-data/tables/air"), filepath.Join(p.Dir, rawObjects)
	type table struct {
		Rows       int
		Ids        int
		Big        uint64
		Partitions []string
		Name       string
	}
	const sum = sensors * (sensors - 1) / 2
	want := table{sensors, sum, big, []string{"year", "month", "day"}, `Zoë "7"`}
	for _, reader := range []string{"pyarrow", "duckdb", "pandas", "polars"} {
		for name, id := range map[string]string{"sensors": "id", "sensors_raw": "raw_data.id"} {
			t.Run(reader+" "+name, func(t *testing.T) {
				var got table
				python(t, &got, reader+"_table.py", filepath.Join(tables, name), id)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("what %s reads differs (-want +got):\n%s", reader, diff)
				}
			})
		}
	}
	t.Run("duckdb raw", func(t *testing.T) {
		var got struct{ Rows, Ids int }
		python(t, &got, "duckdb_raw.py", raw)
		if got.Rows != sensors || got.Ids != sum {
			t.Errorf("got %+v, want %d rows whose ids sum up to %d", got, sensors, sum)
		}
	})
	t.Run("zcat raw", func(t *testing.T) {
		files, err := filepath.Glob(raw)
		if err != nil || len(files) == 0 {
			t.Fatalf("no object is at %s: %v", raw, err)
		}
		lines := 0
		for line := range strings.Lines(output(t, exec.CommandContext(t.Context(), "zcat", files...))) {
			var envelope struct {
				RawData   map[string]any `json:"raw_data"`
				Metadata  map[string]any `json:"metadata"`
				Ingestion int64          `json:"ingestion_timestamp"`
			}
			d := json.NewDecoder(strings.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&envelope); err != nil || envelope.Ingestion == 0 || envelope.Metadata["source"] != "sensors" {
				t.Fatalf("line %d is no envelope: %v: %s", lines, err, line)
			}
			lines++
		}
		if lines != sensors {
			t.Errorf("zcat gives %d lines, want %d", lines, sensors)
		}
	})
}
