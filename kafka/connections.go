package kafka

import (
	"context"
	"net"
	"sync"
	"time"
)

// connections knows how many connections a client has, being made or open.
type connections struct {
	mu   sync.Mutex
	open int
}

func (c *connections) add(n int) {
	c.mu.Lock()
	c.open += n
	c.mu.Unlock()
}

func (c *connections) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open == 0
}

func (c *connections) track(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c.add(1)
		conn, err := dial(ctx, network, address)
		if err != nil {
			c.add(-1)
			return nil, err
		}
		return &tracked{Conn: conn, gone: sync.OnceFunc(func() { c.add(-1) })}, nil
	}
}

// await waits until done, or until there is no connection left over which an answer could come. It tells whether that was within limit.
func (c *connections) await(done <-chan struct{}, limit time.Duration) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(limit)
	defer late.Stop()
	for {
		select {
		case <-done:
			return true
		case <-late.C:
			return false
		case <-look.C:
			if c.none() {
				return true
			}
		}
	}
}

// tracked is a connection whose closing sends nothing that is still in this machine's buffers.
type tracked struct {
	net.Conn
	gone func()
}

func (t *tracked) Close() error {
	if tcp, ok := t.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	err := t.Conn.Close()
	t.gone()
	return err
}
