package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"

	"headwater/internal/config"
)

func runCheck(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the faults as a JSON array")
	operands, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	cfg, err := load(operands[0])
	if faults, ok := errors.AsType[config.Faults](err); ok && *asJSON {
		if err := json.NewEncoder(s.out).Encode(faults); err != nil {
			return err
		}
		return usagef("%d faults", len(faults))
	}
	if err != nil {
		return err
	}
	if *asJSON {
		_, err := fmt.Fprintln(s.out, "[]")
		return err
	}
	fmt.Fprintf(s.out, "%s has no fault: database %s, %d sources\n", operands[0], cfg.Database, len(cfg.Sources))
	return nil
}
