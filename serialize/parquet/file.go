// Package parquet writes Parquet files of the columns that package serialize makes: optional fields, structs and lists, data pages of
// version 1, dictionaries, snappy. Format: docs/format/tables.md; why it is ours: docs/decisions/20261129-own-encoder.md.
//
// What enters: levels and values, batch by batch. What leaves: bytes, to an io.Writer. Pure: no file is opened and no goroutine started.
//
// Invariants:
//  1. Equal batches give equal bytes, whoever encodes which column.
//  2. No row lies in two pages: pages and row groups end with a batch.
//  3. A chunk's bytes are the same whether its column is in one file or in two.
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"headwater/schema"
)

// createdBy is fixed, so that equal input gives equal bytes whatever release wrote them.
const createdBy = "headwater version 1"

const magic = "PAR1"

// Leaf is a column of a file.
type Leaf struct {
	Path []string
	Kind schema.Kind
	// Width is how many bytes a Decimal's values have.
	Width int
	// Def and Rep are the greatest levels.
	Def, Rep uint8
}

// File is a Parquet file in the making. A failed write leaves it unusable.
type File struct {
	w      io.Writer
	at     int64
	leaves []Leaf
	meta   format.FileMetaData
}

// NewFile makes a file of the schema t. Nothing is written yet.
func NewFile(w io.Writer, t schema.Type) (*File, error) {
	f := &File{w: w}
	f.meta = format.FileMetaData{Version: 1, CreatedBy: createdBy}
	f.meta.Schema = append(f.meta.Schema, format.SchemaElement{Name: "spark_schema", NumChildren: thrift.New(int32(len(t.Fields)))})
	if err := f.fields(t.Fields, Leaf{}); err != nil {
		return nil, err
	}
	for range f.leaves {
		f.meta.ColumnOrders = append(f.meta.ColumnOrders, format.ColumnOrder{Value: new(format.TypeDefinedOrder)})
	}
	return f, nil
}

// Leaves are the file's columns, in order.
func (f *File) Leaves() []Leaf { return f.leaves }

// Rows is how many the row groups have that were written.
func (f *File) Rows() int64 { return f.meta.NumRows }

func (f *File) fields(fields []schema.Field, above Leaf) error {
	for _, field := range fields {
		if err := f.node(field.Name, field.Type, above); err != nil {
			return err
		}
	}
	return nil
}

// node adds the field to the schema, in Spark's spelling: all are optional.
func (f *File) node(name string, t schema.Type, above Leaf) error {
	here := Leaf{Path: append(above.Path[:len(above.Path):len(above.Path)], name), Kind: t.Kind, Def: above.Def + 1, Rep: above.Rep}
	if here.Def > math.MaxUint8-2 {
		return fmt.Errorf("the Parquet column %q is nested too deeply", name)
	}
	e := format.SchemaElement{Name: name, RepetitionType: thrift.New(format.Optional)}
	switch t.Kind {
	case schema.Struct:
		e.NumChildren = thrift.New(int32(len(t.Fields)))
		f.meta.Schema = append(f.meta.Schema, e)
		return f.fields(t.Fields, here)
	case schema.List:
		e.NumChildren, e.ConvertedType = thrift.New(int32(1)), thrift.New(deprecated.List)
		e.LogicalType.Value = new(format.ListType)
		list := format.SchemaElement{Name: "list", RepetitionType: thrift.New(format.Repeated), NumChildren: thrift.New(int32(1))}
		f.meta.Schema = append(f.meta.Schema, e, list)
		here.Path = append(here.Path, "list")
		here.Def++
		here.Rep++
		return f.node("element", *t.Elem, here)
	case schema.Map:
		e.NumChildren, e.ConvertedType = thrift.New(int32(1)), thrift.New(deprecated.Map)
		e.LogicalType.Value = new(format.MapType)
		entry := format.SchemaElement{Name: "key_value", RepetitionType: thrift.New(format.Repeated), NumChildren: thrift.New(int32(2))}
		key := format.SchemaElement{
			Name: "key", RepetitionType: thrift.New(format.Required), Type: thrift.New(format.ByteArray), ConvertedType: thrift.New(deprecated.UTF8),
		}
		key.LogicalType.Value = new(format.StringType)
		f.meta.Schema = append(f.meta.Schema, e, entry, key)
		here.Path = append(here.Path, "key_value")
		here.Def++
		here.Rep++
		f.leaves = append(f.leaves, Leaf{Path: append(slices.Clone(here.Path), "key"), Kind: schema.String, Def: here.Def, Rep: here.Rep})
		return f.node("value", *t.Elem, here)
	}
	physical, ok := physical(t.Kind)
	if !ok {
		return fmt.Errorf("the column %q, of kind %d, has no Parquet type", name, t.Kind)
	}
	e.Type = thrift.New(physical)
	switch t.Kind {
	case schema.Decimal:
		here.Width = widthOfDecimal(t.Digits())
		e.TypeLength, e.ConvertedType = thrift.New(int32(here.Width)), thrift.New(deprecated.Decimal)
		e.Scale, e.Precision = thrift.New(int32(t.Scale)), thrift.New(int32(t.Digits()))
		e.LogicalType.Value = &format.DecimalType{Precision: int32(t.Digits()), Scale: int32(t.Scale)}
	case schema.String:
		e.ConvertedType, e.LogicalType.Value = thrift.New(deprecated.UTF8), new(format.StringType)
	case schema.Timestamp:
		e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		e.LogicalType.Value = &format.TimestampType{IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: new(format.MicroSeconds)}}
	}
	f.meta.Schema = append(f.meta.Schema, e)
	f.leaves = append(f.leaves, here)
	return nil
}

// widthOfDecimal is the fewest bytes of two's complement that hold every integer of so many digits.
func widthOfDecimal(digits int) int {
	greatest := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
	return (greatest.Sub(greatest, big.NewInt(1)).BitLen() + 8) / 8
}

func physical(k schema.Kind) (format.Type, bool) {
	switch k {
	case schema.Boolean:
		return format.Boolean, true
	case schema.Long, schema.Timestamp:
		return format.Int64, true
	case schema.Double:
		return format.Double, true
	case schema.String:
		return format.ByteArray, true
	case schema.Decimal:
		return format.FixedLenByteArray, true
	}
	return 0, false
}

// RowGroup writes a row group of one chunk for each leaf, in order.
func (f *File) RowGroup(rows int64, chunks []*Chunk) error {
	if len(chunks) != len(f.leaves) {
		return fmt.Errorf("%d chunks for the %d columns of a row group", len(chunks), len(f.leaves))
	}
	if err := f.begin(); err != nil {
		return err
	}
	ordinal := len(f.meta.RowGroups)
	if ordinal > math.MaxInt16 {
		return errors.New("a Parquet file has at most 32,768 row groups; let row_group_bytes be larger")
	}
	g := format.RowGroup{NumRows: rows, FileOffset: f.at, Ordinal: int16(ordinal)}
	for _, k := range chunks {
		at := f.at
		if len(k.dictionary) > 0 {
			k.meta.DictionaryPageOffset = f.at
			if err := f.write(k.dictionary...); err != nil {
				return err
			}
		}
		k.meta.DataPageOffset = f.at
		if err := f.write(k.pages...); err != nil {
			return err
		}
		g.TotalByteSize += k.meta.TotalUncompressedSize
		g.TotalCompressedSize += k.meta.TotalCompressedSize
		g.Columns = append(g.Columns, format.ColumnChunk{FileOffset: at, MetaData: k.meta})
	}
	f.meta.RowGroups = append(f.meta.RowGroups, g)
	f.meta.NumRows += rows
	return nil
}

// begin writes what a file begins with, unless it has been.
func (f *File) begin() error {
	if f.at > 0 {
		return nil
	}
	return f.write([]byte(magic))
}

func (f *File) write(parts ...[]byte) error {
	for _, p := range parts {
		n, err := f.w.Write(p)
		f.at += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// Close writes the footer with the metadata, in order. It closes no file beneath.
func (f *File) Close(metadata [][2]string) error {
	if err := f.begin(); err != nil {
		return err
	}
	for _, kv := range metadata {
		f.meta.KeyValueMetadata = append(f.meta.KeyValueMetadata, format.KeyValue{Key: kv[0], Value: kv[1]})
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), f.meta)
	if err != nil {
		return fmt.Errorf("making the Parquet footer: %w", err)
	}
	if len(footer) > math.MaxInt32 {
		return fmt.Errorf("the Parquet footer has %d bytes, which is more than one can have", len(footer))
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	return f.write(append(footer, magic...))
}
