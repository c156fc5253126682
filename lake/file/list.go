package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"headwater/lake"
)

// List implements lake.Store. It holds one folder per level open and reads a folder when the iteration gets to it. A
// symbolic link, which this driver does not follow, ends the listing with an error: hiding it could hide data.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		l := listing{ctx: ctx, prefix: prefix, after: after, yield: yield}
		if err := l.start(s.root); err != nil {
			yield(lake.Object{}, fmt.Errorf("listing %s: %w", prefix, err))
		}
	}
}

// errStop ends a listing whose caller wants no more.
var errStop = errors.New("the caller has seen enough")

type listing struct {
	ctx           context.Context
	prefix, after string
	yield         func(lake.Object, error) bool
}

// start begins in the deepest folder that holds every key of the prefix.
func (l *listing) start(root *os.Root) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	dir, base := ".", ""
	if i := strings.LastIndexByte(l.prefix, '/'); i >= 0 {
		dir, base = l.prefix[:i], l.prefix[:i+1]
		if lake.CheckKey(dir) != nil {
			return nil // no key begins like this
		}
	}
	err := l.descend(root, dir, base)
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

func (l *listing) descend(parent *os.Root, dir, base string) error {
	folder, err := openFolder(parent, dir)
	if folder == nil {
		return err
	}
	defer folder.Close()
	entries, err := readFolder(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.visit(folder, e, base+e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) visit(folder *os.Root, e fs.DirEntry, key string) error {
	if e.Name() == lake.LockName || strings.HasPrefix(e.Name(), lake.TempPrefix) {
		return nil
	}
	if e.IsDir() {
		below := key + "/"
		wanted := strings.HasPrefix(below, l.prefix) || strings.HasPrefix(l.prefix, below)
		passed := below < l.after && !strings.HasPrefix(l.after, below)
		if !wanted || passed {
			return nil
		}
		return l.descend(folder, e.Name(), below)
	}
	if key <= l.after || !strings.HasPrefix(key, l.prefix) {
		return nil
	}
	info, err := folder.Lstat(e.Name())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir(): // it was a file a moment ago
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file (%s); move it out of the lake: %w", key, info.Mode(), fs.ErrInvalid)
	case !l.yield(object(key, info), nil):
		return errStop
	}
	return nil
}

// openFolder is nil without an error if dir is not there, or is a file.
func openFolder(parent *os.Root, dir string) (*os.Root, error) {
	info, err := parent.Stat(dir)
	if err == nil && !info.IsDir() {
		return nil, nil
	}
	folder, err := parent.OpenRoot(dir)
	if errors.Is(notExist(err), lake.ErrNotExist) {
		return nil, nil
	}
	return folder, err
}

// readFolder reads a folder in the order of the keys: those in a folder a follow a-b and precede a0, for the slash is
// part of them.
func readFolder(folder *os.Root) ([]fs.DirEntry, error) {
	f, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortKey(a), sortKey(b)) })
	return entries, nil
}

func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// Sweep is what a process does before it relies on what it finds: it removes the temporary files that killed writers left
// behind, says how many, and makes durable the objects that they had named and not synced. It may run at any time, beside
// writers of any process: theirs are locked. Folders that it cannot read are named in err; the others are swept.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	removed, err = sweep(ctx, s.root, ".")
	root, openErr := s.root.Open(".")
	if openErr == nil {
		openErr = errors.Join(syncAll(root), root.Close())
	}
	if err = errors.Join(err, openErr); err != nil {
		err = fmt.Errorf("sweeping temporary files: %w", err)
	}
	return removed, err
}

func sweep(ctx context.Context, parent *os.Root, dir string) (removed int, err error) {
	folder, err := openFolder(parent, dir)
	if folder == nil {
		return 0, err
	}
	defer folder.Close()
	entries, err := readFolder(folder)
	for _, e := range entries {
		if ctxErr := ctx.Err(); ctxErr != nil {
			return removed, ctxErr
		}
		n, entryErr := 0, error(nil)
		switch {
		case e.IsDir():
			n, entryErr = sweep(ctx, folder, e.Name())
		case e.Type().IsRegular() && strings.HasPrefix(e.Name(), lake.TempPrefix):
			n, entryErr = sweepFile(folder, e.Name())
		}
		removed += n
		err = errors.Join(err, entryErr)
	}
	return removed, err
}

// sweepFile removes a temporary file unless its writer lives. A writer that has made the file and not yet locked it finds
// out when it has the lock, and starts over; it has written nothing.
func sweepFile(folder *os.Root, name string) (removed int, err error) {
	f, err := folder.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // its writer is done
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if free, err := tryFlock(f); !free || err != nil {
		return 0, err
	}
	if err := folder.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	} else if err != nil {
		return 0, nil // between opening and locking its writer finished and the name is gone
	}
	return 1, nil
}
