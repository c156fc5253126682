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
	url     string
	parts   int
	catchUp bool // there is an API that has what was sent

	mu     sync.Mutex
	ready  sync.Cond
	queue  map[string][]int // by path
	broken map[string]bool
	sent   map[string][]int
	ended  bool
}

func newWorld(t *testing.T, parts int, catchUp bool) *world {
	w := &world{parts: parts, catchUp: catchUp, sent: map[string][]int{}, queue: map[string][]int{}, broken: map[string]bool{}}
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
	if r.URL.Query().Has("from") {
		w.answer(out, r)
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
		w.sent[r.URL.Path] = append(w.sent[r.URL.Path], n)
		text := numbered(len(w.sent[r.URL.Path]), n)
		w.mu.Unlock()
		if conn.WriteMessage(websocket.TextMessage, text) != nil {
			return
		}
	}
}

func numbered(seq, n int) []byte { return fmt.Appendf(nil, `{"seq":%d,"n":%d}`, seq, n) }

// answer is that of the API.
func (w *world) answer(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from, err := strconv.Atoi(r.FormValue("from"))
	to, err2 := strconv.Atoi(r.FormValue("to"))
	if err != nil || err2 != nil {
		http.Error(out, "no number", http.StatusBadRequest)
		return
	}
	sent := w.sent[r.URL.Path]
	var items []string
	for seq := from; seq <= min(to, len(sent)); seq++ {
		items = append(items, string(numbered(seq, sent[seq-1])))
	}
	_, _ = fmt.Fprintf(out, "[%s]", strings.Join(items, ","))
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
	if w.catchUp {
		c.Sequence.Path = "$.seq"
		c.CatchUp.URL = "http" + strings.TrimPrefix(w.url, "ws") + "/part/{of}?from={from}&to={to}"
		c.CatchUp.Records, c.CatchUp.Number = ".[]", ".seq"
	}
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	s := New(c, "", nil)
	s.idle = 100 * time.Millisecond
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	var item struct{ N int }
	err = json.Unmarshal(raw, &item)
	return item.N, err
}

func TestConformance(t *testing.T) {
	for name, w := range map[string]struct {
		parts   int
		catchUp bool
	}{"one connection": {1, false}, "connections": {3, false}, "catching up": {3, true}} {
		t.Run(name, func(t *testing.T) {
			collecttest.Run(t, collecttest.Harness{
				Parts: w.parts, Consumes: true, Forgets: true, Late: w.catchUp,
				World: func(t *testing.T) collecttest.World { return newWorld(t, w.parts, w.catchUp) },
			})
		})
	}
}
