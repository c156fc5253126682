package rest

import (
	"context"
	"net/http"
	"net/url"

	"headwater/collect"
)

// credentials are what lets a request in.
type credentials interface {
	// ready gives what a request needs, and fetches it where it is not there or has run out. It is called by one goroutine at a time.
	ready(ctx context.Context, c *client) (pass, error)
	// secrets are what must not be told, as they are now.
	secrets() []string
}

// pass is what a request is sent with.
type pass interface {
	// apply adds it to a request whose body is given.
	apply(r *http.Request, body []byte) error
	// renew has ready fetch another one, unless it has since, and says whether another try may help.
	renew() bool
}

func (s *Source) credentials(out collect.Out) (credentials, error) {
	a := s.c.Auth
	switch {
	case a.Bearer != nil:
		return fixed{func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+a.Bearer.Token.Reveal()) }, []string{a.Bearer.Token.Reveal()}}, nil
	case a.Basic != nil:
		return fixed{func(r *http.Request) { r.SetBasicAuth(a.Basic.User, a.Basic.Password.Reveal()) }, []string{a.Basic.Password.Reveal()}}, nil
	case a.APIKey != nil:
		return fixed{a.APIKey.add, []string{a.APIKey.Value.Reveal(), url.QueryEscape(a.APIKey.Value.Reveal())}}, nil
	case a.OAuth2ClientCredentials != nil:
		return a.OAuth2ClientCredentials.token(), nil
	case a.OAuth2Refresh != nil:
		return a.OAuth2Refresh.token(out)
	case a.Session != nil:
		return a.Session.token()
	case a.JWT != nil:
		return a.JWT.token(), nil
	case a.SigV4 != nil:
		return signed{a.SigV4.sign, []string{a.SigV4.SecretAccessKey.Reveal(), a.SigV4.SessionToken.Reveal()}}, nil
	case a.HMAC != nil:
		return signed{a.HMAC.sign, []string{a.HMAC.Secret.Reveal()}}, nil
	}
	return fixed{func(*http.Request) {}, nil}, nil
}

// fixed are credentials that do not run out.
type fixed struct {
	add    func(*http.Request)
	secret []string
}

func (f fixed) ready(context.Context, *client) (pass, error) { return f, nil }
func (f fixed) renew() bool                                  { return false }
func (f fixed) secrets() []string                            { return append([]string(nil), f.secret...) }

func (f fixed) apply(r *http.Request, _ []byte) error {
	f.add(r)
	return nil
}

func (k *APIKey) add(r *http.Request) {
	switch k.In {
	case inHeader:
		r.Header.Set(k.Name, k.Value.Reveal())
	case inCookie:
		r.AddCookie(&http.Cookie{Name: k.Name, Value: k.Value.Reveal()})
	default:
		q := r.URL.Query()
		q.Set(k.Name, k.Value.Reveal())
		r.URL.RawQuery = q.Encode()
	}
}
