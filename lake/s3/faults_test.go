package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/tests/interop/fixture"
)

// fault is what a proxy before the store does to the requests that it is for.
type fault struct {
	// on chooses the requests, times is for how many.
	on    func(*http.Request) bool
	times int32
	// lost passes the request on and cuts the connection instead of answering; status answers itself; stalled answers nothing;
	// cut ends a body after some bytes.
	lost    bool
	status  int
	code    string
	stalled bool
	cut     int
	// then is done before the client can see the end.
	then func()
	met  *atomic.Int32 // how many requests it was done to
}

func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

func completing(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func beginning(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploads")
}

// behind is a store, already filled by before, that is reached through a proxy with a fault.
func behind(t *testing.T, f *fault, before func(lake.Store)) (faulty *Store, plain lake.Store) {
	t.Helper()
	f.met = new(atomic.Int32)
	server := fixture.NewS3(t)
	location := server.Bucket(t, "lake")
	plain, err := at(location)
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(plain)
	}
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.on(r) || f.met.Load() >= f.times {
			proxy.ServeHTTP(w, r)
			return
		}
		f.met.Add(1)
		switch {
		case f.stalled:
			<-ended
		case f.status != 0:
			if f.then != nil {
				f.then()
			}
			w.WriteHeader(f.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", f.code)
		default:
			answer := httptest.NewRecorder()
			proxy.ServeHTTP(answer, r)
			conn, buf, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if f.cut > 0 {
				res := answer.Result()
				res.ContentLength = int64(answer.Body.Len())
				var whole bytes.Buffer
				_ = res.Write(&whole)
				head := bytes.Index(whole.Bytes(), []byte("\r\n\r\n")) + 4
				_, _ = buf.Write(whole.Bytes()[:head+f.cut])
				_ = buf.Flush()
			}
			if f.then != nil {
				f.then()
			}
			_ = conn.Close()
		}
	}))
	t.Cleanup(func() {
		close(ended)
		door.Close()
	})
	faulty, err = open(t.Context(), "s3://lake?endpoint="+door.URL, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return faulty, plain
}

// TestLostAnswers: a write that the store has done, and whose answer is lost, is done, conditional or not, of one part or of many.
func TestLostAnswers(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB
	for name, c := range map[string]struct {
		fault fault
		data  []byte
	}{
		"one part":             {fault{on: method("PUT"), times: 1, lost: true}, []byte("x")},
		"a part":               {fault{on: method("PUT"), times: 2, lost: true}, large},
		"the beginning":        {fault{on: beginning, times: 1, lost: true}, large},
		"the end":              {fault{on: completing, times: 1, lost: true}, large},
		"refused at first":     {fault{on: method("PUT"), times: 3, status: 503, code: "SlowDown"}, []byte("x")},
		"disturbed":            {fault{on: method("PUT"), times: 2, status: 409, code: "ConditionalRequestConflict"}, []byte("x")},
		"disturbed at the end": {fault{on: completing, times: 2, status: 409, code: "ConditionalRequestConflict"}, large},
		"an error inside":      {fault{on: completing, times: 2, status: 500, code: "InternalError"}, large},
	} {
		for _, replacing := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", replacing ", replacing), func(t *testing.T) {
				t.Parallel()
				cond, f := lake.Condition{IfAbsent: true}, c.fault
				faulty, plain := behind(t, &f, func(s lake.Store) {
					if !replacing {
						return
					}
					o, err := s.Put(t.Context(), "d/k", strings.NewReader("old"), lake.Condition{})
					if err != nil {
						t.Fatal(err)
					}
					cond = lake.Condition{IfVersion: o.Version}
				})
				o, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(c.data), cond)
				if err != nil || f.met.Load() != f.times {
					t.Fatalf("%v after %d of %d faults", err, f.met.Load(), f.times)
				}
				r, got, err := plain.Get(t.Context(), "d/k", 0, -1)
				if err != nil || got.Version != o.Version || got.Size != o.Size {
					t.Fatalf("%+v is there, put %+v: %v", got, o, err)
				}
				defer r.Close()
				if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, c.data) {
					t.Errorf("%d bytes of %d are there, %v", len(data), len(c.data), err)
				}
				// Another's object is in the way, then and now.
				if _, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(c.data), cond); !errors.Is(err, lake.ErrExists) && !errors.Is(err, lake.ErrChanged) {
					t.Errorf("again: %v", err)
				}
				if len(faulty.bodies) != bodies {
					t.Errorf("%d of %d bodies came back", len(faulty.bodies), bodies)
				}
			})
		}
	}
}

// TestFaults: what stays wrong is an error, which may pass or may not, and leaves nothing behind.
func TestFaults(t *testing.T) {
	large := make([]byte, 20<<20)
	for name, c := range map[string]struct {
		fault fault
		data  []byte
		class retry.Class
		says  string
	}{
		"busy for ever":               {fault{on: method("PUT"), times: 1 << 20, status: 503, code: "SlowDown"}, []byte("x"), retry.Transient, "SlowDown"},
		"busy with parts":             {fault{on: method("PUT"), times: 1 << 20, status: 503, code: "SlowDown"}, large, retry.Transient, "sending part"},
		"stalled":                     {fault{on: method("PUT"), times: 1 << 20, stalled: true}, []byte("x"), retry.Transient, "i/o timeout"},
		"no rights":                   {fault{on: method("PUT"), times: 1, status: 403, code: "AccessDenied"}, []byte("x"), retry.Permanent, "check the credentials"},
		"no rights to begin":          {fault{on: beginning, times: 1, status: 403, code: "AccessDenied"}, large, retry.Permanent, "check the credentials"},
		"no bucket":                   {fault{on: method("PUT"), times: 1, status: 404, code: "NoSuchBucket"}, []byte("x"), retry.Permanent, "create it"},
		"nonsense":                    {fault{on: method("PUT"), times: 1, status: 400, code: "InvalidRequest"}, []byte("x"), retry.Permanent, "InvalidRequest"},
		"always disturbed":            {fault{on: method("PUT"), times: 1 << 20, status: 409, code: "ConditionalRequestConflict"}, []byte("x"), retry.Transient, "another write of the key is under way"},
		"always disturbed at the end": {fault{on: completing, times: 1 << 20, status: 409, code: "ConditionalRequestConflict"}, large, retry.Transient, "another write of the key is under way"},
		"a lost upload":               {fault{on: completing, times: 1, status: 404, code: "NoSuchUpload"}, large, retry.Transient, "NoSuchUpload"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := c.fault
			faulty, plain := behind(t, &f, nil)
			_, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(c.data), lake.Condition{IfAbsent: true})
			if err == nil || retry.Classify(err) != c.class || !strings.Contains(err.Error(), c.says) || errors.Is(err, lake.ErrExists) {
				t.Errorf("class %v: %v", retry.Classify(err), err)
			}
			if _, err := plain.Stat(t.Context(), "d/k"); !errors.Is(err, lake.ErrNotExist) {
				t.Errorf("there is something: %v", err)
			}
			if n, err := plain.(*Store).sweep(t.Context(), 0); err != nil || n != 0 {
				t.Errorf("%d uploads were left, %v", n, err)
			}
			if len(faulty.bodies) != bodies {
				t.Errorf("%d of %d bodies came back", len(faulty.bodies), bodies)
			}
		})
	}
}

// TestDisturbed: what disturbed a write was another's, whose object is there now.
func TestDisturbed(t *testing.T) {
	for name, size := range map[string]int{"one part": 1, "two parts": partSize + 1} {
		for _, status := range []int{http.StatusConflict, http.StatusPreconditionFailed} {
			t.Run(fmt.Sprint(name, ", ", status), func(t *testing.T) {
				t.Parallel()
				on := completing
				if size == 1 {
					on = method("PUT")
				}
				f := &fault{on: on, times: 1, status: status}
				faulty, plain := behind(t, f, nil)
				f.then = func() {
					if _, err := plain.Put(context.Background(), "d/k", strings.NewReader("theirs"), lake.Condition{IfAbsent: true}); err != nil {
						t.Error(err)
					}
				}
				if _, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(make([]byte, size)), lake.Condition{IfAbsent: true}); !errors.Is(err, lake.ErrExists) {
					t.Errorf("got %v", err)
				}
				if o, err := plain.Stat(t.Context(), "d/k"); err != nil || o.Size != 6 {
					t.Errorf("%+v is there, %v", o, err)
				}
				if n, err := plain.(*Store).sweep(t.Context(), 0); err != nil || n != 0 {
					t.Errorf("%d uploads were left, %v", n, err)
				}
			})
		}
	}
}

// TestBrokenReads go on where they broke, with the same object or not at all.
func TestBrokenReads(t *testing.T) {
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7)
	}
	read := func(t *testing.T, f *fault) ([]byte, error) {
		faulty, plain := behind(t, f, func(s lake.Store) {
			if _, err := s.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{}); err != nil {
				t.Fatal(err)
			}
		})
		if f.then != nil {
			f.then = func() {
				if _, err := plain.Put(t.Context(), "k", strings.NewReader("other"), lake.Condition{}); err != nil {
					t.Error(err)
				}
			}
		}
		r, _, err := faulty.Get(t.Context(), "k", 1000, 2<<20)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	got, err := read(t, &fault{on: method("GET"), times: 4, cut: 300_000})
	if err != nil || !bytes.Equal(got, data[1000:1000+2<<20]) {
		t.Errorf("four breaks: %d bytes, %v", len(got), err)
	}
	got, err = read(t, &fault{on: method("GET"), times: 1, cut: 300_000, then: func() {}})
	if !errors.Is(err, lake.ErrChanged) || !bytes.Equal(got, data[1000:1000+len(got)]) {
		t.Errorf("replaced meanwhile: %d bytes, %v", len(got), err)
	}
	var brokenOnce atomic.Bool
	always := func(r *http.Request) bool { return r.Method == "GET" && brokenOnce.Swap(true) }
	got, err = read(t, &fault{on: always, times: 1 << 20, lost: true})
	if err != nil || len(got) != 2<<20 {
		t.Errorf("whole at first: %d bytes, %v", len(got), err)
	}
}

// TestMemory: many large objects at once take the memory of their parts.
func TestMemory(t *testing.T) {
	s, err := Open(t.Context(), fixture.NewS3(t).Bucket(t, "lake"))
	if err != nil {
		t.Fatal(err)
	}
	var peak atomic.Uint64
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	}()
	errs := make(chan error)
	for i := range 8 {
		go func() {
			const size = 60 << 20
			o, err := s.Put(t.Context(), fmt.Sprint("d/", i), &zeros{left: size}, lake.Condition{IfAbsent: true})
			if err == nil && o.Size != size {
				err = fmt.Errorf("%d bytes of %d", o.Size, size)
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-watched
	t.Logf("at most %d MiB for 480 MiB", peak.Load()>>20)
	if peak.Load() > 300<<20 {
		t.Errorf("%d MiB in memory, want at most twice the %d MiB of the parts", peak.Load()>>20, bodies*partSize>>20)
	}
}

// zeros is a body that is in no memory.
type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	clear(p[:n])
	z.left -= n
	return n, nil
}

func (z *zeros) Seek(int64, int) (int64, error) { return 0, nil }

func TestProbe(t *testing.T) {
	s, err := Open(t.Context(), fixture.NewS3(t).Bucket(t, "lake")+"")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("the probe left %v, %v", o, err)
	}
	// A store that says yes to everything.
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"x"`)
	}))
	defer deaf.Close()
	s, err = Open(t.Context(), "s3://lake?endpoint="+deaf.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); !errors.Is(err, ErrUnconditional) {
		t.Errorf("a deaf store: %v", err)
	}
	s, err = Open(t.Context(), "s3://none?endpoint="+fixture.NewS3(t).Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context()); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "create it") {
		t.Errorf("no bucket: %v", err)
	}
}

func TestPrefix(t *testing.T) {
	server := fixture.NewS3(t)
	location := server.Bucket(t, "shared")
	whole, err := at(location)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := at(strings.Replace(location, "?", "/team/lake/?", 1))
	if err != nil {
		t.Fatal(err)
	}
	for s, key := range map[lake.Store]string{whole: "other/k", inside: "d/k"} {
		if _, err := s.Put(t.Context(), key, strings.NewReader(key), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for s, after := range map[lake.Store]string{whole: "p", inside: "d/"} {
		for o, err := range s.List(t.Context(), "", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, o.Key)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"d/k", "team/lake/d/k"}) {
		t.Errorf("listed %q", got)
	}
}
