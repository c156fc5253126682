package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/internal/setting"
)

// world is an API that keeps numbered items, and gives those from a number on in pages of five.
type world struct {
	url   string
	order string
	// children is how many at a time are asked for what is of an item, which is itself then; 0 if items are items.
	children int

	mu    sync.Mutex
	items []int
}

func newWorld(t *testing.T, order string, children int) *world {
	w := &world{order: order, children: children}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if of, err := strconv.Atoi(r.FormValue("of")); err == nil {
		reply(out, map[string]any{"data": numbered([]int{of})})
		return
	}
	since, err := strconv.Atoi(r.FormValue("since"))
	page, err2 := strconv.Atoi(r.FormValue("page"))
	if err != nil || err2 != nil {
		http.Error(out, "no number", http.StatusBadRequest)
		return
	}
	var found []int
	for _, n := range w.items {
		if n >= since {
			found = append(found, n)
		}
	}
	from := min(len(found), 5*(page-1))
	reply(out, map[string]any{"total": len(found), "data": numbered(found[from:min(len(found), from+5)])})
}

func numbered(numbers []int) []any {
	items := []any{}
	for _, n := range numbers {
		items = append(items, map[string]int{"n": n})
	}
	return items
}

func reply(out http.ResponseWriter, v any) {
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(v) // a client that is gone is no fault of the server's
}

func (w *world) Put(_ *testing.T, _, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.items = append(w.items, n)
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.URL, c.Every, c.Records = w.url, 20*time.Millisecond, ".data[]"
	c.Params = map[string]setting.Secret{"since": "{incremental.start}"}
	c.Paginate.PageNumber = &PageNumber{Param: "page"}
	c.Incremental.Path, c.Incremental.Format, c.Incremental.Initial, c.Incremental.Order = ".n", spellInteger, "0", w.order
	if w.children > 0 {
		c.Concurrency = w.children
		c.Children.URL, c.Children.Records = w.url+"/?of={parent.n}", ".data[]"
	}
	return c
}

func (w *world) Source(t *testing.T) collect.Source { return source(t, w.config()) }

func source(t *testing.T, c Config) *Source {
	t.Helper()
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	s, err := New(c, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) Number(raw json.RawMessage) (n int, err error) {
	var item struct{ N *int }
	if err := json.Unmarshal(raw, &item); err != nil || item.N == nil {
		return 0, fmt.Errorf("no number in %s: %w", raw, err)
	}
	return *item.N, nil
}

func TestConformance(t *testing.T) {
	for _, order := range []string{orderAny, orderAscending} {
		for _, children := range []int{0, 1, 8} {
			t.Run(fmt.Sprintf("%s %d", order, children), func(t *testing.T) {
				collecttest.Run(t, collecttest.Harness{World: func(t *testing.T) collecttest.World { return newWorld(t, order, children) }})
			})
		}
	}
}
