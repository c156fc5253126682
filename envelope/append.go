package envelope

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Append appends the envelope of an item that was made at the time at: one JSON text without a line feed. It never fails:
// malformed, if not empty, is why the item could not be kept as its Kind; metadata.malformed says the same. Text of m that is
// not UTF-8 is repaired as AppendString does; a header's value is kept in base64 instead. A row whose Names and Values
// differ in number panics.
func Append(dst []byte, it Item, m *Metadata, at time.Time, lim Limits) (out []byte, malformed string) {
	dst = append(dst, `{"raw_data":`...)
	dst, inBase64, malformed := appendItem(dst, it, lim)
	return appendMetadata(dst, m, at, inBase64, malformed), malformed
}

// appendMetadata appends all of an envelope that follows raw_data.
func appendMetadata(dst []byte, m *Metadata, at time.Time, inBase64 bool, malformed string) []byte {
	dst = append(dst, `,"metadata":{"thread_id":`...)
	dst = strconv.AppendInt(dst, int64(m.ThreadID), 10)
	dst = AppendString(append(dst, `,"host_name":`...), m.HostName)
	dst = AppendString(append(dst, `,"process_start_time":`...), m.ProcessStartTime)
	dst = appendOptional(dst, `,"source":`, m.Source)
	dst = appendOptional(dst, `,"origin":`, m.Origin)
	dst = appendOptional(dst, `,"position":`, m.Position)
	dst = appendKey(dst, m.Key)
	dst = appendHeaders(dst, m.Headers)
	if inBase64 {
		dst = append(dst, `,"encoding":"base64"`...)
	}
	dst = appendOptional(dst, `,"malformed":`, malformed)
	dst = append(dst, `},"ingestion_timestamp":`...)
	dst = strconv.AppendInt(dst, at.UnixMilli(), 10)
	return append(dst, '}')
}

func appendKey(dst, key []byte) []byte {
	switch {
	case key == nil:
		return dst
	case !utf8.Valid(key):
		return appendBase64(append(dst, `,"key_base64":`...), key)
	}
	return append(appendEscaped(append(dst, `,"key":"`...), key), '"')
}

func appendItem(dst []byte, it Item, lim Limits) (out []byte, inBase64 bool, malformed string) {
	switch {
	case it.Malformed != "":
		malformed = it.Malformed
	case it.Kind == JSON:
		out, err := Compact(dst, it.Data, lim)
		if err == nil {
			return out, false, ""
		}
		if syntax, ok := errors.AsType[*SyntaxError](err); ok {
			malformed = syntax.Reason
		}
	case it.Kind == Fields:
		return appendFields(dst, it.Names, it.Values)
	case it.Kind == Bytes:
		return appendBase64(dst, it.Data), true, ""
	}
	// Invariant 2: whatever it is, its bytes are kept.
	if !utf8.Valid(it.Data) {
		return appendBase64(dst, it.Data), true, malformed
	}
	return append(appendEscaped(append(dst, '"'), it.Data), '"'), false, malformed
}

// appendFields makes an object of a row. A row that is not UTF-8 has all its names and values in base64, so that no byte is lost
// and none has to be guessed about.
func appendFields(dst []byte, names, values []string) (out []byte, inBase64 bool, malformed string) {
	if len(names) != len(values) {
		panic(fmt.Sprintf("envelope: a row of %d values for %d names; a source says so in Item.Malformed", len(values), len(names)))
	}
	text := AppendString
	if !allUTF8(names) || !allUTF8(values) {
		inBase64, malformed = true, InvalidUTF8
		text = func(dst []byte, s string) []byte { return appendBase64(dst, []byte(s)) }
	}
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(text(dst, name), ':')
		dst = text(dst, values[i])
	}
	return append(dst, '}'), inBase64, malformed
}

func allUTF8(texts []string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

func appendHeaders(dst []byte, headers [][2]string) []byte {
	if len(headers) == 0 {
		return dst
	}
	dst = append(dst, `,"headers":[`...)
	for i, h := range headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(append(dst, '['), h[0])
		dst = append(dst, ',')
		if utf8.ValidString(h[1]) {
			dst = AppendString(dst, h[1])
		} else {
			dst = append(appendBase64(dst, []byte(h[1])), `,"base64"`...)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

func appendOptional(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return AppendString(append(dst, key...), value)
}

func appendBase64(dst, data []byte) []byte {
	dst = base64.StdEncoding.AppendEncode(append(dst, '"'), data)
	return append(dst, '"')
}

// AppendString appends s as a JSON string. Only quotes, backslashes and control characters are escaped. Bytes that are not UTF-8
// become U+FFFD, one for each run of them: who must not lose them asks utf8.ValidString first.
func AppendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return append(appendEscaped(append(dst, '"'), []byte(s)), '"')
}

// appendEscaped appends what goes between the quotes for s, which is UTF-8.
func appendEscaped(dst, s []byte) []byte {
	for {
		n := plainEnd(s, 0)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return dst
		}
		dst = appendEscape(dst, s[n])
		s = s[n+1:]
	}
}

func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
