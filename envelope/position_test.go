package envelope_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
)

func TestPosition(t *testing.T) {
	cases := []struct {
		position envelope.Position
		header   string
	}{
		{envelope.Position{}, `{"v":1,"stream":"","seq":0}`},
		{
			envelope.Position{Stream: "in/a.csv#2", Seq: math.MaxInt64, Resume: json.RawMessage(`{"offset":12}`)},
			`{"v":1,"stream":"in/a.csv#2","seq":9223372036854775807,"resume":{"offset":12}}`,
		},
		{envelope.Position{Stream: "\"\\\n\u2028\u00e9", Resume: json.RawMessage(`null`)}, `{"v":1,"stream":"\"\\\n` + "\u2028\u00e9" + `","seq":0,"resume":null}`},
		{envelope.Position{Stream: "caf\xe9/\xff\xfe.csv"}, `{"v":1,"stream":"caf\udce9/\udcff\udcfe.csv","seq":0}`},
		{envelope.Position{Stream: "q", Seq: 1, Key: "a\"b", Keys: 10}, `{"v":1,"stream":"q","seq":1,"key":"a\"b","keys":10}`},
		{envelope.Position{Stream: `c:\udce9\ud83d`}, `{"v":1,"stream":"c:\\udce9\\ud83d","seq":0}`},
	}
	for _, c := range cases {
		if got := c.position.Append([]byte("before ")); string(got) != "before "+c.header {
			t.Errorf("%+v.Append: %s, want %s", c.position, got, c.header)
		}
		got, err := envelope.ParsePosition([]byte(c.header))
		if diff := cmp.Diff(c.position, got); diff != "" || err != nil {
			t.Errorf("ParsePosition(%s): %v, %s", c.header, err, diff)
		}
	}
}

func TestParsePositionForeign(t *testing.T) {
	header := []byte(" {\"resume\" : [ 1 ],\n\"new\":{},\"seq\":7,\"stream\":\"\\u0061\\ud83d\\udc80\\uDCE9\\udc41\",\"v\":1}")
	want := envelope.Position{Stream: "a\U0001f480\xe9\ufffd", Seq: 7, Resume: json.RawMessage(`[1]`)}
	got, err := envelope.ParsePosition(header)
	for i := range header {
		header[i] = 'x' // the result must not alias it
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestParsePositionRefuses(t *testing.T) {
	cases := []struct{ header, want string }{
		{``, "empty at byte 0"},
		{`{"v":1,"stream":"a","seq":0`, "unexpected-end"},
		{`{"stream":"a","seq":0}`, "no version"},
		{`{"v":2,"stream":"a","seq":0}`, "its version is 2 and this Headwater knows 1 only: run the newer release"},
		{`{"v":"1","stream":"a","seq":0}`, `its version is "1"`},
		{`{"v":1,"seq":0}`, "no stream"},
		{`{"v":1,"stream":"a"}`, "no seq"},
		{`{"v":1,"stream":"a","seq":-1}`, `"-1" is no whole number from 0`},
		{`{"v":1,"stream":"a","seq":1.0}`, "no whole number"},
		{`{"v":1,"stream":"a","seq":9223372036854775808}`, "no whole number"},
		{`{"v":1,"stream":"a","seq":"0"}`, "no whole number"},
		{`{"v":1,"stream":7,"seq":0}`, `"7" is no string`},
		{`[]`, "no version"},
		{"\"\xff\"", "invalid-utf8"},
	}
	for _, c := range cases {
		p, err := envelope.ParsePosition([]byte(c.header))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), envelope.PositionHeader) {
			t.Errorf("ParsePosition(%s) = %+v, %v; want %q", c.header, p, err, c.want)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add([]byte(`{"v":1,"stream":"a","seq":0,"resume":{"a":1}}`), "a", int64(0))
	f.Add([]byte(`{"v":1,"stream":"\udce9\\udce9\ud83d\udc80","seq":5}`), "caf\xe9\\udce9", int64(math.MaxInt64))
	f.Add([]byte(` [1, "\ud800" ] `), "\ufffd\xff\x00", int64(1))
	f.Fuzz(func(t *testing.T, text []byte, stream string, seq int64) {
		if p, err := envelope.ParsePosition(text); err == nil {
			checkPosition(t, p, p.Resume)
		}
		p := envelope.Position{Stream: stream, Seq: seq & math.MaxInt64}
		if compact, err := envelope.Compact(nil, text, envelope.DefaultLimits); err == nil {
			p.Resume = text
			if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
				p.Resume = compact
			}
			checkPosition(t, p, compact)
		}
		p.Resume = nil
		checkPosition(t, p, nil)
	})
}

// checkPosition writes a position and reads it back; resume is what its Resume comes back as.
func checkPosition(t *testing.T, p envelope.Position, resume json.RawMessage) {
	t.Helper()
	header := p.Append(nil)
	got, err := envelope.ParsePosition(header)
	p.Resume = resume
	if diff := cmp.Diff(p, got); diff != "" || err != nil {
		t.Fatalf("reading %q back: %v, %s", header, err, diff)
	}
}

func cursor() envelope.Cursor {
	return envelope.Cursor{
		Source: "orders",
		Streams: map[string]envelope.StreamCursor{
			"b":       {Seq: 41, Resume: json.RawMessage(`{"page":3}`), Partition: 2},
			"a":       {Seq: -1, Partition: 0, Done: true},
			"caf\xe9": {Seq: 0, Partition: 11},
		},
		Offsets: map[int32]int64{0: 100, 2: 42, 11: 7},
	}
}

func TestCursor(t *testing.T) {
	const encoded = `{"v":1,"source":"orders","streams":{"a":{"seq":-1,"partition":0,"done":true},` +
		`"b":{"seq":41,"resume":{"page":3},"partition":2},"caf\udce9":{"seq":0,"partition":11}},` +
		`"offsets":{"orders_raw/0":100,"orders_raw/2":42,"orders_raw/11":7}}`
	for range 20 { // maps are walked in another order each time
		if diff := cmp.Diff(encoded, string(whole(t, cursor(), "orders_raw"))); diff != "" {
			t.Fatal(diff)
		}
	}
	got, err := envelope.ParseCursor([]byte(encoded), "orders_raw")
	if diff := cmp.Diff(cursor(), got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// TestKeys: a stream remembers as many of its last keys as its last record says, and a copy of the cursor does not change.
func TestKeys(t *testing.T) {
	var s envelope.StreamCursor
	pass := func(key string, keys int) {
		s.Seq++
		s.Pass(envelope.Position{Seq: s.Seq, Key: key, Keys: keys})
	}
	expect := func(got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, key := range []string{"a", "b", "", "c"} {
		pass(key, 3)
	}
	before := s
	pass("d", 3)
	pass("e", 3)
	expect(before.Keys, "a", "b", "c")
	expect(s.Keys, "c", "d", "e")
	pass("f", 2)
	expect(s.Keys, "e", "f")
	c := envelope.Cursor{Source: "s", Streams: map[string]envelope.StreamCursor{"q": s}, Offsets: map[int32]int64{}}
	checkCursor(t, c, "t")
	if _, err := envelope.ParseCursor([]byte(`{"v":1,"source":"s","streams":{"q":{"seq":1,"partition":0,"keys":[1]}}}`), "t"); err == nil {
		t.Error("keys that are no strings are taken")
	}
}

func TestDeepResume(t *testing.T) {
	resume := json.RawMessage(strings.Repeat("[", envelope.DefaultLimits.Depth) + strings.Repeat("]", envelope.DefaultLimits.Depth))
	checkPosition(t, envelope.Position{Resume: resume}, resume)
	checkCursor(t, envelope.Cursor{
		Source:  "s",
		Streams: map[string]envelope.StreamCursor{"a": {Resume: resume}},
		Offsets: map[int32]int64{},
	}, "t")
}

func TestCursorEmpty(t *testing.T) {
	got, err := envelope.ParseCursor(whole(t, envelope.Cursor{Source: "s"}, "t"), "t")
	want := envelope.Cursor{Source: "s", Streams: map[string]envelope.StreamCursor{}, Offsets: map[int32]int64{}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestCursorOtherTopics(t *testing.T) {
	want := cursor()
	data := whole(t, want, "orders_raw")
	for _, topic := range []string{"orders", "orders_raw2", "raw", ""} {
		want.Offsets = map[int32]int64{}
		got, err := envelope.ParseCursor(data, topic)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Error(topic, err, diff)
		}
	}
}

func TestParseCursorRefuses(t *testing.T) {
	cases := []struct{ data, want string }{
		{``, "empty"},
		{`null`, "no version"},
		{`{"v":3,"source":"s"}`, "its version is 3"},
		{`{"v":1,"streams":{},"offsets":{}}`, "names no source"},
		{`{"v":1,"source":"s","streams":[]}`, "no object"},
		{`{"v":1,"source":"s","streams":{"a":{"partition":0}}}`, `stream "a": it has no seq or no partition`},
		{`{"v":1,"source":"s","streams":{"a":{"seq":0}}}`, `stream "a": it has no seq or no partition`},
		{`{"v":1,"source":"s","streams":{"a":{"seq":-2,"partition":0}}}`, `"-2" is no whole number from -1`},
		{`{"v":1,"source":"s","streams":{"a":{"seq":0,"partition":-1}}}`, "no whole number"},
		{`{"v":1,"source":"s","streams":{"a":{"seq":0,"partition":2147483648}}}`, "no whole number"},
		{`{"v":1,"source":"s","streams":{"a":{"seq":0,"partition":0,"done":1}}}`, "done"},
		{`{"v":1,"source":"s","streams":{"a":7}}`, "no object"},
		{`{"v":1,"source":"s","offsets":{"t/x":1}}`, `offset of "t/x"`},
		{`{"v":1,"source":"s","offsets":{"t/0":-1}}`, "no whole number"},
		{`{"v":1,"source":"s","offsets":{"t/0":null}}`, "no whole number"},
	}
	for _, c := range cases {
		got, err := envelope.ParseCursor([]byte(c.data), "t")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseCursor(%s) = %+v, %v; want %q", c.data, got, err, c.want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor().Encode("t", 1<<20)[0], "t", "s", "stream", int64(3), int32(0), false)
	f.Add([]byte(`{"v":1,"source":"s","streams":{"\udce9":{"seq":1,"partition":2,"resume":[ 1 ]}},"offsets":{"t/07":9}}`), "a/b", "\"", "\xe9", int64(-1), int32(9), true)
	f.Fuzz(func(t *testing.T, text []byte, topic, source, stream string, n int64, partition int32, done bool) {
		if c, err := envelope.ParseCursor(text, topic); err == nil {
			checkCursor(t, c, topic)
		}
		if topic == "" || source == "" || !utf8.ValidString(topic) || !utf8.ValidString(source) {
			return
		}
		s := envelope.StreamCursor{Seq: max(n, -1), Partition: partition & math.MaxInt32, Done: done}
		s.Resume, _ = envelope.Compact(nil, text, envelope.DefaultLimits)
		other := envelope.StreamCursor{Seq: 0, Partition: 1}
		checkCursor(t, envelope.Cursor{
			Source:  source,
			Streams: map[string]envelope.StreamCursor{"": other, stream: s},
			Offsets: map[int32]int64{s.Partition: max(n, 0), 1: 5},
		}, topic)
	})
}

func checkCursor(t *testing.T, c envelope.Cursor, topic string) {
	t.Helper()
	for _, size := range []int{1, 100, 1 << 20} {
		parts := c.Encode(topic, size)
		got, err := envelope.ParseCursor(parts[0], topic)
		for _, data := range parts[1:] {
			part, e := envelope.ParseCursor(data, topic)
			got.Merge(part)
			err = errors.Join(err, e)
		}
		if diff := cmp.Diff(c, got); diff != "" || err != nil {
			t.Fatalf("reading %q back: %v, %s", parts, err, diff)
		}
		if want := max(1, len(c.Streams)); size == 1 && len(parts) != want {
			t.Errorf("%d streams are in %d parts of one stream", want, len(parts))
		}
	}
}

// whole is a cursor in one part.
func whole(t *testing.T, c envelope.Cursor, topic string) []byte {
	t.Helper()
	parts := c.Encode(topic, 1<<20)
	if len(parts) != 1 {
		t.Fatalf("%d parts", len(parts))
	}
	return parts[0]
}
