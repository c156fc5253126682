package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"

	"headwater/envelope"
	"headwater/internal/retry"
)

// record is one item of a page.
type record struct {
	envelope.Item
	value any // decoded, for jq; nil if the item is malformed
}

// digest names bytes.
type digest [16]byte

func digestOf(parts ...[]byte) digest {
	h := sha256.New()
	for _, p := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(p)))
		h.Write(length[:])
		h.Write(p)
	}
	return digest(h.Sum(nil)[:16])
}

// sumOf is that of what a page holds, whatever else it says of itself.
func sumOf(records []record) digest {
	parts := make([][]byte, len(records))
	for i := range records {
		parts[i] = records[i].Data
	}
	return digestOf(parts...)
}

// parse reads a page's body. document is that of a page of JSON.
func (s *Source) parse(ctx context.Context, c *client, res *resource, a *answer) (records []record, document any, err error) {
	body := bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf"))
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	start := bytes.TrimLeft(body, " \t\r\n")
	page := bytes.HasPrefix(start, []byte("<"))
	if res.Format == formatXML {
		page = len(start) >= 5 && (bytes.EqualFold(start[:5], []byte("<html")) || bytes.EqualFold(start[:min(14, len(start))], []byte("<!doctype html")))
	}
	if kind == "text/html" || page {
		return nil, nil, retry.Stop(fmt.Errorf("the answer is a page of HTML or XML, not %s (is this the API's address, and is it one that asks for a log-in?): %q",
			res.Format, c.beginning(body)))
	}
	switch res.Format {
	case formatNDJSON:
		return lines(body), nil, nil
	case formatCSV:
		return rows(body), nil, nil
	}
	if len(start) == 0 {
		return nil, nil, nil // 204, or as good
	}
	if res.Format == formatXML {
		if body, err = s.fromXML(a); err != nil {
			return nil, nil, fmt.Errorf("the answer is not XML: %w: %q", err, c.beginning(a.body))
		}
	}
	if document, err = decode(body); err != nil {
		return nil, nil, fmt.Errorf("the answer is not JSON: %w: %q", err, c.beginning(body))
	}
	values, texts, err := res.records.texts(ctx, document, body)
	if err != nil {
		return nil, nil, retry.Stop(fmt.Errorf("records: %w, on %q", err, c.beginning(body)))
	}
	for i, v := range values {
		records = append(records, record{Item: envelope.Item{Kind: envelope.JSON, Data: texts[i]}, value: v})
	}
	return records, document, nil
}

// fromXML is a document as JSON.
func (s *Source) fromXML(a *answer) ([]byte, error) {
	text, repeated, err := s.c.XML.convert(a.body, a.header.Get("Content-Type"))
	for _, path := range repeated {
		if !s.repeated[path] {
			s.repeated[path] = true
			s.log.Warn("an element comes more than once and is an array there only: name it in xml.arrays, so that it is one where it comes once", "element", path)
		}
	}
	return text, err
}

// decode reads one JSON text; numbers keep their spelling.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is text after the value")
	}
	return v, nil
}

// lines are the items of NDJSON; blank ones mean nothing.
func lines(body []byte) (records []record) {
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		r := record{Item: envelope.Item{Kind: envelope.JSON, Data: line}}
		r.value, _ = decode(line) // the envelope finds out why it is malformed
		records = append(records, r)
	}
	return records
}

// rows are the items of CSV whose first row has the names.
func rows(body []byte) (records []record) {
	r := csv.NewReader(bytes.NewReader(body))
	r.FieldsPerRecord = -1
	var names []string
	for {
		from := r.InputOffset()
		fields, err := r.Read()
		raw := bytes.Trim(body[from:r.InputOffset()], "\r\n")
		switch {
		case errors.Is(err, io.EOF):
			return records
		case err != nil:
			records = append(records, record{Item: envelope.Item{Kind: envelope.Text, Data: raw, Malformed: "csv: " + err.Error()}})
		case names == nil:
			names = envelope.UniqueNames(fields)
		case len(fields) != len(names):
			why := fmt.Sprintf("row of %d fields where there should be %d", len(fields), len(names))
			records = append(records, record{Item: envelope.Item{Kind: envelope.Text, Data: raw, Malformed: why}})
		default:
			value := make(map[string]any, len(names))
			for i, name := range names {
				value[name] = fields[i]
			}
			records = append(records, record{Item: envelope.Item{Kind: envelope.Fields, Names: names, Values: fields, Data: raw}, value: value})
		}
	}
}
