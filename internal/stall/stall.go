// Package stall gives up connections on which nothing moves. It imports nothing of ours and starts no goroutines.
package stall

import (
	"context"
	"net"
	"time"
)

// Dial connects as http.Transport's DialContext does, to connections of which each read and write has to move something within the patience.
func Dial(patience time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dial := (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return moving{conn, patience}, nil
	}
}

type moving struct {
	net.Conn
	patience time.Duration
}

func (m moving) Read(p []byte) (int, error) {
	if err := m.SetReadDeadline(time.Now().Add(m.patience)); err != nil {
		return 0, err
	}
	return m.Conn.Read(p)
}

func (m moving) Write(p []byte) (int, error) {
	if err := m.SetWriteDeadline(time.Now().Add(m.patience)); err != nil {
		return 0, err
	}
	return m.Conn.Write(p)
}
