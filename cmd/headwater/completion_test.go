package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// printed runs the program and gives what it printed.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != 0 {
		t.Fatalf("%q ended with %d: %s", args, code, &errs)
	}
	return out.String()
}

func TestCompletion(t *testing.T) {
	script := printed(t, "completion", "bash")
	for line, want := range map[string]string{
		"headwater se":                "serve serialize",
		"headwater q":                 "query",
		"headwater run --":            "--once",
		"headwater query x.yml --for": "--format",
		"headwater land --":           "",
		"headwater land ad":           "adopt",
		"headwater land acc":          "accept",
		"headwater access ver":        "verify",
		"headwater land adopt x --f":  "--from-group",
		"headwater check completion_": "completion_test.go",
	} {
		words := strings.Fields(line)
		test := script + "\nCOMP_WORDS=(" + line + "); COMP_CWORD=" + string(rune('0'+len(words)-1)) + "; COMPREPLY=(); _headwater; echo \"${COMPREPLY[*]}\""
		out, err := exec.CommandContext(t.Context(), "bash", "-c", test).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	if zsh := printed(t, "completion", "zsh"); !strings.HasSuffix(zsh, script) || zsh == script {
		t.Error(zsh)
	}
	if fish := printed(t, "completion", "fish"); !strings.Contains(fish, "-a run ") || !strings.Contains(fish, "seen_subcommand_from run' -l once") || strings.Contains(fish, "query-worker") {
		t.Error(fish)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"completion", "csh"}, strings.NewReader(""), &out, &errs); code != 2 || !strings.Contains(errs.String(), "bash, zsh or fish") {
		t.Errorf("csh ended with %d: %s", code, &errs)
	}
}

func TestSchemaJSON(t *testing.T) {
	var s struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(printed(t, "schema-json")), &s); err != nil || s.Properties["sources"] == nil {
		t.Error(s, err)
	}
}
