package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// screen is a terminal whose last line is redrawn in place, below whatever is written to it otherwise.
type screen struct {
	w     io.Writer
	width func() int
	mu    sync.Mutex
	// line is what is drawn now, without a line feed.
	line string
}

const clearLine = "\r\x1b[K"

// Write puts whole lines above the drawn one.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.w.Write(text)
	}
	if _, err := fmt.Fprintf(s.w, "%s%s%s", clearLine, text, s.line); err != nil {
		return 0, err
	}
	return len(text), nil
}

// draw replaces the last line; an empty one takes it away.
func (s *screen) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line = line[:min(len(line), max(s.width()-1, 0))] // a line that wraps could not be taken away again
	if line == s.line {
		return
	}
	s.line = line
	_, _ = io.WriteString(s.w, clearLine+line) // a terminal that is gone loses nothing but its picture
}

// counts are what a progress line is made of.
type counts struct {
	at                            time.Time
	collected, landed, lag, amiss int64
	job                           string
}

func (p *pipeline) counts() counts {
	c := counts{at: time.Now()}
	for _, r := range p.sources().collectors {
		s := r.Status()
		c.collected += s.Records
		c.amiss += s.Malformed
	}
	for _, t := range p.lander.Status().Partitions {
		c.landed += t.Records
		c.lag += t.Lag()
		c.amiss += t.Quarantined
	}
	switch jobs := p.working(); {
	case len(jobs) > 1:
		c.job = fmt.Sprintf("%s of %s and %d more", jobs[0].Day, jobs[0].Source, len(jobs)-1)
	case len(jobs) == 1:
		c.job = fmt.Sprintf("%s of %s", jobs[0].Day, jobs[0].Source)
	}
	return c
}

// window is how far back rates look.
const window = 5 * time.Second

// progress tells how far the pipeline is until ctx ends: on a terminal in its last line, elsewhere now and then in the log.
func (p *pipeline) progress(ctx context.Context, terminal *screen) {
	every := 10 * time.Second
	if terminal != nil {
		every = 200 * time.Millisecond
		defer terminal.draw("")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	past := []counts{p.counts()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := p.counts()
		past = append(past, now)
		for len(past) > 2 && now.at.Sub(past[1].at) >= window {
			past = past[1:]
		}
		if terminal != nil {
			terminal.draw(line(past[0], now, p.started))
		} else if now.collected != past[0].collected || now.landed != past[0].landed || now.job != "" {
			p.log.Info("progress", "collected", now.collected, "per_second", rate(past[0], now, counts.ofCollected), "landed", now.landed,
				"landed_per_second", rate(past[0], now, counts.ofLanded), "lag", now.lag, "malformed", now.amiss, "serializing", now.job)
		}
	}
}

func (c counts) ofCollected() int64 { return c.collected }
func (c counts) ofLanded() int64    { return c.landed }

func rate(from, to counts, of func(counts) int64) int64 {
	seconds := to.at.Sub(from.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return int64(float64(of(to)-of(from)) / seconds)
}

// line is collected 1,200,000 (95,000/s), landed 800,000 (120,000/s), 400,000 to go, 4s.
func line(from, now counts, started time.Time) string {
	out := fmt.Sprintf("%s  collected %s", now.at.Sub(started).Round(time.Second), thousands(now.collected))
	if r := rate(from, now, counts.ofCollected); r > 0 {
		out += fmt.Sprintf(" (%s/s)", thousands(r))
	}
	out += ", landed " + thousands(now.landed)
	if r := rate(from, now, counts.ofLanded); r > 0 {
		out += fmt.Sprintf(" (%s/s)", thousands(r))
		if now.lag > 0 {
			out += fmt.Sprintf(", %s to go, about %s", thousands(now.lag), time.Duration(now.lag/r+1)*time.Second)
		}
	}
	if now.amiss > 0 {
		out += fmt.Sprintf(", %s malformed", thousands(now.amiss))
	}
	if now.job != "" {
		out += ", serializing " + now.job
	}
	return out
}

// thousands writes 1,234,567.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
