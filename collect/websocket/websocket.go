// Package websocket reads live feeds as a WebSocket client.
//
// What enters: the messages of one server. What leaves: each as an item, or several where a message is a JSON array. A feed
// cannot be asked again for what it sent while nobody listened, so each connection begins with a record that says since when something may be
// missing. Rules: docs/sources/websocket.md.
//
// Invariants:
//  1. A connection is a stream, whose name is used once. Its messages are in it in their order, none twice.
//  2. Between two connections that brought something there is a gap record, the first of the later one, whatever ended the earlier
//     one; there is none before the first connection of all.
//  3. While Kafka is slow nothing is read, and the server finds that it cannot send: memory is one message. That time is not counted
//     as silence of the server.
//
// Goroutines of Run: one that pings, for each connection; it ends with the connection, and before Run returns.
package websocket

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/internal/trust"
)

// Source reads the feed of one configuration.
type Source struct {
	c    Config
	base string
	log  *slog.Logger
	idle time.Duration // how long nothing must come before a Run with once ends
	why  string        // what ended the last connection; only for people

	toldFull bool // that there are more sequences than are followed
}

// New makes a source; a relative path of CA is relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{c: c, base: base, log: log, idle: 2 * time.Second, why: "the source was not running"}
}

// resume is what a record says beside its number; nothing can be resumed, it is for the next gap and for people.
type resume struct {
	// At is when the message came, in milliseconds since 1970.
	At int64 `json:"at"`
	// Message counts those of the connection, from 1; 0 is the gap record.
	Message int64 `json:"message"`
}

func (r resume) encode() json.RawMessage {
	return fmt.Appendf(nil, `{"at":%d,"message":%d}`, r.At, r.Message)
}

// streamPrefix begins the streams: connection/<time in base 36>.
const streamPrefix = "connection/"

// feed is what one Run knows of the connections before.
type feed struct {
	last   *resume  // of the newest stream; nil if there is none
	newest int64    // its name's time
	old    []string // streams to be forgotten once there is a newer one
}

func recall(streams map[string]envelope.StreamCursor) (f feed) {
	for name, at := range streams {
		text, found := strings.CutPrefix(name, streamPrefix)
		clock, err := strconv.ParseInt(text, 36, 64)
		if !found || err != nil {
			continue
		}
		f.old = append(f.old, name)
		var r resume
		if clock > f.newest && json.Unmarshal(at.Resume, &r) == nil {
			f.newest, f.last = clock, &r
		}
	}
	return f
}

// lived is how long a connection must have held for the next one to be made at once.
const lived = 30 * time.Second

// Run implements collect.Source. A connection that ends is made anew; what keeps it from being made is Run's error. With once it ends
// when no message has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	f := recall(out.Streams())
	wait := retry.Backoff{Min: 50 * time.Millisecond, Max: 10 * time.Second}
	for {
		conn, err := s.dial(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		err = s.read(ctx, conn, out, &f, once)
		if refused, is := errors.AsType[notTaken](err); is {
			s.why = "Kafka did not take the messages"
			return refused.error
		}
		if err == nil || ctx.Err() != nil {
			s.why = "the source was stopped"
			return err
		}
		s.why = err.Error()
		s.log.Warn("the connection ended; what the feed sends until the next one is missed", "err", err)
		if time.Since(began) > lived {
			wait.Reset()
		}
		if err := retry.Wait(ctx, wait.Next()); err != nil {
			return err
		}
	}
}

// notTaken is an error of the Out, after which Run must end.
type notTaken struct{ error }

// dial opens a connection and says what is to be said on it.
func (s *Source) dial(ctx context.Context) (*websocket.Conn, error) {
	d := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: s.c.HandshakeTimeout, Subprotocols: s.c.Subprotocols, ReadBufferSize: 64 << 10,
	}
	if s.c.CA != "" {
		var err error
		if d.TLSClientConfig, err = s.trust(); err != nil {
			return nil, err
		}
	}
	header := http.Header{}
	for name, value := range s.c.Headers {
		header.Set(name, value.Reveal())
	}
	conn, resp, err := d.DialContext(ctx, s.c.URL, header)
	if err != nil {
		return nil, s.refused(ctx, resp, err)
	}
	for _, text := range s.c.Send {
		_ = conn.SetWriteDeadline(time.Now().Add(s.c.HandshakeTimeout)) // it is kept in memory
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text.Reveal())); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("sending to %s: %w", s.origin(), err)
		}
	}
	return conn, nil
}

func (s *Source) trust() (*tls.Config, error) {
	pool, err := trust.Authorities(setting.At(s.base, s.c.CA))
	if err != nil {
		return nil, fmt.Errorf("reading websocket.ca: %w", err)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// longestWait bounds what a server may ask for by Retry-After.
const longestWait = 5 * time.Minute

// refused says why a connection was not made, after the wait that the server has asked for.
func (s *Source) refused(ctx context.Context, resp *http.Response, err error) error {
	if resp == nil {
		return fmt.Errorf("connecting to %s: %w", s.origin(), err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // for a person
	err = fmt.Errorf("connecting to %s: the server answered %s instead of a WebSocket: %q", s.origin(), resp.Status, body)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return retry.Stop(err) // only a person can help
	}
	if seconds, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && seconds > 0 {
		if e := retry.Wait(ctx, min(time.Duration(seconds)*time.Second, longestWait)); e != nil {
			return e
		}
	}
	return err
}

// origin is the URL without what may be secret.
func (s *Source) origin() string {
	u, err := url.Parse(s.c.URL)
	if err != nil {
		return "the feed"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}

var _ collect.Source = (*Source)(nil)
