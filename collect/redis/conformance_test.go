package redis

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/tests/interop/fixture"
)

// world is one stream or list, and who adds to it.
type world struct {
	server *fixture.Redis
	client *redis.Client
	key    string
	list   bool // pushed to the right
}

// worlds counts them, so that each test has its own.
var worlds int

func newWorld(t *testing.T, server *fixture.Redis) *world {
	t.Helper()
	worlds++
	w := &world{server: server, client: redis.NewClient(&redis.Options{Addr: server.Addr}), key: fmt.Sprint("stream ", worlds)}
	t.Cleanup(func() { _ = w.client.Close() })
	return w
}

func (w *world) config() Config {
	c := DefaultConfig()
	c.URL, c.Stream, c.Timeout = "redis://"+w.server.Addr, w.key, 2*time.Second
	if w.list {
		c.Stream, c.List = "", w.key
	}
	return c
}

// add adds an entry of fields, given as name and value in turn.
func (w *world) add(t *testing.T, fields ...string) string {
	t.Helper()
	id, err := w.client.XAdd(t.Context(), &redis.XAddArgs{Stream: w.key, Values: fields}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// send adds the numbers from first on and below n.
func (w *world) send(t *testing.T, first, n int) {
	t.Helper()
	p := w.client.Pipeline()
	for i := first; i < n; i++ {
		if w.list {
			p.RPush(t.Context(), w.key, fmt.Sprintf(`{"n":"%d"}`, i))
			continue
		}
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: w.key, Values: []any{"n", i}})
	}
	if _, err := p.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) quick(c Config) *Source {
	s := New(c, "suite", "", nil)
	s.idle = 30 * time.Millisecond
	return s
}

func (w *world) Put(t *testing.T, _, n int) { w.send(t, n, n+1) }

func (w *world) Source(*testing.T) collect.Source { return w.quick(w.config()) }

func (w *world) Number(raw json.RawMessage) (int, error) {
	var item struct{ N string }
	if err := json.Unmarshal(raw, &item); err != nil {
		return 0, err
	}
	return strconv.Atoi(item.N)
}

// TestRedis has the tests that need the server.
func TestRedis(t *testing.T) {
	server := fixture.NewRedis(t)
	t.Run("Conformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newWorld(t, server) }})
	})
	t.Run("ListConformance", func(t *testing.T) {
		collecttest.Run(t, collecttest.Harness{Consumes: true, World: func(t *testing.T) collecttest.World { return newList(t, server) }})
	})
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Entry", testEntry},
		{"Field", testField},
		{"Sizes", testSizes},
		{"Claims", testClaims},
		{"SlowKafka", testSlowKafka},
		{"LostReplies", testLostReplies},
		{"GroupGone", testGroupGone},
		{"Deleted", testDeleted},
		{"Cut", testCut},
		{"Latency", testLatency},
		{"HalfOpen", testHalfOpen},
		{"Flood", testFlood},
		{"WrongPassword", testWrongPassword},
		{"TLS", testTLS},
		{"Restart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t, server)) })
	}
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"ListItems", testListItems},
		{"ListRight", testListRight},
		{"ListSizes", testListSizes},
		{"ListDead", testListDead},
		{"ListZombie", testListZombie},
		{"ListForgotten", testListForgotten},
		{"ListFull", testListFull},
		{"ListLook", testListLook},
		{"ListMillion", testListMillion},
		{"ListFlood", testListFlood},
		{"ListCut", testListCut},
		{"ListHalfOpen", testHalfOpen},
		{"ListRefused", testListRefused},
		{"ListRestart", testRestart},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newList(t, server)) })
	}
}

func newList(t *testing.T, server *fixture.Redis) *world {
	t.Helper()
	w := newWorld(t, server)
	w.list = true
	return w
}
