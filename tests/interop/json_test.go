package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestJSONSuite takes the texts of JSONTestSuite, and some that are not UTF-8, through all stages: what is JSON is a row, with its own bytes in the raw
// object, and what is none is whole in the quarantine, with objects that have a key twice. Of texts that are for the parser to decide, numbers of any size, lone surrogates and
// depth are accepted, and what is not UTF-8 is not.
func TestJSONSuite(t *testing.T) {
	texts := fixture.Texts(t)
	if len(texts) != 318 {
		t.Fatalf("%d texts", len(texts))
	}
	for name, input := range map[string]string{
		"i_not_utf8_lone_continuation": "\"\x81\"", "i_not_utf8_truncated": "\"\xe0\xff\"", "i_not_utf8_overlong": "\"\xc0\xaf\"", "i_not_utf8_overlong_6": "\"\xfc\x80\x80\x80\x80\x80\"",
		"i_not_utf8_latin1": "\"\xe9\"", "i_not_utf8_surrogate": "\"\xed\xa0\x80\"", "i_not_utf8_out_of_range": "\"\xf4\xbf\xbf\xbf\"",
		"i_not_utf8_utf16": "\xff\xfe\"\x00a\x00\"\x00", "i_not_utf8_invalid_sequence": "\"日ш\xfa\"", "n_not_utf8_in_a_number": "1\xe5", "n_not_utf8_after": "1\xe5\x00",
	} {
		texts = append(texts, fixture.Text{Name: name, Input: input})
	}
	p := newPipeline(t, "sources:\n  texts: {file: {path: \"in/*.json\", format: json, array: document}}\n")
	want, refused := map[string]string{}, 0
	for n, text := range texts {
		item := fmt.Sprintf(`{"name":%q,"text":%s}`, text.Name, text.Input)
		p.Write(t, fmt.Sprintf("in/%03d.json", n), []byte(item))
		if accepted(text) {
			want[text.Name] = item
		} else {
			refused++
		}
	}
	p.headwater(t, "run", "--once")
	got := map[string]string{}
	malformed := 0
	binary.EachLine(t, filepath.Join(p.Dir, "headwater-data/raw/topics"), func(line []byte) {
		var e struct {
			RawData  json.RawMessage `json:"raw_data"`
			Metadata struct{ Malformed string }
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if e.Metadata.Malformed != "" {
			malformed++
			return
		}
		var item struct{ Name string }
		if err := json.Unmarshal(e.RawData, &item); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		got[item.Name] = string(e.RawData)
	})
	for name, item := range want {
		var own bytes.Buffer
		if err := json.Compact(&own, []byte(item)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got[name] != own.String() {
			t.Errorf("%s: got %q, want %q", name, got[name], own.String())
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s was accepted", name)
	}
	if malformed != refused {
		t.Errorf("%d texts are malformed, want %d", malformed, refused)
	}
	kept := 0
	binary.EachLine(t, filepath.Join(p.Dir, "headwater-data/raw/_quarantine/serialize"), func([]byte) { kept++ })
	rows := strings.Count(p.headwater(t, "query", "--format", "csv", "select name from air.texts"), "\n") - 1
	const repeated = 2 // objects that have a key twice are JSON, and have no row that would say all
	if kept != refused+repeated || rows != len(want)-repeated {
		t.Errorf("%d rows and %d texts in quarantine, want %d and %d", rows, kept, len(want)-repeated, refused+repeated)
	}
	t.Logf("%d accepted, %d refused", len(want), refused)
}

// accepted says what becomes of a text.
func accepted(text fixture.Text) bool {
	switch {
	case strings.HasPrefix(text.Name, "y_"):
		return true
	case strings.HasPrefix(text.Name, "n_"), strings.Contains(text.Name, "not_utf8"), strings.Contains(text.Name, "UTF-16"), strings.Contains(text.Name, "utf16"):
		return false
	case strings.Contains(text.Name, "BOM"):
		return false // inside of an item it is none
	}
	return true
}
