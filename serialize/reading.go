package serialize

import (
	"time"

	"headwater/envelope"
)

// reading is how a worker reads records: as the topic's shape in raw objects has them.
type reading struct {
	envelope.Shape
	loc *time.Location
	// spark: values are read as Spark reads them.
	spark bool
	text  []byte
}

func (r *run) reading() reading {
	return reading{Shape: r.job.Shape.Landed(), loc: r.Location, spark: r.job.Schema.Dialect == DialectSpark}
}

// unpack is the record without the string around its JSON text, valid until the next; a reason means that there is none in it.
func (r *reading) unpack(record []byte) (text []byte, reason string) {
	if !r.InString {
		return record, ""
	}
	r.text, reason = envelope.Unpack(r.text[:0], record, envelope.DefaultLimits)
	return r.text, reason
}

// millis is the time of ingestion that s has just met as t.
func (r *reading) millis(t token, s *scanner) (int64, bool) {
	if r.Unit != "" {
		at, ok := r.micros(t, s)
		return envelope.MillisOf(at), ok
	}
	if t != tokenNumber {
		return 0, false
	}
	return s.long()
}

// micros is the same in microseconds, of a declared unit.
func (r *reading) micros(t token, s *scanner) (int64, bool) {
	var raw []byte
	switch t {
	case tokenNumber:
		raw = s.bytes()
	case tokenString:
		raw = s.data[s.start-1 : s.end+1] // with its quotes
	default:
		return 0, false
	}
	at, err := r.Unit.Micros(raw, r.loc)
	return at, err == nil
}
