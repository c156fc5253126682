package limits

import (
	"fmt"
	"testing"

	"github.com/gorilla/websocket"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestFeed reads a live feed that sends as fast as it can.
func TestFeed(t *testing.T) {
	count := size(t, "HEADWATER_BIG", "300MB") / 900
	pad := chance(t)
	text := make([]string, 1000)
	for i := range text {
		text[i] = fmt.Sprintf("%0240x", pad.Uint64())
	}
	server := fixture.Feed(t, func(conn *websocket.Conn) {
		for i := range count {
			if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"n":%d,"pad":%q}`, i, text[i%len(text)])) != nil {
				return
			}
		}
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
sources:
  big: {websocket: {url: %q}}
land: {rotate.schedule.interval.ms: 2000}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`, server))
	m := watch(t, p, "run")
	base := ready(t, p, m)
	eventually(t, p, "landing all", func(s status) bool { return len(s.Topics) == 1 && s.Topics[0].Records == count && s.Topics[0].Lag == 0 })
	u := m.stop(t)
	t.Logf("%d messages of 270 B as fast as they are taken: %v; before the first %d MiB", count, u, base.rss/mib)
	within(t, "peak memory over the idle process's in MiB", (u.rss-base.rss)/mib, 250)
	exactlyOnce(t, p, "big_raw", count)
}
