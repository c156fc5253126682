package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// office is a server that gives tokens, each good for so many requests, and items for them.
type office struct {
	t        *testing.T
	logins   atomic.Int64
	requests atomic.Int64
	good     int64  // requests that a token is good for
	expires  any    // expires_in
	refresh  string // the only good refresh token, which is another after each use
	cookie   bool
	refuse   func(w http.ResponseWriter) bool // a login
	asked    url.Values
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	current := fmt.Sprintf("s3cret-token-%d", o.logins.Load())
	if r.URL.Path == "/login" {
		if o.refuse != nil && o.refuse(w) {
			return
		}
		body, _ := io.ReadAll(r.Body)
		o.asked, _ = url.ParseQuery(string(body))
		if o.refresh != "" {
			if o.asked.Get("refresh_token") != o.refresh {
				http.Error(w, `{"error":"invalid_grant","for":"`+o.asked.Get("refresh_token")+`"}`, http.StatusBadRequest)
				return
			}
			o.refresh = fmt.Sprintf("s3cret-refresh-%d", o.logins.Load()+1)
		}
		o.requests.Store(0)
		token := fmt.Sprintf("s3cret-token-%d", o.logins.Add(1))
		if o.cookie {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: token, Path: "/"})
			return
		}
		reply(w, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": o.expires, "refresh_token": o.refresh})
		return
	}
	cookie, _ := r.Cookie("session")
	has := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") == current || cookie != nil && cookie.Value == current
	if !has || o.requests.Add(1) > o.good {
		http.Error(w, "not with "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		return
	}
	reply(w, map[string]any{"data": slice(10*(number(r, "page", 1)-1), 10)})
}

func newOffice(t *testing.T) (*office, *bench) {
	o := &office{t: t, good: 2}
	b := newBench(t, o.ServeHTTP)
	b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
	return o, b
}

func (b *bench) oauth2() OAuth2 {
	return OAuth2{TokenURL: b.server.URL + "/login", ClientID: "me", ClientSecret: "s3cret/id", Scopes: []string{"a", "b"}, Params: map[string]setting.Secret{"audience": "x"}}
}

// TestTokens: a token that runs out is fetched anew, and its pages go on.
func TestTokens(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(o *office, b *bench){
		"client credentials": func(_ *office, b *bench) { b.c.Auth.OAuth2ClientCredentials = &ClientCredentials{b.oauth2()} },
		"refresh": func(o *office, b *bench) {
			o.refresh = "s3cret-refresh-0"
			b.c.Auth.OAuth2Refresh = &Refresh{b.oauth2(), "s3cret-refresh-0"}
		},
		"session": func(_ *office, b *bench) {
			b.c.Auth.Session = &Session{URL: b.server.URL + "/login", Body: `{"user":"me","password":"s3cret"}`, Token: ".access_token", Prefix: "Bearer "}
		},
		"session of cookies": func(o *office, b *bench) {
			o.cookie = true
			b.c.Auth.Session = &Session{URL: b.server.URL + "/login", Body: "user=me&password=s3cret"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, b := newOffice(t)
			set(o, b)
			b.must()
			b.expect(numbers(0, 25)...)
			if n := o.logins.Load(); n != 2 {
				t.Errorf("there were %d logins for four requests", n)
			}
			b.must() // the next process has its own, and knows the newest refresh token
			if n := o.logins.Load(); n != 4 {
				t.Errorf("there were %d logins for eight requests", n)
			}
			if _, c := b.log.Snapshots(); strings.Contains(fmt.Sprint(c), "s3cret") || strings.Contains(b.logged.String(), "s3cret") {
				t.Errorf("a secret is in the cursor or the log: %v %s", c, b.logged.String())
			}
			o.good = 0
			err := b.once()
			if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || retry.Classify(err) != retry.Permanent || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a server that takes no token: %v", err)
			}
			if n := o.logins.Load(); n != 6 {
				t.Errorf("there were %d logins in the end", n)
			}
		})
	}
}

// TestTokenRequest: what a token is asked for with.
func TestTokenRequest(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"", inHeader, inBody} {
		o, b := newOffice(t)
		o.good = 100
		c := b.oauth2()
		c.ClientAuth = where
		b.c.Auth.OAuth2ClientCredentials = &ClientCredentials{c}
		b.must()
		b.mu.Lock()
		user, password, basic := b.requests[0].BasicAuth()
		b.mu.Unlock()
		want := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"x"}}
		if where == inBody {
			want.Set("client_id", "me")
			want.Set("client_secret", "s3cret/id")
		}
		if o.asked.Encode() != want.Encode() || basic != (where != inBody) || basic && (user != "me" || password != "s3cret%2Fid") {
			t.Errorf("%s: %v %s %s", where, o.asked, user, password)
		}
	}
}

// TestTokenTimes: a token that says when it runs out is fetched anew before that.
func TestTokenTimes(t *testing.T) {
	t.Parallel()
	for _, expires := range []string{"3600", `"3600"`} {
		o := &office{t: t, good: 100, expires: json.RawMessage(expires)}
		set := func(c *Config) {
			c.Paginate.PageNumber, c.RateLimit = &PageNumber{Param: "page"}, 1.0/1800
			c.Auth.OAuth2ClientCredentials = &ClientCredentials{OAuth2{TokenURL: "http://api.example/login", ClientID: "me", ClientSecret: "s3cret"}}
		}
		bubble(t, set, o.ServeHTTP, func(b *bench, err error, took time.Duration) {
			if err != nil || o.logins.Load() != 2 || took < 90*time.Minute {
				t.Errorf("four requests in %v took %d logins: %v", took, o.logins.Load(), err)
			}
		})
	}
}

// TestLoginFails: who is let in nowhere is told, without the secrets; what may pass is tried again.
func TestLoginFails(t *testing.T) {
	t.Parallel()
	o, b := newOffice(t)
	b.c.Auth.OAuth2ClientCredentials = &ClientCredentials{b.oauth2()}
	o.refuse = func(w http.ResponseWriter) bool {
		http.Error(w, `{"error":"invalid_client","secret":"s3cret/id"}`, http.StatusUnauthorized)
		return true
	}
	err := b.once()
	if err == nil || !strings.Contains(err.Error(), "logging in: POST "+b.server.URL+"/login: the server answers 401") || retry.Classify(err) != retry.Permanent || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	o.refuse = func(w http.ResponseWriter) bool {
		_, _ = w.Write([]byte(`{"token":"s3cret"}`))
		return true
	}
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "the answer has no access_token") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	var refused atomic.Int64
	o.refuse = func(w http.ResponseWriter) bool {
		if refused.Add(1) > 2 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	b.must()
	b.expect(numbers(0, 25)...)
}

// TestLostRefreshToken: a refresh token of another log-in than the configuration's is not used.
func TestLostRefreshToken(t *testing.T) {
	t.Parallel()
	o, b := newOffice(t)
	o.refresh = "s3cret-refresh-0"
	b.c.Auth.OAuth2Refresh = &Refresh{b.oauth2(), "s3cret-refresh-0"}
	b.must()
	o.refresh = "s3cret-of-a-new-login"
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "invalid_grant") || strings.Contains(err.Error(), "s3cret") || retry.Classify(err) != retry.Permanent {
		t.Error(err)
	}
	b.c.Auth.OAuth2Refresh.RefreshToken = "s3cret-of-a-new-login"
	b.must()
}
