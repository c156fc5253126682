package flow

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"headwater/tests/binary"
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
	feed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err == nil {
			_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1}`))
			_, _, _ = conn.ReadMessage()
			_ = conn.Close()
		}
	}))
	defer feed.Close()
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
	good := file(door.Kafka, door.Hive, "ws"+strings.TrimPrefix(feed.URL, "http"))
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
