package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"headwater/internal/config"
	"headwater/internal/dayclose"
	"headwater/internal/retry"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/kafka"
	"headwater/land"
	"headwater/serialize"
	"headwater/table"
)

// yesterday may be written for a date.
const yesterday = "yesterday"

// notClosed is a day that is not closed yet.
type notClosed struct{ web.DayResult }

func (e notClosed) Error() string {
	return fmt.Sprintf("%s of source %s is not closed yet: %s", e.Date, e.Source, e.Reason)
}

func runDay(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var r web.DayRequest
	fs.StringVar(&r.Source, "source", "", "the source, as the pipeline file names it")
	fs.StringVar(&r.Date, "date", "", "the day, as 2026-07-05, or yesterday")
	asJSON := fs.Bool("json", false, "print the answer as JSON")
	wait := fs.Duration("wait", 0, "how long to wait for the day to close")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	job, err := newPipeline(cfg, parts{}, s.log).jobFor(web.SerializeRequest{Source: r.Source, Date: r.Date})
	if err != nil {
		return err
	}
	r.Date = job.Day.String() // yesterday is one day, however long it is waited for
	result, err := dayThere(ctx, cfg, r, *wait, s)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(s.out).Encode(result)
	} else if result.Closed {
		_, err = fmt.Fprintf(s.out, "%s %s: closed since %s\n", result.Source, result.Date, result.ClosedAt.Format(time.RFC3339))
	}
	if err != nil || result.Closed {
		return err
	}
	return notClosed{result}
}

// dayThere asks the process that holds the data folder or, if there is none, looks by itself.
func dayThere(ctx context.Context, cfg *config.Pipeline, r web.DayRequest, wait time.Duration, s streams) (web.DayResult, error) {
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return untilClosed(ctx, wait, func() (web.DayResult, error) {
			return door(running).Day(ctx, r)
		})
	}
	p := newPipeline(cfg, parts{}, s.log)
	var result web.DayResult
	err := p.open(ctx)
	if err == nil {
		result, err = untilClosed(ctx, wait, func() (web.DayResult, error) {
			if err := p.closer.Look(ctx); err != nil {
				return web.DayResult{}, err
			}
			return p.Day(ctx, r)
		})
	}
	return result, errors.Join(err, p.close())
}

// untilClosed asks again until the day is closed or the time is over.
func untilClosed(ctx context.Context, wait time.Duration, ask func() (web.DayResult, error)) (web.DayResult, error) {
	pause := retry.Backoff{Min: time.Second, Max: 10 * time.Second}
	for end := time.Now().Add(wait); ; {
		result, err := ask()
		left := time.Until(end)
		if err != nil || result.Closed || left <= 0 {
			return result, err
		}
		if err := retry.Wait(ctx, min(left, pause.Next())); err != nil {
			return result, err
		}
	}
}

// Day implements web.API.
func (p *pipeline) Day(ctx context.Context, r web.DayRequest) (web.DayResult, error) {
	job, err := p.jobFor(web.SerializeRequest{Source: r.Source, Date: r.Date})
	if err != nil {
		return web.DayResult{}, err
	}
	v, err := p.closer.Closed(ctx, job.Source, job.Day)
	if err != nil {
		return web.DayResult{}, err
	}
	result := web.DayResult{Source: job.Source, Date: job.Day.String(), Closed: v.Closed, ClosedAt: v.ClosedAt, Reason: v.Reason()}
	for _, w := range v.Waits {
		result.Waits = append(result.Waits, web.DayWait(w))
	}
	return result, nil
}

// mustBeClosed is an error if a day is not.
func (p *pipeline) mustBeClosed(ctx context.Context, source string, day table.Day) error {
	if p.closer == nil {
		if err := p.openStages(ctx); err != nil {
			return err
		}
	}
	r, err := p.Day(ctx, web.DayRequest{Source: source, Date: day.String()})
	if err != nil || r.Closed {
		return err
	}
	return notClosed{r}
}

// newCloser makes what closes the days of all topics that land.
func (p *pipeline) newCloser() *dayclose.Closer {
	return dayclose.New(dayclose.Options{
		Sources: p.closing, Raw: p.layers.raw, Location: p.cfg.Location, Logger: p.log,
		Log: &dayclose.Kafka{Client: p.broker.client, Group: land.DefaultGroup, Own: p.broker.embedded != nil, Logger: p.log},
	})
}

// closing are the sources whose days close: those that are configured, and topics that others fill and that land.
func (p *pipeline) closing(ctx context.Context) ([]dayclose.Source, error) {
	topics, err := p.landed(ctx)
	if err != nil {
		return nil, err
	}
	var all []dayclose.Source
	for _, s := range p.sources().configured {
		all = append(all, dayclose.Source{Name: s.Name, Topic: s.Topic, External: s.Kind == config.External, After: s.CloseAfter})
	}
	for _, topic := range topics {
		name := kafka.SourceOf(topic)
		if !slices.ContainsFunc(all, func(s dayclose.Source) bool { return s.Topic == topic || s.Name == name }) {
			all = append(all, dayclose.Source{Name: name, Topic: topic, External: true, After: p.cfg.Close.After})
		}
	}
	return all, nil
}

// dayEnd is the first end of a day after a time.
func (p *pipeline) dayEnd(t time.Time) time.Time {
	return table.DayOf(t.In(p.cfg.Location)).Add(1).Begins(p.cfg.Location)
}

// closeDays closes days until ctx ends, and says of tables that they are complete.
func (p *pipeline) closeDays(ctx context.Context) error {
	return p.closer.Run(ctx, func(ctx context.Context) {
		if err := p.complete(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("the tables may be complete through later days than they say; it is tried again", "error", err)
		}
	})
}

// complete says of the tables of all sources through which day they are complete.
func (p *pipeline) complete(ctx context.Context) error {
	if p.serializer == nil {
		return nil
	}
	all, err := p.closing(ctx)
	errs := []error{err}
	for _, s := range all {
		errs = append(errs, p.completeTables(ctx, p.jobOf(s.Topic, table.Day{})))
	}
	return errors.Join(errs...)
}

// completeTables is complete for one source: that is the last day that is closed, unless a day before it is not published as it is.
func (p *pipeline) completeTables(ctx context.Context, job serialize.Job) error {
	if p.closer == nil {
		return nil
	}
	through := p.closer.Through(job.Source)
	known, err := p.catalog.Table(ctx, job.Flat)
	if errors.Is(err, table.ErrNotExist) || err == nil && through.Compare(known.CompleteThrough) <= 0 {
		return nil
	}
	if err != nil {
		return err
	}
	days, err := p.serializer.Days(ctx, job.Topic)
	if err != nil {
		return err
	}
	for _, job.Day = range days {
		if job.Day.Compare(known.CompleteThrough) <= 0 || job.Day.Compare(through) > 0 {
			continue
		}
		stale, err := p.serializer.Stale(ctx, job)
		if err != nil {
			return err
		}
		if stale {
			through = job.Day.Add(-1)
			break
		}
	}
	if through.Compare(known.CompleteThrough) <= 0 {
		return nil
	}
	for _, name := range []table.Name{job.Raw, job.Flat} { // the flat one last: it is the one that is looked at
		if err := table.Complete(ctx, p.layers.tables, p.catalog, name, through); err != nil {
			return err
		}
	}
	return nil
}

// days is how far the days of all sources have come, those that other processes collect too.
func (p *pipeline) days(ctx context.Context) (all []web.Days) {
	if p.closer == nil {
		return nil
	}
	for _, s := range p.sources().configured {
		if d := p.daysOf(ctx, s); d.ClosedThrough != "" || d.CompleteThrough != "" || d.Next != "" {
			all = append(all, d)
		}
	}
	return all
}

func (p *pipeline) daysOf(ctx context.Context, s config.Source) web.Days {
	d := web.Days{Source: s.Name}
	if through := p.closer.Through(s.Name); through != (table.Day{}) {
		d.ClosedThrough = through.String()
	}
	if day, v, found := p.closer.Next(s.Name); found {
		d.Next, d.Reason = day.String(), v.Reason()
	}
	if p.catalog != nil {
		if t, err := p.catalog.Table(ctx, s.FlatTable); err == nil && t.CompleteThrough != (table.Day{}) {
			d.CompleteThrough, d.CompleteUntil = t.CompleteThrough.String(), t.CompleteThrough.Add(1).Begins(p.cfg.Location)
		}
	}
	return d
}

// printDays is the part of a status that says which days are over.
func printDays(w io.Writer, all []web.Days) {
	if len(all) > 0 {
		fmt.Fprintln(w, "\nDAYS OF\tCLOSED THROUGH\tCOMPLETE THROUGH\tNEXT\tWAITS FOR")
	}
	for _, d := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.Source, d.ClosedThrough, d.CompleteThrough, d.Next, oneLine(d.Reason))
	}
}
