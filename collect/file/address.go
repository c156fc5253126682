package file

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"headwater/internal/setting"
)

// Address is where files elsewhere are.
type Address struct {
	// Host has a port.
	Host, User string
	// Path is a glob, as Config.Path, that begins with a slash.
	Path string
	// Origin is the address without user and path.
	Origin string
}

// ParseAddress reads scheme://user@host:port/glob. User and host are as in other URLs; the glob is taken as it stands, because a ? or a % means
// something else there.
func ParseAddress(text, scheme, port string) (Address, error) {
	rest, found := strings.CutPrefix(text, scheme+"://")
	if !found {
		return Address{}, fmt.Errorf("must be as %s://user@host/folder/*.csv", scheme)
	}
	authority, glob, found := strings.Cut(rest, "/")
	if !found || glob == "" {
		return Address{}, errors.New("says no path after the host: give a file or a glob such as /out/*.csv")
	}
	u, err := url.Parse(scheme + "://" + authority)
	if err != nil || u.Hostname() == "" {
		return Address{}, errors.New("has a user or a host that cannot be read: what is special in a name is written %40")
	}
	if _, is := u.User.Password(); is {
		return Address{}, errors.New("has a password, which would be shown: write it under the key password")
	}
	a := Address{User: u.User.Username(), Path: "/" + glob, Origin: scheme + "://" + u.Host}
	if u.Port() != "" {
		port = u.Port()
	}
	a.Host = net.JoinHostPort(u.Hostname(), port)
	return a, nil
}

// CheckAddress adds what is wrong with the key url.
func CheckAddress(f *setting.Faults, text, scheme string) {
	if text == "" {
		f.Add([]string{"url"}, "is missing: give %s://user@host/folder/*.csv", scheme)
		return
	}
	a, err := ParseAddress(text, scheme, "")
	switch {
	case err != nil:
		f.Add([]string{"url"}, "%v", err) // and not what was given, it may have a password
	case a.User == "":
		f.Add([]string{"url"}, "says no user: write %s://user@host/…", scheme)
	default:
		CheckGlob(f, "url", a.Path)
	}
}

// Patient is a connection of which every read and write fails after so long without a byte.
func Patient(c net.Conn, timeout time.Duration) net.Conn { return patient{c, timeout} }

type patient struct {
	net.Conn
	timeout time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(p.timeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}
