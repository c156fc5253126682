package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/access"
	"headwater/internal/runs"
)

// api answers what a test gives it.
type api struct {
	status    Status
	serialize func(context.Context, SerializeRequest) (SerializeResult, error)
	query     func(context.Context, access.Identity, QueryRequest, io.Writer) error
	notReady  []string
	wedged    []string
}

func (a api) Wedged() []string { return a.wedged }

func (a api) NotReady(context.Context) []string { return a.notReady }

func (a api) Status(context.Context) (Status, error) { return a.status, nil }

func (a api) Serialize(ctx context.Context, r SerializeRequest) (SerializeResult, error) {
	return a.serialize(ctx, r)
}

func (a api) Day(_ context.Context, r DayRequest) (DayResult, error) {
	if r.Source != "orders" {
		return DayResult{}, errors.New("boom")
	}
	return DayResult{Source: r.Source, Date: r.Date, Reason: "why", Waits: []DayWait{{What: "land", Topic: "t", Needs: 3}}}, nil
}

func TestDay(t *testing.T) {
	address, end := serve(t, api{})
	defer end()
	c := Client{Address: address, Token: "token"}
	got, err := c.Day(t.Context(), DayRequest{Source: "orders", Date: "2026-07-05"})
	want := DayResult{Source: "orders", Date: "2026-07-05", Reason: "why", Waits: []DayWait{{What: "land", Topic: "t", Needs: 3}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	var f Fault
	if _, err := c.Day(t.Context(), DayRequest{Source: "a&b=c"}); !errors.As(err, &f) || f.Message != "boom" {
		t.Error(err)
	}
}

func (a api) Query(ctx context.Context, id access.Identity, r QueryRequest, out io.Writer) error {
	return a.query(ctx, id, r, out)
}

func (a api) Tokens(context.Context, TokensRequest) (TokensResult, error) {
	return TokensResult{Text: "hwt"}, nil
}

func (a api) Runs(_ context.Context, r RunsRequest) (RunsResult, error) {
	return RunsResult{Runs: []runs.Run{{ID: r.ID, State: runs.Waiting}}, Log: r.Do}, nil
}

func (a api) Tables(_ context.Context, r TablesRequest) (TablesResult, error) {
	if r.Do != "rollback" {
		return TablesResult{}, errors.New("boom")
	}
	return TablesResult{Rows: 7, Reports: []TableReport{{Table: r.Table, Findings: []TableFinding{{Kind: "gone", Day: r.Date}}}}}, nil
}

func TestTables(t *testing.T) {
	address, end := serve(t, api{})
	defer end()
	c := Client{Address: address, Token: "token"}
	got, err := c.Tables(t.Context(), TablesRequest{Do: "rollback", Table: "db.t", Date: "2026-07-05"})
	want := TablesResult{Rows: 7, Reports: []TableReport{{Table: "db.t", Findings: []TableFinding{{Kind: "gone", Day: "2026-07-05"}}}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	_, err = c.Tables(t.Context(), TablesRequest{Do: "other"})
	if f, is := errors.AsType[Fault](err); !is || f.Code != 3 || f.Message != "boom" {
		t.Error(err)
	}
}

// serve runs a server for the test and gives its address and a function that ends it and waits.
func serve(t *testing.T, a API) (address string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var ingest Ingest
	ingest.Handle("/ingest/orders", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("taken")) }))
	ingest.Handle("/ingest/gone", http.NotFoundHandler())
	ingest.Handle("/ingest/gone", nil)
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("headwater_ready 1\n")) })
	s := New(l, a, metrics, &ingest, Guard{Token: "token", Refused: func(access.Refusal) {}}, func(error) int { return 3 }, slog.New(slog.DiscardHandler))
	go func() { ended <- s.Run(ctx) }()
	end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return l.Addr().String(), end
}

func TestStatusAndSerialize(t *testing.T) {
	want := Status{Version: "v1", PID: 7, Running: true, Sources: []Source{{Name: "orders", Records: 5}}, Topics: []Topic{}, Tables: []Table{{Name: "db.orders"}}}
	address, end := serve(t, api{status: want, serialize: func(_ context.Context, r SerializeRequest) (SerializeResult, error) {
		if r.Source == "broken" {
			return SerializeResult{}, errors.New("the object is truncated")
		}
		return SerializeResult{Source: r.Source, Date: r.Date, Rows: 9}, nil
	}})
	defer end()
	c := Client{Address: address, Token: "token"}
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	result, err := c.Serialize(t.Context(), SerializeRequest{Source: "orders", Date: "2026-07-05"})
	if err != nil || result.Rows != 9 {
		t.Errorf("%+v, %v", result, err)
	}
	_, err = c.Serialize(t.Context(), SerializeRequest{Source: "broken"})
	if f, ok := errors.AsType[Fault](err); !ok || f.Code != 3 || f.Message != "the object is truncated" {
		t.Errorf("got %v, want the fault with its exit code", err)
	}
	_, err = Client{Address: address, Token: "guess"}.Status(t.Context())
	if f, ok := errors.AsType[Fault](err); !ok || !strings.Contains(f.Message, "token") {
		t.Errorf("a wrong token got %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	address, end := serve(t, api{})
	defer end()
	for _, body := range []string{"", "{", `{"sauce":"x"}`, `{"source":"` + strings.Repeat("x", 1<<17) + `"}`} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/api/v1/serialize", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer token")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a body of %d bytes got %s", len(body), resp.Status)
		}
	}
}

func TestEndWaitsForRequests(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	address, end := serve(t, api{serialize: func(context.Context, SerializeRequest) (SerializeResult, error) {
		close(inside)
		<-release
		return SerializeResult{Rows: 1}, nil
	}})
	answer := make(chan error, 1)
	go func() {
		_, err := Client{Address: address, Token: "token"}.Serialize(t.Context(), SerializeRequest{Source: "s", Date: "d"})
		answer <- err
	}()
	<-inside
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	end()
	if err := <-answer; err != nil {
		t.Errorf("the request under way got %v", err)
	}
}

// TestReady: the reasons are told, to everybody.
func TestReady(t *testing.T) {
	for _, reasons := range [][]string{nil, {"it drains", "source orders: its topic is not open yet"}} {
		address, end := serve(t, api{notReady: reasons})
		for path, want := range map[string]string{"/readyz": strings.Join(reasons, "\n"), "/healthz": "ok", "/metrics": "headwater_ready 1"} {
			resp, err := http.Get("http://" + address + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if code := resp.StatusCode; err != nil || !strings.Contains(string(body), want) || (code == 200) == (path == "/readyz" && reasons != nil) {
				t.Errorf("%s: %d %q, %v", path, resp.StatusCode, body, err)
			}
		}
		end()
	}
}

// TestHealthy: a process is alive until something of it is wedged, ready or not.
func TestHealthy(t *testing.T) {
	for _, a := range []api{{notReady: []string{"Kafka does not answer"}}, {wedged: []string{"land: topic orders_raw partition 0 has not moved", "lake: a put"}}} {
		address, end := serve(t, a)
		resp, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || (resp.StatusCode == http.StatusOK) != (a.wedged == nil) || !strings.Contains(string(body), strings.Join(a.wedged, "\n")) {
			t.Errorf("%+v: %d %q, %v", a, resp.StatusCode, body, err)
		}
		end()
	}
}

// TestIngest: a source's path needs no token of the process's, and is that path alone.
func TestIngest(t *testing.T) {
	address, end := serve(t, api{})
	defer end()
	for path, want := range map[string]string{
		"/ingest/orders": "taken", "/ingest/orders/": "404", "/ingest": "404", "/ingest/gone": "404", "/": "404", "/api/v1/other": "404",
	} {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d %s, %v", path, resp.StatusCode, body, err)
		}
	}
}
