package flow

import (
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

const external = `
database: db
sources:
  legacy: {external: {topic: prod.legacy-raw, timestamp: s}}
  texts: {external: {topic: texts, timestamp: iso, raw_data: json_string}}
  documents: {external: {topic: shop.documents, envelope: none}, tables: {raw: documents_kept}}
  changes: {external: {topic: shop.changes, envelope: none, timestamp: ms, timestamp_field: at.ms}}
land: {rotate.schedule.interval.ms: 300}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// foreign is a producer that knows nothing of headwater.
type foreign struct {
	t  *testing.T
	cl *kgo.Client
}

func newForeign(t *testing.T, broker string, opts ...kgo.Opt) foreign {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return foreign{t, cl}
}

func (f foreign) send(records ...*kgo.Record) {
	f.t.Helper()
	if err := f.cl.ProduceSync(f.t.Context(), records...).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// ask is a query's answer as CSV, without the header.
func ask(t *testing.T, p binary.Pipeline, sql string) string {
	t.Helper()
	out := p.Run(t, nil, "query", "--format", "csv", sql)
	if out.Code != 0 {
		return out.Stderr
	}
	_, rows, _ := strings.Cut(out.Stdout, "\n")
	return strings.TrimSpace(rows)
}

// TestExternal has programs of others fill topics of a running pipeline, in every shape that can be declared, well and badly; what fits is
// in the tables, what does not is in quarantine, and a kill and another run change neither.
func TestExternal(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), external)
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	broker := statusOf(t, p).Listen.Kafka
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)

	// Seconds, on several Kafka partitions, by every compression; late and early ones, and what is none.
	plain := newForeign(t, broker)
	if _, err := kadm.NewClient(plain.cl).CreateTopic(t.Context(), 3, 1, nil, "prod.legacy-raw"); err != nil {
		t.Fatal(err)
	}
	n := 0
	legacy := func(at time.Time) *kgo.Record {
		n++
		value := fmt.Sprintf(`{"raw_data": {"n": %d}, "ingestion_timestamp": %d.%06d, "region": "eu"}`, n, at.Unix(), at.Nanosecond()/1000)
		return &kgo.Record{Topic: "prod.legacy-raw", Partition: int32(n % 3), Key: []byte("k"), Value: []byte(value)}
	}
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		var records []*kgo.Record
		for range 30 {
			records = append(records, legacy(noon.Add(time.Duration(n)*time.Microsecond)))
		}
		newForeign(t, broker, kgo.ProducerBatchCompression(codec)).send(records...)
	}
	late, early := noon.AddDate(0, 0, -40), time.Date(2999, 12, 31, 23, 59, 59, 0, time.UTC)
	plain.send(legacy(late), legacy(early))
	for _, value := range [][]byte{
		nil,
		{},
		{0xff, 0x00, 0x1b},
		[]byte("\x80\x04\x95pickle"), []byte(`<legacy/>`), []byte(`{"raw_data":{}}`),
		fmt.Appendf(nil, `{"raw_data":{},"ingestion_timestamp":%d}`, noon.UnixMilli()),
		fmt.Appendf(nil, `{"raw_data":{},"ingestion_timestamp":%q}`, noon.Format(time.RFC3339)),
	} {
		plain.send(&kgo.Record{Topic: "prod.legacy-raw", Value: value})
	}
	plain.send(&kgo.Record{Topic: "prod.legacy-raw", Value: fmt.Appendf(nil, `{"ingestion_timestamp":%d}`, noon.Unix())})

	// JSON texts in strings, with times that people read.
	for _, text := range []string{`"{\"n\": 1, \"a\": {\"b\": [1, 2]}}"`, `{"n":2}`, `"{\"n\":"`} {
		plain.send(&kgo.Record{Topic: "texts", Value: fmt.Appendf(nil, `{"raw_data":%s,"ingestion_timestamp":%q}`, text, noon.Format("2006-01-02T15:04:05.000-07:00"))})
	}

	// Documents without an envelope, by other clients.
	kcat := func(args []string, lines string) {
		cmd := exec.Command(fixture.Kcat(t), append([]string{"-P", "-b", broker, "-t", "shop.documents"}, args...)...)
		cmd.Stdin = strings.NewReader(lines)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("kcat %v: %v\n%s", args, err, out)
		}
	}
	kcat([]string{"-z", "snappy", "-k", "key", "-H", "from=kcat"}, "{\"n\":1}\n{\"n\":2}\n")
	kcat([]string{"-z", "lz4"}, "{\"n\":3}\nno JSON\n")
	kcat([]string{"-z", "zstd", "-Z", "-K", ":"}, "gone:\n")
	fixture.JavaProduce(t, broker, "shop.documents", "zstd", "{\"n\":4}\n{\"n\":5,\"s\":\"\u00e9\"}\n")
	at := noon.Add(1234 * time.Millisecond)
	plain.send(&kgo.Record{Topic: "shop.documents", Timestamp: at, Value: []byte(`{"n":6}`)})
	plain.send(
		&kgo.Record{Topic: "shop.changes", Timestamp: late, Value: fmt.Appendf(nil, `{"at":{"ms":%d},"n":1}`, at.UnixMilli())},
		&kgo.Record{Topic: "shop.changes", Timestamp: noon, Value: []byte(`{"at":{},"n":2}`)},
	)

	answers := map[string]string{
		"select count(*), count(distinct n), count(distinct _ingested_at), max(_ingested_at) from db.legacy where year < 2999 and _ingested_at > now()::timestamp - interval 3 day": fmt.Sprintf(
			"150,150,150,%s", noon.Add(149*time.Microsecond).Format("2006-01-02T15:04:05.000000Z")),
		"select year, month, day, n from db.legacy where year = 2999":                                        "2999,12,31,152",
		"select n, a_b, epoch_ms(_ingested_at) from db.texts order by n":                                     fmt.Sprintf("1,\"[1,2]\",%d\n2,,%[1]d", noon.UnixMilli()),
		"select n, s from db.documents order by n":                                                           "1,\n2,\n3,\n4,\n5,\u00e9\n6,",
		"select epoch_ms(_ingested_at) from db.documents where n = 6":                                        fmt.Sprint(at.UnixMilli()),
		"select metadata.key, metadata.headers, metadata.origin from db.documents_kept where raw_data.n = 1": "key,\"[[\"\"from\"\",\"\"kcat\"\"]]\",shop.documents",
		"select metadata.headers from db.documents_kept where raw_data.n = 4":                                "\"[[\"\"from\"\",\"\"java\"\"]]\"",
		"select epoch_ms(_ingested_at), n from db.changes":                                                   fmt.Sprintf("%d,1", at.UnixMilli()),
	}
	for sql, want := range answers {
		var got string
		binary.EventuallyOr(t, fmt.Sprintf("%s\nanswering %s", sql, want), func() bool { got = ask(t, p, sql); return got == want }, func() string { return "it answers " + got })
	}
	bad := map[string]int{"land null value": 2, "land no JSON": 5, "land no time": 4, "serialize not-an-envelope": 1, "serialize json-string": 1}
	var got map[string]int
	binary.EventuallyOr(t, "the rest in quarantine", func() bool { got = reasons(t, p); return maps.Equal(got, bad) },
		func() string { return describe(got) + "\nwant " + describe(bad) })
	for _, source := range statusOf(t, p).Sources {
		if source.State != "external" {
			t.Errorf("source %s is %s", source.Name, source.State)
		}
	}
	p.Run(t, nil, "serialize", "--source", "legacy", "--date", late.Format(time.DateOnly)).Must(t)
	if got := ask(t, p, "select n, region from db.legacy_raw, unnest([raw_data.n]) as x(n) where ingestion_timestamp < "+fmt.Sprint(noon.Unix()-1e6)); got != "151,eu" {
		t.Errorf("the late one: %s", got)
	}

	proc.Kill(t)
	p.Run(t, nil, "run", "--once").Must(t)
	for sql, want := range answers {
		if got := ask(t, p, sql); got != want {
			t.Errorf("after a kill %s answers %s, want %s", sql, got, want)
		}
	}
	if got := reasons(t, p); !maps.Equal(got, bad) {
		t.Errorf("after a kill there are in quarantine %s, want %s", describe(got), describe(bad))
	}
}

// TestExternalCorrected: a unit that was declared wrongly is corrected. What was quarantined stays there, nothing comes twice, and the
// tables of days whose objects are read in another way are made anew.
func TestExternalCorrected(t *testing.T) {
	t.Parallel()
	yaml := strings.Replace(external, "serialize: {every: 200ms}\n", "", 1)
	p := binary.New(t, binary.Build(t), yaml)
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(12 * time.Hour)
	f := newForeign(t, statusOf(t, p).Listen.Kafka)
	f.send(&kgo.Record{Topic: "prod.legacy-raw", Value: fmt.Appendf(nil, `{"raw_data":"{\"n\":1}","ingestion_timestamp":%d}`, noon.Unix())})
	binary.Eventually(t, "landing", func() bool { s := statusOf(t, p); return len(s.Topics) == 1 && s.Topics[0].Records == 1 })
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	p.Run(t, nil, "run", "--once").Must(t)
	if got := ask(t, p, "select value from db.legacy"); got != `"{""n"":1}"` {
		t.Errorf("as it is: %s", got)
	}
	p.Write(t, "pipeline.yaml", []byte(strings.Replace(yaml, "timestamp: s}", "timestamp: s, raw_data: json_string}", 1)))
	p.Run(t, nil, "run", "--once").Must(t)
	if got := ask(t, p, "select n, epoch_ms(_ingested_at) from db.legacy"); got != fmt.Sprintf("1,%d", noon.UnixMilli()) {
		t.Errorf("as declared: %s", got)
	}
}

// TestForeignNames: of topics that nobody names under sources those land that topics.regex has, under names made of theirs. Two of one
// name do not share a table or a quarantine: the second is reported, and the first goes on.
func TestForeignNames(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), "database: db\nsources: {orders: {file: {path: in/*}, tables: {raw: a, flat: b}}}\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\"}\n")
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	f := newForeign(t, statusOf(t, p).Listen.Kafka)
	for i, topic := range []string{"Prod.Trades-raw", "prod_trades_raw", "orders-raw", "ignored"} {
		f.send(&kgo.Record{Topic: topic, Value: fmt.Appendf(nil, `{"raw_data":{"n":%d},"ingestion_timestamp":%d}`, i, time.Now().UnixMilli())})
	}
	binary.Eventually(t, "landing", func() bool {
		s := statusOf(t, p)
		return len(s.Topics) == 4 // the three, and the source's own
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	r := p.Run(t, nil, "run", "--once")
	for _, want := range []string{"topic prod_trades_raw: its tables", "those of topic Prod.Trades-raw", "topic orders-raw: its tables", "name it under sources as external"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if r.Code != 1 || t.Failed() {
		t.Errorf("it ended with %d:\n%s", r.Code, r.Stderr)
	}
	if got := ask(t, p, "select n from db.prod_trades"); got != "0" {
		t.Errorf("the first has %s", got)
	}
}
