package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/tests/interop/fixture"
)

// sizes are those of the items, with the number of them at the largest scale.
var sizes = []struct {
	name          string
	bytes, number int
}{{"100 B", 100, 2_000_000}, {"1 KB", 1000, 600_000}, {"10 KB", 10_000, 60_000}}

// upstream is what a kind of source reads from.
type upstream struct {
	kind string
	// offer has the items there, or begins to send them, and gives the source's configuration. What it starts ends with the test. A source
	// that is served does so at addr.
	offer func(t *testing.T, items [][]byte, dir, addr string) (source string)
}

var upstreams = []upstream{
	{"file", offerFile},
	{"push", offerPush},
	{"websocket", offerWebSocket},
	{"rest", offerPages},
	{"sftp", offerSFTP},
	{"kafka", offerKafka},
	{"nats", offerNATS},
	{"redis", offerRedis},
	{"amqp", offerAMQP},
	{"mqtt", offerMQTT},
}

// TestSources prints how many records each kind of source brings into the embedded broker for a second of CPU time, beside a producer that
// has nothing else to do.
func TestSources(t *testing.T) {
	scale, known := scales[os.Getenv("HEADWATER_BENCH")]
	if !known {
		t.Skip("set HEADWATER_BENCH to small, medium or full: make bench SCALE=small")
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "items\tsource\trecords\tCPU s\trecords per CPU s\tof the producer of envelopes\tof the producer of items")
	for _, size := range sizes {
		l := measureSources(t, size.bytes, int(float64(size.number)*scale), upstreams)
		for _, u := range append([]upstream{{kind: producesItems}, {kind: producesEnvelopes}}, upstreams...) {
			used, ratio := l.least[u.kind], func(of string) float64 { return l.least[u.kind].perSecond() / l.least[of].perSecond() }
			fmt.Fprintf(w, "%s\t%s\t%d\t%.2f\t%.0f\t%.2f\t%.2f\n", size.name, u.kind, used.records, used.cpu.Seconds(), used.perSecond(), ratio(producesEnvelopes), ratio(producesItems))
		}
	}
	fmt.Printf("%s, %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestFewOfEachSource keeps the benchmark working where no server is needed: all items arrive.
func TestFewOfEachSource(t *testing.T) { measureSources(t, 100, 1500, upstreams[:4]) }

// The rivals: they send the items alone, or the envelopes that sources make of them.
const (
	producesItems     = "items by franz-go"
	producesEnvelopes = "envelopes by franz-go"
)

func measureSources(t *testing.T, size, number int, upstreams []upstream) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), data: dataset{name: "items"}, records: number, least: map[string]usage{}, profiles: os.Getenv("HEADWATER_BENCH_PROFILES")}
	items := makeItems(size, number)
	writeLines(t, l.path("items.ndjson"), items)
	meta := envelope.Metadata{HostName: "collector-1", ProcessStartTime: "2026-11-20T00:00:00Z", Source: "bench", Origin: "items.ndjson"}
	envelopes := make([][]byte, 0, number)
	for i, item := range items {
		meta.Position = strconv.Itoa(i)
		e, _ := envelope.Append(nil, envelope.Item{Kind: envelope.JSON, Data: item}, &meta, time.Now(), envelope.Limits{})
		envelopes = append(envelopes, e)
	}
	writeLines(t, l.path("envelopes.ndjson"), envelopes)
	l.withBroker(l.fresh("kafka"), task{Role: "producer", Part: producesItems, In: l.path("items.ndjson"), Topic: "bench_raw"})
	l.withBroker(l.fresh("kafka"), task{Role: "producer", Part: producesEnvelopes, In: l.path("envelopes.ndjson"), Topic: "bench_raw"})
	for _, u := range upstreams {
		t.Run(fmt.Sprint(u.kind, size), func(t *testing.T) {
			own := *l
			own.t = t
			addr := fixture.FreeAddr(t)
			source := u.offer(t, items, l.dir, addr)
			own.withBroker(l.fresh("kafka"), task{Role: "source", Part: u.kind, In: source, Addr: addr, Topic: "bench_raw"})
		})
	}
	return l
}

// makeItems are JSON objects of a length, half of whose bits are random.
func makeItems(size, number int) (items [][]byte) {
	random := rand.New(rand.NewPCG(7, 7))
	for n := range number {
		item := fmt.Appendf(nil, `{"n":%d,"at":"2026-11-20T10:00:00.%06dZ","pad":"`, n, n%1e6)
		for len(item) < size-2 {
			item = fmt.Appendf(item, "%016x", random.Uint64())
		}
		items = append(items, append(item[:size-2], `"}`...))
	}
	return items
}

func writeLines(t *testing.T, path string, lines [][]byte) {
	t.Helper()
	if err := os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openSource opens a source as a pipeline file has it, which is served by door.
func openSource(text string, door *http.ServeMux) (collect.Source, error) {
	p, err := config.Parse("bench.yml", "/", []byte("database: db\nsources: {bench: "+text+"}\n"), builtin.Sources())
	if err != nil {
		return nil, err
	}
	return p.Sources[0].Open(config.Env{Logger: warnings(), Handle: door.Handle})
}

// doSource runs a source until its topic has all records.
func doSource(ctx context.Context, t task) (int64, error) {
	if err := t.ensureTopic(ctx); err != nil {
		return 0, err
	}
	door := http.NewServeMux()
	src, err := openSource(t.In, door)
	if err != nil {
		return 0, err
	}
	server := &http.Server{Addr: t.Addr, Handler: door, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.ListenAndServe() }()
	defer server.Close()
	r := t.runner("bench", src)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	go func() {
		for ctx.Err() == nil && r.Status().Records < int64(t.Records) {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	err = r.Run(ctx, false)
	return r.Status().Records, err
}

func offerFile(_ *testing.T, _ [][]byte, dir, _ string) string {
	return fmt.Sprintf("{file: {path: %q}}", filepath.Join(dir, "items.ndjson"))
}

// offerPush posts bodies of 256 KiB.
func offerPush(t *testing.T, items [][]byte, _, addr string) string {
	sent := make(chan struct{})
	t.Cleanup(func() { <-sent })
	go func() {
		defer close(sent)
		for len(items) > 0 {
			n, size := 0, 0
			for n < len(items) && size < 256<<10 {
				size += len(items[n])
				n++
			}
			body := bytes.Join(items[:n], []byte("\n"))
			for until := time.Now().Add(time.Minute); !posted("http://"+addr+"/ingest/bench", body); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(until) || t.Context().Err() != nil {
					t.Error("nothing takes the items")
					return
				}
			}
			items = items[n:]
		}
	}()
	return "{push: {format: ndjson}}"
}

func posted(url string, body []byte) bool {
	resp, err := http.Post(url, "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

func offerWebSocket(t *testing.T, items [][]byte, _, _ string) string {
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		for _, item := range items {
			if conn.WriteMessage(websocket.TextMessage, item) != nil {
				return
			}
		}
		_, _, _ = conn.ReadMessage()
	})
	return fmt.Sprintf("{websocket: {url: %q}}", feed)
}

// offerPages gives pages of 1,000 items, one after another.
func offerPages(t *testing.T, items [][]byte, _, _ string) string {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		from = min(from, len(items))
		_, _ = fmt.Fprintf(w, `{"items":[%s]}`, bytes.Join(items[from:min(from+1000, len(items))], []byte(",")))
	}))
	t.Cleanup(api.Close)
	return fmt.Sprintf("{rest: {url: %q, records: '.items[]', paginate: {offset: {param: offset, limit_param: limit, limit: 1000}, reread: false}, every: 1h}}", api.URL)
}

func offerSFTP(t *testing.T, items [][]byte, _, _ string) string {
	server := fixture.NewSFTP(t)
	writeLines(t, filepath.Join(server.Dir, "items.ndjson"), items)
	return fmt.Sprintf("{sftp: {url: %q, private_key: %q, known_hosts: %q}}", "sftp://"+server.User+"@"+server.Addr+server.Dir+"/items.ndjson", "${file:"+server.Key+"}", server.KnownHosts)
}

func offerKafka(t *testing.T, items [][]byte, _, _ string) string {
	c := task{Broker: fixture.Kafka(t).Addr, Topic: "items"}
	err := c.ensureTopic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Broker), kgo.DefaultProduceTopic(c.Topic), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var sent kgo.FirstErrPromise
	for _, item := range items {
		cl.Produce(t.Context(), kgo.SliceRecord(item), sent.Promise())
	}
	if err := errors.Join(cl.Flush(t.Context()), sent.Err()); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{kafka: {brokers: [%q], topics: [%s]}}", c.Broker, c.Topic)
}

func offerNATS(t *testing.T, items [][]byte, _, _ string) string {
	server := fixture.NewNATS(t)
	conn, err := nats.Connect(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(1000))
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ITEMS", Subjects: []string{"items"}, Storage: jetstream.MemoryStorage})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if _, err := js.PublishAsync("items", item, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	return fmt.Sprintf("{nats: {url: %q, stream: ITEMS}}", "nats://"+server.Addr)
}

func offerRedis(t *testing.T, items [][]byte, _, _ string) string {
	server := fixture.NewRedis(t)
	cl := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer cl.Close()
	for len(items) > 0 {
		part := items[:min(1000, len(items))]
		items = items[len(part):]
		_, err := cl.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			for _, item := range part {
				p.XAdd(t.Context(), &redis.XAddArgs{Stream: "items", Values: []any{"data", item}})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("{redis: {url: %q, stream: items, field: data}}", "redis://"+server.Addr)
}

func offerAMQP(t *testing.T, items [][]byte, _, _ string) string {
	broker := fixture.NewRabbitMQ(t)
	conn, err := amqp.Dial("amqp://" + broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		_, err = ch.QueueDeclare("items", true, false, false, false, nil)
	}
	for _, item := range items {
		err = cmp.Or(err, ch.Publish("", "items", false, false, amqp.Publishing{Body: item}))
	}
	if err := errors.Join(err, ch.Close()); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{amqp: {url: %q, password: guest, queue: items, prefetch: 1000}}", "amqp://guest@"+broker.Addr)
}

func offerMQTT(t *testing.T, items [][]byte, _, _ string) string {
	broker := fixture.NewMosquitto(t)
	source := fmt.Sprintf("{mqtt: {url: %q, topics: [items], client_id: bench, prefetch: 1000}}", "mqtt://"+broker.Addr)
	src, err := openSource(source, http.NewServeMux())
	if err == nil {
		err = collecttest.Once(t, src, &collecttest.Log{}) // makes the session
	}
	if err != nil {
		t.Fatal(err)
	}
	sender := fixture.NewMQTTSender(t, broker.Addr)
	for _, item := range items {
		sender.Text(t, "items", string(item))
	}
	return source
}
