package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// fed reads the raw objects in the order of the topic.
func (w *world) fed(t *testing.T) (items, gaps int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(w.Dir, "headwater-data/raw/topics/feed_raw/date=*/*.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	last, gap := -1, true
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
				Metadata struct{ Malformed string }
			}
			if err := d.Decode(&e); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(e.Metadata.Malformed, "gap:") {
				gaps++
				gap = true
				continue
			}
			var item struct{ N int }
			if err := json.Unmarshal(e.RawData, &item); err != nil || item.N <= last || item.N != last+1 && !gap {
				t.Fatalf("%s: message %s follows message %d, a gap recorded between them: %v (%v)", name, e.RawData, last, gap, err)
			}
			last, gap = item.N, false
			items++
		}
		_ = f.Close()
	}
	return items, gaps
}
