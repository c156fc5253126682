package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"headwater/internal/demo"
	"headwater/internal/web"
)

// demoTime is how long the sources of demo --once send.
const demoTime = 8 * time.Second

// runDemo simulates sources, and runs the whole chain on them where they can be seen.
func runDemo(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	once := fs.Bool("once", false, "send for some seconds, bring everything into the tables, print what is there, then exit")
	dir := fs.String("dir", "headwater-demo", "the folder of the demo; a demo that is run again goes on in it")
	if _, err := parse(fs, args); err != nil {
		return err
	}
	world, err := demo.New(*dir)
	if err != nil {
		return err
	}
	file := filepath.Join(*dir, "pipeline.yaml")
	if err := os.WriteFile(file, []byte(world.Pipeline()), 0o600); err != nil {
		return fmt.Errorf("writing the demo's pipeline: %w", err)
	}
	cfg, err := load(file)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(*dir, "headwater.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the demo's log: %w", err)
	}
	defer log.Close()
	p := newPipeline(cfg, allParts, slog.New(slog.NewTextHandler(log, nil)))
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	v := &demoView{p: p, world: world, file: file, dir: *dir, s: s}
	return p.serve(ctx, func(ctx context.Context) error { return v.run(ctx, *once) })
}

// demoView is what a person sees of a demo.
type demoView struct {
	p     *pipeline
	world *demo.World
	file  string
	dir   string
	s     streams
	drawn int // lines on the terminal that are drawn anew
}

// run is the pipeline with its world: the world stops first, then the pipeline drains.
func (v *demoView) run(ctx context.Context, once bool) error {
	fmt.Fprintf(v.s.out, "A demo in %s: three sources are simulated and go through Kafka to raw objects, Parquet and SQL.\nIts pipeline is %s, its log %s.\n\n",
		v.dir, v.file, filepath.Join(v.dir, "headwater.log"))
	before, err := v.p.Status(ctx)
	if err != nil {
		return err
	}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	if once {
		sending, stop = context.WithTimeout(sending, demoTime)
		defer stop()
	}
	working, drain := context.WithCancel(context.WithoutCancel(ctx))
	defer drain()
	var parts sync.WaitGroup
	var simulated, ran error
	parts.Go(func() {
		simulated = v.world.Run(sending, "http://"+v.p.me.HTTP+"/ingest/orders")
		time.Sleep(2 * time.Second) // the last file is listed and rests before it is read whole
		drain()
	})
	parts.Go(func() {
		ran = v.p.run(working)
		stop() // a pipeline that cannot go on ends the demo
	})
	v.watch(working)
	parts.Wait()
	if err := errors.Join(simulated, ran); err != nil {
		return err
	}
	return v.finish(context.WithoutCancel(ctx), before)
}

// watch shows what each stage has done, and what to try once there are tables, until ctx ends.
func (v *demoView) watch(ctx context.Context) {
	every := 5 * time.Second
	if v.s.screen != nil {
		every = 500 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	tried := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status, err := v.p.Status(ctx)
		if err != nil {
			continue // it ends, or the next look is better
		}
		if !tried && len(status.Tables) == 2*len(status.Sources) {
			v.suggest(status)
			tried = true
		}
		v.draw(v.table(status))
	}
}

// table has a line for each source.
func (v *demoView) table(s web.Status) string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tSENT\tIN KAFKA\tIN RAW OBJECTS\tROWS\tQUARANTINED\t")
	sent := v.world.Sent()
	for _, x := range s.Sources {
		landed, rows, bad := int64(0), int64(0), int64(0)
		for _, topic := range s.Topics {
			if topic.Topic == x.Name+"_raw" {
				landed += topic.Records
			}
		}
		for _, table := range s.Tables {
			if table.Name == "demo."+x.Name {
				rows = table.Rows
			}
		}
		bad = x.Malformed
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t\n", x.Name, sent[x.Name], x.Records, landed, rows, bad)
	}
	_ = t.Flush() // into memory
	return b.String()
}

// draw shows the table: on a terminal in the place of the last one.
func (v *demoView) draw(text string) {
	if v.s.screen != nil && v.drawn > 0 {
		fmt.Fprintf(v.s.out, "\x1b[%dA\x1b[J", v.drawn)
	}
	fmt.Fprint(v.s.out, text)
	if v.s.screen == nil {
		fmt.Fprintln(v.s.out)
	}
	v.drawn = strings.Count(text, "\n")
}

// suggest says what to try; each line works as it stands, in the folder where the demo was begun.
func (v *demoView) suggest(s web.Status) {
	v.drawn = 0
	program := "headwater"
	if len(os.Args) > 0 && strings.Contains(os.Args[0], "/") {
		program = os.Args[0]
	}
	fmt.Fprintf(v.s.out, `
Try, in another terminal:

  %[1]s query %[2]s "select symbol, count(*) as trades, round(avg(price), 2) as price from demo.trades group by all order by all"
  %[1]s query %[2]s "select customer_country, count(*) as orders, sum(total) as total from demo.orders group by all order by 3 desc"
  %[1]s status %[2]s
  curl -d '{"order_id":1,"total":9.99}' http://%[3]s/ingest/orders
  curl -s http://%[3]s/metrics | grep headwater_
  spark-sql --conf spark.hadoop.hive.metastore.uris=thrift://%[6]s -e "select carrier, count(*) from demo.shipments group by carrier"
  kcat -b %[4]s -t orders_raw -C -o -3 -c 3
  zcat %[5]s/headwater-data/raw/topics/shipments_raw/date=*/*.json.gz | head -3
  python3 -c 'import glob, os, pandas; print(pandas.read_parquet(max(glob.glob("%[5]s/headwater-data/tables/demo/shipments/_runs/*"), key=os.path.getmtime)))'

Ctrl-C ends it: the sources stop, and what is on its way comes into the tables first.

`, program, v.file, s.Listen.HTTP, s.Listen.Kafka, v.dir, s.Listen.Hive)
}

// finish brings what has landed into the tables and says whether everything that was sent is there.
func (v *demoView) finish(ctx context.Context, before web.Status) error {
	topics, err := v.p.landed(ctx)
	if err != nil {
		return err
	}
	if err := v.p.serializeStale(ctx, topics, everyDay); err != nil {
		return err
	}
	status, err := v.p.Status(ctx)
	if err != nil {
		return err
	}
	v.drawn = 0
	fmt.Fprint(v.s.out, "\n", v.table(status), "\n")
	return v.compare(v.s.out, before, status)
}

// compare holds the rows against what was sent. A trade that was on its way when the feed ended may be missing, as on any feed; of orders
// and shipments none may. Orders that a person has sent come on top.
func (v *demoView) compare(w io.Writer, before, after web.Status) error {
	rows := func(s web.Status, source string) (n int64) {
		for _, t := range s.Tables {
			if t.Name == "demo."+source {
				n = t.Rows
			}
		}
		return n
	}
	var errs []error
	for _, x := range after.Sources {
		sent, got := v.world.Sent()[x.Name], rows(after, x.Name)-rows(before, x.Name)
		switch bad := x.Malformed; {
		case x.Name == "trades":
		case sent == 0 || got+bad < sent || x.Name == "shipments" && got+bad > sent:
			errs = append(errs, fmt.Errorf("of %d %s that were sent, %d are rows and %d in quarantine", sent, x.Name, got, bad))
		default:
			fmt.Fprintf(w, "%s: all %d that were sent are there, %d rows and %d in quarantine with the reason.\n", x.Name, sent, got, bad)
		}
	}
	return errors.Join(errs...)
}
