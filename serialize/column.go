package serialize

import (
	"encoding/binary"
	"math/bits"

	"headwater/envelope"
	"headwater/schema"
	"headwater/serialize/parquet"
)

// column is a place of the documents that the table has something of, as a node of the tree that a record is walked
// along. def is the definition level of a value there (one less is a null); for a List, def+1 is that of an element's place
// and rep the repetition level of every element but the first.
type column struct {
	// What every value needs comes first, so that it is near.
	kind     schema.Kind
	def, rep uint8
	// lazy: a field of a struct in no list. How often it is absent is counted, and its leaves get the levels only when there is something else to add to them, or the batch ends: an
	// object that has few of many fields costs as much as those few. opened counts the objects of such a struct, the document too, seen of those of the struct around it for how many the
	// leaves have levels.
	lazy         bool
	opened, seen int
	// from and to bound the leaves below, among all leaves of the table.
	from, to int
	// hint is how values are made of what is in the data, if a person has said so; of a decimal, digits and scale are what it can have.
	hint          string
	digits, scale int
	// in is the object that this field was met in last, if it is not lazy.
	in uint64
	// names and fields are a Struct's, by the names in the data; elem is a List's, or a Map's values, whose keys are key.
	names  names
	fields []*column
	elem   *column
	key    *column
}

// leafInfo describes a leaf to those who write it.
type leafInfo struct {
	kind schema.Kind
	// def is the definition level of a value.
	def uint8
	// nested: repetition levels are written.
	nested bool
	// above is how many structs the leaf, or its outermost list, lies in, without the document itself.
	above uint8
}

// newColumn makes the tree of the type of documents, in which the document itself is always there.
func newColumn(t schema.Type) (*column, []leafInfo) {
	root := &column{kind: schema.Struct}
	var leaves []leafInfo
	root.grow(t, 0, 0, &leaves)
	return root, leaves
}

func (c *column) grow(t schema.Type, rep, above uint8, leaves *[]leafInfo) {
	c.kind, c.hint, c.rep, c.from = t.Kind, t.Hint, rep, len(*leaves)
	c.digits, c.scale = t.Digits(), int(t.Scale)
	switch t.Kind {
	case schema.Struct:
		if rep == 0 {
			above++
		}
		for _, f := range t.Fields {
			field := &column{def: c.def + 1, lazy: rep == 0}
			field.grow(f.Type, rep, above, leaves)
			c.names.add(f.Name)
			c.fields = append(c.fields, field)
		}
	case schema.List:
		c.rep = rep + 1
		c.elem = &column{def: c.def + 2}
		c.elem.grow(*t.Elem, c.rep, above, leaves)
	case schema.Map:
		c.rep = rep + 1
		c.key, c.elem = &column{def: c.def + 1}, &column{def: c.def + 2}
		c.key.grow(schema.Type{Kind: schema.String}, c.rep, above, leaves)
		c.elem.grow(*t.Elem, c.rep, above, leaves)
	default:
		*leaves = append(*leaves, leafInfo{kind: t.Kind, def: c.def, nested: rep > 0, above: above - 1})
	}
	c.to = len(*leaves)
}

// field is the column of a field of the values of c, nil if there is none. What is below text is of the same column, because it is
// part of the text.
func (c *column) field(name []byte) *column {
	switch {
	case c == nil:
		return nil
	case c.kind == schema.String:
		return c
	case c.kind == schema.Map:
		return c.elem
	}
	if i, found := c.names.index[string(name)]; found {
		return c.fields[i]
	}
	return nil
}

// element is the same for the elements.
func (c *column) element() *column {
	if c != nil && c.kind == schema.String {
		return c
	} else if c != nil {
		return c.elem
	}
	return nil
}

// held are the values that a column of each kind holds without another type: adding them to what was seen resolves to the same kind.
var held = [...]schema.Seen{
	schema.Boolean: schema.SeenNull | schema.SeenBool,
	schema.Long:    schema.SeenNull | schema.SeenInt | schema.SeenWideInt,
	schema.Decimal: schema.SeenNull | schema.SeenInt | schema.SeenWideInt | schema.SeenBigInt,
	schema.Double:  schema.SeenNull | schema.SeenInt | schema.SeenFraction,
	schema.String:  ^schema.Seen(0),
	schema.List:    schema.SeenNull | schema.SeenArray,
	schema.Struct:  schema.SeenNull | schema.SeenObject,
	schema.Map:     schema.SeenNull | schema.SeenObject,
}

// holds reports whether c stays as it is when seen is met at its place for the first time. Without a column (c is nil) that is what still says
// nothing after what was met before: nulls, and arrays or objects with nothing in them.
func (c *column) holds(seen, before schema.Seen) bool {
	if c == nil {
		return seen == schema.SeenNull || before&^schema.SeenNull == 0 && seen&(schema.SeenArray|schema.SeenObject) != 0
	}
	return seen&held[c.kind] != 0 || c.hint != ""
}

// leaf holds the values and levels of one leaf for the records of a batch.
type leaf struct {
	parquet.Values
	mark mark
}

// mark is a place in a leaf between two records.
type mark struct {
	levels, values, data int
	// run is that of the last level before the mark, of which so many come before it.
	run, within int
}

func (l *leaf) level(def, rep uint8, nested bool) {
	l.Def.Add(def, 1)
	if nested {
		l.Rep = append(l.Rep, rep)
	}
}

// repeat adds a level n times, of values that begin a row.
func (l *leaf) repeat(def uint8, n int, nested bool) {
	l.Def.Add(def, n)
	if nested {
		l.Rep = append(l.Rep, make([]uint8, n)...)
	}
}

// batch is a number of whole records, cut into columns.
type batch struct {
	leaves []leaf
	rows   int
	// bytes is the length of the records' JSON texts, levels the number of entries in all leaves.
	bytes, levels int
	// marked is how many rows come before the leaves' marks.
	marked int
	// waits is how much memory the batch has been let wait with.
	waits int
}

// memory is how many bytes the leaves have room for.
func (b *batch) memory() (n int) {
	for i := range b.leaves {
		l := &b.leaves[i]
		n += 8*(cap(l.Def)+cap(l.Longs)+cap(l.Doubles)) + cap(l.Rep) + cap(l.Bools) + cap(l.Data)
	}
	return n
}

// rooms are how much the leaves of a batch have.
type rooms []struct{ def, rep, longs, doubles, bools, data int }

func (b *batch) rooms() rooms {
	out := make(rooms, len(b.leaves))
	for i := range b.leaves {
		l := &b.leaves[i]
		r := &out[i]
		r.def, r.rep, r.longs, r.doubles, r.bools, r.data = len(l.Def), len(l.Rep), len(l.Longs), len(l.Doubles), len(l.Bools), len(l.Data)
	}
	return out
}

// newBatch has room for a little more than a batch had: growing there step by step costs more than the values.
func newBatch(had rooms) *batch {
	b := &batch{leaves: make([]leaf, len(had))}
	for i, r := range had {
		b.leaves[i].Values = parquet.Values{
			Def: roomFor[parquet.Levels](r.def), Rep: roomFor[[]uint8](r.rep), Longs: roomFor[[]int64](r.longs),
			Doubles: roomFor[[]float64](r.doubles), Bools: roomFor[[]bool](r.bools), Data: roomFor[[]byte](r.data),
		}
	}
	return b
}

func roomFor[S ~[]E, E any](n int) S {
	if n == 0 {
		return nil
	}
	return make(S, 0, n+n/8)
}

func (b *batch) clear() {
	for i := range b.leaves {
		b.leaves[i].Clear()
		b.leaves[i].mark = mark{}
	}
	b.rows, b.bytes, b.levels, b.marked = 0, 0, 0, 0
}

// truncate takes the record back that has been begun. It looks for the end of the record before, once along each value, and not every record
// has to note where it begins.
func (b *batch) truncate(leaves []leafInfo) {
	for i := range b.leaves {
		b.leaves[i].truncate(b.rows-b.marked, leaves[i])
	}
	b.marked = b.rows
}

func (l *leaf) truncate(rows int, info leafInfo) {
	m := l.mark
	last := m.levels + rows
	if info.nested {
		for last = m.levels; last < len(l.Rep); last++ {
			if l.Rep[last] != 0 {
				continue
			} else if rows == 0 {
				break
			}
			rows--
		}
		l.Rep = l.Rep[:last]
	}
	for m.levels < last {
		if m.within == int(l.Def[m.run].Count) {
			m.run, m.within = m.run+1, 0
		}
		n := min(int(l.Def[m.run].Count)-m.within, last-m.levels)
		m.levels, m.within = m.levels+n, m.within+n
		if l.Def[m.run].Level != info.def {
			continue
		}
		switch info.kind {
		case schema.String:
			for range n {
				m.data += 4 + int(binary.LittleEndian.Uint32(l.Data[m.data:]))
			}
		case schema.Decimal:
			m.data += n * parquet.DecimalWidth
		default:
			m.values += n
		}
	}
	l.mark = m
	l.Def, l.Data = l.Def[:min(m.run+1, len(l.Def))], l.Data[:m.data]
	if m.within == 0 {
		l.Def = l.Def[:0] // nothing is left
	} else {
		l.Def[m.run].Count = uint32(m.within)
	}
	switch info.kind {
	case schema.Double:
		l.Doubles = l.Doubles[:m.values]
	case schema.Boolean:
		l.Bools = l.Bools[:m.values]
	case schema.Long, schema.Timestamp:
		l.Longs = l.Longs[:m.values]
	}
}

// shredder puts the values of records into the columns, as an inferrer meets them.
type shredder struct {
	reading
	scan   *scanner
	root   *column
	leaves []leafInfo
	// stamp is the column whose values, converted, are the leaf after all others; nil if there is no such leaf.
	stamp *column
	// rescue keeps what no column takes; nil where every value has one. pointer is the place of the value that has just begun.
	rescue  *rescue
	pointer func() string
	out     *batch

	frames  []columnFrame
	objects uint64
	// within counts the open objects and arrays that are part of a text, which then begins at start and goes into text, or of a
	// value that no column has.
	within, start int
	text          *leaf
	// entry is the key of the map's entry under way.
	entry []byte
	// hollow: in dialect spark, the record may have an empty string.
	hollow bool
	// lone counts the halves of surrogate pairs that became U+FFFD.
	lone int64
	// levels and loneBefore are what the batch and lone had before the record.
	levels     int
	loneBefore int64
}

// columnFrame is an open object or array.
type columnFrame struct {
	col    *column
	object uint64
	// Of an object's fields that have had a value, met is how many there are, leaves how many leaves they have if they are lazy.
	met    int32
	leaves int
	// rep is the repetition level of the next value: of a list, the list's own after the first element.
	rep uint8
	// empty: no element of the list has been met.
	empty bool
}

func newShredder(l layout, how reading, scan *scanner) *shredder {
	root, leaves := newColumn(l.record)
	w := &shredder{reading: how, root: root, leaves: leaves, scan: scan}
	if l.rescue {
		w.rescue = &rescue{leaf: len(w.leaves)}
		w.leaves = append(w.leaves, leafInfo{kind: schema.String, def: 1})
	}
	if how.Unit != "" {
		w.stamp = root.field([]byte(envelope.KeyTimestamp))
		w.leaves = append(w.leaves, leafInfo{kind: schema.Timestamp, def: 1})
	}
	return w
}

// begin opens a record.
func (w *shredder) begin() {
	w.levels, w.loneBefore = w.out.levels, w.lone
	w.frames, w.within, w.text = w.frames[:0], 0, nil
	w.hollow = w.spark && hasEmptyString(w.scan.data)
	w.rescue.begin()
	w.open(w.root, 0)
}

// end closes the record, whose text is so long.
func (w *shredder) end(length int) {
	w.rescue.end(w.out)
	w.out.rows++
	w.out.bytes += length
}

// takeBack undoes the record that has been begun: it is closed, so that every leaf ends with it, and cut off.
func (w *shredder) takeBack() {
	for len(w.frames) > 0 {
		w.close()
	}
	w.finish()
	w.out.truncate(w.leaves)
	w.out.levels, w.lone = w.levels, w.loneBefore
}

// ingested puts the record's time, which has just begun, into its own leaf.
func (w *shredder) ingested(t token) bool {
	at, ok := w.micros(t, w.scan)
	l := &w.out.leaves[len(w.leaves)-1]
	l.level(1, 0, false)
	l.Longs = append(l.Longs, at)
	w.out.levels++
	return ok
}

func (w *shredder) open(c *column, rep uint8) {
	w.objects++
	c.opened++
	w.frames = append(w.frames, columnFrame{col: c, object: w.objects, rep: rep, empty: true})
}

// put takes the value that begins with t; c is its column, nil if it has none. It is false if the value is no value of the column.
func (w *shredder) put(t token, c *column) bool {
	nests := t == tokenObject || t == tokenArray
	if w.within > 0 {
		if nests {
			w.within++
		} else if w.rescue != nil && t != tokenNull {
			w.rescue.says = true
		}
		return true
	}
	f := &w.frames[len(w.frames)-1]
	rep := f.rep
	switch {
	case f.col.kind == schema.List:
		f.rep, f.empty = f.col.rep, false
	case f.col.kind == schema.Map:
		w.putKey(f.col.key, rep)
		f.rep, f.empty = f.col.rep, false
	case c == nil:
	case c.lazy:
		f.leaves += c.to - c.from
		if opened := f.col.opened; c.seen < opened-1 {
			w.settle(c, opened-1)
		}
		c.seen = f.col.opened
	default:
		f.met++
		c.in = f.object
	}
	if c == nil {
		if w.rescue != nil {
			w.keep(t, false)
		} else if nests {
			w.within = 1
		}
		return true
	}
	if c.hint != "" && c.kind != schema.String && t != tokenNull {
		return w.hinted(t, c, rep)
	}
	if w.rescue != nil && !w.fits(t, c) {
		w.null(c, rep)
		w.keep(t, true)
		return true
	}
	if w.hollow && w.lost(t, c) {
		w.null(c, rep)
		if nests {
			w.within = 1
		}
		return true
	}
	if c == w.stamp && !w.ingested(t) {
		return false
	}
	return w.value(t, c, rep)
}

// putKey takes the key of a map's entry, which the inferrer has put into entry.
func (w *shredder) putKey(c *column, rep uint8) {
	l := &w.out.leaves[c.from]
	l.level(c.def, rep, true)
	w.out.levels++
	l.Data = binary.LittleEndian.AppendUint32(l.Data, uint32(len(w.entry)))
	l.Data = append(l.Data, w.entry...)
}

// leave ends the innermost object or array.
func (w *shredder) leave() {
	if w.within == 0 {
		w.close()
		return
	}
	if w.within--; w.within == 0 && w.text != nil {
		l := w.text
		at := w.prefix(l)
		if w.spark {
			l.Data = append(l.Data, w.scan.data[w.start:w.scan.pos]...)
		} else {
			l.Data = compact(l.Data, w.scan.data[w.start:w.scan.pos])
		}
		binary.LittleEndian.PutUint32(l.Data[at:], uint32(len(l.Data)-at-4))
		w.text = nil
	} else if w.within == 0 && w.rescue != nil {
		w.rescue.nested(w.scan.data[w.start:w.scan.pos])
	}
}

func (w *shredder) close() {
	f := &w.frames[len(w.frames)-1]
	switch {
	case f.col.kind == schema.List || f.col.kind == schema.Map:
		if f.empty {
			w.fill(f.col, f.col.def, f.rep)
		}
	case len(f.col.fields) == 0:
	case f.col.fields[0].lazy:
		w.out.levels += f.col.to - f.col.from - f.leaves
	case int(f.met) < len(f.col.fields):
		for _, c := range f.col.fields {
			if c.in != f.object {
				w.fill(c, c.def-1, f.rep)
			}
		}
	}
	w.frames = w.frames[:len(w.frames)-1]
}

// settle says of all leaves below c, which is lazy, that there was no value in the objects up to one.
func (w *shredder) settle(c *column, object int) {
	n := object - c.seen
	w.settleBelow(c) // what was absent inside of c was so before c was
	for i := c.from; i < c.to; i++ {
		w.out.leaves[i].repeat(c.def-1, n, w.leaves[i].nested)
	}
	c.seen = object
}

func (w *shredder) settleBelow(c *column) {
	for _, field := range c.fields {
		if !field.lazy {
			return
		}
		if field.seen < c.opened {
			w.settle(field, c.opened)
		} else {
			w.settleBelow(field)
		}
	}
}

// finish completes the batch, which may be used only then.
func (w *shredder) finish() *batch {
	w.settleBelow(w.root)
	return w.out
}

// fill says of all leaves below c that there is no value.
func (w *shredder) fill(c *column, def, rep uint8) {
	w.out.levels += c.to - c.from
	for i := c.from; i < c.to; i++ {
		w.out.leaves[i].level(def, rep, w.leaves[i].nested)
	}
}

// null says of the column c, which has just been met, that it has no value.
func (w *shredder) null(c *column, rep uint8) {
	if c.lazy {
		c.seen-- // as if it were absent
		w.out.levels += c.to - c.from
		return
	}
	w.fill(c, c.def-1, rep)
}

// value puts the value that begins with t into the column c; false if c is of another kind.
func (w *shredder) value(t token, c *column, rep uint8) bool {
	if t == tokenNull {
		w.null(c, rep)
		return true
	}
	switch c.kind {
	case schema.List:
		w.open(c, rep)
		return t == tokenArray
	case schema.Struct, schema.Map:
		w.open(c, rep)
		return t == tokenObject
	}
	l := &w.out.leaves[c.from]
	l.level(c.def, rep, c.rep > 0)
	w.out.levels++
	switch c.kind {
	case schema.String:
		if t == tokenObject || t == tokenArray {
			w.within, w.start, w.text = 1, w.scan.start, l
		} else {
			w.characters(t, l)
		}
		return true
	case schema.Boolean:
		l.Bools = append(l.Bools, t == tokenTrue)
		return t == tokenTrue || t == tokenFalse
	}
	if t != tokenNumber {
		return false
	}
	if w.spark {
		return sparkNumber(c.kind, w.scan, l)
	}
	return number(c.kind, w.scan, l)
}

// prefix makes room for the length of a text and says where.
func (w *shredder) prefix(l *leaf) int {
	l.Data = append(l.Data, 0, 0, 0, 0)
	return len(l.Data) - 4
}

// characters appends a JSON string's characters, or the text of another scalar.
func (w *shredder) characters(t token, l *leaf) {
	s := w.scan
	if t != tokenString || !s.escaped {
		l.Data = binary.LittleEndian.AppendUint32(l.Data, uint32(s.end-s.start))
		l.Data = append(l.Data, s.bytes()...)
		return
	}
	at, lone := w.prefix(l), 0
	l.Data, lone = unescape(l.Data, s.bytes(), w.half())
	w.lone += int64(lone)
	binary.LittleEndian.PutUint32(l.Data[at:], uint32(len(l.Data)-at-4))
}

// number appends the number just read.
func number(kind schema.Kind, s *scanner, l *leaf) bool {
	switch kind {
	case schema.Long:
		n, ok := s.long()
		l.Longs = append(l.Longs, n)
		return ok
	case schema.Double:
		f, ok := s.double()
		l.Doubles = append(l.Doubles, f)
		return ok
	case schema.Decimal:
		l.Data = appendDecimal(l.Data, s.bytes())
		return true
	}
	return false
}

// appendDecimal appends an integer of at most 38 digits, for which 127 bits are enough.
func appendDecimal(dst, text []byte) []byte {
	d := text
	if d[0] == '-' {
		d = d[1:]
	}
	var high, low uint64
	for _, c := range d {
		var carry uint64
		over, l := bits.Mul64(low, 10)
		low, carry = bits.Add64(l, uint64(c-'0'), 0)
		high = high*10 + over + carry
	}
	if len(d) < len(text) {
		var borrow uint64
		low, borrow = bits.Sub64(0, low, 0)
		high, _ = bits.Sub64(0, high, borrow)
	}
	for shift := 56; shift >= 0; shift -= 8 {
		dst = append(dst, byte(high>>shift))
	}
	for shift := 56; shift >= 0; shift -= 8 {
		dst = append(dst, byte(low>>shift))
	}
	return dst
}
