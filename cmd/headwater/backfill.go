package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/kafka"
	"headwater/lake"
)

// span is a part of what a source has, from and to as the source spells them.
type span struct{ source, from, to string }

func (s span) any() bool { return s != span{} }

// cursor is what the positions of the span's records call its cursor. A name of a source has no space.
func (s span) cursor() string { return s.source + " " + s.from + "/" + s.to }

// backfill reads the span into its source's topic, whether a process collects the source or not: it has a cursor of its own. What was killed goes
// on when the same span is asked for again, and what was finished has nothing more to read.
func backfill(ctx context.Context, cfg *config.Pipeline, span span, s streams) (err error) {
	if span.source == "" || span.from == "" || span.to == "" {
		return usagef("a range needs all of --source, --from and --to")
	}
	source, err := collected(cfg, span.source)
	if err != nil {
		return err
	}
	log := s.log.With("source", source.Name, "from", span.from, "to", span.to)
	opened, err := source.Open(config.Env{Logger: log, Handle: func(string, http.Handler) {}})
	if err != nil {
		return fmt.Errorf("opening source %s: %w", source.Name, err)
	}
	ranged, is := opened.(collect.Ranged)
	if !is {
		return usagef("source %s is of kind %s, which cannot be asked for a range", source.Name, source.Kind)
	}
	part, err := ranged.Between(span.from, span.to)
	if err != nil {
		return usagef("source %s: %v", source.Name, err)
	}

	p := newPipeline(cfg, parts{collect: true}, s.log)
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.openTopic(ctx, source); err != nil {
		return err
	}
	if p.layers, err = openLayers(ctx, cfg, false, log); err != nil {
		return err
	}
	runner, err := p.newRunner(collect.Options{
		Name: source.Name, Source: part, Logger: log,
		// The streams of different cursors may have the same names.
		Quarantine: quarantine{lake.Quarantine{Store: p.layers.raw}, span.from + "/" + span.to + " "},
		Open: func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
			l, cursor, err := kafka.OpenBackfill(ctx, p.broker.config, span.cursor(), source.Topic, log)
			if err != nil {
				return nil, cursor, err
			}
			return l, cursor, nil
		},
	})
	if err != nil {
		return err
	}
	if err := runner.Run(ctx, true); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d records of source %s that were not there yet, from %s to %s, are in topic %s\n", runner.Status().Records, source.Name, span.from, span.to, source.Topic)
	return nil
}

// openTopic opens the broker, and the source's topic there, for a command that writes to it.
func (p *pipeline) openTopic(ctx context.Context, source config.Source) (err error) {
	if len(p.cfg.Kafka.Brokers) == 0 {
		if running, ok := state.Find(ctx, p.cfg.DataDir); ok {
			return usagef("process %d has the pipeline's Kafka to itself: stop it, do this and start it again, or have Kafka of your own under kafka.brokers", running.PID)
		}
		if p.home, err = state.Lock(p.cfg.DataDir); err != nil {
			return err
		}
	}
	if err := p.openKafka(); err != nil {
		return err
	}
	return p.ensureTopics(ctx, []config.Source{source})
}
