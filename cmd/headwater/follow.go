package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/internal/config"
	"headwater/internal/web"
)

// followEvery is how often the pipeline file is read. What it says is taken when it is read twice: a file that is being written says
// something else the next time.
const followEvery = time.Second

// follower is how far a process has followed its pipeline file.
type follower struct {
	mu    sync.Mutex
	state web.File

	read  *config.Pipeline // last time, nil if it was faulty
	fault string           // of last time
}

// follow takes the sources of the pipeline file when they change, until ctx ends. A file that cannot be taken changes nothing.
func (p *pipeline) follow(ctx context.Context) error {
	p.file.note(func(f *web.File) { f.Taken = p.started })
	return p.every(ctx, followEvery, "following the pipeline file", p.lookAtFile)
}

func (p *pipeline) lookAtFile(ctx context.Context) error {
	f := &p.file
	next, err := load(p.cfg.File)
	if err != nil {
		if err.Error() == f.fault {
			p.refuse(err.Error())
		}
		f.read, f.fault = nil, err.Error()
		return nil
	}
	settled := f.read != nil && len(f.read.Differences(next)) == 0 && sameSources(f.read.Sources, next.Sources)
	f.read, f.fault = next, ""
	if !settled {
		return nil
	}
	restart := p.cfg.Differences(next)
	f.note(func(s *web.File) {
		if len(restart) > 0 && !slices.Equal(restart, s.Restart) {
			p.log.Warn("the pipeline file has other values that a running process does not take: restart it", "keys", strings.Join(restart, ", "))
		}
		s.Restart = restart
	})
	if slices.Contains(restart, "database") {
		p.refuse("its database is another one: restart the process")
		return nil
	}
	if added, changed, removed := compareSources(p.sources().configured, next.Sources); len(added)+len(changed)+len(removed) > 0 {
		if err := p.take(ctx, next.Sources); err != nil {
			p.refuse(err.Error())
			return nil // the next look tries again
		}
		p.log.Info("the sources of the pipeline file are others now", "added", added, "changed", changed, "removed", removed)
		f.note(func(s *web.File) { s.Taken = time.Now() })
	}
	f.note(func(s *web.File) { s.Fault = "" })
	return nil
}

// refuse notes why the file is not taken as it is, and says so once.
func (p *pipeline) refuse(why string) {
	p.file.note(func(s *web.File) {
		if s.Fault != why {
			p.log.Error("the pipeline file was changed and cannot be taken; everything goes on as before", "fault", why)
		}
		s.Fault = why
	})
}

func (f *follower) note(change func(*web.File)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// status is a copy.
func (f *follower) status(path string) (s web.File) {
	f.note(func(state *web.File) { s = *state })
	s.Path = path
	return s
}

// sameSources says that no source is another one, whatever their order.
func sameSources(a, b []config.Source) bool {
	added, changed, removed := compareSources(a, b)
	return len(added)+len(changed)+len(removed) == 0
}

// compareSources names the sources that are only in b, in both and not the same, and only in a.
func compareSources(a, b []config.Source) (added, changed, removed []string) {
	old := map[string]config.Source{}
	for _, s := range a {
		old[s.Name] = s
	}
	for _, s := range b {
		was, found := old[s.Name]
		switch {
		case !found:
			added = append(added, s.Name)
		case !was.Same(s):
			changed = append(changed, s.Name)
		}
		delete(old, s.Name)
	}
	return added, changed, slices.Sorted(maps.Keys(old))
}
