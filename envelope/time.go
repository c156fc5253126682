package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Unit is how the records of a topic spell their time.
type Unit string

// The units that a configuration may declare.
const (
	Millis  Unit = "ms"
	Seconds Unit = "s"
	ISO     Unit = "iso"
)

var errTooFar = errors.New("is outside the years 1 to 9999")

// Micros reads a time from its JSON text, in microseconds since 1970; what is finer is cut off. A unit of numbers takes a number, or a
// string that holds nothing but one; ISO takes a string as ParseISO has it. An error is a reason for quarantine, with no data in it.
func (u Unit) Micros(raw []byte, loc *time.Location) (int64, error) {
	text := string(raw)
	isString := len(raw) > 0 && raw[0] == '"'
	if isString && json.Unmarshal(raw, &text) != nil {
		return 0, errors.New("is no JSON string")
	}
	switch u {
	case Millis:
		return decimalMicros(text, 3, "milliseconds")
	case Seconds:
		return decimalMicros(text, 6, "seconds")
	case ISO:
		if t, ok := ParseISO(text, loc); ok && isString {
			return t.UnixMicro(), nil
		}
		return 0, errors.New("is not a time as 2026-07-05T12:00:00Z")
	}
	panic(fmt.Sprintf("envelope: unit %q", u))
}

// jsonNumber is sign, integer, fraction, exponent.
var jsonNumber = regexp.MustCompile(`^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$`)

// decimalMicros reads a number whose unit is 10 to the power of digits microseconds. Its own digits are moved and never rounded, which could
// make it the next day's.
func decimalMicros(text string, digits int, unit string) (int64, error) {
	m := jsonNumber.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("is not a number of %s", unit)
	}
	exponent, _ := strconv.ParseInt(m[4], 10, 32) // 0 without one; of one that is too large the largest there is
	number := strings.TrimLeft(m[2]+m[3], "0")
	whole := len(number) - len(m[3]) + int(exponent) + digits // so many digits are whole microseconds
	const most = 19
	switch {
	case number == "" || whole <= 0:
		return 0, nil
	case whole > most:
		return 0, errTooFar
	}
	n, err := strconv.ParseInt(m[1]+(number + strings.Repeat("0", most))[:whole], 10, 64)
	if err != nil {
		return 0, errTooFar
	}
	return n, nil
}

// isoTime is year; month, day, or day of the year, or week, day of the week; hour, minute, second, fraction, zone.
var isoTime = regexp.MustCompile(`^(\d{4})(?:-(\d\d?)(?:-(\d\d?))?|-(\d{3})|-W(\d\d?)(?:-([1-7]))?)?` +
	`(?:T(?:(\d\d?)(?::(\d\d?)(?::(\d\d?)(?:[.,](\d{1,9})\d*)?)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$`)

// ParseISO reads dates, as 2026-07-05, 2026-186 or 2026-W27-7, and times, with T between them. A text without a zone is in loc, and if the clock
// skips it there, by the clock as it was before.
func ParseISO(text string, loc *time.Location) (t time.Time, ok bool) {
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
	switch zone := strings.ReplaceAll(m[11], ":", ""); {
	case zone == "Z":
		loc = time.UTC
	case zone != "":
		hours, _ := strconv.Atoi(zone[1:3])
		minutes, _ := strconv.Atoi((zone + "00")[3:5])
		if hours > 23 || minutes > 59 {
			return time.Time{}, false
		}
		seconds := (hours*60 + minutes) * 60
		if zone[0] == '-' {
			seconds = -seconds
		}
		loc = time.FixedZone("", seconds)
	}
	year, month, day := field(1, 0), field(2, 1), field(3, 1)
	switch {
	case m[4] != "":
		day = field(4, 0)
		if d := time.Date(year, 1, day, 0, 0, 0, 0, time.UTC); d.Year() == year {
			month, day = int(d.Month()), d.Day()
		}
	case m[5] != "":
		d := weekDate(year, field(5, 0), field(6, 1))
		if y, week := d.ISOWeek(); y != year || week != field(5, 0) {
			return time.Time{}, false
		}
		year, month, day = d.Year(), int(d.Month()), d.Day()
	}
	hour, minute, second := field(7, 0), field(8, 0), field(9, 0)
	fraction, _ := strconv.Atoi((m[10] + "000000000")[:9])
	date := func(loc *time.Location) time.Time {
		return time.Date(year, time.Month(month), day, hour, minute, second, fraction, loc)
	}
	clock := date(time.UTC)
	// time.Date turns the 31st of February into the 3rd of March; such a text is refused instead.
	if clock.Day() != day || int(clock.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t = date(loc)
	if _, offset := t.Zone(); t.Unix()+int64(offset) < clock.Unix() {
		// The clock skips this time, as some do midnight, and time.Date has named an earlier one. It is read by the clock before the change.
		t = clock.Add(-time.Duration(offset) * time.Second).In(loc)
	}
	return t, true
}

// weekDate is the day of a week, both from 1; of a week that the year has not, it is in another.
func weekDate(year, week, day int) time.Time {
	fourth := time.Date(year, 1, 4, 0, 0, 0, 0, time.UTC) // always in the first week
	return fourth.AddDate(0, 0, (week-1)*7+day-1-(int(fourth.Weekday())+6)%7)
}

// MillisOf is the millisecond that a microsecond lies in, before 1970 too.
func MillisOf(micros int64) int64 {
	millis := micros / 1000
	if micros%1000 < 0 {
		millis--
	}
	return millis
}
