package rest

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = w.Write([]byte("{\"n\":1, \"at\":\"2026-01-01\"}\r\n\n  {\"n\":1.10,\"at\":\"2026-01-02\"}\n{\"n\":\n[]"))
	})
	b.c.Format, b.c.Records = formatNDJSON, ""
	b.must()
	b.must() // the same again
	b.expect(`{"n":1,"at":"2026-01-01"}`, `{"n":1.10,"at":"2026-01-02"}`, `!unexpected-end "{\"n\":"`, `[]`)
	b.log = newLog()
	since(&b.c)
	for range 2 {
		b.must()
	}
	b.expect(`{"n":1,"at":"2026-01-01"}`, `{"n":1.10,"at":"2026-01-02"}`,
		`!incremental: .at: is not a time as 2026-07-05T12:00:00Z "{\"n\":"`, `!incremental: .at: expected an object but got: array ([]) "[]"`)
}

func TestRows(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/csv")
		page := map[string]string{
			"1": "\xef\xbb\xbfid,id,,at\r\n1,007,\"a \"\"b\"\",\nc\",2026-01-01\r\n\r\n2,x\r\n3,,,2026-01-02",
			"2": "id,id,,at\n4,y\"z,w,2026-01-03\n5,,,2026-01-04\n\"6,,,\n7,,,",
			"3": "id,id,,at\n",
		}
		_, _ = w.Write([]byte(page[r.FormValue("page")]))
	})
	b.c.Format, b.c.Records = formatCSV, ""
	b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
	want := []string{
		`{"id":"1","id_2":"007","_c2":"a \"b\",\nc","at":"2026-01-01"}`,
		`!row of 2 fields where there should be 4 "2,x"`,
		`{"id":"3","id_2":"","_c2":"","at":"2026-01-02"}`,
		`!csv: parse error on line 2, column 4: bare " in non-quoted-field "4,y\"z,w,2026-01-03"`,
		`{"id":"5","id_2":"","_c2":"","at":"2026-01-04"}`,
		`!csv: record on line 4; parse error on line 6, column 0: extraneous or missing " in quoted-field "\"6,,,\n7,,,"`,
	}
	b.must()
	if got := b.items(); len(got) != 6 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[4] != want[4] ||
		!strings.HasPrefix(got[3], "!csv: ") || !strings.HasPrefix(got[5], "!csv: ") || !strings.HasSuffix(got[3], `"4,y\"z,w,2026-01-03"`) || !strings.HasSuffix(got[5], `"\"6,,,\n7,,,"`) {
		t.Errorf("%q", got)
	}
	b.log = newLog()
	since(&b.c)
	for range 2 {
		b.must()
	}
	if got := b.items(); len(got) != 6 {
		t.Errorf("%q", got)
	}
}

// FuzzOwnBytes: whatever the document, what is picked from it is, decoded, what it was decoded to.
func FuzzOwnBytes(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,2,{"b":null}],"a":{"\u0062":1.0}}`, ` [ [ ] , { } , "\ud800" , -0 , 1e9 ] `, `"x"`, `{"a":{"a":{"a":[]}},"":{"":0}}`, "[1,\n\t{\"k\" : [ true ]} ]",
	} {
		f.Add(text)
	}
	q, err := compile("..")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		document, err := decode([]byte(text))
		if err != nil {
			t.Skip()
		}
		values, texts, err := q.texts(t.Context(), document, []byte(text))
		if err != nil {
			t.Skip()
		}
		for i, own := range texts {
			got, err := decode(own)
			if err != nil || !reflect.DeepEqual(got, values[i]) {
				t.Errorf("%q has %q for %v: %v", text, own, values[i], err)
			}
			if !strings.Contains(text, string(own)) && json.Valid([]byte(text)) {
				t.Errorf("%q has %q, which are not its own bytes", text, own)
			}
		}
	})
}
