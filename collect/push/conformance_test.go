package push

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
)

// world is senders, one for each part, that send their items one after the other, each again until it is taken.
type world struct {
	at atomic.Pointer[Source] // nil while no process listens

	mu    sync.Mutex
	queue map[int]chan int
}

func (w *world) Put(t *testing.T, part, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.queue[part]
	if q == nil {
		q = make(chan int, 10_000)
		w.queue[part] = q
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for n := range q {
				w.send(t, part, n)
			}
		}()
		t.Cleanup(func() { close(q); <-ended })
	}
	q <- n
}

func (w *world) send(t *testing.T, part, n int) {
	for t.Context().Err() == nil {
		r := httptest.NewRequest(http.MethodPost, "/ingest/suite", strings.NewReader(fmt.Sprint(n)))
		r.Header.Set("Idempotency-Key", fmt.Sprintf("%d/%d", part, n))
		answer := httptest.NewRecorder()
		if s := w.at.Load(); s != nil {
			s.ServeHTTP(answer, r)
			if answer.Code == http.StatusOK {
				return
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) Source(*testing.T) collect.Source {
	s := New(DefaultConfig(), nil)
	s.idle = 150 * time.Millisecond
	w.at.Store(s)
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

func TestConformance(t *testing.T) {
	collecttest.Run(t, collecttest.Harness{Parts: 3, Consumes: true, World: func(*testing.T) collecttest.World {
		return &world{queue: map[int]chan int{}}
	}})
}
