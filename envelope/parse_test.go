package envelope_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
)

func TestParse(t *testing.T) {
	text := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	view := func(rawData, metadata, timestamp string, other ...envelope.Member) envelope.View {
		return envelope.View{RawData: text(rawData), Metadata: text(metadata), Timestamp: text(timestamp), Other: other}
	}
	cases := []struct {
		value string
		want  envelope.View
	}{
		{`{}`, view("", "", "")},
		{`{"raw_data":{"a":[1,{}]},"metadata":{},"ingestion_timestamp":17}`, view(`{"a":[1,{}]}`, `{}`, `17`)},
		{"\xef\xbb\xbf {\n \"ingestion_timestamp\" : \"x\" ,\t\"raw_data\" :null }\r\n", view(`null`, "", `"x"`)},
		{`{"raw\u005fdata":1,"metad\u0061ta":2}`, view(`1`, `2`, "")},
		{`{"RAW_DATA":1}`, view("", "", "", envelope.Member{Name: "RAW_DATA", Value: []byte(`1`)})},
		{
			`{"z":"}","raw_data":"\"]","\u0061\"":[ "a" ,[]],"":true}`,
			view(`"\"]"`, "", "", envelope.Member{Name: "z", Value: []byte(`"}"`)}, envelope.Member{Name: `a"`, Value: []byte(`[ "a" ,[]]`)}, envelope.Member{Name: "", Value: []byte(`true`)}),
		},
		{`{"raw_data":"\\","metadata":"\\\"","ingestion_timestamp":-1.5e3}`, view(`"\\"`, `"\\\""`, `-1.5e3`)},
		{`{"raw_data":{"raw_data":{"raw_data":1}}}`, view(`{"raw_data":{"raw_data":1}}`, "", "")},
		{
			`{"raw_data":` + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + `}`,
			view(strings.Repeat("[", 1_000_000)+strings.Repeat("]", 1_000_000), "", ""),
		},
		// What lies deeper than the top level is not looked at.
		{`{"raw_data":{"a" 01 nonsense,,},"metadata":["\q"]}`, view(`{"a" 01 nonsense,,}`, `["\q"]`, "")},
	}
	for _, c := range cases {
		got, err := envelope.Parse([]byte(c.value))
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("Parse(%.100q): %v, %.2000s", c.value, err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, `"k%d":0,`, i)
	}
	cases := []struct {
		value, reason string
		offset        int
	}{
		{``, envelope.Empty, 0},
		{" \n", envelope.Empty, 2},
		{`[]`, envelope.NotAnObject, 0},
		{` "a"`, envelope.NotAnObject, 1},
		{`1`, envelope.NotAnObject, 0},
		{`{`, envelope.UnexpectedEnd, 1},
		{`{"a`, envelope.UnexpectedEnd, 3},
		{`{"a"`, envelope.UnexpectedEnd, 4},
		{`{"a":`, envelope.UnexpectedEnd, 5},
		{`{"a":1`, envelope.UnexpectedEnd, 6},
		{`{"a":1,`, envelope.UnexpectedEnd, 7},
		{`{"a":[{}`, envelope.UnexpectedEnd, 8},
		{`{"a":["`, envelope.UnexpectedEnd, 7},
		{`{"a":"\"`, envelope.UnexpectedEnd, 8},
		{`{"a":tru`, envelope.UnexpectedEnd, 8},
		{`{a:1}`, envelope.UnexpectedCharacter, 1},
		{`{,}`, envelope.UnexpectedCharacter, 1},
		{`{"a":1,}`, envelope.UnexpectedCharacter, 7},
		{`{"a" 1}`, envelope.UnexpectedCharacter, 5},
		{`{"a":}`, envelope.UnexpectedCharacter, 5},
		{`{"a":1 "b":2}`, envelope.UnexpectedCharacter, 7},
		{`{"a":1]`, envelope.UnexpectedCharacter, 6},
		{`{"a":[}]}`, envelope.UnexpectedCharacter, 6},
		{`{"a":{]}`, envelope.UnexpectedCharacter, 6},
		{`{"a":01}`, envelope.BadNumber, 5},
		{`{"a":nan}`, envelope.BadLiteral, 5},
		{`{"\q":1}`, envelope.BadEscape, 1},
		{`{}{}`, envelope.TextAfterValue, 2},
		{`{"raw_data":1} x`, envelope.TextAfterValue, 15},
		{`{"raw_data":1,"raw_data":1}`, envelope.DuplicateKey, 14},
		{`{"metadata":1,"a":1,"metad\u0061ta":1}`, envelope.DuplicateKey, 20},
		{`{"a":1,"b":2,"\u0061":3}`, envelope.DuplicateKey, 13},
		{`{` + many.String() + `"k99999":1}`, envelope.DuplicateKey, 1 + many.Len()},
	}
	for _, c := range cases {
		_, err := envelope.Parse([]byte(c.value))
		if want := (envelope.SyntaxError{Offset: c.offset, Reason: c.reason}); fault(err) != want {
			t.Errorf("Parse(%.100q): %v, want %+v", c.value, err, want)
		}
	}
}

func TestParseAliases(t *testing.T) {
	value := []byte(`{"raw_data":[1],"x":2}`)
	v, err := envelope.Parse(value)
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.SliceData(v.RawData) != &value[12] || unsafe.SliceData(v.Other[0].Value) != &value[20] {
		t.Error("a value was copied")
	}
	if _ = append(v.RawData, '!'); value[15] != ',' {
		t.Error("appending to a value wrote into the record")
	}
}

func TestLookup(t *testing.T) {
	cases := []struct {
		value string
		path  []string
		want  string // "" if it is not found
	}{
		{`{"raw_data":{"ingestion_timestamp":1},"ingestion_timestamp":2}`, []string{"ingestion_timestamp"}, `2`},
		{`{"a":{"b":{"c": "x" }}}`, []string{"a", "b", "c"}, `"x"`},
		{`{"a":{"b":{"c": "x" }}}`, []string{"a", "b"}, `{"c": "x" }`},
		{`{"a":{"b":1}}`, []string{"a", "c"}, ""},
		{`{"a":{"b":1}}`, []string{"b"}, ""},
		{`{"a":[{"b":1}]}`, []string{"a", "b"}, ""},
		{`{"a":"{\"b\":1}"}`, []string{"a", "b"}, ""},
		{`{"a":1}`, []string{"a", "b"}, ""},
		{`{"a":null}`, []string{"a"}, `null`},
		{`{"a.b":1,"a":{"b":2}}`, []string{"a.b"}, `1`},
		{`{"":{"":1}}`, []string{"", ""}, `1`},
		{`{"t\u0073":1}`, []string{"ts"}, `1`},
		{`{"a":1,"a":2}`, []string{"a"}, `2`},
		{`{"a":{"b":1},"a":{"c":2}}`, []string{"a", "b"}, ""},
		{`{"x":"\\\"a\":9","a":1}`, []string{"a"}, `1`},
		{"\xef\xbb\xbf {\"a\" :\n1 } ", []string{"a"}, `1`},
		{`{"\q":1,"a":2}`, []string{"a"}, `2`},
		{`{"big":"` + strings.Repeat(`x\"`, 100_000) + `","a":1}`, []string{"a"}, `1`},
		{`{}`, []string{"a"}, ""},
		{`[{"a":1}]`, []string{"a"}, ""},
		{`17`, []string{"a"}, ""},
		{`"a"`, []string{"a"}, ""},
		{`{"a":1}`, nil, ""},
	}
	for _, c := range cases {
		got, found, err := envelope.Lookup([]byte(c.value), c.path...)
		if string(got) != c.want || found != (c.want != "") || err != nil {
			t.Errorf("Lookup(%.100q, %q) = %q, %t, %v; want %q", c.value, c.path, got, found, err, c.want)
		}
	}
}

func TestLookupRefuses(t *testing.T) {
	cases := []struct {
		value string
		want  envelope.SyntaxError
	}{
		{``, envelope.SyntaxError{Offset: 0, Reason: envelope.Empty}},
		{`{"a":{"b":1}`, envelope.SyntaxError{Offset: 12, Reason: envelope.UnexpectedEnd}},
		{`{"a":{"b":1}}}`, envelope.SyntaxError{Offset: 13, Reason: envelope.TextAfterValue}},
		{`{"a":{"b":1},"c":[}]}`, envelope.SyntaxError{Offset: 18, Reason: envelope.UnexpectedCharacter}},
		{`{"a":{b:1}}`, envelope.SyntaxError{Offset: 6, Reason: envelope.UnexpectedCharacter}},
		{`[1`, envelope.SyntaxError{Offset: 2, Reason: envelope.UnexpectedEnd}},
		{`1 2`, envelope.SyntaxError{Offset: 2, Reason: envelope.TextAfterValue}},
		{`}`, envelope.SyntaxError{Offset: 0, Reason: envelope.UnexpectedCharacter}},
	}
	for _, c := range cases {
		if _, found, err := envelope.Lookup([]byte(c.value), "a", "b"); fault(err) != c.want || found {
			t.Errorf("Lookup(%q): %t, %v; want %+v", c.value, found, err, c.want)
		}
	}
}

func TestMetadataMalformed(t *testing.T) {
	cases := []struct {
		metadata, reason string
		ok               bool
	}{
		{`{"thread_id":0,"malformed":"too-deep"}`, "too-deep", true},
		{`{"malformed":"a \"b\""}`, `a "b"`, true},
		{`{"malformed":""}`, "", true},
		{`{"thread_id":0,"x":{"malformed":"too-deep"}}`, "", false},
		{`{"malformed":true}`, "", false},
		{`{"malformed":"\q"}`, "", false},
		{`"malformed"`, "", false},
		{`{"malformed":"x"`, "", false},
		{``, "", false},
	}
	for _, c := range cases {
		if reason, ok := envelope.MetadataMalformed([]byte(c.metadata)); ok != c.ok || ok && reason != c.reason {
			t.Errorf("MetadataMalformed(%q) = %q, %t", c.metadata, reason, ok)
		}
	}
}

// FuzzLookup compares Lookup and Parse with encoding/json on texts that both read.
func FuzzLookup(f *testing.F) {
	for _, text := range corpus() {
		f.Add(text, "a", "b")
	}
	f.Add([]byte(`{"a":{"b":{"c":1}},"a":{"b":2}}`), "a", "b")
	f.Add([]byte(`{"\u0061":{"b\\":"\""}}`), "a", "b\\")
	f.Fuzz(func(t *testing.T, value []byte, first, second string) {
		raw, found, err := envelope.Lookup(value, first, second)
		view, parseErr := envelope.Parse(value)
		if _, strict := envelope.Compact(nil, value, generous); strict != nil {
			return
		}
		if err != nil {
			t.Fatalf("Lookup(%q): %v", value, err)
		}
		bare, _ := bytes.CutPrefix(value, []byte("\xef\xbb\xbf"))
		var top, inner map[string]json.RawMessage
		isObject := json.Unmarshal(bare, &top) == nil && top != nil
		if want := map[bool]string{true: envelope.DuplicateKey, false: envelope.NotAnObject}[isObject]; parseErr != nil && fault(parseErr).Reason != want {
			t.Fatalf("Parse(%q): %v", value, parseErr)
		}
		if parseErr == nil && !bytes.Equal(view.RawData, top[envelope.KeyRawData]) {
			t.Fatalf("Parse(%q) finds %q, encoding/json %q", value, view.RawData, top[envelope.KeyRawData])
		}
		json.Unmarshal(top[first], &inner)
		if want, ok := inner[second]; ok != found || !bytes.Equal(raw, want) {
			t.Fatalf("Lookup(%q, %q, %q) = %q, %t; encoding/json finds %q, %t", value, first, second, raw, found, want, ok)
		}
	})
}
