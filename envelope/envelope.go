// Package envelope is the format of a record: an item wrapped as one JSON text, and the position in its header.
//
// What enters: an item's bytes and where they came from. What leaves: one JSON text without a line feed whose raw_data is the
// item. Readers of records get it split again, by the same scanners. Pure: it does no I/O, starts no goroutine and
// imports nothing of ours. Formats: docs/format/envelope.md, docs/format/position.md.
//
// Invariants:
//  1. A JSON item keeps its own bytes; only whitespace outside strings may go.
//  2. Append never fails: what is not what it should be is kept as a string with the reason beside it.
//  3. Nothing recurses on the depth of its input.
package envelope

// Kind says what the bytes of an item are.
type Kind int

const (
	// JSON is one JSON text, which keeps its bytes.
	JSON Kind = iota
	// Text is UTF-8 that becomes a JSON string.
	Text
	// Bytes become base64, with metadata.encoding saying so.
	Bytes
	// Fields are a row's values, which become an object of strings; see Item.Names.
	Fields
)

// Item is what goes into an envelope's raw_data.
type Item struct {
	Kind Kind
	// Data is the item for every Kind but Fields.
	Data []byte
	// Names and Values are a row for Kind Fields: as many of one as of the other, the names without repetition.
	Names, Values []string
	// Malformed, if not empty, is why the source could not read the item as what it should be; Data then holds its own bytes.
	Malformed string
}

// Metadata is what an envelope says of its item beside its bytes.
type Metadata struct {
	// ThreadID numbers the worker of this process that read the item.
	ThreadID int
	HostName string
	// ProcessStartTime is RFC 3339 in UTC.
	ProcessStartTime string
	// Source, Origin and Position trace the item to where it came from.
	Source, Origin, Position string
	// Key is that of a Kafka record of somebody else's; nil where there is none.
	Key []byte
	// Headers are name and value pairs in their order.
	Headers [][2]string
}

// Limits bound what is accepted as a JSON text. They judge the item, not its envelope. A limit that is not set is that of
// DefaultLimits.
type Limits struct {
	// Depth is how deep arrays and objects may nest.
	Depth int
	// String is the greatest length of a string, in bytes between its quotes.
	String int
}

// DefaultLimits are those of Jackson, which Spark reads with.
var DefaultLimits = Limits{Depth: 1000, String: 20_000_000}
