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
	"slices"
	"strconv"

	"headwater/schema"
	"headwater/serialize/parquet"
	"headwater/table"
)

// cast gives the columns of a day whose raw objects are no more the types that they have in the table now, by rewriting its files. A column that
// cannot be cast without its raw values, as a struct to text, is an error, and the day stays as it is.
func (r *run) cast(ctx context.Context) (Result, error) {
	result := Result{Rows: r.raw.seen.Footer.Rows, Quarantined: r.raw.seen.Footer.Quarantined}
	defer r.discard()
	if err := r.castFiles(ctx); err != nil {
		return Result{}, err
	}
	published, err := r.publishMade(ctx)
	result.Raw, result.Flat = published[0], published[1]
	return result, err
}

// publishMade publishes those of the raw and the flat table that there are files for.
func (r *run) publishMade(ctx context.Context) (published [2]table.Result, err error) {
	for i, o := range []*output{r.raw, r.flat} {
		if o.file == nil && len(o.made) == 0 {
			continue
		}
		result, failed := r.publish(ctx, o)
		published[i], err = result, errors.Join(err, failed)
	}
	return published, err
}

// castFiles makes the files of both tables that have to be cast.
func (r *run) castFiles(ctx context.Context) error {
	for _, o := range []*output{r.raw, r.flat} {
		if !o.seen.Exists || o.held.Adopts() {
			continue
		}
		typ, err := castType(o.seen.Footer.Schema, o.columns)
		if err != nil {
			return dataError("%s: its raw objects are no more, and %w: restore them, or move the table partition away", o.name, err)
		}
		o.footer = o.seen.Footer
		if schema.Equal(typ, o.footer.Schema) {
			continue
		}
		o.footer.Schema, o.footer.SchemaVersion = typ, r.head.Number
		if err := r.castFile(ctx, o); err != nil {
			return fmt.Errorf("casting the columns of %s: %w", o.name, err)
		}
	}
	return nil
}

// mustCast says that the day has no objects any more, and a file whose columns have other types than the table. Files of another job stay as they are: they
// were so before the table was adopted.
func (r *run) mustCast() bool {
	if len(r.inputs) > 0 {
		return false
	}
	return slices.ContainsFunc([]*output{r.raw, r.flat}, func(o *output) bool { return o.seen.Exists && !o.held.Adopts() && !o.conforms(o.seen) })
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
	case from.Kind == table.Kind && (from.Kind == schema.List || from.Kind == schema.Map):
		elem, err := castType(*from.Elem, *table.Elem)
		return schema.Type{Kind: from.Kind, Elem: &elem}, err
	case from.Kind == schema.Decimal && !schema.Equal(from, table) && (from.Scale > 0 || table.Kind != schema.String), table.Scale > 0 && from.Kind != schema.Decimal:
		// Decimals of hints stay as they are.
	case from.Kind == table.Kind,
		from.Kind == schema.Long && (table.Kind == schema.Double || table.Kind == schema.Decimal && table.Digits() >= 19),
		table.Kind == schema.String && from.Kind != schema.Struct && from.Kind != schema.List && from.Kind != schema.Map && from.Kind != schema.Timestamp:
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
	info, err := local.Stat()
	if err != nil {
		return err
	}
	in, err := parquet.NewReader(local, info.Size(), o.seen.Footer.Schema)
	if err != nil {
		return err
	}
	if o.file, err = newTempParquet(r.Temp, o); err != nil {
		return err
	}
	for group, rows := range in.Groups() {
		if err := castGroup(ctx, in, group, rows, o.file); err != nil {
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

// castGroup writes a row group with the kinds of out's columns.
func castGroup(ctx context.Context, in *parquet.Reader, group int, rows int64, out *tempParquet) error {
	var scratch parquet.Scratch
	var chunks []*parquet.Chunk
	for i, leaf := range out.Leaves() {
		c := parquet.NewColumn(parquet.Place{Leaf: leaf})
		from := in.Leaves()[i].Kind
		err := in.Pages(group, i, func(v *parquet.Values) error {
			cast, err := castValues(v, from, leaf.Kind)
			if err != nil {
				return fmt.Errorf("column %v: %w", leaf.Path, err)
			}
			return errors.Join(ctx.Err(), c.Add(cast, &scratch))
		})
		if err != nil {
			return err
		}
		if err := c.End(&scratch); err != nil {
			return err
		}
		chunks = append(chunks, c.Chunks()...)
	}
	return out.RowGroup(rows, chunks)
}

// copyOf is the table partition's file in a file without a name.
func (r *run) copyOf(ctx context.Context, o *output) (*os.File, error) {
	body, _, err := r.Tables.Get(ctx, o.seen.Object.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := nameless(r.Temp)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, body); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// castValues makes values of kind to of those of kind from; the levels stay.
func castValues(v *parquet.Values, from, to schema.Kind) (*parquet.Values, error) {
	if from == to {
		return v, nil
	}
	out := &parquet.Values{Def: v.Def, Rep: v.Rep}
	text := func(spell func(dst []byte) []byte) {
		at := len(out.Data)
		out.Data = spell(binary.LittleEndian.AppendUint32(out.Data, 0))
		binary.LittleEndian.PutUint32(out.Data[at:], uint32(len(out.Data)-at-4))
	}
	for _, b := range v.Bools {
		text(func(dst []byte) []byte { return strconv.AppendBool(dst, b) })
	}
	for _, f := range v.Doubles {
		text(func(dst []byte) []byte { return appendJSON(dst, f) })
	}
	for _, n := range v.Longs {
		switch to {
		case schema.String:
			text(func(dst []byte) []byte { return strconv.AppendInt(dst, n, 10) })
		case schema.Decimal:
			out.Data = appendDecimal(out.Data, strconv.AppendInt(nil, n, 10))
		default:
			f := float64(n)
			if f >= math.MaxInt64 || int64(f) != n {
				return nil, fmt.Errorf("%d has no double that is equal", n)
			}
			out.Doubles = append(out.Doubles, f)
		}
	}
	for data := v.Data; len(data) > 0; data = data[parquet.DecimalWidth:] {
		text(func(dst []byte) []byte { return appendInteger(dst, data[:parquet.DecimalWidth]) })
	}
	return out, nil
}

// appendJSON appends a double as JSON spells it. How it was spelled in the data is no longer known.
func appendJSON(dst []byte, f float64) []byte {
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // it came from JSON
	}
	return append(dst, text...)
}

// appendInteger appends the digits of a two's complement integer, big-endian.
func appendInteger(dst, value []byte) []byte {
	n := new(big.Int).SetBytes(value)
	if value[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(value)*8)))
	}
	return n.Append(dst, 10)
}
