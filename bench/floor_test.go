package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"golang.org/x/sync/errgroup"
)

// doFloor is what no program can do without that makes such tables of such objects: it unpacks the objects, looks at every byte to find the strings and numbers, whose meaning it does
// not find, and compresses Bytes bytes. In is the raw layer. It gives the number of records.
func doFloor(ctx context.Context, t task) (int64, error) {
	objects, err := objectsIn(t.In)
	if err != nil {
		return 0, err
	}
	var next, records, values atomic.Int64
	g, _ := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			var text, packed []byte
			for {
				i := int(next.Add(1)) - 1
				if i >= len(objects) {
					return nil
				}
				var err error
				if text, err = unpacked(text[:0], objects[i]); err != nil {
					return err
				}
				records.Add(int64(bytes.Count(text, []byte{'\n'})))
				values.Add(scanBytes(text))
				packed = packBytes(packed, text, int(t.Bytes)/len(objects))
			}
		})
	}
	err = g.Wait()
	if values.Load() == 0 {
		err = errors.Join(err, errors.New("the objects have no values"))
	}
	return records.Load(), err
}

// unpacked appends the text of an object.
func unpacked(dst []byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(dst)
	_, err = io.Copy(b, z)
	return b.Bytes(), err
}

// scanBytes counts strings, numbers and words, each by its end.
func scanBytes(text []byte) (n int64) {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			n++
			i++
		case c == '-' || c-'0' <= 9 || c-'a' < 26:
			for i++; text[i] != ',' && text[i] != '}' && text[i] != ']'; i++ {
			}
			n++
		default:
			i++
		}
	}
	return n
}

// packBytes compresses size bytes of the text, again and again from its beginning, in pieces as large as pages.
func packBytes(packed, text []byte, size int) []byte {
	for size > 0 {
		for from := 0; from < len(text) && size > 0; from += 1 << 20 {
			piece := text[from:min(len(text), from+1<<20)]
			piece = piece[:min(len(piece), size)]
			packed = s2.EncodeSnappy(packed[:cap(packed)], piece)
			size -= len(piece)
		}
	}
	return packed
}
