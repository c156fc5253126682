package look

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"headwater/internal/setting"
)

// mostColumns is how many columns are listed, mostReasons how many reasons, widest how long a line of them is.
const (
	mostColumns = 40
	mostReasons = 3
	widest      = 120
)

// render is the text of the pipeline.
func (l *looker) render() []byte {
	var out strings.Builder
	say := func(indent, text string) { out.WriteString(indent + "# " + oneLine(text) + "\n") }
	file := shellQuote(l.File)
	say("", "Made by headwater init from what there was to look at; docs/example.yml has every key. What comes next:")
	say("", "  headwater check "+file)
	say("", "  headwater preview "+file+" "+l.sources[0].name)
	say("", "  headwater run "+file+" --once")
	say("", "  headwater query "+file+" \"select * from "+l.Database+"."+l.sources[0].name+" limit 10\"")
	for _, left := range l.left {
		say("", "Left out: "+left+".")
	}
	out.WriteString("database: " + l.Database + "\nsources:\n")
	for _, s := range l.sources {
		for _, line := range s.seen {
			say("  ", line)
		}
		out.WriteString("  " + s.name + ":\n    " + s.kind + "\n")
	}
	return []byte(out.String())
}

// quote is a YAML string: Go's escapes are among YAML's. ${ would name a variable.
func quote(text string) string { return strconv.Quote(strings.ReplaceAll(text, "${", "$${")) }

var harmless = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

func shellQuote(text string) string {
	if harmless.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// oneLine is text that is the comment it begins as.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if letters := []rune(text); len(letters) > 2*widest {
		return string(letters[:2*widest]) + "…"
	}
	return text
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return count(int(n), "byte")
	}
	return setting.Bytes(n).Rounded()
}

// keys are those of a file source beside its path, where the defaults would not read the files rightly.
func (s *sample) keys() string {
	var keys []string
	if s.csv.Delimiter != "" {
		keys = append(keys, "delimiter: "+strconv.Quote(s.csv.Delimiter))
	}
	if !s.csv.Header {
		keys = append(keys, "header: false")
	}
	if keys == nil {
		return ""
	}
	return ", csv: {" + strings.Join(keys, ", ") + "}"
}

// cuts says what an item is, by format.
var cuts = map[string]string{
	"csv": "a row of CSV", "ndjson": "a line, which is JSON", "array": "an element of a JSON array", "json": "a file, which is JSON", "lines": "a line of text",
	"bytes": "a file, whose bytes are kept as base64",
}

// words are the lines of a comment on files.
func (s *sample) words(table string) []string {
	var items []string
	for _, format := range s.formats {
		items = append(items, cuts[format])
	}
	said := []string{"An item is " + strings.Join(items, ", or ") + "."}
	if slices.Contains(s.formats, "csv") && !s.csv.Header {
		said = append(said, "The first row has numbers or dates, so it is taken for data: the columns are _c0, _c1 and so on.")
	}
	if s.files < s.of {
		said = append(said, fmt.Sprintf("Looked at: %s of %d of the files.", count(s.items, "item"), s.files))
	} else if s.items > 0 {
		said = append(said, "Looked at: "+count(s.items, "item")+".")
	}
	if n := len(s.unread); n > 0 {
		said = append(said, fmt.Sprintf("%s could not be read: %v", count(n, "file"), s.unread[0]))
	}
	return append(said, s.table(table)...)
}

// table are the lines on the table of what was seen.
func (s *sample) table(name string) (said []string) {
	if s.items == 0 {
		return []string{"No item was seen: the columns of " + name + " are not known yet."}
	}
	columns, unfit := s.columns()
	for i, reason := range mostOften(unfit) {
		if i == mostReasons {
			said = append(said, "… and for other reasons.")
			break
		}
		said = append(said, fmt.Sprintf("%s would go to quarantine: %s", count(unfit[reason], "item"), reason))
	}
	said = append(said, "The flat table "+name+" has the columns")
	width := 0
	for _, c := range columns {
		width = max(width, min(len([]rune(plainName(c.Name))), 30))
	}
	for i, c := range columns {
		if i == mostColumns {
			return append(said, fmt.Sprintf("  … and %d more", len(columns)-i))
		}
		line := []rune(fmt.Sprintf("  %-*s  %v", width, plainName(c.Name), c.Type))
		if len(line) > widest {
			line = append(line[:widest], '…')
		}
		said = append(said, string(line))
	}
	return said
}

// plainName is a column's name as it is, or quoted if it would not be read as one.
func plainName(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || strings.TrimSpace(name) != name {
		return quoted
	}
	return name
}

// live is the source of a feed.
func (s *sample) live(name, database, address string, closed bool) source {
	out := source{name: name, kind: "websocket: {url: " + quote(address) + "}"}
	switch {
	case s.items > 0:
		out.seen = append(out.seen, "A message is an item, or each element of one that is a JSON array. Looked at: "+count(s.items, "item")+".")
		out.seen = append(out.seen, s.table(database+"."+name)...)
	case closed:
		out.seen = append(out.seen, "The server closed the connection without a message: it may want headers, subprotocols or, first, a message of ours (send).")
	default:
		out.seen = append(out.seen, "The server took the connection and sent nothing for a while: many want a message of ours first (send).")
	}
	if u, err := url.Parse(address); err == nil && (u.User != nil || u.RawQuery != "") {
		out.seen = append(out.seen, "If the address holds a secret, put it into an environment variable, which ${NAME} names here.")
	}
	return out
}

var generic = regexp.MustCompile(`^(ws|wss|websocket|socket|stream|streams|feed|live|api|v[0-9]*|)$`)

// feedName is the last part of an address that says something.
func feedName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "feed"
	}
	labels := strings.Split(u.Hostname(), ".")
	parts := append([]string{labels[max(0, len(labels)-2)]}, strings.Split(u.Path, "/")...)
	slices.Reverse(parts)
	for _, part := range parts {
		if name := identifier(part, ""); name != "" && name != "localhost" && !generic.MatchString(name) {
			return name
		}
	}
	return "feed"
}
