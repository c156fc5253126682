package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "headwater/"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// badImports finds imports that the tables do not allow, and packages that the first table lacks.
func badImports(all []pkg, ours, theirs map[string][]string, apart []string) []string {
	var faults []string
	for _, p := range all {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := ours[name]
		if !known && len(p.Imports) > 0 {
			faults = append(faults, fmt.Sprintf("package %s is not in the import table of internal/arch: add it with what it may import", name))
			continue
		}
		for _, imported := range p.Imports {
			if !allows(name, imported, allowed, theirs) {
				faults = append(faults, fmt.Sprintf("package %s imports %s, which the tables of internal/arch do not allow", name, imported))
			}
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			from, to := top(name), top(strings.TrimPrefix(imported, module))
			if strings.HasPrefix(imported, module) && from != to && slices.Contains(apart, from) && slices.Contains(apart, to) {
				faults = append(faults, fmt.Sprintf("package %s imports %s: stages never import each other", name, imported))
			}
		}
	}
	return faults
}

func allows(name, imported string, allowed []string, theirs map[string][]string) bool {
	if own, isOurs := strings.CutPrefix(imported, module); isOurs {
		return slices.Contains(allowed, own) || slices.Contains(allowed, "*")
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	longest, may := 0, []string(nil)
	for prefix, packages := range theirs {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > longest {
			longest, may = len(prefix), packages
		}
	}
	return slices.Contains(may, name) || slices.Contains(may, "*")
}

func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

// inits finds init functions, which run unasked and in no order that a reader sees.
func inits(sources map[string]string) []string {
	return inspect(sources, func(name string, file *ast.File, fault faultFunc) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				fault(f.Pos(), "has an init function: do it where main can see it")
			}
		}
	})
}

type faultFunc func(at token.Pos, format string, args ...any)

// inspect parses the sources and collects the faults that look finds, by path.
func inspect(sources map[string]string, look func(name string, file *ast.File, fault faultFunc)) []string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, name, sources[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		look(name, file, func(at token.Pos, format string, args ...any) {
			faults = append(faults, fmt.Sprintf("%s: %s", positions.Position(at), fmt.Sprintf(format, args...)))
		})
	}
	return faults
}

// undocumented finds exported declarations without a comment, and packages without one. Methods of well-known interfaces need none.
func undocumented(sources map[string]string) []string {
	packages := map[string]bool{}
	faults := inspect(sources, func(name string, file *ast.File, fault faultFunc) {
		packages[path.Dir(name)] = packages[path.Dir(name)] || file.Doc != nil
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown(d) {
					fault(d.Pos(), "%s has no doc comment", d.Name)
				}
			case *ast.GenDecl:
				if values(d) {
					continue // they are the values of a type, whose comment says what they are
				}
				for _, s := range d.Specs {
					if n := undocumentedName(d, s); n != "" {
						fault(s.Pos(), "%s has no doc comment", n)
					}
				}
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if !packages[name] {
			faults = append(faults, fmt.Sprintf("%s: the package has no package comment", name))
		}
	}
	return faults
}

// values says that d is a group of constants of one named type.
func values(d *ast.GenDecl) bool {
	if d.Tok != token.CONST || len(d.Specs) < 2 {
		return false
	}
	_, typed := d.Specs[0].(*ast.ValueSpec).Type.(*ast.Ident)
	return typed
}

func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"String", "Error", "Unwrap", "Is", "Len", "Less", "Swap", "Read", "Write", "Close"}, d.Name.Name)
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

func undocumentedName(d *ast.GenDecl, s ast.Spec) string {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
			return s.Name.Name
		}
	case *ast.ValueSpec:
		for _, n := range s.Names {
			if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				return n.Name
			}
		}
	}
	return ""
}

// longest is the greatest number of lines of a Go file.
const longest = 800

func long(files map[string]string) []string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if n := strings.Count(files[name], "\n"); strings.HasSuffix(name, ".go") && n > longest {
			faults = append(faults, fmt.Sprintf("%s has %d lines, more than %d: divide it by what it is about", name, n, longest))
		}
	}
	return faults
}

func words(files map[string]string, forbidden []string) []string {
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		number := 0
		for line := range strings.Lines(files[name]) {
			number++
			for _, word := range forbidden {
				if strings.Contains(line, word) {
					faults = append(faults, fmt.Sprintf("%s:%d: has %s, which ties the source to one machine", name, number, word))
				}
			}
		}
	}
	return faults
}

// badPoints finds crash points that are passed and not listed, or listed and never passed.
func badPoints(sources map[string]string, listed []string) []string {
	passed := map[string]bool{}
	faults := inspect(sources, func(name string, file *ast.File, fault faultFunc) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isPoint(call) {
				literal, _ := call.Args[0].(*ast.BasicLit)
				point := ""
				if literal != nil {
					point, _ = strconv.Unquote(literal.Value)
				}
				if !slices.Contains(listed, point) {
					fault(call.Pos(), "the crash point is not a literal of crash.Points")
				}
				passed[point] = true
			}
			return true
		})
	})
	for _, point := range listed {
		if !passed[point] {
			faults = append(faults, fmt.Sprintf("crash point %s is listed and never passed", point))
		}
	}
	return faults
}

func isPoint(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Point" || len(call.Args) != 1 {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == "crash"
}

// unexplained finds direct dependencies of a go.mod that the document does not name.
func unexplained(gomod, doc string) []string {
	var faults []string
	for line := range strings.Lines(gomod) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		direct := len(fields) == 2 && strings.HasPrefix(fields[1], "v")
		if direct && !strings.Contains(doc, "| "+fields[0]+" |") {
			faults = append(faults, fmt.Sprintf("docs/dependencies.md says nothing of %s", fields[0]))
		}
	}
	return faults
}
