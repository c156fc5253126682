package rest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf16"

	"headwater/internal/retry"
)

func TestConvert(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrays    []string
		text      string
		want      string
		repeated  string
		mediaType string
	}{
		"text":               {text: "<a> b\n</a>", want: `{"a":" b\n"}`},
		"nothing":            {text: "<a/>", want: `{"a":""}`},
		"nothing, two tags":  {text: "<a></a>\n", want: `{"a":""}`},
		"attributes":         {text: `<a z="1" b='"&lt;'> </a>`, want: `{"a":{"@z":"1","@b":"\"<","#text":" "}}`},
		"an attribute alone": {text: `<a z=""/>`, want: `{"a":{"@z":""}}`},
		"children":           {text: "<a>\n <c>1</c>\n <b>02</b>\n</a>", want: `{"a":{"c":"1","b":"02"}}`},
		"both":               {text: "<p>Hello <b>big</b> world</p>", want: `{"p":{"#text":"Hello  world","b":"big"}}`},
		"repeated":           {text: "<a><b>1</b><c/><b x='2'/></a>", want: `{"a":{"b":["1",{"@x":"2"}],"c":""}}`, repeated: "[a/b]"},
		"one as many":        {arrays: []string{"b"}, text: "<a><b>1</b><c/></a>", want: `{"a":{"b":["1"],"c":""}}`},
		"many as many":       {arrays: []string{"b"}, text: "<a><b>1</b><b>2</b></a>", want: `{"a":{"b":["1","2"]}}`},
		"by path":            {arrays: []string{"x/b"}, text: "<a><b>1</b><x><b>2</b></x><xx><b>3</b></xx></a>", want: `{"a":{"b":"1","x":{"b":["2"]},"xx":{"b":"3"}}}`},
		"by the whole path":  {arrays: []string{"a/b"}, text: "<a><b>1</b><c><b>2</b></c></a>", want: `{"a":{"b":["1"],"c":{"b":"2"}}}`},
		"all":                {arrays: []string{"*"}, text: "<a><b><c/></b></a>", want: `{"a":{"b":[{"c":[""]}]}}`},
		"name spaces": {
			text: `<s:a xmlns:s="urn:s" xmlns="urn:d" s:id="1"><b>2</b></s:a>`,
			want: `{"s:a":{"@xmlns:s":"urn:s","@xmlns":"urn:d","@s:id":"1","b":"2"}}`,
		},
		"CDATA":         {text: "<a>1 &lt; <![CDATA[<b>&amp;]]]]><![CDATA[>]]></a>", want: `{"a":"1 < <b>&amp;]]>"}`},
		"what is none":  {text: "<?xml version='1.0'?><!DOCTYPE a [<!ELEMENT a ANY>]><!-- x --><a><?go on?>1<!-- <b> -->2</a><!-- y -->", want: `{"a":"12"}`},
		"line ends":     {text: "<a>1\r\n2&#13;\t&#x1F600;</a>", want: `{"a":"1\n2\r\t😀"}`},
		"a mark":        {text: "\xef\xbb\xbf<?xml version='1.0' encoding='utf-8'?><a>é</a>", want: `{"a":"é"}`},
		"Latin 1 names": {text: "<?xml version='1.0' encoding='ISO-8859-1'?><a \xe9='1'>\xe9</a>", want: `{"a":{"@é":"1","#text":"é"}}`},
		"Shift JIS":     {text: "<?xml version='1.0' encoding='Shift_JIS'?><a>\x93\xfa\x96{</a>", want: `{"a":"日本"}`},
		"UTF-16":        {text: wide("<?xml version='1.0' encoding='UTF-16'?><a>日本</a>"), want: `{"a":"日本"}`},
		"the header":    {text: "<a>\xe9</a>", want: `{"a":"é"}`, mediaType: `text/xml; charset="iso-8859-1"`},
		"both say":      {text: "<?xml version='1.0' encoding='Shift_JIS'?><a>é</a>", want: `{"a":"é"}`, mediaType: "text/xml; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, repeated, err := XML{Arrays: c.arrays}.convert([]byte(c.text), c.mediaType)
			if err != nil || string(got) != c.want {
				t.Errorf("%s, want %s: %v", got, c.want, err)
			}
			if said := fmt.Sprint(repeated); said != cmp.Or(c.repeated, "[]") {
				t.Errorf("repeated are %s", said)
			}
		})
	}
}

// wide is UTF-16 with its mark.
func wide(text string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

// TestBadXML: what is no document is an error that says where.
func TestBadXML(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	if _, _, err := (XML{}).convert([]byte(deep(deepest)), ""); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"<a><b>1</b>":     "it ends within <a>: unexpected EOF",
		"<a>1</b>":        "line 1: </b> ends what has not begun",
		"</a>":            "line 1: </a> ends what has not begun",
		"<a/>\n<b/>":      "line 2: there is a second element",
		"<a/>x":           "there is text outside",
		"x<a/>":           "there is text outside",
		"<!-- a -->":      "it has no element",
		"<a b='1' b='2'>": "<a> has b twice",
		"<a b=1/>":        "unquoted",
		"<a>\x00</a>":     "illegal character code",
		"<a>\xff</a>":     "invalid UTF-8",
		"<a>&nbsp;</a>":   "invalid character entity &nbsp;",
		`<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>`:    "invalid character entity &c;",
		`<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>`: "invalid character entity &b;",
		deep(deepest + 1):                                             "there are elements within more than 400 others",
		"<?xml version='1.1'?><a/>":                                   "unsupported version",
		"<?xml version='1.0' encoding='klingon'?><a/>":                `the encoding "klingon" is not known: ask the API for UTF-8`,
		"<?xml version='1.0' encoding='iso-2022-kr'?><a/>":            "is not known",
		"<?xml version='1.0' encoding='Shift_JIS'?><a>\x93</a>":       "decoding shift_jis: there are bytes that mean nothing in it",
		wide("<a>x</a>") + "\x00":                                     "decoding utf-16le",
		"<a>" + strings.Repeat("x", 100) + "<![CDATA[" + "y" + "</a>": "unexpected EOF",
	} {
		got, _, err := XML{}.convert([]byte(text), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q is %s: %v, want %s", text, got, err, want)
		}
	}
}

// TestXML reads pages of XML, with records, a total, a cursor and times.
func TestXML(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Accept"), "application/xml") {
			t.Errorf("it asks for %s", r.Header.Get("Accept"))
		}
		w.Header().Set("Content-Type", "application/xml")
		page := map[string]string{
			"":  `<o n="2"><i><n>1</n><at>2026-01-01T00:00:00Z</at></i><next>x</next></o>`,
			"x": `<o n="2"><i><n>2</n><at>2026-01-02T00:00:00Z</at></i><next/></o>`,
		}[r.FormValue("after")]
		_, _ = w.Write([]byte("<?xml version=\"1.0\"?>\n" + page))
	})
	b.c.Format, b.c.Records, b.c.XML.Arrays = formatXML, ".o.i[]", []string{"i"}
	b.c.Paginate.Cursor, b.c.Paginate.Total = &Cursor{Path: ".o.next", Param: "after"}, `.o["@n"]`
	since(&b.c)
	b.must()
	b.must()
	b.expect(`{"n":"1","at":"2026-01-01T00:00:00Z"}`, `{"n":"2","at":"2026-01-02T00:00:00Z"}`)
}

// TestXMLAnswers: what is warned of, cut, empty, or a page of HTML.
func TestXMLAnswers(t *testing.T) {
	t.Parallel()
	for body, c := range map[string]struct {
		says  string
		class retry.Class
		items int
		warns bool
	}{
		"":                                   {},
		"<o><i>1</i><i>2</i></o>":            {items: 2, warns: true},
		"<o><i>1</i><i>2":                    {says: "the answer is not XML: it ends within <i>: unexpected EOF: \"<o><i>1", class: retry.Transient},
		"<!DOCTYPE html><html>Log in</html>": {says: "a page of HTML", class: retry.Permanent},
	} {
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			_, _ = w.Write([]byte(body))
		})
		b.c.Format, b.c.Records = formatXML, ".o.i[]"
		err := b.once()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || retry.Classify(err) != c.class) {
			t.Errorf("%q: %v", body, err)
		}
		if n := len(b.items()); n != c.items {
			t.Errorf("%q: %d items", body, n)
		}
		if warned := strings.Contains(b.logged.String(), "element=o/i"); warned != c.warns {
			t.Errorf("%q: %s", body, b.logged.String())
		}
	}
}

// FuzzXML: a document is an object of one member, and has all elements, attributes and text of what it was made of; the same one each time.
func FuzzXML(f *testing.F) {
	for _, text := range []string{
		"<a/>", `<a x="1" y:z="&amp;"><b>1</b> <b><![CDATA[<]]></b>t</a>`, "<?xml version='1.0' encoding='iso-8859-1'?><a>\xe9</a>", wide("<a>b</a>"),
		`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "<a><a><a/></a><b/><a>&#0;</a></a>", "<:a xmlns=''/>",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, _, err := XML{Arrays: []string{"*"}}.convert(text, "")
		again, _, err2 := XML{Arrays: []string{"*"}}.convert(bytes.Clone(text), "")
		if !bytes.Equal(got, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%q is %s and %s", text, got, again)
		}
		if err != nil {
			return
		}
		var document map[string]any
		if err := json.Unmarshal(got, &document); err != nil || len(document) != 1 {
			t.Fatalf("%q is %s: %v", text, got, err)
		}
		plain, known, err := toUTF8(text, "")
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(plain))
		d.CharsetReader = func(label string, rest io.Reader) (io.Reader, error) {
			all, err := io.ReadAll(rest)
			if err != nil || known {
				return bytes.NewReader(all), err
			}
			all, err = decoded(all, label)
			return bytes.NewReader(all), err
		}
		var want, has count
		for {
			token, err := d.RawToken()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch token := token.(type) {
			case xml.StartElement:
				want.elements++
				want.attributes += len(token.Attr)
			case xml.CharData:
				want.text += len(strings.Join(strings.Fields(string(token)), ""))
			}
		}
		for _, v := range document {
			has.of(v)
		}
		if has != want {
			t.Errorf("%q is %s: %v and not %v", text, got, has, want)
		}
	})
}

// count is what a document has; of text the bytes that are not blank.
type count struct{ elements, attributes, text int }

func (n *count) of(element any) {
	n.elements++
	text := func(s string) { n.text += len(strings.Join(strings.Fields(s), "")) }
	object, is := element.(map[string]any)
	if !is {
		text(element.(string))
		return
	}
	for name, v := range object {
		switch {
		case strings.HasPrefix(name, "@"):
			n.attributes++
		case name == "#text":
			text(v.(string))
		default:
			for _, child := range v.([]any) {
				n.of(child)
			}
		}
	}
}
