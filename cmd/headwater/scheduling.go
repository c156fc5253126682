package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"headwater/internal/config"
	"headwater/internal/database"
	"headwater/internal/notify"
	"headwater/internal/runs"
	"headwater/internal/schedule"
	"headwater/internal/state"
	"headwater/serialize"
	"headwater/table"
)

// scheduling is what the scheduler of a process remembers.
type scheduling struct {
	mu sync.Mutex
	// topics are those of the sources that are scheduled, by source.
	topics map[string]string
	// fresh is, by source, until when all of its records are in the tables once the days that were planned are.
	fresh map[string]time.Time
	// refused are topics of which was said why no tables are made.
	refused map[string]bool
}

// stateDatabase is where the pipeline's runs are.
func stateDatabase(cfg *config.Pipeline, home *state.Dir) database.Config {
	return database.Config{Path: home.Path("state.db"), PostgreSQL: cfg.State.Reveal()}
}

// lockedState is stateDatabase for a command where no process of the pipeline was found. PostgreSQL any number of processes may use; of SQLite the command is the only one
// until it releases the data folder.
func lockedState(cfg *config.Pipeline) (where database.Config, release func() error, err error) {
	if cfg.State != "" {
		return database.Config{PostgreSQL: cfg.State.Reveal()}, func() error { return nil }, nil
	}
	home, err := state.Lock(cfg.DataDir)
	if err != nil {
		return where, nil, err
	}
	return stateDatabase(cfg, home), home.Close, nil
}

// holder is the name of a data folder, which no other one has: who has locked it knows that whoever ran by that name has ended.
func holder(home *state.Dir) (string, error) {
	path := home.Path("replica")
	name, err := os.ReadFile(path)
	if err == nil && len(name) > 0 {
		return string(name), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the name of the data folder: %w", err)
	}
	host, _ := os.Hostname()
	name = []byte(host + "-" + rand.Text()[:8])
	if err := os.WriteFile(path, name, 0o600); err != nil {
		return "", fmt.Errorf("writing the name of the data folder: %w", err)
	}
	return string(name), nil
}

// openRuns opens the runs, and makes what plans and does them.
func (p *pipeline) openRuns(ctx context.Context) error {
	name, err := holder(p.home)
	if err != nil {
		return err
	}
	if p.runs, err = runs.Open(ctx, stateDatabase(p.cfg, p.home), p.cfg.Database, name, p.cfg.Serialize.Lease); err != nil {
		return err
	}
	if p.notices, err = notify.Open(ctx, stateDatabase(p.cfg, p.home), p.cfg.Database, name, p.cfg.Notify, p.log); err != nil {
		return err
	}
	p.runs.Ended = p.runEnded
	p.scheduler = p.newScheduler()
	return nil
}

// newScheduler is a scheduler that plans, too; where there are topics to look at, it waits for days to be closed.
func (p *pipeline) newScheduler() *runs.Scheduler {
	o := p.schedulerOptions()
	o.Sources, o.Pending, o.Settled = p.scheduled, p.pending, p.settled
	if p.closer != nil {
		o.Closed, o.Changed = p.isClosed, p.closer.Changed()
	}
	return runs.New(o)
}

func (p *pipeline) isClosed(ctx context.Context, source string, day table.Day) (closed bool, reason string, err error) {
	v, err := p.closer.Closed(ctx, source, day)
	return v.Closed, v.Reason(), err
}

// schedulerOptions are those of a scheduler that only does what it is asked for.
func (p *pipeline) schedulerOptions() runs.Options {
	return runs.Options{
		Store: p.runs, Do: p.doRun, Classify: classify, LimitsOf: p.limitsOf,
		Parallel: p.cfg.Serialize.Parallel, Location: p.cfg.Location, Logger: p.log,
	}
}

// classify says what kind of error a run has ended with.
func classify(err error) runs.Class {
	switch code := exitCode(err); {
	case errors.Is(err, table.ErrOutdated), code == exitTransient:
		return runs.Transient // an outdated run looks again
	case code == exitData:
		return runs.DataError
	case code == exitRefused:
		return runs.Refused
	}
	return runs.Ours
}

// runsOf is when and how the days of a source are made. One that the file does not name has what is said for all.
func (p *pipeline) runsOf(source string) (serialize.RunsConfig, string) {
	for _, s := range p.sources().configured {
		if s.Name == source {
			return s.Runs, s.Scheduler
		}
	}
	return p.cfg.Serialize.RunsConfig, p.cfg.Scheduler
}

// ownerOf is who makes the days of a source by himself.
func (p *pipeline) ownerOf(source string) string {
	_, owner := p.runsOf(source)
	return owner
}

func (p *pipeline) limitsOf(source string) runs.Limits {
	c, _ := p.runsOf(source)
	return runs.Limits{Retries: c.Retries.Max, MinWait: c.Retries.MinWait, MaxWait: c.Retries.MaxWait, Timeout: c.Timeout}
}

// scheduled are the sources that this process makes the days of: all whose topic lands, but for those that others own.
func (p *pipeline) scheduled(ctx context.Context) (all []runs.Source, err error) {
	topics, err := p.landed(ctx)
	if err != nil {
		return nil, err
	}
	made := owners{}
	for _, source := range p.sources().configured { // what is theirs is theirs, whatever topics others make
		made.taken(p.jobOf(source.Topic, table.Day{}))
	}
	of := map[string]string{}
	for _, topic := range topics {
		job := p.jobOf(topic, table.Day{})
		if other := made.taken(job); other != "" {
			p.scheduling.refuse(p.log, topic, other, job.Source)
			continue
		}
		c, owner := p.runsOf(job.Source)
		if owner != config.InternalScheduler {
			continue
		}
		of[job.Source] = topic
		s := runs.Source{Name: job.Source}
		if c.Schedule != "" {
			if s.Schedule, err = schedule.Parse(c.Schedule); err != nil {
				return nil, err // the configuration was checked
			}
		}
		all = append(all, s)
	}
	p.scheduling.mu.Lock()
	defer p.scheduling.mu.Unlock()
	p.scheduling.topics = of
	return all, nil
}

// refuse says once why no tables are made of a topic.
func (s *scheduling) refuse(log *slog.Logger, topic, other, source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = map[string]bool{}
	}
	if !s.refused[topic] {
		log.Error("no tables are made of a topic: they, or its quarantine, would be those of another one; name it under sources as external, with a name and tables of its own",
			"topic", topic, "source", source, "other", other)
	}
	s.refused[topic] = true
}

// topicOf is the topic of a source, of the file or of a topic that others fill.
func (p *pipeline) topicOf(source string) (string, error) {
	for _, s := range p.sources().configured {
		if s.Name == source {
			return s.Topic, nil
		}
	}
	p.scheduling.mu.Lock()
	defer p.scheduling.mu.Unlock()
	if topic, found := p.scheduling.topics[source]; found {
		return topic, nil
	}
	return "", usagef("the pipeline has no source %q; a topic that others fill needs a line under sources, as external", source)
}

// pending are the days of a source that have something to do. Those of which that cannot be told are among them, because a run says why; but a store
// that does not answer is an error.
func (p *pipeline) pending(ctx context.Context, source string, over table.Day) ([]table.Day, error) {
	topic, err := p.topicOf(source)
	if err != nil {
		return nil, err
	}
	if p.catalog.forget() {
		if end, err := p.turn(ctx); err == nil {
			err = p.catalog.tell(ctx)
			end()
			if err != nil {
				p.log.Warn("the metastore may lack tables", "error", err)
			}
		}
	}
	until := scope{before: over.Add(1).Begins(p.cfg.Location)}.until(p.watch.landedUntil(topic), !p.collects(topic))
	var out []table.Day
	err = p.eachDay(ctx, p.jobOf(topic, table.Day{}), func(d table.Day, stale bool, err error) error {
		switch {
		case err != nil && (ctx.Err() != nil || classify(err) == runs.Transient):
			return err
		case d.Compare(over) <= 0 && (stale || err != nil):
			out = append(out, d)
		}
		return nil
	}, func(d table.Day) bool { return d.Compare(over) <= 0 })
	if err != nil {
		return nil, err
	}
	p.scheduling.mu.Lock()
	defer p.scheduling.mu.Unlock()
	if p.scheduling.fresh == nil {
		p.scheduling.fresh = map[string]time.Time{}
	}
	p.scheduling.fresh[source] = until
	return out, nil
}

// eachDay tells of each wanted day that has objects, or columns of other types than they should have, whether something is to be made of it.
func (p *pipeline) eachDay(ctx context.Context, job serialize.Job, do func(d table.Day, stale bool, err error) error, wanted func(table.Day) bool) error {
	days, err := p.serializer.Days(ctx, job.Topic)
	if err != nil {
		return err
	}
	marked, err := p.serializer.Marked(ctx, job)
	if err != nil {
		return err
	}
	all := slices.Concat(days, marked)
	slices.SortFunc(all, table.Day.Compare)
	for _, job.Day = range slices.Compact(all) {
		if !wanted(job.Day) {
			continue
		}
		stale, err := p.serializer.Stale(ctx, job)
		if err := do(job.Day, stale || slices.Contains(marked, job.Day), err); err != nil {
			return err
		}
	}
	return nil
}

// settled notes how far the tables of a source are, now that the days that were planned are made.
func (p *pipeline) settled(source string) {
	p.scheduling.mu.Lock()
	until := p.scheduling.fresh[source]
	p.scheduling.mu.Unlock()
	p.ledger.fresh(source, until)
}

// doRun makes the tables of a run's day.
func (p *pipeline) doRun(ctx context.Context, r runs.Run, log *slog.Logger, guard func(context.Context) error) (runs.Outcome, error) {
	day, err := table.ParseDay(r.Day)
	if err != nil {
		return runs.Outcome{}, err
	}
	topic, err := p.topicOf(r.Source)
	if err != nil {
		return runs.Outcome{}, err
	}
	job := p.jobOf(topic, day)
	job.Guard, job.Logger = guard, log
	got, err := p.serialize(ctx, job)
	if errors.Is(err, serialize.ErrNoInput) {
		log.Info("the day has no objects", "source", r.Source, "day", r.Day)
		return runs.Outcome{Unchanged: true}, nil
	}
	return runs.Outcome{Rows: got.Rows, Quarantined: got.Quarantined, Unchanged: got.NoOp}, err
}

// mayMake refuses who is not the scheduler of a source; a person may always.
func (p *pipeline) mayMake(source, by string) error {
	switch owner := p.ownerOf(source); {
	case by == "" || by == owner && by == config.AirflowScheduler:
		return nil
	case by != config.AirflowScheduler:
		return usagef("--by must be airflow, or be left out, got %q", by)
	default:
		return usagef("source %s is not Airflow's to make: its scheduler is %s. Write scheduler: airflow in the pipeline file, so that nobody else makes its days", source, cmp.Or(owner, "none"))
	}
}
