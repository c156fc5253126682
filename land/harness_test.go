package land

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/kafka"
	"headwater/lake"
	"headwater/lake/mem"
)

// rig is a broker, a store and what was produced: what survives when a Lander is dropped.
type rig struct {
	t      testing.TB
	config kafka.Config
	store  *mem.Store
	cl     *kgo.Client
	made   map[string]map[int32]int64 // end offsets

	cluster *kfake.Cluster
	refuse  atomic.Int64 // how many commits the broker still refuses
	dial    []kgo.Opt
}

func newRig(t testing.TB, partitions int32, topics ...string) *rig {
	t.Helper()
	return newRigOn(t, nil, partitions, topics...)
}

// newRigOn has the network, inside a synctest bubble, in the place of the machine's; nil for that.
func newRigOn(t testing.TB, network *kfake.VirtualNetwork, partitions int32, topics ...string) *rig {
	t.Helper()
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}
	var dial []kgo.Opt
	if network != nil {
		opts = append(opts, kfake.ListenFn(network.Listen), kfake.Ports(9092))
		dial = append(dial, kgo.Dialer(network.DialContext))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	r := &rig{t: t, cluster: cluster, config: kafka.DefaultConfig(), store: mem.New(), made: map[string]map[int32]int64{}, dial: dial}
	r.config.Brokers = cluster.ListenAddrs()
	r.connect()
	for _, topic := range topics {
		r.made[topic] = map[int32]int64{}
		for p := range partitions {
			r.made[topic][p] = 0
		}
	}
	return r
}

func (r *rig) connect() {
	r.t.Helper()
	cl, err := kafka.NewClient(r.config, append(r.dial, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	r.cl = cl
}

// produce appends values in their order.
func (r *rig) produce(topic string, partition int32, values ...string) {
	r.t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		record := &kgo.Record{Value: []byte(v), Timestamp: time.UnixMilli(1751700000000)}
		if v == "" {
			record.Value = nil
		}
		records = append(records, record)
	}
	r.produceRecords(topic, partition, records)
}

func (r *rig) produceRecords(topic string, partition int32, records []*kgo.Record) {
	r.t.Helper()
	for _, record := range records {
		record.Topic, record.Partition = topic, partition
	}
	if err := r.cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
	if r.made[topic] == nil {
		r.made[topic] = map[int32]int64{}
	}
	r.made[topic][partition] += int64(len(records))
}

// at is a record whose text names it.
func at(id string, clock string) string {
	t, err := time.Parse("2006-01-02T15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"raw_data":%q,"ingestion_timestamp":%d}`, id, t.UnixMilli())
}

func (r *rig) lander(change func(*Options)) *Lander {
	r.t.Helper()
	o := Options{
		Config: DefaultConfig(), Kafka: r.config, Store: r.store, Quarantine: lake.Quarantine{Store: r.store, Dir: r.t.TempDir()},
		Spool: r.t.TempDir(), Logger: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	o.Config.RotateScheduleIntervalMs = -1 // a test that runs across a multiple of five minutes would see one object more
	o.clientOptions = slices.Clone(r.dial)
	if r.dial == nil { // in virtual time waiting costs nothing, and asking does
		o.clientOptions = append(o.clientOptions, kgo.MetadataMaxAge(500*time.Millisecond))
	}
	if change != nil {
		change(&o)
	}
	l, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// land runs a Lander over everything that was produced.
func (r *rig) land(change func(*Options)) *Lander {
	r.t.Helper()
	l := r.lander(change)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := l.RunTo(ctx, r.made); err != nil {
		r.t.Fatal(err)
	}
	return l
}

// object is what a raw object holds.
type object struct {
	tail  lake.Tail
	lines []string
}

func (r *rig) objects(prefix string) map[string]object {
	r.t.Helper()
	all := map[string]object{}
	for o, err := range r.store.List(context.Background(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		body, _, err := r.store.Get(context.Background(), o.Key, 0, -1)
		if err != nil {
			r.t.Fatal(err)
		}
		packed, err := io.ReadAll(body)
		if err != nil {
			r.t.Fatal(err)
		}
		tail, found, err := lake.ParseTail(packed)
		if err != nil || !found {
			r.t.Fatalf("%s has no tail: %v", o.Key, err)
		}
		all[o.Key] = object{tail, lines(r.t, packed)}
	}
	return all
}

func lines(t testing.TB, packed []byte) (all []string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(zip)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSuffix(line, "\n"))
	}
}

// files are the objects' keys without the part they share, with the ids of their records.
func (r *rig) files() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for key, o := range r.objects("topics/") {
		var ids []string
		for _, line := range o.lines {
			var v struct {
				Data string `json:"raw_data"`
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				r.t.Fatalf("%s: %v", line, err)
			}
			ids = append(ids, v.Data)
		}
		all[strings.TrimSuffix(strings.TrimPrefix(key, "topics/"), ".json.gz")] = strings.Join(ids, " ")
	}
	return all
}

// exactlyOnce checks that every record produced is in one object or in quarantine, once, and that the tails are true.
// Records have their topic, Kafka partition and offset as raw_data.
func (r *rig) exactlyOnce() {
	r.t.Helper()
	seen := map[string]int{}
	for key, o := range r.objects("topics/") {
		name, err := lake.ParseRawKey(key)
		if err != nil {
			r.t.Fatal(err)
		}
		if int64(len(o.lines)) != o.tail.Count || o.tail.First != name.Offset {
			r.t.Errorf("%s has %d lines, its tail says %+v", key, len(o.lines), o.tail)
		}
		inRuns := int64(0)
		for _, run := range o.tail.Runs {
			inRuns += run.Last - run.First + 1
		}
		if inRuns > 0 && inRuns != o.tail.Count {
			r.t.Errorf("%s claims records that it does not hold: %+v", key, o.tail)
		}
		for _, line := range o.lines {
			var v struct {
				Data string `json:"raw_data"`
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				r.t.Fatal(err)
			}
			seen[v.Data]++
			var offset int64
			if _, err := fmt.Sscanf(v.Data[strings.LastIndex(v.Data, "+")+1:], "%d", &offset); err != nil || !o.tail.Has(offset) {
				r.t.Errorf("%s holds %s, its tail says %+v", key, v.Data, o.tail)
			}
		}
	}
	total := 0
	for topic, partitions := range r.made {
		for p, end := range partitions {
			total += int(end)
			for offset := range end {
				if id := lake.LandID(topic, p, offset); seen[id] != 1 {
					r.t.Errorf("record %s is landed %d times", id, seen[id])
				}
			}
		}
	}
	if len(seen) != total {
		r.t.Errorf("%d records are landed, %d were produced", len(seen), total)
	}
}

// produceMany appends n records that name themselves, whose times jump between two days.
func (r *rig) produceMany(topic string, partition int32, n int) {
	r.t.Helper()
	var values []string
	for i := range n {
		offset := r.made[topic][partition] + int64(i)
		values = append(values, at(lake.LandID(topic, partition, offset), clockOf(offset)))
	}
	r.produce(topic, partition, values...)
}

// clockOf is the time of a record of produceMany.
func clockOf(offset int64) string {
	if offset%7 > 4 {
		return "2026-07-06T00:00:01"
	}
	return "2026-07-05T23:59:00"
}

func (r *rig) committed(topic string, partition int32) int64 {
	r.t.Helper()
	all, err := kafka.CommittedOffsets(context.Background(), r.cl, DefaultGroup)
	if err != nil {
		r.t.Fatal(err)
	}
	if offset, found := all[topic][partition]; found {
		return offset
	}
	return -1
}

func (r *rig) admin() *kadm.Client { return kadm.NewClient(r.cl) }

// refuseCommits makes the broker refuse n commits, with an error that the client leaves to its user.
func (r *rig) refuseCommits(n int64) {
	r.refuse.Store(n)
	r.cluster.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if r.refuse.Load() == 0 {
			return nil, nil, false
		}
		r.refuse.Add(-1)
		commit := req.(*kmsg.OffsetCommitRequest)
		resp := commit.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range commit.Topics {
			answer := kmsg.NewOffsetCommitResponseTopic()
			answer.Topic, answer.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				partition := kmsg.NewOffsetCommitResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, kerr.RebalanceInProgress.Code
				answer.Partitions = append(answer.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
}

func (r *rig) refusals() int64 { return r.refuse.Load() }

// setOffset commits as a person would with Kafka's tools: without a note.
func (r *rig) setOffset(topic string, partition int32, offset int64) {
	r.t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, offset, -1)
	if err := r.admin().CommitAllOffsets(context.Background(), DefaultGroup, offsets); err != nil {
		r.t.Fatal(err)
	}
}

// eventually waits for something that another goroutine brings about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

func keys(m map[string]string) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }
