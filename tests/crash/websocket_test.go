package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/klauspost/compress/gzip"

	"headwater/tests/binary"
)

// feed sends numbered messages, some hundred a second, to whoever is connected. Now and then it cuts a connection: between messages, in
// the middle of one, or with a word.
type feed struct {
	next atomic.Int64
	seed uint64
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(f.seed, uint64(f.next.Load())))
	for range 1000 + random.IntN(2000) {
		time.Sleep(time.Millisecond)
		n := f.next.Add(1) - 1
		if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"n":%d}`, n)) != nil {
			return
		}
	}
	switch random.IntN(3) {
	case 0:
		_, _ = conn.NetConn().Write([]byte{0x81, 100, '{'})
	case 1:
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second))
	}
}

// TestFeedKilled kills a process that reads a live feed again and again. What it has is in order, nothing is there twice, and where
// something is missing a gap record says so.
func TestFeedKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 8, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	server := httptest.NewServer(&feed{seed: seed})
	w := newWorld(t, binary.Build(t), fmt.Sprintf(`
database: db
collect: {snapshot_every: 100ms}
sources:
  feed: {websocket: {url: %q}}
land: {flush.size: 300, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 300ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, "ws"+strings.TrimPrefix(server.URL, "http")))
	for range kills {
		proc := w.Start(t, nil, "run")
		time.Sleep(time.Duration(500+random.IntN(2000)) * time.Millisecond)
		proc.Kill(t)
	}
	proc := w.Start(t, nil, "run")
	time.Sleep(2 * time.Second)
	proc.Kill(t)
	server.CloseClientConnections()
	server.Close()
	// The feed is gone, and what is in the topic is brought into the tables all the same.
	if r := w.Run(t, nil, "run", "--once"); r.Code != 4 || !strings.Contains(r.Stderr, "connecting to ws://") {
		t.Errorf("without the feed the run ended with %d\n%s", r.Code, r.Stderr)
	}
	items, gaps := w.fed(t)
	rows := w.sql(t, "select n from db.feed")
	if len(rows) != items {
		t.Errorf("%d messages are in the table, %d in the raw objects", len(rows), items)
	}
	if items < 100*kills || gaps < kills/3 { // on a busy machine many a life is too short to connect
		t.Errorf("%d messages and %d gaps in %d lives", items, gaps, kills)
	}
	t.Logf("%d messages, %d gaps", items, gaps)
}

// market is a feed of symbols, each with numbers of its own, that cuts its connections and leaves messages out, and an API that has all of them but
// fails now and then.
type market struct {
	seed  uint64
	calm  atomic.Bool // nothing fails any more
	quiet atomic.Bool // nothing is sent any more

	mu   sync.Mutex
	next map[string]int
}

func (m *market) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	symbol := r.URL.Query().Get("of")
	if r.URL.Path == "/api" {
		m.answer(w, r, symbol)
		return
	}
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(m.seed, uint64(m.trade(symbol))))
	for range 300 + random.IntN(2000) {
		time.Sleep(time.Millisecond)
		if m.quiet.Load() {
			_, _, _ = conn.ReadMessage() // until the client goes
			return
		}
		n := m.trade(symbol)
		if random.IntN(200) == 0 && !m.calm.Load() {
			continue
		}
		if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"s":%q,"n":%d}`, symbol, n)) != nil {
			return
		}
	}
}

func (m *market) trade(symbol string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next[symbol]++
	return m.next[symbol] - 1
}

func (m *market) answer(w http.ResponseWriter, r *http.Request, symbol string) {
	from, err := strconv.Atoi(r.FormValue("from"))
	m.mu.Lock()
	next := m.next[symbol]
	m.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, "no number", http.StatusBadRequest)
		return
	case next%3 == 0 && !m.calm.Load():
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	var trades []string
	for n := from; n < next && len(trades) < 50; n++ {
		trades = append(trades, fmt.Sprintf(`{"s":%q,"n":%d}`, symbol, n))
	}
	_, _ = fmt.Fprintf(w, "[%s]", strings.Join(trades, ","))
}

// TestFeedCatchingUpKilled kills a process that reads a feed on several connections, and catches up on what it has missed, again and again. In the end each number is
// there once.
func TestFeedCatchingUpKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 8, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	m := &market{seed: seed, next: map[string]int{}}
	server := httptest.NewServer(m)
	w := newWorld(t, binary.Build(t), fmt.Sprintf(`
database: db
collect: {snapshot_every: 100ms}
sources:
  feed:
    websocket:
      url: "%s/ws?of={symbol}"
      symbols: [A, B, C]
      per_connection: 1
      sequence: {path: $.n}
      catch_up: {url: "%s/api?of={of}&from={from}", records: ".[]", number: ".n"}
land: {flush.size: 300, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 300ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, "ws"+strings.TrimPrefix(server.URL, "http"), server.URL))
	for range kills {
		proc := w.Start(t, nil, "run")
		time.Sleep(time.Duration(500+random.IntN(2000)) * time.Millisecond)
		proc.Kill(t)
	}
	m.calm.Store(true)
	proc := w.Start(t, nil, "run")
	time.Sleep(3 * time.Second)
	proc.Kill(t)
	m.quiet.Store(true)
	// What the last process had not caught up with, the next one does before it ends.
	if r := w.Run(t, nil, "run", "--once"); r.Code != 0 {
		t.Errorf("the run ended with %d\n%s", r.Code, r.Stderr)
	}
	server.CloseClientConnections()
	server.Close()
	times, caughtUp := map[string]map[int]int{}, 0
	w.raw(t, func(name string, raw json.RawMessage, malformed string, headers [][2]string) {
		var item struct {
			S string
			N int
		}
		if malformed != "" || json.Unmarshal(raw, &item) != nil {
			t.Fatalf("%s: %s is %s", name, raw, malformed)
		}
		if times[item.S] == nil {
			times[item.S] = map[int]int{}
		}
		times[item.S][item.N]++
		if slices.ContainsFunc(headers, func(h [2]string) bool { return h[0] == "caught_up" }) {
			caughtUp++
		}
	})
	items := 0
	for _, symbol := range []string{"A", "B", "C"} {
		numbers := slices.Sorted(maps.Keys(times[symbol]))
		for i, n := range numbers {
			if n != numbers[0]+i || times[symbol][n] != 1 {
				t.Fatalf("%s: number %d is there %d times, after %d", symbol, n, times[symbol][n], numbers[max(0, i-1)])
			}
		}
		items += len(numbers)
	}
	if rows := w.sql(t, "select count(*) as n from db.feed"); rows[items] != 1 {
		t.Errorf("%v messages are in the table, %d in the raw objects", rows, items)
	}
	if items < 100*kills || caughtUp < 10*kills/3 {
		t.Errorf("%d messages, of which %d were caught up, in %d lives", items, caughtUp, kills)
	}
	t.Logf("%d messages, of which %d were caught up", items, caughtUp)
}

// fed says what the raw objects have.
func (w *world) fed(t *testing.T) (items, gaps int) {
	t.Helper()
	last, gap := -1, true
	w.raw(t, func(name string, raw json.RawMessage, malformed string, _ [][2]string) {
		if strings.HasPrefix(malformed, "gap:") {
			gaps++
			gap = true
			return
		}
		var item struct{ N int }
		if err := json.Unmarshal(raw, &item); err != nil || item.N <= last || item.N != last+1 && !gap {
			t.Fatalf("%s: message %s follows message %d, a gap recorded between them: %v (%v)", name, raw, last, gap, err)
		}
		last, gap = item.N, false
		items++
	})
	return items, gaps
}

// raw reads the raw objects in the order of the topic.
func (w *world) raw(t *testing.T, each func(name string, raw json.RawMessage, malformed string, headers [][2]string)) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(w.Dir, "headwater-data/raw/topics/feed_raw/date=*/*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		for d := json.NewDecoder(z); d.More(); {
			var e struct {
				RawData  json.RawMessage `json:"raw_data"`
				Metadata struct {
					Malformed string
					Headers   [][2]string
				}
			}
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			each(name, e.RawData, e.Metadata.Malformed, e.Metadata.Headers)
		}
		_ = f.Close()
	}
}
