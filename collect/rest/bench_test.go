package rest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
)

// bench is a topic, a server and a configuration of a source that reads it.
type bench struct {
	t      *testing.T
	log    *collecttest.Log
	c      Config
	server *httptest.Server
	logged strings.Builder
	// snapshotEvery is how often the cursor is written, if it is not 0.
	snapshotEvery time.Duration

	mu       sync.Mutex
	requests []*http.Request
}

// newBench starts a server. What it answers is JSON if it does not say otherwise.
func newBench(t *testing.T, handle http.HandlerFunc) *bench {
	b := &bench{t: t, log: &collecttest.Log{}, c: DefaultConfig()}
	b.server = httptest.NewServer(b.watch(handle))
	t.Cleanup(func() {
		b.server.CloseClientConnections()
		b.server.Close()
	})
	b.c.URL, b.c.Records = b.server.URL+"/items", ".data[]"
	return b
}

func (b *bench) watch(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.requests = append(b.requests, r)
		b.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		handle(w, r)
	}
}

// asked are the queries of the requests so far.
func (b *bench) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	queries := []string{}
	for _, r := range b.requests {
		queries = append(queries, r.URL.RawQuery)
	}
	return queries
}

// runner is a process.
func (b *bench) runner(s *Source) *collect.Runner {
	c := collect.DefaultConfig()
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 5 * time.Millisecond, Tries: 1}
	c.SnapshotEvery = cmp.Or(b.snapshotEvery, c.SnapshotEvery)
	logger := slog.New(slog.NewTextHandler(&b.logged, nil))
	s.log = logger
	return collect.New(collect.Options{Name: "api", Source: s, Open: b.log.Open, Quarantine: &collecttest.Quarantine{}, Config: c, Logger: logger})
}

func (b *bench) once() error {
	b.t.Helper()
	return b.runner(source(b.t, b.c)).Run(b.t.Context(), true)
}

func (b *bench) must() {
	b.t.Helper()
	if err := b.once(); err != nil {
		b.t.Fatal(err)
	}
}

// live runs until stop.
func (b *bench) live() (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := b.runner(source(b.t, b.c))
	result := make(chan error, 1)
	go func() { result <- r.Run(ctx, false) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

// items are the raw_data of the records in their order; those that are malformed begin with ! and have the reason.
func (b *bench) items() []string {
	b.t.Helper()
	items := []string{}
	for _, r := range b.log.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			b.t.Fatal(err)
		}
		text := string(v.RawData)
		if reason, is := envelope.MetadataMalformed(v.Metadata); is {
			text = "!" + reason + " " + text
		}
		if strings.Contains(string(r.Value)+string(r.Position.Resume), "s3cret") {
			b.t.Errorf("a secret is in a record: %s %s", r.Value, r.Position.Resume)
		}
		items = append(items, text)
	}
	for _, fault := range b.log.Faults() {
		b.t.Error(fault)
	}
	return items
}

func (b *bench) expect(want ...string) {
	b.t.Helper()
	if d := gocmp.Diff(append([]string{}, want...), b.items()); d != "" {
		b.t.Errorf("items (-want +got):\n%s", d)
	}
}

func (b *bench) expectInAnyOrder(want ...string) {
	b.t.Helper()
	got := b.items()
	slices.Sort(got)
	if d := gocmp.Diff(slices.Sorted(slices.Values(want)), got); d != "" {
		b.t.Errorf("items (-want +got):\n%s", d)
	}
}

// numbers are items as expect takes them.
func numbers(from, to int) (items []string) {
	for n := from; n < to; n++ {
		items = append(items, fmt.Sprintf(`{"n":%d}`, n))
	}
	return items
}

func newLog() *collecttest.Log { return &collecttest.Log{} }

// inside answers requests without a network, for tests that bend time.
type inside struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (h inside) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// BenchmarkChildren reads the children of 500 items, each in 20 ms.
func BenchmarkChildren(b *testing.B) {
	api := &brood{parents: 500}
	api.lines = func(w http.ResponseWriter, _ *http.Request, parent, _ int) bool {
		time.Sleep(20 * time.Millisecond)
		reply(w, map[string]any{"data": []any{map[string]any{"of": parent}}})
		return true
	}
	server := httptest.NewServer(api)
	defer server.Close()
	for _, concurrency := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d at once", concurrency), func(b *testing.B) {
			c := DefaultConfig()
			c.URL, c.Records, c.Concurrency = server.URL+"/items", ".data[]", concurrency
			c.Children.URL, c.Children.Records = server.URL+"/lines?of={parent.id}", ".data[]"
			for b.Loop() {
				s, err := New(c, "", nil)
				if err != nil {
					b.Fatal(err)
				}
				log := newLog()
				r := collect.New(collect.Options{Name: "api", Source: s, Open: log.Open, Quarantine: &collecttest.Quarantine{}, Config: collect.DefaultConfig(), Logger: slog.New(slog.DiscardHandler)})
				if err := r.Run(b.Context(), true); err != nil || len(log.Records()) != 500 {
					b.Fatal(len(log.Records()), err)
				}
			}
		})
	}
}
