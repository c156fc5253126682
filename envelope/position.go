package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// positionVersion is the v of positions and cursors. A reader refuses every other, since going on from a position that it
// misreads would lose or double records.
const positionVersion = 1

// Append appends the position as its header holds it. Resume must be one JSON text or empty: whoever takes it from a source checks
// it before, because a header that cannot be read stops its source at the next start.
func (p Position) Append(dst []byte) []byte {
	dst = appendName(append(dst, `{"v":1,"stream":`...), p.Stream)
	dst = strconv.AppendInt(append(dst, `,"seq":`...), p.Seq, 10)
	dst = appendResume(dst, p.Resume)
	if p.Key != "" {
		dst = AppendString(append(dst, `,"key":`...), p.Key)
		dst = strconv.AppendInt(append(dst, `,"keys":`...), int64(p.Keys), 10)
	}
	if p.Cursor != "" {
		dst = AppendString(append(dst, `,"cursor":`...), p.Cursor)
	}
	return append(dst, '}')
}

// Size is about the length of what Append appends, a little more where nothing has to be escaped.
func (p Position) Size() int {
	return len(`{"v":1,"stream":"","seq":,"resume":,"key":"","keys":,"cursor":""}`) + 2*20 + len(p.Stream) + len(p.Resume) + len(p.Key) + len(p.Cursor)
}

func appendResume(dst []byte, resume json.RawMessage) []byte {
	if len(resume) == 0 {
		return dst
	}
	return append(append(dst, `,"resume":`...), resume...)
}

// ParsePosition reads a header that Append wrote. The result keeps nothing of header; Resume is nil where it has none.
func ParsePosition(header []byte) (Position, error) {
	p := Position{Seq: -1}
	named := false
	err := readVersioned(header, func(key string, raw []byte) (err error) {
		switch key {
		case "stream":
			p.Stream, err = readName(raw)
			named = true
		case "seq":
			p.Seq, err = readNumber(raw, 0, 64)
		case "resume":
			p.Resume = raw
		case "cursor":
			p.Cursor, err = readName(raw)
		case "key":
			p.Key, err = readName(raw)
		case "keys":
			var n int64
			n, err = readNumber(raw, 0, 32)
			p.Keys = int(n)
		}
		return err
	})
	if err == nil && (!named || p.Seq < 0) {
		err = errors.New("it has no stream or no seq")
	}
	if err != nil {
		return Position{}, fmt.Errorf("reading header %s: %w", PositionHeader, err)
	}
	return p, nil
}

// Encode gives the cursor as headwater_cursors holds it, cut into parts of about size bytes, each with some of the streams and
// all offsets; a part is larger only where one stream is. Topic is the source's, whose offsets these are. Equal cursors give
// equal parts, and Merge makes one of them again.
func (c Cursor) Encode(topic string, size int) (parts [][]byte) {
	head := append(AppendString([]byte(`{"v":1,"source":`), c.Source), `,"streams":{`...)
	tail := c.appendOffsets(nil, topic)
	dst := slices.Clone(head)
	for i, name := range slices.Sorted(maps.Keys(c.Streams)) {
		if len(dst) > len(head) {
			dst = append(dst, ',')
		}
		dst = appendName(dst, name)
		dst = c.Streams[name].append(append(dst, ':'))
		if len(dst)+len(tail) >= size && i < len(c.Streams)-1 {
			parts = append(parts, append(dst, tail...))
			dst = slices.Clone(head)
		}
	}
	return append(parts, append(dst, tail...))
}

// Merge adds the streams and offsets of another part of the same snapshot.
func (c *Cursor) Merge(part Cursor) {
	maps.Copy(c.Streams, part.Streams)
	maps.Copy(c.Offsets, part.Offsets)
}

func (c Cursor) appendOffsets(dst []byte, topic string) []byte {
	dst = append(dst, `},"offsets":{`...)
	for i, partition := range slices.Sorted(maps.Keys(c.Offsets)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, topic+"/"+strconv.Itoa(int(partition)))
		dst = strconv.AppendInt(append(dst, ':'), c.Offsets[partition], 10)
	}
	dst = append(dst, '}')
	if c.ReadUntil > 0 {
		dst = strconv.AppendInt(append(dst, `,"read_until":`...), c.ReadUntil, 10)
	}
	return append(dst, '}')
}

func (s StreamCursor) append(dst []byte) []byte {
	dst = strconv.AppendInt(append(dst, `{"seq":`...), s.Seq, 10)
	dst = appendResume(dst, s.Resume)
	dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(s.Partition), 10)
	if s.Done {
		dst = append(dst, `,"done":true`...)
	}
	for i, key := range s.Keys {
		dst = append(dst, [...]string{`,"keys":[`, `,`}[min(i, 1)]...)
		dst = AppendString(dst, key)
	}
	if len(s.Keys) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// ParseCursor reads what Encode wrote. Offsets of other topics than topic are left out, because a source that was given a new topic
// starts there at its beginning. The maps of the result are never nil, and it keeps nothing of data.
func ParseCursor(data []byte, topic string) (Cursor, error) {
	c := Cursor{Streams: map[string]StreamCursor{}, Offsets: map[int32]int64{}}
	err := readVersioned(data, func(key string, raw []byte) (err error) {
		switch key {
		case "source":
			c.Source, err = readName(raw)
		case "streams":
			err = c.readStreams(raw)
		case "offsets":
			err = c.readOffsets(raw, topic)
		case "read_until":
			c.ReadUntil, err = readNumber(raw, 0, 64)
		}
		return err
	})
	if err == nil && c.Source == "" {
		err = errors.New("it names no source")
	}
	if err != nil {
		return Cursor{}, fmt.Errorf("reading cursor: %w", err)
	}
	return c, nil
}

func (c *Cursor) readStreams(raw []byte) error {
	return readObject(raw, func(name string, raw []byte) error {
		s, err := readStreamCursor(raw)
		if err != nil {
			return fmt.Errorf("stream %q: %w", name, err)
		}
		c.Streams[name] = s
		return nil
	})
}

func readStreamCursor(raw []byte) (StreamCursor, error) {
	s := StreamCursor{Seq: -2, Partition: -1}
	err := readObject(raw, func(key string, raw []byte) (err error) {
		switch key {
		case "seq":
			s.Seq, err = readNumber(raw, -1, 64)
		case "resume":
			s.Resume = raw
		case "partition":
			var n int64
			n, err = readNumber(raw, 0, 32)
			s.Partition = int32(n)
		case "done":
			if s.Done = string(raw) == "true"; !s.Done && string(raw) != "false" {
				err = fmt.Errorf("done is %.100q, neither true nor false", raw)
			}
		case "keys":
			if err = json.Unmarshal(raw, &s.Keys); err != nil {
				err = fmt.Errorf("keys are %.100q, no array of strings", raw)
			}
		}
		return err
	})
	if err == nil && (s.Seq < -1 || s.Partition < 0) {
		err = errors.New("it has no seq or no partition")
	}
	return s, err
}

func (c *Cursor) readOffsets(raw []byte, topic string) error {
	return readObject(raw, func(key string, raw []byte) error {
		number, found := strings.CutPrefix(key, topic+"/")
		if !found {
			return nil
		}
		partition, err := readNumber([]byte(number), 0, 32)
		if err != nil {
			return fmt.Errorf("offset of %q: %w", key, err)
		}
		c.Offsets[int32(partition)], err = readNumber(raw, 0, 64)
		return err
	})
}

// readVersioned checks v and that data is one JSON text before it calls f for the members beside v, in a copy of data.
func readVersioned(data []byte, f func(key string, raw []byte) error) error {
	// A resume that is within DefaultLimits by itself lies up to three levels deep in a cursor.
	text, err := Compact(nil, data, Limits{Depth: DefaultLimits.Depth + 3})
	if err != nil {
		return err
	}
	v, found, err := Lookup(text, "v")
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("it has no version, so no Headwater wrote it: %.100q", text)
	}
	if string(v) != strconv.Itoa(positionVersion) {
		return fmt.Errorf("its version is %s and this Headwater knows %d only: run the newer release that wrote it", v, positionVersion)
	}
	return readObject(text, f)
}

// readObject walks a checked object. Keys that f does not know say nothing that a reader of this version needs.
func readObject(raw []byte, f func(key string, raw []byte) error) error {
	if raw[0] != '{' {
		return fmt.Errorf("%.100q is no object", raw)
	}
	var fault error
	eachMember(raw, 0, func(name, from, to int) string {
		end, _ := quoteEnd(raw, name+1)
		key, err := readName(raw[name:end])
		if err == nil {
			err = f(key, raw[from:to:to])
		}
		if fault = err; err != nil {
			return UnexpectedCharacter
		}
		return ""
	})
	return fault
}

func readNumber(raw []byte, least int64, size int) (int64, error) {
	n, err := strconv.ParseInt(string(raw), 10, size)
	if err != nil || n < least {
		return 0, fmt.Errorf("%.100q is no whole number from %d on", raw, least)
	}
	return n, nil
}

// appendName is AppendString for names that must come back as they were, a file's path among them: a byte that is not UTF-8
// becomes the escape of the lone surrogate U+DC00 + byte, as in Python's file names.
func appendName(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		n := firstInvalid([]byte(s))
		dst = appendEscaped(dst, []byte(s[:n]))
		if n == len(s) {
			return append(dst, '"')
		}
		dst = fmt.Appendf(dst, `\udc%02x`, s[n])
		s = s[n+1:]
	}
}

// readName reads a string of a checked text as appendName wrote it.
func readName(quoted []byte) (string, error) {
	if quoted[0] != '"' {
		return "", fmt.Errorf("%.100q is no string", quoted)
	}
	rest := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(rest, '\\') < 0 {
		return string(rest), nil
	}
	var name []byte
	for {
		n := byteEscape(rest)
		part, _ := unescape(slices.Concat([]byte{'"'}, rest[:n], []byte{'"'}))
		name = append(name, part...)
		if n == len(rest) {
			return string(name), nil
		}
		b, err := strconv.ParseUint(string(rest[n+4:n+6]), 16, 8)
		if err != nil {
			return "", err
		}
		name = append(name, byte(b))
		rest = rest[n+6:]
	}
}

// byteEscape is the index of the first escape that stands for a byte, or the length of text.
func byteEscape(text []byte) int {
	i := 0
	for i < len(text) {
		switch {
		case text[i] != '\\':
			i++
		case isSurrogate(text[i:], "89ab") && isSurrogate(text[i+6:], "cdef"):
			i += 12 // the two halves of one character
		case isSurrogate(text[i:], "c") && text[i+4] >= '8':
			return i
		default:
			i += 2
		}
	}
	return len(text)
}

// isSurrogate is whether text begins with \udX..., X one of third.
func isSurrogate(text []byte, third string) bool {
	return len(text) >= 6 && text[0] == '\\' && text[1] == 'u' && text[2]|0x20 == 'd' && strings.IndexByte(third, text[3]|0x20) >= 0
}
