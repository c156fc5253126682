package envelope_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"headwater/envelope"
)

// sameScans has a Scanner read texts one after the other, each of them as Compact and Lookup read it.
func sameScans(t *testing.T, texts [][]byte, path ...string) {
	t.Helper()
	lim := envelope.Limits{Depth: 20, String: 100}
	s := envelope.NewScanner(lim, path...)
	for n, text := range texts {
		before := bytes.Clone(text)
		line, field, err := s.Scan(text)
		if !bytes.Equal(before, text) {
			t.Fatalf("text %d, %q, was changed to %q", n, before, text)
		}
		want, wantErr := envelope.Compact(nil, text, lim)
		if (err == nil) != (wantErr == nil) || err != nil && fault(err) != fault(wantErr) {
			t.Fatalf("text %d, %q, of %q: %v, want %v", n, text, texts[:n], err, wantErr)
		}
		if err != nil {
			continue
		}
		var wantField []byte
		if len(path) > 0 {
			if wantField, _, err = envelope.Lookup(want, path...); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(line, want) || !bytes.Equal(field, wantField) || (field == nil) != (wantField == nil) {
			t.Fatalf("text %d, %q, of %q: %q with %q, want %q with %q", n, text, texts[:n], line, field, want, wantField)
		}
	}
}

// TestScannerIsCompact has texts of known and unknown layouts, and texts that differ from a known one by little.
func TestScannerIsCompact(t *testing.T) {
	base := []string{
		`{"a":{"t":1},"t":"x","l":[1,"2",{"t":null}],"e":{},"f":[]}`, `{"a": {"t" : 1} , "t": "x"}`, ` {"t":true}`, `{"t":1,"t":2}`, `{"a":"t","b":[[],[[1]]]}`,
		`[1,2]`, `["a:","b"]`, `7`, `"t"`, `{"t":{"t":5}}`, `{"a":{"t":[1]}}`, `{"\u0074":3}`, "\xef\xbb\xbf{\"t\":4}", `{}`, `{"a":1 ,"t":-0.5e3}`,
		"{\n  \"a\": {\n    \"t\": \"z\u00fc\"\n  },\n  \"t\": false\n}",
	}
	values := []string{`1`, `-12.5e-7`, `01`, `"y"`, `"\""`, `"\u12"`, "\"\xff\"", `"` + strings.Repeat("l", 101) + `"`, `true`, `nul`, `{}`, `[]`, `{"t":9}`, ``, `1x`, `"a" "b"`, "\"\n\"", `"é"`}
	random := rand.New(rand.NewPCG(3, 3))
	for _, path := range [][]string{nil, {"t"}, {"a", "t"}} {
		for round := range 400 {
			var texts [][]byte
			for range 60 {
				text := base[random.IntN(1+min(round/20, len(base)-1))]
				switch random.IntN(6) {
				case 0: // another value
					if i := strings.IndexAny(text, "15x"); i >= 0 {
						text = text[:i] + values[random.IntN(len(values))] + text[i+1:]
					}
				case 1: // a byte more, less or other
					i := random.IntN(len(text))
					text = text[:i] + string([]byte(`{}[]",: 1x\`)[random.IntN(11)]) + text[min(len(text), i+random.IntN(2)):]
				case 2:
					text = text[:random.IntN(len(text)+1)]
				}
				texts = append(texts, []byte(text))
			}
			sameScans(t, texts, path...)
		}
	}
}

// TestScannerOfManyLayouts goes through more layouts than a Scanner remembers, and comes back to one.
func TestScannerOfManyLayouts(t *testing.T) {
	var texts [][]byte
	for i := range 300 {
		texts = append(texts, fmt.Appendf(nil, `{"f%d":%d, "t":%d}`, i, i, i))
	}
	for i := range 100 {
		texts = append(texts, fmt.Appendf(nil, `{"f":%d, "t":%d}`, i, i))
	}
	sameScans(t, texts, "t")
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte("{\"t\":1}\x00{\"t\":2}\x00{\"t\": 2}\x00{\"t\": [2]}"))
	f.Add([]byte("[\"a\",{\"t\":\"b\"}]\x00[\"a\",{\"t\":\"\\u0000\"}]\x00[\"a\",{\"t\":\"b\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		texts := bytes.Split(data, []byte{0})
		sameScans(t, texts, "t")
		sameScans(t, texts)
	})
}

func BenchmarkScanner(b *testing.B) {
	for name, text := range texts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			s := envelope.NewScanner(envelope.DefaultLimits, "T")
			for b.Loop() {
				_, _, _ = s.Scan(text)
			}
		})
	}
}
