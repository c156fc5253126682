package table

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
)

// EngineAdopted is the engine of footers of days that another job has made and that were taken over as they are.
const EngineAdopted = "adopted"

// dayPrefix begins the keys of what is in the folder of the day's plain file.
func dayPrefix(n Name, d Day) string { return n.Database + "/" + n.Table + "/" + d.Path() + "/" }

// Adopts says whether what is read of the day are the files of another job that were taken over, and nothing else has come.
func (h *Held) Adopts() bool {
	return h.committed() && len(h.Open) == 0 && h.Commit.Footer.Engine == EngineAdopted
}

// Changed is ErrForeign with the first of the files that others have put beside, or in the place of, adopted ones; nil if there are none.
func (h *Held) Changed() error {
	if len(h.Foreign) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: it came into the day's folder after the table was adopted. Stop the job that writes there; headwater tables adopt then takes the day as it is now, "+
		"and headwater serialize makes it when these files are moved away", h.Foreign[0], ErrForeign)
}

// lookAdopted finds out what has become of the files that the last commit says were adopted. It returns those that are there.
func (h *Held) lookAdopted(ctx context.Context, tables lake.Store, n Name, d Day) (there []lake.Object, err error) {
	if len(h.Commit.Adopted) == 0 {
		return nil, nil
	}
	known := map[string]CommitFile{}
	for _, f := range h.Commit.Adopted {
		known[f.Key] = f
	}
	h.Commit.Adopted = nil
	prefix := dayPrefix(n, d)
	for o, err := range tables.List(ctx, prefix, "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", prefix, err)
		}
		f, adopted := known[o.Key]
		switch name := path.Base(o.Key); {
		case adopted && f.Size == o.Size:
			h.Commit.Adopted, there = append(h.Commit.Adopted, f), append(there, o)
		case name[0] != '_' && name[0] != '.' && o.Key != h.Plain.Object.Key:
			h.Foreign = append(h.Foreign, o.Key)
		}
	}
	return there, nil
}

// Taken is a day of a table as another job has made it.
type Taken struct {
	Day Day
	// Files are in the folder of the day.
	Files []CommitFile
	// Schema is that of all files together.
	Schema schema.Type
	Rows   int64
	// Bytes are the files' size.
	Bytes int64
	// Oldest is when the oldest of the files was written.
	Oldest time.Time
	// Number is that of the last commit of the day, if there is one.
	Number int
	// versions are the files' own, to tell one content from another.
	versions []string
}

// Take reads the footers of the files that lie in the day's folder and says what they are together. No file is no error. It fails at the first file that is none of
// Parquet, or has types that no table of ours has: none is passed over. found is false for a day that Headwater itself has made.
func Take(ctx context.Context, tables lake.Store, n Name, d Day) (t Taken, found bool, err error) {
	t.Day = d
	h, err := LookDay(ctx, tables, n, d)
	if err != nil {
		return t, false, err
	}
	if len(h.Foreign) > 0 && !h.Adopts() {
		return t, false, fmt.Errorf("%s: %w: Headwater has made the day since it was adopted, so move it away, or drop the day's files in %s-*", h.Foreign[0], ErrForeign, runsPrefix(n, d))
	}
	if len(h.Files()) > 0 && len(h.Foreign) == 0 && (len(h.Lost) == 0 || !h.Adopts()) {
		return t, false, nil
	}
	if h.Plain.Exists && !h.committed() {
		return t, false, Beside(ctx, tables, n, d)
	}
	t.Number = max(h.Commit.Number, h.Plain.Footer.Closes.Commit)
	objects, err := dataFiles(ctx, tables, n, d)
	if err != nil {
		return t, false, err
	}
	types := make([]schema.Type, len(objects))
	t.Files = make([]CommitFile, len(objects))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(footerReaders)
	for i, o := range objects {
		g.Go(func() (err error) {
			t.Files[i] = CommitFile{Key: o.Key, Size: o.Size}
			types[i], t.Files[i].Rows, err = readSpark(gctx, tables, o.Key)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return t, false, err
	}
	for i, o := range objects {
		if at := schema.Clash(t.Schema, types[i]); at != "" {
			return t, false, fmt.Errorf("%s: column %s is nested in it and not in the files beside it, or the other way round, and no type holds both: %w", o.Key, at, ErrForeign)
		}
		t.Schema = schema.Merge(t.Schema, types[i])
		t.Rows, t.Bytes, t.versions = t.Rows+t.Files[i].Rows, t.Bytes+o.Size, append(t.versions, o.Version)
		if i == 0 || o.Modified.Before(t.Oldest) {
			t.Oldest = o.Modified
		}
	}
	return t, true, nil
}

// dataFiles are the objects in the day's folder that readers of the folder read.
func dataFiles(ctx context.Context, tables lake.Store, n Name, d Day) (objects []lake.Object, err error) {
	for o, err := range tables.List(ctx, dayPrefix(n, d), "") {
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", dayPrefix(n, d), err)
		}
		if _, data := ParseFolder(o.Key); data {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// readSpark reads the schema that Spark has left in a Parquet file's footer, and the number of rows.
func readSpark(ctx context.Context, s lake.Store, key string) (t schema.Type, rows int64, err error) {
	fault := func(err error) error { return fmt.Errorf("reading the footer of %s: %w", key, err) }
	tail, err := wholeFooter(func(n int64) (tail []byte, size int64, err error) {
		tail, o, err := readTail(ctx, s, key, n)
		return tail, o.Size, err
	})
	if err != nil {
		return t, 0, fault(err)
	}
	metadata := tail[:len(tail)-trailer]
	if rows, err = numRows(metadata); err != nil {
		return t, 0, fault(err)
	}
	text, found, err := keyValue(metadata, sparkKey)
	switch {
	case err != nil:
		return t, 0, fault(err)
	case !found:
		return t, 0, fault(fmt.Errorf("it has no %s, so Spark has not made it: %w", sparkKey, ErrForeign))
	}
	if err := t.UnmarshalJSON([]byte(text)); err != nil {
		return t, 0, fault(fmt.Errorf("%w: %w; have the old job make the day anew with a type that Headwater has (bigint, double, decimal, string, boolean, timestamp, array, map, struct)", err, ErrForeign))
	}
	return t, rows, nil
}

// Footer is what a commit says of the files, as a file of ours would of itself.
func (t *Taken) Footer(n Name) Footer {
	sum := sha256.New()
	for i, f := range t.Files {
		fmt.Fprintln(sum, f.Key, f.Size, t.versions[i])
	}
	f := Footer{Table: n.String(), Day: t.Day.String(), Engine: EngineAdopted, Settings: map[string]string{"adopted.files": hex.EncodeToString(sum.Sum(nil))}}
	f.Run = f.Digest()
	f.V, f.Rows, f.Schema = footerVersion, t.Rows, t.Schema
	return f
}

// AdoptDay has the day read as t from now on, by a commit. It registers nothing. Doing it again is doing it once.
func AdoptDay(ctx context.Context, tables lake.Store, n Name, t Taken) error {
	if len(t.Files) == 0 {
		return nil
	}
	return commit(ctx, tables, n, t.Day, Commit{Number: t.Number + 1, Files: t.Files, Footer: t.Footer(n), Adopted: t.Files, Made: t.Oldest}, nil)
}

// Plain puts the files of what is read of the day into its folder, deletes what Headwater knows to be read no more there, and says how the day is to be registered. Files that lie there already
// stay. What no reader is to be told of any more stays in its own folders, see Forget. Doing it again, after it was interrupted, is doing it once. temp is a folder for copies.
func Plain(ctx context.Context, tables lake.Store, n Name, d Day, temp string) (p Partition, exists bool, err error) {
	h, err := LookDay(ctx, tables, n, d)
	if err == nil {
		err = h.missing(ctx, tables)
	}
	files := h.Files()
	if err != nil || len(files) == 0 {
		return p, false, err
	}
	p = PartitionOf(d, files...)
	prefix, to := dayPrefix(n, d), make([]string, len(files))
	for i, f := range files {
		if to[i] = f.Object.Key; path.Dir(to[i])+"/" != prefix {
			to[i] = fmt.Sprintf("%spart-%05d-%.16s.c000.snappy.parquet", prefix, i, p.Run)
		}
	}
	p.Key = to[0]
	old, err := h.leftovers(ctx, tables, n, d, to)
	if err != nil {
		return p, false, err
	}
	for i, f := range files {
		if to[i] == f.Object.Key {
			continue
		}
		if err := copyFile(ctx, tables, f.Object, to[i], temp); err != nil {
			return p, false, fmt.Errorf("copying %s to %s: %w", f.Object.Key, to[i], err)
		}
	}
	for _, key := range old {
		if err := tables.Delete(ctx, key); err != nil && !errors.Is(err, lake.ErrNotExist) {
			return p, false, fmt.Errorf("deleting %s, which is read no more: %w", key, err)
		}
	}
	return p, true, nil
}

// leftovers are the files in the day's folder that are read no more, but for keep. One that is neither ours nor was adopted is ErrForeign.
func (h *Held) leftovers(ctx context.Context, tables lake.Store, n Name, d Day, keep []string) (old []string, err error) {
	there, err := dataFiles(ctx, tables, n, d)
	for _, o := range there {
		adopted := slices.ContainsFunc(h.Commit.Adopted, func(f CommitFile) bool { return f.Key == o.Key })
		switch {
		case slices.Contains(keep, o.Key):
		case !adopted && o.Key != h.Plain.Object.Key:
			return nil, fmt.Errorf("%s: %w, and not there when the table was adopted: move it away; or stop the job that made it, and headwater tables adopt takes the day as it is", o.Key, ErrForeign)
		default:
			old = append(old, o.Key)
		}
	}
	return old, err
}

// copyFile makes to a copy of the object, if it is none yet. No object appears before it is whole.
func copyFile(ctx context.Context, tables lake.Store, from lake.Object, to, temp string) (err error) {
	if o, err := tables.Stat(ctx, to); err == nil && o.Size == from.Size {
		return nil
	}
	body, _, err := tables.Get(ctx, from.Key, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	spool, err := os.CreateTemp(temp, "release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close(), os.Remove(spool.Name())) }()
	if _, err := io.Copy(spool, body); err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = tables.Put(ctx, to, spool, lake.Condition{})
	return err
}

// Forget deletes what Headwater has written beside the days' folders: commits, and the files that only they name. Whoever reads such files fails.
func Forget(ctx context.Context, tables lake.Store, n Name) error {
	var keys []string
	prefix := n.Database + "/" + n.Table + "/_runs/"
	for o, err := range tables.List(ctx, prefix, "") {
		if err != nil {
			return fmt.Errorf("listing %s: %w", prefix, err)
		}
		keys = append(keys, o.Key)
	}
	// The last commit of a day goes after those before it, which would be read in its place, and before its files.
	slices.SortStableFunc(keys, func(a, b string) int { return rank(b) - rank(a) })
	for _, key := range keys {
		if err := tables.Delete(ctx, key); err != nil && !errors.Is(err, lake.ErrNotExist) {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
	}
	return nil
}
