package kafka

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// inflight counts the produce requests of a client that were written and have no answer, on connections that are still there.
type inflight struct{ n atomic.Int64 }

// OnBrokerWrite and OnBrokerE2E are called by the client, each once for a request.
func (i *inflight) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Produce) {
		i.n.Add(1)
	}
}

// OnBrokerE2E tells of an answer or of the end of the connection.
func (i *inflight) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == int16(kmsg.Produce) {
		i.n.Add(-1)
	}
}

// await waits until done, or until no request is on its way. It tells whether that was within limit.
func (i *inflight) await(done <-chan struct{}, limit time.Duration) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	late := time.NewTimer(limit)
	defer late.Stop()
	for quiet := 0; quiet < 3; { // a request that was just written is not counted yet
		select {
		case <-done:
			return true
		case <-late.C:
			return false
		case <-look.C:
			if quiet++; i.n.Load() > 0 {
				quiet = 0
			}
		}
	}
	return true
}

// abrupt makes closing a connection throw away what this machine has not sent of it, instead of sending it afterwards.
func abrupt(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		under := conn
		if encrypted, ok := conn.(*tls.Conn); ok {
			under = encrypted.NetConn()
		}
		if tcp, ok := under.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return conn, nil
	}
}

// gate holds what a client would write to its connections back while it is closed.
type gate struct{ closed sync.RWMutex }

// dial makes the connections that the gate is for.
func (g *gate) dial(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return gated{conn, g}, nil
	}
}

type gated struct {
	net.Conn
	gate *gate
}

func (c gated) Write(p []byte) (int, error) {
	c.gate.closed.RLock()
	//lint:ignore SA2001 it is waited for and not held: a write may take as long as the peer likes
	c.gate.closed.RUnlock()
	return c.Conn.Write(p)
}
