package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// errParquet is returned for a file whose rows cannot be read.
var errParquet = errors.New("its rows cannot be read")

// eachRow calls do with the hash of each row. Files whose columns differ only by such that are null throughout have equal hashes.
func eachRow(r io.ReaderAt, size int64, do func(hash) error) error {
	f, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%w: %w", errParquet, err)
	}
	names := columnNames(f)
	rows := make([]parquet.Row, 256)
	var text []byte
	for _, g := range f.RowGroups() {
		reader := g.Rows()
		for {
			n, err := reader.ReadRows(rows)
			for _, row := range rows[:n] {
				text = appendRow(text[:0], row, names)
				if err := do(hashOf(text)); err != nil {
					return errors.Join(err, reader.Close())
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return errors.Join(fmt.Errorf("%w: %w", errParquet, err), reader.Close())
			}
		}
		if err := reader.Close(); err != nil {
			return err
		}
	}
	return nil
}

// column is a leaf of a file.
type column struct {
	name string
	// listed: it is in a list or map, so that null and empty are told apart.
	listed bool
}

func columnNames(f *parquet.File) (all []column) {
	for _, path := range f.Schema().Columns() {
		leaf, _ := f.Schema().Lookup(path...)
		all = append(all, column{strings.Join(path, "\x00"), leaf.MaxRepetitionLevel > 0})
	}
	return all
}

// appendRow appends the row's values by the names of their columns, in order of these. A null outside of lists is as if the column were not there.
func appendRow(dst []byte, row parquet.Row, columns []column) []byte {
	var parts []string
	row.Range(func(i int, values []parquet.Value) bool {
		c := columns[i]
		if len(values) == 1 && values[0].IsNull() && (!c.listed || values[0].DefinitionLevel() == 0) {
			return true
		}
		part := append([]byte(c.name), 0)
		for _, v := range values {
			part = append(part, byte(v.RepetitionLevel()))
			if v.IsNull() {
				part = append(part, 0, byte(v.DefinitionLevel()))
				continue
			}
			text := v.Bytes()
			part = append(part, 1)
			part = binary.AppendUvarint(part, uint64(len(text)))
			part = append(part, text...)
		}
		parts = append(parts, string(part))
		return true
	})
	slices.Sort(parts)
	for _, p := range parts {
		dst = binary.AppendUvarint(dst, uint64(len(p)))
		dst = append(dst, p...)
	}
	return dst
}
