package ftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jlaffaye/ftp"

	"headwater/collect/file"
)

// tree is the files of a server.
type tree struct {
	*pool
	stop   func() bool // that ctx closes the connections
	exact  bool        // listings have seconds
	noRest atomic.Bool // the server sends files from their beginning alone
}

// dial connects and logs in. The connections end with ctx.
func (s *source) dial(ctx context.Context) (file.Tree, error) {
	p, err := newPool(s)
	if err != nil {
		return nil, err
	}
	t := &tree{pool: p, stop: context.AfterFunc(ctx, p.close)}
	c, err := p.get(ctx)
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	t.exact = c.IsTimePreciseInList()
	p.put(c)
	return t, nil
}

func (t *tree) Close() error {
	t.stop()
	t.pool.mu.Lock()
	idle := t.pool.idle
	t.pool.mu.Unlock()
	for _, c := range idle {
		_ = c.Quit() // so that the server need not find out
	}
	t.pool.close()
	return nil
}

// Grain: MLSD has seconds, LIST has minutes of the last half year, and days of the time before, when nothing changes any more.
func (t *tree) Grain() time.Duration {
	if t.exact {
		return time.Second
	}
	return time.Minute
}

// info is an entry of a listing.
type info struct{ e ftp.Entry }

func (i info) Name() string       { return i.e.Name }
func (i info) Size() int64        { return int64(i.e.Size) }
func (i info) ModTime() time.Time { return i.e.Time }
func (i info) IsDir() bool        { return i.e.Type == ftp.EntryTypeFolder }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	switch i.e.Type {
	case ftp.EntryTypeFolder:
		return fs.ModeDir
	case ftp.EntryTypeLink:
		return fs.ModeSymlink
	}
	return 0
}

func (t *tree) ReadDir(ctx context.Context, folder string) ([]fs.DirEntry, error) {
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	defer t.put(c)
	listed, err := c.list(folder)
	if err != nil {
		return nil, c.fault(ctx, "listing", folder, err)
	}
	if n := c.lines.listed - len(listed); n > 0 {
		if len(listed) == 0 {
			return nil, fmt.Errorf("listing %s: the server writes lists in no way that is known, as %q", folder, c.lines.example)
		}
		t.s.log.Warn("lines of a listing cannot be understood, whatever they are is not read", "folder", folder, "lines", n)
	}
	var entries []fs.DirEntry
	for _, e := range listed {
		if e.Name != "" && e.Name != "." && e.Name != ".." && !strings.Contains(e.Name, "/") { // some list the folder itself
			entries = append(entries, fs.FileInfoToDirEntry(info{*e}))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// list goes to the folder first: servers take what is special in a path for a glob or for a flag, and list nothing where a folder is missing.
func (c *control) list(folder string) ([]*ftp.Entry, error) {
	if err := c.ChangeDir(folder); err != nil {
		return nil, err
	}
	*c.lines = lines{on: true}
	defer func() { c.lines.on = false }()
	return c.List("")
}

// Stat asks the server for links alone: a listing has all that is to be known of others. What it can tell no size of is no file.
func (t *tree) Stat(ctx context.Context, path string, listed fs.DirEntry) (fs.FileInfo, error) {
	i, err := listed.Info()
	if err != nil || listed.Type()&fs.ModeSymlink == 0 {
		return i, err
	}
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	defer t.put(c)
	size, err := c.FileSize(path)
	if codeOf(err)/100 == 5 {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, c.fault(ctx, "looking at", path, err)
	}
	e := ftp.Entry{Name: i.Name(), Size: uint64(max(0, size)), Time: i.ModTime()}
	if changed, err := c.GetTime(path); err == nil {
		e.Time = changed
	}
	return info{e}, nil
}

func (t *tree) Remove(ctx context.Context, path string, seen fs.FileInfo) error {
	return t.alter(ctx, "deleting", path, seen, func(c *control) error { return c.Delete(path) })
}

func (t *tree) Rename(ctx context.Context, path, to string, seen fs.FileInfo) error {
	return t.alter(ctx, "renaming to "+to, path, seen, func(c *control) error {
		if _, err := c.FileSize(to); err == nil { // servers replace without asking
			return &fs.PathError{Op: "renaming to", Path: to, Err: fs.ErrExist}
		}
		for _, folder := range file.Parents(to) {
			if c.ChangeDir(folder) != nil {
				_ = c.MakeDir(folder) // if it is not there then, the name cannot be given
			}
		}
		return c.Rename(path, to)
	})
}

// alter does something to a file unless it has changed. Its time counts where listings tell it as exactly as the server does.
func (t *tree) alter(ctx context.Context, doing, path string, seen fs.FileInfo, do func(*control) error) error {
	c, err := t.get(ctx)
	if err != nil {
		return err
	}
	defer t.put(c)
	if seen != nil {
		size, err := c.FileSize(path)
		if err == nil && size != seen.Size() {
			return file.ErrChanged
		}
		if codeOf(err) == ftp.StatusFileUnavailable || err != nil && codeOf(err) == 0 {
			return c.fault(ctx, doing, path, err)
		}
		if changed, err := c.GetTime(path); err == nil && t.exact && !changed.Equal(seen.ModTime()) {
			return file.ErrChanged
		}
	}
	err = do(c)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return c.fault(ctx, doing, path, err)
}

func (t *tree) Open(ctx context.Context, path string, seen fs.FileInfo) (file.File, error) {
	c, err := t.get(ctx)
	if err != nil {
		return nil, err
	}
	e := ftp.Entry{Name: seen.Name(), Size: uint64(seen.Size()), Time: seen.ModTime()}
	size, err := c.FileSize(path)
	switch {
	case err == nil:
		e.Size = uint64(max(0, size))
	case codeOf(err) == ftp.StatusFileUnavailable || codeOf(err) == 0:
		defer t.put(c)
		return nil, c.fault(ctx, "opening", path, err)
	} // it knows no SIZE
	r := &remote{t: t, c: c, path: path}
	r.Parts = file.Parts{Info: info{e}, Ask: r.ask}
	return r, nil
}

// fault says what is wrong: with a file, or with this connection.
func (c *control) fault(ctx context.Context, doing, name string, err error) error {
	if ctx.Err() != nil {
		c.broken = true
		return context.Cause(ctx)
	}
	told := fmt.Errorf("%s %s: %w", doing, name, err)
	switch codeOf(err) {
	case 0, ftp.StatusNotAvailable: // it says 421 and ends the connection
		c.broken = !errors.Is(err, ftp.ErrInvalidCommand) || c.broken
	case ftp.StatusFileUnavailable:
		if c.lacks(name) {
			return &fs.PathError{Op: doing, Path: name, Err: fs.ErrNotExist}
		}
	}
	return told
}

// lacks finds out whether a file or folder is not there: the answer to who asks for it is the same if it must not be read.
func (c *control) lacks(name string) bool {
	if name == "/" {
		return false
	}
	listed, err := c.list(path.Dir(name))
	if codeOf(err) == ftp.StatusFileUnavailable {
		return c.lacks(path.Dir(name))
	}
	c.broken = c.broken || err != nil && codeOf(err) == 0
	return err == nil && !slices.ContainsFunc(listed, func(e *ftp.Entry) bool { return e.Name == path.Base(name) })
}

// remote is an open file.
type remote struct {
	file.Parts
	t    *tree
	c    *control
	path string

	body *ftp.Response // what the server is sending; nil for nothing
	sent int64         // how much of the file has been sent before what comes next
}

// skipped is how much may be passed over rather than begin anew.
const skipped = 1 << 20

// ask reads what the server sends, from an offset.
func (r *remote) ask(p []byte, off int64) (int, error) {
	if r.body == nil || off < r.sent || off-r.sent > skipped && !r.t.noRest.Load() {
		if err := r.begin(off); err != nil {
			return 0, err
		}
	}
	if off > r.sent {
		n, err := io.CopyN(io.Discard, r.body, off-r.sent)
		r.sent += n
		if err != nil {
			return 0, r.end(err)
		}
	}
	n, err := r.body.Read(p)
	r.sent += int64(n)
	if n > 0 || err == nil {
		return n, nil // an error comes again
	}
	return 0, r.end(err)
}

// begin has the server send the file from an offset, or from its beginning if it cannot.
func (r *remote) begin(off int64) (err error) {
	r.cut()
	if r.c.broken {
		return r.c.fault(context.Background(), "reading", r.path, net.ErrClosed)
	}
	if !r.t.noRest.Load() {
		if r.body, err = r.c.RetrFrom(r.path, uint64(off)); err == nil {
			r.sent = off
			return nil
		}
		switch code := codeOf(err); {
		case off > 0 && code >= 500 && code < 510: // it does not know REST
			r.t.noRest.Store(true)
		default:
			r.body = nil
			return r.c.fault(context.Background(), "reading", r.path, err)
		}
	}
	r.sent = 0
	if r.body, err = r.c.Retr(r.path); err != nil {
		r.body = nil
		return r.c.fault(context.Background(), "reading", r.path, err)
	}
	return nil
}

// end is what the end of a connection for data means. Invariant 1: by itself it means nothing.
func (r *remote) end(err error) error {
	body := r.body
	r.body = nil
	answer := body.Close()
	switch {
	case codeOf(answer)/100 == 2:
		answer = nil // another word for it
	case answer != nil:
		r.c.broken = r.c.broken || codeOf(answer) == 0
		return fmt.Errorf("reading %s: the server stopped at byte %d: %w", r.path, r.sent, answer)
	}
	size := r.Info.Size()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading %s at byte %d: %w", r.path, r.sent, err)
	}
	if r.sent < size {
		return fmt.Errorf("reading %s: %d of %d bytes came: %w", r.path, r.sent, size, io.ErrUnexpectedEOF)
	}
	return io.EOF
}

// cut ends what the server is sending.
func (r *remote) cut() {
	if r.body == nil {
		return
	}
	var one [1]byte
	if size := r.Info.Size(); size > 0 && r.sent == size {
		if n, err := r.body.Read(one[:]); n == 0 && err != nil {
			_ = r.end(err)
			return
		}
	}
	err := r.body.Close()
	r.body = nil
	// Some answer once to who hangs up, some twice. After NOOP it is known that nothing is left.
	r.c.broken = r.c.broken || err != nil && codeOf(err) == 0 || r.c.NoOp() != nil
}

func (r *remote) Close() error {
	r.cut()
	r.t.put(r.c)
	return nil
}
