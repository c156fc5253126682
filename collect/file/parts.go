package file

import (
	"io"
	"io/fs"
)

// Parts reads a file of which a server is asked for parts, as a File does. It is as long as it was when it was opened: what is written to it
// later is for a later look. One without a length, as some servers have for what they make up, goes as far as it goes.
type Parts struct {
	Info fs.FileInfo
	// Ask reads what comes at once from an offset. At the end it gives io.EOF.
	Ask func(p []byte, off int64) (int, error)

	at    int64
	first []byte // the beginning, which is asked for more than once
}

const firstBytes = 32 << 10

// Stat is part of File.
func (r *Parts) Stat() (fs.FileInfo, error) { return r.Info, nil }

// Seek knows io.SeekStart alone.
func (r *Parts) Seek(offset int64, _ int) (int64, error) {
	r.at = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *Parts) Read(p []byte) (int, error) {
	n, err := r.some(p, r.at)
	r.at += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (r *Parts) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.some(p[n:], off+int64(n))
		n += k
	}
	return n, err
}

// some reads what comes at once, the beginning from memory once it is there.
func (r *Parts) some(p []byte, off int64) (int, error) {
	if off >= firstBytes {
		return r.ask(p, off)
	}
	if r.first == nil {
		first := make([]byte, firstBytes)
		n := 0
		for n < len(first) {
			k, err := r.ask(first[n:], int64(n))
			n += k
			if err == io.EOF {
				break
			}
			if err != nil {
				return 0, err
			}
		}
		r.first = first[:n]
	}
	if off >= int64(len(r.first)) {
		return r.ask(p, off)
	}
	return copy(p, r.first[off:]), nil
}

func (r *Parts) ask(p []byte, off int64) (int, error) {
	if size := r.Info.Size(); size > 0 {
		p = p[:max(0, min(int64(len(p)), size-off))]
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	return r.Ask(p, off)
}
