package flow

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestNeighbours runs sources beside one that brings as much as is taken, one whose server never answers, one whose server is not there and
// one that cannot read what it is given. Their items come meanwhile, and the process ends as it is told to.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	enough := make(chan struct{})
	flood := fixture.Feed(t, func(conn *websocket.Conn) {
		message := fmt.Appendf(nil, "{\"pad\":%q}", strings.Repeat("flood ", 2000))
		for {
			select {
			case <-enough:
				_, _, _ = conn.ReadMessage()
				return
			default:
			}
			if conn.WriteMessage(websocket.TextMessage, message) != nil {
				return
			}
		}
	})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
sources:
  flood: {websocket: {url: %q}}
  silent: {rest: {url: "http://%s/", every: 100ms}}
  gone: {rest: {url: %q, every: 100ms}}
  torn: {file: {path: "in/torn.json.gz", every: 20ms, settle: 20ms}}
  hooks: {push: {}}
  lines: {file: {path: "in/lines.ndjson", every: 20ms, settle: 20ms}}
land: {rotate.schedule.interval.ms: 500}
serialize: {schedule: ""}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, flood, silent.Addr(), gone.URL))
	p.Write(t, "in/torn.json.gz", []byte("\x1f\x8b\x08\x00 this is not gzip"))
	proc := p.Start(t, nil, "run")
	records := func() map[string]int64 {
		all := map[string]int64{}
		for _, source := range statusOf(t, p).Sources {
			all[source.Name] = source.Records
		}
		return all
	}
	binary.Eventually(t, "the flood", func() bool { return records()["flood"] > 1000 })
	const rounds = 20
	var lines strings.Builder
	for n := range rounds {
		before := records()
		resp, err := http.Post("http://"+statusOf(t, p).Listen.HTTP+"/ingest/hooks", "application/json", strings.NewReader(fmt.Sprintf(`{"n":%d}`, n)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("item %d was answered with %s", n, resp.Status)
		}
		fmt.Fprintf(&lines, "{\"n\":%d}\n", n)
		p.Write(t, "in/lines.ndjson", []byte(lines.String()))
		binary.Eventually(t, "the line", func() bool { return records()["lines"] > before["lines"] })
		if n == rounds-1 {
			binary.Eventually(t, "more of the flood", func() bool { return records()["flood"] > before["flood"] })
		}
	}
	close(enough)
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	for _, source := range []string{"hooks", "lines"} {
		out := p.Run(t, nil, "serialize", "--source", source, "--date", day()).Must(t)
		if want := fmt.Sprintf(" %d rows", rounds); !strings.Contains(out, want) {
			t.Errorf("source %s has not%s: %s", source, want, out)
		}
	}
}
