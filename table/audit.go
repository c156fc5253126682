package table

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
)

// The kinds of findings. Repair mends those that Mends names.
const (
	// FoundUnregistered: the day has files and the catalog does not know it.
	FoundUnregistered = "unregistered"
	// FoundOutdated: the catalog says something else of the day than its files.
	FoundOutdated = "outdated"
	// FoundGone: the catalog has a day that has no files.
	FoundGone = "gone"
	// FoundUnreadable: a file or commit of the day is damaged, missing, of another version or somebody else's.
	FoundUnreadable = "unreadable"
	// FoundForeign: somebody else has put files beside the day's.
	FoundForeign = "foreign"
	// FoundTypes: files have columns of other types than the table.
	FoundTypes = "types"
	// FoundRetired: objects that no reader is told of any more. They are deleted in time by whoever makes the day next.
	FoundRetired = "retired"
)

// Mends says whether Repair mends what an audit has found of a kind.
func Mends(kind string) bool {
	return kind == FoundUnregistered || kind == FoundOutdated || kind == FoundGone
}

// Finding is something of a table that is not as it should be, or that is good to know.
type Finding struct {
	Kind string
	// Day is the one that it is about.
	Day Day
	// Text says what is the case and, unless Repair mends it, what to do.
	Text string
}

// Report is what an Audit has found.
type Report struct {
	Name Name
	// Findings are by day.
	Findings []Finding
	// Days, Rows and Bytes are what readers read.
	Days        int
	Rows, Bytes int64

	register []Partition
	drop     []Day
}

// Audit compares what lies in the tables store of a table with what the catalog has of it, and the files' columns with those that all should have,
// Undecided if that is not known. It changes nothing. A table that the catalog does not have is one of which it has no day.
func Audit(ctx context.Context, tables lake.Store, catalog Catalog, n Name, columns schema.Type) (*Report, error) {
	days, err := Days(ctx, tables, n)
	if err != nil {
		return nil, err
	}
	registered, err := catalog.Partitions(ctx, n)
	if err != nil && !errors.Is(err, ErrNotExist) {
		return nil, fmt.Errorf("reading what is registered of %s: %w", n, err)
	}
	r := &Report{Name: n}
	known := map[Day]Partition{}
	for _, p := range registered {
		known[p.Day] = p
		if !slices.Contains(days, p.Day) {
			r.find(FoundGone, p.Day, "it is registered at %s, where there is no file", p.Key)
			r.drop = append(r.drop, p.Day)
		}
	}
	err = LookDays(ctx, tables, n, days, func(d Day, h Held, err error) error {
		p, found := known[d]
		return r.audit(d, h, err, p, found, columns)
	})
	if err != nil {
		return nil, fmt.Errorf("auditing %s: %w", n, err)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.Day.Compare(b.Day) })
	slices.SortFunc(r.register, func(a, b Partition) int { return a.Day.Compare(b.Day) })
	return r, nil
}

// LookDays looks at several days at a time and calls do, one day after the other in no order, with what LookDay returned of it and with an error too
// if a commit names files that are not there as it says, or if others have put files beside the plain one (ErrForeign).
func LookDays(ctx context.Context, tables lake.Store, n Name, days []Day, do func(d Day, h Held, err error) error) error {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(footerReaders)
	for _, d := range days {
		g.Go(func() error {
			h, err := LookDay(ctx, tables, n, d)
			switch {
			case err != nil || len(h.Open) > 0:
			case len(h.Foreign) > 0:
				err = h.Changed()
			case h.committed():
				err = h.missing(ctx, tables)
			default:
				err = Beside(ctx, tables, n, d)
			}
			mu.Lock()
			defer mu.Unlock()
			return do(d, h, err)
		})
	}
	return g.Wait()
}

// missing says what has become of the files of the commit that are lost, if any are.
func (h *Held) missing(ctx context.Context, tables lake.Store) error {
	for _, f := range h.Commit.Files {
		if !slices.Contains(h.Lost, f.Key) {
			continue
		}
		o, err := tables.Stat(ctx, f.Key)
		if err != nil {
			return err
		}
		if o.Size != f.Size {
			return fmt.Errorf("%s has %d bytes, its commit says %d: %w", f.Key, o.Size, f.Size, ErrDamaged)
		}
	}
	return nil
}

func (r *Report) find(kind string, d Day, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{kind, d, fmt.Sprintf(format, args...)})
}

// audit enters what is found of a day, of which err says why it cannot be read.
func (r *Report) audit(d Day, h Held, err error, p Partition, registered bool, columns schema.Type) error {
	switch {
	case errors.Is(err, ErrForeign):
		r.find(FoundForeign, d, "%v", err)
		return nil
	case errors.Is(err, lake.ErrNotExist), errors.Is(err, ErrNotParquet), errors.Is(err, ErrVersion), errors.Is(err, ErrDamaged):
		r.find(FoundUnreadable, d, "%v; headwater serialize makes the day anew when it is moved away, headwater tables rollback goes back to a version before it", err)
		return nil
	case err != nil:
		return err
	}
	files := h.Files()
	if len(h.Retired) > 0 {
		var bytes int64
		for _, o := range h.Retired {
			bytes += o.Size
		}
		r.find(FoundRetired, d, "%d objects of %d bytes are read no more, from %s on", len(h.Retired), bytes, h.Retired[0].Key)
	}
	if len(files) == 0 {
		if registered {
			r.find(FoundGone, d, "it is registered at %s, and there is nothing to read", p.Key)
			r.drop = append(r.drop, d)
		}
		return nil
	}
	is := PartitionOf(d, files...)
	r.Days, r.Rows, r.Bytes = r.Days+1, r.Rows+is.Rows, r.Bytes+is.Bytes
	switch {
	case !registered:
		r.find(FoundUnregistered, d, "%s is not registered", is.Key)
		r.register = append(r.register, is)
	case p.Key != is.Key || p.Rows != is.Rows || p.Run != is.Run || p.Files != is.Files || p.Bytes != is.Bytes:
		r.find(FoundOutdated, d, "registered are %d rows in %d files at %s, there are %d rows in %d files at %s", p.Rows, p.Files, p.Key, is.Rows, is.Files, is.Key)
		r.register = append(r.register, is)
	}
	if columns.Kind != schema.Undecided && !schema.Conforms(is.Schema, columns) {
		r.find(FoundTypes, d, "it has %s; headwater serialize makes it anew", strings.Join(differing(is.Schema, columns), ", "))
	}
	return nil
}

// differing names the columns that have another type.
func differing(is, want schema.Type) (names []string) {
	for _, f := range is.Fields {
		for _, w := range want.Fields {
			if w.Name == f.Name && !schema.Equal(f.Type, w.Type) {
				names = append(names, fmt.Sprintf("%s of type %s, the table %s", f.Name, f.Type, w.Type))
			}
		}
	}
	return names
}

// Mendable says whether Repair would have something to do.
func (r *Report) Mendable() bool { return len(r.register)+len(r.drop) > 0 }

// Repair has the catalog say what the files say. It touches no file.
func (r *Report) Repair(ctx context.Context, catalog Catalog) error {
	if len(r.register) > 0 {
		all := Table{Name: r.Name}
		for _, p := range r.register {
			all.Schema = schema.Merge(all.Schema, p.Schema)
		}
		if err := catalog.Ensure(ctx, all); err != nil {
			return err
		}
		if err := catalog.SetPartitions(ctx, r.Name, r.register); err != nil {
			return err
		}
	}
	if len(r.drop) == 0 {
		return nil
	}
	return catalog.DropPartitions(ctx, r.Name, r.drop)
}

// Days lists the days of which there are objects of the table's, in order; also such that nobody reads, or that others have put there.
func Days(ctx context.Context, tables lake.Store, n Name) ([]Day, error) {
	days := map[Day]bool{}
	err := eachKey(ctx, tables, n, func(p Place) { days[p.Day] = true })
	return slices.SortedFunc(maps.Keys(days), Day.Compare), err
}

func eachKey(ctx context.Context, tables lake.Store, n Name, do func(Place)) error {
	prefix := n.Database + "/" + n.Table + "/"
	for o, err := range tables.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		p, ok := ParseKey(o.Key)
		if !ok {
			p, ok = ParseFolder(o.Key) // a file of others in a day's folder
		}
		if ok {
			do(p)
		}
	}
	return nil
}
