package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"headwater/internal/setting"
)

// Config is how Kafka is reached and written to.
type Config struct {
	// Brokers are host:port of some brokers of the cluster; the others are found through them.
	Brokers []string `yaml:"brokers"`
	// SASL is how Headwater says who it is; without it, it does not.
	SASL *SASL `yaml:"sasl"`
	// TLS encrypts the connections; without it they are plain.
	TLS *TLS `yaml:"tls"`
	// InstanceID, if not empty, is the name of this process in the consumer groups that it joins (group.instance.id): one that comes back under its name
	// within the session timeout (15 s) has at once what it had. No two processes may have the same.
	InstanceID string `yaml:"instance_id"`
	// Rack is where this process is (client.rack): brokers that are set so let it read from the replica nearest to it.
	Rack string `yaml:"rack"`
	// Linger is how long a record waits for others to share its batch. Records also gather while the batch before theirs is on its
	// way, so 0 costs little under load.
	Linger time.Duration `yaml:"linger"`
	// BatchBytes is the size, before compression, at which a batch of one Kafka partition is full; a larger record goes alone. It
	// should stay under the topic's max.message.bytes.
	BatchBytes setting.Bytes `yaml:"batch_bytes"`
	// Compression of batches: gzip, zstd, lz4, snappy or none.
	Compression string `yaml:"compression"`
	// MaxRecordBytes is the size of the largest record, which topics must allow too (max.message.bytes).
	MaxRecordBytes setting.Bytes `yaml:"max_record_bytes"`
	// MaxBufferedRecords and MaxBufferedBytes bound what a source has on its way to Kafka; beyond, reading the source waits. One
	// record may always be on its way, whatever its size.
	MaxBufferedRecords int           `yaml:"max_buffered_records"`
	MaxBufferedBytes   setting.Bytes `yaml:"max_buffered_bytes"`
	// Kept says that records leave the broker by Trim alone, as from the embedded one. A topic that begins beyond its source's last
	// cursor then means that a cursor is lost, where elsewhere it may be the topic's retention.
	Kept bool `yaml:"-"`
	// Shared says that other processes may collect the same source into the broker: then each batch is a transaction, by which a process that
	// opens the source shuts out the one that had it. The embedded broker has one process and no transactions.
	Shared bool `yaml:"-"`
	// Dial, if it is not nil, connects in the place of TLS.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
	// TransactionalIDPrefix comes between "headwater." and a source's name in its transactional id. Tests set it, which share a broker.
	TransactionalIDPrefix string `yaml:"-"`
}

// SASL is a name and its proof.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string         `yaml:"mechanism"`
	Username  string         `yaml:"username"`
	Password  setting.Secret `yaml:"password"`
}

// TLS has files of PEM; each may be empty.
type TLS struct {
	// CA are the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
	// Cert and Key are the client's own certificate, for clusters that ask for one.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// DefaultConfig is a Config that lacks only Brokers.
func DefaultConfig() Config {
	return Config{
		BatchBytes:         1e6, // a broker's default max.message.bytes is 1048588
		Compression:        "gzip",
		MaxRecordBytes:     64 << 20,
		MaxBufferedRecords: 10_000,
		MaxBufferedBytes:   8 << 20,
	}
}

var (
	// gzip at its fastest level: it takes half the time of the default for batches that are a sixth longer, in topics that are kept for days.
	codecs = map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression().WithLevel(1), "zstd": kgo.ZstdCompression(), "lz4": kgo.Lz4Compression(),
		"snappy": kgo.SnappyCompression(), "none": kgo.NoCompression(),
	}
	mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
)

// maxRecord keeps every size of a request within the 31 bits the protocol has for it.
const maxRecord = 512 << 20

// Validate reports every fault. No brokers is none: the embedded broker is used then.
func (c *Config) Validate() (f setting.Faults) {
	for i, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			f.Add([]string{"brokers", fmt.Sprint(i)}, "must be host:port, got %q", b)
		}
	}
	if c.Linger < 0 || c.Linger > time.Minute {
		f.Add([]string{"linger"}, "must be from 0 to 1m, got %s", c.Linger)
	}
	if _, known := codecs[c.Compression]; !known {
		f.Add([]string{"compression"}, "must be gzip, zstd, lz4, snappy or none, got %q", c.Compression)
	}
	if c.MaxRecordBytes < 1<<10 || c.MaxRecordBytes > maxRecord {
		f.Add([]string{"max_record_bytes"}, "must be from 1KiB to 512MiB, got %s", c.MaxRecordBytes)
	}
	if c.BatchBytes < 1<<10 || c.BatchBytes > max(c.MaxRecordBytes, 1<<10) {
		f.Add([]string{"batch_bytes"}, "must be from 1KiB to max_record_bytes, got %s", c.BatchBytes)
	}
	if c.MaxBufferedRecords < 1 {
		f.Add([]string{"max_buffered_records"}, "must be positive, got %d", c.MaxBufferedRecords)
	}
	if c.MaxBufferedBytes < 1 {
		f.Add([]string{"max_buffered_bytes"}, "must be positive, got %s", c.MaxBufferedBytes)
	}
	c.validateAccess(&f)
	return f
}

func (c *Config) validateAccess(f *setting.Faults) {
	if s := c.SASL; s != nil {
		if !slices.Contains(mechanisms, s.Mechanism) {
			f.Add([]string{"sasl", "mechanism"}, "must be %s, got %q", strings.Join(mechanisms, " or "), s.Mechanism)
		}
		if s.Username == "" {
			f.Add([]string{"sasl", "username"}, "must not be empty")
		}
	}
	if t := c.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
		f.Add([]string{"tls"}, "cert and key go together: one of them is missing")
	}
}

// Group has a client be a member of a consumer group. One that dies without a word is missed for 15 s.
func (c *Config) Group(name string) []kgo.Opt {
	opts := []kgo.Opt{kgo.ConsumerGroup(name), kgo.SessionTimeout(15 * time.Second)}
	if c.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(c.InstanceID))
	}
	return opts
}

// NewClient makes a client with the options that all of Headwater's clients share; opts come after them and win. It does
// not connect. The caller closes it.
func NewClient(cfg Config, opts ...kgo.Opt) (*kgo.Client, error) {
	dial, err := cfg.dialer()
	if err != nil {
		return nil, err
	}
	record := int32(cfg.MaxRecordBytes) + 1<<20 // the value is not all there is to a record
	common := []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID("headwater"),
		kgo.Dialer(dial),
		kgo.DisableClientMetrics(),
		// A topic that was created just now is to be seen at once; the default makes the first run of a pipeline wait for 5 s, twice.
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(record),
		kgo.ProducerBatchCompression(codecs[cfg.Compression]),
		kgo.BrokerMaxWriteBytes(max(record+1<<20, 100<<20)),
		// A broker gives at least one batch, however large. Beyond that a fetch is kept small, because its records are unpacked.
		kgo.BrokerMaxReadBytes(max(record+1<<20, 100<<20)),
		kgo.FetchMaxBytes(min(record, 8<<20)),
		kgo.FetchMaxPartitionBytes(min(record, 1<<20)),
		kgo.MaxDecompressBatchBytes(4 * max(int(record), 64<<20)),
		// Invariant 2: an offset that is out of range is an error, not a silent jump.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}
	if cfg.SASL != nil {
		common = append(common, kgo.SASL(cfg.SASL.mechanism()))
	}
	if cfg.Rack != "" {
		common = append(common, kgo.Rack(cfg.Rack))
	}
	cl, err := kgo.NewClient(append(common, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("making a Kafka client for %s: %w", strings.Join(cfg.Brokers, ","), err)
	}
	return cl, nil
}

func (s *SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsSha512Mechanism()
	}
	return plain.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsMechanism()
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (c *Config) dialer() (dialFunc, error) {
	if c.Dial != nil {
		return c.Dial, nil
	}
	d := &net.Dialer{Timeout: 10 * time.Second}
	if c.TLS == nil {
		return d.DialContext, nil
	}
	conf, err := c.TLS.load()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext, nil
}

func (t *TLS) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading tls.ca: %s has no certificate in PEM", t.CA)
		}
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert and tls.key: %w", err)
		}
		conf.Certificates = []tls.Certificate{own}
	}
	return conf, nil
}

// Logged makes a client report its warnings and errors to log.
func Logged(log *slog.Logger) kgo.Opt { return kgo.WithLogger(clientLog{log}) }

type clientLog struct{ log *slog.Logger }

func (clientLog) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l clientLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	at := slog.LevelWarn
	if level == kgo.LogLevelError {
		at = slog.LevelError
	}
	l.log.Log(context.Background(), at, "kafka client: "+msg, keyvals...)
}
