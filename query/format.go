package query

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
)

// column is a column of the answer.
type column struct {
	name    string
	numeric bool
}

// value is one value's text: JSON for the format json, plain for the others.
type value struct {
	text string
	null bool
}

// writer writes an answer row by row, in bounded memory.
type writer interface {
	row(values []value) error
	// end writes what is still missing.
	end() error
}

func newWriter(format string, w *bufio.Writer, columns []column, width int) writer {
	switch format {
	case "csv":
		return newCSV(w, columns)
	case "json":
		return newNDJSON(w, columns)
	case "plan":
		return plan{w}
	}
	return &aligned{w: w, columns: columns, width: width}
}

// plan writes what EXPLAIN answers, which is drawn in its last column.
type plan struct{ w *bufio.Writer }

func (p plan) row(values []value) error {
	_, err := p.w.WriteString(values[len(values)-1].text)
	return err
}

func (p plan) end() error { return nil }

// quoteJSON is s as a JSON string.
func quoteJSON(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string into memory
	return strings.TrimSuffix(b.String(), "\n")
}

// ndjson writes one object per line. Columns of the same name become name, name_1.
type ndjson struct {
	w    *bufio.Writer
	keys []string
}

func newNDJSON(w *bufio.Writer, columns []column) *ndjson {
	n := &ndjson{w: w}
	taken := map[string]bool{}
	for _, c := range columns {
		name := c.name
		for i := 1; taken[name]; i++ {
			name = fmt.Sprintf("%s_%d", c.name, i)
		}
		taken[name] = true
		n.keys = append(n.keys, quoteJSON(name)+":")
	}
	return n
}

// oneLine takes line feeds out of a JSON text, where they can only be white space.
var oneLine = strings.NewReplacer("\n", " ", "\r", " ")

func (n *ndjson) row(values []value) error {
	for i, v := range values {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		text := v.text
		if v.null {
			text = "null"
		}
		_, _ = n.w.WriteString(sep + n.keys[i])
		_, _ = oneLine.WriteString(n.w, text)
	}
	_, err := n.w.WriteString("}\n") // a bufio.Writer keeps its first error
	return err
}

func (n *ndjson) end() error { return nil }

// csv writes RFC 4180 with line feeds: NULL is nothing, an empty string is "".
type csv struct{ w *bufio.Writer }

func newCSV(w *bufio.Writer, columns []column) *csv {
	names := make([]value, len(columns))
	for i, c := range columns {
		names[i] = value{text: c.name}
	}
	c := &csv{w: w}
	_ = c.row(names) // the first row's or the flush's error is the same
	return c
}

func (c *csv) row(values []value) error {
	for i, v := range values {
		if i > 0 {
			_ = c.w.WriteByte(',')
		}
		switch {
		case v.null:
		case v.text == "" || strings.ContainsAny(v.text, ",\"\r\n"):
			_, _ = c.w.WriteString(`"` + strings.ReplaceAll(v.text, `"`, `""`) + `"`)
		default:
			_, _ = c.w.WriteString(v.text)
		}
	}
	return c.w.WriteByte('\n')
}

func (c *csv) end() error { return nil }

const (
	// measured is how many rows are looked at for the columns' widths; later rows may be wider and then stick out.
	measured = 1000
	// measuredBytes bounds what these rows may hold.
	measuredBytes = 16 << 20
	// widest is how wide a column is made for its values: one long text must not fill every other row with spaces.
	widest = 500
)

// aligned writes a table for people.
type aligned struct {
	w       *bufio.Writer
	columns []column
	width   int
	widths  []int // nil as long as rows are collected
	rows    [][]value
	bytes   int
	count   int64
}

func (a *aligned) row(values []value) error {
	a.count++
	cells := make([]value, len(values))
	for i, v := range values {
		cells[i] = v
		if v.null {
			cells[i].text = "NULL"
		}
		cells[i].text = Printable(cells[i].text)
		a.bytes += len(cells[i].text)
	}
	if a.widths != nil {
		return a.line(cells)
	}
	a.rows = append(a.rows, cells)
	if len(a.rows) < measured && a.bytes < measuredBytes {
		return nil
	}
	return a.flush()
}

// flush measures the rows collected so far and writes them.
func (a *aligned) flush() error {
	names, rules := make([]value, len(a.columns)), make([]value, len(a.columns))
	a.widths = make([]int, len(a.columns))
	for i, c := range a.columns {
		names[i].text = Printable(c.name)
		a.widths[i] = displayWidth(names[i].text)
		for _, r := range a.rows {
			a.widths[i] = max(a.widths[i], min(displayWidth(r[i].text), widest))
		}
		rules[i].text = strings.Repeat("-", a.widths[i])
	}
	for _, r := range append([][]value{names, rules}, a.rows...) {
		if err := a.line(r); err != nil {
			return err
		}
	}
	a.rows = nil
	return nil
}

func (a *aligned) line(cells []value) error {
	var b strings.Builder
	for i, c := range cells {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", max(0, a.widths[i]-displayWidth(c.text)))
		if a.columns[i].numeric {
			b.WriteString(pad + c.text)
		} else {
			b.WriteString(c.text + pad)
		}
	}
	_, err := a.w.WriteString(cut(strings.TrimRight(b.String(), " "), a.width) + "\n")
	return err
}

func (a *aligned) end() error {
	if a.widths == nil {
		if err := a.flush(); err != nil {
			return err
		}
	}
	rows := "rows"
	if a.count == 1 {
		rows = "row"
	}
	_, err := fmt.Fprintf(a.w, "(%d %s)\n", a.count, rows)
	return err
}
