package land

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// pathFormat is a compiled path.format.
type pathFormat []pathPart

// pathPart is a literal, or a field of the time with a least number of digits.
type pathPart struct {
	literal string
	field   func(time.Time) int
	digits  int
}

// pathFields are the letters of Joda-Time that are supported. Its Y and y are the same for years after Christ.
var pathFields = map[byte]struct {
	field   func(time.Time) int
	lengths []int
}{
	'Y': {time.Time.Year, []int{4}},
	'y': {time.Time.Year, []int{4}},
	'M': {func(t time.Time) int { return int(t.Month()) }, []int{1, 2}},
	'd': {time.Time.Day, []int{1, 2}},
	'H': {time.Time.Hour, []int{1, 2}},
	'm': {time.Time.Minute, []int{1, 2}},
	's': {time.Time.Second, []int{1, 2}},
}

// parsePathFormat compiles the subset of Joda-Time's patterns that makes folders of numbers: quoted literals, YYYY,
// yyyy, M, MM, d, dd, H, HH, m, mm, s, ss. One trailing slash is taken off, as the connector does.
func parsePathFormat(format string) (pathFormat, error) {
	var f pathFormat
	rest := strings.TrimSuffix(format, "/")
	for rest != "" {
		part, n, err := parsePathPart(rest)
		if err != nil {
			return nil, err
		}
		f = append(f, part)
		rest = rest[n:]
	}
	for name := range strings.SplitSeq(f.format(time.Unix(0, 0).UTC()), "/") {
		if strings.Trim(name, " .") == "" {
			return nil, fmt.Errorf("%q must give folder names that are not empty, as 'date'=YYYY-MM-dd", format)
		}
	}
	return f, nil
}

// parsePathPart compiles the beginning of rest and says how many bytes it was.
func parsePathPart(rest string) (pathPart, int, error) {
	letter := rest[0]
	switch {
	case letter == '\'':
		return parseQuoted(rest)
	case letter < 'A' || letter > 'z' || (letter > 'Z' && letter < 'a'):
		return pathPart{literal: rest[:1]}, 1, nil
	}
	n := len(rest) - len(strings.TrimLeft(rest, rest[:1]))
	known := pathFields[letter]
	if slices.Contains(known.lengths, n) {
		return pathPart{field: known.field, digits: n}, n, nil
	}
	return pathPart{}, 0, fmt.Errorf("%q is not supported; there are YYYY, yyyy, MM, M, dd, d, HH, H, mm, m, ss, s, and text in single quotes", rest[:n])
}

// parseQuoted reads a literal in single quotes, inside or outside of which two of them are one.
func parseQuoted(rest string) (pathPart, int, error) {
	if strings.HasPrefix(rest, "''") {
		return pathPart{literal: "'"}, 2, nil
	}
	var text strings.Builder
	for i := 1; i < len(rest); i++ {
		if rest[i] != '\'' {
			text.WriteByte(rest[i])
			continue
		}
		if i+1 == len(rest) || rest[i+1] != '\'' {
			return pathPart{literal: text.String()}, i + 1, nil
		}
		text.WriteByte('\'')
		i++
	}
	return pathPart{}, 0, fmt.Errorf("%q has a single quote that is not closed", rest)
}

func (f pathFormat) format(t time.Time) string {
	var b strings.Builder
	for _, part := range f {
		if part.field == nil {
			b.WriteString(part.literal)
			continue
		}
		fmt.Fprintf(&b, "%0*d", part.digits, part.field(t))
	}
	return b.String()
}

// partitioner turns times into folders. It is not for concurrent use.
type partitioner struct {
	format   pathFormat
	duration int64 // milliseconds
	loc      *time.Location
	// early puts times before 1970 into their own day, where the connector has the day after it, which serialize does not take.
	early bool

	// The last answer: most records have the folder of the one before them.
	bucket int64
	path   string
}

// encode is the folder of a time. The stretches of time it is cut into are aligned to local midnight if they divide a
// day, as the connector's.
func (p *partitioner) encode(millis int64) string {
	_, offset := time.UnixMilli(millis).In(p.loc).Zone()
	local := millis + int64(offset)*1000
	bucket := local / p.duration * p.duration
	if p.early && local < bucket {
		bucket -= p.duration
	}
	if p.path == "" || bucket != p.bucket {
		// The local time is formatted as if it were UTC: a midnight that a change of the clock skips still names its day.
		p.bucket, p.path = bucket, p.format.format(time.UnixMilli(bucket).UTC())
	}
	return p.path
}
