package file

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"headwater/collect"
	"headwater/envelope"
)

// reader reads one file from its position on.
type reader struct {
	c     *Config
	out   collect.Out
	f     *file
	w     *window
	cut   cutter
	trail *trail

	size, mtime int64 // the file's when it was opened
	gzip        bool
	entry       bool      // of an archive: it ends where it ends
	close       io.Closer // what open has opened, if anything
	settled     bool      // nothing will follow the end of the file
	doubtful    bool      // the file may have been replaced without its size and mtime telling
	unmarked    bool      // bytes were passed over that no record tells of
	newline     bool      // a line end that comes first belongs to the line before
}

var (
	// errReplaced says that the file does not begin with what its position was taken in.
	errReplaced = errors.New("the file was replaced")
	// errDamaged is what is wrong with a file that does not decompress.
	errDamaged = errors.New("the file is damaged")
)

// damaged is an errDamaged with its cause.
type damaged struct {
	kind  string
	cause error
}

func damage(kind string, cause error) error { return damaged{kind, cause} }

func (d damaged) Error() string { return d.kind + " is damaged: " + d.cause.Error() }

func (damaged) Is(target error) bool { return target == errDamaged }

// stopped is an error of collect, not of the file.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// read reads what is new in a file. tail says that something is left at its end that waits until the file has settled.
func (v *visit) read(ctx context.Context, f *file) (tail bool, err error) {
	fd, err := v.tree.Open(ctx, f.path, f.seen)
	if err != nil {
		return false, err
	}
	defer fd.Close() // it was only read
	info, err := fd.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("reading %s: it is not a file any more", f.path)
	}
	settled := v.once || unchanged(f.seen, info) && time.Since(f.changed) >= v.s.c.Settle
	kept := f.kept
	f.settled = settled
	f.read, f.kept, f.news, f.again = info, nil, time.Time{}, v.doubtful(f, info, time.Now())
	if info.Size() < 2 && !settled {
		return info.Size() > 0, v.shrunk(ctx, f, info.Size(), kept)
	}
	zipped, err := isArchive(f.path, fd)
	if err != nil {
		return false, err
	}
	if zipped {
		return v.archive(ctx, f, kept, fd, info, settled)
	}
	return v.generations(ctx, f, kept, func() *reader {
		return &reader{settled: settled, doubtful: f.again, size: info.Size(), mtime: info.ModTime().UnixNano()}
	}, func(rd *reader) error { return rd.open(fd) })
}

// generations reads a file, and again from its beginning if it turns out to be another one than its position was taken in.
func (v *visit) generations(ctx context.Context, f *file, kept *reader, begin func() *reader, open func(*reader) error) (tail bool, err error) {
	for {
		rd := begin()
		buf, _ := buffers.Get().(*[]byte)
		if buf == nil {
			buf = new([]byte)
		}
		rd.c, rd.out, rd.f, rd.trail, rd.w = &v.s.c, v.out, f, newTrail(), &window{buf: (*buf)[:0]}
		tail, err = rd.run(ctx, open)
		if rd.close != nil {
			_ = rd.close.Close() // it was only read
		}
		*buf = rd.w.buf
		if err == nil && tail && !rd.entry {
			rd.keep()
		}
		if cap(*buf) <= keptBuffer {
			buffers.Put(buf)
		}
		if !errors.Is(err, errReplaced) {
			return tail, err
		}
		if err := f.replace(ctx, v.out, kept); err != nil {
			return false, err
		}
		kept = nil
	}
}

// shrunk begins a new generation of a file that is shorter than its position. It is for files too short to be opened.
func (v *visit) shrunk(ctx context.Context, f *file, size int64, kept *reader) error {
	if f.pos.At > size {
		return f.replace(ctx, v.out, kept)
	}
	return nil
}

// run finds the position in the file and reads on from there.
func (rd *reader) run(ctx context.Context, open func(*reader) error) (tail bool, err error) {
	if err := open(rd); err != nil {
		return false, err
	}
	p := rd.f.pos
	if rd.gzip && p.Size != 0 && p.Size == rd.size && p.Mtime == rd.mtime {
		return false, nil
	}
	ready, err := rd.begin()
	if err != nil {
		return false, err
	}
	if !ready {
		return rd.finish(ctx)
	}
	if p.At > 0 {
		if err := rd.resume(p); err != nil {
			return false, err
		}
	}
	return rd.items(ctx)
}

// open makes the window of a file, decompressing if its first bytes say so.
func (rd *reader) open(fd File) error {
	var magic [4]byte
	_, err := fd.Seek(0, io.SeekStart)
	if err != nil {
		return err
	}
	n, err := fd.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	kind := packing(magic[:n])
	if kind == "" {
		rd.w.src, rd.w.seek = fd, fd
		return nil
	}
	rd.gzip, rd.f.gzip = true, true
	rd.w.src = &unzip{kind: kind, fd: fd, free: int64(rd.c.MaxItem), ratio: int64(rd.c.MaxRatio)}
	return nil
}

// packing is gzip, zstd or empty, by the first four bytes.
func packing(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		return "gzip"
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")), len(magic) == 4 && magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18":
		return "zstd" // the second one is a frame to be passed over, with which parallel compressors begin
	}
	return ""
}

// unzip is a gzip file of any number of members, or a zstd file of any number of frames. Its faults are errDamaged, those of the disk are not.
type unzip struct {
	kind string
	fd   io.Reader
	disk error
	b    *bufio.Reader
	z    io.Reader

	free, ratio int64 // see Config.MaxRatio
	in, out     int64 // read from the disk; decompressed
}

// judged is after how many bytes a file is asked each time whether it is a bomb. It does not depend on how much is read at a time, so
// that a bomb ends at the same byte whenever it is read, and no position is behind that.
const judged = 64 << 10

// bomb is a file that decompresses to more than so many times what was read of it. For who reads, it is damaged.
type bomb struct {
	kind  string
	ratio int64
}

func (b bomb) Error() string {
	return fmt.Sprintf("%s-bomb: it decompresses to more than %d times its size, which is max_ratio,", b.kind, b.ratio)
}

func (bomb) Is(target error) bool { return target == errDamaged }

func (u *unzip) Read(p []byte) (n int, err error) {
	if u.z == nil {
		u.b = bufio.NewReaderSize(readerFunc(u.readDisk), 256<<10) // a server is not asked for every few bytes
		err = u.begin()
	}
	if err == nil {
		if u.out%judged == 0 && u.ratio > 0 && u.out > u.free && u.out > u.ratio*(u.in-int64(u.b.Buffered())) {
			return 0, bomb{u.kind, u.ratio}
		}
		n, err = u.z.Read(p[:min(int64(len(p)), judged-u.out%judged)])
		u.out += int64(n)
	}
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case u.disk != nil:
		return n, u.disk
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ends in the middle")
	}
	return n, damage(u.kind, err)
}

func (u *unzip) begin() (err error) {
	if u.kind == "gzip" {
		z, err := gzip.NewReader(u.b)
		if err == nil {
			u.z = z
		}
		return err
	}
	// One at a time starts no goroutines, so that it need not be closed. The window is that of zstd --ultra -22.
	u.z, err = zstd.NewReader(u.b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderLowmem(true))
	return err
}

func (u *unzip) readDisk(p []byte) (int, error) {
	n, err := u.fd.Read(p)
	u.in += int64(n)
	if err != nil && err != io.EOF {
		u.disk = err
	}
	return n, err
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// begin looks at the beginning of the file for its format and its header. It is not ready if the beginning is not all there.
func (rd *reader) begin() (ready bool, err error) {
	most := int(rd.c.MaxItem)
	decided := rd.f.pos.At > 0 // on the same beginning
	for rd.w.fill(keptBuffer); ; {
		rd.cut = rd.c.cutter(rd.f.path, rd.unmarkedText(), rd.ending(most, decided))
		if rd.cut != nil {
			rd.f.format = formatName(rd.cut)
			break
		}
		if !rd.w.fill(most) {
			return false, nil
		}
	}
	c, isRows := rd.cut.(*rows)
	if !isRows || !decided {
		return true, nil
	}
	return true, rd.header(c)
}

// header reads the header again of a file that is past it.
func (rd *reader) header(c *rows) error {
	looked := 0
	for int64(looked) < rd.f.pos.At && !c.named() {
		skip := 0
		if looked == 0 {
			skip = rd.mark()
		}
		// A first row without a line end was taken as it was. Not so a header: nothing is doubled if it is read again.
		text, end := rd.w.text(), rd.ending(int(rd.c.MaxItem), true)
		if at := rd.f.pos.At; !c.header && at <= int64(len(text)) && at < int64(rd.c.MaxItem) && !rd.f.pos.Part {
			text, end = text[:at], final
		}
		n, _, _ := c.cut(text[min(looked+skip, len(text)):], end)
		switch {
		case n > 0:
			looked += skip + n
		case end == full:
			c.refuseHeader()
			return nil
		case !rd.w.fill(int(rd.c.MaxItem)):
			if err := rd.fault(); err != nil && !errors.Is(err, errDamaged) {
				return err
			}
			return errReplaced
		}
	}
	if int64(looked) > rd.f.pos.At {
		return errReplaced
	}
	return nil
}

// ending is what follows the text: for someone who sees no more of it than limit. At an end that was taken for final before,
// decided, it is so again.
func (rd *reader) ending(limit int, decided bool) ending {
	switch {
	case rd.w.err == io.EOF && (rd.settled || rd.entry || decided):
		return final
	case rd.w.err == nil && len(rd.w.text()) >= limit:
		return full
	}
	return more
}

// mark is the length of the byte order mark that the text begins with.
func (rd *reader) mark() int {
	if rd.w.base == 0 && bytes.HasPrefix(rd.w.text(), []byte("\xef\xbb\xbf")) {
		return 3
	}
	return 0
}

func (rd *reader) unmarkedText() []byte { return rd.w.text()[rd.mark():] }

// fault is what keeps the file from being read, nil at its end.
func (rd *reader) fault() error {
	if rd.w.err == io.EOF {
		return nil
	}
	return rd.w.err
}

// resume goes to a position, or finds that the file is another one.
func (rd *reader) resume(p position) error {
	start := trailStart(p.At)
	if !rd.w.skipTo(start) || !rd.w.need(int(p.At-start)) {
		if err := rd.fault(); err != nil && !errors.Is(err, errDamaged) {
			return err
		}
		return errReplaced
	}
	before := rd.w.text()[:p.At-start]
	rd.trail.restart(start)
	rd.trail.write(before)
	if rd.trail.sum() != p.Hash {
		return errReplaced
	}
	array, isArray := rd.cut.(*elements)
	if isArray {
		array.resume(before)
	}
	rd.newline = !isArray && !p.Part && before[len(before)-1] != '\n'
	rd.w.advance(len(before))
	if rd.cut.whole() && !p.Part && rd.w.need(1) {
		return errReplaced // the item was all of the file and is not any more
	}
	return nil
}

// items emits one item after the other until the file ends or what is left of it must wait.
func (rd *reader) items(ctx context.Context) (tail bool, err error) {
	most := int(rd.c.MaxItem)
	for {
		done, err := rd.item(ctx, most)
		if err != nil {
			return false, err
		}
		if !done && !rd.w.fill(most) {
			return rd.finish(ctx)
		}
	}
}

// item takes one item from the text, or nothing if the text does not hold all of one.
func (rd *reader) item(ctx context.Context, most int) (done bool, err error) {
	text, end := rd.w.text(), rd.ending(most, false)
	if rd.newline {
		n, ok := lineEnd(text, end)
		if !ok {
			return false, nil
		}
		rd.newline = false
		rd.pass(n)
		return true, nil
	}
	if rd.f.pos.Part {
		return rd.part(ctx, text, end)
	}
	skip := 0
	if w, binary := rd.cut.(whole); !binary || w.kind != envelope.Bytes {
		skip = rd.mark()
	}
	n, it, emit := rd.cut.cut(text[skip:], end)
	switch {
	case n > 0 && emit:
		return true, rd.emit(ctx, n+skip, it, false)
	case n > 0:
		rd.pass(n + skip)
		return true, nil
	case end == full:
		return rd.part(ctx, text, end)
	}
	return false, nil
}

// lineEnd is the length of the line end that text begins with; it is not ok if that cannot be told yet.
func lineEnd(text []byte, end ending) (n int, ok bool) {
	switch {
	case len(text) == 0 || len(text) == 1 && text[0] == '\r':
		return 0, end == final
	case text[0] == '\n':
		return 1, true
	case text[0] == '\r' && text[1] == '\n':
		return 2, true
	}
	return 0, true
}

// part emits what there is of an item that is longer than can be held. The last part ends where the line, or the file, does.
func (rd *reader) part(ctx context.Context, text []byte, end ending) (done bool, err error) {
	n, data := line(text, end)
	if !rd.cut.lined() {
		if n, data = 0, text; end == final {
			n = len(text)
		}
	}
	last := n > 0
	if !last && end == full {
		n, data = len(text), text
	}
	if n == 0 {
		return false, nil
	}
	if c, isRows := rd.cut.(*rows); isRows {
		c.refuseHeader()
	}
	it := envelope.Item{
		Kind: envelope.Bytes, Data: data,
		Malformed: fmt.Sprintf("part of an item that is longer than max_item, %s", rd.c.MaxItem),
	}
	return true, rd.emit(ctx, n, it, !last)
}

// finish is called when no more text is to be had.
func (rd *reader) finish(ctx context.Context) (tail bool, err error) {
	left := len(rd.w.text()) > 0
	switch err := rd.fault(); {
	case errors.Is(err, errDamaged):
		if rd.settled && rd.f.pos.Short != rd.size {
			return false, rd.damaged(ctx, err)
		}
		return !rd.settled, rd.note(ctx, rd.f.pos)
	case err != nil:
		return false, err
	}
	p := rd.f.pos
	if rd.gzip && !left && !rd.newline && !rd.doubtful {
		p.Size, p.Mtime = rd.size, rd.mtime
		rd.unmarked = rd.unmarked || p != rd.f.pos
	}
	return left, rd.note(ctx, p)
}

// note marks a position that no record tells of.
func (rd *reader) note(ctx context.Context, p position) error {
	if !rd.unmarked {
		return nil
	}
	if err := rd.out.Mark(ctx, rd.f.stream, p.encode(), false, nil); err != nil {
		return stopped{err}
	}
	rd.f.pos, rd.unmarked = p, false
	return nil
}

// damaged tells once of a gzip file that is broken off or worse. Its position stays, so that it goes on if the file grows.
func (rd *reader) damaged(ctx context.Context, cause error) error {
	p := rd.f.pos
	p.Short = rd.size
	it := envelope.Item{Kind: envelope.Text, Data: rd.w.text(), Malformed: fmt.Sprintf(
		"%v after %d bytes, which decompress to %d; this is what follows the last whole item", cause, rd.size, rd.w.base+int64(len(rd.w.text())))}
	return rd.send(ctx, p, it)
}

// emit hands over the item in the next n bytes of the text.
func (rd *reader) emit(ctx context.Context, n int, it envelope.Item, part bool) error {
	rd.trail.write(rd.w.text()[:n])
	err := rd.send(ctx, position{At: rd.trail.at, Hash: rd.trail.sum(), Part: part}, it)
	rd.w.advance(n)
	return err
}

func (rd *reader) send(ctx context.Context, p position, it envelope.Item) error {
	err := rd.out.Emit(ctx, collect.Item{
		Stream: rd.f.stream, Resume: p.encode(), Item: it,
		Origin: rd.f.origin, Position: strconv.FormatInt(rd.w.base, 10),
	})
	if err != nil {
		return stopped{err}
	}
	rd.f.pos, rd.unmarked = p, false
	return nil
}

// pass goes over n bytes that are no item.
func (rd *reader) pass(n int) {
	if n == 0 {
		return
	}
	rd.trail.write(rd.w.text()[:n])
	rd.w.advance(n)
	rd.f.pos = position{At: rd.trail.at, Hash: rd.trail.sum()}
	rd.unmarked = true
}

// keep holds what is left at the end of the file, in case the file goes before it settles.
func (rd *reader) keep() {
	if text := rd.w.text(); len(text) > 0 && len(text) <= keepMost {
		rd.w = &window{base: rd.w.base, buf: bytes.Clone(text), err: rd.w.err}
		rd.f.kept = rd
	}
}

// flush emits what was kept of a file that is gone.
func (rd *reader) flush(ctx context.Context) error {
	rd.settled = true
	if rd.cut == nil {
		rd.cut = rd.c.cutter(rd.f.path, rd.unmarkedText(), final)
	}
	_, err := rd.items(ctx)
	return err
}

const keepMost = 64 << 10
