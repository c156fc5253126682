package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/internal/config"
	"headwater/internal/dayclose"
	"headwater/internal/notify"
	"headwater/internal/runs"
	"headwater/internal/slo"
	"headwater/internal/web"
	"headwater/serialize"
	"headwater/table"
)

const (
	// judgeEvery is how often the objectives are judged.
	judgeEvery = 5 * time.Second
	// judgeWithin bounds it, for less than others leave the judge alone.
	judgeWithin = 4 * time.Minute
	// lookAnew is how soon the tables are looked at again although nothing that this process knows of has changed: others publish, too.
	lookAnew = 10 * time.Minute
	// lookBackDays is how many closed days may be without tables before it is given up to look for the newest one that has.
	lookBackDays = 31
)

// promises remembers what the objectives were last judged by. Only the loop that judges uses looked.
type promises struct {
	looked bool

	mu      sync.Mutex
	made    map[string]int64 // how often days of a source were made, here
	volumes map[string]volumes
	faults  map[string]string // why a source could not be judged
}

// volumes are those of a source, as of a look.
type volumes struct {
	closed, complete table.Day
	made             int64
	at               time.Time
	all              []slo.Volume
}

// fault notes why a source cannot be judged, empty if it can. It reports whether that is news.
func (m *promises) fault(source, why string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faults == nil {
		m.faults = map[string]string{}
	}
	news := m.faults[source] != why
	m.faults[source] = why
	return news && why != ""
}

// published has the tables of a source looked at again.
func (m *promises) published(source string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made == nil {
		m.made = map[string]int64{}
	}
	m.made[source]++
}

// judge judges the objectives of all sources, unless another process does, and has webhooks told of what has changed.
func (p *pipeline) judge(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, judgeWithin, fmt.Errorf("it took longer than %s", judgeWithin))
	defer cancel()
	sources := slices.DeleteFunc(slices.Clone(p.sources().configured), func(s config.Source) bool { return len(s.SLO.Objectives()) == 0 })
	var names []string
	for _, s := range sources {
		names = append(names, s.Name)
	}
	now, first, mine, err := p.notices.Turn(ctx, names)
	if err != nil || !mine {
		return err
	}
	if !p.promises.looked && len(sources) > 0 { // else it is not known which days are closed
		if err := p.closer.Look(ctx); err != nil {
			return err
		}
	}
	p.promises.looked = true
	verdicts := make([][]slo.Verdict, len(sources))
	var g errgroup.Group
	g.SetLimit(8)
	for i, s := range sources {
		g.Go(func() error {
			f := p.facts(ctx, s)
			f.Now, f.First = now, first[s.Name]
			verdicts[i] = s.SLO.Judge(f)
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return p.tellVerdicts(ctx, sources, verdicts)
}

// tellVerdicts has changes written down, and says them in the log.
func (p *pipeline) tellVerdicts(ctx context.Context, sources []config.Source, verdicts [][]slo.Verdict) error {
	var breaches, over []notify.Problem
	configured := map[[2]string]bool{}
	for i, s := range sources {
		for _, name := range s.SLO.Objectives() {
			configured[[2]string{s.Name, name}] = true
		}
		for _, v := range verdicts[i] {
			problem := notify.Problem{Source: s.Name, What: v.Objective, Since: v.Since, Reason: oneLine(v.Reason), Stage: v.Behind.Stage, StageSince: v.Behind.Since}
			if v.Breached {
				breaches = append(breaches, problem)
			} else {
				over = append(over, problem)
			}
		}
	}
	began, ended, err := p.notices.Judged(ctx, breaches, over, func(source, objective string) bool { return configured[[2]string{source, objective}] })
	for _, b := range began {
		p.log.Warn("an objective is breached", "source", b.Source, "objective", b.What, "since", b.Since.UTC().Format(time.RFC3339), "reason", b.Reason)
	}
	for _, e := range ended {
		p.log.Info("an objective is not breached any more", "source", e.Source, "objective", e.What)
	}
	return err
}

// facts are those of a source. What cannot be told is left as it was, and logged once.
func (p *pipeline) facts(ctx context.Context, s config.Source) (f slo.Facts) {
	complete, err := p.completeThrough(ctx, s.FlatTable)
	if err == nil {
		f.Known = true
		if complete != (table.Day{}) {
			f.Complete = complete.Add(1).Begins(p.cfg.Location)
		}
		f.Behind = func() slo.Behind { return p.behind(ctx, s, complete) }
		f.Volumes, err = p.newest(ctx, s, complete)
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	if ctx.Err() == nil && p.promises.fault(s.Name, why) {
		p.log.Warn("objectives cannot be judged; it is tried again", "source", s.Name, "error", err)
	}
	return f
}

// completeThrough is the last day that a table is complete with. Other processes may know of a later one than the catalog; they write it down.
func (p *pipeline) completeThrough(ctx context.Context, n table.Name) (table.Day, error) {
	t, err := p.catalog.Table(ctx, n)
	if err != nil && !errors.Is(err, table.ErrNotExist) {
		return table.Day{}, err
	}
	if yesterday := table.DayOf(time.Now().In(p.cfg.Location)).Add(-1); t.CompleteThrough.Compare(yesterday) >= 0 {
		return t.CompleteThrough, nil
	}
	written, err := table.CompleteThrough(ctx, p.layers.tables, n)
	return table.Latest(t.CompleteThrough, written), err
}

// newest are the volumes of the newest day of each table that is closed and published. Footers are only read if there may be others.
func (p *pipeline) newest(ctx context.Context, s config.Source, complete table.Day) ([]slo.Volume, error) {
	objectives := s.SLO.Objectives()
	if len(objectives) == 0 || slices.Equal(objectives, []string{slo.Freshness}) {
		return nil, nil
	}
	m := &p.promises
	now := volumes{closed: table.Latest(p.closer.Through(s.Name), complete), complete: complete, at: time.Now()}
	m.mu.Lock()
	known, is := m.volumes[s.Name]
	now.made = m.made[s.Name]
	m.mu.Unlock()
	if age := now.at.Sub(known.at); is && known.closed == now.closed && known.complete == complete && known.made == now.made && age >= 0 && age < lookAnew {
		return known.all, nil
	}
	for _, n := range []table.Name{s.RawTable, s.FlatTable} {
		v, found, err := p.newestOf(ctx, n, now.closed, complete)
		if err != nil {
			return nil, err
		}
		if found {
			now.all = append(now.all, v)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.volumes == nil {
		m.volumes = map[string]volumes{}
	}
	m.volumes[s.Name] = now
	return now.all, nil
}

// newestOf is the volume of a table's newest day up to closed that is published. A day that the table is complete with and has no files of had no records.
func (p *pipeline) newestOf(ctx context.Context, n table.Name, closed, complete table.Day) (v slo.Volume, found bool, err error) {
	for d, left := closed, lookBackDays; d != (table.Day{}) && left > 0; d, left = d.Add(-1), left-1 {
		v, published, err := p.volume(ctx, n, d)
		if err != nil || published || d.Compare(complete) <= 0 {
			return v, err == nil, err
		}
	}
	return v, false, nil
}

// volume is what a table has of a day, and whether that is a day that was published as a whole.
func (p *pipeline) volume(ctx context.Context, n table.Name, d table.Day) (v slo.Volume, published bool, err error) {
	h, err := table.LookDay(ctx, p.layers.tables, n, d)
	if err != nil {
		return v, false, err
	}
	v = slo.Volume{Table: n, Day: d}
	files := h.Files()
	if len(files) == 0 {
		return v, false, nil
	}
	v.Rows, v.Quarantined = h.Rows()
	v.Bytes = table.PartitionOf(d, files...).Bytes
	return v, len(h.Open) == 0, nil
}

// behind is why the tables of a source are not complete with the day after complete.
func (p *pipeline) behind(ctx context.Context, s config.Source, complete table.Day) slo.Behind {
	if p.closer == nil {
		return slo.Behind{} // this process only makes a day
	}
	t := slo.Trace{Day: complete.Add(1), Never: s.Runs.Schedule == "" && p.cfg.Serialize.Every == 0}
	through := p.closer.Through(s.Name)
	next, verdict, isOver := p.closer.Next(s.Name)
	if complete == (table.Day{}) { // then it is the last one that is closed, the first that could be, or yesterday
		t.Day = cmp.Or(through, next, table.DayOf(time.Now().In(p.cfg.Location)).Add(-1))
	}
	t.Ended = t.Day.Add(1).Begins(p.cfg.Location)
	t.Closed = t.Day.Compare(through) <= 0
	if isOver {
		t.Waits = verdict.Waits
	} else if !t.Closed {
		t.Waits = []dayclose.Wait{{What: dayclose.WaitClock, Since: time.Now(), Until: t.Ended.Add(s.CloseAfter)}}
	}
	p.traceStages(s, &t)
	if err := p.traceRuns(ctx, s, &t); err != nil && ctx.Err() == nil {
		p.log.Warn("why tables are late cannot be told", "source", s.Name, "error", err)
	}
	return t.Behind()
}

// traceStages adds what collecting and landing say.
func (p *pipeline) traceStages(s config.Source, t *slo.Trace) {
	for _, c := range p.sources().collectors {
		if got := c.Status(); c.source.Name == s.Name && !got.FailingSince.IsZero() {
			t.FailingSince, t.Failing = got.FailingSince, got.LastError
		}
	}
	t.LandedUntil = p.watch.landedUntil(s.Topic)
	if p.lander == nil {
		return
	}
	for _, x := range p.lander.Status().Partitions {
		if x.Topic == s.Topic && x.LastError != "" {
			t.Landing = x.LastError
		}
	}
}

// traceRuns adds what is known of runs.
func (p *pipeline) traceRuns(ctx context.Context, s config.Source, t *slo.Trace) error {
	switch s.Scheduler {
	case config.AirflowScheduler:
		t.By = "Airflow (scheduler: airflow)"
	case config.NoScheduler:
		t.By = "whoever calls headwater serialize (scheduler: none)"
	}
	t.Making, t.MakingAt = p.ledger.fault(s.Name, t.Day)
	of, err := p.runs.List(ctx, runs.Filter{Source: s.Name, Day: t.Day.String(), Limit: 1})
	if err != nil {
		return err
	}
	if len(of) > 0 {
		t.Run = &of[0]
	}
	paused, err := p.runs.Paused(ctx)
	t.Paused = slices.Contains(paused, s.Name)
	return err
}

// fault is why the last try to make a day here failed, if it did, and no other day was tried since.
func (l *ledger) fault(source string, day table.Day) (string, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.failed[source][day.String()] {
		return "", time.Time{}
	}
	j := l.of(source)
	return j.LastError, j.LastErrorAt
}

// objectives are those of a status: all that are configured, with what the judge has found.
func (p *pipeline) objectives(ctx context.Context) (all []web.Objective, err error) {
	known, err := p.notices.Problems(ctx, notify.Breach)
	if err != nil {
		return nil, err
	}
	for _, s := range p.sources().configured {
		for _, name := range s.SLO.Objectives() {
			o := web.Objective{Source: s.Name, Objective: name}
			if i := slices.IndexFunc(known, func(k notify.Problem) bool { return k.Source == s.Name && k.What == name }); i >= 0 {
				k := known[i]
				o.Breached, o.Since, o.Reason, o.Stage, o.StageSince = true, k.Since, k.Reason, k.Stage, k.StageSince
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// breaches are what a day that was just made, or has nothing to be made of, does not keep of its source's objectives, and its tables of their freshness. It
// is not the run that fails if that cannot be told.
func (p *pipeline) breaches(ctx context.Context, job serialize.Job) (all []web.Objective) {
	s, found := p.sources().find(job.Topic)
	if !found || len(s.SLO.Objectives()) == 0 {
		return nil
	}
	f := slo.Facts{Now: time.Now()}
	complete, err := p.completeThrough(ctx, s.FlatTable)
	if err == nil && complete != (table.Day{}) {
		f.Known, f.Complete = true, complete.Add(1).Begins(p.cfg.Location)
		f.Behind = func() slo.Behind { return p.behind(ctx, s, complete) }
	}
	over := !job.Day.Add(1).Begins(p.cfg.Location).After(f.Now)
	if over && (p.closer == nil || job.Day.Compare(table.Latest(p.closer.Through(s.Name), complete)) <= 0) {
		for _, n := range []table.Name{s.RawTable, s.FlatTable} {
			v, _, verr := p.volume(ctx, n, job.Day)
			if err = errors.Join(err, verr); verr == nil {
				f.Volumes = append(f.Volumes, v)
			}
		}
	}
	known, kerr := p.notices.Problems(ctx, notify.Breach)
	if err = errors.Join(err, kerr); err != nil && ctx.Err() == nil {
		p.log.Warn("objectives cannot be judged", "source", s.Name, "error", err)
	}
	for _, v := range s.SLO.Judge(f) {
		if !v.Breached {
			continue
		}
		o := web.Objective{
			Source: s.Name, Objective: v.Objective, Breached: true, Since: v.Since, Reason: oneLine(v.Reason), Stage: v.Behind.Stage, StageSince: v.Behind.Since,
		}
		for _, k := range known {
			if k.Source == s.Name && k.What == v.Objective && o.Since.IsZero() {
				o.Since = k.Since
			}
		}
		all = append(all, o)
	}
	return all
}

// printObjectives is the part of a status that says what is promised.
func printObjectives(w io.Writer, all []web.Objective) {
	if len(all) > 0 {
		fmt.Fprintln(w, "\nSLO OF\tOBJECTIVE\tSTATE\tFOR\tBECAUSE")
	}
	for _, o := range all {
		if !o.Breached {
			fmt.Fprintf(w, "%s\t%s\tkept\t\t\n", o.Source, o.Objective)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\tbreached\t%s\t%s\n", o.Source, o.Objective, cmp.Or(sinceThen(o.Since), "now"), oneLine(o.Reason))
	}
}

// sinceThen is how long ago something began, empty if that is not known.
func sinceThen(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String()
}
