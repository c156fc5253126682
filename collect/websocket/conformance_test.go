package websocket

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/collect/collecttest"
)

// world is a feed of several parts, each at an address of its own. It keeps what it has while nobody listens, and sends everything once, to
// whoever does.
type world struct {
	url   string
	parts int

	mu     sync.Mutex
	ready  sync.Cond
	queue  map[string][]int // by path
	broken map[string]bool
	ended  bool
}

func newWorld(t *testing.T, parts int) *world {
	w := &world{parts: parts, queue: map[string][]int{}, broken: map[string]bool{}}
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

func path(part int) string { return "/part/" + strconv.Itoa(part) }

func (w *world) serve(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	broken := w.broken[r.URL.Path]
	w.mu.Unlock()
	if broken {
		http.Error(out, "not now", http.StatusServiceUnavailable)
		return
	}
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
		for len(w.queue[r.URL.Path]) == 0 && !gone && !w.ended {
			w.ready.Wait()
		}
		if gone || w.ended {
			w.mu.Unlock()
			return
		}
		n := w.queue[r.URL.Path][0]
		w.queue[r.URL.Path] = w.queue[r.URL.Path][1:]
		w.mu.Unlock()
		if conn.WriteMessage(websocket.TextMessage, fmt.Append(nil, n)) != nil {
			return
		}
	}
}

func (w *world) Put(_ *testing.T, part, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue[path(part)] = append(w.queue[path(part)], n)
	w.ready.Broadcast()
}

func (w *world) Break(_ *testing.T, part int) { w.set(part, true) }
func (w *world) Mend(_ *testing.T, part int)  { w.set(part, false) }

func (w *world) set(part int, broken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[path(part)] = broken
}

func (w *world) Source(t *testing.T) collect.Source {
	c := DefaultConfig()
	c.URL = w.url + path(0)
	if w.parts > 1 {
		c.URL, c.PerConnection, c.ConnectEvery = w.url+"/part/{symbol}", 1, time.Millisecond
		for part := range w.parts {
			c.Symbols = append(c.Symbols, strconv.Itoa(part))
		}
	}
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	s := New(c, "", nil)
	s.idle = 100 * time.Millisecond
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	err = json.Unmarshal(raw, &n)
	return n, err
}

func TestConformance(t *testing.T) {
	for _, parts := range []int{1, 3} {
		t.Run(strconv.Itoa(parts), func(t *testing.T) {
			collecttest.Run(t, collecttest.Harness{
				Parts: parts, Consumes: true, Forgets: true, World: func(t *testing.T) collecttest.World { return newWorld(t, parts) },
			})
		})
	}
}
