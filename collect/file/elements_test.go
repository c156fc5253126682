package file

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
)

func TestElements(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // ! for what is malformed
	}{
		"elements":             {` [ {"a":[1,"],["]} , 2,"x\"]",null , [3] ] `, []string{`{"a":[1,"],["]}`, `2`, `"x\"]"`, `null`, `[3]`}},
		"none":                 {"[]", nil},
		"none with spaces":     {"\n[\n]\n", nil},
		"one after the other":  {"[1]\n[2,3]\n[]\n[4]", []string{"1", "2", "3", "4"}},
		"bad inside":           {`[{"a":1},{"a" 1},{"c":3}]`, []string{`{"a":1}`, `{"a" 1}`, `{"c":3}`}}, // Append says what is wrong with it
		"no comma":             {`[1,{"a":1} {"b":2},3]`, []string{`1`, `!{"a":1} {"b":2},3] no comma after an element`}},
		"two commas":           {`[1,,2]`, []string{`1`, `!,2] an element is malformed: unexpected-character`}},
		"comma before the end": {`[1,]`, []string{`1`, `!] an element is malformed: unexpected-character`}},
		"brackets":             {`[1,{"a":[}],2]`, []string{`1`, `!{"a":[}],2] an element is malformed: unexpected-character`}},
		"no word":              {`[1,nul,2]`, []string{`1`, `!nul,2] an element is malformed: bad-literal`}},
		"no end":               {`[1,2`, []string{`1`, `!2 the array never closes`}},
		"no end, a comma":      {`[1, `, []string{`1`, `!  the array never closes`}},
		"no end, a bracket":    {`[`, nil},
		"text after":           {`[1] x`, []string{`1`, `! x text that is in no array`}},
		"an object after":      {`[1]{"a":1}`, []string{`1`, `!{"a":1} text that is in no array`}},
	} {
		for step := 1; step <= len(c.text)+1; step++ {
			var got []string
			for _, g := range cutAll(t, &elements{}, c.text, step) {
				if g.Malformed != "" {
					got = append(got, "!"+g.Data+" "+g.Malformed)
				} else {
					got = append(got, g.Data)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Fatalf("%s in steps of %d (-want +got):\n%s", name, step, d)
			}
		}
	}
}

// FuzzElements: a text that is an array gives its elements, however it arrives and wherever reading begins again; of any other text nothing is lost.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[1,{"a":[2,"]"]},[]]`, ` [ ] `, `[[[1],[2]],[3]]`, `[1`, `x`, `[1,2]]`, `["\\",",",1e5]`} {
		f.Add(s, uint8(3))
	}
	f.Fuzz(func(t *testing.T, text string, step uint8) {
		want, isArray := envelope.Elements([]byte(text))
		if isArray && len(want) > 1000 {
			return
		}
		var got [][]byte
		lost := false
		c := &elements{}
		at := 0
		for to := 0; ; {
			end := more
			if to == len(text) {
				end = final
			}
			again := &elements{}
			again.resume([]byte(text[:at])) // a restart at every position
			if at > 0 && *again != *c {
				t.Fatalf("at %d of %q the state is %v, and %v after a restart", at, text, c.state, again.state)
			}
			n, it, emit := c.cut([]byte(text[at:to]), end)
			if emit {
				got = append(got, bytes.Clone(it.Data))
				lost = lost || it.Malformed != ""
			}
			if at += n; n > 0 {
				if lost {
					break
				}
				continue
			}
			if end == final {
				break
			}
			to = min(to+1+int(step), len(text))
		}
		switch {
		case isArray && lost:
			t.Fatalf("%q is an array, and %q came out malformed", text, got)
		case !isArray:
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q has %d elements, got %q", text, len(want), got)
		}
		for i := range want {
			if !bytes.Equal(bytes.TrimSpace(want[i]), got[i]) {
				t.Fatalf("element %d of %q is %s, got %s", i, text, want[i], got[i])
			}
		}
		if at != len(text) && strings.TrimSpace(text[at:]) != "" {
			t.Fatalf("%q is left of %q", text[at:], text)
		}
	})
}
