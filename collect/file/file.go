// Package file reads files of this machine as they appear and grow: logs, exports, drop folders.
//
// What enters: the files of this machine, or of another Tree, that match a glob, compressed with gzip or not, and the entries of zip archives. What leaves: their rows, lines or documents as items.
// A stream is a file's path and generation; format and rules: docs/format/file-streams.md.
//
// Invariants:
//  1. A file that still begins with what was read of it goes on where it stood; any other is a new generation, read from 0.
//  2. Size and time of change only wake a file; what is new in it is decided by its bytes.
//  3. What looks unfinished at the end of a file waits until the file has settled, and nothing else waits.
//  4. No more than four files are open, and no more than one item of each is in memory.
//
// Goroutines of Run: the one that lists, and four that read; all end before Run returns.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/collect"
	"headwater/envelope"
)

// readers is how many files are read at the same time.
const readers = 4

// Source reads the files of one configuration.
type Source struct {
	c    Config
	base string
	log  *slog.Logger
	dial func(context.Context) (Tree, error) // nil for this machine's folders
	rest time.Time                           // until when a server that refuses the user is left alone; by losing it, it refuses once more

	origin string            // what paths follow in the origin of items
	told   map[string]string // what was logged of a path, by any Run
}

// New makes a source; relative paths are relative to the folder base.
func New(cfg Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{c: cfg, base: base, log: log, told: map[string]string{}}
}

// visit is one Run.
type visit struct {
	s    *Source
	out  collect.Out
	once bool

	tree   Tree
	sought time.Time // when it was last looked which files are gone

	mu     sync.Mutex       // guards what follows, the fields busy of files and s.told
	files  map[string]*file // by path; those in archives have the archive's before their own
	failed map[string]error
}

// file is a file that was seen in this Run or is known from the cursor. While it is busy it belongs to its reader.
type file struct {
	path, name string // absolute; as streams are named
	origin     string
	generation int
	stream     string // of both
	pos        position
	posErr     error

	seen    fs.FileInfo // as it was last listed
	changed time.Time   // when that was seen first
	news    time.Time   // since when it has something that was not looked into
	read    fs.FileInfo // as it was when it was last read
	again   bool        // it was doubtful then
	settled bool        // it had settled then
	ended   fs.FileInfo // as it was when it was finished
	taking  *taking     // nil unless it is
	gzip    bool
	rest    time.Time // not to be read before
	tail    bool      // something at its end waits until it has settled
	kept    *reader   // that something
	format  string    // as formatName has it, for who looks
	busy    bool
}

// replace begins a new generation, after what was kept of the old one, if anything. The old one is forgotten once the new one is known.
func (f *file) replace(ctx context.Context, out collect.Out, kept *reader) error {
	if kept != nil {
		if err := kept.flush(ctx); err != nil {
			return err
		}
	}
	old := f.stream
	f.generation++
	f.stream = streamName(f.name, f.generation)
	f.pos = position{}
	err := out.Mark(ctx, f.stream, f.pos.encode(), false, nil)
	if err == nil {
		err = out.Mark(ctx, old, nil, true, nil)
	}
	if err != nil {
		return stopped{err}
	}
	return nil
}

// Run implements collect.Source. Files and folders that cannot be read are logged when that changes and, with once, returned.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	v := &visit{s: s, out: out, once: once, files: map[string]*file{}, failed: map[string]error{}}
	v.recall(out.Streams())
	g, ctx := errgroup.WithContext(ctx)
	var err error
	if v.tree, err = s.connect(ctx, once); err != nil {
		return err
	}
	defer v.tree.Close() // nothing was written
	work := make(chan *file)
	var reading sync.WaitGroup
	for range readers {
		reading.Add(1)
		g.Go(func() error {
			defer reading.Done()
			return v.readAll(ctx, work)
		})
	}
	g.Go(func() error {
		err := v.list(ctx, work)
		close(work)
		if err != nil || !once {
			return err
		}
		reading.Wait()
		return v.takeAll(ctx)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return v.failures()
}

// recall takes the positions of the newest generations from the cursor.
func (v *visit) recall(streams map[string]envelope.StreamCursor) {
	for stream, at := range streams {
		name, generation, ok := parseStream(stream)
		if !ok {
			continue
		}
		path := filepath.Join(v.s.absBase(), filepath.FromSlash(name))
		if filepath.IsAbs(name) {
			path = name
		}
		if known := v.files[path]; known != nil && known.generation > generation {
			continue
		}
		f := v.newFile(path, name, generation)
		f.pos, f.posErr = parsePosition(at.Resume)
		v.files[path] = f
	}
}

func (v *visit) newFile(path, name string, generation int) *file {
	f := &file{path: path, name: name, origin: path, generation: generation, stream: streamName(name, generation)}
	if v.s.origin != "" {
		f.origin = v.s.origin + (&url.URL{Path: path}).EscapedPath()
	}
	return f
}

// list hands out the files that have something new, again and again or once.
func (v *visit) list(ctx context.Context, work chan<- *file) error {
	tick := time.NewTicker(v.s.c.Every)
	defer tick.Stop()
	for {
		began := time.Now()
		l, err := v.s.list(ctx, v.tree, v.report)
		if isLost(err) || ctx.Err() != nil {
			return err
		}
		v.report(v.s.c.Path, err)
		for _, it := range l.files {
			if err := v.offer(ctx, it, work); err != nil {
				return err
			}
		}
		if err == nil {
			if err := v.forgetGone(ctx, l, time.Now()); err != nil {
				return err
			}
		}
		if v.once {
			if err == nil && len(l.files) == 0 {
				v.s.log.Warn("no file matches", "path", v.s.c.Path)
			}
			return nil
		}
		if err := v.flushGone(ctx, l); err != nil {
			return err
		}
		if err := v.take(ctx, time.Now()); err != nil {
			return err
		}
		if err == nil { // a file that cannot be read is of the day on which it can
			collect.Polled(v.out, began)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// offer hands a file to a reader if it is due.
func (v *visit) offer(ctx context.Context, it found, work chan<- *file) error {
	path := it.path
	info, err := v.tree.Stat(ctx, path, it.listed)
	switch {
	case isLost(err):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return nil // it went since it was listed; or it is a link to nothing
	case err != nil:
		v.report(path, err)
		return nil
	}
	if !info.Mode().IsRegular() || it.unmarked && !v.leftover(path, info) {
		return nil
	}
	v.mu.Lock()
	f := v.files[path]
	if f == nil {
		f = v.newFile(path, v.s.nameOf(path), 0)
		v.files[path] = f
	}
	v.mu.Unlock()
	if err := v.missed(ctx, f, 0); err != nil {
		return err
	}
	if !v.due(f, info, time.Now()) {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case work <- f:
		return nil
	}
}

// due judges by what a listing says of a file whether to look into it.
func (v *visit) due(f *file, info fs.FileInfo, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.busy {
		return false
	}
	if f.seen == nil || !unchanged(f.seen, info) {
		f.seen, f.changed = info, now
	}
	isNew := f.read == nil || !unchanged(f.read, info)
	if isNew && f.news.IsZero() {
		f.news = now
	}
	f.busy = isNew && !now.Before(f.rest) && !v.waits(f, info, now) ||
		f.tail && now.Sub(f.changed) >= v.s.c.Settle || f.again && !v.doubtful(f, info, now) || v.ends(f, info, now)
	return f.busy
}

// unchanged goes by size and time of change, and by the identity of the file where it has one.
func unchanged(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && (os.SameFile(a, b) || !os.SameFile(a, a))
}

// readAll reads the files that come until there are no more.
func (v *visit) readAll(ctx context.Context, work <-chan *file) error {
	for f := range work {
		began := time.Now()
		tail, err := v.readGuarded(ctx, f)
		if _, isStopped := errors.AsType[stopped](err); isStopped {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err() // a connection that ended with it is no fault
		}
		if isLost(err) {
			return err
		}
		if err == nil && !tail && f.settled {
			if err := v.finished(ctx, f); err != nil {
				return err
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // it went since it was listed
		}
		v.mu.Lock()
		f.tail, f.busy = tail, false
		if err != nil {
			f.read = nil // try again at the next listing
		}
		if f.gzip {
			// While it grows it is decompressed from its beginning each time: let that be a tenth of a reader's time at most.
			f.rest = time.Now().Add(10 * time.Since(began))
		}
		v.mu.Unlock()
		v.report(f.path, err)
	}
	return nil
}

func (v *visit) readGuarded(ctx context.Context, f *file) (tail bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading %s panicked, please report this: %v\n%s", f.path, p, debug.Stack())
		}
	}()
	if f.posErr != nil {
		return false, f.posErr
	}
	return v.read(ctx, f)
}

// those are the files of which something is true while v.mu is held.
func (v *visit) those(are func(*file) bool) (some []*file) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.files {
		if are(f) {
			some = append(some, f)
		}
	}
	return some
}

// flushGone emits what was read of files that went before they settled.
func (v *visit) flushGone(ctx context.Context, l *listing) error {
	for _, f := range v.those(func(f *file) bool { return !f.busy && f.kept != nil }) {
		if !v.isGone(l, f.path) {
			continue
		}
		kept := f.kept
		f.kept, f.tail = nil, false
		if err := kept.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// seekGone is how often it is looked which files are gone.
const seekGone = time.Minute

// forgetGone notes which of the known files are no longer there, and has the cursor forget those that have been gone for long: it would
// grow without end. A folder that cannot be looked into says nothing of its files.
func (v *visit) forgetGone(ctx context.Context, l *listing, now time.Time) error {
	if v.s.c.Forget == 0 || now.Sub(v.sought) < seekGone {
		return nil
	}
	v.sought = now
	for _, f := range v.those(func(f *file) bool { return !l.there[f.path] && !f.busy }) {
		if !v.isGone(l, f.path) {
			continue
		}
		if f.pos.Taken && f.posErr == nil && !v.s.dated() { // it was disposed of, and a kill came before that was known
			if err := v.renew(ctx, f); err != nil {
				return err
			}
		}
		if err := v.missed(ctx, f, now.Unix()); err != nil {
			return err
		}
	}
	return nil
}

// missed notes since when a file is gone, 0 for one that is there, and forgets it when that is long ago. What a reader has or has kept
// is left alone.
func (v *visit) missed(ctx context.Context, f *file, now int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.busy || f.kept != nil || f.posErr != nil {
		return nil
	}
	gone := f.pos.Gone
	switch {
	case now != 0 && f.generation == 0 && f.pos == position{}:
		delete(v.files, f.path) // nothing was read of it
		return nil
	case now == 0 && gone == 0, now != 0 && gone != 0 && now-gone < int64(v.s.c.Forget/time.Second):
		return nil
	case now != 0 && gone != 0:
		delete(v.files, f.path)
		delete(v.s.told, f.path)
		return v.out.Mark(ctx, f.stream, nil, true, nil)
	}
	f.pos.Gone = now
	return v.out.Mark(ctx, f.stream, f.pos.encode(), false, nil)
}

// report notes how reading a path went, nil if well, and logs it when that is news.
func (v *visit) report(path string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		delete(v.failed, path)
		delete(v.s.told, path)
		return
	}
	v.failed[path] = err
	if text := err.Error(); v.s.told[path] != text {
		v.s.told[path] = text
		v.s.log.Warn("cannot read, the other files go on", "path", path, "err", err)
	}
}

// failures is what keeps files from being read, as one error.
func (v *visit) failures() error {
	if len(v.failed) == 0 {
		return nil
	}
	if err := v.failed[v.s.c.Path]; err != nil {
		return err // nothing could be listed, and the error says where
	}
	const most = 10
	var all []error
	for _, path := range slices.Sorted(maps.Keys(v.failed)) {
		if len(all) == most {
			all = append(all, fmt.Errorf("and %d more", len(v.failed)-most))
			break
		}
		all = append(all, v.failed[path])
	}
	return fmt.Errorf("%d files or folders of %s could not be read: %w", len(v.failed), v.s.c.Path, errors.Join(all...))
}

// nameOf is a path as streams are named: relative to the base if it lies there, so that the whole folder may move.
func (s *Source) nameOf(path string) string {
	rel, err := filepath.Rel(s.absBase(), path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return path
	}
	return filepath.ToSlash(rel)
}

// Polls implements collect.Polling.
func (s *Source) Polls() {}

var _ collect.Polling = (*Source)(nil)
