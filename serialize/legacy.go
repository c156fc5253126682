package serialize

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"headwater/internal/setting"
)

// LegacyConfig is about objects that say nothing of themselves, as others have written them.
type LegacyConfig struct {
	// Dedupe is none, or exact_line: of the lines of a day's objects that say nothing of themselves, those that are equal, byte by byte, to an earlier one
	// are no rows. They go to quarantine, and are counted there.
	Dedupe string `yaml:"dedupe"`
}

// The values of LegacyConfig.Dedupe.
const (
	DedupeNone = "none"
	ExactLine  = "exact_line"
)

// Validate reports what is wrong.
func (c *LegacyConfig) Validate() setting.Faults {
	var faults setting.Faults
	if c.Dedupe != DedupeNone && c.Dedupe != ExactLine && c.Dedupe != "" {
		faults.Add([]string{"dedupe"}, "must be none, or exact_line to leave out lines that are there already, got %q", c.Dedupe)
	}
	return faults
}

// Dedupes says whether lines that are there already are left out.
func (c *LegacyConfig) Dedupes() bool { return c.Dedupe == ExactLine }

const reasonDuplicate = "duplicate"

// lineBytes is what a line takes in memory while doubled ones are looked for, with the room that a growing list has.
const lineBytes = 64

// seenLine is a line by its hash, and where it is: the object's index and the line's number in it.
type seenLine struct {
	hash       [2]uint64
	object     int32
	lineNumber int64
}

// findDoubled notes, by object, the lines that are equal to earlier ones. It reads the objects that say nothing of themselves, in any order: what it finds
// depends on the lines alone.
func (r *run) findDoubled(ctx context.Context) error {
	if !r.job.Legacy.Dedupes() {
		return nil
	}
	most := int64(r.Config.MaxMemory) / lineBytes
	found := make([][]seenLine, len(r.inputs))
	var all atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Config.workers())
	for i, in := range r.inputs {
		if in.told {
			continue
		}
		g.Go(func() error {
			for l, err := range r.lines(gctx, in) {
				if err != nil {
					return err
				}
				if l.tooLong {
					continue
				}
				if all.Add(1) > most {
					return dataError("legacy.dedupe looks at %d lines a day with serialize.max_memory of %s, and the day has more: raise it", most, r.Config.MaxMemory)
				}
				sum := sha256.Sum256(l.text)
				found[i] = append(found[i], seenLine{[2]uint64{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}, int32(i), l.number})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.doubled = doubledLines(found)
	return nil
}

// doubledLines are, by object, the numbers of the lines that have the hash of an earlier one, in order.
func doubledLines(found [][]seenLine) [][]int64 {
	doubled := make([][]int64, len(found))
	lines := slices.Concat(found...)
	slices.SortFunc(lines, func(a, b seenLine) int {
		return cmp.Or(slices.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.object, b.object), cmp.Compare(a.lineNumber, b.lineNumber))
	})
	for i := 1; i < len(lines); i++ {
		if l := lines[i]; l.hash == lines[i-1].hash {
			doubled[l.object] = append(doubled[l.object], l.lineNumber)
		}
	}
	for _, numbers := range doubled {
		slices.Sort(numbers)
	}
	return doubled
}

// isDoubled says whether a line of an object is equal to an earlier one.
func (r *run) isDoubled(at int, number int64) bool {
	if at >= len(r.doubled) {
		return false
	}
	_, found := slices.BinarySearch(r.doubled[at], number)
	return found
}
