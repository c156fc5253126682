package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// latencyRate is how many items a second are sent, latencySenders how many requests may be on their way.
const (
	latencyRate    = 1000
	latencySenders = 32
)

// TestLatency prints how long after an item was sent a consumer has its record, by push and by WebSocket, with the whole pipeline in one
// process. It checks that every item comes.
func TestLatency(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { testLatency(t, "") })
	t.Run("kafka", func(t *testing.T) { testLatency(t, fixture.Kafka(t).Addr) })
}

func testLatency(t *testing.T, broker string) {
	extra := ""
	if broker != "" {
		extra = fmt.Sprintf("kafka: {brokers: [%q]}\n", broker)
	}
	seconds := 1
	if os.Getenv("HEADWATER_BENCH") != "" {
		seconds = 20
	}
	count := seconds * latencyRate
	start := make(chan struct{})
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		<-start
		pace(count, func(n int) { _ = conn.WriteMessage(websocket.TextMessage, item(n)) })
		_, _, _ = conn.ReadMessage()
	})
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
sources:
  hooks: {push: {}}
  feed: {websocket: {url: %q}}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`, feed)+extra)
	p.Start(t, nil, "run")
	var run struct{ HTTP, Kafka string }
	binary.Eventually(t, "being ready", func() bool {
		data, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data/run.json"))
		if err != nil || json.Unmarshal(data, &run) != nil || run.HTTP == "" {
			return false
		}
		// The source takes items when this process has got it.
		resp, err := http.Post("http://"+run.HTTP+"/ingest/hooks", "application/json", strings.NewReader(`{"warm":1}`))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if broker != "" {
		run.Kafka = broker
	}
	for _, c := range []struct {
		topic string
		send  func()
	}{
		{"hooks_raw", func() { post(t, "http://"+run.HTTP+"/ingest/hooks", count) }},
		{"feed_raw", func() { close(start) }},
	} {
		got := consume(t, run.Kafka, c.topic, count, c.send)
		slices.Sort(got)
		at := func(q float64) time.Duration { return got[int(q*float64(len(got)-1))].Round(10 * time.Microsecond) }
		t.Logf("%-9s %d items at %d/s: half within %v, 99%% within %v, 99.9%% within %v, the last after %v", c.topic, count, latencyRate, at(0.5), at(0.99), at(0.999), at(1))
	}
}

func item(n int) []byte {
	return fmt.Appendf(nil, `{"n":%d,"sent":%d,"pad":"%0200d"}`, n, time.Now().UnixNano(), n)
}

// pace calls send count times, at the rate.
func pace(count int, send func(n int)) {
	began := time.Now()
	for n := range count {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / latencyRate)))
		send(n)
	}
}

// post sends the items, each in a request of its own.
func post(t *testing.T, url string, count int) {
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: latencySenders}}
	places := make(chan struct{}, latencySenders)
	var requests sync.WaitGroup
	var refused atomic.Int64
	pace(count, func(n int) {
		body := item(n) // its time is from before the wait for a place
		places <- struct{}{}
		requests.Go(func() {
			defer func() { <-places }()
			resp, err := client.Post(url, "application/json", bytes.NewReader(body))
			if err != nil {
				refused.Add(1)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				refused.Add(1)
			}
		})
	})
	requests.Wait()
	if n := refused.Load(); n > 0 {
		t.Errorf("%d requests were refused", n)
	}
}

// consume reads a topic while send sends, and gives how old each record was when it came.
func consume(t *testing.T, broker, topic string, count int, send func()) (ages []time.Duration) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DisableClientMetrics(), kgo.FetchMaxWait(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	warm, stop := context.WithTimeout(ctx, 500*time.Millisecond) // the consumer has found the topic before the first item comes
	cl.PollFetches(warm)
	stop()
	var sending sync.WaitGroup
	sending.Go(send)
	for len(ages) < count {
		fetches := cl.PollFetches(ctx)
		now := time.Now().UnixNano()
		if ctx.Err() != nil {
			t.Fatalf("of %d items only %d came", count, len(ages))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var e struct {
				RawData struct{ Sent int64 } `json:"raw_data"`
			}
			if err := json.Unmarshal(r.Value, &e); err == nil && e.RawData.Sent > 0 {
				ages = append(ages, time.Duration(now-e.RawData.Sent))
			}
		})
	}
	sending.Wait()
	return ages
}
