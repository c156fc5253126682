package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"headwater/internal/retry"
)

// Tree is where files lie: this machine's folders, or those of a server. Its methods may be called from several goroutines. Paths are
// absolute. What it returns is fs.ErrNotExist for what is not there, and Lost where the connection is at fault.
type Tree interface {
	// ReadDir lists a folder, sorted by name.
	ReadDir(ctx context.Context, folder string) ([]fs.DirEntry, error)
	// Stat says what a path is, links followed. listed is what its folder's listing says of it: where that is enough, nobody is asked.
	Stat(ctx context.Context, path string, listed fs.DirEntry) (fs.FileInfo, error)
	// Open opens a file, of which Stat said seen.
	Open(ctx context.Context, path string, seen fs.FileInfo) (File, error)
	// Grain is how coarse the times of change are: within so long a file may change twice and have one of them.
	Grain() time.Duration
	io.Closer
}

// File is one that is open for reading, by one goroutine.
type File interface {
	io.ReadSeekCloser
	io.ReaderAt
	// Stat says what the file is by now.
	Stat() (fs.FileInfo, error)
}

// Lost marks an error as one of the connection to all of a tree: it ends the Run, and another Run connects anew.
func Lost(err error) error {
	if err == nil {
		return nil
	}
	return lost{err}
}

type lost struct{ error }

func (l lost) Unwrap() error { return l.error }

// Refused marks an error as a server's that does not let the user in, for a person to mend. It is asked again after some minutes: many lock out
// who asks more often.
func Refused(err error) error { return refused{retry.Stop(err)} }

type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

func isLost(err error) bool {
	_, is := errors.AsType[lost](err)
	return is
}

// Elsewhere is a tree that is not of this machine.
type Elsewhere struct {
	// Path is a glob, as Config.Path.
	Path string
	// Dial connects. The tree must not outlive ctx: what waits for it then returns.
	Dial func(ctx context.Context) (Tree, error)
	// Origin is what a file's path follows in the origin of its items.
	Origin string
}

// NewElsewhere makes a source of the files of a tree that is not of this machine. Its streams are named by their paths without the first slash.
func NewElsewhere(e Elsewhere, r Reading, log *slog.Logger) *Source {
	s := New(Config{Path: e.Path, Reading: r}, "/", log)
	s.dial, s.origin = e.Dial, e.Origin
	return s
}

// connect has the tree of a Run that ends with ctx.
func (s *Source) connect(ctx context.Context, once bool) (Tree, error) {
	if s.dial == nil {
		return local{}, nil
	}
	if !once {
		if err := retry.Wait(ctx, time.Until(s.rest)); err != nil {
			return nil, err
		}
	}
	t, err := s.dial(ctx)
	if _, is := errors.AsType[refused](err); is {
		s.rest = time.Now().Add(4*time.Minute + rand.N(2*time.Minute))
	}
	return t, err
}

// local is this machine's.
type local struct{}

func (local) ReadDir(_ context.Context, folder string) ([]fs.DirEntry, error) {
	// Not os.DirFS, which refuses names that are not UTF-8.
	return os.ReadDir(folder)
}

func (local) Stat(_ context.Context, path string, _ fs.DirEntry) (fs.FileInfo, error) {
	return os.Stat(path)
}

func (local) Open(_ context.Context, path string, _ fs.FileInfo) (File, error) {
	// Without O_NONBLOCK a pipe that has taken the name since it was listed would hold the reader until somebody writes.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err // and not a File that holds nothing
	}
	return f, nil
}

// Grain is nothing worth waiting for; and a file that replaces another has an identity of its own.
func (local) Grain() time.Duration { return 0 }

func (local) Close() error { return nil }

// isGone says whether a known file is not there any more. Of a folder that could not be listed nothing is known. Elsewhere nobody is asked:
// what is not listed is gone.
func (v *visit) isGone(l *listing, name string) bool {
	if v.s.dial == nil {
		// An entry of an archive that is there is not told to be missing: its path leads through a file.
		_, err := os.Lstat(name)
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, folder := range l.unread {
		if strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/") {
			return false
		}
	}
	for at := name; at != "/" && at != "."; at = path.Dir(at) {
		if l.there[filepath.FromSlash(at)] {
			return false // it is the file, or in it
		}
	}
	return true
}

// doubtful says of a file that was looked into now, whether it can have changed since, or can change yet, without its listing telling. After
// two grains in which it told of nothing it cannot. A file whose time is long ago is not being written; clocks, and zones of servers that tell
// none, may differ by a thousand grains.
func (v *visit) doubtful(f *file, info fs.FileInfo, now time.Time) bool {
	grain := v.tree.Grain()
	return now.Sub(f.changed) < 2*grain && now.Sub(info.ModTime()) < 1000*grain
}

// waits says of a file with something new whether to look into it later: one that is packed is read from its beginning each time, and is not
// to be read twice only because it came just now. But it does not wait for ever where it grows all the time.
func (v *visit) waits(f *file, info fs.FileInfo, now time.Time) bool {
	packed := f.gzip || strings.EqualFold(filepath.Ext(f.path), ".gz") || strings.EqualFold(filepath.Ext(f.path), ".zip")
	return packed && !v.once && now.Sub(f.news) < 30*v.tree.Grain() && v.doubtful(f, info, now)
}
