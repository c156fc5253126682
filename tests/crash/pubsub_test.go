package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"headwater/tests/interop/fixture"
)

// TestPubSubKilled: each message of a subscription is there once, whoever was killed when.
func TestPubSubKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := pubsubTopic(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func pubsubTopic(t *testing.T) upstream {
	t.Helper()
	server := fixture.NewPubSub(t)
	call := func(method, path string, body any) {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		request, err := http.NewRequest(method, "http://"+server.Addr+"/v1/projects/shop/"+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", answer.Status, text, err)
		}
	}
	type object = map[string]any
	call(http.MethodPut, "topics/orders", object{})
	call(http.MethodPut, "subscriptions/orders", object{"topic": "projects/shop/topics/orders"})
	source := fmt.Sprintf(`{pubsub: {project: shop, subscription: orders, endpoint: "http://%s", prefetch: 100, lease: 10s}}`, server.Addr)
	return upstream{source, func(body string, _ int) {
		call(http.MethodPost, "topics/orders:publish", object{"messages": []object{{"data": []byte(body)}}})
	}}
}
