package land

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/retry"
	"headwater/kafka"
)

// withLetters has dead letters go to the topic dlq.
func withLetters(o *Options) {
	o.Config.DeadLetterTopic, o.Config.DeadLetterReplication = "dlq", 1
	o.clientOptions = append(o.clientOptions, kgo.MetadataMinAge(20*time.Millisecond))
}

// letters are the records of the topic dlq, one line each: key, value, time in Kafka, headers.
func (r *rig) letters() (all []string) {
	r.t.Helper()
	ends, err := kafka.EndOffsets(context.Background(), r.cl, "dlq")
	if err != nil {
		r.t.Fatal(err)
	}
	for p, end := range ends["dlq"] {
		cl, err := kafka.NewClient(r.config, append(r.dial, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"dlq": {p: kgo.NewOffset().AtStart()}}))...)
		if err != nil {
			r.t.Fatal(err)
		}
		defer cl.Close()
		for read := int64(0); read < end; {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			fetches := cl.PollFetches(ctx)
			cancel()
			if err := fetches.Err(); err != nil {
				r.t.Fatal(err)
			}
			fetches.EachRecord(func(record *kgo.Record) {
				read = record.Offset + 1
				var line strings.Builder
				fmt.Fprintf(&line, "%s %s %d", quoted(record.Key), quoted(record.Value), record.Timestamp.UnixMilli())
				for _, h := range record.Headers {
					line.WriteString(" " + h.Key + "=" + quoted(h.Value))
				}
				all = append(all, line.String())
			})
		}
	}
	return all
}

func quoted(data []byte) string {
	if data == nil {
		return "null"
	}
	return fmt.Sprintf("%q", data)
}

// inQuarantine is how many records are there.
func (r *rig) inQuarantine() (n int) {
	r.t.Helper()
	for _, err := range r.store.List(context.Background(), "_quarantine/", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		n++
	}
	return n
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	for _, headers := range []bool{false, true} {
		r := newRig(t, 3, "a_raw")
		began := time.Now().UnixMilli()
		own := []kgo.RecordHeader{{Key: "h", Value: []byte("\xff")}, {Key: "__connect.errors.topic", Value: []byte("earlier")}, {Key: "none"}}
		r.produceRecords("a_raw", 2, []*kgo.Record{
			{Key: []byte("k\xff"), Value: []byte("{"), Headers: own, Timestamp: time.UnixMilli(1751700000001)},
			{Value: []byte(at("good", "2026-07-05T10:00:00"))},
			{Key: []byte("k"), Timestamp: time.UnixMilli(1751700000002)},
			{Key: []byte{}, Value: []byte(`{"a":1}`), Timestamp: time.UnixMilli(noTimestamp)},
		})
		l := r.land(func(o *Options) { withLetters(o); o.Config.DeadLetterHeaders, o.Group = headers, "mine" })
		got := r.letters()
		var now int64
		if _, err := fmt.Sscanf(got[len(got)-1], `"" "{\"a\":1}" %d`, &now); err != nil || now < began {
			t.Errorf("a record without a time has %d, %v: %s", now, err, got)
		}
		want := []string{
			`"k\xff" "{" 1751700000001 h="\xff" __connect.errors.topic="earlier" none=null`,
			`"k" null 1751700000002`,
			fmt.Sprintf(`"" "{\"a\":1}" %d`, now),
		}
		if headers {
			const (
				from  = ` __connect.errors.topic="a_raw" __connect.errors.partition="2" __connect.errors.offset="%d" __connect.errors.connector.name="mine" __connect.errors.task.id="0"`
				stage = ` __connect.errors.stage="%s" __connect.errors.class.name="%s" __connect.errors.exception.class.name="org.apache.kafka.connect.errors.DataException" __connect.errors.exception.message="%s"`
				task  = "org.apache.kafka.connect.sink.SinkTask"
			)
			want[0] += fmt.Sprintf(from+stage, 0, "VALUE_CONVERTER", "org.apache.kafka.connect.json.JsonConverter", "no JSON: unexpected-end")
			want[1] += fmt.Sprintf(from+stage, 2, "TASK_PUT", task, "null value")
			want[2] += fmt.Sprintf(from+stage, 3, "TASK_PUT", task, "no time: field ingestion_timestamp is missing")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with headers %v:\n%s", headers, diff)
		}
		s := l.statusOf(topicPartition{"a_raw", 2})
		if r.inQuarantine() != 3 || s.Quarantined != 3 || s.NoDeadLetter != 0 || s.Committed != 4 || s.Records != 1 {
			t.Errorf("%d are in quarantine, %+v", r.inQuarantine(), s)
		}
		topics, err := r.admin().ListTopics(t.Context(), "dlq")
		if err != nil || len(topics["dlq"].Partitions) != 1 {
			t.Errorf("%v, %v", topics, err)
		}
	}
}

// TestDeadLettersAgain: what was sent and is not committed is sent again, and is in quarantine once.
func TestDeadLettersAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, "{", "}")
	l := r.lander(func(o *Options) { withLetters(o); o.Config.FlushOnStop = false })
	stop := r.start(l)
	eventually(t, "both are sent", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Quarantined == 2 })
	if got := len(r.letters()); got != 2 || r.committed("a_raw", 0) != 0 {
		t.Fatalf("%d dead letters, committed %d", got, r.committed("a_raw", 0))
	}
	stop()
	for range 2 { // what is committed is not
		r.land(withLetters)
		if got := len(r.letters()); got != 4 || r.inQuarantine() != 2 || r.committed("a_raw", 0) != 2 {
			t.Errorf("%d dead letters, %d in quarantine, committed %d", got, r.inQuarantine(), r.committed("a_raw", 0))
		}
	}
}

// TestDeadLettersOfOneProcess: a Kafka partition that is begun again after errors has its dead letters sent once.
func TestDeadLettersOfOneProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	l := r.lander(func(o *Options) { withLetters(o); o.Config.FlushSize = 2 })
	defer r.start(l)()
	eventually(t, "landing has begun", func() bool { return len(l.Status().Partitions) > 0 })
	if err := os.Remove(l.opts.Spool); err != nil {
		t.Fatal(err)
	}
	good := at("good", "2026-07-05T10:00:00")
	r.produce("a_raw", 0, "{", good, good)
	eventually(t, "it is read three times", func() bool { return l.statusOf(topicPartition{"a_raw", 0}).Quarantined >= 3 })
	if err := os.Mkdir(l.opts.Spool, 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it lands", func() bool { return r.committed("a_raw", 0) == 3 })
	if got := r.letters(); len(got) != 1 {
		t.Errorf("dead letters: %q", got)
	}
}

// TestDeadLetterRefused: an error is shown and tried again until it passes, and nothing is committed before.
func TestDeadLetterRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2, "a_raw")
	r.produce("a_raw", 0, "{")
	r.produce("a_raw", 1, at("good", "2026-07-05T10:00:00"))
	var refused atomic.Int64
	refused.Store(2)
	r.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if refused.Add(-1) < 0 {
			return nil, nil, false
		}
		return answerProduce(req, kerr.TopicAuthorizationFailed), nil, true
	})
	l := r.lander(func(o *Options) { withLetters(o); o.Config.FlushSize = 1 })
	defer r.start(l)()
	tp := topicPartition{"a_raw", 0}
	eventually(t, "it is said", func() bool {
		return strings.Contains(l.statusOf(tp).LastError, "topic dlq: TOPIC_AUTHORIZATION_FAILED")
	})
	eventually(t, "it is sent", func() bool { return r.committed("a_raw", 0) == 1 && r.committed("a_raw", 1) == 1 })
	if got := len(r.letters()); got != 1 || r.inQuarantine() != 1 || refused.Load() >= 0 {
		t.Errorf("%d dead letters, %d in quarantine, %d refusals left", got, r.inQuarantine(), refused.Load())
	}
}

// answerProduce refuses everything that a request has.
func answerProduce(req kmsg.Request, with *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.(*kmsg.ProduceRequest).Topics {
		answer := kmsg.NewProduceResponseTopic()
		answer.Topic, answer.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, with.Code
			answer.Partitions = append(answer.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// TestDeadLetterTooLarge: a record that the topic does not take is in quarantine alone; those that it takes one by one are not refused
// for coming together.
func TestDeadLetterTooLarge(t *testing.T) {
	t.Parallel()
	const partitions = 8
	r := newRig(t, partitions, "a_raw")
	limit := "2000"
	if _, err := r.admin().CreateTopic(t.Context(), 3, 1, map[string]*string{"max.message.bytes": &limit}, "dlq"); err != nil {
		t.Fatal(err)
	}
	noise := func(n int) []byte {
		var b bytes.Buffer
		for b.Len() < n {
			b.WriteByte(byte(rand.Uint32()))
		}
		return b.Bytes()
	}
	for p := range int32(partitions) {
		var records []*kgo.Record
		for range 5 {
			records = append(records, &kgo.Record{Key: []byte("one"), Value: noise(1500)})
		}
		r.produceRecords("a_raw", p, append(records, &kgo.Record{Value: noise(3000)}))
	}
	l := r.land(withLetters)
	if got := len(r.letters()); got != partitions*5 || r.inQuarantine() != partitions*6 {
		t.Errorf("%d dead letters, %d in quarantine", got, r.inQuarantine())
	}
	for _, s := range l.Status().Partitions {
		if s.NoDeadLetter != 1 || s.Quarantined != 6 || s.Committed != 6 {
			t.Errorf("%+v", s)
		}
	}
	for err, want := range map[error]bool{
		fmt.Errorf("a: %w", kerr.MessageTooLarge): true, kerr.InvalidTimestamp: true, kerr.InvalidRecord: true, kerr.NotEnoughReplicas: false, errors.New("a"): false, nil: false,
	} {
		if refusesRecord(err) != want {
			t.Errorf("%v is of the record: %v", err, !want)
		}
	}
}

// TestDeadLetterFewBrokers: a topic that cannot be made so is waited for, and what to do is said.
func TestDeadLetterFewBrokers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, "{")
	l := r.lander(func(o *Options) { withLetters(o); o.Config.DeadLetterReplication = 3; o.Config.FlushSize = 1 })
	defer r.start(l)()
	eventually(t, "it is said", func() bool {
		return strings.Contains(l.statusOf(topicPartition{"a_raw", 0}).LastError, "fewer brokers than errors.deadletterqueue.topic.replication.factor, 3")
	})
	if _, err := r.admin().CreateTopic(t.Context(), 1, 1, nil, "dlq"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is sent", func() bool { return r.committed("a_raw", 0) == 1 })
	if got := len(r.letters()); got != 1 {
		t.Errorf("%d dead letters", got)
	}
}

// TestDeadLetterTopicDeleted: it is made again.
func TestDeadLetterTopicDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw")
	l := r.lander(func(o *Options) { withLetters(o); o.Config.FlushSize = 1 })
	defer r.start(l)()
	r.produce("a_raw", 0, "{")
	eventually(t, "it is sent", func() bool { return r.committed("a_raw", 0) == 1 })
	if _, err := r.admin().DeleteTopic(t.Context(), "dlq"); err != nil {
		t.Fatal(err)
	}
	r.produce("a_raw", 0, "}")
	eventually(t, "the next is sent", func() bool { return r.committed("a_raw", 0) == 2 })
	if got := r.letters(); len(got) != 1 || !strings.Contains(got[0], `"}"`) {
		t.Errorf("dead letters: %q", got)
	}
}

// TestDeadLetterSilentBroker: a broker that does not answer is told of, and does not hold a stop.
func TestDeadLetterSilentBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, &kfake.VirtualNetwork{}, 1, "a_raw")
		r.produce("a_raw", 0, "{")
		r.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			return nil, errors.New("cut"), true
		})
		l := r.lander(withLetters)
		stop := r.start(l)
		eventually(t, "it is said", func() bool {
			return strings.Contains(l.statusOf(topicPartition{"a_raw", 0}).LastError, "sending a dead letter to topic dlq")
		})
		began := time.Now()
		stop()
		if took := time.Since(began); took > sendTime+leaveTime+drainTime || r.committed("a_raw", 0) != 0 || r.inQuarantine() != 1 {
			t.Errorf("stopped in %s, committed %d, %d in quarantine", took, r.committed("a_raw", 0), r.inQuarantine())
		}
	})
}

// TestDeadLetterTopicLands: neither at the start nor later can the topic of dead letters be landed.
func TestDeadLetterTopicLands(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "a_raw", "dlq")
	o := Options{Config: DefaultConfig(), Store: r.store, Declared: Declared{Topics: []string{"b", "dlq"}}}
	withLetters(&o)
	if _, err := New(o); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), deadLetterTopic) {
		t.Errorf("a source names it: %v", err)
	}
	r.produce("a_raw", 0, "{")
	l := r.lander(func(o *Options) { withLetters(o); o.Config.FlushSize = 1 })
	defer r.start(l)()
	eventually(t, "it is sent", func() bool { return r.committed("a_raw", 0) == 1 })
	l.Declare(Declared{Topics: []string{"dlq"}})
	eventually(t, "it stops", func() bool {
		s := l.statusOf(topicPartition{"dlq", 0})
		return s.Stopped && strings.Contains(s.LastError, deadLetterTopic)
	})
	r.produce("a_raw", 0, "}")
	eventually(t, "the others go on", func() bool { return r.committed("a_raw", 0) == 2 })
	if got := len(r.letters()); got != 2 || r.inQuarantine() != 2 {
		t.Errorf("%d dead letters, %d in quarantine", got, r.inQuarantine())
	}
}
