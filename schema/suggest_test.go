package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestGuess(t *testing.T) {
	for want, values := range map[string][]string{
		"boolean":             {`"true"`, `"false"`},
		"timestamp(iso)":      {`"2026-07-05T12:00:00Z"`, `"2026-07-05 12:00:00.25+02:00"`, `null`},
		"timestamp(epoch_ms)": {`1783252800000`, `"1783252800000"`},
		"timestamp(epoch_s)":  {`1783252800`, `"1783252800"`},
		"long":                {`"1"`, `"-20"`},
		"double":              {`"1"`, `"1.25"`},
		"":                    {`"1"`, `"x"`, `"007"`},
	} {
		var g Guess
		for i := range 20 {
			g.Add(json.RawMessage(values[i%len(values)]))
		}
		if got, _ := g.Hint(); got != want {
			t.Errorf("%v: %q, want %q", values, got, want)
		}
	}
	var few Guess
	few.Add(json.RawMessage(`"1"`))
	if got, n := few.Hint(); got != "" || n != 1 {
		t.Errorf("of one value: %q of %d", got, n)
	}
	for _, other := range []string{`"007"`, `"+1"`, `1`, `"1e5"`, `" 1"`, `{}`, `[]`} { // of themselves these are no texts of numbers
		var g Guess
		for range 10 {
			g.Add(json.RawMessage(other))
		}
		if got, _ := g.Hint(); got != "" {
			t.Errorf("%s: %q", other, got)
		}
	}
}

func TestValues(t *testing.T) {
	const doc = `{"a":{"b":1},"a.b":2,"l":[{"x":1},{"x":[2,3]},4],"m":{"k":{"x":5},"j":{"x":6}},"empty":[]}`
	for path, want := range map[string]string{
		"a": `{"b":1}`, "a.b": "1", "l[].x": "1 [2,3]", "l[].x[]": "2 3", "m[].x": "6 5", "none": "", "empty[]": "", "": doc,
	} {
		var got []string
		for _, v := range Values(json.RawMessage(doc), path) {
			got = append(got, string(v))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestIDs(t *testing.T) {
	all := func(n int, format string) map[string]*Evidence {
		fields := map[string]*Evidence{}
		for i := range n {
			fields[fmt.Sprintf(format, i)] = &Evidence{Seen: SeenInt}
		}
		return fields
	}
	for format, want := range map[string]Kind{
		"%d": Map, "00000000-0000-4000-8000-%012x": Map, "deadbeef%08x": Map, "2026-07-%02d": Map, "q%d": Struct, "user_%d": Struct, "a%d": Struct,
	} {
		e := &Evidence{Seen: SeenObject, Fields: all(60, format)}
		if got := e.Resolve().Kind; got != want {
			t.Errorf("%s: kind %d, want %d", format, got, want)
		}
		e.Fields["name"] = &Evidence{Seen: SeenInt}
		if got := e.Resolve().Kind; got != Struct {
			t.Errorf("%s and a name: kind %d", format, got)
		}
	}
	if got := (&Evidence{Seen: SeenObject, Fields: all(49, "%d")}).Resolve().Kind; got != Struct {
		t.Error("too few:", got)
	}
}
