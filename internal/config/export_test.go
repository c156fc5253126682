package config

import (
	"path/filepath"
	"reflect"
	"slices"
)

// Update says that expected texts are rewritten.
var Update = update

// LoadText is Load of a file that need not exist.
func LoadText(path, text string, reg *Registry) (*Pipeline, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := newParser(filepath.Dir(absolute))
	pipeline, faults := p.load(path, p.parse([]byte(text)), reg)
	if len(faults) > 0 {
		return nil, faults
	}
	return pipeline, nil
}

// MissingKeys lists the keys that a pipeline file may have and the text has not; those of sources are written sources.*.
func MissingKeys(text string, reg *Registry) []string {
	root := newParser(".").parse([]byte(text))
	var missing []string
	look := func(t reflect.Type, prefix []string, nodes []*node) {
		for _, path := range leaves(t) {
			has := func(n *node) bool { return n.at(path[:len(path)-1]).values[path[len(path)-1]] != nil }
			if !slices.ContainsFunc(nodes, has) {
				missing = append(missing, join(slices.Concat(prefix, path)))
			}
		}
	}
	look(reflect.TypeFor[Pipeline](), nil, []*node{root})
	sources := root.at([]string{"sources"})
	each := func(kind string) []*node {
		var nodes []*node
		for _, s := range sources.values {
			if n := s.values[kind]; n != nil {
				nodes = append(nodes, n)
			}
		}
		return nodes
	}
	for _, kind := range reg.Kinds() {
		k, _ := reg.kind(kind)
		look(k.config, []string{"sources", "*", kind}, each(kind))
	}
	look(reflect.TypeFor[topicKeys](), []string{"sources", "*", "topic"}, each("topic"))
	look(reflect.TypeFor[tablesKeys](), []string{"sources", "*", "tables"}, each("tables"))
	return missing
}

// leaves has the path of every value that is no mapping of fixed keys.
func leaves(t reflect.Type) [][]string {
	var out [][]string
	for _, f := range fieldsOf(t) {
		inner := t.FieldByIndex(f.index).Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || isText(reflect.New(inner).Elem()) {
			out = append(out, []string{f.key})
			continue
		}
		for _, rest := range leaves(inner) {
			out = append(out, slices.Concat([]string{f.key}, rest))
		}
	}
	return out
}

// Defaults is the configuration of a kind of source of which a file says nothing.
func Defaults(reg *Registry, kind string) any {
	k, _ := reg.kind(kind)
	got, _ := k.read(newParser(".").parse([]byte("{}")), nil) // what is missing is no matter here
	if got.external != nil {
		return *got.external
	}
	return got.config()
}
