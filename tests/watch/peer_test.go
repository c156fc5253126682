package watch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestDeadPeerIsNoWedge: a process whose Kafka does not answer for longer than stuck_after has work to do and does not move, says that it is not ready,
// and is not wedged: a restart would not help.
func TestDeadPeerIsNoWedge(t *testing.T) {
	t.Parallel()
	broker, door := fixture.Kafka(t), fixture.FreeAddr(t)
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
stuck_after: 25s
kafka: {brokers: [%q]}
sources: {orders: {file: {path: "in/*.ndjson", every: 50ms, settle: 50ms}}}
listen: {http: %q}
`, broker.Addr, door))
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n"))
	proc := p.Start(t, nil, "collect")
	binary.Eventually(t, "the first line", func() bool {
		_, text := get(t, "http://"+door+"/metrics")
		return strings.Contains(text, "headwater_collect_records_total{source=\"orders\"} 1\n")
	})
	broker.Kill()
	p.Write(t, "in/b.ndjson", []byte("{\"n\":2}\n"))
	binary.Eventually(t, "asking Kafka in vain for longer than stuck_after", func() bool { return strings.Count(proc.Stderr(), "watching") >= 4 })
	if code, text := get(t, "http://"+door+"/healthz"); code != http.StatusOK {
		t.Errorf("it says that it is wedged: %s", text)
	}
	if code, text := get(t, "http://"+door+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "Kafka does not answer") {
		t.Errorf("ready: %d %s", code, text)
	}
}
