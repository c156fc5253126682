// Package websocket reads live feeds as a WebSocket client.
//
// What enters: the messages of one server, on one connection or on several, each with a subscription of its own, and what an API has of those that did not
// come. What leaves: each as an item, or several where a message is a JSON array. A feed cannot be asked again for what it sent while nobody listened, so
// each connection begins with a record that says since when something may be missing, or an API is asked for that. Rules: docs/sources/websocket.md.
//
// Invariants:
//  1. A connection is a stream, whose name is used once. Its messages are in it in their order, none twice.
//  2. Between two connections of a subscription that brought something there is a gap record, the first of the later one, whatever ended the earlier
//     one; there is none before the first connection of all.
//  3. While Kafka is slow nothing is read, and the server finds that it cannot send: memory is one message. That time is not counted
//     as silence of the server.
//  4. A connection that fails or is slow neither ends nor delays another. Only when all fail Run does.
//  5. With catch_up each sequence of numbers is a stream. Up to each of its records a number is in the stream, or open in the record's resume, or a gap
//     record says that it is missing. No connection waits for what is asked for.
//
// Goroutines of Run: one for each subscription, one that pings for each connection, and with catch_up one that asks; they end before Run returns.
package websocket

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/internal/trust"
)

// Source reads the feed of one configuration.
type Source struct {
	c     Config
	base  string
	log   *slog.Logger
	idle  time.Duration // how long nothing must come before a Run with once ends
	each  bool          // every connection is tried before anything is emitted
	feeds []*feed

	connected atomic.Int32 // feeds whose connection stands
	toldFull  sync.Once    // that there are more sequences than are followed
}

// New makes a source; a relative path of CA is relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Source{c: c, base: base, log: log, idle: 2 * time.Second, each: c.each}
	for _, sub := range c.subscriptions() {
		f := &feed{s: s, subscription: sub, log: log, why: "the source was not running"}
		if sub.name != "" {
			f.log = log.With("connection", sub.name)
		}
		s.feeds = append(s.feeds, f)
	}
	return s
}

// resume is what a record says beside its number; nothing can be resumed, it is for the next gap and for people.
type resume struct {
	// At is when the message came, in milliseconds since 1970.
	At int64 `json:"at"`
	// Message counts those of the connection, from 1; 0 is the gap record.
	Message int64 `json:"message"`
}

// encode is on the path of every item and therefore by hand.
func (r resume) encode() json.RawMessage {
	b := strconv.AppendInt(append(make([]byte, 0, 48), `{"at":`...), r.At, 10)
	b = strconv.AppendInt(append(b, `,"message":`...), r.Message, 10)
	return append(b, '}')
}

// streamPrefix begins the streams: connection/<time in base 36>, and after another slash the name of the subscription, if it has one.
const streamPrefix = "connection/"

// feed is one subscription, and what one Run knows of its connections.
type feed struct {
	s *Source
	subscription
	log *slog.Logger
	why string // what ended the last connection; only for people

	last   *resume  // of the newest stream; nil if there is none
	newest int64    // its name's time
	old    []string // streams to be forgotten once there is a newer one
	heir   bool     // last is that of a subscription that is no more, whose symbols this one may have
}

func (f *feed) stream() string {
	stream := streamPrefix + strconv.FormatInt(f.newest, 36)
	if f.name != "" {
		stream += "/" + f.name
	}
	return stream
}

// headers name the connection on its items.
func (f *feed) headers() [][2]string {
	if f.name == "" {
		return nil
	}
	return [][2]string{{"connection", f.name}}
}

// run is what the goroutines of one Run share.
type run struct {
	s       *Source
	out     collect.Out
	once    bool
	pace    *rate.Limiter
	catcher *catcher // nil without catch_up

	mu      sync.Mutex
	failing map[*feed]error
	orphans []string // streams of subscriptions that are no more
	heirs   int      // feeds that have not begun and whose first gap is since one of those
}

// recall finds what earlier connections have left behind. A subscription that is new takes over from those that are gone, because its symbols may
// have been theirs.
func (r *run) recall(streams map[string]envelope.StreamCursor) {
	feeds := map[string]*feed{}
	for _, f := range r.s.feeds {
		f.last, f.newest, f.old, f.heir = nil, 0, nil, false
		feeds[f.name] = f
	}
	var gone *resume
	for stream, at := range streams {
		text, found := strings.CutPrefix(stream, streamPrefix)
		text, name, _ := strings.Cut(text, "/")
		clock, err := strconv.ParseInt(text, 36, 64)
		if !found || err != nil {
			continue
		}
		var last resume
		known := json.Unmarshal(at.Resume, &last) == nil
		f := feeds[name]
		if f == nil {
			r.orphans = append(r.orphans, stream)
			if known && (gone == nil || last.At < gone.At) {
				gone = &last
			}
			continue
		}
		f.old = append(f.old, stream)
		if known && clock > f.newest {
			f.newest, f.last = clock, &last
		}
	}
	for _, f := range r.s.feeds {
		if f.last == nil && gone != nil {
			f.last, f.heir = gone, true
			r.heirs++
		}
	}
}

// begun has the streams of subscriptions that are no more forgotten, once nobody needs them. f is nil at the beginning.
func (r *run) begun(ctx context.Context, f *feed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f != nil && f.heir {
		f.heir = false
		r.heirs--
	}
	if r.heirs > 0 {
		return nil
	}
	for _, stream := range r.orphans {
		if err := r.out.Mark(ctx, stream, nil, true, nil); err != nil {
			return notTaken{err}
		}
	}
	r.orphans = nil
	return nil
}

// lived is how long a connection must have held for the next one to be made at once.
const lived = 30 * time.Second

// Run implements collect.Source. A connection that ends is made anew; what keeps all of them from being made is Run's error. With once it ends
// when no message has come for two seconds.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	s.connected.Store(0)
	pace := rate.Inf
	if s.c.ConnectEvery > 0 {
		pace = rate.Every(s.c.ConnectEvery)
	}
	r := &run{s: s, out: out, once: once, pace: rate.NewLimiter(pace, 1), failing: map[*feed]error{}}
	r.recall(out.Streams())
	if err := r.begun(ctx, nil); err != nil {
		return err
	}
	if s.c.CatchUp.URL != "" {
		var err error
		if r.catcher, err = s.catcher(out); err != nil {
			return err
		}
	}
	own, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if s.each && len(s.feeds) > 1 {
		if err := r.try(ctx); err != nil {
			return err
		}
		s.each = false
	}
	errs := make([]error, len(s.feeds)+1)
	ended := func(i int, err error) {
		if errs[i] = err; stops(err) || err != nil && !once {
			stop(err)
		}
	}
	var wg, catching sync.WaitGroup
	for i, f := range s.feeds {
		wg.Go(func() { ended(i, guard(func() error { return f.read(own, r) })) })
	}
	over := make(chan struct{})
	if r.catcher != nil {
		catching.Go(func() { ended(len(s.feeds), guard(func() error { return r.catcher.run(own, over) })) })
	}
	wg.Wait()
	close(over)
	catching.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if own.Err() != nil {
		if refused, is := errors.AsType[notTaken](context.Cause(own)); is {
			return refused.error
		}
		return context.Cause(own)
	}
	return errors.Join(errs...)
}

// try makes every connection once, and closes it.
func (r *run) try(ctx context.Context) error {
	errs := make([]error, len(r.s.feeds))
	var wg sync.WaitGroup
	for i, f := range r.s.feeds {
		wg.Go(func() {
			errs[i] = guard(func() error {
				conn, err := f.dial(ctx, r.pace)
				if err == nil {
					err = conn.Close()
				}
				return err
			})
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stops says of an error that it is the whole Run's.
func stops(err error) bool {
	_, refused := errors.AsType[notTaken](err)
	_, panicked := errors.AsType[panicked](err)
	return refused || panicked
}

// panicked is what a goroutine of ours ended with.
type panicked struct{ error }

// guard makes a panic of do its error.
func guard(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked{fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack())}
		}
	}()
	return do()
}

// read makes connections and reads them. It ends when ctx does, when nothing more may be emitted and, with once, when nothing comes or no connection
// can be made; otherwise when no other connection can be made either.
func (f *feed) read(ctx context.Context, r *run) error {
	lost := retry.Backoff{Min: 50 * time.Millisecond, Max: 10 * time.Second}
	refused := retry.Backoff{Min: time.Second, Max: 30 * time.Second}
	for told := ""; ; {
		conn, err := f.dial(ctx, r.pace)
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return ctx.Err()
		}
		all := r.note(f, err)
		switch {
		case err != nil && r.once:
			return err
		case all != nil:
			return all
		case err != nil:
			if told != err.Error() {
				f.log.Warn("connecting failed, trying again", "err", err)
			}
			told = err.Error()
			if err := retry.Wait(ctx, refused.Next()); err != nil {
				return err
			}
			continue
		}
		told = ""
		refused.Reset()
		began := time.Now()
		r.s.connected.Add(1)
		err = f.listen(ctx, conn, r)
		r.s.connected.Add(-1)
		switch {
		case stops(err):
			f.why = "Kafka did not take the messages"
			return err
		case err == nil || ctx.Err() != nil:
			f.why = "the source was stopped"
			return err
		}
		f.why = err.Error()
		f.log.Warn("the connection ended; what the feed sends until the next one is missed", "err", err)
		if time.Since(began) > lived {
			lost.Reset()
		}
		if err := retry.Wait(ctx, lost.Next()); err != nil {
			return err
		}
	}
}

// note remembers whether a connection could be made. It gives an error when none can, one that may pass if there is one.
func (r *run) note(f *feed, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failing, f)
	if err == nil {
		return nil
	}
	r.failing[f] = err
	n := len(r.s.feeds)
	if len(r.failing) < n {
		return nil
	}
	for _, other := range r.failing {
		if retry.Classify(err) == retry.Permanent {
			err = other
		}
	}
	if n > 1 {
		err = fmt.Errorf("none of %d connections can be made, among them: %w", n, err)
	}
	return err
}

// notTaken is an error of the Out, after which Run must end.
type notTaken struct{ error }

// dial opens a connection and says what is to be said on it.
func (f *feed) dial(ctx context.Context, pace *rate.Limiter) (*websocket.Conn, error) {
	if err := pace.Wait(ctx); err != nil {
		return nil, err
	}
	conn, err := f.connect(ctx)
	if err != nil && f.name != "" {
		err = fmt.Errorf("connection %s: %w", f.name, err)
	}
	return conn, err
}

func (f *feed) connect(ctx context.Context) (*websocket.Conn, error) {
	s := f.s
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
	stop := func() bool { return true }
	// A handshake that is not answered does not hear of a context by itself.
	d.NetDialContext = func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialing, network, address)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		}
		return conn, err
	}
	conn, resp, err := d.DialContext(ctx, f.url, header)
	stop()
	if err != nil {
		return nil, f.refused(ctx, resp, err)
	}
	for _, text := range f.send {
		_ = conn.SetWriteDeadline(time.Now().Add(s.c.HandshakeTimeout)) // it is kept in memory
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("sending to %s: %w", f.origin(), err)
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

// hidden is what a server has said, less the secrets that it was told: some say back what they do not like.
func (c *Config) hidden(said []byte) string {
	var instead []string
	for _, value := range c.Headers {
		for word := range strings.FieldsSeq(value.Reveal()) {
			instead = append(instead, word, "***")
		}
	}
	return strings.NewReplacer(instead...).Replace(string(said))
}

// refused says why a connection was not made, after the wait that the server has asked for.
func (f *feed) refused(ctx context.Context, resp *http.Response, err error) error {
	if resp == nil {
		return fmt.Errorf("connecting to %s: %w", f.origin(), err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	err = fmt.Errorf("connecting to %s: the server answered %s instead of a WebSocket: %.200q", f.origin(), resp.Status, f.s.c.hidden(body)) // for a person
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
func (f *feed) origin() string {
	u, err := url.Parse(f.url)
	if err != nil {
		return "the feed"
	}
	return bare(u)
}

func bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// Hears implements collect.Deaf: it does while all of its connections stand.
func (s *Source) Hears() bool { return int(s.connected.Load()) == len(s.feeds) }

var _ collect.Deaf = (*Source)(nil)
