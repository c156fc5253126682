package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/kafka"
	"headwater/table"
	"headwater/table/hive"
)

func runCheck(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the report as JSON")
	live := fs.Bool("live", false, "try every address and login, too: it reads an item of each source and writes into the buckets")
	wait := fs.Duration("wait", 20*time.Second, "with --live: how long each may take to answer")
	operands, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	if *asJSON && *live {
		return usagef("--json reports on the file alone: leave out --live")
	}
	err = config.Report(s.out, operands[0], builtin.Sources(), *asJSON)
	if _, faulty := errors.AsType[config.Faults](err); faulty {
		return reported{err}
	}
	if err != nil || !*live {
		return unreadable(err)
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	return tryAll(ctx, trials(cfg, s.log), *wait, s)
}

// trial is one thing outside that a pipeline needs. It says what was found, or what is wrong.
type trial struct {
	what string
	try  func(ctx context.Context) (string, error)
}

// tryAll tries everything at the same time and tells of it in order. The error has all that is wrong and is told already.
func tryAll(ctx context.Context, all []trial, wait time.Duration, s streams) error {
	found, wrong := make([]string, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	room := make(chan struct{}, 16)
	for i, t := range all {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("there was no answer within %s", wait))
			defer cancel()
			found[i], wrong[i] = t.try(ctx)
			if wrong[i] != nil && ctx.Err() != nil {
				wrong[i] = fmt.Errorf("%w: %w", context.Cause(ctx), wrong[i])
			}
		})
	}
	wg.Wait()
	for i, t := range all {
		if wrong[i] != nil {
			fmt.Fprintf(s.out, "%s: FAILED: %s\n", t.what, oneLine(wrong[i].Error()))
		} else {
			fmt.Fprintf(s.out, "%s: %s\n", t.what, found[i])
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return reported{err}
	}
	return nil
}

// trials are those of a pipeline.
func trials(cfg *config.Pipeline, log *slog.Logger) []trial {
	var all []trial
	for _, address := range cfg.Kafka.Brokers {
		one := cfg.Kafka
		one.Brokers = []string{address}
		all = append(all, trial{"kafka " + address, func(ctx context.Context) (string, error) { return tryKafka(ctx, one, cfg.Sources) }})
	}
	for _, address := range cfg.Hive.URIs {
		one := cfg.Hive
		one.URIs = []string{address}
		all = append(all, trial{"hive " + address, func(ctx context.Context) (string, error) { return tryHive(ctx, one, cfg.Database) }})
	}
	for _, folder := range []struct{ key, at string }{{"data_dir", cfg.DataDir}, {"lake.raw", cfg.Lake.Raw}, {"lake.tables", cfg.Lake.Tables}} {
		all = append(all, trial{folder.key + " " + folder.at, func(ctx context.Context) (string, error) {
			return tryStore(ctx, folder.at, cfg.Lake.ExactlyOnce == config.BestEffort)
		}})
	}
	for _, source := range cfg.Sources {
		if source.Kind != config.External {
			all = append(all, trial{"source " + source.Name, func(ctx context.Context) (string, error) { return trySource(ctx, source, log) }})
		}
	}
	return all
}

// tryKafka asks one broker for its topics.
func tryKafka(ctx context.Context, cfg kafka.Config, sources []config.Source) (string, error) {
	cl, err := kafka.NewClient(cfg)
	if err != nil {
		return "", err
	}
	defer cl.Close()
	if err := cl.Ping(ctx); err != nil {
		return "", err
	}
	there, err := kafka.Topics(ctx, cl)
	if err != nil {
		return "", err
	}
	missing := 0
	for _, s := range sources {
		switch {
		case slices.Contains(there, s.Topic):
		case s.Kind == config.External:
			return "", fmt.Errorf("topic %s of source %s does not exist: whoever fills it has to make it", s.Topic, s.Name)
		default:
			missing++
		}
	}
	return fmt.Sprintf("ok, %d topics, %d of the pipeline's will be made", len(there), missing), nil
}

// tryHive asks one metastore for a table that need not be there.
func tryHive(ctx context.Context, cfg hive.Config, database string) (string, error) {
	c, err := hive.Open(hive.Options{Config: cfg})
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, err = c.Table(ctx, table.Name{Database: database, Table: "headwater_check"})
	if err != nil && !errors.Is(err, table.ErrNotExist) {
		return "", err
	}
	return "ok", nil
}

// tryStore writes a file where the folder is or would be, or an object in the bucket.
func tryStore(ctx context.Context, location string, bestEffort bool) (string, error) {
	if builtin.Remote(location) {
		store, err := builtin.OpenStore(ctx, location)
		if err != nil {
			return "", err
		}
		defer store.Close()
		trusted, err := builtin.Trust(ctx, store, bestEffort)
		if err == nil && !trusted {
			return "ok for one process alone: it does not refuse what exists, and exactly_once is best_effort", nil
		}
		return "ok, it refuses what exists", err
	}
	folder, there := location, true
	for {
		if info, err := os.Stat(folder); err == nil && !info.IsDir() {
			return "", fmt.Errorf("%s is a file", folder)
		} else if err == nil {
			break
		} else if parent := filepath.Dir(folder); parent == folder || !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		folder, there = filepath.Dir(folder), false
	}
	f, err := os.CreateTemp(folder, ".headwater-check-")
	if err != nil {
		return "", err
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return "", err
	}
	if !there {
		return "ok, it will be made", nil
	}
	return "ok", nil
}

// trySource reads the source until its first item comes, and keeps nothing.
func trySource(ctx context.Context, source config.Source, log *slog.Logger) (string, error) {
	if source.HTTPPath != "" {
		return "ok, it waits at " + source.HTTPPath, nil
	}
	opened, err := source.Open(config.Env{Logger: log.With("source", source.Name), Look: true})
	if err != nil {
		return "", err
	}
	g := &glance{most: 1}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = opened.Run(ctx, briefOut{nowhere{}, g, stop}, true)
	switch {
	case g.count() > 0:
		return "ok, an item came", nil
	case err != nil:
		return "", err
	}
	return "ok, it has no item now", nil
}

// nowhere is an Out of a source that has read nothing yet, and keeps nothing.
type nowhere struct{}

func (nowhere) Streams() map[string]envelope.StreamCursor { return map[string]envelope.StreamCursor{} }

func (nowhere) Emit(context.Context, collect.Item) error { return nil }

func (nowhere) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func (nowhere) Drain(context.Context) error { return nil }
