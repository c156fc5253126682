package main

import (
	"context"
	"errors"
	"flag"

	"headwater/internal/config"
)

// runCollect, runLand and runServe are parts of run, each a process of its own and several if need be. They share a Kafka that is nobody's
// own: its consumer groups say who does what.

func runCollect(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var span span
	fs.StringVar(&span.source, "source", "", "read a range of this source, in addition to what it reads by itself, then exit")
	fs.StringVar(&span.from, "from", "", "where the range begins, as the source's configuration spells it")
	fs.StringVar(&span.to, "to", "", "before what it ends")
	cfg, err := parsePipeline(fs, args)
	switch {
	case err != nil:
		return err
	case span.any():
		return backfill(ctx, cfg, span, s)
	}
	return runParts(ctx, cfg, s, parts{collect: true})
}

func runLand(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	return runParts(ctx, cfg, s, parts{land: true})
}

func runServe(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	cfg, err := parsePipeline(fs, args)
	if err == nil {
		err = makesTables(cfg)
	}
	if err != nil {
		return err
	}
	return runParts(ctx, cfg, s, parts{serialize: true})
}

func runParts(ctx context.Context, cfg *config.Pipeline, s streams, which parts) (err error) {
	if len(cfg.Kafka.Brokers) == 0 {
		return usagef("%s: kafka.brokers is missing, and a broker of this process's own would be shared with nobody: name the brokers, or use headwater run", cfg.File)
	}
	p := newPipeline(cfg, which, s.log)
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.serve(ctx, p.run)
}
