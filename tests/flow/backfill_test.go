package flow

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// numberedAPI has an item of every number and gives a hundred of those that are asked for at a time.
func numberedAPI(t *testing.T) (url string, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(10 * time.Millisecond) // so that a kill finds it at work
		since, _ := strconv.Atoi(r.FormValue("since"))
		var items []map[string]int
		for n := since; n < min(since+100, 5000); n++ {
			items = append(items, map[string]int{"n": n})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"data": items})
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

// apiPipeline has the API's address, and what else it is given.
const apiPipeline = `
database: db
data_dir: ${OWN}
lake: {raw: raw, tables: tables}
sources:
  api:
    rest:
      url: %s/items
      every: 100ms
      params: {since: "{incremental.start}"}
      records: .data[]
      incremental: {path: .n, format: integer, initial: "4000", order: ascending}
  push: {push: {}}
land: {rotate.interval.ms: 300, rotate.schedule.interval.ms: 300}
serialize: {every: 200ms}
%s
`

// kill9 reads the range, killed again and again, to its end.
func kill9(t *testing.T, p binary.Pipeline, requests *atomic.Int64, env []string, args ...string) {
	t.Helper()
	for range 5 {
		proc := p.Start(t, env, "collect", args...)
		from := requests.Load()
		binary.Eventually(t, "some requests", func() bool { return requests.Load() > from+5 })
		proc.Kill(t)
	}
	out := p.Run(t, env, "collect", args...).Must(t)
	if strings.HasPrefix(out, "0 records") || !strings.Contains(out, "are in topic api_raw") {
		t.Errorf("it says %s", out)
	}
	if out := p.Run(t, env, "collect", args...).Must(t); !strings.HasPrefix(out, "0 records of source api that were not there yet, from 1000 to 3950,") {
		t.Errorf("once more it says %s", out)
	}
}

var backfillArgs = []string{"--source", "api", "--from", "1000", "--to", "3950"}

// TestBackfill reads a range of the past in a process that is killed again and again: each item is there once, and the source's own cursor knows
// nothing of it.
func TestBackfill(t *testing.T) {
	t.Parallel()
	url, requests := numberedAPI(t)
	p := binary.New(t, binary.Build(t), fmt.Sprintf(apiPipeline, url, `listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}`))
	p.Run(t, own("run"), "run", "--once").Must(t)
	before := p.Run(t, own("run"), "cursor", "api", "--json").Must(t)
	kill9(t, p, requests, own("run"), backfillArgs...)
	var was, is struct{ Streams json.RawMessage }
	if err := json.Unmarshal([]byte(before), &was); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.Run(t, own("run"), "cursor", "api", "--json").Must(t)), &is); err != nil || string(was.Streams) != string(is.Streams) {
		t.Errorf("the cursor was\n%s and is\n%s: %v", was.Streams, is.Streams, err)
	}
	p.Run(t, own("run"), "run", "--once").Must(t)
	if out := p.Run(t, own("run"), "query", "--format", "csv", "select count(*), count(distinct n), min(n), max(n) from db.api").Must(t); !strings.HasSuffix(out, "\n3950,3950,1000,4999\n") {
		t.Errorf("the table has %s", out)
	}

	proc := p.Start(t, own("run"), "run")
	binary.Eventually(t, "a running source", func() bool {
		return strings.Contains(p.Run(t, own("run"), "status", "--json").Stdout, `"state":"running"`)
	})
	if r := p.Run(t, own("run"), "collect", backfillArgs...); r.Code != 2 || !strings.Contains(r.Stderr, "stop it, do this and start it again") {
		t.Errorf("beside a running process it ends with %d: %s", r.Code, r.Stderr)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	for _, c := range [][]string{
		{"--source", "api", "--from", "1", "needs all of"},
		{"--source", "apo", "--from", "1", "--to", "2", "it has api, push"},
		{"--source", "push", "--from", "1", "--to", "2", "is of kind push, which cannot be asked for a range"},
		{"--source", "api", "--from", "2", "--to", "1", "must end after it begins"},
	} {
		if r := p.Run(t, own("run"), "collect", c[:len(c)-1]...); r.Code != 2 || !strings.Contains(r.Stderr, c[len(c)-1]) {
			t.Errorf("%v ends with %d: %s", c, r.Code, r.Stderr)
		}
	}
}

// TestBackfillWhileRunning does so on a Kafka of others, while a process collects the source.
func TestBackfillWhileRunning(t *testing.T) {
	t.Parallel()
	url, requests := numberedAPI(t)
	p := binary.New(t, binary.Build(t), fmt.Sprintf(apiPipeline, url, fmt.Sprintf("kafka: {brokers: [%q]}\nlisten: {http: \"127.0.0.1:0\"}", fixture.Kafka(t).Addr)))
	proc := p.Start(t, own("run"), "run")
	binary.Eventually(t, "the source's own items", func() bool {
		return strings.Contains(p.Run(t, own("run"), "status", "--json").Stdout, `"records":1000`)
	})
	kill9(t, p, requests, own("back"), backfillArgs...)
	binary.Eventually(t, "all rows", func() bool {
		out := p.Run(t, own("query"), "query", "--format", "csv", "select count(*), count(distinct n), min(n), max(n) from db.api").Stdout
		return strings.HasSuffix(out, "\n3950,3950,1000,4999\n")
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := proc.Wait(t, 3*time.Minute); r.Code != 0 || strings.Contains(r.Stderr, "source failed") {
		t.Errorf("the process ends with %d: %s", r.Code, r.Stderr)
	}
}
