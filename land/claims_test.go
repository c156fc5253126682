package land

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestClaims: what docs/kafka-connect.md says is shown by tests that exist.
func TestClaims(t *testing.T) {
	page, err := os.ReadFile("../docs/kafka-connect.md")
	if err != nil {
		t.Fatal(err)
	}
	claims := 0
	for row := range strings.Lines(string(page)) {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| |") {
			continue
		}
		cells := strings.Split(strings.Trim(row, "|\n"), "|")
		if len(cells) != 4 {
			t.Errorf("%d cells, want 4: %s", len(cells), row)
			continue
		}
		claims++
		for shown := range strings.SplitSeq(cells[3], ", ") {
			dir, test, _ := strings.Cut(strings.TrimSpace(shown), " ")
			files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, file := range files {
				code, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				found = found || regexp.MustCompile(`(?m)^func `+regexp.QuoteMeta(test)+`\(`).Match(code)
			}
			if !found || !strings.HasPrefix(test, "Test") {
				t.Errorf("%s: there is no %q", cells[0], shown)
			}
		}
	}
	if claims < 15 {
		t.Errorf("%d claims were found", claims)
	}
}
