package envelope

import (
	"encoding/json"
	"time"
)

// PositionHeader is the key of the Kafka header that holds a record's Position.
const PositionHeader = "headwater-position"

// Record is an envelope on its way into Kafka.
type Record struct {
	// Partition is the Kafka partition of the record's stream; it never changes for a stream.
	Partition int32
	// Position goes into the record's header.
	Position Position
	// Value is the envelope: one JSON text without a line feed.
	Value []byte
	// Time is the envelope's ingestion_timestamp and becomes the Kafka record's timestamp.
	Time time.Time
}

// Position says where a record came from and where its stream goes on after it, so that a source's cursor can be
// rebuilt from its topic alone. Format: docs/format/position.md.
type Position struct {
	// Cursor is empty for the source's own cursor; a backfill has one of its own, which knows its records alone.
	Cursor string
	// Stream is the part of the source that is read in order.
	Stream string
	// Seq numbers the records of a stream from 0, without gaps, for as long as the stream exists.
	Seq int64
	// Resume is the source's own description, one JSON text, of where the stream goes on after this record.
	Resume json.RawMessage
	// Key, if not empty, names the item among those of its stream, which remembers the keys of its last records, Keys of them.
	Key  string
	Keys int
}

// Cursor is what is known of all streams of a source at one moment.
type Cursor struct {
	Source  string
	Streams map[string]StreamCursor
	// Offsets has, for each Kafka partition of the topic, the offset below which every record is accounted for in Streams.
	Offsets map[int32]int64
	// ReadUntil, in milliseconds since 1970, says that all that the source gave before has a record below Offsets, and that whatever it gives later has a
	// later ingestion_timestamp; 0 says nothing.
	ReadUntil int64
}

// StreamCursor is where one stream stands.
type StreamCursor struct {
	// Seq is that of the stream's last record in Kafka, -1 if it has none.
	Seq int64 `json:"seq"`
	// Resume is where the stream goes on: the last record's, or a later mark's.
	Resume json.RawMessage `json:"resume,omitempty"`
	// Partition is the Kafka partition that all of the stream's records are in.
	Partition int32 `json:"partition"`
	// Done is set by a source that will never read the stream again.
	Done bool `json:"done,omitempty"`
	// Keys are those of the stream's last records that have one, the newest last.
	Keys []string `json:"keys,omitempty"`
}

// Pass moves the cursor past a record of the stream. It does not change what Keys had, so that copies of the cursor may share it.
func (s *StreamCursor) Pass(p Position) {
	s.Seq, s.Resume = p.Seq, p.Resume
	if p.Key == "" {
		return
	}
	s.Keys = append(s.Keys, p.Key)
	s.Keys = s.Keys[max(0, len(s.Keys)-p.Keys):]
}
