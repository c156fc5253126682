package flow

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestCheckLive tries addresses where somebody answers, where nobody listens, and where somebody listens and says nothing.
func TestCheckLive(t *testing.T) {
	t.Parallel()
	serving := binary.New(t, binary.Build(t), orders)
	serving.Start(t, nil, "run")
	var door struct{ Kafka, Hive string }
	binary.Eventually(t, "a broker and a metastore", func() bool {
		s := statusOf(t, serving)
		door.Kafka, door.Hive = s.Listen.Kafka, s.Listen.Hive
		return door.Kafka != "" && door.Hive != ""
	})
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1}`))
		_, _, _ = conn.ReadMessage()
	})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}

	file := func(kafka, hive, websocket string) binary.Pipeline {
		return binary.New(t, serving.Bin, fmt.Sprintf(`
database: db
kafka: {brokers: [%q]}
hive: {uris: ["thrift://%s"]}
sources:
  orders: {file: {path: "in/*.csv"}}
  trades: {websocket: {url: %q}}
  hooks: {push: {}}
`, kafka, hive, websocket))
	}
	good := file(door.Kafka, door.Hive, feed)
	good.Write(t, "in/a.csv", []byte("a\n1\n"))
	out := good.Run(t, nil, "check", "--live").Must(t)
	for _, want := range []string{
		"\nkafka " + door.Kafka + ": ok, ", " topics, 2 of the pipeline's will be made\n", "\nhive thrift://" + door.Hive + ": ok\n", "headwater-data: ok, it will be made\n",
		"\nsource orders: ok, an item came\n", "\nsource trades: ok, an item came\n", "\nsource hooks: ok, it waits at /ingest/hooks\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if entries, err := os.ReadDir(good.Dir); err != nil || len(entries) != 2 {
		t.Errorf("it has left something: %v, %v", entries, err)
	}
	bad := file(nobody, silent.Addr().String(), "ws://"+nobody+"/feed")
	bad.Write(t, "headwater-data", []byte("a file"))
	r := bad.Run(t, nil, "check", "--live", "--wait", "5s")
	for _, want := range []string{
		"\nkafka " + nobody + ": FAILED: ", "\nhive thrift://" + silent.Addr().String() + ": FAILED: there was no answer within ", "headwater-data: FAILED: ", "is a file\n",
		"\nsource orders: FAILED: ", "\nsource trades: FAILED: connecting to ws://" + nobody,
	} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, r.Stdout)
		}
	}
	if r.Code != 4 || strings.Contains(r.Stderr, "headwater check:") {
		t.Errorf("it ends with %d, and says twice: %s", r.Code, r.Stderr)
	}
	if r := bad.Run(t, nil, "check", "--live", "--json"); r.Code != 2 {
		t.Errorf("two kinds of report end with %d", r.Code)
	}
}

// TestExpiredCertificates has each kind of source that speaks TLS meet a server whose certificate has ended.
func TestExpiredCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fixture.CertificatesUntil(t, dir, time.Now().Add(-time.Hour))
	before := map[string]func(net.Conn, *bufio.Reader){ // what is said before TLS begins
		"nats": func(c net.Conn, _ *bufio.Reader) {
			_, _ = fmt.Fprint(c, `INFO {"server_id":"x","version":"2.10.0","tls_required":true,"max_payload":1048576,"headers":true}`+"\r\n")
		},
		"ftp": func(c net.Conn, in *bufio.Reader) {
			_, _ = fmt.Fprint(c, "220 ready\r\n")
			_, _ = in.ReadString('\n')
			_, _ = fmt.Fprint(c, "234 go on\r\n")
		},
	}
	sources := map[string]string{
		"amqp":      `{url: "amqps://guest@%s", password: guest, queue: q, tls: {ca: ca.pem}}`,
		"ftp":       `{url: "ftp://user@%s/*.csv", password: secret, tls: explicit, ca: ca.pem}`,
		"kafka":     `{brokers: ["%s"], topics: [t], tls: {ca: ca.pem}}`,
		"mqtt":      `{url: "mqtts://user@%s", password: secret, topics: [t], tls: {ca: ca.pem}}`,
		"nats":      `{url: "tls://%s", stream: S, tls: {ca: ca.pem}}`,
		"redis":     `{url: "rediss://%s", stream: s, tls: {ca: ca.pem}}`,
		"rest":      `{url: "https://%s/", ca: ca.pem}`,
		"websocket": `{url: "wss://%s/", ca: ca.pem}`,
	}
	var yaml strings.Builder
	yaml.WriteString("database: db\nsources:\n")
	for kind, source := range sources {
		fmt.Fprintf(&yaml, "  my_%s: {%s: "+source+"}\n", kind, kind, greetTLS(t, dir, before[kind]))
	}
	p := binary.New(t, binary.Build(t), yaml.String())
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	p.Write(t, "ca.pem", authority)
	r := p.Run(t, nil, "check", "--live", "--wait", "20s")
	if r.Code == 0 {
		t.Errorf("it ends with %d:\n%s", r.Code, r.Stdout)
	}
	for line := range strings.Lines(r.Stdout) {
		if kind, is := strings.CutPrefix(line, "source my_"); is {
			kind, _, _ = strings.Cut(kind, ":")
			delete(sources, kind)
			if !strings.Contains(line, "certificate has expired") {
				t.Errorf("%s: %s", kind, line)
			}
		}
	}
	if len(sources) > 0 {
		t.Errorf("nothing is said of %v:\n%s", sources, r.Stdout)
	}
}

// greetTLS is the address of a server that shows its certificate, and goes.
func greetTLS(t *testing.T, dir string, before func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				if before != nil {
					before(conn, bufio.NewReader(conn))
				}
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{own}}).Handshake()
			}()
		}
	}()
	return l.Addr().String()
}
