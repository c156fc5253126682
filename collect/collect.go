// Package collect brings items from the outside world into a source's topic, each exactly once.
//
// What enters: items that a Source read. What leaves: records, in order within a stream, numbered without gaps.
// A Source knows its protocol and nothing of Kafka; the Runner knows envelopes, numbers, acknowledgements and
// snapshots and nothing of protocols. collecttest is the suite that every source passes.
//
// Invariants:
//  1. An item is done when the broker has acknowledged its record, never before.
//  2. The records of a stream have dense sequence numbers and lie on one Kafka partition in that order.
//  3. After any failure the cursor is read back from the topic before anything more is produced; what was buffered is
//     forgotten and read again from the source.
//  4. A source that fails waits and tries again; it never stops another source.
package collect

import (
	"context"
	"encoding/json"

	"headwater/envelope"
)

// Source reads one configured input.
type Source interface {
	// Run reads streams from where out.Streams says they stand and emits their items in order, until ctx ends (it then
	// returns nil or the context's error, soon) or until it cannot go on (it returns the reason; the Runner waits and calls
	// Run again). With once it returns nil when everything that was there has been emitted. Run owns the goroutines it starts
	// and has stopped them all when it returns. It is never called twice at the same time and keeps nothing between calls that
	// it could not lose: only out.Streams is to be trusted. An item that it cannot read is emitted as malformed, and
	// one part of the input that fails must not keep the other parts from being read.
	Run(ctx context.Context, out Out, once bool) error
}

// Ranged is a Source that can also read a range of what its upstream keeps.
type Ranged interface {
	Source
	// Between is a source of the items from one place to before another, both as the configuration of the source would spell them. Its Run
	// returns nil when all of them have been emitted, and emits nothing when they were emitted before. It shares no position with its parent.
	Between(from, to string) (Source, error)
}

// Out is where a Source puts what it reads. Its methods may be called from several goroutines; the items of one stream
// come from one.
type Out interface {
	// Streams is where every known stream stood when this Run began. The caller may keep and change the map.
	Streams() map[string]envelope.StreamCursor
	// Emit hands over an item. It blocks while too much is on its way to Kafka, and returns an error, after which the Source must
	// return from Run, when ctx has ended or a record was not accepted. It keeps neither it.Data nor it.Fields.
	Emit(ctx context.Context, it Item) error
	// Mark says that stream goes on at resume although no record says so (end of a file, an empty page). The mark takes effect
	// after the stream's items that were emitted before it; durable, if not nil, is called once, from another goroutine, when it would survive a kill.
	Mark(ctx context.Context, stream string, resume json.RawMessage, done bool, durable func()) error
	// Drain waits until Kafka has every item that was emitted and Done was called for each. It is for a Source that owes others an
	// answer when its Run ends, and may be called after that Run's ctx has ended, with one of the Source's own. An error means that
	// the rest will not be done: a record was not accepted, or ctx has ended.
	Drain(ctx context.Context) error
}

// Item is one thing a source read.
type Item struct {
	// Stream is the ordered part of the source that the item belongs to.
	Stream string
	// Resume is one JSON text: where the stream goes on after this item.
	Resume json.RawMessage
	// Key, if not empty, names the item among those of its stream: out.Streams has the keys of its last records, the last Keys of
	// them. It is for a source that is given items again and cannot tell by Resume; each key is kept, so it is short.
	Key  string
	Keys int
	// Item is what goes into the envelope as raw_data, or the fact that it is malformed.
	envelope.Item
	// Origin is where the item came from (a URL, a file's path, a queue), Position where in it (page, line, delivery id).
	Origin, Position string
	// Headers are those that the source's protocol carries beside the item, in their order.
	Headers [][2]string
	// Done, if not nil, is called once, from another goroutine and in the stream's order, when the broker has the item's
	// record. It is not called for an item whose record was not accepted. Only then may the source delete or acknowledge upstream.
	Done func()
}

// Log is a source's topic as the Runner needs it, held by one Runner at a time. Package kafka has the real one.
type Log interface {
	// Partitions is the number of Kafka partitions of the topic.
	Partitions() int32
	// Append hands over a record. It blocks while the buffers are full. done is called exactly once, from another goroutine, in
	// the order of the records of a Kafka partition, with the record's offset or with the reason it was not accepted; after a
	// failure every later record of that Kafka partition fails too.
	Append(ctx context.Context, r envelope.Record, done func(offset int64, err error))
	// Snapshot writes the cursor and returns when the broker has it.
	Snapshot(ctx context.Context, c envelope.Cursor) error
	// Close drops what is buffered (its done gets an error) and returns when no request of this Log can still take effect.
	Close() error
}

// OpenLog takes the source's topic for this Runner alone and reads its cursor back: the last snapshot and the records
// after it.
type OpenLog func(ctx context.Context) (Log, envelope.Cursor, error)

// Quarantine keeps what cannot become a record.
type Quarantine interface {
	// Keep stores the item's own bytes, durably, under an identity: the source, the stream, the data, and the position's Key or, where
	// there is none, its Seq. The same identity again is not an error. The number alone would not do: what was kept for a process that was killed
	// before it had a record may come again in another order.
	Keep(ctx context.Context, source string, at envelope.Position, reason string, data []byte) error
}
