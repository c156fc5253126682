package interop

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	lakes3 "headwater/lake/s3"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// onSpark has a day of records on its way to tables that Spark makes.
func onSpark(t *testing.T, more, conf string) pipeline {
	t.Helper()
	python := fixture.Python(t)
	p := newPipeline(t, fmt.Sprintf(`
serialize:
  engine: auto
  schema: {dialect: spark}
  spark:
    submit: %s
    master: "local[2]"
    auto_above: 0
    conf: {spark.sql.shuffle.partitions: "1", spark.driver.extraJavaOptions: "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC", %s}
sources: {trades: {file: {path: "in/*.ndjson"}}}
%s`, filepath.Join(filepath.Dir(python), "spark-submit"), conf, more))
	p.env = append(p.env, "PYSPARK_PYTHON="+python)
	return p
}

const sparkObjects = 3

// sparkObject is one of the day's, of ten records and one that is none.
func sparkObject(t *testing.T, n int) (key string, data []byte) {
	t.Helper()
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	at := time.Date(2026, 7, 5, 12, 0, 0, 0, time.UTC).UnixMilli()
	for i := range 10 {
		qty := ""
		if i%2 == 0 {
			qty = fmt.Sprintf(`,"Qty":%d.5`, i)
		}
		fmt.Fprintf(z, `{"raw_data":{"id":%d%s,"Buyer":{"Name":"Zoë"}},"metadata":{"thread_id":0},"ingestion_timestamp":%d}`+"\n", 10*n+i, qty, at)
	}
	fmt.Fprintln(z, `{"raw_data":{"id":`)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("topics/trades_raw/date=2026-07-05/trades_raw+0+%010d.json.gz", 100*n), text.Bytes()
}

// readsSparksDay checks that headwater query has the day.
func (p pipeline) readsSparksDay(t *testing.T) {
	t.Helper()
	for sql, want := range map[string]string{
		"select count(*), count(Qty), sum(id)::bigint, any_value(Buyer_Name) from air.trades":                        "[[30 15 435 Zoë]]",
		"select count(*), count(raw_data.Qty), sum(raw_data.id)::bigint, sum(day)::bigint // 30 from air.trades_raw": "[[30 15 435 5]]",
	} {
		if got := fmt.Sprint(p.query(t, sql)); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

var ofTheDay = []string{"--source", "trades", "--date", "2026-07-05"}

// TestSparkEngine: spark-submit makes the tables of a day in folders and in buckets, and they are read by the metastore.
func TestSparkEngine(t *testing.T) {
	t.Run("folders", func(t *testing.T) {
		t.Parallel()
		p := onSpark(t, "", "")
		for n := range sparkObjects {
			key, data := sparkObject(t, n)
			p.Write(t, "headwater-data/raw/"+key, data)
		}
		r := p.Start(t, p.env, "serialize", ofTheDay...).Wait(t, limit)
		r.Must(t)
		if want := "trades 2026-07-05: 30 rows of 3 objects, 3 records in quarantine\n"; r.Stdout != want || !strings.Contains(r.Stderr, "larger than serialize.spark.auto_above") {
			t.Errorf("it says %s\n%s", r.Stdout, r.Stderr)
		}
		if got := p.headwater(t, "serialize", append(ofTheDay, "--engine", "spark")...); !strings.Contains(got, "unchanged, 30 rows") {
			t.Errorf("the same again: %s", got)
		}
		p.readsSparksDay(t)
		if got := p.headwater(t, "quarantine show"); strings.Count(got, "unexpected-end") != 3 || !strings.Contains(got, "line 11") {
			t.Errorf("in quarantine is %s", got)
		}
		proc := p.Start(t, p.env, "run")
		binary.Eventually(t, "a metastore", func() bool {
			_, err := os.Stat(filepath.Join(p.Dir, "headwater-data/run.json"))
			return err == nil
		})
		var seen struct {
			Types     map[string]string
			Raw, Flat []int
		}
		python(t, &seen, "spark_day.py", "thrift://"+p.running(t).Hive, filepath.Join(p.Dir, "warehouse"))
		types := map[string]string{"id": "bigint", "Qty": "double", "Buyer_Name": "string", "year": "int", "month": "int", "day": "int"}
		if diff := cmp.Diff(types, seen.Types); diff != "" || fmt.Sprint(seen.Raw, seen.Flat) != "[30 15 435] [30 15 435]" {
			t.Errorf("Spark finds %v, %v\n%s", seen.Raw, seen.Flat, diff)
		}
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		proc.Wait(t, limit).Must(t)
	})
	t.Run("buckets", func(t *testing.T) {
		t.Parallel()
		s3, jars := fixture.NewS3(t), fixture.S3A(t)
		raw := s3.Bucket(t, "acme-raw")
		fixture.SetAWS()
		store, err := lakes3.Open(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		p := onSpark(t, fmt.Sprintf("lake: {raw: %q, tables: %q}\n", raw, s3.Bucket(t, "acme-lake")),
			fmt.Sprintf("spark.driver.extraClassPath: %q", jars+"/*"))
		p.env = append(p.env, fixture.S3Env...)
		for n := range sparkObjects {
			key, data := sparkObject(t, n)
			if _, err := store.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		// Killed with the first of Spark's work in the store, and Spark is left alone.
		proc := p.Start(t, p.env, "serialize", ofTheDay...)
		binary.EventuallyOr(t, "a copy of an object", func() bool {
			found, err := filepath.Glob(filepath.Join(s3.Dir, "acme-raw/_spark/copies/*"))
			return err == nil && len(found) > 0 || proc.Ended()
		}, proc.Stderr)
		proc.Kill(t)
		binary.Eventually(t, "the end of Spark", func() bool { return !mentioned(t, p.Dir) })
		if commits, err := filepath.Glob(filepath.Join(s3.Dir, "acme-lake/air/*/_runs/*.json")); len(commits) > 0 || err != nil {
			t.Errorf("%v was committed, %v", commits, err)
		}
		if got := p.headwater(t, "serialize", ofTheDay...); got != "trades 2026-07-05: 30 rows of 3 objects, 3 records in quarantine\n" {
			t.Errorf("again: %s", got)
		}
		p.readsSparksDay(t)
	})
	t.Run("no master", func(t *testing.T) {
		t.Parallel()
		p := onSpark(t, "", "")
		key, data := sparkObject(t, 0)
		p.Write(t, "headwater-data/raw/"+key, data)
		text, err := os.ReadFile(p.File)
		if err != nil {
			t.Fatal(err)
		}
		p.Write(t, "pipeline.yaml", bytes.Replace(text, []byte("local[2]"), []byte("spark://127.0.0.1:1"), 1))
		if r := p.Start(t, p.env, "serialize", ofTheDay...).Wait(t, limit); r.Code != 4 || !strings.Contains(r.Stderr, "masters are unresponsive") {
			t.Errorf("code %d: %s", r.Code, r.Stderr)
		}
	})
	t.Run("no command", func(t *testing.T) {
		t.Parallel()
		p := newPipeline(t, "serialize: {engine: spark, schema: {dialect: spark}, spark: {submit: no-such-command}}\nsources: {trades: {file: {path: \"in/*\"}}}\n")
		key, data := sparkObject(t, 0)
		p.Write(t, "headwater-data/raw/"+key, data)
		if r := p.Run(t, nil, "serialize", ofTheDay...); r.Code != 1 || !strings.Contains(r.Stderr, "serialize.spark.submit") {
			t.Errorf("code %d: %s", r.Code, r.Stderr)
		}
		if r := p.Run(t, nil, "serialize", append(ofTheDay, "--engine", "hadoop")...); r.Code != 2 || !strings.Contains(r.Stderr, "native, spark or auto") {
			t.Errorf("code %d: %s", r.Code, r.Stderr)
		}
	})
}

// mentioned says whether a process of this machine has the text in its command.
func mentioned(t *testing.T, text string) bool {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range commands {
		if command, err := os.ReadFile(name); err == nil && strings.Contains(string(command), text) {
			return true
		}
	}
	return false
}
