package main

import (
	"context"
	"maps"
	"sync"
	"time"

	"headwater/internal/web"
	"headwater/kafka"
	"headwater/land"
)

const (
	// watchEvery is how often a watch looks, and so how exact its times are.
	watchEvery = 2 * time.Second
	// rateOver is how far back rates look.
	rateOver = 10 * time.Second
	// sizesEvery is how often Kafka is asked for the sizes of its logs, which every broker has to add up.
	sizesEvery = 10 * time.Second
	// apart is how far a mark is from the one before it: at least so much of the time since the oldest. So a topic that does not land for long
	// has a bounded number of them, ln(age/watchEvery) times this.
	apart = 1000
)

// watch follows how fast a process works and how far behind the sources it is. Freshness is told by offsets alone: what a topic had at
// some time is landed as soon as the group has committed the end offsets of that time, whoever does the landing.
type watch struct {
	mu     sync.Mutex
	past   []sample
	marks  map[string][]mark    // by topic: end offsets that are not all committed, oldest first
	landed map[string]time.Time // by topic: all that it had then is landed
	sizes  kafka.Offsets
	ends   kafka.Offsets
	silent int // how often Kafka did not answer

	sized time.Time // of look alone
}

// sample is what was counted until then.
type sample struct {
	at      time.Time
	sources map[string][2]int64 // records and bytes
}

// mark is what a topic ended with at a time.
type mark struct {
	at   time.Time
	ends map[int32]int64
}

// run looks again and again until ctx ends. A Kafka that does not answer leaves things as they were, which makes them old.
func (w *watch) run(ctx context.Context, p *pipeline) error {
	return p.every(ctx, watchEvery, "watching", func(ctx context.Context) error { return w.look(ctx, p) })
}

func (w *watch) look(ctx context.Context, p *pipeline) error {
	w.count(p.sample())
	err := w.ask(ctx, p)
	if err != nil {
		w.mu.Lock()
		w.silent++
		w.mu.Unlock()
	}
	return err
}

// ask asks Kafka how far everything is.
func (w *watch) ask(ctx context.Context, p *pipeline) error {
	ctx, cancel := context.WithTimeout(ctx, rateOver)
	defer cancel()
	topics, err := p.landed(ctx)
	if err != nil {
		return err
	}
	at := time.Now()
	ends, err := kafka.EndOffsets(ctx, p.broker.client, topics...)
	if err != nil {
		return err
	}
	committed, err := kafka.CommittedOffsets(ctx, p.broker.client, land.DefaultGroup)
	if err != nil {
		return err
	}
	w.note(at, ends, committed)
	if time.Since(w.sized) < sizesEvery {
		return nil
	}
	w.sized = time.Now()
	sizes, err := kafka.LogBytes(ctx, p.broker.client)
	if err != nil {
		p.log.Debug("the sizes of Kafka's logs are not known", "err", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sizes = sizes
	return nil
}

// sample counts now.
func (p *pipeline) sample() sample {
	s := sample{at: time.Now(), sources: map[string][2]int64{}}
	for _, c := range p.sources().collectors {
		got := c.Status()
		s.sources[c.source.Name] = [2]int64{got.Records, got.Bytes}
	}
	return s
}

func (w *watch) count(s sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.past = append(w.past, s)
	for len(w.past) > 2 && s.at.Sub(w.past[1].at) >= rateOver {
		w.past = w.past[1:]
	}
}

// note takes the end offsets of a time, and what of those of earlier times is committed.
func (w *watch) note(at time.Time, ends, committed kafka.Offsets) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = ends
	if w.marks == nil {
		w.marks, w.landed = map[string][]mark{}, map[string]time.Time{}
	}
	maps.DeleteFunc(w.marks, func(topic string, _ []mark) bool { return ends[topic] == nil }) // it is gone
	maps.DeleteFunc(w.landed, func(topic string, _ time.Time) bool { return ends[topic] == nil })
	for topic, end := range ends {
		marks := w.marks[topic]
		if n := len(marks); n == 0 || at.Sub(marks[n-1].at) >= at.Sub(marks[0].at)/apart {
			marks = append(marks, mark{at, end})
		}
		for len(marks) > 0 && marks[0].reached(committed[topic]) {
			w.landed[topic] = marks[0].at
			marks = marks[1:]
		}
		w.marks[topic] = marks
	}
}

func (m mark) reached(committed map[int32]int64) bool {
	for partition, end := range m.ends {
		if committed[partition] < end {
			return false
		}
	}
	return true
}

// end is where what can be read of a Kafka partition ended when Kafka was last asked.
func (w *watch) end(topic string, partition int32) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ends[topic][partition]
}

// waits is another number whenever a Kafka of others has not answered once more: what waits for it says so, and is not wedged. Our own broker has to answer.
func (w *watch) waits(others bool) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !others {
		return 0
	}
	return w.silent
}

// landedUntil is the time of which all that a topic had then is landed, zero if none is known.
func (w *watch) landedUntil(topic string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.landed[topic]
}

// fill adds what is known to a status.
func (w *watch) fill(s *web.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range s.Topics {
		t := &s.Topics[i]
		t.LandedUntil, t.LogBytes = w.landed[t.Topic], w.sizes[t.Topic][t.Partition]
	}
	if len(w.past) < 2 {
		return
	}
	from, to := w.past[0], w.past[len(w.past)-1]
	seconds := to.at.Sub(from.at).Seconds()
	for i := range s.Sources {
		x := &s.Sources[i]
		was, is := from.sources[x.Name], to.sources[x.Name]
		x.RecordsPerSecond, x.BytesPerSecond = max(0, float64(is[0]-was[0])/seconds), max(0, float64(is[1]-was[1])/seconds)
	}
}
