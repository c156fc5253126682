package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/config"
	"headwater/kafka"
	"headwater/lake"
	"headwater/land"
	"headwater/serialize"
	"headwater/table"
)

// sources are those of a process at one moment: the pipeline file may get others while it runs.
type sources struct {
	configured []config.Source
	// collectors are those of the configured sources that this process collects, in their order.
	collectors []collector
	// left has, by topic, the collectors of topics that no collector has any more: what their cursors do not cover must stay in Kafka.
	left map[string]collector
	// declared is what land was told. Topics that are not configured any more go on to land.
	declared land.Declared
}

// collector is a source that is collected.
type collector struct {
	*collect.Runner
	source config.Source
	// handler is what answers at the source's HTTPPath, nil if nothing does.
	handler http.Handler
}

// sources are those of now.
func (p *pipeline) sources() *sources { return p.now.Load() }

// find is the configured source of a topic.
func (s *sources) find(topic string) (config.Source, bool) {
	for _, source := range s.configured {
		if source.Topic == topic {
			return source, true
		}
	}
	return config.Source{}, false
}

// take makes the configured sources those of the process. What is collected already, and is to be collected alike, goes on undisturbed; what
// fails leaves everything as it was.
func (p *pipeline) take(ctx context.Context, configured []config.Source) error {
	was := p.sources()
	is := &sources{configured: configured, left: maps.Clone(was.left), declared: declare(was.declared, configured)}
	if err := p.ensureTopics(ctx, configured); err != nil {
		return err
	}
	if p.parts.collect {
		if err := p.makeCollectors(is, was); err != nil {
			return err
		}
	}
	for _, c := range was.collectors {
		if c.source.HTTPPath != "" && !slices.ContainsFunc(is.collectors, func(n collector) bool { return n.source.HTTPPath == c.source.HTTPPath }) {
			p.ingest.Handle(c.source.HTTPPath, nil)
		}
	}
	for _, c := range is.collectors {
		if c.handler != nil {
			p.ingest.Handle(c.source.HTTPPath, c.handler)
		}
	}
	p.now.Store(is)
	if p.lander != nil {
		p.lander.Declare(is.declared)
	}
	select {
	case p.taken <- struct{}{}:
	default: // who is told has not looked yet
	}
	return nil
}

// makeCollectors fills in the collectors, and what has been left. It opens sources, which dials nothing.
func (p *pipeline) makeCollectors(is, was *sources) error {
	for _, source := range is.configured {
		if source.Kind == config.External {
			continue
		}
		i := slices.IndexFunc(was.collectors, func(c collector) bool { return c.source.Same(source) })
		if i >= 0 {
			is.collectors = append(is.collectors, was.collectors[i])
			continue
		}
		c, err := p.newCollector(source)
		if err != nil {
			return err
		}
		is.collectors = append(is.collectors, c)
	}
	for _, c := range was.collectors {
		is.left[c.source.Topic] = c
	}
	for _, c := range is.collectors {
		delete(is.left, c.source.Topic)
	}
	return nil
}

// declare is what land is told when the sources change.
func declare(was land.Declared, configured []config.Source) land.Declared {
	is := land.Declared{Topics: slices.Clone(was.Topics), Shapes: map[string]envelope.Shape{}}
	maps.Copy(is.Shapes, was.Shapes)
	for _, s := range configured {
		if !slices.Contains(is.Topics, s.Topic) {
			is.Topics = append(is.Topics, s.Topic)
		}
		delete(is.Shapes, s.Topic)
		if s.Kind == config.External {
			is.Shapes[s.Topic] = s.Shape
		}
	}
	return is
}

// ensureTopics makes the topics of sources that are collected.
func (p *pipeline) ensureTopics(ctx context.Context, configured []config.Source) error {
	there, err := kafka.Topics(ctx, p.broker.client)
	if err != nil {
		return err
	}
	var specs []kafka.TopicSpec
	for _, s := range configured {
		if s.Kind == config.External { // who fills it makes it, and knows how
			if !slices.Contains(there, s.Topic) {
				p.log.Warn("the topic does not exist yet; it lands as soon as somebody has made it", "source", s.Name, "topic", s.Topic)
			}
			continue
		}
		specs = append(specs, kafka.TopicSpec{Name: s.Topic, Partitions: s.Partitions, Replication: s.Replication, Configs: s.Configs})
	}
	err = kafka.EnsureTopics(ctx, p.broker.client, specs)
	if _, other := errors.AsType[*kafka.PartitionsError](err); other {
		p.log.Warn("a topic keeps the Kafka partitions that it has", "reason", err)
		return nil
	}
	return err
}

// newCollector makes the collector of a source whose topic exists.
func (p *pipeline) newCollector(source config.Source) (collector, error) {
	c := collector{source: source}
	log := p.log.With("source", source.Name)
	opened, err := source.Open(config.Env{Logger: log, Look: p.wrap != nil, Handle: func(_ string, h http.Handler) { c.handler = h }})
	if err != nil {
		return collector{}, fmt.Errorf("opening source %s: %w", source.Name, err)
	}
	if p.wrap != nil {
		opened = p.wrap(opened)
	}
	c.Runner, err = p.newRunner(collect.Options{
		Name: source.Name, Source: opened, Logger: log,
		Quarantine: quarantine{Quarantine: lake.Quarantine{Store: p.layers.raw, Kept: p.observer.kept}},
		Open: func(ctx context.Context) (collect.Log, envelope.Cursor, error) {
			l, cursor, err := kafka.OpenSource(ctx, p.broker.config, source.Name, source.Topic, log)
			if err != nil {
				return nil, cursor, err
			}
			return p.observer.topic(source.Name, l), cursor, nil
		},
	})
	return c, err
}

// newRunner adds what all runners of the process have.
func (p *pipeline) newRunner(o collect.Options) (*collect.Runner, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("finding the name of this machine: %w", err)
	}
	o.Config, o.DayEnd = p.cfg.Collect, p.dayEnd
	if p.admission != nil {
		o.Admit = p.admission.check
	}
	o.Metadata = envelope.Metadata{ThreadID: p.threads, HostName: host, ProcessStartTime: p.started.UTC().Format(time.RFC3339)}
	p.threads++
	return collect.New(o), nil
}

// collect runs the collectors, and others when the sources change, until ctx ends: all of them or, on a broker that others share, those
// that the others leave to this process.
func (p *pipeline) collect(ctx context.Context) error {
	if p.broker.config.Shared {
		return p.collectShare(ctx)
	}
	crew := crew{ctx: ctx, at: map[*collect.Runner]*shift{}}
	defer crew.set(nil)
	for {
		crew.set(p.latest())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.taken:
		}
	}
}

// latest are the collectors of now, with which p.taken has nothing more to say.
func (p *pipeline) latest() []collector {
	select {
	case <-p.taken:
	default:
	}
	return p.sources().collectors
}

// crew are collectors that run until ctx ends.
type crew struct {
	ctx context.Context
	at  map[*collect.Runner]*shift
}

// shift is one of them.
type shift struct {
	stop context.CancelFunc
	done chan struct{}
}

// set stops the collectors that are not wanted any more, waits for them and then starts those that are new: a source may have the topic of
// one that goes.
func (c *crew) set(wanted []collector) {
	gone := maps.Clone(c.at)
	for _, w := range wanted {
		delete(gone, w.Runner)
	}
	for _, s := range gone {
		s.stop()
	}
	for runner, s := range gone {
		<-s.done
		delete(c.at, runner)
	}
	for _, w := range wanted {
		if c.at[w.Runner] == nil {
			c.at[w.Runner] = c.start(w)
		}
	}
}

func (c *crew) start(w collector) *shift {
	ctx, stop := context.WithCancel(c.ctx)
	s := &shift{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_ = w.Run(ctx, false) // which gives no error, and does not end before it is told to
	}()
	return s
}

// collectShare has the sources shared among processes. Others are shared anew, all of them, because who shares with whom is told by their
// names.
func (p *pipeline) collectShare(ctx context.Context) error {
	for ctx.Err() == nil {
		runners := map[string]*collect.Runner{}
		for _, c := range p.latest() {
			runners[c.source.Name] = c.Runner
		}
		sharing, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- p.share(sharing, runners) }()
		err, over := p.untilOthers(ctx, runners, ended)
		stop()
		if over {
			return err
		}
		<-ended
	}
	return context.Cause(ctx)
}

// untilOthers waits until the collectors are others, or until sharing is over.
func (p *pipeline) untilOthers(ctx context.Context, runners map[string]*collect.Runner, ended <-chan error) (err error, over bool) {
	for {
		select {
		case <-ctx.Done():
			return <-ended, true
		case err := <-ended:
			return err, true
		case <-p.taken:
		}
		now := map[string]*collect.Runner{}
		for _, c := range p.sources().collectors {
			now[c.source.Name] = c.Runner
		}
		if !maps.Equal(now, runners) {
			return nil, false
		}
	}
}

// share runs what the others leave to this process.
func (p *pipeline) share(ctx context.Context, runners map[string]*collect.Runner) error {
	if len(runners) == 0 {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return kafka.Share(ctx, p.broker.config, slices.Collect(maps.Keys(runners)), p.log, func(ctx context.Context, source string) error {
		return runners[source].Run(ctx, false)
	})
}

// jobOf is the serialize job of a topic's day. A topic that is none of the sources' gets its names from its own.
func (p *pipeline) jobOf(topic string, day table.Day) serialize.Job {
	if found, is := p.sources().find(topic); is {
		return serialize.Job{Source: found.Name, Topic: topic, Shape: found.Shape, Raw: found.RawTable, Flat: found.FlatTable, Schema: found.Schema, Legacy: found.Legacy, Day: day}
	}
	source := kafka.SourceOf(topic)
	return serialize.Job{
		Source: source, Topic: topic, Day: day,
		Raw:    table.Name{Database: p.cfg.Database, Table: source + "_raw"},
		Flat:   table.Name{Database: p.cfg.Database, Table: source},
		Schema: p.cfg.Serialize.Schema,
	}
}
