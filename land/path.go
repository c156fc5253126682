package land

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// pathFormat is a compiled path.format.
type pathFormat []pathPart

// pathPart is a literal, or what letter, repeated count times, stands for.
type pathPart struct {
	literal string
	letter  byte
	count   int
}

// maxPath bounds the folders that a path.format gives, so that no key is longer than the 1024 bytes of S3.
const maxPath = 200

// pathLetters are those of Joda-Time's patterns; z, the name of the zone, is left out because Java's names are nobody else's.
var pathLetters = map[byte]func(t time.Time, count int) string{
	'G': func(time.Time, int) string { return "AD" }, // times before the year 1 are not usable
	'C': func(t time.Time, count int) string { return digits(t.Year()/100, count) },
	'Y': year, // of the era, which is the same after Christ
	'y': year,
	'x': func(t time.Time, count int) string {
		weekYear, _ := t.ISOWeek()
		return shortYear(weekYear, count)
	},
	'w': func(t time.Time, count int) string {
		_, week := t.ISOWeek()
		return digits(week, count)
	},
	'e': func(t time.Time, count int) string { return digits((int(t.Weekday())+6)%7+1, count) },
	'E': func(t time.Time, count int) string { return name(t.Weekday().String(), count >= 4) },
	'D': func(t time.Time, count int) string { return digits(t.YearDay(), count) },
	'M': func(t time.Time, count int) string {
		if count >= 3 {
			return name(t.Month().String(), count >= 4)
		}
		return digits(int(t.Month()), count)
	},
	'd': func(t time.Time, count int) string { return digits(t.Day(), count) },
	'a': func(t time.Time, _ int) string { return t.Format("PM") },
	'K': func(t time.Time, count int) string { return digits(t.Hour()%12, count) },
	'h': func(t time.Time, count int) string { return digits((t.Hour()+11)%12+1, count) },
	'H': func(t time.Time, count int) string { return digits(t.Hour(), count) },
	'k': func(t time.Time, count int) string { return digits((t.Hour()+23)%24+1, count) },
	'm': func(t time.Time, count int) string { return digits(t.Minute(), count) },
	's': func(t time.Time, count int) string { return digits(t.Second(), count) },
	'S': func(t time.Time, count int) string {
		return (digits(t.Nanosecond()/1e6, 3) + strings.Repeat("0", count))[:count]
	},
	'Z': func(t time.Time, count int) string {
		switch count {
		case 1:
			return t.Format("-0700")
		case 2:
			return t.Format("-07:00")
		}
		return t.Location().String()
	},
}

func digits(n, least int) string { return fmt.Sprintf("%0*d", least, n) }

func year(t time.Time, count int) string { return shortYear(t.Year(), count) }

func shortYear(y, count int) string {
	if count == 2 {
		y %= 100
	}
	return digits(y, count)
}

// name is an English name, or its first three letters.
func name(whole string, long bool) string {
	if long {
		return whole
	}
	return whole[:3]
}

// parsePathFormat compiles a pattern of Joda-Time. One trailing slash is taken off, as the connector does.
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
	example := f.format(time.Unix(0, 0).UTC())
	if len(example) > maxPath {
		return nil, fmt.Errorf("%q must give folders of at most %d bytes", format, maxPath)
	}
	for name := range strings.SplitSeq(example, "/") {
		switch {
		case strings.Trim(name, " .") == "":
			return nil, fmt.Errorf("%q must give folder names that are not empty, as 'date'=YYYY-MM-dd", format)
		case !validDir(name):
			return nil, fmt.Errorf("%q must give no folder %q, which is the lake's own", format, name)
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
	count := len(rest) - len(strings.TrimLeft(rest, rest[:1]))
	switch {
	case letter == 'z':
		return pathPart{}, 0, fmt.Errorf("%q, the name of the zone, is not supported: write Z, ZZ or ZZZ for +0200, +02:00 or Europe/Paris", rest[:count])
	case pathLetters[letter] == nil:
		return pathPart{}, 0, fmt.Errorf("%q is not supported: write text in single quotes; the letters are Y y x M d D w e E H k K h m s S a C G Z", rest[:count])
	case count > maxPath:
		return pathPart{}, 0, fmt.Errorf("%q is too long", rest[:count])
	}
	return pathPart{letter: letter, count: count}, count, nil
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
		if part.count == 0 {
			b.WriteString(part.literal)
			continue
		}
		b.WriteString(pathLetters[part.letter](t, part.count))
	}
	return b.String()
}

// named says that the folders have words, which other locales spell otherwise.
func (f pathFormat) named() bool {
	return slices.ContainsFunc(f, func(p pathPart) bool {
		return p.count > 0 && (strings.IndexByte("GEa", p.letter) >= 0 || p.letter == 'M' && p.count >= 3)
	})
}
