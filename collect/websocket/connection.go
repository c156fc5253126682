package websocket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"headwater/collect"
	"headwater/envelope"
)

// connection is one, and its stream.
type connection struct {
	s       *Source
	f       *feed
	r       *run
	conn    *websocket.Conn
	stream  string
	origin  string
	headers [][2]string
	count   int64     // of messages
	heard   time.Time // when anything came last
	told    time.Time // when a message did
	until   time.Time // the deadline that reading has
	numbers *numbers
	buffer  []byte
	beyond  []byte // the byte that showed that a message is too long
}

// errQuiet ends a Run with once.
var errQuiet = errors.New("no message has come for a while")

// listen brings the messages of a connection into its stream until it ends, and closes it. It gives nil when a Run with once is done, and
// otherwise what ended the connection.
func (f *feed) listen(ctx context.Context, conn *websocket.Conn, r *run) error {
	now := time.Now()
	f.newest = max(f.newest+1, now.UnixMilli())
	c := &connection{s: f.s, f: f, r: r, conn: conn, stream: f.stream(), origin: f.origin(), headers: f.headers(), heard: now, told: now, numbers: &numbers{Sequence: f.s.c.Sequence}}
	if r.catcher != nil {
		c.numbers = r.catcher.numbers
	}
	conn.SetPongHandler(func(string) error { return c.hear(ctx) })
	answer := conn.PingHandler()
	conn.SetPingHandler(func(text string) error { return errors.Join(c.hear(ctx), answer(text)) })
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) }) // wakes who reads
	defer stop()
	over := make(chan struct{})
	var pinging sync.WaitGroup
	pinging.Go(func() { c.ping(over) })
	err := c.begin(ctx)
	for err == nil {
		err = c.message(ctx)
	}
	close(over)
	c.bye(ctx, err)
	pinging.Wait()
	f.last = &resume{At: c.told.UnixMilli(), Message: c.count}
	switch {
	case errors.Is(err, errQuiet):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return c.explain(err)
}

// begin records what may be missing, and has the streams of earlier connections forgotten. Invariant 2.
func (c *connection) begin(ctx context.Context) error {
	f := c.f
	if f.last != nil && (c.r.catcher == nil || !c.numbers.tell(f.name)) {
		gap := map[string]string{"from": clock(f.last.At), "to": clock(c.told.UnixMilli()), "reason": c.f.why}
		data, err := json.Marshal(map[string]any{"gap": gap})
		if err != nil {
			return err
		}
		item := envelope.Item{Kind: envelope.JSON, Data: data, Malformed: "gap: messages may be missing from " + gap["from"] + " to " + gap["to"] + ": " + c.f.why}
		if err := c.emit(ctx, item, "0"); err != nil {
			return err
		}
	} else if err := c.r.out.Mark(ctx, c.stream, resume{At: c.told.UnixMilli()}.encode(), false, nil); err != nil {
		return notTaken{err}
	}
	for _, stream := range f.old {
		if err := c.r.out.Mark(ctx, stream, nil, true, nil); err != nil {
			return notTaken{err}
		}
	}
	f.old = []string{c.stream}
	return c.r.begun(ctx, f)
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// hear notes that the server is there.
func (c *connection) hear(ctx context.Context) error {
	c.heard = time.Now()
	return c.patience(ctx)
}

// grain is how much later than it must a deadline of reading may be, because each one that is set costs a message a tenth of its time.
const grain = 50 * time.Millisecond

// patience sets until when the next bytes must come. While a message is handed over nothing is read, so that the time this takes is
// not counted. What woke the reader because ctx has ended may be undone by it, so that it looks again.
func (c *connection) patience(ctx context.Context) error {
	until := c.heard.Add(3 * c.s.c.PingEvery)
	if idle := c.s.c.IdleTimeout; idle > 0 && c.told.Add(idle).Before(until) {
		until = c.told.Add(idle)
	}
	if quiet := c.told.Add(c.s.idle); c.r.once && quiet.Before(until) {
		until = quiet
	}
	if until.After(c.until) || until.Before(c.until.Add(-grain)) {
		c.until = until.Add(grain)
		if err := c.conn.SetReadDeadline(c.until); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// message reads one and hands it over.
func (c *connection) message(ctx context.Context) error {
	if err := c.patience(ctx); err != nil {
		return err
	}
	kind, r, err := c.conn.NextReader()
	if err != nil {
		return c.silence(err)
	}
	c.count++
	for part := 0; ; part++ {
		data, more, err := c.fill(ctx, r)
		if err != nil {
			return fmt.Errorf("message %d was cut: %w", c.count, c.silence(err))
		}
		c.heard = time.Now()
		c.told = c.heard
		if part == 0 && !more {
			err = c.take(ctx, kind, data)
		} else if len(data) > 0 {
			err = c.emit(ctx, c.part(kind, data), fmt.Sprintf("%d/part %d", c.count, part))
		}
		c.heard = time.Now() // what came while this took has waited for us
		c.told = c.heard
		if err != nil || !more {
			return err
		}
		if err := c.patience(ctx); err != nil {
			return err
		}
	}
}

// fill reads up to the length of a message, and says whether there is more, which one byte beyond shows.
func (c *connection) fill(ctx context.Context, r io.Reader) (data []byte, more bool, err error) {
	limit := int(c.s.c.MaxMessage)
	c.buffer = append(c.buffer[:0], c.beyond...)
	c.beyond = nil
	for {
		if len(c.buffer) > limit {
			c.beyond = []byte{c.buffer[limit]}
			return c.buffer[:limit], true, nil
		}
		if len(c.buffer) == cap(c.buffer) {
			c.buffer = append(c.buffer, 0)[:len(c.buffer)]
		}
		n, err := r.Read(c.buffer[len(c.buffer):min(cap(c.buffer), limit+1)])
		c.buffer = c.buffer[:len(c.buffer)+n]
		if err == io.EOF {
			return c.buffer, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		if c.heard = time.Now(); n > 0 { // a long message that keeps coming is no silence
			c.told = c.heard
			if err := c.patience(ctx); err != nil {
				return nil, false, err
			}
		}
	}
}

// take hands over a whole message.
func (c *connection) take(ctx context.Context, kind int, data []byte) error {
	if cap(c.buffer) > 1<<20 {
		defer func() { c.buffer = nil }() // one large message
	}
	position := strconv.FormatInt(c.count, 10)
	item := envelope.Item{Kind: c.kindOf(kind, data), Data: data}
	if item.Kind == envelope.JSON && c.s.c.Array == arrayItems {
		if elements, is := envelope.Elements(data); is {
			for i, e := range elements {
				if err := c.emitNumbered(ctx, envelope.Item{Kind: envelope.JSON, Data: e}, position+"/"+strconv.Itoa(i)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if item.Kind != envelope.JSON {
		return c.emit(ctx, item, position)
	}
	return c.emitNumbered(ctx, item, position)
}

func (c *connection) kindOf(kind int, data []byte) envelope.Kind {
	switch c.s.c.Format {
	case formatJSON:
		return envelope.JSON
	case formatLines:
		return envelope.Text
	case formatBytes:
		return envelope.Bytes
	}
	switch {
	case json.Valid(data):
		return envelope.JSON
	case kind == websocket.TextMessage && utf8.Valid(data):
		return envelope.Text
	}
	return envelope.Bytes
}

// part is a piece of a message that is longer than it may be.
func (c *connection) part(kind int, data []byte) envelope.Item {
	it := envelope.Item{Kind: envelope.Text, Data: data, Malformed: "too-long: a part of a message that is longer than max_message, " + c.s.c.MaxMessage.String()}
	if kind == websocket.BinaryMessage {
		it.Kind = envelope.Bytes
	}
	return it
}

func (c *connection) emit(ctx context.Context, it envelope.Item, position string) error {
	err := c.r.out.Emit(ctx, collect.Item{
		Stream: c.stream, Resume: resume{At: c.told.UnixMilli(), Message: c.count}.encode(), Item: it, Origin: c.origin, Position: position, Headers: c.headers,
	})
	if err != nil {
		return notTaken{err}
	}
	return nil
}

// ping asks the server whether it is there, until over. Writing fails when the connection has, which the reader finds too.
func (c *connection) ping(over <-chan struct{}) {
	tick := time.NewTicker(c.s.c.PingEvery)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			if c.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(c.s.c.PingEvery)) != nil {
				return
			}
		}
	}
}

// farewell is how long the server has to answer that it is left.
const farewell = time.Second

// bye leaves the server, in words if it is still there.
func (c *connection) bye(ctx context.Context, why error) {
	defer c.conn.Close()
	if ctx.Err() == nil && !errors.Is(why, errQuiet) {
		return
	}
	// A reader that timed out can read no more; the answer is awaited below it, so that the server has heard the word before Run returns.
	if c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(farewell)) != nil {
		return
	}
	raw := c.conn.NetConn()
	_ = raw.SetReadDeadline(time.Now().Add(farewell))
	_, _ = io.Copy(io.Discard, raw)
}

// silence names a time-out of reading.
func (c *connection) silence(err error) error {
	if timeout, is := errors.AsType[net.Error](err); !is || !timeout.Timeout() && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	now := time.Now()
	switch idle := c.s.c.IdleTimeout; {
	case c.r.once && now.Sub(c.told) >= c.s.idle:
		return errQuiet
	case idle > 0 && now.Sub(c.told) >= idle:
		return fmt.Errorf("no message came for idle_timeout, %s", idle)
	}
	return fmt.Errorf("nothing came for %s, no answer to a ping either", 3*c.s.c.PingEvery)
}

// explain is what ended a connection, in words.
func (c *connection) explain(err error) error {
	if closed, is := errors.AsType[*websocket.CloseError](err); is && closed.Code != websocket.CloseAbnormalClosure {
		return fmt.Errorf("the server closed the connection with code %d %q", closed.Code, closed.Text)
	}
	return err
}
