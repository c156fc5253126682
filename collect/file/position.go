package file

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// position is a stream's Resume.
type position struct {
	// At is how many bytes of the decompressed file are done with.
	At int64 `json:"at"`
	// Hash is that of the trail before At.
	Hash string `json:"hash"`
	// Part is set inside an item that is too long and comes in parts.
	Part bool `json:"part,omitempty"`
	// Short is the length of a damaged gzip file whose damage has been told.
	Short int64 `json:"short,omitempty"`
	// Size and Mtime are those of a gzip file that was read to its end, so that it need not be decompressed to find that out again;
	// and of one that is Taken.
	Size  int64 `json:"size,omitempty"`
	Mtime int64 `json:"mtime,omitempty"`
	// Taken says that the file of that size and mtime was read whole, so that it may have been done what is to be done then.
	Taken bool `json:"taken,omitempty"`
	// Gone is when the file was first missed, in seconds since 1970.
	Gone int64 `json:"gone,omitempty"`
}

// encode is on the path of every item and therefore by hand.
func (p position) encode() json.RawMessage {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(append(b, `{"at":`...), p.At, 10)
	b = append(append(append(b, `,"hash":"`...), p.Hash...), '"')
	if p.Part {
		b = append(b, `,"part":true`...)
	}
	if p.Taken {
		b = append(b, `,"taken":true`...)
	}
	for _, f := range []struct {
		key   string
		value int64
	}{{`,"short":`, p.Short}, {`,"size":`, p.Size}, {`,"mtime":`, p.Mtime}, {`,"gone":`, p.Gone}} {
		if f.value != 0 {
			b = strconv.AppendInt(append(b, f.key...), f.value, 10)
		}
	}
	return append(b, '}')
}

func parsePosition(resume json.RawMessage) (position, error) {
	var p position
	if len(resume) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(resume, &p); err != nil {
		return p, fmt.Errorf("reading position %s: %w", resume, err)
	}
	if p.At < 0 {
		return p, fmt.Errorf("reading position %s: at is negative", resume)
	}
	return p, nil
}

// streamName and parseStream are two ways of a path and its generation.
func streamName(name string, generation int) string {
	return name + "#" + strconv.Itoa(generation)
}

func parseStream(stream string) (name string, generation int, ok bool) {
	i := strings.LastIndexByte(stream, '#')
	if i < 0 {
		return "", 0, false
	}
	generation, err := strconv.Atoi(stream[i+1:])
	return stream[:i], generation, err == nil && generation >= 0
}

// page is the grain of a trail.
const page = 4096

// trailStart is where the trail of a position begins: at the second last page boundary, so that it covers the page before the
// position whole and its sum is at hand at every position without reading those bytes again.
func trailStart(at int64) int64 { return max(0, (at/page-1)*page) }

// trail keeps the hash of the last 4 to 8 KiB before a position that moves.
type trail struct {
	at           int64
	older, newer hash.Hash // over [trailStart(at), at) and [the last page boundary, at)
}

func newTrail() *trail { return &trail{older: sha256.New(), newer: sha256.New()} }

// restart moves to a position that is a trailStart, to be followed by the bytes from there on.
func (t *trail) restart(at int64) {
	t.at = at
	t.older.Reset()
	t.newer.Reset()
}

func (t *trail) write(b []byte) {
	if start := trailStart(t.at + int64(len(b))); start > t.at {
		b = b[start-t.at:]
		t.restart(start)
	}
	for len(b) > 0 {
		n := min(len(b), int(page-t.at%page))
		t.older.Write(b[:n])
		t.newer.Write(b[:n])
		t.at += int64(n)
		b = b[n:]
		if t.at%page == 0 {
			t.older, t.newer = t.newer, t.older
			t.newer.Reset()
		}
	}
}

// sum is the first 12 bytes of the SHA-256 in base64url.
func (t *trail) sum() string {
	var b [sha256.Size]byte
	return base64.RawURLEncoding.EncodeToString(t.older.Sum(b[:0])[:12])
}
