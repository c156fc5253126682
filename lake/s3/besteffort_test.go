package s3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

// TestLookFirst: a store that forgets conditions is found out, and one writer alone gets along with it.
func TestLookFirst(t *testing.T) {
	server := fixture.NewS3(t)
	door := server.WithoutConditions(t)
	var n atomic.Int32
	deaf := func(t *testing.T) *Store {
		s, err := Open(t.Context(), strings.Replace(server.Bucket(t, fmt.Sprintf("bucket-%d", n.Add(1))), server.Endpoint, door, 1))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := deaf(t)
	if err := s.Probe(t.Context()); !errors.Is(err, ErrUnconditional) || !strings.Contains(err.Error(), "best_effort") {
		t.Fatalf("the probe said %v", err)
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("the probe left %v, %v", o, err)
	}
	laketest.Run(t, func(t *testing.T) lake.Store {
		s := deaf(t)
		s.LookFirst()
		return s
	})
	t.Run("two writers", func(t *testing.T) {
		// What docs/lake.md says can happen: both have looked before one has written, and both think that the object is theirs.
		s := deaf(t)
		s.LookFirst()
		var looked, done sync.WaitGroup
		looked.Add(2)
		errs := make([]error, 2)
		for i := range errs {
			done.Go(func() {
				body := &afterAll{Reader: strings.NewReader(fmt.Sprint(i)), all: &looked}
				_, errs[i] = s.Put(t.Context(), "k", body, lake.Condition{IfAbsent: true})
			})
		}
		done.Wait()
		if errs[0] != nil || errs[1] != nil {
			t.Errorf("one was refused: %v", errs)
		}
	})
}

// afterAll is a body that is read when all bodies are about to be.
type afterAll struct {
	*strings.Reader
	all  *sync.WaitGroup
	once sync.Once
}

func (a *afterAll) Read(p []byte) (int, error) {
	a.once.Do(func() { a.all.Done(); a.all.Wait() })
	return a.Reader.Read(p)
}

// TestNotImplemented: a store that answers conditions with an error is used without them.
func TestNotImplemented(t *testing.T) {
	for _, header := range []string{"If-None-Match", "If-Match"} {
		t.Run(header, func(t *testing.T) {
			on := func(r *http.Request) bool { return r.Method == http.MethodPut && r.Header.Get(header) != "" }
			faulty, _ := behind(t, new(failing(on, 1<<20, http.StatusNotImplemented, "NotImplemented")), nil)
			if err := faulty.Probe(t.Context()); !errors.Is(err, ErrUnconditional) || !strings.Contains(err.Error(), "NotImplemented") {
				t.Fatalf("the probe said %v", err)
			}
			faulty.LookFirst()
			o, err := faulty.Put(t.Context(), "k", strings.NewReader("a"), lake.Condition{IfAbsent: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := faulty.Put(t.Context(), "k", strings.NewReader("b"), lake.Condition{IfAbsent: true}); !errors.Is(err, lake.ErrExists) {
				t.Errorf("again: %v", err)
			}
			if _, err := faulty.Put(t.Context(), "k", strings.NewReader("b"), lake.Condition{IfVersion: o.Version}); err != nil {
				t.Error(err)
			}
			if _, err := faulty.Put(t.Context(), "k", strings.NewReader("c"), lake.Condition{IfVersion: o.Version}); !errors.Is(err, lake.ErrChanged) {
				t.Errorf("an old version: %v", err)
			}
			r, _, err := faulty.Get(t.Context(), "k", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || string(got) != "b" {
				t.Errorf("%q is there, %v", got, err)
			}
		})
	}
}
