package arch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each rule is given a tree that breaks it and one beside it that does not.

func TestImportsCanFail(t *testing.T) {
	ours := map[string][]string{"land": {"lake"}, "collect": {}, "collect/file": {"collect"}, "lake": {}, "cmd": {"*"}, "query": {}}
	theirs := map[string][]string{"example.com/big": {"query"}, "example.com/big/small": {"land"}, "example.com/free": {"*"}}
	got := badImports([]pkg{
		{ImportPath: "headwater/land", Imports: []string{"fmt", "net/http", "headwater/lake", "headwater/query", "example.com/big/small/x", "example.com/big", "example.com/bigger"}},
		{ImportPath: "headwater/query", Imports: []string{"example.com/big/v2", "example.com/big/small", "example.com/free"}},
		{ImportPath: "headwater/cmd", Imports: []string{"headwater/land", "headwater/query", "example.com/free", "example.com/unknown"}},
		{ImportPath: "headwater/lake", TestImports: []string{"headwater/land"}},
		{ImportPath: "headwater/collect/file", Imports: []string{"headwater/collect"}, XTestImports: []string{"headwater/land", "headwater/lake"}},
		{ImportPath: "headwater/new", Imports: []string{"fmt"}},
		{ImportPath: "headwater/tests", TestImports: []string{"headwater/land"}},
	}, ours, theirs, []string{"collect", "land"})
	want := []string{
		"package land imports headwater/query, which the tables of internal/arch do not allow",
		"package land imports example.com/big, which the tables of internal/arch do not allow",
		"package land imports example.com/bigger, which the tables of internal/arch do not allow",
		"package query imports example.com/big/small, which the tables of internal/arch do not allow",
		"package cmd imports example.com/unknown, which the tables of internal/arch do not allow",
		"package collect/file imports headwater/land: stages never import each other",
		"package new is not in the import table of internal/arch: add it with what it may import",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInitCanFail(t *testing.T) {
	got := inits(map[string]string{
		"a/bad.go":  "package a\n\nfunc init() {}\n",
		"a/good.go": "package a\n\ntype T int\n\nfunc (T) init() {}\n\nvar init2 = 1\n",
	})
	if diff := cmp.Diff([]string{"a/bad.go:3:1: has an init function: do it where main can see it"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDocsCanFail(t *testing.T) {
	got := undocumented(map[string]string{
		"a/a.go": `// Package a is documented.
package a

// T is documented.
type T struct{ Field int }

func (T) String() string { return "" }
func (*T) Method()       {}
func (hidden) Method()   {}
func F()                 {}
func f()                 {}

type U int

// Documented as a group.
const (
	One = 1
	Two = 2
)

var (
	Three = 3 // a comment beside it
	Four  = 4
)

const (
	Red Color = iota
	Green
)

const Blue Color = 7

type hidden int
`,
		"a/a_test.go": "package a\n\nfunc Exported() {}\n",
		"b/b.go":      "package b\n",
		"b/c.go":      "package b\n",
		"c/broken.go": "package",
	})
	want := []string{
		"a/a.go:8:1: Method has no doc comment",
		"a/a.go:10:1: F has no doc comment",
		"a/a.go:13:6: U has no doc comment",
		"a/a.go:23:2: Four has no doc comment",
		"a/a.go:31:7: Blue has no doc comment",
		"c/broken.go:1:8: expected 'IDENT', found 'EOF'",
		"b: the package has no package comment",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFileLengthCanFail(t *testing.T) {
	got := long(map[string]string{
		"at.go":    strings.Repeat("\n", longest),
		"over.go":  strings.Repeat("\n", longest+1),
		"over.txt": strings.Repeat("\n", longest+1),
	})
	if diff := cmp.Diff([]string{"over.go has 801 lines, more than 800: divide it by what it is about"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWordsCanFail(t *testing.T) {
	got := words(map[string]string{"good.md": "one\n", "bad.md": "one\ntwo /secret/place\n"}, []string{"/secret/"})
	if diff := cmp.Diff([]string{"bad.md:2: has /secret/, which ties the source to one machine"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCrashPointsCanFail(t *testing.T) {
	got := badPoints(map[string]string{
		"a.go":      "package a\n\nfunc f() {\n\tcrash.Point(\"a.known\")\n\tcrash.Point(\"a.unknown\")\n\tcrash.Point(name)\n\tother.Point(\"x\")\n}\n",
		"a_test.go": "package a\n\nfunc g() { crash.Point(\"a.only-in-a-test\") }\n",
	}, []string{"a.known", "a.only-in-a-test"})
	want := []string{
		"a.go:5:2: the crash point is not a literal of crash.Points",
		"a.go:6:2: the crash point is not a literal of crash.Points",
		"crash point a.only-in-a-test is listed and never passed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDependenciesCanFail(t *testing.T) {
	gomod := "module m\n\ngo 1.26\n\nrequire (\n\ta.b/known v1.0.0\n\ta.b/new v1.0.0\n\ta.b/far v1.0.0 // indirect\n)\n\nrequire a.b/single v1.2.3\n"
	want := []string{"docs/dependencies.md says nothing of a.b/new", "docs/dependencies.md says nothing of a.b/single"}
	if diff := cmp.Diff(want, unexplained(gomod, "| a.b/known | why |\n")); diff != "" {
		t.Error(diff)
	}
}
