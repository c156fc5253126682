package serialize

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/envelope"
	"headwater/lake"
	"headwater/schema"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestGolden reads testdata/*.txt: the section "in" has records, one a line, or, where a line begins with =, raw_data
// to be wrapped; the other sections are what must come of them. A comment's line "shape:" declares the unit of the time, and json_string.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			comment, rest, found := strings.Cut(string(text), "-- in --\n")
			if !found {
				t.Fatal("no section in")
			}
			in, _, _ := strings.Cut(rest, "-- schema --\n")
			got := comment + "-- in --\n" + in + journey(t, in, shapeOf(comment))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(text), got); diff != "" && !*update {
				t.Error(diff)
			}
		})
	}
}

func shapeOf(comment string) (s envelope.Shape) {
	_, declared, _ := strings.Cut(comment, "shape:")
	for word := range strings.FieldsSeq(declared) {
		if s.InString = word == "json_string"; !s.InString {
			s.Unit = envelope.Unit(word)
		}
	}
	return s
}

// foresee asks an Inference for what the run has made of the lines. It knows no day to which one could not belong.
func foresee(t *testing.T, lines []string, flat schema.Type, quarantined int) {
	n := NewInference()
	for _, l := range lines {
		if strings.Contains(l, "1783339200000") {
			quarantined--
			continue
		}
		n.Add([]byte(l))
	}
	got, unfit := n.Columns()
	for _, some := range unfit {
		quarantined -= some
	}
	if !schema.Equal(got, flat) || quarantined != 0 {
		t.Errorf("Inference foresees %v without %v, and %d more were quarantined; the table is %v", got, unfit, quarantined, flat)
	}
}

// journey is what becomes of records, as text.
func journey(t *testing.T, in string, shape envelope.Shape) string {
	w := newWorld(t)
	w.job.Shape = shape
	var lines []string
	for l := range strings.SplitSeq(strings.TrimSuffix(in, "\n"), "\n") {
		if text, bare := strings.CutPrefix(l, "="); bare {
			l = envelopeOf(text)
		}
		lines = append(lines, l)
	}
	w.put(t, lines...)
	r := w.run(t)
	raw, flat := w.footer(t, w.job.Raw), w.footer(t, w.job.Flat)
	if shape == (envelope.Shape{}) {
		foresee(t, lines, flat.Schema, int(r.Quarantined))
	}
	var b strings.Builder
	b.WriteString("-- schema --\n" + fieldType(raw.Schema, "raw_data").String() + "\n")
	b.WriteString("-- flat --\n")
	for _, f := range flat.Schema.Fields {
		fmt.Fprintf(&b, "%s %v\n", f.Name, f.Type)
	}
	if shape.Unit != "" {
		fmt.Fprintf(&b, "-- raw time --\n%v\n", fieldType(raw.Schema, "ingestion_timestamp"))
		for _, row := range w.rows(t, w.job.Raw) {
			text, err := json.Marshal(row.(map[string]any)["ingestion_timestamp"])
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s\n", text)
		}
	}
	b.WriteString("-- rows --\n")
	for _, row := range w.rows(t, w.job.Flat) {
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	b.WriteString("-- quarantine --\n")
	key := lake.QuarantineKey("serialize", "ticks", "2026-07-05", "2026-07-05")
	if r.Quarantined > 0 {
		for e, err := range w.Quarantine.Read(t.Context(), key) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s, offset %d: %s\n", e.Position, e.Record.Offset, e.Reason)
		}
	}
	b.WriteString("-- renamed --\n")
	for _, renamed := range []map[string]string{r.RenamedRaw, r.RenamedFlat} {
		text, err := json.Marshal(renamed)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	return b.String()
}
