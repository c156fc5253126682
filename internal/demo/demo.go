// Package demo simulates an outside world for the demo command: a trade feed over WebSocket, a shop that posts its orders, and a
// carrier that leaves CSV files in a folder, some of them odd.
//
// What enters: nothing. What leaves: the pipeline that reads this world, and what it sends. Goroutines: Run owns one for each of the
// three and the feed's connections, and has stopped them when it returns.
package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sync/errgroup"
)

// World is the simulated sources. Its methods may be called from several goroutines.
type World struct {
	dir  string
	feed net.Listener
	run  string // names this process in keys and files

	trades, orders, shipments atomic.Int64
}

// New listens for the feed's client, on a free port of loopback, and makes the folder of the files below dir. Run closes the listener.
func New(dir string) (*World, error) {
	if err := os.MkdirAll(filepath.Join(dir, "in", "shipments"), 0o750); err != nil {
		return nil, fmt.Errorf("making the demo's folder: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the demo's feed: %w", err)
	}
	return &World{dir: dir, feed: l, run: time.Now().UTC().Format("20060102-150405")}, nil
}

// Pipeline is the text of a pipeline file that reads this world. The intervals are short, so that something is to be seen.
func (w *World) Pipeline() string {
	return fmt.Sprintf(`# The demo's pipeline. Three sources, simulated by headwater demo itself; everything else is as in yours, with short intervals.
# Run it without the simulation: headwater run pipeline.yaml
database: demo

sources:
  trades: # a live feed; a record says so when it was cut
    websocket: {url: "ws://%s/trades"}
  orders: # items that others send; 200 means that Kafka has them
    push: {path: /ingest/orders}
  shipments: # files that appear in a folder
    file: {path: "in/shipments/*.csv", every: 500ms, settle: 1s}

land:
  rotate.interval.ms: 2000 # yours: 300000
  rotate.schedule.interval.ms: 2000

serialize:
  every: 2s # yours: leave it out, and schedule makes the tables each night

listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`, w.feed.Addr())
}

// Sent is how many items of each source the world has sent, by source; what was not taken yet is among them, but for orders.
func (w *World) Sent() map[string]int64 {
	return map[string]int64{"trades": w.trades.Load(), "orders": w.orders.Load(), "shipments": w.shipments.Load()}
}

// Run sends until ctx ends. Orders go to the URL.
func (w *World) Run(ctx context.Context, orders string) error {
	g, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { w.serveTrades(ctx, out, r) }), ReadHeaderTimeout: 10 * time.Second}
	g.Go(func() error {
		if err := server.Serve(w.feed); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the demo's feed: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	g.Go(func() error {
		return every(ctx, 200*time.Millisecond, func(n int) error { return w.postOrder(ctx, orders, n) })
	})
	g.Go(func() error { return every(ctx, 2*time.Second, w.leaveFile) })
	return g.Wait()
}

// every does work again and again until ctx ends.
func every(ctx context.Context, d time.Duration, work func(n int) error) error {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := work(n); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

var symbols = []struct {
	name  string
	price float64
}{{"RIVR", 101.5}, {"LAKE", 48.2}, {"DELT", 7.75}, {"SPRG", 312}}

func (w *World) serveTrades(ctx context.Context, out http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	conn, err := up.Upgrade(out, r, nil)
	if err != nil {
		return // the client has been told
	}
	defer conn.Close()
	_ = every(ctx, 20*time.Millisecond, func(n int) error {
		s := symbols[rand.IntN(len(symbols))]
		text := fmt.Appendf(nil, `{"type":"trade","symbol":%q,"price":%.2f,"size":%d,"venue":{"id":%d,"open":%t},"at":%q}`,
			s.name, s.price*(0.98+0.04*rand.Float64()), 1+rand.IntN(500), rand.IntN(3), n%50 != 0, time.Now().UTC().Format(time.RFC3339Nano))
		if err := conn.WriteMessage(websocket.TextMessage, text); err != nil {
			return err
		}
		w.trades.Add(1)
		return nil
	})
}

var countries = []string{"DE", "FR", "PT", "CL", "JP"}

// postOrder sends one order until it is taken: an order is sent again under the same key, and is there once.
func (w *World) postOrder(ctx context.Context, url string, n int) error {
	body := fmt.Appendf(nil, `{"order_id":%d,"customer":{"id":%d,"country":%q},"items":[{"sku":"S-%d","quantity":%d}],"total":%.2f`,
		time.Now().UnixMilli(), rand.IntN(200), countries[rand.IntN(len(countries))], rand.IntN(50), 1+rand.IntN(4), 5+100*rand.Float64())
	if n%7 == 0 {
		body = append(body, `,"coupon":"RAIN10"`...) // a field that few have
	}
	body = append(body, '}')
	for ctx.Err() == nil {
		if taken(ctx, url, fmt.Sprintf("order-%s-%d", w.run, n), body) {
			w.orders.Add(1)
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func taken(ctx context.Context, url, key string, body []byte) bool {
	// The request outlives the stop of the simulation: what is on its way is counted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	return resp.StatusCode == http.StatusOK
}

// leaveFile writes a file of ten rows. Every third has a column more, a date of long ago, and a row that lacks a field.
func (w *World) leaveFile(n int) error {
	odd := n%3 == 2
	var b bytes.Buffer
	b.WriteString("shipment_id,carrier,weight_kg,shipped_at")
	if odd {
		b.WriteString(",note")
	}
	b.WriteString("\n")
	for i := range 10 {
		at := time.Now().UTC()
		if odd && i == 0 {
			at = at.AddDate(0, -3, 0)
		}
		if odd && i == 9 {
			b.WriteString("lost,half a row\n")
			continue
		}
		fmt.Fprintf(&b, "%s-%d-%d,%s,%.1f,%s", w.run, n, i, []string{"Otter", "Heron", "Trout"}[rand.IntN(3)], 0.5+20*rand.Float64(), at.Format(time.RFC3339))
		if odd {
			b.WriteString(",\"late, sorry\"")
		}
		b.WriteString("\n")
	}
	name := filepath.Join(w.dir, "in", "shipments", fmt.Sprintf("%s-%04d.csv", w.run, n))
	if err := os.WriteFile(name+".part", b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("leaving a file for the demo: %w", err)
	}
	if err := os.Rename(name+".part", name); err != nil {
		return fmt.Errorf("leaving a file for the demo: %w", err)
	}
	w.shipments.Add(10)
	return nil
}
