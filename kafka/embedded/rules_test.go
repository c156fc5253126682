package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/kafka"
)

func opened(t *testing.T, dir, addr string) *Broker {
	t.Helper()
	b, err := Open(Config{Dir: dir, Addr: addr}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func values(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("value %d", i))
	}
	return all
}

// fill produces each value as a batch of its own.
func fill(t *testing.T, cl *kgo.Client, topic string, all []string, at time.Time) {
	t.Helper()
	for _, v := range all {
		r := &kgo.Record{Topic: topic, Key: []byte("same key"), Value: []byte(v), Timestamp: at}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, addr, topic string, want int) (all []string) {
	t.Helper()
	for _, v := range readAll(t, t.Context(), addr, topic, int64(want)) {
		all = append(all, string(v))
	}
	return all
}

// TestNothingExpires is Invariant 2: old timestamps, equal keys and clients that ask for retention or compaction remove no record.
func TestNothingExpires(t *testing.T) {
	b := opened(t, t.TempDir(), "127.0.0.1:0")
	cl := client(t, b.Addr(), kgo.AllowAutoTopicCreation())
	adm := kadm.NewClient(cl)
	ctx := t.Context()
	policy, ms := "compact,delete", "1000"
	bad := map[string]*string{"cleanup.policy": &policy, "retention.ms": &ms, "retention.bytes": &ms, "segment.bytes": &ms}
	if _, err := adm.CreateTopic(ctx, 1, 3, bad, "created"); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"created", "auto"} {
		fill(t, cl, topic, values(20), time.UnixMilli(1000))
		fill(t, cl, topic, []string{"far ahead"}, time.Now().AddDate(7000, 0, 0))
	}
	alter := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: &policy}, {Op: kadm.SetConfig, Name: "retention.ms", Value: &ms}}
	if _, err := adm.AlterTopicConfigs(ctx, alter, "created", "auto"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.AlterTopicConfigsState(ctx, alter, "created", "auto"); err != nil {
		t.Fatal(err)
	}
	brokerWide := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "log.retention.ms", Value: &ms}}
	if _, err := adm.AlterBrokerConfigs(ctx, brokerWide, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.AlterBrokerConfigsState(ctx, []kadm.AlterConfig{{Name: "log.cleaner.backoff.ms", Value: &ms}}, 0); err != nil {
		t.Fatal(err)
	}
	b.cluster.ApplyRetention()
	b.cluster.Compact()
	for _, topic := range []string{"created", "auto"} {
		if d := cmp.Diff(append(values(20), "far ahead"), content(t, b.Addr(), topic, 21)); d != "" {
			t.Errorf("%s: %s", topic, d)
		}
	}
	described, err := adm.DescribeTopicConfigs(ctx, "created")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, c := range described[0].Configs {
		if _, asked := bad[c.Key]; asked {
			got[c.Key] = c.MaybeValue()
		}
	}
	if d := cmp.Diff(pinnedOfTopics, got); d != "" {
		t.Errorf("the topic's settings: %s", d)
	}
}

// TestTrimAndKill is Invariant 3: records that were trimmed come back after a kill, at most those of the oldest segment that is left,
// trimming again removes them, and offsets go on behind the last one ever given.
func TestTrimAndKill(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	cl := client(t, p.addr, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchMaxBytes(2<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	ctx := t.Context()
	big := strings.Repeat("x", 1<<20)
	for range 40 { // three segments
		fill(t, cl, "t", []string{big}, time.Now())
	}
	for round := range int64(3) {
		if err := kafka.Trim(ctx, cl, "t", map[int32]int64{0: 1 << 40}); err != nil {
			t.Fatal(err)
		}
		last := 39 + round
		if starts := must(kafka.StartOffsets(ctx, cl, "t"))(t); starts["t"][0] != last {
			t.Errorf("after trimming the log starts at %d, want %d", starts["t"][0], last)
		}
		p.kill()
		p = start(t, dir, p.addr)
		starts, ends := must(kafka.StartOffsets(ctx, cl, "t"))(t), must(kafka.EndOffsets(ctx, cl, "t"))(t)
		if s := starts["t"][0]; s < last-segmentBytes>>20-1 || s > last {
			t.Errorf("after the kill the log starts at %d, trimmed to %d", s, last)
		}
		if ends["t"][0] != last+1 {
			t.Errorf("after the kill the log ends at %d, want %d", ends["t"][0], last+1)
		}
		r := &kgo.Record{Topic: "t", Value: []byte("next")}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil || r.Offset != last+1 {
			t.Fatalf("the next record has offset %d, want %d (%v)", r.Offset, last+1, err)
		}
	}
}

func must[R any](answer R, err error) func(*testing.T) R {
	return func(t *testing.T) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

// batch is a produce request of one record with a sequence number.
func batch(topic string, id [16]byte, producer int64, sequence int32) *kmsg.ProduceRequest {
	record := kmsg.NewRecord()
	record.Value = fmt.Appendf(nil, "number %d", sequence)
	record.Length = int32(len(record.AppendTo(nil)) - 1)
	b := kmsg.NewRecordBatch()
	b.PartitionLeaderEpoch, b.Magic, b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.NumRecords = -1, 2, producer, 0, sequence, 1
	b.Records = record.AppendTo(nil)
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], table))
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 1000
	t, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, t.TopicID, part.Records = topic, id, b.AppendTo(nil)
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	return req
}

// TestSentAgain is Invariant 4: a batch whose answer was lost in a kill is not appended twice, and later ones are accepted, also when
// the broker was stopped properly some batches before.
func TestSentAgain(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	cl := client(t, p.addr, kgo.AllowAutoTopicCreation())
	fill(t, cl, "t", []string{"first"}, time.Now())
	producer, _, err := cl.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	send := func(sequence int32) (offset int64) {
		t.Helper()
		resp, err := cl.Broker(0).RetriableRequest(t.Context(), batch("t", topics["t"].ID, producer, sequence))
		if err != nil {
			t.Fatal(err)
		}
		part := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
			t.Fatalf("number %d: %v", sequence, err)
		}
		return part.BaseOffset
	}
	next := int32(1) // the client has used 0
	for round, stop := range []func(){nil, func() { p.stop(t) }, nil, nil, nil} {
		if stop == nil {
			stop = func() { p.kill() }
		}
		for range round + 1 {
			if offset := send(next); offset != int64(next) {
				t.Fatalf("number %d has offset %d", next, offset)
			}
			next++
		}
		stop()
		p = start(t, dir, p.addr)
		for back := int32(1); back <= min(next-1, 5); back++ {
			if offset := send(next - back); offset != int64(next-back) {
				t.Fatalf("round %d: number %d, sent again, has offset %d", round, next-back, offset)
			}
		}
	}
}

// TestTorn is that a batch which was half written when the process died is cut off, and that the log goes on there.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	cl := client(t, p.addr, kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	fill(t, cl, "t", values(3), time.Now())
	path := filepath.Join(dir, "partitions", "t-0", "0.dat")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := values(3)
	one := whole[:len(whole)/3]
	flipped := append([]byte{}, one...)
	flipped[len(flipped)-1] ^= 1
	for _, tail := range [][]byte{one[:5], one[:30], one[:70], flipped, make([]byte, 200)} {
		p.kill()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(tail); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		p = start(t, dir, p.addr)
		more := fmt.Sprintf("after %d torn bytes", len(tail))
		fill(t, cl, "t", []string{more}, time.Now())
		want = append(want, more)
		if d := cmp.Diff(want, content(t, p.addr, "t", len(want))); d != "" {
			t.Fatal(d)
		}
	}
}

// TestKept is what must be the same after a kill and after a stop: the cluster's id, topics with their ids and Kafka partitions,
// committed offsets, and the address at which clients find it all again.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	adm := kadm.NewClient(client(t, p.addr))
	ctx := t.Context()
	if _, err := adm.CreateTopic(ctx, 4, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	facts := func() (cluster string, id kadm.TopicID, partitions int, commits map[string]map[int32]int64) {
		t.Helper()
		m, err := adm.Metadata(ctx, "t")
		if err != nil {
			t.Fatal(err)
		}
		commits, err = kafka.CommittedOffsets(ctx, client(t, p.addr), "g")
		if err != nil {
			t.Fatal(err)
		}
		return m.Cluster, m.Topics["t"].ID, len(m.Topics["t"].Partitions), commits
	}
	cluster, id, _, _ := facts()
	if len(cluster) != 22 {
		t.Errorf("the cluster's id is %q", cluster)
	}
	for round, stop := range []func(){func() { p.kill() }, func() { p.kill() }, func() { p.stop(t) }, func() { p.kill() }} {
		var os kadm.Offsets
		os.AddOffset("t", 1, int64(round), -1)
		os.AddOffset("t", 3, int64(round*10), -1)
		if err := adm.CommitAllOffsets(ctx, "g", os); err != nil {
			t.Fatal(err)
		}
		stop()
		p = start(t, dir, p.addr)
		c, i, n, commits := facts()
		if c != cluster || i != id || n != 4 {
			t.Errorf("round %d: cluster %s, topic %s with %d Kafka partitions; before %s, %s, 4", round, c, i, n, cluster, id)
		}
		if d := cmp.Diff(map[string]map[int32]int64{"t": {1: int64(round), 3: int64(round * 10)}}, commits); d != "" {
			t.Errorf("round %d: %s", round, d)
		}
	}
}

func TestTransactionsRefused(t *testing.T) {
	b := opened(t, t.TempDir(), "127.0.0.1:0")
	cl := client(t, b.Addr(), kgo.TransactionalID("tx"), kgo.AllowAutoTopicCreation())
	for range 2 {
		if _, _, err := cl.ProducerID(t.Context()); !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
			t.Errorf("a transactional producer gets %v", err)
		}
	}
}

func TestAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Open(Config{Dir: t.TempDir(), Addr: l.Addr().String()}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()+" is taken") {
		t.Errorf("got %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	if f := good.Validate(); len(f) > 0 {
		t.Errorf("the defaults have faults: %v", f)
	}
	for addr, faults := range map[string]int{"127.0.0.1:0": 0, "localhost:9092": 0, "[::1]:9": 0, "9092": 1, ":9092": 1, "0.0.0.0:9092": 1, "[::]:1": 1} {
		c := Config{Dir: "x", Addr: addr}
		if f := c.Validate(); len(f) != faults {
			t.Errorf("%s: %v", addr, f)
		}
	}
}

// TestManyClients is that requests are still changed after the controls were renewed.
func TestManyClients(t *testing.T) {
	b := opened(t, t.TempDir(), "127.0.0.1:0")
	adm := kadm.NewClient(client(t, b.Addr()))
	for i := range 1005 {
		topic := fmt.Sprint("t", i%3)
		if _, err := adm.CreateTopic(t.Context(), 1, 3, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Fatalf("topic %d: %v", i, err)
		}
	}
	if _, err := adm.CreateTopic(t.Context(), 1, 3, nil, "last"); err != nil {
		t.Error(err)
	}
}

// TestKilledWhileStopping is Invariant 4 after a stop that was killed between its files: the snapshots are new, what the producers
// have sent is that of the stop before.
func TestKilledWhileStopping(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	cl := client(t, p.addr, kgo.AllowAutoTopicCreation())
	fill(t, cl, "t", []string{"first"}, time.Now())
	producer, _, err := cl.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topics, err := kadm.NewClient(cl).ListTopics(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	p.stop(t)
	windows := filepath.Join(dir, "seq_windows.json")
	old, err := os.ReadFile(windows)
	if err != nil {
		t.Fatal(err)
	}
	send := func() int64 {
		t.Helper()
		resp, err := cl.Broker(0).RetriableRequest(t.Context(), batch("t", topics["t"].ID, producer, 1))
		if err != nil {
			t.Fatal(err)
		}
		part := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
			t.Fatal(err)
		}
		return part.BaseOffset
	}
	p = start(t, dir, p.addr)
	if offset := send(); offset != 1 {
		t.Fatalf("the batch has offset %d, want 1", offset)
	}
	p.stop(t)
	if err := os.WriteFile(windows, old, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, dir, p.addr)
	if offset := send(); offset != 1 {
		t.Errorf("the batch, sent again, has offset %d, want 1", offset)
	}
}

// TestDamage is that what was acknowledged is never cut off: a flipped bit with records behind it stops the start, and the message's
// way out works.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct{ segment, at int }{
		"value in an old segment":       {0, 5 << 20},
		"value in the last segment":     {1, 2 << 20},
		"length in an old segment":      {0, 8},
		"end of an old segment missing": {0, -1},
		"a batch written twice":         {1, -2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := opened(t, dir, "127.0.0.1:0")
			cl := client(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchMaxBytes(2<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
			for range 20 { // two segments
				fill(t, cl, "t", []string{strings.Repeat("x", 1<<20)}, time.Now())
			}
			_ = b.Close()
			files, err := filepath.Glob(filepath.Join(dir, "partitions", "t-0", "*.dat"))
			if err != nil || len(files) != 2 {
				t.Fatalf("segments %q, %v", files, err)
			}
			path := files[c.segment]
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			switch c.at {
			case -1:
				data = data[:len(data)-10]
			case -2:
				data = append(data, data[:12+binary.BigEndian.Uint32(data[8:])]...)
			default:
				data[c.at] ^= 1
			}
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			again, err := Open(Config{Dir: dir, Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
			if err == nil {
				_ = again.Close()
			}
			if err == nil || !strings.Contains(err.Error(), path+" of topic t, partition 0, is damaged at byte ") {
				t.Errorf("Open = %v, want an error that names the segment", err)
			}
			if after, err := os.ReadFile(path); err != nil || len(after) != len(data) {
				t.Errorf("the segment had %d bytes and has %d (%v)", len(data), len(after), err)
			}
			var cut int64
			if _, err := fmt.Sscanf(err.Error()[strings.LastIndex(err.Error(), "--size="):], "--size=%d", &cut); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, cut); err != nil {
				t.Fatal(err)
			}
			b = opened(t, dir, "127.0.0.1:0")
			cl = client(t, b.Addr())
			fill(t, cl, "t", []string{"next"}, time.Now())
			want := int64(21)
			if c.segment == 1 && c.at >= 0 {
				want = 18 // the end of the log is what was given up
			}
			if ends := must(kafka.EndOffsets(t.Context(), cl, "t"))(t); ends["t"][0] != want {
				t.Errorf("the log ends at %d, want %d", ends["t"][0], want)
			}
		})
	}
}
