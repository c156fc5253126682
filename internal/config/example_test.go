package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/kafka"
	"headwater/land"
	"headwater/query"
	"headwater/serialize"
	"headwater/table/hive"
)

const example = "../../docs/example.yml"

func TestExampleHasTheDefaults(t *testing.T) {
	p, err := config.Load(example, builtin.Sources())
	if err != nil {
		t.Fatal(err)
	}
	wantLand := land.DefaultConfig()
	wantLand.Timezone = "UTC"
	for name, c := range map[string]struct{ want, got any }{
		"kafka":     {kafka.DefaultConfig(), p.Kafka},
		"collect":   {collect.DefaultConfig(), p.Collect},
		"land":      {wantLand, p.Land},
		"serialize": {serialize.DefaultConfig(), p.Serialize},
		"query":     {query.DefaultLimits(), p.Query},
		"hive":      {hive.DefaultConfig(), p.Hive},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("docs/example.yml says that these are the defaults of %s (-default +example):\n%s", name, diff)
		}
	}
	least := filepath.Join(p.Dir, "least.yml")
	want := []string{p.DataDir, p.Lake.Raw, p.Lake.Tables, p.Timezone, p.Listen.HTTP.Addr, p.Listen.Kafka.Addr}
	p, err = config.LoadText(least, "database: market\nsources: {}\n", builtin.Sources())
	if err != nil {
		t.Fatal(err)
	}
	got := []string{p.DataDir, p.Lake.Raw, p.Lake.Tables, p.Timezone, p.Listen.HTTP.Addr, p.Listen.Kafka.Addr}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("docs/example.yml has other defaults (-default +example):\n%s", diff)
	}
}

// TestExampleHasEveryKey reads the example with its left-out keys put in, which must be valid too.
func TestExampleHasEveryKey(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	setVariables(t, data)
	whole := regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAllString(string(data), "$1$2")
	if _, err := config.LoadText(example, whole, builtin.Sources()); err != nil {
		t.Fatal(err)
	}
	for _, missing := range config.MissingKeys(whole, builtin.Sources()) {
		t.Errorf("docs/example.yml lacks the key %s: say what it is for", missing)
	}
}

// setVariables gives every variable that a text names a value.
func setVariables(t *testing.T, text []byte) {
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)\}`).FindAllSubmatch(text, -1) {
		t.Setenv(string(m[1]), "hunter2")
	}
}

// TestPages reads the pipelines on the pages about sources, which lack nothing but the database.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/sources/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatal(pages, err)
	}
	read := 0
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllSubmatch(data, -1)
		for _, block := range blocks {
			read++
			setVariables(t, block[1])
			text := string(block[1])
			if !strings.Contains(text, "database:") {
				text = "database: d\n" + text
			}
			if _, err := config.LoadText(page, text, builtin.Sources()); err != nil {
				t.Error(err)
			}
		}
	}
	if read < 4 {
		t.Errorf("only %d examples were found", read)
	}
}

func TestMissingKeysFindsThem(t *testing.T) {
	missing := map[string]bool{}
	for _, key := range config.MissingKeys("database: market\nsources: {orders: {file: {path: a}}}\n", builtin.Sources()) {
		missing[key] = true
	}
	for _, key := range []string{"timezone", "land.flush.size", "kafka.sasl.mechanism", "sources.*.file.csv.header", "sources.*.topic.name"} {
		if !missing[key] {
			t.Errorf("%s is not found missing", key)
		}
	}
	for _, key := range []string{"database", "sources.*.file.path"} {
		if missing[key] {
			t.Errorf("%s is found missing and is there", key)
		}
	}
}

// TestServedSources: no two sources are served at one path, the default of one of them included.
func TestServedSources(t *testing.T) {
	_, err := config.LoadText("p.yml", "database: db\nsources:\n  a: {push: {}}\n  b: {push: {path: /ingest/a}}\n  c: {push: {path: /ingest/d}}\n", builtin.Sources())
	want := "p.yml:4: sources.b: has the path /ingest/a, as source a on line 3 has: write push.path in one of them"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	_, err = config.LoadText("p.yml", "database: db\nsources:\n  a: {push: {path: /metrics}}\n", builtin.Sources())
	if err == nil || !strings.Contains(err.Error(), "p.yml:3: sources.a.push.path: must not be below /metrics") {
		t.Errorf("got %v", err)
	}
}
