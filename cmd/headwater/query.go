package main

import (
	"context"
	"flag"
	"slices"

	"headwater/query"
	"headwater/table"
)

func runQuery(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	format := fs.String("format", "table", "table, csv or json (one object a line)")
	operands, err := parse(fs, args, "FILE", "SQL")
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"table", "csv", "json"}, *format) {
		return usagef("--format must be table, csv or json, got %q", *format)
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	_ = ctx
	_ = cfg
	_ = table.Name{}
	_ = query.Query{}
	return nil
}

func runQueryWorker(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	if _, err := parse(fs, args); err != nil {
		return err
	}
	return query.Worker(ctx, s.in, s.out, s.err)
}
