package rest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/collect"
	"headwater/internal/retry"
)

// token is credentials that are fetched, and run out: when they say so, or when a request is refused.
type token struct {
	fetch func(ctx context.Context, c *client) (issued, error)
	add   func(r *http.Request, i issued)

	mu  sync.Mutex
	own []string // secrets that it is fetched with
	now *issued  // nil if there is none
}

// issued is what was fetched.
type issued struct {
	token   string
	cookies []*http.Cookie
	until   time.Time // zero if it does not say
}

// shown is what was fetched, as one request has it.
type shown struct {
	t *token
	*issued
}

func (t *token) ready(ctx context.Context, c *client) (pass, error) {
	t.mu.Lock()
	now := t.now
	t.mu.Unlock()
	if now != nil && (now.until.IsZero() || time.Now().Before(now.until)) {
		return shown{t, now}, nil
	}
	bare := *c
	bare.auth, bare.gate = fixed{func(*http.Request) {}, t.secrets()}, newGate(c.gate.limit) // the request that needs it has the turn at the other gate
	got, err := t.fetch(ctx, &bare)
	if err != nil {
		return nil, noLogin{fmt.Errorf("logging in: %w", err)}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = &got
	return shown{t, t.now}, nil
}

func (s shown) apply(r *http.Request, _ []byte) error {
	s.t.add(r, *s.issued)
	return nil
}

func (s shown) renew() bool {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.now == s.issued { // otherwise another request was refused first
		s.t.now = nil
	}
	return true
}

// secret has the token not told.
func (t *token) secret(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = append(t.own, text)
}

func (t *token) secrets() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.own)
	if t.now != nil {
		all = append(all, t.now.token)
		for _, c := range t.now.cookies {
			all = append(all, c.Value)
		}
	}
	return all
}

func asBearer(r *http.Request, i issued) { r.Header.Set("Authorization", "Bearer "+i.token) }

// post sends what logs in to an address of the configuration.
func (c *client) post(ctx context.Context, address, kind string, header http.Header, body []byte) (*answer, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, retry.Stop(errors.New("the address of auth is none"))
	}
	c.home = u
	r := request{method: methodPost, url: u, header: http.Header{"Accept": {"application/json"}, "Content-Type": {kind}}, body: body}
	maps.Copy(r.header, header)
	return c.fetch(ctx, r)
}

const form = "application/x-www-form-urlencoded"

// grant is the answer of a token endpoint.
type grant struct {
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresIn    json.RawMessage `json:"expires_in"` // a number, or one in a string
}

// request asks for a token.
func (o *OAuth2) request(ctx context.Context, c *client, q url.Values) (issued, grant, error) {
	if len(o.Scopes) > 0 {
		q.Set("scope", strings.Join(o.Scopes, " "))
	}
	for name, v := range o.Params {
		q.Set(name, v.Reveal())
	}
	header := http.Header{}
	if o.ClientAuth == inBody || o.ClientSecret == "" {
		q.Set("client_id", o.ClientID)
		if o.ClientSecret != "" {
			q.Set("client_secret", o.ClientSecret.Reveal())
		}
	} else {
		r := http.Request{Header: header}
		r.SetBasicAuth(url.QueryEscape(o.ClientID), url.QueryEscape(o.ClientSecret.Reveal()))
	}
	return c.grant(ctx, o.TokenURL, header, q)
}

// grant sends a request for a token and reads what was granted.
func (c *client) grant(ctx context.Context, address string, header http.Header, q url.Values) (issued, grant, error) {
	a, err := c.post(ctx, address, form, header, []byte(q.Encode()))
	if err != nil {
		return issued{}, grant{}, err
	}
	var g grant
	if err := json.Unmarshal(a.body, &g); err != nil || g.AccessToken == "" {
		return issued{}, grant{}, retry.Stop(fmt.Errorf("POST %s: the answer has no access_token", place(a.url))) // its beginning may be one
	}
	i := issued{token: g.AccessToken}
	if seconds, err := strconv.ParseFloat(strings.Trim(string(g.ExpiresIn), `"`), 64); err == nil && seconds > 0 && seconds < 1e9 {
		life := time.Duration(seconds * float64(time.Second))
		i.until = time.Now().Add(life - min(30*time.Second, life/2)) // it must not run out on its way
	}
	return i, g, nil
}

// secrets are those of the configuration.
func (o *OAuth2) secrets() []string {
	all := []string{o.ClientSecret.Reveal()}
	for _, v := range o.Params {
		all = append(all, v.Reveal())
	}
	return all
}

func (a *ClientCredentials) token() *token {
	return &token{add: asBearer, own: a.secrets(), fetch: func(ctx context.Context, c *client) (issued, error) {
		i, _, err := a.request(ctx, c, url.Values{"grant_type": {"client_credentials"}})
		return i, err
	}}
}

// refreshStream keeps the newest refresh token, encrypted by the first one, where the server gives a new one each time.
const refreshStream = "token"

type refreshResume struct {
	Sealed []byte `json:"sealed"`
}

// longestMark bounds the wait for a refresh token to be kept.
const longestMark = 10 * time.Second

func (a *Refresh) token(out collect.Out) (*token, error) {
	newest := a.RefreshToken.Reveal()
	var kept refreshResume
	if out != nil {
		if _, err := recall(out.Streams(), refreshStream, &kept); err != nil {
			return nil, err
		}
	}
	if text, err := a.open(kept.Sealed); err == nil {
		newest = text // otherwise it is of another log-in than the configuration's
	}
	t := &token{add: asBearer, own: append(a.secrets(), a.RefreshToken.Reveal(), newest)}
	t.fetch = func(ctx context.Context, c *client) (issued, error) {
		i, g, err := a.request(ctx, c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {newest}})
		if err != nil || g.RefreshToken == "" || g.RefreshToken == newest {
			return i, err
		}
		newest = g.RefreshToken
		t.secret(newest)
		return i, a.keep(ctx, out, newest)
	}
	return t, nil
}

// keep returns when the refresh token would survive a kill: the one before it may be of no use any more.
func (a *Refresh) keep(ctx context.Context, out collect.Out, text string) error {
	sealed, err := a.seal(text)
	if err != nil {
		return err
	}
	return markKept(ctx, out, refreshStream, refreshResume{sealed}, longestMark)
}

func (a *Refresh) cipher() (cipher.AEAD, error) {
	key := sha256.Sum256([]byte("headwater refresh token\x00" + a.RefreshToken.Reveal()))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (a *Refresh) seal(text string) ([]byte, error) {
	c, err := a.cipher()
	if err != nil {
		return nil, err
	}
	return c.Seal(nil, nil, []byte(text), nil), nil
}

func (a *Refresh) open(sealed []byte) (string, error) {
	c, err := a.cipher()
	if err != nil {
		return "", err
	}
	text, err := c.Open(nil, nil, sealed, nil)
	return string(text), err
}

func (a *Session) token() (*token, error) {
	q, err := compile(a.Token)
	if err != nil {
		return nil, err
	}
	body := []byte(a.Body.Reveal())
	kind := form
	own := []string{a.Body.Reveal()}
	if v, err := decode(body); err == nil {
		kind = "application/json"
		if members, is := v.(map[string]any); is {
			for _, m := range members {
				own = append(own, fmt.Sprint(m))
			}
		}
	} else if q, err := url.ParseQuery(a.Body.Reveal()); err == nil {
		for _, v := range q {
			own = append(own, v...)
		}
	}
	t := &token{own: own}
	t.add = func(r *http.Request, i issued) {
		for _, c := range i.cookies {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
		if i.token != "" {
			r.Header.Set(cmp.Or(a.Header, "Authorization"), a.Prefix+i.token)
		}
	}
	t.fetch = func(ctx context.Context, c *client) (issued, error) {
		answer, err := c.post(ctx, a.URL, kind, nil, body)
		if err != nil {
			return issued{}, err
		}
		if a.Token == "" {
			cookies := (&http.Response{Header: answer.header}).Cookies()
			if len(cookies) == 0 {
				return issued{}, retry.Stop(fmt.Errorf("POST %s: the answer sets no cookie", place(answer.url)))
			}
			return issued{cookies: cookies}, nil
		}
		var v any
		if document, e := decode(bytes.TrimSpace(answer.body)); e == nil {
			v, _ = q.one(ctx, document) // what is no token is told below
		}
		text, is := v.(string)
		if !is || text == "" {
			return issued{}, retry.Stop(fmt.Errorf("POST %s: the answer has no text at auth.session.token", place(answer.url)))
		}
		return issued{token: text}, nil
	}
	return t, nil
}
