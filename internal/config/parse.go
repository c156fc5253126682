package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"headwater/internal/setting"
)

const (
	// maxFile bounds the pipeline file and each file that ${file:...} names.
	maxFile = 4 << 20
	// maxNodes and maxDepth bound what aliases can multiply and what this package recurses on.
	maxNodes = 100_000
	maxDepth = 100
)

type shape int

const (
	null shape = iota
	scalar
	list
	mapping
)

func (s shape) String() string {
	return [...]string{"nothing", "a single value", "a list", "a mapping"}[s]
}

// node is a value of the file without YAML's own devices: aliases and merge keys are written out, ${...} is replaced.
type node struct {
	shape shape
	// line is that of the value's key, or of the value itself in a list.
	line int
	// text is a scalar's value after ${...}.
	text  string
	items []*node
	// keys are in the file's order; values has the value of each.
	keys   []string
	values map[string]*node
}

// at follows path as far as it exists.
func (n *node) at(path []string) *node {
	for _, segment := range path {
		var next *node
		switch n.shape {
		case mapping:
			next = n.values[segment]
		case list:
			if i, err := strconv.Atoi(segment); err == nil && i >= 0 && i < len(n.items) {
				next = n.items[i]
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// parser turns YAML into nodes. faults are those whose line is known here.
type parser struct {
	expand expander
	faults []located
	// bad are the paths of values that cannot be used, so that what follows from them is no fault of its own.
	bad   [][]string
	nodes int
	// open are the aliases being written out: one inside itself would never end.
	open map[*yaml.Node]bool
}

func newParser(dir string) *parser {
	return &parser{expand: expander{dir: dir, shown: map[string]string{}}, open: map[*yaml.Node]bool{}}
}

// located is a fault with its line.
type located struct {
	line  int
	fault setting.Fault
}

func (p *parser) add(line int, path []string, format string, args ...any) {
	p.faults = append(p.faults, located{line, setting.Fault{Path: path, Text: fmt.Sprintf(format, args...)}})
}

// spoil adds a fault that leaves nothing to be used at path.
func (p *parser) spoil(line int, path []string, format string, args ...any) {
	p.bad = append(p.bad, path)
	p.add(line, path, format, args...)
}

// parse reads one YAML document. Without a mapping at its top the node is empty and the faults say why.
func (p *parser) parse(data []byte) *node {
	empty := &node{shape: mapping, line: 1}
	if len(data) > maxFile {
		p.spoil(1, nil, "the file is larger than %s: a pipeline is written by hand", setting.Bytes(maxFile))
		return empty
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		p.spoil(1, nil, "the file is empty: write at least database and sources")
		return empty
	} else if err != nil {
		p.syntax(data, err)
		return empty
	}
	if err := decoder.Decode(&second); err == nil {
		p.add(second.Line, nil, "a second document begins here: a pipeline is one document, remove the --- line")
	} else if !errors.Is(err, io.EOF) {
		p.syntax(data, err)
	}
	root := p.node(doc.Content[0], 1, nil)
	if root.shape != mapping {
		p.spoil(root.line, nil, "a pipeline is a mapping of keys, got %s: begin with database: NAME", root.shape)
		return empty
	}
	return root
}

var (
	syntaxLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)
	// parserFault has the faults whose lines the library counts from 0.
	parserFault = regexp.MustCompile(`^did not find expected (<|'-'|key|','|node)`)
)

func (p *parser) syntax(data []byte, err error) {
	m := syntaxLine.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "1", err.Error()}
	}
	line, _ := strconv.Atoi(m[1])
	if parserFault.MatchString(m[2]) {
		line++
	}
	lines := strings.Split(string(data), "\n")
	for _, l := range []int{line, line + 1} {
		if l >= 1 && l <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[l-1], " "), "\t") {
			p.spoil(l, nil, "the line begins with a tab: indent with spaces")
			return
		}
	}
	hint := ""
	if strings.HasPrefix(m[2], "mapping values are not allowed") {
		hint = "; perhaps a colon is missing in the line before, or a line is indented too far"
	}
	p.spoil(min(max(line, 1), len(lines)), nil, "this is not YAML: %s%s", m[2], hint)
}

// node converts n, whose key stands on line.
func (p *parser) node(n *yaml.Node, line int, path []string) *node {
	out := &node{line: line}
	p.nodes++
	if p.nodes > maxNodes || len(path) > maxDepth {
		if p.nodes <= maxNodes+1 || len(path) > maxDepth {
			p.bad = append(p.bad, path)
			p.add(line, nil, "the file holds more than %d values or nests deeper than %d, aliases written out", maxNodes, maxDepth)
			p.nodes = maxNodes + 1
		}
		return out
	}
	if n.Style&yaml.TaggedStyle != 0 {
		p.spoil(line, path, "has the tag %s: leave tags out, the key decides the type", n.Tag)
		return out
	}
	switch n.Kind {
	case yaml.AliasNode:
		return p.alias(n, line, path)
	case yaml.MappingNode:
		p.mapping(out, n, path)
	case yaml.SequenceNode:
		out.shape = list
		for i, item := range n.Content {
			out.items = append(out.items, p.node(item, item.Line, under(path, strconv.Itoa(i))))
		}
	case yaml.ScalarNode:
		p.scalar(out, n, path)
	}
	return out
}

func (p *parser) alias(n *yaml.Node, line int, path []string) *node {
	if p.open[n.Alias] {
		p.spoil(line, path, "*%s lies inside its own anchor: write the value out", n.Value)
		return &node{line: line}
	}
	p.open[n.Alias] = true
	defer delete(p.open, n.Alias)
	return p.node(n.Alias, line, path)
}

func (p *parser) scalar(out *node, n *yaml.Node, path []string) {
	if n.ShortTag() == "!!null" {
		return
	}
	out.shape = scalar
	text, err := p.expand.replace(n.Value)
	if err != nil {
		p.spoil(out.line, path, "%v", err)
		out.shape = null
		return
	}
	out.text = text
}

func (p *parser) mapping(out *node, n *yaml.Node, path []string) {
	out.shape, out.values = mapping, map[string]*node{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.add(key.Line, path, "has a key that is not a single word: write keys as name: value")
		case key.ShortTag() == "!!merge":
			merges = append(merges, value)
		case out.values[key.Value] != nil:
			p.add(key.Line, under(path, key.Value), "is given twice, first on line %d: keep one", out.values[key.Value].line)
		default:
			out.keys = append(out.keys, key.Value)
			out.values[key.Value] = p.node(value, key.Line, under(path, key.Value))
		}
	}
	for _, m := range merges {
		p.merge(out, m, path)
	}
}

// merge adds the keys of a << that out does not have; of a list, the earlier mapping wins.
func (p *parser) merge(out *node, n *yaml.Node, path []string) {
	from := p.node(n, n.Line, path)
	sources := from.items
	if from.shape != list {
		sources = []*node{from}
	}
	for _, s := range sources {
		if s.shape != mapping {
			p.add(n.Line, under(path, "<<"), "must be an alias of a mapping, got %s", s.shape)
			continue
		}
		for _, k := range s.keys {
			if out.values[k] == nil {
				out.keys = append(out.keys, k)
				out.values[k] = s.values[k]
			}
		}
	}
}
