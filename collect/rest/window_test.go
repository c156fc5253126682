package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// dated is an item with a time of change.
func dated(n int, at string) string { return fmt.Sprintf(`{"n":%d,"at":%q}`, n, at) }

// since reads items with times.
func since(c *Config) {
	c.Params = map[string]setting.Secret{"since": "{incremental.start}"}
	c.Incremental.Path, c.Incremental.Initial = ".at", "2000-01-01T00:00:00Z"
}

// serveItems gives what items has.
func serveItems(items *atomic.Value) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":[` + strings.Join(items.Load().([]string), ",") + `]}`))
	}
}

// TestOverlap: what becomes visible late, within lag, is taken; what was taken is not taken again; and what cannot come again is forgotten.
func TestOverlap(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	b := newBench(t, serveItems(&items))
	since(&b.c)
	b.c.Incremental.Lag = 10 * time.Minute
	first := dated(1, "2001-01-01T00:00:00Z")
	second := dated(2, "2001-01-01T00:09:59.999999Z")
	late := dated(3, "2001-01-01T00:00:00.5Z")
	later := dated(4, "2001-01-01T03:00:00+01:00") // 02:00
	tooLate := dated(5, "2001-01-01T01:49:59Z")
	var want []string
	for _, step := range []struct{ show, fresh []string }{
		{[]string{second, first}, []string{second, first}},
		{[]string{second, late, first}, []string{late}},
		{[]string{`{ "at":"2001-01-01T00:00:00Z", "n":1 }`, late, later}, []string{later}},
		{[]string{tooLate, later, second}, nil},
		{[]string{}, nil},
	} {
		items.Store(step.show)
		want = append(want, step.fresh...)
		for range 2 {
			b.must()
		}
		b.expect(want...)
	}
	if got, last := b.asked(), "since=2001-01-01T01%3A50%3A00Z"; got[len(got)-1] != last {
		t.Errorf("the last window is %s, want %s", got[len(got)-1], last)
	}
	if _, c := b.log.Snapshots(); len(c.Streams) != 2 {
		t.Errorf("the cursor has %v", c.Streams)
	}
}

// TestSteps: the past is read in windows of step, which overlap by lag, up to now.
func TestSteps(t *testing.T) {
	t.Parallel()
	set := func(c *Config) {
		since(c)
		c.Params["until"] = "{incremental.end}"
		c.Incremental.Initial, c.Incremental.Step, c.Incremental.Lag = "1999-12-31T21:00:00Z", time.Hour, 10*time.Minute
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		// An item at each window's end, which is the next one's, and one that is older than all.
		_, _ = w.Write([]byte(`{"data":[` + dated(1, r.FormValue("until")) + "," + dated(2, "1999-01-01T00:00:00Z") + `]}`))
	}
	bubble(t, set, serve, func(b *bench, err error, _ time.Duration) {
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, query := range b.asked() {
			q, _ := url.ParseQuery(query)
			got = append(got, strings.TrimPrefix(q.Get("since"), "1999-12-31T")+" "+strings.TrimPrefix(q.Get("until"), "1999-12-31T"))
		}
		want := []string{"21:00:00Z 22:00:00Z", "21:50:00Z 22:50:00Z", "22:40:00Z 23:40:00Z", "23:30:00Z 2000-01-01T00:00:00Z"}
		if !slices.Equal(got, want) {
			t.Errorf("the windows are %q", got)
		}
		b.expect()
	})
}

// TestFuture: a time that has not come does not move the window beyond now, and is taken once.
func TestFuture(t *testing.T) {
	t.Parallel()
	for _, order := range []string{orderAny, orderAscending} {
		synctest.Test(t, func(t *testing.T) {
			b := &bench{t: t, c: DefaultConfig(), log: newLog()}
			b.c.URL, b.c.Records = "http://api.example/items", ".data[]"
			since(&b.c)
			b.c.Incremental.Initial, b.c.Incremental.Order = "1999-12-01T00:00:00Z", order
			var items atomic.Value
			once := func(show ...string) {
				items.Store(show)
				s := source(t, b.c)
				s.transport = inside{b.watch(serveItems(&items))}
				if err := b.runner(s).Run(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
			far := dated(1, "9999-01-01T00:00:00Z")
			once(far)
			time.Sleep(time.Hour)
			now := dated(2, "2000-01-01T00:30:00Z")
			once(now, far)
			once(now, far)
			b.expect(far, now)
		})
	}
}

// TestNoTime: an item whose time cannot be read is malformed, and there once.
func TestNoTime(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	b := newBench(t, serveItems(&items))
	since(&b.c)
	for n := range 3 {
		items.Store([]string{`{"n":1}`, `{"n":2,"at":"yesterday"}`, `7`, dated(3, fmt.Sprintf("2001-01-0%dT00:00:00Z", n+1))})
		b.must()
	}
	b.expect(
		`!incremental: .at: is not a time as 2026-07-05T12:00:00Z "{\"n\":1}"`,
		`!incremental: .at: is not a time as 2026-07-05T12:00:00Z "{\"n\":2,\"at\":\"yesterday\"}"`,
		`!incremental: .at: expected an object but got: number (7) "7"`,
		dated(3, "2001-01-01T00:00:00Z"), dated(3, "2001-01-02T00:00:00Z"), dated(3, "2001-01-03T00:00:00Z"),
	)
}

// TestAlike: items that say the same on one page are several; with a key what else an item says does not matter.
func TestAlike(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	b := newBench(t, serveItems(&items))
	since(&b.c)
	same := dated(1, "2001-01-01T00:00:00Z")
	items.Store([]string{same, same})
	b.must()
	items.Store([]string{same, same, same})
	b.must()
	b.expect(same, same, same)

	b = newBench(t, serveItems(&items))
	since(&b.c)
	b.c.Incremental.Key = ".n"
	for _, link := range []string{"a", "b"} {
		items.Store([]string{fmt.Sprintf(`{"n":1,"at":"2001-01-01T00:00:00Z","link":%q}`, link), dated(2, "2001-01-01T00:00:00Z")})
		b.must()
	}
	b.expect(`{"n":1,"at":"2001-01-01T00:00:00Z","link":"a"}`, dated(2, "2001-01-01T00:00:00Z"))
}

// TestNotModified: an answer that has nothing, because nothing has changed since nobody asked when, is no empty page.
func TestNotModified(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	since(&b.c)
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "304 to a request without a condition") {
		t.Error(err)
	}
}

// TestMaxSeen: a window that has more items than can be remembered stops before one is there twice.
func TestMaxSeen(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	b := newBench(t, serveItems(&items))
	since(&b.c)
	b.c.Incremental.MaxSeen = 2
	show := []string{dated(1, "2001-01-01T00:00:00Z"), dated(2, "2001-01-01T00:00:00Z"), dated(3, "2001-01-01T00:00:00Z")}
	items.Store(show)
	err := b.once()
	if err == nil || !strings.Contains(err.Error(), "has more than incremental.max_seen (2) items") || retry.Classify(err) != retry.Permanent {
		t.Error(err)
	}
	b.expect(show[:2]...)
	b.c.Incremental.MaxSeen = 3
	b.must()
	b.expect(show...)
}

// TestOrder: what does not come in the order that was promised is an error.
func TestOrder(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	b := newBench(t, serveItems(&items))
	since(&b.c)
	b.c.Incremental.Order = orderAscending
	items.Store([]string{dated(1, "2001-01-01T00:00:01Z"), dated(2, "2001-01-01T00:00:00Z")})
	err := b.once()
	if err == nil || !strings.Contains(err.Error(), "an item of 2001-01-01T00:00:00Z comes after one of 2001-01-01T00:00:01Z") || retry.Classify(err) != retry.Permanent {
		t.Error(err)
	}
}

// TestSpelling: how the API is asked, and what a time on an item may look like.
func TestSpelling(t *testing.T) {
	t.Parallel()
	for format, c := range map[string]struct{ initial, at, start, next string }{
		spellISO:     {"2026-01-02", `"2026-01-02T10:00:00.25+02:00"`, "2026-01-02T00:00:00Z", "2026-01-02T08:00:00.25Z"},
		spellSeconds: {"1783252800", `1783252800.75`, "1783252800", "1783252800"},
		spellMillis:  {"1783252800000", `"1783252800123"`, "1783252800000", "1783252800123"},
		spellDate:    {"2026-01-02", `"2026-01-03T10:00:00Z"`, "2026-01-02", "2026-01-03"},
		spellInteger: {"-5", `12345678901234567`, "-5", "12345678901234567"},
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte(`{"data":[{"at":` + c.at + `}]}`))
			})
			since(&b.c)
			b.c.Incremental.Format, b.c.Incremental.Initial, b.c.Incremental.Lag = format, c.initial, 0
			b.must()
			b.must()
			b.expect(`{"at":` + c.at + `}`)
			got := b.asked()
			for i, want := range []string{c.start, c.next} {
				if q, _ := url.ParseQuery(got[i]); q.Get("since") != want {
					t.Errorf("window %d begins at %s, want %s", i, q.Get("since"), want)
				}
			}
		})
	}
	inc := Incremental{Format: spellDate}
	at, err := inc.parse("2026-01-02T00:00:00.000001Z")
	if err != nil || inc.spell(at, true) != "2026-01-03" || inc.spell(-1, false) != "1969-12-31" {
		t.Errorf("%s %s %v", inc.spell(at, true), inc.spell(-1, false), err)
	}
}

// shop is an API whose items are changed while it is read: each has a version, and only the newest can be seen.
type shop struct {
	random   *rand.Rand
	versions []int
	at       []time.Time
	changes  int             // that may still come
	ever     map[string]bool // what has been seen by somebody
	sort     string
	format   string
	size     int
}

// change adds and changes some items, each at a time of its own or at the same one.
func (s *shop) change() {
	for range s.random.IntN(4) {
		if s.random.IntN(2) == 0 {
			time.Sleep(time.Duration(s.random.IntN(2000)) * time.Microsecond)
		}
		if i := s.random.IntN(len(s.versions) + 2); i < len(s.versions) {
			s.versions[i]++
			s.at[i] = time.Now()
		} else {
			s.versions, s.at = append(s.versions, 0), append(s.at, time.Now())
		}
	}
}

func (s *shop) item(i int) string {
	if s.format == spellSeconds {
		return fmt.Sprintf(`{"id":%d,"version":%d,"at":%d.%06d}`, i, s.versions[i], s.at[i].Unix(), s.at[i].Nanosecond()/1000)
	}
	return fmt.Sprintf(`{"id":%d,"version":%d,"at":%q}`, i, s.versions[i], s.at[i].UTC().Format(time.RFC3339Nano))
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.changes > 0 {
		s.changes--
		s.change()
	}
	inc := Incremental{Format: s.format}
	micros, err := inc.parse(r.FormValue("since"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	since := time.UnixMicro(micros)
	var found []int
	for i := range s.versions {
		if !s.at[i].Before(since) {
			found = append(found, i)
		}
	}
	slices.SortStableFunc(found, func(a, b int) int {
		switch s.sort {
		case "ascending":
			return cmp.Or(s.at[a].Compare(s.at[b]), a-b)
		case "descending":
			return cmp.Or(s.at[b].Compare(s.at[a]), a-b)
		}
		return a - b
	})
	from := min(len(found), s.size*(number(r, "page", 1)-1))
	var page []string
	for _, i := range found[from:min(len(found), from+s.size)] {
		page = append(page, s.item(i))
		s.ever[s.item(i)] = true
	}
	_, _ = w.Write([]byte(`{"data":[` + strings.Join(page, ",") + `]}`))
}

// TestShiftingPages reads shops while their pages shift, with processes that end anywhere. In the end the newest version of every item is there, no
// version is there twice, and none that never was.
func TestShiftingPages(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 7))
				s := &shop{random: random, ever: map[string]bool{}, size: 1 + random.IntN(6), sort: []string{"ascending", "descending", "by id"}[seed%3]}
				s.format = []string{spellISO, spellSeconds, spellDate}[random.IntN(3)]
				for range 20 {
					s.change()
				}
				b := &bench{t: t, c: DefaultConfig(), log: newLog()}
				b.log.PartitionCount = 2
				b.c.URL, b.c.Records = "http://api.example/items", ".data[]"
				since(&b.c)
				b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
				b.c.Incremental.Lag, b.c.Incremental.Format = time.Duration(random.IntN(20))*time.Millisecond, s.format
				if s.format == spellSeconds {
					b.c.Incremental.Initial = "0"
				}
				if s.sort == "ascending" && random.IntN(3) > 0 {
					b.c.Incremental.Order = orderAscending
				}
				process := func() error {
					src := source(t, b.c)
					src.transport = inside{b.watch(s.ServeHTTP)}
					return b.runner(src).Run(t.Context(), true)
				}
				for range 15 {
					b.log.Fail(random.IntN(12))
					if random.IntN(3) == 0 {
						b.log.Fail(0)
						b.log.Lose(random.IntN(12))
					}
					s.changes = random.IntN(30)
					_ = process() // many an end is asked for
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
				}
				b.log.Fail(0)
				b.log.Lose(0)
				s.changes = 0
				if err := process(); err != nil {
					t.Fatal(err)
				}
				times := map[string]int{}
				for _, item := range b.items() {
					times[item]++
					if times[item] > 1 || !s.ever[item] {
						t.Errorf("%s is there %d times", item, times[item])
					}
				}
				for i := range s.versions {
					if times[s.item(i)] != 1 {
						t.Errorf("the newest %s is there %d times", s.item(i), times[s.item(i)])
					}
				}
			})
		})
	}
}

// TestMissed: an item that moves to a page that was read already, while another takes its place, is found by another pass.
func TestMissed(t *testing.T) {
	t.Parallel()
	item := func(n int) string { return dated(n, fmt.Sprintf("2001-01-01T00:00:%02dZ", n)) }
	requests := 0
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		all := []string{item(1), item(2), item(3), item(4), item(5)}
		if requests++; requests > 1 {
			all = all[1:] // after the first page
		}
		page := number(r, "page", 1)
		from := min(len(all), 2*(page-1))
		_, _ = w.Write([]byte(`{"data":[` + strings.Join(all[from:min(len(all), from+2)], ",") + `]}`))
	})
	since(&b.c)
	b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
	b.must()
	b.expect(item(1), item(2), item(4), item(5), item(3))
	b.c.Paginate.Reread = false
	b.log, requests = newLog(), 0
	b.must()
	b.expect(item(1), item(2), item(4), item(5))
}

// TestSlides: what comes between two requests and moves to a page that was read already is not passed over.
func TestSlides(t *testing.T) {
	t.Parallel()
	item := func(n int) string { return dated(n, fmt.Sprintf("2001-01-01T00:00:%02dZ", n)) }
	all := []string{item(1)}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		since, page := r.FormValue("since"), number(r, "page", 1)
		if page == 2 && len(all) == 1 {
			all = append(all, item(2), item(3), item(4))
		}
		found := slices.Clone(all)
		if since != "2000-01-01T00:00:00Z" {
			found = found[slices.IndexFunc(found, func(s string) bool { return strings.Contains(s, since) }):]
		}
		from := min(len(found), 2*(page-1))
		_, _ = w.Write([]byte(`{"data":[` + strings.Join(found[from:min(len(found), from+2)], ",") + `]}`))
	})
	since(&b.c)
	b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
	b.c.Incremental.Order, b.c.Incremental.Lag = orderAscending, 0
	b.must()
	b.expectInAnyOrder(item(1), item(2), item(3), item(4))
}

// TestWindowWaits: a window's beginning is not moved before its items are acknowledged. Invariant 2.
func TestWindowWaits(t *testing.T) {
	t.Parallel()
	for _, order := range []string{orderAny, orderAscending} {
		var items atomic.Value
		items.Store([]string{dated(1, "2001-01-01T00:00:00Z"), dated(2, "2001-01-02T00:00:00Z")})
		b := newBench(t, serveItems(&items))
		since(&b.c)
		b.c.Incremental.Order = order
		b.snapshotEvery = time.Millisecond
		release := b.log.Hold()
		stop := b.live()
		for len(b.log.Records()) < 2 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // many snapshots
		if _, c := b.log.Snapshots(); len(c.Streams) > 0 {
			t.Errorf("order %s: with nothing acknowledged the cursor has %v", order, c.Streams)
		}
		release()
		stop()
		b.must()
		b.expect(items.Load().([]string)...)
		if _, c := b.log.Snapshots(); string(c.Streams[windowStream].Resume) != `{"start":"2001-01-01T23:59:00Z"}` {
			t.Errorf("order %s: in the end the cursor has %v", order, c.Streams)
		}
	}
}

// TestLastPass: what the last pass over pages is the first to see may have a hole, and is read again by the next poll.
func TestLastPass(t *testing.T) {
	t.Parallel()
	item := func(n int) string { return dated(n, fmt.Sprintf("2001-01-01T00:00:%02dZ", n)) }
	for _, order := range []string{orderAny, orderAscending} {
		all, requests := []string{item(1), item(2)}, 0
		b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
			if requests++; requests == 4 { // the second page of the second pass
				all = append(all, item(3), item(4), item(5), item(6))
			}
			found := all
			if at := slices.IndexFunc(all, func(s string) bool { return strings.Contains(s, r.FormValue("since")) }); at > 0 {
				found = all[at:]
			}
			from := min(len(found), 3*(number(r, "page", 1)-1))
			_, _ = w.Write([]byte(`{"data":[` + strings.Join(found[from:min(len(found), from+3)], ",") + `]}`))
		})
		since(&b.c)
		b.c.Incremental.Lag, b.c.Incremental.Order = 0, order
		b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
		for range 3 {
			b.must()
		}
		b.expectInAnyOrder(item(1), item(2), item(3), item(4), item(5), item(6))
	}
}

// TestShiftByAPage: what shifts by a whole page looks as if the server repeated it; the window is read again.
func TestShiftByAPage(t *testing.T) {
	t.Parallel()
	item := func(n int) string { return dated(n, fmt.Sprintf("2001-01-01T00:00:%02dZ", n)) }
	requests := 0
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		all := []string{item(3), item(2), item(1)}
		if requests++; requests > 1 {
			all = append([]string{item(5), item(4)}, all...)
		}
		from := min(len(all), 2*(number(r, "page", 1)-1))
		_, _ = w.Write([]byte(`{"data":[` + strings.Join(all[from:min(len(all), from+2)], ",") + `]}`))
	})
	since(&b.c)
	b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "it has the same items as page 1") || retry.Classify(err) != retry.Transient {
		t.Errorf("%v", err)
	}
	b.must()
	b.expect(item(3), item(2), item(5), item(4), item(1))
}

// TestOtherCursor: what stands in the topic and is not this kind of source's is told.
func TestOtherCursor(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	items.Store([]string{dated(1, "2001-01-01T00:00:00Z")})
	b := newBench(t, serveItems(&items))
	since(&b.c)
	b.must()
	b.c.Incremental.Format, b.c.Incremental.Initial = spellInteger, "0"
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "which does not go with the format integer") {
		t.Error(err)
	}
	b.c.Incremental = Incremental{}
	b.c.Params = nil
	b.must()
	b.expect(dated(1, "2001-01-01T00:00:00Z"), dated(1, "2001-01-01T00:00:00Z"))
}

func TestResumesAreJSON(t *testing.T) {
	t.Parallel()
	var items atomic.Value
	items.Store([]string{dated(1, "2001-01-01T00:00:00Z")})
	b := newBench(t, serveItems(&items))
	since(&b.c)
	b.must()
	_, c := b.log.Snapshots()
	if at := c.Streams[windowStream]; string(at.Resume) != `{"start":"2000-12-31T23:59:00Z"}` {
		t.Errorf("%s", at.Resume)
	}
	for name, at := range c.Streams {
		var r struct{ At int64 }
		if strings.HasPrefix(name, itemPrefix) && (json.Unmarshal(at.Resume, &r) != nil || r.At != 978307200000000) {
			t.Errorf("%s: %s", name, at.Resume)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.runner(source(t, b.c)).Run(ctx, true); err == nil {
		t.Error("a Run whose context is over succeeds")
	}
}

// TestBetween: a range is read to its end and no further, each item once, whatever order and steps it is read in, and is over when it was read.
func TestBetween(t *testing.T) {
	t.Parallel()
	var all []string
	for n := range 100 {
		all = append(all, dated(n, time.Date(2001, 1, 1, n, 0, 0, 0, time.UTC).Format(time.RFC3339)))
	}
	for name, set := range map[string]func(c *Config){
		"any":       func(*Config) {},
		"steps":     func(c *Config) { c.Params["until"], c.Incremental.Step = "{incremental.end}", 7*time.Hour },
		"ascending": func(c *Config) { c.Incremental.Order = orderAscending },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fails, requests := 3, 0
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if requests++; fails > 0 && requests%3 == 0 {
					fails--
					w.WriteHeader(http.StatusNotFound)
					return
				}
				show := []string{}
				for _, it := range all {
					at := it[len(it)-22 : len(it)-2]
					if at >= r.FormValue("since") && (r.FormValue("until") == "" || at < r.FormValue("until")) {
						show = append(show, it)
					}
				}
				page, _ := strconv.Atoi(r.FormValue("page"))
				show = show[min(len(show), (page-1)*10):min(len(show), page*10)]
				_, _ = w.Write([]byte(`{"data":[` + strings.Join(show, ",") + `]}`))
			})
			since(&b.c)
			set(&b.c)
			b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
			read := func() error {
				s, err := source(t, b.c).Between("2001-01-01T10:00:00Z", "2001-01-04T00:00:00Z")
				if err != nil {
					t.Fatal(err)
				}
				return b.runner(s.(*Source)).Run(t.Context(), true)
			}
			failed := 0
			for read() != nil {
				failed++
			}
			if failed != 3 {
				t.Errorf("it failed %d times", failed)
			}
			for range 2 {
				b.expect(all[10:72]...)
				before := requests
				if err := read(); err != nil || requests != before {
					t.Errorf("once more it makes %d requests: %v", requests-before, err)
				}
			}
			if _, c := b.log.Snapshots(); len(c.Streams) != 1 {
				t.Errorf("the cursor has %v", c.Streams)
			}
		})
	}
}

func TestNotBetween(t *testing.T) {
	for _, c := range []struct {
		from, to, want string
		set            func(*Config)
	}{
		{"2001-01-01T00:00:00Z", "2001-01-01T00:00:00Z", "must end after it begins", func(*Config) {}},
		{"yesterday", "2001-01-01T00:00:00Z", "must begin in the format iso", func(*Config) {}},
		{"2001-01-01T00:00:00Z", "1e9", "must end in the format iso", func(*Config) {}},
		{"2001-01-01T00:00:00Z", "9001-01-01T00:00:00Z", "is to come", func(*Config) {}},
		{"7", "9", "", func(c *Config) { c.Incremental.Format, c.Incremental.Initial = spellInteger, "0" }},
		{"7", "9", "without incremental.path", func(c *Config) { *c = DefaultConfig(); c.URL = "http://x" }},
		{"2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z", "refresh token", func(c *Config) { c.Auth.OAuth2Refresh = &Refresh{} }},
	} {
		conf := DefaultConfig()
		conf.URL = "http://x"
		since(&conf)
		c.set(&conf)
		s, err := New(conf, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Between(c.from, c.to); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %v, want %q", c.from, c.to, err, c.want)
		}
	}
}
