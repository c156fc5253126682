package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/audit"
	"headwater/kafka"
	"headwater/kafka/embedded"
	"headwater/lake"
	"headwater/land"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// audited runs an audit and gives its report.
func audited(t *testing.T, p binary.Pipeline, env []string, code int, args ...string) (r audit.Report) {
	t.Helper()
	got := p.Run(t, env, "audit", append(args, "--json")...)
	if err := json.Unmarshal([]byte(got.Stdout), &r); got.Code != code || err != nil {
		t.Fatalf("audit %v ended with %d, want %d: %v\n%s%s", args, got.Code, code, err, got.Stdout, got.Stderr)
	}
	return r
}

// history is a pipeline that has run three times, each time with a file of 40 lines, of which one is no JSON.
func history(t *testing.T, yaml string, env []string) binary.Pipeline {
	t.Helper()
	p := binary.New(t, binary.Build(t), yaml)
	for i := range 3 {
		var b bytes.Buffer
		for n := range 39 {
			fmt.Fprintf(&b, "{\"n\":%d,\"s\":\"text %d\",\"l\":[1,null,%d]}\n", i*39+n, n, n)
		}
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), append(b.Bytes(), "{\"cut\n"...))
		p.Run(t, env, "run", "--once").Must(t)
	}
	return p
}

// copyOf is a pipeline in the same state in another folder.
func copyOf(t *testing.T, p binary.Pipeline) binary.Pipeline {
	t.Helper()
	c := binary.Pipeline{Bin: p.Bin, Dir: t.TempDir()}
	if err := os.CopyFS(c.Dir, os.DirFS(p.Dir)); err != nil {
		t.Fatal(err)
	}
	c.File = filepath.Join(c.Dir, filepath.Base(p.File))
	return c
}

// files are those of a pattern below the pipeline's folder, in order.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	slices.Sort(found)
	return found
}

// rewrite makes a Parquet file anew, with its metadata, of the rows that change lets through.
func rewrite(t *testing.T, name string, change func(i int, r parquet.Row) parquet.Row) {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	f, err := parquet.OpenFile(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	options := []parquet.WriterOption{f.Schema(), parquet.Compression(&parquet.Snappy)}
	for _, kv := range f.Metadata().KeyValueMetadata {
		options = append(options, parquet.KeyValueMetadata(kv.Key, kv.Value))
	}
	var b bytes.Buffer
	w := parquet.NewWriter(&b, options...)
	at := 0
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		for {
			one := make([]parquet.Row, 1)
			n, err := rows.ReadRows(one)
			if n == 1 {
				if r := change(at, one[0].Clone()); r != nil {
					_, werr := w.WriteRows([]parquet.Row{r})
					must(t, werr)
				}
				at++
			}
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
		}
		must(t, rows.Close())
	}
	must(t, w.Close())
	must(t, os.Chmod(name, 0o600))
	must(t, os.WriteFile(name, b.Bytes(), 0o600))
}

func cutShort(t *testing.T, name string, by int64) {
	t.Helper()
	info, err := os.Stat(name)
	must(t, err)
	must(t, os.Chmod(name, 0o600))
	must(t, os.Truncate(name, info.Size()-by))
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(to), 0o750))
	must(t, os.WriteFile(to, data, 0o600))
}

// noTables takes the tables away: the objects are as before the first serialize.
func noTables(t *testing.T, p binary.Pipeline) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(p.Dir, "headwater-data/tables/db")))
}

const (
	rawObjects = "headwater-data/raw/topics/orders_raw/date=*/*.json.gz"
	flatFile   = "headwater-data/tables/db/orders/year=*/month=*/day=*/*.parquet"
	rawFile    = "headwater-data/tables/db/orders_raw/year=*/month=*/day=*/*.parquet"
)

// TestAuditFinds: each thing that somebody can do to what was landed is found and named, and what nobody has touched is not.
func TestAuditFinds(t *testing.T) {
	t.Parallel()
	healthy := history(t, orders, nil)
	if r := audited(t, healthy, nil, 0, "--recompute"); r.Differences != 0 || r.Unknown != 0 || len(r.Sources) != 1 || r.Kafka != audit.KafkaOff || *r.Sources[0].Days[0].RawRows != 117 || *r.Sources[0].Days[0].Quarantined != 3 ||
		r.Sources[0].Days[0].Sums.Objects == "" {
		t.Errorf("a healthy pipeline: %+v", r)
	}
	for _, fault := range []struct {
		name     string
		do       func(t *testing.T, p binary.Pipeline)
		kind     string
		from, to int64 // -1: not named
		args     []string
	}{
		{"the first object deleted", func(t *testing.T, p binary.Pipeline) { must(t, os.Remove(files(t, p.Dir, rawObjects)[0])) }, audit.Missing, 0, 39, nil},
		{"the last object deleted", func(t *testing.T, p binary.Pipeline) { must(t, os.Remove(files(t, p.Dir, rawObjects)[2])) }, audit.Missing, 80, 119, nil},
		{"an object deleted before the tables were made", func(t *testing.T, p binary.Pipeline) {
			noTables(t, p)
			must(t, os.Remove(files(t, p.Dir, rawObjects)[1]))
		}, audit.Missing, 40, 79, nil},
		{"the first object deleted before the tables were made", func(t *testing.T, p binary.Pipeline) {
			noTables(t, p)
			must(t, os.Remove(files(t, p.Dir, rawObjects)[0]))
		}, audit.Missing, 0, 39, nil},
		{"an object cut in two", func(t *testing.T, p binary.Pipeline) { cutShort(t, files(t, p.Dir, rawObjects)[1], 150) }, audit.Truncated, 40, 79, nil},
		{"an object without its tail", func(t *testing.T, p binary.Pipeline) { cutShort(t, files(t, p.Dir, rawObjects)[1], 70) }, audit.Truncated, 40, 79, nil},
		{"an object cut in two before the tables were made", func(t *testing.T, p binary.Pipeline) {
			noTables(t, p)
			cutShort(t, files(t, p.Dir, rawObjects)[1], 150)
		}, audit.Truncated, 40, 79, nil},
		{"an object copied in its folder", func(t *testing.T, p binary.Pipeline) {
			from := files(t, p.Dir, rawObjects)[1]
			copyTo(t, from, strings.Replace(from, "+0+0000000040", "+0+0000000044", 1))
		}, audit.Overlap, 40, 79, nil},
		{"an object copied to another day", func(t *testing.T, p binary.Pipeline) {
			from := files(t, p.Dir, rawObjects)[2]
			copyTo(t, from, filepath.Join(filepath.Dir(filepath.Dir(from)), "date=2020-01-01", filepath.Base(from)))
		}, audit.Overlap, 80, 119, nil},
		{"a row removed from the flat table", func(t *testing.T, p binary.Pipeline) {
			rewrite(t, files(t, p.Dir, flatFile)[0], func(i int, r parquet.Row) parquet.Row {
				if i == 41 {
					return nil
				}
				return r
			})
		}, audit.Rows, -1, -1, nil},
		{"a row removed, named", func(t *testing.T, p binary.Pipeline) {
			rewrite(t, files(t, p.Dir, rawFile)[0], func(i int, r parquet.Row) parquet.Row {
				if i == 41 {
					return nil
				}
				return r
			})
		}, audit.Rows, 42, 42, []string{"--recompute"}},
		{"a row changed", func(t *testing.T, p binary.Pipeline) {
			rewrite(t, files(t, p.Dir, flatFile)[0], func(i int, r parquet.Row) parquet.Row {
				for at, v := range r {
					if i == 39 && v.Kind() == parquet.ByteArray && !v.IsNull() {
						r[at] = parquet.ByteArrayValue([]byte("another")).Level(v.RepetitionLevel(), v.DefinitionLevel(), v.Column())
					}
				}
				return r
			})
		}, audit.Changed, 40, 40, []string{"--recompute"}},
		{"a quarantine file emptied", func(t *testing.T, p binary.Pipeline) {
			must(t, os.Remove(files(t, p.Dir, "headwater-data/raw/_quarantine/serialize/orders/date=*/*.json.gz")[0]))
		}, audit.Rows, -1, -1, nil},
		{"an offset skipped by hand", skipByHand, audit.Missing, 120, 122, nil},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			p := copyOf(t, healthy)
			fault.do(t, p)
			r := audited(t, p, nil, 3, fault.args...)
			named := slices.ContainsFunc(r.Sources[0].Differences, func(f audit.Finding) bool {
				where := fault.from < 0 || f.From != nil && f.To != nil && *f.From == fault.from && *f.To == fault.to && f.Topic == "orders_raw" && *f.Partition == 0
				return f.Kind == fault.kind && where
			})
			if !named {
				t.Errorf("found %+v", r.Sources[0].Differences)
			}
			if text := p.Run(t, nil, "audit", fault.args...); text.Code != 3 || !strings.Contains(text.Stdout, "DIFFERS "+fault.kind) {
				t.Errorf("as text: %d\n%s%s", text.Code, text.Stdout, text.Stderr)
			}
		})
	}
}

// skipByHand has the group's offset go on behind three records that have not landed, and land the next.
func skipByHand(t *testing.T, p binary.Pipeline) {
	broker, err := embedded.Open(embedded.Config{Dir: filepath.Join(p.Dir, "headwater-data/kafka"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	must(t, err)
	config := kafka.DefaultConfig()
	config.Brokers = []string{broker.Addr()}
	cl, err := kafka.NewClient(config)
	must(t, err)
	for range 3 {
		value := envelope.Wrap(nil, []byte(`{"n":1}`), &envelope.Metadata{}, time.Now())
		must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders_raw", Value: value}).FirstErr())
	}
	commits, err := kafka.Commits(t.Context(), cl, land.DefaultGroup)
	must(t, err)
	commit := commits["orders_raw"][0]
	commit.Offset += 3
	must(t, kafka.SetCommits(t.Context(), cl, land.DefaultGroup, map[string]map[int32]kafka.Commit{"orders_raw": {0: commit}}))
	cl.Close()
	must(t, broker.Close())
	p.Write(t, "in/9.ndjson", []byte("{\"n\":9}\n"))
	p.Run(t, nil, "run", "--once").Must(t)
}

// TestAuditBeside looks at a pipeline while it runs, and sees what Kafka has.
func TestAuditBeside(t *testing.T) {
	t.Parallel()
	p := history(t, strings.Replace(orders, "land: {", "land: {flush.size: 7, ", 1), nil)
	p.Start(t, nil, "run")
	p.Write(t, "in/8.ndjson", []byte("{\"n\":8}\n"))
	var r audit.Report
	binary.Eventually(t, "an audit that has asked Kafka", func() bool {
		r = audited(t, p, nil, 0, "--recompute")
		return r.Kafka == audit.KafkaAsked && *r.Sources[0].Partitions[0].End == 121
	})
	if r.Differences != 0 || r.Unknown != 0 {
		t.Errorf("found %+v", r)
	}
	// What Kafka still has is compared byte by byte. It is relieved of what has landed each minute, but for the last record.
	for try := range 5 {
		p.Write(t, fmt.Sprintf("in/late%d.ndjson", try), []byte(strings.Repeat("{\"n\":8}\n", 7)))
		last := func() string { all := files(t, p.Dir, rawObjects); return all[len(all)-1] }
		before := last()
		binary.Eventually(t, "another object", func() bool { return last() != before })
		tail := forge(t, last())
		r = audited(t, p, nil, 3, "--recompute")
		if slices.ContainsFunc(r.Sources[0].Differences, func(f audit.Finding) bool {
			return f.Kind == audit.Differs && *f.From == tail.First && *f.To == tail.Next-1
		}) {
			return
		}
	}
	t.Errorf("found %+v", r.Sources[0].Differences)
}

// forge gives an object other records, as many as it has.
func forge(t *testing.T, name string) lake.Tail {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	tail, found, err := lake.ParseTail(data)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	forged := zipped(t, strings.Repeat("{\"raw_data\":{\"n\":0},\"metadata\":{},\"ingestion_timestamp\":1}\n", int(tail.Count)))
	must(t, os.Chmod(name, 0o600))
	must(t, os.WriteFile(name, tail.Append([]byte(forged)), 0o600))
	return tail
}

// TestAuditCannotLook ends with 4.
func TestAuditCannotLook(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), orders)
	if r := p.Run(t, nil, "audit"); r.Code != 4 || !strings.Contains(r.Stderr, "lake.raw") {
		t.Errorf("before anything has run: %d, %s", r.Code, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data")); !os.IsNotExist(err) {
		t.Errorf("an audit has made a folder: %v", err)
	}
	p = history(t, orders, nil)
	p.Write(t, "pipeline.yaml", []byte(orders+"kafka: {brokers: [\"127.0.0.1:1\"]}\n"))
	if r := p.Run(t, nil, "audit"); r.Code != 4 || !strings.Contains(r.Stdout, "Kafka at 127.0.0.1:1 does not answer") {
		t.Errorf("without its Kafka: %d, %s", r.Code, r.Stdout)
	}
	for _, args := range [][]string{{"--day", "soon"}, {"--source", "nobody"}} {
		if r := p.Run(t, nil, "audit", args...); r.Code != 2 {
			t.Errorf("%v: %d, %s", args, r.Code, r.Stderr)
		}
	}
}

// TestAuditInBuckets is the same in S3, with tables whose days are swapped.
func TestAuditInBuckets(t *testing.T) {
	t.Parallel()
	server := fixture.NewS3(t)
	raw, tables := server.Bucket(t, "audit-raw"), server.Bucket(t, "audit-lake")
	p := history(t, orders+fmt.Sprintf("lake: {raw: %q, tables: %q}\nserialize: {publish: swap}\n", raw, tables), fixture.S3Env)
	if r := audited(t, p, fixture.S3Env, 0, "--recompute"); r.Unknown != 0 || *r.Sources[0].Days[0].FlatRows != 117 {
		t.Errorf("found %+v", r)
	}
	must(t, os.Remove(files(t, server.Dir, "audit-raw/topics/orders_raw/date=*/*.json.gz")[1]))
	must(t, os.Remove(files(t, server.Dir, "audit-lake/db/orders/_runs/*-r000003-*/part-00000.snappy.parquet")[0]))
	r := audited(t, p, fixture.S3Env, 3)
	for _, kind := range []string{audit.Missing, audit.Unreadable} {
		if !slices.ContainsFunc(r.Sources[0].Differences, func(f audit.Finding) bool { return f.Kind == kind }) {
			t.Errorf("no %s in %+v", kind, r.Sources[0].Differences)
		}
	}
}
