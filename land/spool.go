package land

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"headwater/internal/crash"
	"headwater/lake"
)

// memberText is the length of text at which a gzip member ends: small enough to share an object among cores, large
// enough to cost nothing in compression.
const memberText = 1 << 20

// maxRuns is more runs of offsets than a tail has room for; an object with more of them keeps none.
const maxRuns = 100

// spool holds the text of open objects: the newest in memory, the rest compressed in one file each. The text in memory
// of all of them together stays within a budget; who goes beyond it compresses the largest, whoever fills them. No file
// stays open between writes, so that there may be any number of open objects.
type spool struct {
	dir    string
	level  int
	budget int64
	names  atomic.Int64
	zips   chan *gzip.Writer // as many as may compress at a time; nil for one that is not made yet

	relief sync.Mutex // held by the one who makes room

	mu   sync.Mutex
	held map[*openObject]int64 // bytes of memory of each open object
	used int64
}

// newSpool empties dir, which belongs to it: what is there is of a process that ended, and will be read again from Kafka.
func newSpool(dir string, level int, budget int64) (*spool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the spool folder: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("emptying the spool folder: %w", err)
		}
	}
	if level == gzip.DefaultCompression {
		level = 6 // as zlib has it; the library's own default is smaller
	}
	s := &spool{dir: dir, level: level, budget: budget, held: map[*openObject]int64{}}
	// A gzip writer takes about a megabyte, and the schedule has all Kafka partitions compress at the same moment.
	s.zips = make(chan *gzip.Writer, runtime.GOMAXPROCS(0))
	for range cap(s.zips) {
		s.zips <- nil
	}
	return s, nil
}

// openObject is a raw object that is being made. Its coverage belongs to the Kafka partition that fills it, its text to
// whoever holds mu.
type openObject struct {
	path        string
	first, last int64
	count       int64
	bytes       int64      // of text
	runs        []lake.Run // nil once there are too many
	seq         int64      // the number that the Kafka partition gave its last record

	mu     sync.Mutex
	text   []byte
	file   string // empty until the first member is compressed
	closed bool
	err    error // of a member that another Kafka partition compressed
}

// covers adds a record to what the object covers. seq numbers the records of the Kafka partition: where it goes on
// without a gap, no record of another path lies between.
func (o *openObject) covers(offset, seq int64) {
	switch {
	case o.count == 0:
		o.first, o.runs = offset, []lake.Run{{First: offset, Last: offset}}
	case o.runs == nil: // there were too many
	case seq == o.seq+1:
		o.runs[len(o.runs)-1].Last = offset
	case len(o.runs) == maxRuns:
		o.runs = nil
	default:
		o.runs = append(o.runs, lake.Run{First: offset, Last: offset})
	}
	o.last, o.seq = offset, seq
	o.count++
}

func (o *openObject) tail(log string) lake.Tail {
	return lake.Tail{Log: log, First: o.first, Next: o.last + 1, Count: o.count, Runs: o.runs}
}

// add appends a line, and the line feed that it does not have, to an object's text and compresses what becomes too much.
func (s *spool) add(o *openObject, line []byte) error {
	if err := s.append(o, line); err != nil {
		return err
	}
	s.mu.Lock()
	over := s.used > s.budget
	s.mu.Unlock()
	if over {
		s.makeRoom()
	}
	return nil
}

func (s *spool) append(o *openObject, line []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	before := cap(o.text)
	o.text = append(append(o.text, line...), '\n')
	if len(o.text) >= memberText {
		if err := s.compress(o); err != nil {
			return err
		}
	}
	if cap(o.text) != before {
		s.hold(o, int64(cap(o.text)))
	}
	return nil
}

// hold notes how much memory an object's text takes; 0 forgets the object.
func (s *spool) hold(o *openObject, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used += bytes - s.held[o]
	s.held[o] = bytes
	if bytes == 0 {
		delete(s.held, o)
	}
}

// makeRoom compresses the largest texts until a quarter of the budget is free, so that the next call is far off.
func (s *spool) makeRoom() {
	s.relief.Lock()
	defer s.relief.Unlock()
	for _, o := range s.largest() {
		o.mu.Lock()
		if !o.closed && o.err == nil {
			// Its owner finds the error: it is no fault of the object that needed the room.
			o.err = s.compress(o)
			o.text = nil
			s.hold(o, 0)
		}
		o.mu.Unlock()
	}
}

// largest are the objects to compress, largest first; none if there is room by now.
func (s *spool) largest() []*openObject {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.used
	if left <= s.budget {
		return nil
	}
	all := make([]*openObject, 0, len(s.held))
	for o := range s.held {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b *openObject) int { return cmp.Compare(s.held[b], s.held[a]) })
	for i, o := range all {
		if left <= s.budget-s.budget/4 {
			return all[:i]
		}
		left -= s.held[o]
	}
	return all
}

// compress appends the object's text as one gzip member to its file and keeps the empty buffer. The caller holds o.mu.
func (s *spool) compress(o *openObject) error {
	if len(o.text) == 0 {
		return nil
	}
	err := s.extend(o, func(w io.Writer) error {
		zip := <-s.zips
		defer func() { s.zips <- zip }()
		if zip == nil {
			var err error
			if zip, err = gzip.NewWriterLevel(w, s.level); err != nil {
				return err
			}
		}
		zip.Reset(w)
		_, err := zip.Write(o.text)
		return errors.Join(err, zip.Close())
	})
	o.text = o.text[:0]
	if cap(o.text) > 2*memberText {
		o.text = nil // one large record
	}
	if err != nil {
		return fmt.Errorf("writing to the spool, which needs room on its disk: %w", err)
	}
	crash.Point("land.after-spool")
	return nil
}

// extend opens the object's file for one write at its end.
func (s *spool) extend(o *openObject, write func(io.Writer) error) error {
	if o.file == "" {
		o.file = filepath.Join(s.dir, strconv.FormatInt(s.names.Add(1), 10)+".gz")
	}
	f, err := os.OpenFile(o.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 64<<10)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// seal writes the last text and the tail and opens the whole object for reading. The caller closes it, and drops the object.
func (s *spool) seal(o *openObject, log string) (*os.File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = s.compress(o)
	}
	if o.err != nil {
		return nil, o.err
	}
	if !o.closed {
		o.closed, o.text = true, nil
		s.hold(o, 0)
		tail := o.tail(log).Append(nil)
		if o.err = s.extend(o, func(w io.Writer) error { _, err := w.Write(tail); return err }); o.err != nil {
			return nil, o.err
		}
	}
	f, err := os.Open(o.file)
	if err != nil {
		return nil, fmt.Errorf("reading the spool: %w", err)
	}
	return f, nil
}

// drop forgets an object and deletes its file.
func (s *spool) drop(o *openObject) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.text = true, nil
	s.hold(o, 0)
	if o.file != "" {
		_ = os.Remove(o.file) // what stays is deleted at the next start
	}
}
