package crash

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headwater/internal/crash"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// onS3 is a world whose layers are in buckets, at an endpoint that leads to the server.
func onS3(t *testing.T, bin, yaml string, server fixture.S3, endpoint, name string) *world {
	t.Helper()
	var lake strings.Builder
	lake.WriteString("lake:\n")
	for _, layer := range []string{"raw", "tables"} {
		at := strings.Replace(server.Bucket(t, name+"-"+layer), server.Endpoint, endpoint, 1)
		lake.WriteString(fmt.Sprintf("  %s: %q\n", layer, at))
	}
	w := newWorld(t, bin, yaml+lake.String())
	w.layers, w.env = filepath.Join(server.Dir, name+"-raw"), fixture.S3Env
	return w
}

// TestEveryPointOnS3 is TestEveryPoint with both layers in buckets.
func TestEveryPointOnS3(t *testing.T) {
	bin, server := binary.Build(t), fixture.NewS3(t)
	t.Run("points", func(t *testing.T) { // together, so that the server outlives them
		for i, point := range crash.Points {
			// There are no schedules, no folders, and no Wallclock.
			if strings.HasPrefix(point, "runs.") || strings.HasPrefix(point, "lake.") || strings.HasSuffix(point, "-intent") || !turn(i) {
				continue
			}
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				onS3(t, bin, pipelineFor(point), server, server.Endpoint, fmt.Sprintf("point-%d", i)).dieAt(t, point)
			})
		}
	})
}

// faulty is a proxy before an S3 server that spoils one request in fifteen: it refuses it, cuts the connection after the store has done what was asked, or
// instead of passing it on, or says that another request for the object is under way.
type faulty struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	random *rand.Rand
	met    [4]atomic.Int64
}

func newFaulty(t *testing.T, server fixture.S3, random *rand.Rand) (*faulty, string) {
	t.Helper()
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{random: random, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		// A killed process is no fault of the proxy's.
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}}
	door := httptest.NewServer(f)
	t.Cleanup(door.Close)
	return f, door.URL
}

// ServeHTTP implements http.Handler.
func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	drawn := f.random.IntN(60)
	f.mu.Unlock()
	conditional := r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != ""
	if drawn >= len(f.met) || drawn == 3 && !conditional {
		f.proxy.ServeHTTP(w, r)
		return
	}
	f.met[drawn].Add(1)
	switch drawn {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, "<Error><Code>SlowDown</Code></Error>")
		return
	case 3:
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, "<Error><Code>ConditionalRequestConflict</Code></Error>")
		return
	}
	if drawn == 1 {
		f.proxy.ServeHTTP(httptest.NewRecorder(), r)
	}
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// TestRandomKillsOnS3 kills a running pipeline at random moments while its store refuses, forgets and loses answers.
func TestRandomKillsOnS3(t *testing.T) {
	kills, seed := drawn(t, 10, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	server := fixture.NewS3(t)
	proxy, endpoint := newFaulty(t, server, rand.New(rand.NewPCG(seed, 1)))
	onS3(t, binary.Build(t), pipeline+"serialize: {every: 200ms}\n", server, endpoint, "killed").survive(t, random, kills)
	t.Logf("%d refused, %d answers lost, %d requests lost", proxy.met[0].Load(), proxy.met[1].Load(), proxy.met[2].Load())
	if proxy.met[0].Load() == 0 || proxy.met[1].Load() == 0 || proxy.met[2].Load() == 0 {
		t.Error("not every fault was met")
	}
}
