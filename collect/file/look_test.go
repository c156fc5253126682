package file

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/collect"
	"headwater/envelope"
)

// glance is an Out that takes so many items.
type glance struct{ items, most int }

var errEnough = errors.New("enough")

func (g *glance) Streams() map[string]envelope.StreamCursor { return nil }

func (g *glance) Emit(context.Context, collect.Item) error {
	if g.items++; g.items == g.most {
		return errEnough
	}
	return nil
}

func (g *glance) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func (g *glance) Drain(context.Context) error { return nil }

func TestLook(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		text, formats string
		items         int
	}{
		"a.csv":          {"a,b\n1,2\n3,4\n", "csv", 2},
		"b.tsv.gz":       {string(gzipped(t, "a\tb\n1\t2\n")), "csv", 1},
		"c.json":         {"[1, 2, 3]", "array", 3},
		"d.json":         {"{\n\"a\": 1}", "json", 1},
		"e.json":         {"{\"a\": 1}\n{\"a\": 1}", "ndjson", 2},
		"f.log":          {"x\ny", "lines", 2},
		"g":              {"\x00\x01", "bytes", 1},
		"h.zip":          {string(archived(t, deflated("x.csv", "a\n1\n"), deflated("y.ndjson", "{}\n"))), "csv ndjson", 2},
		"empty":          {"", "lines", 0},
		"odd [{*\n}.csv": {"a\n1\n", "csv", 1},
		"not\xff.csv":    {"a\n1\n", "csv", 1},
	} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(test.text), 0o600))
		var out glance
		c := DefaultConfig()
		c.Path = Escape(path)
		s := New(c, dir, nil)
		formats, err := s.Look(t.Context(), path, &out)
		if got := strings.Join(formats, " "); err != nil || got != test.formats || out.items != test.items {
			t.Errorf("%q: %d items of %s, %v, want %d of %s", name, out.items, got, err, test.items, test.formats)
		}
		if found, err := s.Files(t.Context()); err != nil || len(found) != 1 || found[0] != path {
			t.Errorf("%q is escaped as %q, which finds %q, %v", name, c.Path, found, err)
		}
	}
	out := glance{most: 2}
	s := New(Config{Path: "**", Reading: Reading{MaxItem: 1 << 20, Format: formatAuto, Array: arrayItems}}, dir, nil)
	if formats, err := s.Look(t.Context(), filepath.Join(dir, "c.json"), &out); !errors.Is(err, errEnough) || out.items != 2 || len(formats) != 1 {
		t.Errorf("%q, %v, %d items", formats, err, out.items)
	}
	if _, err := s.Look(t.Context(), filepath.Join(dir, "missing"), &out); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found, err := s.Files(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it found %d files and %v after its context", len(found), err)
	}
}
