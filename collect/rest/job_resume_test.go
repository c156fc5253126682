package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/setting"
)

// TestJobResume: a process ends after every record, and the next one goes on with the same job behind it.
func TestJobResume(t *testing.T) {
	t.Parallel()
	for _, windows := range []bool{true, false} {
		for _, children := range []bool{true, false} {
			t.Run(fmt.Sprintf("windows %v, children %v", windows, children), func(t *testing.T) {
				t.Parallel()
				o := &bureau{files: same(lined(times(0, 3)...), "", lined(times(2, 4)...)), slow: 2}
				b := newBureau(t, o)
				want := append(times(0, 3), times(2, 4)...)
				if children {
					order := func(n int) string { return fmt.Sprintf(`{"id":"o/%d","at":"2001-01-0%dT00:00:00Z"}`, n, n+1) }
					o.files = same(lined(order(0), order(1), order(2)), "", lined(order(3), order(4)))
					o.first = func(w http.ResponseWriter, r *http.Request) bool {
						if strings.HasPrefix(r.URL.Path, "/orders/") {
							orders(w, r)
						}
						return strings.HasPrefix(r.URL.Path, "/orders/")
					}
					withLines(&b.c)
					b.c.Paginate.PageNumber = nil
					want = allLines(5)
				}
				if windows {
					since(&b.c)
				}
				for n := range want {
					b.log.Fail(2)
					if err := b.once(); n < len(want)-1 && err == nil {
						t.Fatalf("process %d did not fail", n)
					}
				}
				b.expect(want...)
				most := 1
				if windows {
					most = 2 // for what is new since the first
				}
				if n := o.submits(); n != most {
					t.Errorf("%d jobs were submitted", n)
				}
				if windows {
					b.log.Fail(0)
					b.must()
					b.expect(want...)
				}
			})
		}
	}
}

// TestOtherJobs: with a job whose answer is lost, and another one whose files come in another order and are cut elsewhere, what says the same
// TestJobWindow: a window does not begin after the job before it was submitted, because what was changed while that was read may not be in it.
func TestJobWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &bureau{slow: 2}
		o.files = func(n int, _ string) []string {
			return []string{lined(dated(n, "1999-12-31T23:00:00Z"), dated(n, time.Now().UTC().Format(time.RFC3339)))}
		}
		b := &bench{t: t, c: DefaultConfig(), log: newLog()}
		b.c.URL = "http://api.example/items"
		reports(&b.c, "http://api.example")
		since(&b.c)
		b.c.Job.Deadline, b.c.Incremental.Lag = 24*time.Hour, 0
		b.c.Incremental.Initial = "1999-12-31T00:00:00Z"
		process := func(most time.Duration) error {
			s := source(t, b.c)
			s.transport = inside{b.watch(o.ServeHTTP)}
			ctx, cancel := context.WithTimeout(t.Context(), most)
			defer cancel()
			return b.runner(s).Run(ctx, true)
		}
		if err := process(time.Nanosecond); err == nil {
			t.Fatal("the first process has read the job")
		}
		time.Sleep(time.Hour)
		if err := process(time.Hour); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(o.begun), "[since=1999-12-31T00%3A00%3A00Z since=2000-01-01T00%3A00%3A00Z]"; got != want {
			t.Errorf("the windows are %s, want %s", got, want)
		}
	})
}

// memory is an Out whose cursor is given, and that keeps no more than what was emitted.
type memory struct {
	streams map[string]envelope.StreamCursor
	items   int
	last    snapshot
}

func (m *memory) Streams() map[string]envelope.StreamCursor { return m.streams }
func (m *memory) Drain(context.Context) error               { return nil }

func (m *memory) Emit(context.Context, collect.Item) error {
	m.items++
	return nil
}

func (m *memory) Mark(_ context.Context, stream string, resume json.RawMessage, _ bool, durable func()) error {
	if durable != nil {
		durable()
	}
	if stream != snapshotStream {
		return nil
	}
	return json.Unmarshal(resume, &m.last)
}

// TestJobCursor: a job goes on only where the cursor says that it is that of this poll or window, and of this configuration.
func TestJobCursor(t *testing.T) {
	t.Parallel()
	three := lined(times(0, 3)...)
	sum := sumOf(lines([]byte(three)))
	for name, c := range map[string]struct {
		span    string
		begun   int64
		last    *snapshot
		change  func(*Config)
		submits int // beside the one that is under way
		items   int
	}{
		"a poll":                {begun: 7, last: &snapshot{Poll: 7, Spot: spot{Page: 1}, Items: 1, Sum: sum[:]}, items: 2},
		"a poll that is new":    {begun: 8, last: &snapshot{Poll: 7, Done: true}, items: 3},
		"a later poll":          {begun: 7, last: &snapshot{Poll: 9, Spot: spot{Page: 1}, Items: 1, Sum: sum[:]}, items: 3},
		"a poll that is done":   {begun: 7, last: &snapshot{Poll: 7, Done: true}, submits: 1, items: 3},
		"another configuration": {begun: 7, last: &snapshot{Poll: 7, Spot: spot{Page: 1}, Items: 1, Sum: sum[:]}, change: func(c *Config) { c.Params = map[string]setting.Secret{"a": "1"} }, submits: 1, items: 3},
		"other files":           {begun: 7, last: &snapshot{Poll: 7, Spot: spot{Page: 1}, Items: 1, Sum: []byte("x")}, submits: 1, items: 3},
		"fewer files":           {begun: 7, last: &snapshot{Poll: 7, Spot: spot{Page: 2, File: 1}, Items: 1, Sum: sum[:]}, submits: 1, items: 3},
		"a window":              {span: "946684800000000", begun: 7, submits: 1, items: 4},
		"another window":        {span: "946684800000001", begun: 7, submits: 1, items: 3},
		"a window of the past":  {span: "946684800000000", begun: 7, change: func(c *Config) { c.Incremental.Step = 20 * 366 * 24 * time.Hour }, submits: 2, items: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &bureau{begun: []string{"there"}, files: func(n int, _ string) []string {
				if n == 0 && c.span != "" {
					return []string{lined(times(0, 4)...)}
				}
				return []string{three}
			}}
			b := newBureau(t, o)
			if c.span != "" {
				since(&b.c)
				b.c.Params["until"] = "{incremental.end}"
			}
			s := source(t, b.c)
			client, err := s.client(nil)
			if err != nil {
				t.Fatal(err)
			}
			p := s.pages(client, s.items, window("", ""))
			p.span = c.span
			resume := func(v any) envelope.StreamCursor {
				text, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				return envelope.StreamCursor{Resume: text}
			}
			out := &memory{streams: map[string]envelope.StreamCursor{
				jobStream: resume(jobResume{Begun: c.begun, For: (&jobs{s: s}).name(p), ID: "0"}),
			}}
			if c.last != nil {
				out.streams[snapshotStream] = resume(c.last)
			}
			if c.change != nil {
				c.change(&b.c)
				s = source(t, b.c)
			}
			if err := s.Run(t.Context(), out, true); err != nil {
				t.Fatal(err)
			}
			if n := o.submits() - 1; n != c.submits || out.items != c.items {
				t.Errorf("%d submits and %d items", n, out.items)
			}
			if c.last != nil && c.submits == 0 && out.last.Poll != c.last.Poll && out.last.Poll != c.begun {
				t.Errorf("the poll is of %d", out.last.Poll)
			}
		})
	}
}

// TestJobSteps: a job for each window of the past, of which a process that ends knows only that for its window.
func TestJobSteps(t *testing.T) {
	t.Parallel()
	o := &bureau{}
	o.files = func(_ int, query string) []string {
		for n := range 5 {
			if strings.Contains(query, fmt.Sprintf("since=2001-01-%02d", n+1)) {
				return []string{lined(times(n, n+1)...)}
			}
		}
		return nil
	}
	b := newBureau(t, o)
	since(&b.c)
	b.c.Params["until"] = "{incremental.end}"
	b.c.Incremental.Initial, b.c.Incremental.Step, b.c.Incremental.Lag = "2001-01-01T00:00:00Z", 24*time.Hour, 0
	s := source(t, b.c)
	ranged, err := s.Between("2001-01-01T00:00:00Z", "2001-01-06T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		b.log.Fail(2)
		_ = b.runner(ranged.(*Source)).Run(t.Context(), true)
	}
	b.log.Fail(0)
	b.expect(times(0, 5)...)
	if n := o.submits(); n != 5 {
		t.Errorf("%d jobs were submitted", n)
	}
}

// ledger is a world of numbered items with times, of which a bureau makes reports in files of five.
type ledger struct {
	*world
	times []int64 // of the items, in milliseconds
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{world: &world{}}
	made := map[int][]string{}
	o := &bureau{slow: 1, files: func(n int, query string) []string {
		if made[n] == nil {
			made[n] = l.report(query)
			rand.Shuffle(len(made[n]), func(i, j int) { made[n][i], made[n][j] = made[n][j], made[n][i] })
		}
		return made[n]
	}}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *ledger) report(query string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, err := strconv.ParseInt(strings.TrimPrefix(query, "since="), 10, 64)
	if err != nil {
		return []string{err.Error()}
	}
	files := []string{}
	var items []string
	for i, n := range l.items {
		if l.times[i] >= since {
			items = append(items, fmt.Sprintf(`{"n":%d,"at":%d}`, n, l.times[i]))
		}
	}
	for five := range slices.Chunk(items, 5) {
		files = append(files, lined(five...))
	}
	return files
}

func (l *ledger) Put(_ *testing.T, _, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items, l.times = append(l.items, n), append(l.times, time.Now().UnixMilli())
}

func (l *ledger) Source(t *testing.T) collect.Source {
	c := DefaultConfig()
	c.URL, c.Every = l.url+"/items", 20*time.Millisecond
	reports(&c, l.url)
	since(&c)
	c.Incremental.Format, c.Incremental.Initial = spellMillis, "0"
	return source(t, c)
}

// TestJobConformance: the suite that every source passes, with every item in a report.
func TestJobConformance(t *testing.T) {
	collecttest.Run(t, collecttest.Harness{World: func(t *testing.T) collecttest.World { return newLedger(t) }})
}
