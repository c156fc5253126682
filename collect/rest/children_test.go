package rest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/internal/setting"
)

// orders is an API of 7 orders on pages of 3, of which the nth has n lines on pages of 2.
func orders(w http.ResponseWriter, r *http.Request) {
	page, data := number(r, "page", 1), []any{}
	rest, isLine := strings.CutPrefix(r.URL.Path, "/orders/")
	if !isLine {
		for n := 3 * (page - 1); n < min(7, 3*page); n++ {
			data = append(data, map[string]any{"id": fmt.Sprintf("o/%d", n), "at": fmt.Sprintf("2001-01-0%dT00:00:00Z", n+1)})
		}
		reply(w, map[string]any{"data": data})
		return
	}
	var order int
	if _, err := fmt.Sscanf(rest, "o/%d/lines", &order); err != nil || !strings.Contains(r.URL.EscapedPath(), "o%2F") {
		http.Error(w, "no such "+r.RequestURI, http.StatusBadRequest)
		return
	}
	for line := 2 * (page - 1); line < min(order, 2*page); line++ {
		data = append(data, map[string]any{"line": line})
	}
	reply(w, map[string]any{"lines": data})
}

func withLines(c *Config) {
	c.Paginate.PageNumber = &PageNumber{Param: "page"}
	c.Children.Records, c.Children.Include = ".lines[]", map[string]string{"order": ".id"}
	c.Children.Paginate.PageNumber = &PageNumber{Param: "page"}
	c.Children.URL = strings.TrimSuffix(c.URL, "/items") + "/orders/{parent.id}/lines"
}

// allLines are those of the orders before one.
func allLines(until int) (items []string) {
	for order := range until {
		for line := range order {
			items = append(items, fmt.Sprintf(`{"order":"o/%d","line":%d}`, order, line))
		}
	}
	return items
}

// atOnce is a test with one request at a time and with several.
func atOnce(t *testing.T, test func(t *testing.T, concurrency int)) {
	t.Helper()
	for _, concurrency := range []int{1, 8} {
		t.Run(fmt.Sprintf("%d at once", concurrency), func(t *testing.T) { test(t, concurrency) })
	}
}

// TestChildrenResume: a process ends after every record, and the next one goes on behind it, in polls of all there is and in windows.
func TestChildrenResume(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		for name, set := range map[string]func(*Config){"everything": func(*Config) {}, "windows": since, "ascending": func(c *Config) {
			since(c)
			c.Incremental.Order = orderAscending
		}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				serve := orders
				if name == "ascending" {
					serve = func(w http.ResponseWriter, r *http.Request) {
						if since := r.FormValue("since"); strings.HasPrefix(since, "2001") && !strings.HasPrefix(r.URL.Path, "/orders/") {
							if number(r, "page", 1) > 1 {
								reply(w, map[string]any{"data": []any{}})
								return
							}
							day := int(since[len("2001-01-0")] - '0')
							data := []any{}
							for n := day - 1; n < 7; n++ {
								data = append(data, map[string]any{"id": fmt.Sprintf("o/%d", n), "at": fmt.Sprintf("2001-01-0%dT00:00:00Z", n+1)})
							}
							reply(w, map[string]any{"data": data})
							return
						}
						orders(w, r)
					}
				}
				b := newBench(t, serve)
				b.c.Concurrency = concurrency
				withLines(&b.c)
				set(&b.c)
				want := allLines(7)
				for n := range want {
					b.log.Fail(2)
					if err := b.once(); n < len(want)-1 && err == nil {
						t.Fatalf("process %d did not fail", n)
					}
				}
				b.log.Fail(0)
				b.expect(want...)
				if name == "everything" {
					return
				}
				b.must()
				before := len(b.asked())
				b.must()
				b.expect(want...)
				b.mu.Lock()
				defer b.mu.Unlock()
				for _, r := range b.requests[before:] {
					if strings.HasPrefix(r.URL.Path, "/orders/") {
						t.Errorf("children of an item that is known are asked for: %s", r.URL)
					}
				}
				// Only the newest order is in the overlap; what had been its lines is forgotten.
				if _, c := b.log.Snapshots(); len(c.Streams) != 2 {
					t.Errorf("the cursor has %v", c.Streams)
				}
			})
		}
	})
}

// TestChildrenThatChange: children that are others after a kill are each there once in windows; a poll of everything begins anew.
func TestChildrenThatChange(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		for _, windows := range []bool{true, false} {
			var more atomic.Bool
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/lines" {
					all := numbers(0, 4)
					if more.Load() {
						all = append(numbers(9, 10), all...)
					}
					_, _ = w.Write([]byte(`{"data":[` + strings.Join(all, ",") + `]}`))
					return
				}
				_, _ = w.Write([]byte(`{"data":[{"id":1,"at":"2001-01-01T00:00:00Z"}]}`))
			})
			b.c.Concurrency = concurrency
			b.c.Children.Records, b.c.Children.URL = ".data[]", b.server.URL+"/lines?of={parent.id}"
			want := append(append(numbers(0, 2), numbers(9, 10)...), numbers(0, 4)...)
			if windows {
				since(&b.c)
				want = append(append(numbers(0, 2), numbers(9, 10)...), numbers(2, 4)...)
			}
			b.log.Fail(3)
			if err := b.once(); err == nil {
				t.Fatal("nothing failed")
			}
			b.log.Fail(0)
			more.Store(true)
			b.must()
			b.expect(want...)
		}
	})
}

// TestChildrenAtRandom reads windows of orders with processes that end anywhere and produces whose replies are lost.
func TestChildrenAtRandom(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		for seed := range uint64(10) {
			random := rand.New(rand.NewPCG(seed, 3))
			b := newBench(t, orders)
			b.c.Concurrency = concurrency
			b.log.PartitionCount = 2
			withLines(&b.c)
			since(&b.c)
			for range 12 {
				b.log.Fail(random.IntN(6))
				if random.IntN(2) == 0 {
					b.log.Fail(0)
					b.log.Lose(random.IntN(6))
				}
				_ = b.once() // many an end is asked for
			}
			b.log.Fail(0)
			b.log.Lose(0)
			b.must()
			b.expectInAnyOrder(allLines(7)...)
			if t.Failed() {
				t.Fatalf("with seed %d", seed)
			}
		}
	})
}

// TestOddChildren: what an item lacks and a child cannot have makes that one malformed, and hides no other.
func TestOddChildren(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		for name, c := range map[string]struct {
			parents, children string
			code              int
			notFound          string
			want              []string
		}{
			"no id":       {parents: `{"a":1},{"id":2},{"id":""},{"id":".."},{"id":[3]}`, children: `{"n":0}`, want: []string{`!children: {parent.id} gives nothing to ask with "{\"a\":1}"`, `{"of":2,"n":0}`, `!children: {parent.id} gives nothing to ask with "{\"id\":\"\"}"`, `!children: {parent.id} gives nothing to ask with "{\"id\":\"..\"}"`, `!children: {parent.id} gives nothing to ask with "{\"id\":[3]}"`}},
			"own bytes":   {parents: `{"id":1.10}`, children: `{ "z":1.0, "a":"\u0041" },{ }`, want: []string{`{"of":1.10,"z":1.0,"a":"\u0041"}`, `{"of":1.10}`}},
			"no object":   {parents: `{"id":1}`, children: `5,{"n":1},null`, want: []string{`!children.include: the item is no object "5"`, `{"of":1,"n":1}`, `!children.include: the item is no object "null"`}},
			"its own":     {parents: `{"id":1}`, children: `{"of":2}`, want: []string{`!children.include: the item has a of of its own: write another name "{\"of\":2}"`}},
			"not found":   {parents: `{"id":1}`, code: 404, want: []string{`!children: the server answers 404 "{\"id\":1}"`}},
			"gone":        {parents: `{"id":1}`, code: 410, notFound: notFoundEmpty, want: []string{}},
			"no children": {parents: `{"id":1}`, want: []string{}},
		} {
			for _, windows := range []bool{true, false} {
				t.Run(fmt.Sprint(name, windows), func(t *testing.T) {
					t.Parallel()
					b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path == "/lines" {
							if c.code != 0 {
								w.WriteHeader(c.code)
								return
							}
							_, _ = w.Write([]byte(`{"data":[` + c.children + `]}`))
							return
						}
						_, _ = w.Write([]byte(`{"data":[` + c.parents + `]}`))
					})
					b.c.Concurrency = concurrency
					b.c.Children.Records, b.c.Children.URL = ".data[]", b.server.URL+"/lines?of={parent.id}"
					b.c.Children.Include = map[string]string{"of": ".id"}
					b.c.Children.NotFound = cmp.Or(c.notFound, notFoundMalformed)
					if windows {
						since(&b.c)
						b.c.Incremental.Path = `"2001-01-01T00:00:00Z"`
						b.must()
					}
					b.must()
					b.expect(c.want...)
				})
			}
		}
	})
}

// TestChildrenWait: an item is not marked before its children are acknowledged. Invariant 2.
func TestChildrenWait(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		b := newBench(t, orders)
		b.c.Concurrency = concurrency
		withLines(&b.c)
		since(&b.c)
		b.snapshotEvery = time.Millisecond
		release := b.log.Hold()
		stop := b.live()
		for len(b.log.Records()) < 3 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // many snapshots
		if _, c := b.log.Snapshots(); len(c.Streams) > 0 {
			t.Errorf("with nothing acknowledged the cursor has %v", c.Streams)
		}
		release()
		stop()
		b.must()
		b.expectInAnyOrder(allLines(7)...)
	})
}

// TestChildrenAreForgotten: the children of items on pages that are read do not count, and those that are too many stop before one is there twice.
func TestChildrenAreForgotten(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		b := newBench(t, orders)
		b.c.Concurrency = concurrency
		withLines(&b.c)
		since(&b.c)
		b.c.Incremental.MaxSeen = 15 // six items before the last page; three and the twelve children of the second page's
		if err := b.once(); err == nil || !strings.Contains(err.Error(), "has more than incremental.max_seen (15)") {
			t.Error(err)
		}
		b.c.Incremental.MaxSeen = 18
		b.must()
		b.expectInAnyOrder(allLines(7)...)
	})
}

// TestChildrenElsewhere: an address that an item has gets the credentials only where it may.
func TestChildrenElsewhere(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		other := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"data":[{"n":7}]}`)) })
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, map[string]any{"data": []any{map[string]string{"lines": other.server.URL + "/lines?a=1&b=2"}}})
		})
		b.c.Concurrency = concurrency
		b.c.Auth.Bearer = &Bearer{"s3cret-token"}
		b.c.Children.Records, b.c.Children.URL = ".data[]", "{parent.lines}"
		err := b.once()
		if err == nil || !strings.Contains(err.Error(), "name it in allow_hosts") || len(other.asked()) > 0 {
			t.Errorf("%v", err)
		}
		b.c.AllowHosts = []string{strings.TrimPrefix(other.server.URL, "http://")}
		b.must()
		b.expect(`{"n":7}`)
		if got := other.asked(); len(got) != 1 || got[0] != "a=1&b=2" {
			t.Errorf("%q", got)
		}
	})
}

// TestChildrenGoRound: what keeps pages from going round keeps those of children from it.
func TestChildrenGoRound(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, concurrency int) {
		b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"data":[{"id":1}]}`))
		})
		b.c.Concurrency = concurrency
		b.c.Children.Records, b.c.Children.URL = ".data[]", b.server.URL+"/lines"
		b.c.Children.Params = map[string]setting.Secret{"of": "{parent.id}"}
		b.c.Children.Paginate.PageNumber = &PageNumber{Param: "page"}
		if err := b.once(); err == nil || !strings.Contains(err.Error(), "/lines: it has the same items as page 1") {
			t.Error(err)
		}
		b.expect(`{"id":1}`)
	})
}
