package envelope

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

var (
	errTooFar = errors.New("is outside the years 1 to 9999")
	// plainNumber is a number without an exponent: its digits are moved and never rounded.
	plainNumber = regexp.MustCompile(`^-?([0-9]{1,15})(?:\.([0-9]+))?$`)
	jsonNumber  = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$`)
)

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

// decimalMicros reads a number whose unit is 10 to the power of digits microseconds.
func decimalMicros(text string, digits int, unit string) (int64, error) {
	if !jsonNumber.MatchString(text) {
		return 0, fmt.Errorf("is not a number of %s", unit)
	}
	m := plainNumber.FindStringSubmatch(text)
	if m == nil {
		f, err := strconv.ParseFloat(text, 64)
		f = math.Round(f * math.Pow10(digits))
		if err != nil || math.Abs(f) >= 1<<62 {
			return 0, errTooFar
		}
		return int64(f), nil
	}
	fraction := (m[2] + "000000")[:digits]
	n, err := strconv.ParseInt(m[1]+fraction, 10, 64)
	if err != nil {
		return 0, errTooFar
	}
	if text[0] == '-' {
		n = -n
	}
	return n, nil
}

// isoTime is year, month, day, hour, minute, second, fraction, zone.
var isoTime = regexp.MustCompile(`^(\d{4})(?:-(\d\d?)(?:-(\d\d?))?)?(?:T(?:(\d\d?)(?::(\d\d?)(?::(\d\d?)(?:[.,](\d{1,9})\d*)?)?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$`)

// ParseISO reads dates and times with T between them. A text without a zone is in loc; ordinal dates and week dates are
// not read.
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

// MillisOf is the millisecond that a microsecond lies in, before 1970 too.
func MillisOf(micros int64) int64 {
	millis := micros / 1000
	if micros%1000 < 0 {
		millis--
	}
	return millis
}
