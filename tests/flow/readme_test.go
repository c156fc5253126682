// Package flow runs whole paths of the program as its documentation describes them.
package flow

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headwater/tests/binary"
)

const top = "../.."

// commandLines are the lines of a file that call bin/headwater, without what is before the call.
func commandLines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, m := range regexp.MustCompile(`(?m)^\s+(bin/headwater .*)$`).FindAllSubmatch(text, -1) {
		lines = append(lines, strings.ReplaceAll(string(m[1]), "$(DEMO)", "--once"))
	}
	return lines
}

// TestReadme runs what the README tells a newcomer to run, in a copy of the example: the sample as the Makefile has it, then the
// README's own commands. The README's other command is the one that runs this test.
func TestReadme(t *testing.T) {
	bin := binary.Build(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(top, "examples"))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "examples", "shop", "headwater-data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "bin", "headwater")); err != nil {
		t.Fatal(err)
	}
	sample, readme := commandLines(t, "Makefile"), commandLines(t, "README.md")
	if len(sample) < 2 || len(readme) < 2 {
		t.Fatalf("found the commands %q and %q, want at least two of each", sample, readme)
	}
	var said strings.Builder
	for _, line := range append(sample, readme...) {
		cmd := exec.Command("bash", "-c", line)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", line, err, out)
		}
		said.Write(out)
	}
	for _, want := range []string{"orders: all ", "PT", "shop.orders_raw", "(5 rows)"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("nowhere in the answers is %q:\n%s", want, said.String())
		}
	}
}

// TestReadmePipeline loads the pipeline that the README shows.
func TestReadmePipeline(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatal("the README shows no pipeline")
	}
	p := binary.New(t, binary.Build(t), string(m[1]))
	if out := p.Run(t, nil, "check").Must(t); !strings.Contains(out, "no faults") {
		t.Error(out)
	}
}
