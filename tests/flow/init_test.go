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

// TestInit has init write a pipeline for the example's files and some that defaults would not read, and then does what the first lines of
// that pipeline tell a newcomer to do: what init said of the columns is what the tables have, and every item is in them.
func TestInit(t *testing.T) {
	bin := binary.Build(t)
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.CopyFS(filepath.Join(dir, "in"), os.DirFS(filepath.Join(top, "examples/shop/in"))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"measured/DE 'north' #1.csv": "S01;22,5;2026-07-05\nS02;19,7;2026-07-05\n",
		"measured/DE 'south' #2.csv": "S03;22,5;2026-07-05\n",
		"in/notes.md":                "not data",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tools := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(tools, "headwater")); err != nil {
		t.Fatal(err)
	}
	do := func(line string) string {
		t.Helper()
		cmd := exec.Command("bash", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", line, err, out)
		}
		return string(out)
	}
	if said := do(`headwater init in 'measured/*.csv'`); !strings.Contains(said, "in/notes.md") || !strings.Contains(said, "orders, weather, measured") {
		t.Error(said)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pipeline.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	next := regexp.MustCompile(`(?m)^#   (headwater .*)$`).FindAllSubmatch(text, -1)
	if len(next) != 4 {
		t.Fatalf("the pipeline says to run %q:\n%s", next, text)
	}
	for _, line := range next {
		do(string(line[1]))
	}
	counts := `select (select count(*) from shop.orders), (select count(*) from shop.weather), (select count(distinct _c0) from shop.measured)`
	if got := do(`headwater query --format csv pipeline.yaml "` + counts + `"`); !strings.HasSuffix(got, "\n240,96,3\n") {
		t.Errorf("the tables have %s", got)
	}
	for _, table := range []string{"orders", "weather", "measured"} {
		columns := strings.Fields(do(`headwater query --format csv pipeline.yaml "select column_name from (describe shop.` + table + `)"`))[1:]
		_, comment, _ := strings.Cut(string(text), "The flat table shop."+table+" has the columns\n")
		comment, _, _ = strings.Cut(comment, "\n  "+table+":")
		var foreseen []string
		for line := range strings.SplitSeq(comment, "\n") {
			foreseen = append(foreseen, strings.Fields(line)[1])
		}
		foreseen = append(foreseen, "year", "month", "day")
		if got, want := strings.Join(columns, " "), strings.Join(foreseen, " "); got != want {
			t.Errorf("%s has the columns %s, and init foresaw %s", table, got, want)
		}
	}
}
