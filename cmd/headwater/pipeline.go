package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/kafka"
	"headwater/kafka/embedded"
	"headwater/lake"
	"headwater/serialize"
	"headwater/table"
	"headwater/table/adopted"
	"headwater/table/dir"
)

// load reads the pipeline file with everything the binary can do.
func load(path string) (*config.Pipeline, error) {
	cfg, err := config.Load(path, builtin.Sources())
	return cfg, unreadable(err)
}

// unreadable makes a pipeline file that cannot be read a fault of the command line.
func unreadable(err error) error {
	if _, faulty := errors.AsType[config.Faults](err); err == nil || faulty {
		return err
	}
	return usageError{err.Error()}
}

// parsePipeline reads the flags of a command whose one operand is a pipeline file, and the file.
func parsePipeline(fs *flag.FlagSet, args []string) (*config.Pipeline, error) {
	operands, err := parse(fs, args, "FILE")
	if err != nil {
		return nil, err
	}
	return load(operands[0])
}

// layers are the lake of a pipeline and what is made of it; any process may open them.
type layers struct {
	raw, tables builtin.Store
	adopted     adopted.Registry // tables, as it knows where tables lie that another job made
	catalog     *dir.Catalog
	cache       *cache // of files of tables, if these are elsewhere
	// bestEffort names the layers whose stores do not keep to conditions.
	bestEffort []string
}

// openLayers opens the layers for a process that writes them: the raw one and, if it makes tables, both.
func openLayers(ctx context.Context, cfg *config.Pipeline, both bool, log *slog.Logger) (layers, error) {
	var l layers
	var err error
	if l.raw, err = builtin.OpenStore(ctx, cfg.Lake.Raw); err != nil {
		return l, fmt.Errorf("opening lake.raw: %w", err)
	}
	if both {
		if l.tables, err = builtin.OpenStore(ctx, cfg.Lake.Tables); err != nil {
			return l, errors.Join(fmt.Errorf("opening lake.tables: %w", err), l.close())
		}
	}
	if err := l.trust(ctx, cfg.Lake.ExactlyOnce == config.BestEffort, log); err != nil {
		return l, errors.Join(err, l.close())
	}
	if !both {
		return l, nil
	}
	if err := l.findAdopted(ctx); err != nil {
		return l, errors.Join(err, l.close())
	}
	if l.catalog, err = dir.Open(ctx, l.tables); err != nil {
		return l, errors.Join(err, l.close())
	}
	return l, nil
}

// openTables opens only the tables, for those who read: they may have no right to the raw layer, and make no folder.
func openTables(ctx context.Context, cfg *config.Pipeline) (layers, error) {
	l := layers{cache: &cache{dir: filepath.Join(cfg.DataDir, "cache"), limit: int64(cfg.Query.Cache)}}
	var err error
	if !builtin.Remote(cfg.Lake.Tables) {
		_, err = os.Stat(cfg.Lake.Tables)
	}
	if err == nil {
		l.tables, err = builtin.OpenStore(ctx, cfg.Lake.Tables)
	}
	if err != nil {
		return l, fmt.Errorf("opening lake.tables: %w", err)
	}
	if err := l.findAdopted(ctx); err != nil {
		return l, errors.Join(err, l.close())
	}
	l.cache.store = l.tables
	if l.catalog, err = dir.Open(ctx, l.tables); err != nil {
		return l, errors.Join(err, l.close())
	}
	return l, nil
}

// findAdopted has the tables that another job made under the names that all tables have.
func (l *layers) findAdopted(ctx context.Context) (err error) {
	if l.adopted, err = adopted.Open(ctx, l.tables); err == nil {
		l.tables = l.adopted
	}
	return err
}

func (l layers) close() error {
	var errs []error
	for _, s := range []builtin.Store{l.raw, l.tables} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// trust refuses stores that would let two writers overwrite each other, unless that is what the file wants.
func (l *layers) trust(ctx context.Context, bestEffort bool, log *slog.Logger) error {
	for _, layer := range []struct {
		name  string
		store builtin.Store
	}{{"lake.raw", l.raw}, {"lake.tables", l.tables}} {
		if layer.store == nil {
			continue
		}
		trusted, err := builtin.Trust(ctx, layer.store, bestEffort)
		if err != nil {
			return fmt.Errorf("%s: %w", layer.name, err)
		}
		if !trusted {
			l.bestEffort = append(l.bestEffort, layer.name)
			log.Warn("the store does not keep to the conditions of writes, and exactly_once is best_effort: two processes that write to it can overwrite each other's objects, losing or doubling records; run one alone", "layer", layer.name)
		}
	}
	return nil
}

// sweep removes what killed writers have left behind.
func (l layers) sweep(ctx context.Context, log *slog.Logger) error {
	for _, s := range []builtin.Store{l.raw, l.tables} {
		if s == nil {
			continue
		}
		n, err := s.Sweep(ctx)
		if err != nil {
			return fmt.Errorf("sweeping what was begun and not finished: %w", err)
		}
		if n > 0 {
			log.Info("removed objects that a killed process had begun", "objects", n)
		}
	}
	return nil
}

// serializer makes tables, and registers them, with temporary files in the data folder, which the caller has locked.
func (l layers) serializer(cfg *config.Pipeline, home *state.Dir, catalog table.Catalog, log *slog.Logger) (*serialize.Serializer, error) {
	temp, err := home.Temp("serialize")
	if err != nil {
		return nil, err
	}
	onSpark, err := builtin.OnSpark(cfg.Lake.Raw, cfg.Lake.Tables)
	if err != nil {
		return nil, err
	}
	onSpark.Place = l.adopted.Place
	return serialize.New(serialize.Options{
		Config: cfg.Serialize, Spark: onSpark, Raw: l.raw, Tables: l.tables, Catalog: catalog, Quarantine: lake.Quarantine{Store: l.raw},
		TopicsDir: cfg.Land.TopicsDir, Location: cfg.Location, Temp: temp, Logger: log,
	}), nil
}

// broker is where the pipeline's topics are: the one that the file names or, without one, our own.
type broker struct {
	config   kafka.Config
	client   *kgo.Client
	embedded *embedded.Broker
}

func openBroker(cfg *config.Pipeline, home *state.Dir, door *embedded.Door, cert *tls.Certificate, log *slog.Logger) (b *broker, err error) {
	b = &broker{config: cfg.Kafka}
	if len(cfg.Kafka.Brokers) == 0 {
		b.embedded, err = listenKafka(cfg.Listen.Kafka, embedded.Config{Dir: home.Path("kafka"), Door: door, Certificate: cert}, log)
		if err != nil {
			return nil, err
		}
		b.config.Dial, b.config.SASL, b.config.TLS = b.embedded.Dial, nil, nil
		if door != nil {
			b.config.SASL = asItself(door.Own.Reveal())
		}
		b.config.Brokers, b.config.Kept = []string{b.embedded.Addr()}, true
		log.Info("serving Kafka", "address", b.embedded.Addr())
	}
	b.config.Shared = b.embedded == nil
	if b.client, err = kafka.NewClient(b.config); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// listenKafka serves at the address; a default that is taken moves to a free port.
func listenKafka(a config.Address, cfg embedded.Config, log *slog.Logger) (*embedded.Broker, error) {
	cfg.Addr = a.Addr
	b, err := embedded.Open(cfg, log)
	if err != nil && !a.Written && errors.Is(err, syscall.EADDRINUSE) {
		cfg.Addr = freePort(a.Addr)
		b, err = embedded.Open(cfg, log)
	}
	if err != nil {
		return nil, fmt.Errorf("serving Kafka at %s (listen.kafka): %w", a.Addr, err)
	}
	return b, nil
}

// listenHTTP is the same for the HTTP door.
func listenHTTP(ctx context.Context, a config.Address) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.Addr)
	if err != nil && !a.Written {
		l, err = lc.Listen(ctx, "tcp", freePort(a.Addr))
	}
	if err != nil {
		return nil, fmt.Errorf("listening at %s (listen.http): %w", a.Addr, err)
	}
	return l, nil
}

func freePort(addr string) string {
	host, _, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, "0")
}

func (b *broker) close() error {
	if b.client != nil {
		b.client.Close()
	}
	if b.embedded != nil {
		return b.embedded.Close()
	}
	return nil
}

// quarantine gives collect the lake's.
type quarantine struct {
	lake.Quarantine
	streams string // goes before the names of streams
}

// Keep implements collect.Quarantine. The day is that of the first try: a process killed before midnight, whose item is read
// again after it, must not keep the item twice.
func (q quarantine) Keep(ctx context.Context, source string, at envelope.Position, reason string, data []byte) error {
	const stage = "collect"
	stream := q.streams + at.Stream
	id := lake.CollectID(stream, cmp.Or(at.Key, strconv.FormatInt(at.Seq, 10)), data)
	now := time.Now().UTC()
	yesterday := lake.QuarantineKey(stage, source, now.AddDate(0, 0, -1).Format(time.DateOnly), id)
	if _, err := q.Store.Stat(ctx, yesterday); !errors.Is(err, lake.ErrNotExist) {
		return err
	}
	return q.Create(ctx, stage, source, now.Format(time.DateOnly), id, lake.Entries(lake.Entry{
		Reason: reason, Stream: &lake.StreamPosition{Stream: stream, Seq: at.Seq}, Data: data,
	}))
}
