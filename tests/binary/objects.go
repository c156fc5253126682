package binary

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// EachLine gives the lines of all gzip objects below a folder, which need not exist. They are read with nothing of headwater's, and valid until the next object.
func EachLine(t testing.TB, dir string, do func(line []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".json.gz") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var text bytes.Buffer
		if _, err := text.ReadFrom(z); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for line := range bytes.Lines(text.Bytes()) {
			do(line)
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
