package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"headwater/schema"
)

const (
	// DecimalWidth is the size of a Decimal's value in Values: a 128-bit two's complement integer, big-endian.
	DecimalWidth = 16

	// A page ends with the batch that reaches one of these: bytes of values as they are, values, or levels.
	pageBytes  = 1 << 20
	pageValues = 1 << 17
	pageLevels = 1 << 20
	// dictionaryBytes is the size at which a dictionary takes no more values.
	dictionaryBytes = 1 << 20
	// plainDictionary is what Spark's files call dictionary pages and those that refer to them, where pages are of version 1. The format's
	// newer names, for the same bytes, are not known to every reader of such files.
	plainDictionary format.Encoding = 2
	// kept is how much room is kept for another use; what a giant record took is not.
	kept = 16 << 20
)

// ErrPage is returned for a batch whose values in one column are too large. Trying again gives the same error.
var ErrPage = errors.New("the values of few rows are more than the 2 GiB that a Parquet page can have")

// Values are a column's levels and values of a number of whole rows.
type Values struct {
	// Def and Rep are the levels; Rep is empty for a column in no list.
	Def     Levels
	Rep     []uint8
	Longs   []int64
	Doubles []float64
	Bools   []bool
	// Data has strings, each after its length in four bytes, little-endian, or decimals of DecimalWidth bytes.
	Data []byte
}

// Clear keeps the room.
func (v *Values) Clear() {
	*v = Values{
		Def: v.Def[:0], Rep: v.Rep[:0], Longs: v.Longs[:0], Doubles: v.Doubles[:0], Bools: v.Bools[:0], Data: v.Data[:0],
	}
}

// Scratch is what a goroutine that encodes needs while it does. The zero value is ready.
type Scratch struct {
	values, levels, compressed []byte
	numbers                    hybrid
}

// Column encodes the values of one column for each file that has it, a row group at a time. What files have in common, values, dictionary,
// bounds and repetition levels, is encoded and compressed once. It is for one goroutine at a time.
type Column struct {
	kind schema.Kind
	// def is the greatest definition level of the values that are added, rep that of repetition.
	def, rep  uint8
	width     int // of a Decimal
	repeating hybrid
	chunks    []*Chunk

	// levels and values are how many the page under way has, of which plain (with booleans: bits of them) or numbers are the values.
	levels, values int
	plain          []byte
	numbers        []uint32
	dictionary     *dictionary
	state          dictionaryState
	bounds         bounds
	// all and nulls count the row group's levels.
	all, nulls int64
	stats      []format.PageEncodingStats
	// ended is how many bytes the pages have.
	ended int
}

// dictionaryState is whether a row group's values go into a dictionary.
type dictionaryState uint8

const (
	// undecided until the first values of the row group.
	undecided dictionaryState = iota
	dictionaryPages
	plainPages
	// fallenBack: there are pages that need the dictionary, but it takes no more.
	fallenBack
)

// Chunk is a column's part of a row group of one file.
type Chunk struct {
	leaf     Leaf
	above    uint8
	defining hybrid
	// dictionary and pages are ready to be written; parts may be shared with another file's chunk.
	dictionary, pages [][]byte
	meta              format.ColumnMetaData
}

// Place is a column of a file: definition levels of the values are Above more than those of the file.
type Place struct {
	Leaf  Leaf
	Above uint8
}

// NewColumn encodes for places, of which there is one for each file and at least one, all of one kind.
func NewColumn(places ...Place) *Column {
	leaf := places[0].Leaf
	c := &Column{kind: leaf.Kind, def: leaf.Def + places[0].Above, rep: leaf.Rep, width: leaf.Width}
	for _, p := range places {
		c.chunks = append(c.chunks, &Chunk{leaf: p.Leaf, above: p.Above})
	}
	c.begin()
	return c
}

// Chunks has one for each place, in order; they are complete between End and Reset.
func (c *Column) Chunks() []*Chunk { return c.chunks }

func (c *Column) begin() {
	c.beginPage()
	c.state, c.all, c.nulls, c.stats, c.ended = undecided, 0, 0, nil, 0
	if c.kind == schema.Boolean {
		c.state = plainPages
	}
	c.bounds.reset()
	if c.dictionary != nil {
		c.dictionary.reset()
	}
	for _, k := range c.chunks {
		clear(k.dictionary)
		clear(k.pages)
		k.dictionary, k.pages, k.meta = k.dictionary[:0], k.pages[:0], format.ColumnMetaData{}
	}
}

func (c *Column) beginPage() {
	c.levels, c.values, c.plain, c.numbers = 0, 0, emptied(c.plain), emptied(c.numbers)
	c.repeating.reset(widthOf(int(c.rep)))
	for _, k := range c.chunks {
		k.defining.reset(widthOf(int(k.leaf.Def)))
	}
}

// emptied is list without elements, and without its room if that is too much to keep.
func emptied[E any](list []E) []E {
	if cap(list) > kept {
		return nil
	}
	return list[:0]
}

// Held is about how many bytes of memory the row group takes so far. It depends on the values alone.
func (c *Column) Held() int {
	n := c.ended + len(c.plain) + 4*len(c.numbers) + len(c.repeating.out)
	for _, k := range c.chunks {
		n += len(k.defining.out)
	}
	if c.dictionary != nil {
		n += c.dictionary.held()
	}
	return n
}

// Reset begins a row group.
func (c *Column) Reset() { c.begin() }

// Add adds rows to the row group.
func (c *Column) Add(v *Values, s *Scratch) error {
	if c.rep > 0 {
		c.repeating.levels(v.Rep)
	}
	for _, k := range c.chunks {
		for _, r := range v.Def {
			k.defining.repeat(uint32(max(r.Level, k.above)-k.above), int(r.Count))
		}
	}
	levels, places := v.Def.Len(), v.Def.Count(c.def)
	before := c.values
	c.add(v)
	if n := c.values - before; n != places || c.rep > 0 && len(v.Rep) != levels {
		return fmt.Errorf("%d places and %d repetition levels of %d for %d values", places, len(v.Rep), levels, n)
	}
	c.levels += levels
	c.all += int64(levels)
	c.nulls += int64(levels - places)
	if c.state == undecided && c.values > 0 {
		c.decide()
	}
	full := c.state == dictionaryPages && c.dictionary.size() >= dictionaryBytes
	if full || len(c.plain) >= pageBytes || c.values >= pageValues || c.levels >= pageLevels {
		if err := c.endPage(s); err != nil {
			return err
		}
	}
	if full {
		c.state = fallenBack
	}
	return nil
}

// add adds the values.
func (c *Column) add(v *Values) {
	plain := c.state == plainPages || c.state == fallenBack
	if !plain && c.dictionary == nil {
		c.dictionary = newDictionary()
	}
	switch c.kind {
	case schema.Boolean:
		c.addBools(v.Bools)
	case schema.Double:
		c.addDoubles(v.Doubles, plain)
	case schema.String, schema.Decimal:
		c.addTexts(v.Data, plain)
	default:
		c.addLongs(v.Longs, plain)
	}
}

func (c *Column) addBools(list []bool) {
	for _, v := range list {
		if c.values%8 == 0 {
			c.plain = append(c.plain, 0)
		}
		var bit byte
		if v {
			bit = 1
		}
		c.bounds.long(int64(bit))
		c.plain[len(c.plain)-1] |= bit << (c.values % 8)
		c.values++
	}
}

func (c *Column) addLongs(list []int64, plain bool) {
	c.values += len(list)
	if plain {
		c.plain = slices.Grow(c.plain, 8*len(list))
		for _, v := range list {
			c.bounds.long(v)
			c.plain = binary.LittleEndian.AppendUint64(c.plain, uint64(v))
		}
		return
	}
	c.numbers = slices.Grow(c.numbers, len(list))
	for _, v := range list {
		i, isNew := c.dictionary.number(uint64(v))
		if isNew {
			c.bounds.long(v)
		}
		c.numbers = append(c.numbers, i)
	}
}

func (c *Column) addDoubles(list []float64, plain bool) {
	c.values += len(list)
	if plain {
		c.plain = slices.Grow(c.plain, 8*len(list))
		for _, v := range list {
			c.bounds.double(v)
			c.plain = binary.LittleEndian.AppendUint64(c.plain, math.Float64bits(v))
		}
		return
	}
	c.numbers = slices.Grow(c.numbers, len(list))
	for _, v := range list {
		i, isNew := c.dictionary.number(math.Float64bits(v))
		if isNew {
			c.bounds.double(v)
		}
		c.numbers = append(c.numbers, i)
	}
}

func (c *Column) addTexts(data []byte, plain bool) {
	prefix, decimal := 4, c.kind == schema.Decimal
	if decimal {
		prefix = 0
	}
	if plain && !decimal {
		c.plain = append(c.plain, data...)
	}
	for len(data) > 0 {
		n, from := DecimalWidth, 0
		if decimal {
			from = DecimalWidth - c.width
		} else {
			n = 4 + int(binary.LittleEndian.Uint32(data))
		}
		value := data[from:n]
		isNew := plain
		if !plain {
			var i uint32
			i, isNew = c.dictionary.text(value)
			c.numbers = append(c.numbers, i)
		} else if decimal {
			c.plain = append(c.plain, value...)
		}
		if isNew {
			c.bounds.text(value[prefix:], decimal)
		}
		data = data[n:]
		c.values++
	}
}

// decide gives the dictionary up if most of the first values differ from all others: it would cost more than it saves.
func (c *Column) decide() {
	if c.state = dictionaryPages; 2*c.dictionary.n <= c.values {
		return
	}
	c.state = plainPages
	d := c.dictionary
	for _, i := range c.numbers {
		if len(d.keys) > 0 {
			c.plain = binary.LittleEndian.AppendUint64(c.plain, d.keys[i])
		} else {
			c.plain = append(c.plain, d.plain(i)...)
		}
	}
	c.numbers, c.dictionary = c.numbers[:0], nil // which many columns could not keep without need
}

// End completes the chunks.
func (c *Column) End(s *Scratch) error {
	if c.levels > 0 {
		if err := c.endPage(s); err != nil {
			return err
		}
	}
	if c.state == dictionaryPages || c.state == fallenBack {
		if err := c.endDictionary(s); err != nil {
			return err
		}
	}
	for _, k := range c.chunks {
		k.describe(c)
	}
	return nil
}

// endPage writes the page under way, and begins the next.
func (c *Column) endPage(s *Scratch) error {
	values, encoding := c.plain, format.Plain
	if c.state == dictionaryPages {
		width := widthOf(c.dictionary.n - 1)
		s.numbers.reset(width)
		s.numbers.out = append(s.numbers.out, byte(width))
		s.numbers.numbers(c.numbers)
		values, encoding = s.numbers.end(), plainDictionary
	}
	body, err := s.compress(values)
	if err != nil {
		return err
	}
	body = append([]byte(nil), body...)
	c.ended += len(body)
	header := format.PageHeader{Type: format.DataPage}
	data := format.DataPageHeader{
		NumValues: int32(c.levels), Encoding: encoding, DefinitionLevelEncoding: format.RLE, RepetitionLevelEncoding: format.RLE,
	}
	header.DataPageHeader = thrift.New(data)
	repeating := c.repeating.end()
	for _, k := range c.chunks {
		s.levels = s.levels[:0]
		if c.rep > 0 {
			s.levels = append(binary.LittleEndian.AppendUint32(s.levels, uint32(len(repeating))), repeating...)
		}
		defining := k.defining.end()
		s.levels = append(binary.LittleEndian.AppendUint32(s.levels, uint32(len(defining))), defining...)
		before := k.meta.TotalCompressedSize
		if err := k.addPage(&k.pages, header, s.levels, body, len(values), s); err != nil {
			return err
		}
		c.ended += int(k.meta.TotalCompressedSize-before) - len(body)
	}
	c.count(format.DataPage, encoding)
	c.beginPage()
	return nil
}

func (c *Column) endDictionary(s *Scratch) error {
	values := c.dictionary.page(&s.values)
	body, err := s.compress(values)
	if err != nil {
		return err
	}
	body = append([]byte(nil), body...)
	header := format.PageHeader{Type: format.DictionaryPage}
	header.DictionaryPageHeader = thrift.New(format.DictionaryPageHeader{NumValues: int32(c.dictionary.n), Encoding: plainDictionary})
	for _, k := range c.chunks {
		if err := k.addPage(&k.dictionary, header, nil, body, len(values), s); err != nil {
			return err
		}
	}
	c.count(format.DictionaryPage, plainDictionary)
	return nil
}

func (c *Column) count(t format.PageType, e format.Encoding) {
	for i := range c.stats {
		if s := &c.stats[i]; s.PageType == t && s.Encoding == e {
			s.Count++
			return
		}
	}
	c.stats = append(c.stats, format.PageEncodingStats{PageType: t, Encoding: e, Count: 1})
}

// compress is the elements of snappy that make data, without the length before them. The elements of several texts one after
// the other, and the sum of their lengths before them, are the compressed form of the texts one after the other.
func (s *Scratch) compress(data []byte) ([]byte, error) {
	if len(data) > math.MaxInt32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrPage, len(data))
	}
	s.compressed = slices.Grow(emptied(s.compressed), s2.MaxEncodedLen(len(data)))
	out := s2.EncodeSnappyBetter(s.compressed[:cap(s.compressed)], data)
	_, n := binary.Uvarint(out)
	return out[n:], nil
}

// addPage adds a page of levels and of values, whose compressed form body may be shared.
func (k *Chunk) addPage(pages *[][]byte, header format.PageHeader, levels, body []byte, values int, s *Scratch) error {
	compressed, err := s.compress(levels)
	if err != nil {
		return err
	}
	size := len(levels) + values
	var length [binary.MaxVarintLen64]byte
	before := binary.PutUvarint(length[:], uint64(size))
	stored := before + len(compressed) + len(body)
	if size > math.MaxInt32 || stored > math.MaxInt32 {
		return fmt.Errorf("%w: %d bytes", ErrPage, size)
	}
	header.UncompressedPageSize, header.CompressedPageSize = int32(size), int32(stored)
	head, err := thrift.Marshal(new(thrift.CompactProtocol), header)
	if err != nil {
		return err
	}
	k.meta.TotalUncompressedSize += int64(len(head) + size)
	k.meta.TotalCompressedSize += int64(len(head) + stored)
	head = append(head, length[:before]...)
	*pages = append(*pages, append(head, compressed...), body)
	return nil
}

// describe completes the chunk's metadata but for the places in the file.
func (k *Chunk) describe(c *Column) {
	m := &k.meta
	m.Type, _ = physical(c.kind)
	for _, s := range c.stats {
		if s.PageType == format.DictionaryPage {
			m.Encoding = append(m.Encoding, plainDictionary)
		}
	}
	m.Encoding = append(m.Encoding, format.Plain, format.RLE)
	m.PathInSchema, m.Codec, m.NumValues = k.leaf.Path, format.Snappy, c.all
	m.EncodingStats = c.stats
	m.Statistics = c.statistics()
}

func (c *Column) statistics() format.Statistics {
	s := format.Statistics{NullCount: c.nulls}
	if !c.bounds.seen {
		return s
	}
	b := &c.bounds
	switch c.kind {
	case schema.Boolean:
		s.MinValue, s.MaxValue = []byte{byte(b.leastLong)}, []byte{byte(b.greatestLong)}
	case schema.Double:
		s.MinValue, s.MaxValue = b.doubles()
	case schema.String:
		s.MinValue, s.MaxValue = b.texts()
		return s
	case schema.Decimal:
		s.MinValue, s.MaxValue = b.texts()
	default:
		s.MinValue, s.MaxValue = eight(uint64(b.leastLong)), eight(uint64(b.greatestLong))
	}
	s.Min, s.Max = s.MinValue, s.MaxValue // what old readers look at, which know signed orders only
	return s
}
