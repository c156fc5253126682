package rest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"headwater/collect"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/internal/trust"
)

// request is one that can be sent again.
type request struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte

	single bool // it starts something, so that one that is perhaps taken is not sent again
	abroad bool // it may go to hosts that must not get the credentials, without them
	bare   bool // it goes without them
	alone  bool // it has the turn until it is answered
	pass   pass // nil if it goes without credentials
}

// answer is a whole one.
type answer struct {
	url       *url.URL // that gave it, after redirects
	header    http.Header
	body      []byte
	unchanged bool // 304
}

// client sends requests: not too many, again where that may help, and credentials to nobody else.
type client struct {
	c    *Config
	home *url.URL
	http *http.Client
	gate *gate
	auth credentials
	jobs *jobs // nil if the source has none
}

const (
	// tries is how often a request is sent before its error is the Run's.
	tries = 5
	// longestWait bounds what a server may ask for by Retry-After.
	longestWait = time.Hour
	// hops bounds redirects.
	hops = 5
)

func (s *Source) client(out collect.Out) (*client, error) {
	home, err := url.Parse(window("0", "0").plain.Replace(s.c.URL))
	if err != nil {
		return nil, retry.Stop(errors.New("rest.url is no address"))
	}
	limit := rate.Inf
	if s.c.RateLimit > 0 {
		limit = rate.Limit(s.c.RateLimit)
	}
	transport := s.transport
	if transport == nil {
		t := &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: (&net.Dialer{Timeout: s.c.Timeout}).DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: s.c.Timeout,
			MaxResponseHeaderBytes: 1 << 20, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: s.c.Concurrency,
			DisableCompression: true, // so that what is decompressed is counted
		}
		if s.c.CA != "" {
			if t.TLSClientConfig, err = s.trust(); err != nil {
				return nil, err
			}
		}
		transport = t
	}
	auth, err := s.credentials(out)
	if err != nil {
		return nil, err
	}
	return &client{
		c: &s.c, home: home, gate: newGate(rate.NewLimiter(limit, 1)), auth: auth,
		// Redirects are followed by once, which asks whether the credentials may go there.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func (s *Source) trust() (*tls.Config, error) {
	pool, err := trust.Authorities(setting.At(s.base, s.c.CA))
	if err != nil {
		return nil, fmt.Errorf("reading rest.ca: %w", err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// refused is an answer that is no answer.
type refused struct {
	code  int
	pause time.Duration // that the server asks for
	pass  pass          // that was not enough; nil if there was none
	error
}

func (r refused) Unwrap() error { return r.error }

// noLogin is why a request was not sent.
type noLogin struct{ error }

func (n noLogin) Unwrap() error { return n.error }

// denied is how a server refuses what it was asked for; zero if it was not asked, because the log-in was refused, or if it does not.
func denied(err error) (no refused) {
	if _, unsent := errors.AsType[noLogin](err); !unsent {
		no, _ = errors.AsType[refused](err)
	}
	return no
}

// fetch sends a request, and again after a wait where that may help.
func (c *client) fetch(ctx context.Context, r request) (*answer, error) {
	wait := retry.Backoff{Min: 200 * time.Millisecond, Max: 30 * time.Second}
	renewed := false
	defer func() {
		if r.alone {
			c.gate.leave()
		}
	}()
	for try := 1; ; try++ {
		a, err := c.once(ctx, r)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		no, _ := errors.AsType[refused](err)
		if no.code == http.StatusUnauthorized && !renewed && no.pass != nil && no.pass.renew() {
			renewed = true // a token may have run out early; a new one that is refused too is another matter
			continue
		}
		told := no.pause > 0 || no.code == http.StatusTooManyRequests
		if try == tries || r.single && !told || retry.Classify(err) == retry.Permanent {
			return nil, fmt.Errorf("%s %s: %w", r.method, place(r.url), err)
		}
		pause := max(no.pause, wait.Next())
		if !told {
			if err := retry.Wait(ctx, pause); err != nil {
				return nil, err
			}
			continue
		}
		c.gate.hold(pause)
		if !r.alone {
			// Those that were sent together would be refused together until their tries are used up.
			if err := c.gate.enter(ctx); err != nil {
				return nil, err
			}
			r.alone = true
		}
	}
}

// place is a URL without what may be secret.
func place(u *url.URL) string {
	bare := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return bare.String()
}

// begin waits for a request's turn and gets what it needs to be sent.
func (c *client) begin(ctx context.Context, r *request) error {
	if !r.alone {
		if err := c.gate.enter(ctx); err != nil {
			return err
		}
		defer c.gate.leave()
	}
	if err := c.gate.wait(ctx); err != nil {
		return err
	}
	if r.abroad {
		if err := c.admit(r, r.url); err != nil {
			return retry.Stop(err)
		}
	}
	if r.bare {
		return nil
	}
	if c.gate.locked != nil {
		return c.gate.locked
	}
	var err error
	r.pass, err = c.auth.ready(cmp.Or(c.gate.lasting, ctx), c)
	if err != nil && retry.Classify(err) == retry.Permanent {
		c.gate.locked = err
	}
	return err
}

// once sends a request once, and follows redirects that may be followed. No error has a secret, or the context's error of a time-out.
func (c *client) once(ctx context.Context, r request) (*answer, error) {
	if err := c.begin(ctx, &r); err != nil {
		return nil, err
	}
	errSlow := fmt.Errorf("the answer was not there within timeout (%s)", c.c.Timeout)
	own, cancel := context.WithTimeoutCause(ctx, c.c.Timeout, errSlow)
	defer cancel()
	for hop := 0; ; hop++ {
		a, to, err := c.send(own, r)
		switch {
		case err != nil && own.Err() != nil && ctx.Err() == nil:
			return nil, errSlow
		case err != nil:
			return nil, err
		case to == nil:
			return a, nil
		case hop == hops:
			return nil, retry.Stop(fmt.Errorf("more than %d redirects, the last to %s", hops, place(to)))
		}
		if err := c.admit(&r, to); err != nil {
			return nil, retry.Stop(fmt.Errorf("a redirect to %s: %w", place(to), err))
		}
	}
}

// admit sends a request to a URL that a server gave, without the credentials if that is where they must not go.
func (c *client) admit(r *request, to *url.URL) error {
	r.url = to
	err := c.allowed(to)
	if err == nil || !r.abroad {
		return err
	}
	r.bare, r.header = true, r.header.Clone()
	for name := range c.c.Headers {
		r.header.Del(name) // often a key
	}
	return c.safe(to)
}

// send sends a request and reads the answer, or where it is redirected to.
func (c *client) send(ctx context.Context, r request) (a *answer, to *url.URL, err error) {
	u := *r.url
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, nil, retry.Stop(errors.New("the request cannot be made: check rest.url and rest.params"))
	}
	req.Header = r.header.Clone()
	req.Header.Set("Accept-Encoding", "gzip")
	if !r.bare {
		if err := r.pass.apply(req, r.body); err != nil {
			return nil, nil, err
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped, is := errors.AsType[*url.Error](err); is {
			err = wrapped.Err // its text has the whole URL
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified:
		return &answer{url: r.url, header: resp.Header, unchanged: true}, nil, nil
	case code >= 300 && code < 400:
		to, err := resp.Location()
		if err != nil || r.method != methodGet {
			return nil, nil, retry.Stop(fmt.Errorf("the server answers %s: write the new address in url", resp.Status))
		}
		return nil, to, nil
	case code < 200 || code >= 400:
		return nil, nil, c.refusal(r, resp)
	}
	body, err := c.read(resp)
	if err != nil {
		return nil, nil, err
	}
	return &answer{url: r.url, header: resp.Header, body: body}, nil, nil
}

// refusal is the error of a status, and whether to come again.
func (c *client) refusal(r request, resp *http.Response) error {
	body, _ := readUpTo(resp, 64<<10) // for a person
	if r.abroad {
		for _, values := range r.url.Query() {
			for _, v := range longer(8, values) { // the signature of an address
				body = bytes.ReplaceAll(body, []byte(v), []byte("***"))
			}
		}
	}
	err := fmt.Errorf("the server answers %s: %q", resp.Status, c.beginning(body))
	pause := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	again := resp.StatusCode >= 500 || slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}, resp.StatusCode) ||
		resp.StatusCode == http.StatusForbidden && pause > 0 // as GitHub says that there were too many requests
	if !again {
		err = retry.Stop(err)
	}
	return refused{resp.StatusCode, min(pause, longestWait), r.pass, err}
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(longestWait/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// read reads a whole body, decompressed. A connection that is cut in its middle is an error.
func (c *client) read(resp *http.Response) ([]byte, error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "gzip") && !strings.EqualFold(e, "identity") {
		return nil, retry.Stop(fmt.Errorf("the answer has the content encoding %q, which was not asked for", e))
	}
	body, err := readUpTo(resp, int64(c.c.MaxBody))
	if errors.Is(err, errLong) {
		return nil, retry.Stop(fmt.Errorf("the answer is longer than max_body (%s): ask for smaller pages, or raise it", c.c.MaxBody))
	}
	if err != nil {
		return nil, fmt.Errorf("the answer ends too early: %w", err)
	}
	return body, nil
}

var errLong = errors.New("too long")

// readUpTo reads all there is, decompressed, whether a content encoding says that it is gzip or not: files come without.
func readUpTo(resp *http.Response, limit int64) ([]byte, error) {
	body, err := readPlain(resp.Body, limit)
	packed := bytes.HasPrefix(body, []byte{0x1f, 0x8b}) || strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip")
	if !packed || err != nil || len(body) == 0 {
		return body, err
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return readPlain(z, limit)
}

func readPlain(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(body)) > limit {
		return body[:limit], errLong
	}
	return body, err
}

// safe says why nothing may be asked of a URL that a server gave.
func (c *client) safe(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("it is no address")
	case c.home.Scheme == "https" && u.Scheme != "https":
		return errors.New("it is not encrypted, as url is")
	}
	return nil
}

// allowed says why a URL that a server gave may not have the credentials.
func (c *client) allowed(u *url.URL) error {
	if err := c.safe(u); err != nil {
		return err
	}
	home := c.home
	switch {
	case strings.EqualFold(u.Host, home.Host): // the other scheme can only be https
		return nil
	case slices.ContainsFunc(c.c.AllowHosts, func(h string) bool { return strings.EqualFold(h, u.Host) || strings.EqualFold(h, u.Hostname()) }):
		return nil
	}
	return fmt.Errorf("%s is not the host of url and would get the credentials: name it in allow_hosts if it may have them", u.Host)
}

// beginning is that of a body, for a person, without the secrets that a server may repeat.
func (c *client) beginning(body []byte) string {
	text := string(body)
	for _, secret := range c.secrets() {
		text = strings.ReplaceAll(text, secret, "***")
	}
	if len(text) > 200 {
		text = text[:200]
	}
	return strings.ToValidUTF8(text, "?")
}

// secrets are what may not be in a text. What is very short is no secret, and would be everywhere.
func (c *client) secrets() []string {
	var others []string
	for _, v := range c.c.Headers {
		others = append(others, v.Reveal())
	}
	for _, params := range []map[string]setting.Secret{c.c.Params, c.c.Children.Params} {
		for _, v := range params {
			others = append(others, v.Reveal()) // most are none
		}
	}
	for _, values := range c.home.Query() {
		others = append(others, values...)
	}
	return append(longer(4, c.auth.secrets()), longer(8, others)...)
}

// longer are those of at least n bytes.
func longer(n int, all []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return len(s) < n })
}
