package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"headwater/internal/retry"
)

const (
	afterNone   = "none"
	afterDelete = "delete"
	afterMove   = "move"
	afterRename = "rename"
)

// ErrChanged says of a file that it is not any more as it was seen.
var ErrChanged = errors.New("the file has changed since it was read")

func (r *Reading) takes() bool { return r.After != "" && r.After != afterNone }

// Only has nothing be done to files, if look is true.
func (r *Reading) Only(look bool) {
	if look {
		r.After = afterNone
	}
}

// taking is a file that was read whole and for which something is to be done when that is known for good.
type taking struct {
	info fs.FileInfo
	left atomic.Int32 // marks that would not survive a kill
	next time.Time    // when to try again what has failed
}

// finished marks a file that was read to its end and has settled. What is broken is left for a person to see.
func (v *visit) finished(ctx context.Context, f *file) error {
	if !v.s.c.takes() || f.again {
		return nil
	}
	f.ended = f.read
	parts := append(v.entries(f), f)
	for _, part := range parts {
		if part.posErr != nil || part.pos.Short != 0 {
			return nil
		}
	}
	t := &taking{info: f.read}
	t.left.Store(int32(len(parts)))
	f.pos.Taken, f.pos.Size, f.pos.Mtime = true, f.read.Size(), f.read.ModTime().UnixNano()
	for _, part := range parts {
		if err := v.out.Mark(ctx, part.stream, part.pos.encode(), false, func() { t.left.Add(-1) }); err != nil {
			return stopped{err}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	f.taking = t
	return nil
}

// entries are those of an archive that are known.
func (v *visit) entries(f *file) []*file {
	if !strings.EqualFold(filepath.Ext(f.path), ".zip") {
		return nil
	}
	return v.those(func(e *file) bool { return strings.HasPrefix(e.path, f.path+"/") })
}

// ends says of a file that is as it was when it was read, whether to look into it once more: to see that it is finished. mu is held.
func (v *visit) ends(f *file, info fs.FileInfo, now time.Time) bool {
	return v.s.c.takes() && f.read != nil && !f.tail && f.taking == nil && now.Sub(f.changed) >= v.s.c.Settle &&
		(f.ended == nil || !unchanged(f.ended, info)) && !v.doubtful(f, info, now)
}

// takeAll waits until what was read is known for good, and does what is to be done then.
func (v *visit) takeAll(ctx context.Context) error {
	for len(v.those(func(f *file) bool { return f.taking != nil && f.taking.left.Load() > 0 })) > 0 {
		if err := retry.Wait(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return v.take(ctx, time.Now())
}

// take does with finished files what is to be done with them. Each of them is either as it was, or there is another under its
// name, or none, whatever is killed when: the next look tells.
func (v *visit) take(ctx context.Context, now time.Time) error {
	for _, f := range v.those(func(f *file) bool {
		return !f.busy && f.taking != nil && f.taking.left.Load() == 0 && !now.Before(f.taking.next)
	}) {
		err := v.dispose(ctx, f.path, f.taking.info)
		switch {
		case isLost(err) || ctx.Err() != nil:
			return err
		case errors.Is(err, ErrChanged):
			f.taking = nil
			continue
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			f.taking.next = now.Add(time.Minute)
			v.report(f.path, fmt.Errorf("it is read, but after: %s: %w", v.s.c.After, err))
			continue
		}
		v.report(f.path, nil)
		if err := v.renew(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// renew begins another generation of a file that is not there any more: whatever comes under its name is another file, even with the same bytes.
func (v *visit) renew(ctx context.Context, f *file) error {
	for _, part := range append(v.entries(f), f) {
		if err := part.replace(ctx, v.out, nil); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	f.taking, f.seen, f.read, f.ended = nil, nil, nil, nil
	return nil
}

// dispose does it. The marker goes first: left behind, it would say of a file that comes later that it is whole.
func (v *visit) dispose(ctx context.Context, name string, seen fs.FileInfo) error {
	to := ""
	switch v.s.c.After {
	case afterRename:
		to = name + v.s.c.RenameSuffix
	case afterMove:
		root, _ := doublestar.SplitPattern(v.s.pattern())
		below, err := filepath.Rel(filepath.FromSlash(root), name)
		if err != nil {
			return err
		}
		to = v.s.c.MoveTo
		if !filepath.IsAbs(to) {
			to = filepath.Join(v.s.absBase(), to)
		}
		to = filepath.Join(to, below)
	}
	if again, _ := doublestar.Match(v.s.pattern(), filepath.ToSlash(to)); again {
		return retry.Stop(fmt.Errorf("%s would be read again: let the glob leave it out", to))
	}
	if marker := v.s.c.DoneMarker; marker != "" {
		if err := v.tree.Remove(ctx, name+marker, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if to == "" {
		return v.tree.Remove(ctx, name, seen)
	}
	err := v.tree.Rename(ctx, name, to, seen)
	if errors.Is(err, fs.ErrExist) {
		err = v.tree.Rename(ctx, name, to+"."+seen.ModTime().UTC().Format("20060102T150405Z"), seen)
	}
	return err
}

// marked leaves out of a folder's entries the markers, and tells which files have one.
func (s *Source) marked(entries []fs.DirEntry) map[string]bool {
	if s.c.DoneMarker == "" {
		return nil
	}
	markers := map[string]bool{}
	for _, d := range entries {
		if name, is := strings.CutSuffix(d.Name(), s.c.DoneMarker); is {
			markers[name] = true
		}
	}
	return markers
}

// leftover says of a file without its marker that it is one whose marker was taken away after it was read.
func (v *visit) leftover(name string, info fs.FileInfo) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.files[name]
	return f != nil && f.pos.Taken && f.pos.Size == info.Size() && f.pos.Mtime == info.ModTime().UnixNano()
}

func (local) Remove(_ context.Context, path string, seen fs.FileInfo) error {
	if err := asSeen(path, seen); err != nil {
		return err
	}
	return os.Remove(path)
}

func (local) Rename(_ context.Context, path, to string, seen fs.FileInfo) error {
	if err := asSeen(path, seen); err != nil {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "renaming to", Path: to, Err: fs.ErrExist}
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.Rename(path, to)
}

func asSeen(path string, seen fs.FileInfo) error {
	info, err := os.Stat(path)
	if err == nil && seen != nil && !unchanged(info, seen) {
		return ErrChanged
	}
	return err
}

// Parents are the folders above a path, from the root on, for trees that make one at a time.
func Parents(name string) (all []string) {
	for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
		all = append([]string{dir}, all...)
	}
	return all
}
