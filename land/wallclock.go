package land

import (
	"context"
	"slices"

	"headwater/internal/crash"
)

// intent is what a writer is about to put, noted in Kafka with the committed offset: until a commit at or beyond Next, every
// record below Next belongs to Path, whatever the clock says to whoever reads it. docs/format/rotation.md has the proof.
type intent struct {
	Path string `json:"path"`
	Next int64  `json:"next"`
}

// byClock says that the folders of a topic's records are those of the time at which they are read, which is another time when
// they are read again.
func (l *Lander) byClock(topic string) bool {
	_, declared := l.declared.Shapes[topic]
	return l.of(topic).conf.ByClock() && !declared
}

// recall takes over the intent that was noted with the commit. Where no writer with these settings has noted the commit, nothing
// tells in which folder an object beyond it may be, and all of them are looked at.
func (s *start) recall(now commitNote, noted string) {
	if s.err != nil {
		return
	}
	note := readNote(noted)
	known := note.Log == now.Log && !s.moved
	if known && note.Intent != nil {
		s.intent = *note.Intent
	}
	if known && !s.fresh {
		return
	}
	s.fresh, s.moved = false, true
	if !slices.Contains(s.dirs, now.Dir) {
		s.dirs = append(s.dirs, now.Dir)
		slices.Sort(s.dirs)
	}
}

// oneFolder is the folder of the record at offset, which is now's by the clock. Records that are not committed have one folder
// at a time: before one of another, they are closed and committed.
func (p *partition) oneFolder(ctx context.Context, offset int64, now string) (string, error) {
	if p.folder != "" && offset < max(p.intent.Next, p.hold) {
		return p.folder, nil // Invariant 6: nothing can be committed yet that would end the intent
	}
	if p.folder != "" && p.folder != now {
		p.cut = offset // what lies between was deleted or never a record
		if err := p.rotate(ctx); err != nil {
			return "", err
		}
	}
	return now, nil
}

// announce notes the intent before the objects of a rotation are put. A writer that has lost its Kafka partition is refused the
// commit, and ends without having put anything.
func (p *partition) announce(ctx context.Context) error {
	if !p.byClock || len(p.objects) == 0 || p.cut <= p.intent.Next {
		return nil
	}
	crash.Point("land.before-intent") // Invariant 6
	p.intent = intent{p.folder, p.cut}
	if err := p.commitOffset(ctx, p.committed, p.dirs); err != nil {
		return err
	}
	crash.Point("land.after-intent")
	return nil
}
