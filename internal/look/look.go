// Package look writes a pipeline file by looking at what it is to read.
//
// What enters: the names of files, folders, globs, feeds and push sources. What leaves: the text of a pipeline file, whose comments say what was seen.
//
// Invariants:
//  1. What is looked at is read by the sources' own code, and its columns are serialize's own, so that a run does what the comments say.
//  2. A text that leaves has no faults, its sources find every file that was looked at, and none is in two of them.
//  3. No value of an item is in the text. Names of columns and files are.
//  4. Work is bounded by the constants in sample.go, whatever there is to look at.
//
// It starts no goroutine but those of the sources, which have ended when Pipeline returns.
package look

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"headwater/internal/config"
)

// Options are what a pipeline file is written with besides what was seen.
type Options struct {
	// File is what people will call the pipeline file, Dir its folder, which is absolute.
	File, Dir string
	// Database is empty to be named for Dir.
	Database string
	Kinds    *config.Registry
	// Logger gets what could not be looked at.
	Logger *slog.Logger
}

// Fault is what only who asked can put right.
type Fault string

func (f Fault) Error() string { return string(f) }

func faultf(format string, args ...any) error { return Fault(fmt.Sprintf(format, args...)) }

// source is one of the pipeline, as it will be written.
type source struct {
	name string
	kind string   // its kind and that one's keys, in YAML
	seen []string // the lines of its comment
	// files are those that it must find.
	files []string
}

// looker makes one pipeline.
type looker struct {
	Options
	sources []source
	left    []string // what was left out, in words
	names   map[string]bool
}

// Pipeline looks at what is named and writes the pipeline that reads it. sources are its sources' names, left what it leaves out.
func Pipeline(ctx context.Context, o Options, whats []string) (text []byte, sources, left []string, err error) {
	l := &looker{Options: o, names: map[string]bool{}}
	if l.Database == "" {
		l.Database = identifier(filepath.Base(o.Dir), "data")
		if slices.Contains(reserved, l.Database) {
			l.Database += "_data"
		}
	}
	var named, others []string
	for _, what := range whats {
		// Files that are named are looked at together: those whose names differ in numbers alone are one source.
		if path, err := filepath.Abs(what); err == nil && len(regular([]string{path})) == 1 {
			named = append(named, path)
		} else {
			others = append(others, what)
		}
	}
	errs := []error{l.named(ctx, named)}
	for _, what := range others {
		errs = append(errs, l.look(ctx, what))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, nil, err
	}
	if len(l.sources) == 0 {
		return nil, nil, nil, faultf("nothing to read was found: %s", strings.Join(l.left, "; "))
	}
	text = l.render()
	if err := l.verify(ctx, text); err != nil {
		return nil, nil, nil, err
	}
	for _, s := range l.sources {
		sources = append(sources, s.name)
	}
	return text, sources, l.left, nil
}

// look takes one operand that is no file.
func (l *looker) look(ctx context.Context, what string) error {
	path, err := filepath.Abs(what)
	if err != nil {
		return fmt.Errorf("finding %s: %w", what, err)
	}
	info, err := os.Stat(path)
	scheme, _, isURL := strings.Cut(what, "://")
	name, isPush := strings.CutPrefix(what, "push:")
	switch {
	case err == nil && info.IsDir():
		return l.folder(ctx, path)
	case err == nil:
		return faultf("%q is neither a file nor a folder: name one, or a glob", what)
	case isURL && (scheme == "ws" || scheme == "wss"):
		return l.feed(ctx, what)
	case isURL && (scheme == "http" || scheme == "https"):
		return faultf("%s addresses are not read: download what is there and name the file, or have it posted to a push source, push:NAME", scheme)
	case isURL:
		return faultf("%s addresses are not read: name files, folders, globs, ws:// or wss:// addresses, or push:NAME", scheme)
	case isPush:
		return l.push(name)
	case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(what, "*?[{"):
		return l.glob(ctx, what)
	case errors.Is(err, fs.ErrNotExist):
		return faultf("%q does not exist: check its name, and that the folder is the right one", what)
	}
	return faultf("%v: see that it can be read", err)
}

// push is a source that has nothing to look at.
func (l *looker) push(name string) error {
	if name != identifier(name, "") {
		return faultf("push:%s must have a name of lower case letters, digits and _ that begins with a letter", name)
	}
	name = l.unique(name)
	l.sources = append(l.sources, source{name: name, kind: "push: {}", seen: []string{
		"Items that are posted to /ingest/" + name + " at listen.http. Anybody who reaches that may post until it has a token:",
		"docs/sources/push.md.",
	}})
	return nil
}

var notPlain = regexp.MustCompile(`[^a-z0-9]+`)

// reserved are names of folders that SQL would not take for a database's.
var reserved = strings.Fields("all check column create default desc end from group in into limit only order primary select show system table temp to union when where window with")

// longest is how long a name may be made.
const longest = 60

// identifier makes a source's or a database's name of a text, or gives fallback if nothing is left of it.
func identifier(text, fallback string) string {
	name := strings.Trim(notPlain.ReplaceAllString(strings.ToLower(text), "_"), "_")
	name = strings.TrimLeft(name, "0123456789_")
	name = strings.TrimRight(name[:min(len(name), longest)], "_")
	if name == "" {
		return fallback
	}
	return name
}

// unique is name, or with a number, so that no table is another source's.
func (l *looker) unique(name string) string {
	taken := func(name string) bool { return l.names[name] || l.names[name+"_raw"] }
	base := name
	for n := 2; taken(name); n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	l.names[name], l.names[name+"_raw"] = true, true
	return name
}

// verify reads the text as a run will. Invariant 2.
func (l *looker) verify(ctx context.Context, text []byte) error {
	p, err := config.Parse(l.File, l.Dir, text, l.Kinds)
	if err != nil {
		return err
	}
	owner := map[string]string{}
	for i, s := range p.Sources {
		if l.sources[i].files == nil {
			continue
		}
		opened, err := s.Open(config.Env{})
		if err != nil {
			return fmt.Errorf("opening source %s: %w", s.Name, err)
		}
		found, err := opened.(finder).Files(ctx)
		if err != nil {
			return err
		}
		for _, path := range found {
			if other := owner[path]; other != "" {
				return faultf("%q is in two of the sources, %s and %s: name it once", path, other, s.Name)
			}
			owner[path] = s.Name
		}
		for _, path := range l.sources[i].files {
			if owner[path] != s.Name {
				return faultf("no glob was found for %q: rename it, or write the pipeline by hand", path)
			}
		}
	}
	return nil
}

// finder is the power of a source to list what it reads.
type finder interface {
	Files(ctx context.Context) ([]string, error)
}
