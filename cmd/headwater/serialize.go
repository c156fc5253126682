package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/serialize"
	"headwater/table"
)

func runSerialize(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var r web.SerializeRequest
	fs.StringVar(&r.Source, "source", "", "the source, as the pipeline file names it")
	fs.StringVar(&r.Date, "date", "", "the day, as 2026-07-05, or yesterday")
	fs.BoolVar(&r.Closed, "closed", false, "only if the day is closed; else end with 5")
	fs.BoolVar(&r.Full, "full", false, "make the tables anew although they were made from the same objects")
	fs.BoolVar(&r.AllowShrink, "allow-shrink", false, "publish although the day would have fewer rows")
	fs.StringVar(&r.Engine, "engine", "", "native, spark or auto, instead of what the file says; the tables are made anew if another has made them")
	fs.StringVar(&r.By, "by", "", "who asks: airflow, which may make only sources of scheduler: airflow; a person leaves it out")
	asJSON := fs.Bool("json", false, "print the result as JSON")
	cfg, err := parsePipeline(fs, args)
	if err == nil {
		err = makesTables(cfg)
	}
	if err != nil {
		return err
	}
	if _, err := newPipeline(cfg, parts{}, s.log).jobFor(r); err != nil {
		return err
	}
	result, err := serializeThere(ctx, cfg, r, s)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(s.out).Encode(result)
	}
	fmt.Fprintln(s.out, describe(result))
	for _, b := range result.Breaches {
		fmt.Fprintf(s.out, "slo %s is breached: %s\n", b.Objective, oneLine(b.Reason))
	}
	return nil
}

func describe(r web.SerializeResult) string {
	switch {
	case r.Objects == 0:
		return fmt.Sprintf("%s %s: there is nothing to serialize, no object has that day", r.Source, r.Date)
	case r.Unchanged:
		return fmt.Sprintf("%s %s: unchanged, %d rows of %d objects", r.Source, r.Date, r.Rows, r.Objects)
	}
	return fmt.Sprintf("%s %s: %d rows of %d objects, %d records in quarantine", r.Source, r.Date, r.Rows, r.Objects, r.Quarantined)
}

// serializeThere has the process that holds the data folder do the job, or does it in this one if there is none.
func serializeThere(ctx context.Context, cfg *config.Pipeline, r web.SerializeRequest, s streams) (web.SerializeResult, error) {
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return door(running).Serialize(ctx, r)
	}
	limitMemory(cfg)
	return withTables(ctx, cfg, s, func(p *pipeline) (web.SerializeResult, error) {
		p.register(ctx)
		return p.Serialize(ctx, r)
	})
}

// limitMemory is for a process that does nothing but make tables.
func limitMemory(cfg *config.Pipeline) {
	if os.Getenv("GOMEMLIMIT") == "" { // by itself the collector lets as much garbage be as there is memory in use
		debug.SetMemoryLimit(int64(cfg.Serialize.MaxMemory) * int64(cfg.Serialize.Parallel))
	}
}

// withTables does something in this process with the tables, which it opens and closes.
func withTables[R any](ctx context.Context, cfg *config.Pipeline, s streams, do func(*pipeline) (R, error)) (result R, err error) {
	p := newPipeline(cfg, parts{serialize: true}, s.log)
	if err = p.openTables(ctx); err == nil {
		result, err = do(p)
	}
	return result, errors.Join(err, p.close())
}

// jobFor is the job that a request asks for.
func (p *pipeline) jobFor(r web.SerializeRequest) (serialize.Job, error) {
	if r.Source == "" || r.Date == "" {
		return serialize.Job{}, usagef("--source and --date are both needed")
	}
	day, err := table.ParseDay(r.Date)
	if r.Date == yesterday {
		day, err = table.DayOf(time.Now().In(p.cfg.Location)).Add(-1), nil
	}
	if err != nil {
		return serialize.Job{}, usageError{err.Error()}
	}
	configured := p.sources().configured
	i := slices.IndexFunc(configured, func(s config.Source) bool { return s.Name == r.Source })
	if i < 0 {
		return serialize.Job{}, usagef("the pipeline has no source %q; a topic that others fill needs a line under sources, as external", r.Source)
	}
	if err := p.mayMake(r.Source, r.By); err != nil {
		return serialize.Job{}, err
	}
	job := p.jobOf(configured[i].Topic, day)
	if r.Engine != "" && !slices.Contains([]string{serialize.EngineNative, serialize.EngineSpark, serialize.EngineAuto}, r.Engine) {
		return serialize.Job{}, usagef("--engine must be native, spark or auto, got %q", r.Engine)
	}
	job.Full, job.AllowShrink, job.Engine = r.Full, r.AllowShrink, r.Engine
	return job, nil
}

// Serialize implements web.API.
func (p *pipeline) Serialize(ctx context.Context, r web.SerializeRequest) (web.SerializeResult, error) {
	job, err := p.jobFor(r)
	if err != nil {
		return web.SerializeResult{}, err
	}
	r.Date = job.Day.String()
	if r.Closed {
		if err := p.mustBeClosed(ctx, job.Source, job.Day); err != nil {
			return web.SerializeResult{}, err
		}
	}
	got, err := p.serialize(ctx, job)
	if errors.Is(err, serialize.ErrNoInput) {
		return web.SerializeResult{Source: r.Source, Date: r.Date, Unchanged: true, Breaches: p.breaches(ctx, job)}, nil // a day without records is no fault
	}
	if err != nil {
		return web.SerializeResult{}, err
	}
	return web.SerializeResult{
		Source: r.Source, Date: r.Date, Objects: got.Objects, Rows: got.Rows, Quarantined: got.Quarantined, Unchanged: got.NoOp, Breaches: p.breaches(ctx, job),
	}, nil
}
