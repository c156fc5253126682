package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/setting"
)

// market is a feed of numbered trades of symbols, and an API that has all of them.
type market struct {
	t      *testing.T
	feed   *httptest.Server
	api    *httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) bool // may answer in the API's place

	mu      sync.Mutex
	next    map[string]int // the number of the next trade
	conns   map[*websocket.Conn]bool
	asked   []string
	forgets map[int]bool // numbers that the API does not have
	limit   int          // of an answer
}

func newMarket(t *testing.T) *market {
	m := &market{t: t, next: map[string]int{}, conns: map[*websocket.Conn]bool{}, forgets: map[int]bool{}, limit: 100}
	m.feed = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up := websocket.Upgrader{}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.conns[conn] = true
		m.mu.Unlock()
		listen(conn)
		m.mu.Lock()
		delete(m.conns, conn)
		m.mu.Unlock()
		_ = conn.Close()
	}))
	m.api = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(func() {
		m.cut()
		m.feed.Close()
		m.api.CloseClientConnections()
		m.api.Close()
	})
	return m
}

// trade makes the next trade of a symbol, and has it sent unless it is left out.
func (m *market) trade(symbol string, leftOut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.next[symbol]
	m.next[symbol]++
	if leftOut {
		return
	}
	for conn := range m.conns {
		say(conn, fmt.Sprintf(`{"s":%q,"n":%d}`, symbol, n))
	}
}

func (m *market) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		_ = conn.Close()
	}
}

func (m *market) connected() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns) > 0
}

func (m *market) serve(w http.ResponseWriter, r *http.Request) {
	symbol, from, to := r.FormValue("symbol"), r.FormValue("from"), r.FormValue("to")
	m.mu.Lock()
	m.asked = append(m.asked, symbol+" "+from+" "+to)
	m.mu.Unlock()
	if m.answer != nil && m.answer(w, r) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first, err := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err != nil || err2 != nil {
		http.Error(w, "no number", http.StatusBadRequest)
		return
	}
	trades := []any{}
	for n := last; n >= first && n >= 0 && len(trades) < m.limit; n-- { // the newest first
		if n < m.next[symbol] && !m.forgets[n] {
			trades = append(trades, map[string]any{"s": symbol, "n": n})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"trades": trades})
}

func (m *market) bench() *bench {
	b := &bench{t: m.t, log: &collecttest.Log{}, c: DefaultConfig()}
	b.c.URL = "ws" + strings.TrimPrefix(m.feed.URL, "http") + "/feed?key=s3cret"
	b.c.Sequence = Sequence{Path: "$.n", Per: "$.s"}
	u := &b.c.CatchUp
	u.URL, u.Records, u.Number, u.Timeout = m.api.URL+"/trades", ".trades[]", ".n", 5*time.Second
	u.Params = map[string]setting.Secret{"symbol": "{of}", "from": "{from}", "to": "{to}", "key": "s3cret"}
	return b
}

// connect waits for a connection.
func (m *market) connect() {
	m.t.Helper()
	for end := time.Now().Add(3 * time.Minute); !m.connected(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("nobody connects")
		}
	}
}

// marked are the items with what their headers say of catching up.
func (b *bench) marked() []string {
	b.t.Helper()
	records := b.log.Records()
	items := b.itemsOf(records)
	for i, r := range records {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		var m struct{ Headers [][2]string }
		if err := json.Unmarshal(v.Metadata, &m); err != nil {
			b.t.Fatal(err)
		}
		var t struct {
			S string
			N *int
		}
		if json.Unmarshal([]byte(items[i]), &t) == nil && t.N != nil {
			items[i] = t.S + strconv.Itoa(*t.N)
		}
		for _, h := range m.Headers {
			if h[0] == "caught_up" {
				items[i] += " caught up"
			}
		}
	}
	return items
}

func (b *bench) expectMarked(want ...string) {
	b.t.Helper()
	for range 2000 {
		if slices.Equal(b.marked(), want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Errorf("got  %q\nwant %q", b.marked(), want)
}

// TestCatchUp: what the feed leaves out, while a connection holds, between two and between two processes, is asked for, each item once.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	b := m.bench()
	stop := b.live()
	m.connect()
	m.trade("A", false)
	m.trade("A", true)
	m.trade("A", true)
	m.trade("A", false)
	want := []string{"A0", "A3", "A1 caught up", "A2 caught up"}
	b.expectMarked(want...)
	m.cut()
	m.trade("A", true)
	time.Sleep(20 * time.Millisecond) // the connection is gone, and not that of before
	m.connect()
	m.trade("A", false)
	want = append(want, "A5", "A4 caught up")
	b.expectMarked(want...)
	stop()
	for range 150 { // more than an answer has
		m.trade("A", true)
	}
	stop = b.live()
	for m.connect(); len(b.log.Records()) == len(want); time.Sleep(time.Millisecond) {
		m.trade("A", false)
	}
	b.eventually(len(want) + 151)
	stop()
	got := b.marked()[len(want):]
	seen := map[string]int{}
	for _, it := range got {
		seen[strings.TrimSuffix(it, " caught up")]++
	}
	for n := 6; n < 157; n++ {
		if seen[fmt.Sprintf("A%d", n)] != 1 {
			t.Errorf("A%d is there %d times", n, seen[fmt.Sprintf("A%d", n)])
		}
	}
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if late := bytes.Contains(v.Metadata, []byte(`["caught_up","`)); late != bytes.Contains(v.Metadata, []byte(m.api.URL+`/trades"`)) {
			t.Errorf("the metadata are %s", v.Metadata)
		}
	}
	if r := b.log.Records(); r[len(r)-1].Position.Stream != `sequence/"A"` {
		t.Errorf("the stream is %s", r[len(r)-1].Position.Stream)
	}
}

// TestCatchUpInVain: what the API does not have, or not yet, or does not say at all. The feed goes on all the same, and what stays missing is told.
func TestCatchUpInVain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		change func(b *bench)
		says   string
	}{
		"too little": {says: "!gap: the numbers 2 to 2 did not come, and could not be caught up: the answers do not have them"},
		"refused": {answer: func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "go away", http.StatusForbidden)
			return true
		}, says: "403 Forbidden"},
		"too often": {answer: func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "too often", http.StatusTooManyRequests)
			return true
		}, says: "there was no answer within give_up"},
		"slow": {answer: func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, says: "there was no answer within give_up"},
		"a page of HTML": {answer: func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte("<html>log in"))
			return true
		}, says: "HTML"},
		"no numbers": {change: func(b *bench) { b.c.CatchUp.Number = ".id" }, says: "3 items of an answer have no whole number at .id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMarket(t)
			m.forgets[2] = true
			m.answer = c.answer
			b := m.bench()
			b.c.CatchUp.GiveUp, b.c.CatchUp.Timeout = 400*time.Millisecond, 300*time.Millisecond
			if c.change != nil {
				c.change(b)
			}
			stop := b.live()
			defer stop()
			m.connect()
			m.trade("A", false)
			for range 4 {
				m.trade("A", true)
			}
			m.trade("A", false)
			m.trade("B", false)
			b.eventually(3)
			want := []string{"A0", "A5", "B0"}
			missing := "the numbers 1 to 4 did not come, and could not be caught up: "
			if name == "too little" {
				missing = c.says
			}
			for end := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
				got := b.marked()
				if i := slices.IndexFunc(got, func(it string) bool { return strings.Contains(it, missing) && strings.Contains(it, c.says) }); i >= 0 {
					rest := slices.DeleteFunc(got, func(it string) bool { return slices.Contains(want, it) || strings.HasSuffix(it, " caught up") })
					if len(rest) != 1 {
						t.Errorf("the items are %q", b.marked())
					}
					break
				}
				if time.Now().After(end) {
					t.Fatalf("no gap was told: %q", got)
				}
			}
			before := len(b.log.Records())
			m.trade("A", false)
			b.eventually(before + 1)
			stop()
			if r := b.log.Records(); bytes.Contains(r[len(r)-1].Position.Resume, []byte("open")) {
				t.Errorf("something is still open: %s", r[len(r)-1].Position.Resume)
			}
		})
	}
}

// TestNotYet: an API that is behind its feed is asked again.
func TestNotYet(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.forgets[1] = true
	b := m.bench()
	defer b.live()()
	m.connect()
	m.trade("A", false)
	m.trade("A", true)
	m.trade("A", true)
	m.trade("A", false)
	b.expectMarked("A0", "A3", "A2 caught up")
	m.mu.Lock()
	m.forgets = nil
	m.mu.Unlock()
	b.expectMarked("A0", "A3", "A2 caught up", "A1 caught up")
}

// TestLateItems: a feed that sends what was open by itself, and one that begins its numbers again.
func TestLateItems(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	block := make(chan struct{})
	m.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-block:
		case <-r.Context().Done():
		}
		return true
	}
	defer close(block)
	b := m.bench()
	stop := b.live()
	m.connect()
	send := func(texts ...string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for conn := range m.conns {
			say(conn, texts...)
		}
	}
	send(`{"s":"A","n":10}`, `{"s":"A","n":15}`, `{"s":"A","n":12}`, `{"s":"A","n":16}`, `{"s":"A","n":3}`, `{"s":"A","n":4}`, `{"x":1}`)
	b.expectMarked("A10", "A15", "A12", "A16",
		"!gap: the numbers 11 to 11 did not come, and could not be caught up: the number 3 came after 16",
		"!gap: the numbers 13 to 14 did not come, and could not be caught up: the number 3 came after 16",
		"!gap: the number 3 came after 16", "A3", "A4", `{"x":1}`)
	stop()
}

// TestManyRanges: what is open of a sequence is bounded, and what goes beyond is told.
func TestManyRanges(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "no", http.StatusInternalServerError)
		return true
	}
	b := m.bench()
	stop := b.live()
	m.connect()
	for range mostOpen + 3 {
		m.trade("A", false)
		m.trade("A", true)
	}
	b.eventually(mostOpen + 3 + 2)
	stop()
	var told []string
	for _, it := range b.marked() {
		if strings.HasPrefix(it, "!") {
			told = append(told, it)
		}
	}
	if len(told) != 2 || !strings.Contains(told[0], "numbers 1 to 1 ") || !strings.Contains(told[1], "numbers 3 to 3 ") {
		t.Errorf("%q", told)
	}
	// An API whose answers have more holes than that.
	k := &catcher{s: b.source, out: out{}, numbers: &numbers{}}
	q := &sequence{of: "A", begun: true, last: 1000, open: []span{{From: 1, To: 900}}}
	for n := 3; n < 200; n += 2 {
		i := q.covering(n2i(n))
		if i < 0 {
			t.Fatalf("%d is not open: %v", n, q.open)
		}
		if err := k.fill(t.Context(), q, i, n2i(n), collect.Item{}); err != nil {
			t.Fatal(err)
		}
		if len(q.open) > mostOpen {
			t.Fatalf("%d are open", len(q.open))
		}
	}
}

func n2i(n int) int64 { return int64(n) }

// TestLongRange: an API that has forgotten the beginning is still asked for the end.
func TestLongRange(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		from, _ := strconv.Atoi(r.FormValue("from"))
		to, _ := strconv.Atoi(r.FormValue("to"))
		trades := []any{}
		for n := max(from, 999_990); n <= min(to, 1_000_005); n++ {
			trades = append(trades, map[string]any{"s": "A", "n": n})
		}
		reply, _ := json.Marshal(map[string]any{"trades": trades})
		_, _ = w.Write(reply)
		return true
	}
	b := m.bench()
	stop := b.live()
	m.connect()
	m.trade("A", false)
	m.mu.Lock()
	m.next["A"] = 1_000_000
	m.mu.Unlock()
	m.trade("A", false)
	want := []string{"A0", "A1000000"}
	for n := 999_990; n < 1_000_000; n++ {
		want = append(want, fmt.Sprintf("A%d caught up", n))
	}
	b.expectMarked(want...)
	stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) > 20 {
		t.Errorf("%d requests were made", len(m.asked))
	}
}

// TestNoLoss: whatever fails, and whenever a process ends, each item that is followed by one that came is there once.
func TestNoLoss(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	chance := func(n int) bool {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n) == 0
	}
	m := newMarket(t)
	m.limit = 7
	faults := true
	m.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		on := faults
		mu.Unlock()
		if !on || !chance(4) {
			return false
		}
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return true
	}
	b := m.bench()
	b.log.PartitionCount, b.log.Buffer = 2, 5
	over := make(chan struct{})
	var trading sync.WaitGroup
	trading.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
			m.trade([]string{"A", "B"}[m.total()%2], chance(20))
			if chance(50) {
				m.cut()
			}
		}
	})
	for n := range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- b.runner().Run(ctx, false) }()
		time.Sleep(time.Duration(10+n*3) * time.Millisecond)
		if chance(2) {
			b.log.Fail(1 + n%5)
		} else {
			b.log.Lose(1 + n%5)
		}
		time.Sleep(20 * time.Millisecond)
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		b.log.Fail(0)
		b.log.Lose(0)
	}
	close(over)
	trading.Wait()
	mu.Lock()
	faults = false
	mu.Unlock()
	for m.connected() { // what is said to the process that has ended is followed by nothing
		m.cut()
		time.Sleep(time.Millisecond)
	}
	stop := b.live()
	m.connect()
	for range 5 {
		m.trade("A", false)
		m.trade("B", false)
	}
	complete := func() (wrong string) {
		seen := map[string]int{}
		for _, it := range b.marked() {
			if strings.HasPrefix(it, "!") {
				return "a gap is told: " + it
			}
			seen[strings.TrimSuffix(it, " caught up")]++
		}
		for _, symbol := range []string{"A", "B"} {
			first := -1
			for n := range m.next[symbol] {
				times := seen[symbol+strconv.Itoa(n)]
				if first < 0 && times > 0 {
					first = n
				}
				if first >= 0 && times != 1 {
					return fmt.Sprintf("%s%d is there %d times", symbol, n, times)
				}
			}
			if first < 0 || first > 50 {
				return fmt.Sprintf("the first of %s is %d", symbol, first)
			}
		}
		return ""
	}
	for end := time.Now().Add(3 * time.Minute); complete() != "" && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if wrong := complete(); wrong != "" {
		t.Error(wrong)
	}
	stop()
	caught := 0
	for _, it := range b.marked() {
		if strings.HasSuffix(it, " caught up") {
			caught++
		}
	}
	t.Logf("%d items, %d of them caught up", len(b.log.Records()), caught)
	if caught < 50 {
		t.Errorf("only %d items were caught up", caught)
	}
}

func (m *market) total() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next["A"] + m.next["B"]
}

// TestCatchUpOnce: with once what is missing is asked for before the end, and an API that fails is the result; what is open is so for the next process.
func TestCatchUpOnce(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	b := m.bench()
	var broken bool
	m.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if broken {
			http.Error(w, "gone", http.StatusForbidden)
		}
		return broken
	}
	once := func() error {
		result := make(chan error, 1)
		go func() { result <- b.once() }()
		m.connect()
		m.trade("A", true)
		m.trade("A", false)
		return <-result
	}
	if err := once(); err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := once(); err == nil || !strings.Contains(err.Error(), "gone") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the result is %v", err)
	}
	b.expectMarked("A1", "A3")
	broken = false
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.expectMarked("A1", "A3", "A2 caught up")
}

// TestCatchUpBegins: where no number is known that tells what was missed since the last connection, a gap record does.
func TestCatchUpBegins(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	b := m.bench()
	u := b.c.CatchUp
	b.c.CatchUp = CatchUp{}
	off := "gap: the source was not running"
	want := []string{"A0", off, "A2", "A4", "A3 caught up"}
	for n := range 3 {
		result := make(chan error, 1)
		go func() { result <- b.once() }()
		m.connect()
		m.trade("A", false)
		m.trade("A", true)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		b.c.CatchUp = u
		if n == 1 && len(b.log.Records()) != 3 {
			t.Errorf("%q", b.marked())
		}
	}
	b.expectMarked(want...)
	b.c.Sequence.Per = "" // other sequences
	if err := b.once(); err != nil {
		t.Fatal(err)
	}
	b.expectMarked(append(want, off)...)
}

func TestValidateCatchUp(t *testing.T) {
	t.Parallel()
	good := func() Config {
		c := DefaultConfig()
		c.URL, c.Sequence.Path = "wss://x", "$.n"
		c.CatchUp.URL, c.CatchUp.Number = "https://x/{of}?since={from}", ".n"
		return c
	}
	if c := good(); len(c.Validate()) > 0 {
		t.Fatal(c.Validate())
	}
	for key, change := range map[string]func(c *Config){
		"catch_up.url":        func(c *Config) { c.CatchUp.URL = "" },
		"catch_up.url ":       func(c *Config) { c.CatchUp.URL = "https://{of}/{from}" },
		"catch_up.number":     func(c *Config) { c.CatchUp.Number = "" },
		"catch_up.number ":    func(c *Config) { c.CatchUp.Number = "[" },
		"catch_up.records":    func(c *Config) { c.CatchUp.Records = "[" },
		"catch_up.rate_limit": func(c *Config) { c.CatchUp.RateLimit = -1 },
		"catch_up.timeout":    func(c *Config) { c.CatchUp.Timeout = 0 },
		"catch_up.give_up":    func(c *Config) { c.CatchUp.GiveUp = 0 },
		"catch_up.params":     func(c *Config) { c.CatchUp.URL = "https://x/{of}" },
		"sequence.path":       func(c *Config) { c.Sequence.Path = "" },
	} {
		c := good()
		change(&c)
		if f := c.Validate(); !slices.ContainsFunc(f, func(f setting.Fault) bool { return strings.Join(f.Path, ".") == strings.TrimSpace(key) }) {
			t.Errorf("%s is no fault: %v", key, f)
		}
	}
}

// TestAsked: what the placeholders stand for.
func TestAsked(t *testing.T) {
	t.Parallel()
	for of, plain := range map[string]string{`"BTC-EUR"`: "BTC-EUR", "BTC-EUR": "BTC-EUR", "7": "7"} {
		v := (&sequence{of: of}).asked(span{From: 10, To: 11, Since: 1783252800000, Until: 1783252801500})
		got := map[string]string{}
		for i := 0; i < len(v); i += 2 {
			got[v[i]] = v[i+1]
		}
		want := map[string]string{
			"{of}": plain, "{from}": "10", "{to}": "11", "{after}": "9", "{before}": "12",
			"{from_s}": "1783252740", "{to_s}": "1783252861", "{from_ms}": "1783252740000", "{to_ms}": "1783252861500",
			"{from_iso}": "2026-07-05T11:59:00Z", "{to_iso}": "2026-07-05T12:01:01Z",
		}
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s is %s, want %s", name, got[name], value)
			}
		}
	}
}

// TestOpenLongAgo: what was open when a process ended is asked for by the next one for as long again.
func TestOpenLongAgo(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	var times atomic.Int64
	m.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		broken := times.Add(1) <= 2
		if broken {
			http.Error(w, "gone", http.StatusForbidden)
		}
		return broken
	}
	b := m.bench()
	b.c.CatchUp.GiveUp = 3 * time.Second
	stop := b.live()
	m.connect()
	m.trade("A", false)
	m.trade("A", true)
	m.trade("A", false)
	for end := time.Now().Add(3 * time.Minute); times.Load() == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	b.eventually(2)
	stop()
	times.Store(1)
	time.Sleep(3 * time.Second)
	defer b.live()()
	b.expectMarked("A0", "A2", "A1 caught up")
}
