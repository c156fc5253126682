package land

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"headwater/envelope"
	"headwater/lake"
)

// folders gives the records of one Kafka partition their folders. It is not for concurrent use.
type folders struct {
	fixed  string        // the DefaultPartitioner's
	fields []folderField // the FieldPartitioner's
	times  timeFolders   // those of the others
	// room is how many bytes the folders of a key may have.
	room int
}

// folderField is a field that names folders.
type folderField struct {
	name string
	path []string
}

func (l *Lander) foldersOf(tp topicPartition) folders {
	of := l.of(tp.topic)
	f := folders{room: maxKey - len(lake.RawKeyPadded(l.conf.TopicsDir, tp.topic, "", tp.partition, 1, math.MaxInt64, l.conf.OffsetPadWidth)) - len("/")}
	_, declared := l.declared.Shapes[tp.topic]
	switch simpleName(of.conf.PartitionerClass) {
	case byPartition:
		f.fixed = fmt.Sprintf("partition=%d", tp.partition)
	case byField:
		for _, name := range of.conf.PartitionFieldName {
			f.fields = append(f.fields, folderField{name, strings.Split(name, ".")})
		}
	default:
		_, duration := of.conf.timeFolders()
		f.times = timeFolders{format: of.path, duration: duration, loc: l.zone, early: declared}
	}
	return f
}

// timed says that folders are made of the records' times.
func (f *folders) timed() bool { return f.times.format != nil }

// of is the folder of a record. A reason sends it to quarantine.
func (f *folders) of(value []byte, millis int64) (path, reason string) {
	switch {
	case f.fixed != "":
		return f.fixed, ""
	case f.timed():
		return f.times.of(millis), ""
	}
	return f.ofFields(value)
}

// maxName is what file systems have room for, and maxKey what S3 has (1024) less some for the prefix of lake.raw.
const (
	maxName = 255
	maxKey  = 896
)

func (f *folders) ofFields(value []byte) (path, reason string) {
	if value[0] != '{' {
		return "", "no folder: it is no object that could have the field " + f.fields[0].name
	}
	var all strings.Builder
	for i, field := range f.fields {
		text, ok := fieldText(value, field.path)
		if !ok {
			return "", "no folder: field " + field.name + " is an object or an array"
		}
		folder := escapeFolder(field.name) + "=" + escapeFolder(text)
		if len(folder) > maxName {
			return "", "no folder: field " + field.name + " is too long for a name"
		}
		if i > 0 {
			all.WriteByte('/')
		}
		all.WriteString(folder)
	}
	if all.Len() > f.room {
		return "", "no folder: the fields are together too long for a key"
	}
	return all.String(), ""
}

// fieldText spells the value of a field: a number as the record does, and what is missing as null, as the connector does.
func fieldText(value []byte, path []string) (text string, ok bool) {
	raw, found, err := envelope.Lookup(value, path...)
	if err != nil {
		return "", false
	}
	if !found {
		return "null", true
	}
	switch raw[0] {
	case '{', '[':
		return "", false
	case '"':
		return text, json.Unmarshal(raw, &text) == nil
	}
	return string(raw), true
}

// noValue is how Hive and Spark name the folder of an empty text; of a folder named "field=" Spark cannot read anything.
const noValue = "__HIVE_DEFAULT_PARTITION__"

// escapeFolder makes a text fit for the name of a folder, as Hive does it, so that its readers and Spark's find the text again.
func escapeFolder(text string) string {
	if text == "" {
		return noValue
	}
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c == 0x7f || strings.IndexByte(`"#%'*/:=?\{[]^`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// timeFolders turns times into folders. It is not for concurrent use.
type timeFolders struct {
	format   pathFormat
	duration int64 // milliseconds
	loc      *time.Location
	// early puts times before 1970 into their own day, where the connector has the day after it, which serialize does not take.
	early bool

	// The last answer: most records have the folder of the one before them.
	bucket int64
	path   string
}

// of is the folder of a time. The stretches of time it is cut into are aligned to local midnight if they divide a day, as
// the connector's.
func (p *timeFolders) of(millis int64) string {
	local := millis + offsetAt(millis, p.loc)
	bucket := local / p.duration * p.duration
	if p.early && local < bucket {
		bucket -= p.duration
	}
	if p.path == "" || bucket != p.bucket {
		p.bucket, p.path = bucket, p.format.format(fromLocal(bucket, p.loc))
	}
	return p.path
}

// offsetAt is how far loc is ahead of UTC, in milliseconds.
func offsetAt(millis int64, loc *time.Location) int64 {
	_, seconds := time.UnixMilli(millis).In(loc).Zone()
	return int64(seconds) * 1000
}

// fromLocal is the instant of a local time, as Joda-Time has it where the clock shows it twice or never: of two, the later
// in the zones east of Greenwich and the earlier in those west of it; for none, by the clock as it was before the change.
func fromLocal(local int64, loc *time.Location) time.Time {
	guess := offsetAt(local, loc)
	offset := offsetAt(local-guess, loc)
	if guess != offset && guess < 0 && nextChange(local-guess, loc) != nextChange(local-offset, loc) {
		offset = guess
	}
	return time.UnixMilli(local - offset).In(loc)
}

// nextChange is when the clock is changed next; zero for never.
func nextChange(millis int64, loc *time.Location) int64 {
	_, end := time.UnixMilli(millis).In(loc).ZoneBounds()
	if end.IsZero() {
		return 0
	}
	return end.UnixMilli()
}
