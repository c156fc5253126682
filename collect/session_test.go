package collect

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"headwater/envelope"
)

// flaky is a Log whose first snapshot fails.
type flaky struct {
	Log
	snapshots []envelope.Cursor
	failed    bool
}

func (*flaky) Partitions() int32 { return 1 }

func (l *flaky) Snapshot(_ context.Context, c envelope.Cursor) error {
	if !l.failed {
		l.failed = true
		return errors.New("cursor topic away")
	}
	l.snapshots = append(l.snapshots, c)
	return nil
}

// Who waits for a mark to be durable is told by the snapshot after the one that failed.
func TestSnapshotThatFailsIsMadeUpFor(t *testing.T) {
	log := &flaky{}
	s, err := newSession(t.Context(), New(Options{Name: "x"}), log, envelope.Cursor{}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	durable := 0
	if err := s.Mark(t.Context(), "a", json.RawMessage("1"), false, func() { durable++ }); err != nil {
		t.Fatal(err)
	}
	if err := s.snapshot(t.Context()); err == nil || durable != 0 {
		t.Errorf("error %v, durable called %d times", err, durable)
	}
	for range 2 {
		if err := s.snapshot(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if durable != 1 || len(log.snapshots) != 1 || string(log.snapshots[0].Streams["a"].Resume) != "1" {
		t.Errorf("durable called %d times, snapshots %v", durable, log.snapshots)
	}
}
