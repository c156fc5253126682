package serialize

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"strconv"

	stored "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"headwater/schema"
	"headwater/serialize/parquet"
	"headwater/table"
)

// cast gives the columns of a day whose raw objects are no more the types that they have in the table now, by rewriting its files. A column that
// cannot be cast without its raw values, as a struct to text, is an error, and the day stays as it is.
func (r *run) cast(ctx context.Context) (Result, error) {
	result := Result{Rows: r.raw.seen.Footer.Rows, Quarantined: r.raw.seen.Footer.Quarantined}
	defer r.discard()
	for _, o := range []*output{r.raw, r.flat} {
		if !o.seen.Exists {
			continue
		}
		typ, err := castType(o.seen.Footer.Schema, o.columns)
		if err != nil {
			return Result{}, dataError("%s: its raw objects are no more, and %w: restore them, or move the table partition away", o.name, err)
		}
		o.footer = o.seen.Footer
		if schema.Equal(typ, o.footer.Schema) {
			continue
		}
		o.footer.Schema, o.footer.SchemaVersion = typ, r.head.Number
		if err := r.castFile(ctx, o); err != nil {
			return Result{}, fmt.Errorf("casting the columns of %s: %w", o.name, err)
		}
	}
	var err error
	for o, to := range map[*output]*table.Result{r.raw: &result.Raw, r.flat: &result.Flat} {
		if o.file != nil {
			var failed error
			*to, failed = r.publish(ctx, o)
			err = errors.Join(err, failed)
		}
	}
	return result, err
}

// mustCast says that the day has no objects any more, and a file whose columns have other types than the table.
func (r *run) mustCast() bool {
	if len(r.inputs) > 0 {
		return false
	}
	for _, o := range []*output{r.raw, r.flat} {
		if o.seen.Exists && o.columns.Kind != schema.Undecided && !schema.Conforms(o.seen.Footer.Schema, o.columns) {
			return true
		}
	}
	return false
}

// castType is the type that a file of type from gets: of the columns that table has too, their types there.
func castType(from, table schema.Type) (schema.Type, error) {
	switch {
	case from.Kind == schema.Struct && table.Kind == schema.Struct:
		of := map[string]schema.Type{}
		for _, f := range table.Fields {
			of[f.Name] = f.Type
		}
		out := schema.Type{Kind: schema.Struct}
		for _, f := range from.Fields {
			if to, found := of[f.Name]; found {
				var err error
				if f.Type, err = castType(f.Type, to); err != nil {
					return out, fmt.Errorf("%s: %w", f.Name, err)
				}
			}
			out.Fields = append(out.Fields, f)
		}
		return out, nil
	case from.Kind == schema.List && table.Kind == schema.List:
		elem, err := castType(*from.Elem, *table.Elem)
		return schema.Type{Kind: schema.List, Elem: &elem}, err
	case from.Kind == table.Kind,
		from.Kind == schema.Long && (table.Kind == schema.Double || table.Kind == schema.Decimal),
		table.Kind == schema.String && from.Kind != schema.Struct && from.Kind != schema.List && from.Kind != schema.Timestamp:
		return table, nil
	}
	return from, fmt.Errorf("%s cannot be cast to %s", from, table)
}

// castFile makes o.file of the table partition's file.
func (r *run) castFile(ctx context.Context, o *output) error {
	local, err := r.copyOf(ctx, o)
	if err != nil {
		return err
	}
	defer local.Close()
	in, err := file.NewParquetReader(local)
	if err != nil {
		return err
	}
	if o.file, err = newTempParquet(r.Temp, o); err != nil {
		return err
	}
	for i := range in.NumRowGroups() {
		if err := castGroup(ctx, in.RowGroup(i), o); err != nil {
			return err
		}
	}
	if n := o.file.Rows(); n != o.footer.Rows {
		return fmt.Errorf("%d rows were read of %d", n, o.footer.Rows)
	}
	if err := o.file.finish(o.footer.Metadata()); err != nil {
		return err
	}
	return o.file.check()
}

func castGroup(ctx context.Context, group *file.RowGroupReader, o *output) error {
	var scratch parquet.Scratch
	var chunks []*parquet.Chunk
	for i, leaf := range o.file.Leaves() {
		in, err := group.Column(i)
		if err != nil {
			return err
		}
		c := parquet.NewColumn(parquet.Place{Leaf: leaf})
		if err := castChunk(ctx, in, leaf, func(v *parquet.Values) error { return c.Add(v, &scratch) }); err != nil {
			return fmt.Errorf("column %v: %w", leaf.Path, err)
		}
		if err := c.End(&scratch); err != nil {
			return err
		}
		chunks = append(chunks, c.Chunks()...)
	}
	return o.file.RowGroup(group.NumRows(), chunks)
}

// copyOf is the table partition's file in a file without a name.
func (r *run) copyOf(ctx context.Context, o *output) (*os.File, error) {
	body, _, err := r.Tables.Get(ctx, o.seen.Object.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := os.CreateTemp(r.Temp, "headwater-serialize-*")
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(f, body); err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// castLevels is how many levels of a column are read at a time.
const castLevels = 1024

// castChunk reads a column chunk as values of the leaf's kind and gives them on, some thousand rows at a time.
func castChunk(ctx context.Context, in file.ColumnChunkReader, leaf parquet.Leaf, add func(v *parquet.Values) error) error {
	next, err := reader(in)
	if err != nil {
		return err
	}
	var out parquet.Values
	def, rep := make([]int16, castLevels), make([]int16, castLevels)
	rows := 0
	for in.HasNext() {
		levels, values, err := next(def, rep)
		if err != nil {
			return err
		}
		for i, d := range def[:levels] {
			if leaf.Rep == 0 || rep[i] == 0 {
				if rows++; rows > batchRows {
					if err := errors.Join(ctx.Err(), add(&out)); err != nil {
						return err
					}
					out.Clear()
					rows = 1
				}
			}
			out.Def = append(out.Def, byte(d))
			if leaf.Rep > 0 {
				out.Rep = append(out.Rep, byte(rep[i]))
			}
			if byte(d) < leaf.Def {
				continue
			}
			if err := castValue(&out, values(), leaf.Kind); err != nil {
				return err
			}
		}
	}
	if rows == 0 {
		return nil
	}
	return add(&out)
}

// reader reads the next levels of a column; values gives the values that they are of, one by one.
func reader(in file.ColumnChunkReader) (func(def, rep []int16) (levels int64, values func() any, err error), error) {
	switch in := in.(type) {
	case *file.BooleanColumnChunkReader:
		return batches(in.ReadBatch), nil
	case *file.Int64ColumnChunkReader:
		return batches(in.ReadBatch), nil
	case *file.Float64ColumnChunkReader:
		return batches(in.ReadBatch), nil
	case *file.ByteArrayColumnChunkReader:
		return batches(in.ReadBatch), nil
	case *file.FixedLenByteArrayColumnChunkReader:
		return batches(in.ReadBatch), nil
	}
	return nil, fmt.Errorf("a column of %s is none of ours", in.Type())
}

func batches[T any](read func(n int64, values []T, def, rep []int16) (int64, int, error)) func(def, rep []int16) (int64, func() any, error) {
	buffer := make([]T, castLevels)
	return func(def, rep []int16) (int64, func() any, error) {
		levels, n, err := read(castLevels, buffer, def, rep)
		at := -1
		return levels, func() any { at++; return buffer[:n][at] }, err
	}
}

func castValue(out *parquet.Values, v any, kind schema.Kind) error {
	switch kind {
	case schema.Boolean:
		out.Bools = append(out.Bools, v.(bool))
	case schema.Long, schema.Timestamp:
		out.Longs = append(out.Longs, v.(int64))
	case schema.Double:
		f, is := v.(float64)
		if !is {
			n := v.(int64)
			if f = float64(n); f >= math.MaxInt64 || int64(f) != n {
				return fmt.Errorf("%d has no double that is equal", n)
			}
		}
		out.Doubles = append(out.Doubles, f)
	case schema.Decimal:
		if n, is := v.(int64); is {
			out.Data = appendDecimal(out.Data, strconv.AppendInt(nil, n, 10))
		} else {
			out.Data = append(out.Data, v.(stored.FixedLenByteArray)...)
		}
	case schema.String:
		at := len(out.Data)
		out.Data = append(out.Data, 0, 0, 0, 0)
		out.Data = appendText(out.Data, v)
		binary.LittleEndian.PutUint32(out.Data[at:], uint32(len(out.Data)-at-4))
	}
	return nil
}

// appendText appends the value as JSON spells it, a string as its characters. How a number was spelled in the data is no longer known.
func appendText(dst []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float64:
		text, err := json.Marshal(v)
		if err != nil {
			panic(err) // JSON has no number that has no JSON
		}
		return append(dst, text...)
	case stored.FixedLenByteArray:
		n := new(big.Int).SetBytes(v)
		if v[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(v)*8)))
		}
		return n.Append(dst, 10)
	case stored.ByteArray:
		return append(dst, v...)
	}
	panic(fmt.Sprintf("a value is a %T", v))
}
