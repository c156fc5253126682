package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/config"
	"headwater/internal/retry"
	"headwater/kafka"
	"headwater/query"
)

// runPreview takes the first items of one source through the whole chain in a temporary folder, and shows what becomes of them. The pipeline's
// own topics, lake and cursors are not touched, and the source is not told that anything was received.
func runPreview(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	most := fs.Int("items", 10, "how many items to read")
	wait := fs.Duration("wait", 10*time.Second, "how long to wait for them")
	cfg, source, err := parseSource(fs, args)
	if err != nil {
		return err
	}
	if *most < 1 || *most > 10_000 {
		return usagef("--items must be from 1 to 10000, got %d", *most)
	}
	dir, err := os.MkdirTemp("", "headwater-preview-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg = alone(cfg, source, dir)

	look := &glance{most: *most, wait: *wait}
	p := newPipeline(cfg, allParts, slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	p.wrap = look.over
	if err := p.open(ctx); err != nil {
		return errors.Join(err, p.close())
	}
	failed := p.serve(ctx, func(ctx context.Context) error {
		if source.HTTPPath != "" {
			fmt.Fprintf(s.err, "waiting %s for items that are posted to http://%s%s\n", *wait, p.me.HTTP, source.HTTPPath)
		}
		return p.once(ctx)
	})
	if err := p.close(); err != nil || ctx.Err() != nil {
		return errors.Join(failed, err)
	}
	look.print(s.out, source.Name)
	if len(look.items) == 0 {
		return failed
	}
	return errors.Join(failed, printTables(ctx, cfg, s))
}

func names(all []config.Source) string {
	var out []string
	for _, s := range all {
		out = append(out, s.Name)
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

// alone is a pipeline of the source alone that shares nothing with others.
func alone(cfg *config.Pipeline, source config.Source, dir string) *config.Pipeline {
	c := *cfg
	c.DataDir, c.Lake, c.MinFree = dir, config.Lake{Raw: dir + "/raw", Tables: dir + "/tables"}, 0
	c.Kafka = kafka.DefaultConfig()
	c.Kafka.MaxRecordBytes = cfg.Kafka.MaxRecordBytes
	c.Hive.URIs = nil
	free := config.Address{Addr: "127.0.0.1:0", Written: true}
	c.Listen = config.Listen{HTTP: free, Kafka: free, Hive: free}
	source.Partitions, source.Replication, source.Configs = 0, 0, nil
	c.Sources = []config.Source{source}
	return &c
}

// glance keeps the first items of a source.
type glance struct {
	most int
	wait time.Duration

	mu    sync.Mutex
	items []seen
}

// seen is an item as people are shownBytes it.
type seen struct {
	stream, origin, position, malformed, text string
}

// over is the source as far as the glance goes.
func (g *glance) over(s collect.Source) collect.Source { return brief{s, g} }

// brief is a source that ends with the glance, and is never told that an item arrived.
type brief struct {
	collect.Source
	g *glance
}

var errEnough = errors.New("enough was seen")

// Run implements collect.Source. A source that ends without an item is asked again until the time is over.
func (b brief) Run(ctx context.Context, out collect.Out, _ bool) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer time.AfterFunc(b.g.wait, func() { stop(errEnough) }).Stop()
	for {
		err := b.Source.Run(ctx, briefOut{out, b.g, stop}, true)
		if err == nil && b.g.count() == 0 {
			err = retry.Wait(ctx, time.Second)
			if err == nil {
				continue
			}
		}
		if errors.Is(context.Cause(ctx), errEnough) {
			return nil
		}
		return err
	}
}

type briefOut struct {
	collect.Out
	g    *glance
	stop context.CancelCauseFunc
}

// Emit implements collect.Out.
func (o briefOut) Emit(ctx context.Context, it collect.Item) error {
	n := o.g.see(it)
	if n > o.g.most {
		return errEnough
	}
	it.Done = nil
	if err := o.Out.Emit(ctx, it); err != nil || n < o.g.most {
		return err
	}
	o.stop(errEnough)
	return nil
}

// Mark implements collect.Out.
func (o briefOut) Mark(ctx context.Context, stream string, resume json.RawMessage, done bool, _ func()) error {
	return o.Out.Mark(ctx, stream, resume, done, nil)
}

func (g *glance) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.items)
}

// see gives the number of the item, from 1.
func (g *glance) see(it collect.Item) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.items) == g.most {
		return g.most + 1
	}
	text, malformed := envelope.Append(nil, it.Item, &envelope.Metadata{}, time.Time{}, envelope.DefaultLimits)
	text = text[len(`{"raw_data":`):bytes.LastIndex(text, []byte(`,"metadata":{"thread_id":`))]
	g.items = append(g.items, seen{it.Stream, it.Origin, it.Position, malformed, shorten(string(text))})
	return len(g.items)
}

// shownBytes is how many bytes of an item are shownBytes.
const shownBytes = 300

// shorten keeps the beginning of a text.
func shorten(text string) string {
	if len(text) <= shownBytes {
		return text
	}
	n := shownBytes
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return fmt.Sprintf("%s… (%d bytes)", text[:n], len(text))
}

func (g *glance) print(w io.Writer, source string) {
	if len(g.items) == 0 {
		fmt.Fprintf(w, "source %s has no item, not within %s\n", source, g.wait)
		return
	}
	for n, it := range g.items {
		fmt.Fprintf(w, "item %d of %s, %s %s\n  %s\n", n+1, query.Printable(it.stream), query.Printable(it.origin), query.Printable(it.position), query.Printable(it.text))
		if it.malformed != "" {
			fmt.Fprintf(w, "  malformed: %s\n", query.Printable(it.malformed))
		}
	}
	if len(g.items) == g.most {
		fmt.Fprintf(w, "these are the first %d; --items reads more\n", g.most)
	}
}

// printTables shows what the items are as a table, and what they are not.
func printTables(ctx context.Context, cfg *config.Pipeline, s streams) error {
	l, err := openTables(ctx, cfg)
	if err != nil {
		return err
	}
	flat := cfg.Sources[0].FlatTable
	t, err := l.catalog.Table(ctx, flat)
	if err := errors.Join(err, l.close()); err != nil {
		return fmt.Errorf("none of the items is a row: %w", err)
	}
	fmt.Fprintf(s.out, "\n%s would have the columns\n\n", flat)
	columns := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, f := range t.Schema.Fields {
		fmt.Fprintf(columns, "  %s\t%s\n", query.Printable(f.Name), f.Type)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	fmt.Fprint(s.out, "\nand the rows\n\n")
	err = answer(ctx, cfg, question{sql: fmt.Sprintf("select * exclude (year, month, day) from %s", flat), format: "table", width: terminalWidth(s.out)}, s.out, s.log)
	if errors.Is(err, query.ErrNoDuckDB) {
		fmt.Fprintln(s.out, "which this program, built without DuckDB, cannot show")
		return nil
	}
	return err
}
