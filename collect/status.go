package collect

import "time"

// State is what a Runner does at the moment.
type State string

// The states of a Runner, in the order it passes them; Waiting leads back to Opening.
const (
	Idle     State = "idle"
	Opening  State = "opening"
	Running  State = "running"
	Draining State = "draining"
	Waiting  State = "waiting"
	Stopped  State = "stopped"
)

// Status is a Runner at one moment; the counts are those since New.
type Status struct {
	State State
	// Records and Bytes count what Kafka has acknowledged, Malformed and Quarantined those of them that are so.
	Records, Bytes, Malformed, Quarantined int64
	// LastError is why the last session that failed did, empty if none has.
	LastError   string
	LastErrorAt time.Time
	// FailingSince is when the first session failed of those that have brought nothing since; zero if the source does not fail.
	FailingSince time.Time
	// LastItem is when the source last emitted an item.
	LastItem time.Time
	// Streams is how many streams the cursor has, InFlight how many records are not acknowledged yet; both are 0 between sessions.
	Streams, InFlight int
}

// Status may be called at any time.
func (r *Runner) Status() Status {
	r.mu.Lock()
	r.recovered()
	st := Status{State: r.state, LastError: r.lastError, LastErrorAt: r.lastErrorAt, FailingSince: r.failingSince}
	s := r.session
	r.mu.Unlock()
	st.Records, st.Bytes = r.counts.records.Load(), r.counts.bytes.Load()
	st.Malformed, st.Quarantined = r.counts.malformed.Load(), r.counts.quarantined.Load()
	if ms := r.counts.lastItem.Load(); ms != 0 {
		st.LastItem = time.UnixMilli(ms)
	}
	if s != nil {
		st.Streams, st.InFlight = s.size()
	}
	return st
}

// settled is how long a session lasts that brings nothing and is not one that is about to fail, as one whose server takes long not to answer.
const settled = 2 * time.Minute

// recovered forgets that the source failed once it has brought something since, or a session has lasted. r.mu is held.
func (r *Runner) recovered() {
	lasts := r.state == Running && time.Since(r.entered) > settled
	if lasts || r.brought.Load() > r.broughtBefore {
		r.failingSince = time.Time{}
	}
}
