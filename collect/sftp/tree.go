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
	return &remote{f: f, path: path, info: info}, nil
}

// remote is an open file as long as it was when it was opened: what is written to it later is for a later look. One without a length, as some
// servers have for what they make up, goes as far as it goes.
type remote struct {
	f     *sftp.File
	path  string
	info  fs.FileInfo
	at    int64
	first []byte // the beginning, which is asked for more than once
}

const firstBytes = 32 << 10

func (r *remote) Stat() (fs.FileInfo, error) { return r.info, nil }

func (r *remote) Close() error { return r.f.Close() }

// Seek knows io.SeekStart alone.
func (r *remote) Seek(offset int64, _ int) (int64, error) {
	r.at = offset
	return offset, nil
}

func (r *remote) Read(p []byte) (int, error) {
	n, err := r.some(p, r.at)
	r.at += int64(n)
	return n, err
}

func (r *remote) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.some(p[n:], off+int64(n))
		n += k
	}
	return n, err
}

// some reads what comes at once, the beginning from memory once it is there.
func (r *remote) some(p []byte, off int64) (int, error) {
	if off >= firstBytes {
		return r.ask(p, off)
	}
	if r.first == nil {
		first := make([]byte, firstBytes)
		n, err := r.ask(first, 0)
		if err != nil {
			return 0, err
		}
		r.first = first[:n]
	}
	if off >= int64(len(r.first)) {
		return r.ask(p, off)
	}
	return copy(p, r.first[off:]), nil
}

// ask reads from the server. One may give less than it was asked for, which the library takes for the end of the file: the end is
// where nothing comes.
func (r *remote) ask(p []byte, off int64) (int, error) {
	if size := r.info.Size(); size > 0 {
		p = p[:max(0, min(int64(len(p)), size-off))]
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
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
