package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"headwater/internal/retry"
	"headwater/lake"
)

// lock takes the lock that guards key, until the file is closed. It fails if the folder of the lock does not exist.
func (s *Store) lock(ctx context.Context, key string) (*os.File, error) {
	name := lockPath(key)
	for {
		f, err := s.root.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o666)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			return nil, errors.Join(fmt.Errorf("waiting for the lock %s: %w", name, err), f.Close())
		}
		// Somebody may have tidied the file away; who comes next would lock another one.
		same, err := names(s.root, name, f)
		if err == nil && same {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// lockPath is one lock for all partitions of a table: the folder above the first name=value segment, or the object's own.
func lockPath(key string) string {
	segments := strings.Split(key, "/")
	folders := len(segments) - 1
	for i, segment := range segments[:folders] {
		if strings.Contains(segment, "=") {
			folders = i
			break
		}
	}
	return strings.Join(append(segments[:folders:folders], lake.LockName), "/")
}

// flock waits for an exclusive lock on f. It asks again and again because a call that waits could not be ended by ctx.
func flock(ctx context.Context, f *os.File) error {
	backoff := retry.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}
	for {
		taken, err := tryFlock(f)
		if taken || err != nil {
			return err
		}
		if retry.Wait(ctx, backoff.Next()) != nil {
			return ctx.Err()
		}
	}
}

// tryFlock is false if somebody else holds a lock on f.
func tryFlock(f *os.File) (bool, error) {
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			return true, nil
		case unix.EWOULDBLOCK:
			return false, nil
		case unix.EINTR:
		default:
			return false, fmt.Errorf("locking %s (is it on a network file system?): %w", f.Name(), err)
		}
	}
}

// names says whether name still is the file f.
func names(root *os.Root, name string, f *os.File) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	found, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, found), err
}
