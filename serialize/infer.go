package serialize

import (
	"strconv"
	"unicode/utf8"

	"headwater/envelope"
	"headwater/schema"
)

// The reasons of the quarantine that are not those of JSON itself.
const (
	// reasonMalformed: the collector could not read the item as what it should be and said so in metadata.malformed.
	reasonMalformed = "malformed"
	// reasonEnvelope: raw_data or ingestion_timestamp is missing.
	reasonEnvelope = "not-an-envelope"
	// reasonTimestamp: ingestion_timestamp is not an int64, or not what was declared.
	reasonTimestamp = "timestamp"
	// reasonDay: ingestion_timestamp lies on another day than the object.
	reasonDay = "day"
	// reasonKind: raw_data is a scalar or an array in a source of objects.
	reasonKind = "kind"
	// reasonSchema: a value is of a kind, or of a field, that the table does not take.
	reasonSchema = "schema"
	// reasonTooLong: the line is longer than a record may be.
	reasonTooLong = "record-too-long"
	// tooManyKeys is no reason of the quarantine: it ends the run, because it depends on what was read before.
	tooManyKeys = "too-many-keys"
)

// The places of an envelope's own keys among the fields of a root node.
const (
	rawData = iota
	metadata
	timestamp
)

var ownKeys = []string{rawData: "raw_data", metadata: "metadata", timestamp: "ingestion_timestamp"}

// class is what raw_data is. The evidence of each class is kept apart until the whole day is known, because bare
// values count only where there are no objects.
type class uint8

const (
	classObject class = iota
	classNull
	classBare
	classes
)

// node is schema.Evidence as it is gathered.
type node struct {
	seen   schema.Seen
	digits uint8 // schema.Evidence.BigDigits
	// in is the object that this field was met in last.
	in uint64
	// col is the column of the values here, nil if there is none.
	col    *column
	fields []*node
	elem   *node
	names  names
	// values are those of all fields together, where the ledger says that objects are a map; entries has their keys, with the object that had each
	// last.
	values  *node
	entries map[string]uint64
	// first is where each kind in seen was met first.
	first []schema.First
	guard guard
}

// change is what one record added to the evidence, so that it can be taken back if the record turns out to be unfit.
type change struct {
	at *node
	// seen and digits are what at had before; with added, at got a field instead.
	seen   schema.Seen
	digits uint8
	first  int // how many at.first had
	added  bool
}

// inferrer reads records and gathers evidence. A record that goes to quarantine leaves none.
type inferrer struct {
	reading
	scan scanner
	// from and to bound the ingestion timestamps of the day, in milliseconds.
	from, to int64

	// keys is how many fields the evidence has, as keyCost counts them, maxKeys how many it may have.
	keys, maxKeys int

	roots   [classes]*node
	class   class // of the last record; the next is probably the same
	frames  []evidenceFrame
	undo    []change
	objects uint64 // numbers the objects met, so that a repeated key is noticed
	key     []byte
	// at is the number of the record, for schema.First.
	at int64
	// top is the last key of the envelope itself, had which of the own keys it has.
	top int32
	had uint8

	// cut puts the records into columns; nil if they are only looked at. rows is the class that becomes rows besides classNull.
	cut  *shredder
	rows class
	// cutting: the record under way is being cut, as far as it has been read.
	cutting bool
	// misfit: a record, not in quarantine, does not fit the columns.
	misfit bool
}

// evidenceFrame is an open object or array.
type evidenceFrame struct {
	node   *node
	object uint64 // 0 for an array
	before int32
	elems  int32  // of an array, so far
	key    string // of a map's entry, while there is a rescue
}

func newInferrer(how reading, from, to int64, maxKeys int) *inferrer {
	w := &inferrer{reading: how, from: from, to: to, maxKeys: maxKeys, scan: newScanner()}
	w.scan.lenient = how.spark
	for c := range w.roots {
		root := &node{}
		for _, key := range ownKeys {
			root.names.add(key)
			root.fields = append(root.fields, &node{})
		}
		w.roots[c] = root
	}
	return w
}

// record takes one line in. A reason means that it belongs into quarantine.
func (w *inferrer) record(line []byte) (of class, reason string) {
	line, reason = w.unpack(line)
	if reason != "" {
		return w.class, reason
	}
	reason, again := w.try(line)
	if again {
		w.rollBack()
		reason, _ = w.try(line)
	}
	if reason != "" {
		w.rollBack()
	}
	w.undo = w.undo[:0]
	if w.cut != nil && reason == "" {
		w.settle(len(line))
	}
	return w.class, reason
}

// cutInto has the records cut into columns as well.
func (w *inferrer) cutInto(l layout) {
	w.cut, w.rows = newShredder(l, w.reading, &w.scan), l.rows
	w.cut.pointer = w.pointer
	for _, c := range []class{classNull, l.rows} {
		w.roots[c].attach(w.cut.root)
	}
}

// attach gives the place its column, and those below it theirs.
func (n *node) attach(c *column) {
	n.col = c
	if n.elem != nil {
		n.elem.attach(c.element())
	}
	if n.values != nil {
		n.values.attach(c.field(nil))
	}
	for i, f := range n.fields {
		f.attach(c.field([]byte(n.names.list[i])))
	}
}

// pointer is the place, as a JSON Pointer, of the value that has just begun.
func (w *inferrer) pointer() (at string) {
	for _, f := range w.frames {
		switch {
		case f.key != "":
			at = schema.Place(at, f.key)
		case f.object != 0 && f.before >= 0:
			at = schema.Place(at, f.node.names.list[f.before])
		case f.elems > 0:
			at += "/" + strconv.Itoa(int(f.elems)-1)
		}
	}
	return at
}

// cutNoMore goes on without columns.
func (w *inferrer) cutNoMore() { w.cut, w.cutting = nil, false }

// settle ends the cutting of a record of that many bytes that does not belong into quarantine, or only as a bare value.
func (w *inferrer) settle(length int) {
	if w.cutting {
		w.cut.end(length)
		return
	}
	w.cut.takeBack()
	w.misfit = w.misfit || w.class != classBare || w.rows == classBare
}

// try reads the record as one of w.class; again means that it is of another, which w.class is now.
func (w *inferrer) try(line []byte) (reason string, again bool) {
	s := &w.scan
	s.reset(line)
	w.begin()
	switch s.next() {
	case tokenFault:
		return s.reason, false
	case tokenObject:
	default:
		return w.rest(envelope.NotAnObject), false
	}
	w.top, w.had, w.frames = -1, 0, w.frames[:0]
	w.push(w.roots[w.class], true)
	for {
		t, key := tokenKey, w.expected()
		if key < 0 {
			t = s.next()
		}
		switch t {
		case tokenFault:
			return s.reason, false
		case tokenEnd:
			return w.complete(), false
		case tokenClose:
			w.frames = w.frames[:len(w.frames)-1]
			if w.cutting {
				w.cut.leave()
			}
			continue
		case tokenKey:
			if key < 0 {
				key = w.field()
			}
			if !w.meet(key) {
				return w.rest(envelope.DuplicateKey), false
			}
			if w.keys > w.maxKeys {
				return w.rest(tooManyKeys), false
			}
			if t = s.next(); t == tokenFault {
				return s.reason, false
			}
		}
		f := &w.frames[len(w.frames)-1]
		if n := len(w.frames); n == 1 || n == 2 && w.top == metadata {
			if reason, again := w.own(t); again || reason != "" {
				return reason, again
			}
		}
		n := f.node.elem
		switch {
		case f.object == 0:
			f.elems++
		case f.node.values != nil:
			n = f.node.values
		default:
			n = f.node.fields[f.before]
		}
		if !w.value(t, n) {
			return w.rest(reasonSchema), false
		}
		if w.cutting && !w.cut.put(t, n.col) {
			w.cutting = false
		}
	}
}

// begin begins to cut the record, if those of its class become rows.
func (w *inferrer) begin() {
	if w.cut != nil {
		w.cutting = w.class == w.rows || w.class == classNull
		w.cut.begin()
	}
}

// rest reads on, because text that is no JSON is the more telling reason.
func (w *inferrer) rest(reason string) string {
	for {
		switch w.scan.next() {
		case tokenFault:
			return w.scan.reason
		case tokenEnd:
			return reason
		}
	}
}

func (w *inferrer) complete() string {
	if w.had&(1<<rawData) == 0 || w.had&(1<<timestamp) == 0 {
		return reasonEnvelope
	}
	return ""
}

func (w *inferrer) push(n *node, object bool) {
	f := evidenceFrame{node: n, before: -1}
	if object {
		w.objects++
		f.object = w.objects
		if len(n.entries) > mostEntries {
			clear(n.entries)
		}
	}
	w.frames = append(w.frames, f)
}

// expected passes over the key that comes next, if it is the one that came here last time, and is its field; -1 if anything else comes next.
func (w *inferrer) expected() int32 {
	if len(w.frames) == 0 {
		return -1
	}
	f := &w.frames[len(w.frames)-1]
	if f.object == 0 {
		return -1
	}
	i, text := f.node.names.next(f.before)
	if text == "" || !w.scan.passKey(text) {
		return -1
	}
	return i
}

// field finds or adds the field of the key just read. In a map it is none, and the key is in w.key.
func (w *inferrer) field() int32 {
	f := &w.frames[len(w.frames)-1]
	key := w.scan.bytes()
	if w.scan.escaped {
		w.key, _ = unescape(w.key[:0], key, utf8.RuneError)
		key = w.key
	}
	if f.node.values != nil {
		w.key = append(w.key[:0], key...)
		return noField
	}
	i := f.node.names.find(key, f.before)
	if i < 0 {
		i = f.node.names.add(string(key))
		f.node.fields = append(f.node.fields, &node{col: f.node.col.field(key), guard: f.node.guard.below()})
		w.undo = append(w.undo, change{at: f.node, added: true})
		w.keys += keyCost(key)
	}
	return i
}

// noField is the field of a map's entry.
const noField = -1

// meet begins the field i of the innermost object; false if the object has had it already.
func (w *inferrer) meet(i int32) bool {
	f := &w.frames[len(w.frames)-1]
	if i == noField {
		return w.entry(f, w.key)
	}
	n := f.node.fields[i]
	if n.in == f.object {
		return false
	}
	n.in, f.before = f.object, i
	if len(w.frames) == 1 {
		w.top = i
		if i <= timestamp {
			w.had |= 1 << i
		}
	}
	if c := f.node.col; w.cutting && c != nil && c.kind == schema.Map {
		w.cut.entry = append(w.cut.entry[:0], f.node.names.list[i]...)
	}
	return true
}

// mostEntries is how many keys of maps are remembered, because one may come twice in an object.
const mostEntries = 10_000

// entry notes the key of a map's entry; false if the object has had it already.
func (w *inferrer) entry(f *evidenceFrame, key []byte) bool {
	if f.node.entries[string(key)] == f.object {
		return false
	}
	if f.node.entries == nil {
		f.node.entries = map[string]uint64{}
	}
	f.node.entries[string(key)] = f.object
	if w.cutting {
		w.cut.entry = append(w.cut.entry[:0], key...)
		if w.cut.rescue != nil {
			f.key = string(key)
		}
	}
	return true
}

// keyCost counts a long key as several, so that a bound on keys bounds their bytes.
func keyCost[T string | []byte](key T) int { return 1 + len(key)/64 }

// own looks at the values that the envelope itself gives a meaning.
func (w *inferrer) own(t token) (reason string, again bool) {
	if len(w.frames) == 2 {
		if t == tokenString && w.frames[1].object != 0 && w.scan.end > w.scan.start && w.keyIs("malformed") {
			return w.rest(reasonMalformed), false
		}
		return "", false
	}
	switch w.top {
	case rawData:
		of := classBare
		switch t {
		case tokenObject:
			of = classObject
		case tokenNull:
			of = classNull
		case tokenString:
			if w.spark && w.scan.end == w.scan.start {
				of = classNull // as inference there has it: of itself it would make every other raw_data a string
			}
		}
		again = of != w.class
		w.class = of
		return "", again
	case timestamp:
		return w.checkTime(t), false
	}
	return "", false
}

func (w *inferrer) keyIs(name string) bool {
	f := w.frames[1]
	return f.node.names.list[f.before] == name
}

func (w *inferrer) checkTime(t token) string {
	ms, ok := w.millis(t, &w.scan)
	switch {
	case !ok:
		return reasonTimestamp
	case ms < w.from || ms >= w.to:
		return reasonDay
	}
	return ""
}

// value notes what t says of the place n; false if the table does not take it.
func (w *inferrer) value(t token, n *node) bool {
	var seen schema.Seen
	var digits uint8
	switch t {
	case tokenNull:
		seen = schema.SeenNull
	case tokenTrue, tokenFalse:
		seen = schema.SeenBool
	case tokenNumber:
		if seen = w.scan.seenNumber(); seen == schema.SeenBigInt {
			digits = schema.BigDigits(w.scan.bytes())
		}
	case tokenString:
		if seen = schema.SeenString; w.scan.end == w.scan.start {
			seen = schema.SeenEmptyString
		}
	case tokenObject:
		seen = schema.SeenObject
		w.push(n, true)
	case tokenArray:
		seen = schema.SeenArray
		if n.elem == nil {
			n.elem = &node{col: n.col.element(), guard: n.guard.below()} // without values it says nothing, so it need not be taken back
		}
		w.push(n, false)
	}
	if digits > n.digits {
		w.undo = append(w.undo, change{at: n, seen: n.seen, digits: n.digits, first: len(n.first)})
		n.digits = digits
	}
	if n.seen&seen == 0 {
		if !n.guard.allows(seen) {
			return false
		}
		w.undo = append(w.undo, change{at: n, seen: n.seen, digits: n.digits, first: len(n.first)})
		w.cutting = w.cutting && (w.spark || w.cut.rescue != nil || n.col.holds(seen, n.seen))
		n.seen |= seen
		n.first = append(n.first, schema.First{Kind: seen, At: w.at})
	}
	return true
}

func (w *inferrer) rollBack() {
	if w.cut != nil {
		w.cut.takeBack()
	}
	for i := len(w.undo) - 1; i >= 0; i-- {
		c := w.undo[i]
		if !c.added {
			c.at.seen, c.at.digits, c.at.first = c.seen, c.digits, c.at.first[:c.first]
			continue
		}
		w.keys -= keyCost(c.at.names.removeLast())
		c.at.fields = c.at.fields[:len(c.at.fields)-1]
	}
	w.undo = w.undo[:0]
}

// evidence is what has been gathered for each class. The inferrer must not be used afterwards.
func (w *inferrer) evidence() (out [classes]*schema.Evidence) {
	for c, root := range w.roots {
		out[c] = root.evidence()
	}
	return out
}

func (n *node) evidence() *schema.Evidence {
	e := &schema.Evidence{Seen: n.seen, BigDigits: n.digits, First: n.first}
	if n.elem != nil {
		e.Elem = n.elem.evidence()
	}
	if n.values != nil {
		e.Values = n.values.evidence()
	}
	if len(n.fields) > 0 {
		e.Fields = make(map[string]*schema.Evidence, len(n.fields))
		for i, f := range n.fields {
			e.Fields[n.names.list[i]] = f.evidence()
		}
	}
	return e
}
