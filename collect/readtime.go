package collect

import (
	"context"
	"time"
)

// Polling is a Source that knows what there is only when it has looked. What it was not asked for does not count as read: after each look
// at all that there is, and after the items of it, it calls Polled.
type Polling interface {
	Source
	// Polls says nothing; a source that has it is one that polls.
	Polls()
}

// Deaf is a Source whose Run goes on while it hears nothing from what it reads.
type Deaf interface {
	Source
	// Hears says whether all that it reads would reach it now.
	Hears() bool
}

// Polled tells the Runner that all that there was at a time, when a look at it began, has been emitted.
func Polled(out Out, at time.Time) {
	if o, is := out.(interface{ polled(at time.Time) }); is {
		o.polled(at)
	}
}

// readTime is until when a source was read: all before is acknowledged, and nothing that it emits from now on is older. The records on their way are
// counted in two turns, so that a source of which some always are gets on too.
type readTime struct {
	until    time.Time
	onTheWay [2]int    // by turn
	turn     int       // that of new records
	next     time.Time // what until becomes when the records of the other turn have arrived; zero if it is that
	polled   time.Time // when the last good look of a source that polls began
	written  time.Time // the until for which a snapshot was asked last
}

// pass says that the source was read until at. Earlier turns must have arrived first.
func (t *readTime) pass(at time.Time) {
	if !t.arrive() || !at.After(t.until) {
		return
	}
	t.next, t.turn = at, 1-t.turn
	t.arrive()
}

// arrive says whether all records of the other turn have arrived, and until is what it was to become.
func (t *readTime) arrive() bool {
	if t.onTheWay[1-t.turn] > 0 {
		return false
	}
	if t.next.After(t.until) {
		t.until = t.next
	}
	t.next = time.Time{}
	return true
}

func (s *session) polled(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.time.polled) {
		s.time.polled = at
	}
}

const (
	// timeEvery is how exact ReadUntil is.
	timeEvery = time.Second
	// mustLast is how long a source must go on reading for its time to count: so long it may take to find that a connection cannot be made, or is dead.
	mustLast = time.Minute
)

// watchTime moves until on while the source reads, and asks for a snapshot when a day has ended.
func (s *session) watchTime(ctx context.Context) {
	tick := time.NewTicker(timeEvery)
	defer tick.Stop()
	for heard := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if deaf, is := s.r.o.Source.(Deaf); is && !deaf.Hears() {
			heard = now
		}
		s.passTime(s.readUntil(now, heard))
	}
}

// readUntil is until when the source has read, as far as it can tell, whatever has become of its records: it has heard all since a time. It is zero if
// it cannot tell.
func (s *session) readUntil(now, heard time.Time) time.Time {
	if _, polls := s.r.o.Source.(Polling); polls {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.time.polled
	}
	if now = now.Add(-mustLast); now.Before(heard) {
		return time.Time{}
	}
	return now
}

func (s *session) passTime(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.time.pass(at)
	if s.time.until.Before(s.r.o.DayEnd(s.time.written)) {
		return
	}
	s.time.written, s.changed = s.time.until, true
	select {
	case s.soon <- struct{}{}:
	default:
	}
}

// finishTime is passTime when all records have arrived, for a source that has ended: read is whether it has read all that there was when it began.
func (s *session) finishTime(began time.Time, read bool) {
	if s.r.o.DayEnd == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.time.until
	s.time.arrive()
	s.time.pass(s.time.polled)
	if read {
		s.time.pass(began)
	}
	s.changed = s.changed || s.time.until.After(was)
}
