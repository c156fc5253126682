package file

import (
	"io"
	"sync"
)

// window is the part of a decompressed file that is in memory.
type window struct {
	src  io.Reader
	seek io.Seeker // nil where src cannot seek
	base int64     // the offset of the first byte of text
	buf  []byte
	from int   // buf[from:] is the text
	err  error // what ended src: io.EOF or worse
}

func (w *window) text() []byte { return w.buf[w.from:] }

func (w *window) advance(n int) {
	w.from += n
	w.base += int64(n)
}

// fill reads until the buffer is full or src ends; a buffer that is full already is doubled first, up to most. It reports whether
// there is more text than before.
func (w *window) fill(most int) bool {
	if w.err != nil {
		return false
	}
	text := w.text()
	if len(text) == cap(w.buf) {
		if len(text) >= most {
			return false
		}
		w.buf = append(make([]byte, 0, min(most, max(2*len(text), minBuffer))), text...)
	} else {
		w.buf = w.buf[:copy(w.buf[:cap(w.buf)], text)]
	}
	w.from = 0
	n, err := io.ReadFull(w.src, w.buf[len(w.buf):cap(w.buf)])
	w.buf = w.buf[:len(w.buf)+n]
	switch err {
	case nil:
	case io.ErrUnexpectedEOF, io.EOF:
		w.err = io.EOF
	default:
		w.err = err
	}
	return n > 0
}

// buffers are those of windows, for all sources: one that has nothing to read has none.
var buffers sync.Pool // of *[]byte

const (
	minBuffer = 256 << 10
	// keptBuffer is the largest buffer that is used for another file too. No max_item is less, so that no text is longer than that.
	keptBuffer = 1 << 20
)

// need makes at least n bytes of text available, if there are so many.
func (w *window) need(n int) bool {
	for len(w.text()) < n && w.fill(max(n, minBuffer)) {
	}
	return len(w.text()) >= n
}

// skipTo moves forward to an offset, or reports that src ended before.
func (w *window) skipTo(offset int64) bool {
	if ahead := offset - w.base; w.seek != nil && ahead > int64(len(w.text())) {
		if _, err := w.seek.Seek(offset, io.SeekStart); err != nil {
			w.err = err
			return false
		}
		w.buf, w.from, w.base, w.err = w.buf[:0], 0, offset, nil
		return true
	}
	for w.base < offset {
		if len(w.text()) == 0 && !w.fill(minBuffer) {
			return false
		}
		w.advance(int(min(offset-w.base, int64(len(w.text())))))
	}
	return true
}
