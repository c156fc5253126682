package rest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/setting"
)

// brood is an API of parents of which each has two children on pages of one, and a third page that is empty.
type brood struct {
	parents int
	// lines answers a request for children, if it returns true.
	lines func(w http.ResponseWriter, r *http.Request, parent, page int) bool

	mu      sync.Mutex
	now     int
	most    int // requests for children at a time
	asked   []int
	started []time.Time // every request
}

func (a *brood) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.started = append(a.started, time.Now())
	a.mu.Unlock()
	data := []any{}
	if !strings.HasSuffix(r.URL.Path, "/lines") {
		for n := range a.parents {
			data = append(data, map[string]any{"id": n, "at": fmt.Sprintf("2001-01-01T00:%02d:00Z", n)})
		}
		reply(w, map[string]any{"data": data})
		return
	}
	parent, page := number(r, "of", -1), number(r, "page", 1)
	a.mu.Lock()
	a.now++
	a.most = max(a.most, a.now)
	a.asked = append(a.asked, parent)
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.now--
		a.mu.Unlock()
	}()
	if a.lines != nil && a.lines(w, r, parent, page) {
		return
	}
	if page < 3 {
		data = append(data, map[string]any{"of": parent, "n": page})
	}
	reply(w, map[string]any{"data": data})
}

func (a *brood) set(concurrency int, windows bool) func(*Config) {
	return func(c *Config) {
		c.Concurrency = concurrency
		c.Children.URL, c.Children.Records = "http://api.example/lines?of={parent.id}", ".data[]"
		c.Children.Paginate.PageNumber, c.Children.Paginate.Reread = &PageNumber{Param: "page"}, false
		if windows {
			c.Incremental.Path, c.Incremental.Initial = ".at", "2001-01-01T00:00:00Z"
		}
	}
}

// want are the children of the parents before one.
func (a *brood) want(until int) (items []string) {
	for n := range until {
		items = append(items, fmt.Sprintf(`{"n":1,"of":%d}`, n), fmt.Sprintf(`{"n":2,"of":%d}`, n))
	}
	return items
}

func both(t *testing.T, test func(t *testing.T, windows bool)) {
	t.Helper()
	for name, windows := range map[string]bool{"everything": false, "windows": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, windows)
		})
	}
}

// TestAheadInOrder: however long each answer takes, children come in the order of their items, and as many requests as may be are on their way.
func TestAheadInOrder(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, windows bool) {
		for _, concurrency := range []int{1, 3, 8, 64} {
			random := rand.New(rand.NewPCG(uint64(concurrency), 7))
			api := &brood{parents: 40}
			api.lines = func(http.ResponseWriter, *http.Request, int, int) bool {
				api.mu.Lock()
				d := time.Duration(random.IntN(1000)) * time.Millisecond
				api.mu.Unlock()
				time.Sleep(d)
				return false
			}
			bubble(t, api.set(concurrency, windows), api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
				if err != nil {
					t.Error(err)
				}
				b.expect(api.want(40)...)
				if want := min(concurrency, 40); api.most != want {
					t.Errorf("%d requests were on their way at a time, not %d", api.most, want)
				}
			})
		}
	})
}

// TestAheadIsBounded: while one answer is awaited no more are read than may be held.
func TestAheadIsBounded(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, windows bool) {
		api := &brood{parents: 40}
		var asked []int
		api.lines = func(_ http.ResponseWriter, _ *http.Request, parent, page int) bool {
			if parent == 10 && page == 1 {
				time.Sleep(30 * time.Second)
				api.mu.Lock()
				asked = slices.Clone(api.asked)
				api.mu.Unlock()
			}
			return false
		}
		bubble(t, api.set(4, windows), api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
			if err != nil {
				t.Error(err)
			}
			b.expect(api.want(40)...)
			if got := slices.Max(asked); got != 13 {
				t.Errorf("while the children of item 10 were awaited those of item %d were asked for", got)
			}
		})
	})
}

// TestAheadRate: rate_limit is of all requests together.
func TestAheadRate(t *testing.T) {
	t.Parallel()
	api := &brood{parents: 10}
	set := func(c *Config) {
		api.set(8, false)(c)
		c.RateLimit = 2
	}
	bubble(t, set, api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
		if err != nil {
			t.Error(err)
		}
		b.expect(api.want(10)...)
		for i := range api.started[1:] {
			if d := api.started[i+1].Sub(api.started[i]); d < 499*time.Millisecond {
				t.Errorf("request %d comes %v after the one before", i+1, d)
			}
		}
	})
}

// TestAheadToldToWait: where one request is told to wait none is sent meanwhile.
func TestAheadToldToWait(t *testing.T) {
	t.Parallel()
	api := &brood{parents: 30}
	var told time.Time
	api.lines = func(w http.ResponseWriter, _ *http.Request, parent, page int) bool {
		if page > 1 {
			return false
		}
		time.Sleep(time.Duration(parent%7+1) * time.Second)
		if parent != 12 || !told.IsZero() {
			return false
		}
		time.Sleep(500 * time.Millisecond) // between two
		told = time.Now()
		w.Header().Set("Retry-After", "90")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	set := func(c *Config) {
		api.set(8, false)(c)
		c.RateLimit = 1 // so that there is always one that waits for its turn
	}
	bubble(t, set, api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
		if err != nil || told.IsZero() {
			t.Error(err)
		}
		b.expect(api.want(30)...)
		for _, at := range api.started {
			if at.After(told) && at.Before(told.Add(90*time.Second)) {
				t.Errorf("a request is sent %v after the server has asked for 90 seconds", at.Sub(told))
			}
		}
	})
}

// TestAheadOfAStrictServer: one that takes a request a second and refuses all others refuses none to its end, as without others beside it.
func TestAheadOfAStrictServer(t *testing.T) {
	t.Parallel()
	api := &brood{parents: 30}
	var last time.Time
	refused := 0
	api.lines = func(w http.ResponseWriter, _ *http.Request, _, _ int) bool {
		api.mu.Lock()
		taken := time.Since(last) >= time.Second
		if taken {
			last = time.Now()
		} else {
			refused++
		}
		api.mu.Unlock()
		time.Sleep(300 * time.Millisecond) // so that those that are sent together are refused together
		if taken {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	bubble(t, api.set(16, false), api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
		if err != nil || refused == 0 {
			t.Errorf("%d were refused: %v", refused, err)
		}
		b.expect(api.want(30)...)
	})
}

// TestAheadFails: a failing request fails the poll at its place; the next one goes on there.
func TestAheadFails(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, windows bool) {
		for _, page := range []int{1, 2} {
			var healed atomic.Bool
			api := &brood{parents: 20}
			api.lines = func(w http.ResponseWriter, r *http.Request, parent, at int) bool {
				switch {
				case healed.Load():
					return false
				case parent == 5 && at == page:
					http.Error(w, "not this one", http.StatusBadRequest)
					return true
				case parent > 5:
					<-r.Context().Done() // what is read ahead is dropped, and not waited for
					return true
				case parent == 4:
					time.Sleep(time.Second) // after the failure of what comes after it
				}
				return false
			}
			bubble(t, api.set(8, windows), api.ServeHTTP, func(b *bench, err error, took time.Duration) {
				if err == nil || !strings.Contains(err.Error(), "not this one") || took > 10*time.Second {
					t.Errorf("after %v: %v", took, err)
				}
				want := api.want(5)
				if page == 2 {
					want = api.want(6)[:11]
				}
				b.expect(want...)
				healed.Store(true)
				s := source(t, b.c)
				s.transport = inside{api}
				if err := b.runner(s).Run(b.t.Context(), true); err != nil {
					t.Error(err)
				}
				b.expect(api.want(20)...)
			})
		}
	})
}

// TestAheadEndsAtOnce: nothing that is on its way outlives the context; the bubble waits for goroutines that are left.
func TestAheadEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]func(w http.ResponseWriter, r *http.Request, parent, page int) bool{
		"silent": func(_ http.ResponseWriter, r *http.Request, _, _ int) bool {
			<-r.Context().Done()
			return true
		},
		"told to wait": func(w http.ResponseWriter, _ *http.Request, _, _ int) bool {
			time.Sleep(time.Second)
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				api := &brood{parents: 20, lines: lines}
				b := &bench{t: t, c: DefaultConfig(), log: newLog()}
				b.c.URL, b.c.Records, b.c.Timeout = "http://api.example/items", ".data[]", time.Hour
				api.set(8, true)(&b.c)
				s := source(t, b.c)
				s.transport = inside{api}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				if err := b.runner(s).Run(ctx, true); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if api.most != 8 {
					t.Errorf("%d requests were on their way", api.most)
				}
			})
		})
	}
}

// gatekeeper lets in who has the newest token; the first one is good for no other children than those of the first parent.
type gatekeeper struct {
	*brood
	mu      sync.Mutex
	logins  int
	refresh int           // the only good refresh token, by its number
	slow    time.Duration // a log-in
	refuse  bool          // all but the first log-in
}

func (g *gatekeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/login" {
		g.mu.Lock()
		of := number(r, "of", 0)
		good := r.Header.Get("Authorization") == fmt.Sprintf("Bearer s3cret-%d", g.logins) && (of == 0 || g.logins > 1)
		g.mu.Unlock()
		if !good {
			time.Sleep(time.Duration(of) * time.Second) // most are refused when others have logged in
			http.Error(w, "not with this token", http.StatusUnauthorized)
			return
		}
		g.brood.ServeHTTP(w, r)
		return
	}
	g.mu.Lock()
	refused := g.refuse && g.logins > 0 || r.FormValue("refresh_token") != fmt.Sprintf("s3cret-refresh-%d", g.refresh)
	g.logins++
	if !refused {
		g.refresh++ // as soon as it is asked, whatever becomes of the answer
	}
	token, refresh := g.logins, g.refresh
	g.mu.Unlock()
	if refused {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	time.Sleep(g.slow)
	reply(w, map[string]any{"access_token": fmt.Sprintf("s3cret-%d", token), "refresh_token": fmt.Sprintf("s3cret-refresh-%d", refresh)})
}

func (g *gatekeeper) set(c *Config) {
	g.brood.set(8, true)(c)
	c.Auth.OAuth2Refresh = &Refresh{OAuth2{TokenURL: "http://api.example/login", ClientID: "me", Params: map[string]setting.Secret{}}, "s3cret-refresh-0"}
}

// TestAheadTokens: requests that are refused together have one new token together, and one log-in that is refused is all of them.
func TestAheadTokens(t *testing.T) {
	t.Parallel()
	for _, refuse := range []bool{false, true} {
		api := &gatekeeper{brood: &brood{parents: 30}, refuse: refuse}
		api.lines = func(_ http.ResponseWriter, _ *http.Request, parent, page int) bool {
			if parent == 0 && page == 1 {
				time.Sleep(30 * time.Second)
			}
			return false
		}
		bubble(t, api.set, api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
			if api.logins != 2 {
				t.Errorf("there were %d log-ins", api.logins)
			}
			if !refuse {
				if err != nil {
					t.Error(err)
				}
				b.expect(api.want(30)...)
				return
			}
			if err == nil || !strings.Contains(err.Error(), "logging in: POST http://api.example/login: the server answers 401") {
				t.Error(err)
			}
		})
	}
}

// TestAheadKeepsRefreshTokens: a log-in is not given up with the requests that it was for: who drops the answer could not log in any more.
func TestAheadKeepsRefreshTokens(t *testing.T) {
	t.Parallel()
	api := &gatekeeper{brood: &brood{parents: 8}, slow: 10 * time.Second}
	var healed atomic.Bool
	api.lines = func(w http.ResponseWriter, _ *http.Request, parent, page int) bool {
		if parent == 0 && page == 1 && !healed.Load() {
			time.Sleep(5 * time.Second) // while another one logs in
			http.Error(w, "not this one", http.StatusBadRequest)
			return true
		}
		return false
	}
	bubble(t, api.set, api.ServeHTTP, func(b *bench, err error, _ time.Duration) {
		if err == nil || !strings.Contains(err.Error(), "not this one") {
			t.Error(err)
		}
		if api.refresh != 2 {
			t.Fatalf("there were %d refresh tokens", api.refresh)
		}
		healed.Store(true)
		s := source(t, b.c)
		s.transport = inside{api}
		if err := b.runner(s).Run(b.t.Context(), true); err != nil {
			t.Error(err)
		}
		b.expect(api.want(8)...)
	})
}

// TestNoLoginIsNoLostChild: a log-in whose address is wrong says nothing of the children.
func TestNoLoginIsNoLostChild(t *testing.T) {
	t.Parallel()
	api := &brood{parents: 1}
	var logins atomic.Int64
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/login" && logins.Add(1) > 1:
			http.NotFound(w, r)
		case r.URL.Path == "/login":
			reply(w, map[string]any{"access_token": "s3cret-token", "expires_in": 0.001})
		default:
			time.Sleep(2 * time.Millisecond)
			api.ServeHTTP(w, r)
		}
	})
	b.c.Auth.OAuth2ClientCredentials = &ClientCredentials{b.oauth2()}
	b.c.Children.URL, b.c.Children.Records = b.server.URL+"/lines?of={parent.id}", ".data[]"
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "logging in") {
		t.Error(err)
	}
	b.expect()
}
