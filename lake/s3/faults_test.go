package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

// failing is a fault of requests to S3, which says code in its own way.
func failing(on func(*http.Request) bool, times int32, status int, code string) fixture.HTTPFault {
	return fixture.HTTPFault{On: on, Times: times, Status: status, Body: "<Error><Code>" + code + "</Code></Error>"}
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
func behind(t *testing.T, f *fixture.HTTPFault, before func(lake.Store)) (faulty *Store, plain lake.Store) {
	t.Helper()
	server := fixture.NewS3(t)
	plain, err := at(server.Bucket(t, "lake"))
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(plain)
	}
	faulty, err = open(t.Context(), "s3://lake?endpoint="+f.Before(t, server.Endpoint), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return faulty, plain
}

// TestLostAnswers: a write that the store has done, and whose answer is lost, is done, conditional or not, of one part or of many.
func TestLostAnswers(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<16) // 20 MiB
	for name, c := range map[string]struct {
		fault fixture.HTTPFault
		data  []byte
	}{
		"one part":             {fixture.HTTPFault{On: method("PUT"), Times: 1}, []byte("x")},
		"a part":               {fixture.HTTPFault{On: method("PUT"), Times: 2}, large},
		"the beginning":        {fixture.HTTPFault{On: beginning, Times: 1}, large},
		"the end":              {fixture.HTTPFault{On: completing, Times: 1}, large},
		"refused at first":     {failing(method("PUT"), 3, 503, "SlowDown"), []byte("x")},
		"disturbed":            {failing(method("PUT"), 2, 409, "ConditionalRequestConflict"), []byte("x")},
		"disturbed at the end": {failing(completing, 2, 409, "ConditionalRequestConflict"), large},
		"an error inside":      {failing(completing, 2, 500, "InternalError"), large},
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
				if err != nil || f.Met() != f.Times {
					t.Fatalf("%v after %d of %d faults", err, f.Met(), f.Times)
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
		fault fixture.HTTPFault
		data  []byte
		class retry.Class
		says  string
	}{
		"busy for ever":               {failing(method("PUT"), 1<<20, 503, "SlowDown"), []byte("x"), retry.Transient, "SlowDown"},
		"busy with parts":             {failing(method("PUT"), 1<<20, 503, "SlowDown"), large, retry.Transient, "sending part"},
		"stalled":                     {fixture.HTTPFault{On: method("PUT"), Times: 1 << 20, Stalled: true}, []byte("x"), retry.Transient, "i/o timeout"},
		"no rights":                   {failing(method("PUT"), 1, 403, "AccessDenied"), []byte("x"), retry.Permanent, "check the credentials"},
		"no rights to begin":          {failing(beginning, 1, 403, "AccessDenied"), large, retry.Permanent, "check the credentials"},
		"no bucket":                   {failing(method("PUT"), 1, 404, "NoSuchBucket"), []byte("x"), retry.Permanent, "create it"},
		"nonsense":                    {failing(method("PUT"), 1, 400, "InvalidRequest"), []byte("x"), retry.Permanent, "InvalidRequest"},
		"always disturbed":            {failing(method("PUT"), 1<<20, 409, "ConditionalRequestConflict"), []byte("x"), retry.Transient, "another write of the key is under way"},
		"always disturbed at the end": {failing(completing, 1<<20, 409, "ConditionalRequestConflict"), large, retry.Transient, "another write of the key is under way"},
		"a lost upload":               {failing(completing, 1, 404, "NoSuchUpload"), large, retry.Transient, "NoSuchUpload"},
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
				f := &fixture.HTTPFault{On: on, Times: 1, Status: status}
				faulty, plain := behind(t, f, nil)
				f.Then = func() {
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
	read := func(t *testing.T, f *fixture.HTTPFault) ([]byte, error) {
		faulty, plain := behind(t, f, func(s lake.Store) {
			if _, err := s.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{}); err != nil {
				t.Fatal(err)
			}
		})
		if f.Then != nil {
			f.Then = func() {
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
	got, err := read(t, &fixture.HTTPFault{On: method("GET"), Times: 4, Cut: 300_000})
	if err != nil || !bytes.Equal(got, data[1000:1000+2<<20]) {
		t.Errorf("four breaks: %d bytes, %v", len(got), err)
	}
	got, err = read(t, &fixture.HTTPFault{On: method("GET"), Times: 1, Cut: 300_000, Then: func() {}})
	if !errors.Is(err, lake.ErrChanged) || !bytes.Equal(got, data[1000:1000+len(got)]) {
		t.Errorf("replaced meanwhile: %d bytes, %v", len(got), err)
	}
	var brokenOnce atomic.Bool
	always := func(r *http.Request) bool { return r.Method == "GET" && brokenOnce.Swap(true) }
	got, err = read(t, &fixture.HTTPFault{On: always, Times: 1 << 20})
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
			o, err := s.Put(t.Context(), fmt.Sprint("d/", i), io.NewSectionReader(zeros{}, 0, size), lake.Condition{IfAbsent: true})
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
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

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
	disturbed := failing(method("PUT"), 3, 409, "ConditionalRequestConflict")
	if s, _ := behind(t, &disturbed, nil); s.Probe(t.Context()) != nil {
		t.Error("another write at the same time has the store refused")
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
