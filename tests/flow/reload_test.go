package flow

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// edited is a pipeline file that is written again while it runs.
type edited struct {
	binary.Pipeline
	base string
}

// set writes the file with other sources.
func (e edited) set(t *testing.T, sources ...string) {
	t.Helper()
	e.Write(t, "pipeline.yaml", []byte(e.base+"sources:\n  "+strings.Join(sources, "\n  ")+"\n"))
}

// rows waits until a table has as many rows, and no more a moment later.
func (e edited) rows(t *testing.T, table string, want int) {
	t.Helper()
	sql, answer := "select count(*) from "+table, ""
	binary.EventuallyOr(t, fmt.Sprintf("%d rows in %s", want, table), func() bool {
		answer = ask(t, e.Pipeline, sql)
		return answer == fmt.Sprint(want)
	}, func() string { return answer })
}

// TestSourcesChange edits the sources of a running pipeline in every way; what is not edited goes on, and nothing is lost or doubled.
func TestSourcesChange(t *testing.T) {
	t.Parallel()
	const (
		orders  = `orders: {file: {path: "in/orders/*.ndjson", every: 20ms, settle: 20ms}}`
		hooks   = `hooks: {push: {}}`
		stock   = `stock: {file: {path: "in/stock/*.ndjson", every: 20ms, settle: 20ms}}`
		moved   = `stock: {file: {path: "in/moved/*.ndjson", every: 20ms, settle: 20ms}}`
		foreign = `theirs: {external: {topic: theirs, envelope: none}}`
	)
	e := edited{base: `
database: db
land: {rotate.schedule.interval.ms: 300}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`}
	e.Pipeline = binary.New(t, binary.Build(t), e.base+"sources: {"+orders+"}\n")
	proc := e.Start(t, nil, "run")
	line := func(folder string, n int) {
		e.Write(t, fmt.Sprintf("in/%s/%d.ndjson", folder, n), fmt.Appendf(nil, "{\"n\":%d}\n", n))
	}
	line("orders", 0)
	e.rows(t, "db.orders", 1)

	// Three more, one of them filled by others.
	line("stock", 1)
	e.set(t, orders, hooks, stock, foreign)
	e.rows(t, "db.stock", 1)
	s := statusOf(t, e.Pipeline)
	post := func() (code int) {
		resp, err := http.Post("http://"+s.Listen.HTTP+"/ingest/hooks", "application/json", strings.NewReader(`{"n":2}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if code := post(); code != http.StatusOK {
		t.Errorf("posting to the new source was answered with %d", code)
	}
	newForeign(t, s.Listen.Kafka).send(&kgo.Record{Topic: "theirs", Value: []byte(`{"n":3}`)})
	e.rows(t, "db.hooks", 1)
	e.rows(t, "db.theirs", 1)
	if s := statusOf(t, e.Pipeline); len(s.Sources) != 4 || s.Sources[0].Name != "orders" || s.Sources[0].Records != 1 {
		t.Errorf("the source that was there is not what it was: %+v", s.Sources)
	}

	// One reads elsewhere, one is gone; both streams go on where they were when it comes back.
	e.set(t, orders, moved, foreign)
	line("moved", 4)
	e.rows(t, "db.stock", 2)
	if code := post(); code != http.StatusNotFound {
		t.Errorf("posting to a source that is gone was answered with %d", code)
	}
	line("stock", 5)
	e.set(t, hooks, stock, foreign, orders)
	e.rows(t, "db.stock", 3)
	if code := post(); code != http.StatusOK {
		t.Errorf("posting to a source that is back was answered with %d", code)
	}
	e.rows(t, "db.hooks", 2)

	// Files that cannot be taken: everything goes on, and status says why.
	said := func(what string) {
		t.Helper()
		answer := ""
		binary.EventuallyOr(t, "status saying "+what, func() bool {
			answer = e.Run(t, nil, "status", "--json").Stdout
			return strings.Contains(answer, what)
		}, func() string { return answer })
	}
	running := e.Dir + "/running.yaml" // for the commands, while the file is broken
	if err := os.WriteFile(running, []byte(e.base+"sources: {"+orders+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	faulty := e
	faulty.File = running
	for _, bad := range []string{"", "sources: [", e.base + "sources: {orders: {fil: {}}}", strings.Replace(e.base, "db", "other", 1) + "sources: {" + orders + "}\n"} {
		e.Write(t, "pipeline.yaml", []byte(bad))
		answer := ""
		binary.EventuallyOr(t, "status saying why the file is not taken", func() bool {
			answer = faulty.Run(t, nil, "status").Stdout
			return strings.Contains(answer, "the pipeline file is not taken as it is now")
		}, func() string { return bad + "\n" + answer })
		e.set(t, orders, hooks, stock, foreign)
		binary.EventuallyOr(t, "status without a fault", func() bool {
			answer = faulty.Run(t, nil, "status").Stdout
			return !strings.Contains(answer, "not taken")
		}, func() string { return answer })
	}
	if err := os.Remove(e.File); err != nil {
		t.Fatal(err)
	}
	line("orders", 6)
	faulty.rows(t, "db.orders", 2)

	// What only a restart takes is named, and the sources beside it are taken.
	line("late", 7)
	e.base = strings.Replace(e.base, "every: 200ms", "every: 100ms", 1)
	e.set(t, orders, hooks, stock, foreign, `late: {file: {path: "in/late/*.ndjson", every: 20ms, settle: 20ms}}`)
	e.rows(t, "db.late", 1)
	said(`"restart":["serialize"]`)

	if _, text := get(t, e.Pipeline, "/metrics"); measured(t, text, "headwater_config_restart_needed") != 1 || measured(t, text, "headwater_config_last_reload_successful") != 1 {
		t.Error("the metrics do not say what status says")
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	e.Run(t, nil, "run", "--once").Must(t)
	for table, want := range map[string]int{"orders": 2, "hooks": 2, "stock": 3, "theirs": 1, "late": 1} {
		e.rows(t, "db."+table, want)
	}
	if _, err := os.Stat(filepath.Join(e.Dir, "headwater-data/raw/_quarantine")); !os.IsNotExist(err) {
		t.Errorf("something is in quarantine: %v", err)
	}
}

// TestReplicasFollow edits the file that several processes have, on a broker that they share.
func TestReplicasFollow(t *testing.T) {
	p := onKafka(t, fixture.Kafka(t))
	n := &numbers{p: p}
	n.arrive(t, 10)
	n.arrive(t, 10)
	running := map[string]*binary.Process{}
	for _, name := range []string{"collect-0", "collect-1", "land-0", "serve-0"} {
		stage, _, _ := strings.Cut(name, "-")
		running[name] = p.Start(t, own(name), stage)
	}
	counted := func(tables string, want int) {
		t.Helper()
		answer := ""
		binary.EventuallyOr(t, fmt.Sprintf("%d rows in %s", want, tables), func() bool {
			answer = p.Run(t, own("query"), "query", "--format", "csv", "select count(*), count(distinct n) from ("+tables+")").Stdout
			return strings.HasSuffix(answer, fmt.Sprintf("\n%d,%d\n", want, want))
		}, func() string { return answer })
	}
	const both = "select n from db.odd union all select n from db.even"
	counted(both, n.next)
	before, err := os.ReadFile(p.File)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(old, now string) {
		t.Helper()
		if !strings.Contains(string(before), old) {
			t.Fatalf("the file has no %s", old)
		}
		p.Write(t, "pipeline.yaml", []byte(strings.Replace(string(before), old, now, 1)))
	}
	p.Write(t, "in/third/a.ndjson", []byte("{\"n\":0}\n{\"n\":1}\n"))
	edit("sources:\n", "sources:\n  third: {file: {path: \"in/third/*.ndjson\", every: 20ms, settle: 50ms}, topic: {name: third}}\n")
	counted("select n from db.third", 2)
	n.arrive(t, 10)
	n.arrive(t, 10)
	counted(both, n.next)
	edit("in/odd/*.ndjson\", every: 20ms", "in/odd/*.ndjson\", every: 30ms")
	n.arrive(t, 10)
	n.arrive(t, 10)
	counted(both, n.next)
	for name, proc := range running {
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, proc := range running {
		if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
			t.Errorf("%s ended with %d: %s", name, r.Code, r.Stderr)
		}
	}
	n.verify(t)
}

// TestSecretsChange has a token and an authority renewed, in the files that a source names; the source beside it keeps its connection.
func TestSecretsChange(t *testing.T) {
	t.Parallel()
	var old, renewed string
	for _, dir := range []*string{&old, &renewed} {
		*dir = t.TempDir()
		fixture.Certificates(t, *dir)
	}
	var mu sync.Mutex
	token, certificates, items := "one", old, 1
	change := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		for n := range items {
			_, _ = fmt.Fprintf(w, "{\"n\":%d}\n", n)
		}
	}))
	api.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		pair, err := tls.LoadX509KeyPair(filepath.Join(certificates, "server.pem"), filepath.Join(certificates, "server.key"))
		return &tls.Config{Certificates: []tls.Certificate{pair}}, err
	}}
	api.Config.ErrorLog = log.New(io.Discard, "", 0)
	api.StartTLS()
	defer api.Close()
	var connections atomic.Int64
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		connections.Add(1)
		_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1}`))
		_, _, _ = conn.ReadMessage()
	})
	e := edited{base: `
database: db
collect: {retry: {max: 500ms}}
land: {rotate.schedule.interval.ms: 300}
serialize: {every: 200ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`}
	e.Pipeline = binary.New(t, binary.Build(t), "")
	authority := func(dir string) []byte {
		pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return pem
	}
	e.Write(t, "token", []byte("one\n"))
	e.Write(t, "ca.pem", authority(old))
	e.set(t, fmt.Sprintf(`polled: {rest: {url: %q, every: 100ms, ca: ca.pem, format: ndjson, auth: {bearer: {token: "${file:token}"}}, incremental: {path: .n, format: integer, initial: "0"}, params: {since: "{incremental.start}"}}}`, api.URL),
		fmt.Sprintf(`feed: {websocket: {url: %q}}`, feed))
	proc := e.Start(t, nil, "run")
	e.rows(t, "db.polled", 1)
	e.rows(t, "db.feed", 1)

	change(func() { token, items = "two", 2 })
	e.Write(t, "token", []byte("two\n"))
	e.rows(t, "db.polled", 2)

	change(func() { certificates, items = renewed, 3 })
	api.CloseClientConnections()
	e.Write(t, "ca.pem", authority(renewed))
	e.rows(t, "db.polled", 3)
	if n := connections.Load(); n != 1 {
		t.Errorf("the source beside it has connected %d times", n)
	}
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
}
