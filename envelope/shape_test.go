package envelope_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"headwater/envelope"
)

func TestShape(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		shape  envelope.Shape
		path   string
		landed envelope.Shape
	}{
		{envelope.Shape{Unit: envelope.Seconds, InString: true}, "ingestion_timestamp", envelope.Shape{Unit: envelope.Seconds, InString: true}},
		{envelope.Shape{Bare: true, InString: true}, "", envelope.Shape{InString: true}},
		{envelope.Shape{Bare: true, Field: "a.b", Unit: envelope.ISO}, "a/b", envelope.Shape{}},
	} {
		if got := strings.Join(test.shape.TimePath(), "/"); got != test.path {
			t.Errorf("the time of %+v is at %q, want %q", test.shape, got, test.path)
		}
		if got := test.shape.Landed(); got != test.landed {
			t.Errorf("%+v is %+v in objects, want %+v", test.shape, got, test.landed)
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	m := envelope.Metadata{Source: "s", Key: []byte("k\n"), Headers: [][2]string{{"h", "v"}}}
	got := string(envelope.Wrap([]byte("before "), []byte(`{"a":1.10}`), &m, time.UnixMilli(7)))
	want := `before {"raw_data":{"a":1.10},"metadata":{"thread_id":0,"host_name":"","process_start_time":"","source":"s","key":"k\n","headers":[["h","v"]]},"ingestion_timestamp":7}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ record, want, reason string }{
		{`{"raw_data":"{\"a\": \"\\u00e9\\\"\"}","x":"{}"}`, `{"raw_data":{"a":"\u00e9\""},"x":"{}"}`, ""},
		{` {"x":1 , "raw\u005fdata" : "[1]" } `, ` {"x":1 , "raw\u005fdata" : [1] } `, ""},
		{`{"raw_data":{"raw_data":"{}"}}`, `{"raw_data":{"raw_data":"{}"}}`, ""},
		{`{"raw_data":null}`, `{"raw_data":null}`, ""},
		{`{"x":"{}"}`, `{"x":"{}"}`, ""},
		{`{"raw_data":""}`, "", "json-string: empty"},
		{`{"raw_data":"{\"a\":1}}"}`, "", "json-string: text-after-value"},
		{`{"raw_data":"1,\"x\":2"}`, "", "json-string: text-after-value"},
		{`{"raw_data":"` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `"}`, "", "json-string: too-deep"},
		{`{"raw_data":"{}"`, `{"raw_data":"{}"`, ""}, // what is no record is its reader's to refuse
		{`{"raw_data":"\x"}`, `{"raw_data":"\x"}`, ""},
		{`["raw_data"]`, `["raw_data"]`, ""},
		{``, ``, ""},
	} {
		got, reason := envelope.Unpack([]byte("before"), []byte(test.record), envelope.DefaultLimits)
		if string(got) != "before"+test.want || reason != test.reason {
			t.Errorf("%s\ngot  %s, %q\nwant %s, %q", test.record, got, reason, test.want, test.reason)
		}
	}
}

// FuzzUnpack: what holds a JSON text is that text, and nothing else in the record has changed.
func FuzzUnpack(f *testing.F) {
	f.Add(`{"a":[1,"x"]}`)
	f.Add(`1},"x":{"y":2`)
	f.Add(`"\ud800"`)
	f.Fuzz(func(t *testing.T, text string) {
		record := envelope.AppendString([]byte(`{"x":"1","raw_data":`), text)
		record = append(record, `,"ingestion_timestamp":3}`...)
		got, reason := envelope.Unpack(nil, record, envelope.DefaultLimits)
		document, err := envelope.Compact(nil, []byte(strings.ToValidUTF8(text, "\ufffd")), envelope.DefaultLimits)
		if (err == nil) != (reason == "") {
			t.Fatalf("%q: %q, %v", text, reason, err)
		}
		if err != nil {
			return
		}
		if want := `{"x":"1","raw_data":` + string(document) + `,"ingestion_timestamp":3}`; string(got) != want || !json.Valid(got) && json.Valid(document) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}
