package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"headwater/internal/config"
	"headwater/internal/runs"
	"headwater/internal/web"
	"headwater/table"
)

// Runs implements web.API.
func (p *pipeline) Runs(ctx context.Context, r web.RunsRequest) (web.RunsResult, error) {
	if p.runs == nil {
		return web.RunsResult{}, errNoTables
	}
	switch r.Do {
	case "backfill":
		return p.askBackfill(ctx, r)
	case "retry":
		return p.askAgain(ctx, r.ID)
	}
	return runsDoor{p.runs, p.scheduler, p.known}.do(ctx, r)
}

// known refuses a source that there is not.
func (p *pipeline) known(source string) error {
	_, err := p.topicOf(source)
	return err
}

// runsDoor shows and changes runs.
type runsDoor struct {
	store     *runs.Store
	scheduler *runs.Scheduler // nil if there is none in this process
	known     func(source string) error
}

func (d runsDoor) do(ctx context.Context, r web.RunsRequest) (result web.RunsResult, err error) {
	defer func() { err = askedFor(err) }()
	switch r.Do {
	case "ls":
		if r.State != "" && !slices.Contains(runs.States, runs.State(r.State)) {
			return result, usagef("the state must be one of %v, got %q", runs.States, r.State)
		}
		result.Runs, err = d.store.List(ctx, runs.Filter{Source: r.Source, Day: r.Day, State: runs.State(r.State), Batch: r.Batch, Limit: r.Limit})
		return result, err
	case "show":
		return d.show(ctx, r.ID)
	case "cancel":
		return d.cancel(ctx, r)
	case "pause", "resume":
		if err := d.known(r.Source); err != nil {
			return result, err
		}
		err = d.store.Pause(ctx, r.Source, r.Do == "pause")
		if d.scheduler != nil {
			d.scheduler.Poke()
		}
		return result, err
	}
	return result, usagef("do must be ls, show, retry, cancel, pause, resume or backfill, got %q", r.Do)
}

func (d runsDoor) show(ctx context.Context, id int64) (result web.RunsResult, err error) {
	one, err := d.store.Run(ctx, id)
	if err != nil {
		return result, err
	}
	result.Runs = []runs.Run{one}
	if d.scheduler != nil {
		result.Log, err = d.scheduler.Log(ctx, id)
	} else {
		result.Log, err = d.store.Log(ctx, id)
	}
	return result, err
}

func (d runsDoor) cancel(ctx context.Context, r web.RunsRequest) (result web.RunsResult, err error) {
	canceller := interface {
		Cancel(context.Context, int64) (runs.Run, error)
		CancelBatch(context.Context, string) (int64, error)
	}(d.store)
	if d.scheduler != nil {
		canceller = d.scheduler
	}
	if r.Batch != "" {
		if _, err = canceller.CancelBatch(ctx, r.Batch); err == nil {
			result.Runs, err = d.store.List(ctx, runs.Filter{Batch: r.Batch})
		}
		return result, err
	}
	one, err := canceller.Cancel(ctx, r.ID)
	result.Runs = []runs.Run{one}
	return result, err
}

// askedFor makes what was asked for wrongly a fault of the command line.
func askedFor(err error) error {
	if errors.Is(err, runs.ErrNoRun) || errors.Is(err, runs.ErrEnded) {
		return usageError{err.Error()}
	}
	return err
}

// askAgain has a run's day made again.
func (p *pipeline) askAgain(ctx context.Context, id int64) (result web.RunsResult, err error) {
	was, err := p.runs.Run(ctx, id)
	if err != nil {
		return result, askedFor(err)
	}
	day, err := table.ParseDay(was.Day)
	if err == nil {
		err = p.known(was.Source)
	}
	if err != nil {
		return result, err
	}
	return p.ask(ctx, []runs.Request{{Source: was.Source, Day: day, Kind: runs.Manual, Why: fmt.Sprintf("run %d again", id)}})
}

// ask asks for runs in a batch of their own.
func (p *pipeline) ask(ctx context.Context, asked []runs.Request) (result web.RunsResult, err error) {
	result.Batch = rand.Text()[:10]
	for i := range asked {
		if p.ownerOf(asked[i].Source) == config.AirflowScheduler {
			return result, usagef("source %s is Airflow's to make (scheduler: airflow): clear the task or backfill there, or use headwater serialize by hand", asked[i].Source)
		}
		asked[i].Batch = result.Batch
	}
	result.Runs, err = p.runs.Ask(ctx, asked...)
	p.scheduler.Poke()
	return result, err
}

// askBackfill asks for runs of the days of a range that have something to do.
func (p *pipeline) askBackfill(ctx context.Context, r web.RunsRequest) (result web.RunsResult, err error) {
	from, err := table.ParseDay(r.From)
	if err != nil {
		return result, usagef("--from: %v", err)
	}
	to, err := table.ParseDay(r.To)
	if err != nil {
		return result, usagef("--to: %v", err)
	}
	if to.Compare(from) < 0 {
		return result, usagef("--to, %s, is before --from, %s", to, from)
	}
	names, err := p.backfilled(r.Source)
	if err != nil {
		return result, err
	}
	within := func(d table.Day) bool { return d.Compare(from) >= 0 && d.Compare(to) <= 0 }
	var asked []runs.Request
	for _, name := range names {
		topic, err := p.topicOf(name)
		if err != nil {
			return result, err
		}
		err = p.eachDay(ctx, p.jobOf(topic, table.Day{}), func(d table.Day, stale bool, err error) error {
			if ctx.Err() != nil || err != nil && classify(err) == runs.Transient {
				return errors.Join(err, context.Cause(ctx))
			}
			day := web.BackfillDay{Source: name, Day: d.String(), Needed: stale || err != nil}
			if err != nil {
				day.Fault = oneLine(err.Error())
			}
			result.Days = append(result.Days, day)
			if day.Needed {
				asked = append(asked, runs.Request{Source: name, Day: d, Kind: runs.Backfill, Why: fmt.Sprintf("backfill from %s to %s", from, to)})
			}
			return nil
		}, within)
		if err != nil {
			return result, err
		}
	}
	if r.DryRun || len(asked) == 0 {
		return result, nil
	}
	got, err := p.ask(ctx, asked)
	got.Days = result.Days
	return got, err
}

// backfilled are the sources of a backfill: the one that was named, or all that are not somebody else's.
func (p *pipeline) backfilled(source string) (names []string, err error) {
	if source != "" {
		if p.ownerOf(source) == config.AirflowScheduler {
			return nil, usagef("source %s is Airflow's to make (scheduler: airflow): backfill there, or use headwater serialize by hand", source)
		}
		return []string{source}, p.known(source)
	}
	for _, s := range p.sources().configured {
		if s.Scheduler != config.AirflowScheduler {
			names = append(names, s.Name)
		}
	}
	p.scheduling.mu.Lock()
	defer p.scheduling.mu.Unlock()
	for name := range p.scheduling.topics {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// runsStatus is what a status says of runs.
func (p *pipeline) runsStatus(ctx context.Context) (*web.Runs, error) {
	counts, oldest, err := p.runs.Counts(ctx)
	if err != nil {
		return nil, err
	}
	paused, err := p.runs.Paused(ctx)
	if err != nil {
		return nil, err
	}
	totals := p.scheduler.Totals()
	out := &web.Runs{States: map[string]int64{}, OldestWaiting: oldest, Attempts: totals.Attempts, Failures: totals.Failures, Seconds: totals.Took.Seconds(), Paused: paused}
	for _, state := range runs.States {
		out.States[string(state)] = counts[state]
	}
	return out, nil
}
