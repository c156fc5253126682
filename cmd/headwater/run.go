package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/collect"
	"headwater/internal/access"
	"headwater/internal/config"
	"headwater/internal/dayclose"
	"headwater/internal/metrics"
	"headwater/internal/notify"
	"headwater/internal/progress"
	"headwater/internal/retry"
	"headwater/internal/runs"
	"headwater/internal/state"
	"headwater/internal/tokens"
	"headwater/internal/web"
	"headwater/kafka"
	"headwater/lake"
	"headwater/land"
	"headwater/serialize"
	"headwater/table"
)

// parts are the stages that a process has.
type parts struct{ collect, land, serialize bool }

var allParts = parts{collect: true, land: true, serialize: true}

// pipeline is every stage of one process, in the order in which a record meets them.
type pipeline struct {
	cfg     *config.Pipeline
	parts   parts
	log     *slog.Logger
	started time.Time

	home       *state.Dir
	layers     layers
	catalog    *catalog
	broker     *broker
	lander     *land.Lander
	serializer *serialize.Serializer

	now     atomic.Pointer[sources]
	taken   chan struct{}                       // has an element after now has changed
	threads int                                 // collectors that were made
	wrap    func(collect.Source) collect.Source // not nil if sources are only looked at
	file    follower

	cert       *tls.Certificate // of the doors, if they have one
	policy     *access.Policy   // nil if the file has no access:, and so are the tokens
	tokens     *tokens.Store
	queries    chan struct{} // has an element for each query that is under way
	ingest     web.Ingest
	me         state.Running
	turns      *turns
	runs       *runs.Store   // nil if it makes no tables
	notices    *notify.Store // likewise
	promises   promises
	scheduler  *runs.Scheduler
	scheduling scheduling
	jobs       sync.Map // *serialize.Job of those that are under way
	ledger     ledger
	watch      watch
	closer     *dayclose.Closer
	observer   *observer
	wedges     *progress.Detector
	loops      sync.Map // that are at work: their name, and a number of the turn
	retention  retention
	auditor    auditor
	admission  *admission // nil if somebody else's broker keeps the records

	draining atomic.Bool
}

func newPipeline(cfg *config.Pipeline, which parts, log *slog.Logger) *pipeline {
	which.serialize = which.serialize && makesTables(cfg) == nil
	p := &pipeline{
		cfg: cfg, parts: which, log: log, started: time.Now(), turns: newTurns(cfg.Serialize.Parallel), taken: make(chan struct{}, 1),
		observer: newObserver(), wedges: progress.New(cfg.StuckAfter),
	}
	p.now.Store(&sources{configured: cfg.Sources, left: map[string]collector{}})
	p.me.Token, p.queries = state.NewToken(), make(chan struct{}, cfg.Query.Parallel)
	if cfg.Access != nil {
		p.policy = access.New(*cfg.Access)
	}
	return p
}

// makesTables says why a pipeline makes none.
func makesTables(cfg *config.Pipeline) error {
	if cfg.Serialize.Engine == serialize.NoEngine {
		return usagef("%s: serialize.engine is none, and no tables are made: write native, with days in land.path.format", cfg.File)
	}
	return nil
}

func runPipeline(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	once := fs.Bool("once", false, "read what is there now, through to the tables, then exit")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	p := newPipeline(cfg, allParts, s.log)
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return err
	}
	if !*once {
		return p.serve(ctx, p.run)
	}
	return p.serve(ctx, func(ctx context.Context) error {
		watched, unwatch := context.WithCancel(ctx)
		var watcher sync.WaitGroup
		watcher.Go(func() { p.progress(watched, s.screen) })
		err := p.once(ctx)
		unwatch()
		watcher.Wait()
		status, serr := p.Status(context.WithoutCancel(ctx))
		if serr != nil {
			return errors.Join(err, serr)
		}
		return errors.Join(err, printCounts(s.out, status))
	})
}

// openTables locks the data folder and opens what serialize needs. What it has opened is closed by close, also if it fails.
func (p *pipeline) openTables(ctx context.Context) (err error) {
	if p.home, err = state.Lock(p.cfg.DataDir); err != nil {
		return err
	}
	if p.layers, err = openLayers(ctx, p.cfg, p.parts.serialize, p.log); err != nil {
		return err
	}
	if err := p.layers.sweep(ctx, p.log); err != nil {
		return err
	}
	p.layers.raw, p.layers.tables = p.observer.store("raw", p.layers.raw), p.observer.store("tables", p.layers.tables)
	if !p.parts.serialize {
		return nil
	}
	if p.catalog, err = openCatalog(ctx, p.cfg, p.home, p.layers, p.log); err != nil {
		return err
	}
	p.catalog.calls = p.observer.metastore(p.catalog.hive)
	if p.serializer, err = p.layers.serializer(p.cfg, p.home, p.catalog, p.log); err != nil {
		return err
	}
	return p.openRuns(ctx)
}

// open opens every stage.
func (p *pipeline) open(ctx context.Context) (err error) {
	if err := p.openTables(ctx); err != nil {
		return err
	}
	if err := p.openAccess(ctx); err != nil {
		return err
	}
	return p.openStages(ctx)
}

// openStages opens what openTables does not.
func (p *pipeline) openStages(ctx context.Context) (err error) {
	if err := p.openKafka(); err != nil {
		return err
	}
	if err := p.take(ctx, p.cfg.Sources); err != nil {
		return err
	}
	if p.lander, err = p.newLander(); err != nil {
		return err
	}
	p.closer = p.newCloser()
	if p.runs != nil {
		p.scheduler = p.newScheduler()
	}
	return nil
}

// openKafka opens the broker, and watches the disk of our own.
func (p *pipeline) openKafka() (err error) {
	if p.cert, err = certificate(p.cfg); err != nil {
		return err
	}
	if p.broker, err = openBroker(p.cfg, p.home, p.kafkaDoor(), p.cert, p.log); err != nil {
		return err
	}
	if p.broker.embedded != nil && p.cfg.MinFree > 0 {
		p.admission = &admission{folder: p.cfg.DataDir, least: int64(p.cfg.MinFree), free: freeBytes}
	}
	return nil
}

func (p *pipeline) newLander() (*land.Lander, error) {
	spool, err := p.home.Temp("land")
	if err != nil {
		return nil, err
	}
	return land.New(land.Options{
		Config: p.cfg.Land, Kafka: p.broker.config, Declared: p.sources().declared, Store: p.layers.raw,
		Source:     func(topic string) string { return p.jobOf(topic, table.Day{}).Source },
		Quarantine: lake.Quarantine{Store: p.layers.raw, Kept: p.observer.kept}, Spool: spool, Location: p.cfg.Location, Logger: p.log,
	})
}

// close waits for a serialize job that a cut HTTP request has left behind.
func (p *pipeline) close() error {
	end, err := p.turns.alone(context.Background())
	if err != nil {
		return err
	}
	defer end()
	var errs []error
	if p.runs != nil {
		errs = append(errs, p.runs.Close())
	}
	if p.notices != nil {
		errs = append(errs, p.notices.Close())
	}
	if p.tokens != nil {
		errs = append(errs, p.tokens.Close())
	}
	if p.broker != nil {
		errs = append(errs, p.broker.close())
	}
	if p.catalog != nil {
		errs = append(errs, p.catalog.close())
	}
	errs = append(errs, p.layers.close())
	if p.home != nil {
		errs = append(errs, p.home.Close())
	}
	return errors.Join(errs...)
}

// serve does work with the HTTP door open, and closes the door when the work has ended: status answers while stages drain.
func (p *pipeline) serve(ctx context.Context, work func(context.Context) error) error {
	door, err := listenHTTP(ctx, p.cfg.Listen.HTTP)
	if err != nil {
		return err
	}
	if p.cert != nil {
		p.me.Certificate = p.cert.Certificate[0]
		door = tls.NewListener(door, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*p.cert}, NextProtos: []string{"http/1.1"}})
	}
	p.me.PID, p.me.Started, p.me.HTTP, p.me.Hive = os.Getpid(), p.started, door.Addr().String(), p.catalog.address()
	if p.broker.embedded != nil {
		p.me.Kafka = p.broker.embedded.Addr()
	}
	if err := p.home.Announce(p.me); err != nil {
		return errors.Join(err, door.Close())
	}
	p.log.Info("answering HTTP", "address", p.me.HTTP)
	open, shut := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error {
		return web.New(door, p, metrics.Handler(p.Status, p.observer.Recorder, p.log), &p.ingest, p.guard(), exitCode, p.log).Run(open)
	})
	err = work(ctx)
	shut()
	return errors.Join(err, g.Wait())
}

// once takes what is there now through every stage. A source or a topic that fails does not keep the others from their tables.
func (p *pipeline) once(ctx context.Context) error {
	failed := p.collectOnce(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	topics, err := p.landed(ctx)
	if err != nil {
		return errors.Join(failed, err)
	}
	ends, err := kafka.EndOffsets(ctx, p.broker.client, topics...)
	if err != nil {
		return errors.Join(failed, err)
	}
	if err := p.lander.RunTo(ctx, ends); err != nil {
		failed = errors.Join(failed, fmt.Errorf("landing: %w", err))
	}
	failed = errors.Join(failed, p.trim(ctx))
	if ctx.Err() != nil {
		return errors.Join(failed, context.Cause(ctx))
	}
	if !p.parts.serialize {
		return failed
	}
	p.register(ctx)
	failed = errors.Join(failed, p.serializeStale(ctx, topics, everyDay))
	if err := errors.Join(p.closer.Look(ctx), p.complete(ctx)); err != nil && ctx.Err() == nil {
		p.log.Warn("which days are over is not known", "error", err)
	}
	if err := errors.Join(p.judge(ctx), p.sender().Once(ctx)); err != nil && ctx.Err() == nil {
		p.log.Warn("what is wrong may not have been told", "error", err)
	}
	return failed
}

func (p *pipeline) collectOnce(ctx context.Context) error {
	collectors := p.sources().collectors
	errs := make([]error, len(collectors))
	var wg sync.WaitGroup
	for i, c := range collectors {
		wg.Go(func() {
			if err := c.Run(ctx, true); err != nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// landed are the topics that land.
func (p *pipeline) landed(ctx context.Context) ([]string, error) {
	topics, err := kafka.Topics(ctx, p.broker.client)
	return slices.DeleteFunc(topics, func(t string) bool { return !p.lander.Lands(t) }), err
}

// scope is which days are wanted.
type scope struct {
	wanted func(table.Day) bool
	before time.Time // if not zero, records that were read later are of days that are not wanted
	recent bool      // only days of records that were read lately
	open   bool      // what is not over yet stays open
}

// staysOpen says whether the job's day is to be read from files of an open day, which the schedule closes: from its midnight on until that has come.
func (p *pipeline) staysOpen(ctx context.Context, job serialize.Job, now time.Time) (bool, error) {
	switch today := table.DayOf(now.In(p.cfg.Location)); {
	case job.Day.Compare(today) >= 0:
		return true, nil
	case p.cfg.Serialize.Schedule == "" || job.Day.Compare(table.DayOf(now.In(p.cfg.Location).AddDate(0, 0, -1))) < 0:
		return false, nil
	}
	return p.serializer.IsOpen(ctx, job)
}

// opens has the job make files of an open day, if that is wanted and the day stays open.
func (p *pipeline) opens(ctx context.Context, job *serialize.Job, days scope) (err error) {
	job.Open = false
	if days.open {
		job.Open, err = p.staysOpen(ctx, *job, time.Now())
	}
	return err
}

var everyDay = scope{wanted: func(table.Day) bool { return true }}

// until is of when all records of a topic are in the tables, once all of its days in the scope are, if they had landed until then.
func (s scope) until(landed time.Time, external bool) time.Time {
	switch {
	case (s.recent || !s.before.IsZero()) && external:
		return time.Time{} // the days of its records have nothing to do with when they came
	case !s.before.IsZero() && landed.After(s.before):
		return s.before
	}
	return landed
}

// serializeStale makes the tables of every wanted day whose objects are not those that the tables were made from. A day
// that cannot be made does not keep the others from being made.
func (p *pipeline) serializeStale(ctx context.Context, topics []string, days scope) error {
	var errs []error
	made := owners{}
	for _, source := range p.sources().configured { // what is theirs is theirs, whatever topics others make
		made.taken(p.jobOf(source.Topic, table.Day{}))
	}
	for _, topic := range topics {
		job := p.jobOf(topic, table.Day{})
		if other := made.taken(job); other != "" {
			errs = append(errs, retry.Stop(fmt.Errorf("serializing topic %s: its tables, or its quarantine as source %s, would be those of topic %s; name it under sources as external, with a name and tables of its own",
				topic, job.Source, other)))
			continue
		}
		until := days.until(p.watch.landedUntil(topic), !p.collects(topic))
		before := len(errs)
		there, err := p.serializer.Days(ctx, topic)
		if err != nil {
			errs = append(errs, err)
		}
		for _, job.Day = range there {
			if !days.wanted(job.Day) {
				continue
			}
			if ctx.Err() != nil {
				return errors.Join(append(errs, context.Cause(ctx))...)
			}
			if err := p.opens(ctx, &job, days); err != nil {
				errs = append(errs, err)
				continue
			}
			if _, err := p.serialize(ctx, job); err != nil {
				errs = append(errs, err)
			}
		}
		if err := p.rewrite(ctx, job, days); err != nil {
			errs = append(errs, err)
		}
		if len(errs) == before {
			p.ledger.fresh(job.Source, until)
		}
	}
	return errors.Join(errs...)
}

// rewrite makes the wanted days anew whose columns have got other types, also those whose objects are no more.
func (p *pipeline) rewrite(ctx context.Context, job serialize.Job, days scope) error {
	marked, err := p.serializer.Marked(ctx, job)
	errs := []error{err}
	for _, job.Day = range marked {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !days.wanted(job.Day) {
			continue
		}
		if err := p.opens(ctx, &job, days); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := p.serialize(ctx, job); err != nil && !errors.Is(err, serialize.ErrNoInput) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// collects says whether a topic is filled by one of our sources.
func (p *pipeline) collects(topic string) bool {
	source, found := p.sources().find(topic)
	return found && source.Kind != config.External
}

// owners has the topic of each table, and of each source's quarantine.
type owners map[string]string

// taken is the other topic that has what the job would write, if any; without one the job's topic has it from now on.
func (o owners) taken(job serialize.Job) string {
	all := []string{"source " + job.Source, "table " + job.Raw.String(), "table " + job.Flat.String()}
	for _, what := range all {
		if other, found := o[what]; found && other != job.Topic {
			return other
		}
	}
	for _, what := range all {
		o[what] = job.Topic
	}
	return ""
}

// turn waits until nobody else of this process changes tables, and gives what says that the caller does no more. A process that makes none is an error.
func (p *pipeline) turn(ctx context.Context) (end func(), err error) {
	if end, err = p.turns.alone(ctx); err != nil {
		return nil, err
	}
	if p.serializer == nil {
		end()
		return nil, errNoTables
	}
	return end, nil
}

var errNoTables = usagef("this process makes no tables: ask one that was started with run or serve")

// working are the jobs that are under way, by source: there is one of each at a time.
func (p *pipeline) working() (jobs []serialize.Job) {
	p.jobs.Range(func(job, _ any) bool {
		jobs = append(jobs, *job.(*serialize.Job))
		return true
	})
	slices.SortFunc(jobs, func(a, b serialize.Job) int { return strings.Compare(a.Source, b.Source) })
	return jobs
}

func (p *pipeline) serialize(ctx context.Context, job serialize.Job) (serialize.Result, error) {
	end, err := p.turns.with(ctx, job.Source)
	if err != nil {
		return serialize.Result{}, err
	}
	defer end()
	if p.serializer == nil {
		return serialize.Result{}, errNoTables
	}
	p.jobs.Store(&job, nil)
	defer p.jobs.Delete(&job)
	began := time.Now()
	got, err := p.serializer.Run(ctx, job)
	p.noteRun(ctx, job, began, got, err)
	if !errors.Is(err, serialize.ErrNoInput) && ctx.Err() == nil {
		p.ledger.note(job.Source, began, got, err)
		p.noteDay(ctx, job, err)
	}
	if err == nil || errors.Is(err, serialize.ErrNoInput) {
		if err := p.completeTables(ctx, job); err != nil && ctx.Err() == nil {
			p.log.Warn("the tables may be complete through later days than they say", "source", job.Source, "error", err)
		}
	}
	if err == nil {
		p.auditPast(ctx, job, got.NoOp)
	}
	if err != nil || got.NoOp {
		return got, err
	}
	p.promises.published(job.Source)
	log := cmp.Or(job.Logger, p.log)
	log.Info("serialized", "source", job.Source, "day", job.Day, "objects", got.Objects, "rows", got.Rows)
	if got.NewQuarantined > 0 {
		log.Warn("records are not in the tables", "source", job.Source, "day", job.Day, "records", got.NewQuarantined, "reasons", got.Reasons,
			"quarantine", lake.QuarantinePrefix("serialize", job.Source))
	}
	return got, nil
}

// run is the pipeline until ctx ends: then the sources stop and their records are acknowledged, and after them land closes and
// commits its open objects. A part that ends before it was told to takes the whole pipeline with it.
func (p *pipeline) run(ctx context.Context) error {
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	landing, stopLanding := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLanding()

	if err := p.watch.look(ctx, p); err != nil { // before the first tables are made
		p.log.Warn("how far the topics have landed is not known yet", "err", err)
	}
	var collecting, landed, work stages
	if p.parts.collect {
		collecting.start(ctx, drain, "collect", p.collect)
		work.start(ctx, drain, "trim", func(ctx context.Context) error { return p.every(ctx, trimEvery, "trimming topics", p.trim) })
	}
	if p.parts.land {
		landed.start(landing, drain, "land", p.lander.Run)
	}
	if p.parts.serialize {
		work.running.Go(func() { p.register(ctx) })
	}
	if p.parts.serialize {
		work.start(ctx, drain, "close", p.closeDays)
	}
	if every := p.cfg.Serialize.Every; every > 0 && p.parts.serialize {
		work.start(ctx, drain, "serialize", func(ctx context.Context) error { return p.every(ctx, every, "serializing", p.serializeNew()) })
	}
	if p.parts.serialize {
		work.start(ctx, drain, "schedule", p.scheduler.Run)
		work.start(ctx, drain, "slo", func(ctx context.Context) error { return p.every(ctx, judgeEvery, "judging objectives", p.judge) })
		work.start(ctx, drain, "notify", p.sender().Run)
	}

	work.start(ctx, drain, "follow", p.follow)
	work.start(ctx, drain, "retention", func(ctx context.Context) error { return p.retention.run(ctx, p) })
	work.start(ctx, drain, "wedged", p.lookForWedges)
	work.start(ctx, drain, "watch", func(ctx context.Context) error { return p.watch.run(ctx, p) })

	<-ctx.Done()
	p.draining.Store(true)
	p.log.Info("draining; a second signal kills, which is safe", "cause", context.Cause(ctx))
	err := collecting.wait()
	stopLanding()
	return errors.Join(err, landed.wait(), work.wait())
}

// stages are parts of the pipeline that run beside each other.
type stages struct {
	running sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// start runs a part that must not end before ctx does: if it does, the whole pipeline is drained and wait tells why.
func (s *stages) start(ctx context.Context, drain func(), name string, run func(context.Context) error) {
	s.running.Go(func() {
		err := run(ctx)
		switch {
		case ctx.Err() == nil && err == nil:
			err = errors.New("it ended by itself")
		case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))):
			err = nil // it was told to
		}
		if err != nil {
			s.mu.Lock()
			s.errs = append(s.errs, fmt.Errorf("%s: %w", name, err))
			s.mu.Unlock()
			drain()
		}
	})
}

// wait waits for every part and returns all of their errors.
func (s *stages) wait() error {
	s.running.Wait()
	return errors.Join(s.errs...)
}

// every does work again and again until ctx ends. Work that fails is tried again at the next turn.
func (p *pipeline) every(ctx context.Context, d time.Duration, name string, work func(context.Context) error) error {
	for turn := 0; retry.Wait(ctx, d) == nil; turn++ {
		if err := p.turnOf(ctx, name, turn, work); err != nil && ctx.Err() == nil {
			p.log.Error(name, "error", err, "next_try", d)
		}
	}
	return nil
}

// lookBack is how often serialize.every looks at the days before yesterday too, lookAgain how soon after some of them failed.
const (
	lookBack  = time.Hour
	lookAgain = 10 * time.Second
)

// serializeNew is the work of serialize.every: the days that most records come for at each turn, and all days at the first, which a
// stop may have left behind, and then every hour, because a topic that lags or a clock that is wrong brings records of any day.
func (p *pipeline) serializeNew() func(context.Context) error {
	var whole, forgot time.Time // when all days, and what the metastore knows, are due
	return func(ctx context.Context) error {
		topics, err := p.landed(ctx)
		if err != nil {
			return err
		}
		topics = slices.DeleteFunc(topics, func(topic string) bool {
			return p.ownerOf(p.jobOf(topic, table.Day{}).Source) != config.InternalScheduler
		})
		now := time.Now()
		if now.Before(whole) {
			yesterday := table.DayOf(now.In(p.cfg.Location).AddDate(0, 0, -1))
			return p.serializeStale(ctx, topics, scope{wanted: func(d table.Day) bool { return d.Compare(yesterday) >= 0 }, recent: true, open: true})
		}
		if now.After(forgot) {
			p.catalog.forget()
			forgot = now.Add(lookBack)
		}
		whole = now.Add(lookBack)
		if err = p.serializeStale(ctx, topics, scope{wanted: everyDay.wanted, open: true}); err != nil {
			whole = time.Now().Add(lookAgain) // and until then the days that most records come for
		}
		return err
	}
}

// trimEvery is how often the embedded broker is relieved of what has landed.
const trimEvery = time.Minute

// trim deletes from the embedded broker's topics what has landed and what no cursor needs: the smaller of the offsets that land has
// committed and those that the last cursor snapshot covers. A broker of somebody else has retention settings for that; but old
// cursors are ours to delete anywhere.
func (p *pipeline) trim(ctx context.Context) error {
	upTo := p.lander.Committed() // of topics that others fill, all that has landed
	if p.broker.embedded == nil {
		clear(upTo)
	}
	now := p.sources()
	for _, c := range slices.AppendSeq(slices.Clone(now.collectors), maps.Values(now.left)) {
		landed, snapshotted := upTo[c.source.Topic], c.Snapshotted()
		for partition := range landed {
			landed[partition] = min(landed[partition], snapshotted[partition])
		}
	}
	for topic, offsets := range upTo {
		if err := kafka.Trim(ctx, p.broker.client, topic, offsets); err != nil {
			return fmt.Errorf("trimming %s: %w", topic, err)
		}
	}
	return kafka.TrimCursors(ctx, p.broker.client)
}
