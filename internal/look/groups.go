package look

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"headwater/collect/file"
)

// found is a regular file.
type found struct {
	path string
	size int64
}

// group is files that one source reads.
type group struct {
	base     string // the folder that was looked into
	template string // of their names below it
	globs    []string
	files    []found
	zipped   int  // how many end in .gz
	more     bool // others with such a name may follow: nobody named them
}

// mostSources is how many sources files with names of one kind become before they are taken for one.
const mostSources = 20

// named is files that were named one by one.
func (l *looker) named(ctx context.Context, paths []string) error {
	slices.Sort(paths)
	return l.each(ctx, grouped("", regular(slices.Compact(paths))), true)
}

// glob is the files that match; those of one kind are one source, with that glob.
func (l *looker) glob(ctx context.Context, what string) error {
	pattern := filepath.ToSlash(what)
	if !filepath.IsAbs(what) {
		here, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("finding the current folder: %w", err)
		}
		pattern = file.Escape(here) + "/" + strings.TrimPrefix(pattern, "./")
	}
	c := file.DefaultConfig()
	if c.Path = pattern; len(c.Validate()) > 0 {
		return faultf("%q is not a glob that can be read: check its brackets and braces", what)
	}
	files, err := l.list(ctx, pattern, l.Logger)
	switch {
	case err != nil:
		return err
	case len(files) == 0:
		return faultf("no file matches %q: check the folder and the glob", what)
	case l.findsOurs(pattern):
		return faultf("%q also matches what will be in headwater-data: begin it with a folder, or have --output in another one", what)
	}
	groups := grouped("", files)
	kind := kindOf(files[0].path)
	if !slices.ContainsFunc(files, func(f found) bool { return kindOf(f.path) != kind }) {
		first := groups[0]
		if len(groups) > 1 {
			first.template = "" // their names have nothing in common
		}
		groups, first.files, first.globs = groups[:1], files, []string{pattern}
	}
	return l.each(ctx, groups, true)
}

// kinds are the endings of files that are taken out of a folder. Those without one are if they hold JSON, or are numbered.
var kinds = []string{".csv", ".tsv", ".json", ".ndjson", ".jsonl", ".txt", ".log", ".zip", ""}

// folder is all in a folder and those below it that looks like data.
func (l *looker) folder(ctx context.Context, path string) error {
	files, err := l.list(ctx, file.Escape(path)+"/**", l.Logger)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return faultf("no file is in %q", path)
	}
	var data, others []found
	for _, f := range files {
		switch {
		case strings.HasPrefix(f.path, filepath.Join(l.Dir, dataDir)+string(filepath.Separator)):
		case slices.Contains(kinds, kindOf(f.path)):
			data = append(data, f)
		default:
			others = append(others, f)
		}
	}
	l.leave(others, "no data by their names; name them if they are")
	groups, is := grouped(path, data), map[string]bool{}
	for _, g := range groups {
		is[g.template], g.more = true, true
	}
	groups = slices.DeleteFunc(groups, func(g *group) bool {
		live := strings.TrimSuffix(g.template, "."+varies)
		old := live != g.template && is[live]
		if old {
			l.leave(g.files, "a log that was rotated, which would be read twice")
		}
		return old
	})
	return l.each(ctx, groups, false)
}

// each makes the sources of groups; asked says that what cannot be read is a fault, and not left out.
func (l *looker) each(ctx context.Context, groups []*group, asked bool) error {
	for _, g := range joined(groups) {
		if err := l.files(ctx, g, asked); err != nil {
			return err
		}
	}
	return nil
}

// leave says that files are left out.
func (l *looker) leave(files []found, why string) {
	if len(files) > 0 {
		l.left = append(l.left, l.some(files)+": "+why)
	}
}

// dataDir is the default of data_dir, and probes what will be in it: a glob that matches one would have a pipeline read what it writes.
const dataDir = "headwater-data"

var probes = []string{
	"run.json", "raw/topics/a_raw/date=2026-07-05/a_raw+0+0000000000.json.gz", "raw/_quarantine/collect/a/date=2026-07-05/a.json.gz",
	"tables/a/b/year=2026/month=07/day=05/b.parquet",
}

func (l *looker) findsOurs(pattern string) bool {
	s := l.source(pattern, nil)
	return slices.ContainsFunc(probes, func(probe string) bool { return s.Matches(filepath.Join(l.Dir, dataDir, probe)) })
}

func (l *looker) source(pattern string, log *slog.Logger) *file.Source {
	c := file.DefaultConfig()
	c.Path = pattern
	return file.New(c, l.Dir, log)
}

// list finds the regular files that match; folders that cannot be read are logged.
func (l *looker) list(ctx context.Context, pattern string, log *slog.Logger) ([]found, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	paths, err := l.source(pattern, log).Files(bounded)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case bounded.Err() != nil:
		return nil, faultf("listing what is in %q took longer than %v: name a folder or a glob with less in it", pattern, patience)
	case err != nil:
		return nil, faultf("%v", err)
	}
	return regular(paths), nil
}

func regular(paths []string) []found {
	var files []found
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			files = append(files, found{path, info.Size()})
		}
	}
	return files
}

var (
	// numbered is what varies from file to file: numbers, dates and times, UUIDs.
	numbered = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]+([-_.T:]?[0-9]+)*`)
	rotated  = regexp.MustCompile(`(\.[0-9][0-9-]*)+$`)
	// tail is a number or a date that a name ends with.
	tail = regexp.MustCompile(`([-_. ]+[0-9][-_.T:0-9]*|[0-9]{4,}[-_.T:0-9]*)Z?$`)
)

// varies stands in a template for what is numbered.
const varies = "\x00"

// plain is a name without .gz.
func plain(name string) (string, bool) {
	if ext := filepath.Ext(name); strings.EqualFold(ext, ".gz") {
		return strings.TrimSuffix(name, ext), true
	}
	return name, false
}

// stem and kindOf are the parts of a file's name before and from its last dot, without .gz and what a rotated log is numbered by.
func stem(path string) string {
	name, _ := plain(filepath.Base(path))
	name = rotated.ReplaceAllString(name, "")
	return strings.TrimSuffix(name, filepath.Ext(name))
}

func kindOf(path string) string {
	name, _ := plain(filepath.Base(path))
	return strings.ToLower(filepath.Ext(rotated.ReplaceAllString(name, "")))
}

// grouped puts files together whose names below base differ in numbers alone; without base it is that of their own folders.
func grouped(base string, files []found) (groups []*group) {
	at := map[string]*group{}
	for _, f := range files {
		folder := cmp.Or(base, filepath.Dir(f.path))
		below, zipped := plain(strings.TrimPrefix(strings.TrimPrefix(f.path, folder), string(filepath.Separator)))
		template := numbered.ReplaceAllString(below, varies)
		g := at[folder+"//"+template]
		if g == nil {
			g = &group{base: folder, template: template}
			at[folder+"//"+template], groups = g, append(groups, g)
		}
		g.files = append(g.files, f)
		if zipped {
			g.zipped++
		}
	}
	return groups
}

// joined makes one group of those of a folder that have one kind, if they are too many to be sources of their own.
func joined(groups []*group) []*group {
	key := func(g *group) string { return g.base + varies + kindOf(g.files[0].path) }
	many := map[string]int{}
	for _, g := range groups {
		many[key(g)]++
	}
	whole := map[string]*group{}
	var out []*group
	for _, g := range groups {
		into := whole[key(g)]
		switch {
		case many[key(g)] <= mostSources:
			out = append(out, g)
		case into == nil:
			g.template = ""
			whole[key(g)], out = g, append(out, g)
		default:
			into.files, into.zipped = append(into.files, g.files...), into.zipped+g.zipped
		}
	}
	return out
}

// candidates are the globs that might find the files of the group and no others, the most readable first.
func (g *group) candidates() []string {
	if len(g.globs) > 0 {
		return g.globs
	}
	alone := []string{file.Escape(g.files[0].path)}
	if len(g.files) == 1 && !(g.more && tail.MatchString(stem(g.files[0].path))) {
		return alone
	}
	base, zipped := file.Escape(g.base), map[bool]string{true: "{,.gz}"}[g.zipped > 0]
	if g.zipped == len(g.files) {
		zipped = ".gz"
	}
	var globs []string
	if g.template == "" {
		name, _ := plain(filepath.Base(g.files[0].path))
		ext := file.Escape(filepath.Ext(name))
		globs = append(globs, base+"/*"+ext+zipped, base+"/**/*"+ext+zipped)
	} else {
		name := "/" + file.Escape(g.template)
		for _, number := range [][2]string{{"[0-9]*", "*"}, {"*", "*"}, {"[0-9]*", "[0-9]*"}, {"*[0-9]", "*[0-9]"}} {
			begun := strings.ReplaceAll(name, "/"+varies, "/"+number[0])
			globs = append(globs, base+strings.ReplaceAll(begun, varies, number[1])+zipped)
		}
	}
	if len(g.files) == 1 {
		return append(globs, alone...)
	}
	return append(globs, g.oneByOne()...)
}

// mostListed is how many files a glob may list one by one.
const mostListed = 20

// oneByOne is the glob that lists the files of a folder.
func (g *group) oneByOne() []string {
	folder := filepath.Dir(g.files[0].path)
	var names []string
	for _, f := range g.files {
		if filepath.Dir(f.path) != folder || len(names) == mostListed {
			return nil
		}
		names = append(names, strings.ReplaceAll(file.Escape(filepath.Base(f.path)), ",", `\,`))
	}
	return []string{file.Escape(folder) + "/{" + strings.Join(names, ",") + "}"}
}

// choose is the glob that finds just the files, or none.
func (l *looker) choose(ctx context.Context, g *group) (glob string, err error) {
	for _, glob := range g.candidates() {
		files, err := l.list(ctx, glob, nil) // they are logged already
		if err != nil {
			return "", err
		}
		slices.SortFunc(g.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
		slices.SortFunc(files, func(a, b found) int { return strings.Compare(a.path, b.path) })
		same := slices.EqualFunc(files, g.files, func(a, b found) bool { return a.path == b.path })
		if same && !l.findsOurs(glob) {
			return glob, nil
		}
	}
	return "", nil
}

// name is what the source of the files is called.
func (g *group) name() string {
	text := stem(g.files[0].path)
	switch {
	case g.template == "":
		text = ""
	case len(g.files) == 1:
		text = tail.ReplaceAllString(text, "")
	default:
		text = numbered.ReplaceAllString(text, "_")
	}
	folder := identifier(numbered.ReplaceAllString(filepath.Base(g.base), "_"), "files")
	return identifier(text, folder)
}

// files makes a source of a group. One that cannot be read is left out, or a fault if it was asked for.
func (l *looker) files(ctx context.Context, g *group, asked bool) error {
	glob, err := l.choose(ctx, g)
	if err != nil {
		return err
	}
	s, err := l.sample(ctx, g)
	if err != nil {
		return err
	}
	why := s.unfit()
	if glob == "" {
		why = "no glob finds them alone; give one in quotes"
	}
	if !asked && why == "" && kindOf(g.files[0].path) == "" && s.shapeless() {
		why = "no data by their names; name them if they are"
	}
	switch {
	case why != "" && asked:
		return faultf("%q: %s", l.short(g.files[0].path), why)
	case why != "":
		l.leave(g.files, why)
		return nil
	}
	out := source{name: l.unique(g.name()), kind: "file: {path: " + quote(l.relative(glob)) + s.keys() + "}"}
	total := int64(0)
	for _, f := range g.files {
		out.files = append(out.files, f.path)
		total += f.size
	}
	out.seen = append([]string{l.some(g.files) + ", " + size(total) + "."}, s.words(l.Database+"."+out.name)...)
	l.sources = append(l.sources, out)
	return nil
}

// relative is a glob as it is written: without the folder of the pipeline file.
func (l *looker) relative(glob string) string {
	return strings.TrimPrefix(glob, strings.TrimSuffix(file.Escape(l.Dir), "/")+"/")
}

// some names files to people.
func (l *looker) some(files []found) string {
	first := strconv.Quote(l.short(files[0].path))
	if len(files) == 1 {
		return first
	}
	return count(len(files), "file") + ", such as " + first
}

// short is a path for people.
func (l *looker) short(path string) string {
	return strings.TrimPrefix(path, strings.TrimSuffix(l.Dir, "/")+"/")
}
