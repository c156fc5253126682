package websocket

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/collect/collecttest"
)

// world is a feed that keeps what it has while nobody listens, and sends everything once, to whoever does.
type world struct {
	url string

	mu    sync.Mutex
	ready sync.Cond
	queue []int
	ended bool
}

func newWorld(t *testing.T) *world {
	w := &world{}
	w.ready.L = &w.mu
	server := httptest.NewServer(http.HandlerFunc(w.serve))
	w.url = "ws" + strings.TrimPrefix(server.URL, "http")
	t.Cleanup(func() {
		w.mu.Lock()
		w.ended = true
		w.mu.Unlock()
		w.ready.Broadcast()
		server.Close()
	})
	return w
}

func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(out, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	gone := false
	conn.SetCloseHandler(func(int, string) error {
		w.mu.Lock()
		gone = true // before the answer: from then on nothing is taken from the queue for this client
		w.mu.Unlock()
		w.ready.Broadcast()
		return conn.WriteControl(websocket.CloseMessage, nil, time.Now().Add(time.Second))
	})
	go func() {
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				w.mu.Lock()
				gone = true
				w.mu.Unlock()
				w.ready.Broadcast()
				return
			}
		}
	}()
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !gone && !w.ended {
			w.ready.Wait()
		}
		if gone || w.ended {
			w.mu.Unlock()
			return
		}
		n := w.queue[0]
		w.queue = w.queue[1:]
		w.mu.Unlock()
		if conn.WriteMessage(websocket.TextMessage, fmt.Append(nil, n)) != nil {
			return
		}
	}
}

func (w *world) Put(_ *testing.T, _, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, n)
	w.ready.Broadcast()
}

func (w *world) Source(*testing.T) collect.Source {
	c := DefaultConfig()
	c.URL = w.url
	s := New(c, "", nil)
	s.idle = 100 * time.Millisecond
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

func TestConformance(t *testing.T) {
	collecttest.Run(t, collecttest.Harness{Consumes: true, Forgets: true, World: func(t *testing.T) collecttest.World { return newWorld(t) }})
}
