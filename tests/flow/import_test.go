package flow

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// connector is the configuration of a sink that has landed a part of a topic on a broker of others.
const connector = `{"name":"clicks-s3","config":{"connector.class":"io.confluent.connect.s3.S3SinkConnector","topics":"clicks",
"value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false",
"s3.bucket.name":"lake","s3.compression.type":"gzip","format.class":"io.confluent.connect.s3.format.json.JsonFormat","flush.size":"4",
"partitioner.class":"io.confluent.connect.storage.partitioner.FieldPartitioner","partition.field.name":"user.country",
"behavior.on.null.values":"ignore","errors.tolerance":"all","errors.deadletterqueue.topic.name":"dlq-clicks",
"errors.deadletterqueue.topic.replication.factor":"1","errors.deadletterqueue.context.headers.enable":"true"}}`

// TestImportTakesOver has a pipeline made of a connector's configuration go on where the connector has stopped: not before a person has said where
// that is, and then without a record lost, doubled or changed.
func TestImportTakesOver(t *testing.T) {
	broker := fixture.Kafka(t)
	p := binary.New(t, binary.Build(t), "")
	p.Write(t, "connector.json", []byte(connector))
	made := filepath.Join(p.Dir, "made.yaml")
	importing := p
	importing.File = filepath.Join(p.Dir, "connector.json")
	importing.Run(t, nil, "import", "-o", made).Must(t)
	text, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	const bucket = `"s3://lake?region=us-west-2"`
	if !strings.Contains(string(text), bucket) {
		t.Fatalf("it has no lake:\n%s", text)
	}
	p.Write(t, "pipeline.yaml", []byte(strings.Replace(string(text), bucket, "raw", 1)))
	env := []string{"KAFKA_BROKERS=" + broker.Addr}
	p.Run(t, env, "check").Must(t)

	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.DefaultProduceTopic("clicks"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "clicks"); err != nil {
		t.Fatal(err)
	}
	var records []string
	for n := range 11 {
		country := []string{`"DE"`, `"FR"`, `null`}[n%3]
		records = append(records, fmt.Sprintf(`{"n":%d.10,"user":{"country":%s},"b":12345678901234567890}`, n, country))
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord(records[n])).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// The connector has landed four records, and one more object whose offsets it could not commit any more.
	of := func(country string, offset int) string {
		return fmt.Sprintf("raw/topics/clicks/user.country=%s/clicks+0+%010d.json.gz", country, offset)
	}
	for key, lines := range map[string][]int{of("DE", 0): {0, 3}, of("FR", 1): {1}, of("null", 2): {2}, of("FR", 4): {4, 7}} {
		var all []string
		for _, n := range lines {
			all = append(all, records[n])
		}
		p.Write(t, key, []byte(zipped(t, strings.Join(all, "\n")+"\n")))
	}
	setOffset := func(group string, offset int64) {
		t.Helper()
		offsets := kadm.Offsets{}
		offsets.AddOffset("clicks", 0, offset, -1)
		if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	const group = "connect-clicks-s3"
	before := landedLines(t, p)
	refuses := func(when string) {
		t.Helper()
		if got := p.Run(t, env, "run", "--once"); got.Code == 0 || !strings.Contains(got.Stderr, "Kafka Connect") {
			t.Errorf("%s it ended with %d: %s", when, got.Code, got.Stderr)
		}
		if diff := cmp.Diff(before, landedLines(t, p)); diff != "" {
			t.Errorf("%s it has landed:\n%s", when, diff)
		}
	}
	adopt := func(want int, says string, args ...string) {
		t.Helper()
		got := p.Run(t, env, "land adopt", append([]string{"--from-group", group}, args...)...)
		if said := got.Stdout + got.Stderr; got.Code != want || !strings.Contains(said, says) {
			t.Errorf("it ended with %d, want %d, and does not say %q:\n%s", got.Code, want, says, said)
		}
	}
	refuses("without offsets")
	adopt(2, "no offset of topic clicks partition 0")
	setOffset(group, 4)
	for _, group := range []string{group, "headwater-land"} {
		leave := joined(t, broker.Addr, group)
		adopt(2, "group "+group+" has members: a member of")
		leave()
	}
	setOffset(group, 12)
	adopt(2, "which has 0 to 11")
	setOffset(group, 4)
	adopt(0, "Nothing was changed.", "--dry-run")
	if diff := cmp.Diff(before, landedLines(t, p)); diff != "" {
		t.Errorf("to show what would be done has done:\n%s", diff)
	}
	refuses("before it is taken over")
	// The object that the connector has not committed is moved away, and its records land again.
	adopt(0, "to move: topics/clicks/user.country=FR/clicks+0+0000000004.json.gz")
	adopt(0, "Group headwater-land goes on from here.")
	for range 2 {
		p.Run(t, env, "run", "--once").Must(t)
		var all []string
		for _, lines := range landedLines(t, p) {
			all = append(all, lines...)
		}
		slices.Sort(all)
		if diff := cmp.Diff(slices.Sorted(slices.Values(records)), all); diff != "" {
			t.Error(diff)
		}
	}
	want := []string{of("DE", 0), of("DE", 6), of("DE", 9), of("FR", 1), of("FR", 4), of("FR", 10), of("null", 2), of("null", 5), of("null", 8)}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(landedLines(t, p)))); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(p.Dir, strings.Replace(of("FR", 4), "raw/", "raw/_superseded/", 1))); err != nil {
		t.Error(err)
	}
	checkDeadLetter(t, p, env, cl, broker.Addr)
	leave := joined(t, broker.Addr, group)
	if got := p.Run(t, env, "land release", "--to-group", group); got.Code != 2 || !strings.Contains(got.Stderr, "has members") {
		t.Errorf("with a member in the connector's group it ended with %d: %s", got.Code, got.Stderr)
	}
	leave()
	p.Run(t, env, "land release", "--to-group", group).Must(t)
	theirs, err := admin.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	if at, _ := theirs.Lookup("clicks", 0); at.At != 12 || at.Metadata != "" {
		t.Errorf("the connector goes on at %+v, want 12", at)
	}
	// A start by mistake finds out from the objects what has landed.
	before = landedLines(t, p)
	p.Run(t, env, "run", "--once").Must(t)
	if diff := cmp.Diff(before, landedLines(t, p)); diff != "" {
		t.Error(diff)
	}
}

// checkDeadLetter has a record that is no JSON go where the connector's dead letters went.
func checkDeadLetter(t *testing.T, p binary.Pipeline, env []string, cl *kgo.Client, broker string) {
	t.Helper()
	bad := &kgo.Record{Key: []byte("k"), Value: []byte("{"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}}
	if err := cl.ProduceSync(t.Context(), bad).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is committed is not sent again
		p.Run(t, env, "run", "--once").Must(t)
	}
	letters, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("dlq-clicks"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer letters.Close()
	fetches := letters.PollFetches(t.Context())
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
		t.Fatalf("%d dead letters: %v", fetches.NumRecords(), err)
	}
	got := fetches.Records()[0]
	headers := map[string]string{}
	for _, h := range got.Headers {
		headers[strings.TrimPrefix(h.Key, "__connect.errors.")] = string(h.Value)
	}
	want := map[string]string{
		"h": "1", "topic": "clicks", "partition": "0", "offset": "11", "connector.name": "headwater-land", "task.id": "0", "stage": "VALUE_CONVERTER", "class.name": "org.apache.kafka.connect.json.JsonConverter",
		"exception.class.name": "org.apache.kafka.connect.errors.DataException", "exception.message": "no JSON: unexpected-end",
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Error(diff)
	}
	if string(got.Key) != "k" || string(got.Value) != "{" || !got.Timestamp.Equal(bad.Timestamp) {
		t.Errorf("it is %s: %s of %s, want that of %s", got.Key, got.Value, got.Timestamp, bad.Timestamp)
	}
	kept, err := filepath.Glob(filepath.Join(p.Dir, "raw", "_quarantine", "land", "clicks", "*", "clicks+0+0000000011.json.gz"))
	if err != nil || len(kept) != 1 {
		t.Errorf("in quarantine: %q, %v", kept, err)
	}
}

// joined is a member of a group of either protocol until leave is called.
func joined(t *testing.T, broker, group string) (leave func()) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup(group), kgo.ConsumeTopics("clicks"), kgo.DisableAutoCommit(), kgo.ClientID("a member of "+group))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if cl.PollFetches(t.Context()).Empty() {
		t.Fatal("the member reads nothing")
	}
	return cl.Close
}

// landedLines are the lines of each object in the folder raw/topics.
func landedLines(t *testing.T, p binary.Pipeline) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join(p.Dir, "raw", "topics"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".json.gz") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		zip, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(zip)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(p.Dir, path)
		all[key] = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
