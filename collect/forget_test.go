package collect

import (
	"context"
	"encoding/json"
	"testing"

	"headwater/envelope"
)

// acking is a Log that acknowledges when it is told to.
type acking struct {
	flaky
	offset  int64
	pending []func()
	records []envelope.Position
}

func (l *acking) Append(_ context.Context, r envelope.Record, done func(int64, error)) {
	l.records = append(l.records, r.Position)
	offset := l.offset
	l.offset++
	l.pending = append(l.pending, func() { done(offset, nil) })
}

func (l *acking) ack() {
	for _, f := range l.pending {
		f()
	}
	l.pending = nil
}

// A stream that is done and has no resume is forgotten, in memory too, once its records are acknowledged: if its name comes again, it is
// a stream from 0, as after a restart.
func TestForgottenStreamBeginsAnew(t *testing.T) {
	log := &acking{flaky: flaky{failed: true}}
	s, err := newSession(t.Context(), New(Options{Name: "x", Config: DefaultConfig()}), log, envelope.Cursor{}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	emit := func() {
		t.Helper()
		if err := s.Emit(t.Context(), Item{Stream: "a", Resume: json.RawMessage("1"), Item: envelope.Item{Data: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
	}
	emit()
	if err := s.Mark(t.Context(), "a", nil, true, nil); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.size(); n != 1 {
		t.Errorf("%d streams while the record is on its way, want 1", n)
	}
	log.ack()
	if n, _ := s.size(); n != 0 || s.load[0] != 0 {
		t.Errorf("%d streams are left, load %d", n, s.load[0])
	}
	if err := s.snapshot(t.Context()); err != nil || len(log.snapshots[0].Streams) != 0 {
		t.Errorf("%v, %v", err, log.snapshots)
	}
	emit()
	emit()
	log.ack()
	if got := log.records; got[1].Seq != 0 || got[2].Seq != 1 {
		t.Errorf("the stream goes on as %+v", got)
	}
}
