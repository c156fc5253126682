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
	field []string // path in the value; nil for Kafka's own timestamp
	loc   *time.Location
}

// millis is the record's time in milliseconds since 1970. An error is a reason for quarantine, with no data in it.
func (e *extractor) millis(value []byte, kafka time.Time) (int64, error) {
	millis := kafka.UnixMilli()
	if e.field != nil {
		raw, found, err := envelope.Lookup(value, e.field...)
		if err != nil {
			return 0, fmt.Errorf("reading field %s: %w", strings.Join(e.field, "."), err)
		}
		if !found {
			return 0, fmt.Errorf("field %s is missing", strings.Join(e.field, "."))
		}
		if millis, err = parseTime(raw, e.loc); err != nil {
			return 0, fmt.Errorf("field %s %w", strings.Join(e.field, "."), err)
		}
	}
	if millis < firstMilli || millis > lastMilli {
		return 0, errors.New("it is outside the years 1 to 9999")
	}
	return millis, nil
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
	t, ok := parseISO(text, loc)
	if !ok {
		return 0, errors.New("is not a time as 2026-07-05T12:00:00Z")
	}
	return t.UnixMilli(), nil
}

// isoTime is year, month, day, hour, minute, second, fraction, zone.
var isoTime = regexp.MustCompile(`^(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?(?:T(?:(\d\d?)(?::(\d\d?)(?::(\d\d?)(?:[.,](\d{1,9})\d*)?)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$`)

// parseISO reads dates and times with T between them. A text without a zone is in loc; ordinal dates and week dates are
// not read.
func parseISO(text string, loc *time.Location) (t time.Time, ok bool) {
	m := isoTime.FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, false
	}
	field := func(i, missing int) int {
		if m[i] == "" {
			return missing
		}
		n, _ := strconv.Atoi(m[i]) // the expression lets only digits through
		return n
	}
	switch zone := strings.ReplaceAll(m[8], ":", ""); {
	case zone == "Z":
		loc = time.UTC
	case zone != "":
		hours, minutes := zone[1:3], "00"
		if len(zone) == 5 {
			minutes = zone[3:]
		}
		offset, err := time.Parse("-0700", zone[:1]+hours+minutes)
		if err != nil {
			return time.Time{}, false
		}
		loc = offset.Location()
	}
	month, day, hour, minute, second := field(2, 1), field(3, 1), field(4, 0), field(5, 0), field(6, 0)
	fraction, _ := strconv.Atoi((m[7] + "000000000")[:9])
	t = time.Date(field(1, 0), time.Month(month), day, hour, minute, second, fraction, loc)
	// time.Date turns the 31st of February into the 3rd of March; such a text is refused instead.
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	return t, true
}
