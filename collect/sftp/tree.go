package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"headwater/collect/file"
)

// tree is the files of a server, on one connection that all share.
type tree struct {
	raw    net.Conn
	client *ssh.Client
	files  *sftp.Client
	stop   func() bool // that ctx closes the connection
	ended  chan struct{}
	wg     sync.WaitGroup
}

func newTree(raw net.Conn, client *ssh.Client, files *sftp.Client, timeout time.Duration) *tree {
	t := &tree{raw: raw, client: client, files: files, ended: make(chan struct{})}
	t.wg.Go(func() { t.ask(timeout / 3) })
	return t
}

// ask has the server answer something every so often. Not SSH is asked but SFTP, whose process may hang alone. What does not come back
// lets the connection's own deadline pass (invariant 2).
func (t *tree) ask(every time.Duration) {
	defer func() {
		if recover() != nil {
			_ = t.raw.Close()
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-t.ended:
			return
		case <-tick.C:
			_, _ = t.files.RealPath(".") // an error will be everybody's
		}
	}
}

func (t *tree) Close() error {
	close(t.ended)
	if t.stop != nil {
		t.stop()
	}
	err := t.raw.Close() // first: a server that does not answer would be waited for
	_ = t.files.Close()
	_ = t.client.Close()
	_ = t.client.Wait()
	t.wg.Wait()
	return err
}

// Grain: version 3 of SFTP, which servers speak, has seconds.
func (*tree) Grain() time.Duration { return time.Second }

func (t *tree) ReadDir(ctx context.Context, folder string) ([]fs.DirEntry, error) {
	infos, err := t.files.ReadDirContext(ctx, folder)
	if err != nil {
		return nil, fault(ctx, "listing", folder, err)
	}
	entries := make([]fs.DirEntry, len(infos))
	for i, info := range infos {
		entries[i] = fs.FileInfoToDirEntry(info)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Stat asks the server for links alone: a listing has all that is to be known of others.
func (t *tree) Stat(ctx context.Context, path string, listed fs.DirEntry) (fs.FileInfo, error) {
	if listed.Type()&fs.ModeSymlink == 0 {
		return listed.Info()
	}
	info, err := t.files.Stat(path)
	return info, fault(ctx, "looking at", path, err)
}

func (t *tree) Remove(ctx context.Context, path string, seen fs.FileInfo) error {
	if err := t.asSeen(ctx, path, seen); err != nil {
		return err
	}
	return fault(ctx, "deleting", path, t.files.Remove(path))
}

func (t *tree) Rename(ctx context.Context, path, to string, seen fs.FileInfo) error {
	if err := t.asSeen(ctx, path, seen); err != nil {
		return err
	}
	switch _, err := t.files.Lstat(to); {
	case err == nil:
		return &fs.PathError{Op: "renaming to", Path: to, Err: fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return fault(ctx, "looking at", to, err)
	}
	for _, folder := range file.Parents(to) {
		_ = t.files.Mkdir(folder) // mostly it is there; if it is not, the name cannot be given
	}
	return fault(ctx, "renaming to "+to, path, t.files.Rename(path, to))
}

// asSeen asks whether a file has changed.
func (t *tree) asSeen(ctx context.Context, path string, seen fs.FileInfo) error {
	if seen == nil {
		return nil
	}
	info, err := t.files.Stat(path)
	if err == nil && (info.Size() != seen.Size() || !info.ModTime().Equal(seen.ModTime())) {
		return file.ErrChanged
	}
	return fault(ctx, "looking at", path, err)
}

func (t *tree) Open(ctx context.Context, path string, _ fs.FileInfo) (file.File, error) {
	f, err := t.files.Open(path)
	if err != nil {
		return nil, fault(ctx, "opening", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fault(ctx, "looking at", path, err)
	}
	r := &remote{f: f, path: path}
	r.Parts = file.Parts{Info: info, Ask: r.ask}
	return r, nil
}

// remote is an open file.
type remote struct {
	file.Parts
	f    *sftp.File
	path string
}

func (r *remote) Close() error { return r.f.Close() }

// ask reads from the server. One may give less than it was asked for, which the library takes for the end of the file: the end is
// where nothing comes.
func (r *remote) ask(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(p, off)
	switch {
	case n > 0:
		return n, nil // an error comes again
	case err == nil || err == io.EOF:
		return 0, err
	}
	return 0, fault(context.Background(), "reading", r.path, err)
}

// fault tells what the server says of one file from what is wrong with the connection, which is everybody's.
func fault(ctx context.Context, doing, path string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	told := fmt.Errorf("%s %s: %w", doing, path, err)
	_, answered := errors.AsType[*sftp.StatusError](err)
	if answered || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return told
	}
	return file.Lost(told)
}
