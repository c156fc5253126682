package crash

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"headwater/tests/interop/fixture"
)

// TestSQSKilled: each message of a queue is there once, whoever was killed when.
func TestSQSKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := sqsQueue(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func sqsQueue(t *testing.T) upstream {
	t.Helper()
	fixture.SetAWS()
	server := fixture.NewElasticMQ(t)
	call := func(path string, values url.Values) {
		values.Set("Version", "2012-11-05")
		answer, err := http.PostForm("http://"+server.Addr+path, values)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", answer.Status, text, err)
		}
	}
	call("/", url.Values{"Action": {"CreateQueue"}, "QueueName": {"orders"}})
	source := fmt.Sprintf(`{sqs: {queue_url: "%s/orders", prefetch: 100, visibility: 2s, dedupe: {window: 50000}}}`, server.URL)
	return upstream{source, func(body string, _ int) {
		time.Sleep(2 * time.Millisecond) // the server brings some hundred messages a second when it keeps them on disk
		call("/000000000000/orders", url.Values{"Action": {"SendMessage"}, "MessageBody": {body}})
	}}
}
