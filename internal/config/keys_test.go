package config_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/setting"
)

// TestKeysOfSources compares the table of keys that ends each page of docs/sources with what the configurations say of themselves.
func TestKeysOfSources(t *testing.T) {
	const heading = "\n## Keys\n"
	reg := builtin.Sources()
	docs := sourceDocs{}
	for _, kind := range reg.Kinds() {
		path := filepath.Join("../../docs/sources", kind+".md")
		page, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("a source has no page: %v", err)
			continue
		}
		text, _, _ := strings.Cut(string(page), heading)
		keys := table{docs: docs, shown: map[reflect.Type]string{}}
		fmt.Fprintf(&keys.b, "%s%s\nThose of every source, as `topic` and `tables`, are in [example.yml](../example.yml).\n\n| key | default | |\n|---|---|---|\n", text, heading)
		keys.rows(t, "", reflect.ValueOf(config.Defaults(reg, kind)))
		if *config.Update {
			if err := os.WriteFile(path, keys.b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(keys.b.String(), string(page)); diff != "" {
			t.Errorf("%s (-want +got); go test ./internal/config -update writes it:\n%s", path, diff)
		}
	}
}

// sourceDocs are the comments on the fields of structs, by package and type; that on the type itself is of the field "".
type sourceDocs map[string]map[string]map[string]string

func (d sourceDocs) of(t *testing.T, typ reflect.Type) map[string]string {
	t.Helper()
	if d[typ.PkgPath()] == nil {
		d[typ.PkgPath()] = parseDocs(t, filepath.Join("../..", strings.TrimPrefix(typ.PkgPath(), "headwater/")))
	}
	return d[typ.PkgPath()][typ.Name()]
}

func parseDocs(t *testing.T, dir string) map[string]map[string]string {
	t.Helper()
	types := map[string]map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, is := decl.(*ast.GenDecl)
			if !is {
				continue
			}
			for _, spec := range group.Specs {
				spec, is := spec.(*ast.TypeSpec)
				if !is {
					continue
				}
				if s, is := spec.Type.(*ast.StructType); is {
					types[spec.Name.Name] = fieldDocs(s)
					types[spec.Name.Name][""] = strings.TrimSpace(spec.Doc.Text())
					if spec.Doc == nil {
						types[spec.Name.Name][""] = strings.TrimSpace(group.Doc.Text())
					}
				}
			}
		}
	}
	return types
}

// fieldDocs gives a comment also to the fields after its own that it names.
func fieldDocs(s *ast.StructType) map[string]string {
	docs := map[string]string{}
	last := ""
	for _, f := range s.Fields.List {
		text := strings.TrimSpace(f.Doc.Text())
		for _, name := range f.Names {
			docs[name.Name] = text
			if text == "" && regexp.MustCompile(`\b`+name.Name+`\b`).MatchString(last) {
				docs[name.Name] = last
			}
		}
		if text != "" {
			last = text
		}
	}
	return docs
}

// table is that of one page.
type table struct {
	docs sourceDocs
	b    bytes.Buffer
	// shown are the keys of structs whose keys are there.
	shown map[reflect.Type]string
}

// rows writes a row for each key of a struct, and those of the structs in it.
func (k *table) rows(t *testing.T, prefix string, v reflect.Value) {
	t.Helper()
	docs := k.docs.of(t, v.Type())
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			k.rows(t, prefix, value)
			continue
		}
		if key == "" || key == "-" {
			continue
		}
		inner := value
		if f.Type.Kind() == reflect.Pointer {
			inner = reflect.Zero(f.Type.Elem())
			if !value.IsNil() {
				inner = value.Elem()
			}
		}
		said := readable(docs[f.Name], key, v.Type())
		if inner.Kind() != reflect.Struct || inner.Type().PkgPath() == "time" {
			fmt.Fprintf(&k.b, "| `%s%s` | %s | %s |\n", prefix, key, defaultOf(value), said)
			continue
		}
		if said == "" {
			own := k.docs.of(t, inner.Type())[""]
			said = readable(strings.Replace(own, inner.Type().Name(), f.Name, 1), key, v.Type(), inner.Type())
		}
		before, there := k.shown[inner.Type()]
		if there && inner.NumField() > 0 {
			said = strings.TrimSpace(said + " Its keys are those of `" + before + "`.")
		}
		fmt.Fprintf(&k.b, "| `%s%s` | | %s |\n", prefix, key, said)
		if !there {
			k.shown[inner.Type()] = prefix + key
			k.rows(t, prefix+key+".", inner)
		}
	}
}

func defaultOf(v reflect.Value) string {
	text := ""
	switch value := v.Interface().(type) {
	case setting.Secret:
	case setting.Bytes:
		text = value.String()
	case time.Duration:
		text = strings.TrimSuffix(strings.TrimSuffix(value.String(), "0s"), "0m")
		if value%time.Minute != 0 || value == 0 {
			text = value.String()
		}
	default:
		switch v.Kind() {
		case reflect.Slice, reflect.Map:
			if v.Len() > 0 {
				text = strings.Trim(fmt.Sprint(value), "[]")
			}
		case reflect.Struct, reflect.Pointer:
		default:
			text = fmt.Sprint(value)
		}
	}
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// readable is a comment for somebody who writes a pipeline file: with keys in the place of the fields of types that it names, and without the
// beginning that says which it is about.
func readable(said, key string, types ...reflect.Type) string {
	said = regexp.MustCompile(`; see (docs/\S+\.md|package \w+)| The zero value [^.]*\.`).ReplaceAllString(strings.Join(strings.Fields(said), " "), "")
	said = strings.NewReplacer("if not nil", "if it is given", "if it is nil", "if it is not given", "|", `\|`, "<", "&lt;").Replace(said)
	for _, typ := range types {
		for _, f := range reflect.VisibleFields(typ) {
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
				said = regexp.MustCompile("(^|[^`\\w])"+f.Name+`\b`).ReplaceAllString(said, "${1}`"+key+"`")
			}
		}
	}
	for _, verb := range []string{" is ", " are "} {
		said = strings.TrimPrefix(said, "`"+key+"`"+verb)
	}
	return said
}
