package crash

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"headwater/tests/interop/fixture"
)

// TestRedisKilled: each entry of a stream is there once, whoever was killed when.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := redisStream(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func redisStream(t *testing.T) upstream {
	t.Helper()
	server := fixture.NewRedis(t)
	conn, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	answers := bufio.NewReader(conn)
	source := fmt.Sprintf(`{redis: {url: "redis://%s", stream: orders, field: data, count: 50, claim_after: 1s}}`, server.Addr)
	return upstream{source, func(body string, _ int) {
		_, err := fmt.Fprintf(conn, "*5\r\n$4\r\nXADD\r\n$6\r\norders\r\n$1\r\n*\r\n$4\r\ndata\r\n$%d\r\n%s\r\n", len(body), body)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(answer, "$") {
			t.Fatalf("%q: %v", answer, err)
		}
		if _, err := answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}}
}
