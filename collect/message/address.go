package message

import (
	"net"
	"net/url"

	"headwater/internal/setting"
)

// Address is what a valid URL says of a server.
type Address struct {
	// URL is all of it.
	URL *url.URL
	// HostPort has a port, Host none.
	Host, HostPort string
	// User and Password are empty where nobody says them.
	User, Password string
	// TLS is asked for.
	TLS bool
}

// ParseAddress reads a URL that is valid; password is that of its user, if it has none itself. secure is the scheme that asks for TLS, and the
// ports are those of URLs without one, with TLS the second.
func ParseAddress(text string, password setting.Secret, secure, port, securePort string) Address {
	u, err := url.Parse(text)
	if err != nil {
		return Address{URL: &url.URL{}} // Validate refuses it
	}
	a := Address{URL: u, Host: u.Hostname(), User: u.User.Username(), TLS: u.Scheme == secure}
	if a.TLS {
		port = securePort
	}
	if u.Port() != "" {
		port = u.Port()
	}
	a.HostPort = net.JoinHostPort(a.Host, port)
	a.Password, _ = u.User.Password()
	if p := password.Reveal(); p != "" {
		a.Password = p
	}
	return a
}

// ValidateAddress adds what is wrong with what is written beside a URL.
func ValidateAddress(f *setting.Faults, u *url.URL, t *TLS, password setting.Secret, secure string) {
	t.validate(f, u.Scheme == secure, secure)
	if _, twice := u.User.Password(); twice && password.Reveal() != "" {
		f.Add([]string{"password"}, "is in url too: leave one of them out")
	}
}
