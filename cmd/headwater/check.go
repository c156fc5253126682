package main

import (
	"context"
	"errors"
	"flag"

	"headwater/internal/builtin"
	"headwater/internal/config"
)

func runCheck(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the report as JSON")
	operands, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	err = config.Report(s.out, operands[0], builtin.Sources(), *asJSON)
	if _, faulty := errors.AsType[config.Faults](err); faulty {
		return reported{err}
	}
	return unreadable(err)
}
