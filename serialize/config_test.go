package serialize

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestConfig(t *testing.T) {
	c := DefaultConfig()
	if faults := c.Validate(); len(faults) > 0 {
		t.Error(faults)
	}
	tests := map[string]string{
		"engine: spark":                "engine",
		"engine: Native":               "engine",
		"flat: {separator: \"\"}":      "flat.separator",
		"flat: {separator: \".\"}":     "flat.separator",
		"flat: {arrays: explode}":      "flat.arrays",
		"row_group_bytes: 1kB":         "row_group_bytes",
		"record_bytes: 0":              "record_bytes",
		"max_memory: 1MiB":             "max_memory",
		"schema: {max_columns: 0}":     "schema.max_columns",
		"schema: {dialect: Spark}":     "schema.dialect",
		"workers: -1":                  "workers",
		"{engine: spark, workers: -1}": "engine workers",
	}
	for text, want := range tests {
		c := DefaultConfig()
		if err := yaml.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range c.Validate() {
			got = append(got, strings.Join(f.Path, "."))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: faults of %v, want %s", text, got, want)
		}
	}
}
