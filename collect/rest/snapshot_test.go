package rest

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestOwnBytes: what a query only picks keeps its bytes; what it makes is written anew, its numbers exact.
func TestOwnBytes(t *testing.T) {
	t.Parallel()
	const body = `
	{ "next" : null, "data": [ {"z":1.10, "a":12345678901234567890123 , "a2":[1e400,-0.0,{ "k" : "\u0041\/" }], "dup":1,"dup":2},
	  3.0, "x", null, [ 9007199254740993 ], {"deep":{"data":[1]}} ], "d\u0061t":{"only":{"n":0.1000}}, "data2" : [ ] }`
	for records, want := range map[string][]string{
		"":        {strings.NewReplacer("\n", "", "\t", "", " ", "").Replace(body)},
		".data[]": {`{"z":1.10,"a":12345678901234567890123,"a2":[1e400,-0.0,{"k":"\u0041\/"}],"dup":1,"dup":2}`, `3.0`, `"x"`, `null`, `[9007199254740993]`, `{"deep":{"data":[1]}}`},
		".data[] | select(type == \"object\") | .a, .dup # the last": {`12345678901234567890123`, `2`, `null`, `null`},
		".data[-1].deep":                       {`{"data":[1]}`},
		".dat.only":                            {`{"n":0.1000}`},
		".data2[]":                             {},
		".data[0:2][]":                         {`{"a":12345678901234567890123,"a2":[1e400,-0.0,{"k":"A/"}],"dup":2,"z":1.10}`, `3.0`},
		".data[0] | {n: .a, m: .z, f: .a2[0]}": {`{"f":1e400,"m":1.10,"n":12345678901234567890123}`},
		"[.data[4][0] + 1]":                    {`[9007199254740994]`},
		"(.missing // [])[]":                   {},
		"def f: .data[]; f | arrays":           {`[9007199254740993]`},
	} {
		t.Run(records, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\xef\xbb\xbf" + body)) })
			b.c.Records = records
			b.must()
			b.expect(want...)
		})
	}
}

// TestBadBodies: what is not JSON is an error with its beginning, and tried again.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		`{"data":[1,2`:      `the answer is not JSON: unexpected EOF: "{\"data\":[1,2"`,
		`{"data":[1]} x`:    `there is text after the value`,
		`oops`:              `the answer is not JSON: invalid character 'o'`,
		`{"data":[1]}{}`:    `there is text after the value`,
		"{\"data\":\x00[]}": `the answer is not JSON: invalid character`,
	} {
		b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
		err := b.once()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", body, err)
		}
		b.expect()
	}
}

// TestOddItems: what an item of the API is, it stays, and what is no JSON after all is malformed.
func TestOddItems(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{\"data\":[\"\", {}, \"a\xffb\", " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + ", 1]}"))
	})
	b.must()
	items := b.items()
	if len(items) != 5 || items[0] != `""` || !strings.HasPrefix(items[2], "!invalid-utf8") || !strings.HasPrefix(items[3], "!too-deep") || items[4] != "1" {
		t.Errorf("%.100q", items)
	}
}

// TestNoContent: an empty answer has no items.
func TestNoContent(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	b.must()
	b.expect()
}

// TestSnapshots: every poll brings everything, unless nothing has changed.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(w http.ResponseWriter, r *http.Request, version, polls int64){
		"an ETag": func(w http.ResponseWriter, r *http.Request, version, polls int64) {
			tag := fmt.Sprintf(`"v%d"`, version)
			if r.Header.Get("If-None-Match") == tag {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", tag)
			_, _ = w.Write(data(int(version), int(version)+2))
		},
		"a date": func(w http.ResponseWriter, r *http.Request, version, polls int64) {
			date := fmt.Sprintf("Sat, 01 Jan 2000 00:00:%02d GMT", version)
			if r.Header.Get("If-Modified-Since") == date {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("Last-Modified", date)
			_, _ = w.Write(data(int(version), int(version)+2))
		},
		"the items": func(w http.ResponseWriter, r *http.Request, version, polls int64) {
			reply(w, map[string]any{"data": slice(int(version), 2), "served": polls})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var version, polls, unchanged atomic.Int64
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				said := httptest.NewRecorder()
				serve(said, r, version.Load(), polls.Add(1))
				if said.Code == http.StatusNotModified {
					unchanged.Add(1)
				}
				maps.Copy(w.Header(), said.Header())
				w.WriteHeader(said.Code)
				_, _ = w.Write(said.Body.Bytes())
			})
			for range 3 {
				for range 3 { // processes
					b.must()
				}
				version.Add(10)
			}
			b.expect(append(append(numbers(0, 2), numbers(10, 12)...), numbers(20, 22)...)...)
			if n := unchanged.Load(); n != 6 && name != "the items" {
				t.Errorf("%d answers of nine were 304", n)
			}
		})
	}
}

// TestSnapshotsOfPages: a poll of several pages brings everything each time.
func TestSnapshotsOfPages(t *testing.T) {
	t.Parallel()
	way := ways["link"]
	b := newBench(t, way.serve)
	way.set(&b.c)
	b.must()
	b.must()
	b.expect(append(numbers(0, 25), numbers(0, 25)...)...)
	if v := b.log.Records()[0]; v.Position.Stream != snapshotStream {
		t.Errorf("the stream is %s", v.Position.Stream)
	}
}

// TestInterrupted: a poll goes on where it was if its page is as it was, and otherwise begins anew.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		version int64 // of the second process
		want    []string
	}{
		"the same":       {0, numbers(0, 25)},
		"another":        {1, append(numbers(0, 13), numbers(1, 25)...)},
		"no page at all": {2, append(numbers(0, 13), numbers(2, 12)...)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var version atomic.Int64
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				from := number(r, "from", int(version.Load()))
				page := map[string]any{"data": slice(from, 10)}
				switch {
				case version.Load() == 2 && r.FormValue("from") != "":
					http.Error(w, "the cursor has run out", http.StatusGone)
					return
				case version.Load() < 2 && from < 15:
					page["next"] = fmt.Sprintf("?from=%d", from+10)
				}
				if version.Load() == 1 && from == 10 {
					page["data"] = slice(11, 9)
				}
				reply(w, page)
			})
			b.c.Paginate.Link = &Link{Path: ".next"}
			b.log.Fail(14)
			if err := b.once(); err == nil {
				t.Fatal("nothing failed")
			}
			b.log.Fail(0)
			version.Store(c.version)
			b.must()
			b.expect(c.want...)
			if warned := strings.Contains(b.logged.String(), "everything is read anew"); warned != (c.version > 0) {
				t.Error(b.logged.String())
			}
		})
	}
}
