package lake

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
)

// Quarantine keeps what a stage could not process, with the reason and where it came from, so that a person can look at
// it and have it processed again. Format: docs/format/quarantine.md.
type Quarantine struct {
	// Store is the raw layer's: what is in quarantine is raw data.
	Store Store
	// Dir is where a file is collected before it is stored; empty means the system's folder for temporary files.
	Dir string
	// Kept, if not nil, is told how many entries Create has kept, by reason; it is not told of those that were there already.
	Kept func(stage, source string, reasons map[string]int64)
}

// QuarantineStages are those that keep what they cannot process.
var QuarantineStages = []string{"collect", "land", "serialize"}

// Entry is one thing in quarantine. The fields that say where it came from are set as far as they apply.
type Entry struct {
	// Stage is collect, land or serialize; Source the configured source. Create and Replace set both.
	Stage, Source string
	// Reason is for people and for counting: a short phrase with no data in it.
	Reason string
	// Origin is a URL, a file, a queue or an object's key; Position where in it (page, line, delivery id).
	Origin, Position string
	// Stream is where the item stood in its source.
	Stream *StreamPosition
	// Record is where the record stands in Kafka.
	Record *RecordPosition
	// Key is the record's in Kafka; nil if it has none. A record without a value says everything with it.
	Key []byte
	// Headers are the record's in Kafka, names and values, in their order.
	Headers [][2]string
	// Data is all of the thing itself, byte for byte.
	Data []byte
}

// StreamPosition names an item before it is a record.
type StreamPosition struct {
	Stream string `json:"stream"`
	Seq    int64  `json:"seq"`
}

// RecordPosition names a record in Kafka.
type RecordPosition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Timestamp is what Kafka has for the record's, in milliseconds; 0 where nobody asked.
	Timestamp int64 `json:"timestamp,omitempty"`
}

// line is an Entry as it is stored. Data that is not UTF-8 goes to DataBase64.
type line struct {
	V          int             `json:"v"`
	Stage      string          `json:"stage"`
	Source     string          `json:"source"`
	Reason     string          `json:"reason"`
	Origin     string          `json:"origin,omitempty"`
	Position   string          `json:"position,omitempty"`
	Stream     *StreamPosition `json:"stream,omitempty"`
	Record     *RecordPosition `json:"record,omitempty"`
	KeyBase64  []byte          `json:"key_base64,omitzero"`
	Headers    []header        `json:"headers,omitempty"`
	Length     int64           `json:"length"`
	SHA256     string          `json:"sha256"`
	Data       *string         `json:"data,omitempty"`
	DataBase64 []byte          `json:"data_base64,omitempty"`
}

// header is spelled as in envelopes: [name, value], or [name, base64, "base64"] if the value is not UTF-8.
type header [2]string

// MarshalJSON implements json.Marshaler.
func (h header) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(h[1]) {
		return json.Marshal([]string{h[0], h[1]})
	}
	return json.Marshal([]string{h[0], base64.StdEncoding.EncodeToString([]byte(h[1])), "base64"})
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *header) UnmarshalJSON(text []byte) error {
	var parts []string
	if err := json.Unmarshal(text, &parts); err != nil {
		return err
	}
	switch {
	case len(parts) == 2:
		*h = header(parts)
	case len(parts) == 3 && parts[2] == "base64":
		value, err := base64.StdEncoding.DecodeString(parts[1])
		if err != nil {
			return err
		}
		*h = header{parts[0], string(value)}
	default:
		return fmt.Errorf("%d parts are no header", len(parts))
	}
	return nil
}

// Entries are es as Create and Replace take them.
func Entries(es ...Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range es {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// CollectID is the id of what collect keeps: the same item of a stream has the same id at every try. name is what tells it from others with the same data.
func CollectID(stream, name string, data []byte) string {
	of, item := sha256.Sum256([]byte(stream)), sha256.New()
	_, _ = item.Write(append([]byte(name), 0)) // a hash never fails
	_, _ = item.Write(data)
	return fmt.Sprintf("%x-%x", of[:16], item.Sum(nil)[:16])
}

// LandID is the id of what land keeps: the same record has the same id at every try.
func LandID(topic string, partition int32, offset int64) string {
	return LandIDGeneration(topic, partition, 1, offset)
}

// LandIDGeneration is LandID for a topic that was made anew, as RawKeyGeneration is RawKey.
func LandIDGeneration(topic string, partition int32, generation int, offset int64) string {
	return rawName(topic, partition, generation, offset, OffsetWidth)
}

// QuarantineKey is the key of a file in quarantine; day is YYYY-MM-dd.
func QuarantineKey(stage, source, day, id string) string {
	return QuarantinePrefix(stage, source) + "date=" + day + "/" + id + rawSuffix
}

// QuarantinePrefix begins the keys of all that a stage keeps of a source; an empty source means all of the stage's.
func QuarantinePrefix(stage, source string) string {
	if source == "" {
		return "_quarantine/" + stage + "/"
	}
	return "_quarantine/" + stage + "/" + source + "/"
}

// Create keeps entries under an id that names them for good: if the id is there already they are too, and that is no
// error. Nothing is written without entries, or when the sequence yields an error, which is returned.
func (q Quarantine) Create(ctx context.Context, stage, source, day, id string, entries iter.Seq2[Entry, error]) error {
	reasons := map[string]int64{}
	err := q.put(ctx, stage, source, day, id, counted(entries, reasons), Condition{IfAbsent: true})
	if errors.Is(err, ErrExists) {
		return nil
	}
	if err == nil && q.Kept != nil {
		q.Kept(stage, source, reasons)
	}
	return err
}

// counted is entries, whose reasons are counted as they pass.
func counted(entries iter.Seq2[Entry, error], reasons map[string]int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range entries {
			if err == nil {
				reasons[e.Reason]++
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Version is that of the stage's file of the source's day, for Replace; without one it is empty.
func (q Quarantine) Version(ctx context.Context, stage, source, day string) (string, error) {
	key := QuarantineKey(stage, source, day, day)
	o, err := q.Store.Stat(ctx, key)
	if err != nil && !errors.Is(err, ErrNotExist) {
		return "", fmt.Errorf("looking at %s: %w", key, err)
	}
	return o.Version, nil
}

// still is the condition that there is what Version gave.
func still(version string) Condition {
	if version == "" {
		return Condition{IfAbsent: true}
	}
	return Condition{IfVersion: version}
}

// Replace makes entries all that the stage keeps of the source's day, in one file, provided that it is still of the version that Version gave
// before the caller looked for what the entries are made from; if not, the error is ErrChanged: another writer may know of more. Without entries
// no file is made, and one that is there has none afterwards. When the sequence yields an error, it is returned and what was there stays.
func (q Quarantine) Replace(ctx context.Context, stage, source, day, version string, entries iter.Seq2[Entry, error]) error {
	err := q.put(ctx, stage, source, day, day, entries, still(version))
	if errors.Is(err, ErrExists) {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}

// Add puts entries to those of the stage's file of the source's day, the one that Replace writes. Entries in it whose origin is in again are
// left out, so that doing it twice is doing it once. Of several writers at the same time none undoes what another has added.
func (q Quarantine) Add(ctx context.Context, stage, source, day string, again map[string]bool, entries iter.Seq2[Entry, error]) error {
	key := QuarantineKey(stage, source, day, day)
	for {
		version, err := q.Version(ctx, stage, source, day)
		if err != nil {
			return err
		}
		kept := Entries()
		if version != "" {
			kept = q.Read(ctx, key)
		}
		err = q.put(ctx, stage, source, day, day, func(yield func(Entry, error) bool) {
			for e, err := range kept {
				if (err != nil || !again[e.Origin]) && !yield(e, err) {
					return
				}
			}
			entries(yield)
		}, still(version))
		if !errors.Is(err, ErrExists) && !errors.Is(err, ErrChanged) && !errors.Is(err, ErrNotExist) {
			return err
		}
	}
}

// put stores entries. Without any it makes no file, but empties one that is to be replaced: a store deletes without a condition, and what goes
// could be another writer's.
func (q Quarantine) put(ctx context.Context, stage, source, day, id string, entries iter.Seq2[Entry, error], cond Condition) error {
	key := QuarantineKey(stage, source, day, id)
	if err := checkQuarantine(stage, source, day, id); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	f, n, err := q.spool(ctx, stage, source, entries)
	if err != nil {
		return fmt.Errorf("collecting %s: %w", key, err)
	}
	defer f.Close()
	if n == 0 && cond.IfAbsent {
		return nil
	}
	if _, err := q.Store.Put(ctx, key, f, cond); err != nil {
		return fmt.Errorf("quarantining: %w", err)
	}
	return nil
}

// spool writes entries, which may be more than fit in memory, to a file without a name, and rewinds it.
func (q Quarantine) spool(
	ctx context.Context, stage, source string, entries iter.Seq2[Entry, error],
) (f *os.File, n int, err error) {
	f, err = os.CreateTemp(q.Dir, "headwater-quarantine-*")
	if err != nil {
		return nil, 0, err
	}
	err = os.Remove(f.Name()) // the open file stays usable, and a kill leaves nothing behind
	if err == nil {
		n, err = writeLines(ctx, f, stage, source, entries)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, n, errors.Join(err, f.Close())
	}
	return f, n, nil
}

func writeLines(
	ctx context.Context, w io.Writer, stage, source string, entries iter.Seq2[Entry, error],
) (n int, err error) {
	buffered := bufio.NewWriterSize(w, 256<<10)
	packed := gzip.NewWriter(buffered)
	for e, err := range entries {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			e.Stage, e.Source = stage, source
			err = e.Write(packed)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, errors.Join(packed.Close(), buffered.Flush())
}

func checkQuarantine(stage, source, day, id string) error {
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return fmt.Errorf("day %q is not a date as 2026-07-05: %w", day, fs.ErrInvalid)
	}
	for _, part := range []string{stage, source, id} {
		if part == "" || strings.Contains(part, "/") {
			return fmt.Errorf("%q is no stage, source or id: it must be one segment of a key: %w", part, fs.ErrInvalid)
		}
	}
	return CheckKey(QuarantineKey(stage, source, day, id))
}

// Write appends the entry as one line, as it is stored. Its data goes in pieces: as one JSON value it would be in memory several times over, and
// characters that are escaped six times as long.
func (e Entry) Write(w io.Writer) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(e.line()); err != nil {
		return err
	}
	b.Truncate(b.Len() - len("}\n"))
	if !utf8.Valid(e.Data) {
		b.WriteString(`,"data_base64":"`)
		_, err := b.WriteTo(w)
		packed := base64.NewEncoder(base64.StdEncoding, w)
		if err == nil {
			_, err = packed.Write(e.Data)
		}
		if err == nil {
			err = packed.Close()
		}
		if err == nil {
			_, err = io.WriteString(w, "\"}\n")
		}
		return err
	}
	b.WriteString(`,"data":"`)
	_, err := b.WriteTo(w)
	for data := e.Data; err == nil && len(data) > 0; {
		n := min(len(data), pieceBytes)
		for n < len(data) && !utf8.RuneStart(data[n]) {
			n--
		}
		if err = encoder.Encode(string(data[:n])); err == nil {
			_, err = w.Write(b.Bytes()[1 : b.Len()-len("\"\n")])
		}
		b.Reset()
		data = data[n:]
	}
	if err == nil {
		_, err = io.WriteString(w, "\"}\n")
	}
	return err
}

// pieceBytes is how much of an entry's data is encoded at a time.
const pieceBytes = 4 << 10

// line is all of the entry but its data.
func (e Entry) line() line {
	var headers []header
	for _, h := range e.Headers {
		headers = append(headers, h)
	}
	return line{
		V: 1, Stage: e.Stage, Source: e.Source, Reason: e.Reason, Origin: e.Origin, Position: e.Position,
		Stream: e.Stream, Record: e.Record, KeyBase64: e.Key, Headers: headers, Length: int64(len(e.Data)), SHA256: digest(e.Data),
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Read yields the entries of a file in quarantine. It ends at the first error; an entry whose data is not what was put
// in is one.
func (q Quarantine) Read(ctx context.Context, key string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, _, err := q.Store.Get(ctx, key, 0, -1)
		if err != nil {
			yield(Entry{}, fmt.Errorf("reading quarantine: %w", err))
			return
		}
		defer r.Close()
		unpacked, err := gzip.NewReader(r)
		if err != nil {
			yield(Entry{}, fmt.Errorf("unpacking %s: %w", key, err))
			return
		}
		decoder := json.NewDecoder(unpacked)
		for n := 1; ; n++ {
			e, err := readEntry(decoder)
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("reading %s, line %d: %w", key, n, err))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func readEntry(decoder *json.Decoder) (Entry, error) {
	var l line
	if err := decoder.Decode(&l); err != nil {
		return Entry{}, err
	}
	if l.V != 1 {
		return Entry{}, fmt.Errorf("the entry has version %d; this program reads version 1", l.V)
	}
	data := l.DataBase64
	if l.Data != nil {
		data = []byte(*l.Data)
	}
	if int64(len(data)) != l.Length || digest(data) != l.SHA256 {
		return Entry{}, fmt.Errorf("the entry's data is damaged: %d bytes of %d, or another sha256", len(data), l.Length)
	}
	e := Entry{
		Stage: l.Stage, Source: l.Source, Reason: l.Reason, Origin: l.Origin, Position: l.Position,
		Stream: l.Stream, Record: l.Record, Key: l.KeyBase64, Data: data,
	}
	for _, h := range l.Headers {
		e.Headers = append(e.Headers, h)
	}
	return e, nil
}
