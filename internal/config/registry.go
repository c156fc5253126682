package config

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"headwater/collect"
	"headwater/internal/setting"
)

// Env is what a source is opened with besides its own configuration.
type Env struct {
	// Name is the source's; Source.Open sets it.
	Name string
	// Handle has the process's HTTP listener answer at a path by h; nil if the process has no listener.
	Handle func(path string, h http.Handler)
	// Look says that the source is only looked at: it does nothing to what it reads.
	Look bool
	// Base is the folder that relative paths are relative to; Source.Open sets it to the pipeline file's if it is empty.
	Base string
	// Logger gets what the source has to say.
	Logger *slog.Logger
}

// Registry has the kinds of sources and lakes a pipeline file may name. The zero value has External alone, and folders.
type Registry struct {
	kinds map[string]kind
	lakes map[string]func(url string) error
}

type kind struct {
	config reflect.Type
	read   func(n *node, path []string) (reading, setting.Faults)
}

// reading is a source's configuration as far as this package needs to know it.
type reading struct {
	config func() any
	open   opener
	// httpPath is where the source of a name is served; nil for a kind that is not.
	httpPath func(source string) string
	// external is set for External alone, which opens nothing.
	external *external
}

type opener func(Env) (collect.Source, error)

// Add registers a kind of source under the key it has in a pipeline file. def gives the configuration that the file's
// keys are put over; open must not dial. A C with a method HTTPPath(source string) string is served there by Env.Handle, and no two may
// have the same one. It panics if the kind is there already or is a key that every source has.
func Add[C any, P interface {
	*C
	Validate() setting.Faults
}](r *Registry, name string, def func() C, open func(c C, env Env) (collect.Source, error)) {
	if _, exists := r.kind(name); exists || slices.Contains(keysOf(fieldsOf(reflect.TypeFor[common]())), name) {
		panic(fmt.Sprintf("the source kind %s is registered twice or is a key of every source", name))
	}
	if r.kinds == nil {
		r.kinds = map[string]kind{}
	}
	r.kinds[name] = kind{reflect.TypeFor[C](), func(n *node, path []string) (reading, setting.Faults) {
		c := def()
		faults := read(n, &c, path, P(&c).Validate)
		got := reading{config: func() any { return c }, open: func(env Env) (collect.Source, error) { return open(c, env) }}
		if served, is := any(&c).(interface{ HTTPPath(source string) string }); is {
			got.httpPath = served.HTTPPath
		}
		return got, faults
	}}
}

// AddLake registers the scheme of URLs that lake.raw and lake.tables may have; check says what is wrong with one, and must not dial.
func (r *Registry) AddLake(scheme string, check func(url string) error) {
	if r.lakes == nil {
		r.lakes = map[string]func(string) error{}
	}
	r.lakes[scheme] = check
}

func (r *Registry) kind(name string) (k kind, found bool) {
	if name == External {
		return externalKind, true
	}
	k, found = r.kinds[name]
	return k, found
}

// Kinds lists the kinds of sources by name.
func (r *Registry) Kinds() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(r.kinds)), External)))
}

// source reports whether n has a kind as a key, as sources have.
func (r *Registry) source(n *node) bool {
	return n != nil && slices.ContainsFunc(n.keys, func(key string) bool { _, found := r.kind(key); return found })
}

// read puts n into *into and then asks what else is wrong with it, leaving out what a value that did not fit causes.
func read(n *node, into any, path []string, validate func() setting.Faults) setting.Faults {
	var d decoder
	d.value(n, reflect.ValueOf(into).Elem(), nil)
	var faults setting.Faults
	faults.Under(d.faults, path...)
	for _, f := range validate() {
		caused := slices.ContainsFunc(d.faults, func(earlier setting.Fault) bool { return hasPrefix(f.Path, earlier.Path) })
		if !caused {
			faults.Under(setting.Faults{f}, path...)
		}
	}
	return faults
}

func hasPrefix(path, prefix []string) bool {
	return len(path) >= len(prefix) && slices.Equal(path[:len(prefix)], prefix)
}
