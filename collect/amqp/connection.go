package amqp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/internal/retry"
)

// connection is one with its only channel, on which one consumer reads.
type connection struct {
	conn       *amqp.Connection
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	closed     chan *amqp.Error
	cancelled  chan string
	blocked    chan amqp.Blocking
}

// patient is a connection whose writes end: a broker that is gone without a word acknowledges none, and heartbeats of ours would wait for
// ever to be sent.
type patient struct {
	net.Conn
	timeout time.Duration
}

func (p *patient) Write(data []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(p.timeout)); err != nil {
		return 0, err
	}
	return p.Conn.Write(data)
}

// connect opens a connection and begins to consume, all of it within Config.Timeout.
func (s *Source) connect(ctx context.Context) (c *connection, err error) {
	raw, err := (&net.Dialer{Timeout: s.c.Timeout}).DialContext(ctx, "tcp", s.at.HostPort)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.origin, err)
	}
	// The client's calls take no context; closing what they wait on ends them.
	var late atomic.Bool
	timer := time.AfterFunc(s.c.Timeout, func() { late.Store(true); _ = raw.Close() })
	defer timer.Stop()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c, err = s.open(raw)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case late.Load():
		return nil, fmt.Errorf("connecting to %s: the broker did not answer within %s", s.origin, s.c.Timeout)
	}
	return nil, err
}

// open speaks on raw, which it closes if it gives an error.
func (s *Source) open(raw net.Conn) (c *connection, err error) {
	conn := net.Conn(&patient{raw, s.c.Timeout})
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	if s.at.TLS {
		t, err := s.c.TLS.Config(s.base, s.at.Host)
		if err != nil {
			return nil, err
		}
		client := tls.Client(conn, t)
		if err := client.Handshake(); err != nil {
			return nil, fmt.Errorf("connecting to %s with TLS: %w", s.origin, err)
		}
		conn = client
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(s.tag)
	c = &connection{closed: make(chan *amqp.Error, 1), cancelled: make(chan string, 1), blocked: make(chan amqp.Blocking, 1)}
	c.conn, err = amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: s.at.User, Password: s.at.Password}}, Vhost: s.at.vhost,
		Heartbeat: s.c.Heartbeat, Properties: properties, Locale: "en_US", FrameSize: 128 << 10,
	})
	if err != nil {
		return nil, s.refused("connecting to", err)
	}
	if c.channel, err = c.conn.Channel(); err != nil {
		return nil, s.refused("opening a channel to", err)
	}
	c.channel.NotifyClose(c.closed)
	c.channel.NotifyCancel(c.cancelled)
	c.conn.NotifyBlocked(c.blocked)
	if err := s.declare(c.channel); err != nil {
		return nil, s.refused("looking for", err)
	}
	if err := c.channel.Qos(s.c.Prefetch, 0, false); err != nil {
		return nil, s.refused("setting the prefetch of", err)
	}
	if c.deliveries, err = c.channel.Consume(s.c.Queue, s.tag, false, false, false, false, nil); err != nil {
		return nil, s.refused("consuming", err)
	}
	return c, nil
}

// declare finds the queue, or makes it.
func (s *Source) declare(ch *amqp.Channel) (err error) {
	switch s.c.Declare {
	case declareNone:
		_, err = ch.QueueDeclarePassive(s.c.Queue, true, false, false, false, nil)
	case declareClassic:
		_, err = ch.QueueDeclare(s.c.Queue, true, false, false, false, nil)
	case declareQuorum:
		_, err = ch.QueueDeclare(s.c.Queue, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	}
	return err
}

// refused says what the broker did not do, and whether only a person can help.
func (s *Source) refused(doing string, err error) error {
	answer, is := errors.AsType[*amqp.Error](err)
	if !is {
		return fmt.Errorf("%s %s: %w", doing, s.origin, err)
	}
	err = fmt.Errorf("%s %s: %d %s", doing, s.origin, answer.Code, answer.Reason)
	switch answer.Code {
	case amqp.NotFound:
		return retry.Stop(fmt.Errorf("%w: make the queue, or write declare: classic or quorum", err))
	case amqp.AccessRefused, amqp.NotAllowed, amqp.ResourceLocked:
		return retry.Stop(err)
	case amqp.PreconditionFailed:
		return retry.Stop(fmt.Errorf("%w: the queue is there and is another: write declare: none", err))
	}
	return err
}

// ended is why no more deliveries come.
func (s *Source) ended(c *connection) error {
	select {
	case _, is := <-c.cancelled:
		if !is {
			break // it is closed with the channel
		}
		return fmt.Errorf("reading %s: the broker has cancelled the consumer: the queue was deleted, or its node has gone", s.origin)
	default:
	}
	why := <-c.closed // the channel is over, and says why or is closed
	switch {
	case why == nil:
		return fmt.Errorf("reading %s: the connection was closed", s.origin)
	case why.Code == amqp.PreconditionFailed && strings.Contains(why.Reason, "timeout"):
		return fmt.Errorf("reading %s: %s: Kafka took longer than the broker's consumer_timeout", s.origin, why.Reason)
	}
	return fmt.Errorf("reading %s: %d %s", s.origin, why.Code, why.Reason)
}

// leave closes the connection in words, which returns what was not acknowledged to the queue before the broker's answer comes.
func (c *connection) leave(timeout time.Duration) {
	_ = c.conn.CloseDeadline(time.Now().Add(timeout)) // what is not closed in words is closed all the same
}
