package lake

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// HTTPRange is the header of a range as Get has it, empty for the whole object. From the end it reaches to the end: CutRange says where to stop.
// There is none for no bytes.
func HTTPRange(offset, n int64) string {
	switch {
	case offset < 0:
		return fmt.Sprintf("bytes=%d", offset)
	case offset == 0 && n < 0:
		return ""
	case n < 0 || offset+n < offset: // beyond int64 is to the end too
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+n-1)
}

// WholeSize is the size of the object of which an answer to a range is part, whose header Content-Range may be empty: then the answer is all of it, of length bytes.
func WholeSize(contentRange string, length int64) int64 {
	if _, size, found := strings.Cut(contentRange, "/"); found {
		if n, err := strconv.ParseInt(size, 10, 64); err == nil {
			return n
		}
	}
	return length
}

// Resumed reads a range of an object over connections that may break, for stores beyond a network.
type Resumed struct {
	// Body is the connection of the moment; nil for none.
	Body io.ReadCloser
	// At is the next byte of the object, End the one after the last.
	At, End int64
	// Again opens the object at a byte for so many more, the same version of it or with ErrChanged.
	Again func(at, n int64) (io.ReadCloser, error)
	// Fail makes of an error what the store's other methods make of it.
	Fail func(error) error
	// Tries is after how many breaks without a byte between them reading gives up.
	Tries int

	broken int
}

// Read implements io.Reader.
func (r *Resumed) Read(p []byte) (int, error) {
	if r.At >= r.End {
		return 0, io.EOF
	}
	for {
		if r.Body == nil {
			var err error
			if r.Body, err = r.Again(r.At, r.End-r.At); err != nil {
				r.Body = nil
				return 0, r.Fail(err)
			}
		}
		n, err := r.Body.Read(p[:min(int64(len(p)), r.End-r.At)])
		if n > 0 {
			r.At += int64(n)
			r.broken = 0
			return n, nil // an error comes again, or is none because all is there
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		_ = r.Body.Close()
		r.Body = nil
		if r.broken++; r.broken >= r.Tries {
			return 0, r.Fail(err)
		}
	}
}

// Close implements io.Closer.
func (r *Resumed) Close() error {
	if r.Body == nil {
		return nil
	}
	return r.Body.Close()
}
