package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"headwater/internal/crash"
	"headwater/lake"
	"headwater/schema"
)

// commitVersion is that of a Commit's JSON.
const commitVersion = 1

// maxCommit bounds what is read of one; a footer names each input, and a day of a million objects has about 200 MB of them.
const maxCommit = 512 << 20

// Commit is an object that says which files readers read of a day. The commits of a day are numbered; who creates the next number has published.
// Format: docs/format/publish.md.
type Commit struct {
	V int `json:"v"`
	// Number is 1 for the first of a day; 0 is no commit.
	Number int `json:"number"`
	// Files are all in one folder, in the order in which they are read.
	Files []CommitFile `json:"files"`
	// Footer is that of all files together.
	Footer Footer `json:"footer"`
	// Undoes is the run whose files a roll-back took out of readers' sight; Of is then the commit whose files are read again, 0 for those
	// that were there before the first.
	Undoes string `json:"undoes,omitempty"`
	Of     int    `json:"of,omitempty"`
	// Adopted are files in the day's folder that another job made and that were taken over: by this commit, if they are its Files, or by one before
	// it; then they are there until they are swept.
	Adopted []CommitFile `json:"adopted,omitempty"`
	// Made is when the oldest of Files was written, where they are Adopted.
	Made time.Time `json:"made,omitzero"`
}

// CommitFile is one file of a Commit.
type CommitFile struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	Rows int64  `json:"rows"`
}

// seen are the files as looking at each would show them.
func (c *Commit) seen() []Seen {
	out := make([]Seen, len(c.Files))
	for i, f := range c.Files {
		out[i] = Seen{Object: lake.Object{Key: f.Key, Size: f.Size}, Footer: c.Footer, Exists: true}
		out[i].Footer.Rows = f.Rows
		if i > 0 {
			out[i].Footer.Quarantined = 0 // counted once
		}
	}
	return out
}

// whole is the day as if it were one file: the first, with the rows of all.
func (c *Commit) whole() Seen {
	s := Seen{Footer: c.Footer, Exists: true}
	if len(c.Files) > 0 {
		s.Object = lake.Object{Key: c.Files[0].Key, Size: c.Files[0].Size}
	}
	return s
}

func (c *Commit) has(key string) bool {
	return slices.ContainsFunc(c.Files, func(f CommitFile) bool { return f.Key == key })
}

// keeps says whether the object is one of its files, or a mark beside them.
func (c *Commit) keeps(key string) bool {
	return c.has(key) || path.Base(key) == "_SUCCESS" && path.Dir(key) == path.Dir(c.Files[0].Key)
}

// same says whether readers read the same by both.
func (c *Commit) same(d *Commit) bool {
	return slices.Equal(c.Files, d.Files) && c.Footer.Run == d.Footer.Run && c.Undoes == d.Undoes && schema.Equal(c.Footer.Schema, d.Footer.Schema)
}

// ErrDamaged is returned for a commit that cannot be read. Delete it, and readers read what was there before it.
var ErrDamaged = errors.New("the commit is damaged")

// readCommit reads the object of a commit, which is ErrVersion if another version of this program wrote it.
func readCommit(ctx context.Context, tables lake.Store, key string) (c Commit, o lake.Object, err error) {
	body, o, err := tables.Get(ctx, key, 0, maxCommit)
	if err != nil {
		return c, o, err
	}
	text, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return c, o, fmt.Errorf("reading %s: %w", key, err)
	}
	if err := json.Unmarshal(text, &c); err != nil || len(c.Files) == 0 {
		return c, o, fmt.Errorf("%s, which should say what files a day has: %w (%v)", key, ErrDamaged, err)
	}
	if c.V != commitVersion {
		return c, o, fmt.Errorf("%s has version %d, this binary knows %d: use the newer one: %w", key, c.V, commitVersion, ErrVersion)
	}
	return c, o, nil
}

// commit creates the object of c if no other has c's number, and if guard, if not nil, has nothing against it. It finds out what became of a write
// whose answer was lost.
func commit(ctx context.Context, tables lake.Store, n Name, d Day, c Commit, guard func(context.Context) error) error {
	c.V = commitVersion
	if c.Footer.V == 0 {
		c.Footer.V = footerVersion
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing down what files %s of %s has: %w", d, n, err)
	}
	key := Place{Name: n, Day: d, Commit: c.Number}.Key()
	crash.Point("table.before-commit")
	if guard != nil {
		if err := guard(ctx); err != nil {
			return err
		}
	}
	_, putErr := tables.Put(ctx, key, bytes.NewReader(text), lake.Condition{IfAbsent: true})
	if putErr != nil {
		now, _, err := readCommit(ctx, tables, key)
		switch {
		case errors.Is(err, lake.ErrNotExist):
			return putErr // nothing has happened
		case err != nil:
			return errors.Join(putErr, fmt.Errorf("finding out whether it was written: %w", err))
		case !now.same(&c):
			return fmt.Errorf("%w since this run began: run it again", ErrOutdated)
		}
	}
	crash.Point("table.after-commit")
	return nil
}

// swap puts the file beside what readers read, and then commits it.
func (p *Publication) swap(ctx context.Context) (lake.Object, error) {
	o, err := p.putBeside(ctx)
	if err != nil {
		return o, err
	}
	return o, commit(ctx, p.Tables, p.Name, p.Day, Commit{
		Number: p.Held.Commit.Number + 1, Files: []CommitFile{{Key: o.Key, Size: o.Size, Rows: p.Footer.Rows}}, Footer: p.Footer, Adopted: p.Held.Commit.Adopted,
	}, p.Guard)
}

func (p *Publication) putBeside(ctx context.Context) (lake.Object, error) {
	key := path.Join(runFolder(p.Name, p.Day, p.Held.Commit.Number+1, p.Footer), partFile(0))
	crash.Point("table.before-put")
	o, err := p.Tables.Put(ctx, key, p.File, lake.Condition{IfAbsent: true})
	if err != nil {
		// The folder is named by everything that the file is made from: one that is there is this one, by us or by another process.
		now, err2 := lookAt(ctx, p.Tables, p.Name, p.Day, key)
		if err2 != nil || !now.Exists {
			return o, errors.Join(err, err2)
		}
		o = now.Object
	}
	crash.Point("table.after-put")
	return o, nil
}

// Stage puts the file where a swap would and publishes nothing. What it returns are Files of a Publication that is otherwise the same.
func (p *Publication) Stage(ctx context.Context) (files []string, err error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	o, err := p.putBeside(ctx)
	return []string{o.Key}, err
}

// ErrNoVersion refuses to roll back a day of which nothing older is there.
var ErrNoVersion = errors.New("there is no older version of the day")

// Rollback has readers read what they read before the last commit of the day, which is by a commit of its own, and registers it. The run that made
// the files that go out of sight is not made again until somebody asks for it, or there are other inputs. It returns what is read now.
//
// Errors: ErrNoVersion, ErrOutdated; a version with columns of other types than the table has now is refused too.
func Rollback(ctx context.Context, tables lake.Store, catalog Catalog, n Name, d Day) (Commit, error) {
	h, err := LookDay(ctx, tables, n, d)
	if err != nil {
		return Commit{}, err
	}
	if !h.committed() || len(h.Open) > 0 {
		return Commit{}, fmt.Errorf("%s of %s: %w: only days that were published with publish: swap keep one, and for serialize.grace alone", d, n, ErrNoVersion)
	}
	next, err := before(ctx, tables, n, d, h)
	if err != nil {
		return Commit{}, fmt.Errorf("rolling back %s of %s: %w", d, n, err)
	}
	if err := usable(ctx, tables, catalog, n, next); err != nil {
		return Commit{}, fmt.Errorf("rolling back %s of %s: %w", d, n, err)
	}
	next.Number, next.Undoes, next.Footer.Closes, next.Adopted = h.Commit.Number+1, h.Commit.Footer.Run, h.Closing(), h.Commit.Adopted
	if err := commit(ctx, tables, n, d, next, nil); err != nil {
		return Commit{}, fmt.Errorf("rolling back %s of %s: %w", d, n, err)
	}
	p := Publication{Tables: tables, Catalog: catalog, Name: n, Day: d, Swap: true, Held: h}
	if err := p.register(ctx, Seen{}); err != nil {
		return Commit{}, fmt.Errorf("rolling back %s of %s: %w: %w", d, n, ErrUnregistered, err)
	}
	return next, nil
}

// before is the commit before the last one, as the next is to be. One that was a roll-back itself counts as what it has gone back to.
func before(ctx context.Context, tables lake.Store, n Name, d Day, h Held) (Commit, error) {
	of := h.Commit.Number - 1
	if h.Commit.Undoes != "" {
		of = h.Commit.Of - 1
	}
	if of < 1 {
		if of < 0 || !h.Plain.Exists {
			return Commit{}, ErrNoVersion
		}
		o := h.Plain.Object
		return Commit{Files: []CommitFile{{Key: o.Key, Size: o.Size, Rows: h.Plain.Footer.Rows}}, Footer: h.Plain.Footer}, nil
	}
	c, _, err := readCommit(ctx, tables, Place{Name: n, Day: d, Commit: of}.Key())
	if errors.Is(err, lake.ErrNotExist) {
		return Commit{}, fmt.Errorf("%w: it was deleted after serialize.grace", ErrNoVersion)
	}
	if c.Undoes != "" {
		of = c.Of
	}
	c.Of = of
	return c, err
}

// usable makes sure that the files are all there and can be read beside the other days'.
func usable(ctx context.Context, tables lake.Store, catalog Catalog, n Name, c Commit) error {
	for _, f := range c.Files {
		o, err := tables.Stat(ctx, f.Key)
		if err != nil && !errors.Is(err, lake.ErrNotExist) {
			return err
		}
		if err != nil || o.Size != f.Size {
			return fmt.Errorf("%w: %s was deleted after serialize.grace, or replaced", ErrNoVersion, f.Key)
		}
	}
	t, err := catalog.Table(ctx, n)
	if err == nil && !schema.Conforms(c.Footer.Schema, t.Schema) {
		err = errors.New("a column has got another type since then, and the older files cannot be read beside the other days'; make the day again from other objects")
	}
	return err
}
