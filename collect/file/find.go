package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
	path     string
	listed   fs.DirEntry
	unmarked bool // the file that says that it is whole is not there
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
	l := &listing{there: map[string]bool{}}
	missing := 0
	patterns := s.patterns(time.Now())
	for _, p := range patterns {
		err := s.listOne(ctx, t, l, p, report)
		if s.dated() && errors.Is(err, fs.ErrNotExist) {
			missing++ // nothing of that day
			continue
		}
		if err != nil {
			return l, err
		}
	}
	if missing < len(patterns) {
		return l, nil
	}
	base, _ := doublestar.SplitPattern(s.pattern())
	_, err := t.ReadDir(ctx, filepath.FromSlash(base))
	return l, s.listingOf(base, err)
}

func (s *Source) listOne(ctx context.Context, t Tree, l *listing, glob string, report func(path string, err error)) error {
	base, pattern := doublestar.SplitPattern(glob)
	root := filepath.FromSlash(base)
	w := &walk{s: s, t: t, report: report, l: l, root: root, pattern: pattern}
	w.hidden = strings.HasPrefix(pattern, ".") || strings.Contains(pattern, "/.")
	err := w.folder(ctx, "")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.unread = append(l.unread, root)
	}
	return s.listingOf(root, err)
}

// listingOf says which folder an error is of. Trees elsewhere say so themselves.
func (s *Source) listingOf(folder string, err error) error {
	if err == nil || s.dial != nil {
		return err
	}
	return fmt.Errorf("listing %s: %w", folder, err)
}

// walk is one of the folder that a glob begins with.
type walk struct {
	s             *Source
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
	markers := w.s.marked(entries)
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
		case markers != nil && strings.HasSuffix(d.Name(), w.s.c.DoneMarker):
		default:
			if ok, _ := doublestar.Match(w.pattern, rel); ok { // the pattern is valid
				w.l.files = append(w.l.files, found{full, d, markers != nil && !markers[d.Name()]})
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

// pattern is the glob made absolute, with slashes, for any day.
func (s *Source) pattern() string {
	return s.absolute(strings.NewReplacer("{yyyy}", "[0-9][0-9][0-9][0-9]", "{MM}", "[0-9][0-9]", "{dd}", "[0-9][0-9]").Replace(s.c.Path))
}

// patterns are those for the days that are looked for: all that are today anywhere, and Lookback days before, so that nobody asks
// whose days the folders are named by.
func (s *Source) patterns(now time.Time) (all []string) {
	if !s.dated() {
		return []string{s.pattern()}
	}
	const east, west = 14 * time.Hour, -12 * time.Hour
	last := now.UTC().Add(east).Format(time.DateOnly)
	for day := now.UTC().Add(west).AddDate(0, 0, -s.c.Lookback); day.Format(time.DateOnly) <= last; day = day.AddDate(0, 0, 1) {
		p := s.absolute(strings.NewReplacer("{yyyy}", day.Format("2006"), "{MM}", day.Format("01"), "{dd}", day.Format("02")).Replace(s.c.Path))
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// dated says that the path has a date.
func (s *Source) dated() bool {
	return slices.ContainsFunc([]string{"{yyyy}", "{MM}", "{dd}"}, func(part string) bool { return strings.Contains(s.c.Path, part) })
}

func (s *Source) absolute(glob string) string {
	p := filepath.ToSlash(glob)
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
