package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestLandingKilled has two processes land topics of an Apache Kafka into a bucket whose store refuses, forgets and loses answers, while they are killed
// at random moments and within commits, stopped until the other has taken over, or given another configuration, and the broker is killed too. Each
// offset of each Kafka partition is then in one object or in quarantine, once.
func TestLandingKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 12, 3)
	bin := binary.Build(t)
	for n, store := range []struct {
		name string
		open func(testing.TB) fixture.S3
	}{{"versitygw", fixture.NewS3}, {"MinIO", fixture.NewMinIO}} {
		if os.Getenv("HEADWATER_KILLS") == "" && int(seed/2)%2 != n {
			continue // one of them
		}
		t.Run(store.name, func(t *testing.T) { landKilled(t, bin, store.open(t), kills, seed) })
	}
}

func landKilled(t *testing.T, bin string, store fixture.S3, kills int, seed uint64) {
	t.Helper()
	w := newLanding(t, bin, store, seed)
	w.survive(t, kills)
	w.verify(t)
	for _, what := range []string{"killed", "killed at a point", "zombies", "brokers", "layouts"} {
		if w.counts[what] == 0 {
			t.Errorf("nothing was met of: %s", what)
		}
	}
}

// TestSameInstance: of two processes with one name the later has it, and the other ends and says so.
func TestSameInstance(t *testing.T) {
	t.Parallel()
	w := newLanding(t, binary.Build(t), fixture.NewS3(t), 1)
	w.instance = "same"
	w.configure(t, layouts[0])
	w.start(t, "a")
	binary.Eventually(t, "the first process landing", func() bool { at, _ := w.landed(t); return len(at) > 0 })
	w.start(t, "b")
	if r := w.procs["a"].Wait(t, 3*time.Minute); r.Code == 0 || !strings.Contains(r.Stderr, "another process has come with the same kafka.instance_id") {
		t.Errorf("the first process ended with %d: %s", r.Code, r.Stderr)
	}
	delete(w.procs, "a")
	w.verify(t)
}

// landing is a Kafka with records, a bucket, and the processes that land the one in the other.
type landing struct {
	binary.Pipeline
	random *rand.Rand
	broker *fixture.Broker
	store  fixture.S3
	proxy  *faulty
	raw    string // the bucket's URL, through the proxy
	// instance is the name of the processes in their group, each one's own by default.
	instance string
	// timeless are the records in objects that have no time, by "topic partition offset".
	timeless map[string]bool
	// unfit counts what is in quarantine.
	unfit  map[string]int
	procs  map[string]*binary.Process
	made   *records
	counts map[string]int
}

var landTopics = map[string]int32{"orders_raw": 3, "trades_raw": 1}

// layouts are configurations that put the same record into different folders, or make other objects of the same records.
var layouts = []string{
	`{flush.size: 40, rotate.schedule.interval.ms: 700}`,
	`{flush.size: 15, rotate.schedule.interval.ms: 400, s3.compression.level: 1}`,
	`{flush.size: 60, rotate.schedule.interval.ms: 900, topics.dir: other}`,
	`{flush.size: 25, rotate.schedule.interval.ms: 500, path.format: "'day'=YYYYMMdd", filename.offset.zero.pad.width: 3}`,
	`{flush.size: 30, rotate.schedule.interval.ms: 600, partitioner.class: FieldPartitioner, partition.field.name: [raw_data.k]}`,
	`{flush.size: 50, rotate.schedule.interval.ms: 500, partitioner.class: DefaultPartitioner}`,
}

func newLanding(t *testing.T, bin string, store fixture.S3, seed uint64) *landing {
	t.Helper()
	w := &landing{
		instance: "${OWN}", timeless: map[string]bool{}, unfit: map[string]int{},
		random: rand.New(rand.NewPCG(seed, 0)), broker: fixture.Kafka(t), store: store, procs: map[string]*binary.Process{}, counts: map[string]int{},
	}
	var endpoint string
	w.proxy, endpoint = newFaulty(t, store, rand.New(rand.NewPCG(seed, 1)))
	w.raw = strings.Replace(store.Bucket(t, "landed"), store.Endpoint, endpoint, 1)
	w.Pipeline = binary.New(t, bin, "")
	w.configure(t, layouts[0])
	w.made = produce(t, w.broker.Addr, rand.New(rand.NewPCG(seed, 2)))
	return w
}

func (w *landing) configure(t *testing.T, land string) {
	t.Helper()
	w.Write(t, "pipeline.yaml", fmt.Appendf(nil, "database: db\ndata_dir: ${OWN}\nkafka: {brokers: [%q], instance_id: %q}\nlake: {raw: %q, tables: tables}\nlisten: {http: \"127.0.0.1:0\"}\nsources: {}\nserialize: {engine: none}\nland: %s\n",
		w.broker.Addr, w.instance, w.raw, land))
}

func (w *landing) start(t *testing.T, name string, env ...string) {
	t.Helper()
	w.procs[name] = w.Start(t, slices.Concat(fixture.S3Env, []string{"OWN=" + name}, env), "land")
}

func (w *landing) kill(t *testing.T, name string) {
	t.Helper()
	w.alive(t, name)
	w.procs[name].Kill(t)
	w.counts["killed"]++
}

// alive fails if a process has ended by itself.
func (w *landing) alive(t *testing.T, name string) {
	t.Helper()
	if w.procs[name].Ended() {
		t.Fatalf("%s has ended: %s", name, w.procs[name].Stderr())
	}
}

// survive has the two processes meet so many kills and what else may happen.
func (w *landing) survive(t *testing.T, kills int) {
	t.Helper()
	names := []string{"a", "b"}
	for _, name := range names {
		w.start(t, name)
	}
	points := []string{"land.after-spool", "land.before-put", "land.after-put", "land.after-put:2", "land.before-commit", "land.after-commit"}
	for round := 0; w.counts["killed"] < kills; round++ {
		time.Sleep(time.Duration(w.random.IntN(1500)) * time.Millisecond)
		name := names[w.random.IntN(2)]
		switch drawn := w.random.IntN(20); {
		case round == 3 || round > 3 && round%60 == 0:
			w.outlive(t, name)
		case round == 6 || round > 6 && round%40 == 0:
			for name := range w.procs { // a process that finds no broker at its start ends
				binary.Eventually(t, "a start", func() bool { w.alive(t, name); return strings.Contains(w.procs[name].Stderr(), "answering HTTP") })
			}
			time.Sleep(time.Second)
			w.broker.Kill()
			w.broker.Start()
			w.counts["brokers"]++
		case round == 9 || drawn == 0: // all processes have the same layout at any time
			for _, name := range names {
				w.kill(t, name)
			}
			w.configure(t, layouts[w.random.IntN(len(layouts))])
			for _, name := range names {
				w.start(t, name)
			}
			w.counts["layouts"]++
		case drawn < 8: // it dies within a rotation
			w.kill(t, name)
			w.start(t, name, "HEADWATER_CRASH="+points[w.random.IntN(len(points))])
			for end := time.Now().Add(5 * time.Second); !w.procs[name].Ended() && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			if w.procs[name].Ended() {
				w.counts["killed at a point"]++
				w.counts["killed"]++
			} else {
				w.kill(t, name)
			}
			w.start(t, name)
		case drawn < 10:
			for _, name := range names {
				w.kill(t, name)
			}
			for _, name := range names {
				w.start(t, name)
			}
		default:
			w.kill(t, name)
			w.start(t, name)
		}
	}
}

// outlive stops a process for longer than its session, so that the other one has all Kafka partitions, and wakes it.
func (w *landing) outlive(t *testing.T, name string) {
	t.Helper()
	w.alive(t, name)
	if err := w.procs[name].Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(17 * time.Second)
	if err := w.procs[name].Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.counts["zombies"]++
}

// verify waits until everything is committed, and counts it.
func (w *landing) verify(t *testing.T) {
	t.Helper()
	w.made.stop(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	committed := func() (behind []string) {
		offsets, err := kadm.NewClient(client).FetchOffsets(t.Context(), "headwater-land")
		if err != nil {
			return []string{err.Error()}
		}
		for topic, partitions := range landTopics {
			for p := range partitions {
				if o, _ := offsets.Lookup(topic, p); o.At != w.made.next[topic][p] {
					behind = append(behind, fmt.Sprintf("%s %d: %d of %d", topic, p, o.At, w.made.next[topic][p]))
				}
			}
		}
		return behind
	}
	binary.EventuallyOr(t, "all records being committed", func() bool { return len(committed()) == 0 }, func() string {
		var said strings.Builder
		said.WriteString(fmt.Sprintln(committed()))
		for name, proc := range w.procs {
			said.WriteString(name + ": " + proc.Goroutines() + "\n")
		}
		return said.String()
	})
	for name, proc := range w.procs {
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
			t.Errorf("%s ended with %d: %s", name, r.Code, r.Stderr)
		}
	}
	landed, records := w.landed(t)
	for at := range w.unfit {
		if landed[at] == 0 || w.timeless[at] && w.counts["layouts"] > 0 { // it may be landed by another configuration before this is committed
			landed[at] = max(landed[at], w.unfit[at])
		} else {
			t.Errorf("%s is in quarantine too", at)
		}
	}
	bad := 0
	for topic, partitions := range landTopics {
		for p := range partitions {
			for n := range w.made.next[topic][p] {
				at := fmt.Sprintf("%s %d %d", topic, p, n)
				if landed[at] != 1 {
					if bad++; bad < 20 {
						t.Errorf("%s is there %d times", at, landed[at])
					}
				}
				delete(landed, at)
			}
		}
	}
	if len(landed) > 0 {
		t.Errorf("%d were never produced", len(landed))
	}
	t.Logf("%d records survived; %v; %d requests refused, %d answers lost, %d requests lost, %d conflicts", records, w.counts, w.proxy.met[0].Load(), w.proxy.met[1].Load(), w.proxy.met[2].Load(), w.proxy.met[3].Load())
}

// landed counts what is in the bucket's objects, by "topic partition offset", and all records. It is read with nothing of headwater's.
func (w *landing) landed(t *testing.T) (at map[string]int, records int) {
	t.Helper()
	at = map[string]int{}
	clear(w.unfit)
	client := s3.New(s3.Options{
		BaseEndpoint: &w.store.Endpoint, UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("root", "rootsecret123", ""),
	})
	bucket, _, _ := strings.Cut(strings.TrimPrefix(w.raw, "s3://"), "?")
	for pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &bucket}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			if !strings.HasSuffix(aws.ToString(o.Key), ".json.gz") {
				continue
			}
			for line := range bytes.Lines(unzipped(t, client, bucket, *o.Key)) {
				records++
				var e struct {
					RawData *struct {
						Topic     string
						Partition int32
						N         int64
					} `json:"raw_data"`
					Time   int64 `json:"ingestion_timestamp"`
					Record struct {
						Topic     string
						Partition int32
						Offset    int64
					}
				}
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatalf("%s: %v in %s", *o.Key, err, line)
				}
				if e.RawData != nil {
					name := fmt.Sprintf("%s %d %d", e.RawData.Topic, e.RawData.Partition, e.RawData.N)
					at[name]++
					w.timeless[name] = e.Time == 0
				} else {
					w.unfit[fmt.Sprintf("%s %d %d", e.Record.Topic, e.Record.Partition, e.Record.Offset)]++
				}
			}
		}
	}
	return at, records
}

func unzipped(t *testing.T, client *s3.Client, bucket, key string) []byte {
	t.Helper()
	o, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Body.Close()
	z, err := gzip.NewReader(o.Body)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return text
}

// records are what a producer makes until it is stopped: the n-th of a Kafka partition says so, and has the offset n.
type records struct {
	next   map[string]map[int32]int64
	cancel context.CancelFunc
	ended  sync.WaitGroup
	failed error
}

// produce makes topics and records of two days in turn, of which some cannot be landed.
func produce(t *testing.T, broker string, random *rand.Rand) *records {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		t.Fatal(err)
	}
	m := &records{next: map[string]map[int32]int64{}}
	for topic, partitions := range landTopics {
		m.next[topic] = map[int32]int64{}
		if _, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	m.cancel = cancel
	t.Cleanup(cancel)
	m.ended.Go(func() {
		defer client.Close()
		topics := []string{"orders_raw", "trades_raw"}
		for ctx.Err() == nil {
			topic := topics[random.IntN(2)]
			p := random.Int32N(landTopics[topic])
			r := &kgo.Record{Topic: topic, Partition: p, Value: value(topic, p, m.next[topic][p], random)}
			m.next[topic][p]++
			client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
				if err != nil {
					m.failed = err // callbacks come one after the other
				}
			})
			time.Sleep(2 * time.Millisecond)
		}
		if err := client.Flush(context.WithoutCancel(ctx)); err != nil {
			m.failed = err
		}
	})
	return m
}

func value(topic string, p int32, n int64, random *rand.Rand) []byte {
	at := "ingestion_timestamp"
	switch random.IntN(60) {
	case 0:
		return nil
	case 1:
		return []byte(`{"raw_data":`)
	case 2:
		at = "none" // it has no folder of time
	}
	day := time.Date(2026, 7, 5+random.IntN(2), 23, 59, 0, 0, time.UTC).UnixMilli()
	return fmt.Appendf(nil, `{"raw_data":{"topic":%q,"partition":%d,"n":%d,"k":%d},"metadata":{},%q:%d}`, topic, p, n, random.IntN(3), at, day)
}

func (m *records) stop(t *testing.T) {
	t.Helper()
	m.cancel()
	m.ended.Wait()
	if m.failed != nil {
		t.Fatal(m.failed)
	}
}
