package look

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"headwater/internal/builtin"
)

// feed is the address of a server that does so with each connection, which is closed then.
func feed(t *testing.T, do func(conn *websocket.Conn)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		up := websocket.Upgrader{}
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		do(conn)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// wait reads until the client has left.
func wait(conn *websocket.Conn) {
	for {
		if _, _, err := conn.NextReader(); err != nil {
			return
		}
	}
}

func TestFeed(t *testing.T) {
	send := func(messages ...string) func(conn *websocket.Conn) {
		return func(conn *websocket.Conn) {
			for _, m := range messages {
				_ = conn.WriteMessage(websocket.TextMessage, []byte(m)) // the client may have had enough
			}
		}
	}
	for name, test := range map[string]struct {
		do   func(conn *websocket.Conn)
		path string
		want []string
	}{
		"sends": {
			func(conn *websocket.Conn) { send(`{"price":1}`, `[{"price":2.5},{"secret":"Jane"}]`)(conn); wait(conn) }, "/ws/btc-usd@trade?key=s3cret",
			[]string{"\n  btc_usd_trade:\n    websocket: {url: \"ws://", "Looked at: 3 items.", "  #   price         double", "put it into an environment variable"},
		},
		"never ends": {
			func(conn *websocket.Conn) {
				for conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1}`)) == nil {
				}
			}, "/", []string{"\n  feed:\n", "Looked at: 1000 items."},
		},
		"is silent":      {wait, "/ticks", []string{"\n  ticks:\n", "sent nothing for a while"}},
		"closes at once": {send(), "/ticks", []string{"closed the connection without a message"}},
		"closes":         {send(`{"n":1}`), "/ticks", []string{"Looked at: 1 item."}},
		"refuses":        {nil, "/refused", []string{"403 Forbidden", "docs/sources/websocket.md"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, _, _, err := Pipeline(t.Context(), Options{File: "p.yaml", Dir: t.TempDir(), Kinds: builtin.Sources()}, []string{feed(t, test.do) + test.path})
			got := string(text)
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != (name == "refuses") || strings.Contains(got, "Jane") {
				t.Error(err)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s\nis without %q", got, want)
				}
			}
		})
	}
	if _, _, _, err := Pipeline(t.Context(), Options{Dir: t.TempDir()}, []string{"ws://127.0.0.1:1/nobody"}); err == nil || !strings.Contains(err.Error(), "check the address") {
		t.Error(err)
	}
}
