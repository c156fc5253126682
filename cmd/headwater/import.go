package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"headwater/internal/connector"
	"headwater/query"
)

// maxConnector is more than any connector's configuration has.
const maxConnector = 1 << 20

// runImport writes a pipeline file for a connector's configuration, and says what becomes of each of its keys.
func runImport(_ context.Context, flags *flag.FlagSet, args []string, s streams) error {
	output := flags.String("output", "pipeline.yaml", "the `file` to write, which must not be there; - prints it")
	flags.StringVar(output, "o", *output, "short for --output")
	database := flags.String("database", "", "the `name` of the tables' database; by default made of the connector's")
	partial := flags.Bool("partial", false, "write the file although keys were refused, without them; the exit code stays 2")
	operands, err := parse(flags, args, "CONNECTOR")
	if err != nil {
		return err
	}
	data, err := readConnector(operands[0], s.in)
	if err != nil {
		return err
	}
	result, err := connector.Import(data, *database)
	if err != nil {
		return usagef("%s: %v", operands[0], err)
	}
	said := s.out
	if *output == toStdout {
		said = s.err
	}
	refused := result.Refused()
	if err := printVerdicts(said, result.Lines); err != nil {
		return err
	}
	left := usagef("%d of the connector's keys were refused", len(refused))
	if len(refused) > 0 && !*partial {
		return fmt.Errorf("%w, and nothing is written: change them, or write the rest with --partial", left)
	}
	if err := writePipeline(*output, result.Pipeline, s.out); err != nil {
		return err
	}
	if len(refused) > 0 {
		return fmt.Errorf("%w; the file is without them", left)
	}
	return nil
}

func readConnector(file string, in io.Reader) ([]byte, error) {
	if file != toStdout {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("reading the connector: %v", err)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxConnector+1))
	if err == nil && len(data) > maxConnector {
		err = errors.New("it is larger than 1 MiB, which no connector's configuration is")
	}
	if err != nil {
		return nil, usagef("reading the connector %s: %v", file, err)
	}
	return data, nil
}

func printVerdicts(w io.Writer, lines []connector.Line) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		key := l.Key
		if l.Default {
			key += " (by default)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", l.Verdict, query.Printable(key), query.Printable(l.Why))
	}
	return table.Flush()
}

func writePipeline(output string, text []byte, out io.Writer) error {
	if output == toStdout {
		_, err := out.Write(text)
		return err
	}
	path, err := filepath.Abs(output)
	if err != nil {
		return fmt.Errorf("finding the folder of %s: %w", output, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return unwritten(output, err)
	}
	if err := create(path, text); err != nil {
		return unwritten(output, err)
	}
	_, err = fmt.Fprintf(out, "\n%s is written. Set KAFKA_BROKERS, and try it with headwater check %s --live.\n", output, output)
	return err
}
