package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"headwater/internal/setting"
)

// Fault is one thing that is wrong with a pipeline file.
type Fault struct {
	// File is the path as it was given to Load.
	File string `json:"file"`
	// Line is that of the value, or of what should hold it if it is missing.
	Line int `json:"line"`
	// Path leads to the value, as sources.orders.file.path; it is empty for the file as a whole.
	Path string `json:"path,omitempty"`
	// Text says what is wrong and what to write.
	Text string `json:"text"`
}

// String is FILE:LINE: path: text.
func (f Fault) String() string {
	if f.Path == "" {
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Path, f.Text)
}

// Faults is everything that is wrong with a pipeline file, by line. It is Load's error for a file that could be read.
type Faults []Fault

// Error has a line for each fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// report gives the faults their lines and takes out of them what ${...} put in.
func (p *parser) report(path string, root *node, faults setting.Faults) Faults {
	all := p.faults
	for _, f := range faults {
		if slices.ContainsFunc(p.bad, func(bad []string) bool { return hasPrefix(f.Path, bad) }) {
			continue
		}
		all = append(all, located{root.at(f.Path).line, f})
	}
	var out Faults
	for _, l := range all {
		out = append(out, Fault{File: path, Line: l.line, Path: join(l.fault.Path), Text: p.expand.redact(l.fault.Text)})
	}
	slices.SortStableFunc(out, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	return slices.Compact(out)
}

// join writes a path as sources.orders.file.hosts[0].
func join(path []string) string {
	var out strings.Builder
	for i, segment := range path {
		if _, err := strconv.Atoi(segment); err == nil {
			out.WriteString("[" + segment + "]")
			continue
		}
		if i > 0 {
			out.WriteString(".")
		}
		out.WriteString(segment)
	}
	return out.String()
}
