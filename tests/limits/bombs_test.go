package limits

import (
	"bytes"
	"os"
	"testing"
)

// TestBombs has gzip files that are a thousand times as large as they look: the beginning is read, the file is told of, once,
// and left.
func TestBombs(t *testing.T) {
	n := size(t, "HEADWATER_BOMB", "1GB")
	zeros := make([]byte, mib)
	withLines := bytes.Clone(zeros)
	for i := 99; i < len(withLines); i += 100 {
		withLines[i] = '\n'
	}
	tests := []monster{
		{name: "zeros", file: "x.gz", memory: 768, disk: 100, write: bomb(zeros, n), reasons: map[string]int{"collect too-large": 1, "serialize malformed": 2}},
		{name: "zeros with line feeds", file: "x.log.gz", maxItem: "4MiB", memory: 512, disk: 100, write: bomb(withLines, n), reasons: map[string]int{"serialize kind": 42595, "serialize malformed": 1}},
		{name: "empty lines", file: "x.ndjson.gz", maxItem: "4MiB", memory: 512, disk: 100, write: bomb(bytes.Repeat([]byte("\n"), mib), n), reasons: map[string]int{"serialize malformed": 1}},
	}
	if os.Getenv("HEADWATER_BOMB") == "" {
		tests = drawOne(t, tests)
	}
	for _, test := range tests {
		t.Run(test.name, test.run)
	}
}

// bomb writes n bytes of the same megabyte again and again.
func bomb(chunk []byte, n int) func(*testing.T, *sink) {
	return func(t *testing.T, s *sink) {
		for range n / len(chunk) {
			s.write(t, chunk)
		}
	}
}
