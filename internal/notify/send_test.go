package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/database"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

var plain = map[string]setting.Secret{"Content-Type": "text/plain"}

func readAll(r *http.Request) string {
	text, _ := io.ReadAll(r.Body)
	return string(text)
}

// TestPost is what a webhook gets.
func TestPost(t *testing.T) {
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, body = r, readAll(r)
		fmt.Fprint(w, "ok\n  then")
	}))
	t.Cleanup(server.Close)
	m := examples()[0]
	w := Webhook{URL: setting.Secret(server.URL + "/T0/B0?x=1"), Headers: map[string]setting.Secret{"authorization": "Bearer s3cret", "X-Team": "data"}}
	answer, err := w.Post(t.Context(), NewClient(), m)
	if err != nil || answer != (Answer{"200 OK", "ok then"}) {
		t.Errorf("%+v, %v", answer, err)
	}
	var said struct{ Text string }
	must(t, json.Unmarshal([]byte(body), &said))
	if said.Text != m.Text || got.Method != http.MethodPost || got.URL.String() != "/T0/B0?x=1" || got.Header.Get("Content-Type") != "application/json" ||
		got.Header.Get("Authorization") != "Bearer s3cret" || got.Header.Get("X-Team") != "data" {
		t.Errorf("%s %s %v: %s", got.Method, got.URL, got.Header, body)
	}
	w.Template = `{"routing_key": "k", "payload": {{json .}}{{if eq .Event "failure"}}, "severity": "critical"{{end}}}`
	if _, err := w.Post(t.Context(), NewClient(), m); err != nil {
		t.Error(err)
	}
	var whole struct {
		Payload  Message
		Severity string
	}
	must(t, json.Unmarshal([]byte(body), &whole))
	if d := cmp.Diff(m, whole.Payload); d != "" || whole.Severity != "critical" {
		t.Errorf("%s: %s", whole.Severity, d)
	}
}

// TestRedirect: a webhook that sends elsewhere is not followed, with what is secret.
func TestRedirect(t *testing.T) {
	elsewhere := &receiver{}
	other := elsewhere.serve(t)
	server := httptest.NewServer(http.RedirectHandler(other.URL.Reveal(), http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	_, err := Webhook{URL: setting.Secret(server.URL)}.Post(t.Context(), NewClient(), examples()[0])
	if err == nil || err.Error() != "it answers 307 Temporary Redirect" || retry.Classify(err) != retry.Transient {
		t.Error(err)
	}
	if elsewhere.all > 0 {
		t.Error("it was followed")
	}
}

// TestSecrets: whatever goes wrong, and whatever a webhook says, nothing of what it is configured with is told.
func TestSecrets(t *testing.T) {
	const path, token, user, key = "/services/T0SECRET/B0SECRET", "t0kens3cret", "hidden", "R0UTINGKEYR0UTINGKEY"
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "%s; B0SECRET is unknown: cannot POST http://%s%s as %s", readAll(r), r.Host, r.URL, r.Header)
	}
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	secure := httptest.NewTLSServer(http.HandlerFunc(echo))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(secure.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	hang := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	t.Cleanup(hang.Close)
	client := NewClient()
	client.Transport.(*http.Transport).Proxy = nil // whose answer it would be
	for name, c := range map[string]struct {
		base, want string
		class      retry.Class
	}{
		"not found":      {server.URL, "it answers 404 Not Found", retry.Permanent},
		"refused":        {closed.URL, "connection refused", retry.Transient},
		"not trusted":    {secure.URL, "certificate", retry.Transient},
		"cut":            {hang.URL, "EOF", retry.Transient},
		"no such host":   {"http://nowhere.invalid", "its host cannot be found", retry.Transient},
		"not spoken":     {strings.Replace(server.URL, "http:", "https:", 1), "", retry.Transient},
		"a user as well": {strings.Replace(server.URL, "http://", "http://"+user+":"+token+"@", 1), "it answers 404", retry.Permanent},
	} {
		w := Webhook{URL: setting.Secret(c.base + path + "?key=" + token), Headers: map[string]setting.Secret{"Authorization": "Bearer " + setting.Secret(token), "X-Key": setting.Secret(user)}}
		w.Template = `{"routing_key": "` + key + `"}`
		answer, err := w.Post(t.Context(), client, examples()[0])
		if err == nil || !strings.Contains(err.Error(), c.want) || retry.Classify(err) != c.class {
			t.Errorf("%s: %v, %v", name, answer, err)
			continue
		}
		host := strings.TrimPrefix(strings.TrimPrefix(c.base, "https://"), "http://")
		text := fmt.Sprintf("%v %+v %v %+v %#v", err, answer, w, w, w)
		for _, secret := range []string{token, "T0SECRET", "B0SECRET", "services", user, host, key} {
			if strings.Contains(text, secret) {
				t.Errorf("%s: %s is in %s", name, secret, text)
			}
		}
	}
}

// post is a webhook of a bubble.
type post func(r *http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (p post) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

func answered(status int, after string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
	if after != "" {
		r.Header.Set("Retry-After", after)
	}
	return r
}

// said is a log.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// String is what was said so far.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start runs a sender on what has the webhooks answer, and gives what stops it.
func start(t *testing.T, s *Store, p post) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := (Sender{s, &http.Client{Transport: p}}).Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-ended }
}

// TestDead: a webhook that is dead for long keeps no other one waiting, is asked seldom, is told of in log and state, and has all in order when it is back,
// whatever processes begin and end meanwhile.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, log := inFile(t), &said{}
		webhooks := Webhooks{{URL: "https://dead.example/s3cret", Template: "{{.Day}}", Headers: plain}, {URL: "https://alive.example/s3cret", Template: "{{.Day}}", Headers: plain}}
		var mu sync.Mutex
		alive, tries, got := false, 0, map[string][]string{}
		transport := post(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			if r.Host == "dead.example" && !alive {
				tries++
				return nil, errors.New("dead.example refuses")
			}
			got[r.Host] = append(got[r.Host], readAll(r))
			return answered(204, ""), nil
		})
		begin := func() (*Store, func()) {
			s, err := Open(t.Context(), cfg, "market", "a", webhooks, slog.New(slog.NewTextHandler(log, nil)))
			must(t, err)
			stop := start(t, s, transport)
			return s, func() { stop(); must(t, s.Close()) }
		}
		var want []string
		began := time.Now()
		for n := range 6 {
			s, stop := begin()
			p := failure
			p.What = fmt.Sprint("day ", n)
			wrong(t, s, p)
			want = append(want, p.What)
			time.Sleep(10 * time.Second)
			mu.Lock()
			if d := cmp.Diff(want, got["alive.example"]); d != "" {
				t.Error(d)
			}
			mu.Unlock()
			time.Sleep(10 * time.Minute)
			states, err := s.States(t.Context())
			must(t, err)
			if x := states[0]; x.Waiting != int64(n+1) || x.FailingSince.Sub(began) > 10*time.Second || x.Error != "*** refuses" || x.Oldest.Sub(began) > time.Second {
				t.Errorf("%+v", x)
			}
			if states[1] != (State{Webhook: 2}) {
				t.Errorf("%+v", states[1])
			}
			stop()
		}
		mu.Lock()
		if tries < 12 || tries > 120 { // in an hour; waits double up to five minutes, and are half of that on average
			t.Errorf("it was tried %d times", tries)
		}
		alive = true
		mu.Unlock()
		s, stop := begin()
		time.Sleep(longestWait + time.Second)
		if d := cmp.Diff(want, got["dead.example"]); d != "" {
			t.Error(d)
		}
		if states, err := s.States(t.Context()); err != nil || states[0] != (State{Webhook: 1}) {
			t.Errorf("%+v, %v", states, err)
		}
		stop()
		if text := log.String(); !strings.Contains(text, `level=WARN msg="a notification is tried again" webhook=1 event=failure source=orders error="*** refuses"`) ||
			!strings.Contains(text, "a webhook takes notifications again") || strings.Contains(text, "s3cret") || strings.Contains(text, "dead.example") {
			t.Error(text[:min(len(text), 2000)])
		}
	})
}

// TestAnswers: what an answer has done with a message.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		waits  time.Duration // at least; 0 is not tried again
		most   time.Duration
	}{
		{status: 400},
		{status: 401},
		{status: 404},
		{status: 410},
		{status: 408, waits: 1, most: poll + firstWait},
		{status: 429, waits: 1, most: poll + firstWait},
		{status: 429, after: "90", waits: 90 * time.Second, most: 90*time.Second + poll},
		{status: 503, after: "Sat, 01 Jan 2000 00:10:00 GMT", waits: 9 * time.Minute, most: 10*time.Minute + poll},
		{status: 503, after: "soon", waits: 1, most: poll + firstWait},
		{status: 500, after: "-5", waits: 1, most: poll + firstWait},
		{status: 302, waits: 1, most: poll + firstWait},
	} {
		t.Run(fmt.Sprint(c.status, c.after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which begins at the year 2000
				log := &said{}
				s, err := Open(t.Context(), inFile(t), "market", "a", Webhooks{{URL: "https://hooks.example/s3cret"}}, slog.New(slog.NewTextHandler(log, nil)))
				must(t, err)
				var at []time.Time
				stop := start(t, s, func(*http.Request) (*http.Response, error) {
					if at = append(at, time.Now()); len(at) == 1 {
						return answered(c.status, c.after), nil
					}
					return answered(200, ""), nil
				})
				wrong(t, s, failure)
				time.Sleep(c.most + time.Minute)
				synctest.Wait()
				stop()
				switch {
				case c.waits == 0:
					if states, err := s.States(t.Context()); err != nil || states[0].Lost != 1 || states[0].FailingSince.IsZero() || !strings.Contains(states[0].Error, fmt.Sprint(c.status)) {
						t.Errorf("%+v, %v", states, err)
					}
					if len(at) != 1 || !strings.Contains(log.String(), "notifications are given up") {
						t.Errorf("tried at %v; %s", at, log)
					}
				case len(at) != 2 || at[1].Sub(at[0]) < c.waits || at[1].Sub(at[0]) > c.most:
					t.Errorf("tried at %v", at)
				}
				must(t, s.Close())
			})
		})
	}
}

// TestRetryAfter: what a webhook asks for has an end.
func TestRetryAfter(t *testing.T) {
	for _, text := range []string{"99999999999", "86401", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		s := open(t, inFile(t), "a", Webhook{URL: "https://hooks.example/a"})
		if wait, err := s.failed(t.Context(), "a", 100, retryAfter(text), ""); err != nil || wait != mostWait {
			t.Errorf("%s: %s, %v", text, wait, err)
		}
	}
}

// TestClock: neither a wait, nor another process's turn, nor the age of messages outlives a clock that was set.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, inFile(t), "a", Webhook{URL: "https://hooks.example/a"})
		wrong(t, s, failure)
		set := func(holder string, lease, due time.Duration) {
			must(t, write(t, s, `INSERT INTO headwater_webhooks (pipeline, webhook, holder, lease, due) VALUES ('market', ?, ?, ?, ?)
				ON CONFLICT (pipeline, webhook) DO UPDATE SET holder = excluded.holder, lease = excluded.lease, due = excluded.due`,
				s.webhooks[0].name(), holder, time.Now().Add(lease).UnixMilli(), time.Now().Add(due).UnixMilli()))
		}
		for name, c := range map[string]struct {
			holder     string
			lease, due time.Duration
			want       bool
		}{
			"mine":                         {"a", time.Minute, 0, true},
			"another's":                    {"b", time.Second, 0, false},
			"another's, over":              {"b", -time.Second, 0, true},
			"another's, before a set-back": {"b", time.Hour, 0, true},
			"not due":                      {"a", 0, time.Hour, false},
			"due, before a set-back":       {"a", 0, 48 * time.Hour, true},
		} {
			set(c.holder, c.lease, c.due)
			l, err := s.claim(t.Context(), 0)
			if must(t, err); (l != nil) != c.want {
				t.Errorf("%s: claimed %v", name, l)
			}
		}
		time.Sleep(longestWaiting + time.Second)
		set("a", 0, 0)
		if l, err := s.claim(t.Context(), 0); err != nil || l != nil {
			t.Errorf("what is too old is sent: %v, %v", l, err)
		}
		if states, err := s.States(t.Context()); err != nil || states[0].Waiting != 0 || states[0].Lost != 1 {
			t.Errorf("%+v, %v", states, err)
		}
	})
}

func write(t *testing.T, s *Store, statement string, args ...any) error {
	return s.db.Write(t.Context(), func(tx *database.Tx) error {
		_, err := tx.Exec(statement, args...)
		return err
	})
}

// TestInterrupted: a message whose process ends while it is sent is sent by the next one, with the same number.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, inFile(t), "a", Webhook{URL: "https://hooks.example/a", Template: "{{.ID}}", Headers: plain})
		var got []string
		wrong(t, s, failure)
		stop := start(t, s, func(r *http.Request) (*http.Response, error) {
			got = append(got, readAll(r))
			<-r.Context().Done() // it has come, and nobody knows
			return nil, r.Context().Err()
		})
		time.Sleep(time.Second)
		stop()
		stop = start(t, s, func(r *http.Request) (*http.Response, error) {
			got = append(got, readAll(r))
			return answered(200, ""), nil
		})
		time.Sleep(time.Minute)
		stop()
		if len(got) != 2 || got[0] != got[1] || got[0] == "" {
			t.Error(got)
		}
		stuck := start(t, s, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		over(t, s, failure)
		time.Sleep(timeout + 5*time.Second)
		if states, err := s.States(t.Context()); err != nil || states[0].Error != "there was no answer within 10s" {
			t.Errorf("%+v, %v", states, err)
		}
		stuck()
	})
}

// TestTemplateLater: a message that a template cannot make is given up, and keeps no other one.
func TestTemplateLater(t *testing.T) {
	r := &receiver{}
	w := r.serve(t)
	w.Headers, w.Template = nil, `{{if .Day}}no JSON{{else}}{"a": {{json .Objective}}}{{end}}`
	s := open(t, inFile(t), "a", w)
	wrong(t, s, failure)
	wrong(t, s, Problem{Source: "orders", Kind: Breach, What: "freshness"})
	must(t, Sender{s, NewClient()}.Once(t.Context()))
	if got := r.taken(); !slices.Equal(got, []string{`{"a": "freshness"}`}) {
		t.Error(got)
	}
	if states, err := s.States(t.Context()); err != nil || states[0].Lost != 1 {
		t.Errorf("%+v, %v", states, err)
	}
}

// TestShortened: what is long is cut between characters.
func TestShortened(t *testing.T) {
	for text, want := range map[string]string{"": "", "abc": "abc", "abcd": "abc...", "abé": "ab...", "日本": "日..."} {
		if got := shortened(text, 3); got != want {
			t.Errorf("%q is shortened to %q, want %q", text, got, want)
		}
	}
	s := open(t, inFile(t), "a", Webhook{URL: "https://hooks.example/a"})
	p := failure
	p.Reason = strings.Repeat("é", 1e6)
	wrong(t, s, p)
	l, err := s.claim(t.Context(), 0)
	must(t, err)
	if len(l.message.Reason) > mostReason+3 {
		t.Error(len(l.message.Reason))
	}
}
