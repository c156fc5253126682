package ftp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"sync"
	"time"

	"github.com/jlaffaye/ftp"

	"headwater/collect/file"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/internal/trust"
)

// pool is the connections to a server.
type pool struct {
	s    *source
	tls  *tls.Config   // nil for none
	free chan struct{} // has a token for each connection that may be opened or used

	mu    sync.Mutex
	ended bool
	raw   map[net.Conn]bool // every open one, those for data too
	idle  []*control        // nobody uses them now
	open  int               // connections that are logged in
	told  bool              // that the server takes no more
}

// control is a connection that is logged in. One uses it at a time.
type control struct {
	*ftp.ServerConn
	p      *pool
	lines  *lines
	used   time.Time
	broken bool
}

func newPool(s *source) (*pool, error) {
	p := &pool{s: s, free: make(chan struct{}, s.c.Connections), raw: map[net.Conn]bool{}}
	for range s.c.Connections {
		p.free <- struct{}{}
	}
	if s.c.TLS == tlsNone {
		return p, nil
	}
	host, _, err := net.SplitHostPort(s.at.Host)
	if err != nil {
		return nil, err
	}
	p.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if s.c.CA != "" {
		if p.tls.RootCAs, err = trust.Authorities(setting.At(s.base, s.c.CA)); err != nil {
			return nil, fmt.Errorf("reading ftp.ca: %w", err)
		}
	}
	return p, nil
}

// get waits for a connection that nobody uses, and opens one if there is none. Where the server takes no more, those that it has must do.
func (p *pool) get(ctx context.Context) (*control, error) {
	for {
		select {
		case <-p.free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if c := p.pop(); c != nil {
			return c, nil
		}
		c, err := p.login(ctx)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		others := p.others()
		if others > 0 && (codeOf(err) != 0 || errors.Is(err, io.EOF)) {
			p.tell(others, err)
			time.AfterFunc(time.Minute, func() { p.free <- struct{}{} }) // then it may take another
			continue
		}
		p.free <- struct{}{}
		err = fmt.Errorf("connecting to %s: %w", p.s.at.Origin, err)
		if others == 0 {
			err = file.Lost(err)
		}
		return nil, err
	}
}

// others is how many connections are logged in.
func (p *pool) others() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

// tell says once that the server takes no more connections than it has.
func (p *pool) tell(connections int, err error) {
	p.mu.Lock()
	told := p.told
	p.told = true
	p.mu.Unlock()
	if !told {
		p.s.log.Warn("the server takes no more connections, ftp.connections may say so", "connections", connections, "err", err)
	}
}

// pop finds a connection that is still there; nil if there is none. A server ends those that were idle for some minutes.
func (p *pool) pop() *control {
	for {
		p.mu.Lock()
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if time.Since(c.used) < 5*time.Second || c.NoOp() == nil {
			return c
		}
		p.drop(c)
	}
}

// put gives a connection back.
func (p *pool) put(c *control) {
	if c.broken {
		p.drop(c) // invariant 3
	} else {
		c.used = time.Now()
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	}
	p.free <- struct{}{}
}

func (p *pool) drop(c *control) {
	_ = c.Quit()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
}

// close ends every connection. What waits for one fails.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for c := range p.raw {
		_ = c.Close()
	}
}

// dial opens a TCP connection.
func (p *pool) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: p.s.c.Timeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	p.raw[c] = true
	return counted{file.Patient(c, p.s.c.Timeout), c, p}, nil
}

// counted is a connection that the pool knows.
type counted struct {
	net.Conn
	raw net.Conn
	p   *pool
}

func (c counted) Close() error {
	c.p.mu.Lock()
	delete(c.p.raw, c.raw)
	c.p.mu.Unlock()
	return c.Conn.Close()
}

// login opens a connection for commands.
func (p *pool) login(ctx context.Context) (*control, error) {
	c := &control{p: p, lines: &lines{}, used: time.Now()}
	config := p.tls.Clone()
	if config != nil {
		// Many servers want the connections for data to resume the session of the one for commands, and take no other.
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	first, err := p.dial(ctx, p.s.at.Host)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(p.s.c.Timeout, func() { _ = first.Close() }) // bytes that drip in do not help
	defer late.Stop()
	next := first
	options := []ftp.DialOption{ftp.DialWithDebugOutput(c.lines), ftp.DialWithDialFunc(func(_, addr string) (conn net.Conn, err error) {
		conn, next = next, nil
		isFirst := conn != nil
		if !isFirst {
			conn, err = p.dial(context.Background(), addr) // whose context was for the first may be gone; close ends this one too
			if err != nil {
				return nil, err
			}
			if p.s.wrap != nil {
				conn = p.s.wrap(conn)
			}
		}
		if config != nil && (!isFirst || p.s.c.TLS == tlsImplicit) {
			conn = tls.Client(conn, config)
		}
		return conn, nil
	})}
	switch p.s.c.TLS {
	case tlsExplicit:
		options = append(options, ftp.DialWithExplicitTLS(config))
	case tlsImplicit:
		options = append(options, ftp.DialWithTLS(config))
	}
	if c.ServerConn, err = ftp.Dial(p.s.at.Host, options...); err != nil {
		_ = first.Close()
		return nil, p.notConnected(err)
	}
	password := p.s.c.Password.Reveal()
	if password == "" {
		password = anonymous
	}
	if err := c.Login(p.s.at.User, password); err != nil {
		_ = c.Quit()
		return nil, p.notLoggedIn(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return c, nil
}

// notConnected says what to do about a connection that was not made.
func (p *pool) notConnected(err error) error {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case untrusted:
		return untrustedServer(err)
	case codeOf(err)/100 == 5 && p.s.c.TLS == tlsExplicit:
		return retry.Stop(fmt.Errorf("the server does not take it: %w; if it has no TLS, tls: none sends password and files for everybody to read", err))
	}
	return err
}

// notLoggedIn says what to do about a server that does not let the user in.
func (p *pool) notLoggedIn(err error) error {
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return untrustedServer(err) // it is looked at with the first byte
	}
	_, network := errors.AsType[net.Error](err)
	code := codeOf(err)
	if network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || code/100 == 4 {
		return err
	}
	hint := "" // the library has no code for what follows USER
	if p.s.c.TLS == tlsNone && code == 0 {
		hint = "; it may want tls: explicit"
	}
	return file.Refused(fmt.Errorf("the server does not let user %s in: %w%s", p.s.at.User, err, hint))
}

func untrustedServer(err error) error {
	return retry.Stop(fmt.Errorf("%w; ftp.ca may name its authority, or its own certificate", err))
}

// codeOf is the code of a server's answer, 0 for an error that is none.
func codeOf(err error) int {
	if answer, is := errors.AsType[*textproto.Error](err); is {
		return answer.Code
	}
	return 0
}

// lines counts those of a listing, because the library leaves out what it cannot read.
type lines struct {
	on      bool
	part    []byte
	listed  int
	example string
}

// notListed are answers, commands, sums, and what is no file or folder.
var notListed = regexp.MustCompile(`^(\d{3}[ -]|EPSV|PASV|LIST|MLSD|PRET|total |[pscbD][-rwxsStT]{9}|\s*$)`)

func (l *lines) Write(p []byte) (int, error) {
	if !l.on {
		return len(p), nil
	}
	l.part = append(l.part, p...)
	for {
		line, rest, found := bytes.Cut(l.part, []byte("\n"))
		if !found {
			l.part = append(l.part[:0], line...)
			return len(p), nil
		}
		if !notListed.Match(line) {
			l.listed++
			l.example = string(bytes.TrimSpace(line))
		}
		l.part = rest
	}
}
