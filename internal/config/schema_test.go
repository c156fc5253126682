package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"headwater/internal/builtin"
	"headwater/internal/config"
)

// TestSchema holds files against the schema that editors get: what check accepts is valid, and what check does not know is not.
func TestSchema(t *testing.T) {
	var text bytes.Buffer
	if err := config.WriteSchema(&text, builtin.Sources()); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("pipeline.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("pipeline.json")
	if err != nil {
		t.Fatal(err)
	}
	read := func(text string) any {
		t.Helper()
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	example, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]string{
		"example":               string(example),
		"example, all keys":     regexp.MustCompile(`(?m)^( *)#(\S)`).ReplaceAllString(string(example), "$1$2"),
		"least":                 "database: d\nsources: {}\n",
		"nothing but variables": "database: ${D}\nmin_free: ${M}\nembedded: \"${E}\"\nquery: {threads: \"${T}\", memory: 1GiB}\ncollect: {drain: \"${X}\"}\nsources:\n",
		"overrides":             "database: d\nland: {overrides: [{topics.regex: a.*, flush.size: 10, flush.bytes: 1MiB, timestamp.field: a.b}]}\nsources: {}\n",
		"empty sections":        "database: d\nkafka:\nlake:\nsources:\n",
	}
	files, err := filepath.Glob("../../examples/*/pipeline.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = string(data)
	}
	for name, text := range good {
		if err := schema.Validate(read(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, want := range map[string]string{
		"sources: {}\n": "database",
		"database: d\nsources: {}\ntime_zone: UTC\n":               "time_zone",
		"database: d\nsources: {a: {}}\n":                          "oneOf",
		"database: d\nsources: {a: {file: {pth: x}}}\n":            "pth",
		"database: d\nsources: {a: {push: {}, file: {path: x}}}\n": "oneOf",
		"database: d\nsources: {A: {push: {}}}\n":                  "A",
		"database: d\nsources: {}\nembedded: maybe\n":              "embedded",
		"database: d\nsources: {}\nquery: {threads: many}\n":       "threads",
		"database: d\nsources: {}\nquery: {memory: much}\n":        "memory",
		"database: d\nsources: {}\nserialize: {every: 5}\n":        "every",
		"database: d\nsources: {}\nkafka: {brokers: k:9092}\n":     "brokers",
	} {
		if err := schema.Validate(read(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
