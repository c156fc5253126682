package embedded

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What follows reads and writes files of kfake, whose format the tests pin. After a kill kfake by itself would forget which batches
// each producer has sent, and so take a batch that is sent again for a new one; it would hold its whole log in memory while it
// reads it; and where the log is damaged it would cut off everything behind. It is spared all that by files that look as after
// a clean stop. They are made from the log alone at every start: a stop may have been killed between them.

// sequences are kfake's seq_windows.json: for each producer and Kafka partition the last batches.
type sequences struct {
	Version int       `json:"version"`
	Windows []*window `json:"windows"`
}

type window struct {
	Producer  int64    `json:"pid"`
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Entries   [5]entry `json:"entries"`
	Count     uint8    `json:"count"`
	At        uint8    `json:"at"`
	Epoch     int16    `json:"epoch"`
	Seen      bool     `json:"seen"`
	Next      int32    `json:"next_seq"`
}

type entry struct {
	First  int32 `json:"first_seq"`
	Next   int32 `json:"next_seq"`
	Offset int64 `json:"offset"`
}

// add puts a batch behind the others; a new epoch begins anew.
func (w *window) add(h header) {
	if !w.Seen || h.epoch != w.Epoch {
		*w = window{Producer: w.Producer, Topic: w.Topic, Partition: w.Partition, Epoch: h.epoch, Seen: true}
	}
	w.Next = int32((int64(h.sequence) + int64(h.records)) % math.MaxInt32)
	w.Entries[w.At] = entry{h.sequence, w.Next, h.offset}
	w.At = (w.At + 1) % uint8(len(w.Entries))
	w.Count = min(w.Count+1, uint8(len(w.Entries)))
}

// partition is kfake's snapshot.json.
type partition struct {
	Version          int             `json:"version"`
	HighWatermark    int64           `json:"high_watermark"`
	LastStableOffset int64           `json:"last_stable_offset"`
	LogStartOffset   int64           `json:"log_start_offset"`
	Epoch            int32           `json:"epoch"`
	Leader           int32           `json:"leader_node"`
	CreatedAt        time.Time       `json:"created_at"`
	Aborted          json.RawMessage `json:"aborted_txns,omitempty"`
	Segments         []segment       `json:"segments"`
}

type segment struct {
	Base int64 `json:"base_offset"`
	Size int64 `json:"size"`
}

// formatVersion is that of kfake's files.
const formatVersion = 1

// restore makes the folder of a broker that was killed look as if it had been closed.
func restore(dir string, log *slog.Logger) error {
	folders, err := filepath.Glob(filepath.Join(dir, "partitions", "*"))
	if err != nil || len(folders) == 0 {
		return err
	}
	all := sequences{Version: formatVersion}
	for _, folder := range folders {
		topic, number, err := partitionOf(folder)
		if err != nil {
			return err
		}
		s := scan{folder: folder, topic: topic, number: number, windows: map[int64]*window{}}
		if err := s.run(log); err != nil {
			return err
		}
		all.Windows = slices.AppendSeq(all.Windows, maps.Values(s.windows))
	}
	return writeFile(filepath.Join(dir, "seq_windows.json"), all)
}

func partitionOf(folder string) (topic string, number int32, err error) {
	name := filepath.Base(folder)
	dash := strings.LastIndexByte(name, '-')
	if dash < 0 {
		return "", 0, fmt.Errorf("%s is no folder of a Kafka partition: move it away", folder)
	}
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if err != nil {
		return "", 0, fmt.Errorf("%s is no folder of a Kafka partition: move it away: %w", folder, err)
	}
	topic, err = url.PathUnescape(name[:dash])
	return topic, int32(n), err
}

// scan reads the log of one Kafka partition.
type scan struct {
	folder  string
	topic   string
	number  int32
	last    partition
	now     partition
	windows map[int64]*window
}

// list finds the segments and what the last stop or start knew of them.
func (s *scan) list() error {
	if err := readFile(filepath.Join(s.folder, "snapshot.json"), &s.last); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(s.folder, "*.dat"))
	if err != nil {
		return err
	}
	for _, f := range files {
		base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(f), ".dat"), 10, 64)
		if err != nil {
			return fmt.Errorf("%s is no segment: move it away: %w", f, err)
		}
		info, err := os.Stat(f)
		if err != nil {
			return err
		}
		s.now.Segments = append(s.now.Segments, segment{base, info.Size()})
	}
	slices.SortFunc(s.now.Segments, func(a, b segment) int { return cmp.Compare(a.Base, b.Base) })
	return nil
}

func (s *scan) run(log *slog.Logger) error {
	if err := s.list(); err != nil {
		return err
	}
	n := &s.now
	n.Version, n.Epoch, n.CreatedAt, n.Aborted = formatVersion, s.last.Epoch, s.last.CreatedAt, s.last.Aborted
	if n.CreatedAt.IsZero() {
		n.CreatedAt = time.Now()
	}
	n.LogStartOffset = -1
	for i := range n.Segments {
		seg := &n.Segments[i]
		n.HighWatermark = max(n.HighWatermark, seg.Base)
		path := filepath.Join(s.folder, strconv.FormatInt(seg.Base, 10)+".dat")
		size, err := s.segment(path, i == len(n.Segments)-1)
		if err != nil {
			return err
		}
		if size < seg.Size {
			log.Warn("the embedded Kafka was killed while it wrote a batch, which nobody was told it has: it is removed", "topic", s.topic, "partition", s.number, "bytes", seg.Size-size)
			if err := os.Truncate(path, size); err != nil {
				return err
			}
			seg.Size = size
		}
	}
	if n.LogStartOffset < 0 {
		n.LogStartOffset = n.HighWatermark
	}
	// A log start that was known at the last clean stop never goes back.
	n.LogStartOffset = min(max(n.LogStartOffset, s.last.LogStartOffset), n.HighWatermark)
	n.LastStableOffset = n.HighWatermark
	if slices.Equal(n.Segments, s.last.Segments) && n.HighWatermark == s.last.HighWatermark && n.LogStartOffset == s.last.LogStartOffset {
		return nil
	}
	return writeFile(filepath.Join(s.folder, "snapshot.json"), n)
}

// segment reads the batches of one file and returns the size of the whole ones. Only the end of the last file can have been
// written to when the process died; whatever else is not whole was, and may have been acknowledged.
func (s *scan) segment(path string, last bool) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	for {
		h, err := next(r)
		if err == io.EOF {
			return size, nil
		}
		if errors.Is(err, errTorn) {
			if _, more := r.Peek(1); last && (h.size == 0 || more == io.EOF) {
				return size, nil
			}
			return 0, fmt.Errorf("the segment %s of topic %s, partition %d, is damaged at byte %d, and records that were acknowledged follow: "+
				"put a good copy in its place, or give them up with truncate --size=%d", path, s.topic, s.number, size, size)
		}
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", path, err)
		}
		if h.offset < s.now.HighWatermark {
			return 0, fmt.Errorf("the segment %s of topic %s, partition %d, is damaged at byte %d, where offset %d follows although %d is next: "+
				"put a good copy in its place, or give up what follows with truncate --size=%d", path, s.topic, s.number, size, h.offset, s.now.HighWatermark, size)
		}
		size += h.size
		s.add(h)
	}
}

func (s *scan) add(h header) {
	if s.now.LogStartOffset < 0 {
		s.now.LogStartOffset = h.offset
	}
	s.now.HighWatermark = h.offset + int64(h.lastDelta) + 1
	if h.producer < 0 || h.control {
		return
	}
	w := s.windows[h.producer]
	if w == nil {
		w = &window{Producer: h.producer, Topic: s.topic, Partition: s.number}
		s.windows[h.producer] = w
	}
	w.add(h)
}

// header is what a batch says of itself.
type header struct {
	size, offset, producer       int64
	lastDelta, sequence, records int32
	epoch                        int16
	control                      bool
}

const (
	headerBytes = 61
	crcAt       = 17 // it covers what follows it
)

var (
	errTorn = errors.New("the file ends within a batch")
	table   = crc32.MakeTable(crc32.Castagnoli)
)

// next reads a batch: io.EOF at the end, errTorn where no whole batch follows, with the header if the batch is as long as that says.
func next(r *bufio.Reader) (header, error) {
	b, err := r.Peek(headerBytes)
	if len(b) == 0 && err == io.EOF {
		return header{}, io.EOF
	}
	if err == io.EOF {
		return header{}, errTorn
	}
	if err != nil {
		return header{}, err
	}
	u32, u64 := binary.BigEndian.Uint32, binary.BigEndian.Uint64
	h := header{
		size: 12 + int64(u32(b[8:])), offset: int64(u64(b)), control: b[22]&0x20 != 0, lastDelta: int32(u32(b[23:])),
		producer: int64(u64(b[43:])), epoch: int16(binary.BigEndian.Uint16(b[51:])), sequence: int32(u32(b[53:])), records: int32(u32(b[57:])),
	}
	if h.size < headerBytes || h.size > 1<<30 {
		return header{}, errTorn
	}
	want := u32(b[crcAt:])
	if _, err := r.Discard(crcAt + 4); err != nil {
		return header{}, err
	}
	sum := crc32.New(table)
	_, err = io.CopyN(sum, r, h.size-crcAt-4)
	switch {
	case err == io.EOF:
		return header{}, errTorn
	case err != nil:
		return header{}, err
	case sum.Sum32() != want:
		return h, errTorn
	}
	return h, nil
}

// readFile leaves v as it is when there is no file.
func readFile(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// writeFile replaces path whole or not at all; kfake removes a .tmp file that a kill leaves behind.
func writeFile(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
