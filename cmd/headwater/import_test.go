package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestImport calls the command in a folder with connectors.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("KAFKA_BROKERS", "kafka-1:9092")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := `{"name":"orders","config":{"connector.class":"io.confluent.connect.s3.S3SinkConnector","topics":"orders","s3.bucket.name":"lake",
"value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false",
"format.class":"io.confluent.connect.s3.format.json.JsonFormat","flush.size":"3"}}`
	write("good.json", good)
	write("bad.json", strings.Replace(good, `"flush.size"`, `"transforms":"a\u001b[31m","\u001b[31m":"","flush.size"`, 1))
	write("large.json", strings.Repeat(" ", 1<<20+1))
	write("odd.json", `{"a":`)
	write("there.yaml", "mine")
	for _, test := range []struct {
		args, in string
		code     int
		wants    string
		writes   string
	}{
		{"", "", 2, "CONNECTOR is missing", ""},
		{"gone.json", "", 2, "no such file", ""},
		{".", "", 2, "is a directory", ""},
		{"large.json", "", 2, "larger than 1 MiB", ""},
		{"odd.json", "", 2, "no JSON", ""},
		{"good.json --database My-Db", "", 2, "lower case", ""},
		{"good.json -o there.yaml", "", 2, "is there already", ""},
		{"good.json -o no/such/folder.yaml", "", 2, "name a file in a folder that can be written", ""},
		{"bad.json", "", 2, "2 of the connector's keys were refused, and nothing is written", ""},
		{"bad.json --partial -o partial.yaml", "", 2, "the file is without them", "partial.yaml"},
		{"good.json", "", 0, "pipeline.yaml is written", "pipeline.yaml"},
		{"- -o - --database d", good, 0, "\ndatabase: d\n", ""},
		{"--help", "", 0, "--partial", ""},
	} {
		var out, errs bytes.Buffer
		before, err := filepath.Glob("*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		code := run(t.Context(), append([]string{"import"}, strings.Fields(test.args)...), strings.NewReader(test.in), &out, &errs)
		if said := out.String() + errs.String(); code != test.code || !strings.Contains(strings.ReplaceAll(said, "  -partial", "--partial"), test.wants) || strings.Contains(said, "\x1b") {
			t.Errorf("import %s ended with %d, want %d and %q in\n%s", test.args, code, test.code, test.wants, said)
		}
		if after, err := filepath.Glob("*.yaml"); err != nil || (len(after) > len(before)) != (test.writes != "") {
			t.Errorf("import %s: the files are %v, %v", test.args, after, err)
		}
		if test.writes == "" {
			continue
		}
		out.Reset()
		if code := run(t.Context(), []string{"check", test.writes}, nil, &out, &errs); code != 0 {
			t.Errorf("check of %s ended with %d: %s%s", test.writes, code, out.String(), errs.String())
		}
	}
	if text, err := os.ReadFile("there.yaml"); err != nil || string(text) != "mine" {
		t.Errorf("the file that was there is %q, %v", text, err)
	}
}
