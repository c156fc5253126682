package message

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

func TestItem(t *testing.T) {
	for _, c := range []struct {
		format, body string
		want         envelope.Kind
	}{
		{Auto, `{"a":1}`, envelope.JSON},
		{Auto, ` 7 `, envelope.JSON},
		{Auto, `{"a":`, envelope.Text},
		{Auto, ``, envelope.Text},
		{Auto, "a\x00b", envelope.Bytes},
		{Auto, "\xff", envelope.Bytes},
		{"json", "\xff", envelope.JSON},
		{"text", `{"a":1}`, envelope.Text},
		{"bytes", `{"a":1}`, envelope.Bytes},
	} {
		if got := Item(c.format, []byte(c.body)); got.Kind != c.want || string(got.Data) != c.body {
			t.Errorf("%s of %q: %+v", c.format, c.body, got)
		}
	}
}

func TestHeaders(t *testing.T) {
	var h Headers
	h.AddProperty("none", "")
	h.Add("empty", "")
	h.Add("long", strings.Repeat("x", maxHeaders))
	h.Add("a", strings.Repeat("x", maxHeaders-100))
	h.Add("b", strings.Repeat("x", 100))
	h.Add("c", "1")
	var names []string
	for _, pair := range h.All() {
		names = append(names, pair[0])
	}
	if d := cmp.Diff([]string{"empty", "a", "c", "headers-left-out"}, names); d != "" || h.All()[3][1] != "2" {
		t.Error(d, h.All()[3])
	}
}

func TestDedupeOf(t *testing.T) {
	var h Headers
	h.Add("id", "from the protocol")
	h.Add("id", "from the sender")
	for _, c := range []struct{ key, body, want string }{
		{"id", `{"id":1}`, "from the protocol"},
		{"other", `{"other":1}`, ""},
		{"$.id", `{"id":"a\u0062"}`, "ab"},
		{"$.id", ` { "id" : 1.0 } `, "1.0"},
		{"$.a.b", `{"a":{"b":true}}`, "true"},
		{"$.a.b", `{"a":[1]}`, ""},
		{"$.a", `{"a":{"b":true}}`, ""},
		{"$.a", `{"a":null}`, ""},
		{"$.a", `{"a":1`, ""},
		{"$.a", ``, ""},
	} {
		d := Dedupe{Key: c.key}
		if got := d.Of(&h, []byte(c.body)); got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.key, c.body, got, c.want)
		}
	}
}

func TestDedupeValidate(t *testing.T) {
	for _, c := range []struct {
		d    Dedupe
		want string
	}{
		{Dedupe{}, ""},
		{Dedupe{Key: "message-id", Window: 10}, ""},
		{Dedupe{Key: "$.a.b", Window: 100_000}, ""},
		{Dedupe{Key: "$", Window: 10}, "dedupe.key"},
		{Dedupe{Key: "$.", Window: 10}, "dedupe.key"},
		{Dedupe{Key: "$a", Window: 10}, "dedupe.key"},
		{Dedupe{Key: "$.a.", Window: 10}, "dedupe.key"},
		{Dedupe{Key: "$.$", Window: 10}, "dedupe.key"},
		{Dedupe{Key: "a", Window: 9}, "dedupe.window"},
		{Dedupe{Key: "a", Window: 100_001}, "dedupe.window"},
	} {
		var f setting.Faults
		c.d.Validate(&f, 10, "prefetch")
		var got strings.Builder
		for _, fault := range f {
			got.WriteString(strings.Join(fault.Path, "."))
		}
		if got.String() != c.want {
			t.Errorf("%+v: faults of %q, want %q", c.d, got.String(), c.want)
		}
	}
}

// TestPin: what was known stays known for a time, however much follows it.
func TestPin(t *testing.T) {
	at := envelope.StreamCursor{Keys: []string{hashOf("a")}}
	k := Pinned(at, 2, time.Hour, 0)
	for n := range 10 {
		k.Add(strconv.Itoa(n))
	}
	if _, isNew := k.Add("a"); isNew || !k.Has("a") || k.Has("0") {
		t.Error("a is not known, or 0 is")
	}
	k.until = time.Now()
	time.Sleep(time.Millisecond)
	if _, isNew := k.Add("a"); !isNew {
		t.Error("a is known for ever")
	}
}

// TestCarried: what a killed process had is known to the second process after it too, if the first was killed before it could come again.
func TestCarried(t *testing.T) {
	var at envelope.StreamCursor
	add := func(k *Keys, keys ...string) {
		for _, key := range keys {
			if hash, isNew := k.Add(key); isNew {
				at.Pass(envelope.Position{Key: hash, Keys: k.Most()})
			}
		}
	}
	add(NewKeys(at, 3), "a", "b", "c")
	for life := range 4 {
		k := Pinned(at, 3, time.Hour, time.Hour)
		if !k.Has("a") || !k.Has("c") {
			t.Fatalf("life %d does not know what the first process had", life)
		}
		for n := range 10 {
			add(k, fmt.Sprint(life, n))
		}
	}
	if want := 3 + 4*10; len(at.Keys) != want {
		t.Errorf("the cursor has %d keys, want %d", len(at.Keys), want)
	}
	k := Pinned(at, 3, time.Hour, time.Nanosecond)
	time.Sleep(time.Millisecond)
	add(k, "x")
	if len(at.Keys) != 3 || !k.Has("a") {
		t.Errorf("after the time the cursor has %d keys, want 3; a is known to this process: %t", len(at.Keys), k.Has("a"))
	}
	at.Keys = make([]string, 3+maxCarried)
	for n := range at.Keys {
		at.Keys[n] = hashOf(strconv.Itoa(n))
	}
	add(Pinned(at, 3, time.Hour, time.Hour), "y")
	if len(at.Keys) != 3+maxCarried {
		t.Errorf("the cursor has %d keys", len(at.Keys))
	}
}

// TestKeys holds the window that a process has in memory against the one that the next reads back.
func TestKeys(t *testing.T) {
	const most = 5
	var at envelope.StreamCursor
	k := NewKeys(at, most)
	for i := range 40 {
		key := fmt.Sprint(i * i % 11)
		hash, isNew := k.Add(key)
		if again := NewKeys(at, most); cmp.Diff(again.known, k.known) == "" == isNew {
			t.Fatalf("%s: new %t", key, isNew)
		}
		if isNew {
			at.Pass(envelope.Position{Key: hash, Keys: most})
		}
		if again := NewKeys(at, most); cmp.Diff(again.order, k.order) != "" || len(k.known) > most {
			t.Fatalf("after %s: %v, read back %v", key, k.order, again.order)
		}
	}
	if k := NewKeys(at, 2); len(k.known) != 2 || k.order[1] != at.Keys[len(at.Keys)-1] {
		t.Errorf("a smaller window has %v of %v", k.order, at.Keys)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	fixture.Certificates(t, dir)
	good := TLS{CA: "ca.pem", Cert: filepath.Join(dir, "client.pem"), Key: "client.key"}
	if c, err := good.Config(dir, "host"); err != nil || c.RootCAs == nil || c.ServerName != "host" || len(c.Certificates) != 1 {
		t.Error(c, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, bad := range map[string]TLS{
		"no certificate": {CA: "empty.pem"}, "tls.ca": {CA: "none.pem"}, "tls.cert and tls.key": {Cert: "client.pem", Key: "server.key"},
	} {
		if _, err := bad.Config(dir, "host"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
