package redis

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/tests/interop/fixture"
)

// ours are the items in the list of those on their way, of a source named x, and the number of the first.
func (w *world) ours(t *testing.T) (items []string, removed string) {
	t.Helper()
	items, err := w.client.LRange(t.Context(), w.key+":headwater-x", 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	removed, _ = w.client.Get(t.Context(), w.key+":headwater-x:removed").Result()
	return items, removed
}

func (w *world) empty(t *testing.T) bool {
	t.Helper()
	left, err := w.client.LLen(t.Context(), w.key).Result()
	if err != nil {
		t.Fatal(err)
	}
	items, _ := w.ours(t)
	return left == 0 && len(items) == 0
}

func (w *world) push(t *testing.T, items ...any) {
	t.Helper()
	if err := w.client.RPush(t.Context(), w.key, items...).Err(); err != nil {
		t.Fatal(err)
	}
}

func testListItems(t *testing.T, w *world) {
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	w.push(t, `{"a" : 1}`)
	l.Await(1)
	w.push(t, "text", "\xff", "", "text", "text")
	l.Await(6)
	l.Until(func() bool { return w.empty(t) })
	l.Stop()
	if d := cmp.Diff([]string{`{"a":1}`, `"text"`, `"/w=="`, `""`, `"text"`, `"text"`}, l.Items()); d != "" {
		t.Error(d)
	}
	r := l.Log.Records()[5]
	for _, want := range []string{`"position":"5"`, `"origin":"redis://` + w.server.Addr + "/0/" + w.key + `"`} {
		if !strings.Contains(string(r.Value), want) {
			t.Errorf("%s\nlacks %s", r.Value, want)
		}
	}
	if r.Position.Stream != "list/"+w.key || r.Position.Seq != 5 {
		t.Errorf("%+v", r.Position)
	}
}

func testListRight(t *testing.T, w *world) {
	for i := range 30 {
		if err := w.client.LPush(t.Context(), w.key, i).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c := w.config()
	c.Pop = popRight
	collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{}).Expect("%d", 30)
}

// testListSizes: an answer has no more than batchBytes and an item, and what is too large for a record is kept.
func testListSizes(t *testing.T, w *world) {
	w.push(t, "1")
	w.push(t, strings.Repeat("x", 64<<20))
	for range 20 {
		w.push(t, strings.Repeat("y", 2<<20))
	}
	w.push(t, "2")
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL, c.Timeout = "redis://"+p.Addr, time.Minute // a busy machine takes long for 64 MiB, and then they would come again
	log := &collecttest.Log{Buffer: 3}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(3)
	time.Sleep(300 * time.Millisecond)
	if most := int64(64<<20 + batchBytes + 3<<20); p.Down.Load() > most {
		t.Errorf("%d bytes came while Kafka had acknowledged nothing, want at most %d", p.Down.Load(), most)
	}
	release()
	l.Await(23)
	l.Until(func() bool { return w.empty(t) })
	l.Stop()
	items := l.Items()
	if !strings.HasPrefix(items[1], `!"{\"reason\":\"too-large\"`) || len(l.Kept.Kept()) != 1 || items[22] != "2" || len(items[21]) != 2<<20+2 {
		t.Errorf("%.200s, %.200s, %d kept", items[1], items[22], len(l.Kept.Kept()))
	}
}

// testListDead: what a process had when it was killed comes back, and what of it is in Kafka does not.
func testListDead(t *testing.T, w *world) {
	const n = 40
	log := &collecttest.Log{}
	for have := 0; have < n; have += 10 {
		w.send(t, have, have+10)
		log.Lose(4) // in Kafka, and not known to be
		if err := collecttest.Once(t, w.named(), log); err == nil {
			t.Fatal("no fault")
		}
		if items, removed := w.ours(t); len(items) == 0 || removed == "" {
			t.Fatalf("%v, %s", items, removed)
		}
		for range 3 { // as when it was killed behind a move
			if err := w.client.LMove(t.Context(), w.key, w.key+":headwater-x", "LEFT", "RIGHT").Err(); err != nil && err != redis.Nil {
				t.Fatal(err)
			}
		}
		log.Lose(0)
		if err := collecttest.Once(t, w.named(), log); err != nil {
			t.Fatal(err)
		}
		if got := len(log.Records()); got != have+10 || !w.empty(t) {
			t.Errorf("%d records, want %d", got, have+10)
		}
	}
	if _, removed := w.ours(t); removed != strconv.Itoa(n) {
		t.Errorf("removed says %s, want %d", removed, n)
	}
	collecttest.Start(t, w.named(), log).Expect(`{"n":"%d"}`, n)
}

// named is a source of the name that ours looks for, which need not wait long.
func (w *world) named() *Source {
	s := New(w.config(), "x", "", nil)
	s.idle = 30 * time.Millisecond
	return s
}

// testListZombie: one that was given up, and goes on, takes nothing away.
func testListZombie(t *testing.T, w *world) {
	ctx := t.Context()
	s := w.named()
	old, err := s.client()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	zombie := &listReader{s: s, client: old, keys: []string{w.key + ":headwater-x", w.key + ":headwater-x:removed", w.key}}
	w.send(t, 0, 20)
	if err := zombie.settle(ctx); err != nil {
		t.Fatal(err)
	}
	if items, err := zombie.take(ctx, old, 10); err != nil || len(items) != 10 {
		t.Fatal(items, err)
	}
	zombie.next = 10
	log := &collecttest.Log{}
	release := log.Hold()
	l := collecttest.Start(t, s, log)
	l.Await(20)
	if items, err := zombie.take(ctx, old, 10); err != nil || len(items) != 10 {
		t.Errorf("the zombie sees what is there: %v, %v", items, err)
	}
	w.send(t, 20, 30)
	zombie.next = 20
	if _, err := zombie.take(ctx, old, 10); err != nil { // it takes what is new, which the other finds
		t.Error(err)
	}
	release()
	l.Await(30)
	l.Until(func() bool { return w.empty(t) })
	zombie.done.Store(15)
	w.send(t, 30, 40)
	if _, err := zombie.take(ctx, old, 0); err == nil || !strings.Contains(err.Error(), "changed by somebody else") {
		t.Errorf("got %v", err)
	}
	l.Expect(`{"n":"%d"}`, 40)
}

// testListForgotten: a server that has lost what it was told, or whose keys somebody has removed, gives no reason to leave items out.
func testListForgotten(t *testing.T, w *world) {
	log := &collecttest.Log{}
	once := func() string {
		var logged bytes.Buffer
		s := w.named()
		s.log = slog.New(slog.NewTextHandler(&logged, nil))
		if err := collecttest.Once(t, s, log); err != nil {
			t.Fatal(err)
		}
		return logged.String()
	}
	set := func(removed string, ours ...any) {
		ctx := context.Background()
		w.client.Del(ctx, w.key+":headwater-x", w.key+":headwater-x:removed")
		if removed != "" {
			w.client.Set(ctx, w.key+":headwater-x:removed", removed, 0)
		}
		if len(ours) > 0 {
			w.client.RPush(ctx, w.key+":headwater-x", ours...)
		}
	}
	w.send(t, 0, 10)
	if said := once(); said != "" {
		t.Error(said)
	}
	for _, c := range []struct {
		removed, want string
		ours          []any
	}{
		{"", "does not know how many items were taken", nil},
		{"", "does not know how many items were taken", []any{"a", "b"}},
		{"4", "has forgotten that items were taken", []any{"a"}},
		{"1000", "that Kafka does not have", []any{"a", "b"}},
		{"x", "does not know how many items were taken", []any{"a"}},
	} {
		before := len(log.Records())
		set(c.removed, c.ours...)
		w.push(t, "new")
		if said := once(); !strings.Contains(said, c.want) {
			t.Errorf("%q: %s", c.removed, said)
		}
		if got := len(log.Records()) - before; got != len(c.ours)+1 {
			t.Errorf("%q: %d records, want %d", c.removed, got, len(c.ours)+1)
		}
		if said := once(); said != "" || !w.empty(t) {
			t.Error(said)
		}
	}
	l := collecttest.Start(t, w.named(), log)
	before := len(log.Records())
	w.push(t, "last")
	l.Await(before + 1)
	set("")
	l.AwaitError("changed by somebody else")
	w.push(t, "more")
	l.Await(before + 2)
	l.Stop()
	if items := l.Items(); items[len(items)-1] != `"more"` {
		t.Error(items)
	}
}

// testListFull empties a server that takes nothing more because its memory is full.
func testListFull(t *testing.T, w *world) {
	server := fixture.NewRedis(t)
	w.server, w.client = server, redis.NewClient(&redis.Options{Addr: server.Addr})
	defer w.client.Close()
	ctx := t.Context()
	const n = 5000
	w.send(t, 0, n)
	if err := w.client.ConfigSet(ctx, "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.client.RPush(ctx, w.key, "x").Err(); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("it is not full: %v", err)
	}
	l := collecttest.Start(t, New(w.config(), "x", "", nil), &collecttest.Log{})
	l.Await(n)
	l.Until(func() bool { left, err := w.client.LLen(ctx, w.key).Result(); return err == nil && left == 0 })
	if err := w.client.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	l.Expect(`{"n":"%d"}`, n)
}

// testListLook: who only looks sees the next items, and changes nothing.
func testListLook(t *testing.T, w *world) {
	w.send(t, 0, 5)
	log := &collecttest.Log{}
	log.Fail(3)
	if err := collecttest.Once(t, w.named(), log); err == nil {
		t.Fatal("no fault")
	}
	w.send(t, 5, 25)
	before := fmt.Sprint(w.ours(t))
	c := w.config()
	c.Only(true)
	seen := &collecttest.Log{}
	if err := collecttest.Once(t, New(c, "x", "", nil), seen); err != nil {
		t.Fatal(err)
	}
	if items := seen.Items(); len(items) < 23 || items[len(items)-1] != `{"n":"24"}` {
		t.Error(items)
	}
	c.Pop = popRight
	seen = &collecttest.Log{}
	if err := collecttest.Once(t, New(c, "y", "", nil), seen); err != nil {
		t.Fatal(err)
	}
	if items := seen.Items(); len(items) != 20 || items[0] != `{"n":"24"}` {
		t.Error(items)
	}
	if after := fmt.Sprint(w.ours(t)); after != before {
		t.Errorf("%s became %s", before, after)
	}
	if n := w.client.Exists(t.Context(), w.key+":headwater-y:removed").Val(); n != 0 {
		t.Error("who looked has left a key")
	}
	log.Fail(0)
	collecttest.Start(t, w.named(), log).Expect(`{"n":"%d"}`, 25)
}

// testListMillion drains a large list.
func testListMillion(t *testing.T, w *world) {
	n := 100_000
	if os.Getenv("HEADWATER_MILLION") != "" {
		n = 1_000_000
	}
	for i := 0; i < n; i += 10_000 {
		w.send(t, i, i+10_000)
	}
	var count counted
	s := w.named()
	began := time.Now()
	if err := s.Run(t.Context(), &count, true); err != nil {
		t.Fatal(err)
	}
	rate := float64(n) / time.Since(began).Seconds()
	t.Logf("%.0f items a second", rate)
	if int(count) != n || !w.empty(t) || rate < 5000 {
		t.Errorf("%d items at %.0f a second", count, rate)
	}
}

// counted is an Out whose Kafka takes everything at once.
type counted int

func (c *counted) Streams() map[string]envelope.StreamCursor { return nil }

func (c *counted) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func (c *counted) Drain(context.Context) error { return nil }

func (c *counted) Emit(_ context.Context, it collect.Item) error {
	*c++
	it.Done()
	return nil
}

func testListFlood(t *testing.T, w *world) {
	const n, count = 5000, 200
	c := w.config()
	c.Count = count
	w.send(t, 0, n)
	log := &collecttest.Log{Buffer: n}
	release := log.Hold()
	l := collecttest.Start(t, New(c, "x", "", nil), log)
	l.Await(2 * count)
	time.Sleep(200 * time.Millisecond)
	if got := len(log.Records()); got != 2*count {
		t.Errorf("%d records before the first acknowledgement, want %d", got, 2*count)
	}
	if items, _ := w.ours(t); len(items) != 2*count {
		t.Errorf("%d items are kept until Kafka has them, want %d", len(items), 2*count)
	}
	release()
	l.Expect(`{"n":"%d"}`, n)
}

// testListCut cuts connections anywhere.
func testListCut(t *testing.T, w *world) {
	const n = 3000
	p := fixture.NewProxy(t, w.server.Addr)
	c := w.config()
	c.URL, c.Count = "redis://"+p.Addr, 50
	w.send(t, 0, n)
	p.CutWithin(8_000)
	l := collecttest.Start(t, New(c, "x", "", nil), &collecttest.Log{})
	l.Await(n - 100)
	p.CutWithin(0)
	p.Break()
	l.Await(n)
	l.Until(func() bool { return w.empty(t) })
	l.Expect(`{"n":"%d"}`, n)
	if p.Dials.Load() < 10 {
		t.Errorf("only %d connections", p.Dials.Load())
	}
}

// testListRefused: what only a person can mend.
func testListRefused(t *testing.T, w *world) {
	ctx := t.Context()
	stopped := func(want string) {
		t.Helper()
		if err := collecttest.Once(t, w.named(), &collecttest.Log{}); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := w.client.Set(ctx, w.key, "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	stopped("WRONGTYPE")
	w.client.Del(ctx, w.key)
	w.push(t, "x", "y")
	for _, rule := range []string{"-rpush", "-eval"} {
		if err := w.client.Do(ctx, "acl", "setuser", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
		stopped("run")
		if err := w.client.Do(ctx, "acl", "setuser", "default", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
	}
	err := New(w.config(), "x", "", nil).explain("reading", fmt.Errorf("ERR unknown command 'BLMOVE', with args beginning with:"))
	if retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "Redis 6.2 or later is needed") {
		t.Error(err)
	}
}
