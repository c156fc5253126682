package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/collect"
	"headwater/collect/file"
	"headwater/envelope"
	"headwater/kafka"
	"headwater/kafka/embedded"
	"headwater/lake"
	lakefile "headwater/lake/file"
	"headwater/land"
	"headwater/serialize"
	"headwater/table"
	"headwater/table/dir"
)

// task is what one child process does; which fields it needs is up to its role.
type task struct {
	Role string
	// Part is the line of the table, Role's if it is empty.
	Part string
	// Data names the data set, Records is how many records it has.
	Data    string
	Records int
	// In and Out are folders or files.
	In, Out string
	// Objects is how many of them are made; Rival is a folder with another's tables; Bytes is how many are compressed.
	Objects int
	Rival   string
	Bytes   int64
	// Full makes tables anew that are there, by the ledger that is there.
	Full bool
	// Broker is host:port, Topic what is written or read there; Addr is where a source is served.
	Broker, Topic, Addr string
	// Profile is where a CPU profile goes, empty for none.
	Profile string
}

// roles do a task and give the number of records that it brought to its end.
var roles = map[string]func(context.Context, task) (int64, error){
	"generate": doGenerate, "broker": doBroker, "collect": doCollect, "producer": doProducer, "land": doLand,
	"text": doText, "source": doSource, "gzip-go": doGzip, "serialize": doSerialize,
	"objects": doObjects, "compare": doCompare, "floor": doFloor, "values": doValues,
}

// child is the whole life of a child process: it prints the number of records.
func child(arg string) error {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	if t.Profile != "" {
		f, err := os.Create(t.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	n, err := roles[t.Role](context.Background(), t)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Role, err)
	}
	fmt.Println(n)
	return nil
}

func warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (t task) dataset() dataset {
	all := append(slices.Clone(datasets), shapes...)
	return all[slices.IndexFunc(all, func(d dataset) bool { return d.name == t.Data })]
}

func doGenerate(_ context.Context, t task) (int64, error) {
	if err := os.MkdirAll(t.Out, 0o750); err != nil {
		return 0, err
	}
	return int64(t.Records), generate(t.dataset(), t.Out, t.Records)
}

// doBroker serves until its standard input ends. It says where first.
func doBroker(_ context.Context, t task) (int64, error) {
	b, err := embedded.Open(embedded.Config{Dir: t.Out, Addr: "127.0.0.1:0"}, warnings())
	if err != nil {
		return 0, err
	}
	fmt.Println(b.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return 0, errors.Join(err, b.Close())
}

func (t task) kafka() kafka.Config {
	c := kafka.DefaultConfig()
	c.Brokers = []string{t.Broker}
	return c
}

func (t task) ensureTopic(ctx context.Context) error {
	cl, err := kafka.NewClient(t.kafka())
	if err != nil {
		return err
	}
	defer cl.Close()
	return kafka.EnsureTopics(ctx, cl, []kafka.TopicSpec{{Name: t.Topic, Partitions: parts}})
}

// runner runs a source over the task's topic.
func (t task) runner(name string, src collect.Source) *collect.Runner {
	log := warnings()
	return collect.New(collect.Options{
		Name: name, Source: src, Config: collect.DefaultConfig(), Logger: log, Quarantine: none{},
		Metadata: envelope.Metadata{HostName: "collector-1", ProcessStartTime: "2026-11-20T00:00:00Z"},
		Open: func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
			l, c, err := kafka.OpenSource(ctx, t.kafka(), name, t.Topic, log)
			if err != nil {
				return nil, c, err
			}
			return l, c, nil
		},
	})
}

func doCollect(ctx context.Context, t task) (int64, error) {
	if err := t.ensureTopic(ctx); err != nil {
		return 0, err
	}
	c := file.DefaultConfig()
	c.Path = filepath.Join(t.In, "*.ndjson")
	r := t.runner(t.Data, file.New(c, "", warnings()))
	err := r.Run(ctx, true)
	return r.Status().Records, err
}

// none is for records that are too large, of which there are none.
type none struct{}

func (none) Keep(context.Context, string, envelope.Position, string, []byte) error {
	return errors.New("a record went to quarantine")
}

// doProducer is the rival of collect: a program that has nothing to do but to send. Its input are the envelopes as they are in the
// objects; it wraps nothing, numbers nothing and keeps no cursor.
func doProducer(ctx context.Context, t task) (int64, error) {
	if err := t.ensureTopic(ctx); err != nil {
		return 0, err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.Broker), kgo.DefaultProduceTopic(t.Topic), kgo.ProducerBatchCompression(kgo.GzipCompression()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	f, err := os.Open(t.In)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sent atomic.Int64
	var failed atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
			return
		}
		sent.Add(1)
	}
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		value, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, err
		}
		cl.Produce(ctx, &kgo.Record{Value: value[:len(value)-1]}, done)
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return sent.Load(), nil
}

func doLand(ctx context.Context, t task) (int64, error) {
	store, err := lakefile.Open(filepath.Join(t.Out, "raw"))
	if err != nil {
		return 0, err
	}
	spool := filepath.Join(t.Out, "spool")
	if err := os.MkdirAll(spool, 0o750); err != nil {
		return 0, err
	}
	cl, err := kafka.NewClient(t.kafka())
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	l, err := land.New(land.Options{
		Config: land.DefaultConfig(), Kafka: t.kafka(), Declared: land.Declared{Topics: []string{t.Topic}}, Store: store,
		Quarantine: lake.Quarantine{Store: store}, Spool: spool, Logger: warnings(),
	})
	if err != nil {
		return 0, err
	}
	ends, err := kafka.EndOffsets(ctx, cl, t.Topic)
	if err != nil {
		return 0, err
	}
	if err := l.RunTo(ctx, ends); err != nil {
		return 0, err
	}
	n := int64(0)
	for _, committed := range l.Committed()[t.Topic] {
		n += committed
	}
	return n, store.Close()
}

// doText writes what the objects hold into one file.
func doText(_ context.Context, t task) (n int64, err error) {
	out, err := os.Create(t.Out)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	w := &counter{w: bufio.NewWriterSize(out, 1<<20)}
	objects, err := objectsIn(t.In)
	for _, path := range objects {
		err = errors.Join(err, unzip(w, path))
	}
	return w.lines, errors.Join(err, w.w.Flush(), out.Close())
}

func objectsIn(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".gz" {
			paths = append(paths, path)
		}
		return err
	})
	return paths, err
}

func unzip(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, z)
	return err
}

// counter counts lines.
type counter struct {
	w     *bufio.Writer
	lines int64
}

func (c *counter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			c.lines++
		}
	}
	return c.w.Write(p)
}

// doGzip is what land cannot do without, and no more: the same text, compressed into one file.
func doGzip(_ context.Context, t task) (int64, error) {
	in, err := os.Open(t.In)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(t.Out)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	z := gzip.NewWriter(out)
	_, err = io.Copy(struct{ io.Writer }{z}, bufio.NewReaderSize(in, 1<<20))
	return int64(t.Records), errors.Join(err, z.Close(), out.Close())
}

func doSerialize(ctx context.Context, t task) (int64, error) {
	raw, err := lakefile.Open(t.In)
	if err != nil {
		return 0, err
	}
	tables, err := lakefile.Open(filepath.Join(t.Out, "tables"))
	if err != nil {
		return 0, err
	}
	catalog, err := dir.Open(ctx, tables)
	if err != nil {
		return 0, err
	}
	temp := filepath.Join(t.Out, "tmp")
	if err := os.MkdirAll(temp, 0o750); err != nil {
		return 0, err
	}
	z := serialize.New(serialize.Options{
		Config: serialize.DefaultConfig(), Raw: raw, Tables: tables, Catalog: catalog, Quarantine: lake.Quarantine{Store: raw},
		TopicsDir: land.DefaultConfig().TopicsDir, Temp: temp, Logger: warnings(),
	})
	days, err := z.Days(ctx, t.Topic)
	if err != nil {
		return 0, err
	}
	n := int64(0)
	for _, day := range days {
		got, err := z.Run(ctx, serialize.Job{
			Source: t.Data, Topic: t.Topic, Day: day, Schema: serialize.DefaultConfig().Schema, Full: t.Full,
			Raw: table.Name{Database: "bench", Table: t.Data + "_raw"}, Flat: table.Name{Database: "bench", Table: t.Data},
		})
		if err != nil {
			return 0, err
		}
		n += got.Rows
	}
	return n, errors.Join(raw.Close(), tables.Close())
}
