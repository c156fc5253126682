package table

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
)

// NewFolder is a key's beginning, without a slash at its end, under which another engine may put files of the day for a Publication. Nobody else has it, and what a
// killed engine leaves there is deleted as files of commits are that were never made.
func NewFolder(n Name, d Day, h Held) string {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	return fmt.Sprintf("%s-r%06d-%s", runsPrefix(n, d), h.Commit.Number+1, hex.EncodeToString(nonce[:]))
}

// commitFiles commits files that are in the store already, if they have the rows that they should.
func (p *Publication) commitFiles(ctx context.Context) (lake.Object, error) {
	objects, rows := make([]lake.Object, len(p.Files)), make([]int64, len(p.Files))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(footerReaders)
	for i, key := range p.Files {
		g.Go(func() (err error) {
			rows[i], objects[i], err = ReadRows(gctx, p.Tables, key)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return lake.Object{}, err
	}
	next := Commit{Number: p.Held.Commit.Number + 1, Footer: p.Footer, Adopted: p.Held.Commit.Adopted}
	var all int64
	for i, o := range objects {
		all += rows[i]
		next.Files = append(next.Files, CommitFile{Key: o.Key, Size: o.Size, Rows: rows[i]})
	}
	if all != p.Footer.Rows {
		return lake.Object{}, fmt.Errorf("the %d files in %s have %d rows, and should have %d: nothing is published, run it again", len(objects), path.Dir(p.Files[0]), all, p.Footer.Rows)
	}
	if err := syncLocal(p.Tables, p.Files); err != nil {
		return lake.Object{}, err
	}
	return objects[0], commit(ctx, p.Tables, p.Name, p.Day, next, p.Guard)
}

// ReadRows is how many rows a Parquet file says that it has, whoever wrote it.
func ReadRows(ctx context.Context, s lake.Store, key string) (rows int64, o lake.Object, err error) {
	tail, err := wholeFooter(func(n int64) (tail []byte, size int64, err error) {
		tail, o, err = readTail(ctx, s, key, n)
		return tail, o.Size, err
	})
	if err == nil {
		rows, err = numRows(tail[:len(tail)-trailer])
	}
	if err != nil {
		return 0, o, fmt.Errorf("reading the footer of %s: %w", key, err)
	}
	return rows, o, nil
}

// syncLocal has files of this machine survive a power cut, as those have that Put has written: a commit must not outlive them.
func syncLocal(s lake.Store, keys []string) error {
	local, here := s.(lake.Local)
	if !here {
		return nil
	}
	file := local.Path(keys[0])
	paths := []string{filepath.Dir(file), filepath.Dir(filepath.Dir(file)), filepath.Dir(filepath.Dir(filepath.Dir(file)))} // the folder, _runs, and the table's
	for _, key := range keys {
		paths = append(paths, local.Path(key))
	}
	for _, name := range paths {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("making sure of files before they are published: %w", err)
		}
		err = f.Sync()
		if _ = f.Close(); err != nil { // it was only read
			return fmt.Errorf("making sure of %s before it is published: %w", name, err)
		}
	}
	return nil
}
