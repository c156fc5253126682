package envelope_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
)

func metadata() *envelope.Metadata {
	return &envelope.Metadata{
		ThreadID: 3, HostName: "host-1", ProcessStartTime: "2026-07-05T00:00:00Z",
		Source: "orders", Origin: "https://api.example/orders", Position: "page 2",
	}
}

func jsonItem(text string) envelope.Item { return envelope.Item{Data: []byte(text)} }

func TestAppendItems(t *testing.T) {
	cases := []struct {
		name      string
		item      envelope.Item
		rawData   string
		added     string // what metadata has beside the constant part
		malformed string
	}{
		{"object", jsonItem("{\n \"a\" : 1.10,\n \"b\": \"x\\u00e9 <&>\" }\n"), `{"a":1.10,"b":"x\u00e9 <&>"}`, ``, ""},
		{"scalar", jsonItem(` 007.5e1 `[3:]), `7.5e1`, ``, ""},
		{"null", jsonItem(`null`), `null`, ``, ""},
		{"byte order mark", jsonItem("\xef\xbb\xbf[1, 2]"), `[1,2]`, ``, ""},
		{"lone surrogate", jsonItem(`["\ud800"]`), `["\ud800"]`, ``, ""},
		{"cut", jsonItem(`{"a":`), `"{\"a\":"`, `,"malformed":"unexpected-end"`, "unexpected-end"},
		{"two texts", jsonItem("{}\n{}"), `"{}\n{}"`, `,"malformed":"text-after-value"`, "text-after-value"},
		{"no text", jsonItem(""), `""`, `,"malformed":"empty"`, "empty"},
		{"latin-1", jsonItem("[\"caf\xe9\"]"), `"WyJjYWbpIl0="`, `,"encoding":"base64","malformed":"invalid-utf8"`, "invalid-utf8"},
		{"too deep", jsonItem(strings.Repeat("[", 1001)), `"` + strings.Repeat("[", 1001) + `"`, `,"malformed":"too-deep"`, "too-deep"},
		{"text", envelope.Item{Kind: envelope.Text, Data: []byte("a \"b\"\\\t\x01\u2028<\u00e9>")}, `"a \"b\"\\\t\u0001` + "\u2028<\u00e9>\"", ``, ""},
		{"empty text", envelope.Item{Kind: envelope.Text}, `""`, ``, ""},
		{"text with a byte order mark", envelope.Item{Kind: envelope.Text, Data: []byte("\xef\xbb\xbfa")}, "\"\xef\xbb\xbfa\"", ``, ""},
		{"text that is not", envelope.Item{Kind: envelope.Text, Data: []byte("caf\xe9")}, `"Y2Fm6Q=="`, `,"encoding":"base64"`, ""},
		{"bytes", envelope.Item{Kind: envelope.Bytes, Data: []byte{0, 1, 255}}, `"AAH/"`, `,"encoding":"base64"`, ""},
		{"no bytes", envelope.Item{Kind: envelope.Bytes}, `""`, `,"encoding":"base64"`, ""},
		{"row", envelope.Item{Kind: envelope.Fields, Names: []string{"id", "a\"b", ""}, Values: []string{"1", "", "x\ny"}}, `{"id":"1","a\"b":"","":"x\ny"}`, ``, ""},
		{"empty row", envelope.Item{Kind: envelope.Fields}, `{}`, ``, ""},
		{
			"latin-1 row",
			envelope.Item{Kind: envelope.Fields, Names: []string{"id", "city"}, Values: []string{"1", "K\xf6ln"}},
			`{"aWQ=":"MQ==","Y2l0eQ==":"S/Zsbg=="}`, `,"encoding":"base64","malformed":"invalid-utf8"`, "invalid-utf8",
		},
		{
			"latin-1 header",
			envelope.Item{Kind: envelope.Fields, Names: []string{"\xf6"}, Values: []string{"1"}},
			`{"9g==":"MQ=="}`, `,"encoding":"base64","malformed":"invalid-utf8"`, "invalid-utf8",
		},
		{
			"row the source could not read",
			envelope.Item{Kind: envelope.Fields, Data: []byte("1,\"2\n"), Malformed: "open-quote"},
			`"1,\"2\n"`, `,"malformed":"open-quote"`, "open-quote",
		},
		{
			"bytes the source could not read",
			envelope.Item{Kind: envelope.Bytes, Data: []byte("\x1f\x8b"), Malformed: "short \"gzip\""},
			`"H4s="`, `,"encoding":"base64","malformed":"short \"gzip\""`, `short "gzip"`,
		},
		{"JSON the source could not place", envelope.Item{Data: []byte(`{"a": 1}`), Malformed: "no-id"}, `"{\"a\": 1}"`, `,"malformed":"no-id"`, "no-id"},
	}
	const constant = `{"thread_id":3,"host_name":"host-1","process_start_time":"2026-07-05T00:00:00Z",` +
		`"source":"orders","origin":"https://api.example/orders","position":"page 2"`
	at := time.UnixMilli(1783209600123).Add(999 * time.Microsecond)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, malformed := envelope.Append([]byte("before "), c.item, metadata(), at, envelope.DefaultLimits)
			want := `before {"raw_data":` + c.rawData + `,"metadata":` + constant + c.added + `},"ingestion_timestamp":1783209600123}`
			if diff := cmp.Diff(want, string(got)); diff != "" || malformed != c.malformed {
				t.Errorf("malformed %q, want %q; %s", malformed, c.malformed, diff)
			}
			checkRecord(t, got[len("before "):], malformed)
		})
	}
}

func TestAppendMetadata(t *testing.T) {
	cases := []struct {
		name string
		m    envelope.Metadata
		want string
	}{
		{"nothing known", envelope.Metadata{}, `{"thread_id":0,"host_name":"","process_start_time":""}`},
		{
			"headers",
			envelope.Metadata{Headers: [][2]string{{"b", "1"}, {"a", "\"\n"}, {"b", ""}}},
			`{"thread_id":0,"host_name":"","process_start_time":"","headers":[["b","1"],["a","\"\n"],["b",""]]}`,
		},
		{
			"binary header",
			envelope.Metadata{Headers: [][2]string{{"id", "\x00\xff"}, {"n\xff\xfe", "v"}}},
			`{"thread_id":0,"host_name":"","process_start_time":"","headers":[["id","AP8=","base64"],["n` + "\ufffd" + `","v"]]}`,
		},
		{
			"path in latin-1",
			envelope.Metadata{HostName: "h\n", Origin: "/caf\xe9.csv"},
			`{"thread_id":0,"host_name":"h\n","process_start_time":"","origin":"/caf` + "\ufffd" + `.csv"}`,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, _ := envelope.Append(nil, jsonItem("1"), &c.m, time.UnixMilli(-5), envelope.DefaultLimits)
			if diff := cmp.Diff(`{"raw_data":1,"metadata":`+c.want+`,"ingestion_timestamp":-5}`, string(got)); diff != "" {
				t.Error(diff)
			}
			checkRecord(t, got, "")
		})
	}
}

func TestAppendLongRow(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a row with more values than names lost some of them without a word")
		}
	}()
	envelope.Append(nil, envelope.Item{Kind: envelope.Fields, Names: []string{"a"}, Values: []string{"1", "2"}}, metadata(), time.Time{}, envelope.DefaultLimits)
}

func TestAppendReusesBuffer(t *testing.T) {
	items := []envelope.Item{
		jsonItem(trade), jsonItem("{\n\"a\": 1}"),
		{Kind: envelope.Text, Data: []byte("a \"line\" of text")},
		{Kind: envelope.Fields, Names: []string{"a", "b"}, Values: []string{"1", "2"}},
	}
	buffer := make([]byte, 0, 4096)
	m, at := metadata(), time.UnixMilli(1)
	for i, item := range items {
		if n := testing.AllocsPerRun(100, func() { envelope.Append(buffer, item, m, at, envelope.DefaultLimits) }); n != 0 {
			t.Errorf("item %d: %v allocations", i, n)
		}
	}
}

// checkRecord checks what holds for every record of ours.
func checkRecord(t *testing.T, value []byte, malformed string) envelope.View {
	t.Helper()
	if !json.Valid(value) || !utf8.Valid(value) || bytes.IndexByte(value, '\n') >= 0 {
		t.Fatalf("%q is not one line of JSON", value)
	}
	if again, err := envelope.Compact(nil, value, generous); err != nil || !bytes.Equal(again, value) {
		t.Fatalf("compacting %q: %q, %v", value, again, err)
	}
	v, err := envelope.Parse(value)
	if err != nil || v.RawData == nil || v.Metadata == nil || v.Timestamp == nil || v.Other != nil {
		t.Fatalf("parsing %q: %+v, %v", value, v, err)
	}
	if reason, ok := envelope.MetadataMalformed(v.Metadata); reason != malformed || ok != (malformed != "") {
		t.Fatalf("metadata %q says malformed %q, %t; want %q", v.Metadata, reason, ok, malformed)
	}
	if raw, found, err := envelope.Lookup(value, envelope.KeyTimestamp); !found || err != nil || !bytes.Equal(raw, v.Timestamp) {
		t.Fatalf("looking up the timestamp of %q: %q, %t, %v", value, raw, found, err)
	}
	return v
}

// unwrap gives back the bytes of an item that was kept as a string.
func unwrap(t *testing.T, v envelope.View) []byte {
	t.Helper()
	var text string
	if err := json.Unmarshal(v.RawData, &text); err != nil {
		t.Fatal(err)
	}
	if _, inBase64, _ := envelope.Lookup(v.Metadata, "encoding"); !inBase64 {
		return []byte(text)
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzAppend(f *testing.F) {
	for _, text := range corpus() {
		f.Add(text, "in/a.json", "", uint8(0))
	}
	f.Add([]byte("caf\xe9"), "\xff", "open-quote", uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, origin, malformed string, kind uint8) {
		// utf8.ValidString: a source's reason is its own constant.
		if !utf8.ValidString(malformed) {
			malformed = ""
		}
		item := envelope.Item{Kind: envelope.Kind(kind % 3), Data: data, Malformed: malformed}
		m := &envelope.Metadata{Origin: origin, Position: origin, Headers: [][2]string{{origin, string(data)}}}
		value, reason := envelope.Append(nil, item, m, time.UnixMilli(int64(kind)), generous)
		v := checkRecord(t, value, reason)
		compact, err := envelope.Compact(nil, data, generous)
		if item.Kind == envelope.JSON && malformed == "" && err == nil {
			if !bytes.Equal(v.RawData, compact) {
				t.Fatalf("raw_data of %q is %q, want %q", data, v.RawData, compact)
			}
			return
		}
		if got := unwrap(t, v); !bytes.Equal(got, data) {
			t.Fatalf("%q came back as %q in %q", data, got, value)
		}
		if kept := malformed != "" || item.Kind == envelope.JSON; kept != (reason != "") {
			t.Fatalf("%q of kind %d: malformed %q", data, item.Kind, reason)
		}
	})
}

func FuzzRow(f *testing.F) {
	f.Add("id", "1", "city", "K\u00f6ln")
	f.Add("a\"", "\\", "b\n", "\xff\x00")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		if name1 == name2 {
			return
		}
		item := envelope.Item{Kind: envelope.Fields, Names: []string{name1, name2}, Values: []string{value1, value2}}
		record, reason := envelope.Append(nil, item, metadata(), time.UnixMilli(0), generous)
		v := checkRecord(t, record, reason)
		var got map[string]string
		if err := json.Unmarshal(v.RawData, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{name1: value1, name2: value2}
		if reason != "" {
			encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
			want = map[string]string{encode(name1): encode(value1), encode(name2): encode(value2)}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if utf8.ValidString(name1+"|"+value1+"|"+name2+"|"+value2) != (reason == "") {
			t.Fatalf("malformed %q", reason)
		}
	})
}
