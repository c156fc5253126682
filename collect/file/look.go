package file

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"headwater/collect"
	"headwater/envelope"
)

// Escape is a glob that matches path. A byte that is not UTF-8 matches any such byte, because a pipeline file cannot spell it.
func Escape(path string) string {
	var out strings.Builder
	for i, r := range path {
		if r == utf8.RuneError {
			out.WriteString("[\uFFFD]")
			continue
		}
		out.WriteString(escape(path[i : i+utf8.RuneLen(r)]))
	}
	return out.String()
}

// Files lists what the source would read now, links and whatever else has a name that matches too, in the order of the paths. Folders that
// cannot be read are logged.
func (s *Source) Files(ctx context.Context) ([]string, error) {
	return s.find(ctx, func(path string, err error) {
		if err != nil {
			s.log.Warn("cannot read, the other folders go on", "path", path, "err", err)
		}
	})
}

// Matches says whether a file at path, an absolute one, would be read if it were there.
func (s *Source) Matches(path string) bool {
	ok, _ := doublestar.Match(s.pattern(), filepath.ToSlash(path)) // the pattern is valid
	return ok
}

// Look reads one file to its end, or until out takes no more, as a first Run with once would; whether the glob matches its path is not asked. It
// tells how items are cut from it, or from the entries of an archive: csv, ndjson, lines, array, json (all of it) or bytes.
func (s *Source) Look(ctx context.Context, path string, out collect.Out) (formats []string, err error) {
	v := &visit{s: s, out: out, once: true, tree: local{}, files: map[string]*file{}, failed: map[string]error{}}
	f := v.newFile(path, s.nameOf(path), 0)
	if f.seen, err = os.Stat(path); err != nil {
		return nil, err
	}
	_, err = v.readGuarded(ctx, f)
	for _, part := range append(v.those(func(*file) bool { return true }), f) {
		if part.format != "" {
			formats = append(formats, part.format)
		}
	}
	slices.Sort(formats)
	return slices.Compact(formats), err
}

func formatName(c cutter) string {
	switch c := c.(type) {
	case *rows:
		return formatCSV
	case *elements:
		return arrayFormat
	case lines:
		if c.kind == envelope.JSON {
			return formatNDJSON
		}
		return formatLines
	case whole:
		if c.kind == envelope.JSON {
			return formatJSON
		}
	}
	return formatBytes
}

// arrayFormat is a json file whose array's elements are items.
const arrayFormat = "array"
