package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"headwater/collect"
	"headwater/internal/setting"
	"headwater/internal/web"
	"headwater/serialize"
	"headwater/table"
)

// ledger counts the serialize runs of a process.
type ledger struct {
	mu   sync.Mutex
	jobs map[string]*web.Jobs
	// failed has, by source, the days whose last run failed.
	failed map[string]map[string]bool
	// differs has how many differences the last audit of each source's day has found.
	differs map[string]map[table.Day]int64
}

// audited notes what an audit of a day has found.
func (l *ledger) audited(source string, day table.Day, differences int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.differs == nil {
		l.differs = map[string]map[table.Day]int64{}
	}
	if l.differs[source] == nil {
		l.differs[source] = map[table.Day]int64{}
	}
	l.differs[source][day] = differences
	j := l.of(source)
	j.Audited, j.Differences = time.Now(), 0
	for _, n := range l.differs[source] {
		j.Differences += n
	}
}

// note adds a run that took from began until now.
func (l *ledger) note(source string, began time.Time, got serialize.Result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j := l.of(source)
	now := time.Now()
	if err != nil {
		j.Failures++
		j.LastError, j.LastErrorAt = err.Error(), now
	} else {
		j.LastSuccess = now
	}
	if err == nil && got.NoOp {
		return // it looked and found nothing new
	}
	j.Runs++
	j.Seconds += now.Sub(began).Seconds()
	j.Rows += got.NewRows
	j.Quarantined += got.NewQuarantined
	j.Late += got.Late
}

// differed says whether the last audit of a day has found differences.
func (l *ledger) differed(source string, day table.Day) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.differs[source][day] > 0
}

// of is the entry of a source; l.mu is held.
func (l *ledger) of(source string) *web.Jobs {
	j := l.jobs[source]
	if j == nil {
		j = &web.Jobs{Source: source}
		if l.jobs == nil {
			l.jobs = map[string]*web.Jobs{}
		}
		l.jobs[source] = j
	}
	return j
}

// fresh notes that all that a source's topic had at a time is in the tables; a zero time says nothing.
func (l *ledger) fresh(source string, until time.Time) {
	if until.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.of(source); until.After(j.TablesUntil) {
		j.TablesUntil = until
	}
}

func (l *ledger) list() []web.Jobs {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []web.Jobs
	for _, j := range l.jobs {
		one := *j
		one.FailingDays = len(l.failed[j.Source])
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b web.Jobs) int { return strings.Compare(a.Source, b.Source) })
	return all
}

// NotReady implements web.API.
func (p *pipeline) NotReady(ctx context.Context) (reasons []string) {
	if p.draining.Load() {
		reasons = append(reasons, "it drains")
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if err := p.broker.client.Ping(ctx); err != nil {
		reasons = append(reasons, fmt.Sprintf("Kafka does not answer: %v", err))
	}
	for _, c := range p.sources().collectors {
		if s := c.Status(); s.State == collect.Idle && !p.broker.config.Shared || s.State == collect.Opening && s.LastError == "" {
			reasons = append(reasons, fmt.Sprintf("source %s: its topic is not open yet", c.source.Name))
		}
	}
	if p.admission != nil {
		if err := p.admission.check(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	for _, t := range p.lander.Status().Partitions {
		if t.Stopped {
			reasons = append(reasons, fmt.Sprintf("topic %s partition %d does not land: %s", t.Topic, t.Partition, t.LastError))
		}
	}
	return reasons
}

// admission keeps items out while the disk of the embedded broker is almost full: the broker does not notice when its disk refuses to
// keep what it has acknowledged.
type admission struct {
	folder string
	least  int64
	free   func(folder string) int64

	mu     sync.Mutex
	closed bool
}

// check is a collect.Options.Admit. A door that was closed opens when there is a quarter more room than it takes to close it.
func (a *admission) check() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	free, least := a.free(a.folder), a.least
	if a.closed {
		least += least / 4
	}
	if a.closed = free > 0 && free < least; !a.closed {
		return nil
	}
	return fmt.Errorf("%s are free on the disk of %s, nothing is collected below %s (min_free): make room, or set another limit",
		setting.Bytes(free), a.folder, setting.Bytes(a.least))
}

// freeBytes are those of the disk of a folder, 0 if that cannot be told.
func freeBytes(folder string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(folder, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * int64(fs.Bsize)
}
