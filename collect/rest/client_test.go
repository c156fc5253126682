package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// data is a page of the items from one up to another.
func data(from, to int) []byte {
	return []byte(`{"data":[` + strings.Join(numbers(from, to), ",") + `]}`)
}

// TestCutAnswers: a connection that ends in the middle adds nothing, and the whole answer is taken then.
func TestCutAnswers(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(data(0, 25))
	_ = z.Close()
	for name, head := range map[string]string{
		"length":  fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(data(0, 25))),
		"chunked": "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n", len(data(0, 25))),
		"gzip":    "Content-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := data(0, 25)
			if name == "gzip" {
				whole = packed.Bytes()
			}
			var asked atomic.Int64
			b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) > 2 {
					_, _ = w.Write(data(0, 25))
					return
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\n" + head))
				_, _ = conn.Write(whole[:1+rand.IntN(len(whole)-1)])
				_ = conn.Close()
			})
			b.must()
			b.expect(numbers(0, 25)...)
			if n := asked.Load(); n != 3 {
				t.Errorf("it was asked for %d times", n)
			}
		})
	}
}

// TestProxyCuts reads a window of many pages through a proxy that cuts connections at random bytes and delays the others.
func TestProxyCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, orderAny, 0)
	for n := range 200 {
		w.Put(t, 0, n)
	}
	proxy := newProxy(t, strings.TrimPrefix(w.url, "http://"))
	b := newBench(t, nil)
	b.c = w.config()
	b.c.URL = "http://" + proxy
	for n := 0; ; n++ {
		err := b.once()
		if err == nil {
			break
		}
		if n == 100 {
			t.Fatal(err)
		}
	}
	b.expect(numbers(0, 200)...)
}

// newProxy is a proxy whose connections are cut after up to 8 KiB, if at all.
func newProxy(t *testing.T, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in) }()
				time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
				_, _ = io.CopyN(in, out, rand.Int64N(8<<10))
			}()
		}
	}()
	return l.Addr().String()
}

// TestSlowServers: one that says nothing, one that dribbles, and one that does not listen are left after timeout, and Run ends soon.
func TestSlowServers(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("dribble") != "" {
			for range 100 {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-ended:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		<-ended
	})
	t.Cleanup(func() { close(ended) })
	b.c.Timeout = 50 * time.Millisecond
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	for _, address := range []string{b.server.URL, b.server.URL + "/?dribble=1", "http://" + deaf.Addr().String()} {
		s := source(t, Config{Resource: Resource{URL: address, Method: methodGet, Format: formatJSON}, Every: time.Hour, Timeout: 50 * time.Millisecond, MaxBody: 1 << 20, MaxPages: 1, Concurrency: 1})
		c, err := s.client(nil)
		if err != nil {
			t.Fatal(err)
		}
		p := s.pages(c, s.items, window("", ""))
		r, err := p.request()
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.once(t.Context(), r)
		if err == nil || err.Error() != "the answer was not there within timeout (50ms)" || retry.Classify(err) != retry.Transient {
			t.Errorf("%s: %v", address, err)
		}
		c.http.CloseIdleConnections()
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	s := source(t, Config{Resource: Resource{URL: gone.URL + "/?key=s3cret", Method: methodGet, Format: formatJSON}, Every: time.Hour, Timeout: time.Second, MaxBody: 1 << 20, MaxPages: 1, Concurrency: 1})
	c, err := s.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.pages(c, s.items, window("", "")).request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.once(t.Context(), r); err == nil || strings.Contains(err.Error(), "s3cret") || retry.Classify(err) != retry.Transient {
		t.Errorf("a server that is gone: %v", err)
	}
	b.c.Timeout = time.Hour
	stop := b.live()
	for len(b.asked()) < 3 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

// bubble runs once in a synctest bubble, on a server without a network, and gives how long it took.
func bubble(t *testing.T, set func(*Config), serve http.HandlerFunc, check func(b *bench, err error, took time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, c: DefaultConfig()}
		b.log = newLog()
		b.c.URL, b.c.Records = "http://api.example/items", ".data[]"
		set(&b.c)
		s := source(t, b.c)
		s.transport = inside{b.watch(serve)}
		began := time.Now()
		err := b.runner(s).Run(t.Context(), true)
		check(b, err, time.Since(began))
	})
}

// TestComesAgain: what a server cannot answer now is asked for again, after the wait that it asks for, and in the end is an error.
func TestComesAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code        int
		after       string
		times       int64 // that the server refuses
		least, most time.Duration
		asked       int
		says        string
	}{
		"seconds":          {429, "90", 2, 180 * time.Second, 182 * time.Second, 3, ""},
		"a date":           {503, "Sat, 01 Jan 2000 00:02:00 GMT", 1, 2 * time.Minute, 121 * time.Second, 2, ""},
		"a past date":      {503, "Sat, 01 Jan 2000 00:00:00 GMT", 1, 0, time.Second, 2, ""},
		"nothing":          {502, "", 4, 0, 4 * time.Second, 5, ""},
		"GitHub's way":     {403, "60", 1, time.Minute, 61 * time.Second, 2, ""},
		"longer than ever": {429, "999999999", 1, time.Hour, time.Hour + time.Second, 2, ""},
		"too often":        {500, "", 9, 0, 4 * time.Second, 5, "GET http://api.example/items: the server answers 500 Internal Server Error: \"not now\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			serve := func(w http.ResponseWriter, _ *http.Request) {
				if asked.Add(1) <= c.times {
					w.Header().Set("Retry-After", c.after)
					w.WriteHeader(c.code)
					_, _ = w.Write([]byte("not now"))
					return
				}
				_, _ = w.Write(data(0, 3))
			}
			bubble(t, func(*Config) {}, serve, func(b *bench, err error, took time.Duration) {
				if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || retry.Classify(err) == retry.Permanent) {
					t.Errorf("the error is %v", err)
				}
				if took < c.least || took > c.most || int(asked.Load()) != c.asked {
					t.Errorf("%d requests took %v", asked.Load(), took)
				}
			})
		})
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	set := func(c *Config) { c.RateLimit, c.Paginate.PageNumber = 0.5, &PageNumber{Param: "page"} }
	serve := func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"data": slice(10*(number(r, "page", 1)-1), 10)})
	}
	bubble(t, set, serve, func(b *bench, err error, took time.Duration) {
		if err != nil || took < 6*time.Second || took > 7*time.Second {
			t.Errorf("four requests took %v: %v", took, err)
		}
	})
}

// TestEvery: polls begin so far apart, also after a restart.
func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, c: DefaultConfig(), log: newLog()}
		b.c.URL, b.c.Records, b.c.Every = "http://api.example/items", ".data[]", time.Minute
		var asked atomic.Int64
		serve := func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(20 * time.Second)
			n := int(asked.Add(1))
			_, _ = w.Write(data(n, n+1))
		}
		process := func(d time.Duration) {
			s := source(t, b.c)
			s.transport = inside{b.watch(serve)}
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_ = b.runner(s).Run(ctx, false)
		}
		process(150 * time.Second) // polls at 0, 60 and 120
		if n := asked.Load(); n != 3 {
			t.Errorf("%d polls in the first two and a half minutes", n)
		}
		process(20 * time.Second) // until 170
		if n := asked.Load(); n != 3 {
			t.Errorf("%d polls after the restart", n)
		}
		process(31 * time.Second) // one at 180
		if n := asked.Load(); n != 4 {
			t.Errorf("%d polls in the end", n)
		}
		b.expect(numbers(1, 5)...)
	})
}

// TestGzip: answers are decompressed, those that say nothing of it too, and a bomb is not.
func TestGzip(t *testing.T) {
	t.Parallel()
	pack := func(plain []byte) []byte {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(plain)
		_ = z.Close()
		return packed.Bytes()
	}
	bomb := pack(bytes.Repeat([]byte(" "), 4<<20))
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("page") {
		case "1":
			if r.Header.Get("Accept-Encoding") != "gzip" {
				t.Errorf("it asks for %q", r.Header.Get("Accept-Encoding"))
			}
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(pack(data(0, 10)))
		case "2":
			_, _ = w.Write(pack(data(10, 25)))
		case "3":
			_, _ = w.Write(bomb)
		}
	})
	b.c.Paginate.PageNumber, b.c.MaxBody = &PageNumber{Param: "page"}, 1<<20
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "longer than max_body (1MiB)") {
		t.Errorf("the bomb: %v", err)
	}
	b.expect(numbers(0, 25)...)
}

// TestLargest: a page of exactly max_body is taken.
func TestLargest(t *testing.T) {
	t.Parallel()
	large := []byte(`{"data":["` + strings.Repeat("x", 1<<20) + `"]}`)
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	b.c.MaxBody = setting.Bytes(len(large))
	b.must()
	if items := b.items(); len(items) != 1 || len(items[0]) != 1<<20+2 {
		t.Errorf("%d items", len(items))
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		auth Auth
		has  func(r *http.Request) bool
	}{
		"bearer": {Auth{Bearer: &Bearer{"s3cret-token"}}, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer s3cret-token" }},
		"basic": {Auth{Basic: &Basic{"me", "s3cret-password"}}, func(r *http.Request) bool {
			user, password, _ := r.BasicAuth()
			return user == "me" && password == "s3cret-password"
		}},
		"header": {Auth{APIKey: &APIKey{"X-Key", inHeader, "s3cret-key"}}, func(r *http.Request) bool { return r.Header.Get("X-Key") == "s3cret-key" }},
		"query":  {Auth{APIKey: &APIKey{"key", inQuery, "s3cret/key"}}, func(r *http.Request) bool { return r.FormValue("key") == "s3cret/key" && r.FormValue("a") == "1" }},
		"cookie": {Auth{APIKey: &APIKey{"key", inCookie, "s3cret-key"}}, func(r *http.Request) bool {
			cookie, err := r.Cookie("key")
			return err == nil && cookie.Value == "s3cret-key"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			let := true
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if !c.has(r) || !let {
					http.Error(w, r.RequestURI+fmt.Sprint(r.Header), http.StatusUnauthorized)
					return
				}
				reply(w, map[string]any{"data": slice(0, 3)})
			})
			b.c.Auth = c.auth
			b.c.Params = map[string]setting.Secret{"a": "1"}
			b.must()
			b.expect(numbers(0, 3)...)
			let = false
			err := b.once()
			if err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error()+b.logged.String(), "s3cret") {
				t.Errorf("without it: %v", err)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("plain") != "" {
			http.Redirect(w, r, "http://"+r.Host, http.StatusFound)
			return
		}
		page := map[string]any{"data": slice(0, 2), "next": "http://" + r.Host + "/?rest=1"}
		if r.FormValue("rest") != "" {
			page = map[string]any{"data": slice(2, 1)}
		}
		reply(w, page)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	b.c.URL = server.URL
	s := source(t, b.c)
	c, err := s.client(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.pages(c, s.items, window("", "")).request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.once(t.Context(), r); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	b.c.CA = ca
	b.c.Paginate.Link = &Link{Path: ".next"} // a link to http on the same host
	b.must()
	b.expect(numbers(0, 3)...)
	b.c.URL += "?plain=1"
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "it is not encrypted, as url is") {
		t.Errorf("a redirect to http: %v", err)
	}
	b.c.CA = filepath.Join(t.TempDir(), "none.pem")
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "rest.ca") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestEndsAtOnce: no wait outlives the context.
func TestEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, c: DefaultConfig(), log: newLog()}
		b.c.URL = "http://api.example"
		s := source(t, b.c)
		s.transport = inside{b.watch(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
		})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := b.runner(s).Run(ctx, true); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
