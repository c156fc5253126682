package file

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"headwater/envelope"
)

// cutter picks the cutter of a file by the configuration, its name and its beginning. It returns nil if the beginning has to grow
// first; end says whether it may.
func (c *Config) cutter(path string, beginning []byte, end ending) cutter {
	ext := strings.ToLower(filepath.Ext(path))
	if ext == ".gz" || ext == ".zst" {
		ext = strings.ToLower(filepath.Ext(path[:len(path)-len(ext)]))
	}
	format := c.Format
	if format == formatAuto {
		format = formatOf(ext, beginning, end)
	}
	switch format {
	case formatCSV:
		delimiter := byte(',')
		if c.CSV.Delimiter != "" {
			delimiter = c.CSV.Delimiter[0]
		} else if ext == ".tsv" {
			delimiter = '\t'
		}
		return &rows{delimiter: delimiter, header: c.CSV.Header}
	case formatNDJSON:
		return lines{envelope.JSON}
	case formatLines:
		return lines{envelope.Text}
	case formatJSON:
		text := bytes.TrimLeft(beginning, " \t\r\n")
		if len(text) == 0 && end == more && c.Array == arrayItems {
			return nil
		}
		if len(text) > 0 && text[0] == '[' && c.Array == arrayItems {
			return &elements{}
		}
		return whole{envelope.JSON}
	case formatBytes:
		return whole{envelope.Bytes}
	}
	return nil
}

// formatOf is the format of a file that is not told it, or "" if that cannot be seen yet.
func formatOf(ext string, beginning []byte, end ending) string {
	switch ext {
	case ".csv", ".tsv":
		return formatCSV
	case ".ndjson", ".jsonl":
		return formatNDJSON
	case ".txt", ".log":
		return formatLines
	}
	text := bytes.TrimLeft(beginning, " \t\r\n")
	if ext == ".json" && len(text) > 0 && text[0] == '[' {
		return formatJSON
	}
	n, first := line(text, end)
	if n == 0 && end == more {
		return ""
	}
	bracket := len(text) > 0 && (text[0] == '{' || text[0] == '[')
	switch {
	case n > 0 && (bracket || ext == ".json") && json.Valid(first):
		return formatNDJSON // a document on one line is also that
	case bracket || ext == ".json":
		return formatJSON
	case isText(beginning):
		return formatLines
	}
	return formatBytes
}

// isText looks at the first 4 KiB.
func isText(b []byte) bool {
	if len(b) > 4<<10 {
		b = b[:4<<10]
		for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.Valid(b); i++ {
			b = b[:len(b)-1] // the cut may have split a character
		}
	}
	return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0
}
