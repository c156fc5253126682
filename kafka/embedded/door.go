package embedded

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/access"
	"headwater/internal/setting"
)

// kfake has SASL and ACLs, but lets in by PLAIN whoever leaves out the password of a user it does not know, answers a wrong password by hanging up, runs what
// changes requests before it asks who sent them, and ends the process at a request that it does not know. So a door stands before it: it speaks SASL
// itself, lets only whole requests through whose sender it knows, and tells kfake's ACLs what the sender may by the only thing that they are told of a connection
// without kfake's SASL, its host.

// Door says who may come in.
type Door struct {
	// Policy has the users.
	Policy *access.Policy
	// Own is the password of the process itself, whose name is access.Itself.
	Own setting.Secret
	// Refused is told of everyone who is refused.
	Refused func(access.Refusal)
}

const (
	// patience is how long somebody may take to say who they are.
	patience = 30 * time.Second
	// maxNaming bounds a request of somebody who has not said so yet, maxRequest those of others: what is in them is one batch of messageBytes at most.
	maxNaming  = 64 << 10
	maxRequest = 128 << 20
)

// guarded is a listener whose connections are asked who they are.
type guarded struct {
	net.Listener
	host string // by which clients reach it
	tls  *tls.Config
	door *doorkeeper
}

// doorkeeper is a Door at work.
type doorkeeper struct {
	Door
	key []byte // of the salts, which are others in each process

	mu   sync.Mutex
	kept map[string]keys // by mechanism and name
}

func newDoorkeeper(d Door) *doorkeeper {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &doorkeeper{Door: d, key: key, kept: map[string]keys{}}
}

// Accept implements net.Listener. Nothing is read here: a connection that says nothing holds nobody up.
func (g *guarded) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	for err != nil && !errors.Is(err, net.ErrClosed) { // no more file descriptors, say, at which kfake would accept nobody any more
		time.Sleep(100 * time.Millisecond)
		c, err = g.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	from := c.RemoteAddr().String()
	if g.tls != nil {
		c = tls.Server(c, g.tls)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	v := &visitor{Conn: c, door: g.door, from: from, encrypted: g.tls != nil, answered: make(chan struct{}, 1), closed: make(chan struct{})}
	v.role.Store(&nobody)
	return v, nil
}

// Addr implements net.Listener. It is what the broker tells clients to connect to.
func (g *guarded) Addr() net.Addr {
	_, port, _ := net.SplitHostPort(g.Listener.Addr().String())
	return role(net.JoinHostPort(g.host, port))
}

// visitor is a connection. One goroutine reads from it, another one writes.
type visitor struct {
	net.Conn
	door      *doorkeeper
	from      string
	encrypted bool
	role      atomic.Pointer[role]

	known     bool            // the visitor has said who they are
	id        access.Identity // who
	naming    func(given []byte) (answer []byte, done bool, err error)
	told      map[int16]bool // what they were refused, and the log has
	forward   []byte         // goes to the broker next
	left      int            // bytes of a request behind it that go through unread
	waits     bool           // for the broker's versions, which must come before an answer of ours
	versions  atomic.Int32   // one more than the version in which they are asked for; 0 if they are not
	answered  chan struct{}
	closed    chan struct{}
	closeOnce sync.Once
}

// RemoteAddr implements net.Conn: it is the host that the ACLs are told.
func (v *visitor) RemoteAddr() net.Addr { return *v.role.Load() }

// Close implements net.Conn.
func (v *visitor) Close() error {
	v.closeOnce.Do(func() { close(v.closed) })
	return v.Conn.Close()
}

// Write implements net.Conn; the broker writes an answer at a time.
func (v *visitor) Write(p []byte) (int, error) {
	asked := v.versions.Swap(0)
	if asked == 0 {
		return v.Conn.Write(p)
	}
	if _, err := v.Conn.Write(withHandshake(p, int16(asked-1))); err != nil {
		return 0, err
	}
	v.answered <- struct{}{}
	return len(p), nil
}

// withHandshake has the broker's versions say that a handshake may have the oldest version: librdkafka takes a broker that does not for one without SASL. It
// never sends it, because the broker knows newer ones.
func withHandshake(answer []byte, version int16) []byte {
	const head = 8 // size and correlation
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.SetVersion(version)
	if len(answer) < head || resp.ReadFrom(answer[head:]) != nil || resp.ErrorCode != 0 {
		return answer // a version that it does not know, which it says in the oldest
	}
	for i, k := range resp.ApiKeys {
		if k.ApiKey == int16(kmsg.SASLHandshake) {
			resp.ApiKeys[i].MinVersion = 0
		}
	}
	out := resp.AppendTo(append([]byte{}, answer[:head]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// Read implements net.Conn.
func (v *visitor) Read(p []byte) (int, error) {
	for len(v.forward) == 0 && v.left == 0 {
		if err := v.next(); err != nil {
			return 0, err
		}
	}
	if len(v.forward) > 0 {
		n := copy(p, v.forward)
		v.forward = v.forward[n:]
		return n, nil
	}
	n, err := v.Conn.Read(p[:min(len(p), v.left)])
	v.left -= n
	return n, err
}

// request is one, as far as it was read.
type request struct {
	key, version int16
	correlation  int32
	bytes        []byte // from its size on
}

// next takes the next request.
func (v *visitor) next() error {
	head := make([]byte, 12)
	if _, err := io.ReadFull(v.Conn, head); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head))
	r := request{int16(binary.BigEndian.Uint16(head[4:])), int16(binary.BigEndian.Uint16(head[6:])), int32(binary.BigEndian.Uint32(head[8:])), head}
	limit := int64(maxNaming)
	switch {
	case v.id.Name == access.Itself && v.known:
		limit = math.MaxInt32 // kafka.max_record_bytes may be large
	case v.known:
		limit = maxRequest
	}
	if size < 8 || size > limit || kmsg.RequestForKey(r.key) == nil {
		return fmt.Errorf("a request of %d bytes with the key %d is none of Kafka's", size, r.key)
	}
	v.left = int(size) - 8
	switch {
	case !v.known:
		return v.name(r)
	case r.key == int16(kmsg.SASLHandshake) || r.key == int16(kmsg.SASLAuthenticate):
		return errors.New("who has said who they are does not say so again")
	}
	v.ask(r.key)
	if r.key == int16(kmsg.Metadata) && !v.id.May(access.Operate) {
		return v.withoutCreation(r)
	}
	v.forward = r.bytes
	return nil
}

// whole reads the rest of a request.
func (v *visitor) whole(r *request) error {
	rest := make([]byte, v.left)
	if _, err := io.ReadFull(v.Conn, rest); err != nil {
		return err
	}
	v.left = 0
	r.bytes = append(r.bytes, rest...)
	return nil
}

// body reads what a request says, and gives its header.
func (r request) body(into kmsg.Request) (header []byte, err error) {
	into.SetVersion(r.version)
	reader := kbin.Reader{Src: r.bytes[12:]}
	reader.NullableString() // the client's ID
	if into.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	if !reader.Ok() {
		return nil, errors.New("the request ends in its header")
	}
	return r.bytes[:len(r.bytes)-len(reader.Src)], into.ReadFrom(reader.Src)
}

// withoutCreation lets a request for metadata through without what it asks to have made.
func (v *visitor) withoutCreation(r request) error {
	if err := v.whole(&r); err != nil {
		return err
	}
	m := kmsg.NewPtrMetadataRequest()
	header, err := r.body(m)
	if err != nil {
		return err
	}
	m.AllowAutoTopicCreation = false
	v.forward = m.AppendTo(append([]byte{}, header...))
	binary.BigEndian.PutUint32(v.forward, uint32(len(v.forward)-4))
	return nil
}

// ask notes what the ACLs will refuse.
func (v *visitor) ask(key int16) {
	scopes, known := needs[kmsg.Key(key)]
	if v.id.Name == access.Itself || known && (len(scopes) == 0 || v.id.May(scopes...)) || v.told[key] {
		return
	}
	if v.told == nil {
		v.told = map[int16]bool{}
	}
	v.told[key] = true // clients ask again and again
	v.door.Refused(access.Refusal{Door: access.Kafka, Reason: access.Forbidden, Who: v.id.Name, What: kmsg.NameForKey(key), From: v.from})
}

// name takes a request of somebody who has not said who they are.
func (v *visitor) name(r request) error {
	if err := v.whole(&r); err != nil {
		return err
	}
	if v.waits {
		select {
		case <-v.answered:
			v.waits = false
		case <-v.closed:
			return net.ErrClosed
		}
	}
	switch kmsg.Key(r.key) {
	case kmsg.ApiVersions:
		v.forward, v.waits = r.bytes, true
		v.versions.Store(int32(r.version) + 1)
		return nil
	case kmsg.SASLHandshake:
		req := kmsg.NewPtrSASLHandshakeRequest()
		if _, err := r.body(req); err != nil {
			return err
		}
		return v.handshake(r, req)
	case kmsg.SASLAuthenticate:
		req := kmsg.NewPtrSASLAuthenticateRequest()
		if _, err := r.body(req); err != nil {
			return err
		}
		return v.authenticate(r, req)
	}
	return v.refuse(access.Unnamed, "", kmsg.NameForKey(r.key))
}

func (v *visitor) refuse(why access.Reason, who, what string) error {
	v.door.Refused(access.Refusal{Door: access.Kafka, Reason: why, Who: access.Claimed(who), What: what, From: v.from})
	return fmt.Errorf("%s: %s", what, why)
}

// answer writes a response of ours.
func (v *visitor) answer(r request, resp kmsg.Response) error {
	resp.SetVersion(r.version)
	out := make([]byte, 8, 64)
	if resp.IsFlexible() {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	binary.BigEndian.PutUint32(out[4:], uint32(r.correlation))
	_, err := v.Conn.Write(out)
	return err
}

func (v *visitor) handshake(r request, req *kmsg.SASLHandshakeRequest) error {
	resp := kmsg.NewPtrSASLHandshakeResponse()
	resp.SupportedMechanisms = []string{"SCRAM-SHA-512", "SCRAM-SHA-256"}
	if v.encrypted {
		resp.SupportedMechanisms = append(resp.SupportedMechanisms, "PLAIN")
	}
	switch {
	case r.version != 1: // with 0, what follows is no request
		resp.ErrorCode = kerr.UnsupportedVersion.Code
	case req.Mechanism == "SCRAM-SHA-256":
		v.naming = v.door.scram(req.Mechanism, sha256.New, &v.id)
	case req.Mechanism == "SCRAM-SHA-512":
		v.naming = v.door.scram(req.Mechanism, sha512.New, &v.id)
	case req.Mechanism == "PLAIN" && v.encrypted: // else the password could be read on its way
		v.naming = v.door.plain(&v.id)
	default:
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
	}
	return v.answer(r, resp)
}

func (v *visitor) authenticate(r request, req *kmsg.SASLAuthenticateRequest) error {
	resp := kmsg.NewPtrSASLAuthenticateResponse()
	if v.naming == nil {
		resp.ErrorCode = kerr.IllegalSaslState.Code
		return errors.Join(v.refuse(access.Unnamed, "", kmsg.NameForKey(r.key)), v.answer(r, resp))
	}
	answer, done, err := v.naming(req.SASLAuthBytes)
	if err != nil {
		who := v.id.Name
		v.id = access.Identity{}
		resp.ErrorCode, resp.ErrorMessage = kerr.SaslAuthenticationFailed.Code, new("there is no such user with that password")
		return errors.Join(v.refuse(access.Unproved, who, kmsg.NameForKey(r.key)), v.answer(r, resp))
	}
	if resp.SASLAuthBytes = answer; done {
		v.known, v.naming = true, nil
		v.role.Store(new(roleOf(v.id)))
		if err := v.Conn.SetDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return v.answer(r, resp)
}

// plain is SASL PLAIN (RFC 4616). Who is whoever claims to be there, until it is done.
func (d *doorkeeper) plain(who *access.Identity) func([]byte) ([]byte, bool, error) {
	return func(given []byte) ([]byte, bool, error) {
		parts := strings.Split(string(given), "\x00")
		if len(parts) != 3 || parts[0] != "" && parts[0] != parts[1] {
			return nil, false, errors.New("not a name and a password")
		}
		id, ok := d.Policy.Login(parts[1], parts[2])
		if *who = id; !ok {
			who.Name = parts[1]
			return nil, false, errors.New("the wrong password")
		}
		return nil, true, nil
	}
}

func (d *doorkeeper) user(name string) (setting.Secret, access.Identity, bool) {
	if name == access.Itself {
		return d.Own, access.Own(), true
	}
	return d.Policy.Password(name)
}
