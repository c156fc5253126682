package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headwater/internal/builtin"
	"headwater/internal/look"
	"headwater/internal/retry"
)

// toStdout is the name of a file that is none.
const toStdout = "-"

// runInit writes a pipeline file for what it is to read.
func runInit(ctx context.Context, flags *flag.FlagSet, args []string, s streams) error {
	output := flags.String("output", "pipeline.yaml", "the `file` to write, which must not be there; - prints it")
	database := flags.String("database", "", "the `name` of the tables' database; by default that of the folder that the file is in")
	whats, err := gather(flags, args)
	if err != nil {
		return err
	}
	if len(whats) == 0 {
		return usagef("WHAT is missing: name files, folders, globs in quotes, ws:// or wss:// addresses, or push:NAME")
	}
	file := *output
	if file == toStdout {
		file = "pipeline.yaml"
	} else if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return unwritten(file, err)
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("finding the folder of %s: %w", file, err)
	}
	text, sources, left, err := look.Pipeline(ctx, look.Options{
		File: file, Dir: filepath.Dir(path), Database: *database, Kinds: builtin.Sources(), Logger: s.log,
	}, whats)
	if err != nil {
		return blameOperand(err)
	}
	for _, l := range left {
		fmt.Fprintf(s.err, "left out: %s\n", l)
	}
	if *output == toStdout {
		_, err := s.out.Write(text)
		return err
	}
	if err := create(path, text); err != nil {
		return unwritten(file, err)
	}
	_, err = fmt.Fprintf(s.out, "%s has %s. Its first lines say what comes next.\n", file, strings.Join(sources, ", "))
	return err
}

// blameOperand makes what only another command line can mend a usage error.
func blameOperand(err error) error {
	if _, theirs := errors.AsType[look.Fault](err); theirs || retry.Classify(err) == retry.Permanent {
		return usageError{err.Error()}
	}
	return err
}

// unwritten says what to do about a file that cannot be made; err is nil if it is there.
func unwritten(file string, err error) error {
	if err == nil || errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already, and is left as it is: remove it, or name another with --output", file)
	}
	return usagef("writing %s: %v; name a file in a folder that can be written with --output", file, err)
}

// create makes a file that is not there, whole or not at all.
func create(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}
