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

// find lists the files that match, in the order of their paths, until ctx ends. Folders that cannot be read are reported, and the others
// listed. Links to folders are not followed.
func (s *Source) find(ctx context.Context, report func(path string, err error)) ([]string, error) {
	base, pattern := doublestar.SplitPattern(s.pattern())
	root := filepath.FromSlash(base)
	hidden := strings.HasPrefix(pattern, ".") || strings.Contains(pattern, "/.")
	var found []string
	// Not os.DirFS, which refuses names that are not UTF-8. The separator has a root that is a link followed.
	err := filepath.WalkDir(root+string(filepath.Separator), func(full string, d fs.DirEntry, err error) error {
		full = filepath.Clean(full)
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(full, root), string(filepath.Separator)))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && rel == "":
			return err
		case errors.Is(err, fs.ErrNotExist):
			return fs.SkipDir // it went while the folder was read
		case err != nil:
			report(full, err)
			return fs.SkipDir
		case rel == "":
			return nil
		case !hidden && strings.HasPrefix(d.Name(), "."):
			return skip(d)
		case d.IsDir():
			if !leads(pattern, rel) {
				return fs.SkipDir
			}
			report(full, nil)
			return nil
		}
		if ok, _ := doublestar.Match(pattern, rel); ok { // the pattern is valid
			found = append(found, full)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", root, err)
	}
	report(s.c.Path, nil)
	return found, nil
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
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
	return strings.NewReplacer("*", "\\*", "?", "\\?", "[", "\\[", "{", "\\{", "\\", "[\\\\]").Replace(path)
}

func (s *Source) absBase() string {
	abs, err := filepath.Abs(s.base)
	if err != nil {
		return s.base
	}
	return abs
}
