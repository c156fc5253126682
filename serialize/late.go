package serialize

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"headwater/lake"
)

// The values of Config.Late.
const (
	LateReopen     = "reopen"
	LateNextDay    = "next_day"
	LateQuarantine = "quarantine"
)

// reasonLate is why a record is in quarantine that came for a day that was closed.
const reasonLate = "late"

// lookClosed reads where the day has ended, if it is closed.
func (r *run) lookClosed(ctx context.Context) error {
	d, found, err := lake.ClosedBy(ctx, r.Raw, r.job.Source, r.job.Day.String())
	if err != nil || !found || d.Topic != r.job.Topic {
		return err
	}
	r.closed = &d
	return nil
}

// lookLate finds out whether late records are to be left out. That there are some is told by what the objects say of themselves, so that a day without
// any is made as if it were not closed.
func (r *run) lookLate(ctx context.Context) error {
	if r.Config.Late != LateQuarantine {
		return nil
	}
	if err := r.lookClosed(ctx); err != nil || r.closed == nil {
		return err
	}
	r.leaveOut = slices.ContainsFunc(r.inputs, func(in input) bool { return in.mayBeLate(r.closed) })
	return nil
}

// lateSetting is what the footers say of the records that were left out.
func (r *run) lateSetting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", LateQuarantine, r.closed.Log)
	for _, p := range slices.Sorted(maps.Keys(r.closed.Offsets)) {
		fmt.Fprintf(&b, " %d:%d", p, r.closed.Offsets[p])
	}
	return b.String()
}

// mayBeLate says whether an object may have late records.
func (in *input) mayBeLate(d *lake.DayEnd) bool {
	if d == nil {
		return false
	}
	if !in.told {
		return in.name.Generation <= 1 // how many records it has only a reader knows
	}
	last := in.tail.Next - 1
	if n := len(in.tail.Runs); n > 0 {
		last = in.tail.Runs[n-1].Last
	}
	return d.Late(in.name.Partition, in.tail.Log, last)
}

// isLate says whether a record, the n-th from 0, certainly came when the day had ended: one whose offset is not told is taken to be as early as it can be.
func (in *input) isLate(d *lake.DayEnd, n int64) bool {
	offset, exact := in.offset(n)
	if !exact {
		offset = in.name.Offset + n
	}
	return d.Late(in.name.Partition, in.tail.Log, offset)
}
