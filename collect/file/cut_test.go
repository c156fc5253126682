package file

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
)

// got is what a cutter made of an item.
type got struct {
	Kind      envelope.Kind
	Data      string
	Values    []string
	Malformed string
}

// cutAll cuts a text that arrives in pieces of step bytes.
func cutAll(t *testing.T, c cutter, text string, step int) []got {
	t.Helper()
	var all []got
	for from, to := 0, 0; ; {
		end := more
		if to == len(text) {
			end = final
		}
		n, it, emit := c.cut([]byte(text[from:to]), end)
		if n < 0 || from+n > to {
			t.Fatalf("cut took %d of %d bytes", n, to-from)
		}
		if emit {
			g := got{Kind: it.Kind, Data: string(it.Data), Malformed: it.Malformed}
			if it.Malformed == "" && it.Kind == envelope.Fields {
				g.Values = append([]string{}, it.Values...)
			}
			all = append(all, g)
		}
		from += n
		switch {
		case n > 0:
		case end == final:
			if from < len(text) {
				t.Fatalf("%q is left", text[from:])
			}
			return all
		default:
			to = min(to+step, len(text))
		}
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		name, text string
		header     bool
		want       []got
	}{
		{"plain", "a,b\n1,2\n3,4\n", true, []got{{Data: "1,2", Values: []string{"1", "2"}}, {Data: "3,4", Values: []string{"3", "4"}}}},
		{"no header", "1,2\r\n3,4", false, []got{{Data: "1,2", Values: []string{"1", "2"}}, {Data: "3,4", Values: []string{"3", "4"}}}},
		{"quotes span lines", "a,b\n\"x\r\ny\",\"say \"\"hi\"\"\"\n", true, []got{{Data: "\"x\r\ny\",\"say \"\"hi\"\"\"", Values: []string{"x\r\ny", `say "hi"`}}}},
		{"blank lines", "\n\r\na\n\n1\n\n", true, []got{{Data: "1", Values: []string{"1"}}}},
		{"quote inside", "a,b\n5\" pipe,x\"\n", true, []got{{Data: "5\" pipe,x\"", Values: []string{`5" pipe`, `x"`}}}},
		{"count", "a,b\n1\n1,2,3\n1,2\n", true, []got{
			{Data: "1", Malformed: "row of 1 fields where there should be 2"},
			{Data: "1,2,3", Malformed: "row of 3 fields where there should be 2"},
			{Data: "1,2", Values: []string{"1", "2"}},
		}},
		{"text after quote", "a,b\n\"1\"x,2\n3,4\n", true, []got{
			{Data: "\"1\"x,2", Malformed: "text after a closing quote in field 1"}, {Data: "3,4", Values: []string{"3", "4"}},
		}},
		{"open quote", "a,b\n1,\"2\n3,4\n5,6", true, []got{
			{Data: "1,\"2", Malformed: "quote opened in field 2 never closes"},
			{Data: "3,4", Values: []string{"3", "4"}},
			{Data: "5,6", Values: []string{"5", "6"}},
		}},
		{"bad header", "\"a\"b,c\n1,2\n", true, []got{
			{Data: "\"a\"b,c", Malformed: "text after a closing quote in field 1"},
			{Data: "1,2", Malformed: "the header of this file is malformed: text after a closing quote in field 1"},
		}},
		{"bad first row", "\"a\"b,c\n1,2\n", false, []got{
			{Data: "\"a\"b,c", Malformed: "text after a closing quote in field 1"}, {Data: "1,2", Values: []string{"1", "2"}},
		}},
		{"empty", "", true, nil},
		{"header only", "a,b", true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.want {
				c.want[i].Kind = envelope.Text
				if c.want[i].Malformed == "" {
					c.want[i].Kind = envelope.Fields
				}
			}
			for _, step := range []int{1, 3, 1000} {
				rows := &rows{delimiter: ',', header: c.header}
				if d := cmp.Diff(c.want, cutAll(t, rows, c.text, step)); d != "" {
					t.Errorf("in steps of %d (-want +got):\n%s", step, d)
				}
			}
		})
	}
}

func TestRowsWithAFullBuffer(t *testing.T) {
	c := &rows{delimiter: ','}
	n, it, emit := c.cut([]byte("1,\"2\n3,4\n"), full)
	if n != 5 || !emit || it.Malformed == "" {
		t.Errorf("an open quote: %d bytes, %v %+v", n, emit, it)
	}
	if n, _, _ := c.cut([]byte("12345"), full); n != 0 {
		t.Errorf("a line without an end: %d bytes", n)
	}
}

// FuzzRows compares with encoding/csv, which normalizes line ends inside quotes; where that refuses a text, a row must be
// malformed here too, or have a quote inside an unquoted field.
func FuzzRows(f *testing.F) {
	for _, s := range []string{
		"a,b\n1,2\n", "\"a\"\"b\",\"c\nd\"\r\n,\n", "a\r\n\r\nb,\"\"", "x,\"y\nz", "\"a\"b\n", "a\"b,c\n", "\r", "\"\r\n\"", "a,\"\r",
		"\"\"\"", ",,\n,\n", "\"a\"\r", "\r\n\r", "a\rb\n",
	} {
		f.Add(s, byte(3))
	}
	f.Fuzz(func(t *testing.T, text string, step byte) {
		items := cutAll(t, &anyCount{rows{delimiter: ','}}, text, int(step)%9+1)
		if d := cmp.Diff(items, cutAll(t, &anyCount{rows{delimiter: ','}}, text, len(text)+1)); d != "" {
			t.Fatalf("the pieces the text comes in make a difference:\n%s", d)
		}
		var mine [][]string
		malformed := false
		for _, it := range items {
			malformed = malformed || it.Malformed != ""
			row := []string{}
			for _, v := range it.Values {
				row = append(row, strings.ReplaceAll(v, "\r\n", "\n"))
			}
			mine = append(mine, row)
		}
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = -1
		want, err := r.ReadAll()
		switch {
		case err == nil && malformed:
			t.Fatalf("malformed, and encoding/csv reads it: %+v", items)
		case err == nil:
			if d := cmp.Diff(want, mine); d != "" && len(want)+len(mine) > 0 {
				t.Fatalf("-encoding/csv +rows:\n%s", d)
			}
		case errors.Is(err, csv.ErrQuote) && !malformed && !bareQuote(text):
			t.Fatalf("encoding/csv: %v; here %+v", err, items)
		}
	})
}

// bareQuote says whether encoding/csv might mind a quote inside an unquoted field somewhere.
func bareQuote(text string) bool {
	for i := 1; i < len(text); i++ {
		if text[i] == '"' && !strings.ContainsRune(",\n\"", rune(text[i-1])) {
			return true
		}
	}
	return false
}

// anyCount reads rows of any number of fields.
type anyCount struct{ rows }

func (a *anyCount) cut(text []byte, end ending) (int, envelope.Item, bool) {
	a.names = nil
	return a.rows.cut(text, end)
}

func FuzzLines(f *testing.F) {
	f.Add("a\nb\r\n\nc", byte(1))
	f.Add("\r\n\r", byte(2))
	f.Fuzz(func(t *testing.T, text string, step byte) {
		var mine, want []string
		for _, it := range cutAll(t, lines{envelope.Text}, text, int(step)%9+1) {
			mine = append(mine, it.Data)
		}
		s := bufio.NewScanner(strings.NewReader(text))
		for s.Scan() {
			want = append(want, s.Text())
		}
		if d := cmp.Diff(want, mine); d != "" {
			t.Fatalf("-bufio.Scanner +lines:\n%s", d)
		}
	})
}

func TestFormatOf(t *testing.T) {
	for _, c := range []struct {
		ext, text string
		end       ending
		want      string
	}{
		{".csv", "", final, formatCSV},
		{".jsonl", "", final, formatNDJSON},
		{".log", "{}", final, formatLines},
		{".json", "{\"a\":1}\n{\"a\":2}\n", more, formatNDJSON},
		{".json", "{\"a\":1}", more, ""},
		{".json", "{\"a\":1}", final, formatNDJSON},
		{".json", "{\n\"a\":1}", more, formatJSON},
		{".json", "{\"a\":1", full, formatJSON},
		{".json", "12\n", final, formatNDJSON},
		{".dat", "\n {\"a\":1}\n", more, formatNDJSON},
		{".dat", "[\n1]", more, formatJSON},
		{".dat", "12\n", more, formatLines},
		{".dat", "caf\xc3\xa9\n", more, formatLines},
		{".dat", "\x00\x01\n", more, formatBytes},
		{"", "\xff\n", more, formatBytes},
		{"", strings.Repeat("x", 4095) + "\xc3\xa9\n", more, formatLines},
	} {
		if got := formatOf(c.ext, []byte(c.text), c.end); got != c.want {
			t.Errorf("%s %.20q %v: %q, want %q", c.ext, c.text, c.end, got, c.want)
		}
	}
}

// The sum at a position does not depend on how it was reached, and any byte of the 4 KiB before it matters.
func TestTrail(t *testing.T) {
	text := make([]byte, 5*page+123)
	for i := range text {
		text[i] = byte(i * 7 / 3)
	}
	sumAt := func(text []byte, at int) string {
		tr := newTrail()
		start := int(trailStart(int64(at)))
		tr.restart(int64(start))
		tr.write(text[start:at])
		return tr.sum()
	}
	tr, at := newTrail(), 0
	for _, step := range []int{1, 100, page - 101, 1, page - 1, 10, 2*page + 5, 200} {
		tr.write(text[at : at+step])
		at += step
		if want := sumAt(text, at); tr.sum() != want {
			t.Errorf("at %d: %s, from its start %s", at, tr.sum(), want)
		}
		for _, back := range []int{1, min(at, page)} {
			changed := bytes.Clone(text)
			changed[at-back] ^= 1
			if sumAt(changed, at) == tr.sum() {
				t.Errorf("at %d: byte %d before does not matter", at, back)
			}
		}
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []position{{}, {At: 5, Hash: "x"}, {At: 1 << 40, Hash: "y", Part: true, Short: 3, Size: 4, Mtime: -5}} {
		back, err := parsePosition(p.encode())
		if err != nil || back != p {
			t.Errorf("%s: %+v %v", p.encode(), back, err)
		}
	}
	for _, bad := range []string{`{"at":-1}`, `[]`, `{"at":"x"}`} {
		if _, err := parsePosition([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	if name, g, ok := parseStream(streamName("a#1/b", 12)); name != "a#1/b" || g != 12 || !ok {
		t.Errorf("%s %d %v", name, g, ok)
	}
}
