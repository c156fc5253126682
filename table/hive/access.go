package hive

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/apache/thrift/lib/go/thrift"
	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/internal/setting"
	"headwater/internal/trust"
)

// TLS has files of PEM; each may be empty.
type TLS struct {
	// CA are the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
	// Cert and Key are the client's own certificate, for what stands before a metastore and asks for one.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// SASL is a name and its proof.
type SASL struct {
	// Mechanism is PLAIN, for metastores whose metastore.authentication is CONFIG, LDAP, PAM or CUSTOM.
	Mechanism string         `yaml:"mechanism"`
	Username  string         `yaml:"username"`
	Password  setting.Secret `yaml:"password"`
}

func (c Config) validateAccess(f *setting.Faults) {
	if s := c.SASL; s != nil {
		if s.Mechanism != "PLAIN" {
			f.Add([]string{"sasl", "mechanism"}, "must be PLAIN, got %q", s.Mechanism)
		}
		if s.Username == "" || s.Password == "" {
			f.Add([]string{"sasl"}, "must have a username and a password; hive.username alone is a name without proof")
		}
		if c.Username != "" {
			f.Add([]string{"username"}, "is not used with hive.sasl, which has the name: leave it out")
		}
	}
	if t := c.TLS; t != nil && (t.Cert == "") != (t.Key == "") {
		f.Add([]string{"tls"}, "cert and key go together: one of them is missing")
	}
	if len(c.URIs) == 0 && (c.SASL != nil || c.TLS != nil || c.Username != "") {
		f.Add([]string{"uris"}, "must be there with hive.sasl, hive.tls or hive.username, which the embedded metastore does not ask for")
	}
}

// owner is who the tables belong to.
func (c Config) owner() string {
	switch {
	case c.SASL != nil:
		return c.SASL.Username
	case c.Username != "":
		return c.Username
	}
	return "headwater"
}

// load reads the files anew each time, so that renewed certificates are found.
func (t *TLS) load(host string) (*tls.Config, error) {
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		var err error
		if conf.RootCAs, err = trust.Authorities(t.CA); err != nil {
			return nil, fmt.Errorf("reading hive.tls.ca: %w", err)
		}
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("reading hive.tls.cert and hive.tls.key: %w", err)
		}
		conf.Certificates = []tls.Certificate{own}
	}
	return conf, nil
}

// dial connects to an address, encrypted if that is configured.
func (c Config) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := &net.Dialer{Timeout: c.Timeout}
	if c.TLS == nil {
		return d.DialContext(ctx, "tcp", addr)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conf, err := c.TLS.load(host)
	if err != nil {
		return nil, err
	}
	conn, err := (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", addr)
	if _, not := errors.AsType[tls.RecordHeaderError](err); not {
		return nil, fmt.Errorf("it does not speak TLS, so leave hive.tls out: %w", err)
	}
	return conn, err
}

// connect makes a client that has said who it is.
func (c Config) connect(ctx context.Context, addr string) (*client, error) {
	conn, err := c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	// The end of ctx has to end a read that waits.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	m, err := c.introduce(ctx, conn)
	if !stop() || err != nil {
		_ = conn.Close()
		return nil, errors.Join(context.Cause(ctx), err)
	}
	return m, nil
}

func (c Config) introduce(ctx context.Context, conn net.Conn) (*client, error) {
	cfg := &thrift.TConfiguration{
		SocketTimeout: c.Timeout, ConnectTimeout: c.Timeout, TBinaryStrictRead: new(true), TBinaryStrictWrite: new(true),
		MaxFrameSize: thrift.DEFAULT_MAX_MESSAGE_SIZE, // an answer is a frame
	}
	socket := thrift.NewTSocketFromConnConf(conn, cfg)
	var transport thrift.TTransport = thrift.NewTBufferedTransport(socket, 64<<10)
	if c.SASL != nil {
		if err := c.SASL.prove(conn, c.Timeout); err != nil {
			return nil, err
		}
		transport = thrift.NewTFramedTransportConf(socket, cfg)
	}
	p := thrift.NewTBinaryProtocolConf(transport, cfg)
	m := &client{ThriftHiveMetastoreClient: hms.NewThriftHiveMetastoreClient(thrift.NewTStandardClient(p, p)), conn: conn}
	if c.Username == "" {
		return m, nil
	}
	if _, err := m.SetUgi(ctx, c.Username, nil); err != nil {
		return nil, fmt.Errorf("saying that it is %s: %w", c.Username, err)
	}
	return m, nil
}

// The states of a negotiation in Thrift's SASL transport, which a message begins with.
const (
	saslStart    = 1
	saslOK       = 2
	saslComplete = 5
)

// maxSASL bounds a message of the negotiation: a server that is none of Thrift's may seem to announce more than memory.
const maxSASL = 1 << 20

// prove goes through the negotiation of Thrift's SASL transport with the mechanism PLAIN (RFC 4616).
func (s *SASL) prove(conn net.Conn, timeout time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	var out []byte
	for _, m := range []struct {
		state byte
		text  string
	}{{saslStart, "PLAIN"}, {saslOK, "\x00" + s.Username + "\x00" + s.Password.Reveal()}} {
		out = binary.BigEndian.AppendUint32(append(out, m.state), uint32(len(m.text)))
		out = append(out, m.text...)
	}
	if _, err := conn.Write(out); err != nil {
		return fmt.Errorf("proving to be %s: %w", s.Username, err)
	}
	header := make([]byte, 5)
	if _, err := io.ReadFull(conn, header); err != nil {
		return fmt.Errorf("proving to be %s (is it a metastore with metastore.authentication?): %w", s.Username, err)
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > maxSASL {
		return fmt.Errorf("proving to be %s: the answer is none of SASL: the metastore wants TLS (hive.tls), or no SASL (hive.sasl)", s.Username)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(conn, text); err != nil {
		return fmt.Errorf("proving to be %s: %w", s.Username, err)
	}
	if header[0] != saslComplete {
		return fmt.Errorf("it does not believe that this is %s, see hive.sasl: %q", s.Username, text)
	}
	return conn.SetDeadline(time.Time{})
}
