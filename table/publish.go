package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"headwater/internal/crash"
	"headwater/lake"
	"headwater/schema"
)

// ErrForeign refuses to replace a file that Headwater did not write.
var ErrForeign = errors.New("the file was not written by headwater")

// ErrUnregistered means that the file is in its place and the catalog does not know it: publish again to register it.
var ErrUnregistered = errors.New("the file is in place and not registered, run again to register it")

// Seen is what a table partition held when a run looked, before it made the file that is to replace it.
type Seen struct {
	Object lake.Object
	Footer Footer
	// Exists is false for a table partition without a file; Object and Footer are then empty.
	Exists bool
}

// Look reads what the table partition holds now. A file that is not Headwater's is ErrForeign, a damaged one
// ErrNotParquet: neither is ever overwritten.
func Look(ctx context.Context, tables lake.Store, n Name, d Day) (Seen, error) {
	return lookAt(ctx, tables, n, d, PartKey(n, d))
}

func lookAt(ctx context.Context, tables lake.Store, n Name, d Day, key string) (Seen, error) {
	f, o, found, err := ReadFooter(ctx, tables, key)
	switch {
	case errors.Is(err, lake.ErrNotExist):
		return Seen{}, nil
	case err != nil:
		return Seen{}, fmt.Errorf("looking at %s of %s (move the file away if it is damaged): %w", d, n, err)
	case !found:
		return Seen{}, fmt.Errorf("looking at %s of %s: %s: move it away, or give the table another name: %w", d, n, key, ErrForeign)
	}
	return Seen{Object: o, Footer: f, Exists: true}, nil
}

// Publication is a file on its way into the place of a table partition.
type Publication struct {
	Tables  lake.Store
	Catalog Catalog
	Name    Name
	Day     Day
	// File is the whole Parquet file, whose metadata is Footer's. Nil means that the table partition holds it already
	// (Seen.Footer.Run is Footer.Run) and only its registration is to be made sure of, unless there are Files.
	File io.ReadSeeker
	// Files, instead of File, are the keys of files that another engine has put into a NewFolder of the store. They are committed, whatever Swap says.
	// They need no metadata of ours: Footer is that of all together.
	Files  []string
	Footer Footer
	// Seen is what Look returned before the run read its inputs.
	Seen Seen
	// AllowShrink lets the table partition end with fewer rows than it had.
	AllowShrink bool
	// Swap puts the file of a whole day beside the one that is read, and commits it, so that who reads the other goes on reading it. Seen is not
	// compared then: it is Held.Commit, if any, whose successor this one is.
	Swap bool
	// Success puts an empty object _SUCCESS beside the file of a whole day, as jobs of Spark and MapReduce do, when it is registered.
	Success bool
	// Folder and Part are the file's place if it is one of an open day; Folder is 0 for the file of a whole day.
	Folder, Part int
	// Guard, if not nil, is asked right before readers get what is published; an error of it is Publish's, and nothing was changed.
	Guard func(context.Context) error
	// Held is what LookDay returned before the run read its inputs, zero for a table that never had an open day.
	Held Held
}

// Result is what a Publish left behind.
type Result struct {
	// Object is the table partition's file.
	Object lake.Object
	// Written is false if the file was there already.
	Written bool
}

// Publish puts the file in the place of its table partition, in one atomic write that takes effect only if the partition is
// still as Seen, and registers it. It may be repeated, and killed at any line: until the registration is done, another
// Publish of the same run does what is missing.
//
// Errors: ErrShrink, ErrOutdated (both: nothing was changed), ErrUnregistered; any other leaves open what was done.
func Publish(ctx context.Context, p Publication) (Result, error) {
	err := p.check()
	if err == nil && p.Folder == 0 && !p.commits() {
		err = Beside(ctx, p.Tables, p.Name, p.Day)
	}
	if err != nil {
		return Result{}, fmt.Errorf("publishing %s of %s: %w", p.Day, p.Name, err)
	}
	now := Seen{Object: p.Seen.Object, Footer: p.Footer, Exists: true}
	if !p.writes() {
		now.Footer = p.Seen.Footer
	} else {
		o, err := p.put(ctx)
		if err != nil {
			return Result{}, fmt.Errorf("publishing %s of %s: %w", p.Day, p.Name, err)
		}
		now.Object = o
	}
	if err := p.register(ctx, now); err != nil {
		return Result{}, fmt.Errorf("publishing %s of %s: %w: %w", p.Day, p.Name, ErrUnregistered, err)
	}
	crash.Point("table.after-register")
	if err := p.succeed(ctx, now.Object); err != nil {
		return Result{}, fmt.Errorf("publishing %s of %s: it is in place and registered, run again for its _SUCCESS: %w", p.Day, p.Name, err)
	}
	return Result{Object: now.Object, Written: p.writes()}, nil
}

// writes says whether there is something to put, or only to register.
func (p *Publication) writes() bool { return p.File != nil || len(p.Files) > 0 }

// commits says whether what is put takes effect by a commit.
func (p *Publication) commits() bool { return len(p.Files) > 0 || p.Swap && p.Folder == 0 }

// succeed marks the folder of what was published, with a new time if it was marked before; one that was only registered again keeps its mark.
func (p *Publication) succeed(ctx context.Context, o lake.Object) error {
	if !p.Success || p.Folder > 0 {
		return nil
	}
	mark := path.Join(path.Dir(o.Key), "_SUCCESS")
	if !p.writes() {
		if _, err := p.Tables.Stat(ctx, mark); !errors.Is(err, lake.ErrNotExist) {
			return err
		}
	}
	_, err := p.Tables.Put(ctx, mark, bytes.NewReader(nil), lake.Condition{})
	return err
}

func (p *Publication) check() error {
	switch {
	case !p.writes() && (!p.Seen.Exists || p.Seen.Footer.Run != p.Footer.Run):
		return errors.New("there is no file to publish, and none of this run in place")
	case p.Footer.Rows < p.replaces() && !p.AllowShrink:
		return fmt.Errorf("%w: it holds %d, the new file %d; publish with --allow-shrink if that is right",
			ErrShrink, p.replaces(), p.Footer.Rows)
	}
	return nil
}

// replaces is how many rows of readers' the file takes the place of.
func (p *Publication) replaces() int64 {
	if p.Folder > 0 && (p.Part > 0 || p.Folder == p.Held.Folder) {
		return 0 // it is read beside the others
	}
	rows, _ := p.Held.Rows()
	return max(rows, p.Seen.Footer.Rows)
}

func (p *Publication) key() string {
	return Place{Name: p.Name, Day: p.Day, Folder: p.Folder, Part: p.Part}.Key()
}

// put replaces the table partition's file and finds out what became of a write whose answer was lost.
func (p *Publication) put(ctx context.Context) (lake.Object, error) {
	switch {
	case len(p.Files) > 0:
		return p.commitFiles(ctx)
	case p.commits():
		return p.swap(ctx)
	}
	cond := lake.Condition{IfAbsent: true}
	if p.Seen.Exists {
		cond = lake.Condition{IfVersion: p.Seen.Object.Version}
	}
	crash.Point("table.before-put")
	if p.Guard != nil {
		if err := p.Guard(ctx); err != nil {
			return lake.Object{}, err
		}
	}
	o, err := p.Tables.Put(ctx, p.key(), p.File, cond)
	if err != nil {
		if o, err = p.settle(ctx, err); err != nil {
			return lake.Object{}, err
		}
	}
	crash.Point("table.after-put")
	return o, nil
}

// settle reads back what the table partition holds after a Put that returned putErr.
func (p *Publication) settle(ctx context.Context, putErr error) (lake.Object, error) {
	now, err := lookAt(ctx, p.Tables, p.Name, p.Day, p.key())
	switch {
	case err != nil:
		return lake.Object{}, errors.Join(putErr, fmt.Errorf("finding out whether it was written: %w", err))
	case now.Exists == p.Seen.Exists && now.Object.Version == p.Seen.Object.Version:
		return lake.Object{}, putErr // nothing has happened
	case now.Exists && now.Footer.Run == p.Footer.Run && now.Footer.Closes == p.Footer.Closes && schema.Equal(now.Footer.Schema, p.Footer.Schema):
		return now.Object, nil // the answer was lost, or another process has published the same rows
	}
	return lake.Object{}, fmt.Errorf("%w since this run began: run it again", ErrOutdated)
}

// register enters into the catalog what readers are to read. A writer that replaced or added files after ours may have registered before us, and
// our entry would then be the older one: so the day is looked at after each registration, and what is there is entered.
func (p *Publication) register(ctx context.Context, now Seen) error {
	held, err := p.after(ctx, now)
	if err != nil {
		return err
	}
	for {
		files := held.Files()
		if len(files) == 0 {
			return fmt.Errorf("%s: %w", now.Object.Key, lake.ErrNotExist)
		}
		if err := register(ctx, p.Catalog, p.Name, p.Day, files); err != nil {
			return err
		}
		again, err := LookDay(ctx, p.Tables, p.Name, p.Day, append(held.seen(), now)...)
		if err != nil {
			return err
		}
		if slices.EqualFunc(files, again.Files(), func(a, b Seen) bool {
			return a.Object.Key == b.Object.Key && a.Object.Version == b.Object.Version
		}) {
			return nil
		}
		held = again
	}
}

// after is what the day holds now that the file is there. That of a whole day needs no look: nobody had an open one, or it is closed.
func (p *Publication) after(ctx context.Context, now Seen) (Held, error) {
	if p.Folder == 0 && len(p.Held.Open) == 0 && p.Held.Commit.Number == 0 && !p.commits() {
		return Held{Plain: now}, nil
	}
	return LookDay(ctx, p.Tables, p.Name, p.Day, append(p.Held.seen(), now)...)
}

func register(ctx context.Context, c Catalog, n Name, d Day, files []Seen) error {
	p := PartitionOf(d, files...)
	if err := c.Ensure(ctx, Table{Name: n, Schema: p.Schema}); err != nil {
		return err
	}
	return c.SetPartitions(ctx, n, []Partition{p})
}
