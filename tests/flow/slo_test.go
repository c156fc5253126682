package flow

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headwater/internal/web"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// hook is an HTTP receiver of notifications.
type hook struct {
	mu    sync.Mutex
	hold  chan struct{} // while it is not nil, requests are taken and not answered
	held  int
	ids   map[string]bool
	told  []string // what each new one says, in order
	wrong []string
}

// ServeHTTP implements http.Handler.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m struct{ ID, Event, What, Stage, Text string }
	err := json.Unmarshal(body, &m)
	h.mu.Lock()
	hold := h.hold
	if hold != nil {
		h.held++
	}
	if err != nil || r.Header.Get("Authorization") != "Bearer s3cret-token" {
		h.wrong = append(h.wrong, fmt.Sprint(err, r.Header, string(body)))
	}
	if m.ID != "EXAMPLE" && !h.ids[m.ID] {
		h.ids[m.ID] = true
		h.told = append(h.told, strings.TrimSpace(m.Event+" "+m.What+" "+m.Stage))
	}
	h.mu.Unlock()
	if hold != nil {
		<-hold
	}
	fmt.Fprint(w, "thanks")
}

// serve has it answer at an address.
func (h *hook) serve(t *testing.T, addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func (h *hook) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

const sloPipeline = `
database: db
sources:
  a:
    external: {topic: a_raw, timestamp: ms}
    schema: {max_columns: %d}
land: {rotate.schedule.interval.ms: 200}
close: {after: 0s}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`

// TestNotify: a run that fails and tables that are late and small are told to webhooks, each once, and so is their end, whatever dies meanwhile: the
// process while a webhook has not answered yet, or the webhook. Nowhere is a secret told.
func TestNotify(t *testing.T) {
	t.Parallel()
	alive, dead := &hook{ids: map[string]bool{}, hold: make(chan struct{})}, &hook{ids: map[string]bool{}}
	addr := []string{fixture.FreeAddr(t), fixture.FreeAddr(t)}
	alive.serve(t, addr[0])
	p := binary.New(t, binary.Build(t), fmt.Sprintf(sloPipeline, 100)+"serialize: {schedule: \"\"}\n")
	if left := time.Until(time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)); left < 5*time.Minute {
		time.Sleep(left + time.Second) // yesterday must stay yesterday
	}
	day := func(ago int) string { return time.Now().UTC().AddDate(0, 0, -ago).Format(time.DateOnly) }

	first := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	small := []string{record(1, 4), record(2, 4), record(3, 4)}
	broad := strings.ReplaceAll(record(4, 3), `"n":4`, `"n":4,"m":5`)
	produce(t, statusOf(t, p).Listen.Kafka, "a_raw", append(small, broad)...)
	landed := func(n int64) func() bool {
		return func() bool {
			s := statusOf(t, p)
			return len(s.Topics) == 1 && s.Topics[0].Records == n
		}
	}
	binary.Eventually(t, "landing", landed(4))
	p.Run(t, nil, "serialize", "--source", "a", "--date", day(4)).Must(t)
	if err := first.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	first.Wait(t, time.Minute).Must(t)

	template := `{"id": {{json .ID}}, "event": {{json .Event}}, "what": {{if .Day}}{{json .Day}}{{else}}{{json .Objective}}{{end}}, "stage": {{json .Stage}}, "text": {{json .Text}}}`
	promised := fmt.Sprintf(`slo: {freshness: 26h, min_rows: 10, max_bytes: 1GiB}
notify:
  - {url: "http://%s/s3cret-path?key=s3cret-key", headers: {Authorization: "Bearer s3cret-token"}, template: %q}
  - {url: "http://%s/s3cret-path", headers: {Authorization: "Bearer s3cret-token"}, template: %q, events: [failure]}
`, addr[0], template, addr[1], template)
	p.Write(t, "pipeline.yaml", []byte(fmt.Sprintf(sloPipeline, 1)+promised))
	killed := p.Start(t, nil, "run")
	binary.Eventually(t, "a message on its way", func() bool {
		alive.mu.Lock()
		defer alive.mu.Unlock()
		return alive.held > 0
	})
	killed.Kill(t)
	alive.mu.Lock()
	close(alive.hold)
	alive.hold = nil
	alive.mu.Unlock()

	run := p.Start(t, nil, "run")
	told := func(what string, n int) []string {
		t.Helper()
		binary.EventuallyOr(t, what, func() bool { return len(alive.all()) >= n }, func() string { return fmt.Sprint(alive.all(), "\n", run.Stderr()) })
		all := alive.all()[:n]
		slices.Sort(all)
		return all
	}
	failure := "failure " + day(3)
	if got := told("what is wrong", 3); !slices.Equal(got, []string{"breach freshness serialize", "breach min_rows", failure}) {
		t.Errorf("told %v", got)
	}
	var status web.Status
	seen := ""
	look := func() {
		seen, status = p.Run(t, nil, "status", "--json").Must(t), web.Status{}
		if err := json.Unmarshal([]byte(seen), &status); err != nil {
			t.Fatal(err)
		}
	}
	binary.EventuallyOr(t, "the webhooks' states", func() bool {
		look()
		n := status.Notify
		return len(n) == 2 && n[0].Waiting == 0 && n[0].FailingSince.IsZero() && n[1].Waiting == 1 && !n[1].FailingSince.IsZero() && n[1].LastError != ""
	}, func() string { return seen })
	for _, o := range status.SLO {
		if o.Breached != (o.Objective != "max_bytes") || o.Breached && o.Since.IsZero() {
			t.Errorf("%+v", o)
		}
		if o.Objective == "freshness" && (!strings.Contains(o.Reason, "serialize, since ") || !strings.Contains(o.Reason, "of "+day(3)+" failed: ") || o.StageSince.IsZero()) {
			t.Errorf("%+v", o)
		}
	}
	if len(status.SLO) != 3 {
		t.Errorf("%+v", status.SLO)
	}
	text := p.Run(t, nil, "status").Must(t)
	answer, err := http.Get("http://" + status.Listen.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	for _, want := range []string{`headwater_slo_breached{objective="freshness",source="a"} 1`, `headwater_slo_breached{objective="max_bytes",source="a"} 0`, `headwater_notify_waiting_messages{webhook="2"} 1`} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("there is no %s", want)
		}
	}
	test := p.Run(t, nil, "notify test")
	if test.Code != 4 || !strings.Contains(test.Stdout, "webhook 1: 200 OK: thanks\nwebhook 2: FAILED: ") {
		t.Errorf("%d: %s%s", test.Code, test.Stdout, test.Stderr)
	}
	made := p.Run(t, nil, "serialize", "--source", "a", "--date", day(4)).Must(t)
	if !strings.Contains(made, "slo freshness is breached: ") || !strings.Contains(made, "slo min_rows is breached: db.a_raw has of "+day(4)+" 3 rows, and at least 10 are expected") {
		t.Error(made)
	}

	p.Write(t, "pipeline.yaml", []byte(fmt.Sprintf(sloPipeline, 100)+promised))
	binary.Eventually(t, "the file to be taken", func() bool { return strings.Contains(run.Stderr(), "the sources of the pipeline file are others now") })
	p.Run(t, nil, "runs retry", strconv.FormatInt(runsOf(t, p, "--state", "failed")[0].ID, 10)).Must(t)
	if got := told("that it is made", 5)[3:]; !slices.Equal(got, []string{"recovery " + day(3), "recovery freshness"}) {
		t.Errorf("told %v", got)
	}
	var values []string
	for n := range 10 {
		values = append(values, record(n, 1))
	}
	produce(t, status.Listen.Kafka, "a_raw", values...)
	binary.Eventually(t, "landing", landed(10))
	made = p.Run(t, nil, "serialize", "--source", "a", "--date", day(1), "--json").Must(t)
	var result web.SerializeResult
	if err := json.Unmarshal([]byte(made), &result); err != nil || result.Rows != 10 || len(result.Breaches) != 0 {
		t.Errorf("%s: %v", made, err)
	}
	if got := told("that there are enough", 6); !slices.Contains(got, "recovery min_rows") {
		t.Errorf("told %v", got)
	}

	dead.serve(t, addr[1])
	binary.Eventually(t, "the dead webhook's message", func() bool { return len(dead.all()) > 0 })
	before := seen
	binary.Eventually(t, "its end", func() bool {
		look()
		return status.Notify[1] == web.Webhook{Webhook: 2}
	})
	if err := run.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	end := run.Wait(t, time.Minute)
	end.Must(t)
	if got := dead.all(); !slices.Equal(got, []string{failure}) {
		t.Errorf("the dead webhook was told %v", got)
	}
	if all := alive.all(); len(all) != 6 || len(alive.wrong)+len(dead.wrong) > 0 {
		t.Errorf("told %v; wrong %v %v", all, alive.wrong, dead.wrong)
	}
	logs := killed.Stderr() + end.Stderr
	for _, want := range []string{"an objective is breached", "an objective is not breached any more", "a notification is tried again", "a webhook takes notifications again"} {
		if !strings.Contains(logs, want) {
			t.Errorf("the log does not say that %s", want)
		}
	}
	for name, said := range map[string]string{"log": logs, "status": before + seen + text, "metrics": string(metrics), "notify test": test.Stdout + test.Stderr} {
		for _, secret := range []string{"s3cret", addr[0], addr[1]} {
			if strings.Contains(said, secret) {
				t.Errorf("%s is in the %s:\n%s", secret, name, said)
			}
		}
	}
}
