package table

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
)

const (
	// FooterKey is the key of the Footer in a Parquet file's key/value metadata.
	FooterKey = "headwater"
	// sparkKey is where Spark looks for a file's schema, which keeps the case of names.
	sparkKey = "org.apache.spark.sql.parquet.row.metadata"
	// footerVersion is that of the Footer's JSON.
	footerVersion = 1
	// trailer is the length of the metadata's length and PAR1, which end a Parquet file.
	trailer = 8
	// firstRange is how much of an object's end is read before the length of its Parquet footer is known.
	firstRange = 64 << 10
	// maxFooter bounds what a damaged length can make us read.
	maxFooter = 256 << 20
)

var (
	// ErrNotParquet is returned for an object that does not end as a Parquet file does, or is damaged.
	ErrNotParquet = errors.New("not a readable Parquet file")
	// ErrVersion is returned for a file with a Footer that this binary does not know.
	ErrVersion = errors.New("the file was written by another version of headwater")
)

// Input is one raw object that a file was made from.
type Input struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// Log, First, Next and Count are the object's own account of the offsets it covers; Log is empty if it has none.
	Log   string `json:"log,omitempty"`
	First int64  `json:"first"`
	Next  int64  `json:"next"`
	Count int64  `json:"count"`
}

// Footer says what a table partition's file was made from. It lies in the file's key/value metadata, so that the file
// alone tells what it is. Format: docs/format/footer.md.
type Footer struct {
	V     int    `json:"v"`
	Table string `json:"table"`
	// Day is as Day.String.
	Day    string  `json:"day"`
	Inputs []Input `json:"inputs"`
	Rows   int64   `json:"rows"`
	// Quarantined records of the inputs are not among the rows.
	Quarantined int64 `json:"quarantined"`
	// SchemaVersion is that of the schema ledger, 0 without a ledger.
	SchemaVersion int `json:"schema_version"`
	// Schema is the file's own.
	Schema schema.Type `json:"schema"`
	Engine string      `json:"engine"`
	// Settings are those of the configuration that change rows, by name.
	Settings map[string]string `json:"settings,omitempty"`
	// Renamed has, for each column whose name collided with another, the path of its values in the data.
	Renamed map[string]string `json:"renamed,omitempty"`
	// Run identifies the making of the file; it is the Digest.
	Run string `json:"run"`
	// Closes are the files of the open day, and the commits, in whose place this one is read.
	Closes Closes `json:"closes,omitzero"`
}

// Closes names a folder of an open day, by its number, and how many files it had; earlier folders, and files that the folder had later, are
// those with lower and higher numbers.
type Closes struct {
	Folder int `json:"folder"`
	Files  int `json:"files"`
	// Commit is the last commit that the writer saw.
	Commit int `json:"commit,omitempty"`
}

// Digest is the identity of what the file is made from: inputs, engine, settings, table and day. It
// does not depend on what came out of them, so it can be compared before any input is read. The types of the columns, which the schema ledger
// may give, are compared beside it.
func (f *Footer) Digest() string {
	made := Footer{V: footerVersion, Table: f.Table, Day: f.Day, Inputs: f.Inputs, Engine: f.Engine, Settings: f.Settings}
	sum := sha256.Sum256(made.text())
	return hex.EncodeToString(sum[:])
}

// Metadata is the file's key/value metadata: the Footer, as JSON that is equal for equal Footers, and Spark's schema. It
// panics if Schema is not a type, which only a programmer can bring about.
func (f Footer) Metadata() [][2]string {
	f.V = footerVersion
	spark, err := json.Marshal(f.Schema)
	if err != nil {
		panic(err)
	}
	return [][2]string{{FooterKey, string(f.text())}, {sparkKey, string(spark)}}
}

func (f Footer) text() []byte {
	if f.Inputs == nil {
		f.Inputs = []Input{} // no input is the same as an empty list of them
	}
	text, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return text
}

// ReadFooter reads the Footer of the object key by ranges of its end. It reports false for a Parquet file that is not
// Headwater's, ErrNotParquet for what is no Parquet file or a damaged one.
func ReadFooter(ctx context.Context, s lake.Store, key string) (Footer, lake.Object, bool, error) {
	var o lake.Object
	tail, err := wholeFooter(func(n int64) (tail []byte, size int64, err error) {
		tail, o, err = readTail(ctx, s, key, n)
		return tail, o.Size, err
	})
	if err != nil {
		return Footer{}, o, false, fmt.Errorf("reading the footer of %s: %w", key, err)
	}
	f, found, err := parseFooter(tail)
	if err != nil {
		return Footer{}, o, false, fmt.Errorf("reading the footer of %s: %w", key, err)
	}
	return f, o, found, nil
}

// FooterOf reads the Footer of a file of size bytes, as ReadFooter does that of an object.
func FooterOf(r io.ReaderAt, size int64) (Footer, bool, error) {
	tail, err := wholeFooter(func(n int64) ([]byte, int64, error) {
		tail := make([]byte, min(n, size))
		_, err := r.ReadAt(tail, size-int64(len(tail)))
		if errors.Is(err, io.EOF) {
			err = nil // ReadAt may say so at the end of what it has read whole
		}
		return tail, size, err
	})
	if err != nil {
		return Footer{}, false, err
	}
	return parseFooter(tail)
}

// wholeFooter reads an end of a file that holds its Parquet footer. A file replaced between two reads may have a longer
// one, so the length is asked of each read anew.
func wholeFooter(read func(n int64) (tail []byte, size int64, err error)) ([]byte, error) {
	for n := int64(firstRange); ; {
		tail, size, err := read(n)
		if err != nil {
			return nil, err
		}
		need, err := footerLength(tail, size)
		if err != nil {
			return nil, err
		}
		if need <= len(tail) {
			return tail[len(tail)-need:], nil
		}
		n = int64(need)
	}
}

func readTail(ctx context.Context, s lake.Store, key string, n int64) ([]byte, lake.Object, error) {
	r, o, err := s.Get(ctx, key, -n, n)
	if err != nil {
		return nil, o, err
	}
	tail, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, o, fmt.Errorf("reading the end of %s: %w", key, err)
	}
	return tail, o, nil
}

// footerLength is how many bytes of the end of a file of size bytes its Parquet footer takes, lengths and magic included.
func footerLength(tail []byte, size int64) (int, error) {
	if len(tail) < trailer || string(tail[len(tail)-4:]) != "PAR1" {
		return 0, fmt.Errorf("it does not end in PAR1: %w", ErrNotParquet)
	}
	n := int64(binary.LittleEndian.Uint32(tail[len(tail)-trailer:])) + trailer
	if n > size || n > maxFooter {
		return 0, fmt.Errorf("its footer claims %d bytes of %d: %w", n, size, ErrNotParquet)
	}
	return int(n), nil
}

// parseFooter reads the Footer from a Parquet footer, its length and magic included.
func parseFooter(whole []byte) (f Footer, found bool, err error) {
	text, found, err := keyValue(whole[:len(whole)-trailer], FooterKey)
	if err != nil || !found {
		return Footer{}, false, err
	}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return Footer{}, false, fmt.Errorf("its metadata %s: %w: %w", FooterKey, err, ErrNotParquet)
	}
	if f.V != footerVersion {
		return Footer{}, false, fmt.Errorf("its metadata %s has version %d, this binary knows %d: use the newer one: %w",
			FooterKey, f.V, footerVersion, ErrVersion)
	}
	return f, true, nil
}

// footerReaders bounds how many footers are read at a time.
const footerReaders = 16

// Footers reads the Footer of every file that readers of n read, in no order. Files that are not Headwater's, or damaged, are passed over.
func Footers(ctx context.Context, tables lake.Store, n Name) ([]Footer, error) {
	days := map[Day]bool{} // whether the day has files that are not the plain one
	err := eachKey(ctx, tables, n, func(p Place) { days[p.Day] = days[p.Day] || p.Folder > 0 || p.Commit > 0 })
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var all []Footer
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(footerReaders)
	for d, opened := range days {
		g.Go(func() error {
			look := func() ([]Seen, error) {
				seen, err := Look(gctx, tables, n, d)
				return []Seen{seen}, err
			}
			if opened {
				look = func() ([]Seen, error) {
					h, err := LookDay(gctx, tables, n, d)
					return h.Files(), err
				}
			}
			files, err := look()
			if errors.Is(err, lake.ErrNotExist) || errors.Is(err, ErrNotParquet) || errors.Is(err, ErrVersion) || errors.Is(err, ErrForeign) || errors.Is(err, ErrDamaged) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, f := range files {
				if f.Exists {
					all = append(all, f.Footer)
				}
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("reading the footers of %s: %w", n, err)
	}
	return all, nil
}
