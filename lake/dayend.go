package lake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// DayEnd says where a day of a source ended in its topic, and since when all before that has landed. It lies with the raw objects, so that
// every process, and every later one, says the same of the day. Format: docs/format/day-close.md.
type DayEnd struct {
	Source string `json:"source"`
	Topic  string `json:"topic"`
	// Log is the topic's id, as in Tail.
	Log string `json:"log"`
	// Day is YYYY-MM-DD, Ended when it was over, which a source may be given some time after.
	Day   string    `json:"day"`
	Ended time.Time `json:"ended"`
	// Noted is what the broker's clock showed before the offsets were asked for.
	Noted time.Time `json:"noted"`
	// Offsets has, by Kafka partition, the end of the log then: no record at or after it belongs to the day, whatever its time says.
	Offsets map[int32]int64 `json:"offsets"`
	// Closed is when all before the offsets had landed; zero until then.
	Closed time.Time `json:"closed,omitzero"`
}

// dayEndVersion is that of DayEnd's JSON.
const dayEndVersion = 1

// dayEnd is a DayEnd as it is written.
type dayEnd struct {
	V int `json:"v"`
	DayEnd
}

func dayEndPrefix(source string) string { return "_days/" + source + "/date=" }

// Key is the object's.
func (d DayEnd) Key() string { return dayEndPrefix(d.Source) + d.Day + ".json" }

// PutDayEnd writes it, if the condition holds.
func PutDayEnd(ctx context.Context, s Store, d DayEnd, cond Condition) (Object, error) {
	text, err := json.Marshal(dayEnd{dayEndVersion, d})
	if err != nil {
		return Object{}, fmt.Errorf("encoding %s: %w", d.Key(), err)
	}
	return s.Put(ctx, d.Key(), bytes.NewReader(append(text, '\n')), cond)
}

// DayEndDays lists the days, from the one given on, of which a source has a DayEnd, in order.
func DayEndDays(ctx context.Context, s Store, source, from string) (days []string, err error) {
	prefix := dayEndPrefix(source)
	for o, err := range s.List(ctx, prefix, prefix+from) { // a key goes on after the day
		if err != nil {
			return nil, fmt.Errorf("listing where the days of %s have ended: %w", source, err)
		}
		if day, found := strings.CutSuffix(o.Key[len(prefix):], ".json"); found {
			days = append(days, day)
		}
	}
	return days, nil
}

// ReadDayEnd reads that of a day (ErrNotExist).
func ReadDayEnd(ctx context.Context, s Store, source, day string) (DayEnd, Object, error) {
	key := DayEnd{Source: source, Day: day}.Key()
	body, o, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return DayEnd{}, o, err
	}
	text, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return DayEnd{}, o, fmt.Errorf("reading %s: %w", key, err)
	}
	var d dayEnd
	if err = json.Unmarshal(text, &d); err == nil && d.V != dayEndVersion {
		err = fmt.Errorf("its version is %d, and this program knows %d", d.V, dayEndVersion)
	}
	if err != nil {
		return DayEnd{}, o, fmt.Errorf("reading %s (delete it, and the day's end is looked for anew): %w", key, err)
	}
	return d.DayEnd, o, nil
}

// ClosedBy is the earliest DayEnd, from the day given on, that is closed: a day is closed with every later one. Found is false if there is none.
func ClosedBy(ctx context.Context, s Store, source, day string) (d DayEnd, found bool, err error) {
	days, err := DayEndDays(ctx, s, source, day)
	if err != nil {
		return d, false, err
	}
	for _, day := range days {
		if d, _, err = ReadDayEnd(ctx, s, source, day); err != nil || !d.Closed.IsZero() {
			return d, err == nil, err
		}
	}
	return DayEnd{}, false, nil
}

// Late says whether a record at an offset came when the day had ended. Log is that of the record, empty if nobody knows it; of another log than the
// day's nothing is late.
func (d DayEnd) Late(partition int32, log string, offset int64) bool {
	return (log == "" || log == d.Log) && offset >= d.Offsets[partition]
}
