package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"headwater/internal/retry"
)

// connection speaks packets. One goroutine reads; several may write.
type connection struct {
	net.Conn
	version byte
	timeout time.Duration // of a write
	in      *bufio.Reader
	buffer  []byte

	// patience is how long nothing may come, and quiet, if it is set, when it is enough all the same.
	patience time.Duration
	quiet    time.Time
	stopped  atomic.Bool // nothing is to be read any more

	writing sync.Mutex
	out     bytes.Buffer
}

var (
	// errQuiet ends a Run with once.
	errQuiet = errors.New("no message has come for a while")
	// errStopped is that of a read that was woken.
	errStopped = errors.New("stopped")
)

// dial opens a connection on which nothing was said.
func (s *Source) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.c.Timeout, fmt.Errorf("the broker did not answer within %s", s.c.Timeout))
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.at.HostPort)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.origin, err)
	}
	if s.at.TLS {
		t, err := s.c.TLS.Config(s.base, s.at.Host)
		if err != nil {
			_ = raw.Close()
			return nil, err
		}
		client := tls.Client(raw, t)
		if err := client.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, fmt.Errorf("connecting to %s with TLS: %w", s.origin, err)
		}
		raw = client
	}
	c := &connection{Conn: raw, version: 5, timeout: s.c.Timeout, patience: s.c.Timeout}
	if s.c.Version != "5" {
		c.version = 4 // as 3.1.1 calls itself
	}
	c.in = bufio.NewReaderSize(c, 64<<10)
	return c, nil
}

// stop wakes who reads.
func (c *connection) stop() {
	c.stopped.Store(true)
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// Read implements io.Reader. The time between two reads is ours and not counted as silence of the broker.
func (c *connection) Read(p []byte) (int, error) {
	until := time.Now().Add(c.patience)
	enough := !c.quiet.IsZero() && c.quiet.Before(until)
	if enough {
		until = c.quiet
	}
	if err := c.SetReadDeadline(until); err != nil {
		return 0, err
	}
	if c.stopped.Load() { // before this deadline, perhaps, which must not undo it
		return 0, errStopped
	}
	n, err := c.Conn.Read(p)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case c.stopped.Load():
		return n, errStopped
	case enough:
		return n, errQuiet
	}
	return n, fmt.Errorf("nothing came for %s, no answer to a ping either", c.patience)
}

// read gives the next packet, whose payload is good until the next one is read.
func (c *connection) read() (p packets.Packet, err error) {
	first, err := c.in.ReadByte()
	if err != nil {
		return p, err
	}
	p.ProtocolVersion = c.version
	if err := p.FixedHeader.Decode(first); err != nil {
		return p, fmt.Errorf("reading a packet's header: %w", err)
	}
	if p.FixedHeader.Remaining, _, err = packets.DecodeLength(c.in); err != nil {
		return p, fmt.Errorf("reading a packet's length: %w", err)
	}
	c.quiet = time.Time{} // what has begun is awaited whole
	if p.FixedHeader.Remaining > cap(c.buffer) || cap(c.buffer) > 1<<20 {
		c.buffer = make([]byte, p.FixedHeader.Remaining)
	}
	body := c.buffer[:p.FixedHeader.Remaining]
	if _, err := io.ReadFull(c.in, body); err != nil {
		return p, fmt.Errorf("a packet was cut: %w", err)
	}
	decode := map[byte]func([]byte) error{
		packets.Connack: p.ConnackDecode, packets.Publish: p.PublishDecode, packets.Pubrel: p.PubrelDecode, packets.Suback: p.SubackDecode,
		packets.Disconnect: p.DisconnectDecode,
	}[p.FixedHeader.Type]
	if decode == nil {
		return p, nil
	}
	if err := decode(body); err != nil {
		return p, fmt.Errorf("reading a packet of type %s: %w", packets.PacketNames[p.FixedHeader.Type], err)
	}
	return p, nil
}

// write sends packets together.
func (c *connection) write(all ...packets.Packet) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out.Reset()
	for _, p := range all {
		p.ProtocolVersion = c.version
		var err error
		switch p.FixedHeader.Type {
		case packets.Connect:
			err = p.ConnectEncode(&c.out)
		case packets.Subscribe:
			p.FixedHeader.Qos = 1 // as it must
			err = p.SubscribeEncode(&c.out)
		case packets.Unsubscribe:
			p.FixedHeader.Qos = 1
			err = p.UnsubscribeEncode(&c.out)
		case packets.Pingreq:
			err = p.PingreqEncode(&c.out)
		case packets.Puback:
			err = p.PubackEncode(&c.out)
		case packets.Pubrec:
			err = p.PubrecEncode(&c.out)
		case packets.Pubcomp:
			err = p.PubcompEncode(&c.out)
		case packets.Disconnect:
			err = p.DisconnectEncode(&c.out)
		}
		if err != nil {
			return fmt.Errorf("writing a packet of type %s: %w", packets.PacketNames[p.FixedHeader.Type], err)
		}
	}
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.Write(c.out.Bytes())
	return err
}

// farewell is how long the broker has to hear that it is left.
const farewell = time.Second

// leave says good-bye and reads until the broker has closed: a connection that is closed with bytes unread is reset, and the
// acknowledgements that the broker has not read yet would be lost with it.
func (c *connection) leave() {
	if c.write(packet(packets.Disconnect)) != nil {
		return // what was not acknowledged comes again
	}
	_ = c.SetReadDeadline(time.Now().Add(farewell))
	_, _ = io.Copy(io.Discard, c.Conn)
}

func packet(kind byte) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}}
}

// greet opens the session, and says whether the broker had it.
func (s *Source) greet(c *connection) (present bool, err error) {
	p := packet(packets.Connect)
	p.Connect = packets.ConnectParams{
		ProtocolName: []byte("MQTT"), ClientIdentifier: s.client, Keepalive: uint16(s.c.KeepAlive / time.Second),
		Username: []byte(s.at.User), UsernameFlag: s.at.User != "", Password: []byte(s.at.Password), PasswordFlag: s.at.Password != "",
	}
	p.Properties = packets.Properties{
		SessionExpiryInterval: uint32(min(s.c.SessionExpiry/time.Second, 1<<32-1)), SessionExpiryIntervalFlag: true, ReceiveMaximum: uint16(s.c.Prefetch),
	}
	if err := c.write(p); err != nil {
		return false, fmt.Errorf("connecting to %s: %w", s.origin, err)
	}
	answer, err := c.read()
	switch {
	case err != nil:
		return false, fmt.Errorf("connecting to %s: %w", s.origin, err)
	case answer.FixedHeader.Type != packets.Connack:
		return false, fmt.Errorf("connecting to %s: the broker answered with a packet of type %s", s.origin, packets.PacketNames[answer.FixedHeader.Type])
	case answer.ReasonCode != 0:
		return false, s.refused(answer)
	}
	c.patience = s.c.KeepAlive * 3 / 2
	if answer.Properties.ServerKeepAliveFlag { // the broker's own counts
		c.patience = time.Duration(max(1, answer.Properties.ServerKeepAlive)) * time.Second * 3 / 2
	}
	return answer.SessionPresent, nil
}

// refused says why the broker does not want us, and whether only a person can help.
func (s *Source) refused(answer packets.Packet) error {
	type reason struct {
		text   string
		person bool
	}
	known := map[byte]reason{
		1: {"it does not speak this version of MQTT: write another version", true}, 2: {"it does not take this client_id", true}, 3: {"it is not available", false},
		4: {"the user or password is wrong", true}, 5: {"the user may not connect", true},
		0x84: {"it does not speak this version of MQTT: write another version", true}, 0x85: {"it does not take this client_id", true},
		0x86: {"the user or password is wrong", true}, 0x87: {"the user may not connect", true}, 0x8a: {"the user is banned", true}, 0x88: {"it is not available", false},
	}
	why := known[answer.ReasonCode]
	err := fmt.Errorf("connecting to %s: the broker refuses with code %#x: %s %s", s.origin, answer.ReasonCode, why.text, answer.Properties.ReasonString)
	if why.person {
		return retry.Stop(err)
	}
	return err
}
