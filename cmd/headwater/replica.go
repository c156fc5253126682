package main

import (
	"context"
	"errors"
	"flag"
)

// runCollect, runLand and runServe are parts of run, each a process of its own and several if need be. They share a Kafka that is nobody's
// own: its consumer groups say who does what.

func runCollect(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return runParts(ctx, fs, args, s, parts{collect: true})
}

func runLand(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return runParts(ctx, fs, args, s, parts{land: true})
}

func runServe(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return runParts(ctx, fs, args, s, parts{serialize: true})
}

func runParts(ctx context.Context, fs *flag.FlagSet, args []string, s streams, which parts) (err error) {
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
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
