package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCompare edits a file: what has another effect differs, and nothing else does.
func TestCompare(t *testing.T) {
	const before = `
database: db
land: {flush.size: 10}
sources:
  a: {file: {path: x, every: 1s}, topic: {configs: {retention.ms: "1"}}}
  b: {external: {topic: t}}
`
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(text string) *Pipeline {
		t.Helper()
		path := filepath.Join(dir, "pipeline.yaml")
		put(path, text)
		p, err := Load(path, stubs())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one := func(line string) string { return "database: db\nsources:\n  a: " + line + "\n" }
	put(secret, "one")
	for _, test := range []struct {
		name, before, after string
		keys                []string // that differ
		sources             []bool   // whether each is the same
	}{
		{"nothing", before, before, nil, []bool{true, true}},
		{
			"spelling, order, comments and defaults", before, `# said differently
sources:
  a:
    topic: {configs: {retention.ms: 1}, name: "{source}_raw"}
    file: {every: 1000ms, path: x}
  b: {external: {topic: t, envelope: headwater}}
land: {flush.size: 10}
timezone: UTC
database: db
`, nil, []bool{true, true},
		},
		{"other keys", one("{file: {path: x, every: 1s}}"), "timezone: Europe/Paris\nserialize: {every: 1m}\n" + one("{file: {path: x, every: 1s}}"), []string{"timezone", "serialize"}, []bool{true}},
		{"a key of the kind", one("{file: {path: x, every: 1s}}"), one("{file: {path: y, every: 1s}}"), nil, []bool{false}},
		{"the topic", one("{file: {path: x, every: 1s}}"), one("{file: {path: x, every: 1s}, topic: {partitions: 3}}"), nil, []bool{false}},
		{"a table", one("{file: {path: x, every: 1s}}"), one("{file: {path: x, every: 1s}, tables: {flat: c}}"), nil, []bool{false}},
		{"the kind", one("{file: {path: x, every: 1s}}"), one("{external: {topic: a_raw}}"), nil, []bool{false}},
		{"the shape", one("{external: {topic: t}}"), one("{external: {topic: t, envelope: none}}"), nil, []bool{false}},
		{"an anchor", one("{file: &s {path: x, every: 1s}}"), one("{file: {path: x, every: 1s}}"), nil, []bool{true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := load(test.before), load(test.after)
			if got := a.Differences(b); !slices.Equal(got, test.keys) {
				t.Errorf("%q differ, want %q", got, test.keys)
			}
			for i, want := range test.sources {
				if got := a.Sources[i].Same(b.Sources[i]); got != want {
					t.Errorf("source %s: same is %v", a.Sources[i].Name, got)
				}
			}
		})
	}
	const reads = "{file: {path: x, every: 1s, password: \"${file:secret}\"}}"
	a := load(one(reads))
	put(secret, "two")
	if b := load(one(reads)); a.Sources[0].Same(b.Sources[0]) {
		t.Error("a password that was changed in its own file is the same")
	}
}
