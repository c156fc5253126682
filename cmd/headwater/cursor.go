package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"

	"headwater/envelope"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/kafka"
	"headwater/query"
)

// runCursor shows where a source stands, whether a process collects it or not, or sets it.
func runCursor(ctx context.Context, flags *flag.FlagSet, args []string, s streams) (err error) {
	asJSON := flags.Bool("json", false, "print the cursor as JSON")
	set := flags.String("set", "", "have the streams of this file, - for standard input, go on where it says; it is what --json prints")
	cfg, source, err := parseSource(flags, args)
	switch {
	case err != nil:
		return err
	case *set != "":
		return setCursor(ctx, cfg, source, *set, s)
	}
	at, leave, err := kafkaThere(ctx, cfg, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	c, err := kafka.ReadCursor(ctx, at, source.Name, source.Topic, s.log)
	if err != nil {
		return err
	}
	if *asJSON {
		_, err := fmt.Fprintf(s.out, "%s\n", c.Encode(source.Topic, math.MaxInt)[0])
		return err
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STREAM\tRECORDS\tPARTITION\tGOES ON AT")
	for _, name := range slices.Sorted(maps.Keys(c.Streams)) {
		st := c.Streams[name]
		resume := query.Printable(string(st.Resume))
		if st.Done {
			resume += " (done)"
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", query.Printable(name), st.Seq+1, st.Partition, resume)
	}
	return t.Flush()
}

// setCursor takes the streams of a cursor that was printed, by this pipeline or another one, into the source's. Streams that it does not name stay
// where they are. On a Kafka of others a process that collects the source finds out when it writes its next record, and goes on from there.
func setCursor(ctx context.Context, cfg *config.Pipeline, source config.Source, file string, s streams) (err error) {
	read := func() ([]byte, error) { return os.ReadFile(file) }
	if file == "-" {
		read = func() ([]byte, error) { return io.ReadAll(s.in) }
	}
	data, err := read()
	if err != nil {
		return usagef("reading the cursor: %v", err)
	}
	given, err := envelope.ParseCursor(bytes.TrimSpace(data), source.Topic)
	if err != nil {
		return usagef("%s: %v", file, err)
	}
	p := newPipeline(cfg, parts{collect: true}, s.log)
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.openTopic(ctx, source); err != nil {
		return err
	}
	l, c, err := kafka.OpenSource(ctx, p.broker.config, source.Name, source.Topic, s.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for name, to := range given.Streams {
		if here, known := c.Streams[name]; known {
			to.Seq, to.Partition = here.Seq, here.Partition // its records here are numbered, and lie where they lie
		}
		to.Partition %= l.Partitions()
		c.Streams[name] = to
	}
	if err := l.Snapshot(ctx, c); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d streams of source %s go on where %s says\n", len(given.Streams), source.Name, file)
	return nil
}

// parseSource reads the flags of a command whose operands are a pipeline file and the name of a source, which must be one that is collected.
func parseSource(flags *flag.FlagSet, args []string) (*config.Pipeline, config.Source, error) {
	operands, err := parse(flags, args, "FILE", "SOURCE")
	if err != nil {
		return nil, config.Source{}, err
	}
	cfg, err := load(operands[0])
	if err != nil {
		return nil, config.Source{}, err
	}
	source, err := collected(cfg, operands[1])
	return cfg, source, err
}

// collected is the source of that name, which must be one that is collected.
func collected(cfg *config.Pipeline, name string) (config.Source, error) {
	i := slices.IndexFunc(cfg.Sources, func(x config.Source) bool { return x.Name == name })
	switch {
	case i < 0:
		return config.Source{}, usagef("the pipeline has no source %q: it has %s", name, names(cfg.Sources))
	case cfg.Sources[i].Kind == config.External:
		return config.Source{}, usagef("source %s is external, nothing is read from it: its items are the records of topic %s", name, cfg.Sources[i].Topic)
	}
	return cfg.Sources[i], nil
}

// kafkaThere is the pipeline's Kafka: the one that the file names, that of the running process or, if none runs, the embedded one, which
// is served until leave is called.
func kafkaThere(ctx context.Context, cfg *config.Pipeline, s streams) (at kafka.Config, leave func() error, err error) {
	at, leave = cfg.Kafka, func() error { return nil }
	if len(at.Brokers) > 0 {
		return at, leave, nil
	}
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return kafkaOf(running, cfg), leave, nil
	}
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return at, leave, usagef("nothing has run yet, %s does not exist", cfg.DataDir)
	}
	home, err := state.Lock(cfg.DataDir)
	if err != nil {
		return at, leave, err
	}
	p := newPipeline(cfg, parts{}, s.log)
	p.home = home
	if err := p.openKafka(); err != nil {
		return at, leave, errors.Join(err, p.close())
	}
	return p.broker.config, p.close, nil
}
