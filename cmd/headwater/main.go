// Command headwater brings raw data from its sources to tables that answer SQL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// streams are what a command reads and writes: answers go to out, everything said on the way to err.
type streams struct {
	in       io.Reader
	out, err io.Writer
	log      *slog.Logger
	screen   *screen // what err is if it is a terminal
}

// command is one subcommand. Its run function registers its flags on fs and calls parse.
type command struct {
	name, args, summary string
	run                 func(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error
}

// commands are listed in the order in which help shows them.
func commands() []command {
	return []command{
		{"demo", "[--once]", "the whole chain on this machine, with simulated sources; says what to try", runDemo},
		{"init", "WHAT...", "write a pipeline file by looking at files, folders or feeds", runInit},
		{"import", "CONNECTOR [--partial]", "write a pipeline file for a Kafka Connect S3 sink's configuration", runImport},
		{"run", "FILE [--once]", "every stage in one process; --once: what is there now, then exit", runPipeline},
		{"collect", "FILE [--source S --from F --to T]", "the sources alone, shared with others that do the same; with a range: that of one source, then exit", runCollect},
		{"land", "FILE", "topics to raw objects alone, shared likewise", runLand},
		{"land adopt", "FILE --from-group G [--dry-run]", "go on where a Kafka Connect S3 sink has stopped", runAdopt},
		{"land release", "FILE --to-group G [--dry-run]", "have a Kafka Connect S3 sink go on where landing has stopped", runRelease},
		{"land accept", "FILE TOPIC [PARTITION] [--dry-run]", "have Kafka partitions go on that have stopped because records are lost, or the topic was made anew", runAccept},
		{"serve", "FILE", "the tables alone, by schedule and on request", runServe},
		{"serialize", "FILE --source S --date D", "make the tables of one source and day", runSerialize},
		{"day", "FILE --source S --date D", "whether a day of a source is closed; ends with 5, and what it waits for, if it is not", runDay},
		{"backfill", "FILE --from D --to D [--dry-run]", "make the tables of a range of days, of all sources or of one", runBackfill},
		{"runs ls", "FILE", "the runs of the schedule, of backfills and retries, with what became of them", runRunsLs},
		{"runs show", "FILE RUN", "one of them", runRunsShow},
		{"runs logs", "FILE RUN", "what it has said", runRunsLogs},
		{"runs retry", "FILE RUN", "make its day again, and wait for it", runRunsRetry},
		{"runs cancel", "FILE RUN", "have it stop, or not begin", runRunsCancel},
		{"runs pause", "FILE SOURCE", "have a source's schedule rest", runRunsPause},
		{"runs resume", "FILE SOURCE", "have it go on, with what it missed", runRunsResume},
		{"notify test", "FILE", "send an example to each webhook of notify, and say what came back", runNotifyTest},
		{"query", "FILE SQL", "answer SQL from the tables", runQuery},
		{"preview", "FILE SOURCE", "read the first items of a source and show what becomes of them; keeps nothing", runPreview},
		{"check", "FILE", "report every fault of a pipeline file", runCheck},
		{"status", "FILE", "what is collected, landed and in tables", runStatus},
		{"audit", "FILE [--source S] [--day D] [--recompute]", "whether what was collected is all in objects, tables or quarantine; ends with 3 if not", runAudit},
		{"quarantine ls", "FILE", "count what could not be processed, by source, day, stage and reason", runQuarantineLs},
		{"quarantine show", "FILE [--limit N]", "show it, with where it came from and its data", runQuarantineShow},
		{"quarantine replay", "FILE [--source S --date D]", "make the days anew of which records are in serialize's quarantine, after a hint or a fix", runQuarantineReplay},
		{"tables ls", "FILE", "the tables, with their days, rows and sizes", runTablesLs},
		{"tables show", "FILE TABLE", "a table's columns, and what it has of each day", runTablesShow},
		{"tables audit", "FILE [TABLE]", "compare files, metastore and schema ledger; ends with 3 if there is something to look after", runTablesAudit},
		{"tables repair", "FILE [TABLE]", "audit, and have the metastore say what the files say", runTablesRepair},
		{"tables rollback", "FILE TABLE --day D", "with publish: swap, have readers read a day's version before", runTablesRollback},
		{"tables drop", "FILE TABLE --yes", "delete a table's files and take it out of the metastore", runTablesDrop},
		{"tables adopt", "FILE SOURCE [--dry-run]", "take over tables that a job on Spark made, as they are", runTablesAdopt},
		{"tables release", "FILE SOURCE [--dry-run]", "give them back to it", runTablesRelease},
		{"schema show", "FILE SOURCE [--version N]", "the columns of a source's tables, and what waits to come into them", runSchemaShow},
		{"schema diff", "FILE SOURCE [--from N] [--to N]", "what a version of the schema has changed", runSchemaDiff},
		{"schema explain", "FILE SOURCE FIELD", "why a column has its type: which kinds of value it has had, where first, how many", runSchemaExplain},
		{"schema suggest", "FILE SOURCE [--date D]", "types that the texts of a day would suit, as hints for the pipeline file", runSchemaSuggest},
		{"schema pin", "FILE SOURCE FIELD TYPE|none", "give a column a type, whatever its values look like", runSchemaPin},
		{"schema approve", "FILE SOURCE [FIELD]", "let what waits into the columns", runSchemaApprove},
		{"schema revert", "FILE SOURCE --to N [--quarantine-offending]", "give every column the type of an older version again", runSchemaRevert},
		{"cursor", "FILE SOURCE [--json] [--set CURSOR]", "where each stream of a source goes on; --set: go on elsewhere", runCursor},
		{"token create", "FILE NAME --scope S [--expires 90d]", "make a token for a program that asks the HTTP door, and print it, this once", runTokenCreate},
		{"token ls", "FILE", "the tokens, and what each may", runTokenLs},
		{"token revoke", "FILE TOKEN", "have a token let nobody in any more", runTokenRevoke},
		{"access render", "FILE --for s3|kafka|hive", "print what gives the rights of access: on other servers", runAccessRender},
		{"access verify", "FILE", "try each user at each door; ends with 3 if somebody may what they should not, or the other way round", runAccessVerify},
		{"schema-json", "", "print the JSON Schema of pipeline files, for editors", runSchemaJSON},
		{"completion", "bash|zsh|fish", "print what the shell evaluates to complete commands", runCompletion},
		{"version", "", "print the version", runVersion},
		{"query-worker", "", "", runQueryWorker},
	}
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program with its surroundings as arguments.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	s := streams{in: stdin, out: stdout, err: stderr}
	if terminalWidth(stderr) > 0 {
		s.screen = &screen{w: stderr, width: func() int { return terminalWidth(stderr) }}
		s.err = s.screen
	}
	s.log = slog.New(slog.NewTextHandler(s.err, nil))
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("headwater has a fault; please report it", "panic", p, "stack", string(debug.Stack()))
			code = exitFault // Go's own code for a panic, 2, means a usage error here
		}
	}()
	ctx, stop := untilSignal(ctx)
	defer stop()
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		help(stdout)
		return 0
	}
	c, rest := find(args)
	if c.run == nil {
		fmt.Fprintf(stderr, "headwater: there is no command %q\n\n", args[0])
		help(stderr)
		return exitUsage
	}
	fs := flag.NewFlagSet("headwater "+c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // faults of the command line are told once, below
	err := c.run(ctx, fs, rest, s)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "usage: headwater %s %s\n%s\n", c.name, c.args, c.summary)
		fs.SetOutput(stdout)
		fs.PrintDefaults()
		return 0
	}
	err = blame(ctx, err)
	if _, told := errors.AsType[reported](err); err != nil && !told {
		fmt.Fprintf(stderr, "headwater %s: %v\n", c.name, err)
	}
	return exitCode(err)
}

// find is the command of a command line, by two words if there is one of that name, and what follows.
func find(args []string) (c command, rest []string) {
	for n := min(2, len(args)); n > 0; n-- {
		for _, c := range commands() {
			if c.name == strings.Join(args[:n], " ") {
				return c, args[n:]
			}
		}
	}
	return command{}, nil
}

// untilSignal ends the context at the first SIGINT or SIGTERM. From then on the signals have their usual effect, so that a
// second one kills; that is safe, because nothing is relied on before it is durable.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case got := <-signals:
			signal.Stop(signals)
			cancel(interrupted{got.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func help(w io.Writer) {
	fmt.Fprint(w, "headwater brings raw data from its sources to tables that answer SQL.\n\n")
	for _, c := range commands() {
		if c.summary != "" {
			fmt.Fprintf(w, "  headwater %-36s %s\n", c.name+" "+c.args, c.summary)
		}
	}
	fmt.Fprint(w, "\n  headwater COMMAND --help lists a command's flags.\n")
}

// gather reads flags before, between and after the operands.
func gather(fs *flag.FlagSet, args []string) (operands []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usagef("%v; see %s --help", err, fs.Name())
		}
		if fs.NArg() == 0 {
			return operands, nil
		}
		operands = append(operands, fs.Arg(0))
		args = fs.Args()[1:]
	}
}

// parse is gather that wants exactly the named operands.
func parse(fs *flag.FlagSet, args []string, operands ...string) ([]string, error) {
	got, err := gather(fs, args)
	if err != nil {
		return nil, err
	}
	if len(got) < len(operands) {
		return nil, usagef("%s is missing; see %s --help", operands[len(got)], fs.Name())
	}
	if len(got) > len(operands) {
		return nil, usagef("%q is one argument too many; see %s --help", got[len(operands)], fs.Name())
	}
	return got, nil
}

func runVersion(_ context.Context, fs *flag.FlagSet, args []string, s streams) error {
	if _, err := parse(fs, args); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "headwater", version())
	return nil
}

// version is the module's version and commit, as the Go toolchain has recorded them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "development"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v + " " + info.GoVersion
}
