package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headwater/tests/binary"
)

const pushed = `
database: db
collect: {snapshot_every: 100ms}
sources:
  hooks: {push: {max_keys: 1000}}
land: {flush.size: 40, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

// sender sends numbered lines by HTTP, a few in a request, each request again under its key until it is answered with 200.
type sender struct {
	p      binary.Pipeline
	client http.Client
	next   *atomic.Int64 // of all senders
	ended  <-chan struct{}
}

// run sends until ended, and then what it has begun.
func (s *sender) run(t *testing.T, random *rand.Rand) {
	for request := 0; ; request++ {
		select {
		case <-s.ended:
			return
		default:
		}
		n := 1 + random.IntN(5)
		first := s.next.Add(int64(n)) - int64(n)
		var body strings.Builder
		for i := range n {
			fmt.Fprintf(&body, "{\"n\":%d}\n", first+int64(i))
		}
		key := strconv.FormatInt(first, 10)
		for !s.send(key, body.String()) {
			if t.Failed() {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		if random.IntN(10) == 0 && !s.send(key, body.String()) { // the answer may have been lost on its way
			continue
		}
	}
}

func (s *sender) send(key, body string) bool {
	data, err := os.ReadFile(filepath.Join(s.p.Dir, "headwater-data/run.json"))
	var run struct{ HTTP string }
	if err != nil || json.Unmarshal(data, &run) != nil || run.HTTP == "" {
		return false
	}
	r, err := http.NewRequest(http.MethodPost, "http://"+run.HTTP+"/ingest/hooks", strings.NewReader(body))
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("Idempotency-Key", key)
	resp, err := s.client.Do(r)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// TestPushKilled kills a process that takes items by HTTP again and again. Senders that repeat what was not answered find, in the end,
// every item once.
func TestPushKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 8, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, binary.Build(t), pushed)
	proc := w.Start(t, nil, "run")
	var next atomic.Int64
	ended := make(chan struct{})
	var senders sync.WaitGroup
	for i := range 4 {
		s := &sender{p: w.Pipeline, client: http.Client{Timeout: 20 * time.Second}, next: &next, ended: ended}
		own := rand.New(rand.NewPCG(seed, uint64(i)+1))
		senders.Go(func() { s.run(t, own) })
	}
	for range kills {
		time.Sleep(time.Duration(200+random.IntN(1500)) * time.Millisecond)
		proc.Kill(t)
		proc = w.Start(t, nil, "run")
	}
	close(ended)
	senders.Wait()
	proc.Kill(t)
	w.Run(t, nil, "run", "--once").Must(t)
	w.next = int(next.Load())
	if w.next < 20*kills {
		t.Errorf("only %d items were sent", w.next)
	}
	for _, problem := range w.problemsOf(t, "hooks") {
		t.Error(problem)
	}
	t.Logf("%d items survived", w.next)
}
