// Package file keeps a lake in a folder of this machine: the object of key a/b/c is the file a/b/c.
//
// What enters and leaves is what lake.Store says. The folder must be on a local file system that has hard links and flock.
//
// Invariants:
//  1. A file has its final name only when it is whole and on disk: it is written as .tmp-<random> in the same folder,
//     synced, and then linked or renamed.
//  2. Put returns nil, ErrExists or ErrChanged only when the name is on disk too: its folder, and every folder above that
//     may be new, is synced. What Stat and List find after a Sweep was on disk before it returned, or has a living writer.
//  3. Whatever replaces or removes an object holds the lock of its key, so nothing comes between comparing a version and
//     the rename. IfAbsent needs no lock: link refuses a name that is taken.
//  4. A temporary file is locked by its writer for as long as it lives. One that is not locked has no writer.
//
// Files of the lock's or a temporary's name are no objects and never listed. There are no goroutines.
package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"headwater/internal/crash"
	"headwater/internal/retry"
	"headwater/lake"
)

// Store is a lake.Store and a lake.Local. Open makes one.
type Store struct {
	root *os.Root

	mu sync.Mutex
	// durable has the folders whose names, up to the root, this Store has synced.
	durable map[string]bool
}

// Open makes dir if it does not exist. Several processes may have the same folder open.
func Open(dir string) (*Store, error) {
	root, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the lake folder %s: %w", dir, err)
	}
	return &Store{root: root, durable: map[string]bool{}}, nil
}

func open(dir string) (*os.Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	existing := dir
	for existing != filepath.Dir(existing) {
		if _, err := os.Stat(existing); err == nil {
			break
		}
		existing = filepath.Dir(existing)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	for p := dir; p != existing; p = filepath.Dir(p) {
		parent, err := os.Open(filepath.Dir(p))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
			return nil, err
		}
	}
	return os.OpenRoot(dir)
}

// Close ends the use of the Store. Readers stay usable.
func (s *Store) Close() error { return s.root.Close() }

// Path implements lake.Local. It is empty for a key that no store accepts.
func (s *Store) Path(key string) string {
	if lake.CheckKey(key) != nil {
		return ""
	}
	return filepath.Join(s.root.Name(), filepath.FromSlash(key))
}

// Put implements lake.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	o, err := s.put(ctx, key, body, cond)
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
		err = retry.Stop(err) // the name itself is impossible on this file system
	}
	if err != nil {
		return lake.Object{}, fmt.Errorf("putting object %s: %w", key, err)
	}
	return o, nil
}

func (s *Store) put(
	ctx context.Context, key string, body io.Reader, cond lake.Condition,
) (o lake.Object, err error) {
	if err := check(ctx, key); err != nil {
		return lake.Object{}, err
	}
	folder, err := s.folder(path.Dir(key))
	if err != nil {
		return lake.Object{}, err
	}
	defer folder.Close()
	name := path.Base(key)
	if err := permit(folder, name, cond); err != nil {
		return lake.Object{}, settled(folder, err) // spares writing what will be refused; it is decided below
	}
	t, err := newTemp(ctx, folder)
	if err != nil {
		return lake.Object{}, err
	}
	defer func() { err = errors.Join(err, t.discard()) }()
	info, err := t.write(ctx, body)
	if err != nil {
		return lake.Object{}, err
	}
	crash.Point("lake.after-temp")
	if cond.IfAbsent {
		err = link(folder, t.name, name)
	} else {
		err = s.replace(ctx, folder, t.name, key, cond)
	}
	if err != nil {
		return lake.Object{}, settled(folder, err)
	}
	crash.Point("lake.after-link")
	if err := syncFolder(folder, "."); err != nil {
		return lake.Object{}, err
	}
	return object(key, info), nil
}

// replace renames temp to key if cond holds. Invariant 3.
func (s *Store) replace(ctx context.Context, folder *os.Root, temp, key string, cond lake.Condition) error {
	lock, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := permit(folder, path.Base(key), cond); err != nil {
		return err
	}
	return folder.Rename(temp, path.Base(key))
}

func link(folder *os.Root, temp, name string) error {
	err := folder.Link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		return lake.ErrExists
	}
	return err
}

// settled makes durable what a Put was refused for. Its writer may have been killed before it synced the folder, and the
// caller, told that the object is there, will forget what it was made from.
func settled(folder *os.Root, err error) error {
	if errors.Is(err, lake.ErrExists) || errors.Is(err, lake.ErrChanged) {
		if syncErr := syncFolder(folder, "."); syncErr != nil {
			return syncErr
		}
	}
	return err
}

// permit says whether cond allows a Put now.
func permit(folder *os.Root, name string, cond lake.Condition) error {
	info, err := folder.Lstat(name)
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case exists && info.IsDir():
		return fmt.Errorf("a folder has this name, and a file cannot have it too; choose another key: %w", fs.ErrInvalid)
	case !exists:
		return cond.Check(false, "")
	}
	return cond.Check(true, version(info))
}

// folder opens a folder of the lake and makes it, durably, if need be. Invariant 2. A folder that is there when this Store
// first comes upon it may be new all the same: another process may have been killed before it synced the name.
func (s *Store) folder(dir string) (*os.Root, error) {
	s.mu.Lock()
	durable := s.durable[dir]
	s.mu.Unlock()
	if durable {
		folder, err := s.root.OpenRoot(dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return folder, err
		}
	}
	err := s.root.MkdirAll(dir, 0o777)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("a file has the name of one of its folders, choose another key: %w: %w", err, fs.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	for p := dir; p != "."; p = path.Dir(p) {
		if err := syncFolder(s.root, path.Dir(p)); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	s.durable[dir] = true
	s.mu.Unlock()
	return s.root.OpenRoot(dir)
}

func syncFolder(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get implements lake.Store.
func (s *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	r, o, err := s.get(ctx, key, offset, n)
	if err != nil {
		return nil, lake.Object{}, fmt.Errorf("getting object %s: %w", key, notExist(err))
	}
	return r, o, nil
}

// reader is the part of an open file that Get was asked for.
type reader struct {
	*io.SectionReader
	io.Closer
}

func (s *Store) get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if err := check(ctx, key); err != nil {
		return nil, lake.Object{}, err
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, lake.Object{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = lake.ErrNotExist
	}
	if err != nil {
		return nil, lake.Object{}, errors.Join(err, f.Close())
	}
	start, length := lake.CutRange(info.Size(), offset, n)
	return reader{io.NewSectionReader(f, start, length), f}, object(key, info), nil
}

// Stat implements lake.Store.
func (s *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return lake.Object{}, fmt.Errorf("looking up object %s: %w", key, err)
	}
	return object(key, info), nil
}

func (s *Store) stat(ctx context.Context, key string) (fs.FileInfo, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	info, err := s.root.Lstat(key)
	if err == nil && !info.Mode().IsRegular() {
		err = lake.ErrNotExist
	}
	return info, notExist(err)
}

// Delete implements lake.Store. Folders stay, empty ones too: a Put may be about to use them.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.delete(ctx, key); err != nil {
		return fmt.Errorf("deleting object %s: %w", key, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, key string) error {
	if _, err := s.stat(ctx, key); err != nil {
		return err
	}
	lock, err := s.lock(ctx, key)
	if err != nil {
		return notExist(err)
	}
	defer lock.Close()
	if err := s.root.Remove(key); err != nil {
		return notExist(err)
	}
	return syncFolder(s.root, path.Dir(key))
}

// object describes a file. Its version does not change when the file gets another hard link, as the change time would.
func object(key string, info fs.FileInfo) lake.Object {
	return lake.Object{Key: key, Size: info.Size(), Version: version(info), Modified: info.ModTime()}
}

// version tells files of one name apart. The inode alone may be used again; the time is set by write, in nanoseconds.
func version(info fs.FileInfo) string {
	inode := info.Sys().(*syscall.Stat_t).Ino
	return fmt.Sprintf("%x-%x-%x", inode, info.Size(), info.ModTime().UnixNano())
}

func check(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return lake.CheckKey(key)
}

// notExist makes the ways in which a file is not there the one error of the contract.
func notExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return lake.ErrNotExist
	}
	return err
}

// temp is a file on its way to its name.
type temp struct {
	folder *os.Root
	file   *os.File
	name   string
}

// newTemp makes a locked temporary file. Invariant 4.
func newTemp(ctx context.Context, folder *os.Root) (*temp, error) {
	for {
		t := &temp{folder: folder, name: lake.TempPrefix + strings.ToLower(rand.Text())}
		var err error
		t.file, err = folder.OpenFile(t.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, t.file); err != nil {
			return nil, errors.Join(err, t.discard())
		}
		// A sweep that came upon the file before it was locked has locked and removed it; then this lock is worth nothing.
		switch same, err := names(folder, t.name, t.file); {
		case err != nil:
			return nil, errors.Join(err, t.discard())
		case same:
			return t, nil
		}
		if err := t.discard(); err != nil {
			return nil, err
		}
	}
}

// write fills and syncs the file. It sets the modification time itself because the kernel's own advances in steps of
// milliseconds, within which an inode may be used twice.
func (t *temp) write(ctx context.Context, body io.Reader) (fs.FileInfo, error) {
	buffer := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(onlyWriter{t.file}, &bodyReader{ctx, body}, buffer); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := t.folder.Chtimes(t.name, now, now); err != nil {
		return nil, err
	}
	if err := t.file.Sync(); err != nil {
		return nil, err
	}
	return t.file.Stat()
}

// discard removes the temporary name, if the file still has it, and lets go of the lock.
func (t *temp) discard() error {
	err := t.folder.Remove(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, t.file.Close())
}

// onlyWriter hides ReadFrom, which would not use the buffer.
type onlyWriter struct{ io.Writer }

// bodyReader stops when ctx ends and tells errors of the body from those of the disk.
type bodyReader struct {
	ctx  context.Context
	body io.Reader
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.body.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("reading its body: %w", err)
	}
	return n, err
}
