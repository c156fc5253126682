package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zip"
	"github.com/klauspost/compress/zstd"
)

// isArchive says whether a file is a zip archive: by its name too, because many other formats (xlsx, jar) are zip inside.
func isArchive(name string, fd File) (bool, error) {
	if !strings.EqualFold(filepath.Ext(name), ".zip") {
		return false, nil
	}
	var magic [4]byte
	if n, err := fd.ReadAt(magic[:], 0); err != nil && err != io.EOF || n < len(magic) {
		return false, notEOF(err)
	}
	s := string(magic[:])
	return s == "PK\x03\x04" || s == "PK\x05\x06", nil
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// archive reads what is new in the entries of a zip archive, each of which is a file of its own. Its directory stands at its end, so that an
// archive that has one is whole; without, it waits until the file has settled.
func (v *visit) archive(ctx context.Context, f *file, kept *reader, fd File, info fs.FileInfo, settled bool) (tail bool, err error) {
	f.gzip = true
	if f.pos.At > 0 || kept != nil {
		if err := f.replace(ctx, v.out, kept); err != nil { // it was another kind of file
			return false, err
		}
	}
	disk := &diskReader{fd: fd}
	z, err := zip.NewReader(disk, info.Size())
	if err == nil {
		err = overlapping(z, info.Size())
	}
	switch {
	case disk.err != nil:
		return false, disk.err
	case err != nil && !settled:
		return true, nil
	case err != nil && f.pos.Short == info.Size():
		return false, nil
	case err != nil:
		rd := &reader{f: f, out: v.out, w: &window{}, size: info.Size()}
		return false, rd.damaged(ctx, damage("zip", err))
	}
	z.RegisterDecompressor(zstd.ZipMethodWinZip, zstd.ZipDecompressor(zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20)))
	var errs []error
	taken := map[string]bool{}
	for _, member := range z.File {
		name, ok := entryName(member, taken)
		if !ok {
			continue
		}
		open := func(rd *reader) error { return rd.openEntry(member, disk) }
		waits, err := v.entry(ctx, f, name, info, settled, open)
		if _, isStopped := errors.AsType[stopped](err); isStopped {
			return false, err
		}
		tail = tail || waits
		if err != nil {
			errs = append(errs, fmt.Errorf("reading %s in it: %w", name, err))
		}
	}
	return tail, errors.Join(errs...)
}

// overlapping refuses an archive whose entries share bytes: so a small one could have a huge number of large ones.
func overlapping(z *zip.Reader, size int64) error {
	left := uint64(size)
	for _, member := range z.File {
		if member.CompressedSize64 > left {
			return errors.New("its entries are larger than all of it, so they overlap")
		}
		left -= member.CompressedSize64
	}
	return nil
}

// entryName is a name that no other entry has, without a way out of the archive. Folders and what a glob would not see are left out.
func entryName(member *zip.File, taken map[string]bool) (name string, ok bool) {
	slashed := strings.ReplaceAll(member.Name, "\\", "/")
	if strings.HasSuffix(slashed, "/") {
		return "", false
	}
	name = path.Clean("/" + slashed)[1:]
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || part == "__MACOSX" {
			return "", false
		}
	}
	unique := name
	for n := 2; taken[unique]; n++ {
		unique = fmt.Sprintf("%s#%d", name, n)
	}
	taken[unique] = true
	return unique, true
}

// entry reads what is new in one entry.
func (v *visit) entry(ctx context.Context, archive *file, name string, info fs.FileInfo, settled bool, open func(*reader) error) (tail bool, err error) {
	v.mu.Lock()
	f := v.files[archive.path+"/"+name]
	if f == nil {
		f = v.newFile(archive.path+"/"+name, archive.name+"/"+name, 0)
		v.files[f.path] = f
	}
	v.mu.Unlock()
	if err := v.missed(ctx, f, 0); err != nil {
		return false, stopped{err}
	}
	v.mu.Lock()
	f.busy = true
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		f.busy = false
		v.mu.Unlock()
	}()
	if f.posErr != nil {
		return false, f.posErr
	}
	if f.pos.Size == info.Size() && f.pos.Mtime == info.ModTime().UnixNano() {
		return false, nil
	}
	return v.generations(ctx, f, nil, func() *reader {
		return &reader{settled: settled, doubtful: archive.again, entry: true, size: info.Size(), mtime: info.ModTime().UnixNano()}
	}, open)
}

// openEntry makes the window of an entry, decompressing twice if its first bytes say so.
func (rd *reader) openEntry(member *zip.File, disk *diskReader) error {
	rd.gzip = true
	m := &memberReader{disk: disk, compressed: int64(member.CompressedSize64), free: int64(rd.c.MaxItem), ratio: int64(rd.c.MaxRatio)}
	rd.w.src = m
	if member.Flags&1 != 0 {
		m.err = damage("zip", errors.New("the entry is encrypted, and there is no password to give"))
		return nil
	}
	r, err := member.Open()
	if err != nil {
		if errors.Is(err, zip.ErrAlgorithm) {
			err = fmt.Errorf("the entry's compression method %d is not known, only deflate and zstd are", member.Method)
		}
		m.err = damage("zip", err)
		return disk.err
	}
	rd.close, m.r = r, r
	b := bufio.NewReaderSize(m, 64<<10)
	magic, _ := b.Peek(4) // an error comes again
	if kind := packing(magic); kind != "" {
		rd.w.src = &unzip{kind: kind, fd: b, free: m.free, ratio: m.ratio}
		return nil
	}
	rd.w.src = b
	return nil
}

// memberReader is the text of an entry. Its faults are errDamaged, those of the disk are not.
type memberReader struct {
	r    io.Reader
	disk *diskReader
	err  error // what was wrong before the first byte

	compressed, free, ratio int64 // see Config.MaxRatio
	out                     int64 // decompressed
}

func (m *memberReader) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if m.out%judged == 0 && m.ratio > 0 && m.out > m.free && m.out > m.ratio*m.compressed {
		return 0, bomb{"zip", m.ratio}
	}
	n, err := m.r.Read(p[:min(int64(len(p)), judged-m.out%judged)])
	m.out += int64(n)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case m.disk.err != nil:
		return n, m.disk.err
	}
	return n, damage("zip", err)
}

// diskReader remembers what was wrong with the disk, as zip does not.
type diskReader struct {
	fd  File
	err error

	block []byte // what was read last, a server is not asked for every few bytes
	at    int64
}

// ReadAt implements io.ReaderAt.
func (d *diskReader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off < d.at || off >= d.at+int64(len(d.block)) {
			if err := d.load(off); err != nil {
				return n, err
			}
		}
		k := copy(p[n:], d.block[off-d.at:])
		n, off = n+k, off+int64(k)
	}
	return n, nil
}

// load reads the block at an offset.
func (d *diskReader) load(off int64) error {
	if d.block == nil {
		d.block = make([]byte, 0, 256<<10)
	}
	n, err := d.fd.ReadAt(d.block[:cap(d.block)], off)
	d.block, d.at = d.block[:n], off
	switch {
	case n > 0:
		return nil // an error comes again
	case err != io.EOF:
		d.err = err
	}
	return err
}
