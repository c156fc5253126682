package hive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"
)

// client is a connection to a metastore, and what was found out about that.
type client struct {
	*hms.ThriftHiveMetastoreClient
	conn net.Conn
	// cannotCompare says that its database does not compare parameters, so that it cannot see for us whether a table is still as it was.
	cannotCompare bool
}

func (c *Catalog) disconnect() {
	if c.client != nil {
		_ = c.client.conn.Close()
	}
	c.client = nil
}

// do calls f with a connected client, again with a new connection if the one that was kept has died, and with the other addresses
// if one does not answer. f may be called several times: every call of ours may be repeated. After a stall calls fail at once for a while.
func (c *Catalog) do(ctx context.Context, f func(context.Context, *client) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Before(c.rest) {
		return fmt.Errorf("not asked again for another %s: %w", c.rest.Sub(now).Round(time.Second), c.stalled)
	}
	var errs []error
	for range len(c.addresses) + 1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		kept := c.client != nil
		err := c.try(ctx, f)
		if err == nil || !broken(err) {
			return err
		}
		c.lost.Add(1)
		if !kept && ended(err) {
			err = fmt.Errorf("it ends connections, as one does that wants TLS (hive.tls) or SASL (hive.sasl), or neither: %w", err)
		}
		errs = append(errs, fmt.Errorf("metastore %s: %w", c.addresses[0], err))
		if !kept { // the end of a connection that was kept says nothing about the address
			c.addresses = append(c.addresses[1:], c.addresses[0])
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := errors.Join(errs...)
	if _, is := errors.AsType[stall](err); is {
		c.stalled, c.rest = err, time.Now().Add(rest*c.Config.Timeout)
	}
	return err
}

// Lost counts the calls of which nobody knows what became. They may still be done, after others that came later.
func (c *Catalog) Lost() int64 { return c.lost.Load() }

// broken reports whether it is the connection that failed: after any answer that was read whole it is as good as before, unless it is
// the answer to another call.
func broken(err error) bool {
	_, transport := errors.AsType[thrift.TTransportException](err)
	_, protocol := errors.AsType[thrift.TProtocolException](err)
	_, network := errors.AsType[net.Error](err)
	answer, is := errors.AsType[thrift.TApplicationException](err)
	another := is && slices.Contains([]int32{thrift.WRONG_METHOD_NAME, thrift.BAD_SEQUENCE_ID, thrift.INVALID_MESSAGE_TYPE_EXCEPTION}, answer.TypeId())
	_, never := errors.AsType[unreached](err)
	return transport || protocol || network || another || never
}

// ended reports whether a server ended the connection or gave an answer that is none of thrift's.
func ended(err error) bool {
	x, transport := errors.AsType[thrift.TTransportException](err)
	_, protocol := errors.AsType[thrift.TProtocolException](err)
	return protocol || transport && x.TypeId() == thrift.END_OF_FILE
}

func (c *Catalog) try(ctx context.Context, f func(context.Context, *client) error) error {
	timeout := c.Config.Timeout
	if c.client == nil {
		m, err := c.Config.connect(ctx, c.addresses[0])
		if err != nil {
			return unreached{orStall(err, timeout)}
		}
		c.client = m
	}
	// The end of ctx has to end a read that waits. A deadline would not do: each read sets its own.
	conn := c.client.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := f(ctx, c.client)
	if !stop() || broken(err) {
		c.disconnect()
	}
	return orStall(err, timeout)
}

// unreached is that there came to be no connection, or none that may be used, whatever the reason.
type unreached struct{ error }

func (u unreached) Unwrap() error { return u.error }

// stall is that nothing came in time. It says so in a text: a connection's own time-out may claim to be the end of the caller's context.
type stall struct {
	limit time.Duration
	text  string
}

func (s stall) Error() string {
	return fmt.Sprintf("no answer within %s, find out why it hangs or give it longer (hive.timeout): %s", s.limit, s.text)
}

// Timeout and Temporary implement net.Error.
func (s stall) Timeout() bool   { return true }
func (s stall) Temporary() bool { return true }

func orStall(err error, limit time.Duration) error {
	if n, network := errors.AsType[net.Error](err); network && n.Timeout() {
		return stall{limit, err.Error()}
	}
	if x, transport := errors.AsType[thrift.TTransportException](err); transport && x.TypeId() == thrift.TIMED_OUT {
		return stall{limit, err.Error()}
	}
	return err
}
