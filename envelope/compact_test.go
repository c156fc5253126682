package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"headwater/envelope"
)

// generous are limits beside which only the grammar decides; encoding/json has the same depth.
var generous = envelope.Limits{Depth: 10_000, String: 1 << 30}

func fault(err error) envelope.SyntaxError {
	if syntax, ok := errors.AsType[*envelope.SyntaxError](err); ok {
		return *syntax
	}
	return envelope.SyntaxError{Offset: -1, Reason: fmt.Sprint(err)}
}

// accepted are texts and what Compact makes of them; "=" is the text itself.
var accepted = []struct{ text, want string }{
	// Structure.
	{`[]`, "="},
	{`{}`, "="},
	{`[[]]`, "="},
	{`[[]   ]`, `[[]]`},
	{` [1]`, `[1]`},
	{`[1] `, `[1]`},
	{"[1]\n", `[1]`},
	{"\t[1\n,1\r\n,2]", `[1,1,2]`},
	{`[1,null,"1",{},[]]`, "="},
	{`{"a":[]}`, "="},
	{`{"":0}`, "="},
	{`{"a":"b","a":"c"}`, "="},
	{`{"a":"b","a":"b"}`, "="},
	{"{\n\"a\" : \"b\"\n}", `{"a":"b"}`},
	{`{"asd":"sdf", "dfg":"fgh"}`, `{"asd":"sdf","dfg":"fgh"}`},
	{`{"foo\u0000bar": 42}`, `{"foo\u0000bar":42}`},
	{`{ "min": -1.0e+28, "max": 1.0e+28 }`, `{"min":-1.0e+28,"max":1.0e+28}`},
	{`{"title":"\u041f\u043e\u043b"}`, "="},
	{`{"z":1,"a":2}`, "="},
	{`[{"a":[{"b":[{}]}]},[[],{}]]`, "="},
	// Scalars alone.
	{`42`, "="},
	{`-0.1`, "="},
	{`null`, "="},
	{`true`, "="},
	{`false`, "="},
	{`"asd"`, "="},
	{`""`, "="},
	{` "a b" `, `"a b"`},
	// Numbers keep their spelling.
	{`[0,-0,0e1,0e+1,-1,-123,1E22,1E+2,1e-2,123.456e78,1.0,0.0]`, "="},
	{`[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]`, "="},
	{`[123456789012345678901234567890123456789012345678901234567890]`, "="},
	{`[1e400,-1e-400,0.4e00669999999999999999]`, "="},
	{`1.10`, "="},
	// Strings keep every byte.
	{`["\"\\\/\b\f\n\r\t"]`, "="},
	{`["\u0060\u012a\u12AB\u0000\uFFFF\uFDD0"]`, "="},
	{`["\uD801\udc37","\ud83d\ude39\ud83d\udc8d","\uDBFF\uDFFF"]`, "="},
	{`["\\u0000","\\a","\"","\\"]`, "="},
	{"[\"a/*b*/c\",\"new\u00a0line\",\"\x7f\",\"\u2028\u2029\"]", "="},
	{"[\"\u0801\ud7ff\ue000\U0001f600\U0010ffff\ufffe\uffff\"]", "="},
	{`["  spaces, [brackets] and {braces}: kept  "]`, "="},
	{`["a` + strings.Repeat(" ", 40) + `\"` + strings.Repeat(" ", 40) + `"]`, "="},
	// What a parser is free to refuse, and Compact keeps.
	{`["\uDADA"]`, "="},
	{`["\uD888\u1234"]`, "="},
	{`["\uDd1e\uD834"]`, "="},
	{`["\uD800\n"]`, "="},
	{`["\ud800abc"]`, "="},
	{`{"\uDFAA":0}`, "="},
	{"\xef\xbb\xbf{}", `{}`},
	{"\xef\xbb\xbf \t[1, 2]", `[1,2]`},
	{"[\"\xef\xbb\xbf\"]", "="},
	{strings.Repeat("[", 500) + strings.Repeat("]", 500), "="},
	{strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "="},
	{strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), "="},
	{strings.Repeat("[ ", 1000) + strings.Repeat(" ]", 1000), strings.Repeat("[", 1000) + strings.Repeat("]", 1000)},
}

func TestCompactAccepts(t *testing.T) {
	for _, c := range accepted {
		if c.want == "=" {
			c.want = c.text
		}
		got, err := envelope.Compact([]byte("before "), []byte(c.text), envelope.DefaultLimits)
		if err != nil || string(got) != "before "+c.want {
			t.Errorf("Compact(%.80q) = %.80q, %v; want %.80q", c.text, got, err, c.want)
		}
	}
}

// refused are texts with the reason and the byte that Compact names.
var refused = []struct {
	text, reason string
	offset       int
}{
	{``, envelope.Empty, 0},
	{` `, envelope.Empty, 1},
	{"\n\n", envelope.Empty, 2},
	{"\xef\xbb\xbf", envelope.Empty, 3},
	{"\xef\xbb\xbf\n", envelope.Empty, 4},

	{`[`, envelope.UnexpectedEnd, 1},
	{`{`, envelope.UnexpectedEnd, 1},
	{`[1`, envelope.UnexpectedEnd, 2},
	{`[1,`, envelope.UnexpectedEnd, 3},
	{`["a",`, envelope.UnexpectedEnd, 5},
	{`["a"`, envelope.UnexpectedEnd, 4},
	{`[{}`, envelope.UnexpectedEnd, 3},
	{`{"a"`, envelope.UnexpectedEnd, 4},
	{`{"a":`, envelope.UnexpectedEnd, 5},
	{`{"a":"b"`, envelope.UnexpectedEnd, 8},
	{`{"a":"b",`, envelope.UnexpectedEnd, 9},
	{`["`, envelope.UnexpectedEnd, 2},
	{`["abc`, envelope.UnexpectedEnd, 5},
	{`["abc12345678`, envelope.UnexpectedEnd, 13},
	{`["\`, envelope.UnexpectedEnd, 2},
	{`["\"`, envelope.UnexpectedEnd, 4},
	{`["\u00`, envelope.UnexpectedEnd, 2},
	{`["\uD834\u`, envelope.UnexpectedEnd, 8},
	{`tru`, envelope.UnexpectedEnd, 3},
	{`[nul`, envelope.UnexpectedEnd, 4},
	{`-`, envelope.UnexpectedEnd, 1},
	{`[1.`, envelope.UnexpectedEnd, 3},
	{`[1e`, envelope.UnexpectedEnd, 3},
	{`[1e+`, envelope.UnexpectedEnd, 4},
	{strings.Repeat("[", 1000), envelope.UnexpectedEnd, 1000},

	{`]`, envelope.UnexpectedCharacter, 0},
	{`}`, envelope.UnexpectedCharacter, 0},
	{`,`, envelope.UnexpectedCharacter, 0},
	{`:`, envelope.UnexpectedCharacter, 0},
	{`[,1]`, envelope.UnexpectedCharacter, 1},
	{`[1,]`, envelope.UnexpectedCharacter, 3},
	{`[1,,2]`, envelope.UnexpectedCharacter, 3},
	{`[,]`, envelope.UnexpectedCharacter, 1},
	{`[1 true]`, envelope.UnexpectedCharacter, 3},
	{`["a" "b"]`, envelope.UnexpectedCharacter, 5},
	{`["":1]`, envelope.UnexpectedCharacter, 3},
	{`["x"}`, envelope.UnexpectedCharacter, 4},
	{`{"x":1]`, envelope.UnexpectedCharacter, 6},
	{`[}`, envelope.UnexpectedCharacter, 1},
	{`{]`, envelope.UnexpectedCharacter, 1},
	{`[3[4]]`, envelope.UnexpectedCharacter, 2},
	{`[1:2]`, envelope.UnexpectedCharacter, 2},
	{`{1:1}`, envelope.UnexpectedCharacter, 1},
	{`{a:"b"}`, envelope.UnexpectedCharacter, 1},
	{`{null:1}`, envelope.UnexpectedCharacter, 1},
	{`{[:"b"}`, envelope.UnexpectedCharacter, 1},
	{`{'a':0}`, envelope.UnexpectedCharacter, 1},
	{`['a']`, envelope.UnexpectedCharacter, 1},
	{`{"a","b"}`, envelope.UnexpectedCharacter, 4},
	{`{"a" "b"}`, envelope.UnexpectedCharacter, 5},
	{`{"a"::1}`, envelope.UnexpectedCharacter, 5},
	{`{"a":}`, envelope.UnexpectedCharacter, 5},
	{`{"a":,}`, envelope.UnexpectedCharacter, 5},
	{`{"a":1,}`, envelope.UnexpectedCharacter, 7},
	{`{"a":1,,"b":2}`, envelope.UnexpectedCharacter, 7},
	{`{,"a":1}`, envelope.UnexpectedCharacter, 1},
	{`{"a":1 "b":2}`, envelope.UnexpectedCharacter, 7},
	{`{"a":1:2}`, envelope.UnexpectedCharacter, 6},
	{`{"a":"b"/**/}`, envelope.UnexpectedCharacter, 8},
	{`/**/1`, envelope.UnexpectedCharacter, 0},
	{`[1]#`, envelope.TextAfterValue, 3},
	{`<null>`, envelope.UnexpectedCharacter, 0},
	{`[*]`, envelope.UnexpectedCharacter, 1},
	{`[\u000A""]`, envelope.UnexpectedCharacter, 1},
	{"[1,\v2]", envelope.UnexpectedCharacter, 3},
	{"[\f]", envelope.UnexpectedCharacter, 1},
	{"[\u2060]", envelope.UnexpectedCharacter, 1},
	{"[\u00a01]", envelope.UnexpectedCharacter, 1},
	{"\u00e5", envelope.UnexpectedCharacter, 0},
	{"\x00[1]", envelope.UnexpectedCharacter, 0},
	{"\xef\xbb\xbf\xef\xbb\xbf{}", envelope.UnexpectedCharacter, 3},
	{"[\x00\"\x00\xc3\xa9\x00\"\x00]", envelope.UnexpectedCharacter, 1},

	{`1]`, envelope.TextAfterValue, 1},
	{`[1]]`, envelope.TextAfterValue, 3},
	{`[1]x`, envelope.TextAfterValue, 3},
	{`{}}`, envelope.TextAfterValue, 2},
	{`{} {}`, envelope.TextAfterValue, 3},
	{"1\n2", envelope.TextAfterValue, 2},
	{`"a""b"`, envelope.TextAfterValue, 3},
	{`"a",`, envelope.TextAfterValue, 3},
	{`{"a":"b"}#{}`, envelope.TextAfterValue, 9},
	{"[1]\x00", envelope.TextAfterValue, 3},
	{"1\u2060", envelope.TextAfterValue, 1},

	{`NaN`, envelope.BadLiteral, 0},
	{`[Infinity]`, envelope.BadLiteral, 1},
	{`[True]`, envelope.BadLiteral, 1},
	{`[nil]`, envelope.BadLiteral, 1},
	{`[nul]`, envelope.BadLiteral, 1},
	{`[truefalse]`, envelope.BadLiteral, 1},
	{`[a]`, envelope.BadLiteral, 1},
	{`nullx`, envelope.BadLiteral, 0},
	{`[-Infinity]`, envelope.BadNumber, 1},
	{`[-NaN]`, envelope.BadNumber, 1},
	{`[undefined`, envelope.BadLiteral, 1},

	{`[01]`, envelope.BadNumber, 1},
	{`[-01]`, envelope.BadNumber, 1},
	{`[-012]`, envelope.BadNumber, 1},
	{`[00]`, envelope.BadNumber, 1},
	{`00`, envelope.BadNumber, 0},
	{`[+1]`, envelope.BadNumber, 1},
	{`[++1]`, envelope.BadNumber, 1},
	{`+`, envelope.BadNumber, 0},
	{`.`, envelope.BadNumber, 0},
	{`[.5]`, envelope.BadNumber, 1},
	{`[-.5]`, envelope.BadNumber, 1},
	{`[1.]`, envelope.BadNumber, 1},
	{`[0.e1]`, envelope.BadNumber, 1},
	{`[1.2.3]`, envelope.BadNumber, 1},
	{`[1e]`, envelope.BadNumber, 1},
	{`[1e+]`, envelope.BadNumber, 1},
	{`[1eE2]`, envelope.BadNumber, 1},
	{`[1e1.5]`, envelope.BadNumber, 1},
	{`[1+2]`, envelope.BadNumber, 1},
	{`[1-2]`, envelope.BadNumber, 1},
	{`[-]`, envelope.BadNumber, 1},
	{`[--1]`, envelope.BadNumber, 1},
	{`[- 1]`, envelope.BadNumber, 1},
	{`[0x1F]`, envelope.BadNumber, 1},
	{`[1x]`, envelope.BadNumber, 1},
	{`12a`, envelope.BadNumber, 0},
	{`[1 000]`, envelope.UnexpectedCharacter, 3},
	{"[\uff11]", envelope.UnexpectedCharacter, 1},

	{`["\a"]`, envelope.BadEscape, 2},
	{`["\x00"]`, envelope.BadEscape, 2},
	{`["\'"]`, envelope.BadEscape, 2},
	{`["\ "]`, envelope.BadEscape, 2},
	{"[\"\\\n\"]", envelope.BadEscape, 2},
	{"[\"\\\U0001f300\"]", envelope.BadEscape, 2},
	{`["\u"]`, envelope.BadEscape, 2},
	{`["\u00A"]`, envelope.BadEscape, 2},
	{`["\uD800\uD800\x"]`, envelope.BadEscape, 14},
	{`["\u00g0"]`, envelope.BadEscape, 2},
	{`["\U0041"]`, envelope.BadEscape, 2},
	{`{"\q":1}`, envelope.BadEscape, 2},

	{"[\"a\x00a\"]", envelope.ControlCharacter, 3},
	{"[\"new\nline\"]", envelope.ControlCharacter, 5},
	{"[\"\t\"]", envelope.ControlCharacter, 2},
	{"[\"0123456789\x1f\"]", envelope.ControlCharacter, 12},
	{"{\"\r\":1}", envelope.ControlCharacter, 2},

	{"[\"\xff\"]", envelope.InvalidUTF8, 2},
	{"[\"\xe5\"]", envelope.InvalidUTF8, 2},
	{"[\"\x81\"]", envelope.InvalidUTF8, 2},
	{"[\"caf\xe9\"]", envelope.InvalidUTF8, 5},
	{"[\"\xe6\x97\xa5\xd1\x88\xfa\"]", envelope.InvalidUTF8, 7},
	{"[\"\xc0\xaf\"]", envelope.InvalidUTF8, 2},
	{"[\"\xfc\x80\x80\x80\x80\xaf\"]", envelope.InvalidUTF8, 2},
	{"[\"\xed\xa0\x80\"]", envelope.InvalidUTF8, 2},
	{"[\"\xf4\xbf\xbf\xbf\"]", envelope.InvalidUTF8, 2},
	{"[\"\xe0\xff\"]", envelope.InvalidUTF8, 2},
	{"[\"\ufffd\xff\"]", envelope.InvalidUTF8, 5},
	{"[\xe5]", envelope.InvalidUTF8, 1},
	{"[1]\xe5", envelope.InvalidUTF8, 3},
	{"\xef\xbb{}", envelope.InvalidUTF8, 0},
	{"\xff\xfe[\x00]\x00", envelope.InvalidUTF8, 0},
	{"\xfe\xff\x00[\x00]", envelope.InvalidUTF8, 0},

	{strings.Repeat("[", 1001) + strings.Repeat("]", 1001), envelope.TooDeep, 1000},
	{strings.Repeat("[", 100_000), envelope.TooDeep, 1000},
	{strings.Repeat(`[{"":`, 50_000), envelope.TooDeep, 2500},
	{strings.Repeat(`{"a":`, 1001), envelope.TooDeep, 5000},
}

func TestCompactRefuses(t *testing.T) {
	before := []byte("before")
	for _, c := range refused {
		got, err := envelope.Compact(before, []byte(c.text), envelope.DefaultLimits)
		if want := (envelope.SyntaxError{Offset: c.offset, Reason: c.reason}); fault(err) != want {
			t.Errorf("Compact(%.80q): %+v, want %+v", c.text, fault(err), want)
		}
		if string(got) != "before" {
			t.Errorf("Compact(%.80q) gave back %.80q", c.text, got)
		}
	}
}

func TestCompactLimits(t *testing.T) {
	cases := []struct {
		text   string
		limits envelope.Limits
		want   envelope.SyntaxError
	}{
		{`["12345"]`, envelope.Limits{Depth: 1, String: 5}, envelope.SyntaxError{}},
		{`["123456"]`, envelope.Limits{Depth: 1, String: 5}, envelope.SyntaxError{Offset: 1, Reason: envelope.StringTooLong}},
		{`{"123456":1}`, envelope.Limits{Depth: 1, String: 5}, envelope.SyntaxError{Offset: 1, Reason: envelope.StringTooLong}},
		{`["\u0041"]`, envelope.Limits{Depth: 1, String: 5}, envelope.SyntaxError{Offset: 1, Reason: envelope.StringTooLong}},
		{`[[]]`, envelope.Limits{Depth: 1, String: 5}, envelope.SyntaxError{Offset: 1, Reason: envelope.TooDeep}},
		{`[1,2,{}]`, envelope.Limits{Depth: 1}, envelope.SyntaxError{Offset: 5, Reason: envelope.TooDeep}},
		{`[[],[],[]]`, envelope.Limits{Depth: 2}, envelope.SyntaxError{}},
		{strings.Repeat("[", 5000) + strings.Repeat("]", 5000), envelope.Limits{Depth: 5000}, envelope.SyntaxError{}},
		{`"` + strings.Repeat("x", 20_000_000) + `"`, envelope.Limits{}, envelope.SyntaxError{}},
		{`"` + strings.Repeat("x", 20_000_001) + `"`, envelope.Limits{}, envelope.SyntaxError{Reason: envelope.StringTooLong}},
	}
	for _, c := range cases {
		_, err := envelope.Compact(nil, []byte(c.text), c.limits)
		if err == nil && c.want.Reason == "" {
			continue
		}
		if fault(err) != c.want {
			t.Errorf("Compact(%.80q, %+v): %v, want %+v", c.text, c.limits, err, c.want)
		}
	}
}

// checkCompact compares Compact with encoding/json, which accepts the same texts except for bytes that are not UTF-8 and a
// leading byte order mark.
func checkCompact(t *testing.T, text []byte) {
	t.Helper()
	bare, _ := bytes.CutPrefix(text, []byte("\xef\xbb\xbf"))
	got, err := envelope.Compact(nil, text, generous)
	if valid := json.Valid(bare) && utf8.Valid(bare); valid != (err == nil) {
		t.Fatalf("Compact(%q): %v; encoding/json says %t", text, err, valid)
	}
	if err != nil {
		if at := fault(err).Offset; at < 0 || at > len(text) {
			t.Fatalf("Compact(%q): %v lies outside the text", text, err)
		}
		return
	}
	var want bytes.Buffer
	if err := json.Compact(&want, bare); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Fatalf("Compact(%q) = %q, encoding/json makes %q", text, got, want.Bytes())
	}
	if again, err := envelope.Compact(nil, got, generous); err != nil || !bytes.Equal(again, got) {
		t.Fatalf("Compact(%q) = %q, %v; once was enough", got, again, err)
	}
}

// corpus are the texts of the tables above that are small enough to be changed byte by byte.
func corpus() [][]byte {
	var texts [][]byte
	for _, c := range accepted {
		texts = append(texts, []byte(c.text))
	}
	for _, c := range refused {
		texts = append(texts, []byte(c.text))
	}
	var small [][]byte
	for _, text := range texts {
		if len(text) < 200 {
			small = append(small, text)
		}
	}
	return small
}

func TestCompactAgreesWithEncodingJSON(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const alphabet = "[]{}:,\"\\ \n\t019.-+eEutrfalsn\x00\x1f\xc3\xa9\xff"
	for _, text := range corpus() {
		checkCompact(t, text)
		for cut := range text {
			checkCompact(t, text[:cut])
		}
		for range 200 {
			changed := bytes.Clone(text)
			for range 1 + random.IntN(3) {
				changed = append(changed, ' ')
				at := random.IntN(len(changed))
				changed[at] = alphabet[random.IntN(len(alphabet))]
			}
			checkCompact(t, changed)
		}
	}
}

func FuzzCompact(f *testing.F) {
	for _, text := range corpus() {
		f.Add(text)
	}
	f.Fuzz(checkCompact)
}
