package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/access"
	"headwater/internal/tokens"
)

// guarded serves an API with users and tokens. It gives the address, and what was refused so far.
func guarded(t *testing.T, a API) (address string, refusals func() []access.Refusal) {
	t.Helper()
	var mu sync.Mutex
	var refused []access.Refusal
	who := Guard{
		Token: "own",
		Policy: access.New(access.Config{
			Users: map[string]access.User{
				"ann": {Password: "ann's", Groups: []string{"ops"}}, "bob": {Password: "bob's"}, "carl": {Password: "carl's"}, "dora": {Password: "dora's"},
			},
			Operate: []string{"ops"}, Tables: []string{"bob"}, Only: map[string][]string{"bob": {"db.orders*"}}, Raw: []string{"carl"},
		}),
		Find: func(_ context.Context, text string) (access.Identity, error) {
			switch text {
			case "tables":
				return access.Identity{Name: "token t1 grafana", Scopes: []access.Scope{access.Tables}}, nil
			case "expired":
				return access.Identity{Name: "token t2 grafana"}, tokens.ErrExpired
			case "broken":
				return access.Identity{}, errors.New("the database does not answer")
			}
			return access.Identity{}, tokens.ErrUnknown
		},
		Refused: func(r access.Refusal) {
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, r)
		},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var ingest Ingest
	open := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("open")) })
	ingest.Handle("/ingest/orders", open)
	running.Go(func() {
		if err := New(l, a, open, &ingest, who, func(error) int { return 3 }, slog.New(slog.DiscardHandler)).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return l.Addr().String(), func() []access.Refusal {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(refused)
	}
}

// ask gives the status and the body of an answer; auth is NAME:PASSWORD or, with a space in it, the header.
func ask(t *testing.T, method, url, auth string, header ...string) (*http.Response, string) {
	t.Helper()
	body := `{"do":"rollback","source":"orders"}`
	if strings.HasSuffix(url, "serialize") || strings.HasSuffix(url, "query") {
		body = `{"source":"orders"}`
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if name, password, basic := strings.Cut(auth, ":"); basic && !strings.Contains(auth, " ") {
		req.SetBasicAuth(name, password)
	} else if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(answer)
}

// TestWhoMayAskWhat asks for everything as everybody.
func TestWhoMayAskWhat(t *testing.T) {
	address, _ := guarded(t, api{serialize: func(context.Context, SerializeRequest) (SerializeResult, error) { return SerializeResult{}, nil }})
	paths := []string{"GET hello", "GET status", "GET day?source=orders", "POST serialize", "POST tables", "POST runs", "POST tokens"}
	want := map[string][]int{
		"":               {401, 401, 401, 401, 401, 401, 401},
		"ann:wrong":      {401, 401, 401, 401, 401, 401, 401},
		"mallory:":       {401, 401, 401, 401, 401, 401, 401},
		"headwater:own":  {401, 401, 401, 401, 401, 401, 401},
		"Bearer guess":   {401, 401, 401, 401, 401, 401, 401},
		"Bearer ":        {401, 401, 401, 401, 401, 401, 401},
		"Digest own":     {401, 401, 401, 401, 401, 401, 401},
		"Bearer expired": {401, 401, 401, 401, 401, 401, 401},
		"Bearer broken":  {503, 503, 503, 503, 503, 503, 503},
		"dora:dora's":    {403, 403, 403, 403, 403, 403, 403},
		"carl:carl's":    {200, 403, 403, 403, 403, 403, 403},
		"bob:bob's":      {200, 200, 200, 403, 403, 403, 403},
		"Bearer tables":  {200, 200, 200, 403, 403, 403, 403},
		"ann:ann's":      {200, 200, 200, 200, 200, 200, 403},
		"Bearer own":     {200, 200, 200, 200, 200, 200, 200},
		"bearer own":     {200, 200, 200, 200, 200, 200, 200},
	}
	for auth, codes := range want {
		var got []int
		for _, p := range paths {
			method, path, _ := strings.Cut(p, " ")
			resp, body := ask(t, method, "http://"+address+"/api/v1/"+path, auth)
			if resp.StatusCode == http.StatusBadRequest { // the body is not right for all of them: who is let in that far is let in
				resp.StatusCode = 200
			}
			got = append(got, resp.StatusCode)
			asks := resp.Header.Values("WWW-Authenticate")
			if (resp.StatusCode == 401) != (len(asks) == 2) {
				t.Errorf("%q: %s has %d and WWW-Authenticate %q", auth, p, resp.StatusCode, asks)
			}
			if resp.StatusCode == 401 && !strings.HasPrefix(body, `{"error":"say who you are, by a token that is good`) {
				t.Errorf("%q: %s is told %s: all who are not known are told the same", auth, p, body)
			}
		}
		if diff := cmp.Diff(codes, got); diff != "" {
			t.Errorf("%q (-want +got)\n%s", auth, diff)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/ingest/orders"} {
		if resp, body := ask(t, "GET", "http://"+address+path, ""); resp.StatusCode != 200 {
			t.Errorf("%s: %s %s, and needs nobody's name", path, resp.Status, body)
		}
	}
}

// TestRefusals are told with who, what and from where, and never with a proof.
func TestRefusals(t *testing.T) {
	address, refusals := guarded(t, api{})
	long := strings.Repeat("m", 5000)
	for _, auth := range []string{"", "mallory:sesame", long + ":sesame", "Bearer sesame", "Bearer expired", "bob:bob's"} {
		ask(t, "POST", "http://"+address+"/api/v1/runs?key=sesame", auth)
	}
	var got []string
	for _, r := range refusals() {
		if host, _, err := net.SplitHostPort(r.From); err != nil || host != "127.0.0.1" {
			t.Errorf("from %q", r.From)
		}
		got = append(got, fmt.Sprintf("%s %s %q %s", r.Door, r.Reason, r.Who, r.What))
	}
	want := []string{
		`http unnamed "" POST /api/v1/runs`,
		`http unproved "mallory" POST /api/v1/runs`,
		`http unproved "` + long[:64] + `..." POST /api/v1/runs`,
		`http unproved "" POST /api/v1/runs`,
		`http unproved "token t2 grafana" POST /api/v1/runs`,
		`http forbidden "bob" POST /api/v1/runs`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestStatusOfSome has no more tables than who asks may read.
func TestStatusOfSome(t *testing.T) {
	address, _ := guarded(t, api{status: Status{Tables: []Table{{Name: "db.orders"}, {Name: "db.salaries"}, {Name: "db.orders_raw"}}}})
	for auth, want := range map[string]bool{"bob:bob's": false, "ann:ann's": true, "Bearer tables": true, "Bearer own": true} {
		_, body := ask(t, "GET", "http://"+address+"/api/v1/status", auth)
		if !strings.Contains(body, "db.orders_raw") || strings.Contains(body, "db.salaries") != want {
			t.Errorf("%s: got %s", auth, body)
		}
	}
}

// TestOtherPages: a browser that has a user's password sends it with what a page of elsewhere has it ask for.
func TestOtherPages(t *testing.T) {
	address, _ := guarded(t, api{})
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		if resp, _ := ask(t, "POST", "http://"+address+"/api/v1/runs", "ann:ann's", header...); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%v: got %s", header, resp.Status)
		}
	}
}

// TestQuery: an answer that fails before it has begun is a fault, one that fails later is cut off, and who goes away is not worked for.
func TestQuery(t *testing.T) {
	came, gone := make(chan struct{}), make(chan struct{})
	address, refusals := guarded(t, api{query: func(ctx context.Context, id access.Identity, r QueryRequest, out io.Writer) error {
		switch r.SQL {
		case "forbidden":
			return fmt.Errorf("%w: db.salaries", ErrForbidden)
		case "wait":
			close(came)
			<-ctx.Done()
			close(gone)
			return context.Cause(ctx)
		}
		_, _ = fmt.Fprintf(out, "%s for %s as %q", r.SQL, id.Name, r.Format)
		if r.SQL == "late" {
			_, _ = out.Write(make([]byte, 1<<20))
		}
		if r.SQL != "good" {
			return errors.New("boom")
		}
		return nil
	}})
	post := func(ctx context.Context, auth, body string) (*http.Response, string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/api/v1/query", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		name, password, _ := strings.Cut(auth, ":")
		req.SetBasicAuth(name, password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp, string(text), err
	}
	for _, c := range []struct {
		auth, body, kind, answer string
		code                     int
	}{
		{"bob:bob's", `{"sql":"good"}`, "application/x-ndjson", `good for bob as ""`, 200},
		{"bob:bob's", `{"sql":"good","format":"csv"}`, "text/csv; charset=utf-8", `good for bob as "csv"`, 200},
		{"bob:bob's", `{"sql":"good","format":"arrow"}`, "application/json", `format must be json`, 400},
		{"bob:bob's", `{"sql":`, "application/json", `the body is not`, 400},
		{"bob:bob's", `{"sql":"early"}`, "application/json", `{"error":"boom","code":3}`, 422},
		{"bob:bob's", `{"sql":"forbidden"}`, "application/json", `db.salaries`, 403},
		{"ann:ann's", `{"sql":"good"}`, "application/json", `ann may not`, 403},
		{"carl:carl's", `{"sql":"good"}`, "application/json", `carl may not`, 403},
		{"bob:x", `{"sql":"good"}`, "application/json", `say who you are`, 401},
	} {
		resp, text, err := post(t.Context(), c.auth, c.body)
		if err != nil || resp.StatusCode != c.code || resp.Header.Get("Content-Type") != c.kind || !strings.Contains(text, c.answer) {
			t.Errorf("%+v: got %v, %q, %v", c, resp, text, err)
		}
	}
	if _, _, err := post(t.Context(), "bob:bob's", `{"sql":"late"}`); err == nil {
		t.Error("an answer that failed when it had begun looks whole")
	}
	var forbidden []string
	for _, r := range refusals() {
		if r.Reason == access.Forbidden {
			forbidden = append(forbidden, r.Who)
		}
	}
	if want := []string{"bob", "ann", "carl"}; !slices.Equal(forbidden, want) {
		t.Errorf("refused were %q, want %q", forbidden, want)
	}
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-came; leave() }()
	if _, _, err := post(ctx, "bob:bob's", `{"sql":"wait"}`); err == nil {
		t.Error("it was answered")
	}
	select {
	case <-gone:
	case <-time.After(3 * time.Minute):
		t.Error("the answer is still worked for, of somebody who has gone")
	}
}
