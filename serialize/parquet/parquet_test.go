package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"headwater/schema"
)

var (
	leafOf = func(k schema.Kind) schema.Type { return schema.Type{Kind: k} }
	listOf = func(t schema.Type) schema.Type { return schema.Type{Kind: schema.List, Elem: &t} }
	object = func(name string, t schema.Type) schema.Type {
		return schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: name, Type: t}}}
	}
)

// rows makes Values by hand: each is a value of one row.
type rows struct {
	Values
	kind schema.Kind
	def  uint8
}

// put adds a value that is there, or, with def below that of values, a place without.
func (r *rows) put(def, rep uint8, nested bool, v any) {
	r.Def.Add(def, 1)
	if nested {
		r.Rep = append(r.Rep, rep)
	}
	switch v := v.(type) {
	case int64:
		r.Longs = append(r.Longs, v)
	case float64:
		r.Doubles = append(r.Doubles, v)
	case bool:
		r.Bools = append(r.Bools, v)
	case string:
		if r.kind == schema.String {
			r.Data = binary.LittleEndian.AppendUint32(r.Data, uint32(len(v)))
		}
		r.Data = append(r.Data, v...)
	}
}

// flat is a batch of a column in no list, nil for null.
func flat(k schema.Kind, def uint8, list ...any) *Values {
	r := rows{kind: k, def: def}
	for _, v := range list {
		if v == nil {
			r.put(def-1, 0, false, nil)
		} else {
			r.put(def, 0, false, v)
		}
	}
	return &r.Values
}

func write(t *testing.T, f *File, columns []*Column, place int, groups ...[]*Values) {
	t.Helper()
	var s Scratch
	for _, batches := range groups {
		rows := 0
		for _, v := range batches {
			for _, c := range columns {
				if err := c.Add(v, &s); err != nil {
					t.Fatal(err)
				}
			}
			rows += v.Def.Len() - len(v.Rep) + bytes.Count(v.Rep, []byte{0})
		}
		var chunks []*Chunk
		for _, c := range columns {
			if err := c.End(&s); err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, c.Chunks()[place])
		}
		if err := f.RowGroup(int64(rows), chunks); err != nil {
			t.Fatal(err)
		}
		for _, c := range columns {
			c.Reset()
		}
	}
	if err := f.Close([][2]string{{"k", "v"}}); err != nil {
		t.Fatal(err)
	}
}

// fileOf has the groups' batches in its one leaf.
func fileOf(t *testing.T, typ schema.Type, groups ...[]*Values) []byte {
	t.Helper()
	var out bytes.Buffer
	f, err := NewFile(&out, typ)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, []*Column{NewColumn(Place{Leaf: f.Leaves()[0]})}, 0, groups...)
	return out.Bytes()
}

// read gives what a reader of another make finds, with the Values of each row group.
func read(t *testing.T, data []byte, column int) (groups []*Values) {
	t.Helper()
	f, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for g := range f.NumRowGroups() {
		c, err := f.RowGroup(g).Column(column)
		if err != nil {
			t.Fatal(err)
		}
		r := rows{}
		if c.Descriptor().PhysicalType() == parquet.Types.ByteArray {
			r.kind = schema.String
		}
		for c.HasNext() {
			readSome(t, c, &r)
		}
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		groups = append(groups, &r.Values)
	}
	return groups
}

func readSome(t *testing.T, c file.ColumnChunkReader, r *rows) {
	t.Helper()
	const n = 5000
	def, rep := make([]int16, n), make([]int16, n)
	var values []any
	var levels int64
	var err error
	switch c := c.(type) {
	case *file.Int64ColumnChunkReader:
		levels, values, err = some(n, func(v []int64) (int64, int, error) { return c.ReadBatch(n, v, def, rep) })
	case *file.Float64ColumnChunkReader:
		levels, values, err = some(n, func(v []float64) (int64, int, error) { return c.ReadBatch(n, v, def, rep) })
	case *file.BooleanColumnChunkReader:
		levels, values, err = some(n, func(v []bool) (int64, int, error) { return c.ReadBatch(n, v, def, rep) })
	case *file.ByteArrayColumnChunkReader:
		levels, values, err = some(n, func(v []parquet.ByteArray) (int64, int, error) { return c.ReadBatch(n, v, def, rep) })
	case *file.FixedLenByteArrayColumnChunkReader:
		levels, values, err = some(n, func(v []parquet.FixedLenByteArray) (int64, int, error) { return c.ReadBatch(n, v, def, rep) })
	}
	if err != nil || levels == 0 {
		t.Fatal("reading stops", err)
	}
	nested := c.Descriptor().MaxRepetitionLevel() > 0
	for i := range levels {
		var v any
		if def[i] == c.Descriptor().MaxDefinitionLevel() {
			v, values = values[0], values[1:]
			switch x := v.(type) {
			case parquet.ByteArray:
				v = string(x)
			case parquet.FixedLenByteArray:
				v = string(x)
			}
		}
		r.put(uint8(def[i]), uint8(rep[i]), nested, v)
	}
}

func some[T any](n int, read func([]T) (int64, int, error)) (int64, []any, error) {
	list := make([]T, n)
	levels, got, err := read(list)
	var out []any
	for _, v := range list[:got] {
		out = append(out, v)
	}
	return levels, out, err
}

// TestDecimals: a decimal of every precision has the bytes that it needs, and the values that it can have come out.
func TestDecimals(t *testing.T) {
	for digits := 1; digits <= 38; digits++ {
		greatest := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
		greatest.Sub(greatest, big.NewInt(1))
		ints := []*big.Int{greatest, new(big.Int).Neg(greatest), big.NewInt(0), big.NewInt(-1), big.NewInt(7)}
		for _, few := range []bool{false, true} { // which decides between a dictionary and none
			var list []any
			var want []string
			for range map[bool]int{false: 1, true: 9}[few] {
				for _, n := range ints {
					two := new(big.Int).And(n, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)))
					list = append(list, string(two.FillBytes(make([]byte, DecimalWidth))))
					want = append(want, n.String())
				}
			}
			typ := schema.Type{Kind: schema.Decimal, Precision: uint8(digits % 38)}
			data := fileOf(t, object("c", typ), []*Values{flat(schema.Decimal, 1, list...)})
			checkReader(t, data, object("c", typ), []*Values{flat(schema.Decimal, 1, list...)})
			e := footer(t, data).Schema[1]
			width := int(e.TypeLength.V)
			if least := greatest.BitLen()/8 + 1; width != least || int(e.Precision.V) != digits {
				t.Fatalf("%d digits: %d bytes of precision %d, want %d", digits, width, e.Precision.V, least)
			}
			var got []string
			for values := read(t, data, 0)[0].Data; len(values) > 0; values = values[width:] {
				n := new(big.Int).SetBytes(values[:width])
				if n.Bit(8*width-1) == 1 {
					n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*width)))
				}
				got = append(got, n.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%d digits (-want +got):\n%s", digits, diff)
			}
		}
	}
}

// joined is one Values of many.
func joined(batches []*Values) *Values {
	var all Values
	for _, v := range batches {
		for _, r := range v.Def {
			all.Def.Add(r.Level, int(r.Count))
		}
		all.Rep = append(all.Rep, v.Rep...)
		all.Longs, all.Doubles, all.Bools = append(all.Longs, v.Longs...), append(all.Doubles, v.Doubles...), append(all.Bools, v.Bools...)
		all.Data = append(all.Data, v.Data...)
	}
	return &all
}

// equal compares bit by bit: there is NaN.
func equal(a, b *Values) bool {
	return slices.Equal(a.Def, b.Def) && bytes.Equal(a.Rep, b.Rep) && slices.Equal(a.Longs, b.Longs) && slices.Equal(a.Bools, b.Bools) && bytes.Equal(a.Data, b.Data) &&
		slices.EqualFunc(a.Doubles, b.Doubles, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) })
}

func footer(t *testing.T, data []byte) format.FileMetaData {
	t.Helper()
	n := len(data) - 8
	var m format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), data[n-int(binary.LittleEndian.Uint32(data[n:])):n], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func checkGroups(t *testing.T, data []byte, groups ...[]*Values) {
	t.Helper()
	got := read(t, data, 0)
	if len(got) != len(groups) {
		t.Fatalf("%d row groups of %d", len(got), len(groups))
	}
	for i, g := range groups {
		if want := joined(g); !equal(want, got[i]) {
			t.Errorf("row group %d: %d levels and %d, values differ", i, want.Def.Len(), got[i].Def.Len())
		}
	}
}

// TestRandom: whatever goes in comes out, for every kind, in lists and not, with and without dictionary, over pages and row groups.
func TestRandom(t *testing.T) {
	kinds := map[schema.Kind]func(r *rand.Rand, few bool) any{
		schema.Boolean: func(r *rand.Rand, _ bool) any { return r.IntN(3) == 0 },
		schema.Long: func(r *rand.Rand, few bool) any {
			if few {
				return int64(r.IntN(300)) - 100
			}
			return int64(r.Uint64())
		},
		schema.Timestamp: func(r *rand.Rand, _ bool) any { return int64(r.IntN(100000)) },
		schema.Double: func(r *rand.Rand, few bool) any {
			if few {
				return float64(r.IntN(9)) / 4
			}
			return math.Float64frombits(r.Uint64())
		},
		schema.String: func(r *rand.Rand, few bool) any {
			if few {
				return strings.Repeat("x", r.IntN(40))
			}
			return fmt.Sprintf("%0*x", r.IntN(60), r.Uint64())
		},
		schema.Decimal: func(r *rand.Rand, few bool) any {
			b := make([]byte, DecimalWidth)
			if b[15] = byte(r.IntN(256)); !few {
				binary.LittleEndian.PutUint64(b, r.Uint64())
			}
			return string(b)
		},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for k, value := range kinds {
		for _, few := range []bool{true, false} {
			for nulls := range 3 {
				var plain, lists [][]*Values
				for range 2 {
					var a, b []*Values
					for range 4 {
						var flat, nested rows
						flat.kind, nested.kind = k, k
						for range 3000 {
							if nulls > 0 && r.IntN(nulls*20) < 7 {
								flat.put(uint8(r.IntN(2)), 0, false, nil)
							} else {
								flat.put(2, 0, false, value(r, few))
							}
							switch n := r.IntN(4); {
							case n == 0 || nulls == 2:
								nested.put(uint8(r.IntN(2)), 0, true, nil)
							default:
								for i := range n {
									if nulls > 0 && r.IntN(4) == 0 {
										nested.put(2, uint8(min(i, 1)), true, nil)
									} else {
										nested.put(3, uint8(min(i, 1)), true, value(r, few))
									}
								}
							}
						}
						a, b = append(a, &flat.Values), append(b, &nested.Values)
					}
					plain, lists = append(plain, a), append(lists, b)
				}
				inStruct, inList := object("s", object("c", leafOf(k))), object("c", listOf(leafOf(k)))
				checkGroups(t, fileOf(t, inStruct, plain...), plain...)
				checkReader(t, fileOf(t, inStruct, plain...), inStruct, plain...)
				checkGroups(t, fileOf(t, inList, lists...), lists...)
				checkReader(t, fileOf(t, inList, lists...), inList, lists...)
			}
		}
	}
}

// TestShared: a file's bytes do not depend on whether another file has the column too.
func TestShared(t *testing.T) {
	raw, unnested := object("a", object("b", object("c", leafOf(schema.String)))), object("a_b_c", leafOf(schema.String))
	var batches []*Values
	for i := range 5 {
		var r rows
		r.kind = schema.String
		for j := range 4000 {
			if def := uint8(j * i % 4); def < 3 {
				r.put(def, 0, false, nil)
			} else {
				r.put(3, 0, false, fmt.Sprint(j%(100+2000*i)))
			}
		}
		batches = append(batches, &r.Values)
	}
	make := func(types ...schema.Type) (out [2][]byte) {
		var buffers [2]bytes.Buffer
		var places []Place
		var files []*File
		for i, typ := range types {
			f, err := NewFile(&buffers[i], typ)
			if err != nil {
				t.Fatal(err)
			}
			leaf := f.Leaves()[0]
			files, places = append(files, f), append(places, Place{leaf, 3 - leaf.Def})
		}
		c := NewColumn(places...)
		var s Scratch
		for _, v := range batches {
			if err := c.Add(v, &s); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.End(&s); err != nil {
			t.Fatal(err)
		}
		for i, f := range files {
			if err := f.RowGroup(20_000, []*Chunk{c.Chunks()[i]}); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(nil); err != nil {
				t.Fatal(err)
			}
			out[i] = buffers[i].Bytes()
		}
		return out
	}
	both := make(raw, unnested)
	if !bytes.Equal(both[0], make(raw)[0]) || !bytes.Equal(both[1], make(unnested)[0]) {
		t.Error("a file depends on the other")
	}
	checkGroups(t, both[0], batches)
	lowered := joined(batches)
	all := lowered.Def
	lowered.Def = nil
	for _, r := range all {
		lowered.Def.Add(max(r.Level, 2)-2, int(r.Count))
	}
	checkGroups(t, both[1], []*Values{lowered})
}

// TestRowGroups: nothing of a row group is left in the next, and the footer says where each begins.
func TestRowGroups(t *testing.T) {
	first, second := flat(schema.String, 1, "a", "a", "z", "z"), flat(schema.String, 1, nil, "b", "b", "c", "c")
	typ := object("c", leafOf(schema.String))
	data := fileOf(t, typ, []*Values{first, first}, []*Values{second})
	alone := fileOf(t, typ, []*Values{second})
	got, want := footer(t, data).RowGroups[1], footer(t, alone).RowGroups[0]
	moved := got.FileOffset - want.FileOffset
	c := &want.Columns[0]
	want.FileOffset, want.Ordinal, c.FileOffset = got.FileOffset, 1, c.FileOffset+moved
	c.MetaData.DataPageOffset += moved
	c.MetaData.DictionaryPageOffset += moved
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for at, want := range map[int64]format.PageType{got.Columns[0].MetaData.DictionaryPageOffset: format.DictionaryPage, got.Columns[0].MetaData.DataPageOffset: format.DataPage} {
		var h format.PageHeader
		d := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(bytes.NewReader(data[at:])))
		if err := d.Decode(&h); err != nil || h.Type != want {
			t.Errorf("at %d is no page of type %v, but %v; %v", at, want, h.Type, err)
		}
	}
}

// TestEdges: values and numbers of them at the ends of what there can be.
func TestEdges(t *testing.T) {
	many := func(n int, v any) (list []any) {
		for range n {
			list = append(list, v)
		}
		return list
	}
	long := strings.Repeat("long ", 16<<20/5)
	var overflow []any
	for i := range 60_000 {
		overflow = append(overflow, fmt.Sprintf("%050d", i/3)) // which seem to repeat themselves
	}
	tests := map[string]struct {
		kind   schema.Kind
		groups [][]*Values
		stats  []format.PageEncodingStats
	}{
		"one":           {schema.Long, [][]*Values{{flat(schema.Long, 1, int64(7))}}, []format.PageEncodingStats{{Count: 1}}},
		"same":          {schema.Long, [][]*Values{{flat(schema.Long, 1, many(1000, int64(7))...)}}, []format.PageEncodingStats{{PageType: 0, Encoding: 2, Count: 1}, {PageType: 2, Encoding: 2, Count: 1}}},
		"nulls":         {schema.String, [][]*Values{{flat(schema.String, 1, many(1000, nil)...)}}, []format.PageEncodingStats{{Count: 1}}},
		"longs":         {schema.Long, [][]*Values{{flat(schema.Long, 1, int64(math.MinInt64), int64(math.MaxInt64), int64(0), nil)}}, nil},
		"empty":         {schema.String, [][]*Values{{flat(schema.String, 1, "", "", nil, "")}}, nil},
		"one and empty": {schema.String, [][]*Values{{flat(schema.String, 1, "", "x")}}, nil},
		"doubles":       {schema.Double, [][]*Values{{flat(schema.Double, 1, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0.0, math.SmallestNonzeroFloat64)}}, nil},
		"long":          {schema.String, [][]*Values{{flat(schema.String, 1, long), flat(schema.String, 1, long+"x", "y")}}, []format.PageEncodingStats{{Count: 2}}},
		"long, in a dictionary": {
			schema.String,
			[][]*Values{{flat(schema.String, 1, long, long), flat(schema.String, 1, "x", long)}},
			[]format.PageEncodingStats{{PageType: 0, Encoding: 2, Count: 1}, {PageType: 0, Encoding: 0, Count: 1}, {PageType: 2, Encoding: 2, Count: 1}},
		},
		"overflow": {
			schema.String,
			[][]*Values{{flat(schema.String, 1, overflow[:20_000]...), flat(schema.String, 1, overflow[20_000:]...), flat(schema.String, 1, overflow[:9]...)}},
			[]format.PageEncodingStats{{PageType: 0, Encoding: 2, Count: 1}, {PageType: 0, Encoding: 0, Count: 1}, {PageType: 2, Encoding: 2, Count: 1}},
		},
		"a page of nulls before values": {
			schema.Long,
			[][]*Values{{flat(schema.Long, 1, many(pageLevels, nil)...), flat(schema.Long, 1, int64(1), int64(1), nil)}},
			[]format.PageEncodingStats{{Count: 1}, {PageType: 0, Encoding: 2, Count: 1}, {PageType: 2, Encoding: 2, Count: 1}},
		},
		"a page of nulls between": {
			schema.Long,
			[][]*Values{{flat(schema.Long, 1, append(many(pageLevels, nil), int64(1), int64(1))...), flat(schema.Long, 1, many(pageLevels, nil)...)}},
			[]format.PageEncodingStats{{PageType: 0, Encoding: 2, Count: 2}, {PageType: 2, Encoding: 2, Count: 1}},
		},
		"bools over pages": {schema.Boolean, [][]*Values{{flat(schema.Boolean, 1, many(pageValues+3, true)...), flat(schema.Boolean, 1, false, true)}}, []format.PageEncodingStats{{Count: 2}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data := fileOf(t, object("c", leafOf(test.kind)), test.groups...)
			checkGroups(t, data, test.groups...)
			if got := footer(t, data).RowGroups[0].Columns[0].MetaData.EncodingStats; test.stats != nil && !cmp.Equal(test.stats, []format.PageEncodingStats(got)) {
				t.Errorf("pages %v, want %v", got, test.stats)
			}
		})
	}
	var groups [][]*Values
	for i := range 300 {
		groups = append(groups, []*Values{flat(schema.Long, 1, int64(i), nil)})
	}
	checkGroups(t, fileOf(t, object("c", leafOf(schema.Long)), groups...), groups...)
	checkGroups(t, fileOf(t, object("c", leafOf(schema.Long)))) // a file without rows
}

// TestBounds: what is told of a chunk's values.
func TestBounds(t *testing.T) {
	number := func(b ...byte) string { return string(append(make([]byte, DecimalWidth-len(b)), b...)) }
	negative := func(b byte) string { return strings.Repeat("\xff", DecimalWidth-1) + string([]byte{b}) }
	f := func(v float64) []byte { return eight(math.Float64bits(v)) }
	l := func(v int64) []byte { return eight(uint64(v)) }
	minusZero := math.Copysign(0, -1)
	longest := strings.Repeat("y", longestBound)
	tests := map[string]struct {
		kind       schema.Kind
		list       []any
		low, high  []byte
		nulls      int64
		withLegacy bool
	}{
		"longs":       {schema.Long, []any{int64(3), int64(-5), nil, int64(4)}, l(-5), l(4), 1, true},
		"no values":   {schema.Long, []any{nil, nil}, nil, nil, 2, false},
		"doubles":     {schema.Double, []any{1.5, math.NaN(), -2.0, math.Inf(1)}, f(-2), f(math.Inf(1)), 0, true},
		"NaN first":   {schema.Double, []any{math.NaN(), 1.0}, f(1), f(1), 0, true},
		"NaN":         {schema.Double, []any{math.NaN(), nil}, nil, nil, 1, false},
		"zero":        {schema.Double, []any{0.0}, f(minusZero), f(0), 0, true},
		"minus zero":  {schema.Double, []any{minusZero}, f(minusZero), f(0), 0, true},
		"booleans":    {schema.Boolean, []any{false, true, nil}, []byte{0}, []byte{1}, 1, true},
		"false":       {schema.Boolean, []any{false}, []byte{0}, []byte{0}, 0, true},
		"strings":     {schema.String, []any{"b", "a", "\xc3\xa9", nil}, []byte("a"), []byte("\xc3\xa9"), 1, false},
		"prefix":      {schema.String, []any{"ab", "a", "abc"}, []byte("a"), []byte("abc"), 0, false},
		"too long":    {schema.String, []any{"x", longest + "y"}, []byte("x"), nil, 0, false},
		"just so":     {schema.String, []any{longest}, []byte(longest), []byte(longest), 0, false},
		"decimals":    {schema.Decimal, []any{number(1), negative(0xff), number(1, 0), negative(0xfe)}, []byte(negative(0xfe)), []byte(number(1, 0)), 0, true},
		"both spelt":  {schema.Double, []any{minusZero, 0.0, minusZero}, f(minusZero), f(0), 0, true},
		"timestamps":  {schema.Timestamp, []any{int64(-1), int64(1)}, l(-1), l(1), 0, true},
		"repeated":    {schema.String, []any{"b", "b", "a", "a", "b", "a"}, []byte("a"), []byte("b"), 0, false},
		"plain longs": {schema.Long, []any{int64(9), int64(8)}, l(8), l(9), 0, true},
	}
	for name, test := range tests {
		// The second batch may be plain when the first was.
		v := flat(test.kind, 1, test.list...)
		for batches := range 2 {
			data := fileOf(t, object("c", leafOf(test.kind)), slices.Repeat([]*Values{v}, batches+1))
			got := footer(t, data).RowGroups[0].Columns[0].MetaData.Statistics
			want := format.Statistics{NullCount: test.nulls * int64(batches+1), MinValue: test.low, MaxValue: test.high}
			if test.withLegacy {
				want.Min, want.Max = test.low, test.high
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
	data := fileOf(t, object("c", leafOf(schema.String)), []*Values{flat(schema.String, 1, "", "x")})
	got := footer(t, data).RowGroups[0].Columns[0].MetaData.Statistics
	if got.MinValue == nil || len(got.MinValue) != 0 {
		t.Errorf("an empty string is a least value: %v", got)
	}
}

// TestMisfit: levels and values that do not belong together never make a file.
func TestMisfit(t *testing.T) {
	var out bytes.Buffer
	f, err := NewFile(&out, object("c", listOf(leafOf(schema.Long))))
	if err != nil {
		t.Fatal(err)
	}
	var s Scratch
	for _, v := range []Values{{Def: Levels{{3, 1}}, Rep: []uint8{0}}, {Def: Levels{{0, 1}}, Rep: []uint8{0}, Longs: []int64{1}}, {Def: Levels{{3, 1}}, Longs: []int64{1}}} {
		if err := NewColumn(Place{Leaf: f.Leaves()[0]}).Add(&v, &s); err == nil {
			t.Errorf("%+v was taken", v)
		}
	}
	if err := f.RowGroup(1, nil); err == nil {
		t.Error("a row group without its chunk was taken")
	}
	if _, err := s.compress(make([]byte, math.MaxInt32+1)); !errors.Is(err, ErrPage) {
		t.Error("a page of 2 GiB was taken", err)
	}
	if err := new(Chunk).addPage(nil, format.PageHeader{}, make([]byte, 8), nil, math.MaxInt32-7, &s); !errors.Is(err, ErrPage) {
		t.Error("a page was taken that has 2 GiB with its levels", err)
	}
	f.meta.RowGroups = make([]format.RowGroup, 1<<15)
	if err := f.RowGroup(1, []*Chunk{{}}); err == nil {
		t.Error("more row groups were taken than can be numbered")
	}
	deep := leafOf(schema.Long)
	for range 130 {
		deep = listOf(deep)
	}
	for _, typ := range []schema.Type{object("c", leafOf(schema.Undecided)), object("c", deep)} {
		if _, err := NewFile(&out, typ); err == nil {
			t.Errorf("%d levels were taken", len(fmt.Sprint(typ)))
		}
	}
}

// full is a writer that has room for some bytes.
type full struct{ room int }

var errFull = errors.New("no room")

func (w *full) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// TestFailedWrites: wherever a write fails, it is told.
func TestFailedWrites(t *testing.T) {
	typ := object("c", leafOf(schema.String))
	rows := flat(schema.String, 1, "a", "a", "b", "b")
	size := len(fileOf(t, typ, []*Values{rows}))
	for room := range size {
		f, err := NewFile(&full{room}, typ)
		if err != nil {
			t.Fatal(err)
		}
		c := NewColumn(Place{Leaf: f.Leaves()[0]})
		var s Scratch
		if err := errors.Join(c.Add(rows, &s), c.End(&s)); err != nil {
			t.Fatal(err)
		}
		if err = f.RowGroup(4, c.Chunks()); err == nil {
			err = f.Close([][2]string{{"k", "v"}})
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("with room for %d bytes of %d: %v", room, size, err)
		}
	}
}
