package serialize

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	pqschema "github.com/apache/arrow-go/v18/parquet/schema"
	"golang.org/x/sync/errgroup"

	"headwater/schema"
)

// createdBy is fixed, so that equal input gives equal bytes whatever library or release wrote them.
const createdBy = "headwater version 1"

// source says where a column of a file gets its values: from a leaf of the batch, whose definition levels are less
// by above in this file.
type source struct {
	leaf  int
	above int16
	// micros makes a timestamp of a Long in milliseconds.
	micros bool
}

// parquetFile writes one table partition's file. Its columns are encoded side by side; the bytes do not depend on how.
type parquetFile struct {
	to       io.Writer
	root     *pqschema.GroupNode
	w        *file.Writer // nil until the first batch
	group    file.BufferedRowGroupWriter
	sources  []source
	perGroup int64
	inGroup  int64
	rows     int64
}

// newParquetFile makes a file of the type t, whose leaves are fed by sources, in order.
func newParquetFile(w io.Writer, t schema.Type, sources []source, groupBytes int64) (*parquetFile, error) {
	fields, err := parquetFields(t.Fields)
	if err != nil {
		return nil, err
	}
	root, err := pqschema.NewGroupNode("spark_schema", parquet.Repetitions.Required, fields, -1)
	if err != nil {
		return nil, fmt.Errorf("making the Parquet schema: %w", err)
	}
	if n := pqschema.NewSchema(root).NumColumns(); n != len(sources) {
		return nil, fmt.Errorf("the Parquet schema has %d leaves for %d columns", n, len(sources))
	}
	return &parquetFile{to: struct{ io.Writer }{w}, root: root, sources: sources, perGroup: groupBytes}, nil
}

// begin begins the file, whose first batch is b, nil for a file without rows.
func (p *parquetFile) begin(b *batch) error {
	options := []parquet.WriterProperty{
		parquet.WithVersion(parquet.V1_0),
		parquet.WithDataPageVersion(parquet.DataPageV1),
		parquet.WithCompression(compress.Codecs.Snappy),
		parquet.WithDictionaryDefault(true),
		parquet.WithCreatedBy(createdBy),
		parquet.WithRootName("spark_schema"),
		parquet.WithRootRepetition(parquet.Repetitions.Required),
		// One call of WriteBatch is one step: its end is a row's end, so that no row lies in two pages.
		parquet.WithBatchSize(1 << 40),
	}
	leaves := pqschema.NewSchema(p.root)
	for i, source := range p.sources {
		if b != nil && b.leaves[source.leaf].distinct() {
			options = append(options, parquet.WithDictionaryPath(leaves.Column(i).ColumnPath(), false))
		}
	}
	var err error
	if p.w, err = file.NewParquetWriterWithError(p.to, p.root, file.WithWriterProps(parquet.NewWriterProperties(options...))); err != nil {
		return fmt.Errorf("beginning the Parquet file: %w", err)
	}
	return nil
}

// sampled is how many values decide whether a dictionary is begun.
const sampled = 4096

// distinct says that most values differ from all others, so that a dictionary would cost more than it saves: hashing them is most of what
// writing such a column takes. It is decided by values of the first batch, from all over it.
func (l *leaf) distinct() bool {
	switch {
	case len(l.longs) > 0:
		return mostlyDistinct(len(l.longs), func(i int) int64 { return l.longs[i] })
	case len(l.doubles) > 0:
		return mostlyDistinct(len(l.doubles), func(i int) uint64 { return math.Float64bits(l.doubles[i]) })
	case len(l.ends) > 0:
		return mostlyDistinct(len(l.ends), func(i int) string {
			if i == 0 {
				return string(l.data[:l.ends[0]])
			}
			return string(l.data[l.ends[i-1]:l.ends[i]])
		})
	}
	return mostlyDistinct(len(l.data)/decimalWidth, func(i int) string { return string(l.data[i*decimalWidth:][:decimalWidth]) })
}

func mostlyDistinct[T comparable](n int, value func(i int) T) bool {
	step := max(1, n/sampled)
	met := map[T]struct{}{}
	for i := 0; i < n; i += step {
		met[value(i)] = struct{}{}
	}
	return len(met)*step*2 > n
}

// parquetFields are Spark's spelling of the fields, all of them optional.
func parquetFields(fields []schema.Field) (out pqschema.FieldList, err error) {
	for _, f := range fields {
		n, err := parquetNode(f.Name, f.Type)
		if err != nil {
			return nil, fmt.Errorf("making the Parquet column %q: %w", f.Name, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func parquetNode(name string, t schema.Type) (pqschema.Node, error) {
	optional := parquet.Repetitions.Optional
	leaf := func(logical pqschema.LogicalType, physical parquet.Type, width int) (pqschema.Node, error) {
		return pqschema.NewPrimitiveNodeLogical(name, optional, logical, physical, width, -1)
	}
	switch t.Kind {
	case schema.Boolean:
		return leaf(nil, parquet.Types.Boolean, -1)
	case schema.Long:
		return leaf(nil, parquet.Types.Int64, -1)
	case schema.Double:
		return leaf(nil, parquet.Types.Double, -1)
	case schema.Decimal:
		return leaf(pqschema.NewDecimalLogicalType(38, 0), parquet.Types.FixedLenByteArray, decimalWidth)
	case schema.String:
		return leaf(pqschema.StringLogicalType{}, parquet.Types.ByteArray, -1)
	case schema.Timestamp:
		return leaf(pqschema.NewTimestampLogicalTypeForce(true, pqschema.TimeUnitMicros), parquet.Types.Int64, -1)
	case schema.List:
		elem, err := parquetNode("element", *t.Elem)
		if err != nil {
			return nil, err
		}
		list, err := pqschema.NewGroupNode("list", parquet.Repetitions.Repeated, pqschema.FieldList{elem}, -1)
		if err != nil {
			return nil, err
		}
		return pqschema.NewGroupNodeLogical(name, optional, pqschema.FieldList{list}, pqschema.NewListLogicalType(), -1)
	case schema.Struct:
		fields, err := parquetFields(t.Fields)
		if err != nil {
			return nil, err
		}
		return pqschema.NewGroupNode(name, optional, fields, -1)
	}
	return nil, fmt.Errorf("kind %d has no Parquet type", t.Kind)
}

// add writes a batch. It may read b from several goroutines, at most workers, which have ended when it returns.
func (p *parquetFile) add(ctx context.Context, b *batch, workers int) error {
	if b.rows == 0 {
		return nil
	}
	if p.w == nil {
		if err := p.begin(b); err != nil {
			return err
		}
	}
	if p.group == nil || p.inGroup >= p.perGroup {
		group, err := p.w.AppendBufferedRowGroupChecked()
		if err != nil {
			return fmt.Errorf("beginning a row group: %w", err)
		}
		p.group, p.inGroup = group, 0
	}
	g, gctx := errgroup.WithContext(ctx)
	share := (len(p.sources) + workers - 1) / workers
	for from := 0; from < len(p.sources); from += share {
		g.Go(func() error {
			for i := from; i < min(from+share, len(p.sources)); i++ {
				if err := gctx.Err(); err != nil {
					return err
				}
				if err := p.write(i, b); err != nil {
					return fmt.Errorf("writing column %s: %w", p.w.Schema.Column(i).Path(), err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.inGroup += int64(b.bytes)
	p.rows += int64(b.rows)
	return nil
}

func (p *parquetFile) write(i int, b *batch) error {
	w, err := p.group.Column(i)
	if err != nil {
		return err
	}
	src := p.sources[i]
	l := &b.leaves[src.leaf]
	def := lower(l.def, src.above)
	var wrote int64
	var values int
	switch w := w.(type) {
	case *file.Int64ColumnChunkWriter:
		longs := l.longs
		if src.micros {
			longs = micros(longs)
		}
		values = len(longs)
		wrote, err = w.WriteBatch(longs, def, l.rep)
	case *file.Float64ColumnChunkWriter:
		values = len(l.doubles)
		wrote, err = w.WriteBatch(l.doubles, def, l.rep)
	case *file.BooleanColumnChunkWriter:
		values = len(l.bools)
		wrote, err = w.WriteBatch(l.bools, def, l.rep)
	case *file.ByteArrayColumnChunkWriter:
		values = len(l.ends)
		wrote, err = w.WriteBatch(l.strings(), def, l.rep)
	case *file.FixedLenByteArrayColumnChunkWriter:
		values = len(l.data) / decimalWidth
		wrote, err = w.WriteBatch(l.decimals(), def, l.rep)
	default:
		return fmt.Errorf("no values for a column of type %s", w.Type())
	}
	if err == nil && wrote != int64(values) {
		err = fmt.Errorf("%d places for %d values", wrote, values)
	}
	return err
}

// lower takes the levels of structs that a flat table does not have away from definition levels.
func lower(levels []int16, above int16) []int16 {
	if above == 0 {
		return levels
	}
	out := make([]int16, len(levels))
	for i, level := range levels {
		out[i] = max(0, level-above)
	}
	return out
}

func micros(millis []int64) []int64 {
	out := make([]int64, len(millis))
	for i, ms := range millis {
		out[i] = ms * 1000
	}
	return out
}

// close writes the footer with the given metadata. It closes no file beneath.
func (p *parquetFile) close(metadata [][2]string) error {
	if p.w == nil {
		if err := p.begin(nil); err != nil {
			return err
		}
	}
	if p.group != nil {
		if err := p.group.Close(); err != nil {
			return fmt.Errorf("ending the last row group: %w", err)
		}
	}
	for _, kv := range metadata {
		if err := p.w.AppendKeyValueMetadata(kv[0], kv[1]); err != nil {
			return fmt.Errorf("adding metadata %s: %w", kv[0], err)
		}
	}
	if err := p.settle(); err != nil {
		return err
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("writing the Parquet footer: %w", err)
	}
	return nil
}

// settle puts the page statistics of column chunks in order: the library takes them from a map, and a chunk that has
// both dictionary and plain pages would otherwise be described in another order at each run.
func (p *parquetFile) settle() error {
	meta, err := p.w.FileMetadata()
	if err != nil {
		return fmt.Errorf("reading the Parquet metadata back: %w", err)
	}
	for _, group := range meta.RowGroups {
		for _, chunk := range group.Columns {
			sortByText(chunk.MetaData.EncodingStats)
		}
	}
	return nil
}

func sortByText[E fmt.Stringer](list []E) {
	slices.SortFunc(list, func(a, b E) int { return strings.Compare(a.String(), b.String()) })
}
