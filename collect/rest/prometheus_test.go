package rest

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// TestPrometheus reads a series from a real server, in windows, while the server is killed and comes back: each second is there once, in
// spite of windows that overlap and of processes that end anywhere.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	server := fixture.NewPrometheus(t)
	began := time.Now().Add(-time.Minute).Unix()
	b := newBench(t, nil)
	b.c.URL, b.c.Every, b.c.Timeout = "http://"+server.Addr+"/api/v1/query_range", 100*time.Millisecond, 5*time.Second
	b.c.Auth.Basic = &Basic{User: "hw", Password: "s3cret-wrong"}
	b.c.Params = map[string]setting.Secret{
		"query": "vector(time())", "start": "{incremental.start}", "end": "{incremental.end}", "step": "1",
	}
	b.c.Records = ".data.result[].values[] | {at: .[0], value: .[1]}"
	b.c.Incremental = Incremental{
		Path: ".at", Format: spellSeconds, Initial: strconv.FormatInt(began, 10), Lag: 3 * time.Second, Step: 20 * time.Second, Order: orderAny, MaxSeen: 1000,
	}
	err := b.once()
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || retry.Classify(err) != retry.Permanent || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("with a wrong password: %v", err)
	}
	b.c.Auth.Basic.Password = "s3cret-password"
	for n := range 5 {
		b.log.Fail(1 + 20*n)
		_ = b.once() // it ends somewhere
	}
	b.log.Fail(0)
	stop := b.live()
	time.Sleep(time.Second)
	server.Kill()
	time.Sleep(time.Second)
	server.Start()
	time.Sleep(time.Second)
	stop()
	until := time.Now().Unix()
	b.must()
	times := map[int64]int{}
	for _, item := range b.items() {
		var point struct {
			At    json.Number
			Value string
		}
		if err := json.Unmarshal([]byte(item), &point); err != nil || point.At.String() != point.Value {
			t.Fatalf("%s: %v", item, err)
		}
		at, err := point.At.Int64()
		if err != nil {
			t.Fatal(err)
		}
		times[at]++
	}
	for at := began; at < until; at++ {
		if times[at] != 1 {
			t.Errorf("second %d of %d is there %d times", at-began, until-began, times[at])
		}
	}
	if len(times) < 60 {
		t.Errorf("only %d seconds are there", len(times))
	}
	b.c.Params["query"] = "sum("
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "400 Bad Request") || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("a wrong query: %v", err)
	}
}
