package serialize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"headwater/schema"
	"headwater/serialize/parquet"
)

// column is a place of the documents that the table has something of, as a node of the tree that a record is walked
// along. def is the definition level of a value there (one less is a null); for a List, def+1 is that of an element's place
// and rep the repetition level of every element but the first.
type column struct {
	kind     schema.Kind
	def, rep uint8
	// names and fields are a Struct's, by the names in the data; elem is a List's.
	names  names
	fields []*column
	elem   *column
	// from and to bound the leaves below, among all leaves of the table.
	from, to int
	// in is the object that this field was met in last.
	in uint64
	// lazy: a field of a struct in no list. How often it is absent is counted, and its leaves get the levels only when there is something else to add to them, or the batch ends: an
	// object that has few of many fields costs as much as those few. opened counts the objects of such a struct, the document too, seen of those of the struct around it for how many the
	// leaves have levels.
	lazy         bool
	opened, seen int
}

// leafInfo describes a leaf to those who write it.
type leafInfo struct {
	kind schema.Kind
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
	c.kind, c.rep, c.from = t.Kind, rep, len(*leaves)
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
	default:
		*leaves = append(*leaves, leafInfo{kind: t.Kind, nested: rep > 0, above: above - 1})
	}
	c.to = len(*leaves)
}

// leaf holds the values and levels of one leaf for the records of a batch.
type leaf struct{ parquet.Values }

func (l *leaf) level(def, rep uint8, nested bool) {
	l.Def = append(l.Def, def)
	if nested {
		l.Rep = append(l.Rep, rep)
	}
}

// repeat adds a level n times, of values that begin a row.
func (l *leaf) repeat(def uint8, n int, nested bool) {
	at := len(l.Def)
	l.Def = slices.Grow(l.Def, n)[:at+n]
	for i := range l.Def[at:] {
		l.Def[at+i] = def
	}
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
}

func (b *batch) clear() {
	for i := range b.leaves {
		b.leaves[i].Clear()
	}
	b.rows, b.bytes, b.levels = 0, 0, 0
}

// shredder walks records along the tree of columns.
type shredder struct {
	reading
	scan   scanner
	root   *column
	leaves []leafInfo
	// stamp is the column whose values, converted, are the leaf after all others; nil if there is no such leaf.
	stamp *column
	out   *batch

	frames  []columnFrame
	objects uint64
	key     []byte
	// lone counts the halves of surrogate pairs that became U+FFFD.
	lone int64
}

// columnFrame is an open object or array.
type columnFrame struct {
	col    *column
	object uint64
	// met is how many of an object's fields have had a value; before is the last of them; leaves is how many leaves they have.
	met, before int32
	leaves      int
	// rep is the repetition level of the next value: of a list, the list's own after the first element.
	rep uint8
	// empty: no element of the list has been met.
	empty bool
}

// record appends a record to the batch. It must be one that an inferrer took in. An error means that it does not fit the
// columns, which only another text than the inferrer's can cause.
func (w *shredder) record(line []byte) error {
	line, reason := w.unpack(line)
	if reason != "" {
		return errors.New(reason)
	}
	s := &w.scan
	s.reset(line)
	if t := s.next(); t != tokenObject {
		return w.misfit(t)
	}
	w.frames = w.frames[:0]
	w.open(w.root, 0)
	for {
		t := s.next()
		switch t {
		case tokenFault:
			return w.misfit(t)
		case tokenEnd:
			w.out.rows++
			w.out.bytes += len(line)
			return nil
		case tokenClose:
			w.close()
			continue
		case tokenKey:
			if !w.field() && !w.pass() {
				return w.misfit(tokenFault)
			}
			continue
		}
		col, rep := w.place()
		if col == w.stamp && !w.ingested(t) {
			return w.misfit(t)
		}
		if !w.value(t, col, rep) {
			return w.misfit(t)
		}
	}
}

// ingested puts the record's time, which has just begun, into its own leaf.
func (w *shredder) ingested(t token) bool {
	at, ok := w.micros(t, &w.scan)
	l := &w.out.leaves[len(w.leaves)-1]
	l.level(1, 0, false)
	l.Longs = append(l.Longs, at)
	w.out.levels++
	return ok
}

func (w *shredder) misfit(t token) error {
	return fmt.Errorf("at byte %d: token %d %s does not fit the schema inferred from the same record; report this as a fault of headwater",
		w.scan.pos, t, w.scan.reason)
}

func (w *shredder) open(c *column, rep uint8) {
	w.objects++
	c.opened++
	w.frames = append(w.frames, columnFrame{col: c, object: w.objects, before: -1, rep: rep, empty: true})
}

// field finds the column of the key just read; false if the table has none, because nothing was ever seen there that a
// column could hold.
func (w *shredder) field() bool {
	f := &w.frames[len(w.frames)-1]
	key := w.scan.bytes()
	if w.scan.escaped {
		w.key, _ = unescape(w.key[:0], key)
		key = w.key
	}
	i := f.col.names.find(key, f.before)
	if i < 0 {
		return false
	}
	f.before = i
	f.met++
	c := f.col.fields[i]
	c.in = f.object
	f.leaves += c.to - c.from
	if c.lazy {
		w.settle(c, f.col.opened-1)
		c.seen = f.col.opened
	}
	return true
}

// pass skips the value of a key.
func (w *shredder) pass() bool {
	switch w.scan.next() {
	case tokenFault:
		return false
	case tokenObject, tokenArray:
		return w.scan.skip()
	}
	return true
}

// place is where the value that has just begun belongs.
func (w *shredder) place() (*column, uint8) {
	f := &w.frames[len(w.frames)-1]
	if f.col.kind == schema.Struct {
		return f.col.fields[f.before], f.rep
	}
	rep := f.rep
	f.rep, f.empty = f.col.rep, false
	return f.col.elem, rep
}

func (w *shredder) close() {
	f := &w.frames[len(w.frames)-1]
	switch {
	case f.col.kind == schema.List:
		if f.empty {
			w.fill(f.col, f.col.def, f.rep)
		}
	case int(f.met) == len(f.col.fields):
	case f.col.fields[0].lazy:
		w.out.levels += f.col.to - f.col.from - f.leaves
	default:
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
	if n == 0 {
		return
	}
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

// value puts the value that begins with t into the column c; false if c is of another kind.
func (w *shredder) value(t token, c *column, rep uint8) bool {
	if t == tokenNull && c.lazy {
		c.seen-- // as if it were absent
		w.out.levels += c.to - c.from
		return true
	}
	if t == tokenNull {
		w.fill(c, c.def-1, rep)
		return true
	}
	if c.kind == schema.Struct || c.kind == schema.List {
		w.open(c, rep)
		return (c.kind == schema.Struct) == (t == tokenObject) && (c.kind == schema.List) == (t == tokenArray)
	}
	l := &w.out.leaves[c.from]
	l.level(c.def, rep, w.leaves[c.from].nested)
	w.out.levels++
	switch c.kind {
	case schema.String:
		return w.text(t, l)
	case schema.Boolean:
		l.Bools = append(l.Bools, t == tokenTrue)
		return t == tokenTrue || t == tokenFalse
	}
	if t != tokenNumber {
		return false
	}
	return number(c.kind, w.scan.bytes(), l)
}

// text appends a JSON string's characters, or any other value's own text.
func (w *shredder) text(t token, l *leaf) bool {
	s := &w.scan
	at := len(l.Data)
	l.Data = append(l.Data, 0, 0, 0, 0) // the length
	switch t {
	case tokenString:
		if s.escaped {
			var lone int
			l.Data, lone = unescape(l.Data, s.bytes())
			w.lone += int64(lone)
		} else {
			l.Data = append(l.Data, s.bytes()...)
		}
	case tokenObject, tokenArray:
		start := s.start
		if !s.skip() {
			return false
		}
		l.Data = compact(l.Data, s.data[start:s.pos])
	default:
		l.Data = append(l.Data, s.bytes()...)
	}
	binary.LittleEndian.PutUint32(l.Data[at:], uint32(len(l.Data)-at-4))
	return true
}

func number(kind schema.Kind, text []byte, l *leaf) bool {
	switch kind {
	case schema.Long:
		n, ok := parseLong(text)
		l.Longs = append(l.Longs, n)
		return ok
	case schema.Double:
		f, ok := parseDouble(text)
		l.Doubles = append(l.Doubles, f)
		return ok
	case schema.Decimal:
		l.Data = appendDecimal(l.Data, text)
		return true
	}
	return false
}

// parseLong reads an integer; beyond 18 digits it leaves the care for overflow to the library.
func parseLong(text []byte) (int64, bool) {
	if len(text) > 18 {
		n, err := strconv.ParseInt(string(text), 10, 64)
		return n, err == nil
	}
	d := text
	if d[0] == '-' {
		d = d[1:]
	}
	var n int64
	for _, c := range d {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	if len(d) < len(text) {
		n = -n
	}
	return n, true
}

// powers of ten that a double holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseDouble reads a number. Fifteen digits with a point among them are one division of two numbers that doubles hold exactly, which
// rounds as it should, and sixteen without one are a conversion; everything else is left to the library.
func parseDouble(text []byte) (float64, bool) {
	d := text
	if d[0] == '-' {
		d = d[1:]
	}
	var n uint64
	point := len(d)
	for i, c := range d {
		if c == '.' {
			point = i + 1
		} else if c -= '0'; c <= 9 && len(d) <= 16 {
			n = n*10 + uint64(c)
		} else {
			f, err := strconv.ParseFloat(string(text), 64)
			return f, err == nil
		}
	}
	f := float64(n) / powers[len(d)-point]
	if len(d) < len(text) {
		f = -f
	}
	return f, true
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
