package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// listing is what one look into the folders found.
type listing struct {
	files []found
	there map[string]bool
	// unread are the folders that could not be listed.
	unread []string
}

type found struct {
	path   string
	listed fs.DirEntry
}

// find lists the files of this machine that match, in the order of their paths, until ctx ends.
func (s *Source) find(ctx context.Context, report func(path string, err error)) (paths []string, err error) {
	l, err := s.list(ctx, local{}, report)
	for _, f := range l.files {
		paths = append(paths, f.path)
	}
	return paths, err
}

// list lists the files of a tree that match, in the order of their paths, until ctx ends. Folders that cannot be read are reported, and the
// others listed. Links to folders are not followed.
func (s *Source) list(ctx context.Context, t Tree, report func(path string, err error)) (*listing, error) {
	base, pattern := doublestar.SplitPattern(s.pattern())
	root := filepath.FromSlash(base)
	w := &walk{t: t, report: report, l: &listing{there: map[string]bool{}}, root: root, pattern: pattern}
	w.hidden = strings.HasPrefix(pattern, ".") || strings.Contains(pattern, "/.")
	err := w.folder(ctx, "")
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			w.l.unread = append(w.l.unread, root)
		}
		if s.dial == nil { // other trees say so themselves
			err = fmt.Errorf("listing %s: %w", root, err)
		}
	}
	return w.l, err
}

// walk is one of the folder that a glob begins with.
type walk struct {
	t             Tree
	report        func(path string, err error)
	l             *listing
	root, pattern string
	hidden        bool
}

// folder lists a folder, by its path below root. Its error is that of this folder, or one that ends the Run.
func (w *walk) folder(ctx context.Context, below string) error {
	entries, err := w.t.ReadDir(ctx, filepath.Join(w.root, below))
	if err != nil {
		return err
	}
	for _, d := range entries {
		rel := path.Join(below, d.Name())
		full := filepath.Join(w.root, filepath.FromSlash(rel))
		switch {
		case !w.hidden && strings.HasPrefix(d.Name(), "."):
		case d.IsDir():
			if !leads(w.pattern, rel) {
				continue
			}
			err := w.folder(ctx, rel)
			if isLost(err) || ctx.Err() != nil {
				return err
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // it went while the folder above was read
			}
			if err != nil {
				w.l.unread = append(w.l.unread, full)
			}
			w.report(full, err)
		default:
			if ok, _ := doublestar.Match(w.pattern, rel); ok { // the pattern is valid
				w.l.files = append(w.l.files, found{full, d})
				w.l.there[full] = true
			}
		}
	}
	return ctx.Err()
}

// leads says whether something in a folder can match the pattern.
func leads(pattern, folder string) bool {
	if strings.Contains(pattern, "{") {
		return true // an alternative may have slashes inside
	}
	want, have := strings.Split(pattern, "/"), strings.Split(folder, "/")
	for i, name := range have {
		if i >= len(want)-1 {
			return want[len(want)-1] == "**"
		}
		if want[i] == "**" {
			return true
		}
		if ok, _ := path.Match(want[i], name); !ok {
			if ok, _ := doublestar.Match(want[i], name); !ok {
				return false
			}
		}
	}
	return true
}

// pattern is the glob made absolute, with slashes.
func (s *Source) pattern() string {
	p := filepath.ToSlash(s.c.Path)
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(escape(filepath.ToSlash(s.absBase())), p)
}

// escape keeps a path from being read as a glob. A backslash is a class of one, because SplitPattern leaves two of them as they are.
func escape(path string) string {
	return strings.NewReplacer("*", "\\*", "?", "\\?", "[", "\\[", "{", "\\{", "}", "\\}", "\\", "[\\\\]").Replace(path)
}

func (s *Source) absBase() string {
	abs, err := filepath.Abs(s.base)
	if err != nil {
		return s.base
	}
	return abs
}
