package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"headwater/schema"
	"headwater/table"
)

// folder is a query's own, with a lock that ends with the process.
type folder struct {
	path string
	lock *os.File
}

// openFolder sweeps what dead processes left in temp and makes a locked folder in it.
func openFolder(temp string) (*folder, error) {
	temp, err := filepath.Abs(temp)
	if err != nil {
		return nil, fmt.Errorf("making the query's folder: %w", err)
	}
	if err := os.MkdirAll(temp, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of queries: %w", err)
	}
	if err := sweep(temp); err != nil {
		return nil, err
	}
	for {
		path, err := os.MkdirTemp(temp, fmt.Sprintf("query-%d-", os.Getpid()))
		if err != nil {
			return nil, fmt.Errorf("making the query's folder: %w", err)
		}
		lock, err := lockFolder(path)
		if err == nil && lock != nil {
			return &folder{path: path, lock: lock}, nil
		}
		// Another query's sweep came between making and locking the folder: it removes it.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("locking the query's folder: %w", err)
		}
	}
}

func (f *folder) close() error {
	err := errors.Join(os.RemoveAll(f.path), f.lock.Close())
	if err != nil {
		return fmt.Errorf("removing the query's folder: %w", err)
	}
	return nil
}

// lockFolder returns nil if another process has the lock.
func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		_, err = os.Stat(path) // a sweep may have removed it while it was not locked yet
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// sweep removes the folders of queries that are over.
func sweep(temp string) error {
	entries, err := os.ReadDir(temp)
	if err != nil {
		return fmt.Errorf("listing the folder of queries: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "query-") {
			continue
		}
		path := filepath.Join(temp, e.Name())
		lock, err := lockFolder(path)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && lock == nil) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sweeping %s: %w", path, err)
		}
		if err := errors.Join(os.RemoveAll(path), lock.Close()); err != nil {
			return fmt.Errorf("sweeping %s: %w", path, err)
		}
	}
	return nil
}

// pin links the table's files into the folder. When one has vanished since it was listed, the table is listed anew, once.
func pin(ctx context.Context, folder string, t Table, refresh func(context.Context, table.Name) (Table, error)) (tableSpec, error) {
	s, err := pinFiles(ctx, folder, t)
	if !errors.Is(err, fs.ErrNotExist) || refresh == nil {
		return s, err
	}
	if err := os.RemoveAll(filepath.Join(folder, t.Name.Database, t.Name.Table)); err != nil {
		return s, err
	}
	if t, err = refresh(ctx, t.Name); err != nil {
		return s, fmt.Errorf("listing it again: %w", err)
	}
	return pinFiles(ctx, folder, t)
}

func pinFiles(ctx context.Context, folder string, t Table) (tableSpec, error) {
	s := tableSpec{Database: t.Name.Database, Table: t.Name.Table, Schema: schema.Merge(t.Schema, schema.Type{Kind: schema.Struct})}
	types, paths := make([]schema.Type, len(t.Files)), make([]string, len(t.Files))
	g, fetching := errgroup.WithContext(ctx)
	g.SetLimit(fetchers)
	for i, f := range t.Files {
		if fetching.Err() != nil {
			break
		}
		// Names of our own: DuckDB takes *, ? and [ in a path for patterns.
		paths[i] = filepath.Join(t.Name.Database, t.Name.Table, filepath.FromSlash(f.Day.Path()), fmt.Sprintf("%d.parquet", i))
		g.Go(func() (err error) {
			types[i], err = pinFile(fetching, f, filepath.Join(folder, paths[i]))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return s, err
	}
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	groups := map[string]int{}
	for i, path := range paths {
		own := types[i]
		text := own.String()
		at, found := groups[text]
		if !found {
			at = len(s.Groups)
			groups[text] = at
			s.Groups = append(s.Groups, group{Schema: own})
			s.Schema = schema.Merge(s.Schema, own)
		}
		s.Groups[at].Files = append(s.Groups[at].Files, path)
	}
	return s, nil
}

// fetchers bounds how many files are fetched at a time.
const fetchers = 8

// pinFile fetches, links or copies the file to path and returns the schema of what was pinned.
func pinFile(ctx context.Context, f File, path string) (schema.Type, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return schema.Type{}, err
	}
	if f.Fetch != nil {
		if err := f.Fetch(ctx, path); err != nil {
			return schema.Type{}, fmt.Errorf("fetching %s: %w", f.Path, err)
		}
		return pinned(f, path)
	}
	err := os.Link(f.Path, path)
	if errors.Is(err, syscall.EXDEV) || errors.Is(err, fs.ErrPermission) {
		err = copyFile(f.Path, path) // another file system, or files of another user (fs.protected_hardlinks)
	}
	if err != nil {
		return schema.Type{}, err
	}
	return pinned(f, path)
}

func pinned(f File, path string) (schema.Type, error) {
	info, err := os.Stat(path)
	if err != nil || info.Size() == f.Bytes {
		return f.Schema, err
	}
	return readSchema(path, info.Size(), f)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// readSchema reads it from the file's own footer: a publish has replaced the file since its schema was listed.
func readSchema(path string, size int64, f File) (schema.Type, error) {
	in, err := os.Open(path)
	if err != nil {
		return schema.Type{}, err
	}
	defer in.Close()
	footer, found, err := table.FooterOf(in, size)
	switch {
	case err != nil:
		return schema.Type{}, fmt.Errorf("reading the footer of %s: %w", f.Path, err)
	case !found:
		return f.Schema, nil
	}
	return footer.Schema, nil
}
