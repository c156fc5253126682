package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"headwater/internal/config"
	"headwater/land"
)

// runAdopt has landing go on where a Kafka Connect S3 sink has stopped.
func runAdopt(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	from := fs.String("from-group", "", "the connector's consumer `group`, connect-NAME unless its consumer.override.group.id says otherwise")
	dry := fs.Bool("dry-run", false, "show what would be done, and change nothing")
	return handOver(ctx, fs, args, s, from, dry, func(l *land.Lander) (land.Handover, error) { return l.PlanAdoption(ctx, *from) },
		func(l *land.Lander, h land.Handover) error { return l.Adopt(ctx, h) })
}

// runRelease is the way back.
func runRelease(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	to := fs.String("to-group", "", "the connector's consumer `group`, connect-NAME unless its consumer.override.group.id says otherwise")
	dry := fs.Bool("dry-run", false, "show what would be done, and change nothing")
	return handOver(ctx, fs, args, s, to, dry, func(l *land.Lander) (land.Handover, error) { return l.PlanRelease(ctx, *to) },
		func(l *land.Lander, h land.Handover) error { return l.Release(ctx, h) })
}

func handOver(ctx context.Context, fs *flag.FlagSet, args []string, s streams, group *string, dry *bool,
	plan func(*land.Lander) (land.Handover, error), do func(*land.Lander, land.Handover) error,
) error {
	cfg, err := parsePipeline(fs, args)
	switch {
	case err != nil:
		return err
	case *group == "":
		return usagef("the connector's group is missing, as connect-NAME; see %s --help", fs.Name())
	case len(cfg.Kafka.Brokers) == 0:
		return usagef("%s: kafka.brokers is missing, and a broker of this process's own has no groups of others: name the brokers", cfg.File)
	}
	return withLander(ctx, cfg, s, func(l *land.Lander) error {
		h, err := plan(l)
		if err != nil {
			return err
		}
		if err := printHandover(s.out, h); err != nil {
			return err
		}
		if *dry {
			_, err := fmt.Fprintln(s.out, "\nNothing was changed.")
			return err
		}
		if err := do(l, h); err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "\nGroup %s goes on from here.\n", h.To)
		return err
	})
}

// runAccept has Kafka partitions go on that have stopped, once a person has seen why.
func runAccept(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	dry := fs.Bool("dry-run", false, "show what would be accepted, and change nothing")
	operands, err := gather(fs, args)
	if err != nil {
		return err
	}
	partition := int64(-1)
	if len(operands) == 3 {
		if partition, err = strconv.ParseInt(operands[2], 10, 32); err != nil || partition < 0 {
			return usagef("PARTITION must be the number of a Kafka partition, got %q", operands[2])
		}
	} else if len(operands) != 2 {
		return usagef("FILE and TOPIC are needed, and PARTITION may follow; see %s --help", fs.Name())
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	return withLander(ctx, cfg, s, func(l *land.Lander) error {
		all, err := l.PlanAcceptance(ctx, operands[1], int32(partition))
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "TOPIC\tPARTITION\tGOES ON AT\tLOG\tWHY")
		for _, a := range all {
			fmt.Fprintf(t, "%s\t%d\t%d\tnumber %d\t%s\n", a.Topic, a.Partition, a.Offset, a.Generation, a.Why)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if *dry {
			_, err := fmt.Fprintln(s.out, "\nNothing was changed.")
			return err
		}
		if err := l.Accept(ctx, all); err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, "\nIt is accepted: start landing again.")
		return err
	})
}

// withLander has work done with a Lander that is not running, by a process that no other one of the pipeline's runs beside.
func withLander(ctx context.Context, cfg *config.Pipeline, s streams, work func(*land.Lander) error) (err error) {
	p := newPipeline(cfg, parts{land: true}, s.log)
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.openTables(ctx); err != nil {
		return err
	}
	if err := p.openKafka(); err != nil {
		return err
	}
	// Not take, which makes the topics of sources that are not there.
	p.now.Store(&sources{configured: cfg.Sources, declared: declare(land.Declared{}, cfg.Sources)})
	if p.lander, err = p.newLander(); err != nil {
		return err
	}
	return work(p.lander)
}

func printHandover(w io.Writer, h land.Handover) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TOPIC\tPARTITION\tOFFSET\tEND\tOBJECTS TO MOVE")
	for _, p := range h.Partitions {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\n", p.Topic, p.Partition, p.Offset, p.End, len(p.Supersede))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range h.Partitions {
		for _, o := range p.Supersede {
			fmt.Fprintf(w, "to move: %s\n     to: %s%s\n", o.Key, land.SupersededPrefix, o.Key)
		}
	}
	for _, warning := range h.Warnings {
		if _, err := fmt.Fprintln(w, "warning:", warning); err != nil {
			return err
		}
	}
	return nil
}
