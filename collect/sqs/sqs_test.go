package sqs

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"headwater/collect/collecttest"
	"headwater/collect/lease"
	"headwater/internal/retry"
	"headwater/tests/interop/fixture"
)

// finish waits until n records are there and the queue is empty, and stops.
func finish(t *testing.T, w *world, l *collecttest.Live, n int) {
	t.Helper()
	l.Await(n)
	l.Until(func() bool { return w.left(t) == 0 })
	l.Stop()
	l.Log.ExpectEach(t, n)
}

func testMessage(t *testing.T, w *world) {
	sent, err := w.client.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: aws.String(w.url), MessageBody: aws.String(`{"a" : 1}`), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"type":  {DataType: aws.String("String"), StringValue: aws.String("order")},
			"count": {DataType: aws.String("Number"), StringValue: aws.String("7")},
			"bytes": {DataType: aws.String("Binary"), BinaryValue: []byte{255}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l := collecttest.Start(t, w.live(w.config()), &collecttest.Log{})
	l.Await(1)
	l.Until(func() bool { return w.left(t) == 0 })
	l.Stop()
	r := l.Log.Records()[0]
	for _, want := range []string{
		`"raw_data":{"a":1}`, `"origin":"` + w.url + `"`, `"position":"` + *sent.MessageId + `"`, `["message-id","` + *sent.MessageId + `"]`, `["message-group-id","g"]`,
		`["message-deduplication-id","d"]`, `["receive-count","1"]`, `["sent-timestamp","`, `["bytes","/w=="],["count","7"],["type","order"]]`,
	} {
		if !strings.Contains(string(r.Value), want) {
			t.Errorf("%s\nlacks %s", r.Value, want)
		}
	}
	if r.Position.Stream != "queue/"+w.url[strings.LastIndexByte(w.url, '/')+1:] || r.Position.Key == "" {
		t.Errorf("%+v", r.Position)
	}
}

// testSizes has the largest message that SQS takes, and one too large for the configuration's records.
func testSizes(t *testing.T, w *world) {
	for _, body := range []string{strings.Repeat("x", 1<<20), "not json", " "} {
		if _, err := w.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(w.url), MessageBody: aws.String(body)}); err != nil {
			t.Fatal(err)
		}
	}
	l := collecttest.Start(t, w.live(w.config()), &collecttest.Log{})
	l.Await(3)
	l.Until(func() bool { return w.left(t) == 0 })
	l.Stop()
	items := l.Items()
	slices.Sort(items)
	if d := cmp.Diff([]string{`" "`, `"not json"`, `"` + strings.Repeat("x", 1<<20) + `"`}, items); d != "" {
		t.Errorf("%.1000s", d)
	}
}

// testGroups: the messages of each group are in their order, whatever is read at the same time.
func testGroups(t *testing.T, w *world) {
	const n = 300
	w.send(t, 0, n)
	log := &collecttest.Log{}
	log.Lose(50)
	l := collecttest.Start(t, w.live(w.config()), log)
	finish(t, w, l, n)
	last := map[int]int{}
	for _, item := range l.Items() {
		i, _ := strconv.Atoi(item)
		if before, known := last[i%3]; known && i < before {
			t.Errorf("%d came after %d", i, before)
		}
		last[i%3] = i
	}
}

func testStandard(t *testing.T, w *world) {
	const n = 3000
	w.send(t, 0, n)
	began := time.Now()
	log := &collecttest.Log{Buffer: n}
	if err := collecttest.Once(t, New(w.config(), nil), log); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f messages a second", n/(time.Since(began).Seconds()-2))
	log.ExpectEach(t, n)
	if left := w.left(t); left != 0 {
		t.Errorf("%d messages are left", left)
	}
}

// testRepeats: what a sender sends twice is known by a key of its own.
func testRepeats(t *testing.T, w *world) {
	c := w.config()
	c.Dedupe.Key = "$.id"
	log := &collecttest.Log{}
	for range 2 {
		for i := range 20 {
			if _, err := w.client.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String(w.url), MessageBody: aws.String(fmt.Sprintf(`{"id":%d}`, i%10))}); err != nil {
				t.Fatal(err)
			}
		}
		if err := collecttest.Once(t, w.quick(c), log); err != nil {
			t.Fatal(err)
		}
		if left := w.left(t); len(log.Records()) != 10 || left != 0 {
			t.Errorf("%d records, %d messages are left", len(log.Records()), left)
		}
	}
}

// testKilled: what a process has received that was killed comes again when its time is over, and once waits for it.
func testKilled(t *testing.T, w *world) {
	w.send(t, 0, 10)
	got, err := w.client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(w.url), MaxNumberOfMessages: 10, VisibilityTimeout: 2})
	if err != nil || len(got.Messages) == 0 {
		t.Fatal(err)
	}
	log := &collecttest.Log{}
	if err := collecttest.Once(t, w.quick(w.config()), log); err != nil {
		t.Fatal(err)
	}
	log.ExpectEach(t, 10)
}

// testSlowKafka: what is on its way for longer than visibility stays ours, and is not deleted before Kafka has it.
func testSlowKafka(t *testing.T, w *world) {
	c := w.config()
	c.Visibility = time.Second
	w.send(t, 0, 10)
	log := &collecttest.Log{}
	release := log.Hold()
	defer release()
	l := collecttest.Start(t, w.live(c), log)
	l.Await(10)
	for range 25 {
		got, err := w.client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(w.url), MaxNumberOfMessages: 10, VisibilityTimeout: 0})
		if err != nil || len(got.Messages) > 0 {
			t.Fatalf("another was given %d messages: %v", len(got.Messages), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if left := w.left(t); left != 10 {
		t.Errorf("%d messages are left, want 10: Kafka has acknowledged none", left)
	}
	release()
	finish(t, w, l, 10)
}

// testFlood: no more than prefetch comes while Kafka acknowledges nothing.
func testFlood(t *testing.T, w *world) {
	const n, prefetch = 500, 70
	c := w.config()
	c.Prefetch, c.Dedupe.Window = prefetch, 1000
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, w.live(c), log)
	l.Await(prefetch - batch)
	time.Sleep(500 * time.Millisecond)
	if got := len(log.Records()); got > prefetch {
		t.Errorf("%d records before the first acknowledgement, want at most %d", got, prefetch)
	}
	release()
	finish(t, w, l, n)
}

// testGivenBack: what was not taken when a Run ends is there for others at once.
func testGivenBack(t *testing.T, w *world) {
	c := w.config()
	c.Visibility = time.Hour
	w.send(t, 0, 30)
	log := &collecttest.Log{}
	log.Fail(4)
	if err := collecttest.Once(t, w.quick(c), log); err == nil {
		t.Fatal("no fault")
	}
	log.Fail(0)
	began := time.Now()
	if err := collecttest.Once(t, w.quick(c), log); err != nil {
		t.Fatal(err)
	}
	log.ExpectEach(t, 30)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// testCut cuts connections anywhere.
func testCut(t *testing.T, w *world) {
	const n = 600
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.Endpoint = "http://" + p.Addr
	w.send(t, 0, n)
	p.CutWithin(20_000)
	l := collecttest.Start(t, w.live(c), &collecttest.Log{})
	l.Await(n - 100)
	p.CutWithin(0)
	p.Break()
	finish(t, w, l, n)
	if p.Dials.Load() < 10 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
}

func testLatency(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	p.Delay.Store(int64(250 * time.Millisecond))
	c := w.config()
	c.Endpoint = "http://" + p.Addr
	w.send(t, 0, 200)
	l := collecttest.Start(t, w.live(c), &collecttest.Log{})
	finish(t, w, l, 200)
	if why := l.Status().LastError; why != "" {
		t.Error(why)
	}
}

// testHalfOpen: a server that has gone without a word is noticed because it does not answer in time.
func testHalfOpen(t *testing.T, w *world) {
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.Endpoint, c.Timeout = "http://"+p.Addr, time.Second
	log := &collecttest.Log{}
	release := log.Hold()
	l := collecttest.Start(t, w.live(c), log)
	w.send(t, 0, 10)
	l.Await(10)
	p.Frozen.Store(true)
	release() // what is deleted now gets no answer
	l.AwaitError("did not answer within 1s")
	w.send(t, 10, 20)
	p.Break()
	p.Frozen.Store(false)
	finish(t, w, l, 20)
}

func testQueueDeleted(t *testing.T, w *world) {
	w.send(t, 0, 10)
	l := collecttest.Start(t, w.live(w.config()), &collecttest.Log{})
	l.Await(10)
	if _, err := w.client.DeleteQueue(t.Context(), &sqs.DeleteQueueInput{QueueUrl: aws.String(w.url)}); err != nil {
		t.Fatal(err)
	}
	l.AwaitError("there is no such queue", w.url)
	if err := collecttest.Once(t, New(w.config(), nil), &collecttest.Log{}); retry.Classify(err) != retry.Permanent {
		t.Errorf("got %v", err)
	}
	if _, err := w.client.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(w.url[strings.LastIndexByte(w.url, '/')+1:])}); err != nil {
		t.Fatal(err)
	}
	w.send(t, 10, 20)
	finish(t, w, l, 20)
}

// testRestart kills the server in the middle of what it sends.
func testRestart(t *testing.T, w *world) {
	const n = 500
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	c := w.config()
	c.Prefetch, c.Dedupe.Window = 100, 10_000
	l := collecttest.Start(t, w.live(c), log)
	l.Await(80)
	w.server.Kill()
	release()
	l.AwaitError(w.url)
	w.server.Start()
	l.Until(func() bool { // it listens before it has its queues
		_, err := w.client.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: aws.String(w.url)})
		return err == nil
	})
	w.send(t, n, n+50)
	finish(t, w, l, n+50)
}

// testLook: what who only looks has seen is there for others at once, however many receivers have asked.
func testLook(t *testing.T, w *world) {
	w.send(t, 0, 3)
	c := w.config()
	c.Visibility = time.Hour
	c.Only(true)
	for range 3 {
		log := &collecttest.Log{}
		log.Fail(1)
		if err := collecttest.Once(t, New(c, nil), log); err == nil {
			t.Fatal("no fault")
		}
		if visible, hidden := w.size(t); visible != 3 || hidden != 0 {
			t.Fatalf("%d messages are there and %d are hidden, want 3 and none", visible, hidden)
		}
	}
}

// TestComesAgain: a message that comes again while it is on its way has one record, and is deleted by its last receipt.
func TestComesAgain(t *testing.T) {
	var given atomic.Int32
	deleted := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer := `{}`
		switch r.Header.Get("X-Amz-Target") {
		case "AmazonSQS.ReceiveMessage":
			if n := given.Add(1); n <= 3 {
				answer = fmt.Sprintf(`{"Messages":[{"MessageId":"m","ReceiptHandle":"receipt-%d","Body":"0"}]}`, n)
			} else {
				time.Sleep(10 * time.Millisecond)
			}
		case "AmazonSQS.DeleteMessageBatch":
			deleted <- string(body)
		}
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	for _, key := range []string{lease.MessageID, ""} {
		given.Store(0)
		c := DefaultConfig()
		c.QueueURL, c.Receivers, c.Dedupe.Key = s.URL+"/1/x", 1, key
		log := &collecttest.Log{}
		release := log.Hold()
		l := collecttest.Start(t, (&world{}).live(c), log)
		l.Until(func() bool { return given.Load() > 4 })
		release()
		if got := <-deleted; !strings.Contains(got, `"receipt-3"`) {
			t.Errorf("deleted by %s", got)
		}
		l.Expect("%d", 1)
	}
}

// server answers as SQS does where a test says so, and hands out one message once.
func server(t *testing.T, failures func(action string) (status int, body string)) Config {
	t.Helper()
	var given, deleted atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if status, body := failures(action); status != 0 {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return
		}
		switch {
		case action == "ReceiveMessage" && given.CompareAndSwap(false, true):
			_, _ = io.WriteString(w, `{"Messages":[{"MessageId":"m","ReceiptHandle":"r","Body":"0"}]}`)
		case action == "GetQueueAttributes":
			hidden := 0
			if given.Load() && !deleted.Load() {
				hidden = 1
			}
			_, _ = fmt.Fprintf(w, `{"Attributes":{"ApproximateNumberOfMessages":"0","ApproximateNumberOfMessagesNotVisible":"%d"}}`, hidden)
		default:
			deleted.Store(deleted.Load() || action == "DeleteMessageBatch")
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	t.Cleanup(s.Close)
	c := DefaultConfig()
	c.QueueURL, c.Visibility = s.URL+"/1/x", time.Second
	return c
}

func quick(c Config) *Source { return (&world{}).quick(c) }

// TestPartialFailures: of a batch that is deleted in part the rest is deleted again, but not what can never be.
func TestPartialFailures(t *testing.T) {
	for _, c := range []struct {
		failures    int32
		senderFault bool
		want        int32
	}{{2, false, 3}, {5, false, 3}, {5, true, 1}} {
		var deletes atomic.Int32
		conf := server(t, func(action string) (int, string) {
			if action == "DeleteMessageBatch" && deletes.Add(1) <= c.failures {
				return 200, fmt.Sprintf(`{"Failed":[{"Id":"m","SenderFault":%t,"Code":"X","Message":"no"}],"Successful":[]}`, c.senderFault)
			}
			return 0, ""
		})
		log := &collecttest.Log{}
		if err := collecttest.Once(t, quick(conf), log); err != nil {
			t.Error(err)
		}
		if deletes.Load() != c.want || len(log.Records()) != 1 {
			t.Errorf("%+v: %d requests to delete, %d records", c, deletes.Load(), len(log.Records()))
		}
	}
}

// TestKilledAmongMany: what a killed process had is known when it comes again, however many others came before it.
func TestKilledAmongMany(t *testing.T) {
	const others = 30
	received, refuses := 0, true
	var mu sync.Mutex
	conf := server(t, func(action string) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case action == "DeleteMessageBatch" && refuses:
			return 403, `{"__type":"AccessDeniedException","message":"no"}`
		case action == "ReceiveMessage" && (refuses || received <= others):
			id := strconv.Itoa(received)
			if received == others {
				id = "0"
			}
			if received++; refuses && received > 1 {
				received = 1
				return 200, "{}"
			}
			return 200, fmt.Sprintf(`{"Messages":[{"MessageId":%q,"ReceiptHandle":"r","Body":"0"}]}`, id)
		}
		return 200, "{}"
	})
	conf.Receivers, conf.Prefetch, conf.Dedupe.Window = 1, 10, 10
	log := &collecttest.Log{}
	if err := collecttest.Once(t, quick(conf), log); err == nil {
		t.Error("it was deleted")
	}
	mu.Lock()
	refuses = false
	mu.Unlock()
	if err := collecttest.Once(t, quick(conf), log); err != nil {
		t.Error(err)
	}
	if got := len(log.Records()); received <= others || got != others {
		t.Errorf("%d records, want %d", got, others)
	}
}

// TestRefused: what only a person can mend ends a Run for good, and what may pass does not.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   string
		class  retry.Class
	}{
		{403, "AccessDeniedException", "check the credentials and the rights", retry.Permanent},
		{403, "InvalidClientTokenId", "check the credentials and the region", retry.Permanent},
		{400, "com.amazonaws.sqs#QueueDoesNotExist", "there is no such queue in the region", retry.Permanent},
		{400, "com.amazonaws.sqs#OverLimit", "OverLimit", retry.Transient},
		{503, "ServiceUnavailable", "ServiceUnavailable", retry.Transient},
	} {
		for _, failing := range []string{"ReceiveMessage", "DeleteMessageBatch", "GetQueueAttributes"} {
			conf := server(t, func(action string) (int, string) {
				if action == failing {
					return c.status, fmt.Sprintf(`{"__type":%q,"message":"no"}`, c.code)
				}
				return 0, ""
			})
			err := collecttest.Once(t, quick(conf), &collecttest.Log{})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), conf.QueueURL) || retry.Classify(err) != c.class {
				t.Errorf("%s of %s: %v", c.code, failing, err)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Endpoint = "http://127.0.0.1:9324" }, ""},
		{func(c *Config) { c.Dedupe.Key = "" }, ""},
		{func(c *Config) { c.QueueURL = "" }, "queue_url: is missing"},
		{func(c *Config) { c.QueueURL = "orders" }, "queue_url: must be an address"},
		{func(c *Config) { c.QueueURL = "https://key:hunter2@x/1/orders" }, "queue_url: must be an address"},
		{func(c *Config) { c.QueueURL = "https://x/" }, "queue_url: must be an address"},
		{func(c *Config) { c.Endpoint = "127.0.0.1:9324" }, "endpoint: must be an address"},
		{func(c *Config) { c.Receivers = 0 }, "receivers: must be from 1"},
		{func(c *Config) { c.Prefetch = 9 }, "prefetch: must be from 10"},
		{func(c *Config) { c.Visibility = 1500 * time.Millisecond }, "visibility: must be from 1s to 12h, in whole seconds"},
		{func(c *Config) { c.Format = "xml" }, "format: must be one of"},
		{func(c *Config) { c.Dedupe.Window = 499 }, "dedupe.window: must be from 500 (prefetch)"},
		{func(c *Config) { c.Timeout = 0 }, "timeout: must be at least 1s"},
	} {
		conf := DefaultConfig()
		conf.QueueURL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
		c.change(&conf)
		collecttest.ExpectFaults(t, conf.Validate(), c.want)
	}
}

func TestAt(t *testing.T) {
	got := map[string]string{}
	for _, url := range []string{
		"https://sqs.eu-west-1.amazonaws.com/1/q", "https://eu-west-1.queue.amazonaws.com/1/q", "https://sqs.cn-north-1.amazonaws.com.cn/1/q",
		"https://queue.amazonaws.com/1/q", "http://127.0.0.1:9324/1/q",
	} {
		c := Config{QueueURL: url}
		endpoint, region := c.at()
		got[endpoint] = region
	}
	if d := cmp.Diff(map[string]string{
		"https://sqs.eu-west-1.amazonaws.com": "eu-west-1", "https://eu-west-1.queue.amazonaws.com": "eu-west-1", "https://sqs.cn-north-1.amazonaws.com.cn": "cn-north-1",
		"https://queue.amazonaws.com": "", "http://127.0.0.1:9324": "",
	}, got); d != "" {
		t.Error(d, slices.Sorted(maps.Keys(got)))
	}
	c := Config{QueueURL: "https://sqs.eu-west-1.amazonaws.com/1/q", Endpoint: "https://vpce.example", Region: "x"}
	if endpoint, region := c.at(); endpoint != "https://vpce.example" || region != "x" {
		t.Error(endpoint, region)
	}
}
