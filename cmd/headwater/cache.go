package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headwater/lake"
	"headwater/table"
)

// cache keeps files of a tables store that is elsewhere on this machine, the latest used, for queries of any process.
type cache struct {
	dir   string
	limit int64
	store lake.Store
}

// path is the place of what a run made of a key.
func (c *cache) path(key, run string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + run))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:])+".parquet")
}

// link puts the partition's file at the path to, which is the caller's, from the cache or through it. A file that was replaced since the
// partition was listed comes as it is now.
func (c *cache) link(ctx context.Context, p table.Partition, to string) error {
	kept := c.path(p.Key, p.Run)
	if err := os.Link(kept, to); !errors.Is(err, fs.ErrNotExist) {
		_ = os.Chtimes(kept, time.Now(), time.Now()) // used; if it is evicted now, it was linked
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	temp, err := c.download(ctx, p.Key)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, to); err != nil {
		return err
	}
	if err := c.keep(temp, p.Key); err != nil {
		return err
	}
	return c.evict()
}

func (c *cache) download(ctx context.Context, key string) (path string, err error) {
	body, _, err := c.store.Get(ctx, key, 0, -1)
	if errors.Is(err, lake.ErrNotExist) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err) // as a file that has vanished
	}
	if err != nil {
		return "", err
	}
	defer body.Close()
	f, err := os.CreateTemp(c.dir, "download-")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// keep names the file by the run that its own footer says, which may be a later one than the one that was looked for.
func (c *cache) keep(temp, key string) error {
	f, err := os.Open(temp)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	footer, found, err := table.FooterOf(f, info.Size())
	if err != nil || !found {
		return err // another's file is read, and not kept
	}
	err = os.Link(temp, c.path(key, footer.Run))
	if errors.Is(err, fs.ErrExist) {
		return nil // another query was first
	}
	return err
}

// evict removes the files that were used longest ago until the others are within the limit, and what killed processes have begun.
func (c *cache) evict() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	var size int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone
		}
		switch {
		case strings.HasSuffix(e.Name(), ".parquet"):
			kept, size = append(kept, info), size+info.Size()
		case time.Since(info.ModTime()) > time.Hour:
			_ = os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range kept {
		if size <= c.limit {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		size -= info.Size()
	}
	return nil
}
