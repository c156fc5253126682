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
	source := fmt.Sprintf(`{redis: {url: "redis://%s", stream: orders, field: data, count: 50, claim_after: 1s}}`, server.Addr)
	return upstream{source, respSender(t, server.Addr, "XADD", "orders", "*", "data")}
}

// TestRedisListKilled: the same of a list, whose items have no id.
func TestRedisListKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 4, 5)
	q := redisList(t)
	surviveQueue(t, q.source, kills, rand.New(rand.NewPCG(seed, 0)), q.send)
}

func redisList(t *testing.T) upstream {
	t.Helper()
	server := fixture.NewRedis(t)
	source := fmt.Sprintf(`{redis: {url: "redis://%s", list: orders, count: 50}}`, server.Addr)
	return upstream{source, respSender(t, server.Addr, "RPUSH", "orders")}
}

// respSender sends a command of Redis for each message, which is its last argument.
func respSender(t *testing.T, addr string, command ...string) func(body string, n int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	answers := bufio.NewReader(conn)
	return func(body string, _ int) {
		fmt.Fprintf(conn, "*%d\r\n", len(command)+1)
		for _, arg := range append(command[:len(command):len(command)], body) {
			fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(arg), arg)
		}
		answer, err := answers.ReadString('\n')
		if err == nil && strings.HasPrefix(answer, "$") {
			_, err = answers.ReadString('\n')
		}
		if err != nil || strings.HasPrefix(answer, "-") {
			t.Fatalf("%q: %v", answer, err)
		}
	}
}
