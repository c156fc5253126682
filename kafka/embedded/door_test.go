package embedded

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"headwater/internal/access"
	"headwater/internal/setting"
	"headwater/internal/trust"
)

// refusals are those of a door.
type refusals struct {
	mu  sync.Mutex
	all []access.Refusal
}

func (r *refusals) add(one access.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
}

// of has what was refused to somebody, each once.
func (r *refusals) of(who string) (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.all {
		if one.Who == who {
			all = append(all, string(one.Reason)+" "+one.What)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// guardedBroker is a broker with a door: ann reads, otto operates, bella does both, nick nothing.
func guardedBroker(t *testing.T, dir string, change func(*Config)) (*Broker, *refusals) {
	t.Helper()
	r := &refusals{}
	cfg := Config{Dir: dir, Addr: "127.0.0.1:0", Door: &Door{
		Policy: access.New(access.Config{
			Users: map[string]access.User{"ann": {Password: "ann's, =,"}, "otto": {Password: "otto's"}, "bella": {Password: "bella's"}, "nick": {Password: "nick's"}},
			Raw:   []string{"ann", "bella"}, Operate: []string{"otto", "bella"}, Tables: []string{"nick"},
		}),
		Own: "own secret", Refused: r.add,
	}}
	if change != nil {
		change(&cfg)
	}
	b, err := Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b, r
}

func as(name, password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: name, Pass: password}.AsSha512Mechanism())
}

func itselfAt(t *testing.T, b *Broker) *kgo.Client {
	t.Helper()
	return client(t, b.Addr(), as(access.Itself, "own secret"), kgo.Dialer(b.Dial))
}

// tried says of each thing that can be asked of a broker whether it is done, or by which code it is refused.
func tried(t *testing.T, b *Broker, auth kgo.Opt) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cl := client(t, b.Addr(), auth, kgo.RequestRetries(0), kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.MaxVersions(kversion.V2_7_0())) // whose requests name topics
	adm := kadm.NewClient(cl)
	got := map[string]string{}
	note := func(what string, err error) {
		switch code, is := errors.AsType[*kerr.Error](err); {
		case is:
			got[what] = code.Message
		case err != nil:
			got[what] = err.Error()
		default:
			got[what] = "done"
		}
	}
	listed, err := adm.ListTopics(ctx, "orders_raw")
	if err == nil {
		err = listed.Error()
	}
	note("describe topic", err)

	fetch := kmsg.NewPtrFetchRequest()
	fetch.Version, fetch.MaxBytes = 11, 1<<20
	of := kmsg.NewFetchRequestTopic()
	of.Topic = "orders_raw"
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 1 << 20
	of.Partitions = append(of.Partitions, part)
	fetch.Topics = append(fetch.Topics, of)
	fetched, err := fetch.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(fetched.Topics[0].Partitions[0].ErrorCode)
	}
	note("fetch", err)

	note("produce", cl.ProduceSync(ctx, &kgo.Record{Topic: "orders_raw", Value: []byte("x")}).FirstErr())
	note("produce cursors", cl.ProduceSync(ctx, &kgo.Record{Topic: "headwater_cursors", Value: []byte("x")}).FirstErr())

	_, err = adm.CreateTopic(ctx, 1, 1, nil, "made_"+fmt.Sprint(time.Now().UnixNano()))
	note("create topic", err)
	deleted, err := adm.DeleteTopic(ctx, "spare")
	if err == nil {
		err = deleted.Err
	}
	note("delete topic", err)
	records, err := adm.DeleteRecords(ctx, kadm.Offsets{"orders_raw": {0: {Topic: "orders_raw", At: 1}}})
	if err == nil {
		err = records.Error()
	}
	note("delete records", err)
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "min.insync.replicas", Value: new("1")}}, "orders_raw")
	if err == nil {
		err = altered[0].Err
	}
	note("alter topic", err)
	for _, group := range []string{"theirs", "headwater-land"} {
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Group, commit.Generation = group, -1
		of := kmsg.NewOffsetCommitRequestTopic()
		of.Topic = "orders_raw"
		of.Partitions = append(of.Partitions, kmsg.NewOffsetCommitRequestTopicPartition())
		commit.Topics = append(commit.Topics, of)
		committed, err := commit.RequestWith(ctx, cl.Broker(0))
		if err == nil {
			err = kerr.ErrorForCode(committed.Topics[0].Partitions[0].ErrorCode)
		}
		note("commit as "+group, err)
	}
	acls, err := adm.CreateACLs(ctx, kadm.NewACLs().Topics("*").Allow("User:*").AllowHosts("*").Operations(kadm.OpAll))
	if err == nil {
		err = acls[0].Err
	}
	note("let everybody in", err)
	users, err := adm.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: "mallory", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "x"}})
	if err == nil {
		err = users.Error()
	}
	note("add user", err)
	return got
}

// TestRoles has each role ask for everything; the broker answers with Kafka's own codes.
func TestRoles(t *testing.T) {
	b, refused := guardedBroker(t, t.TempDir(), nil)
	own := itselfAt(t, b)
	if _, err := kadm.NewClient(own).CreateTopics(t.Context(), 1, 1, nil, "orders_raw", "headwater_cursors", "spare"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := own.ProduceSync(t.Context(), &kgo.Record{Topic: "orders_raw", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	const noTopic, noGroup, noCluster = "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"
	nothing := map[string]string{
		"describe topic": noTopic, "fetch": noTopic, "produce": noTopic, "produce cursors": noTopic, "create topic": noTopic, "delete topic": noTopic,
		"delete records": noTopic, "alter topic": noTopic, "commit as theirs": noGroup, "commit as headwater-land": noGroup, "let everybody in": noCluster, "add user": noCluster,
	}
	may := func(what ...string) map[string]string {
		all := map[string]string{}
		for k, v := range nothing {
			all[k] = v
			if slices.Contains(what, k) {
				all[k] = "done"
			}
		}
		return all
	}
	reading := []string{"describe topic", "fetch", "commit as theirs"}
	operating := []string{"describe topic", "produce", "create topic", "alter topic"}
	for name, c := range map[string]struct {
		password string
		want     map[string]string
	}{
		"nick":  {"nick's", nothing},
		"ann":   {"ann's, =,", may(reading...)},
		"otto":  {"otto's", may(operating...)},
		"bella": {"bella's", may(slices.Concat(reading, operating)...)},
	} {
		if diff := cmp.Diff(c.want, tried(t, b, as(name, c.password))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
	if err := client(t, b.Addr(), as("otto", "otto's"), kgo.RecordRetries(0)).ProduceSync(t.Context(), &kgo.Record{Topic: "orders_raw", Value: []byte("x")}).FirstErr(); err != nil {
		t.Errorf("an idempotent producer: %v", err)
	}
	want := []string{"forbidden AlterConfigs", "forbidden AlterUserSCRAMCredentials", "forbidden CreateACLs", "forbidden CreateTopics", "forbidden DeleteRecords", "forbidden DeleteTopics", "forbidden IncrementalAlterConfigs", "forbidden InitProducerID", "forbidden Produce"}
	for _, one := range refused.of("ann") {
		if !slices.Contains(want, one) {
			t.Errorf("ann's refusals have %s", one)
		}
	}
	if got := refused.of("ann"); len(got) < 5 {
		t.Errorf("of ann, who was refused a lot, only %q is told", got)
	}
	if got := tried(t, b, kgo.SASL(scram.Auth{User: access.Itself, Pass: "own secret"}.AsSha256Mechanism())); got["delete records"] != "done" || got["produce cursors"] != "done" || got["commit as headwater-land"] != "done" {
		t.Errorf("the process itself: %v", got)
	}
	if got := refused.of(access.Itself); len(got) != 0 {
		t.Errorf("the process itself was refused %q", got)
	}
}

// TestNaming: who cannot prove a name gets Kafka's code for that, whether there is such a user or not.
func TestNaming(t *testing.T) {
	b, refused := guardedBroker(t, t.TempDir(), nil)
	for name, mechanism := range map[string]sasl.Mechanism{
		"ann":       scram.Auth{User: "ann", Pass: "otto's"}.AsSha256Mechanism(),
		"otto":      scram.Auth{User: "otto", Pass: "x"}.AsSha512Mechanism(),
		"mallory":   scram.Auth{User: "mallory", Pass: "x"}.AsSha512Mechanism(),
		"everyone":  scram.Auth{User: "everyone", Pass: "x"}.AsSha512Mechanism(),
		"headwater": scram.Auth{User: "headwater", Pass: "x"}.AsSha512Mechanism(),
		"nick":      scram.Auth{User: "nick", Pass: "nick's", Zid: "bella"}.AsSha512Mechanism(),
	} {
		err := client(t, b.Addr(), kgo.SASL(mechanism), kgo.RequestRetries(0)).Ping(t.Context())
		if !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := refused.of(name); !slices.Equal(got, []string{"unproved SASLAuthenticate"}) {
			t.Errorf("%s: the refusals are %q", name, got)
		}
	}
	if err := client(t, b.Addr(), kgo.SASL(plain.Auth{User: "ann", Pass: "ann's, =,"}.AsMechanism()), kgo.RequestRetries(0)).Ping(t.Context()); !errors.Is(err, kerr.UnsupportedSaslMechanism) {
		t.Errorf("a password in clear: got %v", err)
	}
	if err := client(t, b.Addr(), kgo.RequestRetries(0)).Ping(t.Context()); err == nil {
		t.Error("somebody without a name is let in")
	}
	if got := refused.of(""); !slices.Equal(got, []string{"unnamed Metadata"}) {
		t.Errorf("without a name, the refusals are %q", got)
	}
}

// TestReaderMakesNoTopic: a client that reads asks to have topics made that are not there.
func TestReaderMakesNoTopic(t *testing.T) {
	b, _ := guardedBroker(t, t.TempDir(), nil)
	for name, password := range map[string]string{"ann": "ann's, =,", "nick": "nick's"} {
		cl := client(t, b.Addr(), as(name, password), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
		for _, version := range []int16{4, 8, 9, 12} {
			req := kmsg.NewPtrMetadataRequest()
			req.Version, req.AllowAutoTopicCreation = version, true
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = new("by_" + name)
			req.Topics = append(req.Topics, topic)
			if _, err := req.RequestWith(t.Context(), cl); err != nil {
				t.Errorf("%s, version %d: %v", name, version, err)
			}
		}
	}
	topics, err := kadm.NewClient(itselfAt(t, b)).ListTopics(t.Context())
	if err != nil || len(topics) != 0 {
		t.Errorf("there are %v, %v", topics.Names(), err)
	}
}

// TestPasswordsChange: what the file says when the broker starts counts, also in a folder in which others counted before.
func TestPasswordsChange(t *testing.T) {
	dir := t.TempDir()
	open := func(t *testing.T, users map[string]access.User, raw ...string) *Broker {
		b, _ := guardedBroker(t, dir, func(c *Config) { c.Door.Policy = access.New(access.Config{Users: users, Raw: raw}) })
		return b
	}
	list := func(b *Broker, name, password string) error {
		cl := client(t, b.Addr(), as(name, password), kgo.RequestRetries(0))
		topics, err := kadm.NewClient(cl).ListTopics(t.Context(), "t")
		if err != nil {
			return err
		}
		return topics.Error()
	}
	b := open(t, map[string]access.User{"ann": {Password: "old"}, "bob": {Password: "bob's"}}, "ann")
	if _, err := kadm.NewClient(itselfAt(t, b)).CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := list(b, "ann", "old"); err != nil {
		t.Error(err)
	}
	if err := list(b, "bob", "bob's"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("got %v", err)
	}
	_ = b.Close()
	b = open(t, map[string]access.User{"ann": {Password: "new"}, "bob": {Password: "bob's"}}, "bob")
	if err := list(b, "ann", "old"); !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Errorf("the old password: got %v", err)
	}
	if err := list(b, "ann", "new"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("who may no more: got %v", err)
	}
	if err := list(b, "bob", "bob's"); err != nil {
		t.Errorf("who may now: got %v", err)
	}
	_ = b.Close()
	plainly := opened(t, dir, "127.0.0.1:0") // without a door again
	if topics, err := kadm.NewClient(client(t, plainly.Addr())).ListTopics(t.Context()); err != nil || !topics.Has("t") {
		t.Errorf("got %v, %v", topics, err)
	}
}

// selfSigned is a certificate for 127.0.0.1.
func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestEncrypted: with a certificate a password may be sent, and the process trusts its own certificate alone.
func TestEncrypted(t *testing.T) {
	cert, other := selfSigned(t), selfSigned(t)
	b, _ := guardedBroker(t, t.TempDir(), func(c *Config) { c.Certificate = &cert })
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	trusting := kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	for what, mechanism := range map[string]sasl.Mechanism{
		"PLAIN": plain.Auth{User: "ann", Pass: "ann's, =,"}.AsMechanism(),
		"SCRAM": scram.Auth{User: "ann", Pass: "ann's, =,"}.AsSha256Mechanism(),
	} {
		if err := client(t, b.Addr(), trusting, kgo.SASL(mechanism), kgo.RequestRetries(0)).Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, auth := range map[string]plain.Auth{
		"a wrong password": {User: "ann", Pass: "x"}, "a name that there is not": {User: "mallory", Pass: "x"}, "the process's name": {User: access.Itself, Pass: "own secret"},
		"another's name": {User: "ann", Pass: "ann's, =,", Zid: "bella"},
	} {
		if err := client(t, b.Addr(), trusting, kgo.SASL(auth.AsMechanism()), kgo.RequestRetries(0)).Ping(t.Context()); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if err := itselfAt(t, b).Ping(t.Context()); err != nil {
		t.Errorf("the process itself: %v", err)
	}
	conn, err := (&tls.Dialer{Config: trust.Only(other.Certificate[0])}).DialContext(t.Context(), "tcp", b.Addr())
	if err == nil {
		_ = conn.Close()
		t.Error("a certificate of the same names and another key is trusted")
	}
	if err := client(t, b.Addr(), as("ann", "ann's, =,"), kgo.RequestRetries(0)).Ping(t.Context()); err == nil {
		t.Error("an open connection is answered")
	}
}

// TestPlain has what no client would send.
func TestPlain(t *testing.T) {
	d := newDoorkeeper(Door{Policy: access.New(access.Config{Users: map[string]access.User{"ann": {Password: "a"}}})})
	for given, in := range map[string]bool{
		"\x00ann\x00a": true, "ann\x00ann\x00a": true, "\x00ann\x00": false, "\x00mallory\x00": false, "\x00headwater\x00": false, "\x00\x00": false, "": false, "ann": false, "bob\x00ann\x00a": false,
		"\x00ann\x00a\x00": false,
	} {
		var id access.Identity
		if _, done, err := d.plain(&id)([]byte(given)); done != in || (err == nil) != in {
			t.Errorf("%q: %t, %v", given, done, err)
		}
	}
}

// TestFirstMessages has what no client would send.
func TestFirstMessages(t *testing.T) {
	d := newDoorkeeper(Door{Policy: access.New(access.Config{Users: map[string]access.User{"nick": {Password: "n"}}})})
	for given, taken := range map[string]bool{
		"n,,n=nick,r=abc": true, "y,,n=nick,r=abc": true, "n,a=nick,n=nick,r=abc": true, "n,,n=mallory,r=abc": true,
		"n,a=bella,n=nick,r=abc": false, "n,a=headwater,n=nick,r=abc": false, "p=tls-unique,,n=nick,r=abc": false, "n,,n=nick,r=abc,tokenauth=true": false,
		"n,,n=nick,r=": false, "n,,m=x,n=nick,r=abc": false, "": false, "n": false, "n,,": false,
	} {
		var id access.Identity
		talk := d.scram("SCRAM-SHA-512", sha512.New, &id)
		answer, done, err := talk([]byte(given))
		if (err == nil) != taken || done {
			t.Errorf("%q: %q, %t, %v", given, answer, done, err)
		}
		if err == nil && !strings.HasPrefix(string(answer), "r=abc") {
			t.Errorf("%q: %q", given, answer)
		}
		if err != nil {
			continue
		}
		_, nonce, _ := strings.Cut(strings.Split(string(answer), ",")[0], "=")
		for _, last := range []string{"", "c=biws,r=" + nonce + ",p=", "c=biws,r=" + nonce + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 64)), "c=biws,r=abc,p=AAAA"} {
			if _, done, err := talk([]byte(last)); done || err == nil || id.Scopes != nil {
				t.Errorf("%q and then %q lets in", given, last)
			}
		}
	}
}

// TestHostile sends what no client sends; who comes after it is served.
func TestHostile(t *testing.T) {
	b, _ := guardedBroker(t, t.TempDir(), nil)
	request := func(key, version int16, body ...byte) []byte {
		out := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
		out = binary.BigEndian.AppendUint16(out, uint16(key))
		out = binary.BigEndian.AppendUint16(out, uint16(version))
		return append(append(out, 0, 0, 0, 1, 0xff, 0xff), body...)
	}
	handshake := request(17, 1, append([]byte{0, 13}, "SCRAM-SHA-256"...)...)
	for what, bytes := range map[string][]byte{
		"nothing":                   {},
		"a size without end":        {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0},
		"no size":                   make([]byte, 12),
		"a key that there is not":   request(999, 0),
		"a negative key":            request(-1, 0),
		"a request without a name":  request(0, 7, 1, 2, 3),
		"a proof without a name":    request(36, 1, 0, 0, 0, 1, 'x'),
		"a handshake of version 0":  request(17, 0, append([]byte{0, 5}, "PLAIN"...)...),
		"a handshake that is short": request(17, 1, 0, 100, 'x'),
		"nonsense for a proof":      append(slices.Clone(handshake), request(36, 1, 0, 0, 0, 3, 'x', 0, 0xff)...),
		"half a request":            request(18, 0)[:11],
		"http":                      []byte("GET / HTTP/1.1\r\nHost: kafka\r\n\r\n"),
	} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(bytes)
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the broker does not hang up: %v", what, err)
		}
		_ = conn.Close()
	}
	for _, key := range []int16{999, -1, 17, 36} { // who is known can send nonsense, too, at which kfake would end the process
		mine, theirs := net.Pipe()
		go func() { _, _ = theirs.Write(request(key, 1)); _ = theirs.Close() }()
		v := &visitor{Conn: mine, door: newDoorkeeper(Door{Refused: func(access.Refusal) {}}), known: true, id: access.Identity{Name: "nick"}}
		if err := v.next(); err == nil {
			t.Errorf("a request with the key %d goes to the broker", key)
		}
		_, _ = io.Copy(io.Discard, mine)
	}
	if err := itselfAt(t, b).Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	var s setting.Secret = "own secret"
	if text := fmt.Sprintf("%+v", Door{Own: s}); strings.Contains(text, "own secret") {
		t.Errorf("a door prints its secret: %s", text)
	}
}
