package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// hurried are the rules with seconds where they have minutes: `5m` is 5s, and `20 * 60` is 20. An hour of a window is 20s.
func hurried(t *testing.T) string {
	t.Helper()
	text := read(t, rulesFile)
	for _, r := range [][2]string{{"[1h]", "[20s]"}, {" * 60", " * 1"}} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("no rule has %q any more", r[0])
		}
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	return minutes.ReplaceAllString(text, "${1}${2}s")
}

// scene is a pipeline with everything around it that can be cut.
type scene struct {
	binary.Pipeline
	fixture.Watching
	http  string
	cut   atomic.Bool // the feed wants another password
	lines atomic.Int64
}

func (s *scene) healthy(t *testing.T, when string) {
	t.Helper()
	code, text := get(t, "http://"+s.http+"/healthz")
	if code != http.StatusOK {
		t.Errorf("%s the process says that it is wedged: %s", when, text)
	}
}

// get is 0 where nobody answers.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// firing are the alerts that Alertmanager has, with what they are of.
func (s *scene) firing(t *testing.T) (all []string) {
	t.Helper()
	var alerts []struct {
		Labels      map[string]string
		Annotations map[string]string
	}
	_, text := get(t, s.Alertmanager+"/api/v2/alerts?active=true")
	if err := json.Unmarshal([]byte(text), &alerts); err != nil {
		return []string{"Alertmanager says " + text}
	}
	for _, a := range alerts {
		all = append(all, strings.TrimPrefix(a.Labels["alertname"], "Headwater")+" "+
			a.Labels["source"]+a.Labels["topic"]+a.Labels["stage"]+a.Labels["layer"]+": "+a.Annotations["summary"])
	}
	slices.Sort(all)
	return all
}

// fires waits until Alertmanager has all of the alerts, each the beginning of one of firing.
func (s *scene) fires(t *testing.T, why string, wanted ...string) {
	t.Helper()
	began := time.Now()
	binary.EventuallyOr(t, fmt.Sprint(wanted, " because ", why), func() bool {
		all := s.firing(t)
		return !slices.ContainsFunc(wanted, func(w string) bool {
			return !slices.ContainsFunc(all, func(a string) bool { return strings.HasPrefix(a, w) })
		})
	}, func() string { return strings.Join(s.firing(t), "\n") })
	t.Logf("%s: %v after %v", why, wanted, time.Since(began).Round(time.Second))
}

// resolves waits until Alertmanager has none of the alerts any more.
func (s *scene) resolves(t *testing.T, wanted ...string) {
	t.Helper()
	began := time.Now()
	binary.EventuallyOr(t, fmt.Sprint("an end of ", wanted), func() bool {
		return !slices.ContainsFunc(s.firing(t), func(a string) bool {
			return slices.ContainsFunc(wanted, func(w string) bool { return strings.HasPrefix(a, w) })
		})
	}, func() string { return strings.Join(s.firing(t), "\n") })
	t.Logf("resolved: %v after %v", wanted, time.Since(began).Round(time.Second))
}

// write appends lines to what the source orders reads.
func (s *scene) write(t *testing.T, text string) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "in/a.ndjson"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errorOf(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

func errorOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// load has orders bring lines until the test ends.
func (s *scene) load(t *testing.T) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
				n := s.lines.Add(5)
				for i := n - 5; i < n; i++ {
					s.write(t, fmt.Sprintf("{\"n\":%d}\n", i))
				}
			}
		}
	}()
	t.Cleanup(func() { close(done); <-ended })
}

// bad has some lines that are no JSON, now and again, until the panels have seen them come.
func (s *scene) bad(t *testing.T) { s.write(t, strings.Repeat("no JSON\n", 40)) }

// feed is an API with a new item at each poll, whose password may change.
func (s *scene) feed(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.cut.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "[{\"at\":%d}]", time.Now().UnixNano())
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// panels runs the query of each panel of each dashboard, which Prometheus parses, and waits until it gives numbers.
func (s *scene) panels(t *testing.T) {
	t.Helper()
	n := 0
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				n++
				query, said := asked.Replace(target.Expr), ""
				binary.EventuallyOr(t, d.Title+", "+p.Title+": data of "+query, func() bool {
					var code int
					code, said = get(t, s.Prometheus+"/api/v1/query?query="+url.QueryEscape(query))
					if code == http.StatusBadRequest {
						t.Fatalf("%s, %s: %s: %s", d.Title, p.Title, query, said)
					}
					return hasNumbers(said)
				}, func() string { return said })
			}
		}
	}
	t.Logf("%d queries of panels gave data", n)
}

// hasNumbers says whether an answer of Prometheus has a sample that is a number.
func hasNumbers(text string) bool {
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if json.Unmarshal([]byte(text), &answer) != nil {
		return false
	}
	for _, r := range answer.Data.Result {
		sample, _ := r.Value[1].(string)
		if v, err := strconv.ParseFloat(sample, 64); err == nil && !math.IsNaN(v) {
			return true
		}
	}
	return false
}

// TestAlertsAndPanels runs a pipeline under load before the real Prometheus: each panel of the dashboards has data, and each alert comes from what it is
// for, names it, and goes when it is mended. What only waits for a server is never called wedged.
func TestAlertsAndPanels(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	bin := binary.Build(t)
	s3 := fixture.NewS3(t)
	s := &scene{http: fixture.FreeAddr(t)}
	hive, others, stuck := fixture.FreeAddr(t), fixture.FreeAddr(t), fixture.FreeAddr(t)
	s.Watching = fixture.NewWatching(t, hurried(t), map[string]string{"headwater": s.http, "headwater-metastore": others, "headwater-stuck": stuck})

	catalog := binary.New(t, bin, fmt.Sprintf("database: db\nsources: {}\nlisten: {http: %q, kafka: \"127.0.0.1:0\", hive: %q}\n", others, hive))
	metastore := catalog.Start(t, nil, "run")
	s.Pipeline = binary.New(t, bin, fmt.Sprintf(`
database: db
data_dir: data
min_free: 32MiB
lake: {raw: %q, tables: tables}
hive: {uris: ["thrift://%s"]}
collect: {retry: {min: 100ms, max: 500ms, tries: 2}}
sources:
  orders: {file: {path: "in/*.ndjson", every: 100ms}}
  feed: {rest: {url: %q, every: 300ms, records: ".[]"}}
land: {rotate.schedule.interval.ms: 1000}
serialize: {every: 1s}
slo: {max_rows: 1G}
listen: {http: %q, kafka: "127.0.0.1:0"}
`, s3.Bucket(t, "lake"), hive, s.feed(t), s.http))
	disk := filepath.Join(s.Dir, "data")
	if err := os.MkdirAll(filepath.Join(s.Dir, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	fixture.SmallDisk(t, disk, 256<<20)
	binary.Eventually(t, "a metastore", func() bool { code, _ := get(t, "http://"+others+"/readyz"); return code == http.StatusOK })
	s.load(t)
	s.Start(t, fixture.S3Env, "run")
	binary.Eventually(t, "being ready", func() bool { code, _ := get(t, "http://"+s.http+"/readyz"); return code == http.StatusOK })

	wedged := binary.New(t, bin, fmt.Sprintf("database: db\nstuck_after: 2s\nsources: {orders: {file: {path: \"in/*.ndjson\", every: 100ms}}}\nland: {rotate.schedule.interval.ms: 1000}\nlisten: {http: %q, kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\n", stuck))
	wedged.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	blocked := wedged.Start(t, []string{"HEADWATER_BLOCK=land.before-put"}, "run")

	binary.Eventually(t, "rows", func() bool {
		_, text := get(t, s.Prometheus+"/api/v1/query?query="+url.QueryEscape(`min(headwater_serialize_rows_total{source=~"orders|feed", job="headwater"}) > 0`))
		return hasNumbers(text)
	})
	s.bad(t)
	s.cut.Store(true)
	n := 1
	binary.Eventually(t, "saying that it is wedged", func() bool {
		n++
		wedged.Write(t, fmt.Sprintf("in/%d.ndjson", n), []byte("{\"n\":2}\n"))
		code, text := get(t, "http://"+stuck+"/healthz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "land: topic orders_raw partition 0 has not moved since 20")
	})
	s.fires(t, "a password has changed, a source sends no JSON, and a stage is blocked", "SourceFailing feed: Source feed has been failing since 20", "QuarantineSpike orders: ", "Wedged land: ")
	blocked.Kill(t)
	s.fires(t, "its process is gone", "Down : headwater-stuck")
	wedged.Start(t, nil, "run")
	s.cut.Store(false)
	s.resolves(t, "SourceFailing", "QuarantineSpike", "Wedged", "Down")
	s.healthy(t, "after a source was cut")
	s.bad(t)
	s.panels(t)

	ballast := filepath.Join(disk, "ballast")
	fill(t, disk, ballast, 20<<20)
	s.fires(t, "the disk is full", "DiskLow", "DiskFull", "NotReady")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	pipeline := read(t, s.File)
	s.Pipeline.Write(t, "pipeline.yaml", []byte(pipeline+"mistake: 1\n"))
	s.fires(t, "the pipeline file is wrong", "ConfigRejected")
	s.Pipeline.Write(t, "pipeline.yaml", []byte(pipeline))
	s.resolves(t, "Disk", "NotReady", "ConfigRejected")

	metastore.Kill(t)
	s.fires(t, "the metastore is down", "MetastoreFailing", "JobFailing orders", "DayLate orders: The tables of orders are ")
	s.healthy(t, "without its metastore")
	catalog.Start(t, nil, "run")
	s.resolves(t, "JobFailing", "DayLate")
	s3.Kill()
	s.fires(t, "the store is down", "StoreFailing raw", "LandLagging orders_raw: What came into orders_raw has not landed for ")
	s.healthy(t, "without its store")
	s3.Start()
	s.resolves(t, "")
	s.healthy(t, "in the end")
}

// fill leaves so much room on a disk.
func fill(t *testing.T, disk, ballast string, left int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(disk, &fs); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ballast, make([]byte, int64(fs.Bavail)*fs.Bsize-left), 0o600); err != nil {
		t.Fatal(err)
	}
}
