package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/internal/builtin"
	"headwater/internal/config"
)

// TestInit calls the command in a folder with one file.
func TestInit(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("orders.csv", "a;b\n1;2\n")
	write("notes.md", "x")
	write("there.yaml", "mine")
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "later", map[string]int{"/busy": 503, "/gone": 410}[r.URL.Path])
	}))
	defer busy.Close()
	feed := "ws" + strings.TrimPrefix(busy.URL, "http")
	for _, test := range []struct {
		args  string
		code  int
		wants string
	}{
		{"", 2, "WHAT is missing"},
		{"--sideways orders.csv", 2, "sideways"},
		{"nothing.csv", 2, "does not exist"},
		{"orders.csv --output there.yaml", 2, "is there already"},
		{"orders.csv --output no/such/folder.yaml", 2, "name a file in a folder that can be written"},
		{"orders.csv --database Db", 2, "database: must be"},
		{feed + "/busy", 4, "503"},
		{feed + "/gone", 2, "410"},
		{"orders.csv --output - --database db", 0, "\ndatabase: db\n"},
		{"--database db . --output new.yaml", 0, "new.yaml has orders."},
		{"--database db . --output new.yaml", 2, "remove it"},
		{"--help", 0, "--output"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"init"}, strings.Fields(test.args)...), strings.NewReader(""), &out, &errs)
		if said := out.String() + errs.String(); code != test.code || !strings.Contains(strings.ReplaceAll(said, "  -output", "--output"), test.wants) {
			t.Errorf("init %s ended with %d, want %d and %q in\n%s", test.args, code, test.code, test.wants, said)
		}
	}
	if text, err := os.ReadFile("there.yaml"); err != nil || string(text) != "mine" {
		t.Errorf("the file that was there is %q, %v", text, err)
	}
	if _, err := os.Stat("pipeline.yaml"); err == nil {
		t.Error("pipeline.yaml was written although something failed")
	}
	p, err := config.Load("new.yaml", builtin.Sources())
	if err != nil || len(p.Sources) != 1 || p.Sources[0].FlatTable.String() != "db.orders" {
		t.Error(p, err)
	}
}
