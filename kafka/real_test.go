package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"headwater/envelope"
	"headwater/tests/interop/fixture"
)

// realBroker has the address of a broker that the tests are to use in place of the embedded one.
const realBroker = "HEADWATER_TEST_BROKER"

// emptied is the configuration of a broker that others share, whose topics are gone.
func emptied(t *testing.T, addr string) Config {
	t.Helper()
	cfg := configFor(addr)
	cfg.Shared = true
	cfg.TransactionalIDPrefix = t.Name() + "." // a transaction that another test has left is about topics that are gone
	adm := kadm.NewClient(newClient(t, cfg))
	topics, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := adm.DeleteTopics(t.Context(), topics.Names()...); err != nil {
		t.Fatal(err)
	}
	for left := topics; len(left) > 0; time.Sleep(10 * time.Millisecond) {
		if left, err = adm.ListTopics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

// TestApacheKafka runs what does not depend on a fault of the broker on Apache Kafka, where sources have transactions.
func TestApacheKafka(t *testing.T) {
	t.Setenv(realBroker, fixture.Kafka(t).Addr)
	for name, test := range map[string]func(*testing.T){
		"Cursor": TestCursor, "Backfill": TestBackfill, "NoTopic": TestNoTopic, "NotDense": TestNotDense, "TopicMadeAnew": TestTopicMadeAnew,
		"DeletedBehindSnapshot": TestDeletedBehindSnapshot, "FullBuffers": TestFullBuffers, "WrongRecords": TestWrongRecords,
		"LargestRecord": TestLargestRecord, "TrimCursors": TestTrimCursors, "LargeSnapshot": TestLargeSnapshot, "CommittedOffsets": TestCommittedOffsets, "Commits": TestCommits,
		"Fenced": testFenced, "Retention": testRetention, "Members": testMembers,
	} {
		t.Run(name, test)
	}
}

// testFenced: whoever opens a source shuts out the one that had it, whose records are there once or not at all and are all answered.
func testFenced(t *testing.T) {
	cfg := broker(t)
	ensure(t, newClient(t, cfg), "src_raw", 2)
	var logs []*SourceLog
	answered := map[int64]bool{} // sequence numbers that somebody was told are there
	for range 4 {
		l, cursor := open(t, cfg)
		logs = append(logs, l)
		next := int64(0)
		if s, found := cursor.Streams["a"]; found {
			next = s.Seq + 1
		}
		for seq := range next {
			delete(answered, seq)
		}
		if len(answered) > 0 {
			t.Fatalf("%v were acknowledged, and the cursor is at %d", answered, next)
		}
		w := newWriter(t, l, cursor)
		for i := range 200 {
			w.append(t.Context(), "a", 1, i)
		}
		w.mustSucceed()
		for seq := next; seq < next+200; seq++ {
			answered[seq] = true
		}
		// All that came before are shut out.
		for _, old := range logs[:len(logs)-1] {
			failed := make(chan error, 1)
			old.Append(t.Context(), envelope.Record{Partition: 1, Value: []byte("{}"), Time: time.Now(), Position: envelope.Position{Stream: "a", Seq: next + 200}},
				func(_ int64, err error) { failed <- err })
			if err := <-failed; !errors.Is(err, ErrFenced) {
				t.Errorf("a zombie was told %v", err)
			}
		}
	}
	_, cursor := open(t, cfg)
	if got := cursor.Streams["a"].Seq; got != 799 {
		t.Errorf("the cursor is at %d", got)
	}
}
