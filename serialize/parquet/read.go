package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/s2"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"headwater/schema"
)

// ErrUnreadable is returned for a file that File did not write, or that is damaged.
var ErrUnreadable = errors.New("not a readable Parquet file of headwater")

// Reader reads the columns of a file that File wrote, and of no other.
type Reader struct {
	r      io.ReaderAt
	meta   format.FileMetaData
	leaves []Leaf
}

// NewReader reads the footer of a file of size bytes, whose schema is t.
func NewReader(r io.ReaderAt, size int64, t schema.Type) (*Reader, error) {
	var end [8]byte
	if _, err := r.ReadAt(end[:], size-int64(len(end))); err != nil || string(end[4:]) != magic {
		return nil, fmt.Errorf("%w: it does not end in %s (%v)", ErrUnreadable, magic, err)
	}
	n := int64(binary.LittleEndian.Uint32(end[:]))
	if n > size-int64(len(end)) {
		return nil, fmt.Errorf("%w: its footer has more bytes than it", ErrUnreadable)
	}
	footer := make([]byte, n)
	if _, err := r.ReadAt(footer, size-int64(len(end))-n); err != nil {
		return nil, err
	}
	in := &Reader{r: r}
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer, &in.meta); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if in.meta.CreatedBy != createdBy {
		return nil, fmt.Errorf("%w: it was written by %q", ErrUnreadable, in.meta.CreatedBy)
	}
	own, err := NewFile(io.Discard, t)
	if err != nil {
		return nil, err
	}
	in.leaves = own.leaves
	for _, g := range in.meta.RowGroups {
		if len(g.Columns) != len(in.leaves) {
			return nil, fmt.Errorf("%w: %d columns, its schema has %d", ErrUnreadable, len(g.Columns), len(in.leaves))
		}
	}
	return in, nil
}

// Groups are the rows of each row group.
func (r *Reader) Groups() []int64 {
	var rows []int64
	for _, g := range r.meta.RowGroups {
		rows = append(rows, g.NumRows)
	}
	return rows
}

// Leaves are the file's columns, in order.
func (r *Reader) Leaves() []Leaf { return r.leaves }

// Pages gives the values of a column in a row group page by page, each of whole rows, until do returns an error. What do gets is valid until it
// returns.
func (r *Reader) Pages(group, leaf int, do func(v *Values) error) error {
	m, l := r.meta.RowGroups[group].Columns[leaf].MetaData, r.leaves[leaf]
	from := m.DataPageOffset
	if m.DictionaryPageOffset > 0 {
		from = m.DictionaryPageOffset
	}
	chunk := make([]byte, m.TotalCompressedSize)
	if _, err := r.r.ReadAt(chunk, from); err != nil {
		return fmt.Errorf("column %v: %w", l.Path, err)
	}
	p := pages{leaf: l, left: chunk, levels: m.NumValues}
	for p.levels > 0 {
		isData, err := p.next()
		if err != nil {
			return fmt.Errorf("column %v: %w: %w", l.Path, ErrUnreadable, err)
		}
		if !isData {
			continue
		}
		if err := do(&p.values); err != nil {
			return err
		}
	}
	return nil
}

// pages reads the pages of a chunk.
type pages struct {
	leaf       Leaf
	left       []byte
	levels     int64 // that are left
	text       []byte
	dictionary [][]byte
	values     Values
}

// next reads a page; a dictionary is kept for those that follow.
func (p *pages) next() (isData bool, err error) {
	var header format.PageHeader
	head := bytes.NewReader(p.left)
	if err := thrift.NewDecoder(new(thrift.CompactProtocol).NewReader(head)).Decode(&header); err != nil {
		return false, err
	}
	body := p.left[len(p.left)-head.Len():]
	if n := int(header.CompressedPageSize); n < 0 || n > len(body) {
		return false, errors.New("a page is longer than its column")
	} else {
		body, p.left = body[:n], body[n:]
	}
	if n, err := s2.DecodedLen(body); err != nil || n != int(header.UncompressedPageSize) {
		return false, errors.New("a page has not the size that it says")
	}
	if p.text, err = s2.Decode(p.text[:cap(p.text)], body); err != nil {
		return false, err
	}
	switch {
	case header.Type == format.DictionaryPage:
		text := bytes.Clone(p.text)
		for len(text) > 0 {
			n, err := p.width(text)
			if err != nil {
				return false, err
			}
			p.dictionary = append(p.dictionary, text[:n])
			text = text[n:]
		}
		return false, nil
	case header.Type == format.DataPage && header.DataPageHeader.Valid:
		data := header.DataPageHeader.V
		if int64(data.NumValues) > p.levels {
			return false, errors.New("a page has more values than its column")
		}
		p.levels -= int64(data.NumValues)
		return true, p.data(int(data.NumValues), data.Encoding)
	}
	return false, errors.New("a page is of a type that files of ours do not have")
}

// width is how many bytes the first value of text takes, PLAIN.
func (p *pages) width(text []byte) (int, error) {
	n := 8
	switch p.leaf.Kind {
	case schema.String:
		if len(text) < 4 {
			return 0, errors.New("a text is cut short")
		}
		n = 4 + int(binary.LittleEndian.Uint32(text))
	case schema.Decimal:
		n = p.leaf.Width
	}
	if n > len(text) {
		return 0, errors.New("a value is cut short")
	}
	return n, nil
}

// data reads a data page: repetition levels, definition levels, values.
func (p *pages) data(levels int, encoding format.Encoding) (err error) {
	p.values.Clear()
	text := p.text
	if p.leaf.Rep > 0 {
		if text, err = readLevels(text, levels, p.leaf.Rep, func(v uint8) { p.values.Rep = append(p.values.Rep, v) }); err != nil {
			return err
		}
	}
	if text, err = readLevels(text, levels, p.leaf.Def, func(v uint8) { p.values.Def.Add(v, 1) }); err != nil {
		return err
	}
	n := p.values.Def.Count(p.leaf.Def)
	if encoding == plainDictionary {
		if len(text) == 0 {
			return errors.New("a page has no values")
		}
		return unpackHybrid(text[1:], int(text[0]), n, func(i uint32) error {
			if int(i) >= len(p.dictionary) {
				return errors.New("a value is not in the dictionary")
			}
			p.add(p.dictionary[i])
			return nil
		})
	}
	if p.leaf.Kind == schema.Boolean {
		if len(text) < (n+7)/8 {
			return errors.New("a page has too few values")
		}
		for i := range n {
			p.values.Bools = append(p.values.Bools, text[i/8]>>(i%8)&1 == 1)
		}
		return nil
	}
	for range n {
		w, err := p.width(text)
		if err != nil {
			return err
		}
		p.add(text[:w])
		text = text[w:]
	}
	return nil
}

// add adds a value, PLAIN.
func (p *pages) add(value []byte) {
	switch p.leaf.Kind {
	case schema.String:
		p.values.Data = append(p.values.Data, value...)
	case schema.Decimal:
		for range DecimalWidth - len(value) { // the sign
			p.values.Data = append(p.values.Data, byte(int8(value[0])>>7))
		}
		p.values.Data = append(p.values.Data, value...)
	case schema.Double:
		p.values.Doubles = append(p.values.Doubles, math.Float64frombits(binary.LittleEndian.Uint64(value)))
	default:
		p.values.Longs = append(p.values.Longs, int64(binary.LittleEndian.Uint64(value)))
	}
}

// readLevels reads n levels up to most, which come after their length, and returns what follows.
func readLevels(text []byte, n int, most uint8, add func(v uint8)) ([]byte, error) {
	if len(text) < 4 || int64(binary.LittleEndian.Uint32(text)) > int64(len(text)-4) {
		return nil, errors.New("levels are cut short")
	}
	length := int(binary.LittleEndian.Uint32(text))
	err := unpackHybrid(text[4:4+length], widthOf(int(most)), n, func(v uint32) error {
		add(uint8(v))
		return nil
	})
	return text[4+length:], err
}

// unpackHybrid reads n numbers of width bits from what hybrid has made.
func unpackHybrid(text []byte, width, n int, do func(v uint32) error) error {
	if width > 32 {
		return errors.New("numbers have more than 32 bits")
	}
	for n > 0 {
		header, used := binary.Uvarint(text)
		if used <= 0 {
			return errors.New("numbers are cut short")
		}
		text = text[used:]
		count, size := int(min(header>>1, math.MaxInt32)), (width+7)/8
		packed := header&1 == 1
		if packed {
			size = count * width
			count *= groupLen
		}
		if size > len(text) || count == 0 {
			return errors.New("numbers are cut short")
		}
		var repeated uint32
		for i := size - 1; !packed && i >= 0; i-- {
			repeated = repeated<<8 | uint32(text[i])
		}
		for i := range min(count, n) {
			v := repeated
			if packed {
				v = bitsAt(text, i*width, width)
			}
			if err := do(v); err != nil {
				return err
			}
		}
		n -= count
		text = text[size:]
	}
	return nil
}

// bitsAt is the number of width bits that begins at the bit at, the lowest first.
func bitsAt(text []byte, at, width int) (v uint32) {
	for i := range width {
		v |= uint32(text[(at+i)/8]>>((at+i)%8)&1) << i
	}
	return v
}
