// Package embedded is the Kafka broker that is used when none are named: one broker in this process, over the real protocol, with
// its log in a folder. It is franz-go's kfake under rules that keep it honest; docs/decisions/20261123-embedded-broker.md has
// the reasons, and a test pins each of them.
//
// What enters: Kafka's protocol on one address. What leaves: the same records, for as long as nobody deletes them.
//
// Invariants:
//  1. A record that was acknowledged is on disk: it is there after kill -9 and, as far as fsync tells the truth, after a power cut.
//  2. Nothing but DeleteRecords and the deletion of its topic removes a record: no retention, no compaction, whatever a client asks for.
//  3. An offset is never given to two records, so long as DeleteRecords leaves the last record of a Kafka partition (kafka.Trim does).
//  4. A producer that sends a batch again after a crash gets the first one's offset: the sequence numbers are read back
//     from the log.
//
// With a Door, a request is taken only of somebody who has proved a name, and done only if they may (door.go, acl.go, scram.go). Without one everybody may everything,
// and the caller sees to it that the address is this machine's alone.
//
// Transactions are refused. One process at a time may use a folder; the caller holds the lock on it.
//
// Goroutines: kfake's own, from Open to Close.
package embedded

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/setting"
	"headwater/internal/trust"
)

// Config is where the broker keeps its log and listens.
type Config struct {
	// Dir is made if it does not exist.
	Dir string `yaml:"dir"`
	// Addr is host:port with the host by which clients reach the broker, which tells it to them; port 0 picks a free one. A client
	// that outlives the broker finds it again only at the same address.
	Addr string `yaml:"addr"`
	// Door, if there is one, asks everybody who they are; the process itself says so, too, by Broker.Dial and as access.Itself with Door.Own.
	Door *Door `yaml:"-"`
	// Certificate, with a Door, has the connections encrypted.
	Certificate *tls.Certificate `yaml:"-"`
}

// DefaultConfig listens where clients look for a broker first.
func DefaultConfig() Config {
	return Config{Dir: "headwater-data/kafka", Addr: "127.0.0.1:9092"}
}

// Validate reports every fault.
func (c *Config) Validate() (f setting.Faults) {
	if c.Dir == "" {
		f.Add([]string{"dir"}, "must name a folder")
	}
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		f.Add([]string{"addr"}, "must be host:port, got %q", c.Addr)
	} else if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		f.Add([]string{"addr"}, "must have a host that clients can connect to, as 127.0.0.1, got %q", c.Addr)
	}
	return f
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	addr    string // by which clients reach it
	at      string // where it listens
	leaf    []byte // of its certificate; nil if it has none
}

const (
	segmentBytes = 16 << 20
	// messageBytes lets a record of 64 MiB through, with what a batch adds to it.
	messageBytes = 66 << 20
)

// pinned are the settings of the broker that a client cannot change, by the names brokers have for them.
var pinned = map[string]string{
	// Retention would delete fresh records that lie before one with an old timestamp.
	"log.retention.ms":    "-1",
	"log.retention.bytes": "-1",
	// Trimmed records come back after a kill up to a segment, so segments are small.
	"log.segment.bytes": strconv.Itoa(segmentBytes),
	"message.max.bytes": strconv.Itoa(messageBytes),
	// A group that pauses for a week must find its offsets.
	"offsets.retention.minutes": "2147483647",
}

// pinnedOfTopics are those of every topic.
var pinnedOfTopics = map[string]string{
	"cleanup.policy":  "delete",
	"retention.ms":    "-1",
	"retention.bytes": "-1",
	"segment.bytes":   strconv.Itoa(segmentBytes),
}

// Open starts the broker on what its folder holds. It listens when it returns. The caller closes it.
func Open(cfg Config, log *slog.Logger) (*Broker, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the embedded Kafka: %w", err)
	}
	if err := restore(cfg.Dir, log); err != nil {
		return nil, fmt.Errorf("reading the log of the embedded Kafka in %s: %w", cfg.Dir, err)
	}
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("opening the embedded Kafka: %s is taken by another process: stop it or set listen.kafka to another port: %w", cfg.Addr, err)
		}
		return nil, fmt.Errorf("opening the embedded Kafka: %w", err)
	}
	b := &Broker{at: listener.Addr().String()}
	var guard []kfake.Opt
	if cfg.Door != nil {
		if err := writeRules(cfg.Dir); err != nil {
			return nil, errors.Join(fmt.Errorf("writing who may what at the embedded Kafka: %w", err), listener.Close())
		}
		listener = b.guard(cfg, listener)
		guard = append(guard, kfake.EnableACLs())
	}
	b.addr = listener.Addr().String()
	cluster, err := kfake.NewCluster(append(guard,
		kfake.NumBrokers(1),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listener, nil }),
		kfake.DataDir(cfg.Dir),
		kfake.SyncWrites(),
		kfake.ClusterID(newID()), // the folder's own wins
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(pinned),
		kfake.BrokerConfigs(map[string]string{"group.consumer.heartbeat.interval.ms": "500"}),
		kfake.GroupMinSessionTimeout(time.Second),
		kfake.WithLogger(brokerLog{log}),
	)...)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("opening the embedded Kafka on %s: %w", cfg.Dir, err)
	}
	b.cluster = cluster
	b.control(log)
	return b, nil
}

// guard puts the door before the listener.
func (b *Broker) guard(cfg Config, l net.Listener) net.Listener {
	host, _, _ := net.SplitHostPort(cfg.Addr)
	g := &guarded{Listener: l, host: host, door: newDoorkeeper(*cfg.Door)}
	if cfg.Certificate != nil {
		g.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cfg.Certificate}}
		b.leaf = cfg.Certificate.Certificate[0]
	}
	return g
}

// Dial connects the process to its own broker, whatever address it is asked for: the name by which others reach the broker may lead elsewhere from here. An
// encrypted connection is to the very certificate that the broker has.
func (b *Broker) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if b.leaf == nil {
		return d.DialContext(ctx, network, b.at)
	}
	return (&tls.Dialer{NetDialer: d, Config: trust.Only(b.leaf)}).DialContext(ctx, network, b.at)
}

func newID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return base64.RawURLEncoding.EncodeToString(id)
}

// Addr is where the broker listens, with the port that was picked.
func (b *Broker) Addr() string { return b.addr }

// Close stops the broker; what was acknowledged is in its folder. Closing twice does nothing.
func (b *Broker) Close() error {
	b.cluster.Close()
	return nil
}

// control changes requests on their way in, so that one configuration serves a laptop and a cluster: what this broker
// cannot or must not do is left out of them.
func (b *Broker) control(log *slog.Logger) {
	b.on(kmsg.Metadata, func(r kmsg.Request) kmsg.Response {
		b.createMissing(r.(*kmsg.MetadataRequest), log)
		return nil
	})
	b.on(kmsg.CreateTopics, func(r kmsg.Request) kmsg.Response {
		for i := range r.(*kmsg.CreateTopicsRequest).Topics {
			pinTopic(&r.(*kmsg.CreateTopicsRequest).Topics[i])
		}
		return nil
	})
	b.on(kmsg.AlterConfigs, func(r kmsg.Request) kmsg.Response {
		for i := range r.(*kmsg.AlterConfigsRequest).Resources {
			pinAll(&r.(*kmsg.AlterConfigsRequest).Resources[i])
		}
		return nil
	})
	b.on(kmsg.IncrementalAlterConfigs, func(r kmsg.Request) kmsg.Response {
		for i := range r.(*kmsg.IncrementalAlterConfigsRequest).Resources {
			pinSome(&r.(*kmsg.IncrementalAlterConfigsRequest).Resources[i])
		}
		return nil
	})
	b.on(kmsg.InitProducerID, func(r kmsg.Request) kmsg.Response {
		return refuseTransactions(r.(*kmsg.InitProducerIDRequest), log)
	})
}

// on calls f for every request of a key; the response that it returns, if any, is the answer.
func (b *Broker) on(key kmsg.Key, f func(kmsg.Request) kmsg.Response) {
	calls := 0
	b.cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		// kfake remembers every connection that a control has seen, for as long as it has the control.
		if calls++; calls == 1000 {
			b.cluster.DropControl()
			b.on(key, f)
		}
		resp := f(r)
		return resp, nil, resp != nil
	})
}

// createMissing makes the topics that a client asks to have made. kfake would make them too, but writes them to disk only when it
// is closed: after a kill their records would be gone.
func (b *Broker) createMissing(req *kmsg.MetadataRequest, log *slog.Logger) {
	if !req.AllowAutoTopicCreation {
		return
	}
	for _, t := range req.Topics {
		if t.Topic == nil || b.cluster.TopicInfo(*t.Topic) != nil {
			continue
		}
		if err := b.cluster.CreateTopic(*t.Topic, 1, pinnedOfTopics); err != nil {
			log.Warn("the embedded Kafka could not create a topic that a client asked for", "topic", *t.Topic, "error", err)
		}
	}
}

func refuseTransactions(req *kmsg.InitProducerIDRequest, log *slog.Logger) kmsg.Response {
	if req.TransactionalID == nil {
		return nil
	}
	log.Warn("the embedded Kafka refused a transactional producer: it has no transactions, use one that is only idempotent", "transactional_id", *req.TransactionalID)
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
	return resp
}

func pinTopic(t *kmsg.CreateTopicsRequestTopic) {
	t.Configs = slices.DeleteFunc(t.Configs, func(c kmsg.CreateTopicsRequestTopicConfig) bool { return isPinned(c.Name) })
	for name, value := range pinnedOfTopics {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		t.Configs = append(t.Configs, c)
	}
	if len(t.ReplicaAssignment) == 0 {
		t.ReplicationFactor = -1
	}
}

func pinSome(res *kmsg.IncrementalAlterConfigsRequestResource) {
	res.Configs = slices.DeleteFunc(res.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) bool { return isPinned(c.Name) })
}

// pinAll works on a request that replaces all settings of a resource: those that it leaves out would be kfake's
// defaults again.
func pinAll(res *kmsg.AlterConfigsRequestResource) {
	res.Configs = slices.DeleteFunc(res.Configs, func(c kmsg.AlterConfigsRequestResourceConfig) bool { return isPinned(c.Name) })
	all := map[string]string{}
	switch res.ResourceType {
	case kmsg.ConfigResourceTypeBroker:
		all = pinned
	case kmsg.ConfigResourceTypeTopic:
		all = pinnedOfTopics
	}
	for name, value := range all {
		c := kmsg.NewAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, &value
		res.Configs = append(res.Configs, c)
	}
}

func isPinned(name string) bool {
	_, ofBroker := pinned[name]
	_, ofTopic := pinnedOfTopics[name]
	return ofBroker || ofTopic || name == "offset.retention.ms"
}

type brokerLog struct{ log *slog.Logger }

// Logf drops what is not at least a warning: kfake tells of every request below that.
func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	at := slog.LevelWarn
	switch level {
	case kfake.LogLevelError:
		at = slog.LevelError
	case kfake.LogLevelWarn:
	default:
		return
	}
	l.log.Log(context.Background(), at, "embedded kafka: "+fmt.Sprintf(format, args...))
}
