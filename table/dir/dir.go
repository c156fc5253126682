// Package dir is a catalog without a server: it is made from the table partitions' own footers each time it is opened, and
// lives in memory.
//
// What enters: the objects of the tables store. What leaves: the tables and partitions they are. Nothing is ever
// written. A Catalog does not see what other processes publish after it was opened, and a table
// that was ensured but has no partition is gone when it is opened again. Open reads footers in a bounded number of
// goroutines, which have ended when it returns; a Catalog has none.
package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
	"headwater/table"
)

// readers bounds how many footers are read at a time.
const readers = 16

// Catalog keeps tables in memory. It implements table.Catalog.
type Catalog struct {
	mu      sync.RWMutex
	tables  map[table.Name]*entry
	ignored []Ignored
}

type entry struct {
	schema     schema.Type
	complete   table.Day
	partitions map[table.Day]table.Partition
	// files are those of partitions that had several when the catalog was opened.
	files []table.Partition
}

// Ignored is an object that lies among the tables and is not a table partition of Headwater's.
type Ignored struct {
	Key string
	// Reason says why and what to do.
	Reason error
}

var _ table.Catalog = (*Catalog)(nil)

// Open lists the tables store and reads the footer of every table partition. What else lies there does not fail it, see
// Catalog.Ignored; what lies in folders whose names begin with _ or . is not even mentioned there.
func Open(ctx context.Context, tables lake.Store) (*Catalog, error) {
	c := &Catalog{tables: map[table.Name]*entry{}}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	opened := map[table.Place]bool{} // days with commits, or files of an open day; these are listed before the plain ones
	for o, err := range tables.List(gctx, "", "") {
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listing the tables: %w", err), g.Wait())
		}
		p, ok := table.ParseKey(o.Key)
		beside := false // of others, in the folder of a day
		if !ok {
			p, beside = table.ParseFolder(o.Key)
		}
		day := table.Place{Name: p.Name, Day: p.Day}
		switch {
		case !ok && hidden(o.Key) || (ok || beside) && opened[day]:
		case ok && (p.Folder > 0 || p.Commit > 0):
			opened[day] = true
			g.Go(func() error { return c.readOpen(gctx, tables, day) })
		default:
			g.Go(func() error { return c.read(gctx, tables, o.Key) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading the tables' footers: %w", err)
	}
	for n, e := range c.tables {
		var err error
		if e.complete, err = table.CompleteThrough(ctx, tables, n); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(c.ignored, func(a, b Ignored) int { return strings.Compare(a.Key, b.Key) })
	return c, nil
}

// hidden reports whether a folder of the key, or the file itself, is none of the tables' by its name.
func hidden(key string) bool {
	for segment := range strings.SplitSeq(key, "/") {
		if segment[0] == '_' || segment[0] == '.' {
			return true
		}
	}
	return false
}

// read enters one object. Only errors that say nothing about the object itself fail it.
func (c *Catalog) read(ctx context.Context, tables lake.Store, key string) error {
	p, ok := table.ParseKey(key)
	n, d := p.Name, p.Day
	if !ok {
		c.ignore(key, errors.New("its key is not that of a table partition"))
		return nil
	}
	f, o, found, err := table.ReadFooter(ctx, tables, key)
	switch {
	case errors.Is(err, lake.ErrNotExist):
		return nil // deleted since it was listed
	case errors.Is(err, table.ErrNotParquet), errors.Is(err, table.ErrVersion):
		c.ignore(key, err)
		return nil
	case err != nil:
		return err
	case !found:
		c.ignore(key, table.ErrForeign)
		return nil
	case f.Table != n.String() || f.Day != d.String():
		c.ignore(key, fmt.Errorf("it was made for %s of %s: move it there", f.Day, f.Table))
		return nil
	}
	c.enter(p, []table.Seen{{Object: o, Footer: f, Exists: true}})
	return nil
}

// readOpen enters a day that has commits, or files of an open day, whatever has become of it.
func (c *Catalog) readOpen(ctx context.Context, tables lake.Store, day table.Place) error {
	h, err := table.LookDay(ctx, tables, day.Name, day.Day)
	switch {
	case errors.Is(err, table.ErrNotParquet), errors.Is(err, table.ErrVersion), errors.Is(err, table.ErrForeign), errors.Is(err, table.ErrDamaged):
		day.Folder = h.Folder // 0 is that of the plain file
		if len(h.Commit.Files) == 0 {
			day.Commit = h.Commit.Number // which could not be read, if there is one
		}
		key := day.Key()
		if day.Folder > 0 && day.Commit == 0 {
			key = path.Dir(key)
		}
		c.ignore(key, err)
		return nil
	case err != nil:
		return err
	}
	if len(h.Lost) > 0 {
		day.Commit = h.Commit.Number
		c.ignore(day.Key(), fmt.Errorf("%w: %s, which it names, is not there: headwater serialize makes the day anew", table.ErrDamaged, h.Lost[0]))
		return nil
	}
	for _, f := range h.Files() {
		if f.Footer.Table != day.Name.String() || f.Footer.Day != day.Day.String() {
			c.ignore(f.Object.Key, fmt.Errorf("it was made for %s of %s: move it there", f.Footer.Day, f.Footer.Table))
			return nil
		}
	}
	if files := h.Files(); len(files) > 0 {
		c.enter(day, files)
	}
	return nil
}

func (c *Catalog) enter(day table.Place, files []table.Seen) {
	p := table.PartitionOf(day.Day, files...)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.ensure(table.Table{Name: day.Name, Schema: p.Schema})
	e.partitions[day.Day] = p
	if len(files) > 1 {
		for _, f := range files {
			e.files = append(e.files, table.PartitionOf(day.Day, f))
		}
	}
}

func (c *Catalog) ignore(key string, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ignored = append(c.ignored, Ignored{Key: key, Reason: reason})
}

// Ignored lists the objects that Open passed over, by key.
func (c *Catalog) Ignored() []Ignored { return slices.Clone(c.ignored) }

// Tables lists the tables by name.
func (c *Catalog) Tables(ctx context.Context) ([]table.Table, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := slices.SortedFunc(maps.Keys(c.tables), func(a, b table.Name) int {
		return cmp.Or(strings.Compare(a.Database, b.Database), strings.Compare(a.Table, b.Table))
	})
	var out []table.Table
	for _, n := range names {
		out = append(out, c.tables[n].table(n))
	}
	return out, ctx.Err()
}

// Table describes one table.
func (c *Catalog) Table(ctx context.Context, n table.Name) (table.Table, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, err := c.entry(n)
	if err != nil {
		return table.Table{}, err
	}
	return e.table(n), ctx.Err()
}

func (e *entry) table(n table.Name) table.Table {
	return table.Table{Name: n, Schema: e.schema, CompleteThrough: e.complete}
}

// Partitions lists a table's partitions by day.
func (c *Catalog) Partitions(ctx context.Context, n table.Name) ([]table.Partition, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, err := c.entry(n)
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(e.partitions), func(a, b table.Partition) int {
		return a.Day.Compare(b.Day)
	}), ctx.Err()
}

// Files lists the files of the table's partitions, each as if it were a partition, by day and number. Those of days that had several files are
// the ones that were there when the catalog was opened.
func (c *Catalog) Files(ctx context.Context, n table.Name) ([]table.Partition, error) {
	all, err := c.Partitions(ctx, n)
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	all = slices.DeleteFunc(all, func(p table.Partition) bool { return p.Files > 1 })
	if e, err := c.entry(n); err == nil {
		all = append(all, e.files...)
	}
	slices.SortFunc(all, func(a, b table.Partition) int { return cmp.Or(a.Day.Compare(b.Day), strings.Compare(a.Key, b.Key)) })
	return all, nil
}

// Ensure makes the table have at least t's columns.
func (c *Catalog) Ensure(ctx context.Context, t table.Table) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ensure(t)
	return nil
}

func (c *Catalog) ensure(t table.Table) *entry {
	e := c.tables[t.Name]
	if e == nil {
		e = &entry{schema: t.Schema, partitions: map[table.Day]table.Partition{}}
		c.tables[t.Name] = e
	}
	e.schema, e.complete = schema.Merge(e.schema, t.Schema), table.Latest(e.complete, t.CompleteThrough)
	return e
}

// SetPartitions adds the partitions or replaces those of the same day.
func (c *Catalog) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.entry(n)
	if err != nil {
		return err
	}
	for _, p := range ps {
		e.partitions[p.Day] = p
	}
	return nil
}

// DropPartitions forgets the partitions until the catalog is opened again.
func (c *Catalog) DropPartitions(ctx context.Context, n table.Name, days []table.Day) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.entry(n)
	if err != nil {
		return err
	}
	for _, d := range days {
		delete(e.partitions, d)
	}
	e.files = slices.DeleteFunc(e.files, func(p table.Partition) bool { return slices.Contains(days, p.Day) })
	return nil
}

// Drop forgets the table until the catalog is opened again.
func (c *Catalog) Drop(ctx context.Context, n table.Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.entry(n)
	delete(c.tables, n)
	return err
}

func (c *Catalog) entry(n table.Name) (*entry, error) {
	e := c.tables[n]
	if e == nil {
		return nil, fmt.Errorf("table %s: %w", n, table.ErrNotExist)
	}
	return e, nil
}
