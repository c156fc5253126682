package land

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"headwater/envelope"
)

// Years outside these have no folder that readers of dates could name.
var (
	firstMilli = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 2).UnixMilli()
	lastMilli  = time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC).UnixMilli()
)

// extractor finds a record's time.
type extractor struct {
	field []string      // path in the value; nil for Kafka's own timestamp
	clock bool          // Wallclock: it is read
	read  time.Time     // when the record was read
	unit  envelope.Unit // what the field must be; empty for all that parseTime reads
	loc   *time.Location
}

// extractorOf is the extractor of a topic: timestamp.* is for those whose shape nobody has declared.
func (l *Lander) extractorOf(topic string) extractor {
	shape, declared := l.declared.Shapes[topic]
	if !declared {
		return extractor{field: l.of(topic).field, clock: l.byClock(topic), loc: l.zone}
	}
	return extractor{field: shape.TimePath(), unit: shape.Unit, loc: l.zone}
}

// millis is the record's time in milliseconds since 1970; raw is the value at e.field, nil where there is none. An error is a reason for quarantine, with no data in it.
func (e *extractor) millis(raw []byte, kafka time.Time) (int64, error) {
	if e.clock {
		return e.read.UnixMilli(), nil
	}
	millis := kafka.UnixMilli()
	if e.field == nil && millis == noTimestamp {
		return 0, errors.New("the record has no timestamp in Kafka")
	}
	if e.field != nil {
		if raw == nil {
			return 0, fmt.Errorf("field %s is missing", strings.Join(e.field, "."))
		}
		var err error
		if millis, err = e.parse(raw); err != nil {
			return 0, fmt.Errorf("field %s %w", strings.Join(e.field, "."), err)
		}
	}
	if millis < firstMilli || millis > lastMilli {
		return 0, errors.New("it is outside the years 1 to 9999")
	}
	return millis, nil
}

// noTimestamp is what Kafka gives for the time of a record that was produced without one, which old clients do.
const noTimestamp = -1

func (e *extractor) parse(raw []byte) (int64, error) {
	if e.unit == "" {
		return parseTime(raw, e.loc)
	}
	micros, err := e.unit.Micros(raw, e.loc)
	return envelope.MillisOf(micros), err
}

// epochText is a string that the connector takes for milliseconds: "2024" is two seconds after 1970, not a year.
var epochText = regexp.MustCompile(`^-?[0-9]{1,19}$`)

// parseTime reads a JSON text: a number of milliseconds, whose fraction is cut off, or a string with such an integer or
// an ISO 8601 time.
func parseTime(raw []byte, loc *time.Location) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, nil
	}
	if len(raw) > 0 && (raw[0] == '-' || (raw[0] >= '0' && raw[0] <= '9')) {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || math.Abs(f) >= 1<<63 {
			return 0, errors.New("is not a number of milliseconds")
		}
		return int64(f), nil
	}
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return 0, errors.New("is neither milliseconds nor a time")
	}
	if epochText.MatchString(text) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, errors.New("is not a number of milliseconds")
		}
		return n, nil
	}
	t, ok := envelope.ParseISO(text, loc)
	if !ok {
		return 0, errors.New("is not a time as 2026-07-05T12:00:00Z")
	}
	return t.UnixMilli(), nil
}
