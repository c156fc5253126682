package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"headwater/collect"
	"headwater/internal/progress"
	"headwater/internal/retry"
	"headwater/internal/web"
	"headwater/serialize"
)

// wedgeStages are those that something can be wedged of.
var wedgeStages = []string{"collect", "land", "serialize", "lake", "metastore", "loop", progress.Self}

// lookForWedges gathers again and again what has work to do. It asks what can be wedged itself, locks included; that it does not return any more is
// seen by who asks the detector.
func (p *pipeline) lookForWedges(ctx context.Context) error {
	const often = 2 * time.Second
	told := map[string]bool{}
	for retry.Wait(ctx, min(often, max(p.cfg.StuckAfter/5, 10*time.Millisecond))) == nil {
		p.wedges.Look(time.Now(), p.signs())
		now := map[string]bool{}
		for _, w := range p.wedges.Wedged(time.Now()) {
			if now[w.What] = true; told[w.What] {
				continue
			}
			p.log.Error("a stage is wedged: /healthz fails, so that whoever looks after the process restarts it, which is safe", "stage", w.Stage, "what", w.What,
				"since", w.Since, "goroutines", p.dumpGoroutines())
		}
		told = now
	}
	return nil
}

// dumpGoroutines writes what every goroutine does, for whoever is to find out why, and gives the name of the file or why there is none.
func (p *pipeline) dumpGoroutines() string {
	text := make([]byte, 4<<20)
	path := filepath.Join(p.cfg.DataDir, "wedged.txt")
	if err := os.WriteFile(path, text[:runtime.Stack(text, true)], 0o600); err != nil {
		return err.Error()
	}
	return path
}

// Wedged implements web.API.
func (p *pipeline) Wedged() (reasons []string) {
	for _, w := range p.wedges.Wedged(time.Now()) {
		reasons = append(reasons, w.String())
	}
	return reasons
}

// wedgedStages says of each stage whether something of it is wedged.
func (p *pipeline) wedgedStages() map[string]bool {
	all := map[string]bool{}
	for _, stage := range wedgeStages {
		all[stage] = false
	}
	for _, w := range p.wedges.Wedged(time.Now()) {
		all[w.Stage] = true
	}
	return all
}

// signs are of all that has work to do.
func (p *pipeline) signs() []progress.Sign {
	all := p.observer.signs()
	kafka := p.watch.waits(p.broker.embedded == nil)
	all = append(all, p.signsOfSources(kafka)...)
	for _, t := range p.lander.Status().Partitions {
		if t.Assigned && !t.Stopped && t.Position < p.watch.end(t.Topic, t.Partition) {
			all = append(all, progress.Sign{
				Stage: "land", What: fmt.Sprintf("topic %s partition %d", t.Topic, t.Partition),
				Mark: fmt.Sprint(t.Position, t.Committed, t.Objects, t.Errors, kafka),
			})
		}
	}
	for _, job := range p.working() {
		if job.Engine == serialize.EngineSpark || p.cfg.Serialize.Engine != serialize.EngineNative {
			continue // what Spark does is Spark's to tell, and takes hours
		}
		all = append(all, progress.Sign{Stage: "serialize", What: fmt.Sprintf("source %s, %s", job.Source, job.Day), Mark: fmt.Sprint(p.observer.moved.Load())})
	}
	p.loops.Range(func(name, turn any) bool {
		all = append(all, progress.Sign{Stage: "loop", What: name.(string), Mark: fmt.Sprint(turn, kafka, p.observer.moved.Load())})
		return true
	})
	return all
}

// signsOfSources are those of the sources; one that opens its topic may wait for its turn, which comes as others have opened theirs.
func (p *pipeline) signsOfSources(kafka int) (all []progress.Sign) {
	opened := 0
	for _, c := range p.sources().collectors {
		s := c.Status()
		if s.State == collect.Running {
			opened++
		}
		if s.InFlight > 0 || s.State == collect.Opening || s.State == collect.Draining {
			all = append(all, progress.Sign{Stage: "collect", What: "source " + c.source.Name, Mark: fmt.Sprint(s.State, s.Records, s.LastErrorAt, kafka)})
		}
	}
	for i := range all {
		if strings.HasPrefix(all[i].Mark, string(collect.Opening)) {
			all[i].Mark += fmt.Sprint(" after ", opened)
		}
	}
	return all
}

// memoryLimits are those that the file sets.
func (p *pipeline) memoryLimits() map[string]int64 {
	limits := map[string]int64{}
	if p.parts.collect {
		limits["kafka"] = int64(p.cfg.Kafka.MaxBufferedBytes)
	}
	if p.parts.land {
		limits["land"] = int64(p.cfg.Land.MaxMemory)
	}
	if p.parts.serialize {
		limits["serialize"] = int64(p.cfg.Serialize.MaxMemory)
	}
	return limits
}

// observe fills in what the observer and the detector know of a status.
func (p *pipeline) observe(s *web.Status) {
	s.Wedged, s.MemoryLimits = p.wedgedStages(), p.memoryLimits()
	if p.parts.collect {
		s.MinFreeBytes = int64(p.cfg.MinFree)
	}
}

// turnOf does a turn of a loop, which has work to do meanwhile. What makes tables is looked after as a job: it waits for others that make them.
func (p *pipeline) turnOf(ctx context.Context, name string, turn int, work func(context.Context) error) error {
	if name != "serializing" {
		p.loops.Store(name, turn)
		defer p.loops.Delete(name)
	}
	return work(ctx)
}

// noteRun notes what a run came to, beside what the ledger notes of it.
func (p *pipeline) noteRun(ctx context.Context, job serialize.Job, began time.Time, got serialize.Result, err error) {
	if ctx.Err() != nil {
		return
	}
	p.ledger.failing(job, err)
	if err == nil && !got.NoOp {
		p.observer.Serialized(job.Source, time.Since(began), got.Publishing)
		p.observer.kept("serialize", job.Source, got.Reasons)
	}
}

// failing notes whether the last run of a day failed.
func (l *ledger) failing(job serialize.Job, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = map[string]map[string]bool{}
	}
	days := l.failed[job.Source]
	switch {
	case err == nil, errors.Is(err, serialize.ErrNoInput):
		delete(days, job.Day.String())
	case days == nil:
		l.failed[job.Source] = map[string]bool{job.Day.String(): true}
	default:
		days[job.Day.String()] = true
	}
}

// withIdle adds the sources of which no run is known yet: a counter that begins at 0 shows its first step.
func (p *pipeline) withIdle(jobs []web.Jobs) []web.Jobs {
	if !p.parts.serialize {
		return jobs
	}
	for _, s := range p.sources().configured {
		if !slices.ContainsFunc(jobs, func(j web.Jobs) bool { return j.Source == s.Name }) {
			jobs = append(jobs, web.Jobs{Source: s.Name})
		}
	}
	return jobs
}
