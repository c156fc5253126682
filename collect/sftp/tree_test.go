package sftp

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/pkg/sftp"
)

// stingy is a server that gives at most a thousand bytes at a time of one file that never changes.
type stingy struct{ text string }

func (s stingy) Fileread(*sftp.Request) (io.ReaderAt, error) { return s, nil }

func (s stingy) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(s.text)) {
		return 0, io.EOF
	}
	return copy(p[:min(len(p), 1000)], s.text[off:]), nil
}

func (s stingy) Filelist(*sftp.Request) (sftp.ListerAt, error) { return s, nil }

func (s stingy) ListAt(to []os.FileInfo, _ int64) (int, error) {
	to[0] = s
	return 1, io.EOF
}

func (stingy) Name() string       { return "a" }
func (s stingy) Size() int64      { return int64(len(s.text)) }
func (stingy) Mode() os.FileMode  { return 0o644 }
func (stingy) ModTime() time.Time { return time.Unix(1, 0) }
func (stingy) IsDir() bool        { return false }
func (stingy) Sys() any           { return nil }

// A read that brings less than it was asked for is not the end of the file.
func TestShortReads(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	s := stingy{numbered(0, 3000)}
	server := sftp.NewRequestServer(theirs, sftp.Handlers{FileGet: s, FileList: s})
	go func() { _ = server.Serve() }()
	client, err := sftp.NewClientPipe(ours, ours)
	must(t, err)
	defer client.Close()
	f, err := (&tree{files: client}).Open(t.Context(), "/a", nil)
	must(t, err)
	got, err := io.ReadAll(f)
	if err != nil || string(got) != s.text {
		t.Errorf("%d bytes of %d: %v", len(got), len(s.text), err)
	}
	part := make([]byte, 100_000)
	if n, err := f.ReadAt(part, 50_000); n != len(part) || err != nil || string(part) != s.text[50_000:150_000] {
		t.Errorf("%d bytes of %d: %v", n, len(part), err)
	}
	if n, err := f.ReadAt(part, s.Size()-10); n != 10 || err != io.EOF {
		t.Errorf("%d bytes at the end: %v", n, err)
	}
}
