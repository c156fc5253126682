// Package progress tells work that is wedged from work that goes on, or that waits and says so.
//
// What enters: from time to time a Sign of everything that has work to do. What leaves: the signs that have not changed for too long. It knows
// nothing of the work, starts no goroutines and never blocks for long: who asks whether a process is wedged must not be held up by what is.
package progress

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Sign is of something that has work to do at the moment; what is idle has none.
type Sign struct {
	// Stage is the part of the process that it is of, for counting.
	Stage string
	// What it is, for people; no other sign has the same.
	What string
	// Mark is another one whenever the work has moved, or has met an error that it has told and after which it tries again.
	Mark string
}

// Wedged is work that does not move.
type Wedged struct {
	Stage, What string
	// Since is when it moved last, as far as is known.
	Since time.Time
}

func (w Wedged) String() string {
	return fmt.Sprintf("%s: %s has not moved since %s, and has work to do", w.Stage, w.What, w.Since.UTC().Format(time.RFC3339))
}

// Detector remembers when each sign changed last. New makes one; its methods may be called from several goroutines.
type Detector struct {
	patience time.Duration

	mu     sync.Mutex
	looked time.Time
	moved  map[string]movement
}

type movement struct {
	sign Sign
	at   time.Time
}

// New makes a Detector that has so much patience before it calls work wedged; with none it never does.
func New(patience time.Duration) *Detector {
	return &Detector{patience: patience, moved: map[string]movement{}}
}

// Look takes the signs of now, of all that has work to do.
func (d *Detector) Look(now time.Time, signs []Sign) {
	d.mu.Lock()
	defer d.mu.Unlock()
	moved := make(map[string]movement, len(signs))
	for _, s := range signs {
		before, known := d.moved[s.What]
		if !known || before.sign != s {
			before = movement{s, now}
		}
		moved[s.What] = before
	}
	d.moved, d.looked = moved, now
}

// Self is the stage of a Detector that nobody has look any more.
const Self = "process"

// Wedged is what has not moved for longer than the patience, by Stage and What. A Detector that has looked before and does not any more, because who asks
// for the signs is held up, is among it.
func (d *Detector) Wedged(now time.Time) (all []Wedged) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.patience <= 0 {
		return nil
	}
	if !d.looked.IsZero() && now.Sub(d.looked) > d.patience {
		all = append(all, Wedged{Self, "looking after the stages", d.looked})
	}
	for _, m := range d.moved {
		if now.Sub(m.at) > d.patience {
			all = append(all, Wedged{m.sign.Stage, m.sign.What, m.at})
		}
	}
	slices.SortFunc(all, func(a, b Wedged) int { return strings.Compare(a.Stage+" "+a.What, b.Stage+" "+b.What) })
	return all
}
